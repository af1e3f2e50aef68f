# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""What a page needs before it can be opened: the parts of its path, and what they name."""

from __future__ import annotations

import re
import time

from portal.booking import Booker
from portal.calendar import Calendar
from portal.plan_view import one_plan
from portal.runbook import digest
from portal.store import invitations
from portal.store.accounts import Role
from portal.versions import Versions
from tests.support.portal import PLAN, Portal


def filled(path: str, **named: str) -> str:
    """The path of a route with its parts; one that is not named is a KeyError."""
    known = {"plan": PLAN, "action": "failback", "site": "frankfurt", **named}
    return re.sub(r"{(\w+)}", lambda found: known[found[1]], path)


def invited(portal: Portal) -> str:
    """The token of the link that an owner got."""
    plan = one_plan(PLAN, portal.inventory)
    coming = Calendar.read(portal.store, plan, time.time()).coming(time.time())
    assert coming
    Booker(portal.store, "dora", "portal").ask(plan, coming.key, time.time())
    return invitations.again(portal.store, invitations.of(portal.store, [PLAN], 0.0)[0])


def saved(portal: Portal) -> str:
    """The version of a plan that was edited."""
    client = portal.client(Role.dr_admin)
    file = portal.inventory / "plans" / f"{PLAN}.yml"
    text = file.read_text()
    form = portal.form(client, text=text + "# looked through\n", base=digest(text), reason="looked through")
    assert client.post(f"/plans/{PLAN}/runbook/save", data=form).status_code == 303
    return Versions(portal.inventory, file).known()[0].id
