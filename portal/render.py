# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Shows runs on the terminal: live where there is one, as lines where there is none. All of it goes to stderr."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

from . import units
from .achieved import told as told_cost
from .board import Board, Lines

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from .events import Event, Listener
    from .results import RunResult


def console(*, stderr: bool = True) -> Console:
    from rich.console import Console

    on = Console(stderr=stderr, highlight=False)
    if not on.is_terminal:
        on.width = 200  # a file or a pipe has no width; nothing is cut or folded there
    return on


@contextlib.contextmanager
def watching(title: str, on: Console | None = None, *, whole: bool = False) -> Iterator[Listener]:
    """Shows a run while it lasts; gives what takes its events. ``whole``: each event that says something as a line."""
    on = on or console()
    if whole:
        yield lambda event: _tell(told(event))
        return
    if not on.is_terminal:
        yield Lines(lambda text: print(text, file=sys.stderr, flush=True), title).add
        return
    from rich.live import Live

    board = Board(title)
    with Live(get_renderable=board.render, console=on, refresh_per_second=4):
        yield board.add


def told(event: Event) -> str:
    """An event as a line of a log; empty for one that says nothing to a person."""
    at = datetime.fromtimestamp(event["at"]).strftime("%H:%M:%S")
    match event["kind"]:
        case "started":
            text = f"{event['action']} {event['plan']}: run {event['run']}"
        case "task":
            text = f"— {event['task']}"
        case "result" if event["status"] != "skipped":
            text = f"  {event['host']}: {event['status']} {event.get('msg') or ''}".rstrip()
        case "message":
            text = f"  {event['level']}: {event['text']}"
        case "progress" if event["what"] == "resource":
            text = f"  {event['host']}: {event['resource']}: {event['state']}"
        case "progress" if event["what"] == "bytes":
            text = f"  {event['host']}: volume {event['volume']}: {units.size(event['done'])} of {units.size(event['total'])}"
        case "ended":
            text = f"ended with {event['exit_code']}" + (f": {event['error']}" if event["error"] else "")
        case _:
            return ""
    return f"{at}  {text}"


def _tell(line: str) -> None:
    if line:
        print(line, file=sys.stderr, flush=True)


def summary(result: RunResult) -> str:
    """A run that ended well, in a line, and what its move has cost."""
    if result.reason:
        return f"{result.action} {result.plan}: nothing to do, {result.reason}"
    took = units.seconds(result.seconds)
    done = f"{result.action} {result.plan}: done in {took}, {result.changed} changes, state {result.state or units.UNKNOWN}"
    return "\n".join([done, *(f"{name}: {text}" for name, text in (told_cost(result.achieved) if result.achieved else ()))])


def show(renderable: RenderableType) -> None:
    """The answer of a command, on stdout."""
    console(stderr=False).print(renderable)


def show_json(document: Any) -> None:
    print(json.dumps(document, indent=2), flush=True)


def complain(sentence: str) -> None:
    print(f"xdr: {sentence}", file=sys.stderr, flush=True)
