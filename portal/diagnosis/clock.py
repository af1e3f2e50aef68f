# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Whether the clocks agree, as far as can be told over a network."""

from __future__ import annotations

from collections.abc import Iterator

from .finding import OK, UNKNOWN, WARN, WRONG, Facts, Finding

CHECK = "clock"
WRONG_BY, OFF_BY = 5.0, 1.0  # seconds


def findings(facts: Facts) -> Iterator[Finding]:
    agree = []
    for host, other, ahead, error in _pairs(facts):
        told = f"{other} is {abs(ahead):.1f} s {'ahead of' if ahead >= 0 else 'behind'} {host}, give or take {error:.1f} s"
        surely = abs(ahead) - error  # what is left of it in the best case
        if surely > OFF_BY:
            wrong = surely > WRONG_BY
            what = f"The clocks of {host} and {other} differ by {'about ' if error > 0.5 else ''}{abs(ahead):.0f} s"
            todo = f"Set the clock of the one that is wrong and see that NTP runs there (timedatectl, chronyc tracking); start with {other}"
            yield Finding(
                CHECK, WRONG if wrong else WARN, what, f"{todo}. Ages of recovery points and the lag are wrong until then", (told,)
            )
        elif error > WRONG_BY:
            yield Finding(
                CHECK, UNKNOWN, f"Whether the clocks of {host} and {other} agree cannot be told: the answer took too long", "", (told,)
            )
        else:
            agree.append(told)
    for host, one in facts["hosts"].items():
        if one["clock"] is None:
            yield Finding(CHECK, UNKNOWN, f"The clock of {host} is not known", "Mend the way to that host first")
    if agree:
        yield Finding(CHECK, OK, "Clocks agree, as far as that can be told from here", "", tuple(agree))


def _pairs(facts: Facts) -> Iterator[tuple[str, str, float, float]]:
    """From, to, seconds that the latter is ahead, and by how many seconds that may be wrong."""
    for host, one in facts["hosts"].items():
        if one["clock"]:
            yield "the controller", host, one["clock"]["ahead_s"], one["clock"]["error_s"]
    for link in facts["links"]:
        if link.get("clock_s") is not None:
            yield link["from"], link["to"], link["clock_s"], link["clock_error_s"]
