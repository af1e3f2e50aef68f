# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""What each check makes of facts: a table of one thing spoilt, and what is then said of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from portal.diagnosis.engine import CHECKS, diagnose
from portal.diagnosis.finding import Finding, exit_code, summary, worst_first
from portal.diagnosis.lag import grows, written_rate
from tests.support.diagnosed import DAY, NOW, Facts, healthy

Spoil = Callable[[Facts], None]


def setting(path: str, value: Any) -> Spoil:
    """``a/b/0`` of the facts becomes the value."""

    def spoil(facts: Facts) -> None:
        *above, last = path.split("/")
        part: Any = facts
        for name in above:
            part = part[int(name)] if isinstance(part, list) else part[name]
        part[int(last) if isinstance(part, list) else last] = value

    return spoil


def together(*spoils: Spoil) -> Spoil:
    return lambda facts: [spoil(facts) for spoil in spoils] and None  # type: ignore[return-value]


def said(*spoils: Spoil) -> list[Finding]:
    facts = healthy()
    for spoil in spoils:
        spoil(facts)
    return diagnose(facts)


FRA, PLAN, LINK = "hosts/fra-hv1", "plans/webshop", "links/1"
ON_AMS, ON_FRA = "hosts/ams-hv1/facts/plans/webshop", f"{FRA}/facts/plans/webshop"
SPOOL = {"name": "cycle-x.part", "bytes": 12 << 20, "written": NOW - 900, "held": False, "pid": None, "committed": False}
QUOTA = {"file_system": "/dev/sda1", "used_bytes": 99, "limit_bytes": 100, "used_files": 1, "limit_files": 0}
ROOM = f"{FRA}/facts/rooms/0"
CERTIFICATE = {"path": "/k-cert.pub", "from": None, "until": NOW + 3 * DAY, "why": ""}
LOST = {
    "reached": False,
    "why": "no route",
    "roles": {"webshop": "primary"},
    "checks": [],
    "facts": None,
    "agent_version": "",
    "clock": None,
}
FAILED = {"at": NOW - 60, "error": "no room"}
RISING = [[NOW - 100 + 10 * n, float(n * 10 * (60 << 20)), 5.0 + n] for n in range(6)]

