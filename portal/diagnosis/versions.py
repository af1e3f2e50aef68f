# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Whether the two ends understand each other, and have what makes them fast."""

from __future__ import annotations

from collections.abc import Iterator

from .finding import OK, UNKNOWN, WARN, WRONG, Facts, Finding

CHECK = "versions"
OLDEST = (3, 9)
_AGAIN = "Apply the role site_agent to all hosts"


def findings(facts: Facts) -> Iterator[Finding]:
    known = {host: one for host, one in facts["hosts"].items() if one["facts"]}
    for host in facts["hosts"].keys() - known.keys():
        yield Finding(CHECK, UNKNOWN, f"What is installed on {host} is not known", "Mend the way to that host first")
    found = [*_protocols(facts), *_agents(facts), *_pythons(facts), *_accelerators(facts)]
    yield from found
    if known and not found:
        lines = [f"{host}: agent {one['agent_version']}, Python {one['facts']['python']}" for host, one in known.items()]
        yield Finding(CHECK, OK, "Controller and hosts have the same version", "", (f"controller: {facts['controller']['agent']}", *lines))


def _protocols(facts: Facts) -> Iterator[Finding]:
    spoken = {host: one["facts"]["protocol"] for host, one in facts["hosts"].items() if one["facts"]}
    if len(set(spoken.values())) > 1:
        what = "The hosts speak different versions of the delta sync: cycles between them are refused"
        yield Finding(CHECK, WRONG, what, _AGAIN, tuple(f"{host}: {version}" for host, version in spoken.items()))


def _agents(facts: Facts) -> Iterator[Finding]:
    wanted = facts["controller"]["agent"]
    other = {host: one["agent_version"] for host, one in facts["hosts"].items() if one["facts"] and one["agent_version"] != wanted}
    missing = [host for host, version in other.items() if not version]
    if missing:
        yield Finding(CHECK, WRONG, f"The agent does not run on {', '.join(missing)}", _AGAIN)
    if older := {host: version for host, version in other.items() if version}:
        what = f"The agent on {', '.join(older)} is not that of this controller"
        lines = tuple(f"{host}: {version}" for host, version in older.items())
        yield Finding(CHECK, WARN, what, _AGAIN, (f"controller: {wanted}", *lines))


def _pythons(facts: Facts) -> Iterator[Finding]:
    for host, one in facts["hosts"].items():
        if one["facts"] and tuple(map(int, one["facts"]["python"].split(".")[:2])) < OLDEST:
            what = f"{host} has Python {one['facts']['python']}, and XDR needs 3.9 at least"
            yield Finding(CHECK, WRONG, what, "Install a newer one and name it in ansible_python_interpreter")


def _accelerators(facts: Facts) -> Iterator[Finding]:
    lacking = {host: one["facts"]["accelerators_missing"] for host, one in facts["hosts"].items() if one["facts"] and _carries(one)}
    lines = tuple(f"{host} lacks {' and '.join(missing)}" for host, missing in lacking.items() if missing)
    if lines:
        what = "Cycles are slower than they could be: they use what both ends have"
        yield Finding(CHECK, WARN, what, "Run playbooks/site_accelerators.yml", lines)


def _carries(one: Facts) -> bool:
    """Whether cycles begin or end there; at a witness none do."""
    return bool({"primary", "dr"} & set(one["roles"].values()))
