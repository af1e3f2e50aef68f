# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""What this host does for a plan: plan.json, checked against the other plans of this host (modules xdr_plan, xdr_ownership)."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from . import record as records
from .durable import fsync_folder, locked, read_json, write_json
from .errors import Refused, XdrError
from .lease_grants import forget_all
from .running import alive
from .site import PlanOnHost, Site, VolumeOnHost, lies_in_roots, load_plan, load_site, parse_plan, plan_dir

Document = dict[str, Any]


def registered(state_dir: Path, plan: str) -> Document | None:
    """plan.json as it is, or None."""
    document: Document | None = read_json(plan_dir(state_dir, plan) / "plan.json")
    return document


def present(state_dir: Path, plan: str, document: Document, *, check: bool) -> tuple[Document | None, Document]:
    """Register the plan; the documents before and after. Raises XdrError, Refused (``taken``, ``outside_roots``, ``in_use``)."""
    site, wanted = load_site(state_dir), _parsed(plan, document)
    if wanted.host != site.host:
        raise XdrError(f"the document is for host {wanted.host}", where=site.host, todo="Give each host its own document")
    if check:
        return _checked(state_dir, site, wanted), document
    with _locks(state_dir, plan):
        before = _checked(state_dir, site, wanted)
        if before != document:
            write_json(plan_dir(state_dir, plan) / "plan.json", document)
            if wanted.lease is None or before is None or not before.get("lease"):
                forget_all(state_dir, plan)
    return before, document


def absent(state_dir: Path, plan: str, *, check: bool) -> Document | None:
    """Forget the plan; the document before. The ownership record stays: an epoch that was once known is never forgotten."""
    path, before = plan_dir(state_dir, plan) / "plan.json", registered(state_dir, plan)
    if before is None:
        return None
    _refuse_running(state_dir, load_plan(state_dir, plan))
    if not check:
        with _locks(state_dir, plan):
            _refuse_running(state_dir, load_plan(state_dir, plan))
            path.unlink()
            fsync_folder(path.parent)
    return before


def _parsed(plan: str, document: Document) -> PlanOnHost:
    try:
        wanted = parse_plan(document)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise XdrError(f"the document has a wrong or missing field: {error}", where=f"plan {plan}", todo="Correct it") from error
    if wanted.plan != plan:
        raise XdrError(f"the document is of plan {wanted.plan}", where=f"plan {plan}", todo="Give the plan's own document")
    return wanted


@contextlib.contextmanager
def _locks(state_dir: Path, plan: str) -> Iterator[None]:
    """The lock of all plans of this host, then the plan's: two plans cannot take the same volume at the same time."""
    with locked(Path(state_dir) / "plans" / ".lock"), locked(plan_dir(state_dir, plan) / "lock"):
        yield


def _checked(state_dir: Path, site: Site, wanted: PlanOnHost) -> Document | None:
    before = registered(state_dir, wanted.plan)
    _refuse_outside_roots(site, wanted)
    _refuse_taken(state_dir, site, wanted)
    if before is not None:
        _refuse_moved_while_running(state_dir, parse_plan(before), wanted)
    return before


def _refuse_outside_roots(site: Site, wanted: PlanOnHost) -> None:
    for volume, path in _files(wanted):
        if not lies_in_roots(site, path):
            known = ", ".join(site.volume_roots) or "none"
            what = f"volume {volume.name} lies outside the volume roots ({known}): {os.path.realpath(path)}"
            raise Refused(what, where=_where(site, wanted), todo="Correct its path, or xdr_volume_roots", code="outside_roots")


def _refuse_taken(state_dir: Path, site: Site, wanted: PlanOnHost) -> None:
    owner: dict[Any, str] = {}
    for other in _others(state_dir, wanted.plan):
        owner.update(dict.fromkeys(_keys_of_instances(other), f"plan {other.plan}"))
        for volume, path in _files(other):
            owner.update(dict.fromkeys(identities(path), f"volume {volume.name} of plan {other.plan}"))
    for key in _keys_of_instances(wanted):
        if key in owner:
            raise _taken(site, wanted, f"instance {key[-1]} belongs to {owner[key]}")
    for volume, path in _files(wanted):
        for key in identities(path):
            if key in owner:
                raise _taken(site, wanted, f"the path {path} of volume {volume.name} is that of {owner[key]}")
        owner.update(dict.fromkeys(identities(path), f"volume {volume.name}"))


def _files(plan: PlanOnHost) -> list[tuple[VolumeOnHost, Path]]:
    return [(volume, path) for volume in plan.volumes.values() for path in volume.files]


def identities(path: Path) -> list[tuple[Any, ...]]:
    """Where a volume is, in every way in which two names can mean one: the real path, device and inode, the block device."""
    found: list[tuple[Any, ...]] = [("path", os.path.realpath(path))]
    try:
        status = path.stat()
    except OSError:
        return found
    return [*found, ("inode", status.st_dev, status.st_ino), *([("device", status.st_rdev)] if status.st_rdev else [])]


def _keys_of_instances(plan: PlanOnHost) -> list[tuple[str, ...]]:
    return [_known_as(plan, name) for name in plan.instances]


def _known_as(plan: PlanOnHost, name: str) -> tuple[str, ...]:
    """An instance is what its driver starts (its program or unit), and else its name."""
    options = plan.instances[name]
    return ("instance", options.get("driver", ""), str(options.get("program") or options.get("unit") or name))


def _others(state_dir: Path, plan: str) -> Iterator[PlanOnHost]:
    for path in sorted((Path(state_dir) / "plans").glob("*/plan.json")):
        if path.parent.name != plan:
            yield load_plan(state_dir, path.parent.name)


def _refuse_moved_while_running(state_dir: Path, before: PlanOnHost, wanted: PlanOnHost) -> None:
    """A path stays while anything runs; what an instance is for its driver stays while it runs itself, or nobody would look for it."""
    moved = [name for name, volume in before.volumes.items() if name in wanted.volumes and wanted.volumes[name].path != volume.path]
    renamed = [name for name in before.instances if name in wanted.instances and _known_as(before, name) != _known_as(wanted, name)]
    running = alive(state_dir, before.plan, before.instances) if moved or renamed else []
    for one in running:
        if moved or one.name in renamed:
            subject = f"the path of volume {moved[0]}" if moved else f"the program or unit of instance {one.name}"
            what = f"{subject} changes while instance {one.name} runs: {one.what}"
            raise Refused(what, where=f"{before.host}, plan {before.plan}", todo="Stop the instance first", code="in_use")


def _refuse_running(state_dir: Path, plan: PlanOnHost) -> None:
    running = alive(state_dir, plan.plan, plan.instances)
    if running and records.load(state_dir, plan.plan).owns:
        what = f"this site owns the plan and instance {running[0].name} runs: {running[0].what}"
        raise Refused(what, where=f"{plan.host}, plan {plan.plan}", todo="Stop the plan's instances first", code="in_use")


def _taken(site: Site, wanted: PlanOnHost, what: str) -> Refused:
    return Refused(
        what, where=_where(site, wanted), todo="A volume and an instance belong to one plan: correct one of the plans", code="taken"
    )


def _where(site: Site, wanted: PlanOnHost) -> str:
    return f"{site.host}, plan {wanted.plan}"
