# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""A failback under way, and what a fault can get hold of: the processes of its controller and of the hosts, files, links."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from .. import PROJECT, processes, runs
from ..lab.lab import SITE_HOSTS
from ..processes import Process, wait_gone
from .ground import PLAN, Ground
from .patience import wait_until
from .places import Place

LOOK = 0.002  # seconds between two looks at a record
DIES_WITHIN = 10.0  # seconds from SIGKILL, on a busy machine
BEGINS_WITHIN = 300.0  # from the command to the place of the fault
IMPOSTOR = """\
import os, signal, sys
if sys.argv[sys.argv.index("--name") + 1] == {name!r}:
    {act}
os.execv(sys.executable, [sys.executable, {real!r}, *sys.argv[1:]])
"""
REFUSES, HANGS = "sys.exit(1)", "signal.pause()"
FLAPS = """import importlib.util, itertools
    found = importlib.util.spec_from_file_location("lab_service", {real!r})
    service = importlib.util.module_from_spec(found)
    found.loader.exec_module(service)
    sick, answer = itertools.cycle((True, True, False)), service.Handler.do_GET
    service.Handler.do_GET = lambda it: it.reply(503, {{}}) if it.path == "/health" and next(sick) else answer(it)
    sys.exit(service.main())"""


class Scene:
    def __init__(self, ground: Ground) -> None:
        self.ground = ground
        self.notes: list[str] = []  # what a fault itself found wrong
        self.documents: list[dict[str, Any]] = []  # of the commands of a fault itself
        self.var: Path | None = None  # of the controller that goes on, where it is another than the one of before
        self.backup: Path | None = None  # of the controller's store
        self.hit: list[str] = []  # the processes that were killed or frozen
        self._process: subprocess.Popen[bytes] | None = None
        self._frozen: set[Process] = set()
        self._healing: list[Callable[[], None]] = []

    # -- the run

    def begin(self) -> None:
        with (self.ground.var / "run.out").open("wb") as out, (self.ground.var / "run.err").open("wb") as errors:
            self._process = subprocess.Popen(
                self.ground.argv("run", "failback", PLAN),
                cwd=PROJECT,
                env=self.ground.environment(),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=errors,
                start_new_session=True,
            )

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None  # noqa: S101 - begin() comes first
        return self._process

    @property
    def over(self) -> bool:
        return self.process.poll() is not None

    @property
    def exit_code(self) -> int | None:
        return self.process.poll()

    def reaches(self, place: Place) -> bool:
        """Whether it came there. False where the run ended before, or took too long."""
        wait_until(lambda: place.reached(self.ground.record(place.site)) or self.over, BEGINS_WITHIN, LOOK)
        return place.reached(self.ground.record(place.site))

    def document(self) -> dict[str, Any]:
        """What the command printed at its end; empty where it was killed."""
        with contextlib.suppress(ValueError, OSError):
            return dict(json.loads((self.ground.var / "run.out").read_text(encoding="utf-8")))
        return {}

    def must(self, *words: str) -> None:
        """A command of the controller that goes on."""
        told = self.ground.xdr(*words, var=self.var)
        if told["exit_code"]:
            self.notes.append(f"xdr {words[0]} failed: {told.get('error')}")

    def close(self) -> None:
        """Nothing of the run is left."""
        self.heal()
        if self._process and self._process.poll() is None:
            self._process.kill()
        for one in self.controller():
            one.signal(signal.SIGKILL)
        if self._process:
            self._process.wait(10)

    # -- processes

    @property
    def worker(self) -> set[Process]:
        found = processes.process(self.process.pid)
        return {found} if found else set()

    def press(self, button: str) -> None:
        """Only of a run that was begun on the page (web.py)."""

    @property
    def portal(self) -> set[Process]:
        """Only of a run that was begun on the page (web.py)."""
        return set()

    @property
    def _folders(self) -> list[Path]:
        return sorted((self.ground.var / "runs").glob("*/"))

    def playbook(self) -> set[Process]:
        """ansible-playbook alone, without its children."""
        return {child for folder in self._folders[-1:] if (child := runs.child_of(folder))}

    def playbook_tree(self) -> set[Process]:
        return {one for folder in self._folders[-1:] for one in runs.run_processes(folder)}

    def controller(self) -> set[Process]:
        return self.worker | self.playbook_tree() if self._process else set()

    def on(self, site: str, wanted: Callable[[str], bool]) -> set[Process]:
        """Processes of a site's host by their command line."""
        return {one for one in self.ground.network.processes(SITE_HOSTS[site]) if wanted(_command(one))}

    def modules(self, site: str) -> set[Process]:
        """Ansible's modules that work on a site's host: python3 that reads its program from a pipe."""
        return self.on(site, lambda command: command == "/usr/bin/python3")

    def receivers(self) -> set[Process]:
        return self.on("primary", lambda command: "xdr-site-agent.pyz ssh" in command and not command.startswith("/bin/sh"))

    def sessions(self, site: str) -> set[Process]:
        """The sshd of each connection that is open, without the one that listens."""
        return self.on(site, lambda command: command.startswith("sshd:") and "[listener]" not in command)

    def service(self, site: str, resource: str) -> set[Process]:
        return self.on(site, lambda command: f"--name {resource} " in command)

    def kill(self, those: Iterable[Process]) -> None:
        """They are gone then: whoever looks whether one lives, to start it anew, must not see it die."""
        killed = set(those)
        for one in killed:
            self.hit.append(_command(one)[:80])
            one.signal(signal.SIGKILL)
        wait_gone(killed, DIES_WITHIN)

    def freeze(self, those: Iterable[Process]) -> None:
        for one in those:
            self.hit.append(_command(one)[:80])
            one.signal(signal.SIGSTOP)
            self._frozen.add(one)

    # -- healing

    def later(self, heal: Callable[[], None]) -> None:
        """What undoes a fault."""
        self._healing.append(heal)

    def heal(self) -> None:
        for one in self._frozen:
            one.signal(signal.SIGCONT)
        self._frozen.clear()
        while self._healing:
            self._healing.pop()()
        if self.ground.network.is_there:
            self.ground.network.heal()

    # -- clocks

    def clock_jumps(self, node: str, seconds: int) -> None:
        """A node's wall clock is wrong until it is healed."""
        self.ground.clocks.jump(node, seconds)
        self.later(lambda: self.ground.clocks.jump(node, 0))

    # -- files

    def away(self, file: Path) -> None:
        """A file has another name until it is healed."""
        aside = file.with_name(file.name + ".away")
        file.rename(aside)
        self.later(lambda: _put_back(aside, file))

    def impostor(self, site: str, resource: str, act: str) -> None:
        """The program of a resource at a site REFUSES to start, HANGS without an answer, or FLAPS: well at every third look."""
        programs = self.ground.site_dir(site) / "bin"
        real = programs.resolve()
        programs.unlink()
        programs.mkdir(mode=0o755)
        for other in real.iterdir():
            (programs / other.name).symlink_to(other)
        (programs / "lab_service.py").unlink()
        program = str(real / "lab_service.py")
        text = IMPOSTOR.format(name=resource, act=act.format(real=program), real=program)
        (programs / "lab_service.py").write_text(text, encoding="utf-8")

        def put_back() -> None:
            shutil.rmtree(programs)
            programs.symlink_to(real)

        self.later(put_back)

    def edit_plan(self) -> None:
        before = self.ground.plan_file.read_text(encoding="utf-8")
        self.ground.plan_file.write_text(before.replace("rpo: 5m", "rpo: 6m"), encoding="utf-8")

    def truncate(self, file: Path) -> None:
        os.truncate(file, file.stat().st_size // 2)


def _put_back(aside: Path, file: Path) -> None:
    aside.replace(file)


def _command(one: Process) -> str:
    try:
        return (processes.PROC / str(one.pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""
