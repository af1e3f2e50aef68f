# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError
from ansible_collections.xdr.failback.plugins.plugin_utils.gate import Decision, decide
from ansible_collections.xdr.failback.plugins.plugin_utils.recovery import recover, undo_path
from ansible_collections.xdr.failback.plugins.plugin_utils.state_machine import derive

from tests.support.world import PLAN, World


def decision(action: str, world: World, plan: dict[str, Any] = PLAN, **options: Any) -> Decision:
    reads = world.reads()
    return decide(action, plan, derive(plan, reads), reads, options)


ALLOWED = {
    "start": {"new", "active", "failed_over", "reversing", "home"},
    "verify_primary": {
        "new",
        "active",
        "failed_over",
        "reversing",
        "stopped",
        "released",
        "offered",
        "accepted",
        "decided",
        "switching",
        "home",
    },
    "reverse_replication": {"failed_over"},
    "replicate": {"active", "reversing"},
    "failback": {"reversing", "stopped", "released", "offered", "accepted", "decided", "switching"},
    "rollback": {"stopped", "released", "offered", "accepted", "decided"},
    "reprotect": {"home"},
    "failover": {"active"},  # with the primary up: a planned move
    "lower_ttl": {"active", "failed_over", "reversing", "home"},
    "restore_ttl": {"active", "failed_over", "reversing", "home"},
}
NOTHING_TO_DO = {
    "reverse_replication": {"reversing"},
    "replicate": {"stopped", "released", "offered", "accepted", "decided", "switching"},
    "failback": {"active", "home"},
    "rollback": {"reversing"},
    "reprotect": {"active"},
    "failover": {"failed_over", "reversing"},
}
REFUSED_BY_GATE = {("rollback", "switching")}
CHAPTERS = ["new", "active", "failed_over", "reversing", "stopped", "released", "offered", "accepted", "decided", "switching", "home"]


def chapter(name: str) -> World:
    return World() if name == "new" else getattr(World(), name)()


@pytest.mark.parametrize("action", ALLOWED)
@pytest.mark.parametrize("name", CHAPTERS)
def test_each_action_in_each_chapter_of_the_story(action: str, name: str) -> None:
    world = chapter(name)
    plan = {**PLAN, "traffic": {"load_balancers": [], "dns": [{"name": "www", "host": "wit"}]}}
    if name in ALLOWED[action]:
        assert decision(action, world, plan).proceed
    elif name in NOTHING_TO_DO.get(action, ()):
        told = decision(action, world, plan)
        assert not told.proceed
        assert told.reason
    else:
        with pytest.raises(XdrError) as refusal:
            decision(action, world, plan)
        assert refusal.value.code == ("gate_refused" if (action, name) in REFUSED_BY_GATE else "wrong_state")
        assert refusal.value.todo


@pytest.mark.parametrize("action", ["lower_ttl", "restore_ttl"])
def test_a_ttl_needs_a_record_and_its_host_but_no_site(action: str) -> None:
    world = World().failed_over()
    world.dead = {"primary"}
    assert decision(action, world).reason == "the plan has no DNS records (traffic.dns)"
    assert decision(action, world, {**PLAN, "traffic": {"load_balancers": [], "dns": [{"name": "www", "host": "wit"}]}}).proceed
    with pytest.raises(XdrError, match="fra does not answer"):
        decision(action, world, {**PLAN, "traffic": {"load_balancers": [], "dns": [{"name": "www", "host": "fra"}]}})


@pytest.mark.parametrize(
    ("name", "enter"),
    [
        ("reversing", "stop"),
        ("stopped", "stop"),
        ("released", "stop"),
        ("offered", "handover"),
        ("accepted", "handover"),
        ("decided", "start"),
    ],
)
def test_a_failback_goes_on_where_it_stopped(name: str, enter: str) -> None:
    told = decision("failback", chapter(name))
    assert (told.enter, told.fresh) == (enter, name == "reversing")


def test_a_failback_that_was_begun_twice_ends_at_home() -> None:
    world = World().home()
    world.claim("failback")
    found = decision("failback", world)
    assert (found.proceed, found.enter) == (True, "start")


def test_an_offer_that_the_site_declined_for_good_is_not_made_to_it_again() -> None:
    world = World().offered()
    world.claim("rollback")
    world.ask("primary", "declined", epoch=3)
    world.all("marked", status="FAILING_BACK")
    assert decision("failback", world).enter == "stop"


def test_each_attempt_gets_a_greater_number() -> None:
    world = World().reversing()
    told = decision("failback", world)
    assert told.attempt > max(record.attempt[1] for record in world.record.values())


