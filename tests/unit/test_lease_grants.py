# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""What the witness grants, and when it says that a lease has run out; the arithmetic at both ends."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.xdr.failback.plugins.module_utils import lease, lease_grants, lease_wait, registration
from ansible_collections.xdr.failback.plugins.module_utils.durable import read_json
from ansible_collections.xdr.failback.plugins.module_utils.errors import NotReached, Refused, XdrError
from ansible_collections.xdr.failback.plugins.module_utils.lease import Held, Terms
from ansible_collections.xdr.failback.plugins.module_utils.ownership import perform
from ansible_collections.xdr.failback.plugins.module_utils.record import Record
from ansible_collections.xdr.failback.plugins.module_utils.site import load_plan
from hypothesis import example, given
from hypothesis import strategies as st

from tests.support.site_host import ModuleCaller, SiteHost, site_host

TERMS = {"ttl": 60, "loop_wait": 10, "retry_timeout": 10, "stop_timeout": 20}
TO_DR = {"epoch": 3, "to": "dr", "decided": False, "at": 1.0, "how": "handover"}


class Clock:
    """The clock of one machine, and its boots."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.time, self.boot = 1000.0, "first"
        monkeypatch.setattr(lease, "now", lambda: self.time)
        monkeypatch.setattr(lease, "boot_id", lambda: self.boot)

    def reboot(self) -> None:
        self.time, self.boot = 0.0, "second"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture
def witness(tmp_path: Path) -> SiteHost:
    """Of a plan that the primary owns in epoch 2 and whose instances run on hv1 and hv2 there."""
    witness = site_host(tmp_path, site="witness")
    witness.write_plan(lease={**TERMS, "hosts": ["hv1", "hv2"]})
    witness.write_record(epoch=2, owner="primary", standing="none")
    return witness


def renew(witness: SiteHost, host: str = "hv1", *, epoch: int = 2, ttl: int = 60) -> dict[str, str]:
    return lease_grants.answer(witness.state_dir, "webshop", host, "primary", epoch, ttl)


def offer(witness: SiteHost, how: str = "lease_expired") -> Record:
    request = {"request": "offered", "epoch": 3, "to": "dr", "how": how, "by": "ann", "text": "off"}
    return perform(witness.state_dir, "webshop", (2, 1), request, run_id="r").after


MAY_HOLD: list[tuple[str, dict[str, Any], int, str]] = [
    ("the owner", {}, 2, ""),
    ("one that was offered the plan and has accepted", {"owner": "dr", "offer": {**TO_DR, "to": "primary"}}, 3, ""),
    ("one that went on after an offer that was declined", {"declined": 3}, 4, ""),
    ("an offer to the other site is open", {"offer": TO_DR}, 2, "offer_open"),
    ("an offer that was decided, of an epoch that is past", {"epoch": 4, "offer": {**TO_DR, "decided": True}}, 4, ""),
    ("an older epoch", {"epoch": 3, "owner": "dr"}, 2, "not_owner"),
    ("an older epoch of its own", {"epoch": 4}, 2, "not_owner"),
    ("an epoch that the other site owns", {"owner": "dr"}, 2, "not_owner"),
]


@pytest.mark.parametrize(("fields", "epoch", "code"), [row[1:] for row in MAY_HOLD], ids=[row[0] for row in MAY_HOLD])
def test_who_may_hold_a_lease(witness: SiteHost, fields: dict[str, Any], epoch: int, code: str) -> None:
    witness.write_record(**{"epoch": 2, "owner": "primary", "standing": "none", **fields})
    answer = renew(witness, epoch=epoch)
    assert answer["code"] == code
    assert bool(answer["refused"]) == bool(code)
    assert ("hv1" in lease_grants.read_grants(witness.state_dir, "webshop")) == (not code)


def test_a_witness_that_knows_no_epoch_gives_no_answer(witness: SiteHost) -> None:
    (witness.plan_dir / "ownership.json").unlink()
    with pytest.raises(NotReached, match="knows no epoch of the plan"):
        renew(witness)


def test_it_has_run_out_when_those_of_all_hosts_have(witness: SiteHost, clock: Clock) -> None:
    renew(witness, "hv1")
    with pytest.raises(Refused, match="hv2 has never held a lease"):
        offer(witness)
    clock.time += 10
    renew(witness, "hv2")
    clock.time += 55
    with pytest.raises(Refused, match="the lease of hv2 runs for another 5 s") as refused:
        offer(witness)
    assert refused.value.code == "lease_held"
    clock.time += 5
    after = offer(witness)
    assert after.offer == {"epoch": 3, "to": "dr", "decided": False, "at": after.offer["at"], "how": "lease_expired"}
    assert renew(witness)["code"] == "offer_open"
    assert offer(witness) == after


def test_an_attested_offer_asks_for_no_lease(witness: SiteHost, clock: Clock) -> None:
    renew(witness)
    assert offer(witness, "attested").offer_is_open
    assert renew(witness)["code"] == "offer_open"


def test_a_host_that_left_the_plan_counts_as_long_as_its_lease_runs(witness: SiteHost, clock: Clock) -> None:
    for host in ("hv1", "hv2"):
        renew(witness, host)
    clock.time += 30
    renew(witness, "old")
    clock.time += 40
    with pytest.raises(Refused, match="the lease of old runs"):
        offer(witness)


def test_after_a_boot_of_the_witness_a_whole_ttl_passes(witness: SiteHost, clock: Clock) -> None:
    for host in ("hv1", "hv2"):
        renew(witness, host)
    clock.time += 3600
    clock.reboot()
    clock.time += 59
    with pytest.raises(Refused, match="runs for another 1 s"):
        offer(witness)
    clock.time += 1
    assert offer(witness).offer_is_open


def test_a_shorter_lease_does_not_shorten_the_one_before_it(witness: SiteHost, clock: Clock) -> None:
    """The holder may not have heard of it."""
    witness.write_plan(lease={**TERMS, "hosts": ["hv1"]})
    renew(witness, ttl=60)
    clock.time += 10
    renew(witness, ttl=20)
    clock.time += 49
    with pytest.raises(Refused, match="runs for another 1 s"):
        offer(witness)


def test_what_is_given_back_has_not_run_out(witness: SiteHost, clock: Clock) -> None:
    for host in ("hv1", "hv2"):
        renew(witness, host)
    lease_grants.give_back(witness.state_dir, "webshop", "hv1")
    clock.time += 3600
    with pytest.raises(Refused, match="hv1 has never held a lease"):
        offer(witness)


def test_a_plan_without_a_lease_has_none_that_runs_out(witness: SiteHost) -> None:
    witness.write_plan()
    with pytest.raises(Refused, match="the plan has no lease"):
        offer(witness)


def test_a_plan_that_has_no_leases_for_a_time_begins_anew(witness: SiteHost, clock: Clock) -> None:
    for host in ("hv1", "hv2"):
        renew(witness, host)
    clock.time += 3600
    document = read_json(witness.plan_dir / "plan.json")
    lasting = {name: value for name, value in document.items() if name != "lease"}
    registration.present(witness.state_dir, "webshop", document, check=False)
    assert not lease_grants.why_held(["hv1", "hv2"], lease_grants.read_grants(witness.state_dir, "webshop"))
    registration.present(witness.state_dir, "webshop", lasting, check=False)
    registration.present(witness.state_dir, "webshop", document, check=False)
    with pytest.raises(Refused, match="hv1, hv2 has never held a lease"):
        offer(witness)


def test_told_to_people(witness: SiteHost, clock: Clock) -> None:
    renew(witness)
    clock.time += 20
    [row] = lease_grants.told(witness.state_dir, "webshop")
    assert (row["host"], row["site"], row["epoch"], row["ttl"]) == ("hv1", "primary", 2, 60)
    assert row["until"] - time.time() == pytest.approx(40, abs=5)
    clock.time += 3600
    [row] = lease_grants.told(witness.state_dir, "webshop")
    assert row["until"] <= time.time()


seconds = st.integers(1, 100)


@given(loop_wait=seconds, retry_timeout=seconds, stop_timeout=seconds, longer=st.integers(0, 100))
def test_the_arithmetic_of_a_lease(loop_wait: int, retry_timeout: int, stop_timeout: int, longer: int) -> None:
    """Two renewals may be lost before anything is stopped; the slowest has its time; the kill comes before anybody takes over."""
    terms = Terms(lease.shortest_ttl(loop_wait, retry_timeout, stop_timeout) + longer, loop_wait, retry_timeout, stop_timeout)
    assert loop_wait + 2 * retry_timeout <= terms.stop_after
    assert terms.stop_after + stop_timeout <= terms.kill_after
    assert terms.kill_after + lease.KILLING <= terms.ttl


@example(sent=0.0, took=0.0, passed=60.0)
@given(sent=st.floats(0, 50), took=st.floats(0, 50), passed=st.floats(0, 200))
def test_the_witness_counts_longer_than_the_holder(sent: float, took: float, passed: float) -> None:
    """However long a renewal is under way: when the witness holds it for run out, the holder has killed what ran."""
    with pytest.MonkeyPatch.context() as patch:
        clock = Clock(patch)
        clock.time += sent
        held = Held(Terms(**TERMS), "first", 2, counted=clock.time, asked=clock.time, granted=True)
        clock.time += took
        grant = lease_grants.Grant("primary", 2, 60, lease.now() + 60, "first", 0.0)
        clock.time += passed
        if not grant.left:
            assert held.age >= held.terms.kill_after + lease.KILLING
            assert not held.covers(Record(plan="webshop", site="primary", host="hv1", epoch=2))


@pytest.mark.parametrize("text", ["{", '{"hv1": {"ttl": 1}}', '{"hv1": 1}'])
def test_damaged_grants_are_never_taken_for_none(witness: SiteHost, text: str) -> None:
    (witness.plan_dir / "leases.json").write_text(text)
    with pytest.raises(XdrError, match=r"leases\.json"):
        renew(witness)
    with pytest.raises(XdrError, match=r"leases\.json"):
        offer(witness)


def test_a_damaged_lease_is_never_taken_for_none(tmp_path: Path) -> None:
    host = site_host(tmp_path)
    lease.path_of(host.state_dir, "webshop").write_text('{"terms": {}}')
    with pytest.raises(XdrError, match="not a lease"):
        lease.terms_of(host.state_dir, load_plan(host.state_dir, "webshop"))


def test_a_lease_is_written_durably_and_read_back(tmp_path: Path) -> None:
    host = site_host(tmp_path)
    held = Held(Terms(**TERMS), "b", 2, 1.5, 2.5, granted=True, refused="no")
    lease.write_held(host.state_dir, "webshop", held)
    assert lease.read_held(host.state_dir, "webshop") == held
    assert read_json(lease.path_of(host.state_dir, "webshop"))["terms"] == TERMS


# -- waiting for them ------------------------------------------------------------------------------------------


def slept(monkeypatch: pytest.MonkeyPatch, clock: Clock, meanwhile: Callable[[], object] = lambda: None) -> list[float]:
    """Time passes by sleeping alone; the sleeps."""
    found: list[float] = []

    def sleep(seconds: float) -> None:
        found.append(seconds)
        clock.time += seconds
        meanwhile()

    monkeypatch.setattr(lease_wait, "time", SimpleNamespace(sleep=sleep, strftime=time.strftime, gmtime=time.gmtime))
    return found


def waited(witness: SiteHost, within: float = 120.0) -> dict[str, Any]:
    return lease_wait.wait(witness.state_dir, "webshop", ["hv1"], within)


def test_it_is_waited_for_what_runs_out(witness: SiteHost, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    renew(witness)
    sleeps = slept(monkeypatch, clock)
    answer = waited(witness)
    assert (answer["run_out"], sum(sleeps)) == (True, 60.0)
    assert answer["told"].startswith("the ownership leases have run out at the witness, that of hv1 at 20")


def test_it_is_not_waited_for_one_that_is_renewed(witness: SiteHost, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    renew(witness)
    sleeps = slept(monkeypatch, clock, lambda: renew(witness) if clock.time == 1010 else None)
    answer = waited(witness)
    assert (answer["run_out"], sum(sleeps)) == (False, 10.0)
    assert answer["told"] == "hv1 goes on renewing its lease at the witness, so the services run there"


@pytest.mark.parametrize(
    ("within", "host", "told"), [(59.0, "hv1", "the lease of hv1 runs for another 60 s"), (120.0, "hv2", "hv1 has never")]
)
def test_it_is_not_waited_in_vain(
    witness: SiteHost, clock: Clock, monkeypatch: pytest.MonkeyPatch, within: float, host: str, told: str
) -> None:
    renew(witness, host)
    sleeps = slept(monkeypatch, clock)
    answer = waited(witness, within)
    assert (answer["run_out"], sleeps) == (False, [])
    assert told in answer["told"]


def test_the_module_looks_and_changes_nothing(witness: SiteHost, clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    renew(witness)
    arguments = witness.arguments(hosts=["hv1"], within=120)
    looked = ModuleCaller(capsys)("xdr_lease", arguments, check=True)
    assert (looked["changed"], looked["run_out"], looked["leases"][0]["host"]) == (False, False, "hv1")
    clock.time += 60
    assert ModuleCaller(capsys)("xdr_lease", arguments)["run_out"]
    read = ModuleCaller(capsys)("xdr_plan", witness.arguments(state="read"))
    assert [row["host"] for row in read["leases"]] == ["hv1"]
