# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""What is wrong with a host itself, and since when."""

from __future__ import annotations

from collections.abc import Iterator

from .. import units
from .finding import OK, UNKNOWN, WARN, WRONG, Facts, Finding

CHECK = "host health"
_VERDICTS = {"degraded": WARN, "failed": WRONG}


def findings(facts: Facts) -> Iterator[Finding]:
    for host, one in facts["hosts"].items():
        if not one["checks"]:
            yield Finding(CHECK, UNKNOWN, f"How {host} is could not be found out", "Mend the way to that host first")
            continue
        for check in one["checks"]:
            if check["result"] != "ok":
                since = f"so since {units.since(check['since'])}" if check.get("since") else "seen for the first time now"
                sentence, _, todo = check["found"].partition(". ")
                evidence = (f"wanted: {check['wanted']}", since)
                yield Finding(
                    CHECK,
                    _VERDICTS.get(check["result"], WRONG),
                    f"{host}, {check['check']}: {sentence}",
                    todo or "Look at that on the host",
                    evidence,
                )
        if all(check["result"] == "ok" for check in one["checks"]):
            lines = tuple(f"{check['check']}: {check['found']} (wanted: {check['wanted']})" for check in one["checks"])
            yield Finding(CHECK, OK, f"{host} is healthy", "", lines)
