# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The units of a cycle, begun while those before them are sent: many small volumes then do not wait for one another."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import Generic, Protocol, TypeVar

_ROOM = 8 << 20  # bytes that wait in memory


class Begun(Protocol):
    """``waiting_bytes``: of content that was read and waits in memory; None for a unit that is still to be read."""

    @property
    def waiting_bytes(self) -> int | None: ...


Order = TypeVar("Order")
Item = TypeVar("Item", bound=Begun)


class Ahead(Generic[Order, Item]):
    """``begin`` each order, in their order, in a thread.

    What is ``alone``, and whatever follows a unit that is still to be read, is begun only once all before it is ``done``: nobody's
    services wait for the sending of others, and no unit grows old because a large one goes over.
    """

    def __init__(self, begin: Callable[[Order], Item], alone: Callable[[Order], bool], orders: Iterable[Order]) -> None:
        self._begin, self._alone, self._orders = begin, alone, list(orders)
        self._ready: deque[Item | Exception] = deque()
        self._open: list[Item] = []  # begun, and not done
        self._left = len(self._orders)
        self._closing = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="ahead")
        self._thread.start()

    def take(self, *, wait: bool) -> Item | None:
        """The next unit, None where there are no more. Raises what its beginning raised. Without ``wait``: None too where one would have
        to wait for it, or where it failed.
        """
        with self._changed:
            while wait and self._left and not self._ready:
                self._changed.wait()
            if not self._ready or (isinstance(self._ready[0], Exception) and not wait):
                return None
            found = self._ready.popleft()
            self._left -= 1
        if isinstance(found, Exception):
            raise found
        return found

    def done(self, item: Item) -> None:
        """It was sent."""
        with self._changed:
            self._open.remove(item)
            self._changed.notify_all()

    def close(self) -> None:
        """What is being begun comes to its end; nothing else is begun."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()

    def _run(self) -> None:
        """To the end, even when nothing is left to begin: what serves a snapshot dies with the thread that started it."""
        self._begin_all()
        with self._changed:
            self._changed.wait_for(lambda: self._closing)

    def _begin_all(self) -> None:
        for order in self._orders:
            with self._changed:
                self._changed.wait_for(lambda order=order: self._closing or self._may_begin(order))  # type: ignore[misc]
                if self._closing:
                    return
            try:
                found: Item | Exception = self._begin(order)
            except Exception as error:  # of any kind: it is raised where the unit is taken
                found = error
            with self._changed:
                self._ready.append(found)
                if not isinstance(found, Exception):
                    self._open.append(found)
                self._changed.notify_all()
            if isinstance(found, Exception):
                return

    def _may_begin(self, order: Order) -> bool:
        sizes = [item.waiting_bytes for item in self._open]
        return not sizes or (None not in sizes and sum(size or 0 for size in sizes) < _ROOM and not self._alone(order))
