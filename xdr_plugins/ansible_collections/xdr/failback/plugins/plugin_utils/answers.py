# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""A person's answer to a pause: a file of the run's folder for answers, which the worker writes, or the person by hand."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from ansible_collections.xdr.failback.plugins.module_utils.durable import write_json
from ansible_collections.xdr.failback.plugins.module_utils.site import checked_name

YES, NO = "yes", "no"


@dataclass(frozen=True)
class Answer:
    answer: str  # yes or no
    reason: str
    by: str

    @property
    def told(self) -> str:
        return f"{self.by or 'somebody'} answered {self.answer}" + (f": {self.reason}" if self.reason else "")


def write(folder: Path, hook: str, answer: Answer) -> None:
    """Once; a second answer to the same pause changes nothing."""
    path = folder / checked_name(hook, "hook")
    if not path.exists():
        write_json(path, asdict(answer))


def read(folder: Path, hook: str) -> Answer | None:
    """None where there is none yet. By hand it is a line such as ``yes: J. Weber has checked the invoices``."""
    path = folder / checked_name(hook, "hook")
    try:
        text, owner = path.read_text(encoding="utf-8", errors="replace"), path.stat().st_uid
    except OSError:
        return None
    if owner not in (0, os.geteuid()):
        return None
    try:
        return Answer(**{name: str(value) for name, value in json.loads(text).items()})
    except (ValueError, TypeError, AttributeError):
        word, _, reason = text.strip().partition(":")
    word = word.strip().lower()
    return Answer(word, " ".join(reason.split()), "") if word in (YES, NO) and text.endswith("\n") else None
