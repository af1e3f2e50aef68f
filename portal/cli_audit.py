# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""``xdr audit``: the audit trail, for those who check and keep it."""

from __future__ import annotations

import contextlib
import json
from typing import Annotated

import typer

from .options import DEFAULT_INVENTORY, Inventory, Json, group

app = group("The audit trail: list it, verify it, send it elsewhere.")


@app.command("list")
def audit_list(
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many.")] = 20,
    inventory: Inventory = DEFAULT_INVENTORY,
    as_json: Json = False,
) -> None:
    """List the newest entries, the newest first."""
    from rich.markup import escape
    from rich.table import Table

    from . import following, render, units
    from .store import audit

    found = audit.latest(following.open_store(inventory), limit)
    if as_json:
        render.show_json([entry.to_json() for entry in found])
        return
    table = Table(box=None, padding=(0, 2), header_style="dim")
    for title in ("", "at", "who", "from", "action", "subject", "outcome", "detail"):
        table.add_column(title)
    for one in found:
        told = (one.who, one.origin, one.action, one.subject, one.outcome, one.detail)
        table.add_row(str(one.id), units.since(one.at), *map(escape, told))
    render.show(table)


@app.command("verify")
def audit_verify(
    expect: Annotated[str, typer.Option("--expect", metavar="HASH", help="One that was told before: it must still be there.")] = "",
    inventory: Inventory = DEFAULT_INVENTORY,
    as_json: Json = False,
) -> None:
    """Check that no entry was changed, removed or put in between; exit code 2 where one was.

    Keep the hash that it prints somewhere else: with --expect the next check finds also what was cut off at the end.
    """
    from dataclasses import asdict

    from . import following, render
    from .store import audit

    verdict = audit.verify(following.open_store(inventory), expect)
    if as_json:
        render.show_json(asdict(verdict))
    elif verdict.wrong:
        render.complain(f"the audit trail was tampered with: {verdict.wrong}")
    else:
        typer.echo(f"{verdict.entries} entries, each as it was written; the newest hash is {verdict.head or 'none yet'}")
    raise typer.Exit(2 if verdict.wrong else 0)


@app.command("export")
def audit_export(
    after: Annotated[int, typer.Option("--after", metavar="NUMBER", min=0, help="Only entries with a greater number.")] = 0,
    syslog: Annotated[
        str, typer.Option("--syslog", metavar="ADDRESS", help="Send them there: HOST[:PORT], tcp://HOST:PORT, or a socket's path.")
    ] = "",
    inventory: Inventory = DEFAULT_INVENTORY,
) -> None:
    """Print the entries as lines of JSON, the oldest first, or send them to a syslog server."""
    from . import following, render
    from .store import audit
    from .syslog import sending

    store, last = following.open_store(inventory), after
    with sending(syslog, "xdr-audit") if syslog else contextlib.nullcontext(typer.echo) as tell:
        for entry in audit.after(store, after):
            tell(json.dumps(entry.to_json(), ensure_ascii=False))
            last = entry.id
    if syslog:
        render.complain(f"sent up to entry {last}; the next time go on with --after {last}")
