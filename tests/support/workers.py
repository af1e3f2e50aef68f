# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""An environment of one tiny plan for the worker: real playbooks on localhost, which do what files of its folder say."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from portal import PROJECT, processes, runs
from portal.actions import asked, request
from portal.runs import RunRequest
from portal.store import Store
from portal.store import runs as rows
from portal.store.runs import Run
from tests.support.processes import wait_until

INVENTORY = "[all]\nlocalhost ansible_connection=local ansible_python_interpreter={{ansible_playbook_python}}\n"
NAP = """
- hosts: all
  gather_facts: false
  tasks:
    - name: one | Say
      ansible.builtin.debug:
        msg: "{{ xdr_attestation | default('hello') }}"
    - name: two | Work for as long as there is a file
      ansible.builtin.command: sh -c 'echo begun >> {folder}/{name}.log; while [ -e {folder}/{name}.nap ]; do sleep 0.05; done'
    - name: three | Refuse
      ansible.builtin.fail:
        msg: It is not to be
      when: ('{folder}/{name}.refuse') is exists
"""
WORKER = """
import logging, sys
from pathlib import Path
from portal.worker.worker import serve
from tests.support.workers import Tiny
logging.basicConfig(format="%(asctime)s %(name)s %(message)s", level=logging.INFO)
tiny = Tiny(Path(sys.argv[1]))
sys.exit(serve(tiny.inventory, prepare=tiny.prepare, looks=False))
"""


@dataclass
class Tiny:
    folder: Path

    @classmethod
    def made(cls, folder: Path) -> Tiny:
        (folder / "playbooks").mkdir()
        for name in ("failback", "rollback", "replicate", "verify_primary"):
            text = NAP.replace("{folder}", str(folder)).replace("{name}", name)
            (folder / "playbooks" / f"{name}.yml").write_text(text)
        (folder / "hosts.ini").write_text(INVENTORY)
        (folder / "ansible.cfg").write_text("[defaults]\nlocalhost_warning = False\n")
        return cls(folder)

    @property
    def inventory(self) -> Path:
        return self.folder / "hosts.ini"

    @property
    def var(self) -> Path:
        return self.folder / "var"

    def prepare(self, run: Run, inventory: Path) -> RunRequest:
        made = request(run.action, run.plan, inventory, attestation=run.arguments.get("attestation", ""), check=run.check)
        return replace(made, project=self.folder, var=self.var, grace=3)

    def store(self) -> Store:
        return Store.open(f"sqlite:///{self.var / 'xdr.sqlite'}")

    def naps(self, name: str = "failback") -> None:
        (self.folder / f"{name}.nap").touch()

    def wakes(self, name: str = "failback") -> None:
        (self.folder / f"{name}.nap").unlink(missing_ok=True)

    def refuses(self, name: str = "failback") -> None:
        (self.folder / f"{name}.refuse").touch()

    def begun(self, name: str = "failback") -> int:
        """How often the playbook's work has begun."""
        log = self.folder / f"{name}.log"
        return len(log.read_text().splitlines()) if log.exists() else 0

    def begins(self, times: int = 1, name: str = "failback") -> None:
        wait_until(lambda: self.begun(name) >= times, f"{name} works for the {times}. time", 30)

    def asks(self, store: Store, action: str = "failback", plan: str = "shop", **more: Any) -> Run:
        return rows.request(store, asked(action, plan, **{"by": "alice", "origin": "command line", **more}))

    def worker(self) -> subprocess.Popen[bytes]:
        environment = {**os.environ, "XDR_VAR": str(self.var), "PYTHONPATH": f"{PROJECT}{os.pathsep}{PROJECT / 'xdr_plugins'}"}
        with (self.folder / "worker.log").open("ab") as log:
            argv = [sys.executable, "-c", WORKER, str(self.folder)]
            return subprocess.Popen(argv, cwd=PROJECT, env=environment, stdout=log, stderr=log, start_new_session=True)

    @contextlib.contextmanager
    def working(self) -> Iterator[subprocess.Popen[bytes]]:
        process = self.worker()
        try:
            yield process
        finally:
            process.kill()
            process.wait(10)
            self.clear()

    def clear(self) -> None:
        for folder in (self.var / "runs").glob("*/"):
            processes.end(runs.run_processes(folder), 0)

    def left(self) -> set[processes.Process]:
        """What is alive of any launch."""
        return {one for folder in (self.var / "runs").glob("*/") for one in runs.run_processes(folder) if one.alive}


def ended(store: Store, run: Run, seconds: float = 40) -> Run:
    wait_until(lambda: rows.get(store, run.id).ended, f"run {run.id} ends", seconds)
    return rows.get(store, run.id)
