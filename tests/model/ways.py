# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""From everywhere there is a way to a named, safe end: all runs dead, nobody disturbs, and a person gives one command after the other."""

from __future__ import annotations

from collections.abc import Iterator

from ansible_collections.xdr.failback.plugins.plugin_utils import state_machine

from tests.model.machine import ACTIONS, KEEPS, Broken, Machine
from tests.model.world import DR, PRIMARY, World

PROTECTED = ("ACTIVE", "READY")
RUNNING = (*PROTECTED, "FAILED_OVER", "FAILED_BACK", "UNPROTECTED")
COMMANDS = 6


class Ways:
    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._known: dict[World, bool] = {}

    def check(self, world: World) -> None:
        """Raises Broken."""
        still = world._replace(runs=(), late=(), faults=0, starts=1000)
        healed = still
        for which, host in enumerate(still.hosts):
            healed = self._machine.boot(healed, which) if host.power == "off" else healed.with_host(which, power="up")
        self._way(healed, PROTECTED, "every host up again")
        if world.hosts[PRIMARY].power == "off":
            reached = still
            for which in (DR, 2):
                reached = reached.with_host(which, power="up") if still.hosts[which].power == "cut" else reached
            if reached.hosts[DR].power == "up":
                self._way(reached, RUNNING, "the primary off for good")

    def _way(self, world: World, ends: tuple[str, ...], when: str) -> None:
        if not self._leads(self._plain(self._machine.rest(world)), ends, when):
            raise Broken(f"a dead end: {when}, and no command leads to {' or '.join(ends)} with services up")

    def _plain(self, world: World) -> World:
        return world._replace(hosts=tuple(host._replace(seen=(0, 0)) for host in world.hosts))  # type: ignore[arg-type]

    def _leads(self, world: World, ends: tuple[str, ...], when: str) -> bool:
        """Breadth first over the commands that the gate lets through."""
        if world in self._known:
            return self._known[world]
        level: dict[World, tuple[str, ...]] = {world: (f"all runs die, {when}",)}
        passed = set(level)
        self._known[world] = False
        for _ in range(COMMANDS):
            if any(self._ended(here, ends) or self._known.get(here) for here in level):
                self._known[world] = True
                return True
            found = [each for here, path in level.items() for each in self._commands(here, path)]
            level = {after: path for after, path in found if after not in passed}
            passed.update(level)
        return False

    def _commands(self, world: World, path: tuple[str, ...]) -> Iterator[tuple[World, tuple[str, ...]]]:
        off = world.hosts[PRIMARY].power == "off"
        for action, attested in [(action, False) for action in ACTIONS] + ([("failover", True)] if off else []):
            longer = (*path, f"{action}, to its end{', attested' if attested else ''}")
            try:
                after = self._machine.calm(world, action, attested)
            except Broken as broken:
                raise Broken(broken.args[0], *longer, *broken.args[1:]) from broken
            if after is not None:
                yield self._plain(after._replace(starts=1000)), longer
        for keep in KEEPS if self._machine.bounds.resolves else ():
            after = self._machine.calm(world, "resolve", keep=keep)
            if after is not None:
                yield self._plain(after._replace(starts=1000)), (*path, f"resolve, {keep} is kept, to its end")

    def _ended(self, world: World, ends: tuple[str, ...]) -> bool:
        view = state_machine.derive(self._machine.plan, self._machine.reads(self._machine.read(world)))
        runs = {"primary": world.hosts[PRIMARY].running, "dr": world.hosts[DR].running}
        return str(view.state) in ends and view.run is None and view.owner is not None and [s for s in runs if runs[s]] == [view.owner]
