# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""What a move that has halted may leave out: the health checks of a group whose instances did start, and the plan's own hooks."""

from __future__ import annotations

import dataclasses

from ansible_collections.xdr.failback.plugins.plugin_utils.state_machine import State, View

START, CHECK = "start_instances/", "health_checks/"
NEVER = {  # kind of phase → why it is not left out; the first that is open counts
    "stop_services": "A stop is never skipped: an instance that may still run could run on both sites",
    "release": "The release is never skipped: without it the volumes are not fenced",
    "final_sync": "The final sync is never skipped: acknowledged writes would be lost",
    "verify": "The verification is never skipped: without it nobody knows that the copies are equal",
    "offer": "The hand-over is never skipped: both sites could own the plan",
    "accept": "The hand-over is never skipped: both sites could own the plan",
    "decide": "The hand-over is never skipped: both sites could own the plan",
    "start_instances": "A start is never skipped: what does not run serves nobody",
    "switch_traffic": "The switch of the traffic is never skipped: it may be half done",
}
NOT_FAILED = "No group failed in its health checks, and nothing else may be skipped"


@dataclasses.dataclass(frozen=True)
class Skip:
    """The groups whose health checks, and the hooks that may be left out, or why there are none."""

    groups: tuple[str, ...] = ()
    refused: str = ""
    hooks: tuple[str, ...] = ()


def skippable(view: View) -> Skip:
    """By the marks of the open run. Leaving a check out may lead clients to a service that is not well; it costs no write and runs nothing
    twice. That other phases are open does not matter: they are done again, whatever is left out.
    """
    run = view.run
    if run is None or run["action"] not in ("failback", "rollback"):
        return Skip(refused="No failback or rollback is open")
    begun = {phase for phase, mark in run["phases"].items() if mark["done"] is None}
    if view.owner == ("dr" if view.state is State.ROLLING_BACK else "primary"):
        failed = [phase.removeprefix(CHECK) for phase in run["phases"] if phase in begun and phase.startswith(CHECK)]
        groups = tuple(group for group in failed if START + group not in begun)
        if groups:
            return Skip(groups)
    hooks = tuple(name for name, mark in (run.get("hooks") or {}).items() if not mark["settled"])
    if hooks:
        return Skip(hooks=hooks)
    kinds = {phase.partition("/")[0] for phase in begun}
    return Skip(refused=next((why for kind, why in NEVER.items() if kind in kinds), NOT_FAILED))
