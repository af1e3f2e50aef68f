# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Volume drivers: what moves a volume's data. Another kind of storage is one more file here and one line in DRIVERS."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from ..errors import XdrError
from ..record import Record
from ..site import PlanOnHost, VolumeOnHost
from ..transfer import Job
from .delta import DeltaDriver

Results = list[dict[str, Any]]


class VolumeDriver(Protocol):
    """Volumes of one kind on this host. Every method raises XdrError or Refused."""

    def status(self, plan: PlanOnHost, name: str, *, with_lag: bool) -> dict[str, Any]:
        """{"volume", "role": none|source|target, "lag_bytes", "lag_age_s" (numbers or "unknown"), "cycle", "read_started",
        "applied_at" (Unix seconds or None), "compared", "size" (bytes or None), "pending", "recovery_points"}.
        """

    def steps(self, plan: PlanOnHost, name: str, state: str, point: str, record: Record) -> list[tuple[str, str]]:
        """What is to be done for ``state`` (source, target, promoted, restored, forgotten), nothing where it is so; changes nothing."""

    def apply(self, plan: PlanOnHost, name: str, todo: list[tuple[str, str]]) -> None:
        """Take the steps; the caller holds the plan's lock."""

    def exact(self, plan: PlanOnHost, name: str, point: str) -> bool | None:
        """Whether restoring a recovery point gives the very volume of its opening; None where that is not known."""

    def synchronise(self, job: Job, volumes: list[VolumeOnHost], results: Results) -> None:
        """Move what changed to the peers; append a result for each volume that was applied there."""

    def preview(self, job: Job, volumes: list[VolumeOnHost], results: Results) -> None:
        """Tell what a cycle would do; append a prediction for each volume."""

    def open_channels(self, job: Job, volumes: list[VolumeOnHost]) -> None:
        """Have the channels to the peers opened and kept, for the next call that needs them."""

    def seconds(self, plan: PlanOnHost, volumes: list[VolumeOnHost], nbytes: int) -> float:
        """What a cycle of the volumes will take in which so many bytes changed, by what cycles took before."""

    def verify(self, job: Job, volumes: list[VolumeOnHost], results: Results) -> None:
        """Prove from disk that both ends are equal; append a result for each volume."""


DRIVERS: dict[str, type[DeltaDriver]] = {"delta": DeltaDriver}


def driver(name: str, state_dir: Path) -> VolumeDriver:
    """Raises XdrError for a driver that this collection does not have."""
    if name not in DRIVERS:
        raise XdrError(f"there is no volume driver {name!r}", todo=f"Use one of: {', '.join(DRIVERS)}", code="unknown_driver")
    return DRIVERS[name](state_dir)


def chosen(plan: PlanOnHost, names: list[str] | None) -> list[VolumeOnHost]:
    """The plan's volumes on this host by name; all of them where no names are given."""
    for name in names or []:
        if name not in plan.volumes:
            known = ", ".join(plan.volumes) or "none"
            raise XdrError(
                f"volume {name!r} of plan {plan.plan} is not registered here",
                where=plan.host,
                todo=f"Known are: {known}",
                code="unknown_volume",
            )
    return [plan.volumes[name] for name in dict.fromkeys(plan.volumes if names is None else names)]
