# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The module xdr_traffic with real BIND 9 servers: a zone's primary, a secondary that follows, one that does not, and a resolver."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError
from ansible_collections.xdr.failback.plugins.module_utils.traffic import dns_client, dns_record
from ansible_collections.xdr.failback.plugins.module_utils.traffic.interface import Occasion

from tests.support import bind
from tests.support.processes import free_port, wait_until
from tests.support.site_host import ModuleCaller, SiteHost, site_host

PRIMARY, DR = ["192.0.2.10", "192.0.2.11"], ["198.51.100.10"]
WWW = f"www.{bind.ZONE} A"


@dataclass(frozen=True)
class Servers:
    primary: bind.Primary
    secondary: bind.Named
    laggard: bind.Named
    resolver: bind.Named
    late_resolver: bind.Named  # it asks the laggard


@pytest.fixture(scope="module")
def running() -> Iterator[Servers]:
    with contextlib.ExitStack() as stack:
        port = free_port()
        primary = stack.enter_context(bind.primary(port))
        secondary = stack.enter_context(bind.secondary(primary.port, port))
        primary.put("www", 300, "A", *DR)
        laggard = stack.enter_context(bind.secondary(primary.port, free_port()))
        resolvers = [stack.enter_context(bind.resolver(port)) for port in (primary.port, laggard.port)]
        yield Servers(primary, secondary, laggard, *resolvers)


@pytest.fixture
def servers(running: Servers) -> Servers:
    running.primary.put("www", 300, "A", *DR)
    return running


@pytest.fixture
def host(tmp_path: Path) -> SiteHost:
    return site_host(tmp_path, site="witness")


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> ModuleCaller:
    return ModuleCaller(capsys)


def record(at: Servers, **other: Any) -> dict[str, Any]:
    """One server; ``both`` are asked where a test is about that, for the secondary follows within half a second."""
    whole = {"name": "www", "zone": bind.ZONE, "record": "www", "type": "A", "values": {"primary": PRIMARY, "dr": DR}}
    times = {"ttl": 300, "lowered_ttl": 30, "propagation": 10, "servers": [at.primary.server], "resolvers": []}
    return {**whole, **times, "key": "xdr-failback", "key_file": str(at.primary.key_file()), **other}


def both(at: Servers) -> dict[str, Any]:
    wait_until(lambda: at.secondary.serial == at.primary.serial, "the secondary follows")
    return record(at, servers=[at.primary.server, at.secondary.server])


def asked(host: SiteHost, state: str, to: str | None, *records: dict[str, Any], **more: Any) -> dict[str, Any]:
    where = {"to": to} if to else {}
    return host.changing(state=state, phase="switch_traffic", dns=list(records), deadline=5, **where, **more)


def kept(host: SiteHost) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((host.plan_dir / "dns" / "www.json").read_text())
    return document


def test_there_and_back_and_twice(host: SiteHost, call: ModuleCaller, servers: Servers) -> None:
    home = call("xdr_traffic", asked(host, "switched", "primary", both(servers)))
    assert home["changed"]
    assert home["diff"]["before"] == f"www/{WWW}: 198.51.100.10 (TTL 300 s)\n"
    assert home["diff"]["after"] == f"www/{WWW}: 192.0.2.10, 192.0.2.11 (TTL 300 s)\n"
    assert bind.secret("xdr-failback") not in json.dumps(home)
    [result] = home["results"]
    assert (result["before"], result["after"], result["verified"]) == ("dr", "primary", True)
    said = f"{WWW}: 192.0.2.10, 192.0.2.11 (TTL 300 s)"
    assert [(seen["by"], seen["said"]) for seen in result["evidence"]] == [
        (f"authoritative server {servers.primary.server}", said),
        (f"authoritative server {servers.secondary.server}", said),
    ]
    assert servers.primary.ask("www", "A") == servers.secondary.ask("www", "A") == (300, PRIMARY)
    assert (host.record.run or {})["phases"]["switch_traffic"]["done"]

    serial = servers.primary.serial
    again = call("xdr_traffic", asked(host, "switched", "primary", both(servers)))
    assert not again["changed"]
    assert again["results"][0]["verified"]
    assert servers.primary.serial == serial

    assert call("xdr_traffic", asked(host, "switched", "dr", both(servers)))["changed"]
    assert servers.primary.ask("www", "A") == (300, DR)


