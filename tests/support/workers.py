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
from portal.store.engine import url_of
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
      ansible.builtin.command: sh {folder}/nap.sh {folder} {name} {{ plan | default('all') }}
    - name: three | Refuse
      ansible.builtin.fail:
        msg: It is not to be
      when: ('{folder}/{name}.refuse') is exists
"""
# Two at once are a breach: the kernel holds the lock for as long as any of its processes lives.
SCRIPT = """
flock --nonblock --conflict-exit-code 99 "$1/$3.only" \\
    sh -c 'echo begun >> "$0/$1.log"; while [ -e "$0/$1.nap" ]; do sleep 0.05; done' "$1" "$2"
code=$?
[ $code -ne 99 ] || echo "$2 of plan $3 twice" >>"$1/breach"
exit $code
"""
WORKER = """
import logging, sys
from pathlib import Path
from portal.store import workers
from portal.worker import worker
from portal.worker.worker import serve
from tests.support.workers import Tiny
logging.basicConfig(format="%(asctime)s %(name)s %(message)s", level=logging.INFO)
tiny = Tiny(Path(sys.argv[1]), sys.argv[2])
for module, name in ((workers, "BEAT"), (workers, "LET_GO"), (workers, "KILL"), (workers, "LEASE"), (worker, "REAP")):
    setattr(module, name, getattr(module, name) * float(sys.argv[3]))
sys.exit(serve(tiny.inventory, prepare=tiny.prepare, looks=False))
"""

LENT = """
import sys
from pathlib import Path
from portal.worker.worker import run_one
from tests.support.workers import Tiny
tiny = Tiny(Path(sys.argv[1]))
sys.exit(run_one(tiny.inventory, sys.argv[2], prepare=tiny.prepare).exit_code)
"""


@dataclass
class Tiny:
    """``machine``: the var folder's name; workers that do not share one are as far from each other as on two machines."""

    folder: Path
    machine: str = "var"

    @classmethod
    def made(cls, folder: Path) -> Tiny:
        (folder / "playbooks").mkdir()
        for name in ("failback", "rollback", "replicate", "verify_primary"):
            text = NAP.replace("{folder}", str(folder)).replace("{name}", name)
            (folder / "playbooks" / f"{name}.yml").write_text(text)
        (folder / "nap.sh").write_text(SCRIPT)
        (folder / "hosts.ini").write_text(INVENTORY)
        (folder / "ansible.cfg").write_text("[defaults]\nlocalhost_warning = False\n")
        return cls(folder)

    @property
    def inventory(self) -> Path:
        return self.folder / "hosts.ini"

    @property
    def var(self) -> Path:
        return self.folder / self.machine

    @property
    def breach(self) -> str:
        file = self.folder / "breach"
        return file.read_text() if file.exists() else ""

    def prepare(self, run: Run, inventory: Path) -> RunRequest:
        made = request(run.action, run.plan, inventory, attestation=run.arguments.get("attestation", ""), check=run.check)
        return replace(made, project=self.folder, var=self.var, grace=3)

    def store(self) -> Store:
        return Store.open(url_of(self.var))

    def naps(self, name: str = "failback") -> None:
        (self.folder / f"{name}.nap").touch()

    def wakes(self, name: str = "failback") -> None:
        (self.folder / f"{name}.nap").unlink(missing_ok=True)

    def hands_over(self) -> None:
        """Its failback works in the step in which ownership is handed over."""
        file = self.folder / "playbooks" / "failback.yml"
        file.write_text(file.read_text().replace("name: two |", "name: hand_over |"))

    def refuses(self, name: str = "failback") -> None:
        (self.folder / f"{name}.refuse").touch()

    def begun(self, name: str = "failback") -> int:
        """How often the playbook's work has begun."""
        log = self.folder / f"{name}.log"
        return len(log.read_text().splitlines()) if log.exists() else 0

    def begins(self, times: int = 1, name: str = "failback") -> None:
        wait_until(lambda: self.begun(name) >= times, f"{name} works for the {times}. time", 60)

    def asks(self, store: Store, action: str = "failback", plan: str = "shop", **more: Any) -> Run:
        return rows.request(store, asked(action, plan, **{"by": "alice", "origin": "command line", **more}))

    def worker(self, pace: float = 1.0, **environment: str) -> subprocess.Popen[bytes]:
        """``pace``: what the times of leases are multiplied by."""
        return self._started(WORKER, self.machine, str(pace), **environment)

    def lent(self, run: Run) -> subprocess.Popen[bytes]:
        """A worker for this one run, as a command line has it."""
        return self._started(LENT, run.id)

    def _started(self, program: str, *words: str, **environment: str) -> subprocess.Popen[bytes]:
        environment = {"XDR_VAR": str(self.var), "PYTHONPATH": f"{PROJECT}{os.pathsep}{PROJECT / 'xdr_plugins'}", **environment}
        with (self.folder / "worker.log").open("ab") as log:
            argv = [sys.executable, "-c", program, str(self.folder), *words]
            return subprocess.Popen(argv, cwd=PROJECT, env={**os.environ, **environment}, stdout=log, stderr=log, start_new_session=True)

    @contextlib.contextmanager
    def working(self, pace: float = 1.0, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
        process = self.worker(pace, **environment)
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


def ended(store: Store, run: Run, seconds: float = 60) -> Run:
    wait_until(lambda: rows.get(store, run.id).ended, f"run {run.id} ends", seconds)
    return rows.get(store, run.id)
