# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Wall clocks that jump: libfaketime in every process of a node, which reads from a file how wrong the node's clock is.

The monotonic clock and the times of files stay the machine's: they are what the observer judges by.
"""

from __future__ import annotations

from pathlib import Path

from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError

COPY = "libfaketime.so"
# What version 0.9.10 does wrong stays the C library's: the copy does not export it. Python's sleep makes the first call, which breaks for
# whoever leaves the monotonic clock alone (its issue 426); the others take a lock of its own, which a fork of a process with threads
# leaves taken in the child for ever (its issue 419 has the lock): ansible-playbook stood still at one fork of some ten thousand.
HIDDEN = (b"clock_nanosleep", b"pthread_cond_init", b"pthread_cond_destroy", b"pthread_cond_timedwait")
CACHED = 1  # seconds for which a process takes its clock to be as wrong as before: without, each look at a clock opened three files
LIBRARIES = ("/usr/lib/*/faketime/libfaketime.so.1", "/usr/lib*/faketime/libfaketime.so.1")


def library() -> str:
    """Raises XdrError where it is not installed."""
    found = sorted(str(path) for pattern in LIBRARIES for path in Path("/").glob(pattern.lstrip("/")))
    if not found:
        raise XdrError(
            "the fault lab lets clocks jump with libfaketime, which is not installed",
            where="the fault lab",
            todo="Install it; on Debian: libfaketime",
            code="usage",
        )
    return found[0]


class Clocks:
    """A file for each node, absent as long as its clock is right."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def environment(self, node: str) -> dict[str, str]:
        """For the node's processes; ``node`` may be a template."""
        files = {"LD_PRELOAD": str(self._folder / COPY), "FAKETIME_TIMESTAMP_FILE": str(self._folder / node)}
        return {**files, "FAKETIME_CACHE_DURATION": str(CACHED), "FAKETIME_DONT_FAKE_MONOTONIC": "1", "NO_FAKE_STAT": "1"}

    def make(self) -> None:
        """Raises XdrError where libfaketime is not installed."""
        content = Path(library()).read_bytes()
        for name in HIDDEN:  # the first place of a name is the one among the exported symbols
            content = content.replace(b"\0%b\0" % name, b"\0x%b\0" % name[1:], 1)
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / COPY).write_bytes(content)
        self._folder.chmod(0o755)
        (self._folder / COPY).chmod(0o644)

    def jump(self, node: str, seconds: int) -> None:
        """From now on, or CACHED seconds later, the node's clock is so many seconds ahead, or behind."""
        fresh = self._folder / f".{node}"
        fresh.write_text(f"{seconds:+d}\n", encoding="ascii")
        fresh.chmod(0o644)
        fresh.replace(self._folder / node)

    def reset(self) -> None:
        """For processes that are yet to begin: one that has seen its clock jump needs ``jump(node, 0)``."""
        for file in self._folder.iterdir():
            if file.name != COPY:
                file.unlink()