@pytest.mark.parametrize(
    ("kind", "there", "here"),
    [("AAAA", ["2001:db8::10"], ["2001:DB8:0::20"]), ("CNAME", ["fra.shop.test"], ["Ams.shop.test."])],
)
def test_other_types_and_values_in_another_form(
    host: SiteHost, call: ModuleCaller, servers: Servers, kind: str, there: list[str], here: list[str]
) -> None:
    servers.primary.put("www", 60, kind, here[0].lower())
    item = record(servers, type=kind, values={"primary": there, "dr": here})
    checked = call("xdr_traffic", asked(host, "checked", None, item))
    assert checked["results"][0]["before"] == "dr"
    assert call("xdr_traffic", asked(host, "switched", "primary", item))["results"][0]["after"] == "primary"
    assert servers.primary.ask("www", kind)[1] == [there[0] + ("." if kind == "CNAME" else "")]


def test_a_record_that_is_not_there_yet_is_made(host: SiteHost, call: ModuleCaller, servers: Servers) -> None:
    servers.primary.put("www", 0, "A")
    assert not call("xdr_traffic", asked(host, "checked", None, record(servers)))["results"][0]["remark"]
    answer = call("xdr_traffic", asked(host, "switched", "dr", record(servers)))
    assert (answer["results"][0]["before"], answer["results"][0]["after"]) == ("none", "dr")
    assert servers.primary.ask("www", "A") == (300, DR)


def test_a_cname_in_the_way_is_named(host: SiteHost, call: ModuleCaller, servers: Servers) -> None:
    servers.primary.put("www", 60, "CNAME", "ns1.shop.test.")
    answer = call("xdr_traffic", asked(host, "switched", "dr", record(servers)))
    assert "www.shop.test is a CNAME and has no record of type A" in answer["msg"]


@pytest.mark.parametrize("state", ["switched", "reverted", "lowered", "restored"])
def test_check_mode(host: SiteHost, call: ModuleCaller, servers: Servers, state: str) -> None:
    if state == "restored":
        servers.primary.put("www", 30, "A", *PRIMARY)
    before = servers.primary.ask("www", "A"), servers.primary.serial
    answer = call("xdr_traffic", asked(host, state, None if state == "lowered" else "primary", record(servers)), check=True)
    assert answer["changed"]
    assert answer["diff"]["before"] != answer["diff"]["after"]
    assert (servers.primary.ask("www", "A"), servers.primary.serial) == before
    assert not (host.plan_dir / "dns").exists()


# the TTL, and what is put back


def test_the_ttl_goes_down_before_a_move_and_up_after_it(host: SiteHost, call: ModuleCaller, servers: Servers) -> None:
    item = both(servers)
    before = call("xdr_traffic", asked(host, "checked", None, item))
    assert before["results"][0]["remark"] == f"The TTL of {WWW} is 300 s, so clients may go to the old site for that long."

    assert call("xdr_traffic", asked(host, "lowered", None, item))["changed"]
    assert servers.primary.ask("www", "A") == servers.secondary.ask("www", "A") == (30, DR)
    assert not call("xdr_traffic", asked(host, "lowered", None, item))["changed"]
    prior = kept(host)["prior"]
    assert (prior["ttl"], prior["values"], prior["to"], prior["run"]) == (300, DR, "primary", "r1")
    remark = call("xdr_traffic", asked(host, "checked", None, item))["results"][0]["remark"]
    assert "was lowered, but for another" in remark
    assert "resolvers may hold it with the former one" in remark

    assert call("xdr_traffic", asked(host, "switched", "primary", item))["changed"]
    assert servers.primary.ask("www", "A") == (30, PRIMARY)
    assert not call("xdr_traffic", asked(host, "restored", "dr", item))["changed"]  # it does not say dr
    assert kept(host)["prior"]
    assert call("xdr_traffic", asked(host, "restored", "primary", item))["changed"]
    assert servers.primary.ask("www", "A") == (300, PRIMARY)
    assert kept(host)["prior"] is None
    assert [change["after"] for change in kept(host)["changes"]] == [
        "198.51.100.10 (TTL 30 s)",
        "192.0.2.10, 192.0.2.11 (TTL 30 s)",
        "192.0.2.10, 192.0.2.11 (TTL 300 s)",
    ]
    assert not call("xdr_traffic", asked(host, "restored", "primary", item))["changed"]


def test_a_plan_may_insist_on_the_lowered_ttl(host: SiteHost, call: ModuleCaller, servers: Servers) -> None:
    item = record(servers, require_lowered_ttl=True)
    answer = call("xdr_traffic", asked(host, "checked", None, item))
    assert answer["xdr_code"] == "gate_refused"
    assert "xdr run lower-ttl" in answer["msg"]
    assert call("xdr_traffic", asked(host, "checked", None, item, must_answer=False))["results"][0]["remark"]  # nobody could lower it


