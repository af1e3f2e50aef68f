# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Who owns the plan: whether the sites' records agree, and whether the witness can speak."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .finding import OK, UNKNOWN, WARN, WRONG, Facts, Finding

CHECK = "ownership"
_STATES = {
    "SPLIT_BRAIN": ("Both sites moved on by themselves", "Compare what each side has on the plan's page, and resolve it by a typed choice"),
    "NO_OWNER": ("No site owns it, so it runs nowhere", "Bring the site back that the ownership is offered to, or run failover"),
    "HALTED": ("A move stands half way", "Answer what its run asks on the plan's page: retry, skip, or abort"),
}


def findings(facts: Facts) -> Iterator[Finding]:
    for plan in facts["plans"].values():
        name, view = plan["name"], plan["view"]
        if not view:
            told = (plan["error"],) if plan["error"] else ()
            yield Finding(CHECK, UNKNOWN, f"Who owns plan {name} is not known", "Mend the ways to its hosts first", told)
            continue
        found = [*_of(plan, view), *_instances(plan, view), *_registered(facts, plan)]
        yield from found
        if not found:
            yield Finding(
                CHECK, OK, f"Plan {name} is {plan['state']}, owned by {view['owner']} at epoch {view['epoch']}; the records agree"
            )


def _of(plan: Mapping[str, Any], view: Mapping[str, Any]) -> Iterator[Finding]:
    name, state = plan["name"], plan["state"]
    if state in _STATES:
        what, todo = _STATES[state]
        yield Finding(CHECK, WRONG, f"Plan {name} is {state}. {what}", todo, tuple(line for line in (view.get("why", ""),) if line))
    if view.get("mute"):
        what = f"The witness of plan {name} is mute: it has no answer for a site that boots"
        yield Finding(CHECK, WRONG, what, f"Run any action that reads both sites, or: xdr run vouch {name}", (view["mute"],))
    if view["unreachable"]:
        what = f"The records of plan {name} on {', '.join(view['unreachable'])} could not be read"
        yield Finding(CHECK, UNKNOWN, what, "Mend the way to that host first")
    run = view.get("run")
    if run and not run.get("ended") and not plan["active"] and state not in _STATES:
        what = f"Run {run['id']} ({run['action']}) of plan {name} has begun and not ended, and nobody is at work on it"
        yield Finding(
            CHECK, WARN, what, f"Run {run['action']} again: it goes on from where that one stands", tuple(run.get("phases") or ())
        )


def _instances(plan: Mapping[str, Any], view: Mapping[str, Any]) -> Iterator[Finding]:
    """At the owner everything runs, elsewhere nothing does."""
    for one in plan["instances"]:
        here = one["role"] == view["owner"]
        told = (f"{one['name']} on {one['host']}: {one['state']}{', ' + one['why'] if one['why'] else ''}",)
        if here and one["state"] != "RUNNING" and not plan["active"]:
            todo = f"Read its log on {one['host']}, then: xdr run start {plan['name']}"
            yield Finding("instances", WRONG, f"{one['name']} does not run on {one['host']}, where plan {plan['name']} is", todo, told)
        elif not here and one["state"] not in ("STOPPED", "EXITED", "FATAL") and not plan["active"]:
            todo = f"Find out who started it, and stop it on {one['host']} before it writes"
            what = f"{one['name']} runs on {one['host']}, which does not own plan {plan['name']}"
            yield Finding("instances", WRONG, what, todo, told)


def _registered(facts: Facts, plan: Mapping[str, Any]) -> Iterator[Finding]:
    known = {
        host: one["facts"]["plans"].get(plan["name"])
        for host, one in facts["hosts"].items()
        if one["facts"] is not None and plan["name"] in one["roles"]
    }
    if none := ", ".join(host for host, on_host in known.items() if on_host is None):
        what = f"{none} does not know plan {plan['name']} yet"
        yield Finding(CHECK, WARN, what, "The next run of the plan tells it; before it was ever started, run start")
    if old := ", ".join(host for host, on_host in known.items() if on_host and on_host["hash"] not in ("", plan["hash"])):
        what = f"{old} knows plan {plan['name']} as it was before the plan's file changed"
        yield Finding(CHECK, WARN, what, "The next run of the plan, or its next cycle, tells it the new one")
