# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Whether the trackers of changed blocks can tell what has changed; where one cannot, a cycle reads the whole volume."""

from __future__ import annotations

from collections.abc import Iterator

from .finding import OK, UNKNOWN, WARN, WRONG, Facts, Finding

CHECK = "tracker"


def findings(facts: Facts) -> Iterator[Finding]:
    for name, plan in facts["plans"].items():
        hosts = {host: one for host, one in facts["hosts"].items() if plan["source"] and one["roles"].get(name) == plan["source"]}
        for host, one in hosts.items():
            on_host = one["facts"]["plans"].get(name) if one["facts"] else None
            if one["facts"] and on_host is None:
                continue  # that it does not know the plan, ownership says
            if on_host is None:
                yield Finding(CHECK, UNKNOWN, f"The trackers of plan {name} on {host} are not known", "Mend the way to that host first")
            elif on_host["why"]:
                yield Finding(CHECK, WRONG, f"What {host} keeps of plan {name} cannot be read", "Do what it says", (on_host["why"],))
            else:
                yield from _of(name, host, on_host["trackers"])


def _of(name: str, host: str, trackers: list[dict[str, str]]) -> Iterator[Finding]:
    good = [one for one in trackers if one["valid"] or one["name"] == "scan"]
    for one in trackers:
        if not one["valid"] and one["name"] != "scan":
            what = f"The tracker {one['name']} of volume {one['volume']} on {host} is not valid: the next cycle reads all of it"
            todo = "Run replicate: that cycle is slower and makes it valid again. If this comes back with each cycle, mend what it says"
            yield Finding(CHECK, WARN, what, todo, (one["why"],))
    if good:
        lines = tuple(f"{one['volume']}: {one['name']}{', ' + one['why'] if one['why'] else ''}" for one in good)
        yield Finding(
            CHECK, OK, f"{len(good)} of {len(trackers)} volumes of plan {name} on {host} are read as their storage allows", "", lines
        )
