# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The URL of a PostgreSQL store: what is refused, what is told of a database that does not answer, and that no password is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError

from portal.store import Store, address
from portal.store.backup import backup, restore
from portal.store.engine import url_of
from portal.worker import queue
from tests.support.postgresql import PASSWORD, Server
from tests.support.processes import free_port

SECRET = "pass@word/%"  # noqa: S105 - a test's


@pytest.fixture
def named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], str]:
    def name(url: str) -> str:
        monkeypatch.setenv(address.VARIABLE, url)
        return url_of(tmp_path)

    return name


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("nonsense", "no URL"),
        ("postgresql://xdr:pass@word@db/xdr", "an @ too many"),
        ("postgresql://xdr:pass@db:word/xdr", "no URL"),
        ("postgresql://db/xdr?password=pass", "behind the question mark"),
        ("postgresql://xdr:pass@db", "names no database"),
        ("postgres://xdr:pass@db/xdr", "only PostgreSQL"),
        ("postgresql+psycopg2://xdr:pass@db/xdr", "only PostgreSQL"),
        ("mysql://xdr:pass@db/xdr", "only PostgreSQL"),
        ("sqlite:////srv/xdr.sqlite", "only PostgreSQL"),
    ],
)
def test_what_is_no_address_is_refused_without_being_shown(named: Callable[[str], str], url: str, said: str) -> None:
    with pytest.raises(XdrError, match=f"XDR_DATABASE_URL: .*{said}") as error:
        named(url)
    assert error.value.code == "database"
    assert error.value.__suppress_context__ or error.value.__context__ is None  # nothing it came from is told
    assert not any(part in error.value.sentence() for part in ("pass@", "word@", ":pass", "=pass", ":word", "@db"))


def test_it_is_reached_by_the_one_driver_and_with_patience_for_seconds(named: Callable[[str], str]) -> None:
    url = sa.make_url(named("postgresql://xdr:s%40crt@db:5433/xdr?connect_timeout=9&sslmode=require"))
    assert (url.drivername, url.username, url.password, url.host, url.port, url.database) == (
        "postgresql+psycopg",
        "xdr",
        "s@crt",
        "db",
        5433,
        "xdr",
    )
    assert url.query == {**address.PATIENCE, "connect_timeout": "9", "sslmode": "require"}
    assert address.shown(str(url.render_as_string(hide_password=False))) == "postgresql+psycopg://xdr:***@db:5433/xdr"


def test_nothing_named_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(address.VARIABLE, raising=False)
    assert url_of(tmp_path) == f"sqlite:///{tmp_path / 'xdr.sqlite'}"


@pytest.mark.parametrize("encoded", ["pass%40word%2F%25"])
def test_the_driver_s_words_are_told_without_the_password(encoded: str) -> None:
    error = sa.exc.OperationalError("SELECT 1", None, OSError(f"cannot reach it with {SECRET} or {encoded}\nand more"))
    assert address.reason(f"postgresql://xdr:{encoded}@db/xdr", error) == "cannot reach it with *** or ***"


def closed(url: sa.URL) -> sa.URL:
    return url.set(port=free_port())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (closed, "does not answer: .*[Cc]onnection refused"),
        (lambda url: url.set(password=SECRET), "does not answer: .*password authentication failed"),
        (lambda url: url.set(database="nothere"), 'does not answer: .*database "nothere" does not exist'),
        (lambda url: url.update_query_dict({"nosuch": "option"}), "invalid connection option"),
    ],
)
def test_a_database_that_does_not_answer(
    postgresql: Server, named: Callable[[str], str], change: Callable[[sa.URL], sa.URL], said: str
) -> None:
    url = named(change(sa.make_url(postgresql.database())).render_as_string(hide_password=False))
    with pytest.raises(XdrError, match=said) as error:
        Store.open(url)
    assert (error.value.code, address.VARIABLE in error.value.todo) == ("database", True)
    for told in (error.value.sentence(), repr(Store(url)), repr(Store(url).engine)):
        assert PASSWORD not in told
        assert SECRET not in told


def test_a_queue_that_does_not_answer(tmp_path: Path, named: Callable[[str], str]) -> None:
    named(f"postgresql://xdr:secret@127.0.0.1:{free_port()}/xdr")
    with pytest.raises(XdrError, match="the queue cannot be opened") as error:
        queue.launch(tmp_path, "here-1", bool)
    assert "secret" not in error.value.sentence()


def test_an_account_that_may_not_make_tables_is_told_so(postgresql: Server, named: Callable[[str], str]) -> None:
    own = postgresql.database()
    engine = sa.create_engine(own, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql("CREATE ROLE guest LOGIN PASSWORD 'let me see'")
        connection.exec_driver_sql("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    engine.dispose()
    guest = sa.make_url(own).set(username="guest", password="let me see").render_as_string(hide_password=False)  # noqa: S106
    with pytest.raises(XdrError, match=r"tables cannot be made: permission denied .* Make the account the owner"):
        Store.open(named(guest))


@pytest.mark.parametrize("command", [backup, restore])
def test_backup_and_restore_are_the_database_s_own(tmp_path: Path, named: Callable[[str], str], command: Callable[..., object]) -> None:
    with pytest.raises(XdrError, match="pg_dump") as refused:
        command(named("postgresql://xdr:secret@db/xdr"), tmp_path / "copy")
    assert refused.value.code == "usage"
    assert "secret" not in refused.value.sentence()
