# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""What this machine can do: rates in MiB/s and times in seconds that no program on it can beat. The best of a few tries counts."""

from __future__ import annotations

import hashlib
import os
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from . import engine
from .ground import Ground
from .started import output, started
from .volumes import BLOCK, PAGE, STRETCH, Extent, Volume, cool, lay, pieces, total, warm

MIB = 1 << 20
TRIES = 3
FILE = 512 * MIB  # bytes read and written, less for small volumes
LEAST = 64 * MIB
SCATTERED = 0.05  # of the places
HASHED = 192 * MIB  # bytes hashed by each thread
SENT = 256 * MIB
SYNCS = 50

Hasher = Callable[[bytes], object]


@dataclass(frozen=True)
class Limits:
    """``read_cold``: from disk, as many readers as cores; ``read_pieces``: 64 KiB at 5 % of the places, all asked for at once, from disk.
    ``write``: with one fsync at the end; ``write_blocks`` and ``write_pages``: the same for 64 KiB and 4 KiB at scattered places.
    ``fsync_s``: of one page. ``hash``: the best hash's rate on one core, with its name. ``ssh``: with the channel's own options and key.
    ``start_s``: ssh, the far Python and the agent from nothing to its first answer. ``idle_bytes``: what ssh is counted with for that.
    """

    cores: int
    read_warm: float
    read_cold: float
    read_pieces: float
    write: float
    write_blocks: float
    write_pages: float
    fsync_s: float
    hash: float
    hash_name: str
    hashes: dict[str, float]
    ssh: float
    cipher: str
    start_s: float
    idle_bytes: int


def cores() -> int:
    return len(os.sched_getaffinity(0))


def measure(ground: Ground, size: int, tell: Callable[[str], None]) -> Limits:
    """All of it, on a file of about ``size`` bytes in the ground's folder, which is removed."""
    tell("measuring what the disk, the hashes and ssh can do")
    path, nbytes = ground.folder / "limits.img", max(min(size, FILE), LEAST)
    try:
        volume = Volume("limits", nbytes, 7, ((0, nbytes),))
        lay(path, volume)
        write = _best(lambda: _rewrite(path, ((0, nbytes),)), nbytes)
        scattered = {piece: pieces(nbytes, SCATTERED, piece, 7) for piece in (BLOCK, PAGE)}
        hashes = _hashes()
        name = max((name for name in hashes if name.endswith("_1")), key=lambda name: hashes[name])
        ssh, idle, cipher = _ssh(ground)
        return Limits(
            cores=cores(),
            read_warm=_best(lambda: _read(path, [(0, nbytes)]), nbytes, before=lambda: warm(path)),
            read_cold=_best(lambda: _read(path, _parts(nbytes)), nbytes, before=lambda: cool(path)),
            read_pieces=_best(lambda: _read_pieces(path, scattered[BLOCK]), total(scattered[BLOCK]), before=lambda: cool(path)),
            write=write,
            write_blocks=_best(lambda: _rewrite(path, scattered[BLOCK]), total(scattered[BLOCK])),
            write_pages=_best(lambda: _rewrite(path, scattered[PAGE]), total(scattered[PAGE])),
            fsync_s=_fsync(path),
            hash=hashes[name],
            hash_name=name.removesuffix("_1"),
            hashes=hashes,
            ssh=ssh,
            cipher=cipher,
            start_s=_start(ground),
            idle_bytes=idle,
        )
    finally:
        path.unlink(missing_ok=True)


def _best(work: Callable[[], None], nbytes: int, before: Callable[[], None] = lambda: None) -> float:
    return nbytes / MIB / min(_seconds(work, before) for _ in range(TRIES))


def _seconds(work: Callable[[], None], before: Callable[[], None] = lambda: None) -> float:
    before()
    began = time.monotonic()
    work()
    return time.monotonic() - began


# -- the disk ------------------------------------------------------------------------------------------------------