@pytest.mark.parametrize("switched", [True, False])
def test_a_rollback_puts_back_what_was_captured(host: SiteHost, call: ModuleCaller, servers: Servers, switched: bool) -> None:
    """Also what the plan does not say: a third address, and another TTL."""
    by_hand = ["198.51.100.10", "198.51.100.99"]
    servers.primary.put("www", 1200, "A", *by_hand)
    item = record(servers)
    call("xdr_traffic", asked(host, "lowered", None, item))
    if switched:
        call("xdr_traffic", asked(host, "switched", "primary", item))
        assert servers.primary.ask("www", "A") == (30, PRIMARY)
    assert call("xdr_traffic", asked(host, "reverted", "dr", item))["changed"]
    assert servers.primary.ask("www", "A") == (1200, by_hand)
    assert kept(host)["prior"] is None


def test_a_rollback_without_a_capture_takes_the_plans_values(host: SiteHost, call: ModuleCaller, servers: Servers) -> None:
    servers.primary.put("www", 60, "A", *PRIMARY)
    assert call("xdr_traffic", asked(host, "reverted", "dr", record(servers)))["changed"]
    assert servers.primary.ask("www", "A") == (60, DR)


def test_a_rollback_takes_no_record_away_that_was_not_there_before(host: SiteHost, call: ModuleCaller, servers: Servers) -> None:
    servers.primary.put("www", 0, "A")
    call("xdr_traffic", asked(host, "switched", "primary", record(servers)))
    assert kept(host)["prior"]["values"] == []
    call("xdr_traffic", asked(host, "reverted", "dr", record(servers)))
    assert servers.primary.ask("www", "A") == (300, DR)


def test_a_rollback_takes_no_capture_of_another_move_and_nothing_of_another_writer(
    host: SiteHost, call: ModuleCaller, servers: Servers
) -> None:
    item = record(servers)
    servers.primary.put("www", 300, "A", *PRIMARY)
    call("xdr_traffic", asked(host, "switched", "dr", item))  # a failover captures what the primary site had
    servers.primary.put("www", 300, "A", *PRIMARY)
    call("xdr_traffic", asked(host, "reverted", "dr", item))
    assert servers.primary.ask("www", "A") == (300, DR)
    assert not call("xdr_traffic", asked(host, "reverted", "dr", item))["changed"]

    servers.primary.put("www", 300, "A", "198.51.100.77")
    call("xdr_traffic", asked(host, "lowered", None, item))
    servers.primary.put("www", 300, "A", "203.0.113.1")
    call("xdr_traffic", asked(host, "reverted", "dr", item))
    assert servers.primary.ask("www", "A") == (300, DR)


# who is asked


def test_a_resolver_is_waited_for_until_its_copy_is_too_old(host: SiteHost, call: ModuleCaller, servers: Servers) -> None:
    servers.primary.put("www", 2, "A", *DR)
    resolver = servers.resolver
    wait_until(lambda: resolver.ask("www", "A", recursive=True)[1] == DR, "the resolver holds the value of the DR site")
    arguments = asked(host, "switched", "primary", record(servers, resolvers=[resolver.server]))
    answer = call("xdr_traffic", {**arguments, "deadline": 0.1})  # it is waited for as long as it may hold the old value
    assert resolver.ask("www", "A", recursive=True)[1] == PRIMARY
    seen = answer["results"][0]["evidence"][-1]
    assert seen["by"] == f"resolver {resolver.server}"
    assert seen["said"].startswith(f"{WWW}: 192.0.2.10, 192.0.2.11")


def test_a_secondary_that_lags_is_named_with_what_it_says(host: SiteHost, call: ModuleCaller, servers: Servers) -> None:
    behind = servers.laggard.server
    item = record(servers, servers=[servers.primary.server, behind], propagation=0.5)
    answer = call("xdr_traffic", asked(host, "switched", "primary", item))
    assert answer["failed"]
    assert f"not every authoritative server says {WWW}: 192.0.2.10, 192.0.2.11 (TTL 300 s) after 0.5 s: {behind} says" in answer["msg"]
    assert answer["results"][0]["after"] == "primary"
    assert not answer["results"][0]["verified"]
    assert (host.record.run or {})["phases"]["switch_traffic"]["done"] is None


