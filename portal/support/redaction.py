# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Takes secrets out of what leaves the house: those that are known by the name of their key, and what looks like one."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from ..censor import MASK, Censor, is_secret, secret_values

_WORD = r"[\w.-]*(?:passw(?:or)?d|passphrase|secret|token|credential|(?:api|access|private|vault|become|tsig)[_-]?(?:key|pass))[\w.-]*"
_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----.*?(?:-----END [A-Z0-9 ]*PRIVATE KEY-----|\Z)", re.DOTALL), MASK),
    (re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*://)[^/\s\"'@]+@"), rf"\1{MASK}@"),
    (re.compile(r"\b(Bearer|Basic|Digest)\s+[A-Za-z0-9._~+/=-]{6,}", re.IGNORECASE), rf"\1 {MASK}"),
    (re.compile(r"\b(hmac-[a-z0-9-]+[:\s\"']+(?:[\w.-]+:)?)[A-Za-z0-9+/=]{8,}", re.IGNORECASE), rf"\1{MASK}"),
    (re.compile(r"\$(?:argon2\w*|2[aby]|[1567y])\$[^\s\"',]+"), MASK),
    (re.compile(rf"(\b{_WORD}[\"']?\s*[=:]\s*)(?:\"[^\"]*\"|'[^']*'|[^\s,;}}\]&]+)", re.IGNORECASE), rf"\1{MASK}"),
    (re.compile(rf"(--?{_WORD}\s+)(?!-)\S+", re.IGNORECASE), rf"\1{MASK}"),
    (re.compile(r"(\bsecret\s+)\"[^\"]*\"", re.IGNORECASE), rf"\1{MASK}"),
)
_OPTION = re.compile(rf"--?{_WORD}", re.IGNORECASE)
_LOGIN = ("-u", "--user", "--proxy-user")


class Redaction:
    """Made from what may hold secrets under the names of their keys."""

    def __init__(self, *sources: Mapping[str, Any]) -> None:
        known = {value for source in sources for value in secret_values(source)}
        self._censor = Censor({"secret": sorted({form for value in known for form in _forms(value)})})

    def text(self, text: str) -> str:
        found: str = self._censor(text)
        for pattern, put in _PATTERNS:
            found = pattern.sub(put, found)
        return found

    def data(self, value: Any) -> Any:
        """Plain JSON data without secrets, keys included."""
        if isinstance(value, Mapping):
            return {self.text(str(key)): MASK if is_secret(key) and item else self.data(item) for key, item in value.items()}
        if isinstance(value, (list, tuple, set, frozenset)):
            return self._words(list(value))
        if isinstance(value, str):
            return self.text(value)
        return value if isinstance(value, (int, float, bool, type(None))) else self.text(str(value))

    def _words(self, words: Sequence[Any]) -> list[Any]:
        """A list may be a command: what follows ``--password`` or ``--user name:`` is masked."""
        before = [None, *words[:-1]]
        return [MASK if _follows(earlier, word) else self.data(word) for earlier, word in zip(before, words, strict=True)] if words else []

    def json(self, value: Any) -> str:
        return json.dumps(self.data(value), indent=1, default=str, sort_keys=True) + "\n"

    def lines(self, values: Iterable[Any]) -> str:
        return "".join(json.dumps(self.data(value), default=str) + "\n" for value in values)


def _follows(earlier: Any, word: Any) -> bool:
    if not isinstance(earlier, str) or not isinstance(word, str):
        return False
    return bool(_OPTION.fullmatch(earlier)) or (earlier in _LOGIN and ":" in word)


def _forms(value: str) -> Iterable[str]:
    """In which a secret may turn up besides those that the censor knows: in a URL, and in the header of a request."""
    return (value, quote(value, safe=""), base64.b64encode(value.encode()).decode())
