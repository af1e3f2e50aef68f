# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Wrong YAML: each case says which line and field it must be blamed on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError
from ansible_collections.xdr.failback.plugins.plugin_utils import order
from ansible_collections.xdr.failback.plugins.plugin_utils.environment import Inventory, load_environment
from ansible_collections.xdr.failback.plugins.plugin_utils.plan import schema_text
from ansible_collections.xdr.failback.plugins.plugin_utils.source import SourceError

from portal.plans import load

ROOT = Path(__file__).resolve().parents[2]
LAB = ROOT / "inventories" / "lab"
CONFIG = """\
plugin: xdr.failback.plans
sites:
  frankfurt: {group: frankfurt, record_host: fra1}
  amsterdam: {group: amsterdam, record_host: ams1}
witness: wit1
"""
PLAN = """\
plan: shop
sites: {primary: frankfurt, dr: amsterdam}
targets: {rpo: 5m, rto: 15m}
groups:
  - name: database
    priority: 1
    resources:
      - name: orders-db
        hosts: {primary: fra1, dr: ams1}
        instance: {driver: supervisor, program: orders-db}
        volumes:
          - {name: orders, path: orders.img}
        health: [{tcp: 5432}]
  - name: front
    priority: 2
    resources:
      - name: web
        hosts: {primary: fra1, dr: ams1}
        instance: {driver: supervisor, program: web}
"""
INVENTORY = Inventory({"frankfurt": ["fra1"], "amsterdam": ["ams1"], "edge": ["wit1"]}, {"fra1": ["/srv/volumes"]})


def write(folder: Path, *plans: str) -> Path:
    (folder / "plans").mkdir(parents=True, exist_ok=True)
    (folder / "plans.yml").write_text(CONFIG, encoding="utf-8")
    for number, text in enumerate(plans):
        (folder / "plans" / f"p{number}.yml").write_text(text, encoding="utf-8")
    return folder / "plans.yml"


def wrong(config: Path) -> list[tuple[str, int, str, str]]:
    with pytest.raises(SourceError) as refusal:
        load_environment(config, INVENTORY)
    return [(Path(p.file).name, p.line, p.field, p.text) for p in refusal.value.problems]


WEB_HOSTS = "hosts: {primary: fra1, dr: ams1}\n        instance: {driver: supervisor, program: web}"
UNKNOWN_HOST = "'fra9' is no host of site frankfurt, which has: fra1"
OUTSIDE = "outside the volume roots of the host (/srv/volumes)"
BOMB = b"a: &a [x, x, x, x, x, x, x, x, x, x]\n" + b"".join(
    b"%c: &%c [%s]\n" % (letter, letter, b", ".join([b"*%c" % (letter - 1)] * 10)) for letter in range(98, 107)
)

SAME_VOLUME = ("program: web}", "program: web}\n        volumes: [{name: w, path: /srv/volumes/orders.img}]")
BALANCER = "plan: shop\ntraffic: {load_balancers: [{name: f, driver: haproxy, host: wit1, backend: b, servers: {primary: [a], dr: [a]}}]}"

VOLUME = "{name: orders, path: orders.img}"


def tracked(tracker: str) -> tuple[str, str]:
    return VOLUME, VOLUME.replace("}", f", tracker: {tracker}}}")


def replicated(fields: str) -> tuple[str, str]:
    return "plan: shop", f"plan: shop\nreplication: {{{fields}}}"


def limited(hours: str, zone: str = "UTC") -> tuple[str, str]:
    return replicated(f"bandwidth_limit: {{hours: [{{{hours}}}], zone: {zone}}}")


def instance(fields: str) -> tuple[str, str]:
    return "driver: supervisor, program: web", fields


def leased(fields: str) -> tuple[str, str]:
    return "plan: shop", f"plan: shop\nownership: {{lease: {{{fields}}}}}"


def maintained(*fields: str) -> tuple[str, str]:
    return "plan: shop", "\n".join(["plan: shop", "maintenance:", *(f"  {each}" for each in fields)])


def window(**changes: str) -> str:
    fields = {
        "name": "sunday",
        "rrule": "FREQ=WEEKLY;BYDAY=SU",
        "start": "2026-03-01T02:00",
        "duration": "3h",
        "time_zone": "Europe/Berlin",
    }
    return "- {" + ", ".join(f"{name}: '{value}'" for name, value in (fields | changes).items()) + "}"


