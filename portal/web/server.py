# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Serves the portal with uvicorn until it is told to end."""

from __future__ import annotations

import contextlib
import gc
import resource
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import uvicorn
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError

from .. import schema_help, var_folder
from ..diagnosis import certificates
from ..store import Store
from ..store.accounts import Role
from ..store.engine import url_of
from . import all_plans, pages
from .app import create_app
from .desk import Desk

# Thresholds of Python's collector. With its own (700, 10, 10) the futures of an event on its way to 2000 viewers set off full collections,
# of 0.3 s each, every few seconds (xdr bench portal --rows viewers).
COLLECT = (50_000, 10, 10)
GRACE = 5  # seconds that requests get to end
_LOCAL = ("127.0.0.1", "::1", "localhost")


def serve(
    inventory: Path,
    host: str = "127.0.0.1",
    port: int = 8300,
    *,
    certificate: Path | None = None,
    key: Path | None = None,
    proxy: str = "",
    say: Callable[[str], None] = lambda text: print(text, flush=True),
) -> int:
    """Serve until SIGTERM or SIGINT; 0 is a good end.

    ``certificate`` and ``key`` (PEM) make it https. ``proxy`` names the addresses whose X-Forwarded headers are believed.
    Raises XdrError: the address cannot be had, the store has another version.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # each viewer is an open file, and many systems begin with 1024
    store = Store.open(url_of(var_folder(inventory)))
    with contextlib.closing(store), _listening(host, port) as listener, _ends_well():
        certificates.tell(store, certificate)
        app = create_app(store, inventory)
        gc.set_threshold(*COLLECT)
        threading.Thread(target=_warm, args=(app.state.desk,), name="warm", daemon=True).start()
        scheme = "https" if certificate else "http"
        say(f"The portal is at {scheme}://{_shown(host)}:{listener.getsockname()[1]}/")
        if host not in _LOCAL and not certificate and not proxy:
            print("xdr: passwords cross the network in the clear: give it a certificate, or put a proxy before it", file=sys.stderr)
        server = uvicorn.Server(_config(app, certificate, key, proxy))
        server.run(sockets=[listener])
        return 0 if server.started else 1


def _warm(desk: Desk) -> None:
    """What takes long the first time, while the first requests come in: plans, templates, help, what was seen, runs at work.

    A page that needs what is not there yet waits for it, and tells what stands against it; here nobody would hear.
    """
    with contextlib.suppress(Exception):
        desk.inventory.read()
        pages.compile_all()
        schema_help.reference()
        all_plans.all_facts(desk, Role.viewer)


def _config(app: Any, certificate: Path | None, key: Path | None, proxy: str) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        loop="uvloop",
        http="httptools",
        ws="none",
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=bool(proxy),
        forwarded_allow_ips=proxy or None,
        ssl_certfile=certificate,
        ssl_keyfile=key,
        timeout_graceful_shutdown=GRACE,
    )


@contextlib.contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        todo = "Name another with --port" if error.errno == 98 else ""
        raise XdrError(f"the portal cannot listen there ({error.strerror})", where=f"{host}:{port}", todo=todo) from error
    with listener:
        yield listener


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host


@contextlib.contextmanager
def _ends_well() -> Iterator[None]:
    """uvicorn raises the signal that ended it once more, for the handlers from before: these do nothing."""
    before = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
