# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Launches a playbook through ansible-runner: the one file that imports it.

Nothing of the environment or the extra variables reaches a file or a command line: the extra variables go through a pipe,
the environment is kept from what ansible-runner writes, and of its events only ours are stored.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError
from ansible_runner.config.runner import RunnerConfig
from ansible_runner.runner import Runner

from . import child, runs, secrets
from .censor import Censor
from .events import Event, Listener, Recorder, translate
from .results import Collector, RunResult
from .runs import RunRequest

BOOT = Path("/proc/sys/kernel/random/boot_id")
Feed = Callable[[Callable[[Event], None]], AbstractContextManager[object]]


class _Environment(dict[str, str]):
    """An environment that shows itself only to ``items()``, by which ansible-runner makes the child's.

    As a dict it is empty, so that the file and the status in which ansible-runner would publish it hold ``{}``.
    """

    def __init__(self, real: dict[str, str]) -> None:
        super().__init__()
        self._real = real

    def items(self) -> Any:
        return self._real.items()


def launch(
    request: RunRequest, on_event: Listener | None = None, *, feed: Feed | None = None, stop: threading.Event | None = None
) -> RunResult:
    """Run a playbook to its end and say what came of it.

    ``on_event`` gets each event (portal/events.py) as it is stored. ``feed`` is entered for the time of the run with a function that
    takes one more event to store, such as the progress tailed from the sites. Setting ``stop``, SIGINT or SIGTERM ends the run.

    Raises XdrError: run_active when the plan has a run already; anything else ends in the result.
    """
    request = replace(request, run_id=request.run_id or runs.new_run_id(request.action))
    with runs.only_run(request) if request.exclusive else nullcontext():
        if request.exclusive:
            runs.end_leftovers(request.plan, request.var, request.grace)
            runs.prune(request.var)
        runs.create(request)
        try:
            result = _supervised(request, on_event, feed, stop or threading.Event())
        except BaseException as error:
            runs.stop(request.folder, request.grace)
            runs.finish(request.folder, {"run_id": request.run_id, "plan": request.plan, "outcome": "broken", "error": repr(error)})
            raise
        runs.finish(request.folder, result.to_json())
        return result


def _supervised(request: RunRequest, on_event: Listener | None, feed: Feed | None, stop: threading.Event) -> RunResult:
    collector = Collector()

    def listen(event: Event) -> None:
        collector.add(event)
        if on_event:
            on_event(event)

    began = time.monotonic()
    censor = Censor(os.environ, request.extra_vars, secrets.of_inventory(request.inventory))
    recorder = Recorder(request.folder / "events.jsonl", request.run_id, censor, listen)
    try:
        asked = {name: getattr(request, name) for name in ("action", "plan", "playbook", "check")}
        recorder.add({"kind": "started", **asked, "boot": BOOT.read_text(encoding="ascii").strip()})
        with feed(recorder.add) if feed else nullcontext(), _stopping(request, stop):
            rc = _play(request, recorder)
        result = collector.finish(
            run_id=request.run_id,
            action=request.action,
            plan=request.plan,
            rc=rc,
            stopped=stop.is_set() and rc != 0,
            seconds=time.monotonic() - began,
        )
        recorder.add({"kind": "ended", "exit_code": result.exit_code, "error": result.error})
    finally:
        recorder.close()
    return result


def _play(request: RunRequest, recorder: Recorder) -> int | None:
    def handle(raw: dict[str, Any]) -> bool:
        event = translate(raw)
        if event:
            recorder.add(event)
        return False  # ansible-runner is not to keep a file of it

    ours = {"xdr_run_id": request.run_id, "xdr_answers": str(request.answers), "xdr_stop_file": str(runs.stop_file(request.folder))}
    with _handed_over({**request.extra_vars, **ours}, request.folder / "runner" / "extra-vars") as variables:
        runner = Runner(_config(request, variables), event_handler=handle)
        runner.run()
    return None if runner.rc is None else int(runner.rc)


def _config(request: RunRequest, variables: str) -> RunnerConfig:
    playbook = request.project / "playbooks" / request.playbook
    if not playbook.exists():
        raise XdrError("there is no such playbook", where=str(playbook), todo="Is the checkout complete?")
    flags = ["--check"] * request.check + ["--diff"] * request.diff + ["-e", f"@{variables}"]
    config = RunnerConfig(
        private_data_dir=str(request.folder / "runner"),
        ident="run",
        project_dir=str(request.project),
        playbook=str(playbook),
        inventory=str(request.inventory),
        cmdline=shlex.join(flags),
        fact_cache_type="memory",
        quiet=True,
    )
    config.prepare()
    here = Path(sys.executable).parent
    config.command = [
        sys.executable,
        "-IS",
        child.__file__,
        str(request.folder / "child.json"),
        str(here / "ansible-playbook"),
        *config.command[1:],
    ]
    config.suppress_output_file = config.suppress_ansible_output = True
    inherited = {name: value for name, value in config.env.items() if name not in secrets.OWN}
    config.env = _Environment({**inherited, **_own_environment(request)})
    return config


def _own_environment(request: RunRequest) -> dict[str, str]:
    return {
        "XDR_RUN_ID": request.run_id,
        "ANSIBLE_CONFIG": str(request.project / "ansible.cfg"),
        "ANSIBLE_HOST_KEY_CHECKING": "True",  # ansible-runner's default is to switch it off
        "ANSIBLE_NOCOLOR": "1",
        "SSH_ASKPASS_REQUIRE": "force",  # a question of ssh is answered by /bin/false, never waits for a person
        "SSH_ASKPASS": "/bin/false",
    }


@contextlib.contextmanager
def _handed_over(variables: dict[str, Any], path: Path) -> Iterator[str]:
    """A named pipe from which the child reads the variables, once: they are in no file and no argument list."""
    path.parent.mkdir(mode=0o700, exist_ok=True)
    os.mkfifo(path, 0o600)

    def write() -> None:
        with contextlib.suppress(BrokenPipeError), path.open("w", encoding="utf-8") as pipe:  # opens when the child does
            json.dump(variables, pipe)

    writer = threading.Thread(target=write, name="extra-vars")
    writer.start()
    try:
        yield str(path)
    finally:
        _let_go(writer, path)
        path.unlink()


def _let_go(writer: threading.Thread, path: Path) -> None:
    """Take the place of a child that never came to read."""
    end = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        while writer.is_alive():
            with contextlib.suppress(BlockingIOError):
                os.read(end, 1 << 16)
            writer.join(0.02)
    finally:
        os.close(end)


@contextlib.contextmanager
def _stopping(request: RunRequest, stop: threading.Event) -> Iterator[None]:
    """While the run lasts: end it when ``stop`` is set or a signal asks for it."""
    over = threading.Event()

    def watch() -> None:
        while not stop.wait(0.05):
            if over.is_set():
                return
        while runs.child_of(request.folder) is None and not over.wait(0.05):
            pass  # it was asked to stop before the child had begun
        runs.stop(request.folder, request.grace)

    watcher = threading.Thread(target=watch, name=f"stop-{request.run_id}")
    watcher.start()
    try:
        with _signals(stop):
            yield
    finally:
        over.set()
        watcher.join()


@contextlib.contextmanager
def _signals(stop: threading.Event) -> Iterator[None]:
    """SIGINT, SIGTERM and SIGHUP ask for a stop (only the main thread can hear them)."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ask(number: int, frame: FrameType | None) -> None:
        stop.set()

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
