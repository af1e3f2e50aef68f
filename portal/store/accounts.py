# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Users with their roles, and the sessions of their browsers. Passwords by argon2-cffi, tokens only as digests."""

from __future__ import annotations

import functools
import hashlib
import re
import secrets
import time
from collections.abc import Collection
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import argon2
import sqlalchemy as sa
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError
from sqlalchemy.exc import IntegrityError

from .engine import Store
from .tables import sessions, users

IDLE = 8 * 3600.0  # seconds after which a session that nobody used has ended
LONGEST = 24 * 3600.0
SHORTEST_PASSWORD = 12
_HASHER = argon2.PasswordHasher()


class Role(IntEnum):
    """Each may do what those before it may."""

    viewer = 1
    operator = 2
    dr_admin = 3

    @property
    def label(self) -> str:
        return self.name.replace("_", "-")


@dataclass(frozen=True)
class User:
    name: str
    role: Role


@dataclass(frozen=True)
class Session:
    user: User
    csrf: str


def role_of(text: str) -> Role:
    try:
        return Role[text.replace("-", "_")]
    except KeyError:
        known = ", ".join(role.label for role in Role)
        raise XdrError(f"there is no role {text!r}", todo=f"It is one of: {known}", code="usage") from None


def add(store: Store, name: str, role: Role, password: str = "") -> str:
    """Make a user; its password, made up where none is given. Raises XdrError (usage) for a bad or taken name, a short password."""
    if not re.fullmatch(r"[a-z][a-z0-9._-]{0,31}", name):
        raise XdrError(f"{name!r} is no user name", todo="Take up to 32 of a-z, 0-9, '.', '_', '-', a letter first", code="usage")
    password = password or secrets.token_urlsafe(15)
    try:
        with store.writing() as connection:
            connection.execute(users.insert().values(name=name, password=_hashed(password), role=role.label, created_at=time.time()))
    except IntegrityError as error:
        raise XdrError(f"there is a user {name} already", todo="xdr user password sets a new password", code="usage") from error
    return password


def set_password(store: Store, name: str, password: str = "") -> str:
    """A new password, which ends the user's sessions; made up where none is given."""
    password = password or secrets.token_urlsafe(15)
    with store.writing() as connection:
        _one(connection.execute(users.update().where(users.c.name == name).values(password=_hashed(password))).rowcount, name)
        connection.execute(sessions.delete().where(sessions.c.user == name))
    return password


def remove(store: Store, name: str) -> None:
    with store.writing() as connection:
        _one(connection.execute(users.delete().where(users.c.name == name)).rowcount, name)


def _hashed(password: str) -> str:
    if len(password) < SHORTEST_PASSWORD:
        raise XdrError(f"the password has fewer than {SHORTEST_PASSWORD} characters", todo="Take a longer one", code="usage")
    return _HASHER.hash(password)


def _one(count: int, name: str) -> None:
    if not count:
        raise XdrError(f"there is no user {name!r}", todo="xdr user list shows them", code="usage")


@functools.cache
def _nobody() -> str:
    """A name that does not exist takes as long as one that does."""
    return _HASHER.hash("nobody")


def all_users(store: Store) -> list[User]:
    with store.reading() as connection:
        rows = connection.execute(sa.select(users.c.name, users.c.role).order_by(users.c.name)).all()
    return [User(name, role_of(role)) for name, role in rows]


def login(store: Store, name: str, password: str) -> str | None:
    """The token of a new session, for the browser's cookie; None where name and password do not belong together."""
    with store.reading() as connection:
        known = connection.execute(sa.select(users.c.password).where(users.c.name == name)).scalar()
    try:
        _HASHER.verify(known or _nobody(), password)
    except argon2.exceptions.VerificationError:
        return None
    if known is None:
        return None
    token, now = secrets.token_urlsafe(32), time.time()
    with store.writing() as connection:
        connection.execute(sessions.delete().where((sessions.c.seen_at < now - IDLE) | (sessions.c.created_at < now - LONGEST)))
        connection.execute(sessions.insert(), [session_row(name, token, now)])
    return token


def session_row(name: str, token: str, now: float) -> dict[str, Any]:
    """A session as it is stored."""
    return {"token": _digest(token), "user": name, "csrf": secrets.token_urlsafe(32), "created_at": now, "seen_at": now}


def session(store: Store, token: str) -> Session | None:
    """Whose session it is, unless it has ended; being used keeps it alive."""
    wanted = (
        sa.select(sessions.c.csrf, sessions.c.created_at, sessions.c.seen_at, users.c.name, users.c.role)
        .join(users, users.c.name == sessions.c.user)
        .where(sessions.c.token == _digest(token))
    )
    now = time.time()
    with store.reading() as connection:
        row = connection.execute(wanted).first()
    if row is None or row.seen_at < now - IDLE or row.created_at < now - LONGEST:
        return None
    if row.seen_at < now - 60:
        with store.writing() as connection:
            connection.execute(sessions.update().where(sessions.c.token == _digest(token)).values(seen_at=now))
    return Session(User(row.name, role_of(row.role)), row.csrf)


def lasting(store: Store, tokens: Collection[str]) -> set[str]:
    """Those whose session has not ended; being asked for keeps none alive."""
    now = time.time()
    wanted = sa.select(sessions.c.token).where(sessions.c.seen_at >= now - IDLE, sessions.c.created_at >= now - LONGEST)
    with store.reading() as connection:
        found = set(connection.execute(wanted).scalars())
    return {token for token in tokens if _digest(token) in found}


def logout(store: Store, token: str) -> None:
    with store.writing() as connection:
        connection.execute(sessions.delete().where(sessions.c.token == _digest(token)))


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
