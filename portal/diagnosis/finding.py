# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""What a check says: a verdict, a sentence, what it was seen by, and what to do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

WRONG, UNKNOWN, WARN, OK = VERDICTS = ("wrong", "unknown", "warn", "ok")  # the worst first
Facts = Mapping[str, Any]  # gather.py


@dataclass(frozen=True)
class Finding:
    """``what``: one sentence; ``evidence``: lines for who wants to know; ``todo``: one sentence, empty where there is nothing to do."""

    check: str
    verdict: str
    what: str
    todo: str = ""
    evidence: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "evidence": list(self.evidence)}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Finding:
        return cls(**{**document, "evidence": tuple(document["evidence"])})


def worst_first(findings: Iterable[Finding]) -> list[Finding]:
    return sorted(findings, key=lambda finding: VERDICTS.index(finding.verdict))


def exit_code(findings: Iterable[Finding]) -> int:
    """0: nothing is wrong (there may be warnings); 2: something is; 3: nothing known is, but something could not be found out."""
    verdicts = {finding.verdict for finding in findings}
    if WRONG in verdicts:
        return 2
    return 3 if UNKNOWN in verdicts or not verdicts else 0


def summary(findings: Iterable[Finding]) -> str:
    """``2 things are wrong, 1 could not be found out``."""
    counted = {verdict: sum(finding.verdict == verdict for finding in findings) for verdict in VERDICTS}
    told = [
        f"{counted[WRONG]} thing{' is' if counted[WRONG] == 1 else 's are'} wrong" if counted[WRONG] else "nothing is known to be wrong",
        f"{counted[UNKNOWN]} could not be found out" if counted[UNKNOWN] else "",
        f"{counted[WARN]} warning{'' if counted[WARN] == 1 else 's'}" if counted[WARN] else "",
        f"{counted[OK]} ok" if counted[OK] else "",
    ]
    return ", ".join(one for one in told if one)
