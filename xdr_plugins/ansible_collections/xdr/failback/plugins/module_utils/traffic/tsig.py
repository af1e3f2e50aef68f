# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The key that signs updates: a file of this host in the form that tsig-keygen writes and named.conf includes."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import XdrError

_KEY = re.compile(r'\bkey\s+"?([A-Za-z0-9._-]+)"?\s*\{([^}]*)\}')
_ALGORITHM = re.compile(r'\balgorithm\s+"?([A-Za-z0-9-]+)"?\s*;')
_SECRET = re.compile(r'\bsecret\s+"?([A-Za-z0-9+/=]+)"?\s*;')


@dataclass(frozen=True)
class Key:
    """``secret`` is base64, and no text of this object shows it."""

    name: str
    algorithm: str
    secret: str = field(repr=False)


def load(path: Path, name: str) -> Key:
    """The key of that name. Raises XdrError for a file that is not there, that others may read, or that does not hold the key."""
    where = str(path)
    try:
        mode = path.stat().st_mode
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise XdrError(
            f"the TSIG key {name} cannot be read ({error.strerror})",
            where=where,
            todo=f"Put it there as 'tsig-keygen {name}' prints it, readable for XDR's account alone",
        ) from None
    if mode & 0o077:
        raise XdrError(
            f"others may read the TSIG key {name} (mode {mode & 0o777:04o})", where=where, todo="Let nobody else read it: chmod 600"
        )
    for found, body in _KEY.findall(re.sub(r"(//|#).*", "", text)):
        algorithm, secret = _ALGORITHM.search(body), _SECRET.search(body)
        if found.lower().rstrip(".") == name.lower().rstrip(".") and algorithm and secret:
            return Key(name, algorithm[1].lower(), secret[1])
    raise XdrError(
        f"the file has no key {name} with an algorithm and a secret",
        where=where,
        todo=f"Make it anew: tsig-keygen {name}, or correct the plan",
    )
