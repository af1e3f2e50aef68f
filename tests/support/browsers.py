# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Debian's Chromium under Playwright, and the portal as a process of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

from portal import PROJECT

CHROMIUM = Path("/usr/bin/chromium")
_SERVE = "import sys; from pathlib import Path; from portal.web.server import serve; sys.exit(serve(Path(sys.argv[1]), port=0))"


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


@contextlib.contextmanager
def served(inventory: Path, var: Path) -> Iterator[str]:
    """The portal's address; at the end it has to end well within its grace, with whatever streams are open."""
    portal = subprocess.Popen(
        [sys.executable, "-c", _SERVE, str(inventory)],
        cwd=PROJECT,
        env={**os.environ, "XDR_VAR": str(var)},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert portal.stdout
        said = portal.stdout.readline()
        assert "The portal is at " in said, said
        yield said.rpartition(" ")[2].strip().rstrip("/")
        portal.send_signal(signal.SIGTERM)
        assert portal.wait(10) == 0
    finally:
        portal.kill()
        portal.wait()
        if portal.stdout:
            portal.stdout.close()
