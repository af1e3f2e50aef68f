# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Run as a program on a site host: does there what the modules do, and prints the answer.

usage: drive.py start|stop|status|living|release|health STATE_DIR ITEM_AS_JSON, with the collections' root in PYTHONPATH. The first three
are an instance driver's, under the plan's lock; living is what runs of the plan, release is that of the plan to dr, health that of
the host.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

from ansible_collections.xdr.failback.plugins.module_utils.capacity import inspect
from ansible_collections.xdr.failback.plugins.module_utils.durable import locked
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError
from ansible_collections.xdr.failback.plugins.module_utils.instances import Outcome, driver
from ansible_collections.xdr.failback.plugins.module_utils.ownership import perform
from ansible_collections.xdr.failback.plugins.module_utils.running import living
from ansible_collections.xdr.failback.plugins.module_utils.site import load_plan, load_site, plan_dir


def main() -> None:
    verb, state_dir, item = sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3])
    one = driver(item["driver"], load_site(state_dir))
    outcome, rows = Outcome("UNKNOWN"), []
    try:
        if verb == "release":
            perform(state_dir, item["plan"], (1, 1), {"request": "released", "to": "dr"})
        elif verb == "health":
            found = inspect(state_dir, [])
            outcome = Outcome(found["health"], why="; ".join(found["reasons"]))
        elif verb == "living":
            rows = living(state_dir, item["plan"], load_plan(state_dir, item["plan"]).instances)
        elif verb == "status":
            outcome = one.status(item)
        else:
            outcome = getattr(one, verb)(item, lambda: locked(plan_dir(state_dir, item["plan"]) / "lock"))
    except XdrError as error:
        print(json.dumps({"said": error.sentence(), "code": error.code}))
    else:
        print(json.dumps({"outcome": asdict(outcome), "living": rows}))


if __name__ == "__main__":
    main()
