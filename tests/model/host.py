# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""A host's record in memory, changed by the product's own code: module_utils' ownership, attempt, instances and guard."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple
from unittest.mock import patch

from ansible_collections.xdr.failback.plugins.module_utils import attempt, guard, lease_grants, ownership
from ansible_collections.xdr.failback.plugins.module_utils import record as records
from ansible_collections.xdr.failback.plugins.module_utils.errors import NotReached, Refused, XdrError
from ansible_collections.xdr.failback.plugins.module_utils.instances import moves
from ansible_collections.xdr.failback.plugins.module_utils.record import Record
from ansible_collections.xdr.failback.plugins.module_utils.running import Running
from ansible_collections.xdr.failback.plugins.module_utils.witness import check_speaks
from ansible_collections.xdr.failback.plugins.modules import xdr_ownership

from tests.model.world import NEVER_LEASED, RUN_OUT

Pair = tuple[int, int]
NOWHERE = Path("/nowhere")
DEFAULTS = {name: option.get("default") for name, option in xdr_ownership.ARGUMENTS.items()}
PHASES_READ = ("stop_services", "switch_traffic")  # of a run's phases, what any code decides by


class Done(NamedTuple):
    """What a request did. ``saves``: the records that were written on the way, the last stays; ``code``: that of the refusal, or empty."""

    saves: tuple[int, ...]
    code: str


class Hosts:
    """Records by number: equal ones have one number, and what a request does to one is worked out once."""

    def __init__(self) -> None:
        self.record: list[Record] = []
        self.document: list[dict[str, Any]] = []
        self._number: dict[str, int] = {}
        self._done: dict[Any, Any] = {}

    def number(self, record: Record) -> int:
        document = _projected(record.to_json())
        key = json.dumps(document, sort_keys=True)
        if key not in self._number:
            self._number[key] = len(self.record)
            self.record.append(records.from_json(document))
            self.document.append(document)
        return self._number[key]

    def _once(self, key: Any, work: Callable[[], Any]) -> Any:
        if key not in self._done:
            self._done[key] = work()
        return self._done[key]

    def ownership(self, number: int, arguments: str, pair: Pair, run_id: str, running: bool, lease: int) -> Done:
        def work() -> Done:
            params = {**DEFAULTS, **json.loads(arguments)}
            request = xdr_ownership.request_of(params)
            return self._saved(
                number,
                pair,
                lambda: ownership.perform(NOWHERE, "shop", pair, request, run_id=run_id, phase=params["phase"]),
                running,
                lease,
            )

        return self._once(("ownership", number, arguments, pair, run_id, running, lease), work)

    def instances(self, number: int, arguments: str, pair: Pair, run_id: str) -> Done:
        """The beginning of a start or a stop, as the module xdr_instances does it, up to the request to the supervisor."""

        def work() -> Done:
            params = {"phase": "", "draining": False, **json.loads(arguments)}

            def move() -> None:
                with attempt.tracked(NOWHERE, "shop", pair, run_id=run_id, phase=params["phase"]) as holding:
                    if params["draining"]:
                        moves.mark_draining(holding)
                    with holding.locked():
                        if params["state"] == "started":
                            moves.check_may_start(holding.record)

            return self._saved(number, pair, move)

        return self._once(("instances", number, arguments, pair, run_id), work)

    def checked(self, number: int, pair: Pair) -> Done:
        """What only looks at the pair, such as the end of a start, or a cycle."""

        def work() -> Done:
            def look() -> None:
                with attempt.Holding(NOWHERE, "shop", pair, 0.0).locked():
                    pass

            return self._saved(number, pair, look)

        return self._once(("checked", number, pair), work)

    def heard(self, number: int, witness: int) -> Done:
        """The start guard, from the witness's answer to the moment at which the instance runs."""

        def work() -> Done:
            try:
                check_speaks(self.record[number], self.record[witness])
            except NotReached:
                return Done((), "not_reached")
            try:
                learnt = guard.learn(self.record[number], self.record[witness], 0.0)
            except Refused as refused:
                return Done((), refused.code)
            try:
                guard.check_may_start(learnt)
            except Refused as refused:
                return Done((self.number(learnt),), refused.code)
            return Done((self.number(learnt),), "")

        return self._once(("heard", number, witness), work)

    def may_ask(self, number: int) -> bool:
        """The guard's first look at the record, before it asks anybody."""

        def work() -> bool:
            try:
                guard.check_may_start(self.record[number])
            except Refused:
                return False
            return True

        return bool(self._once(("may_ask", number), work))

    def _saved(self, number: int, pair: Pair, work: Callable[[], Any], running: bool = False, lease: int = NEVER_LEASED) -> Done:
        disk = _Disk(self.record[number])
        code = ""
        with _in_memory(disk, float(pair[1]), running, lease):
            try:
                work()
            except XdrError as error:
                code = error.code or "failed"
        return Done(tuple(dict.fromkeys(self.number(record) for record in disk.saves)), code)


class _Disk:
    def __init__(self, record: Record) -> None:
        self.saves = [record]

    def load(self, *_: Any) -> Record:
        return self.saves[-1]

    def save(self, _: Any, record: Record) -> Record:
        self.saves.append(record)
        return record


@contextlib.contextmanager
def _in_memory(disk: _Disk, now: float, running: bool, lease: int) -> Iterator[None]:
    def nothing(*_: Any, **__: Any) -> Any:
        return contextlib.nullcontext()

    clock = SimpleNamespace(time=lambda: now)
    plan = SimpleNamespace(plan="shop", host="", instances=["orders-db"], volumes={}, lease={"hosts": ["fra"]})
    grants = {} if lease == NEVER_LEASED else {"fra": SimpleNamespace(left=0.0 if lease == RUN_OUT else 1.0)}
    with contextlib.ExitStack() as stack:
        for module, name, fake in (
            (records, "load", disk.load),
            (records, "save", disk.save),
            (attempt, "locked", nothing),
            (attempt, "load_plan", nothing),
            (attempt, "time", clock),
            (ownership, "load_plan", lambda *_: plan),
            (lease_grants, "load_plan", lambda *_: plan),
            (lease_grants, "read_grants", lambda *_: grants),
            (ownership, "alive", lambda *_: [Running("orders-db", "process 1", True, 1, 0.0)] if running else []),
            (ownership, "scan", lambda _: SimpleNamespace(holders=[], unreadable=0)),
            (ownership, "time", clock),
            (moves, "time", clock),
        ):
            stack.enter_context(patch.object(module, name, fake))
        yield


def _projected(document: dict[str, Any]) -> dict[str, Any]:
    """The record without what no code decides by: times, names, finished marks. So more states are equal."""
    run, offer = document["run"], document["offer"]
    owned = {(each["epoch"], each["owner"], each["how"] == "taken_over") for each in document["history"] if each["owner"]}
    return {
        **document,
        "history": [_entry(*each) for each in sorted(owned)],
        "offer": offer and {**offer, "at": 0.0},
        "run": run and {**run, "started": 0.0, "ended": run["ended"] and 1.0, "phases": _phases(run["phases"])},
    }


def _entry(epoch: int, owner: str, learnt: bool) -> dict[str, Any]:
    how = "taken_over" if learnt else "accepted"
    return {"epoch": epoch, "owner": owner, "how": how, "attempt": [0, 0], "at": 0.0, "by": "", "text": ""}


def _phases(phases: dict[str, Any]) -> dict[str, Any]:
    return {name: {"intent": 0.0, "done": None} for name in sorted(phases) if name.startswith(PHASES_READ)}


def blank(site: str, host: str) -> Record:
    return Record(plan="shop", site=site, host=host)
