# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""What a failback or rollback that stopped half way asks a person: retry, skip or abort, each with its consequence.

Pure: it looks at the run, and at what the sites told since. An answer is a new run, whose gate reads the sites again and has the last word.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError
from ansible_collections.xdr.failback.plugins.plugin_utils.skip import START, Skip, skippable
from ansible_collections.xdr.failback.plugins.plugin_utils.state_machine import State, View

from . import choices
from .actions import attested
from .plan_view import site_names
from .store.accounts import Role
from .store.runs import MOVES, Run

Plan = Mapping[str, Any]
RETRY, SKIP, ABORT = "retry", "skip", "abort"
HALF_WAY = (State.FAILING_BACK, State.ROLLING_BACK, State.HALTED)
UNREAD = "The sites have not been read since the run ended: the worker does it in a moment"


@dataclass(frozen=True)
class Answer:
    """``action`` is what it runs; ``skips`` are groups, ``hooks`` the plan's own steps; ``refused`` is empty when it may be given."""

    name: str
    action: str
    told: str
    refused: str = ""
    warning: str = ""
    skips: tuple[str, ...] = ()
    hooks: tuple[str, ...] = ()  # of the plan, that are left out
    recommended: bool = False

    @property
    def title(self) -> str:
        return self.name.capitalize()


@dataclass(frozen=True)
class Place:
    """What runs on a host of a site; ``known`` is False for one that did not answer."""

    site: str
    host: str
    known: bool
    running: tuple[str, ...] = ()
    others: tuple[str, ...] = ()  # what does not, with its state

    @property
    def told(self) -> str:
        if not self.known:
            return "unknown"
        return "; ".join(part for part in (", ".join(self.running), *self.others) if part) or "nothing runs"


@dataclass(frozen=True)
class Question:
    """``read_at``: when the sites told what runs where, None where they have not since the run ended; ``because``: why one is best."""

    run: Run
    why: str
    read_at: float | None
    places: tuple[Place, ...]
    answers: tuple[Answer, ...]
    because: str

    def answer(self, name: str) -> Answer | None:
        return next((one for one in self.answers if one.name == name), None)

    @property
    def recommended(self) -> str:
        return next((one.name for one in self.answers if one.recommended), "")

    def to_json(self) -> dict[str, Any]:
        answers = [{**asdict(one), "skips": list(one.skips), "hooks": list(one.hooks)} for one in self.answers]
        places = [{**asdict(one), "running": list(one.running), "others": list(one.others), "told": one.told} for one in self.places]
        own = {"run": self.run.id, "why": self.why, "read_at": self.read_at, "because": self.because, "recommended": self.recommended}
        return {**own, "where": places, "answers": answers}


def question(plan: Plan, run: Run | None, document: Mapping[str, Any] | None, read_at: float | None, role: Role) -> Question | None:
    """What the plan's newest move asks; None where it does not. ``document`` is what the sites told (portal/status.py), and when."""
    if run is None or not run.ended or run.action not in MOVES or run.check:
        return None
    fresh = read_at is not None and read_at >= (run.ended_at or 0)
    view = choices.seen(document) if fresh else None
    if not _half_way(run, view):
        return None
    told = document if view and document else {}
    name = site_names(plan)
    if view is None:
        back = (run.result or {}).get("state") == State.ROLLING_BACK
        found = tuple(replace(one, refused=UNREAD) for one in _answers(name, back, False, Skip()))
        return Question(run, _why(run), None, _places(plan, told, None), found, "")
    skip = skippable(view)
    back, moved = view.state is State.ROLLING_BACK, view.owner == "primary"
    may = {one.action: one for one in choices.choices(plan, document, None, role)}
    answers = [_allowed(one, may[one.action], skip, back) for one in _answers(name, back, moved, skip)]
    places = _places(plan, told, view)
    best, because = recommend(plan, view, run, answers, _down(plan, view, told))
    marked = tuple(replace(one, recommended=one.name == best) for one in answers)
    return Question(run, _why(run), read_at, places, marked, because)


def _half_way(run: Run, view: View | None) -> bool:
    """By what the sites told; before they have, by what they recorded in the run."""
    if view is None:
        return bool(run.exit_code) and (run.result or {}).get("state") in HALF_WAY
    return view.state in HALF_WAY or bool(view.run and view.run["action"] in MOVES and view.run["phases"])


def _why(run: Run) -> str:
    return run.error or f"The {run.action} has ended, and the plan is not where it was to be"


def _answers(name: Mapping[str, str], back: bool, moved: bool, skip: Skip) -> tuple[Answer, ...]:
    """``back``: it is a rollback that asks; ``moved``: the primary site owns the plan."""
    primary, dr = name["primary"], name["dr"]
    groups = " and ".join(skip.groups) or "a group"
    on_skip = f"Goes on without the health checks of {groups}: clients are led to {primary} though these did not pass."
    if skip.hooks:
        on_skip = f"Goes on without the hook {' and '.join(skip.hooks)}."
    if back:
        return (
            Answer(RETRY, "rollback", f"Starts and checks again what is not up in {dr}, and ends the rollback."),
            Answer(
                SKIP, "rollback", f"Ends the rollback without the health checks of {groups}: clients are served from {dr} all the same."
            ),
            Answer(ABORT, "rollback", f"Goes back to {dr}."),
        )
    on = "Starts and checks again what is not well in {0}, and moves the traffic there." if moved else "Goes on where it stopped, to {0}."
    undo = f"Services up in {dr} again, with all that clients wrote"
    kept = f"; what {primary} wrote since the hand-over is kept as recovery point before-rollback." if moved else "."
    return (
        Answer(RETRY, "failback", on.format(primary)),
        Answer(SKIP, "failback", on_skip),
        Answer(ABORT, "rollback", undo + kept),
    )