def test_a_cycle_that_begins_at_the_same_moment_is_overtaken() -> None:
    world = World().reversing()
    assert decision("failback", world).attempt > decision("replicate", world).attempt > world.number


def test_the_pair_is_newer_than_that_of_an_owner_that_died() -> None:
    world = World().accepted()
    world.claim("failback")  # primary's acceptance of epoch 3 counts, and it dies before the witness hears of it
    world.dead = {"primary"}
    reads = world.reads()
    view = derive(PLAN, reads)
    assert view.epoch == 2
    told = decide("verify_primary", PLAN, derive(PLAN, {**reads, "fra": {**reads["fra"], "reachable": True}}), reads, {})
    assert (told.epoch, told.attempt) > max(tuple(record.attempt) for record in world.record.values())


@pytest.mark.parametrize(("lag", "says"), [(1001, "1001 bytes"), ("unknown", "unknown")])
def test_lag_gate(lag: int | str, says: str) -> None:
    with pytest.raises(XdrError, match=says) as refusal:
        decision("failback", World().reversing(lag))
    assert refusal.value.code == "gate_refused"


def test_failover_of_a_site_that_does_not_answer_needs_the_attestation() -> None:
    world = World().active()
    world.dead = {"primary"}
    with pytest.raises(XdrError, match="fra does not answer") as refusal:
        decision("failover", world)
    assert refusal.value.code == "gate_refused"
    assert decision("failover", world, attestation="ann saw it dark").proceed


RUN_OUT = {"run_out": True, "told": "the leases have run out"}
HELD = {"run_out": False, "told": "the lease of fra runs for another 75 s"}


def test_failover_of_a_site_whose_leases_have_run_out_needs_no_attestation() -> None:
    world = World().active()
    world.dead = {"primary"}
    found = decision("failover", world, lease=RUN_OUT)
    assert (found.proceed, found.how, found.proof) == (True, "lease_expired", "the leases have run out")
    assert found.reason == found.proof
    attested = decision("failover", world, attestation="ann saw it dark", lease=RUN_OUT)
    assert (attested.how, attested.proof) == ("attested", "")


def test_failover_of_a_site_whose_leases_run_is_refused_with_when() -> None:
    world = World().active()
    world.dead = {"primary"}
    with pytest.raises(XdrError, match=r"stopped; the lease of fra runs for another 75 s\. Run failover again when") as refused:
        decision("failover", world, lease=HELD)
    assert refused.value.code == "gate_refused"


def test_leases_that_have_run_out_make_no_planned_move_an_unplanned_one() -> None:
    found = decision("failover", World().active(), lease=RUN_OUT)
    assert (found.proceed, found.how) == (True, "attested")


def test_leases_count_for_nothing_while_a_host_of_the_site_answers() -> None:
    world = World().active()
    plan = {**PLAN, "sites": {**PLAN["sites"], "primary": {**PLAN["sites"]["primary"], "hosts": ["fra", "fra2"]}}}
    reads = {**world.reads(), "fra2": {"reachable": False, "record": None, "registered": None, "replication": [], "why": ""}}
    with pytest.raises(XdrError, match="fra2 does not answer"):
        decide("failover", plan, derive(plan, reads), reads, {"lease": RUN_OUT})


def test_a_login_that_is_refused_does_not_matter_where_the_leases_have_run_out() -> None:
    world = World().active()
    world.dead = {"primary"}
    reads = world.reads()
    reads["fra"]["why"] = "Permission denied (publickey)"
    assert decide("failover", PLAN, derive(PLAN, reads), reads, {"lease": RUN_OUT}).how == "lease_expired"


@pytest.mark.parametrize("name", ["active", "offered", "accepted", "decided", "switching", "home"])
def test_failover_from_any_state_when_the_primary_is_attested_to_be_off(name: str) -> None:
    world = chapter(name)
    world.dead = {"primary"}
    if name == "home":
        world.source("primary", 0)
    assert decision("failover", world, attestation="ann saw it dark").proceed


@pytest.mark.parametrize(
    ("said", "says"),
    [("REMOTE HOST IDENTIFICATION: Host key verification failed.", "another host key"), ("Permission denied (publickey).", "login")],
)
def test_a_site_that_only_locks_us_out_is_not_off(said: str, says: str) -> None:
    world = World().active()
    world.dead = {"primary"}
    reads = world.reads()
    reads["fra"]["why"] = said
    with pytest.raises(XdrError, match=says) as refusal:
        decide("failover", PLAN, derive(PLAN, reads), reads, {"attestation": "it looks off"})
    assert refusal.value.code == "gate_refused"