TABLE: list[tuple[str, Spoil, str, str, str]] = [
    ("a broken way", together(setting(f"{LINK}/result", "HOST_KEY"), setting(f"{LINK}/why", "w")), "link", "wrong", "another host key"),
    ("a leg nobody knows", together(setting(f"{LINK}/result", "NEW"), setting(f"{LINK}/why", "w")), "link", "wrong", "the way is broken"),
    ("a host that is off", setting(FRA, LOST), "link", "wrong", "fra-hv1 does not answer"),
    ("a host that told no ways", setting("links", []), "link", "unknown", "Whether fra-hv1 reaches"),
    ("not measured", setting(f"{LINK}/unmeasured", "older agent"), "link", "unknown", "could not be measured"),
    ("a long round trip", setting(f"{LINK}/latency_ms", 400.0), "link", "warn", "400 ms"),
    ("slower than usual", setting(f"{LINK}/usual_bytes_per_s", 500 << 20), "link", "warn", "usually"),
    ("too slow for the RPO", setting(f"{PLAN}/lag/bytes", 100 << 30), "link", "wrong", "too slow for plan webshop"),
    (
        "a limit that is too low",
        together(setting(f"{PLAN}/lag/bytes", 3 << 30), setting(f"{PLAN}/bandwidth_limit", 1 << 20)),
        "link",
        "wrong",
        "may send 1.0 MiB/s at most",
    ),
    ("a copy that is too old", setting(f"{PLAN}/lag/age", 301.0), "lag", "wrong", "older than its RPO"),
    ("a copy near its RPO", setting(f"{PLAN}/lag/age", 290.0), "lag", "warn", "close to its RPO"),
    ("a lag that is not known", setting(f"{PLAN}/lag/bytes", "unknown"), "lag", "unknown", "not known"),
    ("an age that is not known", setting(f"{PLAN}/lag/age", "unknown"), "lag", "unknown", "not known"),
    ("more is written than sent", setting(f"{PLAN}/before", RISING), "lag", "wrong", "will not catch up"),
    ("nothing is copied", setting(f"{PLAN}/state", "FAILED_OVER"), "lag", "warn", "no copy of it is kept"),
    ("no space", setting(f"{ROOM}/free_bytes", 1 << 30), "quota and room", "wrong", "out of space"),
    ("little space", setting(f"{ROOM}/free_bytes", 5 << 30), "quota and room", "warn", "running out of space"),
    ("no inodes", setting(f"{ROOM}/free_inodes", 3), "quota and room", "wrong", "out of inodes"),
    ("a quota used up", setting(f"{FRA}/facts/quota", [QUOTA]), "quota and room", "wrong", "used up its quota of bytes"),
    (
        "a quota nearly used up",
        setting(f"{FRA}/facts/quota", [{**QUOTA, "used_bytes": 95}]),
        "quota and room",
        "warn",
        "nearly used up",
    ),
    ("a cycle that does not fit", setting(f"{PLAN}/lag/bytes", 60 << 30), "quota and room", "wrong", "the spool of ams-hv1"),
    ("room that is not known", setting(FRA, LOST), "quota and room", "unknown", "How much room fra-hv1 has"),
    ("a long cycle", together(setting(f"{PLAN}/cycle/active_since", NOW - 90)), "stuck sync", "warn", "has run for 1 min 30 s"),
    ("a stuck cycle", together(setting(f"{PLAN}/cycle/active_since", NOW - 900)), "stuck sync", "wrong", "has run for 15 min"),
    ("a failed cycle", setting(f"{PLAN}/cycle/failed", [FAILED]), "stuck sync", "warn", "The newest cycle of plan webshop failed"),
    ("failed cycles", setting(f"{PLAN}/cycle/failed", [FAILED] * 3), "stuck sync", "wrong", "The last 3 cycles"),
    ("no cycle any more", setting(f"{PLAN}/cycle/last_ok", NOW - 900), "stuck sync", "wrong", "No cycle of plan webshop has ended"),
    ("no cycle ever", setting(f"{PLAN}/cycle/last_ok", None), "stuck sync", "unknown", "No cycle of plan webshop is known"),
    (
        "a lock that is held",
        setting(f"{ON_FRA}/lock", {"held": True, "pid": 7, "command": "python3 x", "since": NOW - 300}),
        "stuck sync",
        "wrong",
        "held by process 7 (python3 x)",
    ),
    ("a spool left behind", setting(f"{ON_AMS}/spool", [SPOOL]), "stuck sync", "warn", "no other has gone on"),
    ("a receiver that hangs", setting(f"{ON_AMS}/spool", [{**SPOOL, "held": True, "pid": 9}]), "stuck sync", "wrong", "nothing has come"),
    ("a cycle not applied", setting(f"{ON_AMS}/spool", [{**SPOOL, "committed": True}]), "stuck sync", "warn", "to be applied"),
    (
        "an invalid tracker",
        together(setting(f"{ON_FRA}/trackers/0/valid", False), setting(f"{ON_FRA}/trackers/0/why", "in use")),
        "tracker",
        "warn",
        "of volume orders on fra-hv1 is not valid",
    ),
    ("what cannot be read", setting(f"{ON_FRA}/why", "plan.json: a field is missing"), "tracker", "wrong", "cannot be read"),
    ("trackers that are not known", setting(FRA, LOST), "tracker", "unknown", "are not known"),
    ("a clock far off", setting(f"{FRA}/clock", {"ahead_s": 40.0, "error_s": 0.5}), "clock", "wrong", "differ by 40 s"),
    ("a clock behind", setting(f"{FRA}/clock", {"ahead_s": -40.0, "error_s": 0.5}), "clock", "wrong", "differ by 40 s"),
    ("a clock a bit off", setting(f"{FRA}/clock", {"ahead_s": 3.0, "error_s": 0.5}), "clock", "warn", "differ by 3 s"),
    ("peers' clocks", setting(f"{LINK}/clock_s", -9.0), "clock", "wrong", "fra-hv1 and ams-hv1 differ by 9 s"),
    ("an answer too late to tell", setting(f"{FRA}/clock", {"ahead_s": 6.0, "error_s": 6.5}), "clock", "unknown", "cannot be told"),
    ("a clock that is not known", setting(FRA, LOST), "clock", "unknown", "The clock of fra-hv1"),
    ("protocols", setting(f"{FRA}/facts/protocol", 2), "versions", "wrong", "different versions of the delta sync"),
    ("an older agent", setting(f"{FRA}/agent_version", "1+b"), "versions", "warn", "is not that of this controller"),
    ("no agent", setting(f"{FRA}/agent_version", ""), "versions", "wrong", "does not run on fra-hv1"),
    ("an old Python", setting(f"{FRA}/facts/python", "3.8.10"), "versions", "wrong", "needs 3.9"),
    ("no accelerators", setting(f"{FRA}/facts/accelerators_missing", ["blake3"]), "versions", "warn", "slower than they could be"),
    ("versions that are not known", setting(FRA, LOST), "versions", "unknown", "What is installed on fra-hv1"),
    ("a certificate for three days", setting(f"{FRA}/facts/certificates", [CERTIFICATE]), "keys about to expire", "warn", "in 3 days"),
    (
        "a certificate for an hour",
        setting(f"{FRA}/facts/certificates", [{**CERTIFICATE, "until": NOW + 3600}]),
        "keys about to expire",
        "wrong",
        "in 1 h",
    ),
    (
        "a certificate that has run out",
        setting("controller/certificates", [{**CERTIFICATE, "until": NOW - 1, "of": "the portal", "todo": "Renew it"}]),
        "keys about to expire",
        "wrong",
        "of the portal has run out",
    ),
    (
        "a certificate of tomorrow",
        setting(f"{FRA}/facts/certificates", [{**CERTIFICATE, "from": NOW + 9}]),
        "keys about to expire",
        "wrong",
        "not valid before",
    ),
    (
        "a certificate that is none",
        setting(f"{FRA}/facts/certificates", [{**CERTIFICATE, "until": None, "why": "no"}]),
        "keys about to expire",
        "unknown",
        "cannot be read",
    ),
    ("no pinned keys", setting(f"{FRA}/facts/known_hosts/0/at", None), "keys about to expire", "wrong", "no file of pinned host keys"),
    ("certificates that are not known", setting(FRA, LOST), "keys about to expire", "unknown", "Which certificates fra-hv1 uses"),
    ("a split brain", setting(f"{PLAN}/state", "SPLIT_BRAIN"), "ownership", "wrong", "Both sites moved on"),
    ("no owner", setting(f"{PLAN}/state", "NO_OWNER"), "ownership", "wrong", "runs nowhere"),
    ("a halted move", setting(f"{PLAN}/state", "HALTED"), "ownership", "wrong", "half way"),
    ("a mute witness", setting(f"{PLAN}/view/mute", "it is a copy"), "ownership", "wrong", "is mute"),
    ("records not read", setting(f"{PLAN}/view/unreachable", ["edge1"]), "ownership", "unknown", "on edge1 could not be read"),
    (
        "an open run",
        setting(f"{PLAN}/view/run", {"id": "r1", "action": "failback", "ended": None, "phases": {"release": {}}}),
        "ownership",
        "warn",
        "nobody is at work on it",
    ),
    ("no view", setting(f"{PLAN}/view", None), "ownership", "unknown", "Who owns plan webshop"),
    ("a plan that changed", setting(f"{PLAN}/hash", "h2"), "ownership", "warn", "before the plan's file changed"),
    ("a plan nobody told", setting(f"{FRA}/facts/plans", {}), "ownership", "warn", "fra-hv1 does not know plan webshop"),
    ("an instance that is down", setting(f"{PLAN}/instances/0/state", "FATAL"), "instances", "wrong", "does not run on fra-hv1"),
    ("an instance too many", setting(f"{PLAN}/instances/1/state", "RUNNING"), "instances", "wrong", "does not own plan webshop"),
    ("a failed check", setting(f"{FRA}/checks/0/result", "failed"), "host health", "wrong", "fra-hv1, agent"),
    ("a degraded check", setting(f"{FRA}/checks/0/result", "degraded"), "host health", "warn", "fra-hv1, agent"),
    ("a host that told nothing", setting(f"{FRA}/checks", []), "host health", "unknown", "How fra-hv1 is"),
    ("no worker", setting("controller/workers", []), "worker", "wrong", "No worker runs"),
    ("an old look", setting(f"{PLAN}/seen_at", NOW - 900), "worker", "warn", "15 min old"),
    ("a damaged store", setting("controller/store/wrong", "row 3 missing"), "store", "wrong", "store is damaged"),
    ("a diagnosis that failed", setting("controller/run_failed", "no such group"), "worker", "warn", "did not come to its end"),
]


