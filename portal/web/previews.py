# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The previews: the newest of an action on its own page, each on the page of its run, with its approvals and the start that binds to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any
from urllib.parse import quote

from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError
from ansible_collections.xdr.failback.plugins.plugin_utils.approval import CHANGED
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response

from .. import approval, preview
from ..choices import NEEDS, Choice
from ..store import approvals, runs
from ..store.accounts import Role, User
from ..store.approvals import Approval
from ..store.runs import Run
from .pages import page
from .plan_facts import PlanFacts
from .plans import begun, facts_of
from .visit import Visit, allowed


@dataclass(frozen=True)
class Shown:
    """A preview as a page shows it to a user."""

    run: Run
    preview: Mapping[str, Any]
    facts: PlanFacts
    user: User

    @property
    def bound(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.preview["approval"]
        return found

    @property
    def choice(self) -> Choice | None:
        return self.facts.choice(self.run.action)

    @property
    def stale(self) -> list[str]:
        """What has changed since, as far as it is known here; the gate looks again at the start."""
        parts, now = self.bound["parts"], {"plan": self.facts.plan["hash"], **self.facts.held}
        return [CHANGED[name] for name, value in now.items() if parts[name] != value]

    @cached_property
    def approved(self) -> list[Approval]:
        """The approvals of just this, the newest first."""
        found = approvals.of_plan(self.facts.desk.store, self.run.plan, action=self.run.action)
        return [one for one in found if one.hash == self.bound["hash"]]

    @property
    def second(self) -> Approval | None:
        """The newest approval by another person than this user."""
        return next((one for one in self.approved if not approvals.same(one.who, self.user.name)), None)

    @property
    def approve_refused(self) -> str:
        if self.user.role < NEEDS[self.run.action]:
            return f"It takes the role {NEEDS[self.run.action].label}"
        why = approval.refused(self.run) or (f"{' and '.join(self.stale)}: make a new preview" if self.stale else "")
        return why[:1].upper() + why[1:]

    @property
    def start_refused(self) -> str:
        if self.choice is None:
            return "It is not possible in the plan's present state"
        if self.choice.message_to or self.choice.refused or self.approve_refused:
            return self.choice.refused or self.approve_refused or "A run is active"
        if self.bound["four_eyes"] and self.second is None and not self.overrides:
            return (
                "It takes an approval by a second person, and nobody but you has given one"
                if self.approved
                else "It takes an approval first"
            )
        return ""

    @property
    def overrides(self) -> bool:
        """Whether the user may do without a second person, by a reason."""
        wants = self.bound["four_eyes"] and self.second is None
        return wants and self.run.action == approval.OVERRIDES and self.user.role >= Role.dr_admin

    @property
    def typed(self) -> dict[str, str]:
        """What was typed for the preview, for the start."""
        given = {name: str(self.run.arguments.get(name, "")) for name in ("attestation", "recovery_point", "keep", "reason")}
        window = self.run.arguments.get("window")
        given["until"] = datetime.fromtimestamp(window["until"]).isoformat() if window else ""
        return {name: value for name, value in given.items() if value}


def shown(visit: Visit, run: Run) -> Shown | None:
    """The preview of a check run, if it has one and its plan is there."""
    found, plan = preview.shown(run), visit.desk.inventory.plans.get(run.plan)
    return Shown(run, found, PlanFacts(visit.desk, plan, visit.user.role), visit.user) if found and plan else None


@allowed(Role.viewer)
def one(visit: Visit) -> Response:
    """The newest preview of the action, or the button that makes one."""
    facts, action = facts_of(visit), visit.path("action")
    if action not in NEEDS:
        raise HTTPException(404)
    store = visit.desk.store
    newest = preview.newest(store, facts.name, action)
    making = next((run for run in runs.unended(store) if run.plan == facts.name and run.check and run.action == action), None)
    return page(
        visit,
        "preview.html",
        facts=facts,
        action=action,
        choice=facts.choice(action),
        shown=shown(visit, newest) if newest else None,
        making=making,
    )


@allowed(Role.operator)
def make(visit: Visit) -> Response:
    """A new preview: the action's run in check mode."""
    return begun(visit, check=True)


@allowed(Role.operator)
def approve(visit: Visit) -> Response:
    try:
        run = runs.get(visit.desk.store, visit.path("run"))
    except XdrError:
        raise HTTPException(404) from None
    if run.action in NEEDS and visit.user.role < NEEDS[run.action]:
        sentence = f"To approve {run.action} takes the role {NEEDS[run.action].label}"
        visit.note(f"approve {run.action}", f"plan {run.plan}", sentence, "refused")
        raise HTTPException(403, sentence)
    try:
        approval.approve(visit.desk.store, run, who=visit.user.name, origin=visit.origin, note=visit.form.get("note", ""))
    except XdrError as error:
        raise HTTPException(400 if error.code == "usage" else 409, error.sentence()) from None
    return RedirectResponse(f"/runs/{quote(run.id, safe='')}#approvals", 303)
