# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""``xdr bench portal``: the pages and streams of a portal with many plans and events."""

from __future__ import annotations

import contextlib
import os
import resource
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from ansible_collections.xdr.failback.plugins.module_utils.durable import write_json
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError

from .. import PROJECT, render, var_folder
from ..interrupts import Interrupted, deaf, interruptible
from ..store import accounts, events, tables
from ..web.visit import COOKIE
from . import figures, machine, seed, show
from .figures import AGE, AGE_GOAL, AGED, PAGES, RATE, SECONDS, VIEWERS, VIEWERS_GOAL, Figure, Watched
from .pages import Browser, pages
from .seed import Seeded, Size
from .served import Served, answer, ask, clear_leftovers, others, seeded, served
from .started import started

SPARE = 200  # file descriptors besides those of the viewers
PATIENCE = 120.0  # seconds that viewers may take to connect, and beyond the telling to have everything


@dataclass(frozen=True)
class Choice:
    """What is asked for. ``names``: rows."""

    size: Size
    viewers: int
    repeat: int
    names: tuple[str, ...]


def chosen(size: Size, viewers: int, repeat: int, names: str) -> Choice:
    """Raises ValueError with a sentence for what cannot be."""
    if min(size.plans, size.resources, viewers, repeat) < 1:
        raise ValueError("there is at least one plan, resource and viewer, and each page is measured at least once")
    if size.plans > 9999 or size.resources > 99:
        raise ValueError("at most 9999 plans of 99 resources are made")
    if size.events < (least := size.plans * len(seed.HISTORY)):
        raise ValueError(f"{size.plans} plans need at least {least} events: each of their runs has one")
    every = [f"{PAGES} {page.name}" for page in pages(Seeded("", "", "", 0))]
    return Choice(size, viewers, repeat, figures.picked(names, (*every, AGE, VIEWERS)))


def run(choice: Choice, *, as_json: bool) -> int:
    """Measure, keep the document, show it. Exit code 2: viewers lost an event or got one twice; a missed goal is a measurement."""
    folder = var_folder(Path("bench"))
    folder.mkdir(parents=True, exist_ok=True)
    _allow(choice.viewers + SPARE)
    try:
        with interruptible(), machine.alone(folder):
            document, found = _measured(choice, folder)
    except Interrupted:
        machine.tell("interrupted: everything it started is ended; a store that was filled is kept")
        return 1
    kept = folder / f"portal-{time.strftime('%Y-%m-%dT%H%M%S')}.json"
    write_json(kept, document)
    if as_json:
        render.show_json(document)
    else:
        render.show(show.figures(found, choice.size, choice.repeat))
    machine.tell(f"kept in {kept}")
    return 2 if any(figure.broken for figure in found) else 0


def _allow(descriptors: int) -> None:
    """The programs that are started inherit it. Raises XdrError where it is too little."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < descriptors:
        todo = f"Raise it (ulimit -Hn {descriptors}), or ask for fewer with --viewers"
        raise XdrError(f"{descriptors} open files are needed, {hard} are allowed", where="the bench", todo=todo, code="usage")
    if soft != resource.RLIM_INFINITY and soft < descriptors:
        resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, hard))


def _measured(choice: Choice, folder: Path) -> tuple[dict[str, Any], list[Figure]]:
    load = machine.load()
    clear_leftovers(folder)
    source, made = seeded(folder, choice.size, machine.tell)
    with contextlib.ExitStack() as ending:
        here = ending.enter_context(served(folder, source))
        ending.callback(deaf)
        read_s = here.start_s + _plans_read(here)
        machine.tell(f"the portal answered after {here.start_s:.1f} s, and had read all plans after {read_s:.1f} s")
        found = list(_figures(choice, here, made))
    asked = {**choice.size.to_json(), "viewers": choice.viewers, "repeat": choice.repeat, "rows": list(choice.names)}
    return {
        "machine": {**machine.described(), "load_before": round(load, 2), "start_s": round(here.start_s, 2), "read_s": round(read_s, 1)},
        "asked": asked,
        "rows": [figure.to_json() for figure in found],
    }, found


def _plans_read(here: Served) -> float:
    """Seconds."""
    with contextlib.closing(Browser(here.port)) as browser:
        begin = time.monotonic()
        browser.login(seed.USER, here.password)
        browser.first()
        return time.monotonic() - begin


def _figures(choice: Choice, here: Served, made: Seeded) -> Iterator[Figure]:
    with contextlib.closing(Browser(here.port)) as browser:
        browser.login(seed.USER, here.password)
        for page in pages(made):
            if f"{PAGES} {page.name}" in choice.names:
                before = here.cpu_s
                painted = browser.paint(page, choice.repeat)
                yield _told(figures.of_page(page, painted, (here.cpu_s - before) * 1000 / (choice.repeat + 1)))
    if AGE in choice.names:
        yield _told(figures.of_watched(AGE, _watched(here, made, AGED, "ledger"), AGE_GOAL))
    if VIEWERS in choice.names:
        yield _told(figures.of_watched(VIEWERS, _watched(here, made, choice.viewers, "store"), VIEWERS_GOAL))


def _told(figure: Figure) -> Figure:
    value = "nothing came" if figure.value is None else f"{figure.value:g} {figure.unit}"
    machine.tell(f"{figure.name}: {value}" + (f", {figure.why}" if figure.why else ""))
    return figure


def _watched(here: Served, made: Seeded, viewers: int, through: str) -> Watched:
    """As many viewers of the large run, each with a session of its own, and what they got of the events that are told meanwhile."""
    last, count = events.last(here.store, made.run), RATE * SECONDS
    cookies = [f"{COOKIE}={token}" for token in _sessions(here, viewers)]
    path = f"/runs/{made.run}/stream?after={last}"
    order = {"port": here.port, "path": path, "cookies": cookies, "after": last, "last": last + count, "seconds": SECONDS + PATIENCE}
    telling = {"url": here.store.url, "run": made.run, "worker": seed.WORKER, "count": count, "rate": RATE, "through": through}
    with _program("watchers") as crowd, _program("teller") as teller:
        ask(crowd, order)
        connected = cast(int, answer(crowd, "the viewers", PATIENCE))
        before = here.cpu_s
        ask(teller, telling)
        told = cast(list[float], answer(teller, "the teller", SECONDS + PATIENCE))
        got = cast(dict[str, Any], answer(crowd, "the viewers", SECONDS + 2 * PATIENCE))
        cpu = here.cpu_s - before
    arrived = {int(number): times for number, times in got["arrived"].items()}
    return Watched(viewers, connected, arrived, dict(enumerate(told, last + 1)), got["lost"], got["doubled"], cpu)


def _sessions(here: Served, count: int) -> list[str]:
    """Each viewer has its own, made without the password: a login for each would take an hour."""
    tokens = [secrets.token_urlsafe(32) for _ in range(count)]
    with here.store.writing() as connection:
        connection.execute(tables.sessions.insert(), [accounts.session_row(seed.USER, token, time.time()) for token in tokens])
    return tokens


@contextlib.contextmanager
def _program(name: str) -> Iterator[subprocess.Popen[bytes]]:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "cwd": PROJECT}
    with started([sys.executable, "-m", f"{__package__}.{name}"], **pipes) as process:
        os.sched_setaffinity(process.pid, others())
        yield process
