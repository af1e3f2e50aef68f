# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""A failback that an operator begins on the page: a portal and a worker of the controller, which a fault can get hold of."""

from __future__ import annotations

import json
import re
import secrets
import subprocess
import sys
from pathlib import Path
from typing import Any

from .. import PROJECT, following
from ..processes import Process, end, process, tree
from ..store import Store, accounts, runs
from ..store.accounts import Role
from .ground import PLAN, Ground
from .network import CONTROLLER
from .patience import wait_until
from .scene import Scene

PORT = 8300
NAME = "operator"
STARTS_WITHIN = 60.0  # a busy machine
SHOWS_WITHIN = 60.0  # seconds; the worker looks at the plan after each run


class WebScene(Scene):
    """The same as with the command line; worker and portal live on when the run has ended."""

    def __init__(self, ground: Ground) -> None:
        super().__init__(ground)
        self._started: dict[str, subprocess.Popen[bytes]] = {}
        self._password = secrets.token_urlsafe(15)
        self._store: Store | None = None
        self._run = ""

    def begin(self) -> None:
        self._store = following.open_store(self.ground.inventory)
        accounts.add(self._store, NAME, Role.operator, self._password)
        self.revive()
        self._pressed(f"/plans/{PLAN}/failback")

    def _pressed(self, path: str) -> None:
        """The worker has to have seen the plan before the portal offers anything."""
        answer: dict[str, Any] = {}

        def begun() -> bool:
            nonlocal answer
            answer = self._browse(f"/plans/{PLAN}", path)
            return str(answer.get("path", "")).startswith("/runs/")

        if not wait_until(begun, STARTS_WITHIN, 0.5):
            raise RuntimeError(f"the portal began no failback: {answer.get('status')} {_words(str(answer.get('text')))[:500]}")
        self._run = str(answer["path"]).removeprefix("/runs/")

    def press(self, button: str) -> None:
        """On the plan's page ``failback`` once more, which begins no other run; on the run's page ``rollback``."""
        page, path = {
            "failback": (f"/plans/{PLAN}", f"/plans/{PLAN}/failback"),
            "rollback": (f"/runs/{self._run}", f"/runs/{self._run}/rollback"),
        }[button]
        over, answer = self.over, self._browse(page, path)
        self.hit.append(f"{button} was pressed: {answer.get('status')}")
        led = str(answer.get("path", ""))
        if not over and led.startswith("/runs/") and led != f"/runs/{self._run}":
            self.notes.append(f"the page began a second run beside the first: {led}")
        if answer.get("status") not in (200, 409):
            self.notes.append(f"the page did not understand that {button} was pressed: {answer.get('status')}")

    def _browse(self, page: str, post: str = "") -> dict[str, Any]:
        asked: dict[str, Any] = {"url": f"http://127.0.0.1:{PORT}", "name": NAME, "password": self._password, "page": page, "post": post}
        asked["fields"] = {"confirm": PLAN}
        argv = [*self.ground.network.inside(CONTROLLER), sys.executable, "-m", "portal.faults.browser"]
        done = subprocess.run(argv, cwd=PROJECT, input=json.dumps(asked).encode(), capture_output=True, timeout=60, check=False)
        return dict(json.loads(done.stdout)) if done.returncode == 0 else {"text": done.stderr.decode()[-500:]}

    @property
    def over(self) -> bool:
        assert self._store  # noqa: S101 - begin() comes first
        return runs.get(self._store, self._run).ended

    @property
    def exit_code(self) -> int | None:
        assert self._store  # noqa: S101 - begin() comes first
        return runs.get(self._store, self._run).exit_code

    def document(self) -> dict[str, Any]:
        return dict(runs.get(self._store, self._run).result or {}) if self._store and self._run else {}

    @property
    def worker(self) -> set[Process]:
        return self._of("worker")

    @property
    def portal(self) -> set[Process]:
        return self._of("portal")

    def _of(self, name: str) -> set[Process]:
        started = self._started.get(name)
        found = process(started.pid) if started and started.poll() is None else None
        return {found} if found else set()

    def controller(self) -> set[Process]:
        return self.worker | self.portal | self.playbook_tree()

    def revive(self) -> None:
        """What a host's init does for a service that has died."""
        for name, options in (("worker", ()), ("portal", ("--port", str(PORT)))):
            if not self._of(name):
                self._started[name] = self._start(name, options)

    def _start(self, name: str, options: tuple[str, ...]) -> subprocess.Popen[bytes]:
        ground = self.ground
        xdr = str(Path(sys.executable).parent / "xdr")
        argv = [*ground.network.inside(CONTROLLER), xdr, name, "--inventory", str(ground.inventory), *options]
        with (ground.var / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                argv, cwd=PROJECT, env=ground.environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def heal(self) -> None:
        super().heal()
        if self._run:
            self.revive()

    def shows(self, state: str) -> list[str]:
        """What the pages say that is not so: the plan's state, and that the run has ended."""
        wrong = ""

        def right() -> bool:
            nonlocal wrong
            plan = _words(self._browse(f"/plans/{PLAN}").get("text", ""))
            run = _words(self._browse(f"/runs/{self._run}").get("text", ""))
            wrong = "" if state in plan else f"the plan's page does not say {state}"
            wrong = wrong or ("" if "ended" in run else "the run's page does not say that the run has ended")
            return not wrong

        wait_until(right, SHOWS_WITHIN, 0.5)
        return [wrong] if wrong else []

    def close(self) -> None:
        self._run = ""  # nothing comes to life again
        super().close()
        for started in self._started.values():
            end(tree(started.pid), 10.0)
            started.wait(15)
        if self._store:
            self._store.close()


def _words(page: str) -> str:
    """What a person reads of it."""
    return " ".join(re.sub(r"<[^>]+>", " ", page).split())
