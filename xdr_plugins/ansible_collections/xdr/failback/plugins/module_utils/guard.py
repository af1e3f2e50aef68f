# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The start guard: the only way to a process of a protected instance. It starts nothing that this site does not own."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Callable

from . import channel, lease, notify, systemctl
from . import record as records
from .durable import locked, write_json
from .errors import NotReached, Refused, XdrError
from .openfiles import command_of
from .record import Record, transition
from .running import alive, mark_path, read_mark, remove_mark, start_time
from .site import PlanOnHost, Site, load_plan, load_site, plan_dir
from .witness import check_speaks

REFUSED = 77  # exit code
ASK_EVERY = 5.0  # seconds between two questions to a witness that does not answer
ASK_TIMEOUT = 10.0
GIVEN = 60.0  # more than a question to the witness and the wait for the lock take together

Say = Callable[[str], None]


def guard(state_dir: Path, plan: str, instance: str, argv: Sequence[str]) -> int:
    """Become ``argv`` if this site may run the instance; returns only when it may not, with the exit code."""
    try:
        here = _asked(state_dir, plan, instance, _say)
        leased = _await_lease(state_dir, here)
        with _let_through(state_dir, here):
            _mark(state_dir, here, instance)
            if leased:  # after the mark: whoever kills when the lease runs out has seen it, or this sees that it has run out
                _check_lease(state_dir, plan, instance)
    except Refused as error:
        _say(error.sentence())
        return REFUSED
    return _become(state_dir, plan, instance, argv)


def condition(state_dir: Path, plan: str, instance: str) -> int:
    """Whether systemd may start the instance's service (its ExecCondition=). The exit code: 0, or 77, for which systemd skips the start.

    Nothing is marked: from here to the end of the service systemd itself tells that it is being started or runs, see ``running.alive``.
    No lease is asked for: a plan with leases has no services (plugin_utils/environment.py).
    """
    _act_as_owner(state_dir)
    _tell_systemd("")
    try:
        here = _asked(state_dir, plan, instance, _tell_systemd)
        with _let_through(state_dir, here):
            _refuse_second_copy(here, instance)
    except Refused as error:
        _tell_systemd(error.sentence())
        return REFUSED
    notify.tell("")
    return 0


def _refuse_second_copy(plan: PlanOnHost, instance: str) -> None:
    """KillMode= may have spared processes of the last start. systemd would start another beside them; they write to the same volume."""
    [service] = systemctl.show([str(plan.instances[instance]["unit"])])
    left = [pid for pid in service.processes() if pid != os.getpid()]
    if left:
        raise _runs_already(plan, instance, f"process {left[0]} ({command_of(left[0])})")


def _asked(state_dir: Path, plan: str, instance: str, say: Say) -> PlanOnHost:
    """What this host does for the plan, once neither its record nor the witness speaks against a start. Raises Refused."""
    site, here = load_site(state_dir), load_plan(state_dir, plan)
    _registered(here, instance)
    _check(state_dir, here)
    if not any(one.is_up for one in alive(state_dir, plan, here.instances)):
        take_over_newest(state_dir, site, here, say)
    return here


@contextlib.contextmanager
def _let_through(state_dir: Path, plan: PlanOnHost) -> Iterator[None]:
    """Under the plan's lock, and only if this site may still run its instances. Raises Refused."""
    with locked(plan_dir(state_dir, plan.plan) / "lock"):
        _check(state_dir, plan)
        yield


def _act_as_owner(state_dir: Path) -> None:
    """systemd starts this as root; what it writes must stay readable and writable for the account of the state folder."""
    owner = state_dir.stat()
    if os.geteuid() == 0 and owner.st_uid:
        os.initgroups(pwd.getpwuid(owner.st_uid).pw_name, owner.st_gid)
        os.setgid(owner.st_gid)
        os.setuid(owner.st_uid)


def _tell_systemd(text: str) -> None:
    """Each time the start is given time until the next, so that its own limit counts for the service alone."""
    if text:
        _say(text)
    notify.tell(text, wait=GIVEN)


def take_over_newest(state_dir: Path, site: Site, plan: PlanOnHost, say: Say) -> None:
    """Ask the witness for the newest epoch and store what it says; the lock is not held while waiting for an answer.

    Out of reach, the site's ``boot_without_witness`` decides: ``wait`` asks until there is an answer, ``start`` goes on without.
    Raises Refused when the witness knows that this site may not start.
    """
    told = _ask(state_dir, site, plan, say)
    if told is None:
        return
    with locked(plan_dir(state_dir, plan.plan) / "lock"):
        record = records.load(state_dir, plan.plan)
        learnt = learn(record, told, time.time())
        if learnt != record:
            records.save(state_dir, learnt)


