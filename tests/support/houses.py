# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Real site hosts on which the table of the instance drivers runs: the same instances below a supervisord and below a systemd.

Each has the real agent, its start guard before each instance, and a witness behind a real sshd that can be out of reach.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ansible_collections.xdr.failback.plugins.module_utils.durable import locked
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError
from ansible_collections.xdr.failback.plugins.module_utils.instances import Outcome, driver
from ansible_collections.xdr.failback.plugins.module_utils.running import living, start_time
from ansible_collections.xdr.failback.plugins.module_utils.site import load_plan, load_site
from ansible_collections.xdr.failback.plugins.plugin_utils.agent_archive import build

from portal import PROJECT
from tests.support.processes import free_port, wait_until
from tests.support.site_host import SiteHost, site_host
from tests.support.sshd import known_hosts_line, make_key, sshd
from tests.support.supervisord import Supervisord, supervisord_folder
from tests.support.systemd_host import SystemdHost, systemd_host

PYTHON = "/usr/bin/python3"
DEAF = (
    "import pathlib, signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); pathlib.Path(sys.argv[1]).touch(); time.sleep(600)"
)
NAMES = ("steady", "other", "brief", "deaf")


def command(name: str, host: SiteHost) -> list[str]:
    """Of one of NAMES; ``deaf`` makes a file of its name in the host's state folder once it ignores SIGTERM."""
    if name == "deaf":
        return [PYTHON, "-c", DEAF, str(host.state_dir / "deaf")]
    return [PYTHON, "-c", "import sys; sys.exit('port 80 is taken')"] if name == "brief" else ["/bin/sleep", "600"]


class House(Protocol):
    """``host`` is the site host's state, ``witness`` that of its witness."""

    host: SiteHost
    witness: SiteHost

    def call(self, verb: str, name: str, timeout: float = 20.0) -> Outcome:
        """``start``, ``stop`` or ``status`` of the driver. Raises XdrError as it does."""
        ...

    def living(self) -> list[dict[str, Any]]:
        """What the host tells of the plan's instances that run."""
        ...

    def runs(self, pid: int) -> bool: ...

    def kill(self, pid: int) -> None: ...

    def reset(self) -> None:
        """Nothing runs, and the site owns the plan."""
        ...


def own(house: House) -> None:
    """The site owns epoch 1, as its witness knows."""
    house.host.write_record()
    house.witness.write_record(owner="primary", standing="none")


def install_agent(host: SiteHost) -> Path:
    agent = host.state_dir / "agent" / "xdr-site-agent.pyz"
    agent.parent.mkdir(exist_ok=True)
    agent.write_bytes(build().content)
    return agent


@dataclass
class SupervisorHouse:
    server: Supervisord
    host: SiteHost
    witness: SiteHost

    def call(self, verb: str, name: str, timeout: float = 20.0) -> Outcome:
        item = {"name": name, "plan": "webshop", "timeout": timeout, "driver": "supervisor"}
        one = driver("supervisor", load_site(self.host.state_dir))
        if verb == "status":
            return one.status(item)
        outcome: Outcome = getattr(one, verb)(item, lambda: locked(self.host.plan_dir / "lock"))
        return outcome

    def living(self) -> list[dict[str, Any]]:
        return living(self.host.state_dir, "webshop", load_plan(self.host.state_dir, "webshop").instances)

    def runs(self, pid: int) -> bool:
        return start_time(pid) is not None

    def kill(self, pid: int) -> None:
        os.kill(pid, signal.SIGKILL)

    def reset(self) -> None:
        for pid in self.server.pids():
            self.kill(pid)
        wait_until(lambda: not self.server.pids(), "all programs have ended")
        own(self)


@contextlib.contextmanager
def supervisor_house() -> Iterator[House]:
    with supervisord_folder() as server:
        host, witness = site_host(server.folder / "state"), site_host(server.folder / "witness", site="witness")
        agent = install_agent(host)
        names = (*NAMES, "absent")
        host.write_plan(instances={name: {"driver": "supervisor", "group": "g", "priority": 1} for name in names})
        for name in NAMES:
            guard = ["guard", "--state-dir", str(host.state_dir), "--plan", "webshop", "--instance", name, "--"]
            server.program(name, shlex.join([PYTHON, str(agent), *guard, *command(name, host)]), startsecs="1" if name == "brief" else "0")
        forced = f"{PYTHON} {agent} ssh --state-dir {witness.state_dir}"
        with sshd(server.folder / "sshd", forced_command=forced) as door, server.started():
            host.write_site(peers={"w1": door.peer()}, supervisor_socket=str(server.socket))
            yield SupervisorHouse(server, host, witness)


