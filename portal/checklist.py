# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""What has to be so before an incident can be closed: each item is ticked by what the runs saw, or by a person with a note. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from .events import Event
from .incident import PROTECTED, Incident
from .store.notes import Note

TRAFFIC, HEALTH, DATA, PROTECTION, DOCUMENTED = ITEMS = ("traffic", "health", "data", "protection", "documented")
TITLES = {
    TRAFFIC: "Clients reach the primary site",
    HEALTH: "The applications are well there",
    DATA: "Both sites' data was compared and equal",
    PROTECTION: "The DR site protects the plan again",
    DOCUMENTED: "The incident is documented",
}
AWAY = ("failover.yml", "rollback.yml", "resolve.yml")  # what a failback showed before one of these is not so any more


@dataclass(frozen=True)
class Fact:
    """One check: what was asked, what the answer was, and when (Unix seconds)."""

    by: str
    said: str
    at: float


@dataclass(frozen=True)
class Item:
    """``how`` it was ticked, ``at`` (Unix seconds), by which ``run`` or by whom; ``how`` of one that is open says what is missing.
    ``facts``: each check that it was ticked by."""

    name: str
    done: bool
    how: str
    at: float | None = None
    run: str = ""
    by: str = ""
    facts: tuple[Fact, ...] = ()

    @property
    def title(self) -> str:
        return TITLES[self.name]


@dataclass(frozen=True)
class _Seen:
    well: Mapping[str, bool]  # balancer, DNS record, resource or volume
    facts: Mapping[str, list[Fact]]  # of each of them
    at: float
    run: str


class Evidence:
    """Follows the events of an incident's runs, the oldest first. What failbacks saw counts once one of them has ended at home."""

    def __init__(self) -> None:
        self._seen: dict[str, _Seen] = {}
        self._home: dict[str, _Seen] = {}
        self._counts = False  # the launch that is gone through moves the plan home

    def add(self, run: str, event: Event) -> None:
        if event["kind"] == "started":
            self._counts = event["playbook"] == "failback.yml" and not event.get("check")
            if event["playbook"] in AWAY and not event.get("check"):
                self._forget()
        if self._counts and event["kind"] == "result" and event["status"] in ("ok", "changed"):
            self._result(run, event)

    def _forget(self) -> None:
        self._seen, self._home = {}, {}

    def _result(self, run: str, event: Event) -> None:
        items = [item for item in event.get("results") or () if isinstance(item, dict)]
        match str(event.get("module")).rpartition(".")[2]:
            case "xdr_traffic":
                well = {item["name"]: item.get("after") == "primary" and bool(item.get("verified")) for item in items}
                told = {item["name"]: [Fact(seen["by"], seen["said"], seen["at"]) for seen in item.get("evidence") or ()] for item in items}
                self._see(TRAFFIC, run, event, well, told)
            case "xdr_health":
                well = {item["name"]: item.get("resource_state") == "Validated" for item in items}
                self._see(HEALTH, run, event, well, {item["name"]: _checks(item, event["at"]) for item in items})
            case "xdr_delta_sync" if event["step"] == "verify":
                equal = {item["volume"]: bool(item.get("equal")) for item in items}
                told = {volume: [Fact(f"volume {volume}", "equal" if same else "not equal", event["at"])] for volume, same in equal.items()}
                self._see(DATA, run, event, equal, told)
            case "xdr_ownership":
                self._ended(((event.get("record") or {}).get("run") or {}).get("outcome"))

    def _ended(self, outcome: str | None) -> None:
        if outcome == "ok":
            self._home = dict(self._seen)
        elif outcome == "rolled_back":  # within the failback: its last checks were those of the DR site
            self._forget()

    def _see(self, name: str, run: str, event: Event, well: Mapping[str, bool], facts: Mapping[str, list[Fact]]) -> None:
        before = self._seen.get(name) or _Seen({}, {}, 0.0, "")
        if well:
            self._seen[name] = _Seen({**before.well, **well}, {**before.facts, **facts}, event["at"], run)

    def of(self, name: str) -> Item:
        seen = self._home.get(name)
        if seen is None:
            return Item(name, done=False, how="no failback that came home has shown it")
        bad = sorted(what for what, well in seen.well.items() if not well)
        how = f"not so: {', '.join(bad)}" if bad else f"{_SHOWN[name]}: {', '.join(sorted(seen.well))}"
        facts = tuple(fact for what in sorted(seen.facts) for fact in seen.facts[what])
        return Item(name, done=not bad, how=how, at=seen.at, run=seen.run, facts=facts)


def _checks(item: Mapping[str, Any], at: float) -> list[Fact]:
    return [
        Fact(f"{item['name']}: {check['check']}", "answered well" if check["ok"] else str(check["why"]), at)
        for check in item.get("checks") or ()
    ]


_SHOWN = {
    TRAFFIC: "each balancer and each DNS server gave the primary site's answer",
    HEALTH: "every health check was answered well",
    DATA: "read back from both disks before the hand-over",
}


def items(incident: Incident, evidence: Evidence, notes: Sequence[Note]) -> list[Item]:
    """All of them, in order. A person's tick is a note that names the item; evidence comes first."""
    ticked = {note.item: note for note in notes if note.item}
    health = _all_checked(evidence.of(HEALTH), incident)
    found = [evidence.of(TRAFFIC), health, evidence.of(DATA), _protection(incident), _documented(notes)]
    return [_by_person(item, ticked[item.name]) if not item.done and item.name in ticked else item for item in found]


def _all_checked(item: Item, incident: Incident) -> Item:
    """A check that was left out is no evidence."""
    answers = [run.arguments.get("answer") or {} for run in incident.runs if run.id == item.run]
    skipped = [group for answer in answers for group in answer.get("skips") or ()]
    if not skipped:
        return item
    return Item(HEALTH, done=False, how=f"the health checks of {' and '.join(skipped)} were left out", at=item.at, run=item.run)


def _protection(incident: Incident) -> Item:
    last = incident.runs[-1]
    if incident.over:
        return Item(PROTECTION, done=True, how=f"the plan was {PROTECTED} when {last.action} had ended", at=last.ended_at, run=last.id)
    return Item(PROTECTION, done=False, how=f"the plan has not been {PROTECTED} since")


def _documented(notes: Sequence[Note]) -> Item:
    written = [note for note in notes if not note.item]
    if written:
        return Item(DOCUMENTED, done=True, how="there is a note", at=written[-1].at, by=written[-1].who)
    return Item(DOCUMENTED, done=False, how="nobody has written a note")


def _by_person(item: Item, note: Note) -> Item:
    return Item(item.name, done=True, how=f"“{note.text}”", at=note.at, by=note.who)


def document(found: Sequence[Item]) -> list[dict[str, Any]]:
    return [{**asdict(item), "facts": [asdict(fact) for fact in item.facts], "title": item.title} for item in found]
