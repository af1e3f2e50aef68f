# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The URL of a PostgreSQL store. It may hold a password, so nothing that is raised or shown here has any part of it that could be one."""

from __future__ import annotations

from urllib.parse import quote, quote_plus

import sqlalchemy as sa
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError

VARIABLE = "XDR_DATABASE_URL"
DRIVER = "postgresql+psycopg"
LOOKS_LIKE = f"It looks like {DRIVER}://ACCOUNT:PASSWORD@HOST:PORT/DATABASE, with %40 for an @ in the password"
# A server that is cut off is noticed in seconds (libpq would wait for hours); a URL may say otherwise.
PATIENCE = {
    "connect_timeout": "5",
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "2",
    "tcp_user_timeout": "8000",
}


def checked(text: str) -> str:
    """The URL as both our tables and the queue's are reached. Raises XdrError, code database."""
    try:
        url = sa.make_url(text)
    except (sa.exc.ArgumentError, ValueError):  # what it says of a port may be a password
        raise _wrong("this is no URL of a database") from None
    if url.drivername not in ("postgresql", DRIVER):
        raise _wrong("only PostgreSQL can be named here, by its driver psycopg")
    if "@" in (url.host or ""):
        raise _wrong("there is an @ too many in it")
    if {"password", "sslpassword"} & set(url.query):
        raise _wrong("a password does not belong behind the question mark", "Put it before the @, or into the account's ~/.pgpass")
    if not url.database:
        raise _wrong("it names no database")
    patience = {name: value for name, value in PATIENCE.items() if name not in url.query}
    return url.set(drivername=DRIVER).update_query_dict(patience).render_as_string(hide_password=False)


def _wrong(what: str, todo: str = LOOKS_LIKE) -> XdrError:
    return XdrError(what, where=VARIABLE, todo=todo, code="database")


def shown(url: str) -> str:
    """For people: without password and options."""
    return sa.make_url(url).set(query={}).render_as_string(hide_password=True)


def reason(url: str, error: Exception) -> str:
    """The driver's words, the first line of them."""
    cause = error.orig if isinstance(error, sa.exc.DBAPIError) else error
    text = (str(cause).strip() or type(cause).__name__).splitlines()[0]
    if password := sa.make_url(url).password:
        for form in (str, quote, quote_plus):
            text = text.replace(form(str(password)), "***")
    return text
