# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""What a cycle takes on this way from host to host, learnt from the cycles before: ``rates.json`` of a plan."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from ..durable import read_json
from ..errors import XdrError
from ..site import plan_dir

_NEWS = 0.5  # the weight of the newest measure: machines and links change
_ENOUGH = 4 << 20  # bytes from which a rate says something


@dataclass(frozen=True)
class Work:
    """Of one session: bytes read and sent, and the seconds that went into reading, sending, applying, and in all."""

    read: int = 0
    sent: int = 0
    reading: float = 0.0
    sending: float = 0.0
    applying: float = 0.0
    total: float = 0.0


@dataclass(frozen=True)
class Rates:
    """Bytes a second, and the seconds that a session takes however little there is to do. The defaults are a slow machine's."""

    read: float = 500e6
    send: float = 100e6
    apply: float = 200e6
    fixed: float = 1.0
    measured: int = 0  # sessions

    def seconds(self, read: int, sent: int) -> float:
        """What a session will take that reads and sends so many bytes."""
        return round(self.fixed + self.of_volume(read, sent), 2)

    def of_volume(self, read: int, sent: int) -> float:
        """A volume's share of it, without what a session takes in any case."""
        return read / self.read + sent / self.send + sent / self.apply

    def to_compare(self, size: int) -> float:
        """What a full compare of a volume takes in the downtime: both ends read at the same time."""
        return round(self.of_volume(size, 0), 3)

    def learnt(self, work: Work) -> Rates:
        fixed = work.total - sum(part for part, nbytes in self._parts(work) if nbytes >= _ENOUGH)
        news = {"fixed": max(0.0, fixed)}
        for name, seconds, nbytes in (
            ("read", work.reading, work.read),
            ("send", work.sending, work.sent),
            ("apply", work.applying, work.sent),
        ):
            if nbytes >= _ENOUGH and seconds > 0:
                news[name] = nbytes / seconds
        weight = _NEWS if self.measured else 1.0
        mixed = {name: weight * value + (1 - weight) * float(getattr(self, name)) for name, value in news.items()}
        return Rates(**{**asdict(self), **mixed, "measured": self.measured + 1})

    @staticmethod
    def _parts(work: Work) -> tuple[tuple[float, int], ...]:
        return (work.reading, work.read), (work.sending, work.sent), (work.applying, work.sent)


def load(state_dir: Path, plan: str) -> Rates:
    """The defaults where nothing was measured yet, or the file cannot be read: it is only an estimate."""
    try:
        document = read_json(_path(state_dir, plan))
        return Rates(**{each.name: document[each.name] for each in fields(Rates)}) if document else Rates()
    except (XdrError, KeyError, TypeError):
        return Rates()


def learn(state_dir: Path, plan: str, work: Work) -> None:
    """Not durable, as it is not worth a wait for the disk; whole or not at all."""
    path = _path(state_dir, plan)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.write_text(json.dumps(asdict(load(state_dir, plan).learnt(work))), encoding="utf-8")
    fresh.replace(path)


def _path(state_dir: Path, plan: str) -> Path:
    return plan_dir(state_dir, plan) / "rates.json"