def _rewrite(path: Path, extents: tuple[Extent, ...]) -> None:
    data = os.urandom(STRETCH)
    with path.open("r+b", buffering=0) as stream:
        for offset, nbytes in extents:
            for at in range(offset, offset + nbytes, STRETCH):
                os.pwrite(stream.fileno(), data[: min(STRETCH, offset + nbytes - at)], at)
        os.fsync(stream.fileno())


def _parts(nbytes: int) -> list[Extent]:
    """The file in as many parts as there are cores."""
    part = -(-nbytes // cores() // STRETCH) * STRETCH
    return [(at, min(part, nbytes - at)) for at in range(0, nbytes, part)]


def _read(path: Path, parts: list[Extent]) -> None:
    def read(part: Extent) -> None:
        buffer = bytearray(STRETCH)
        with path.open("rb", buffering=0) as stream:
            for at in range(part[0], sum(part), STRETCH):
                os.preadv(stream.fileno(), [buffer], at)

    with ThreadPoolExecutor(len(parts)) as pool:
        list(pool.map(read, parts))


def _read_pieces(path: Path, extents: tuple[Extent, ...]) -> None:
    with path.open("rb", buffering=0) as stream:
        for offset, nbytes in extents:
            os.posix_fadvise(stream.fileno(), offset, nbytes, os.POSIX_FADV_WILLNEED)
        for offset, nbytes in extents:
            os.pread(stream.fileno(), nbytes, offset)


def _fsync(path: Path) -> float:
    return sorted(_seconds(lambda: _rewrite(path, ((0, PAGE),))) for _ in range(SYNCS))[SYNCS // 2]


# -- hashes --------------------------------------------------------------------------------------------------------


def hashers() -> dict[str, Hasher]:
    found: dict[str, Hasher] = {"sha256": lambda block: hashlib.sha256(block).digest()}
    try:
        import blake3
    except ImportError:
        return found
    return {**found, "blake3": lambda block: blake3.blake3(block).digest()}


def _hashes() -> dict[str, float]:
    """Of blocks of 64 KiB, ``<name>_<threads>``; they release the interpreter's lock."""
    block = os.urandom(BLOCK)
    found = {}
    for name, hasher in hashers().items():
        for threads in (1, 2):
            found[f"{name}_{threads}"] = _best(lambda hasher=hasher, threads=threads: _hash(hasher, block, threads), HASHED * threads)  # type: ignore[misc]
    return found


def _hash(hasher: Hasher, block: bytes, threads: int) -> None:
    def work(_: int) -> None:
        for _ in range(HASHED // BLOCK):
            hasher(block)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, range(threads)))


# -- ssh -----------------------------------------------------------------------------------------------------------


def _ssh(ground: Ground) -> tuple[float, int, str]:
    """Rate, the bytes that an idle channel is counted with, and the cipher."""
    tries = [_send(ground) for _ in range(TRIES)]
    return SENT / MIB / min(seconds for seconds, _ in tries), tries[0][1], _cipher(ground)


def _send(ground: Ground) -> tuple[float, int]:
    argv, host = engine.ssh(ground.login)
    data = os.urandom(STRETCH)
    with started([*argv, host, "echo up; exec cat >/dev/null"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        if process.stdin is None or process.stdout is None:  # pipes were asked for
            raise AssertionError
        process.stdout.read(3)
        idle = engine.carried(process.pid)
        began = time.monotonic()
        for _ in range(SENT // STRETCH):
            process.stdin.write(data)
        process.stdin.close()
        process.wait()
        return time.monotonic() - began, idle


def _cipher(ground: Ground) -> str:
    argv, host = engine.ssh(ground.login)
    with started([*argv, "-v", host, "true"], stderr=subprocess.PIPE) as process:
        _, errors = process.communicate(timeout=30)
    found = [line.split("cipher: ")[1].split()[0] for line in errors.decode(errors="replace").splitlines() if "cipher: " in line]
    return found[0] if found else "unknown"


def _start(ground: Ground) -> float:
    argv, host = engine.ssh(ground.agent)
    return min(_seconds(lambda: _discard(output([*argv, host, "version"], timeout=60))) for _ in range(TRIES))


def _discard(_: object) -> None:
    """A measurement's result is its time."""