@dataclass
class SystemdHouse:
    """``account``: who calls the driver, root when empty."""

    server: SystemdHost
    host: SiteHost
    witness: SiteHost
    account: str = ""

    def call(self, verb: str, name: str, timeout: float = 20.0) -> Outcome:
        return Outcome(**self._drive(verb, name, timeout)["outcome"])

    def living(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self._drive("living", "steady")["living"]
        return rows

    def _drive(self, verb: str, name: str, timeout: float = 20.0) -> dict[str, Any]:
        item = {"name": name, "plan": "webshop", "timeout": timeout, "driver": "systemd", "unit": f"{name}.service"}
        become = ["setpriv", f"--reuid={self.account}", f"--regid={self.account}", "--init-groups"] if self.account else []
        words = [
            "/usr/bin/env",
            "PYTHONDONTWRITEBYTECODE=1",
            f"PYTHONPATH={PROJECT}/xdr_plugins",
            PYTHON,
            f"{PROJECT}/tests/support/drive.py",
        ]
        answer: dict[str, Any] = json.loads(self.server.run(*become, *words, verb, str(self.host.state_dir), json.dumps(item)).stdout)
        if "said" in answer:
            raise XdrError(answer["said"], code=answer["code"])
        return answer

    def runs(self, pid: int) -> bool:
        return self.server.run("test", "-d", f"/proc/{pid}", check=False).returncode == 0

    def kill(self, pid: int) -> None:
        assert pid > 1
        self.server.run("kill", "-9", str(pid))

    def reset(self) -> None:
        own(self)
        self.server.run("systemctl", "daemon-reload")
        names = [f"{name}.service" for name in self.names() if self.server.show(f"{name}.service", "LoadState") != "not-found"]
        self.server.run("systemctl", "kill", "--signal=KILL", *names, check=False)
        self.server.run("systemctl", "stop", *names)
        self.server.run("systemctl", "reset-failed")

    def names(self) -> list[str]:
        return list(json.loads((self.host.plan_dir / "plan.json").read_text())["instances"])

    def play(self, playbook: Path, *options: str) -> subprocess.CompletedProcess[str]:
        """A playbook on this host (hv1), which the plans are told of by what is registered here."""
        inventory = self.server.folder / "hosts.json"
        inventory.write_text(json.dumps({"all": {"hosts": {"hv1": self._variables()}}}))
        argv = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", str(inventory), *options, str(playbook)]
        environment = {**os.environ, "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1", "ANSIBLE_PIPELINING": "1"}
        return subprocess.run(
            argv, cwd=PROJECT, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False
        )

    def tasks(self, *tasks: tuple[str, dict[str, Any]]) -> subprocess.CompletedProcess[str]:
        """Modules of the collection, one after the other, as attempt 1 of epoch 1."""
        common = {"plan": "webshop", "state_dir": str(self.host.state_dir), "epoch": 1, "attempt": 1, "run_id": "r1"}
        named = [{"name": f"{number}", f"xdr.failback.{name}": {**common, **options}} for number, (name, options) in enumerate(tasks)]
        playbook = self.server.folder / "tasks.yml"
        playbook.write_text(json.dumps([{"name": "Tasks", "hosts": "hv1", "gather_facts": False, "tasks": named}]))
        return self.play(playbook)

    def _variables(self) -> dict[str, Any]:
        registered = json.loads((self.host.plan_dir / "plan.json").read_text())
        resources = [
            {"name": name, "hosts": {"primary": "hv1", "dr": "hv2"}, "instance": {"driver": each["driver"], "unit": each["unit"]}}
            for name, each in registered["instances"].items()
        ]
        return {
            "ansible_connection": "local",
            "ansible_python_interpreter": PYTHON,
            "ansible_shell_executable": str(self.server.shell()),
            "ansible_remote_tmp": str(self.server.shared / "ansible"),
            "xdr_state_dir": str(self.host.state_dir),
            "xdr_plans": {"webshop": {"name": "webshop", "start_order": [{"name": "g", "resources": resources}]}},
        }


@contextlib.contextmanager
def systemd_house(services: Mapping[str, dict[str, str]], enabled: tuple[str, ...] = ()) -> Iterator[SystemdHouse]:
    """``services``: the command and options of each; ``enabled``: those that a boot starts. The guards are for the caller to place."""
    with systemd_host() as server:
        host, witness = site_host(server.shared / "state"), site_host(server.shared / "witness", site="witness")
        agent = install_agent(host)
        names = (*services, "absent")
        host.write_plan(instances={name: {"driver": "systemd", "unit": f"{name}.service", "group": "g", "priority": 1} for name in names})
        server.boot()
        for name, options in services.items():
            words = options.get("command") or shlex.join(command(name, host))
            more = {key: value for key, value in options.items() if key != "command"}
            server.service(f"{name}.service", words, enabled=name in enabled, **{"TimeoutStopSec": "5", **more})
        door = _door(server, f"{PYTHON} {agent} ssh --state-dir {witness.state_dir}")
        host.write_site(peers={"w1": door})
        yield SystemdHouse(server, host, witness)


def _door(server: SystemdHost, forced_command: str) -> dict[str, object]:
    """An sshd in there, the only way to the witness; its entry in the peers of site.json."""
    folder, port = server.shared / "door", free_port()
    folder.mkdir()
    host_key, client_key = make_key(folder / "host_key"), make_key(folder / "client_key")
    (folder / "authorized_keys").write_text(f'restrict,command="{forced_command}" {client_key}\n')
    (folder / "known_hosts").write_text(known_hosts_line("127.0.0.1", port, host_key))
    (folder / "sshd_config").write_text(
        f"ListenAddress 127.0.0.1:{port}\nHostKey {folder}/host_key\nAuthorizedKeysFile {folder}/authorized_keys\nPidFile none\n"
        "UsePAM no\nStrictModes no\nPasswordAuthentication no\n"
    )
    server.service("door.service", f"/usr/sbin/sshd -D -f {folder}/sshd_config", enabled=True, RuntimeDirectory="sshd")
    server.run("systemctl", "daemon-reload")
    server.run("systemctl", "start", "door.service")
    keys = {"key": str(folder / "client_key"), "known_hosts": str(folder / "known_hosts")}
    return {"address": "127.0.0.1", "port": port, "user": "root", **keys}
