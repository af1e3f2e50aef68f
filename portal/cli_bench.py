# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""``xdr bench``: measurements on this machine."""

from __future__ import annotations

from typing import Annotated

import typer

from .options import Json, group

app = group("Measure on this machine what XDR promises.")


@app.callback()
def _bench() -> None:
    """Keeps ``delta`` a word of its own: a group with one command would swallow it."""


@app.command("delta")
def bench_delta(
    size: Annotated[str, typer.Option("--size", help="The size of the volume; every row follows from it.")] = "2GiB",
    rows: Annotated[str, typer.Option("--rows", metavar="NAME,…", help="Only these rows.")] = "",
    repeat: Annotated[int, typer.Option("--repeat", help="How often each is measured; the median counts.")] = 5,
    as_json: Json = False,
) -> None:
    """Measure the delta sync against rsync over the same ssh, and against the machine's limits; takes 4 times the size on disk."""
    from .bench import delta

    try:
        choice = delta.chosen(size, rows, repeat)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    raise typer.Exit(delta.run(choice, as_json=as_json))
