# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Programs that the bench starts: each is ended with all it started, however the bench ends."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError

from .. import processes

GRACE = 5.0  # seconds between SIGTERM and SIGKILL


@contextlib.contextmanager
def started(argv: list[str], **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A program in a session of its own (Ctrl-C is the bench's business), without input unless ``stdin`` says so."""
    try:
        process = subprocess.Popen(argv, **{"stdin": subprocess.DEVNULL, "start_new_session": True, "bufsize": 0, **options})
    except OSError as error:
        raise XdrError(f"{argv[0]} cannot be run ({error.strerror})", todo="Install it; ./xdr bench does that as root") from error
    try:
        yield process
    finally:
        if process.poll() is None:
            processes.end(processes.tree(process.pid), GRACE)
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream:
                with contextlib.suppress(OSError):
                    stream.close()


def output(argv: list[str], *, timeout: float, **options: Any) -> str:
    """What the program printed. Raises XdrError with its last words when it fails or takes too long."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with started(argv, **pipes, **options) as process:
        try:
            out, errors = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired as error:
            raise XdrError(f"{Path(argv[0]).name} did not end within {timeout:g} s", todo="Look at the machine's load") from error
        if process.returncode:
            raise failure(argv[0], process.returncode, errors)
    return out.decode(errors="replace")


def failure(program: str, code: int, errors: bytes) -> XdrError:
    lines = [line.strip() for line in errors.decode(errors="replace").splitlines() if line.strip()]
    last = lines[-1] if lines else "no reason was given"
    return XdrError(f"{Path(program).name} failed with code {code}: {last}", where="the bench")
