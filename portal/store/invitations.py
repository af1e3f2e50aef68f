# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Who was asked whether a window may be used, and what they answered; of a link's token only the digest is kept."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Collection
from dataclasses import asdict, dataclass
from typing import Any

import sqlalchemy as sa
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError
from sqlalchemy.exc import IntegrityError

from . import audit
from .engine import Store
from .tables import invitations as table

APPROVE, OBJECT = "approve", "object"
LONGEST = 500  # characters of an answer's text


@dataclass(frozen=True)
class Invitation:
    """Times are Unix seconds; ``answer``: empty, approve or object; ``via``: link, page or command line."""

    plan: str
    key: str
    name: str
    begin: float
    end: float
    zone: str
    asked_at: float
    asked_by: str
    token: str = ""
    answer: str = ""
    answered_at: float | None = None
    answered_by: str = ""
    via: str = ""
    text: str = ""

    def to_json(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if name != "token"}


def ask(store: Store, wanted: list[Invitation], *, origin: str) -> list[Invitation]:
    """Those that are new, or ask for a longer window than before, which takes the answer back. With an audit entry."""
    try:
        return _ask(store, wanted, origin)
    except IntegrityError:  # another worker asked one of them a moment ago, on PostgreSQL, and is seen now
        return ask(store, wanted, origin=origin)


def _ask(store: Store, wanted: list[Invitation], origin: str) -> list[Invitation]:
    asked = []
    with store.writing() as connection:
        for one in wanted:
            same = _same(one)
            before = connection.execute(sa.select(table.c.end).where(*same).with_for_update()).scalar()
            if before is not None and before >= one.end:
                continue
            if before is not None:  # only what was seen: another worker's may be there by now, on PostgreSQL
                connection.execute(table.delete().where(*same))
            connection.execute(table.insert().values(**asdict(one)))
            asked.append(one)
        if asked:
            names, first = ", ".join(one.name for one in asked), asked[0]
            audit.write(connection, first.asked_by, origin, "window ask", f"window {first.key} of plan {first.plan}", names)
    return asked


def again(store: Store, one: Invitation) -> str:
    """A new token for its link; an older link is dead from then on."""
    token = secrets.token_urlsafe(32)
    with store.writing() as connection:
        connection.execute(table.update().where(*_same(one)).values(token=_digest(token)))
    return token


def of(store: Store, plans: Collection[str], since: float) -> list[Invitation]:
    """Those to windows that end later than that."""
    wanted = sa.select(table).where(table.c.plan.in_(plans), table.c.end > since).order_by(table.c.begin, table.c.name)
    with store.reading() as connection:
        return [Invitation(**dict(row)) for row in connection.execute(wanted).mappings()]


def by_token(store: Store, token: str) -> Invitation | None:
    with store.reading() as connection:
        row = connection.execute(sa.select(table).where(table.c.token == _digest(token))).mappings().first()
    return Invitation(**dict(row)) if row else None


def answer(store: Store, one: Invitation, given: str, text: str, *, by: str, via: str, origin: str) -> None:
    """The last answer counts. Raises XdrError: usage, wrong_state (the window has begun, or nobody is asked any more)."""
    subject = f"window {one.key} of plan {one.plan}"
    try:
        text = _checked(one, given, text)
        with store.writing() as connection:
            now = time.time()
            values = {"answer": given, "text": text, "answered_at": now, "answered_by": by, "via": via}
            if not connection.execute(table.update().where(*_same(one), table.c.begin > now).values(**values)).rowcount:
                raise XdrError("the window has begun, or is not asked about any more", where=subject, code="wrong_state")
            audit.write(connection, by, origin, f"window {given}", subject, f"{one.name}: {text}".rstrip(": "))
    except XdrError as error:
        audit.add(store, by, origin, f"window {given}"[:40], subject, error.sentence(), outcome="refused")
        raise


def _checked(one: Invitation, given: str, text: str) -> str:
    text = " ".join(text.split())
    if given not in (APPROVE, OBJECT):
        raise XdrError(f"{given[:20]!r} is no answer", todo=f"It is {APPROVE} or {OBJECT}", code="usage")
    if given == OBJECT and not text:
        raise XdrError("an objection needs a reason", todo="Say why, and what would help", code="usage")
    if len(text) > LONGEST:
        raise XdrError(f"the text has {len(text)} characters, at most {LONGEST} are kept", code="usage")
    return text


def _same(one: Invitation) -> tuple[sa.ColumnElement[bool], ...]:
    return (table.c.plan == one.plan, table.c.key == one.key, table.c.name == one.name)


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
