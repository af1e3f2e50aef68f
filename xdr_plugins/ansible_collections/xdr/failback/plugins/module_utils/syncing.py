# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The work of the module xdr_delta_sync."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from . import attempt
from .delta.pace import Hours
from .errors import XdrError
from .progress import Progress
from .site import PlanOnHost, VolumeOnHost, load_plan
from .transfer import Job
from .volumes import VolumeDriver, chosen, driver

Results = list[dict[str, Any]]
SHRINKS = 0.9  # a round is worth it when it leaves less than this part of what the round before left


class Syncing:
    """One call of xdr_delta_sync. ``results`` grow with each volume that is done."""

    def __init__(self, params: dict[str, Any]) -> None:
        self.state_dir, self.params = Path(params["state_dir"]), params
        self.plan: PlanOnHost = load_plan(self.state_dir, params["plan"])
        self.volumes = chosen(self.plan, params["volumes"])
        self.results: Results = []
        self._check_units()

    def _check_units(self) -> None:
        """A unit is at one point in time or not moved at all: so all its volumes come together, to one peer."""
        names = {volume.name for volume in self.volumes}
        for volume in self.volumes:
            unit = [other for other in self.plan.volumes.values() if other.unit == volume.unit]
            missing = [other.name for other in unit if other.name not in names]
            apart = [other.name for other in unit if (other.peer, other.driver) != (volume.peer, volume.driver)]
            if missing or apart:
                what = f"volume {volume.name} shares one point in time with {(missing or apart)[0]}"
                todo = "Give both volumes in one call" if missing else "Let them have one driver and one peer host, or no consistency group"
                raise XdrError(what, where=self.plan.host, todo=todo, code="unit_divided")

    def run(self, *, check: bool) -> dict[str, Any]:
        """{"changed", "results", "bytes_sent", "seconds", "diff"}, after a synchronisation also {"rounds", "stopped",
        "remaining_bytes", "change_rate", "final_seconds"}.
        """
        began = time.monotonic()
        more: dict[str, Any] = {}
        before = {volume.name: self._state(volume, with_lag=False)["cycle"] for volume in self.volumes}
        if check:
            self.results = [self._foretold(one) for one in self._known_here()]
            changed = self.params["state"] == "synced" and any(one["lag_bytes"] != 0 for one in self.results)
        else:
            with self._job() as job:
                changed, more = self._work(job)
        sent = sum(one.get("bytes_sent", 0) for one in self.results)
        seconds = round(time.monotonic() - began, 3)
        diff = _diff(before, self.results) if self.params["state"] == "synced" else {}
        return {"changed": changed, "results": self.results, "bytes_sent": sent, "seconds": seconds, "diff": diff, **more}

    def _work(self, job: Job) -> tuple[bool, dict[str, Any]]:
        state = self.params["state"]
        if state in ("verified", "previewed", "opened"):
            for mover, volumes in self._movers():
                (mover.verify if state == "verified" else mover.preview)(job, volumes, self.results)
                if state == "opened":
                    mover.open_channels(job, volumes)
            return False, {}
        more = self._rounds(job)
        return any(one.get("bytes_sent") or one.get("resized") for one in self.results), more

    def _movers(self) -> Iterator[tuple[VolumeDriver, list[Any]]]:
        for name in sorted({volume.driver for volume in self.volumes}):
            yield driver(name, self.state_dir), [volume for volume in self.volumes if volume.driver == name]

    def _known_here(self) -> Results:
        """What is known without the peer: the lag of each volume."""
        found = [self._state(volume, with_lag=True) for volume in self.volumes]
        return [{key: one[key] for key in ("volume", "lag_bytes", "lag_age_s", "cycle", "compared")} for one in found]

    def _foretold(self, one: dict[str, Any]) -> dict[str, Any]:
        """With the bytes that a cycle would send and its seconds, by what cycles took before; a session's own seconds come on top once."""
        volume = self.plan.volumes[one["volume"]]
        mover, nbytes = driver(volume.driver, self.state_dir), one["lag_bytes"]
        fixed = mover.seconds(self.plan, [], 0)
        size = self._state(volume, with_lag=False)["size"]
        taken = mover.seconds(self.plan, [volume], nbytes if isinstance(nbytes, int) else size or 0)
        return {
            **one,
            "bytes_total": size,
            "predicted_bytes": nbytes,
            "predicted_seconds": round(taken - fixed, 3),
            "session_seconds": fixed,
        }

    def _state(self, volume: VolumeOnHost, *, with_lag: bool) -> dict[str, Any]:
        return driver(volume.driver, self.state_dir).status(self.plan, volume.name, with_lag=with_lag)

    # -- rounds -----------------------------------------------------------------------------------------------------

    def _rounds(self, job: Job) -> dict[str, Any]:
        """Cycle after cycle, until little is left or it gets no less. Each result stands for all rounds of its volume."""
        most, stopped = self.params["rounds"], ""
        rounds: Results = []
        while not stopped:
            found: Results = []
            began = time.monotonic()
            try:
                for mover, volumes in self._movers():
                    mover.synchronise(replace(job, compare=job.compare and not rounds), volumes, found)
            finally:
                self.results = _added(self.results, found)
            seconds = time.monotonic() - began
            sent = sum(one["bytes_sent"] for one in found)
            if most < 2:
                return {}
            left = self._remaining()
            rounds.append({"bytes_sent": sent, "seconds": round(seconds, 3), "remaining_bytes": "unknown" if left is None else left})
            stopped = _why_to_stop(rounds, self.params["ready_below"], most)
        rate = 0.0 if not isinstance(left, int) else left / max(seconds, 1e-3)
        final = self._final_seconds(left if isinstance(left, int) else 0)
        summary = {"remaining_bytes": rounds[-1]["remaining_bytes"], "change_rate": round(rate), "final_seconds": final}
        return {"rounds": rounds, "stopped": stopped, **summary}

    def _remaining(self) -> int | None:
        """Bytes that changed meanwhile, None where that is unknown of a volume."""
        behind = [one["lag_bytes"] for one in self._known_here()]
        return None if "unknown" in behind else sum(behind)

    def _final_seconds(self, nbytes: int) -> float:
        return round(sum(mover.seconds(self.plan, volumes, nbytes) for mover, volumes in self._movers()), 2)

    @contextmanager
    def _job(self) -> Iterator[Job]:
        params, pair = self.params, (self.params["epoch"], self.params["attempt"])
        with attempt.tracked(self.state_dir, self.plan.plan, pair, run_id=params["run_id"], phase=params["phase"]) as holding:
            yield Job(
                plan=self.plan,
                state_dir=self.state_dir,
                pair=pair,
                locked=holding.locked,
                progress=Progress(self.state_dir, params["run_id"], self.plan.host),
                run_id=params["run_id"],
                final=params["final"],
                compare=params["compare"],
                extents=params["extents"],
                compression=params["compression"],
                bandwidth_limit=params["bandwidth_limit"],
                bandwidth_hours=tuple(Hours(each["start"], each["stop"], each["limit"]) for each in params["bandwidth_hours"]),
                recovery_points=params["recovery_points"],
                read_source_within=params["read_source_within"],
            )