def test_nothing_is_wrong_with_a_healthy_plan_and_each_check_says_so() -> None:
    found = said()
    assert {finding.verdict for finding in found} == {"ok"}
    assert {finding.check for finding in found} == set(CHECKS)
    assert exit_code(found) == 0
    assert summary(found).startswith("nothing is known to be wrong, ")


@pytest.mark.parametrize(("spoil", "check", "verdict", "what"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_a_fault_is_named_with_what_to_do(spoil: Spoil, check: str, verdict: str, what: str) -> None:
    found = said(spoil)
    [finding] = [one for one in found if one.check == check and what in one.what]
    assert finding.verdict == verdict
    assert finding.todo or check == "clock"
    assert found == worst_first(found)
    assert exit_code(found) == (2 if any(one.verdict == "wrong" for one in found) else 3 if verdict == "unknown" else 0)
    assert Finding.from_json(finding.to_json()) == finding


@pytest.mark.parametrize("verdict", ["wrong", "warn", "unknown", "ok"])
def test_the_table_has_each_verdict_of_the_checks_that_know_it(verdict: str) -> None:
    told = {check for _, _, check, found, _ in TABLE if found == verdict} | (
        {finding.check for finding in said()} if verdict == "ok" else set()
    )
    assert told >= {"link", "lag", "stuck sync", "clock", "versions", "keys about to expire", "quota and room"}


def test_what_is_not_told_is_never_ok() -> None:
    """With a host off, no check but those of the others is ok about it."""
    for finding in said(setting(FRA, LOST), setting("links", [])):
        assert finding.verdict != "ok" or "fra-hv1" not in finding.what, finding


def test_a_lock_that_was_just_taken_and_a_cycle_that_has_just_begun_are_work() -> None:
    lock = {"held": True, "pid": 7, "command": "python3", "since": NOW - 5}
    found = said(setting(f"{ON_FRA}/lock", lock), setting(f"{PLAN}/cycle/active_since", NOW - 20))
    assert {finding.verdict for finding in found} == {"ok"}


def test_while_a_run_is_at_work_its_stopped_instances_are_no_fault() -> None:
    found = said(setting(f"{PLAN}/instances/0/state", "STOPPED"), setting(f"{PLAN}/active", "r1"))
    assert {finding.verdict for finding in found} == {"ok"}


def test_a_check_that_breaks_is_not_known_and_hides_no_other() -> None:
    def breaks(facts: Any) -> Iterator[Finding]:
        yield Finding("new", "ok", "half of it")
        raise KeyError("rooms")

    found = diagnose(healthy(), [("new", breaks), *CHECKS.items()])
    assert [(one.check, one.verdict) for one in found if one.verdict != "ok"] == [("new", "unknown")]
    assert "half of it" not in {one.what for one in found}
    assert exit_code(found) == 3


def test_the_exit_code_of_no_findings_is_not_0() -> None:
    assert exit_code([]) == 3


def test_what_is_written_is_told_by_looks_without_a_cycle_between_them() -> None:
    assert written_rate(RISING) == 60 << 20
    assert written_rate(RISING[:3]) is None, "two are not enough"
    sawtooth = [[10.0 * n, 100.0 if n % 2 else 5000.0, 1.0 if n % 2 else 9.0] for n in range(8)]
    assert written_rate(sawtooth) == 490.0, "a cycle came in every second stretch"
    assert written_rate([[row[0], None, row[2]] for row in RISING]) is None
    assert grows(RISING)
    assert not grows([*RISING[:-1], [NOW, 1.0, 0.5]])
    assert not grows(RISING[:4])
