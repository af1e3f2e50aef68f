# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The ground of the faults: the lab over separate networks, and the state from which each scenario begins.

That state is a plan which runs on the DR site and is ready to come home. It is reached once, through the product itself, and kept
as a copy of all that the hosts have on disk; a reset kills every host, puts the copy back and boots.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import shutil
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

from ansible_collections.xdr.failback.plugins.module_utils import seal
from ansible_collections.xdr.failback.plugins.module_utils.durable import read_json, write_json
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError
from ansible_collections.xdr.failback.plugins.module_utils.traffic.haproxy import HAProxy

from ..lab.addresses import BALANCER, BALANCER_PORT, HOSTS, SSH_PORT, Choice
from ..lab.inventory import ACCOUNT, PROJECT, materialise
from ..lab.lab import PYTHON, SITE_HOSTS, Lab, as_user
from ..processes import end, tree
from . import ending, observer
from .clocks import Clocks
from .network import CONTROLLER, FOLDER, Network
from .patience import wait_until
from .volumes import SLOT

PLAN = "shop"
RESOURCES = {"orders-db": "orders.img", "shop-api": "shop-api.img", "shop-web-1": "shop-web-1.img"}  # in the order of their start
GROUPS = {"database": ("orders-db",), "shop": ("shop-api", "shop-web-1")}  # in the order of their start
SERVICES = f"""\
---
lab_site_services:
  orders-db: {{kind: orders, mib: 1}}
  shop-api: {{kind: api, mib: 1, slot: {SLOT}, to: orders-db}}
  shop-web-1: {{kind: web, mib: 1, slot: {SLOT}, to: shop-api}}
"""
VARIABLES = """\
lab_site_observed: "{{ lab.root }}/observed"
move_health_deadline: 5
"""
KEPT = ("state", "volumes")  # of a host, what a scenario changes
NEVER = -1  # in place of an exit code
SITE_OF = {"primary": "frankfurt", "dr": "amsterdam"}
RESETS = 3
STARTS_WITHIN = 30.0  # seconds for the services of a host that has booted
LONGEST = 300.0  # seconds for one command that is not under a fault, on a busy machine


def ground_name() -> str:
    """A lab's place is its account's: two checkouts must not meet in one."""
    return f"faults-{zlib.crc32(str(PROJECT).encode()) & 0xFFFF:04x}"


def need_root() -> None:
    if os.geteuid():
        raise XdrError(
            "the fault lab needs root: it puts each host into a network namespace, cuts the links between them and fills small disks",
            todo="Run it as root, on a machine where that is allowed",
            code="usage",
        )