def test_a_secondary_that_lags_with_the_ttl_is_named(host: SiteHost, call: ModuleCaller, servers: Servers) -> None:
    behind = servers.laggard.server
    item = record(servers, servers=[servers.primary.server, behind], propagation=0.5)
    assert f"{behind} says 198.51.100.10 (TTL 300 s)" in call("xdr_traffic", asked(host, "lowered", None, item))["msg"]


def test_a_resolver_is_no_authoritative_server(host: SiteHost, call: ModuleCaller, servers: Servers) -> None:
    servers.resolver.ask("www", "A", recursive=True)
    answer = call("xdr_traffic", asked(host, "checked", None, record(servers, servers=[servers.resolver.server])))
    assert f"{servers.resolver.server} has no authority for shop.test" in answer["msg"]


def test_a_resolver_that_goes_on_with_the_old_value_is_named(
    host: SiteHost, call: ModuleCaller, servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    servers.primary.put("www", 1, "A", *DR)
    monkeypatch.setattr(dns_record, "MARGIN", 0.2)
    late = servers.late_resolver.server
    arguments = asked(host, "switched", "primary", record(servers, resolvers=[late]))
    answer = call("xdr_traffic", {**arguments, "deadline": 0.5})
    assert f"not every resolver says {WWW}: 192.0.2.10, 192.0.2.11" in answer["msg"]
    assert f"{late} says 198.51.100.10" in answer["msg"]


def test_a_server_out_of_reach_stops_a_planned_move_alone(
    host: SiteHost, call: ModuleCaller, servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dns_client, "ASKED_FOR", (0.1, 0.2))
    dead = f"127.0.0.1:{free_port()}"
    item = record(servers, servers=[servers.primary.server, dead], resolvers=[dead], propagation=0.5)
    refused = call("xdr_traffic", asked(host, "checked", None, item))
    assert refused["xdr_code"] == "not_reached"
    assert f"the DNS server {dead} does not answer" in refused["msg"]
    told = call("xdr_traffic", asked(host, "checked", None, item, must_answer=False))
    assert f"The DNS server {dead} does not answer" in told["results"][0]["remark"]
    answer = call("xdr_traffic", asked(host, "switched", "primary", item, must_answer=False))
    assert answer["changed"]
    assert [seen["said"] for seen in answer["results"][0]["evidence"][1:]] == ["no answer", "no answer"]
    assert not answer["results"][0]["verified"]
    first = record(servers, servers=[dead])
    assert call("xdr_traffic", asked(host, "switched", "dr", first, must_answer=False))["xdr_code"] == "not_reached"


# who may write


def test_the_write_access_is_tried_and_nothing_is_changed(host: SiteHost, call: ModuleCaller, servers: Servers) -> None:
    before = servers.primary.ask("www", "A"), servers.primary.serial
    answer = call("xdr_traffic", asked(host, "checked", None, record(servers, resolvers=[servers.resolver.server])))
    assert not answer["changed"]
    assert (servers.primary.ask("www", "A"), servers.primary.serial) == before
    assert host.record.run is None


def other_key(servers: Servers, folder: Path, name: str, secret: str, mode: int = 0o600) -> dict[str, Any]:
    path = folder / f"{name}.key"
    path.write_text(bind.key_text(name, secret))
    path.chmod(mode)
    return record(servers, key=name, key_file=str(path))


@pytest.mark.parametrize("state", ["checked", "switched"])
@pytest.mark.parametrize(
    ("name", "secret", "mode", "words"),
    [
        ("xdr-failback", bind.secret("wrong"), 0o600, "has another secret for the key xdr-failback (BADSIG)"),
        ("unknown-key", bind.secret("unknown"), 0o600, "does not know the key unknown-key (BADKEY)"),
        ("xdr-failback", bind.secret("xdr-failback"), 0o640, "others may read the TSIG key xdr-failback (mode 0640). Let nobody else"),
    ],
    ids=["secret", "name", "mode"],
)
def test_a_wrong_key_is_told_in_words_and_changes_nothing(
    host: SiteHost, call: ModuleCaller, servers: Servers, tmp_path: Path, state: str, name: str, secret: str, mode: int, words: str
) -> None:
    item = other_key(servers, tmp_path, name, secret, mode)
    answer = call("xdr_traffic", asked(host, state, "primary", item))
    assert words in answer["msg"]
    assert servers.primary.ask("www", "A") == (300, DR)
    assert secret not in json.dumps(answer)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("=", ""), "the secret of the key xdr-failback is no base64"),
        (("hmac-sha256", "hmac-sha9"), "this host does not know the algorithm hmac-sha9 of the key xdr-failback"),
        (("secret", "password"), "the file has no key xdr-failback with an algorithm and a secret"),
    ],
    ids=["secret", "algorithm", "words"],
)
def test_a_key_file_that_is_broken_is_told_without_its_secret(
    host: SiteHost, call: ModuleCaller, servers: Servers, tmp_path: Path, change: tuple[str, str], words: str
) -> None:
    item = other_key(servers, tmp_path, "xdr-failback", bind.secret("xdr-failback"))
    path = Path(item["key_file"])
    path.write_text(path.read_text().replace(*change))
    answer = call("xdr_traffic", asked(host, "checked", None, item))
    assert words in answer["msg"]
    assert bind.secret("xdr-failback")[:20] not in json.dumps(answer)


