# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""A lab of its own for bad luck: driven by the command line alone, and brought back to a known state between two cases."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from portal import PROJECT
from portal.lab import orders
from portal.lab.client import Client
from portal.lab.lab import Lab
from portal.runs import child_of, run_processes
from tests.support.processes import wait_until

PLAN = "webshop"
XDR = str(Path(sys.executable).parent / "xdr")
SITE_NAMES = {"primary": "frankfurt", "dr": "amsterdam"}
RATE = 10.0  # orders a second
LONGEST = 300.0  # seconds for one command, on a busy machine

# A program in place of the lab's services at one site: it misbehaves for one of them and becomes the real one for the others.
IMPOSTOR = """\
import os, signal, sys, time
if sys.argv[sys.argv.index("--name") + 1] == {name!r}:
    print({name!r}, "has no licence", flush=True)
    {act}
os.execv(sys.executable, [sys.executable, {real!r}, *sys.argv[1:]])
"""
REFUSES, HANGS = "sys.exit(1)", "signal.pause()"


@dataclass(frozen=True)
class Done:
    """A command that ended: ``said`` is stderr, ``document`` what it printed with ``--json``."""

    code: int
    said: str
    document: dict[str, Any]

    @property
    def sentence(self) -> str:
        return str(self.document["error"])


