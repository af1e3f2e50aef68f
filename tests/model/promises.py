# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""What must be so in every world."""

from __future__ import annotations

from tests.model.leases import covered
from tests.model.machine import Broken, Machine
from tests.model.world import DR, HOSTS, PRIMARY, WITNESS, World


def check(machine: Machine, world: World) -> None:
    """Raises Broken."""
    if may_run(machine, world, PRIMARY) and may_run(machine, world, DR):
        raise Broken("both sites may run the plan's instances")
    _one_site_to_an_epoch(machine, world)
    _end_is_understood(machine, world)


def check_resolution(machine: Machine, world: World, split: int) -> None:
    """After a split brain whose newest epoch is ``split``: once a site has accepted one above it, the other may not run. Raises Broken."""
    _one_site_to_an_epoch(machine, world)
    for which, other in ((PRIMARY, DR), (DR, PRIMARY)):
        mine, theirs = (machine.hosts.record[world.hosts[each].record] for each in (which, other))
        if mine.owns and mine.epoch > max(split, theirs.epoch if theirs.owns else 0) and may_run(machine, world, other):
            raise Broken(f"{HOSTS[other]} may run the plan's instances though {HOSTS[which]} was kept")


def may_run(machine: Machine, world: World, which: int) -> bool:
    """Its instances run, or its start guard would let them: now, or with the answer that it already has."""
    host = world.hosts[which]
    if host.power == "off":
        return False
    told = (host.guard, world.hosts[WITNESS].record) if host.guard >= 0 else (world.hosts[WITNESS].record,)
    heard = [machine.hosts.heard(host.record, number) for number in told]
    free = not machine.bounds.leases or which != PRIMARY
    return host.running or any(not done.code and (free or covered(machine.hosts, world, done.saves[-1])) for done in heard)


def _one_site_to_an_epoch(machine: Machine, world: World) -> None:
    taken: dict[int, str] = {}
    for which in (PRIMARY, DR):
        for entry in machine.hosts.record[world.hosts[which].record].history:
            if entry["owner"] == HOSTS[which] and entry["how"] != "taken_over":
                if taken.setdefault(entry["epoch"], HOSTS[which]) != HOSTS[which]:
                    raise Broken(f"both sites have accepted epoch {entry['epoch']}")
                if entry["epoch"] == machine.hosts.record[world.hosts[WITNESS].record].declined:
                    raise Broken(f"{HOSTS[which]} has accepted epoch {entry['epoch']}, which the witness holds for declined")


def _end_is_understood(machine: Machine, world: World) -> None:
    """A site that was told the end of a move knows whose the plan is: with a release of its own that nobody answered it would not."""
    for which in (PRIMARY, DR):
        record = machine.hosts.record[world.hosts[which].record]
        if record.standing == "released" and (record.run or {}).get("outcome") in ("ok", "rolled_back"):
            raise Broken(f"{HOSTS[which]} was told that a move has ended, and not who owns the plan")
