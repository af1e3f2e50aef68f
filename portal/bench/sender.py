# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The source's end of one cycle, in a process of its own so that its memory is its own: ``python -m portal.bench.sender``.

A JSON order on stdin; ``{"ready": true}`` on stdout; the line ``go`` on stdin; ``{"seconds", "wire_bytes"}`` on stdout.
It stays until its stdin ends, for its memory to be looked at.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError

from . import engine


@dataclass(frozen=True)
class Order:
    """``changed``: ranges of 64 KiB blocks by volume."""

    state_dir: str
    plan: str
    pair: tuple[int, int]
    volumes: list[str]
    mode: str
    changed: dict[str, list[tuple[int, int]]]

    def to_line(self) -> bytes:
        return json.dumps(asdict(self)).encode() + b"\n"


def main() -> int:
    try:
        _carry_out(Order(**json.loads(sys.stdin.readline())))
    except XdrError as error:
        print(error.sentence(), file=sys.stderr, flush=True)
        return 1
    return 0


def _carry_out(order: Order) -> None:
    """The channel is opened before the clock starts and left open after it stops, as the product's preflight opens it for the downtime."""
    mode = engine.MODES[order.mode]
    place = engine.Place(Path(order.state_dir), order.plan, (order.pair[0], order.pair[1]))
    changed = {name: [(first, number) for first, number in ranges] for name, ranges in order.changed.items()}
    with contextlib.ExitStack() as ending:
        session = ending.enter_context(contextlib.closing(engine.Session(place, order.volumes)))
        _tell({"ready": True})
        sys.stdin.readline()
        began = time.monotonic()
        session.run(mode, changed)
        _tell({"seconds": time.monotonic() - began, "wire_bytes": session.wire_bytes()})
        sys.stdin.read()


def _tell(document: dict[str, Any]) -> None:
    print(json.dumps(document), flush=True)


if __name__ == "__main__":
    sys.exit(main())
