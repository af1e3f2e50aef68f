# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""``xdr faults``: failbacks that are hit by faults, over a lab of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import Json, group

app = group("Hit failbacks with faults, and see that no write is lost and nothing runs twice.")


@app.callback()
def _faults() -> None:
    """Keeps ``run`` a word of its own: a group with one command would swallow it."""


@app.command("run")
def faults_run(
    seed: Annotated[int, typer.Option("--seed", min=0, help="The first seed; each seed means one scenario.")] = 0,
    iterations: Annotated[int, typer.Option("--iterations", min=1, help="How many seeds, one after another.")] = 20,
    only: Annotated[str, typer.Option("--only", metavar="STEP", help="Only scenarios of this step, kind of fault, or step/mark.")] = "",
    keep: Annotated[bool, typer.Option("--keep", help="Leave the lab's files and network for the next series.")] = False,
    record: Annotated[
        Path | None,
        typer.Option("--record", metavar="FILE", dir_okay=False, help="Add what was played to this JSON."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Play scenarios, chosen by seed, and print what became of each; needs root."""
    from .faults import run, scenario
    from .faults.series import Series

    try:
        scenario.every(only)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    raise typer.Exit(run.run(Series(seed, iterations, only), as_json=as_json, keep=keep, into=record))
