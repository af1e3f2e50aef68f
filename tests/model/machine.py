# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""What can happen next in a world: messages, lost and late and repeated ones, runs that die, hosts that are cut off, die and boot."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

from ansible_collections.xdr.failback.plugins.module_utils import seal
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError
from ansible_collections.xdr.failback.plugins.plugin_utils import gate, recovery, state_machine

from tests.model import leases
from tests.model.course import MAY_FAIL, Course, Step
from tests.model.host import Done, Hosts, blank
from tests.model.world import ASKING, DR, HOSTS, NO_GUARD, NOBODY, PRIMARY, RUN_OUT, WITNESS, Ask, Host, Run, World
from tests.support import world as sample

PLAN: dict[str, Any] = {
    **sample.PLAN,
    "stop_order": ["db"],
    "traffic": {"load_balancers": []},
    "hooks": [],
    "failback": {"on_failed_health": "rollback", "deadline": 60, "soak": 0},
}
NAMES = [sample.HOST[site] for site in HOSTS]
ROWS = [{"volume": "orders", "role": "source", "lag_bytes": 0, "lag_age_s": 0.0, "compared": {"cycle": 1}, "size": 1}]
RUNS = [{"name": "orders-db", "pid": 1, "since": 0.0}]
ACTIONS = ("start", "reprotect", "failover", "reverse_replication", "failback", "rollback")
SEEN = "power is off, seen by ann"
WHY = "its orders were shipped"
KEEPS = ("primary", "dr")


class Bounds(NamedTuple):
    """``faults``: late, doubled and cut-short requests, deaths and cuts. ``starts``: runs. ``alive``: runs at the same time.

    ``true_attestation``: the primary stays off until the witness has the offer that follows from the attestation.
    ``restored``: of faults, that the witness's record is put back as it was at home, before anything moved.
    ``resolves``: a person resolves split brains, either way.
    """

    faults: int = 1
    starts: int = 2
    alive: int = 2
    true_attestation: bool = True
    policy: str = "rollback"
    restored: bool = False
    resolves: bool = False
    leases: bool = False  # of the primary site


class Broken(Exception):  # noqa: N818  (a promise is)
    """A promise that does not hold in a step; the search adds how it came to this."""


Event = tuple[str, World]