def windowed(**changes: str) -> tuple[str, str]:
    return maintained("windows:", window(**changes))


OWNERS = "owners: [{name: Anna}, {name: Anna}]"


def hooked(fields: str, moment: str = "pre_failback") -> tuple[str, str]:
    return "plan: shop", f"plan: shop\nhooks: {{{moment}: [{{{fields}}}]}}"


def hooked_group(fields: str, moment: str = "pre_failback") -> tuple[str, str]:
    return "    priority: 2", f"    priority: 2\n    hooks: {{{moment}: [{{{fields}}}]}}"


TWO_KINDS = "expected exactly one of script, playbook, pause; found script and pause"

RECORD = "name: www, zone: shop.example, record: www, values: {primary: [192.0.2.1], dr: [192.0.2.2]}"
SERVED = "servers: [192.0.2.53], resolvers: ['192.0.2.54:5353'], key: xdr"


def dns(fields: str = RECORD, served: str = SERVED) -> tuple[str, str]:
    return "plan: shop", f"plan: shop\ntraffic: {{dns: [{{{fields}, {served}}}]}}"


def recorded(old: str, new: str) -> tuple[str, str]:
    return dns(RECORD.replace(old, new))


LEASED_SERVICE = PLAN, PLAN.replace(*leased("ttl: 2m")).replace(*instance("driver: systemd, unit: web.service"))
TOO_SHORT = (
    "at least 92s: loop_wait (10s) + 2 x retry_timeout (10s) + the longest stop_timeout (60s, of orders-db) + 2s to kill what is left"
)

