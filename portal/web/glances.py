# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""What was last seen of every plan, as far as a list shows it, in memory."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import replace

from ..store import Store, observations
from ..store.observations import Observation

LARGE = ("volumes", "instances")  # parts of an observation that no list shows


class Glances:
    """The newest observation of each plan without its large parts; one that has changed is read again."""

    def __init__(self) -> None:
        self._kept: dict[str, Observation] = {}
        self._lock = threading.Lock()

    def look(self, store: Store) -> Mapping[str, Observation]:
        """By subject."""
        with self._lock:
            stamps = observations.stamps(store)
            known = {subject: one for subject, one in self._kept.items() if stamps.get(subject) == (one.at, one.error)}
            known |= {one.subject: _light(one) for one in observations.some(store, stamps.keys() - known.keys())}
            self._kept = known
        return known


def _light(one: Observation) -> Observation:
    document = {name: value for name, value in one.document.items() if name not in LARGE} if one.document else one.document
    return replace(one, document=document)
