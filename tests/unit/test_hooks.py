# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Scripts of a plan on a site host: which may run, what they find, how they end, and that each is fired once in a run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.xdr.failback.plugins.module_utils import bounded, hook_marks, hook_script, hooks
from ansible_collections.xdr.failback.plugins.module_utils import record as records
from ansible_collections.xdr.failback.plugins.module_utils.attempt import Holding
from ansible_collections.xdr.failback.plugins.module_utils.durable import write_json
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError
from ansible_collections.xdr.failback.plugins.module_utils.progress import Progress
from ansible_collections.xdr.failback.plugins.module_utils.running import start_time
from ansible_collections.xdr.failback.plugins.modules import xdr_hook
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.examples import examples
from tests.support.processes import wait_until

RUN = "20260301T020000-failback-a1b2c3"
HOOK: dict[str, Any] = {
    "name": "drain",
    "moment": "pre_failback",
    "group": "",
    "kind": "script",
    "script": "drain.sh",
    "args": [],
    "playbook": "",
    "question": "",
    "site": "dr",
    "host": "ams",
    "timeout": 20,
    "deadline": 600,
    "on_failure": "halt",
    "on_deadline": "halt",
    "repeatable": False,
}


class Ground:
    """A site host's state folder, its folder for hooks, and claims of runs."""

    def __init__(self, root: Path) -> None:
        self.state, self.hooks, self.number = root / "state", root / "hooks", 0
        self.hooks.mkdir(mode=0o755)
        plan = {"plan": "shop", "hash": "h1", "site": "dr", "host": "ams", "witness": "wit", "record_host": True}
        write_json(self.state / "plans" / "shop" / "plan.json", {**plan, "volumes": {}, "instances": {}})

    def script(self, text: str, name: str = "drain.sh", mode: int = 0o755) -> Path:
        path = self.hooks / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(mode)
        return path

    def claim(self, launch: str, *, fresh: bool = False) -> hooks.Firing:
        """The next attempt: at the run that is open, or a fresh one."""
        self.number += 1
        pair = (2, self.number)
        holding = Holding(self.state, "shop", pair, 5.0)
        request = {"request": "claimed", "attempt": pair, "run_id": launch, "action": "failback", "plan_hash": "h1", "fresh": fresh}
        with holding.locked():
            holding.save(records.transition(holding.record, request, time.time()))
        return hooks.Firing(self.state, "shop", pair, launch, str(self.hooks), Progress(self.state, launch, "ams"))

    def mark(self, name: str = "drain") -> dict[str, Any]:
        found: dict[str, Any] = hook_marks.marks(records.load(self.state, "shop"))[name]
        return found


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    return Ground(tmp_path)


# -- which scripts may run ------------------------------------------------------------------------------------


def world_writable(ground: Ground) -> str:
    ground.script("true", mode=0o757)
    return "drain.sh"


def group_writable(ground: Ground) -> str:
    ground.script("true", mode=0o775)
    return "drain.sh"


def open_folder(ground: Ground) -> str:
    (ground.hooks / "sub").mkdir()
    ground.script("true", "sub/drain.sh")
    (ground.hooks / "sub").chmod(0o777)
    return "sub/drain.sh"


def sticky_folder(ground: Ground) -> str:
    """Sticky is enough above the folder for hooks, not in it: another could have made the script's name first."""
    ground.script("true")
    ground.hooks.chmod(0o1777)
    return "drain.sh"


def link_outside(ground: Ground) -> str:
    (ground.hooks / "drain.sh").symlink_to("/bin/true")
    return "drain.sh"


def linked_folder(ground: Ground) -> str:
    (ground.hooks / "bin").symlink_to("/bin")
    return "bin/true"


def not_executable(ground: Ground) -> str:
    ground.script("true", mode=0o644)
    return "drain.sh"


def fifo(ground: Ground) -> str:
    os.mkfifo(ground.hooks / "drain.sh", 0o700)
    return "drain.sh"


def foreign(ground: Ground) -> str:
    os.chown(ground.script("true"), 12345, -1)
    return "drain.sh"


