# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""What ``xdr status`` shows of a plan."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from portal import status
from portal.units import since
from tests.support.portal import seen


def shown(**changes: Any) -> str:
    console = Console(width=220)
    with console.capture() as capture:
        console.print(status.render([seen(**changes)], {"webshop": {"primary": "frankfurt", "dr": "amsterdam"}}))
    return capture.get()


def test_states_of_a_volume_with_their_times() -> None:
    rows = seen()["volumes"][:2]
    rows[1]["recovery_points"] = [{"name": f"cycle-{number}", "opened_at": 2e9, "read_started": 1.9e9 + number} for number in (8, 9)]
    told = shown(volumes=rows)
    assert all(f"cycle-{number} ({since(1.9e9 + number)})" in told for number in (8, 9))
    assert "slower" not in told


def test_a_cycle_that_is_no_point_in_time() -> None:
    rows = seen()["volumes"][:2]
    rows[0] |= {"crash_consistent": False, "how": "orders was written while it was read"}
    rows[1] |= {"crash_consistent": False, "cycle": 0}
    told = shown(volumes=rows)
    assert told.count("no: orders was written while it was read") == 1
    assert "yes" not in told


def test_what_the_full_compare_will_cost() -> None:
    assert "full compare" not in shown(state="ACTIVE")
    assert "done in this direction" in shown(compared=True)
    assert "both ends are read whole in the downtime, about 3.5 s" in shown(compared=False)
    rows = [{key: value for key, value in row.items() if key != "compare_seconds"} for row in seen()["volumes"]]
    assert "nobody knows yet how long" in shown(compared=False, volumes=rows)
    rows = [{**row, "compare_seconds": 0.0} for row in seen()["volumes"]]
    assert "nobody knows yet how long" in shown(compared=False, volumes=rows)


def test_leases_of_a_plan_that_has_some() -> None:
    row = {"host": "fra-hv1", "site": "primary", "epoch": 3, "ttl": 60, "until": 4e9}
    assert "lease" not in shown()
    assert f"fra-hv1: epoch 3, until {since(4e9)} unless it is renewed" in shown(leases=[row])
    assert f"fra-hv1: epoch 3, has run out, {since(1e9)}" in shown(leases=[{**row, "until": 1e9}])
    assert "the witness has not granted one yet, or does not answer" in shown(leases=[])


def test_hosts_without_accelerators() -> None:
    rows = [{**row, "accelerators_missing": ["blake3", "zstandard"]} for row in seen()["volumes"][:1]]
    assert "fra-hv1 lacks blake3 and zstandard: the role site_accelerators installs that" in shown(volumes=rows)