def _why_to_stop(rounds: Results, ready_below: int, most: int) -> str:
    """below, not_shrinking, rounds or unknown; empty to go on."""
    left = rounds[-1]["remaining_bytes"]
    if left == "unknown":
        return "unknown"
    if left <= ready_below:
        return "below"
    before = rounds[-2]["remaining_bytes"] if len(rounds) > 1 else rounds[-1]["bytes_sent"]
    if left >= before * SHRINKS:
        return "not_shrinking"
    return "rounds" if len(rounds) >= most else ""


def _diff(before: dict[str, int], results: Results) -> dict[str, Any]:
    """The newest cycle of each volume before and after; of a cycle that is only foretold, the bytes that differ."""
    after: dict[str, Any] = {}
    for one in results:
        if "bytes_sent" in one:
            after[one["volume"]] = {"cycle": one["cycle"], "bytes_sent": one["bytes_sent"]}
        elif one["lag_bytes"] != 0:
            after[one["volume"]] = {"cycle": one["cycle"] + 1, "bytes_to_send": one["lag_bytes"]}
    return {"before": {name: {"cycle": before[name]} for name in after}, "after": after}


def _added(before: Results, found: Results) -> Results:
    """The newest result of each volume, with the bytes and seconds of all rounds."""
    together = {one["volume"]: one for one in before}
    for one in found:
        old = together.get(one["volume"], {})
        summed = {name: one[name] + old.get(name, 0) for name in ("bytes_sent", "blocks_changed")}
        kept = {
            "resized": one["resized"] or old.get("resized", False),
            "equal": one["equal"] if one["equal"] is not None else old.get("equal"),
        }
        together[one["volume"]] = {**one, **summed, **kept, "seconds": round(one["seconds"] + old.get("seconds", 0.0), 3)}
    return list(together.values())
