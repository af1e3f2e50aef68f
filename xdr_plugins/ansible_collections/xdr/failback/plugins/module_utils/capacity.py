# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Whether this host can serve its site: its folders, its room, its agent, its supervisor, its services, its clock (module xdr_site)."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import XdrError
from .site import AGENT, PlanOnHost, Site, load_plan, load_site

ANSWERS_WITHIN = 10.0  # seconds


@dataclass(frozen=True)
class Finding:
    """``failed``: no volume can be received here; else only the services cannot be run, and the host is degraded."""

    reason: str
    failed: bool = True


@dataclass(frozen=True)
class Check:
    """One thing that was looked at. ``found`` is told where nothing is wrong with it; else the findings tell."""

    name: str
    wanted: str
    found: str
    findings: Sequence[Finding] = ()

    def to_json(self) -> dict[str, str]:
        result = {"Healthy": "ok"}.get(verdict(self.findings), verdict(self.findings).lower())
        told = "; ".join(finding.reason for finding in self.findings)
        return {"check": self.name, "result": result, "found": told or self.found, "wanted": self.wanted}


def inspect(state_dir: Path, paths: Sequence[Mapping[str, Any]], ports: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """``host``, ``health`` (Healthy, Degraded, Failed), ``reasons``, ``checks``, ``capacity``, ``agent_version``, ``time``;
    never raises for what it finds.

    ``paths``: ``[{"path", "needs_bytes"}]``; where a path does not exist yet, the room is that of its nearest folder.
    ``ports``: ``[{"name": resource, "address", "port"}]`` that must be free.
    """
    capacity = [room(Path(wanted["path"])) for wanted in paths]
    version, agent = agent_version(state_dir / AGENT)
    checks = [Check("state folder", f"{state_dir} can be written", "it can be written", folder_findings(state_dir, "the state folder"))]
    if paths:
        free = ", ".join(f"{one['path']}: {one['free_bytes']} bytes free" for one in capacity)
        checks.append(Check("room", "what is needed is free", free, room_findings(paths, capacity)))
    checks.append(Check("agent", "it runs and tells its version", version, agent))
    host, of_site = _site_checks(state_dir)
    checks += of_site
    if ports:
        checks.append(Check("ports", "nothing listens where services will", "they are free", port_findings(ports)))
    checks.append(Check("clock", "not behind this host's own files", "not behind them", clock_findings(state_dir)))
    findings = [finding for check in checks for finding in check.findings]
    return {
        "host": host,
        "health": verdict(findings),
        "reasons": [finding.reason for finding in findings],
        "checks": [check.to_json() for check in checks],
        "capacity": capacity,
        "agent_version": version,
        "time": time.time(),
    }


def _site_checks(state_dir: Path) -> tuple[str, list[Check]]:
    """The host's name, and what site.json and the registered plans ask for."""
    wanted = "site.json names this host and its peers"
    try:
        site = load_site(state_dir)
    except XdrError as error:
        return "", [Check("set up", wanted, "", [Finding(error.sentence())])]
    checks = [Check("set up", wanted, f"{site.host}, peers {', '.join(sorted(site.peers)) or 'none'}")]
    if site.volume_roots:
        checks.append(Check("volume roots", f"{', '.join(site.volume_roots)} can be written", "they can be written", root_findings(site)))
    if site.supervisor_socket:
        checks.append(Check("supervisor", f"supervisord answers at {site.supervisor_socket}", "it answers", supervisor_findings(site)))
    services = "each can be started, and asks the start guard before"
    return site.host, [*checks, Check("services", services, "each can and does, where there is one", service_findings(site))]


def verdict(findings: Sequence[Finding]) -> str:
    if any(finding.failed for finding in findings):
        return "Failed"
    return "Degraded" if findings else "Healthy"


def folder_findings(path: Path, what: str) -> list[Finding]:
    if not path.is_dir():
        return [Finding(f"{what} {path} does not exist. Make it, or apply the role site_agent")]
    if not os.access(path, os.W_OK | os.X_OK):
        return [Finding(f"{what} {path} cannot be written by this account. Correct its owner or mode, or the file system's mount options")]
    return []


def room(path: Path) -> dict[str, Any]:
    """``{"path", "free_bytes", "total_bytes"}`` of the file system that holds the path, or would hold it."""
    there = next((folder for folder in (path, *path.parents) if folder.exists()), Path("/"))
    figures = os.statvfs(there)
    return {"path": str(path), "free_bytes": figures.f_bavail * figures.f_frsize, "total_bytes": figures.f_blocks * figures.f_frsize}


def room_findings(paths: Sequence[Mapping[str, Any]], capacity: Sequence[Mapping[str, Any]]) -> list[Finding]:
    """What several paths need of one file system is added up. Pure but for the look at which file system a path is on."""
    needs: dict[int, list[tuple[str, int, int]]] = {}
    for wanted, found in zip(paths, capacity):
        needs.setdefault(_file_system(Path(wanted["path"])), []).append(
            (found["path"], int(wanted.get("needs_bytes") or 0), int(found["free_bytes"]))
        )
    findings = []
    for entries in needs.values():
        needed, free = sum(need for _, need, _ in entries), entries[0][2]
        if needed > free:
            names = ", ".join(path for path, need, _ in entries if need)
            findings.append(Finding(f"{names}: {needed} bytes are needed and {free} are free. Make room on that file system"))
    return findings


def _file_system(path: Path) -> int:
    there = next((folder for folder in (path, *path.parents) if folder.exists()), Path("/"))
    return there.stat().st_dev


def agent_version(agent: Path) -> tuple[str, list[Finding]]:
    """What the agent itself says with this interpreter: that proves that it can be run."""
    todo = "Apply the role site_agent"
    if not agent.is_file():
        return "", [Finding(f"the agent {agent} is missing. {todo}")]
    try:
        argv = [sys.executable, str(agent), "version"]
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=ANSWERS_WITHIN, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return "", [Finding(f"the agent {agent} cannot be run ({error}). {todo}")]
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        return "", [Finding(f"the agent {agent} ended with exit status {done.returncode} ({said[:200]}). {todo}")]
    return done.stdout.strip(), []


def root_findings(site: Site) -> list[Finding]:
    return [finding for root in site.volume_roots for finding in folder_findings(Path(root), "the volume root")]


def supervisor_findings(site: Site) -> list[Finding]:
    why = _socket_refuses(site.supervisor_socket)
    reason = f"supervisord does not answer at {site.supervisor_socket} ({why}), so no instance can be started. Start supervisord"
    return [Finding(reason, failed=False)] if why else []


def service_findings(site: Site) -> list[Finding]:
    """Of the plans that are registered here: services of systemd that cannot be started, or that no guard is asked for."""
    plans = [load_plan(site.state_dir, path.parent.name) for path in sorted((site.state_dir / "plans").glob("*/plan.json"))]
    served = [plan for plan in plans if any(options.get("driver") == "systemd" for options in plan.instances.values())]
    return [finding for plan in served for finding in _services_of(site, plan)]


def _services_of(site: Site, plan: PlanOnHost) -> list[Finding]:
    from . import service_guards, systemctl  # a site host compiles what it imports at each call, and most plans have no service

    units = {name: str(options["unit"]) for name, options in plan.instances.items() if options.get("driver") == "systemd"}
    findings = []
    try:
        for name, service in zip(units, systemctl.show(list(units.values()))):
            why = f"{service.asked} cannot be started ({service.load})"
            if service.load == "loaded":
                why = service_guards.missing(service, service_guards.argv(site.state_dir, plan.plan, name))
            if why:
                findings.append(Finding(f"plan {plan.plan}: {why}. Mend it, and apply the role ownership_guard", failed=False))
    except XdrError as error:
        findings.append(Finding(f"plan {plan.plan}: {error.sentence()}", failed=False))
    return findings


def _socket_refuses(path: str) -> str:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(ANSWERS_WITHIN)
        try:
            sock.connect(path)
        except OSError as error:
            return error.strerror or str(error)
    return ""


def port_findings(ports: Sequence[Mapping[str, Any]]) -> list[Finding]:
    return [
        Finding(
            f"port {one['port']} on {one['address']} is taken by another program, so {one['name']} cannot start. "
            f"End what listens there (ss -ltnp shows it)",
            failed=False,
        )
        for one in ports
        if _taken(one["address"], int(one["port"]))
    ]


def _taken(address: str, port: int) -> bool:
    """What cannot be told (an address of another host, a privileged port) counts as free."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections of the past hold no port
        try:
            sock.bind((address, port))
        except OSError as error:
            return error.errno == errno.EADDRINUSE
    return False


def require(found: Mapping[str, Any], at_least: str) -> None:
    """Raises XdrError (``unhealthy``) with the reasons when the health is worse."""
    ranks = ("Failed", "Degraded", "Healthy")
    if ranks.index(found["health"]) < ranks.index(at_least):
        raise XdrError(f"this host is {found['health']}: {'; '.join(found['reasons'])}", where=found["host"], code="unhealthy")


def clock_findings(state_dir: Path) -> list[Finding]:
    """A clock behind the host's own files has jumped back; how far it is from other hosts' is for the caller to tell from ``time``."""
    files = [path for path in (state_dir / "site.json", state_dir / AGENT) if path.is_file()]
    newest = max((path.stat().st_mtime for path in files), default=0.0)
    behind = newest - time.time()
    if behind > 60:
        return [Finding(f"the clock is {behind:.0f} s behind the newest file of {state_dir}. Set it, or see that NTP does", failed=False)]
    return []
