# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""How a command asks for a run and shows it to its end."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from .results import RunResult
    from .store import Store
    from .store.runs import Run


def followed(store: Store, inventory: Path, wanted: Run, title: str, *, whole: bool = False) -> RunResult:
    """``whole``: each event as a line. Raises XdrError, code run_active; Ctrl-C ends the command where the run goes on in a worker."""
    from . import following, render
    from .results import INTERRUPTED

    try:
        with render.watching(title, whole=whole) as listener:
            return following.execute(store, inventory, wanted, listener)
    except KeyboardInterrupt:
        render.complain(f"run {wanted.id} goes on in the worker; stop it: xdr run stop {wanted.id}")
        raise typer.Exit(INTERRUPTED) from None
