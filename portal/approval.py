# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Previews are approved, and a start brings its approval along: the gate holds it against what would be done by then (PU/approval.py).

Where the plan asks for four eyes (``approval.four_eyes``), the approval must be another person's than the starter's; one who may start the
action may approve it. A start by the schedule is nobody's, so anybody's approval counts. What goes on where it stopped needs none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError
from ansible_collections.xdr.failback.plugins.plugin_utils.approval import PREVIEW, four_eyes

from .preview import closed, shown
from .store import approvals, audit, runs
from .store.approvals import Approval, person, same
from .store.runs import SCHEDULE, Run

if TYPE_CHECKING:
    from .store import Store

SHORTEST = 6  # characters of a hash that a person types
OVERRIDES = "failover"  # the one that cannot always wait for a second person
Plan = Mapping[str, Any]


@dataclass(frozen=True)
class Starter:
    """Who starts it, and through what (the origin of the audit trail)."""

    name: str
    origin: str

    def may_use(self, approval: Approval) -> bool:
        """Whether it is a second person's."""
        return self.origin == SCHEDULE or not same(self.name, approval.who)


def approve(store: Store, run: Run, *, who: str, origin: str, note: str = "") -> Approval:
    """Approve what a check run foresaw. Raises XdrError, wrong_state: there is nothing to approve; it leaves an audit entry, too."""
    from .actions import attested

    try:
        if refusal := refused(run):
            raise XdrError(refusal, where=f"run {run.id}", todo=PREVIEW, code="wrong_state")
        note = attested(" ".join(note.split()), "a note")
    except XdrError as error:
        audit.add(store, who, origin, f"approve {run.action}", f"plan {run.plan}", f"run {run.id}: {error.sentence()}", "refused")
        raise
    return approvals.add(
        store, run.plan, run.action, _bound(run, {"name": run.plan}, run.action), run.id, who=who, origin=origin, note=note
    )


def refused(run: Run) -> str:
    """Why the run cannot be approved; empty when it can."""
    preview = shown(run)
    if not run.check:
        return "it was no preview: it did what it says"
    if preview is None:
        return "it has no preview, or not yet"
    if preview["nothing"]:
        return f"nothing would be done: {preview['nothing']}"
    if shut := closed(preview):
        return f"not all of its gates are open: {', '.join(shut)}"
    return f"it would fail: {preview['refused']}" if preview["refused"] else ""


def given(
    store: Store, plan: Plan, action: str, starter: Starter, *, typed: str = "", previewed: Run | None = None, override: str = ""
) -> dict[str, Any]:
    """What the run brings along as ``arguments["approved"]``; empty where it needs no approval and none was named, or where the action may
    go on where an earlier run stopped: then the gate has the word.

    ``typed``: the hash that a person gave, or its beginning; ``previewed``: the check run under whose preview it is started: nothing else
    than that is done, also where nobody had to approve it; ``override``: a dr-admin's reason to do without a second person.

    Raises XdrError: usage, gate_refused.
    """
    wants = four_eyes(plan, action)
    if override:
        return _overridden(plan, action, starter, override, wants)
    bound = _bound(previewed, plan, action) if previewed else {}
    if previewed and not wants:
        return {
            "hash": bound["hash"],
            "parts": dict(bound["parts"]),
            "run": previewed.id,
            "told": f"as the preview {previewed.id} shows it",
        }
    found = _found(store, plan, action, typed) if typed or wants else []
    found = [one for one in found if not bound or one.hash == bound["hash"]]
    usable = [one for one in found if not wants or starter.may_use(one)]
    if usable:
        best = usable[0]
        told = f"{best.by} approved it, {best.hash[:12]}"
        return {"hash": best.hash, "parts": dict(best.parts), "by": best.by, "at": best.at, "preview": best.run, "told": told}
    if wants and not _may_go_on(store, plan, action):
        who = f"only {found[0].by}, who starts it, has approved it" if found else "nobody has approved it"
        what = f"{action} takes an approval by a second person, and {who}"
        raise XdrError(what, where=f"plan {plan['name']}", todo=how(plan, action), code="gate_refused")
    return {}


def lacking(store: Store, plan: Plan, action: str, starter: Starter) -> str:
    """Why this person cannot start the action just so; empty where it takes no second person, or one has approved it."""
    try:
        if four_eyes(plan, action):
            given(store, plan, action, starter)
    except XdrError as error:
        return error.what
    return ""


def _bound(run: Run, plan: Plan, action: str) -> Mapping[str, Any]:
    """The hash of what a preview shows, and its parts. Raises XdrError, code usage, for a run that is no preview of this."""
    preview = shown(run)
    if preview is None or (run.plan, run.action) != (plan["name"], action):
        raise XdrError(f"run {run.id[:100]} is no preview of {action}", where=f"plan {plan['name']}", todo=PREVIEW, code="usage")
    bound: Mapping[str, Any] = preview["approval"]
    return bound


def _found(store: Store, plan: Plan, action: str, typed: str) -> list[Approval]:
    """The newest first; those of the hash that a person gave, one at least."""
    found = approvals.of_plan(store, str(plan["name"]), action=action)
    if not typed:
        return found
    named = [one for one in found if len(typed) >= SHORTEST and one.hash.startswith(typed.lower())]
    if not named:
        what = f"nobody has approved {typed[:64]!r} for {action}"
        raise XdrError(what, where=f"plan {plan['name']}", todo=how(plan, action), code="gate_refused")
    return named


def _may_go_on(store: Store, plan: Plan, action: str) -> bool:
    """Whether the newest run of the action ended half way, by all that the store knows."""
    newest = next((run for run in runs.latest(store, plan=str(plan["name"])) if run.action == action and not run.check), None)
    return newest is not None and bool(newest.exit_code)


def _overridden(plan: Plan, action: str, starter: Starter, reason: str, wants: bool) -> dict[str, Any]:
    from .actions import attested

    if action != OVERRIDES:
        raise XdrError(
            f"only a {OVERRIDES} may do without a second person", where=f"plan {plan['name']}", todo=how(plan, action), code="usage"
        )
    if not wants:
        raise XdrError(f"{action} of this plan takes no second person", where=f"plan {plan['name']}", todo="Start it without", code="usage")
    reason = attested(" ".join(reason.split()), "a reason")
    by = person(starter.name, starter.origin)
    return {"override": True, "by": by, "reason": reason, "told": f"OVERRIDE: {by} did without a second person: {reason}"}


def how(plan: Plan, action: str) -> str:
    """Who may approve, and how."""
    preview = f"Make a preview (xdr run preview {action} {plan['name']}, or the button)"
    approved = "approved (xdr run approve RUN, or on its page)"
    if not four_eyes(plan, action):
        return f"{preview}, and have it {approved}"
    rest = ". In an emergency a dr-admin does without: --without-approval '…'" if action == OVERRIDES else ""
    return f"{preview}, and have it {approved} by anybody who may start it, but another than its starter{rest}"
