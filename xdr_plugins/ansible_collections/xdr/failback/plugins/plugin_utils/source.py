# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""YAML that people write: text to plain data, with the line and column of every key and item."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError

try:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError
    from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent, MappingStartEvent, NodeEvent, ScalarEvent
    from ruamel.yaml.parser import RoundTripParser
except ImportError as error:  # sanity tests import this file without it
    MISSING: ImportError | None = error
else:
    MISSING = None

MAX_BYTES = 512 * 1024
MAX_DEPTH = 30
MAX_ALIASES = 1000
MAX_VALUES = 100_000  # with every alias written out

Field = tuple[Any, ...]  # keys and indexes from the top: ("groups", 0, "name")


@dataclass(frozen=True, order=True)
class Problem:
    """One thing to correct in a file; ``line`` and ``column`` count from 1, 0 is the whole file."""

    file: str
    line: int
    column: int
    field: str
    text: str

    def __str__(self) -> str:
        """``file:line: field: what is expected``; with the column instead of the field where the YAML itself is wrong."""
        if not self.line:
            return f"{self.file}: {self.text}"
        return (
            f"{self.file}:{self.line}: {self.field}: {self.text}" if self.field else f"{self.file}:{self.line}:{self.column}: {self.text}"
        )


class SourceError(XdrError):
    """Everything that is wrong with one or more files; ``problems`` has one entry for each, in the order of the files' lines."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = sorted(set(problems))
        super().__init__("\n".join(str(problem) for problem in self.problems), code="plan_invalid")


@dataclass(frozen=True)
class Source:
    """A file's data (plain dicts, lists and scalars) and the place of each of its fields."""

    file: str
    data: dict[str, Any]
    places: dict[Field, tuple[int, int]]

    def problem(self, field: Field, text: str) -> Problem:
        """The problem at a field; a field that is not there is placed at the nearest one around it."""
        at = field
        while at and at not in self.places:
            at = at[:-1]
        line, column = self.places.get(at, (1, 1))
        return Problem(self.file, line, column, self.name(field), text)

    def name(self, field: Field) -> str:
        """The field as a person says it: ``groups[database].resources[cart].health[0]``."""
        text, data = "", self.data  # type: str, Any
        for part in field:
            if isinstance(part, int):
                data = data[part] if isinstance(data, list) and part < len(data) else None
                label = data.get("name") if isinstance(data, dict) else None
                text += f"[{label if isinstance(label, str) else part}]"
            else:
                data = data.get(part) if isinstance(data, dict) else None
                text += f".{part}" if text else str(part)
        return text


