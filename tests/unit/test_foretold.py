# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.xdr.failback.plugins.plugin_utils import foretold

ROW = {
    "volume": "orders",
    "method": "tracked",
    "why": "",
    "predicted_bytes": 3 << 20,
    "predicted_seconds": 1.25,
    "compared": {"cycle": 4},
    "compare_seconds": 0.0,
    "accelerators_missing": [],
}
DIGESTS = "orders: it is read whole at the source"


@pytest.mark.parametrize(
    ("changed", "compared", "says"),
    [
        (
            {},
            True,
            "orders: only what its tracker names is read, 3.0 MiB to copy in 1.2 s; what was sent since the full compare is read back",
        ),
        ({"method": "unchanged", "predicted_bytes": 0}, True, "orders: nothing has changed, 0 bytes to copy"),
        ({"method": "digests", "why": "no tracker"}, True, f"{DIGESTS} (no tracker), 3.0 MiB"),
        ({"method": "scan", "predicted_bytes": "unknown"}, True, "whole at both ends, an unknown number of bytes to copy"),
        ({"compared": None, "compare_seconds": 4.0}, False, "both ends are read whole in the downtime, which takes 4.0 s."),
        ({}, False, "both ends are read whole in the downtime."),
        (
            {"accelerators_missing": ["blake3"]},
            True,
            "This host lacks blake3 and is slower for it: the role site_accelerators installs that.",
        ),
    ],
)
def test_what_a_downtime_does_to_a_volume(changed: dict[str, Any], compared: bool, says: str) -> None:
    assert says in foretold.downtime([{**ROW, **changed}], compared)


def test_each_volume_has_a_sentence_also_in_check_mode() -> None:
    told = foretold.downtime([{"volume": name, "lag_bytes": 7, "compared": {"cycle": 1}} for name in ("a", "b")], True)
    proof = "7 bytes to copy; what was sent since the full compare is read back in the downtime."
    assert told == f"a: {proof} b: {proof}"


@pytest.mark.parametrize("stopped", ["below", "not_shrinking", "rounds", "unknown"])
def test_how_rounds_ended(stopped: str) -> None:
    result = {"rounds": [{}, {}], "stopped": stopped, "remaining_bytes": "unknown", "change_rate": 4096, "final_seconds": 1.5}
    told = foretold.rounds(result)
    assert told.startswith(f"Ended after 2 rounds ({stopped}), because ")
    assert told.endswith("an unknown number of bytes left, 4096 bytes change in a second, and the final sync would take 1.5 s now.")
