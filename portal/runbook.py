# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The text of a plan, as its author edits it: what is wrong with it, the order that it makes, and how it differs."""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError
from ansible_collections.xdr.failback.plugins.plugin_utils.environment import Kept
from ansible_collections.xdr.failback.plugins.plugin_utils.plan import help_of
from ansible_collections.xdr.failback.plugins.plugin_utils.source import Problem, Source, SourceError, parse, parse_bytes, scalars

from .plans import load

Plan = Mapping[str, Any]


@dataclass(frozen=True)
class Place:
    """A group in the order; ``priority`` is None where the text gives it none that counts."""

    group: str
    priority: int | None
    resources: tuple[str, ...] = ()


@dataclass(frozen=True)
class Checked:
    """``problems`` of the text, ``elsewhere`` those of the environment's other files; ``plan`` as compiled, None where there are any.

    ``start``: the groups in the order in which they start, as far as the text can be read; ``help``: by line, what the schema says
    of the field there.
    """

    problems: Sequence[Problem] = ()
    elsewhere: Sequence[Problem] = ()
    plan: Plan | None = None
    start: Sequence[Place] = ()
    help: Mapping[int, str] = field(default_factory=dict)

    @property
    def stop(self) -> list[Place]:
        return list(reversed(self.start))


@dataclass(frozen=True)
class Runbook:
    """A plan's file in the folder of its environment; ``kept``: the other files as they were read before."""

    folder: Path
    plan: Plan
    kept: Kept = field(default_factory=Kept, compare=False)

    @property
    def name(self) -> str:
        return str(self.plan["name"])

    @property
    def path(self) -> Path:
        return self.folder / "plans" / Path(self.plan["file"]).name

    def read(self) -> str:
        """Raises XdrError where it cannot be read as text."""
        try:
            return self.path.read_bytes().decode("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise XdrError(f"the plan's file cannot be read ({error})", where=str(self.path), todo="Mend it by hand") from error

    def check(self, text: str) -> Checked:
        """As ``xdr plan validate`` would check the whole environment if the file held this text. Raises XdrError without an environment."""
        kept = self.kept.copy()
        try:
            saved = kept.source(self.path) if text == self.read() else None
            source = saved or self._parsed(text)
        except SourceError as error:
            return Checked(error.problems)
        start, told = order(source.data), _help(source)
        try:
            plans = load(self.folder, edited={} if saved else {self.path: source}, kept=kept).plans
        except SourceError as error:
            own = [problem for problem in error.problems if problem.file == source.file]
            return Checked(own, [problem for problem in error.problems if problem not in own], None, start, told)
        return Checked(plan=next(plan for plan in plans.values() if plan["file"] == source.file), start=start, help=told)

    def start(self, text: str) -> list[Place]:
        """The order that the text makes, as far as it can be read."""
        try:
            return order(self._parsed(text).data)
        except SourceError:
            return []

    def _parsed(self, text: str) -> Source:
        return parse_bytes(text.encode("utf-8"), str(self.plan["file"]))


def digest(text: str) -> str:
    """By which it is known whether somebody has saved in between."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def order(data: Mapping[str, Any]) -> list[Place]:
    """The groups in the order in which they start; those without a priority last."""
    places = [_place(group) for group in _groups(data) if isinstance(group, dict)]
    return sorted(places, key=lambda place: (place.priority is None, place.priority or 0))


def _groups(data: Mapping[str, Any]) -> list[Any]:
    groups = data.get("groups")
    return groups if isinstance(groups, list) else []


def _place(group: Mapping[str, Any]) -> Place:
    priority, resources = group.get("priority"), group.get("resources")
    names = [one.get("name") for one in resources if isinstance(one, dict)] if isinstance(resources, list) else []
    known = isinstance(priority, int) and not isinstance(priority, bool)
    return Place(str(group.get("name")), priority if known else None, tuple(map(str, names)))


def _help(source: Source) -> dict[int, str]:
    """Of several fields in a line that which is nearest to the top."""
    told: dict[int, str] = {}
    for at, (line, _) in source.places.items():
        text = help_of(at)
        if text:
            told.setdefault(line, f"{source.name(at)}: {text}")
    return told


# -- priorities ------------------------------------------------------------------------------------------------


def reprioritised(text: str, wanted: Mapping[str, int]) -> str:
    """The text with other priorities of these groups; all else stays as it is, to the byte.

    Raises SourceError for a text that is no YAML, XdrError (usage) for a group whose priority cannot be changed alone.
    """
    source, written = parse(text, "the plan"), scalars(text)
    numbers = {str(group.get("name")): index for index, group in enumerate(_groups(source.data)) if isinstance(group, dict)}
    used = {scalar.anchor for scalar in written.values() if scalar.alias}
    changes: list[tuple[int, int, str]] = []
    for group, priority in wanted.items():
        scalar = written.get(("groups", numbers.get(group), "priority"))
        if scalar is None:
            raise _unchangeable(group, "has no priority in the text")
        was = source.data["groups"][numbers[group]]["priority"]
        if was == priority and not isinstance(was, bool):
            continue
        if scalar.anchor in used and not scalar.alias:
            raise _unchangeable(group, f"has a priority that other fields take over (&{scalar.anchor})")
        token = text[scalar.start : scalar.stop]
        changes.append((scalar.start, scalar.stop, str(priority) if scalar.alias else re.sub(r"\S+\Z", str(priority), token)))
    for start, stop, new in sorted(changes, reverse=True):
        text = text[:start] + new + text[stop:]
    return text


def _unchangeable(group: str, why: str) -> XdrError:
    return XdrError(f"group {group} {why}", todo="Edit its YAML", code="usage")


def moved(numbers: Mapping[str, int], group: str, by: int) -> dict[str, int]:
    """The priorities once the group has changed places with the one that starts before (-1) or after it (+1)."""
    names = sorted(numbers, key=lambda name: numbers[name])
    here = names.index(group)
    there = here + by
    if not 0 <= there < len(names):
        return dict(numbers)
    return {**numbers, names[here]: numbers[names[there]], names[there]: numbers[names[here]]}


# -- texts of forms and their differences ----------------------------------------------------------------------


def typed(given: str, like: str) -> str:
    """What a form sent, whose lines all end in CR LF, with the ends of lines and the byte order mark of the file that it came from."""
    old = _lines(like.removeprefix("\ufeff"))
    new = [_shown(line) for line in _lines(given.removeprefix("\ufeff"))]
    ends = [_end(line) for line in old if _end(line)]
    usual = max(dict.fromkeys(ends), key=ends.count, default="\n")
    found = [line + usual for line in new]
    if new and not given.endswith("\n"):
        found[-1] = new[-1]
    if len(set(ends)) > 1:  # both kinds: a line that was there before keeps its own
        for block in difflib.SequenceMatcher(None, list(map(_shown, old)), new).get_matching_blocks():
            for number in range(block.size):
                if _end(old[block.a + number]) and _end(found[block.b + number]):
                    found[block.b + number] = old[block.a + number]
    return ("\ufeff" if like.startswith("\ufeff") else "") + "".join(found)


def _lines(text: str) -> list[str]:
    return re.findall(r"[^\n]*\n|[^\n]+", text)


@dataclass(frozen=True)
class Line:
    """Of a difference: ``kind`` is ``+``, ``-``, a space or ``@``; its number in the old and in the new text."""

    kind: str
    text: str
    old: int | None = None
    new: int | None = None


def difference(old: str, new: str, around: int = 3) -> list[Line]:
    """The lines that differ, with some around them; empty where the texts are equal."""
    return list(_difference(_lines(old), _lines(new), around))


def _difference(old: list[str], new: list[str], around: int) -> Iterator[Line]:
    for group in difflib.SequenceMatcher(None, old, new).get_grouped_opcodes(around):
        yield Line("@", f"line {group[0][1] + 1}")
        for kind, a, b, c, d in group:
            if kind == "equal":
                yield from (Line(" ", _shown(old[n]), n + 1, c + n - a + 1) for n in range(a, b))
            else:
                yield from (Line("-", _shown(old[n]), old=n + 1) for n in range(a, b))
                yield from (Line("+", _shown(new[n]), new=n + 1) for n in range(c, d))


def _end(line: str) -> str:
    return "\r\n" if line.endswith("\r\n") else line[-1:] if line.endswith("\n") else ""


def _shown(line: str) -> str:
    return line.removesuffix("\n").removesuffix("\r")
