# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Whether the witness may be believed: one that is mute gives no answers until the sites' records have vouched for it, or a person has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from .errors import NotReached, Refused

if TYPE_CHECKING:
    from .record import Record

TOLD = ("site", "epoch", "owner", "declined", "heard")  # of a site's record, what vouches
TODO = "A run that reads both sites lets it speak again (xdr run vouch), or dr-admin does with a reason"


def muted(witness: Mapping[str, Any], sites: Iterable[Mapping[str, Any]]) -> str:
    """Why the witness's record is not to be believed, beside what the records of the sites say; empty where it is."""
    known = list(sites)
    heard = max((site["heard"] for site in known), default=0)
    if witness["mute"]:
        return str(witness["mute"])
    if witness["serial"] < heard:
        return behind(witness["serial"], heard)
    if not witness["epoch"] and any(site["epoch"] for site in known):
        return "it knows no epoch of the plan, as if it had lost its disk"
    return ""


def behind(serial: int, heard: int) -> str:
    return f"restored: it tells its state {serial} after it had told state {heard}"


def told(record: Record, serial: int) -> Record:
    """At a site: remember the newest state of the witness that a run has read. At the witness: older than that, it is mute."""
    if record.site != "witness":
        return replace(record, heard=max(record.heard, serial))
    return replace(record, mute=behind(record.serial, serial)) if record.serial < serial and not record.mute else record


def check_speaks(site: Record, witness: Record) -> None:
    """Raises NotReached where the site that asks must take the witness's answer for none."""
    why = muted(witness.to_json(), [site.to_json()])
    if why:
        raise NotReached(f"the witness is mute about plan {site.plan} ({why})", where=witness.host, todo=TODO)


def refuse_mute(record: Record) -> None:
    """Raises Refused, code ``witness_mute``."""
    if record.mute:
        what = f"the witness is mute ({record.mute})"
        raise Refused(what, where=f"{record.host}, plan {record.plan}", todo=TODO, code="witness_mute")


def vouched(record: Record, request: Mapping[str, Any], now: float) -> Record:
    """The witness learns the newest epoch and its owner from ``records`` of the sites (each with the keys of TOLD), and speaks again.

    What it may have offered meanwhile is not known: the attempt under which the records were read fences whoever could accept that, and
    its epoch stays free. Without both sites it takes the word of a person, ``by`` and ``text``.
    """
    known = [each for each in request.get("records") or [] if each["epoch"]]
    if not record.mute and record.epoch:
        return record
    by, text = (str(request.get(name) or "").strip() for name in ("by", "text"))
    silent = {"primary", "dr"} - {each["site"] for each in known}
    where = f"{record.host}, plan {record.plan}"
    if not known or (silent and not (by and text)):
        what = f"only both sites can vouch for the witness, and nothing is known of {' and '.join(sorted(silent))}"
        raise Refused(what, where=where, todo="Bring it back, or say who vouches (by) and why (text)", code="attestation_missing")
    epoch = max(record.epoch, *(each["epoch"] for each in known))
    newest = [each["owner"] for each in known if each["epoch"] == epoch] or [record.owner]
    owners = {owner for owner in newest if owner}  # two, where both claim it: then the witness names none
    owner = owners.pop() if len(owners) == 1 else None
    entry = {"epoch": epoch, "owner": owner, "how": "overridden" if silent else "vouched", "attempt": list(record.attempt)}
    return replace(
        record,
        epoch=epoch,
        owner=owner,
        declined=max(record.declined, epoch + 1, *(each["declined"] for each in known)),
        offer=None,
        mute="",
        serial=max(record.serial, *(each["heard"] for each in known)),
        history=[*record.history, {**entry, "at": now, "by": by, "text": text}],
    )
