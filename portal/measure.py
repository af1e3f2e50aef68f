# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The figures of the demo, from the client's log, the runs' results and the volumes' files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import units
from .lab import orders

if TYPE_CHECKING:
    from .results import RunResult


def counts(log: orders.Log, numbers: Sequence[int], lost_before: set[int]) -> dict[str, int]:
    """``numbers`` are those in the database at the end; what the failover lost already is not counted again."""
    return {
        "sent": log.sent,
        "acknowledged": len(log.acks),
        "lost": len(set(orders.lost(log.acks, numbers)) - lost_before),
        "duplicated": len(orders.duplicated(numbers)),
    }


def failover(acks: Sequence[orders.Ack], lost: set[int], since: float, until: float) -> dict[str, Any]:
    """``since`` is the moment of the loss; the recovery point is the last order before it that survived."""
    kept = max((ack.monotonic for ack in acks if ack.monotonic <= since and ack.number not in lost), default=since)
    return {
        "outage_s": round(orders.outage(acks, since, until), 3),
        "rpo_s": round(since - kept, 3),
        "lost_acknowledged": len(lost),
    }


def failback(result: RunResult, acks: Sequence[orders.Ack], since: float, until: float) -> dict[str, Any]:
    sync, stop, switch = (result.step(name) for name in ("final_sync", "stop_services", "switch_traffic"))
    return {
        "outage_s": round(orders.outage(acks, since, until), 3),
        "final_sync_bytes": sent(result, "final_sync"),
        "final_sync_s": sync.seconds if sync else None,
        "cutover_s": round(switch.end - stop.begin, 3) if stop and switch else None,
        "steps": [{"name": step.name, "seconds": step.seconds} for step in result.steps],
    }


def sent(result: RunResult, step: str = "") -> int:
    """Bytes that a run, or one step of it, sent from site to site."""
    items = [item for item in result.results if item["module"] == "xdr_delta_sync" and (not step or item["step"] == step)]
    return sum(int(item.get("bytes_sent") or 0) for item in items)


def unequal(pairs: Iterable[tuple[Path, Path]]) -> list[str]:
    """The names of those volumes whose files differ, by SHA-256 of the whole file at each site."""
    pairs = list(pairs)
    with ThreadPoolExecutor(max_workers=2) as pool:
        digests = list(pool.map(_digest, [path for pair in pairs for path in pair]))
    return [pair[0].name for number, pair in enumerate(pairs) if digests[2 * number] != digests[2 * number + 1]]


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def verdict(document: dict[str, Any]) -> int:
    """0 when nothing was lost, doubled or unequal, and the plan is home and protected."""
    counted = document["orders"]
    well = not counted["lost"] and not counted["duplicated"] and document["verified_equal"] and document["status"] == "ACTIVE"
    return 0 if well and document["owner"] == "primary" else 2


def told(document: dict[str, Any]) -> Iterator[str]:
    counted, out, home = document["orders"], document["failover"], document["failback"]
    yield f"plan {document['plan']}: {document['status']}, owned by {document['owner']}, epoch {document['epoch']}"
    yield (
        f"orders: {counted['sent']} sent, {counted['acknowledged']} acknowledged; by the failback {counted['lost']} lost, "
        f"{counted['duplicated']} doubled"
    )
    behind = units.seconds(out["rpo_s"])
    yield f"failover: outage {units.seconds(out['outage_s'])}; {out['lost_acknowledged']} orders of the last {behind} lost"
    yield (
        f"failback: outage {units.seconds(home['outage_s'])}; {units.size(home['final_sync_bytes'])} in the final sync, "
        f"{units.seconds(home['final_sync_s'])}"
    )
    yield "volumes: equal at both sites" if document["verified_equal"] else "volumes: NOT equal"
