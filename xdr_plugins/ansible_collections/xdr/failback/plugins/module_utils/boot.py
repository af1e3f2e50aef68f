# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""After a boot: start the plan's instances, if this site still owns the plan by the newest epoch that the witness knows."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import record as records
from .errors import Refused, XdrError
from .guard import REFUSED, check_may_start, take_over_newest
from .instances import driver
from .parallel import each
from .site import Site, load_plan, load_site


def boot(state_dir: Path, plan: str, only: Sequence[str] = ()) -> int:
    """Start all, or ``only`` these.

    Exit code: 0 all started, 77 the site may start nothing, 1 an instance did not start (the groups after it are left alone).
    """
    site, here = load_site(state_dir), load_plan(state_dir, plan)
    try:
        check_may_start(records.load(state_dir, plan))
        take_over_newest(state_dir, site, here, _say)
        check_may_start(records.load(state_dir, plan))
    except Refused as error:
        _say(f"nothing is started. {error.sentence()}")
        return REFUSED
    for items in by_priority(plan, {name: options for name, options in here.instances.items() if not only or name in only}):
        failures = [why for why in each(lambda item: _start(site, item), items) if why]
        for why in failures:
            _say(why)
        if failures:
            return 1
    return 0


def by_priority(plan: str, instances: dict[str, dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """The drivers' items, priority 1 first; those of one priority together."""
    items = [{**options, "name": name, "plan": plan} for name, options in instances.items()]
    items.sort(key=lambda item: (item["priority"], item["name"]))
    return [list(same) for _, same in itertools.groupby(items, key=lambda item: item["priority"])]


def _start(site: Site, item: dict[str, Any]) -> str:
    """Empty, or why it did not start."""
    try:
        outcome = driver(item["driver"], site).start(item)
    except XdrError as error:
        return error.sentence()
    _say(f"{item['name']}: {outcome.state}, process {outcome.pid}")
    return ""


def _say(text: str) -> None:
    print(f"xdr boot: {text}", file=sys.stderr, flush=True)
