# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Keeps secrets out of what is stored and shown: by the name of their key, and by their value wherever it turns up."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

MASK = "********"
_NAMES = re.compile(
    r"passw(or)?d|passphrase|secret|token|credential|(api|access|private|vault|become|tsig)_?(key|pass)|(^|_)pass$", re.IGNORECASE
)
_BESIDE = ("_file", "_path", "_ttl", "_lifetime", "_timeout", "_length")  # what is said of a secret is none
_SHORTEST = 4  # shorter values would blacken ordinary text
_SHORTEST_LINE = 8  # and shorter lines of a secret that has several
_NESTED = 2  # how often a text is escaped at most: a module's answer in JSON that is told in a line of JSON

ESCAPES: tuple[Callable[[str], str], ...] = (
    lambda text: json.dumps(text)[1:-1],
    lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
    lambda text: repr(text)[1:-1],
    lambda text: repr(f'"{text}')[2:-1],  # beside a double quote a single one is escaped
    lambda text: shlex.quote(f" {text}")[2:-1],
)


def is_secret(key: object) -> bool:
    """Whether a key's name says that its value is one."""
    return isinstance(key, str) and bool(_NAMES.search(key)) and not key.lower().endswith(_BESIDE)


class Censor:
    """Made from the mappings a run is given (environment, extra variables); knows their secrets by key."""

    def __init__(self, *sources: Mapping[str, Any]) -> None:
        found = {value for source in sources for value in secret_values(source)}
        self._values = sorted({form for value in found for form in forms(value)}, key=len, reverse=True)
        self._numbers = {number for value in found for number in _numbers(value)}

    def __call__(self, value: Any, *, ours: bool = False) -> Any:
        """The value without secrets: plain JSON data, whatever came in. ``ours``: its keys and numbers are read again, and stay."""
        if isinstance(value, Mapping):
            return {
                str(key) if ours else self._masked(str(key)): MASK if is_secret(key) and item else self(item, ours=ours)
                for key, item in value.items()
            }
        if isinstance(value, (list, tuple, set, frozenset)):
            return [self(item, ours=ours) for item in value]
        if isinstance(value, (bool, type(None))):
            return value
        if isinstance(value, (int, float)):
            return MASK if not ours and value in self._numbers else value
        return self._masked(str(value))

    def _masked(self, text: str) -> str:
        for secret in self._values:
            text = text.replace(secret, MASK)
        return text


def secret_values(source: Any, secret: bool = False) -> Iterable[str]:
    """The values below keys with such names, as text; of one with several lines each line, too: some print them one by one."""
    if isinstance(source, Mapping):
        for key, item in source.items():
            yield from secret_values(item, secret or is_secret(key))
    elif isinstance(source, (list, tuple)):
        for item in source:
            yield from secret_values(item, secret)
    elif secret and isinstance(source, (str, int, float)) and not isinstance(source, bool):
        yield from _told(str(source))


def _told(text: str) -> Iterator[str]:
    """Without what is around it, which is lost where it is printed."""
    bare = text.strip()
    if len(text) >= _SHORTEST:
        yield bare if len(bare) >= _SHORTEST else text
    lines = [line.strip() for line in bare.splitlines()]
    yield from (line for line in lines if len(line) >= _SHORTEST_LINE)


def forms(value: str) -> set[str]:
    """In which a secret may turn up: as it is, and escaped for JSON, Python or a shell, also by one within the other."""
    found = {value}
    for _ in range(_NESTED):
        found |= {escape(form) for form in found for escape in ESCAPES}
    return found


def _numbers(value: str) -> Iterator[float]:
    """The number that a value is."""
    for kind in (int, float):
        try:
            yield kind(value)
        except (ValueError, OverflowError):
            continue
