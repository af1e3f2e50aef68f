# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""What was last seen of every plan, as far as a list shows it, in memory."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace

from ansible_collections.xdr.failback.plugins.plugin_utils.state_machine import View

from .. import choices
from ..store import Store, observations
from ..store.observations import Observation

LARGE = ("volumes", "instances")  # parts of an observation that no list shows


@dataclass(frozen=True)
class Glance:
    """An observation without its large parts, and the view in it."""

    observation: Observation
    view: View | None


class Glances:
    """The newest of each plan; one that has changed is read again."""

    def __init__(self) -> None:
        self._kept: dict[str, Glance] = {}
        self._lock = threading.Lock()

    def look(self, store: Store) -> Mapping[str, Glance]:
        """By subject."""
        with self._lock:
            stamps = observations.stamps(store)
            known = {name: one for name, one in self._kept.items() if stamps.get(name) == (one.observation.at, one.observation.error)}
            known |= {one.subject: _glance(one) for one in observations.some(store, stamps.keys() - known.keys())}
            self._kept = known
        return known


def _glance(one: Observation) -> Glance:
    document = {name: value for name, value in one.document.items() if name not in LARGE} if one.document else one.document
    return Glance(replace(one, document=document), choices.seen(document))
