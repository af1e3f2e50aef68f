# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The tracker qemu_bitmap in the Python of a site host: Debian's libnbd is for that one only.

Run as a program it is that tracker: a line of JSON for each call, a line of JSON for each answer.
usage: site_tracker.py VOLUME IMAGE SOCKET NODE NBD (the last three may be empty)
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from ansible_collections.xdr.failback.plugins.module_utils.delta.blocks import Range
from ansible_collections.xdr.failback.plugins.module_utils.delta.trackers.interface import Changed, Unknown
from ansible_collections.xdr.failback.plugins.module_utils.delta.trackers.qemu_bitmap import QemuBitmap
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError

PYTHON = "/usr/bin/python3"
PLUGINS = Path(__file__).resolve().parents[2] / "xdr_plugins"


class SiteTracker:
    """Its methods are the tracker's; XdrError comes over with its sentence and code. ``options``: of Python."""

    def __init__(
        self, volume: Path, image: Path, socket: Path | None = None, nbd: Path | None = None, *, node: str = "", options: str = ""
    ):
        words = [str(volume), str(image), str(socket or ""), node, str(nbd or "")]
        argv = [PYTHON, "-W", "error", *options.split(), str(Path(__file__).resolve()), *words]
        env = {**os.environ, "PYTHONPATH": str(PLUGINS)}
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env)

    def close(self) -> None:
        self.process.communicate(timeout=60)

    def mark(self, mark: str) -> None:
        self._ask("mark", mark)

    def changed(self, since: str) -> Changed:
        answer = self._ask("changed", since)
        return Unknown(answer) if isinstance(answer, str) else [(start, number) for start, number in answer]

    def known(self, since: str) -> list[Range]:
        """What changed, where that can be told."""
        found = self.changed(since)
        assert not isinstance(found, Unknown), found.why
        return found

    def why(self, since: str) -> str:
        """Why it cannot be told."""
        found = self.changed(since)
        assert isinstance(found, Unknown), found
        return found.why

    def keep(self, mark: str) -> None:
        self._ask("keep", mark)

    def drop(self, mark: str) -> None:
        self._ask("drop", mark)

    def forget(self) -> None:
        self._ask("forget")

    def _ask(self, method: str, *arguments: str) -> Any:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps([method, *arguments]).encode() + b"\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        if "error" in answer:
            raise XdrError(answer["error"], code=answer["code"])
        return answer["value"]


def main() -> None:
    volume, image, socket, node, nbd = sys.argv[1:]
    tracker = QemuBitmap(Path(volume), Path(image), Path(socket) if socket else None, node or None, Path(nbd) if nbd else None)
    for line in sys.stdin:
        method, *arguments = json.loads(line)
        try:
            value = getattr(tracker, method)(*arguments)
            answer = {"value": value.why if isinstance(value, Unknown) else value}
        except XdrError as error:
            answer = {"error": error.sentence(), "code": error.code}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