def read_source(path: Path, name: str = "") -> Source:
    """Read one file. ``name`` is what problems call it (default: its path). Raises SourceError."""
    file = name or str(path)
    try:
        with path.open("rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise _wrong(file, f"cannot be read: {error.strerror}") from error
    return parse_bytes(raw, file)


def parse_bytes(raw: bytes, file: str) -> Source:
    """What the bytes of a file say. Raises SourceError."""
    if len(raw) > MAX_BYTES:
        raise _wrong(file, f"is larger than {MAX_BYTES // 1024} KiB, the most that is read")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        column = error.start - raw.rfind(b"\n", 0, error.start)
        raise _wrong(file, f"byte 0x{raw[error.start]:02x} is not UTF-8; save the file as UTF-8", line, column) from error
    return parse(text, file)


def parse(text: str, file: str) -> Source:
    """Turn YAML text into a Source. Raises SourceError."""
    if MISSING:
        raise XdrError("the Python package ruamel.yaml is not installed", where="controller", todo="Install it: pip install ruamel.yaml")
    text = text.removeprefix("\ufeff")
    try:
        data = _reader(file).load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise _wrong(file, _syntax(error), mark.line + 1, mark.column + 1) if mark else _wrong(file, _syntax(error)) from error
    except YAMLError as error:
        line, column = _unprintable(text)
        raise _wrong(file, "holds a character that YAML does not allow", line, column) from error
    except ValueError as error:
        raise _wrong(file, f"holds a value that cannot be read: {error}") from error
    if data is None:
        raise _wrong(file, "is empty; expected a mapping (name: value)")
    if not isinstance(data, dict):
        raise _wrong(file, f"expected a mapping (name: value) at the top, found {kind(data)}", 1, 1)
    places: dict[Field, tuple[int, int]] = {}
    return Source(file, dict(_Plain(file, places).convert(data, ())), places)


@dataclass(frozen=True)
class Scalar:
    """Where a value is written: ``text[start:stop]``, its anchor within. An alias's ``anchor`` is the one that it names."""

    start: int
    stop: int
    anchor: str = ""
    alias: bool = False


def scalars(text: str) -> dict[Field, Scalar]:
    """Where each scalar of a text is written that ``parse`` has accepted."""
    events = (event for event in _events(text) if isinstance(event, NodeEvent | CollectionEndEvent))
    first = next(events, None)
    return dict(_written(first, events, ())) if first else {}


def _written(event: Any, events: Iterator[Any], field: Field) -> Iterator[tuple[Field, Scalar]]:
    if isinstance(event, MappingStartEvent):
        while not isinstance(key := next(events), CollectionEndEvent):
            yield from _written(next(events), events, (*field, getattr(key, "value", None)))
    elif isinstance(event, CollectionStartEvent):
        index = 0
        while not isinstance(item := next(events), CollectionEndEvent):
            yield from _written(item, events, (*field, index))
            index += 1
    else:
        yield field, Scalar(event.start_mark.index, event.end_mark.index, event.anchor or "", isinstance(event, AliasEvent))


def kind(value: object) -> str:
    """What a person calls this value's kind."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, (int, float)):
        return f"the number {value}"
    return f"{str(value)!r}"


class _Plain:
    """Round-trip data to plain data, with every alias written out, counted and placed."""

    def __init__(self, file: str, places: dict[Field, tuple[int, int]]) -> None:
        self.file, self.places, self.values = file, places, 0

    def convert(self, value: Any, field: Field) -> Any:
        self.values += 1
        if self.values > MAX_VALUES or len(field) > MAX_DEPTH:
            limit = f"{MAX_VALUES} values" if self.values > MAX_VALUES else f"{MAX_DEPTH} levels"
            line, column = self.places.get(field[:1], (1, 1))
            raise _wrong(self.file, f"has more than {limit} once its aliases (*name) are written out", line, column)
        if isinstance(value, dict):
            return {self._key(value, key, field): self.convert(item, (*field, key)) for key, item in value.items()}
        if isinstance(value, list):
            return [self.convert(item, self._place(field, index, value.lc.item(index))) for index, item in enumerate(value)]  # type: ignore[attr-defined]
        return _scalar(value)

    def _key(self, mapping: Any, key: Any, field: Field) -> str:
        line, column = mapping.lc.key(key)
        if not isinstance(key, str):
            raise _wrong(self.file, f"expected a name before the colon, found {kind(key)}", line + 1, column + 1)
        self._place(field, key, (line, column))
        return str(key)

    def _place(self, field: Field, part: Any, at: tuple[int, int]) -> Field:
        self.places[(*field, part)] = (at[0] + 1, at[1] + 1)
        return (*field, part)


def _scalar(value: Any) -> Any:
    for plain in (bool, int, float, str):  # bool first: it is an int, too
        if isinstance(value, plain):
            return plain(value)
    return value if value is None else str(value)


def _reader(file: str) -> Any:
    """It refuses what could grow without end as it comes, before anything is built from it."""

    class Limited(RoundTripParser):
        depth = aliases = 0

        def get_event(self) -> Any:
            event = super().get_event()
            self.depth += isinstance(event, CollectionStartEvent) - isinstance(event, CollectionEndEvent)
            self.aliases += isinstance(event, AliasEvent)
            if text := _beyond(event, self.depth, self.aliases):
                raise _wrong(file, text, event.start_mark.line + 1, event.start_mark.column + 1)
            return event

    reader = YAML(typ="rt", pure=True)
    reader.Parser = Limited
    return reader


def _beyond(event: Any, depth: int, aliases: int) -> str:
    if aliases > MAX_ALIASES:
        return f"has more than {MAX_ALIASES} aliases (*name)"
    if depth > MAX_DEPTH:
        return f"is nested deeper than {MAX_DEPTH} levels"
    if isinstance(event, ScalarEvent) and event.value == "<<" and not event.style:
        return "merge keys (<<) are not accepted; write the fields out, or use an alias for a whole value"
    if isinstance(event, NodeEvent) and getattr(event, "tag", None):
        return f"tags are not accepted, found {getattr(event, 'tag', None)}"
    return ""


def _events(text: str) -> Iterator[Any]:
    return iter(YAML(typ="rt", pure=True).parse(text))


def _syntax(error: Any) -> str:
    problem = str(error.problem or "is not valid YAML")
    if "'\\t'" in problem:
        return "a tab; YAML is indented with spaces, use spaces here"
    if problem.startswith("found duplicate key"):
        return f"the field {problem.split(chr(34))[1]!r} is here a second time in one mapping; keep one of them"
    context = f" ({error.context})" if error.context else ""
    return f"not valid YAML: {problem}{context}"


def _unprintable(text: str) -> tuple[int, int]:
    for number, line in enumerate(text.split("\n"), 1):
        for column, letter in enumerate(line, 1):
            if not letter.isprintable() and letter not in "\t\r":
                return number, column
    return 1, 1


def _wrong(file: str, text: str, line: int = 0, column: int = 0) -> SourceError:
    return SourceError([Problem(file, line, column, "", text)])
