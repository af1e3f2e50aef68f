# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Tells people of maintenance windows, and asks them: a thread of its own, because a mail server may take its time.

Each message is written down before it is sent, so that no worker sends it again: one whose worker died meanwhile is not known to have
arrived, which the page of the windows says.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError

from .. import booking, channels, ics, messages
from ..calendar import DAY, Calendar
from ..channels import Channels
from ..messages import ASK, Message
from ..store import Store, announcements, invitations, observations, runs
from ..store.announcements import Announcement
from ..store.invitations import Invitation
from .plans import Plans

TICK = 5.0  # seconds between two looks
LATELY = 60 * DAY  # of older announcements it is asked one by one whether they were made
ORIGIN = "schedule"

log = logging.getLogger("xdr.worker")


class Announcer:
    def __init__(
        self, store: Store, inventory: Path, plans: Plans, leads: Callable[[], bool], ending: threading.Event, worker: str
    ) -> None:
        self._store, self._inventory, self._plans = store, inventory, plans
        self._leads, self._ending, self._worker = leads, ending, worker

    def work(self) -> None:
        """Until it is to end."""
        while not self._ending.wait(TICK):
            try:
                if self._leads():
                    self.tick()
            except Exception:  # the store does not answer: what was not told now is told later
                log.exception("the announcements could not be looked after")

    def tick(self) -> None:
        for lost in announcements.give_up(self._store, time.time()):
            log.warning(
                "%s about window %s of plan %s to %s: %s", lost.kind, lost.key, lost.plan, lost.recipient, "it may not have arrived"
            )
        for plan in self._plans.known().values():
            if not self._ending.is_set() and (
                messages.channels(plan) or plan["maintenance"]["owners"] or plan["maintenance"]["stakeholders"]
            ):
                self._look(plan, time.time())

    def _look(self, plan: Mapping[str, Any], now: float) -> None:
        seen = observations.get(self._store, observations.of_plan(plan["name"]))
        state = str((seen.document or {}).get("state", "")) if seen else ""
        for one in messages.to_ask(Calendar.read(self._store, plan, now), state, now):
            invitations.ask(self._store, booking.invited(plan, one, "the schedule", now), origin=ORIGIN)
        calendar = Calendar.read(self._store, plan, now)
        lately = announcements.lately(self._store, plan["name"], now - LATELY)
        told = {(each.key, each.kind, each.recipient): each for each in lately}
        wanted: list[tuple[Message, Invitation | None]] = [*messages.questions(calendar, now)]
        wanted += [(each, None) for each in messages.due(calendar, state, now, told.values(), runs.newest_move(self._store, plan["name"]))]
        for message, invitation in wanted:
            before = told.get((message.occurrence.key, message.kind, message.recipient))
            if announcements.open_to(before, now) and not self._ending.is_set():
                self._send(calendar, message, invitation)

    def _send(self, calendar: Calendar, message: Message, invitation: Invitation | None) -> None:
        mine = announcements.claim(self._store, message.announcement, self._worker, time.time())
        if mine is None:
            return
        try:
            known = channels.load(self._inventory)
            body = message.body + (self._link(known, invitation) if invitation else "")
            known.send(message.channel, message.title, body, ics.one(calendar, message.occurrence, time.time()))
        except XdrError as error:
            self._ended(mine, error.sentence())
        except Exception as error:  # of a library: its text may hold parts of the URL
            self._ended(mine, f"channel {message.channel}: {type(error).__name__}")
        else:
            self._ended(mine, "")

    def _link(self, known: Channels, invitation: Invitation) -> str:
        if not known.portal:
            return "\n\nAnswer on the portal's page of the plan's windows."
        return f"\n\nAnswer here: {known.portal}/answer/{invitations.again(self._store, invitation)}"

    def _ended(self, mine: Announcement, error: str) -> None:
        announcements.ended(self._store, mine, error)
        if error:
            what = "question" if mine.kind == ASK else "announcement"
            log.warning("the %s about window %s of plan %s did not go out, try %d: %s", what, mine.key, mine.plan, mine.tries, error)
