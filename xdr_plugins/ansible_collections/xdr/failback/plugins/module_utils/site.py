# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""What a site host knows of itself (site.json) and of a plan it serves (plan.json)."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .durable import read_json
from .errors import XdrError

AGENT = Path("agent") / "xdr-site-agent.pyz"  # below the state folder
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")


@dataclass(frozen=True)
class Peer:
    """Another host that this one reaches over the site-to-site channel."""

    name: str
    address: str
    port: int
    user: str
    key: str
    known_hosts: str


@dataclass(frozen=True)
class Site:
    """site.json: this host, its peers by inventory name, and where volumes may lie."""

    host: str
    state_dir: Path
    volume_roots: list[str]
    boot_without_witness: str
    peers: dict[str, Peer]
    supervisor_socket: str


@dataclass(frozen=True)
class VolumeOnHost:
    name: str
    path: Path
    driver: str
    grows: bool
    resource: str
    group: str
    quiesce: dict[str, list[Any]] | None
    unit: str
    peer: str
    tracker: dict[str, Any] | None = None  # {"kind": auto, scan, reflink or qemu_bitmap, …its options}

    @property
    def files(self) -> list[Path]:
        """All that belongs to this volume alone: its own path, and the image that its tracker keeps."""
        image = (self.tracker or {}).get("image")
        return [self.path, Path(image)] if image else [self.path]


@dataclass(frozen=True)
class PlanOnHost:
    """plan.json: what this host does for a plan. ``site`` is ``primary``, ``dr`` or ``witness``."""

    plan: str
    hash: str
    site: str
    host: str
    witness: str
    record_host: bool
    volumes: dict[str, VolumeOnHost]
    instances: dict[str, dict[str, Any]]
    lease: dict[str, Any] | None = None  # the terms (lease.py); at the witness also ``hosts``, which must have held one


def checked_name(name: str, what: str = "plan") -> str:
    """The name itself, if it may become a part of a path: letters, digits, ``_`` and ``-``; at most 63."""
    if not _NAME.fullmatch(name):
        raise XdrError(
            f"{name!r} is not a name of a {what}", todo="Use letters, digits, '-' and '_', a letter or digit first, at most 63 characters"
        )
    return name


def plan_dir(state_dir: Path, plan: str) -> Path:
    return Path(state_dir) / "plans" / checked_name(plan)


def load_site(state_dir: Path) -> Site:
    """Raises XdrError when the host has no site.json, or a field of it is missing."""
    path = Path(state_dir) / "site.json"
    document = read_json(path)
    if document is None:
        raise XdrError("this host is not set up as a site host", where=str(path), todo="Apply the role site_agent to it")
    try:
        return Site(
            host=document["host"],
            state_dir=Path(document["state_dir"]),
            volume_roots=list(document["volume_roots"]),
            boot_without_witness=document.get("boot_without_witness", "wait"),
            peers={name: _peer(name, fields) for name, fields in document.get("peers", {}).items()},
            supervisor_socket=document.get("supervisor_socket", ""),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _damaged(path, error, "Apply the role site_agent again") from error


def lies_in_roots(site: Site, path: Path) -> bool:
    """Whether a path, links resolved, lies below one of the host's volume roots."""
    real = os.path.realpath(path)
    return any(os.path.commonpath([real, root]) == root and real != root for root in map(os.path.realpath, site.volume_roots))


def load_plan(state_dir: Path, plan: str) -> PlanOnHost:
    """Raises XdrError when the plan is not registered on this host, or a field is missing."""
    path = plan_dir(state_dir, plan) / "plan.json"
    document = read_json(path)
    if document is None:
        raise XdrError(f"plan {plan} is not registered on this host", where=str(path), todo="Register it with the module xdr_plan")
    try:
        return parse_plan(document)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _damaged(path, error, "Register the plan again with the module xdr_plan") from error


def parse_plan(document: dict[str, Any]) -> PlanOnHost:
    """Raises KeyError, TypeError or ValueError for a document of another shape."""
    if document["site"] not in ("primary", "dr", "witness"):
        raise ValueError(f"site is {document['site']!r}, expected primary, dr or witness")
    return PlanOnHost(
        plan=checked_name(document["plan"]),
        hash=document["hash"],
        site=document["site"],
        host=document["host"],
        witness=document["witness"],
        record_host=bool(document["record_host"]),
        volumes={name: _volume(name, fields) for name, fields in document.get("volumes", {}).items()},
        instances={checked_name(name, "resource"): dict(fields) for name, fields in document.get("instances", {}).items()},
        lease=document.get("lease"),
    )


def _peer(name: str, fields: dict[str, Any]) -> Peer:
    return Peer(name, fields["address"], int(fields["port"]), fields["user"], fields["key"], fields["known_hosts"])


def _volume(name: str, fields: dict[str, Any]) -> VolumeOnHost:
    path = Path(fields["path"])
    if not path.is_absolute():
        raise ValueError(f"volume {name} has the path {path}, expected an absolute one")
    return VolumeOnHost(
        name=checked_name(name, "volume"),
        path=path,
        driver=fields["driver"],
        grows=bool(fields.get("grows", False)),
        resource=fields["resource"],
        group=fields["group"],
        quiesce=fields.get("quiesce"),
        unit=fields["unit"],
        peer=fields["peer"],
        tracker=fields.get("tracker"),
    )


def _damaged(path: Path, error: Exception, todo: str) -> XdrError:
    what = f"the field {error} is missing" if isinstance(error, KeyError) else f"a field has the wrong form ({error})"
    return XdrError(what, where=str(path), todo=todo)
