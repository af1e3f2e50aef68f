# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""``xdr faults run``: plays a series over the fault lab, and takes the lab down at the end."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

from ansible_collections.xdr.failback.plugins.module_utils.durable import locked
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError

from .. import PROJECT, render
from ..interrupts import Interrupted, deaf, interruptible
from . import record, series
from .ground import Ground, ground_name, need_root
from .play import play
from .series import Series

FOLDER = PROJECT / "var" / "faults"


def run(wanted: Series, *, as_json: bool, keep: bool, into: Path | None = None) -> int:
    """The exit code: 0 when all invariants held in every scenario, 2 when one did not, 1 when it was interrupted.

    ``into``: the record (portal/faults/record.py) that gets what was played, also by an interrupted series.
    """
    need_root()
    try:
        with interruptible(), _ground(keep) as ground:
            results = series.go(wanted, FOLDER, lambda scenario: play(ground, scenario), _tell)
    except Interrupted:
        _record(into, series.read(wanted.file(FOLDER)), wanted.only)
        _tell("interrupted: what it had started is ended; the same command goes on from there")
        return 1
    _record(into, results, wanted.only)
    if as_json:
        render.show_json(series.document(wanted, results))
    else:
        render.show(series.table(wanted, results))
    return 0 if all(map(series.held, results)) else 2


@contextlib.contextmanager
def _ground(keep: bool) -> Iterator[Ground]:
    FOLDER.mkdir(parents=True, exist_ok=True)
    with _alone():
        ground = Ground.create(ground_name())
        try:
            _tell("the lab is there" if ground.is_ready else "building the lab")
            ground.ready()
            yield ground
        finally:
            deaf()
            if keep:
                ground.halt()
                ground.unmount()
            else:
                ground.down()


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    try:
        with locked(FOLDER / "lock", timeout=0.2):
            yield
    except XdrError as error:
        if error.where.endswith("/lock"):
            raise XdrError(f"{error.what}: another series runs", where=error.where, todo="Wait for its end", code="run_active") from error
        raise


def _record(into: Path | None, results: list[series.Result], only: str) -> None:
    if into:
        _tell(f"{into} holds {record.add(into, results, only)} runs")


def _tell(text: str) -> None:
    print(f"xdr faults: {text}", file=sys.stderr, flush=True)
