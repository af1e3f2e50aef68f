# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""A failover with the primary site up that goes back to a state somebody chose, as after a bad release."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from portal import PROJECT
from portal.lab.lab import Lab
from portal.lab.orders import numbers_of_service
from tests.support.labs import built
from tests.support.playing import play, run

pytestmark = pytest.mark.lab

PLAYBOOKS = PROJECT / "playbooks"
XDR = str(Path(sys.executable).parent / "xdr")


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with built("points") as one:
        for step in ("start", "reprotect"):
            play(one, PLAYBOOKS / f"{step}.yml")
        for number in (1, 2):  # each cycle keeps the state before it
            order(one, number)
            play(one, PLAYBOOKS / "replicate.yml")
        order(one, 3)
        yield one


def order(lab: Lab, number: int) -> None:
    data = json.dumps({"number": number}).encode()
    with urllib.request.urlopen(f"{lab.balancer_url}/orders", data, timeout=30) as answer:  # noqa: S310 - the lab's own
        assert answer.status == 200


def points(lab: Lab) -> list[str]:
    """Names of the kept states of the orders' volume, the oldest first."""
    found = lab.root.glob("ams-hv1/state/plans/webshop/volumes/orders/undo/cycle-*/meta.json")
    return sorted((path.parent.name for path in found), key=lambda name: int(name.rpartition("-")[2]))


def said(output: str) -> str:
    return " ".join(output.split())


def test_a_point_that_nobody_has_is_refused_before_anything_is_stopped(lab: Lab) -> None:
    done = run(lab, PLAYBOOKS / "failover.yml", "-e", "xdr_recovery_point=cycle-99")
    assert done.returncode != 0
    assert f"Known are: {', '.join(points(lab))}; nothing was changed" in said(done.stdout)
    order(lab, 4)


def test_the_services_run_on_the_state_that_was_chosen(lab: Lab) -> None:
    newest = points(lab)[-1]
    write(lab.volume("primary", "shop-web-1.img"), 24 << 20)
    before = xdr(lab, "run", "preview", "failover", "webshop", "--recovery-point", newest)
    order(lab, 5)  # nothing was stopped by that
    approved = xdr(lab, "run", "approve", before["run_id"])["hash"]
    with edited(lab):
        refusal = xdr(lab, "run", "failover", "webshop", "--recovery-point", newest, "--approved", approved, code=10)
    assert "what was approved is not what would be done: the plan was edited" in refusal["error"]
    assert "other choices were made" in xdr(lab, "run", "failover", "webshop", "--approved", approved, code=10)["error"]
    order(lab, 6)
    done = xdr(lab, "run", "failover", "webshop", "--recovery-point", newest, "--approved", approved)
    told = said((lab.inventory.parent / "runs" / done["run_id"] / "events.jsonl").read_text())
    assert re.search(r"orders: it is read whole at the source \([^)]*\), [0-9.]+ (MiB|bytes) to copy in [0-9.]+ s; what was sent", told)
    assert numbers_of_service(lab.service_url("dr", "orders-db")) == [1]
    foretold_right(done["results"])
    previewed_right(before["preview"], done)


def previewed_right(preview: dict[str, Any], done: dict[str, Any]) -> None:
    """The steps in their order, all gates open, and no byte more or less than a quarter of what then went over."""
    phases = [phase for step in preview["steps"] for phase in step["phases"]]
    assert phases == [step["name"] for step in done["steps"]]
    assert all(gate["open"] for gate in preview["gates"])
    sent = sum(one["bytes_sent"] for one in done["results"] if one["step"] == "final_sync" and "bytes_sent" in one)
    assert 0.75 <= preview["bytes"] / sent <= 1.25


@contextlib.contextmanager
def edited(lab: Lab) -> Iterator[None]:
    """The plan with another deadline."""
    path = lab.inventory / "plans" / "webshop.yml"
    text = path.read_text()
    assert "deadline: 5m" in text
    path.write_text(text.replace("deadline: 5m", "deadline: 6m"))
    try:
        yield
    finally:
        path.write_text(text)


def write(volume: Path, nbytes: int) -> None:
    """Into the end of the volume, which its service does not use; no link packs it."""
    with volume.open("r+b") as stream:
        stream.seek(-nbytes, os.SEEK_END)
        stream.write(os.urandom(nbytes))


def xdr(lab: Lab, *words: str, code: int = 0) -> dict[str, Any]:
    """What the command prints."""
    argv = [XDR, *words, "--inventory", str(lab.inventory), "--json"]
    environment = {**os.environ, "XDR_VAR": str(lab.inventory.parent)}
    done = subprocess.run(argv, cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=250, check=False)
    assert done.returncode == code, done.stderr
    return dict(json.loads(done.stdout))


def foretold_right(results: list[dict[str, Any]]) -> None:
    """The preview named all volumes, and no byte more or less than a quarter of what then went over."""
    foretold = {one["volume"]: one["predicted_bytes"] for one in results if "predicted_bytes" in one}
    sent = {one["volume"]: one["bytes_sent"] for one in results if one["step"] == "final_sync" and "bytes_sent" in one}
    assert foretold.keys() == sent.keys() >= {"orders", "shop-web-1"}
    assert sum(sent.values()) > 24 << 20
    assert 0.75 <= sum(foretold.values()) / sum(sent.values()) <= 1.25