@dataclass
class Luck:
    """``stage``: how far the story is: "", started, moved (home, not protected), home, lost, failed_over (the primary is back
    and idle), reversed."""

    lab: Lab
    stage: str = ""
    state: str = ""  # of the plan, as last asked for; empty when something was run since
    lost: set[int] = field(default_factory=set)  # acknowledged orders that the failover, asynchronous as it is, lost
    client: Client = field(init=False)

    @property
    def var(self) -> Path:
        return self.lab.inventory.parent

    # -- the command line ------------------------------------------------------------------------------------

    def argv(self, *words: str) -> list[str]:
        return [XDR, *words, "--inventory", str(self.lab.inventory), "--json"]

    def environment(self, **more: str) -> dict[str, str]:
        return {**os.environ, "XDR_VAR": str(self.var), **more}

    def xdr(self, *words: str, **environment: str) -> Done:
        argv, env = self.argv(*words), self.environment(**environment)
        done = subprocess.run(argv, cwd=PROJECT, env=env, capture_output=True, text=True, timeout=LONGEST, check=False)
        assert "Traceback" not in done.stderr, done.stderr
        return Done(done.returncode, done.stderr, json.loads(done.stdout))

    def run(self, action: str, *options: str, code: int = 0, **environment: str) -> Done:
        return self._ran(action, PLAN, *options, code=code, **environment)

    def answer(self, of: Done, answer: str, *options: str, code: int = 0) -> Done:
        """To what that run asks."""
        return self._ran("answer", str(of.document["run_id"]), answer, *options, code=code)

    def _ran(self, action: str, *words: str, code: int, **environment: str) -> Done:
        self.state = ""
        done = self.xdr("run", action, *words, **environment)
        assert done.code == code, f"{action} ended with {done.code}, not {code}: {done.sentence}\n{done.said}"
        assert done.document["exit_code"] == code
        if code:
            assert done.sentence in " ".join(done.said.split()) or done.sentence[:60] in " ".join(done.said.split())
        return done

    @contextlib.contextmanager
    def begun(self, action: str) -> Iterator[Run]:
        """The action as a process of its own; whatever is left of it is killed at the end."""
        self.state = ""
        before = set((self.var / "runs").glob("*"))
        with (self.var / "begun.out").open("w") as stdout, (self.var / "begun.err").open("w") as stderr:
            argv = self.argv("run", action, PLAN)
            process = subprocess.Popen(argv, cwd=PROJECT, env=self.environment(), stdout=stdout, stderr=stderr, start_new_session=True)
        run = Run(process, self.var, before)
        try:
            yield run
        finally:
            run.kill()

    def status(self) -> dict[str, Any]:
        done = self.xdr("status", PLAN)
        self.state = done.document["state"]
        return done.document

    # -- the story -------------------------------------------------------------------------------------------

    def home(self) -> None:
        if self.stage == "home":
            return
        if not self.stage:
            self.started()
        elif self.stage not in ("started", "moved"):
            self.ready()
            self.run("failback")
        self.run("reprotect")
        self.stage = "home"

    def started(self) -> None:
        """A new plan, not protected yet; whatever story was told before ends."""
        self.rest()
        self._build()
        self.run("start")
        self.client.start()
        self.writes()
        self.stage = "started"

    def site_lost(self) -> None:
        if self.stage != "lost":
            self.home()
            self.lab.lose_site("primary")
            self.stage = "lost"

    def failed_over(self) -> None:
        if self.stage != "failed_over":
            self.site_lost()
            self.run("failover", "--attest-primary-is-off", "the test killed every process of the site")
            self.writes()
            acks = orders.read_log(self.client.log).acks
            self.lost |= set(orders.lost(acks, orders.numbers_of_service(self.lab.service_url("dr", "orders-db"))))
            self.lab.return_site("primary")
            self.stage = "failed_over"

    def ready(self) -> None:
        """The plan runs on the DR site and may be brought home."""
        if self.stage != "reversed":
            self.failed_over()
            self.run("reverse-replication")
            self.stage = "reversed"
        if self.state != "READY":
            self.run("replicate")

    def _build(self) -> None:
        self.lab.down()
        self.lab.up()
        with self.edited(_patient):  # not put back: the lab's inventory is made anew with each lab
            file = self.lab.inventory / "plans" / f"{PLAN}.yml"
            edited = file.read_text(encoding="utf-8")
        file.write_text(edited, encoding="utf-8")
        (self.lab.inventory / "group_vars" / "all" / "luck.yml").write_text("---\nmove_health_deadline: 3\n", encoding="utf-8")
        self.client = Client(self.lab.balancer_url, self.var / "orders.jsonl", RATE)
        self.client.log.unlink(missing_ok=True)

    def go_on(self) -> None:
        if self.stage:
            self.client.start()

    def rest(self) -> None:
        if self.stage:
            self.client.stop()

    def close(self) -> None:
        self.rest()
        self.lab.down()

    # -- what a person outside sees ---------------------------------------------------------------------------

    def writes(self, number: int = 5) -> None:
        """Until so many more orders are acknowledged."""
        self.client.wait_for(1)
        assert self.client.wait_for(len(orders.read_log(self.client.log).acks) + number, 20), "the client gets no orders acknowledged"

    def serves(self, site: str) -> None:
        """The site serves clients through the balancer, and has every order that was ever acknowledged, once."""
        with urllib.request.urlopen(f"{self.lab.balancer_url}/health", timeout=5) as answer:  # noqa: S310 - the lab's own http URL
            assert answer.headers["X-XDR-Site"] == SITE_NAMES[site]
        self.writes()
        acks = orders.read_log(self.client.log).acks
        numbers = orders.numbers_of_service(self.lab.service_url(site, "orders-db"))
        assert set(orders.lost(acks, numbers)) <= self.lost
        assert orders.duplicated(numbers) == []

    # -- bad luck ----------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def edited(self, change: Callable[[Any], None]) -> Iterator[None]:
        """The plan's file, changed and put back."""
        file = self.lab.inventory / "plans" / f"{PLAN}.yml"
        before = file.read_text(encoding="utf-8")
        yaml = YAML()
        yaml.explicit_start = True
        document = yaml.load(before)
        change(document)
        with file.open("w", encoding="utf-8") as stream:
            yaml.dump(document, stream)
        try:
            yield
        finally:
            file.write_text(before, encoding="utf-8")

    @contextlib.contextmanager
    def impostor(self, site: str, name: str, act: str) -> Iterator[None]:
        """A service of a site that REFUSES to start or HANGS without an answer."""
        programs = self.lab.site_dir(site) / "bin"
        real = programs.with_name("bin.real")
        programs.rename(real)
        try:
            programs.mkdir(mode=0o755)
            text = IMPOSTOR.format(name=name, act=act, real=str(real / "lab_service.py"))
            (programs / "lab_service.py").write_text(text, encoding="utf-8")
            for other in real.iterdir():
                if other.name != "lab_service.py":
                    (programs / other.name).symlink_to(other)
            yield
        finally:
            for file in programs.iterdir():
                file.unlink()
            programs.rmdir()
            real.rename(programs)

    def start_past_xdr(self, site: str, service: str) -> str:
        """What a person does who starts a service through supervisord; the last line of its log."""
        folder = self.lab.site_dir(site)
        control = ["/usr/bin/supervisorctl", "-c", str(folder / "supervisord.conf")]
        subprocess.run([*control, "start", service], capture_output=True, timeout=20, check=False)
        wait_until(lambda: not self.runs_at(site, service), f"{service} is gone", 20)
        return (folder / "log" / f"{service}.log").read_text(errors="replace").splitlines()[-1]

    def runs_at(self, site: str, service: str) -> list[int]:
        """The service's processes, its start guard included."""
        return [pid for pid, command in self.lab.processes(site) if f"--name {service} " in command]

    def pid_of(self, site: str, service: str) -> int:
        [pid] = self.runs_at(site, service)
        return pid


