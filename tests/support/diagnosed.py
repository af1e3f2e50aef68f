# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The facts of a plan with nothing wrong, to be spoilt by a test."""

from __future__ import annotations

import copy
from typing import Any

NOW = 1_800_000_000.0
DAY = 86400.0
Facts = dict[str, Any]


def healthy() -> Facts:
    """webshop on primary fra-hv1, copied to ams-hv1; edge1 is the witness."""
    roles = {"fra-hv1": "primary", "ams-hv1": "dr", "edge1": "witness"}
    return copy.deepcopy(
        {
            "subject": "webshop",
            "at": NOW,
            "hosts": {host: _host(role) for host, role in roles.items()},
            "links": [
                _link("controller", "fra-hv1"),
                _link("fra-hv1", "ams-hv1", latency_ms=4.0, bytes_per_s=50 << 20),
                _link("ams-hv1", "fra-hv1", latency_ms=4.0, bytes_per_s=50 << 20),
                _link("edge1", "fra-hv1"),
            ],
            "plans": {"webshop": _plan()},
            "controller": {"agent": "1+a", "workers": ["w1 on here"], "certificates": [], "run_failed": "", "store": _store()},
        }
    )


def _store() -> Facts:
    return {"where": "sqlite:///var/xdr.sqlite", "looked": True, "wrong": ""}


def _host(role: str) -> Facts:
    room = {"path": "/srv/xdr", "what": "state folder", "free_bytes": 50 << 30, "total_bytes": 100 << 30, "device": 1}
    on_host = {"site": role, "hash": "h1", "why": "", "lock": {"held": False, "pid": None, "command": "", "since": None}, "spool": []}
    trackers = [{"volume": "orders", "asked": "auto", "name": "reflink", "valid": True, "why": ""}] if role == "primary" else []
    return {
        "reached": True,
        "why": "",
        "roles": {"webshop": role},
        "checks": [{"check": "agent", "result": "ok", "found": "1+a", "wanted": "it runs", "since": NOW - DAY}],
        "agent_version": "1+a",
        "clock": {"ahead_s": 0.1, "error_s": 0.4},
        "facts": {
            "time": NOW,
            "python": "3.11.2",
            "protocol": 3,
            "accelerators_missing": [],
            "rooms": [{**room, "free_inodes": 1000, "total_inodes": 2000}],
            "quota": None,
            "certificates": [],
            "known_hosts": [{"path": "/etc/xdr/known_hosts", "at": NOW - DAY}],
            "plans": {"webshop": {**on_host, "trackers": trackers}},
        },
    }


def _link(start: str, end: str, **fields: Any) -> Facts:
    known = {
        "result": "CONNECTED",
        "ms": 40.0,
        "why": "",
        "latency_ms": None,
        "bytes_per_s": None,
        "unmeasured": "",
        "usual_bytes_per_s": None,
    }
    return {"from": start, "to": end, **known, "clock_s": 0.1, "clock_error_s": 0.02, **fields}


def _plan() -> Facts:
    view = {"owner": "primary", "epoch": 3, "unreachable": [], "mute": "", "why": "", "run": None}
    return {
        "name": "webshop",
        "hash": "h1",
        "state": "ACTIVE",
        "source": "primary",
        "rpo": 300.0,
        "interval": 60.0,
        "bandwidth_limit": None,
        "lag": {"bytes": 1 << 20, "age": 30.0},
        "before": [],
        "cycle": {"active": "", "active_since": None, "usual_s": 10.0, "last_ok": NOW - 30, "failed": []},
        "view": view,
        "active": "",
        "instances": [
            {"name": "orders-db", "host": "fra-hv1", "role": "primary", "state": "RUNNING", "why": ""},
            {"name": "orders-db", "host": "ams-hv1", "role": "dr", "state": "STOPPED", "why": ""},
        ],
        "error": "",
        "seen_at": NOW - 20,
        "seen_error": "",
    }
