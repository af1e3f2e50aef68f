# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""A failover with the primary site up that goes back to a state somebody chose, as after a bad release."""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Iterator

import pytest

from portal import PROJECT
from portal.lab.lab import Lab
from portal.lab.orders import numbers_of_service
from tests.support.labs import built
from tests.support.playing import play, run

pytestmark = pytest.mark.lab

PLAYBOOKS = PROJECT / "playbooks"


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
    chosen = ("-e", f"xdr_recovery_point={newest}")
    play(lab, PLAYBOOKS / "failover.yml", "--check", *chosen)
    order(lab, 5)  # nothing was stopped by that
    told = said(play(lab, PLAYBOOKS / "failover.yml", *chosen))
    assert re.search(r"orders: it is read whole at the source \([^)]*\), [0-9.]+ (MiB|bytes) to copy in [0-9.]+ s; what was sent", told)
    assert numbers_of_service(lab.service_url("dr", "orders-db")) == [1]
