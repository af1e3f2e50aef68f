# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""What a move has cost: how long the plan's services were away, and what of their data. From the events of the runs that it took."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from . import units
from .events import Event

if TYPE_CHECKING:
    from .store import Store
    from .store.runs import Run

MOVES = ("failover", "failback", "rollback", "start")  # what ends an outage
BACK = 20  # runs of a plan that are looked through for the beginning of an outage
LATEST = 300.0  # seconds that a result is heard late at most: more is a clock that was set
SENT = 3.0  # seconds that an order takes at most to its host and back: more may be a time in which nobody heard the answer
UP = ("ok", "rolled_back")  # outcomes in a record with which the services are up

BY_REQUEST = "counted from the failover's begin; the primary site was lost before"
BY_RECORDS = "its begin is what the sites' records say; another controller's run stopped the services"
CUT_OFF = "the run that began it was cut off as it stopped the first service"
UNANSWERED = "counted from the order to stop the first service, whose answer was lost"
ANSWERED_LATE = "counted from the order to stop the first service, whose answer came late"
HEARD_LATE = "its end is when the last answer was heard, which came late"
SWITCHED = "the traffic had been switched by a run that was cut off"


@dataclass(frozen=True)
class Moment:
    """``at``: Unix seconds by the controller's clock, which may be set; ``up``: seconds since its ``boot``, by a clock that nobody sets.
    ``late``: it was heard of later than the work on the host explains, so it may have been earlier."""

    at: float
    boot: str = ""
    up: float = 0.0
    late: bool = False

    def since(self, earlier: Moment) -> float:
        """Seconds, 0 at least: the clocks of two controllers may differ."""
        return max(0.0, self.up - earlier.up if self.boot and self.boot == earlier.boot else self.at - earlier.at)


