# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""What a host remembers of a volume's replication: ``volumes/<volume>/replication.json``, beside its manifest."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from .. import slots
from ..durable import Steps, together
from ..errors import XdrError
from ..site import VolumeOnHost, checked_name, plan_dir
from .blocks import Range


@dataclass(frozen=True)
class VolumeState:
    """``role``: none, source or target. ``cycle``: number of the newest applied cycle, 0 for none, with the start of its
    read and the time of its application (Unix seconds). ``compared``: the newest full compare, {"cycle", "at", "blocks"}.
    ``sent``: at the source, ranges of blocks sent since that compare. ``generation`` grows with every change of the
    volume's content or role by XDR. ``restoring``: the recovery point that is being put back. ``confirmed``: at the source, the
    cycle that the target has applied since the direction was last turned round. ``consistent``: the newest cycle was read
    at one point in time; ``how`` says why it was, or was not.
    """

    role: str = "none"
    cycle: int = 0
    read_started: float | None = None
    applied_at: float | None = None
    compared: dict[str, Any] | None = None
    sent: list[Range] = field(default_factory=list)
    generation: int = 0
    restoring: str | None = None
    confirmed: int = 0
    consistent: bool = True
    how: str = ""

    def turned(self, role: str) -> VolumeState:
        """In another role: what was known of the former direction holds no longer."""
        return replace(self, role=role, compared=None, sent=[], confirmed=0, generation=self.generation + 1)


_FIELDS = frozenset(each.name for each in fields(VolumeState))


class VolumeFolder:
    """The files of one volume's replication."""

    def __init__(self, state_dir: Path, plan: str, volume: VolumeOnHost) -> None:
        self.volume = volume
        self.path = plan_dir(state_dir, plan) / "volumes" / checked_name(volume.name, "volume")

    @property
    def undo(self) -> Path:
        return self.path / "undo"

    @property
    def manifest(self) -> Path:
        return self.path / "manifest"

    def load(self) -> VolumeState:
        path = self.path / "replication.json"
        document = slots.read(path)
        if document is None:
            return VolumeState()
        try:
            sent = [(int(start), int(number)) for start, number in document.get("sent", [])]
            return VolumeState(**{**{key: value for key, value in document.items() if key in _FIELDS}, "sent": sent})
        except (TypeError, ValueError, AttributeError) as error:
            raise XdrError(f"not the state of a volume ({error})", where=str(path), todo="Restore it from its site's backup") from error

    def save(self, state: VolumeState) -> None:
        """The caller holds the plan's lock."""
        together([self.saving(state)])

    def saving(self, state: VolumeState) -> Steps[None]:
        """``save``, to be done together with others."""
        return slots.writing(self.path / "replication.json", {"volume": self.volume.name, **vars(state)})

    def mark_restoring(self, point: str) -> None:
        """From here on the volume is no consistent state until the restore is done."""
        self.save(replace(self.load(), restoring=point))

    def forget_content(self) -> None:
        """What is kept of the content's digests is no longer so."""
        self.manifest.unlink(missing_ok=True)
