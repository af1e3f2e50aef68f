# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The items of one module call, worked on at the same time."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Callable, TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")

MOST = 32  # threads; they wait for other programs, they do not compute


def each(work: Callable[[Item], Answer], items: Iterable[Item], *, most: int = MOST) -> list[Answer]:
    """``work`` of each item, all at once; the answers in the order of the items.

    What ``work`` raises is raised here after all have ended, so work that may fail for one item returns its failure.
    """
    things = list(items)
    if not things:
        return []
    with ThreadPoolExecutor(max_workers=min(len(things), most)) as pool:
        return list(pool.map(work, things))
