# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""How a failback has left the hosts. One that was disturbed and went on must leave what an undisturbed one leaves."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible_collections.xdr.failback.plugins.module_utils import slots
from ansible_collections.xdr.failback.plugins.module_utils.durable import read_json

RECORD = ("standing", "owner", "epoch", "draining", "to", "status")
RUN = ("action", "outcome")
VOLUME = ("role", "consistent", "restoring")
PASSING = "cycle-"  # recovery points of which a session that was cut off makes more, or fewer

Ending = dict[str, Any]


def read(folders: Mapping[str, Path]) -> Ending:
    """What counts of each site's host, by a name that tells what it is; ``folders``: site → the plan's folder there. No process writes."""
    found: Ending = {}
    for site, folder in folders.items():
        found.update({f"{what} at {site}": value for what, value in _record(folder).items()})
        found[f"instances marked as running at {site}"] = sorted(file.stem for file in (folder / "running").glob("*.json"))
        found[f"files in the spool at {site}"] = len(list((folder / "spool").glob("*")))
        for volume in sorted((folder / "volumes").glob("*/")):
            found.update({f"{what} of {volume.name} at {site}": value for what, value in _volume(volume).items()})
    return found


def _record(folder: Path) -> Ending:
    record = read_json(folder / "ownership.json") or {}
    run, offer = record.get("run") or {}, record.get("offer") or {}
    found = {name: record.get(name) for name in RECORD}
    found |= {f"run's {name}": run.get(name) for name in RUN}
    return {**found, "offer": [offer.get("epoch"), offer.get("to")]}


def _volume(folder: Path) -> Ending:
    state = slots.read(folder / "replication.json") or {}
    points = sorted(point.name for point in (folder / "undo").glob("*/") if not point.name.startswith(PASSING))
    return {**{name: state.get(name) for name in VOLUME}, "recovery points": points}


def differences(undisturbed: Ending, this: Ending) -> list[str]:
    names = sorted({*undisturbed, *this})
    return [
        f"it ended unlike an undisturbed run: {name} is {this.get(name)!r}, not {undisturbed.get(name)!r}"
        for name in names
        if this.get(name) != undisturbed.get(name)
    ]
