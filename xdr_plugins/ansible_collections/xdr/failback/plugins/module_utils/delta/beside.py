# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""A piece of work that is done beside another."""

from __future__ import annotations

import threading
from typing import Callable


class Beside:
    """``work`` runs while the body does. What it raises is raised at the end of the body."""

    def __init__(self, work: Callable[[], object]) -> None:
        self._work = work
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            self._work()
        except Exception as error:  # of any kind: a check that broke must not pass for one that found nothing
            self._error = error

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._thread.join()
        if self._error and error is None:
            raise self._error
