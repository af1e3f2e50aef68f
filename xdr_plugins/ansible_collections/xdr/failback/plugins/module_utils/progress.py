# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Progress of a long module, appended to the run's file on the site host, which the controller tails."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from .site import checked_name


def run_file(state_dir: Path, run_id: str) -> Path:
    """Raises XdrError for a run_id that could lead out of the folder."""
    return state_dir / "runs" / f"{checked_name(run_id, 'run')}.jsonl"


class Progress:
    """Appends one JSON object a line: ``{"at": unix seconds, "host", "kind": "bytes"|"resource", ...}``.

    Kinds: ``bytes`` with ``volume``, ``done``, ``total`` (bytes) and ``rate`` (bytes/s);
    ``resource`` with ``resource`` and ``state`` (Pending, Stopping, Syncing, Recovering, Validated, Failed);
    ``output`` with ``hook`` and ``text``, a line that a hook's script wrote.
    With an empty run_id nothing is written.
    """

    every = 0.5  # seconds between two lines of one volume

    def __init__(self, state_dir: Path, run_id: str, host: str) -> None:
        self._host = host
        self._last: dict[str, tuple[float, int, int]] = {}
        self._fd = -1
        if run_id:
            path = run_file(state_dir, run_id)
            path.parent.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def bytes(self, volume: str, done: int, total: int) -> None:
        """Tell how far a volume is; at most every half second, and always at its end, once."""
        now = time.monotonic()
        at, before, whole = self._last.get(volume, (0.0, 0, -1))
        if at and (now - at < self.every if done < total else done == before and total == whole):
            return
        rate = round((done - before) / (now - at)) if at and now > at and done > before else 0
        self._last[volume] = (now, done, total)
        self._write({"kind": "bytes", "volume": volume, "done": done, "total": total, "rate": rate})

    def resource(self, name: str, state: str) -> None:
        self._write({"kind": "resource", "resource": name, "state": state})

    def output(self, hook: str, text: str) -> None:
        self._write({"kind": "output", "hook": hook, "text": text})

    def _write(self, entry: dict[str, Any]) -> None:
        if self._fd >= 0:
            line = json.dumps({"at": round(time.time(), 3), "host": self._host, **entry}) + "\n"
            os.write(self._fd, line.encode())  # one write with O_APPEND: lines of parallel writers never mix
