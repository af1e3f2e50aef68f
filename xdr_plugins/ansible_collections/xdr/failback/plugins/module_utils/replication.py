# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The work of the module xdr_replication."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from . import attempt
from . import record as records
from .errors import XdrError
from .site import PlanOnHost, VolumeOnHost, checked_name, load_plan
from .volumes import VolumeDriver, chosen, driver

Results = list[dict[str, Any]]
Todo = dict[str, list[tuple[str, str]]]
NEEDS_POINT = ("restored", "forgotten")


def status(state_dir: Path, plan: str, *, with_lag: bool) -> Results:
    """All volumes of the plan on this host, as they are."""
    known = load_plan(state_dir, plan)
    return [driver(volume.driver, state_dir).status(known, volume.name, with_lag=with_lag) for volume in known.volumes.values()]


class Replicating:
    """One call of xdr_replication. ``results`` are the volumes as they are, and are after the change."""

    def __init__(self, params: dict[str, Any]) -> None:
        self.state_dir, self.params, self.wanted = Path(params["state_dir"]), params, params["state"]
        self.plan: PlanOnHost = load_plan(self.state_dir, params["plan"])
        self.volumes = chosen(self.plan, params["volumes"])
        self.point: str = params["recovery_point"] or ""
        if self.point:
            checked_name(self.point, "recovery point")
        self.results: Results = []
        if self.wanted in NEEDS_POINT and not self.point:
            raise XdrError(f"state {self.wanted} needs a recovery_point", todo="Name one; status lists them", code="bad_request")

    def read(self, *, with_lag: bool = False) -> Results:
        return [self._driver(volume).status(self.plan, volume.name, with_lag=with_lag) for volume in self.volumes]

    def run(self, *, check: bool) -> dict[str, Any]:
        """{"changed", "results", "diff"}"""
        if self.wanted == "status":
            self.results = self.read(with_lag=self.params["lag"])
            return {"changed": False, "results": self.results}
        before = self.read()
        if check:
            todo, exact = self._steps(self._predicted()), self._exact()
            self.results = before
        else:
            try:
                todo, exact = self._change()
            finally:
                self.results = self.read()
        for result in self.results:
            result["changed"] = bool(todo[result["volume"]])
            if self.wanted == "promoted":
                result["complete"] = not result["pending"]
            if self.wanted == "restored":
                result["exact"] = exact[result["volume"]]
        return {"changed": any(todo.values()), "results": self.results, "diff": self._diff(before, todo, check=check)}

    def _predicted(self) -> records.Record:
        """In check mode what lets a former owner know of its successor was only predicted, too."""
        record = records.load(self.state_dir, self.plan.plan)
        return replace(record, standing="superseded") if self.wanted == "target" else record

    def _driver(self, volume: VolumeOnHost) -> VolumeDriver:
        return driver(volume.driver, self.state_dir)

    def _steps(self, record: records.Record) -> Todo:
        return {volume.name: self._driver(volume).steps(self.plan, volume.name, self.wanted, self.point, record) for volume in self.volumes}

    def _exact(self) -> dict[str, bool | str]:
        if self.wanted != "restored":
            return {}
        found = {volume.name: self._driver(volume).exact(self.plan, volume.name, self.point) for volume in self.volumes}
        return {name: "unknown" if exact is None else exact for name, exact in found.items()}

    def _change(self) -> tuple[Todo, dict[str, bool | str]]:
        pair = (self.params["epoch"], self.params["attempt"])
        with attempt.held(self.state_dir, self.plan.plan, pair, run_id=self.params["run_id"], phase=self.params["phase"]) as holding:
            todo, exact = self._steps(holding.record), self._exact()
            for volume in self.volumes:
                self._driver(volume).apply(self.plan, volume.name, todo[volume.name])
        return todo, exact

    def _diff(self, before: Results, todo: Todo, *, check: bool) -> dict[str, Any]:
        def shown(results: Results) -> dict[str, Any]:
            return {
                one["volume"]: {"role": one["role"], "recovery_points": [point["name"] for point in one["recovery_points"]]}
                for one in results
            }

        was = shown(before)
        after = (
            {name: {**was[name], "steps": [" ".join(step).strip() for step in todo[name]]} for name in was}
            if check
            else shown(self.results)
        )
        return {"before": was, "after": after}