def learn(record: Record, witness: Record, now: float) -> Record:
    """This site's record after hearing the witness. Pure.

    Raises Refused for an open offer to the other site (it may have accepted), and when both claim the same epoch.
    The site's own acceptance counts even where the witness has not decided it yet.
    """
    record = replace(record, heard=max(record.heard, witness.serial))
    if witness.epoch:
        record = transition(record, {"request": "known", "epoch": witness.epoch, "owner": witness.owner}, now)
    offer = witness.offer
    if witness.offer_is_open and offer and offer["to"] != record.site and offer["epoch"] > record.epoch and record.owns:
        raise Refused(
            f"epoch {offer['epoch']} was offered to {offer['to']}, which may have accepted it",
            where=f"{record.host}, plan {record.plan}",
            todo="Finish or roll back the run that made the offer",
            code="offer_open",
        )
    return record


def check_may_start(record: Record) -> None:
    """Raises Refused unless the site owns the newest epoch it knows, and is not draining."""
    where = f"{record.host}, plan {record.plan}"
    if not record.owns:
        owner = f"{record.owner} owns epoch {record.epoch}" if record.owner else f"nobody owns epoch {record.epoch}"
        what = f"{record.site} does not own the plan: {owner} (standing {record.standing})"
        raise Refused(what, where=where, todo="Move the plan to this site first", code="not_owner")
    if record.draining:
        raise Refused("the plan is draining: it is being moved", where=where, todo="Finish or roll back the run", code="draining")


def _await_lease(state_dir: Path, plan: PlanOnHost) -> bool:
    """Whether one covers a start; False where the plan has none."""
    if lease.terms_of(state_dir, plan) is None:
        return False
    from .lease_guard import await_lease  # imports what a start without leases need not wait for

    return await_lease(state_dir, plan, _say)


def _check_lease(state_dir: Path, plan: str, instance: str) -> None:
    try:
        lease.check_covers(state_dir, records.load(state_dir, plan))
    except Refused:
        remove_mark(state_dir, plan, instance)
        raise


def _check(state_dir: Path, plan: PlanOnHost) -> None:
    check_may_start(records.load(state_dir, plan.plan))


def _ask(state_dir: Path, site: Site, plan: PlanOnHost, say: Say) -> Record | None:
    peer = site.peers.get(plan.witness)
    if peer is None:
        raise XdrError(f"the witness {plan.witness} is not a peer of this host", where=site.host, todo="Apply the role site_agent again")
    while True:
        try:
            answer = channel.run(peer, "record", plan.plan, timeout=ASK_TIMEOUT)
            return _witness_record(answer, plan, records.load(state_dir, plan.plan))
        except XdrError as error:
            if site.boot_without_witness == "start":
                say(f"{error.sentence()} Starting without the witness, as boot_without_witness says.")
                return None
            say(f"{error.sentence()} Waiting for the witness, asking again in {ASK_EVERY:g} s.")
        time.sleep(ASK_EVERY)


def _witness_record(answer: str, plan: PlanOnHost, mine: Record) -> Record:
    """Raises NotReached for an answer that is none: of a witness that is mute, or that lost its disk and knows no epoch, too."""
    try:
        # an agent of a version that did not count its writes tells none, and is taken at its word as it was then
        record = records.from_json({"serial": mine.heard, **json.loads(answer)}, plan.witness)
    except (TypeError, ValueError) as error:
        raise NotReached(f"the witness answered {answer[:80]!r}", where=plan.witness, todo="Apply the role site_agent to it") from error
    check_speaks(mine, record)
    return record


def _registered(plan: PlanOnHost, instance: str) -> None:
    if instance not in plan.instances:
        where = f"{plan.host}, plan {plan.plan}"
        raise Refused(f"{instance!r} is not an instance of the plan on this host", where=where, todo="Correct the command of the instance")


def _runs_already(plan: PlanOnHost, instance: str, what: str) -> Refused:
    where = f"{plan.host}, plan {plan.plan}"
    return Refused(f"instance {instance} runs already: {what}", where=where, todo="Stop it first", code="runs_already")


def _mark(state_dir: Path, plan: PlanOnHost, instance: str) -> None:
    mark = read_mark(state_dir, plan.plan, instance)
    if mark and mark.alive() and mark.pid != os.getpid():
        raise _runs_already(plan, instance, f"process {mark.pid}")
    started = start_time(os.getpid())
    write_json(mark_path(state_dir, plan.plan, instance), {"pid": os.getpid(), "started": started})


def _become(state_dir: Path, plan: str, instance: str, argv: Sequence[str]) -> int:
    try:
        os.execvp(argv[0], list(argv))  # noqa: S606  (to become the instance is the guard's purpose)
    except OSError as error:
        remove_mark(state_dir, plan, instance)
        _say(f"{argv[0]}: {error.strerror}. Correct the command of instance {instance}")
    return 127 if not Path(argv[0]).exists() else 126


def _say(text: str) -> None:
    print(f"xdr guard: {text}", file=sys.stderr, flush=True)