def test_an_sshd_that_answers_is_believed_more_than_an_attestation_when_the_reason_got_lost() -> None:
    world = World().active()
    world.dead = {"primary"}
    reads = world.reads()
    reads["fra"] |= {"why": "Data could not be sent to remote host", "sshd": True}
    with pytest.raises(XdrError, match="has an sshd that answers, so it is not off") as caught:
        decide("failover", PLAN, derive(PLAN, reads), reads, {"attestation": "it looks off"})
    assert caught.value.code == "gate_refused"


def test_failed_failover_is_no_matter_for_rollback() -> None:
    world = World().active()
    world.claim("failover")
    world.all("marked", status="ROLLING_BACK")
    with pytest.raises(XdrError, match="run failover again") as refusal:
        decision("rollback", world)
    assert refusal.value.code == "wrong_state"
    assert decision("failover", world).proceed


@pytest.mark.parametrize("action", ["replicate", "reprotect", "start"])
def test_nothing_is_done_over_a_half_done_planned_failover(action: str) -> None:
    world = World().active()
    world.claim("failover")
    world.ask("primary", "draining")
    world.ask("primary", "released", to="dr")
    if action == "replicate":
        told = decision(action, world)
        assert not told.proceed
        assert "failover" in told.reason
    else:
        with pytest.raises(XdrError) as refusal:
            decision(action, world)
        assert refusal.value.code == "wrong_state"


def test_rollback_that_stopped_half_way_of_handing_back_goes_on() -> None:
    world = World().decided()
    world.claim("rollback")
    world.all("marked", status="ROLLING_BACK")
    for request in ("draining", "released"):
        world.ask("primary", request, to="dr")
    assert decision("rollback", world).proceed
    assert undo_path(derive(PLAN, world.reads()), "dr", "primary") == "hand_back"
    world.ask("witness", "offered", epoch=4, to="dr")
    assert undo_path(derive(PLAN, world.reads()), "dr", "primary") == "hand_back"
    world.ask("dr", "accepted", epoch=4)
    assert undo_path(derive(PLAN, world.reads()), "dr", "primary") == "hand_back"
    world.ask("witness", "decided", epoch=4)
    world.ask("primary", "known", epoch=4, owner="dr")
    assert undo_path(derive(PLAN, world.reads()), "dr", "primary") == "retake"


@pytest.mark.parametrize(
    ("name", "path"),
    [("stopped", "retake"), ("released", "retake"), ("offered", "decline"), ("accepted", "hand_back"), ("decided", "hand_back")],
)
def test_how_a_failback_is_undone(name: str, path: str) -> None:
    assert undo_path(derive(PLAN, chapter(name).reads()), "dr", "primary") == path


def test_start_does_not_wait_for_a_dead_site_elsewhere() -> None:
    world = World().failed_over()
    world.dead = {"primary"}
    assert decision("start", world).proceed


def test_attestation_of_a_site_that_answers_is_refused() -> None:
    with pytest.raises(XdrError, match="fra answers"):
        decision("failover", World().active(), attestation="it is off, I think")


@pytest.mark.parametrize(
    ("action", "dead"), [("failback", "primary"), ("failback", "witness"), ("failover", "witness"), ("rollback", "dr")]
)
def test_hosts_that_an_action_needs(action: str, dead: str) -> None:
    world = World().stopped() if action == "rollback" else World().reversing() if action == "failback" else World().active()
    world.dead = {dead}
    with pytest.raises(XdrError, match="not answer") as refusal:
        decision(action, world)
    assert refusal.value.code == "not_reached"


def test_rollback_before_the_offer_does_not_need_the_primary() -> None:
    world = World().released()
    world.dead = {"primary"}
    assert decision("rollback", world).proceed


def test_rollback_of_an_offer_needs_the_primarys_word() -> None:
    world = World().offered()
    world.dead = {"primary"}
    with pytest.raises(XdrError, match="fra does not answer"):
        decision("rollback", world)


def test_run_pins_its_plan() -> None:
    with pytest.raises(XdrError, match="edited") as refusal:
        decision("failback", World().stopped(), plan={**PLAN, "hash": "h2"})
    assert refusal.value.code == "gate_refused"


@pytest.mark.parametrize(("phase", "passed", "goes"), [("", 10.0, False), ("", 300.0, True), ("stop_services/db", 300.0, False)])
def test_a_cycle_gives_way_to_a_move_but_not_for_ever_to_one_that_never_began(phase: str, passed: float, goes: bool) -> None:
    world = World().active()
    world.claim("failover")
    if phase:
        world.phase("primary", phase)
    assert decision("replicate", world, now=world.now + passed).proceed is goes