CASES = {
    "unknown site": (("dr: amsterdam", "dr: paris"), 2, "sites.dr", "unknown site 'paris'; the environment has: frankfurt, amsterdam"),
    "one site twice": (("dr: amsterdam", "dr: frankfurt"), 2, "sites.dr", "another site"),
    "unknown driver": (instance("driver: sysd, unit: web"), 19, "instance.driver", "expected 'supervisor' or 'systemd'; found 'sysd'"),
    "no driver": (instance("unit: web.service"), 19, "instance.driver", "is missing; expected: supervisor or systemd"),
    "another driver's field": (instance("driver: supervisor, program: web, unit: w.service"), 19, "instance.unit", "here: driver, program"),
    "systemd without a unit": (instance("driver: systemd"), 19, "instance.unit", "is missing; expected: The service's own name"),
    "a unit that is no service": (instance("driver: systemd, unit: web.socket"), 19, "instance.unit", "ends in .service"),
    "a unit's path": (instance("driver: systemd, unit: /etc/web.service"), 19, "instance.unit", "not its path"),
    "a template": (instance("driver: systemd, unit: web@.service"), 19, "instance.unit", "such as web@1.service"),
    "a unit's name with a space": (instance("driver: systemd, unit: w b.service"), 19, "instance.unit", "at most 255 letters"),
    "unknown volume driver": (("path: orders.img}", "path: orders.img, driver: rbd}"), 12, "volumes[orders].driver", "delta"),
    "unknown host": ((WEB_HOSTS, WEB_HOSTS.replace("fra1", "fra9")), 18, "hosts.primary", UNKNOWN_HOST),
    "no host": ((WEB_HOSTS, WEB_HOSTS.replace(", dr: ams1", "")), 18, "hosts.dr", "is missing"),
    "resource in two groups": (("name: web", "name: orders-db"), 17, "name", "resource 'orders-db' is in this plan already (line 8)"),
    "priority twice": (("priority: 2", "priority: 1"), 15, "groups[front].priority", "priority 1 is that of group database already"),
    "volume path twice": (("program: web}", "program: web}\n        volumes: [{name: w, path: orders.img}]"), 20, "[w].path", "belongs to"),
    "path outside the roots": (("path: orders.img", "path: /etc/orders.img"), 12, "volumes[orders].path", OUTSIDE),
    "path of a root": (("path: orders.img", "path: /srv/volumes"), 12, "volumes[orders].path", OUTSIDE),
    "one volume written in two ways": (SAME_VOLUME, 20, "[w].path", "belongs to"),
    "group without a priority": (("    priority: 2\n", ""), 14, "groups[front].priority", "is missing; expected: 1 starts first"),
    "a list for a mapping": (("health: [{tcp: 5432}]", "health: {tcp: 5432}"), 13, "health", "expected a list (- item); found a mapping"),
    "server at both sites": (("plan: shop", BALANCER), 2, "servers.dr[0]", "server 'a' is one of the primary site already"),
    "path that climbs": (("path: orders.img", "path: ../orders.img"), 12, "volumes[orders].path", "without '..'"),
    "wrong unit": (("rpo: 5m", "rpo: 5x"), 3, "targets.rpo", "such as 30s, 5m, 2h"),
    "field misspelt": (("priority: 2", "priorty: 2"), 15, "groups[front].priorty", "unknown field; did you mean 'priority'?"),
    "two checks in one": (("{tcp: 5432}", "{tcp: 5432, command: x}"), 13, "health[0]", "exactly one of tcp, http and command"),
    "a tab": (("    priority: 2", "\tpriority: 2"), 15, "", "a tab; YAML is indented with spaces"),
    "field twice": (("    priority: 2", "    priority: 2\n    priority: 3"), 16, "", "'priority' is here a second time"),
    "a merge key": (("targets:", "<<: {a: 1}\ntargets:"), 3, "", "merge keys"),
    "unknown tracker": (tracked("lvm"), 12, "volumes[orders].tracker", "expected 'auto', 'scan' or 'reflink'; found 'lvm'"),
    "tracker without its image": (tracked("{qemu_bitmap: {}}"), 12, "qemu_bitmap.image", "is missing; expected: The qcow2 image"),
    "tracker's field misspelt": (tracked("{qemu_bitmap: {image: a, sock: b}}"), 12, "qemu_bitmap.sock", "did you mean 'socket'?"),
    "image is the volume": (tracked("{qemu_bitmap: {image: orders.img}}"), 12, "volumes[orders]", "is the volume itself"),
    "image is the volume, in another way": (tracked("{qemu_bitmap: {image: /srv/volumes/orders.img}}"), 12, "image", "belongs to"),
    "image outside the roots": (tracked("{qemu_bitmap: {image: /etc/orders.qcow2}}"), 12, "qemu_bitmap.image", OUTSIDE),
    "too many recovery points": (replicated("recovery_points: 101"), 2, "replication.recovery_points", "less than or equal to 100"),
    "no round": (replicated("rounds: 0"), 2, "replication.rounds", "greater than or equal to 1"),
    "a rate without a unit": (replicated("bandwidth_limit: 50"), 2, "replication.bandwidth_limit", "such as 400MiB/s"),
    "hours without a limit": (limited('from: "08:00", to: "18:00"'), 2, "hours[0].limit", "is missing; expected: The most"),
    "hours without a beginning": (limited('to: "18:00", limit: none'), 2, "hours[0].from", "is missing; expected: The time of the day"),
    "no time of the day": (limited('from: "8", to: "18:00", limit: none'), 2, "hours[0].from", "such as 08:00"),
    "no time at all": (limited('from: "08:00", to: "08:00", limit: none'), 2, "hours[0]", "two different times"),
    "a field of hours misspelt": (limited('from: "08:00", to: "18:00", limits: none'), 2, "hours[0].limits", "did you mean 'limit'?"),
    "unknown time zone": (limited('from: "08:00", to: "18:00", limit: none', "Berlin"), 2, "bandwidth_limit.zone", "found 'Berlin'"),
    "a rule that is none": (windowed(rrule="weekly"), 4, "windows[sunday].rrule", "a rule of RFC 5545 with FREQ one of"),
    "a start with an offset": (windowed(start="2026-03-01T02:00Z"), 4, "windows[sunday].start", "without an offset"),
    "a zone that nobody knows": (windowed(time_zone="Berlin"), 4, "windows[sunday].time_zone", "such as Europe/Berlin"),
    "a window too short for a failback": (windowed(duration="10m"), 4, "duration", "1200s at least: failback.deadline"),
    "a window that is never over": (windowed(duration="7d"), 4, "duration", "begins again after 167h"),
    "a day that there is not": (windowed(rrule="FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30"), 4, "duration", "names no day"),
    "two windows of a name": (maintained("windows:", window(), window()), 5, "windows[sunday].name", "is in this plan already (line 4)"),
    "two people of a name": (maintained(OWNERS), 3, "owners[Anna].name", "person 'Anna' is in this plan already (line 3)"),
    "nobody who could approve": (maintained("owners_must: approve"), 3, "maintenance.owners_must", "expected owners, who could approve"),
    "an URL for a channel": (maintained("notify: ['json://x']"), 3, "maintenance.notify[0]", "a name of letters, digits"),
    "a start by whim": (("plan: shop", "plan: shop\nfailback: {start: soon}"), 2, "failback.start", "expected 'button' or 'window'"),
    "a lease that is too short": (leased("ttl: 91s"), 2, "ownership.lease.ttl", f"{TOO_SHORT}; found 91s"),
    "a lease too short for its retries": (leased("ttl: 2m, retry_timeout: 25s"), 2, "ownership.lease.ttl", "expected at least 122s"),
    "a lease that is too long": (leased("ttl: 16m"), 2, "ownership.lease.ttl", "expected 1s to 15m; found '16m'"),
    "a lease without its time": (leased("loop_wait: 5s"), 2, "ownership.lease.ttl", "is missing; expected: Without a renewal for so long"),
    "a lease of services": (LEASED_SERVICE, 20, "instance.driver", "with ownership.lease (line 2), whose keepers cannot stop services"),
    "a field of a lease misspelt": (leased("ttl: 2m, loop: 5s"), 2, "ownership.lease.loop", "did you mean 'loop_wait'?"),
    "a hook that is a list": (("plan: shop", "plan: shop\nhooks: {pre_failback: [[a, b]]}"), 2, "pre_failback[0]", "expected a mapping"),
    "a hook of two kinds": (hooked("name: a, script: a.sh, pause: b"), 2, "pre_failback[a]", TWO_KINDS),
    "a hook of no kind": (hooked("name: a"), 2, "pre_failback[a]", "found none"),
    "a hook without a name": (hooked("script: a.sh"), 2, "pre_failback[0].name", "is missing"),
    "a field of another kind": (hooked("name: a, pause: b, timeout: 5s"), 2, "pre_failback[a]", "timeout is not for a pause; accepted"),
    "a field of a hook misspelt": (hooked("name: a, script: a.sh, timout: 5s"), 2, "timout", "did you mean 'timeout'?"),
    "an unknown moment": (hooked("name: a, script: a.sh", "before"), 2, "hooks.before", "unknown field"),
    "a script that climbs": (hooked("name: a, script: ../a.sh"), 2, "script", "without '..'"),
    "a playbook with a path": (hooked("name: a, playbook: x/a.yml"), 2, "playbook", "the name of a file in hooks/"),
    "a playbook that is not there": (hooked("name: a, playbook: a.yml"), 2, "playbook", "there is no such file"),
    "a hook on a host of the other site": (hooked("name: a, script: a.sh, host: fra1"), 2, "host", "no host of the plan at its dr site"),
    "a group's hook at the other site": (hooked_group("name: a, script: a.sh, site: primary"), 16, "site", "expected 'dr', where"),
    "a hook's name twice": (hooked_group("name: a, pause: b}, {name: a, pause: c"), 16, "name", "hook 'a' is in this plan already"),
    "a record outside its zone": (recorded("record: www", "record: www.other."), 2, "traffic.dns[www]", "www.other. is outside the zone"),
    "a zone that is none": (recorded("shop.example", "shop..example"), 2, "dns[www].zone", "a domain name such as shop.example"),
    "an address of the other family": (recorded("192.0.2.1]", "2001:db8::1]"), 2, "dns[www]", "values.primary: expected an IPv4 address"),
    "a name for an address": (recorded("192.0.2.2]", "fra.example]"), 2, "dns[www]", "values.dr: expected an IPv4 address in a record"),
    "a type that is none": (recorded("record: www", "record: www, type: TXT"), 2, "dns[www].type", "'A', 'AAAA' or 'CNAME'"),
    "a CNAME with two values": (
        recorded("values: {primary: [192.0.2.1], dr: [192.0.2.2]}", "type: CNAME, values: {primary: [a.b, c.d], dr: [e.f]}"),
        *(2, "dns[www]", "a CNAME has one value"),
    ),
    "a CNAME of the zone itself": (
        recorded("www, values: {primary: [192.0.2.1], dr: [192.0.2.2]}", "'@', type: CNAME, values: {primary: [a.b], dr: [e.f]}"),
        *(2, "dns[www]", "cannot be a CNAME"),
    ),
    "a record with the same values": (recorded("192.0.2.2", "192.0.2.1"), 2, "dns[www]", "the values of both sites are the same"),
    "a lowered TTL above the other": (recorded("record: www", "record: www, ttl: 10"), 2, "dns[www]", "lowered_ttl (30s) is more than ttl"),
    "a TTL that is none": (recorded("record: www", "record: www, ttl: long"), 2, "dns[www].ttl", "such as 30s, 5m"),
    "a TTL of nothing": (recorded("record: www", "record: www, lowered_ttl: 0"), 2, "dns[www].lowered_ttl", "expected 1s to 7d"),
    "no DNS server": (dns(served="servers: [], resolvers: [192.0.2.54], key: xdr"), 2, "dns[www].servers", "at least 1 item"),
    "no resolver": (dns(served="servers: [192.0.2.53], key: xdr"), 2, "dns[www].resolvers", "is missing; expected: The addresses of"),
    "a server's name": (dns(served=SERVED.replace("192.0.2.53", "ns1.shop.example")), 2, "servers[0]", "address such as 192.0.2.1"),
    "a server's port that is none": (dns(served=SERVED.replace("5353", "99999")), 2, "resolvers[0]", "address such as 192.0.2.1"),
    "a key that is a path": (dns(served=SERVED.replace("key: xdr", "key: ../xdr")), 2, "dns[www].key", "the key's name as tsig-keygen"),
    "no key": (dns(served=SERVED.replace(", key: xdr", "")), 2, "dns[www].key", "is missing; expected: The name of the TSIG key"),
    "a record of no host": (recorded("record: www", "record: www, host: ns9"), 2, "dns[www].host", "the inventory has no host 'ns9'"),
    "a record and a balancer of one name": (
        ("plan: shop", BALANCER.replace("dr: [a]", "dr: [b]").replace("name: f", "name: www")[:-1] + f", dns: [{{{RECORD}, {SERVED}}}]}}"),
        *(2, "name", "load balancer or DNS record 'www' is in this plan already"),
    ),
    "a tag": (("priority: 2", "priority: !!python/object:os.system 2"), 15, "", "tags are not accepted"),
}  # fmt: skip