def test_a_key_file_that_is_missing_or_holds_another_key(host: SiteHost, call: ModuleCaller, servers: Servers, tmp_path: Path) -> None:
    answer = call("xdr_traffic", asked(host, "checked", None, record(servers, key_file=str(tmp_path / "none.key"))))
    assert "none.key: the TSIG key xdr-failback cannot be read (No such file or directory)" in answer["msg"]
    answer = call("xdr_traffic", asked(host, "checked", None, record(servers, key="other")))
    assert "the file has no key other with an algorithm and a secret" in answer["msg"]


@pytest.mark.parametrize("state", ["checked", "switched"])
@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"record": "ns1"}, "refuses updates of ns1.shop.test with the key xdr-failback"),
        ({"zone": "other.test"}, "answers REFUSED for www.other.test A"),
    ],
)
def test_what_the_server_refuses(
    host: SiteHost, call: ModuleCaller, servers: Servers, state: str, other: dict[str, Any], words: str
) -> None:
    serial = servers.primary.serial
    answer = call("xdr_traffic", asked(host, state, "primary", record(servers, **other)))
    assert words in answer["msg"]
    assert servers.primary.serial == serial


def test_a_secondary_as_the_first_server_takes_no_updates(host: SiteHost, call: ModuleCaller, servers: Servers) -> None:
    item = record(servers, servers=[servers.secondary.server])
    answer = call("xdr_traffic", asked(host, "checked", None, item))
    assert answer["failed"]
    assert servers.secondary.server in answer["msg"]


def test_a_clock_that_is_wrong_is_told(host: SiteHost, call: ModuleCaller, servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() - 3600)
    answer = call("xdr_traffic", asked(host, "checked", None, record(servers)))
    assert "are more than 300 s apart (BADTIME); this one says" in answer["msg"]


def test_a_stale_attempt_changes_nothing(host: SiteHost, call: ModuleCaller, servers: Servers) -> None:
    host.write_record(attempt=(1, 9))
    assert call("xdr_traffic", asked(host, "switched", "primary", record(servers)))["xdr_code"] == "stale_attempt"
    assert servers.primary.ask("www", "A") == (300, DR)


def test_nothing_is_sent_that_the_gate_does_not_let_through(servers: Servers, tmp_path: Path) -> None:
    """An attempt that froze after it had read, and was overtaken."""
    ours = dns_record.DNSRecord(record(servers), Occasion("switched", tmp_path))

    @contextlib.contextmanager
    def shut() -> Iterator[None]:
        raise XdrError("a newer attempt", code="stale_attempt")
        yield

    with pytest.raises(XdrError, match="a newer attempt"):
        ours.switch(ours.plan("primary"), "primary", 1, shut)
    assert servers.primary.ask("www", "A") == (300, DR)
    assert not (tmp_path / "dns").exists()


@pytest.mark.parametrize("meanwhile", [["203.0.113.9"], []])
def test_two_writers_do_not_overwrite_each_other(servers: Servers, tmp_path: Path, meanwhile: list[str]) -> None:
    ours = dns_record.DNSRecord(record(servers), Occasion("switched", tmp_path))
    switches = ours.plan("primary")
    servers.primary.put("www", 300, "A", *meanwhile)
    with pytest.raises(XdrError, match="not any more what it was a moment ago") as refused:
        ours.switch(switches, "primary", 1)
    assert refused.value.code == "changed_since"
    assert servers.primary.ask("www", "A")[1] == meanwhile


def test_a_host_without_dnspython_is_told_what_to_install(
    host: SiteHost, call: ModuleCaller, servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dns_client, "MISSING", ImportError())
    assert "apt install python3-dnspython" in call("xdr_traffic", asked(host, "checked", None, record(servers)))["msg"]
