# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""What a cycle would do now: how each volume would be read and why so, how much would go over, how long it would take."""

from __future__ import annotations

import contextlib
import secrets
from concurrent.futures import ThreadPoolExecutor
from typing import Any, BinaryIO

from .. import accelerators
from ..site import VolumeOnHost
from ..transfer import Job
from . import blocks, rates, scanning, session
from .reading import Copy, Reading, mark_all
from .session import Session
from .sources import check_sources

Results = list[dict[str, Any]]


def preview(job: Job, volumes: list[VolumeOnHost], reader: BinaryIO, writer: BinaryIO, peer: str, results: Results) -> None:
    """Appends {"volume", "method", "why", "bytes_total", "predicted_bytes" (or "unknown"), "predicted_read", "predicted_seconds",
    "compared", "compare_seconds", "accelerators_missing"} for each volume. Nothing is changed, and no hooks run.

    The seconds are those of the volume; a session takes ``rates.fixed`` on top. ``compare_seconds``: what a full compare in the
    downtime costs; 0.0 where there has been one within this direction.
    """
    check_sources(job, volumes)
    known = rates.load(job.state_dir, job.plan.plan)
    with session.opened(job, volumes, reader, writer, peer, work="preview") as opened, scanning.pool() as workers:
        copies = opened.copies()
        for volume in volumes:
            results.append(_predicted(opened, volume, copies[volume.name], workers, known))


def _predicted(opened: Session, volume: VolumeOnHost, copy: Copy, workers: ThreadPoolExecutor, known: rates.Rates) -> dict[str, Any]:
    folder = opened.folder(volume)
    reading = Reading(folder, copy, opened.digest, f"preview-{secrets.token_hex(4)}")
    with contextlib.closing(reading):
        mark_all([reading])
        reading.begin(whole=False)
        behind = _bytes_behind(reading, workers)
        compared = folder.load().compared
        both_ends = 2 if reading.method == "scan" else 1
        return {
            "volume": volume.name,
            "method": reading.method,
            "why": reading.why,
            "bytes_total": reading.size,
            "predicted_bytes": "unknown" if behind is None else behind,
            "predicted_read": reading.asked_bytes,
            "predicted_seconds": round(known.of_volume(reading.asked_bytes * both_ends, reading.size if behind is None else behind), 3),
            "compared": compared,
            "compare_seconds": 0.0 if compared else known.to_compare(reading.size),
            "accelerators_missing": accelerators.missing(),
        }


def _bytes_behind(reading: Reading, workers: ThreadPoolExecutor) -> int | None:
    """Bytes of the blocks that differ from the state which the copy is in; None where that is not known here."""
    digests = reading.base_digests
    if digests is None:
        return None
    behind = 0
    for chunk in reading.compared(workers, digests):
        behind += sum(blocks.nbytes(run, reading.size) for run in chunk.touched)
    return behind
