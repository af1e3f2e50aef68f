# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""What the witness's record counts for, beside the records of the sites."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from ansible_collections.xdr.failback.plugins.module_utils import record as records
from ansible_collections.xdr.failback.plugins.module_utils.witness import TOLD, muted


@dataclasses.dataclass(frozen=True)
class Believed:
    """``record``: what the witness's record is, or becomes once both sites have vouched for it; None where it counts for nothing.
    ``attempt``: the newest pair that it has seen, which it compares with in any case."""

    record: Mapping[str, Any] | None
    attempt: tuple[int, int] = (0, 0)
    mute: str = ""
    vouchers: tuple[Mapping[str, Any], ...] = ()
    serial: int = 0


def believe(plan: Mapping[str, Any], reads: Mapping[str, Mapping[str, Any]]) -> Believed:
    """``reads`` as of state_machine.derive. The records of all hosts of both sites are looked at: any of them may know more."""
    told = {
        site: [each for host in plan["sites"][site]["hosts"] if (each := reads.get(host, {}).get("record")) and each["epoch"]]
        for site in ("primary", "dr")
    }
    sites = [{key: each[key] for key in TOLD} for each in (*told["primary"], *told["dr"])]
    heard = max((each["heard"] for each in sites), default=0)
    witness = reads.get(plan["witness"], {}).get("record")
    if not witness:
        return Believed(None, serial=heard)
    mute = muted(witness, sites)
    found = Believed(witness if witness["epoch"] else None, tuple(witness["attempt"]), serial=max(heard, int(witness["serial"])))
    if not mute:
        return found
    found = dataclasses.replace(found, record=None, mute=mute, vouchers=tuple(sites))
    if not all(told.values()):
        return found
    before = dataclasses.replace(records.from_json(dict(witness)), site=records.WITNESS, mute=mute)
    after = records.transition(before, {"request": "vouched", "records": sites}, 0.0)
    return dataclasses.replace(found, record=after.to_json())


def vouched_for(vouchers: tuple[Mapping[str, Any], ...]) -> bool:
    """Whether both sites are among them."""
    return {each["site"] for each in vouchers} >= set(records.SITES)
