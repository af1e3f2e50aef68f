# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""What a run looks like while it goes on: gathered from its events, drawn live or told line by line."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ansible_collections.xdr.failback.plugins.module_utils.hook_marks import run_of

from . import units
from .events import Event
from .pauses import MODULE

if TYPE_CHECKING:
    from rich.table import Table

_COLOURS = {"Validated": "green", "Failed": "red", "Stopping": "yellow", "Recovering": "cyan", "Syncing": "cyan"}
_MARKS = {"ok": "[green]✔[/]", "changed": "[green]✔[/]", "failed": "[red]✘[/]", "running": "[cyan]▸[/]"}


@dataclass
class Volume:
    done: int
    total: int
    rate: int  # bytes/s
    at: float = 0.0  # when that was told

    @property
    def eta(self) -> float | None:
        return (self.total - self.done) / self.rate if self.rate > 0 else None

    def line(self) -> str:
        text = f"{units.size(self.done)} of {units.size(self.total)}"
        if self.done < self.total and self.rate:
            return f"{text}, {self.rate / 2**20:.1f} MiB/s, {units.seconds(self.eta)} to go"
        return text


@dataclass
class Phase:
    name: str
    begin: float
    end: float
    result: str = "running"


class Board:
    """The state of a run's display. ``add`` is called from the run's threads, ``render`` from rich's."""

    def __init__(self, title: str = "") -> None:
        self.title = title
        self.phases: dict[str, Phase] = {}
        self.volumes: dict[str, Volume] = {}
        self.resources: dict[str, str] = {}
        self.current: str | None = None
        self.entered = 0.0  # when the current phase was
        self.over = False
        self._lock = threading.Lock()

    def add(self, event: Event) -> None:
        with self._lock:
            match event["kind"]:
                case "task":
                    self._enter(event)
                case "result" if event["step"]:
                    self._result(event)
                case "progress":
                    self._progress(event)
                case "ended":
                    self.over = True
                    self._close()

    def _enter(self, event: Event) -> None:
        if event["step"] != self.current:
            self._close()
            self.current, self.entered = event["step"], event["at"]

    def _result(self, event: Event) -> None:
        if event["status"] == "skipped":
            return
        begin = event["begin"] or event["at"]
        phase = self.phases.setdefault(event["step"], Phase(event["step"], begin, event["at"]))
        phase.end = event["end"] or event["at"]
        if event["status"] in ("failed", "unreachable"):
            phase.result = "failed"

    def _close(self) -> None:
        phase = self.phases.get(self.current or "")
        if phase and phase.result == "running":
            phase.result = "ok"

    def _progress(self, event: Event) -> None:
        if event["what"] == "bytes":
            self.volumes[event["volume"]] = Volume(event["done"], event["total"], event["rate"], event["at"])
        elif event["what"] == "resource":
            self.resources[event["resource"]] = event["state"]

    def render(self) -> Table:
        from rich.table import Table

        with self._lock:
            grid = Table.grid(padding=(0, 2))
            if self.title:
                grid.add_row(f"[bold]{self.title}[/]")
            for phase in self.phases.values():
                grid.add_row(f" {_MARKS[phase.result]} {phase.name}", f"[dim]{units.seconds(phase.end - phase.begin)}[/]")
            if self.current and self.current not in self.phases and not self.over:
                grid.add_row(f" {_MARKS['running']} {self.current}", "")
            for name, volume in self.volumes.items():
                grid.add_row(f"   [dim]volume[/] {name}", volume.line())
            for name, state in self.resources.items():
                grid.add_row(f"   [dim]resource[/] {name}", f"[{_COLOURS.get(state, 'white')}]{state}[/]")
            return grid


class Lines:
    """The same for a log: a line when a phase ends, a resource changes or something fails, at most one a second for a volume."""

    every = 1.0

    def __init__(self, say: Callable[[str], None], title: str = "") -> None:
        self._say, self._board = say, Board()
        self._volumes: dict[str, float] = {}  # when it was told last
        self._whole: dict[str, str] = {}  # what was told last in this phase, of those that are done
        self._entered = 0.0
        self._title = title

    def add(self, event: Event) -> None:
        if event["kind"] == "started":
            self._say(self._title or f"{event['action']} {event['plan']}: run {event['run']}")
        before = self._board.current
        self._board.add(event)
        match event["kind"]:
            case "task" if event["step"] != before:
                self._left(before, event["at"])
            case "ended":
                self._left(before, event["at"])
            case "progress" if event["what"] == "bytes":
                self._volume(event["volume"])
            case "progress" if event["what"] == "resource":
                self._say(f"  {event['resource']}: {event['state']}")
            case "progress" if event["what"] == "output":
                self._say(f"  {event['hook']}: {event['text']}")
            case "result" if event.get("module") == MODULE and event["status"] in ("ok", "changed"):
                self._hooks(event)
            case "result" if event["status"] in ("failed", "unreachable"):
                self._say(f"  {event['host']}: {event['status']}: {event.get('msg', '')}"[:500])

    def _hooks(self, event: Event) -> None:
        for one in event.get("results") or []:
            asks = f"{one['question']} Answer: xdr run answer {run_of(event['run'])} yes|no --reason TEXT"
            self._say(f"  {asks if one['state'] == 'open' and one['kind'] == 'pause' else one['told'] or one['name']}")

    def _left(self, name: str | None, at: float) -> None:
        phase = self._board.phases.get(name or "")
        if phase and phase.end > self._entered:  # not all of its tasks were skipped this time
            self._say(f"  {name}: {phase.result}, {units.seconds(phase.end - self._entered)}")
        self._entered = at
        self._whole.clear()

    def _volume(self, name: str) -> None:
        """A volume that is done in less than a second is told once."""
        now = time.monotonic()
        volume = self._board.volumes[name]
        if volume.done >= volume.total:
            self._volumes.pop(name, None)
            if self._whole.get(name) == volume.line():  # it says so when it was sent, and again when it is in place
                return
            self._whole[name] = volume.line()
        elif now - self._volumes.setdefault(name, now) < self.every:
            return
        else:
            self._volumes[name] = now
        self._say(f"  volume {name}: {volume.line()}")
