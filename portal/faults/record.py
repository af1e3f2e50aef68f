# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""A record of all that was ever played, for people to read and to play again: one JSON with one line for each scenario."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError

Result = Mapping[str, Any]
AGAIN = "xdr faults run --iterations 1 --only SCENARIO"  # a seed means another scenario when there are more of them
KEPT = ("scenario", "reached", "exit_code", "outcome", "state", "epoch", "breaches", "acknowledged", "seconds", "outage_s")
TOLD = ("outage_s", "inexact", "rpo_s")  # of each report


def entry(result: Result, only: str = "") -> dict[str, Any]:
    """What is kept of a result of ``play``. Pure."""
    kept = {name: result[name] for name in KEPT if name in result}
    operator = [[one["from"], one["action"], one["exit_code"]] for one in result["operator"]]
    reported = [{name: one[name] for name in TOLD} for one in result.get("reported") or ()]
    return {"seed": result["seed"], **({"only": only} if only else {}), **kept, "operator": operator, "reported": reported}


def joined(known: Iterable[Result], more: Iterable[Result]) -> list[Result]:
    """Each play once, by seed; one that breached stays beside a later one that held. Pure."""
    found = {json.dumps(one, sort_keys=True): one for one in (*known, *more)}
    return sorted(found.values(), key=lambda one: (one["seed"], one.get("only", "")))


def document(results: Iterable[Result]) -> str:
    """The record as JSON text. Pure."""
    lines = list(results)
    head = {
        "runs": len(lines),
        "held": sum(not one["breaches"] for one in lines),
        "struck": sum(bool(one["reached"]) for one in lines),
        "scenarios": len({one["scenario"] for one in lines}),
        "kinds": len({one["scenario"].partition("@")[0] for one in lines}),
        "again": AGAIN,
    }
    told = [f" {json.dumps(name)}: {json.dumps(value)},\n" for name, value in head.items()]
    return "{\n" + "".join(told) + ' "results": [\n' + ",\n".join("  " + json.dumps(one) for one in lines) + "\n ]\n}\n"


def add(file: Path, results: Iterable[Result], only: str = "") -> int:
    """Put these results into the record, which may not be there yet, and return how many it holds then. Raises XdrError: no record."""
    known: list[Result] = []
    if file.exists():
        try:
            known = json.loads(file.read_text(encoding="utf-8"))["results"]
            known = joined(known, ())
        except (ValueError, KeyError, TypeError) as error:
            raise XdrError("this is no record of played scenarios", where=str(file), todo="Name another file", code="usage") from error
    whole = joined(known, [entry(one, only) for one in results])
    file.write_text(document(whole), encoding="utf-8")
    return len(whole)
