# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The physical limit of a measurement: the least time that its bytes need at the rates measured on this machine.

Both ends share the cores, the disk and the loopback. With rates in bytes a second:

    compute   = (read / read_warm + hashed / hash) / cores
    ssh       = sent / ssh, and 2 * sent / ssh / cores of the cores' time: ssh and sshd keep a core busy each
    read      = cold: the bytes to be read / (read_cold for whole volumes, read_pieces for scattered blocks); warm: 0
    receive   = max(compute + 2 * ssh / cores, ssh, read + (spooled + kept) / write)
                all of that may overlap, for it is what comes before the commit record: read, hash, send, spool, undo log
    apply     = data / the rate of writing pieces of that size (whole stretches, 64 KiB blocks or 4 KiB pages)
                nothing of it may begin before the commit record is on disk
    fsyncs    = FSYNCS * fsync_s                     the small files, whose bytes do not count; those of several
                                                     volumes can be one commit of the file system's journal
    limit     = receive + apply + fsyncs             the channel is open before the clock starts: a downtime does not pay for it

What is read: the changed blocks only (tracker), the whole source (manifest), both ends (scan); and what is overwritten, for the undo
log. What is hashed: what is read for the comparison, and each changed byte once at the end that receives it (tracker: at both).
What is sent: the bytes that changed. They are written three times: spool, undo log, volume; at a first copy there is nothing to keep.
"""

from __future__ import annotations

from dataclasses import dataclass

from .limits import MIB, Limits
from .volumes import PAGE, STRETCH

FSYNCS = 3  # the commit record and its folder, the volume's state


@dataclass(frozen=True)
class Work:
    """Bytes of one measurement, both ends together. ``piece``: how large the pieces are that the volume gets."""

    read: int
    hashed: int
    sent: int
    spooled: int
    kept: int
    applied: int
    piece: int
    scattered: bool
    cold: bool


@dataclass(frozen=True)
class Least:
    """``by``: the largest part of the limit, in words."""

    seconds: float
    by: str


def work(mode: str, *, used: int, changed: int, piece: int, cold: bool, first: bool) -> Work:
    """``used``: bytes with data in the volumes of one end. ``first``: there is no target yet, everything used is sent."""
    moved = used if first else changed
    kept = 0 if first else moved
    whole = {"tracker": 0, "manifest": used, "scan": used if first else 2 * used}[mode]
    read = (whole or moved) + kept
    hashed = (whole or moved) + moved
    return Work(read, hashed, moved, moved, kept, moved, piece, mode == "tracker", cold)


def least(todo: Work, limits: Limits) -> Least:
    """The arithmetic of the module's docstring."""
    ssh = _seconds(todo.sent, limits.ssh)
    compute = (_seconds(todo.read, limits.read_warm) + _seconds(todo.hashed, limits.hash)) / limits.cores
    cold = _seconds(todo.read, limits.read_pieces if todo.scattered else limits.read_cold) if todo.cold else 0.0
    written = _seconds(todo.spooled + todo.kept, limits.write)
    cpu = compute + 2 * ssh / limits.cores
    receive = max(cpu, ssh, cold + written)
    parts = {
        _receiving(receive, cpu=cpu, compute=compute, ssh=ssh, cold=cold, written=written): receive,
        "writing the volume": _seconds(todo.applied, _write_rate(todo.piece, limits)),
        "fsync": FSYNCS * limits.fsync_s,
    }
    return Least(sum(parts.values()), max(parts, key=lambda name: parts[name]))


def _receiving(receive: float, *, cpu: float, compute: float, ssh: float, cold: float, written: float) -> str:
    if receive == cold + written and receive > cpu:
        return "reading the disk" if cold > written else "writing spool and undo log"
    return "reading and hashing" if compute > cpu / 2 else "ssh"


def _write_rate(piece: int, limits: Limits) -> float:
    if piece >= STRETCH:
        return limits.write
    return limits.write_pages if piece <= PAGE else limits.write_blocks


def _seconds(nbytes: int, rate: float) -> float:
    return nbytes / MIB / rate
