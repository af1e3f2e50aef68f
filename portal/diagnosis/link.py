# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Whether everybody reaches everybody, and whether the line between the sites is fast enough for what is behind."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .. import units
from .finding import OK, UNKNOWN, WARN, WRONG, Facts, Finding

CHECK = "link"
SLOW_MS = 300.0  # of a round trip
FELL = 4  # times slower than usual
_LEGS = {
    "TCP": (
        "nothing answers at its address and port",
        "See that the host is on, that sshd runs there and that no firewall drops the packets",
    ),
    "SSH": ("something answers there, but no SSH session comes up", "Read sshd's log on that host"),
    "HOST_KEY": (
        "it shows another host key than the pinned one",
        "Find out why it changed before you do anything else. If the host was built anew, pin its key again (role site_agent)",
    ),
    "LOGIN": ("it refuses the login", "See that its authorized_keys has the caller's key (role site_agent), and that the key exists"),
    "AGENT": ("the login works, but its agent answers nothing", "Apply the role site_agent to that host"),
}


def findings(facts: Facts) -> Iterator[Finding]:
    links = facts["links"]
    for host, one in facts["hosts"].items():
        if not one["reached"]:
            why = (f"Ansible: {one['why']}",) if one["why"] else ()
            todo = "See that the host is on; what is said here of the way from the controller tells how far that gets"
            yield Finding(CHECK, WRONG, f"{host} does not answer, so nothing is known of it", todo, why)
        elif not any(link["from"] == host for link in links) and len(facts["hosts"]) > 1:
            yield Finding(CHECK, UNKNOWN, f"Whether {host} reaches the other hosts could not be found out", "Look at the log of this run")
    for link in links:
        yield from _broken(link) if link["result"] != "CONNECTED" else _speed(link, facts)
    good = [link for link in links if link["result"] == "CONNECTED"]
    if good:
        yield Finding(CHECK, OK, f"{len(good)} of {len(links)} ways between controller and hosts connect", "", tuple(map(_told, good)))


def _way(link: Mapping[str, Any]) -> str:
    return f"{link['from']} → {link['to']}"


def _told(link: Mapping[str, Any]) -> str:
    latency, rate = link.get("latency_ms"), link.get("bytes_per_s")
    parts = [f"{link['ms']:g} ms for a session"] if link.get("ms") is not None else []
    parts += [f"{latency:g} ms a round trip"] if latency is not None else []
    return f"{_way(link)}: {', '.join([*parts, *([f'{units.size(rate)}/s'] if rate else [])])}"


def _broken(link: Mapping[str, Any]) -> Iterator[Finding]:
    what, todo = _LEGS.get(link["result"], ("the way is broken", "Look at that host"))
    yield Finding(CHECK, WRONG, f"{link['from']} does not reach {link['to']}: {what}", todo, (f"{link['result']}: {link['why']}",))


def _speed(link: Mapping[str, Any], facts: Facts) -> Iterator[Finding]:
    if link.get("unmeasured"):
        todo = "Mend what is said of this host first, then find out again"
        yield Finding(CHECK, UNKNOWN, f"How fast {_way(link)} is could not be measured", todo, (link["unmeasured"],))
    latency, rate, usual = (link.get(name) for name in ("latency_ms", "bytes_per_s", "usual_bytes_per_s"))
    if latency is not None and latency > SLOW_MS:
        todo = "Ask whoever runs the network what is between the sites; each step of a failback takes several round trips"
        yield Finding(CHECK, WARN, f"A round trip {_way(link)} takes {latency:.0f} ms", todo, (_told(link),))
    if rate and usual and rate * FELL < usual:
        what = f"{_way(link)} carries {units.size(rate)}/s now, and {units.size(usual)}/s usually"
        yield Finding(CHECK, WARN, what, "See what else uses the line; a cycle of another plan may", (_told(link),))
    for name, plan in facts["plans"].items():
        yield from _too_slow(link, name, plan) if rate and _carries(link, plan, facts) else ()


def _carries(link: Mapping[str, Any], plan: Mapping[str, Any], facts: Facts) -> bool:
    """Whether this is the way that the plan's cycles take."""
    sites = [facts["hosts"].get(link[end], {}).get("roles", {}).get(plan["name"]) for end in ("from", "to")]
    return bool(plan["source"]) and sites == [plan["source"], "primary" if plan["source"] == "dr" else "dr"]


def _too_slow(link: Mapping[str, Any], name: str, plan: Mapping[str, Any]) -> Iterator[Finding]:
    behind, rpo, limit = plan["lag"]["bytes"], plan["rpo"], plan["bandwidth_limit"]
    if not isinstance(behind, (int, float)) or isinstance(behind, bool):
        return
    needed = behind / rpo
    evidence = (_told(link), f"plan {name}: {units.size(behind)} behind, RPO {units.seconds(rpo)}")
    if limit and limit < needed <= link["bytes_per_s"]:
        what = f"Plan {name} may send {units.size(limit)}/s at most and would need {units.size(needed)}/s to keep its RPO; the line could"
        yield Finding(CHECK, WRONG, what, "Raise replication.bandwidth_limit in the plan", evidence)
    elif link["bytes_per_s"] < needed:
        what = f"{_way(link)} is too slow for plan {name}: sending what is behind takes longer than its RPO"
        yield Finding(CHECK, WRONG, what, "Give the sites more bandwidth, or the plan a longer RPO", evidence)
