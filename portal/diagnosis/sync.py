# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Whether replication is stuck: a cycle that goes on and on, cycles that keep failing, a lock nobody gives back, a spool nobody applies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .. import units
from .finding import OK, UNKNOWN, WARN, WRONG, Facts, Finding
from .lag import REPLICATING

CHECK = "stuck sync"
LONG, STUCK = 3, 10  # times the usual
AT_LEAST = 60.0  # seconds that a cycle may take whatever is usual
HELD = 30.0  # seconds after which who waits for a plan's lock gives up
SILENT = 120.0


def findings(facts: Facts) -> Iterator[Finding]:
    for plan in facts["plans"].values():
        found = [*_cycle(plan, facts["at"]), *_failing(plan, facts["at"])]
        for host, one in facts["hosts"].items():
            on_host = (one["facts"] or {}).get("plans", {}).get(plan["name"])
            found += [*_lock(host, plan["name"], on_host, facts["at"]), *_spool(host, plan, on_host, facts["at"])] if on_host else []
        yield from found
        if not found and plan["state"] in REPLICATING:
            cycle = plan["cycle"]
            usual = f"a cycle usually takes {units.seconds(cycle['usual_s'])}"
            if cycle["last_ok"] is None:
                todo = "Start a worker, which replicates on the plan's interval, or run replicate"
                yield Finding(CHECK, UNKNOWN, f"No cycle of plan {plan['name']} is known to this controller", todo)
            else:
                ago = units.seconds(facts["at"] - cycle["last_ok"])
                yield Finding(CHECK, OK, f"Plan {plan['name']} replicates: the newest good cycle ended {ago} ago", "", (usual,))


def _cycle(plan: Mapping[str, Any], now: float) -> Iterator[Finding]:
    since, usual = plan["cycle"]["active_since"], plan["cycle"]["usual_s"]
    if since is None or now - since < max(AT_LEAST, LONG * (usual or 0)):
        return
    lasted = now - since
    stuck = lasted > max(SILENT, STUCK * (usual or 0)) and usual is not None
    what = f"A cycle of plan {plan['name']} has run for {units.seconds(lasted)}"
    evidence = (f"usually one takes {units.seconds(usual)}", f"run {plan['cycle']['active']}")
    todo = f"Watch it; if nothing of it moves, stop it (xdr run stop {plan['cycle']['active']}): the next one goes on where it was"
    yield Finding(CHECK, WRONG if stuck else WARN, what, todo, evidence)


def _failing(plan: Mapping[str, Any], now: float) -> Iterator[Finding]:
    cycle = plan["cycle"]
    if plan["state"] not in REPLICATING:
        return
    if cycle["failed"]:
        many = len(cycle["failed"])
        what = f"The newest cycle of plan {plan['name']} failed" if many == 1 else f"The last {many} cycles of plan {plan['name']} failed"
        errors = tuple(dict.fromkeys(f"{units.since(one['at'])}: {one['error']}" for one in cycle["failed"]))[:5]
        yield Finding(
            CHECK, WARN if many == 1 else WRONG, what, "What the newest says is what to mend; the other checks here may say why", errors
        )
    elif cycle["last_ok"] is not None and cycle["active_since"] is None and now - cycle["last_ok"] > max(SILENT, 3 * plan["interval"]):
        what = f"No cycle of plan {plan['name']} has ended since {units.seconds(now - cycle['last_ok'])}, and none runs"
        todo = "See that a worker runs: it starts them. A run of the plan that is active holds them back, too"
        yield Finding(CHECK, WRONG, what, todo, (f"replication.interval is {units.seconds(plan['interval'])}",))


def _lock(host: str, name: str, on_host: Mapping[str, Any], now: float) -> Iterator[Finding]:
    lock = on_host["lock"]
    if not lock["held"] or lock["since"] is None or now - lock["since"] <= HELD:
        return  # taken a moment ago: that is work
    process = f"process {lock['pid']} ({lock['command']})"
    what = f"The lock of plan {name} on {host} is held by {process}, which began {units.seconds(now - lock['since'])} ago"
    todo = f"Look at process {lock['pid']} on {host}: whoever waits for that lock gives up after {HELD:.0f} s. If it does nothing, end it"
    yield Finding(CHECK, WRONG, what, todo)


def _spool(host: str, plan: Mapping[str, Any], on_host: Mapping[str, Any], now: float) -> Iterator[Finding]:
    name = plan["name"]
    for one in on_host["spool"]:
        silent = now - one["written"]
        told = (f"{one['name']}: {units.size(one['bytes'])}, last written {units.seconds(silent)} ago",)
        if one["held"] and silent > SILENT:
            what = f"{host} waits in the middle of a cycle of plan {name}: nothing has come for {units.seconds(silent)}"
            todo = f"Look at the source's host and the line; end the receiver (process {one['pid']} on {host}) if its cycle is gone"
            yield Finding(CHECK, WRONG, what, todo, told)
        elif not one["held"] and one["committed"] and silent > SILENT:
            what = f"A received cycle of plan {name} waits on {host} to be applied"
            yield Finding(CHECK, WARN, what, "Run replicate: it applies what was received before it sends more", told)
        elif not one["held"] and not one["committed"] and silent > max(SILENT, 3 * plan["interval"]):
            what = f"An interrupted cycle of plan {name} lies in the spool of {host}, and no other has gone on with it"
            yield Finding(CHECK, WARN, what, "Run replicate: the next cycle goes on where this one was cut off", told)
