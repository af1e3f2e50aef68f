# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Keeps secrets out of what is stored and shown: by the name of their key, and by their value wherever it turns up."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

MASK = "********"
_NAMES = re.compile(r"passw(or)?d|passphrase|secret|token|credential|(api|access|private|vault|become|tsig)_?(key|pass)", re.IGNORECASE)
_SHORTEST = 4  # shorter values would blacken ordinary text


def is_secret(key: object) -> bool:
    """Whether a key's name says that its value is one."""
    return isinstance(key, str) and bool(_NAMES.search(key)) and not key.lower().endswith(("_file", "_path"))


class Censor:
    """Made from the mappings a run is given (environment, extra variables); knows their secrets by key."""

    def __init__(self, *sources: Mapping[str, Any]) -> None:
        found = {value for source in sources for value in secret_values(source)}
        self._values = sorted(found, key=len, reverse=True)

    def __call__(self, value: Any) -> Any:
        """The value without secrets: plain JSON data, whatever came in."""
        if isinstance(value, Mapping):
            return {str(key): MASK if is_secret(key) and item else self(item) for key, item in value.items()}
        if isinstance(value, (list, tuple, set, frozenset)):
            return [self(item) for item in value]
        if isinstance(value, str):
            return self._masked(value)
        return value if isinstance(value, (int, float, bool, type(None))) else self._masked(str(value))

    def _masked(self, text: str) -> str:
        for secret in self._values:
            text = text.replace(secret, MASK)
        return text


def secret_values(source: Any, secret: bool = False) -> Iterable[str]:
    """The values below keys with such names."""
    if isinstance(source, Mapping):
        for key, item in source.items():
            yield from secret_values(item, secret or is_secret(key))
    elif isinstance(source, (list, tuple)):
        for item in source:
            yield from secret_values(item, secret)
    elif secret and isinstance(source, str) and len(source) >= _SHORTEST:
        yield source