@pytest.mark.parametrize(
    ("made", "why"),
    [
        (world_writable, "others may write to it (mode 0757)"),
        (group_writable, "others may write to it (mode 0775)"),
        (open_folder, "others may write to it (mode 0777)"),
        (sticky_folder, "others may write to it (mode 1777)"),
        (link_outside, "outside the folder for hooks"),
        (linked_folder, "outside the folder for hooks"),
        (not_executable, "it is not executable"),
        (fifo, "it is not a regular file"),
        (lambda _: "nothing.sh", "there is no such file"),
        (lambda _: "/bin/true", "outside the folder for hooks"),
        (lambda ground: str(ground.hooks), "outside the folder for hooks"),
        pytest.param(
            foreign, "it belongs to account 12345", marks=pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
        ),
    ],
    ids=lambda value: value.__name__ if callable(value) else None,
)
def test_a_script_that_is_refused(ground: Ground, made: Callable[[Ground], str], why: str) -> None:
    name = made(ground)
    with pytest.raises(XdrError) as refused, hook_script.opened(name, str(ground.hooks)):
        pytest.fail("it was opened")
    assert why in str(refused.value)
    assert refused.value.code == "hook_refused"


def test_a_script_that_is_put_in_its_place_meanwhile_is_not_run(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    path, real = ground.script("echo checked"), bounded.run

    def swapped(*arguments: Any, **options: Any) -> bounded.Ended:
        path.unlink()
        ground.script("echo swapped")
        return real(*arguments, **options)

    monkeypatch.setattr(bounded, "run", swapped)
    assert ground.claim(RUN).fire(HOOK, {})["output"] == "checked\n"


def test_a_link_within_the_folder_is_followed(ground: Ground) -> None:
    ground.script("true", "v2.sh")
    (ground.hooks / "drain.sh").symlink_to("v2.sh")
    with hook_script.opened("drain.sh", str(ground.hooks)) as script:
        assert script.path.name == "v2.sh"


# -- what they find and how they end --------------------------------------------------------------------------


def test_the_environment_is_exactly_what_is_promised(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cret")
    ground.script('exec /usr/bin/env "$@"')
    own = {"XDR_PLAN_NAME": "shop", "XDR_EVENT_ID": RUN}
    hook = {**HOOK, "args": ["/bin/sh", "-c", 'env; echo "$0 $1"; pwd', "a b", "$HOME;`id`"]}
    said = ground.claim(RUN).fire(hook, xdr_hook.environment(own))["output"].splitlines()
    found = dict(line.split("=", 1) for line in said if "=" in line)
    assert found.keys() - {"PWD", "SHLVL", "_", "OLDPWD"} == {"PATH", "HOME", "LANG", *own}  # the shell's own
    assert "a b $HOME;`id`" in said
    assert said[-1] == str(ground.hooks)


def test_what_it_says_is_told_line_by_line_and_bounded() -> None:
    said: list[str] = []
    text = "for i in range(60000): print('line', i)"
    ended = bounded.run([sys.executable, "-c", text], {}, 30, folder="/", say=said.append)
    assert said[0] == "line 0"
    assert said[-1].startswith("… more output")
    assert sum(map(len, said)) < bounded.KEPT + 200
    assert ended.output.startswith(f"[only the last {bounded.KEPT} bytes")
    assert ended.last_line == "line 59999"
    assert len(ended.output) < bounded.KEPT + 100


def test_a_line_that_never_ends_is_not_kept_whole() -> None:
    said: list[str] = []
    bounded.run([sys.executable, "-c", "print('x' * 5_000_000, end='')"], {}, 30, folder="/", say=said.append)
    assert [len(line) for line in said] == [bounded.LINE]


@pytest.mark.parametrize("stubborn", [False, True])
def test_the_whole_group_ends_with_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stubborn: bool) -> None:
    monkeypatch.setattr(bounded, "GRACE", 0.2)
    pids = tmp_path / "pids"
    trap = "trap '' TERM; " if stubborn else ""
    text = f"{trap}(echo $$ >> {pids}; {trap}sleep 60) & echo $! >> {pids}; wait; sleep 60"
    ended = bounded.run(["/bin/sh", "-c", text], {"PATH": "/bin:/usr/bin"}, 0.5, folder="/", say=lambda line: None)
    assert ended.code is None
    assert "did not end in time" in ended.told
    assert all(start_time(int(pid)) is None for pid in pids.read_text().split())


def test_what_it_leaves_behind_does_not_hold_it_up(tmp_path: Path) -> None:
    left = tmp_path / "left"
    ended = bounded.run(
        ["/bin/sh", "-c", f"sleep 60 & echo $! > {left}; echo done"], {"PATH": "/bin"}, 30, folder="/", say=lambda line: None
    )
    try:
        assert (ended.code, ended.output) == (0, "done\n")
        assert ended.seconds < 20
    finally:
        os.kill(int(left.read_text()), signal.SIGKILL)


# -- once in a run --------------------------------------------------------------------------------------------


def log(ground: Ground, code: int = 0, name: str = "drain.sh") -> Path:
    """A script that notes each time it is fired."""
    fired = ground.state.parent / "fired"
    ground.script(f"echo fired >> {fired}\necho said\nexit {code}", name)
    return fired


def test_a_hook_is_fired_once_in_a_run_and_again_in_the_next(ground: Ground) -> None:
    fired = log(ground)
    found = ground.claim(RUN).fire(HOOK, {})
    assert (found["state"], found["ok"], found["changed"], found["output"]) == ("done", True, True, "said\n")
    again = ground.claim(f"{RUN}-2").fire(HOOK, {})
    assert (again["changed"], "not fired again" in again["told"]) == (False, True)
    assert fired.read_text() == "fired\n"
    assert not ground.claim("other", fresh=True).fire(HOOK, {})["told"].startswith("drain is fired again")
    assert fired.read_text() == "fired\nfired\n"


def test_one_that_failed_halts_and_is_fired_again_when_a_person_says_so(ground: Ground) -> None:
    fired = log(ground, 3)
    with pytest.raises(hooks.Halted, match=r"hook drain \(pre_failback\) on ams: it ended with code 3: said") as halt:
        ground.claim(RUN).fire(HOOK, {})
    assert (halt.value.code, halt.value.found["ok"]) == ("hook_halted", False)
    with pytest.raises(XdrError, match="it had its turn in this run already"):
        ground.claim(f"{RUN}-2").fire(HOOK, {})  # a worker's second launch is no person
    assert fired.read_text() == "fired\n"
    log(ground)
    assert "is fired again" in ground.claim("20260301T030000-failback-d4e5f6").fire(HOOK, {})["told"]
    assert fired.read_text() == "fired\nfired\n"


def test_one_that_failed_and_may_does_not_stop_the_run(ground: Ground) -> None:
    fired = log(ground, 3)
    hook = {**HOOK, "on_failure": "continue"}
    assert ground.claim(RUN).fire(hook, {})["state"] == "failed"
    assert "not fired again" in ground.claim("another").fire(hook, {})["told"]
    assert fired.read_text() == "fired\n"


@pytest.mark.parametrize(("changes", "times"), [({}, 0), ({"repeatable": True}, 1), ({"on_failure": "continue"}, 0)])
def test_one_that_nobody_knows_the_end_of(ground: Ground, changes: dict[str, Any], times: int) -> None:
    fired = log(ground)
    hook = {**HOOK, **changes}
    begun(ground, hook, RUN)
    firing = ground.claim(f"{RUN}-2")
    if changes:
        assert "an earlier attempt had begun it" in firing.fire(hook, {})["told"]
    else:
        with pytest.raises(XdrError, match="an earlier attempt had begun it, and nobody knows how it ended"):
            firing.fire(hook, {})
        assert ground.mark()["settled"] is False
    assert (fired.read_text() if fired.exists() else "").count("fired") == times


def begun(ground: Ground, hook: dict[str, Any], launch: str) -> None:
    """Its module died right after it had written what it was about to do."""
    firing = ground.claim(launch)
    firing._begin(hook)


def test_one_that_is_left_out_with_a_reason(ground: Ground) -> None:
    fired = log(ground)
    begun(ground, HOOK, RUN)
    firing = hooks.Firing(**{**ground.claim("second").__dict__, "skip": ("drain",), "skip_reason": "ann: drained by hand"})
    found = firing.fire(HOOK, {})
    assert (found["state"], found["told"]) == ("skipped", "drain is left out: ann: drained by hand")
    assert "skipped" in ground.claim("third").fire(HOOK, {})["told"]
    assert not fired.exists()


def test_one_that_still_runs_is_waited_for(ground: Ground) -> None:
    """Its controller was killed, the module on the host goes on; a newer attempt finds it at work."""
    go = ground.state.parent / "go"
    ground.script(f"echo fired >> {ground.state.parent}/fired\nwhile [ ! -e {go} ]; do sleep 0.05; done")
    first = ground.claim(RUN)
    code = (
        "import json, sys; from pathlib import Path\n"
        "from ansible_collections.xdr.failback.plugins.module_utils import hooks\n"
        "from ansible_collections.xdr.failback.plugins.module_utils.progress import Progress\n"
        "a = json.loads(sys.argv[1]); state = Path(a['state'])\n"
        "firing = hooks.Firing(state, 'shop', tuple(a['pair']), a['run'], a['hooks'], Progress(state, '', 'ams'))\n"
        "firing.fire(a['hook'], {'PATH': '/bin'})\n"
    )
    asked = {"state": str(ground.state), "pair": first.pair, "run": RUN, "hooks": str(ground.hooks), "hook": HOOK}
    with subprocess.Popen(
        [sys.executable, "-c", code, json.dumps(asked)], env={"PYTHONPATH": "xdr_plugins"}, stderr=subprocess.PIPE, text=True
    ) as other:
        wait_until(lambda: hook_marks.marks(records.load(ground.state, "shop")).get("drain", {}).get("pid"), "the first firing", 30)
        newer = ground.claim(f"{RUN}-2")
        go.touch()
        assert "not fired again" in newer.fire(HOOK, {})["told"]
        said = other.communicate(timeout=30)[1]
    assert "stale_attempt" in said or "is older than attempt" in said
    assert (ground.state.parent / "fired").read_text() == "fired\n"
    assert ground.mark()["ok"] is True


def test_an_older_attempt_fires_nothing(ground: Ground) -> None:
    fired = log(ground)
    older = ground.claim(RUN)
    ground.claim(f"{RUN}-2")
    with pytest.raises(XdrError, match="is older than attempt"):
        older.fire(HOOK, {})
    assert not fired.exists()


def test_the_downtime_bounds_it(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded, "GRACE", 0.2)
    ground.script("exec sleep 30")
    end = time.time() + 0.3
    firing = hooks.Firing(**{**ground.claim(RUN).__dict__, "not_after": end})
    with pytest.raises(XdrError, match="did not end in time"):
        firing.fire({**HOOK, "timeout": 3600}, {"PATH": "/bin:/usr/bin"})
    assert ground.mark()["until"] == end


PAUSE = {**HOOK, "name": "ask", "kind": "pause", "question": "Go on?"}


def test_a_pause_keeps_its_deadline_over_a_death(ground: Ground) -> None:
    first = ground.claim(RUN).fire(PAUSE, {})
    again = ground.claim(f"{RUN}-2").fire(PAUSE, {})
    assert (first["state"], again["state"]) == ("open", "open")
    assert first["until"] == again["until"]
    assert ground.claim(f"{RUN}-3").conclude(PAUSE, None, True, "ann answered yes: sure")["ok"]
    assert ground.claim(f"{RUN}-4").fire(PAUSE, {})["state"] == "done"


@pytest.mark.parametrize(
    ("outcome", "changes", "halts"),
    [("ann answered no", {"on_deadline": "continue"}, True), ("deadline", {}, True), ("deadline", {"on_deadline": "continue"}, False)],
)
def test_a_pause_that_is_not_answered_with_yes(ground: Ground, outcome: str, changes: dict[str, Any], halts: bool) -> None:
    hook = {**PAUSE, **changes}
    firing = ground.claim(RUN)
    firing.fire(hook, {})
    if halts:
        with pytest.raises(hooks.Halted):
            firing.conclude(hook, None, False, outcome)
    else:
        assert firing.conclude(hook, None, False, outcome)["state"] == "failed"


@settings(max_examples=examples(60), deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["ok", "fails", "dies before", "dies after", "launch", "person"])), min_size=1, max_size=14),
    st.booleans(),
    st.sampled_from(["halt", "continue"]),
)
def test_no_hook_is_fired_twice_without_a_word(course: list[tuple[str]], repeatable: bool, on_failure: str) -> None:
    """Deaths between intent and outcome, launches and persons in any order: by the marks alone, as the module keeps them."""
    hook = {**HOOK, "repeatable": repeatable, "on_failure": on_failure}
    record = records.Record(plan="shop", site="dr", host="ams", run={"phases": {}})
    person, launch, fired, in_this_run = 1, 1, 0, 0
    for (event,) in course:
        name = f"20260301T020000-failback-aaaaa{person}" + (f"-{launch}" if launch > 1 else "")
        mark = hook_marks.marks(record).get("drain")
        try:
            verdict = hook_marks.verdict(hook, mark, name, 1.0)
        except XdrError:
            verdict = hook_marks.Verdict(False, "halted")
        if verdict.mark:
            record = hook_marks.with_mark(record, "drain", verdict.mark)
        if verdict.fire:
            assert fired == 0 or "is fired again" in verdict.told
            record = hook_marks.with_mark(record, "drain", hook_marks.begun(hook, name, 1, 1.0, 2.0))
            if event != "dies before":
                fired, in_this_run = fired + 1, in_this_run + 1
                assert in_this_run <= 1 or repeatable
            if event in ("ok", "fails"):
                done = hook_marks.ended(hook_marks.marks(record)["drain"], hook, name, 2.0, event == "ok", event)
                record = hook_marks.with_mark(record, "drain", done)
        else:
            assert verdict.told or verdict.halts
        launch += 1
        if event == "person":
            person, launch, in_this_run = person + 1, 1, 0
