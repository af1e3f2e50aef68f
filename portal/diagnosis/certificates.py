# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The certificates of the controller: those beside the keys with which it reaches the hosts, and the portal's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible_collections.xdr.failback.plugins.module_utils.certificates import beside
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError

from .. import var_folder
from ..hosts import load_hosts
from ..store import Store, observations

PORTAL = "portal"  # the subject of what the portal tells of itself


def on_controller(store: Store, inventory: Path) -> list[dict[str, Any]]:
    """``{"path", "of", "from", "until", "why", "todo"}``"""
    try:
        keys = {host.key for host in load_hosts(inventory, var=var_folder(inventory)).values() if host.key}
    except XdrError:
        keys = set()
    found = [
        {**one, "of": "the controller", "todo": "Sign the controller's key again"}
        for one in beside(str(Path(key).expanduser()) for key in keys)
    ]
    return [*found, *_of_portal(store)]


def _of_portal(store: Store) -> list[dict[str, Any]]:
    seen = observations.get(store, PORTAL)
    path = str((seen.document or {}).get("certificate") or "") if seen else ""
    todo = "Renew it, and start the portal again"
    return [{"path": path, "of": "the portal", "todo": todo, **validity(Path(path))}] if path else []


def validity(path: Path) -> dict[str, Any]:
    """``{"from", "until", "why"}`` of a PEM file's first certificate (Unix seconds)."""
    from cryptography import x509  # paramiko and Ansible bring it

    try:
        found = x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError) as error:
        return {"from": None, "until": None, "why": str(error)[:200]}
    return {"from": found.not_valid_before_utc.timestamp(), "until": found.not_valid_after_utc.timestamp(), "why": ""}


def tell(store: Store, certificate: Path | None) -> None:
    """The portal says, as it starts, which certificate it shows."""
    observations.put(store, PORTAL, {"certificate": str(certificate.resolve()) if certificate else ""})