def test_a_cycle_that_was_killed_pins_nothing() -> None:
    world = World().reversing()
    world.claim("replicate")
    for action in ("failback", "replicate"):
        told = decision(action, world, plan={**PLAN, "hash": "h2"})
        assert (told.proceed, told.fresh) == (True, True)


def test_resource_leaves_a_plan_only_while_it_is_active() -> None:
    def reads_with_one_more(world: World) -> dict[str, dict[str, Any]]:
        reads = world.reads()
        reads["ams"]["registered"] = {"instances": {"orders-db": {}, "cart": {}}}
        return reads

    away = reads_with_one_more(World().reversing())
    with pytest.raises(XdrError, match="cart left the plan"):
        decide("replicate", PLAN, derive(PLAN, away), away, {})
    home = reads_with_one_more(World().active())
    assert decide("replicate", PLAN, derive(PLAN, home), home, {}).proceed


@pytest.mark.parametrize(
    ("name", "dead", "policy", "remedy"),
    [
        ("stopped", None, "rollback", "undo"),
        ("released", None, "rollback", "undo"),
        ("released", "primary", "rollback", "undo"),
        ("released", None, "commit", "undo"),
        ("released", "dr", "rollback", "wait"),
        ("released", "witness", "rollback", "wait"),
        ("offered", None, "rollback", "undo"),
        ("offered", "primary", "rollback", "wait"),
        ("accepted", None, "rollback", "undo"),
        ("decided", None, "rollback", "undo"),
        ("decided", None, "hold", "hold"),
        ("decided", None, "commit", "commit"),
        ("decided", "dr", "rollback", "forward"),
        ("decided", "primary", "rollback", "wait"),
        ("switching", None, "rollback", "forward"),
    ],
)
def test_what_follows_a_failure(name: str, dead: str | None, policy: str, remedy: str) -> None:
    world = chapter(name)
    world.dead = {dead} if dead else set()
    plan = {**PLAN, "failback": {"on_failed_health": policy}}
    told = recover(plan, derive(plan, world.reads()))
    assert told.remedy == remedy
    assert told.told


@pytest.mark.parametrize(
    ("name", "dead", "policy", "remedy"),
    [
        ("stopped", None, "hold", "undo"),  # before the hand-over as any other failure
        ("released", None, "commit", "undo"),
        ("decided", None, "rollback", "hold"),
        ("decided", None, "commit", "hold"),
        ("decided", "primary", "rollback", "wait"),
        ("switching", None, "rollback", "hold"),
        ("switching", "dr", "rollback", "forward"),
    ],
)
def test_what_follows_a_hook_that_halts(name: str, dead: str | None, policy: str, remedy: str) -> None:
    world = chapter(name)
    world.dead = {dead} if dead else set()
    told = recover({**PLAN, "failback": {"on_failed_health": policy}}, derive(PLAN, world.reads()), halted=True)
    assert told.remedy == remedy
    assert ("Service is restored" in told.told) == (name == "switching" and remedy == "hold")


def test_a_hook_that_halts_a_failover_before_anything_moved() -> None:
    world = World().active()
    world.dead = {"primary"}
    world.claim("failover")
    told = recover(PLAN, derive(PLAN, world.reads()), halted=True)
    assert (told.remedy, "Nothing was moved" in told.told) == ("wait", True)


def test_a_hook_is_left_out_by_name_and_with_a_reason() -> None:
    world = World().reversing()
    plan = {**PLAN, "hooks": [{"name": "drain"}]}
    view, reads = derive(plan, world.reads()), world.reads()
    ask = {"skip_hooks": ["drain"], "skip_reason": "ann: drained by hand"}
    assert decide("failback", plan, view, reads, ask).proceed
    with pytest.raises(XdrError, match="leaving out a hook needs a reason"):
        decide("failback", plan, view, reads, {**ask, "skip_reason": " "})
    with pytest.raises(XdrError, match=r"no hook 'drian'. Its hooks are drain"):
        decide("failback", plan, view, reads, {**ask, "skip_hooks": ["drian"]})


def test_an_offer_is_not_taken_back_from_a_site_that_is_silent_though_the_other_is_back() -> None:
    """A failover was attested, DR may have accepted, and the primary site, which still owns by its own record, answers again."""
    world = World().active()
    world.dead = {"primary"}
    world.claim("failover")
    world.ask("witness", "offered", epoch=2, to="dr", how="attested", by="ann", text="power is off")
    world.dead = {"dr"}
    assert recover(PLAN, derive(PLAN, world.reads())).remedy == "wait"


