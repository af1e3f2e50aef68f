# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The controller's store: a SQLite file whose pages no longer fit together is told before a run needs one of them."""

from __future__ import annotations

from collections.abc import Iterator

from ..store import damage
from .finding import OK, WRONG, Facts, Finding

CHECK = "store"


def findings(facts: Facts) -> Iterator[Finding]:
    store = facts["controller"]["store"]
    if store["wrong"]:
        yield Finding(CHECK, WRONG, "The controller's store is damaged", damage.TODO, (f"{store['where']}: {store['wrong']}",))
    elif store["looked"]:
        yield Finding(CHECK, OK, "The controller's store is sound", "", (store["where"],))
