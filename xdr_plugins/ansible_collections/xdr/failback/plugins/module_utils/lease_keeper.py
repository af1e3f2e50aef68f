# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Holds this host's ownership lease of a plan: two processes, of which each starts the other anew should it die.

``renew`` asks the witness, and stops the instances in time where it gets no answer; ``watch`` kills what still runs when the
lease is about to run out, also when the first is frozen. They end when nothing of the plan runs here.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

from . import channel, lease, lease_strike
from . import record as records
from .durable import locked
from .errors import NotReached, XdrError
from .lease import PARTS, RENEW, WATCH, Held, Terms
from .record import Record
from .running import Mark, living_marks
from .site import Peer, PlanOnHost, load_plan, load_site, plan_dir

TICK = 0.3  # seconds between two looks
PAUSE = 1.0  # seconds before a renewal that has failed at once is tried again
LINGER = 10.0  # seconds without anything that runs, after which a part may end


def ensure(state_dir: Path, plan: str) -> None:
    """Start the parts that do not run."""
    for part in PARTS:
        if not lease.is_kept(state_dir, plan, part):
            _spawn(state_dir, plan, part)


def ensure_running(state_dir: Path, plan: str) -> None:
    """As ``ensure``, where instances run: they were started before the plan had leases, or both parts were killed."""
    if living_marks(state_dir, plan, load_plan(state_dir, plan).instances):
        ensure(state_dir, plan)


def keep(state_dir: Path, plan: str, part: str) -> int:
    """Be one part in the background, until there is nothing to hold; the exit code."""
    with contextlib.ExitStack() as slot:
        try:
            slot.enter_context(locked(lease.slot_of(state_dir, plan, part), timeout=0))
        except XdrError:
            return 0  # another of its kind is at work
        _detach()  # with the slot taken: who waits for the process that it started finds this one at work
        lease.slot_of(state_dir, plan, part).write_text(str(os.getpid()), encoding="ascii")
        keeper = Keeper(state_dir, plan) if part == RENEW else Watcher(state_dir, plan)
        while not keeper.is_over(slot):
            keeper.look()
            time.sleep(TICK)
    return 0


class Watcher:
    """The part ``watch``, and what both have in common."""

    other = RENEW

    def __init__(self, state_dir: Path, plan: str) -> None:
        self.state_dir, self.plan = state_dir, plan
        self.held: Held | None = None  # as it was read last
        self._instances: list[str] = []
        self._said = ""
        self._busy = lease.now()
        self._spawned = 0.0

    def look(self) -> None:
        """Do what the moment asks for. Whatever cannot be read, the lease that was read last goes on running out."""
        marks = self.marks()
        try:
            self.held = lease.read_held(self.state_dir, self.plan)
            self.act(marks)
        except XdrError as error:
            self.say(error.sentence())
        if marks and lease.now() >= self._spawned + PAUSE and not lease.is_kept(self.state_dir, self.plan, self.other):
            self._spawned = lease.now()
            _spawn(self.state_dir, self.plan, self.other)
        if marks and self.held and self.held.is_of_this_boot and self.held.age >= self.held.terms.kill_after:
            self.say(f"the lease of epoch {self.held.epoch} has run out, what still runs of {', '.join(marks)} is killed")
            lease_strike.kill(marks.values(), self.say)

    def act(self, marks: dict[str, Mark]) -> None:
        """What this part alone does."""

    def marks(self) -> dict[str, Mark]:
        """Of the instances that run."""
        with contextlib.suppress(XdrError):
            self._instances = list(load_plan(self.state_dir, self.plan).instances)
        found = living_marks(self.state_dir, self.plan, self._instances)
        self._busy = lease.now() if found else self._busy
        return found

    def is_over(self, slot: contextlib.ExitStack) -> bool:
        """Whether nothing is left to do. The slot is free then before a start guard, under the plan's lock, relies on it.

        That lock is never waited for: a process that is frozen in it must keep no lease alive.
        """
        if not self.may_end():
            return False
        with contextlib.suppress(XdrError), locked(plan_dir(self.state_dir, self.plan) / "lock", timeout=0):
            if self.may_end():
                slot.close()
                return True
        return False

    def may_end(self) -> bool:
        return not self._leased() or (not self.marks() and self.idle > LINGER and not lease.is_kept(self.state_dir, self.plan, RENEW))

    def _leased(self) -> bool:
        try:
            return lease.terms_of(self.state_dir, load_plan(self.state_dir, self.plan)) is not None
        except XdrError as error:
            self.say(error.sentence())
            return (plan_dir(self.state_dir, self.plan) / "plan.json").exists()  # damaged, or the plan has left this host

    @property
    def idle(self) -> float:
        """Seconds for which nothing has run."""
        return lease.now() - self._busy

    def say(self, text: str) -> None:
        if text != self._said:
            self._said = text
            print(f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} xdr lease: {text}", file=sys.stderr, flush=True)


