# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""``xdr bench``: measurements on this machine."""

from __future__ import annotations

from typing import Annotated

import typer

from .options import Json, group

app = group("Measure on this machine what XDR promises.")


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


@app.command("portal")
def bench_portal(
    plans: Annotated[int, typer.Option("--plans", help="Plans of the environment.")] = 500,
    resources: Annotated[int, typer.Option("--resources", help="Resources of each plan.")] = 20,
    events: Annotated[int, typer.Option("--events", help="Events in the store.")] = 1_000_000,
    viewers: Annotated[int, typer.Option("--viewers", help="Viewers of one run at once.")] = 2000,
    repeat: Annotated[int, typer.Option("--repeat", help="How often each page is measured after the first time.")] = 20,
    rows: Annotated[str, typer.Option("--rows", metavar="NAME,…", help="Only these rows; page stands for all pages.")] = "",
    as_json: Json = False,
) -> None:
    """Measure the portal: its pages and the streams of a run. Fills a store of its own at first, which is kept for the next time."""
    from .bench import portal
    from .bench.seed import Size

    try:
        choice = portal.chosen(Size(plans, resources, events), viewers, repeat, rows)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    raise typer.Exit(portal.run(choice, as_json=as_json))