@pytest.mark.parametrize("dead", ["primary", "dr", "witness"])
def test_a_host_that_is_lost_after_the_end_was_recorded_is_no_run_that_had_not_begun(dead: str) -> None:
    world = World().home()
    world.dead = {dead}
    told = recover(PLAN, derive(PLAN, world.reads()))
    assert told.remedy == "forward"
    assert told.told.startswith("The plan has moved: its services run on the primary site")


def test_without_an_open_run_there_is_nothing_to_undo() -> None:
    """It was not claimed; or it was frozen, another one rolled back, and it wakes: what it had changed itself is not denied."""
    told = recover(PLAN, derive(PLAN, World().reversing().reads()))
    assert told.remedy == "wait"
    assert told.told.startswith("No run of the plan is open, so nothing is to be undone")


def halted(*phases: str, state: str = "HALTED") -> World:
    """Its instances were started, and the marks that are given are open."""
    world = World().decided()
    for phase in phases:
        world.phase("primary", phase)
    world.all("marked", status=state)
    return world


WHY = {"skip_reason": "the check is wrong"}


def test_a_group_that_failed_in_its_health_checks_may_be_skipped() -> None:
    found = decision("failback", halted("health_checks/db"), skip=["db"], **WHY)
    assert (found.proceed, found.enter, found.skip) == (True, "start", ("db",))
    assert decision("failback", halted("health_checks/db")).skip == ()


@pytest.mark.parametrize(
    ("action", "world", "options", "because"),
    [
        ("failback", halted("health_checks/db"), {"skip": ["db"]}, "needs a reason"),
        ("failback", halted("health_checks/db"), {"skip": ["db"], "skip_reason": " "}, "needs a reason"),
        ("failback", halted("health_checks/db"), {"skip": ["db", "web"], **WHY}, "web cannot be skipped: only those of db failed"),
        ("failback", halted("health_checks/db", "start_instances/db"), {"skip": ["db"], **WHY}, "A start is never skipped"),
        ("failback", World().stopped(), {"skip": ["db"], **WHY}, "cannot be skipped"),
        ("failback", World().reversing(), {"skip": ["db"], **WHY}, "No failback or rollback is open"),
        ("rollback", halted("health_checks/db"), {"skip": ["db"], **WHY}, "rollback has no health checks to skip in state HALTED"),
        ("failover", World().active(), {"skip": ["db"], **WHY}, "failover has no health checks to skip"),
    ],
)
def test_what_cannot_be_skipped(action: str, world: World, options: dict[str, Any], because: str) -> None:
    with pytest.raises(XdrError, match=because) as refusal:
        decision(action, world, **options)
    assert refusal.value.code == "gate_refused"


def test_what_was_skipped_matters_no_more_once_the_plan_is_home() -> None:
    """The worker died after the end was recorded, and launches the run again."""
    assert not decision("failback", World().home(), skip=["db"], **WHY).proceed


WINDOW = {"until": 1000.0, "rollback": 100.0, "how": "measured"}


def test_a_failback_does_not_begin_after_its_deadline() -> None:
    assert decision("failback", World().reversing(), window=WINDOW, now=899.0).proceed
    with pytest.raises(XdrError, match=r"the deadline has passed already.* less 1 min 40 s for a rollback \(measured\)") as refusal:
        decision("failback", World().reversing(), window=WINDOW, now=900.0)
    assert refusal.value.code == "gate_refused"


def test_one_that_began_is_not_left_half_way_for_it() -> None:
    for world in (World().stopped(), World().decided()):
        assert decision("failback", world, window=WINDOW, now=2000.0).proceed


@pytest.mark.parametrize(
    ("name", "proceeds"),
    [("reversing", False), ("stopped", True), ("released", True), ("offered", None), ("accepted", None), ("decided", None)],
)
def test_a_deadline_rolls_back_before_the_offer_only(name: str, proceeds: bool | None) -> None:
    if proceeds is None:
        with pytest.raises(XdrError, match="ownership may have been handed over already") as refusal:
            decision("rollback", chapter(name), before_offer=True)
        assert refusal.value.code == "gate_refused"
    else:
        assert decision("rollback", chapter(name), before_offer=True).proceed is proceeds


def test_a_rollback_that_has_begun_is_finished_whatever_asked_for_it() -> None:
    world = World().decided()
    world.all("marked", status="ROLLING_BACK")
    assert decision("rollback", world, before_offer=True).proceed