@dataclass
class Run:
    """A run that was begun: its events as they are stored, and its end."""

    process: subprocess.Popen[bytes]
    var: Path
    before: set[Path]

    @property
    def folder(self) -> Path | None:
        return next(iter(sorted(set((self.var / "runs").glob("*")) - self.before)), None)

    def events(self) -> list[dict[str, Any]]:
        file = self.folder / "events.jsonl" if self.folder else None
        if file is None or not file.exists():
            return []
        whole = file.read_text(encoding="utf-8").rpartition("\n")[0]
        return [json.loads(line) for line in whole.splitlines()]

    def reaches(self, step: str) -> None:
        """Wait for the first task of a step."""
        wait_until(lambda: any(event.get("step") == step for event in self.events()) or self.process.poll() is not None, step, 60)
        assert self.process.poll() is None, f"the run ended before {step}"

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """ansible-playbook stands still for so long."""
        wait_until(lambda: bool(self.folder and child_of(self.folder)), "ansible-playbook is there", 20)
        child = child_of(self.folder) if self.folder else None
        assert child, "it has ended"
        child.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            child.signal(signal.SIGCONT)

    def ends(self) -> Done:
        try:
            code = self.process.wait(LONGEST)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGUSR1)
            said = self.var / "begun.err"
            wait_until(lambda: "most recent call first" in said.read_text(), "what its threads do", 10)
            raise AssertionError(f"it does not end:\n{said.read_text()}") from None
        return Done(code, (self.var / "begun.err").read_text(), json.loads((self.var / "begun.out").read_text()))

    def kill(self, *, launcher: bool = True) -> None:
        """SIGKILL to ansible-playbook and all it started, and to the launcher first if that is to die, too."""
        if self.process.poll() is None and launcher:
            self.process.kill()
        folder = self.folder
        if folder and (child := child_of(folder)):
            child.signal(signal.SIGKILL)  # first, lest it tells of the death of its children
        for one in run_processes(folder) if folder else ():
            one.signal(signal.SIGKILL)
        if launcher:
            self.process.wait(10)


def _patient(plan: Any) -> None:
    """Never too far behind by itself, and quick to say that something does not stop or start."""
    plan["replication"]["ready_below"] = "1GiB"
    for group in plan["groups"]:
        for resource in group["resources"]:
            resource.update(stop_timeout="3s", start_timeout="6s")
