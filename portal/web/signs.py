# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""A shape and a tone beside each word that tells a state: nobody has to tell red from green."""

from __future__ import annotations

from typing import NamedTuple

from ..store.runs import Run


class Sign(NamedTuple):
    shape: str
    tone: str  # ok, busy, warn, bad, idle: a class of xdr.css


UNKNOWN = Sign("?", "idle")
SIGNS = {
    "ACTIVE": Sign("●", "ok"),
    "READY": Sign("◆", "ok"),
    "SCHEDULED": Sign("◷", "ok"),
    "REVERSING": Sign("◐", "busy"),
    "REPROTECTING": Sign("◐", "busy"),
    "FAILING_BACK": Sign("▶", "busy"),
    "ROLLING_BACK": Sign("◀", "busy"),
    "FAILED_OVER": Sign("▲", "warn"),
    "FAILED_BACK": Sign("▲", "warn"),
    "UNPROTECTED": Sign("▲", "warn"),
    "HALTED": Sign("■", "bad"),
    "SPLIT_BRAIN": Sign("✖", "bad"),
    "NO_OWNER": Sign("✖", "bad"),
    "Healthy": Sign("●", "ok"),
    "Degraded": Sign("▲", "warn"),
    "Unreachable": Sign("✖", "bad"),
    "Failed": Sign("✖", "bad"),
    "Pending": Sign("○", "idle"),
    "Stopping": Sign("▼", "warn"),
    "Syncing": Sign("⇄", "busy"),
    "Recovering": Sign("▶", "busy"),
    "Validated": Sign("✔", "ok"),
    "RUNNING": Sign("●", "ok"),
    "STOPPED": Sign("○", "idle"),
    "STARTING": Sign("▶", "busy"),
    "STOPPING": Sign("▼", "warn"),
    "BACKOFF": Sign("▲", "warn"),
    "FATAL": Sign("✖", "bad"),
    "EXITED": Sign("✖", "bad"),
    "ORPHANED": Sign("✖", "bad"),
    "pending": Sign("○", "idle"),
    "queued": Sign("○", "idle"),
    "running": Sign("▶", "busy"),
    "stopping": Sign("■", "warn"),
    "rolling back": Sign("◀", "busy"),
    "ok": Sign("✔", "ok"),
    "degraded": Sign("▲", "warn"),
    "wrong": Sign("✖", "bad"),
    "warning": Sign("▲", "warn"),
    "done": Sign("✔", "ok"),
    "failed": Sign("✖", "bad"),
    "refused": Sign("⊘", "warn"),
    "stopped": Sign("■", "warn"),
    "within RPO": Sign("●", "ok"),
    "over RPO": Sign("▲", "bad"),
    "within RTO": Sign("●", "ok"),
    "over RTO": Sign("▲", "bad"),
    "over": Sign("●", "ok"),
    "closed": Sign("✔", "ok"),
    "open": Sign("▲", "warn"),
    "approve": Sign("✔", "ok"),
    "object": Sign("✖", "bad"),
    "asked": Sign("○", "idle"),
    "not asked": Sign("○", "idle"),
    "may be used": Sign("●", "ok"),
    "may not be used": Sign("⊘", "warn"),
    "open now": Sign("●", "busy"),
    "cancelled": Sign("⊘", "idle"),
    "started": Sign("▶", "ok"),
    "skipped": Sign("▲", "warn"),
    "missed": Sign("▲", "warn"),
    "sent": Sign("✔", "ok"),
    "sending": Sign("⇄", "busy"),
    "not looked at": Sign("○", "idle"),
    "CONNECTED": Sign("●", "ok"),
    "owns the plan": Sign("●", "ok"),
    "old": Sign("▲", "warn"),
    "crash consistent": Sign("●", "ok"),
    "not crash consistent": Sign("▲", "bad"),
}
_REFUSALS = ("gate_refused", "wrong_state", "run_active")


def sign(word: str) -> Sign:
    return SIGNS.get(word, UNKNOWN)


def of_run(run: Run) -> str:
    """One word for how a run stands or ended."""
    if not run.ended:
        return {"stop": "stopping", "stop_after": "stopping", "rollback": "rolling back", "deadline": "rolling back"}.get(
            run.message, run.status
        )
    if run.exit_code == 0:
        return "done"
    if run.code in _REFUSALS:
        return "refused"
    return "stopped" if (run.result or {}).get("stopped") else "failed"
