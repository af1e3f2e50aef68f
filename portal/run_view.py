# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Runs as the command line lists and shows them."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from . import achieved, units
from .store.runs import Run

if TYPE_CHECKING:
    from rich.console import RenderableType

    from .cutover import Deadline
    from .pauses import Pause

_COLOURS = {"done": "green", "failed": "red", "running": "cyan", "queued": "dim"}


def document(run: Run) -> dict[str, Any]:
    """For --json: the run's row without its result."""
    return {**{key: value for key, value in run.__dict__.items() if key != "result"}, "word": word(run)}


def word(run: Run) -> str:
    """queued, running, stopping, rolling back, done or failed."""
    if not run.ended:
        return {"stop": "stopping", "stop_after": "stopping", "rollback": "rolling back", "deadline": "rolling back"}.get(
            run.message, run.status
        )
    return "failed" if run.exit_code else "done"


def seconds(run: Run) -> float | None:
    """How long it has taken until now or its end."""
    return None if run.started_at is None else (run.ended_at or time.time()) - run.started_at


def render(found: Iterable[Run]) -> RenderableType:
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, padding=(0, 2), header_style="dim")
    for title in ("run", "plan", "action", "asked for by", "at", "took", "state"):
        table.add_column(title)
    for run in found:
        shown = f"{run.action} (check)" if run.check else run.action
        took = units.seconds(seconds(run)) if run.started_at else ""
        table.add_row(run.id, run.plan, shown, escape(run.requested_by), units.since(run.requested_at), took, _state(run))
    return table


def _state(run: Run) -> str:
    said = word(run)
    return f"[{_COLOURS.get(said, 'yellow')}]{said}[/]"


def asks(question: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """A question (portal/question.py, as JSON) in rows of a name and a sentence."""
    yield "asks", str(question["why"])
    read = f"as read at {units.since(question['read_at'])}" if question["read_at"] else "not read since the run ended"
    for place in question["where"]:
        yield "runs now", f"{place['site']} ({place['host']}): {place['told']} [{read}]"
    for answer in question["answers"]:
        best = f" Recommended: {question['because']}." if answer["recommended"] else ""
        refused, warning = (
            f" {what}: {text}." if text else "" for what, text in (("Not now", answer["refused"]), ("But", answer["warning"]))
        )
        yield str(answer["name"]), f"{answer['told']}{best}{refused}{warning}"
    yield "answer", f"xdr run answer {question['run']} retry|skip|abort [--reason TEXT]"


def render_one(
    run: Run, question: Mapping[str, Any] | None = None, deadline: Deadline | None = None, pause: Pause | None = None
) -> RenderableType:
    from rich.console import Group
    from rich.markup import escape
    from rich.table import Table

    facts = Table.grid(padding=(0, 2))
    facts.add_row(f"[bold]{run.id}[/]", f"{run.action}{' (check)' * run.check} {run.plan}: {_state(run)}")
    facts.add_row("asked for", escape(f"by {run.requested_by} ({run.origin}) at {units.since(run.requested_at)}"))
    if run.started_at:
        again = f", launched {run.attempts} times" if run.attempts > 1 else ""
        facts.add_row("took", units.seconds(seconds(run)) + again)
    if run.message:
        facts.add_row("message", escape(f"{run.message} by {run.message_by}"))
    if deadline and not run.ended:
        left = deadline.at - time.time()
        facts.add_row("deadline", escape(f"{deadline.told}; {units.seconds(left) + ' left' if left > 0 else 'it has passed'}"))
    if pause:
        rest = units.seconds(max(0.0, pause.until - time.time()))
        facts.add_row("it waits", escape(f"{pause.question} ({pause.hook}; another {rest})"))
        facts.add_row("answer", escape(f"xdr run answer {run.id} yes|no --reason TEXT"))
    for text in filter(None, (run.error, str((run.result or {}).get("reason") or ""))):
        facts.add_row("", escape(text))
    if cost := (run.result or {}).get("achieved"):
        for name, value in achieved.told(cost):
            facts.add_row(name, escape(value))
    for name, value in asks(question) if question else ():
        facts.add_row(name, escape(value))
    steps = Table(box=None, padding=(0, 2), header_style="dim")
    for title in ("  step", "began", "took", "result"):
        steps.add_column(title)
    for step in (run.result or {}).get("steps", []):
        steps.add_row(f"  {step['name']}", units.since(step["begin"]), units.seconds(step["seconds"]), step["result"])
    return Group(facts, steps) if steps.row_count else facts
