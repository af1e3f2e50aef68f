# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""What xdr_delta_sync foretells and finds, in sentences for a person."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

_READ = {
    "unchanged": "nothing has changed",
    "tracked": "only what its tracker names is read",
    "digests": "it is read whole at the source",
    "scan": "it is read whole at both ends",
}
_ENDED = {
    "below": "no more than ready_below is left",
    "not_shrinking": "the rest shrinks no more",
    "rounds": "the plan allows no more rounds",
    "unknown": "how much is left is not known",
}


def downtime(results: Iterable[Mapping[str, Any]], compared: bool) -> str:
    """One sentence for each volume of a preview. ``compared``: every volume was compared whole within this direction."""
    rows = list(results)
    missing = sorted({name for row in rows for name in row.get("accelerators_missing") or []})
    slower = [f"This host lacks {' and '.join(missing)} and is slower for it: the role site_accelerators installs that."] if missing else []
    return " ".join([*(f"{row['volume']}: {_copy(row)}; {_proof(row, compared)}." for row in rows), *slower])


def rounds(result: Mapping[str, Any]) -> str:
    """How a synchronisation with rounds ended, in one sentence."""
    number = len(result["rounds"])
    return (
        f"Ended after {number} round{'s' if number > 1 else ''} ({result['stopped']}), because {_ENDED[result['stopped']]}: "
        f"{size(result['remaining_bytes'])} left, {size(result['change_rate'])} change in a second, "
        f"and the final sync would take {result['final_seconds']:.1f} s now."
    )


def _copy(row: Mapping[str, Any]) -> str:
    if "method" not in row:  # check mode asks only what the source knows by itself
        return f"{size(row['lag_bytes'])} to copy"
    why = f" ({row['why']})" if row.get("why") else ""
    return f"{_READ.get(row['method'], row['method'])}{why}, {size(row['predicted_bytes'])} to copy in {row['predicted_seconds']:.1f} s"


def _proof(row: Mapping[str, Any], compared: bool) -> str:
    if compared and row["compared"]:
        return "what was sent since the full compare is read back in the downtime"
    takes = f", which takes {row['compare_seconds']:.1f} s" if row.get("compare_seconds") else ""
    return f"no full compare was possible before, so both ends are read whole in the downtime{takes}"


def size(nbytes: Any) -> str:
    if not isinstance(nbytes, (int, float)):
        return "an unknown number of bytes"
    return f"{nbytes / (1 << 20):.1f} MiB" if nbytes >= 1 << 20 else f"{nbytes} bytes"
