# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Who may change a plan on a host, and what a change leaves in the record."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.xdr.failback.plugins.module_utils.attempt import held, tracked
from ansible_collections.xdr.failback.plugins.module_utils.durable import locked
from ansible_collections.xdr.failback.plugins.module_utils.errors import Refused, XdrError

from tests.support.site_host import SiteHost, site_host

RUN = {"id": "r1", "action": "failback", "attempt": 2, "plan_hash": "h", "started": 1.0, "ended": None, "outcome": None, "phases": {}}


@pytest.fixture
def host(tmp_path: Path) -> SiteHost:
    host = site_host(tmp_path)
    host.write_record(attempt=(1, 2), run=RUN)
    return host


def phases(host: SiteHost) -> dict[str, dict[str, float | None]]:
    assert host.record.run is not None
    marks: dict[str, dict[str, float | None]] = host.record.run["phases"]
    return marks


def test_held_marks_the_phase_before_and_after(host: SiteHost) -> None:
    with held(host.state_dir, "webshop", (1, 2), run_id="r1", phase="release") as holding:
        assert phases(host)["release"]["intent"]
        assert phases(host)["release"]["done"] is None
        holding.save(replace(holding.record, status="READY"))
        with pytest.raises(XdrError, match="held by process"), locked(host.plan_dir / "lock", timeout=0.05):
            pytest.fail("the lock is held all the time")
    assert host.record.status == "READY"
    assert phases(host)["release"]["done"]


def test_a_failure_leaves_the_mark_open(host: SiteHost) -> None:
    with pytest.raises(RuntimeError), held(host.state_dir, "webshop", (1, 2), run_id="r1", phase="release"):
        raise RuntimeError
    assert phases(host)["release"]["done"] is None


def test_an_older_pair_is_refused_before_anything_is_marked(host: SiteHost) -> None:
    with pytest.raises(Refused) as refused, held(host.state_dir, "webshop", (1, 1), run_id="r0", phase="release"):
        pytest.fail("must not come here")
    assert refused.value.code == "stale_attempt"
    assert "attempt 1 of epoch 1 is older than attempt 2 of epoch 1" in str(refused.value)
    assert phases(host) == {}


def test_a_newer_pair_is_stored_and_goes_on_in_the_run(host: SiteHost) -> None:
    with held(host.state_dir, "webshop", (1, 2), run_id="r1", phase="release"):
        pass
    with held(host.state_dir, "webshop", (1, 3), run_id="r2", phase="offer"):
        pass
    assert host.record.attempt == (1, 3)
    assert host.record.run is not None
    assert (host.record.run["id"], host.record.run["attempt"], host.record.run["action"]) == ("r2", 3, "failback")
    assert host.record.run["plan_hash"] == ""  # the run did not claim this host, so what it is was guessed
    assert set(phases(host)) == {"release", "offer"}


def test_two_runs_never_share_a_number(host: SiteHost) -> None:
    with pytest.raises(Refused) as refused, held(host.state_dir, "webshop", (1, 2), run_id="r9", phase="release"):
        pytest.fail("must not come here")
    assert refused.value.code == "run_active"


def test_without_a_phase_and_a_newer_pair_nothing_is_written(host: SiteHost) -> None:
    before = (host.plan_dir / "ownership.json").stat().st_mtime_ns
    with held(host.state_dir, "webshop", (1, 2)):
        pass
    assert (host.plan_dir / "ownership.json").stat().st_mtime_ns == before


def test_a_plan_that_is_not_registered_is_an_error_and_makes_no_file(tmp_path: Path) -> None:
    with pytest.raises(XdrError, match="plan shop is not registered"), held(tmp_path, "shop", (1, 1)):
        pytest.fail("must not come here")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["../etc", "", "a/b", ".", "-x", "a" * 64])
def test_what_is_no_name_becomes_no_path(tmp_path: Path, name: str) -> None:
    with pytest.raises(XdrError, match="is not a name of a plan"), held(tmp_path, name, (1, 1)):
        pytest.fail("must not come here")


def test_tracked_lets_the_lock_go_and_takes_it_for_changes(host: SiteHost) -> None:
    with tracked(host.state_dir, "webshop", (1, 2), run_id="r1", phase="final_sync") as holding:
        with locked(host.plan_dir / "lock", timeout=0.05):
            host.write_record(attempt=(1, 2), run=host.record.run, status="CHANGED")
        with holding.locked() as inner:
            assert inner.record.status == "CHANGED"
            with pytest.raises(XdrError, match="held by process"), locked(host.plan_dir / "lock", timeout=0.05):
                pytest.fail("the lock is held")
        assert phases(host)["final_sync"]["done"] is None
    assert phases(host)["final_sync"]["done"]


def overtake(host: SiteHost) -> None:
    with held(host.state_dir, "webshop", (1, 3), run_id="r2"):
        pass


@pytest.mark.parametrize("moment", ["change", "end"])
def test_tracked_notices_a_newer_attempt(host: SiteHost, moment: str) -> None:
    long_work = contextlib.ExitStack()
    holding = long_work.enter_context(tracked(host.state_dir, "webshop", (1, 2), run_id="r1", phase="final_sync"))
    overtake(host)
    with pytest.raises(Refused) as refused:
        long_work.enter_context(holding.locked()) if moment == "change" else long_work.close()
    assert refused.value.code == "stale_attempt"
    assert phases(host)["final_sync"]["done"] is None