class Machine:
    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self.plan = {**PLAN, "failback": {**PLAN["failback"], "on_failed_health": bounds.policy}}
        self.hosts = Hosts()
        self.backup = NOBODY  # the number of the witness's record that a restore puts back
        self._facts: list[dict[str, Any]] = []
        self._facts_number: dict[str, int] = {}
        self._gates: dict[Any, int | None] = {}
        self._courses: dict[Any, tuple[Step, ...]] = {}

    # -- the beginning, and a world without faults

    def new(self) -> World:
        hosts = (Host(self.hosts.number(blank(site, name))) for site, name in zip(HOSTS, NAMES, strict=True))
        return World(tuple(hosts), starts=1000)  # type: ignore[arg-type]

    def calm(self, world: World, action: str, attested: bool = False, keep: str = "") -> World | None:
        """After the action, with nobody else at work and nothing going wrong; None where the gate refuses it."""
        begun = self._begin(world, action, attested, keep)
        if begun is None:
            return None
        world = begun
        while world.runs:
            _, world = next(self._steps(world, 0, world.runs[0], faults=False), None) or next(self._guards(world))
            world = self._served(world)
        return self.rest(world)

    def rest(self, world: World) -> World:
        while event := next(self._guards(world), None):
            world = self._served(event[1])
        return world

    # -- everything that can happen

    def events(self, world: World) -> Iterator[Event]:
        for label, after in self._events(world):
            yield label, self._served(after)

    def _served(self, world: World) -> World:
        """Clients write wherever they are routed to and somebody runs."""
        return world._replace(ahead=world.traffic) if world.hosts[world.traffic].running and world.ahead != world.traffic else world

    def _events(self, world: World) -> Iterator[Event]:
        if world.starts and len(world.runs) < self.bounds.alive:
            yield from self._beginnings(world)
        for index, run in enumerate(world.runs):
            yield from self._steps(world, index, run)
        for index, ask in enumerate(world.late):
            if world.hosts[ask.host].power != "off":
                rest = world._replace(late=world.late[:index] + world.late[index + 1 :])
                after, _, _ = self._carry_out(rest, ask)
                yield f"late, {self._told(ask)}", after
        yield from self._guards(world)
        yield from self._powers(world)
        yield from leases.runs_out(world)

    # -- runs

    def _beginnings(self, world: World) -> Iterator[Event]:
        for action in ACTIONS:
            for attested in (False, True) if action == "failover" else (False,):
                if attested and self.bounds.true_attestation and world.hosts[PRIMARY].power != "off":
                    continue
                begun = self._begin(world, action, attested)
                if begun is not None:
                    with_what = ", attested that the primary is off" if attested else ""
                    yield f"{action} begins{with_what}", begun._replace(starts=world.starts - 1)
        for keep in KEEPS if self.bounds.resolves else ():
            begun = self._begin(world, "resolve", False, keep)
            if begun is not None:
                yield f"resolve begins, {keep} is kept", begun._replace(starts=world.starts - 1)

    def _begin(self, world: World, action: str, attested: bool, keep: str = "") -> World | None:
        facts = self._gate(action, attested, self.bounds.leases and world.lease == RUN_OUT, keep, self.read(world))
        if facts is None:
            return None
        return self._settle(world._replace(runs=(*world.runs, Run(action, f"{action}-{world.starts}", facts))), len(world.runs))

    def read(self, world: World) -> tuple[tuple[int, bool, bool], ...]:
        """Of each host its record, whether it answers, and whether the instances run there."""
        return tuple((host.record, host.power == "up", host.running) for host in world.hosts)

    def _gate(self, action: str, attested: bool, run_out: bool, keep: str, read: tuple[tuple[int, bool, bool], ...]) -> int | None:
        """The real gate, over what the hosts answered; None where it refuses or finds nothing to do."""
        key = (action, attested, run_out, keep, read)
        if key not in self._gates:
            self._gates[key] = self._decide(action, attested, run_out, keep, self.reads(read))
        return self._gates[key]

    def _decide(self, action: str, attested: bool, run_out: bool, keep: str, reads: dict[str, Any]) -> int | None:
        view = state_machine.derive(self.plan, reads)
        options = {"attestation": SEEN if attested else "", "now": 0.0, "lease": {"run_out": run_out, "told": "as the witness says"}}
        options |= {"keep": keep, "reason": WHY}
        try:
            decision = gate.decide(action, self.plan, view, reads, options)
        except XdrError:
            return None
        if not decision.proceed:
            return None
        source, target = ("primary", "dr") if action == "failover" else ("dr", "primary")
        undo = recovery.undo_path(view, source, target)
        result = {**decision.to_json(), "undo": undo, "xdr_view": view.to_json()}
        facts = {"gate_result": result, "move_retaken": {"record": {"epoch": 0}}, "xdr_attestation": SEEN if attested else ""}
        facts |= {"xdr_keep": keep, "xdr_reason": WHY} if keep else {}
        return self._number({**facts, "gate_read": {name: read["record"] for name, read in reads.items()}})

    def reads(self, read: tuple[tuple[int, bool, bool], ...]) -> dict[str, Any]:
        return {
            name: {
                "reachable": answers,
                "record": self.hosts.document[number] if answers else None,
                "registered": None,
                "replication": ROWS if answers and name != NAMES[WITNESS] else [],
                "running": RUNS if answers and running else [],
                "why": "",
            }
            for name, (number, answers, running) in zip(NAMES, read, strict=True)
        }

    def _number(self, facts: dict[str, Any]) -> int:
        key = json.dumps(facts, sort_keys=True)
        if key not in self._facts_number:
            self._facts_number[key] = len(self._facts)
            self._facts.append(facts)
        return self._facts_number[key]

    def _course(self, run: Run) -> tuple[Step, ...]:
        key = (run.action, run.facts, run.recovers)
        if key not in self._courses:
            course = Course(run.action, self.plan, dict(zip(HOSTS, NAMES, strict=True)), self._facts[run.facts])
            self._courses[key] = course.recovery() if run.recovers else course.steps()
        return self._courses[key]

    def _ask(self, run: Run, host: int) -> Ask:
        asks = dict(self._course(run)[run.at].asks)
        kind, arguments = asks[HOSTS[host]]
        result = self._facts[run.facts]["gate_result"]
        attested = bool(self._facts[run.facts]["xdr_attestation"])
        return Ask(host, kind, arguments, (result["epoch"], result["attempt"]), run.name, attested)

    def _settle(self, world: World, index: int) -> World:
        """Let the run go on to where it waits for a host, reads, or ends."""
        run, course = world.runs[index], self._course(world.runs[index])
        while 0 <= run.at < len(course):
            step = course[run.at]
            if step.kind == "read":
                return world.with_run(index, run)
            if step.kind == "ask":
                sent = tuple(host for host in map(HOSTS.index, dict(step.asks)) if host not in run.dropped)
                if sent:
                    return world.with_run(index, run._replace(sent=sent, begun=(), failed=False))
            if step.kind == "traffic":
                world = world._replace(traffic=HOSTS.index(step.asks[0][0]))
            fails = step.kind == "fail" or (step.kind == "unless_up" and run.not_up)
            run = run._replace(at=step.handler if fails else step.leads, not_up=run.not_up or step.kind == "note")
        return world.with_run(index)

    def _answered(self, world: World, index: int, host: int, failed: bool, dropped: bool = False) -> World:
        """The run has the host's answer, or knows that it gets none."""
        run = world.runs[index]
        run = run._replace(
            sent=tuple(each for each in run.sent if each != host),
            begun=tuple(each for each in run.begun if each != host),
            failed=run.failed or failed or dropped,
            dropped=tuple(sorted({*run.dropped, host})) if dropped else run.dropped,
        )
        step = self._course(run)[run.at]
        if step.keeps and not failed and not dropped:
            retaken = {"record": {"epoch": self.hosts.record[world.hosts[host].record].epoch}}
            run = run._replace(facts=self._number({**self._facts[run.facts], "move_retaken": retaken}))
        if run.sent:
            return world.with_run(index, run)
        if self._facts[run.facts]["gate_read"]:  # it was needed for the claims alone; without it more worlds are equal
            run = run._replace(facts=self._number({**self._facts[run.facts], "gate_read": {}}))
        run = run._replace(at=step.handler if run.failed else step.leads, failed=False)
        return self._settle(world._replace(runs=(*world.runs[:index], run, *world.runs[index + 1 :])), index)

    def _steps(self, world: World, index: int, run: Run, faults: bool = True) -> Iterator[Event]:
        faults = faults and world.faults > 0
        name = run.name
        if not run.sent:
            yield f"{name} reads the records again", self._recover(world, index, run)
        for host in run.sent:
            if host in run.begun:
                yield from self._starting(world, index, host, name, faults)
            else:
                yield from self._delivered(world, index, host, faults)
        if faults:
            asks = [self._ask(run, host) for host in run.sent if host not in run.begun]
            spent = world._replace(faults=world.faults - 1)
            yield f"{name} dies", spent.with_run(index).with_late(*asks)

    def _recover(self, world: World, index: int, run: Run) -> World:
        read = tuple((number, up and which not in run.dropped, runs) for which, (number, up, runs) in enumerate(self.read(world)))
        view = state_machine.derive(self.plan, self.reads(read))
        source, target = ("primary", "dr") if run.action == "failover" else ("dr", "primary")
        if view.run:  # as the action plugin xdr_gate does it: by the run that the records name
            source, target = ("primary", "dr") if view.run["action"] == "failover" else ("dr", "primary")
        found = {
            **recovery.recover(self.plan, view).to_json(),
            "undo": recovery.undo_path(view, source, target),
            "xdr_view": view.to_json(),
        }
        run = run._replace(facts=self._number({**self._facts[run.facts], "move_recovery": found}), recovers=True, at=0)
        return self._settle(world._replace(runs=(*world.runs[:index], run, *world.runs[index + 1 :])), index)

    def _delivered(self, world: World, index: int, host: int, faults: bool) -> Iterator[Event]:
        ask = self._ask(world.runs[index], host)
        told = self._told(ask)
        if world.hosts[host].power != "up":
            yield f"no answer, {told}", self._answered(world, index, host, failed=True, dropped=True)
            return
        after, failed, begun = self._carry_out(world, ask)
        yield f"{'refused' if failed else 'done'}, {told}", self._after(after, index, host, failed, begun)
        if not faults:
            return
        spent = world._replace(faults=world.faults - 1)
        yield f"held up, {told}", self._answered(spent.with_late(ask), index, host, failed=True, dropped=True)
        yield f"twice, {told}", self._after(after._replace(faults=spent.faults).with_late(ask), index, host, failed, begun)
        done = self._done(world, ask)
        for number in done.saves[:-1] if not done.code else ():
            yield f"cut short, {told}", self._answered(spent.with_host(host, record=number), index, host, failed=True)
        if ask.kind in MAY_FAIL or '"stopped"' in ask.arguments:
            kept = spent.with_host(host, record=done.saves[-1])
            yield f"fails, {told}", self._answered(kept, index, host, failed=True)
        if '"stopped"' in ask.arguments and not failed and world.hosts[host].running:
            escaped = after._replace(faults=spent.faults).with_host(host, running=True)
            yield f"believed done though a process is left, {told}", self._answered(escaped, index, host, failed=False)

    def _after(self, world: World, index: int, host: int, failed: bool, begun: bool) -> World:
        if not begun:
            return self._answered(world, index, host, failed)
        run = world.runs[index]
        return world.with_run(index, run._replace(begun=(*run.begun, host)))

    def _starting(self, world: World, index: int, which: int, name: str, faults: bool) -> Iterator[Event]:
        """A start that has been asked for is over when the instance runs, or its guard has refused."""
        host = world.hosts[which]
        if host.power != "up":
            yield f"{name} hears no more of the start", self._answered(world, index, which, failed=True, dropped=True)
        elif host.running or host.guard == NO_GUARD:
            code = self.hosts.checked(host.record, self._ask(world.runs[index], which).pair).code
            yield f"{name} hears of the start", self._answered(world, index, which, failed=bool(code) or not host.running)
        elif faults:
            spent = world._replace(faults=world.faults - 1)
            yield f"{name} waits no longer for the start", self._answered(spent, index, which, failed=True)

    # -- hosts

    def _done(self, world: World, ask: Ask) -> Done:
        host = world.hosts[ask.host]
        if ask.kind == "ownership":
            return self.hosts.ownership(host.record, ask.arguments, ask.pair, ask.run_id, host.running, world.lease)
        if ask.kind == "instances":
            return self.hosts.instances(host.record, ask.arguments, ask.pair, ask.run_id)
        return self.hosts.checked(host.record, ask.pair)

    def _carry_out(self, world: World, ask: Ask) -> tuple[World, bool, bool]:
        """The world after it, whether it was refused, and whether a start has begun by it."""
        before, done = world.hosts[ask.host], self._done(world, ask)
        after = before._replace(record=done.saves[-1])
        begun = False
        if not done.code and ask.kind == "instances":
            if '"stopped"' in ask.arguments:
                after = after._replace(running=False, guard=NO_GUARD)
            elif not before.running:
                begun = True
                after = after._replace(guard=ASKING if before.guard == NO_GUARD else before.guard)
        if ask.pair < before.seen and after != before:
            what = f"{HOSTS[ask.host]} carries out a request of attempt {ask.pair} after one of {before.seen}"
            raise Broken(what, self._told(ask))
        if not done.code:
            after = after._replace(seen=max(before.seen, ask.pair))
        self._forward(before, after)
        if ask.kind == "final_sync" and not done.code and world.ahead == ask.host and not after.running:
            world = world._replace(ahead=NOBODY)
        world = self._becomes_owner(world, ask, before, after)
        hosts = tuple(after if which == ask.host else host for which, host in enumerate(world.hosts))
        return world._replace(hosts=hosts), bool(done.code), begun  # type: ignore[arg-type]

    def _becomes_owner(self, world: World, ask: Ask, before: Host, after: Host) -> World:
        """An owner of an epoch that is past is none: the start guard hears so from the witness."""
        was, becomes = self.hosts.record[before.record], self.hosts.record[after.record]
        newest = max(self.hosts.record[host.record].epoch for host in world.hosts)
        if world.ahead in (NOBODY, ask.host) or was.owns or not becomes.owns or becomes.epoch < newest:
            return world
        offer = self.hosts.record[world.hosts[WITNESS].record].offer
        unplanned = offer and offer["how"] in ("attested", "resolved", "lease_expired") and offer["to"] == HOSTS[ask.host]
        if not ask.attested and not unplanned:
            what = f"{HOSTS[ask.host]} becomes the owner without what clients wrote at {HOSTS[world.ahead]}"
            raise Broken(what, self._told(ask))
        return world._replace(ahead=NOBODY)

    def _forward(self, before: Host, after: Host) -> None:
        old, new = self.hosts.record[before.record], self.hosts.record[after.record]
        if new.epoch < old.epoch:
            raise Broken(f"the epoch of {new.site} goes back from {old.epoch} to {new.epoch}")
        if new.attempt < old.attempt or new.declined < old.declined:
            raise Broken(f"{new.site} forgets: attempt {old.attempt} to {new.attempt}, declined {old.declined} to {new.declined}")

    def _guards(self, world: World) -> Iterator[Event]:
        for which in (PRIMARY, DR):
            host = world.hosts[which]
            if host.guard == ASKING and world.hosts[WITNESS].power != "off":
                yield f"the guard of {HOSTS[which]} asks the witness", world.with_host(which, guard=world.hosts[WITNESS].record)
            elif host.guard >= 0:
                done = self.hosts.heard(host.record, host.guard)
                record = done.saves[-1] if done.saves else host.record
                leased = self.bounds.leases and which == PRIMARY and not done.code
                if leased and world.lease != self.hosts.record[record].epoch:
                    yield from leases.awaited(self.hosts, world, record)
                    continue
                after = host._replace(record=record, running=not done.code, guard=NO_GUARD)
                self._forward(host, after)
                says = "starts its instances" if not done.code else f"refuses: {done.code}"
                yield f"the guard of {HOSTS[which]} {says}", world.with_host(which, **after._asdict())

    def _powers(self, world: World) -> Iterator[Event]:
        for which, host in enumerate(world.hosts):
            name = HOSTS[which]
            if host.power == "cut":
                yield f"{name} is reached again", world.with_host(which, power="up")
            elif host.power == "off":
                if which != PRIMARY or not self._held_off(world):
                    yield f"{name} boots", self.boot(world, which)
            elif world.faults:
                spent = world._replace(faults=world.faults - 1)
                yield f"{name} is cut off", spent.with_host(which, power="cut")
                if which == WITNESS and self.bounds.restored:
                    yield f"{name} is restored from a backup", spent.with_host(which, record=self._restored(), seen=(0, 0))
                if which != WITNESS:
                    late = tuple(ask for ask in world.late if ask.host != which)
                    yield f"{name} loses power", spent._replace(late=late).with_host(which, power="off", running=False, guard=NO_GUARD)

    def _restored(self) -> int:
        return self.hosts.number(replace(self.hosts.record[self.backup], mute=seal.RESTORED))

    def boot(self, world: World, which: int) -> World:
        guard = ASKING if which in (PRIMARY, DR) and self.hosts.may_ask(world.hosts[which].record) else NO_GUARD
        return world.with_host(which, power="up", guard=guard)

    def _held_off(self, world: World) -> bool:
        """Whether an attestation still counts on the primary to be off: its offer has not been recorded."""
        if not self.bounds.true_attestation:
            return False
        if any(ask.attested and '"offered"' in ask.arguments for ask in world.late):
            return True
        return any(self._facts[run.facts]["xdr_attestation"] and not self._past_offer(run) for run in world.runs)

    def _past_offer(self, run: Run) -> bool:
        offers = [at for at, step in enumerate(self._course(run)) if any('"offered"' in arguments for _, (_, arguments) in step.asks)]
        return run.recovers or run.at > max(offers, default=-1)

    def _told(self, ask: Ask) -> str:
        said = json.loads(ask.arguments)
        words = [
            said.get("state", ask.kind),
            *(f"{key} {said[key]}" for key in ("owner_epoch", "to", "owner", "status", "outcome") if said.get(key)),
        ]
        return f"{HOSTS[ask.host]} is asked by {ask.run_id}: {' '.join(map(str, words))}"