class Keeper(Watcher):
    """The part ``renew``."""

    other = WATCH

    def __init__(self, state_dir: Path, plan: str) -> None:
        super().__init__(state_dir, plan)
        self._next = 0.0  # when to ask, by lease.now()
        self._stopping = False
        self._stopped: list[str] = []  # what is to be started again with the next lease

    def act(self, marks: dict[str, Mark]) -> None:
        here, record = load_plan(self.state_dir, self.plan), records.load(self.state_dir, self.plan)
        self._stopping = self._stopping and bool(marks)
        if marks and self.held and self._must_stop(self.held):
            if not self._stopping:
                self._stop(here, self.held, list(marks))
        elif lease.now() < self._next:
            return
        elif here.lease is None:
            self._give_back(here)
        elif record.owns and self._is_due(record):
            self._renew(here, record, bool(marks))

    def _must_stop(self, held: Held) -> bool:
        return held.is_of_this_boot and (bool(held.refused) or held.age >= held.terms.stop_after)

    def _stop(self, here: PlanOnHost, held: Held, names: list[str]) -> None:
        self._stopping = True
        self._stopped = sorted({*self._stopped, *names})
        why = held.refused or f"no renewal for {held.age:.0f} s"
        self.say(f"the lease of epoch {held.epoch} ends, {', '.join(names)} are stopped: {why}")
        lease_strike.stop(load_site(self.state_dir), here, names, self.say)

    def _is_due(self, record: Record) -> bool:
        held = self.held
        fresh = held is not None and held.is_of_this_boot and held.granted and not held.refused and held.epoch == record.epoch
        return not (fresh and held is not None and held.age < held.terms.loop_wait)

    def _renew(self, here: PlanOnHost, record: Record, running: bool) -> None:
        """Ask once."""
        terms = Terms.from_json(here.lease or {})
        held = self.held if self.held and self.held.is_of_this_boot else self._begin(here, record, terms, running)
        if held is None:
            return
        at = lease.now()
        # where there is something to stop, that is not kept waiting for an answer
        within = min(terms.retry_timeout, held.terms.stop_after - held.age) if running else terms.retry_timeout
        try:
            refused, code = self._ask(here, record.epoch, terms, within)
        except XdrError as error:
            self.say(error.sentence())
            self._next = max(at + (terms.loop_wait if held.age > held.terms.ttl else PAUSE), lease.now())
            return
        if refused:
            self.say(refused)
            self._next = lease.now() + terms.loop_wait
            self._keep(replace(held, asked=at, refused=refused))
            self._stopped = self._stopped if code == "offer_open" else []  # that one may yet be closed
        else:
            self._keep(Held(terms, lease.boot_id(), record.epoch, at, at, granted=True))
            self._start_again()

    def _keep(self, held: Held) -> Held:
        self.held = held
        lease.write_held(self.state_dir, self.plan, held)
        return held

    def _begin(self, here: PlanOnHost, record: Record, terms: Terms, running: bool) -> Held | None:
        """The host holds to the terms from before its first request on.

        That this stops nothing that was started before the plan had leases, the witness must have answered another request: of epoch 0,
        which nobody may hold.
        """
        try:
            if running:
                self._ask(here, 0, terms, terms.retry_timeout)
        except XdrError as error:
            self.say(error.sentence())
            self._next = lease.now() + PAUSE
            return None
        at = lease.now()
        return self._keep(Held(terms, lease.boot_id(), record.epoch, at, at))

    def _witness(self, here: PlanOnHost) -> Peer:
        try:
            return load_site(self.state_dir).peers[here.witness]
        except KeyError:
            raise XdrError(f"the witness {here.witness} is not a peer of this host", todo="Apply the role site_agent again") from None

    def _ask(self, here: PlanOnHost, epoch: int, terms: Terms, within: float) -> tuple[str, str]:
        """Empty when the witness has granted it, else why not, and the code. Raises XdrError where it is not known."""
        words = (self.plan, here.host, here.site, str(epoch), str(terms.ttl))
        told = channel.run(self._witness(here), "lease", *words, timeout=within)
        try:
            answer = json.loads(told)
            return str(answer["refused"]), str(answer["code"])
        except (ValueError, KeyError) as error:
            raise NotReached(f"the witness answered {told[:80]!r}", where=here.witness, todo="Apply the role site_agent to it") from error

    def _start_again(self) -> None:
        names, self._stopped = self._stopped, []
        if names:
            self.say(f"a new lease: {', '.join(names)} are started again")
            which = [word for name in names for word in ("--instance", name)]
            subprocess.Popen([*_agent(self.state_dir), "boot", "--state-dir", str(self.state_dir), "--plan", self.plan, *which])

    def _give_back(self, here: PlanOnHost) -> None:
        """The plan has no lease any more; the host holds to its own until the witness has forgotten it."""
        self._next = lease.now() + PAUSE
        try:
            channel.run(self._witness(here), "lease-end", self.plan, here.host, timeout=channel.CONNECT_TIMEOUT)
        except XdrError as error:
            self.say(error.sentence())
            return
        lease.path_of(self.state_dir, self.plan).unlink(missing_ok=True)

    def may_end(self) -> bool:
        if not self._leased():
            return True
        lasts = self.held.terms.ttl if self.held and not self.held.refused else 0
        return not self.marks() and not self._stopped and self.idle > max(LINGER, lasts)


def _agent(state_dir: Path) -> list[str]:
    mine = Path(sys.argv[0])
    path = mine.resolve() if mine.suffix == ".pyz" else Path(state_dir) / "agent" / "xdr-site-agent.pyz"
    return [sys.executable, str(path)]


def _spawn(state_dir: Path, plan: str, part: str) -> None:
    """As nobody's child: what starts it becomes the instance, or is a module that ends."""
    with lease.log_of(state_dir, plan).open("ab") as log:
        subprocess.run(
            [*_agent(state_dir), "lease-keeper", "--state-dir", str(state_dir), "--plan", plan, "--part", part],
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=log,
            check=False,
        )


def _detach() -> None:
    """Leave the process that started this one, its group and its session."""
    if os.fork():
        os._exit(0)
    os.setsid()
