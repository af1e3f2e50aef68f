# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Build the lab, take it down, lose one of its sites and let it return."""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import pwd
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Self

from ansible_collections.xdr.failback.plugins.module_utils.durable import locked, read_json, write_json
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError

from ..processes import carrying, end
from .addresses import BALANCER, HOSTS
from .inventory import PROJECT, inventory_path, lab_root, materialise, read_lab, service_port

SITE_HOSTS = {"primary": "fra-hv1", "dr": "ams-hv1", "witness": BALANCER}
PYTHON = "/usr/bin/python3"  # of the sites; the controller's own may be out of the account's reach
BUILD = "XDR_LAB_BUILD"
PLAYBOOK_TIMEOUT = 300.0  # seconds


class Lab:
    """One lab on this machine. ``inventory`` is there after ``up()``."""

    def __init__(self, name: str, inventory: Path, root: Path, project: Path = PROJECT) -> None:
        self.name, self.inventory, self.root, self.project = name, inventory, root, project

    @classmethod
    def create(cls, name: str = "lab", project: Path = PROJECT) -> Self:
        """The lab of this name, whether it is up or not. Raises XdrError for a name that is not a plain word."""
        if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,19}", name):
            raise XdrError(f"'{name}' is no name for a lab", where="lab", todo="Take up to 20 letters a-z, digits and '-'")
        return cls(name, inventory_path(name, project), lab_root(name), project)

    # building and taking down

    @property
    def is_up(self) -> bool:
        """Whether it was built to the end, from the inventory that is there now."""
        lab = read_lab(self.inventory)
        return bool(lab) and read_json(self._marker) == {"inventory": str(self.inventory), "lab": lab}

    def up(self) -> int:
        """Build it, or mend what is there; the number of changes made (0: it was up).

        What is left of a build that was killed, or of another lab at this place, is ended and removed first.
        """
        with self._lock():
            built = self._was_built()
            if not built:
                self._clear()
            self._materialise(keep=built)
            changes = self._playbook("lab_up.yml")
            write_json(self._marker, {"inventory": str(self.inventory), "lab": read_lab(self.inventory)})
            return changes

    def down(self) -> None:
        """End all its processes and remove its files and its store; the inventory stays, for the next time."""
        with self._lock():
            if self._was_built():
                self._marker.unlink()  # killed from here on, the next start clears up
                with contextlib.suppress(XdrError):  # a lab too broken for its playbook; what counts comes next
                    self._playbook("lab_down.yml")
            self._clear()

    def _materialise(self, *, keep: bool) -> None:
        materialise(self.name, self.root, project=self.project, keep=keep)

    def _on(self, host: str) -> list[str]:
        """What goes before a command that is to run where this host is, or the ``controller``."""
        return []

    def _was_built(self) -> bool:
        try:
            return self.is_up
        except XdrError:  # a torn marker
            return False

    def _clear(self) -> None:
        end(carrying(self._mark), grace=2.0)  # what is left of a playbook whose starter was killed
        for host in HOSTS:
            self._daemons("kill", host)
        if self.root.is_symlink() or (self.root.exists() and self.root.stat().st_uid != os.geteuid()):
            what = f"this folder does not belong to {getpass.getuser()}"
            raise XdrError(what, where=str(self.root), todo="Remove it, or take another name for the lab")
        if self.root.exists():
            shutil.rmtree(self.root)
        for file in self.inventory.parent.glob("*.sqlite*"):  # a run of that lab must not go on in the next one
            file.unlink()

    @property
    def _marker(self) -> Path:
        return self.root / "built.json"

    @property
    def _mark(self) -> str:
        """In the environment of a build's processes."""
        return f"{BUILD}={self.root}"

    def _lock(self) -> Any:
        return locked(self.root.with_name(f".{self.name}.lock"), timeout=PLAYBOOK_TIMEOUT)

    def _playbook(self, name: str) -> int:
        """Run a playbook; the number of changes of its recap. Its output goes to var/<name>/<playbook>.log."""
        log = self.inventory.parent / f"{Path(name).stem}.log"
        ansible = str(Path(sys.executable).parent / "ansible-playbook")
        argv = [*self._on("controller"), ansible, "-i", str(self.inventory), str(self.project / "playbooks" / name)]
        environment = {
            **os.environ,
            BUILD: str(self.root),
            "ANSIBLE_CONFIG": str(self.project / "ansible.cfg"),
            "ANSIBLE_NOCOLOR": "1",
            "LC_ALL": "C.UTF-8",
        }
        with log.open("w", encoding="utf-8") as stream:
            done = subprocess.run(
                argv,
                cwd=self.project,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                timeout=PLAYBOOK_TIMEOUT,
                check=False,
            )
        text = log.read_text(encoding="utf-8", errors="replace")
        if done.returncode:
            raise XdrError(f"the playbook {name} failed: {failure(text)}", where=f"lab {self.name}", todo=f"Read {log}, then start again")
        return sum(int(number) for number in re.findall(r"\bchanged=(\d+)", text))

    # losing a site, and its return

    def lose_site(self, site: str) -> list[str]:
        """The site is gone at once: SIGKILL to its sshd, supervisord and services. Returns what was killed."""
        return list(self._daemons("kill", SITE_HOSTS[site])["changed"])

    def return_site(self, site: str) -> list[str]:
        """The site's machine boots: sshd and supervisord start; no service starts by itself. Returns what was started."""
        return list(self._daemons("up", SITE_HOSTS[site], as_account=True)["changed"])

    def processes(self, site: str) -> list[tuple[int, str]]:
        """Pid and command of all that runs for the site (``primary``, ``dr``, ``witness``)."""
        return [(pid, command) for pid, command in self._daemons("list", SITE_HOSTS[site])["processes"]]

    def _daemons(self, action: str, host: str, *, as_account: bool = False) -> dict[str, Any]:
        folder = self.root / host
        if as_account:  # which may not be able to read the checkout
            program = self.root / "bin" / "lab_daemon.py"
        else:
            program = self.project / "roles" / "lab_site" / "files" / "bin" / "lab_daemon.py"
        lab = read_lab(self.inventory)
        account = lab.get("user", "")
        argv = [PYTHON, "-B", str(program), action, str(folder), "--address", lab.get("addresses", {}).get(host, "")]
        environment = dict(os.environ)
        if as_account and os.geteuid() == 0:
            argv = [*as_user(account), *argv]
            environment.update(HOME=pwd.getpwnam(account).pw_dir, USER=account, LOGNAME=account)
        argv = [*self._on(host), *argv]
        done = subprocess.run(
            argv, cwd="/", env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False
        )
        if done.returncode:
            why = done.stderr.strip().rpartition("\n")[2]
            raise XdrError(f"'{action}' failed: {why}", where=f"lab {self.name}, {host}", todo="Take the lab down and up again")
        return dict(json.loads(done.stdout))

    # where things are

    @property
    def variables(self) -> dict[str, Any]:
        """The inventory's variable ``lab``."""
        return read_lab(self.inventory)

    @property
    def balancer_url(self) -> str:
        lab = self.variables
        return f"http://{lab['addresses'][BALANCER]}:{lab['balancer_port']}"

    def service_url(self, site: str, resource: str) -> str:
        """A service of a site, past the load balancer."""
        return f"http://{self.variables['addresses'][SITE_HOSTS[site]]}:{service_port(self.inventory / 'plans', resource)}"

    def site_dir(self, site: str) -> Path:
        return self.root / SITE_HOSTS[site]

    def volume(self, site: str, file: str = "orders.img") -> Path:
        return self.site_dir(site) / "volumes" / file


def as_user(account: str) -> list[str]:
    return ["setpriv", f"--reuid={account}", f"--regid={account}", "--init-groups", "--"]


def failure(log: str) -> str:
    """The first failure in ansible-playbook's output, in one line."""
    lines = log.splitlines()
    for line in lines:
        if line.startswith(("fatal:", "failed:")):
            where, _, result = line.partition("=>")
            said = [re.search(rf'"{key}": "((?:[^"\\]|\\.)+)"', result) for key in ("stderr", "msg")]
            text = next((match[1] for match in said if match), result)
            return f"{where.strip()} {text[-500:]}"
    errors = [line for line in lines if line.startswith(("ERROR!", "[ERROR]"))]
    return (errors or [" / ".join(lines[-3:])])[0][:600]