class Ground(Lab):
    """A lab whose hosts have a network of their own each. ``up()`` and ``down()`` as for any lab."""

    def __init__(self, name: str, inventory: Path, root: Path, project: Path = PROJECT) -> None:
        super().__init__(name, inventory, root, project)
        self.network = Network(name, HOSTS)
        self.clocks = Clocks(root / "clocks")

    # -- built as the lab is

    @property
    def is_up(self) -> bool:
        return self.network.is_there and super().is_up

    def _on(self, host: str) -> list[str]:
        return self.network.inside(host)

    def _materialise(self, *, keep: bool) -> None:
        if keep:
            return
        self.network.make()
        addresses = {host: self.network.addresses[host] for host in HOSTS}
        materialise(self.name, self.root, project=self.project, choice=Choice(addresses, SSH_PORT, BALANCER_PORT))
        self.clocks.make()
        plans, variables = self.inventory / "plans", self.inventory / "group_vars"
        for file in plans.glob("*.yml"):
            file.unlink()
        self.reset_plan()
        enter = f"/usr/bin/nsenter --net={FOLDER / self.network.namespace('{{ inventory_hostname }}')} --"
        environment = json.dumps(self.clocks.environment("{{ inventory_hostname }}"))
        text = f"{SERVICES}{VARIABLES}lab_site_environment: {environment}\n"
        (variables / "all" / "faults.yml").write_text(text, encoding="utf-8")
        (variables / "managed.yml").write_text(f"---\nansible_su_exe: {enter} /bin/su\n", encoding="utf-8")

    def _clear(self) -> None:
        self.unmount()
        super()._clear()
        self.network.remove()

    @property
    def var(self) -> Path:
        return self.inventory.parent

    @property
    def plan_file(self) -> Path:
        return self.inventory / "plans" / f"{PLAN}.yml"

    def reset_plan(self) -> None:
        shutil.copy2(Path(__file__).with_name("plan.yml"), self.plan_file)  # with its time: what was read of it is known again

    # -- the product, asked as an operator asks it

    def argv(self, *words: str) -> list[str]:
        xdr = str(Path(sys.executable).parent / "xdr")
        return [*self._on(CONTROLLER), xdr, *words, "--inventory", str(self.inventory), "--json"]

    def environment(self, var: Path | None = None) -> dict[str, str]:
        """``var``: another controller's folder."""
        var = var or self.var
        clock = self.clocks.environment(CONTROLLER)
        return {**os.environ, **clock, "XDR_VAR": str(var), "ANSIBLE_SSH_CONTROL_PATH_DIR": str(var / "cp")}

    def xdr(self, *words: str, var: Path | None = None) -> dict[str, Any]:
        """The document of a command; ``exit_code`` is in it, NEVER for one that had to be killed."""
        pipes: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        process = subprocess.Popen(self.argv(*words), cwd=PROJECT, env=self.environment(var), start_new_session=True, **pipes)
        try:
            told, said = process.communicate(timeout=LONGEST)
        except BaseException as error:
            end(tree(process.pid), 5.0)
            process.communicate()
            if isinstance(error, subprocess.TimeoutExpired):
                return {"exit_code": NEVER, "error": f"xdr {' '.join(words)} had not ended after {LONGEST:g} s"}
            raise
        try:
            return {"exit_code": process.returncode, **json.loads(told)}
        except ValueError:
            raise XdrError(f"xdr {' '.join(words)} printed no document: {said[-500:]}", where=f"lab {self.name}") from None

    # -- the state from which scenarios begin

    @property
    def _base(self) -> Path:
        return self.root / "base"

    def ready(self) -> None:
        """Build what is missing, up to the kept state."""
        if not self.is_ready:
            self.down()
            self.up()
            subprocess.run(["install", "-d", "-m", "0700", "-o", ACCOUNT, "-g", ACCOUNT, str(self.observed)], check=True)
            for action in ("start", "reprotect", "failover", "reverse-replication"):
                self._must(action)
            self._keep()

    @property
    def is_ready(self) -> bool:
        """Whether it is up, and the kept state was reached with the services as they are made now."""
        with contextlib.suppress(FileNotFoundError):
            return self.is_up and (self._base / "done").read_text(encoding="utf-8") == SERVICES + VARIABLES
        return False

    def _must(self, action: str) -> None:
        done = self.xdr("run", action, PLAN)
        if done["exit_code"]:
            raise XdrError(f"{action} failed: {done.get('error')}", where=f"lab {self.name}", todo="Take the lab down and try again")

    def _keep(self) -> None:
        self.halt()
        for host in HOSTS:
            for part in KEPT:
                _copy(self.root / host / part, self._base / host / part)
        for file in self.var.glob("*.sqlite*"):
            _copy(file, self._base / "controller" / file.name)
        (self._base / "done").write_text(SERVICES + VARIABLES, encoding="utf-8")

    def undisturbed(self) -> ending.Ending:
        """How a failback without any fault leaves the hosts, found out once. What is on them now is lost."""
        file = self._base / "undisturbed.json"
        if not file.exists():
            self.reset()
            self._must("failback")
            self.halt()
            write_json(file, self.ending())
        return dict(read_json(file))

    def ending(self) -> ending.Ending:
        return ending.read({site: self._plan_folder(site) for site in SITE_HOSTS})

    def reset(self) -> None:
        """All hosts as they were kept, booted, the plan's services running on the DR site and clients routed there."""
        for tries in range(1, RESETS + 1):
            try:
                self._reset()
                return
            except XdrError:  # a machine so busy that a daemon was not up in time
                if tries == RESETS:
                    raise

    def _reset(self) -> None:
        self.network.heal()
        self.halt()
        self.unmount()
        for host in HOSTS:
            for part in KEPT:
                _copy(self._base / host / part, self.root / host / part)
        self._seal_witness()
        for file in [*self.var.glob("*.sqlite*"), *self.observed.glob("*.jsonl")]:
            file.unlink()
        for file in (self._base / "controller").iterdir():
            _copy(file, self.var / file.name)
        for folder in (self.var / "runs", self.var / "other"):
            shutil.rmtree(folder, ignore_errors=True)
        self.reset_plan()
        self.clocks.reset()
        for site in SITE_HOSTS:
            self.return_site(site)
        self._start()
        self._route()

    def _seal_witness(self) -> None:
        """What was put back is what is so, and no backup that comes from an earlier time."""
        path = self._plan_folder("witness") / "ownership.json"
        owner = path.stat()
        seal.write(path, read_json(path))
        os.chown(path, owner.st_uid, owner.st_gid)

    def halt(self) -> None:
        """Every process of every host and of the controller is gone."""
        for node in self.network.nodes:
            for one in self.network.processes(node):
                one.signal(9)
        for site in SITE_HOSTS:
            self.lose_site(site)

    def boot(self, site: str) -> int:
        """What a site host's start-up does for the plan; the exit code of the agent."""
        folder = self.site_dir(site)
        agent = str(folder / "state" / "agent" / "xdr-site-agent.pyz")
        argv = [*self._on(SITE_HOSTS[site]), *as_user(ACCOUNT), PYTHON, agent, "boot", "--state-dir", str(folder / "state"), "--plan", PLAN]
        environment = {**os.environ, "HOME": pwd.getpwnam(ACCOUNT).pw_dir, "XDR_LAB_SITE": str(folder)}
        done = subprocess.run(argv, cwd="/", env=environment, capture_output=True, text=True, timeout=60, check=False)
        return done.returncode

    def _start(self) -> None:
        """A boot begins the guards; their services hold what they hold a moment later."""
        left = self.boot("dr")
        here = SITE_OF["dr"]
        if not wait_until(lambda: observer.running(observer.read(self.observed)).get(here, set()) >= set(RESOURCES), STARTS_WITHIN):
            raise XdrError(f"the boot of {here} ended with {left}, and its services did not all start", where=f"lab {self.name}")

    def _route(self) -> None:
        servers = {"primary": ["fra-web-1"], "dr": ["ams-web-1"]}
        balancer = HAProxy({"name": "front", "socket": str(self.balancer_socket), "backend": "shop", "servers": servers})
        balancer.switch(balancer.plan("dr"), "dr", 20.0)

    @property
    def balancer_socket(self) -> Path:
        return self.root / BALANCER / "haproxy.sock"

    # -- what lies outside of the product's reach

    @property
    def observed(self) -> Path:
        return self.root / "observed"

    def record(self, site: str) -> dict[str, Any] | None:
        """The ownership record of a host, as it lies on its disk."""
        with contextlib.suppress(XdrError):
            found: dict[str, Any] | None = read_json(self._plan_folder(site) / "ownership.json")
            return found
        return None

    def _plan_folder(self, site: str) -> Path:
        return self.site_dir(site) / "state" / "plans" / PLAN

    @property
    def spool(self) -> Path:
        return self._plan_folder("primary") / "spool"

    def small_disk(self, size: int) -> None:
        """The primary site's spool has so many bytes."""
        owner = self.spool.stat()
        options = f"size={size},mode=0700,uid={owner.st_uid},gid={owner.st_gid}"
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "xdr-faults", str(self.spool)], check=True)

    def unmount(self) -> None:
        if self.spool.is_mount():
            subprocess.run(["umount", "--lazy", str(self.spool)], check=True)


def _copy(source: Path, target: Path) -> None:
    """Owners, modes and times are kept."""
    shutil.rmtree(target, ignore_errors=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["cp", "-a", str(source), str(target)], check=True)
