# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""What follows when a move has failed: undo, hold, commit, or nothing that a program may decide."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from ansible_collections.xdr.failback.plugins.plugin_utils.state_machine import State, View


class Remedy(StrEnum):
    UNDO = "undo"
    COMMIT = "commit"
    HOLD = "hold"
    FORWARD = "forward"
    WAIT = "wait"


@dataclasses.dataclass(frozen=True)
class Recovery:
    remedy: Remedy
    told: str  # one or two sentences for the operator: what is so now, and the next safe action

    def to_json(self) -> dict[str, Any]:
        return {"remedy": str(self.remedy), "told": self.told}


def recover(plan: Mapping[str, Any], view: View, halted: bool = False) -> Recovery:
    """Decide from where the records say that the move stopped.

    Before the witness's offer, and after an offer that can be declined, the move is undone. After the hand-over
    the plan's ``on_failed_health`` decides. Once the traffic may have moved it only goes forward.
    ``halted``: a hook of the plan is why it stopped; after the hand-over a failback then waits for a person, whatever the policy.
    """
    run = view.run
    if view.state is State.SPLIT_BRAIN:
        return Recovery(Remedy.WAIT, f"Nothing was undone: {view.why}. A dr-admin decides which side is kept: xdr run resolve")
    if run is None:
        return _no_run(view)
    source, target = ("primary", "dr") if run["action"] == "failover" else ("dr", "primary")
    dead = {site: plan["sites"][site]["record_host"] in view.unreachable for site in (source, target)}
    if "switch_traffic" in run["phases"] and halted and run["action"] == "failback" and not view.unreachable:
        restored = f"Service is restored, the traffic is with {target}. What is left of the run halts for that hook, it asks: retry or skip"
        return Recovery(Remedy.HOLD, f"{restored} (xdr run answer)")
    if "switch_traffic" in run["phases"]:
        return Recovery(Remedy.FORWARD, f"The traffic may have moved to {target} already: run {run['action']} again, it goes on from there")
    if halted and run["action"] == "failover" and not run["phases"]:
        return Recovery(
            Remedy.WAIT, "Nothing was moved yet: mend what failed, or leave the hook out with a reason, then run failover again"
        )
    if plan["witness"] in view.unreachable or view.mute or dead[source]:
        return _stay(plan, view, run, source, target, dead[source])
    if view.owner == target:
        return _policy(plan, view, run, target, dead[target], halted)
    # it may have accepted, also where the source, attested to be off, is back and owns by its record
    if view.offered_to(target) and dead[target]:
        epoch = view.offer["epoch"] if view.offer else "?"
        fenced = f"{target} was offered epoch {epoch} and does not answer: everything stays fenced until it does"
        return Recovery(Remedy.WAIT, f"{fenced}. Then run {run['action']} again, or roll back")
    if not any(phase.startswith("stop_services") for phase in run["phases"]):
        return Recovery(Remedy.UNDO, f"Nothing was stopped: the services run on the {source} site as before")
    return Recovery(Remedy.UNDO, f"The move was undone: the services run on the {source} site again, and no write was lost")


def _no_run(view: View) -> Recovery:
    """No record shows an open run: it was not claimed, another took over and ended, or its own end was recorded before a host failed."""
    if view.state in (State.FAILED_BACK, State.FAILED_OVER):
        missing = (
            f" {' and '.join(view.unreachable)} has not heard of it yet and learns of it with the next run" if view.unreachable else ""
        )
        return Recovery(
            Remedy.FORWARD, f"The plan has moved: its services run on the {view.owner} site and clients reach them there.{missing}"
        )
    return Recovery(Remedy.WAIT, "No run of the plan is open, so nothing is to be undone: this one had not begun, or another took over")


def _stay(plan: Mapping[str, Any], view: View, run: Mapping[str, Any], source: str, target: str, source_dead: bool) -> Recovery:
    if view.mute:
        again = f"run {run['action']} again, or roll back: it lets the witness learn from both sites what is so"
        return Recovery(Remedy.WAIT, f"Nothing was undone, the witness is mute ({view.mute}). When both sites answer, {again}")
    missing = plan["sites"][source]["record_host"] if source_dead else plan["witness"]
    again = f"Run {run['action']} again when {missing} answers, it goes on where it stopped"
    if view.owner == target:
        return Recovery(Remedy.FORWARD, f"{target} owns the plan and {missing} does not answer, so the move cannot be undone. {again}")
    return Recovery(Remedy.WAIT, f"Nothing was undone, {missing} does not answer. {again}, or roll back then")


def _policy(plan: Mapping[str, Any], view: View, run: Mapping[str, Any], target: str, target_dead: bool, halted: bool) -> Recovery:
    policy = "hold" if halted else plan["failback"]["on_failed_health"]
    if target_dead:
        return Recovery(Remedy.WAIT, f"{target} owns the plan and does not answer: run {run['action']} again when it does")
    if run["action"] == "failover":
        return Recovery(Remedy.FORWARD, "The DR site owns the plan: mend what failed and run failover again, it goes on from there")
    if policy == "hold":
        return Recovery(
            Remedy.HOLD,
            f"The plan is HALTED with its services on the {target} site, no client is routed there. It asks: retry, skip or abort "
            "(xdr run answer), which is to run failback again, without the health checks or the hook that failed, or rollback",
        )
    if policy == "commit":
        return Recovery(Remedy.COMMIT, f"The plan's policy is commit: the traffic goes to the {target} site in spite of the failure")
    kept = "what the primary site wrote meanwhile is kept as recovery point before-rollback"
    return Recovery(Remedy.UNDO, f"The move was undone: the services run on the DR site again; {kept}")


def undo_path(view: View, source: str, target: str) -> str:
    """How a move from ``source`` to ``target`` is undone, by what the records say.

    ``hand_back``: the target owns the plan, or has begun to give it back. ``decline``: it was offered the plan and has
    not accepted. ``retake``: it was not offered the plan, the source takes its release back.
    """
    if view.owner == target or view.standing[target] == "released" or view.offered_to(source):
        return "hand_back"
    return "decline" if view.offered_to(target) else "retake"