@dataclass(frozen=True)
class Achieved:
    """``outage_s``: seconds without the services, from ``since`` to ``until`` (Unix seconds). ``inexact``: why it is not known to a second,
    else empty. ``data_until``: the moment with which their data ends (Unix seconds); None: nothing was left behind. ``rpo_s``: the
    seconds of writes that were left behind at most. ``targets``: the plan's ``rto`` and ``rpo`` in seconds as the move ended."""

    outage_s: float
    since: float
    until: float
    inexact: str = ""
    data_until: float | None = None
    rpo_s: float = 0.0
    targets: Mapping[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def told(achieved: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Rows of a name and a sentence. ``achieved``: Achieved as JSON."""
    outage, rpo, targets = achieved["outage_s"], achieved["rpo_s"], achieved["targets"]
    inexact = f" ({achieved['inexact']})" if achieved["inexact"] else ""
    yield "outage", f"{units.seconds(outage)}{_held(outage, targets.get('rto'), 'RTO')}{inexact}"
    if achieved["data_until"] is None:
        yield "data", "nothing was left behind"
    else:
        held = _held(rpo, targets.get("rpo"), "RPO")
        yield "data", f"as of {units.since(achieved['data_until'])}, {units.seconds(rpo)} before the outage{held}"


def _held(value: float, target: float | None, name: str) -> str:
    if target is None:
        return ""
    return f", {'within' if value <= target else 'OVER'} the {name} of {units.seconds(target)}"


class Trace:
    """Follows the events of a plan's moves, the oldest first, through as many runs as an outage lasts."""

    def __init__(self) -> None:
        self.achieved: Achieved | None = None  # of the outage that ended last
        self._playbook = self._boot = ""
        self._counts = False  # the launch that is gone through moves something
        self._forget()

    def _forget(self) -> None:
        self._begin: Moment | None = None  # of the outage
        self._task_began: Moment | None = None
        self._asked: Moment | None = None  # when a failover began
        self._switched: Moment | None = None  # when the traffic was
        self._found: Moment | None = None  # when the traffic was seen where it should be
        self._well: Moment | None = None  # the newest good health check, or start
        self._stopped = False  # a host told that it had stopped something
        self._started = False  # a host told that it had started something
        self._data: float | None = None
        self._inexact = ""

    def add(self, event: Event) -> None:
        if event["kind"] == "started":
            self._launched(event)
        elif self._counts and event["kind"] == "task":
            self._task(event)
        elif self._counts and event["kind"] == "result" and event["status"] in ("ok", "changed"):
            items = [item for item in event.get("results") or () if isinstance(item, dict)]
            self._result(event, self._heard(self._moment(event), _took(items)), items)

    def _launched(self, event: Event) -> None:
        if self._begin and not self._stopped:
            self._inexact = self._inexact or CUT_OFF
        self._playbook, self._boot = str(event["playbook"]), str(event.get("boot") or "")
        self._counts = not event["check"] and self._playbook.removesuffix(".yml") in MOVES
        if self._counts and self._playbook == "failover.yml" and not self._asked:
            self._asked = self._moment(event)

    def _task(self, event: Event) -> None:
        self._task_began = self._moment(event)
        if event["step"] == "stop_services":
            self._begin = self._begin or self._task_began

    def _result(self, event: Event, now: Moment, items: list[dict[str, Any]]) -> None:
        match str(event["module"]).rpartition(".")[2]:
            case "xdr_gate":
                self._seen(event.get("xdr_view") or {})
            case "xdr_instances" if event["step"] == "stop_services":
                self._went(now, items)
            case "xdr_instances" | "xdr_health":
                self._well = now
                self._started |= any(item.get("changed") for item in items)
            case "xdr_traffic" if event["status"] == "changed" and any(item.get("before") != item.get("after") for item in items):
                self._switched = now
            case "xdr_traffic":
                self._found = now
            case "xdr_replication" if any("complete" in item for item in items):
                self._promoted(items)
            case "xdr_ownership":
                self._recorded(event.get("record") or {})

    def _went(self, now: Moment, items: list[dict[str, Any]]) -> None:
        """The first services are gone: they went as long ago as it took the host, which is nearer than when the task began.

        Not so where the playbook itself was frozen: then its host may have stopped them at any time since the order.
        """
        if not self._stopped and not self._inexact:
            if now.late:
                self._begin, self._inexact = self._task_began, ANSWERED_LATE
            else:
                took = _took(items)
                self._begin = Moment(now.at - took, now.boot, now.up - took)
        self._stopped = True

    def _seen(self, view: Mapping[str, Any]) -> None:
        """By the hosts' records services were stopped, and none of the events so far told of it."""
        phases = (view.get("run") or {}).get("phases") or {}
        marks = [mark["intent"] for name, mark in phases.items() if name.startswith("stop_services/") and mark.get("intent")]
        if marks and self._begin is None:
            self._begin, self._stopped, self._inexact = Moment(min(marks)), True, BY_RECORDS

    def _promoted(self, items: list[dict[str, Any]]) -> None:
        """A failover without the primary site: the services get what had been copied."""
        self._data = min((item["read_started"] for item in items if item.get("read_started")), default=self._data)

    def _recorded(self, record: Mapping[str, Any]) -> None:
        outcome = (record.get("run") or {}).get("outcome")
        end = self._end(outcome) if outcome in UP else None
        begin = self._begin or (self._asked if self._data is not None else None)
        if begin and end and not self._untouched:
            begun = BY_REQUEST * (self._begin is None) or UNANSWERED * (not self._stopped)
            inexact = self._inexact or begun or HEARD_LATE * end.late
            left = max(0.0, begin.at - self._data) if self._data is not None else 0.0
            self.achieved = Achieved(round(end.since(begin), 3), begin.at, end.at, inexact, self._data, round(left, 3))
        if outcome in UP:
            self._forget()

    @property
    def _untouched(self) -> bool:
        """The order to stop the first service got lost, and on the way back none had to be started: nothing was ever down."""
        return self._begin is not None and not (self._stopped or self._started or self._inexact)

    def _end(self, outcome: str) -> Moment | None:
        """Clients are served when the traffic is switched; when it already leads there, as soon as the services are well."""
        if self._switched or outcome != "ok" or self._playbook not in ("failback.yml", "failover.yml"):
            return self._switched or self._well
        if self._found:
            self._inexact = self._inexact or SWITCHED
        return self._found or self._well

    def _heard(self, now: Moment, took: float) -> Moment:
        """``took``: seconds of work on the host. A playbook may be frozen while it waits for the answer, too."""
        return replace(now, late=self._task_began is not None and now.since(self._task_began) - took > SENT)

    def _moment(self, event: Event) -> Moment:
        late = _late(event)
        return Moment(event["at"] - late, self._boot, float(event.get("up") or 0.0) - late)


def _took(items: Iterable[Mapping[str, Any]]) -> float:
    """Seconds that the longest of these took its host, by its own word."""
    parts = [part for item in items for part in (item, *(item.get("checks") or ()))]
    return max((float(part.get("seconds") or 0.0) for part in parts), default=0.0)


def _late(event: Event) -> float:
    """Seconds from a result until it was heard: a launcher that is frozen, or on a busy machine, hears late what the playbook had done by
    then. 0 where it does not say, or where somebody has set the clock in between."""
    late = event["at"] - (event.get("end") or event["at"])
    return late if 0.0 < late < LATEST else 0.0


def of(store: Store, run: Run, targets: Mapping[str, float]) -> Achieved | None:
    """What the move cost that this run brought to its end, which its events tell; None where it ended none."""
    if run.check or run.action not in MOVES:
        return None
    trace, achieved = Trace(), None
    for one in _chain(store, run):
        trace.achieved = None
        for event in _events(store, one.id):
            trace.add(event)
        achieved = trace.achieved
    return achieved and replace(achieved, targets=targets)


def _chain(store: Store, run: Run) -> list[Run]:
    """This run, and before it those of its plan that had left the services stopped."""
    from .store import runs

    found = [run]
    for earlier in runs.latest(store, plan=run.plan, limit=BACK, before=run.requested_at):
        if earlier.check or earlier.action not in MOVES:
            continue
        if earlier.exit_code == 0 or (earlier.result or {}).get("achieved"):
            break
        found.append(earlier)
    return found[::-1]


def _events(store: Store, run_id: str) -> Iterator[Event]:
    from .store import events

    seq = 0
    while batch := events.after(store, run_id, seq):
        yield from batch
        seq = batch[-1]["seq"]
