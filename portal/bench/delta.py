# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""``xdr bench delta``: the delta sync against rsync and against what this machine can do."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ansible_collections.xdr.failback.plugins.module_utils.durable import write_json

from .. import render, var_folder
from ..interrupts import Interrupted, deaf, interruptible
from . import engine, limits, machine, peer, show
from .ground import clear_leftovers, ground
from .rows import NAMES, Row, Taken, rows, wanted
from .run import Bench
from .scenes import SIZE, Scene, scenes
from .volumes import STRETCH

UNITS = {"": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}


@dataclass(frozen=True)
class Choice:
    """What is asked for. ``names``: rows; those that follow from them come along."""

    size: int = SIZE
    names: tuple[str, ...] = NAMES
    repeat: int = 5


def chosen(size: str, names: str, repeat: int) -> Choice:
    """Raises ValueError with a sentence for what cannot be."""
    match = re.fullmatch(r"(\d+) ?(|KiB|MiB|GiB)", size)
    nbytes = int(match[1]) * UNITS[match[2]] if match else 0
    if nbytes < 2 * STRETCH or nbytes % STRETCH:
        raise ValueError(f"'{size}' is no size: take whole MiB, at least 2MiB, as in 512MiB or 2GiB")
    picked = tuple(name.strip() for name in names.split(",")) if names else NAMES
    for name in picked:
        if name not in NAMES:
            raise ValueError(f"there is no row '{name}'. Rows: {', '.join(NAMES)}")
    if repeat < 1:
        raise ValueError("measure at least once")
    return Choice(nbytes, picked, repeat)


def run(choice: Choice, *, as_json: bool) -> int:
    """Measure, keep the document, show it. The exit code is 0 also where a goal is missed: it is a measurement."""
    folder = var_folder(Path("bench"))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with interruptible(), machine.alone(folder):
            document, found = _measured(choice, folder)
    except Interrupted:
        machine.tell("interrupted: everything it started is ended, nothing is kept")
        return 1
    kept = folder / f"delta-{time.strftime('%Y-%m-%dT%H%M%S')}.json"
    write_json(kept, document)
    if as_json:
        render.show_json(document)
    else:
        render.show(show.table(found, choice.size, choice.repeat))
        render.show(show.limits(document["limits"]))
    machine.tell(f"kept in {kept}")
    return 0


def _measured(choice: Choice, folder: Path) -> tuple[dict[str, Any], list[Row]]:
    lacking = {mode: engine.lacks(mode) for mode in engine.MODES}
    rsync, load = peer.version(), machine.load()
    clear_leftovers(folder)
    measured: dict[tuple[str, str], Taken] = {}
    with contextlib.ExitStack() as ending:
        here = ending.enter_context(ground(folder))
        ending.callback(deaf)
        rates = limits.measure(here, choice.size, machine.tell)
        bench = Bench(here, rates, machine.tell)
        for scene, those in _by_scene(choice, lacking):
            for who, taken in bench.scene(scene, those, choice.repeat).items():
                measured[scene.name, who] = taken
    found = rows(choice.names, measured, lacking)
    asked = {"size": choice.size, "repeat": choice.repeat, "rows": list(choice.names)}
    return {
        "machine": {**machine.described(), "rsync": rsync, "load_before": round(load, 2)},
        "asked": asked,
        "limits": asdict(rates),
        "rows": [row.to_json() for row in found],
    }, found


def _by_scene(choice: Choice, lacking: dict[str, str]) -> Iterator[tuple[Scene, list[str]]]:
    every = scenes(choice.size)
    todo = wanted(choice.names, lacking)
    for name in dict.fromkeys(scene for scene, _ in todo):
        yield every[name], [who for scene, who in todo if scene == name]