@pytest.mark.parametrize(("edit", "line", "field", "says"), CASES.values(), ids=CASES)
def test_wrong_plan_is_blamed_on_its_line_and_field(tmp_path: Path, edit: tuple[str, str], line: int, field: str, says: str) -> None:
    assert edit[0] in PLAN
    found = wrong(write(tmp_path, PLAN.replace(*edit)))
    assert any(at == line and where.endswith(field) and says in text for _, at, where, text in found), found


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"- a\n- b\n", "expected a mapping"),
        (b"plan: caf\xe9\n", "is not UTF-8"),
        (b"plan: [" * 40, "nested deeper"),
        (b"x: " + b"a" * 600_000, "larger than 512 KiB"),
        (BOMB, "once its aliases"),
    ],
    ids=["empty", "a list", "not UTF-8", "too deep", "too large", "YAML bomb"],
)  # fmt: skip
def test_file_that_is_no_plan(tmp_path: Path, content: bytes, says: str) -> None:
    config = write(tmp_path, PLAN)
    (tmp_path / "plans" / "p0.yml").write_bytes(content)
    assert any(says in text for _, _, _, text in wrong(config))


def test_volume_instance_and_name_belong_to_one_plan(tmp_path: Path) -> None:
    found = wrong(write(tmp_path, PLAN, PLAN.replace("plan: shop", "plan: other")))
    assert {field.rpartition(".")[2] for file, _, field, _ in found if file == "p1.yml"} == {"path", "instance"}
    assert all("p0.yml" in text for _, _, _, text in found)


