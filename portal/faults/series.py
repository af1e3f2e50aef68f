# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""A series of scenarios: one line of JSON for each in a file, so that it can be interrupted and gone on with; and its table."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .places import STEPS
from .scenario import every, of_seed

if TYPE_CHECKING:
    from rich.console import RenderableType

Result = dict[str, Any]
FINE = ("home", "rolled back")


@dataclass(frozen=True)
class Series:
    """The seeds ``first`` to ``first + iterations - 1``, among the scenarios that ``only`` leaves."""

    first: int
    iterations: int
    only: str = ""

    @property
    def seeds(self) -> range:
        return range(self.first, self.first + self.iterations)

    def file(self, folder: Path) -> Path:
        only = re.sub(r"[^a-z0-9_]+", "-", self.only)
        return folder / ("-".join(["series", str(self.first), str(self.iterations), *([only] if only else [])]) + ".jsonl")

    def again(self, seed: int) -> str:
        """The command that plays one seed alone."""
        return f"xdr faults run --seed {seed} --iterations 1" + (f" --only {self.only}" if self.only else "")


def read(file: Path) -> list[Result]:
    """What was played; a line that an interruption tore is left out."""
    found = []
    for line in file.read_text(encoding="utf-8").splitlines() if file.exists() else []:
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


def go(series: Series, folder: Path, play: Callable[[Any], Result], tell: Callable[[str], None]) -> list[Result]:
    """Play what is not in the file yet. A series that is complete begins afresh."""
    file = series.file(folder)
    done = read(file)
    if {one["seed"] for one in done} >= set(series.seeds):
        file.unlink()
        done = []
    known, among = {one["seed"] for one in done}, every(series.only)
    folder.mkdir(parents=True, exist_ok=True)
    _end_line(file)
    if known:
        tell(f"going on with {file}: {len(known)} of {series.iterations} were played")
    for seed in (seed for seed in series.seeds if seed not in known):
        scenario = of_seed(seed, among)
        result = {"seed": seed, "scenario": scenario.name, **play(scenario)}
        done.append(result)
        with file.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(result) + "\n")
        tell(line(result))
    return done


def _end_line(file: Path) -> None:
    if file.exists() and not file.read_text(encoding="utf-8").endswith("\n"):
        with file.open("a", encoding="utf-8") as stream:
            stream.write("\n")


def line(result: Result) -> str:
    wrong = "".join(f"\n    BREACH: {text}" for text in result["breaches"])
    more = "" if result["reached"] else " (not hit there)"
    helped = ", then " * bool(result["operator"]) + " ".join(f"{one['action']}={one['exit_code']}" for one in result["operator"])
    came = f"run {result['exit_code']}{helped}: {result['outcome']}, {result['seconds']} s"
    return f"seed {result['seed']}: {result['scenario']}{more}: {came}{wrong}"


def held(result: Result) -> bool:
    return not result["breaches"]


def document(series: Series, results: Sequence[Result]) -> dict[str, Any]:
    good = sum(map(held, results))
    return {
        "series": {"seed": series.first, "iterations": series.iterations, "only": series.only},
        "runs": len(results),
        "held": good,
        "success_rate": round(good / len(results), 4) if results else None,
        "kinds": len({one["kind"] for one in results}),
        "not_reached": sum(not one["reached"] for one in results),
        "failed": [{"seed": one["seed"], "again": series.again(one["seed"])} for one in results if not held(one)],
        "results": list(results),
    }


def table(series: Series, results: Sequence[Result]) -> RenderableType:
    """Fault by step; ``h`` home, ``r`` rolled back, ``!`` an invariant did not hold."""
    from rich.console import Group
    from rich.table import Table

    steps = [step for step in STEPS if any(one["step"] == step for one in results)]
    rows = Table(box=None, padding=(0, 1), header_style="dim")
    for title in ("fault", *(step.replace("_", " ") for step in steps)):
        rows.add_column(title)
    for kind in dict.fromkeys(one["kind"] for one in results):
        rows.add_row(kind, *(_cell([one for one in results if (one["kind"], one["step"]) == (kind, step)]) for step in steps))
    good = sum(map(held, results))
    told = [
        f"{good} of {len(results)} held ({100 * good / len(results):.1f} %)  h: came home, r: rolled back, !: an invariant did not hold"
    ]
    told += [f"again: {series.again(one['seed'])}" for one in results if not held(one)]
    return Group(rows, *told)


def _cell(results: Sequence[Result]) -> str:
    signs = Counter("!" if not held(one) else one["outcome"][0] if one["outcome"] in FINE else "?" for one in results)
    return " ".join(sign if count == 1 else f"{sign}{count}" for sign, count in sorted(signs.items()))