def _allowed(answer: Answer, choice: choices.Choice, skip: Skip, back: bool) -> Answer:
    refused = choice.refused
    if answer.name == SKIP:
        refused = skip.refused or refused
    elif answer.name == ABORT and back:
        refused = "The rollback is the way back already: retry brings it to its end"
    skip = skip if answer.name == SKIP else Skip()
    return replace(answer, refused=refused, warning=choice.warning, skips=skip.groups, hooks=skip.hooks)


def recommend(plan: Plan, view: View, run: Run, answers: Iterable[Answer], down: Iterable[str]) -> tuple[str, str]:
    """The answer that is best by what is known, and why. Never skip: that takes a person who knows that the check is wrong.

    ``down``: what was started at the primary site and does not run there.
    """
    primary, dr = (site_names(plan)[site] for site in ("primary", "dr"))
    found = {one.name: one for one in answers}
    silent, abort = " and ".join(view.unreachable), found[ABORT]
    if view.unreachable and abort.warning:
        return RETRY, f"{silent} did not answer, and neither way goes without that: bring it back, then retry"
    if view.state is State.ROLLING_BACK:
        return RETRY, f"only the end of the rollback brings everything back in {dr}; mend first what did not come up"
    if view.run and "switch_traffic" in view.run["phases"]:
        return RETRY, f"traffic may have moved, clients may have written in {primary}: from here on it goes forward only"
    if abort.refused:
        return RETRY, "it is the only way from here"
    if view.owner != "primary":
        return ABORT, f"nothing has been handed over, and the services in {dr} may be down until this is answered"
    if (run.arguments.get("answer") or {}).get("answer") == RETRY:
        return ABORT, "a retry has failed already; no client has written since the hand-over, so going back loses no write"
    lacks = "; ".join(down)
    if not lacks and found[SKIP].hooks:
        return RETRY, "only a hook of the plan failed: retry fires it again"
    if not lacks and found[SKIP].skips:
        return RETRY, f"only health checks failed, all that was started runs in {primary}: they may pass by now"
    lacks += ". " if lacks else ""
    return ABORT, f"{lacks}No client has written since the hand-over, so going back loses no write"


def _down(plan: Plan, view: View, document: Mapping[str, Any]) -> list[str]:
    begun = [group for group in plan["start_order"] if view.run and START + group["name"] in view.run["phases"]]
    hosts = {resource["name"]: resource["hosts"]["primary"] for group in begun for resource in group["resources"]}
    found = [one for one in document.get("instances") or [] if hosts.get(one["name"]) == one["host"] and one["state"] != "RUNNING"]
    return [f"{one['host']}: {_state(one)}" for one in found]


def _state(instance: Mapping[str, Any]) -> str:
    return f"{instance['name']} is {instance['state']}" + (f" ({instance['why']})" if instance.get("why") else "")


def _places(plan: Plan, document: Mapping[str, Any], view: View | None) -> tuple[Place, ...]:
    return tuple(
        _place(plan["sites"][site]["name"], host, [one for one in document.get("instances") or [] if one["host"] == host], view)
        for site in ("primary", "dr")
        for host in plan["sites"][site]["hosts"]
    )


def _place(site: str, host: str, instances: list[Mapping[str, Any]], view: View | None) -> Place:
    if view is None or host in view.unreachable or not instances:
        return Place(site, host, known=False)
    running, stopped = ([str(one["name"]) for one in instances if one["state"] == state] for state in ("RUNNING", "STOPPED"))
    broken = [one for one in instances if one["state"] not in ("RUNNING", "STOPPED")]
    told = [_state(one) for one in broken]
    if stopped and (running or broken):
        told.append(f"{', '.join(stopped)} stopped")
    return Place(site, host, True, tuple(running), tuple(told))


def given(asked: Question, name: str, reason: str) -> dict[str, Any]:
    """The answer as the run that it leads to keeps it. Raises XdrError: usage, gate_refused for one that is not safe."""
    answer = asked.answer(name)
    if answer is None:
        raise XdrError(f"expected retry, skip or abort, found {name!r}", code="usage")
    if answer.refused:
        raise XdrError(f"{name} is refused. {answer.refused}", where=f"plan {asked.run.plan}", code="gate_refused")
    said = attested(" ".join(reason.split()), "a reason")
    if name == SKIP and not said:
        raise XdrError("skip needs a reason: say why that may be left out", code="usage")
    left_out = f", without the health checks of {' and '.join(answer.skips)}" if answer.skips else ""
    left_out += f", without the hook {' and '.join(answer.hooks)}" if answer.hooks else ""
    told = f"{name} to what run {asked.run.id} asked{left_out}" + (f". Reason: {said}" if said else "")
    return {"of": asked.run.id, "answer": name, "skips": list(answer.skips), "hooks": list(answer.hooks), "reason": said, "told": told}