def test_a_unit_belongs_to_one_plan_on_a_host(tmp_path: Path) -> None:
    mine = PLAN.replace("driver: supervisor, program: web", "driver: systemd, unit: web.service")
    other = mine.replace("plan: shop", "plan: other").replace("orders-db", "invoices").replace("orders.img", "invoices.img")
    found = wrong(write(tmp_path, mine, other))
    assert {text.partition(" belongs to")[0] for _, _, _, text in found} == {
        "instance 'web.service' on fra1",
        "instance 'web.service' on ams1",
    }


def test_a_unit_is_compiled_as_it_is_written(tmp_path: Path) -> None:
    config = write(tmp_path, PLAN.replace("driver: supervisor, program: web", "driver: systemd, unit: web@1.service"))
    first, second = load_environment(config, INVENTORY).plans["shop"]["start_order"]
    assert first["resources"][0]["instance"] == {"driver": "supervisor", "program": "orders-db"}
    assert second["resources"][0]["instance"] == {"driver": "systemd", "unit": "web@1.service"}


def test_every_problem_of_every_file_is_told_at_once(tmp_path: Path) -> None:
    found = wrong(write(tmp_path, PLAN.replace("5m", "5x"), PLAN.replace("plan: shop", "plan: SHOP")))
    assert {file for file, *_ in found} == {"p0.yml", "p1.yml"}


