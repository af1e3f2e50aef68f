# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""How far a plan's copy is behind, against its RPO, and whether it will ever catch up."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .. import units
from .finding import OK, UNKNOWN, WARN, WRONG, Facts, Finding

CHECK = "lag"
NEAR = 0.8  # of the RPO
REPLICATING = ("ACTIVE", "REVERSING", "READY")
_UNPROTECTED = {
    "FAILED_OVER": "It runs on the DR site and nothing is copied back yet: run reverse-replication once the primary site is there",
    "FAILED_BACK": "It is home and not protected yet: run reprotect",
    "UNPROTECTED": "It is home and not protected yet: run reprotect",
}


def findings(facts: Facts) -> Iterator[Finding]:
    for plan in facts["plans"].values():
        state, name = plan["state"], plan["name"]
        if state in REPLICATING:
            yield from _of(plan, _carried(facts, plan))
        elif state in _UNPROTECTED:
            yield Finding(CHECK, WARN, f"Plan {name} is {state}: no copy of it is kept up to date", _UNPROTECTED[state])


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _carried(facts: Facts, plan: Mapping[str, Any]) -> float | None:
    """Bytes a second that a cycle can send, by the slowest measured way from the source and the plan's own limit; None: not known."""
    sources = {host for host, one in facts["hosts"].items() if plan["source"] and one["roles"].get(plan["name"]) == plan["source"]}
    rates = [link["bytes_per_s"] for link in facts["links"] if link.get("bytes_per_s") and link["from"] in sources]
    return min([*rates, *([plan["bandwidth_limit"]] if plan["bandwidth_limit"] else [])], default=None)


def _of(plan: Mapping[str, Any], carried: float | None) -> Iterator[Finding]:
    name, rpo = plan["name"], plan["rpo"]
    behind, age = _number(plan["lag"]["bytes"]), _number(plan["lag"]["age"])
    evidence = (f"{units.size(behind)} behind, last consistent point {units.seconds(age)} old, RPO {units.seconds(rpo)}",)
    if behind is None or age is None:
        todo = "Mend what else is said here, the source's host first; then run replicate and find out again"
        yield Finding(CHECK, UNKNOWN, f"How far plan {name}'s copy is behind is not known", todo, evidence)
        return
    written = written_rate(plan["before"])
    if written is not None and carried is not None and written >= carried:
        what = f"Plan {name} will not catch up: {units.size(written)}/s are written and {units.size(carried)}/s can be sent"
        todo = "Raise replication.bandwidth_limit if it is what holds it back, give the sites more bandwidth, or write less"
        yield Finding(CHECK, WRONG, what, todo, evidence)
    elif age > rpo:
        growing = " and growing" if grows(plan["before"]) else ""
        what = f"Plan {name}'s copy is older than its RPO{growing}: a disaster now loses {units.seconds(age)} of writes"
        todo = "See what is said here of stuck sync and link; with both in order, run replicate and watch it"
        yield Finding(CHECK, WRONG, what, todo, evidence)
    elif age > NEAR * rpo:
        yield Finding(CHECK, WARN, f"Plan {name}'s copy is close to its RPO", "Find out again in a minute", evidence)
    else:
        yield Finding(CHECK, OK, f"Plan {name}'s copy is within its RPO", "", evidence)


def written_rate(before: Sequence[Sequence[Any]]) -> float | None:
    """Bytes a second by which the lag grows between two looks without a cycle in between, the median; ``before``: [at, bytes, age]."""
    rates = [
        (later[1] - earlier[1]) / (later[0] - earlier[0])
        for earlier, later in itertools.pairwise(before)
        if None not in (earlier[1], later[1], earlier[2], later[2])
        and later[0] > earlier[0]
        and later[1] > earlier[1]
        and later[2] > earlier[2]
    ]
    return statistics.median(rates) if len(rates) >= 3 else None


def grows(before: Sequence[Sequence[Any]]) -> bool:
    """Whether the age has only grown over the last five looks."""
    ages = [row[2] for row in before[-5:] if row[2] is not None]
    return len(ages) == 5 and all(later > earlier for earlier, later in itertools.pairwise(ages))
