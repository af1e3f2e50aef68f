# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Many instances at once: what is, what is to be changed, and the change (module xdr_instances)."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable

from ..attempt import Holding
from ..errors import Refused, XdrError
from ..parallel import each
from ..progress import Progress
from ..record import Record, transition
from ..site import load_plan, load_site
from . import Gate, InstanceDriver, Item, Outcome, driver

DESIRED = {"started": "RUNNING", "stopped": "STOPPED"}
NOTHING_RUNS = ("STOPPED", "EXITED", "FATAL")


@dataclass(frozen=True)
class Instance:
    """An item of the call with the driver that knows how to handle it."""

    item: Item
    driver: InstanceDriver

    @property
    def name(self) -> str:
        return str(self.item["name"])


def read_items(state_dir: Path, plan: str, items: Sequence[Item]) -> list[Instance]:
    """The instances, their options as registered on this host where the call gives none; XdrError for one not of this plan."""
    site, registered = load_site(state_dir), load_plan(state_dir, plan).instances
    instances = []
    for item in items:
        name = str(item.get("name", ""))
        if name not in registered:
            raise XdrError(
                f"instance '{name}' is not registered for plan {plan}",
                where=site.host,
                todo="Register the plan with xdr_plan, or correct the name",
            )
        whole = {**registered[name], **item, "plan": plan}
        instances.append(Instance(whole, driver(str(whole["driver"]), site)))
    return instances


def read_state(instances: Sequence[Instance]) -> list[Outcome]:
    return each(lambda instance: instance.driver.status(instance.item), instances)


def look_at_all(state_dir: Path, plan: str) -> list[dict[str, Any]]:
    """Name, state, pid and why of every instance of the plan on this host; one that cannot be looked at is UNKNOWN."""

    def look(name: str) -> dict[str, Any]:
        try:
            [seen] = read_state(read_items(state_dir, plan, [{"name": name}]))
        except XdrError as error:
            seen = Outcome("UNKNOWN", why=error.sentence())
        return {"name": name, "state": seen.state, "pid": seen.pid, "why": seen.why}

    return each(look, list(load_plan(state_dir, plan).instances))


def ending(state_dir: Path, plan: str) -> Callable[[str], str]:
    """A function from a resource to why its instance has ended: empty while it has not, and for one that is not of this host."""
    known = load_plan(state_dir, plan).instances

    def look(name: str) -> str:
        if name not in known:
            return ""
        [seen] = read_state(read_items(state_dir, plan, [{"name": name}]))
        return f"its instance does not run: {seen.why or seen.state}" if seen.state in NOTHING_RUNS else ""

    return look


def plan_changes(names: Sequence[str], current: Sequence[Outcome], state: str) -> list[tuple[str, str, str]]:
    """(name, before, after) of each instance that is not as desired. Pure.

    ``state`` is ``started`` or ``stopped``; what has ended by itself (EXITED, FATAL) is as good as stopped.
    """
    done = ("RUNNING",) if state == "started" else NOTHING_RUNS
    return [(name, seen.state, DESIRED[state]) for name, seen in zip(names, current) if seen.state not in done]


def diff(changes: Sequence[tuple[str, str, str]]) -> dict[str, str]:
    """Ansible's diff: a line ``name: state`` for each instance that changes."""
    before = "".join(f"{name}: {was}\n" for name, was, _ in changes)
    after = "".join(f"{name}: {becomes}\n" for name, _, becomes in changes)
    return {"before": before, "after": after}


def result(name: str, outcome: Outcome, resource_state: str | None) -> dict[str, Any]:
    return {
        "name": name,
        "state": outcome.state,
        "pid": outcome.pid,
        "changed": outcome.changed,
        "seconds": outcome.seconds,
        "resource_state": resource_state,
        "why": outcome.why,
    }


def check_may_start(record: Record) -> None:
    """Raises Refused (``wrong_owner``) unless this site owns the plan and is not about to give it up."""
    where = f"{record.host}, plan {record.plan}"
    if not record.owns:
        owner = record.owner or "no site"
        raise Refused(
            f"{record.site or 'this host'} may not start instances: epoch {record.epoch} belongs to {owner} (standing {record.standing})",
            where=where,
            todo="Hand the plan over to this site first, or start the instances on its owner",
            code="wrong_owner",
        )
    if record.draining:
        raise Refused(
            f"{record.site} may not start instances: it is draining, services were stopped here to move the plan",
            where=where,
            todo="Let the run finish, or roll it back",
            code="wrong_owner",
        )


def may_drain(record: Record) -> bool:
    """Whether marking it as draining would change anything."""
    return record.owns and not record.draining


def mark_draining(holding: Holding) -> bool:
    """From now on the start guard refuses here; True when it did not before. On a site that does not own the plan it does anyway."""
    with holding.locked():
        changed = may_drain(holding.record)
        if changed:
            holding.save(transition(holding.record, {"request": "draining"}, time.time()))
    return changed


class Mover:
    """Starts or stops instances in parallel and tells of each; an instance that fails does not stop the others."""

    def __init__(self, holding: Holding, progress: Progress) -> None:
        self._holding, self._progress = holding, progress

    def start(self, instances: Sequence[Instance]) -> list[dict[str, Any]]:
        with self._holding.locked():
            check_may_start(self._holding.record)
        return each(lambda instance: self._move(instance, "started", self._may_start), instances)

    def stop(self, instances: Sequence[Instance]) -> list[dict[str, Any]]:
        return each(lambda instance: self._move(instance, "stopped", self._holding.locked), instances)

    @contextlib.contextmanager
    def _may_start(self) -> Iterator[None]:
        with self._holding.locked():
            check_may_start(self._holding.record)
            yield

    def _move(self, instance: Instance, state: str, gate: Gate) -> dict[str, Any]:
        began = time.monotonic()
        during = "Recovering" if state == "started" else "Stopping"
        self._progress.resource(instance.name, during)
        try:
            work = instance.driver.start if state == "started" else instance.driver.stop
            return result(instance.name, work(instance.item, gate), during)
        except XdrError as error:
            self._progress.resource(instance.name, "Failed")
            seen = _status_or_unknown(instance)
            failed = Outcome(seen.state, seen.pid, seconds=round(time.monotonic() - began, 3), why=error.sentence())
            return {**result(instance.name, failed, "Failed"), "xdr_code": error.code}


def _status_or_unknown(instance: Instance) -> Outcome:
    try:
        return instance.driver.status(instance.item)
    except XdrError:
        return Outcome("UNKNOWN")


def check_all(results: Sequence[dict[str, Any]], state: str) -> None:
    """Raises XdrError in one sentence for the results that failed, if any did."""
    failed = [each_result for each_result in results if each_result["resource_state"] == "Failed"]
    if not failed:
        return
    first, names = failed[0], ", ".join(each_result["name"] for each_result in failed)
    if len(failed) == 1:
        raise XdrError(first["why"], code=first["xdr_code"])
    raise XdrError(
        f"{len(failed)} of {len(results)} instances could not be {state}: {names}; the first: {first['why']}", code=first["xdr_code"]
    )


def predicted(
    instances: Sequence[Instance], current: Sequence[Outcome], changes: Sequence[tuple[str, str, str]], state: str
) -> list[dict[str, Any]]:
    """The results of check mode."""
    becomes = {name: after for name, _, after in changes}
    during = "Recovering" if state == "started" else "Stopping"
    return [
        result(instance.name, Outcome(becomes.get(instance.name, seen.state), changed=instance.name in becomes), during)
        for instance, seen in zip(instances, current)
    ]