def test_environment_names_what_the_inventory_lacks(tmp_path: Path) -> None:
    config = write(tmp_path, PLAN)
    config.write_text(CONFIG.replace("group: frankfurt", "group: berlin").replace("wit1", "wit9"), encoding="utf-8")
    assert {(field, text) for _, _, field, text in wrong(config)} >= {
        ("sites.frankfurt.group", "the inventory has no group 'berlin'"),
        ("witness", "the inventory has no host 'wit9'"),
    }


def test_witness_has_no_part_in_a_plan_and_a_host_one_site(tmp_path: Path) -> None:
    config = write(tmp_path, PLAN)
    config.write_text(CONFIG.replace("wit1", "ams1"), encoding="utf-8")
    texts = {(line, field.rpartition(".")[2]): text for _, line, field, text in wrong(config)}
    assert "is the witness" in texts[(4, "record_host")]
    assert "is the witness" in texts[(9, "dr")]
    config.write_text(CONFIG.replace("group: amsterdam", "group: frankfurt"), encoding="utf-8")
    assert any("is in site frankfurt already" in text for _, _, _, text in wrong(config))


@pytest.mark.parametrize(
    ("hosts", "field"), [("all: [a]", "all"), ("all: {hosts: [a]}", "all.hosts"), ("all:\n  hosts: {a: 3}", "all.hosts.a")]
)
def test_hosts_file_of_a_wrong_shape(tmp_path: Path, hosts: str, field: str) -> None:
    write(tmp_path, PLAN)
    (tmp_path / "hosts.yml").write_text(hosts, encoding="utf-8")
    with pytest.raises(SourceError, match=rf"hosts\.yml:[12]: {field}: expected a mapping"):
        load(tmp_path)


def test_the_labs_plan_is_right() -> None:
    environment = load(LAB)
    plan = environment.plans["webshop"]
    assert [group["name"] for group in plan["start_order"]] == ["database", "application", "frontend"]
    assert plan["stop_order"] == ["frontend", "application", "database"]
    assert plan["sites"]["primary"] == {"name": "frankfurt", "hosts": ["fra-hv1"], "record_host": "fra-hv1"}


def test_what_a_plan_says_of_trackers_and_bandwidth(tmp_path: Path) -> None:
    text = PLAN.replace(*tracked("{qemu_bitmap: {image: orders.qcow2, node: disk0}}")).replace(
        "plan: shop",
        "plan: shop\nreplication:\n  compression: zstd\n  bandwidth_limit:\n    limit: 1MiB/s\n    zone: Europe/Berlin\n"
        '    hours: [{from: "08:00", to: "18:00", limit: none}]\nfailback: {source_check: 0s}',
    )
    plan = load_environment(write(tmp_path, text), INVENTORY).plans["shop"]
    volume = plan["start_order"][0]["resources"][0]["volumes"][0]
    assert volume["tracker"] == {"kind": "qemu_bitmap", "image": "orders.qcow2", "node": "disk0"}
    replication = plan["replication"]
    assert (replication["compression"], replication["rounds"], replication["recovery_points"]) == ("zstd", 5, 3)
    assert (replication["bandwidth_limit"], replication["bandwidth_zone"]) == (1 << 20, "Europe/Berlin")
    assert replication["bandwidth_hours"] == [{"from": "08:00", "to": "18:00", "limit": None}]
    assert plan["failback"]["source_check"] == 0


