# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""A real supervisord for a test, on a unix socket in a short temporary folder."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.processes import listens_unix, running, short_folder, wait_until

SUPERVISORD = "/usr/bin/supervisord"
SUPERVISORCTL = "/usr/bin/supervisorctl"


@dataclass
class Supervisord:
    """``program(...)`` before ``started()``; ``socket`` is its XML-RPC socket."""

    folder: Path
    programs: dict[str, dict[str, str]] = field(default_factory=dict)

    @property
    def socket(self) -> Path:
        return self.folder / "s.sock"

    @property
    def config(self) -> Path:
        return self.folder / "supervisord.conf"

    def program(self, name: str, command: str, **options: str) -> None:
        defaults = {"autostart": "false", "autorestart": "false", "startsecs": "0", "startretries": "0", "stopwaitsecs": "5"}
        self.programs[name] = {"command": command, **defaults, **options}

    @contextlib.contextmanager
    def started(self) -> Iterator[subprocess.Popen[bytes]]:
        self.config.write_text(self._text())
        argv = [SUPERVISORD, "--nodaemon", "--configuration", str(self.config)]
        with running(argv, log=self.folder / "out.log", ready=lambda: listens_unix(self.socket)) as process:
            try:
                yield process
            finally:
                self._end_programs()

    def control(self, *arguments: str) -> str:
        argv = [SUPERVISORCTL, "-c", str(self.config), *arguments]
        return subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False).stdout

    def pids(self) -> list[int]:
        """Of the programs that run now."""
        words = [line.split() for line in self.control("status").splitlines()]
        return [int(line[line.index("pid") + 1].rstrip(",")) for line in words if "pid" in line]

    def _end_programs(self) -> None:
        """A program that ignores SIGTERM would hold supervisord up."""
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not self.pids(), "the programs have ended", 5)

    def _text(self) -> str:
        lines = [
            "[unix_http_server]",
            f"file={self.socket}",
            "[supervisord]",
            f"logfile={self.folder}/supervisord.log",
            f"pidfile={self.folder}/supervisord.pid",
            f"childlogdir={self.folder}",
            "user=root" if os.geteuid() == 0 else "",
            "[rpcinterface:supervisor]",
            "supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface",
            "[supervisorctl]",
            f"serverurl=unix://{self.socket}",
        ]
        for name, options in self.programs.items():
            lines += [f"[program:{name}]", *(f"{key}={value}" for key, value in options.items())]
        return "\n".join(lines) + "\n"


@contextlib.contextmanager
def supervisord_folder() -> Iterator[Supervisord]:
    with short_folder() as folder:
        yield Supervisord(folder)
