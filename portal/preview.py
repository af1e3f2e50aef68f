# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The preview of an action: what its gate foresaw in check mode (PU/foreseen.py), with what the check run found and past runs took.

The document is the run's ``result["preview"]``: ``{"told": the consequence in a sentence, "nothing": why there is nothing to do, "refused",
"steps", "gates", "volumes", "bytes", "sync_seconds", "outage", "approval"}``. To each step (PU/steps.py) come ``seconds``, a range of past
runs or None, and ``changes`` of its items: whether check mode would change them, None where it cannot tell.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from . import durations, units
from .store.runs import Run

if TYPE_CHECKING:
    from .store import Store

LOOKED_AT = 200
NO_HISTORY = "no history"
BANNER = "PREVIEW: nothing is changed"
MOVES = ("failback", "failover", "rollback", "resolve")
SENDS = ("final_sync", "cycle")
CHECKS = {  # what a check run looks at after the gate, by action
    **dict.fromkeys(("failback", "failover"), "both sites are healthy and have room, the ways and load balancers answer, ports are free"),
    **dict.fromkeys(("reverse-replication", "verify-primary"), "the ways between all hosts work, and no host's health is Failed"),
}
Document = dict[str, Any]
Items = Sequence[Mapping[str, Any]]


def of(store: Store, run: Run, result: Mapping[str, Any]) -> Document | None:
    """What the run that only checks foresaw; None of a run that did not come as far as its gate."""
    from .store import runs

    if not run.check or not result.get("preview"):
        return None
    return built(run, result, runs.latest(store, plan=run.plan, limit=LOOKED_AT))


def built(run: Run, result: Mapping[str, Any], found: Iterable[Run]) -> Document:
    """Pure. ``result``: that of the check run, with what its gate foresaw; ``found``: runs of the plan, the newest first."""
    foreseen = result["preview"]
    past = durations.telling(found, run.action)
    items = result.get("results") or []
    volumes = list(_volumes(items))
    whole: Document = {
        "nothing": str(result.get("reason") or ""),
        "refused": str(result.get("error") or ""),
        "steps": [_step(step, items, past) for step in foreseen["steps"]],
        "gates": [*foreseen["gates"], *_checked(run.action, foreseen["gates"], result)],
        "volumes": volumes,
        "bytes": _sum(volumes),
        "sync_seconds": _sync_seconds(volumes),
        "outage": _range([float(one.result["achieved"]["outage_s"]) for one in past if one.result and one.result.get("achieved")]),
        "approval": foreseen["approval"],
    }
    return {"told": _told(run, whole), **whole}


# -- steps ---------------------------------------------------------------------------------------------------------


def _step(step: Mapping[str, Any], items: Items, past: Iterable[Run]) -> Document:
    taken = [seconds for run in past if (seconds := _took(step["phases"], run)) is not None]
    return {**step, "seconds": _range(taken), "items": [{**item, "changes": _changes(step, item, items)} for item in step["items"]]}


def _took(phases: Sequence[str], run: Run) -> float | None:
    """From the begin of the first of the phases to the end of the last one; None of a run that had none of them."""
    spans = [one for one in (run.result or {})["steps"] if one["name"] in phases]
    return float(max(one["end"] for one in spans) - min(one["begin"] for one in spans)) if spans else None


def _range(taken: Sequence[float]) -> Document | None:
    return {"low": round(min(taken), 1), "high": round(max(taken), 1), "runs": len(taken)} if taken else None


def _changes(step: Mapping[str, Any], item: Mapping[str, Any], items: Items) -> bool | None:
    """As check mode told of it. A health check is none of what it does; the last copy is told by its bytes."""
    if step["name"] in SENDS or "health" in item["does"]:
        return None
    told = [
        one["changed"]
        for one in items
        if one["step"] in step["phases"] and item["name"] in (one.get("name"), one.get("volume")) and isinstance(one.get("changed"), bool)
    ]
    return any(told) if told else None


# -- what goes over ------------------------------------------------------------------------------------------------


def _volumes(items: Items) -> Iterator[Document]:
    """What check mode foretold of each, where it was told first."""
    told: dict[str, Document] = {}
    for item in items:
        if item.get("module") == "xdr_delta_sync" and "predicted_seconds" in item:
            names = ("volume", "host", "predicted_bytes", "bytes_total", "predicted_seconds", "session_seconds")
            told.setdefault(str(item["volume"]), {name: item[name] for name in names})
    for one in told.values():
        known = isinstance(one["predicted_bytes"], int)
        counted = "counted at the source against the last cycle" if known else "not known before the direction is turned; all of it at most"
        yield {**one, "how": f"bytes: {counted}; seconds: by the rates of earlier cycles (rates.json)"}