def test_hooks_are_compiled_in_their_order_with_what_was_left_out(tmp_path: Path) -> None:
    text = PLAN.replace(*hooked_group("name: g, script: g.sh, args: [a b], repeatable: true", "post_failback")).replace(
        "plan: shop",
        "plan: shop\nhooks: {post_failback: [{name: p, playbook: p.yml}], pre_failback: [{name: q, pause: Sure?, deadline: 5m}]}",
    )
    (tmp_path / "hooks").mkdir()
    (tmp_path / "hooks" / "p.yml").touch()
    found = load_environment(write(tmp_path, text), INVENTORY).plans["shop"]["hooks"]
    assert [(one["name"], one["moment"], one["group"], one["kind"], one["site"], one["host"], one["on_failure"]) for one in found] == [
        ("q", "pre_failback", "", "pause", "dr", "ams1", "halt"),
        ("p", "post_failback", "", "playbook", "primary", "fra1", "continue"),
        ("g", "post_failback", "front", "script", "primary", "fra1", "continue"),
    ]
    assert [(one["timeout"], one["deadline"], one["args"], one["repeatable"]) for one in found][::2] == [
        (60, 300, [], False),
        (60, 600, ["a b"], True),
    ]


def test_what_a_plan_says_of_dns(tmp_path: Path) -> None:
    fields = RECORD.replace("shop.example", "Shop.Example").replace("192.0.2.1]", "192.0.2.9, 192.0.2.1]") + ", ttl: 600, lowered_ttl: 1m"
    plan = load_environment(write(tmp_path, PLAN.replace(*dns(fields))), INVENTORY).plans["shop"]
    [record] = plan["traffic"]["dns"]
    assert (record["zone"], record["host"], record["ttl"], record["lowered_ttl"]) == ("shop.example.", "wit1", 600, 60)
    assert record["values"] == {"primary": ["192.0.2.1", "192.0.2.9"], "dr": ["192.0.2.2"]}
    host = {"xdr_state_dir": "/srv/xdr", "inventory_hostname": "wit1"}
    [item] = order.dns_for(plan, "wit1", host)
    assert item["key_file"] == "/srv/xdr/tsig/xdr.key"
    assert "host" not in item
    assert order.dns_for(plan, "wit1", {**host, "xdr_tsig_dir": "/etc/xdr"})[0]["key_file"] == "/etc/xdr/xdr.key"
    assert order.dns_for(plan, "fra1", host) == []


def test_a_record_belongs_to_one_plan(tmp_path: Path) -> None:
    other = (
        PLAN.replace(*recorded("name: www", "name: web")).replace("plan: shop", "plan: other").replace("orders", "o").replace("web}", "w}")
    )
    found = wrong(write(tmp_path, PLAN.replace(*dns()), other))
    assert [text for _, _, field, text in found if field.endswith("record")] == [
        f"record www.shop.example. A belongs to {tmp_path}/plans/p0.yml:2 already"
    ]


def test_folder_without_an_environment(tmp_path: Path) -> None:
    with pytest.raises(XdrError, match=r"no plans\.yml"):
        load(tmp_path)


def test_schema_file_is_up_to_date() -> None:
    path = ROOT / "portal" / "static" / "plan.schema.json"
    assert path.read_text(encoding="utf-8") == schema_text(), "run: xdr schema export --output portal/static/plan.schema.json"


def run_inventory(folder: Path) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).parent / "ansible-inventory"
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}
    return subprocess.run(
        [program, "-i", folder, "--graph"], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def test_ansible_reads_the_same_plans(tmp_path: Path) -> None:
    write(tmp_path, PLAN)
    hosts = {name: {"hosts": dict.fromkeys(hosts)} for name, hosts in INVENTORY.groups.items()}
    (tmp_path / "hosts.yml").write_text(str({"all": {"children": hosts}}).replace("None", "null"), encoding="utf-8")
    right = run_inventory(tmp_path)
    assert right.returncode == 0, right.stderr
    assert "@xdr_shop_witness" in right.stdout
    write(tmp_path, PLAN.replace("5m", "5x"))
    broken = run_inventory(tmp_path)
    assert broken.returncode != 0
    assert "p0.yml:3: targets.rpo" in broken.stderr


def test_a_lease_of_exactly_the_time_that_it_needs(tmp_path: Path) -> None:
    plans = [PLAN.replace(*leased("ttl: 92s")), PLAN.replace("plan: shop", "plan: other").replace("orders.img", "o.img")]
    plans[1] = plans[1].replace("program: orders-db", "program: o").replace("program: web", "program: w")
    found = load_environment(write(tmp_path, *plans), INVENTORY).plans
    assert found["shop"]["ownership"] == {"lease": {"ttl": 92, "loop_wait": 10, "retry_timeout": 10}}
    assert found["other"]["ownership"] == {"lease": None}
