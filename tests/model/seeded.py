# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Bugs to be put into the product for a moment, to see that the checker finds them."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import patch

from ansible_collections.xdr.failback.plugins.module_utils import guard, lease_grants, ownership
from ansible_collections.xdr.failback.plugins.module_utils import record as records
from ansible_collections.xdr.failback.plugins.plugin_utils import gate, recovery

from tests.model import course

Seed = Callable[[], contextlib.AbstractContextManager[Any]]
_yaml, _retaken = course._yaml, records._retaken


def attempts_are_not_compared() -> contextlib.AbstractContextManager[Any]:
    return patch.object(records, "check_attempt", lambda record, pair: None)


def release_without_a_fence() -> contextlib.AbstractContextManager[Any]:
    return patch.object(ownership, "check_fenced", lambda state_dir, plan: 0)


def guard_starts_beside_an_open_offer() -> contextlib.AbstractContextManager[Any]:
    return patch.object(guard, "learn", lambda record, witness, now: record)


def leases_are_granted_beside_an_open_offer() -> contextlib.AbstractContextManager[Any]:
    return patch.object(lease_grants, "check_may_hold", lambda record, site, epoch: None)


def leases_are_not_looked_at_with_the_offer() -> contextlib.AbstractContextManager[Any]:
    """The gate alone has seen that they had run out; they were granted again since."""
    return patch.object(ownership, "check_run_out", lambda state_dir, plan: None)


def declined_epoch_is_used_again() -> contextlib.AbstractContextManager[Any]:
    """The site that goes on after a declined offer takes the offer's own epoch."""

    def retaken(record: records.Record, request: dict[str, Any], now: float) -> records.Record:
        epoch = request.get("epoch")
        return _retaken(record, {**request, "epoch": epoch - 1} if epoch else request, now)

    return patch.dict(records._TRANSITIONS, retaken=retaken)


@contextlib.contextmanager
def claims_do_not_look_again() -> Iterator[None]:
    """And the witness closes an offer before the site has declined it: each of the two stands in for the other."""

    def order(tasks: list[dict[str, Any]]) -> None:
        tasks[0], tasks[1] = tasks[1], tasks[0]

    with patch.object(records, "_check_seen", lambda record, seen: None), _role("roles/move/tasks/take_back.yml", order):
        yield


def rollback_after_the_traffic_moved() -> contextlib.AbstractContextManager[Any]:
    return patch.dict(gate.RULES, rollback=lambda plan, view, options: (view.owner is not None, ""))


def undone_though_the_other_site_may_have_accepted() -> contextlib.AbstractContextManager[Any]:
    def recover(plan: Any, view: Any) -> recovery.Recovery:
        return recovery.Recovery(recovery.Remedy.UNDO, "")

    return patch.object(recovery, "recover", recover)


def witness_does_not_hear_before_the_way_back() -> contextlib.AbstractContextManager[Any]:
    def drop(tasks: list[dict[str, Any]]) -> None:
        tasks[:] = [task for task in tasks if "Let the witness learn" not in task["name"]]

    return _role("roles/move/tasks/hand_back.yml", drop)


def nobody_hears_later_of_the_hand_over() -> contextlib.AbstractContextManager[Any]:
    def drop(tasks: list[dict[str, Any]]) -> None:
        tasks[:] = [task for task in tasks if "which may have missed" not in task["name"]]

    return _role("roles/move/tasks/switch_traffic.yml", drop)


@contextlib.contextmanager
def _role(path: str, change: Callable[[list[dict[str, Any]]], None]) -> Iterator[None]:
    def changed(name: str) -> Any:
        tasks = copy.deepcopy(_yaml(name))
        if name == path:
            change(tasks)
        return tasks

    with patch.object(course, "_yaml", changed):
        yield