def _sum(volumes: Items) -> int | str:
    sizes = [one["predicted_bytes"] for one in volumes]
    return sum(sizes) if all(isinstance(size, int) for size in sizes) else units.UNKNOWN


def _sync_seconds(volumes: Items) -> float | None:
    """Hosts send beside each other, the volumes of one share its session."""
    hosts: dict[str, float] = {}
    for one in volumes:
        hosts[one["host"]] = hosts.get(one["host"], float(one["session_seconds"])) + float(one["predicted_seconds"])
    return round(max(hosts.values()), 1) if hosts else None


# -- gates ---------------------------------------------------------------------------------------------------------


def _checked(action: str, gates: Items, result: Mapping[str, Any]) -> Iterator[Document]:
    """What the run looked at after its gate."""
    if action not in CHECKS or result.get("reason"):
        return
    if not all(gate["open"] for gate in gates):
        found, is_open = "not looked at, as another gate is closed", None
    else:
        found, is_open = str(result.get("error") or "as wanted"), not result["exit_code"]
    yield {"name": "checks", "wanted": CHECKS[action], "found": found, "open": is_open}


def newest(store: Store, plan: str, action: str) -> Run | None:
    """The newest check run of the action that came to a preview."""
    from .store import runs

    found = runs.latest(store, plan=plan, limit=LOOKED_AT)
    return next((run for run in found if run.check and run.action == action and shown(run)), None)


def shown(run: Run) -> Document | None:
    """The preview of a check run that has ended."""
    preview = (run.result or {}).get("preview") if run.check and run.ended else None
    return dict(preview) if preview and "told" in preview else None


def closed(preview: Mapping[str, Any]) -> list[str]:
    """The names of the gates that are not open."""
    return [gate["name"] for gate in preview["gates"] if not gate["open"]]


# -- in words ------------------------------------------------------------------------------------------------------


def _told(run: Run, preview: Mapping[str, Any]) -> str:
    """The consequence, in one sentence."""
    if preview["nothing"]:
        return f"Nothing would be done: {preview['nothing']}"
    by_name = {step["name"]: step for step in preview["steps"]}
    parts = [
        _counted(by_name.get("stop_services"), "stop", "stops {} service{} in {}"),
        f"sends {size(preview['bytes'])}" if preview["volumes"] and not {"final_sync", "cycle"}.isdisjoint(by_name) else "",
        _counted(by_name.get("start_services"), "start", "starts {} service{} in {}"),
        "leads the clients there" if "switch_traffic" in by_name else "",
    ]
    did = ", ".join(part for part in parts if part) or "; ".join(step["title"].lower() for step in preview["steps"]) or "changes nothing"
    away = f"; the outage: {lasts(preview['outage'])}" if run.action in MOVES else ""
    return f"{run.action} of {run.plan} {did}{away}"


def _counted(step: Mapping[str, Any] | None, does: str, text: str) -> str:
    items = [item for item in step["items"] if item["does"] == does] if step else []
    return text.format(len(items), "s" * (len(items) != 1), items[0]["site"]) if items else ""


def size(nbytes: Any) -> str:
    return units.size(nbytes) if isinstance(nbytes, int) else "an unknown number of bytes"


def lasts(seconds: Mapping[str, Any] | None) -> str:
    """A range of past runs, in words."""
    if seconds is None:
        return NO_HISTORY
    low, high = units.seconds(seconds["low"]), units.seconds(seconds["high"])
    runs = f"in {seconds['runs']} past runs" if seconds["runs"] > 1 else "in the last run"
    return f"{low} {runs}" if low == high else f"{low} to {high} {runs}"


def does(item: Mapping[str, Any], preview: Mapping[str, Any]) -> str:
    """What is done to one, with what check mode found of it."""
    sent = next((one for one in preview["volumes"] if one["volume"] == item["name"] and item["does"].startswith("send")), None)
    if sent:
        most = "" if isinstance(sent["predicted_bytes"], int) else f", {units.size(sent['bytes_total'])} at most"
        return f"{item['does']}: {size(sent['predicted_bytes'])}{most}, {units.seconds(sent['predicted_seconds'])}"
    return f"{item['does']} (it is so already)" if item["changes"] is False else str(item["does"])


def rows(step: Mapping[str, Any], preview: Mapping[str, Any]) -> Iterator[tuple[str, str, str, list[str]]]:
    """Where, of which group (or empty), what is done, and to whom: neighbours that get the same in one row."""
    for (place, group, what), items in groupby(step["items"], lambda item: (_place(item), item["group"], does(item, preview))):
        yield place, group, what, [item["name"] for item in items]


def _place(item: Mapping[str, Any]) -> str:
    return f"{item['site']} ({item['host']})" if item["host"] else str(item["site"])
