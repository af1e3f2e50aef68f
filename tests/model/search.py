# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Breadth first over all worlds, so that the first breach found has the shortest way to it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from tests.model import promises
from tests.model.machine import Broken, Machine
from tests.model.ways import Ways
from tests.model.world import World


class Found(NamedTuple):
    """``breach``: empty, or which promise is broken; ``trace``: the events that lead there. ``whole``: all within the bounds was seen."""

    states: int
    depth: int
    whole: bool
    breach: str = ""
    trace: tuple[str, ...] = ()

    def told(self) -> str:
        steps = "\n".join(f"{number:3} {label}" for number, label in enumerate(self.trace, 1))
        return f"{self.breach or 'nothing is broken'} ({self.states} states, depth {self.depth})\n{steps}"


Check = Callable[[Machine, World], None]


def search(
    machine: Machine,
    begins: Iterable[World],
    *,
    depth: int = 10_000,
    states: int = 10_000_000,
    ways: bool = True,
    check: Check = promises.check,
) -> Found:
    level = list(begins)
    before: dict[World, tuple[World, str] | None] = dict.fromkeys(level)
    dead_ends = Ways(machine)
    for reached in range(depth):
        following: list[World] = []
        for world in level:
            try:
                check(machine, world)
                if ways:
                    dead_ends.check(world)
                for label, after in machine.events(world):
                    if after not in before:
                        before[after] = (world, label)
                        following.append(after)
            except Broken as broken:
                return Found(len(before), reached, False, broken.args[0], (*_trace(before, world), *broken.args[1:]))
            if len(before) > states:
                return Found(len(before), reached, False)
        if not following:
            return Found(len(before), reached, True)
        level = following
    return Found(len(before), depth, False)


def _trace(before: dict[World, tuple[World, str] | None], world: World) -> tuple[str, ...]:
    labels = []
    while step := before[world]:
        world, label = step
        labels.append(label)
    return tuple(reversed(labels))
