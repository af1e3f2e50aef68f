# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""``xdr diagnose`` and ``xdr support``: what is wrong, and what to send to those who help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError

from .options import DEFAULT_INVENTORY, Force, Inventory, Json, group

app = group("Support: what to send to those who help.")

Subject = Annotated[str, typer.Argument(metavar="PLAN|SITE", help="The plan, or the site.")]
AsSite = Annotated[bool, typer.Option("--site", help="The name is a site's, where a plan has the same.")]


def diagnose(subject: Subject, as_site: AsSite = False, inventory: Inventory = DEFAULT_INVENTORY, as_json: Json = False) -> None:
    """Find out what is wrong with a plan or a site, and what to do. Changes nothing.

    Exit code 0: nothing is wrong (there may be warnings); 2: something is; 3: nothing known is, but something could not be found out.
    """
    from . import following, render
    from .actions import asked
    from .cli_following import followed
    from .diagnosis import finding, show

    plan, site = _named(subject, inventory, as_site=as_site)
    wanted = asked("diagnose", plan, by=following.me(), origin="command line", site=site)
    result = followed(following.open_store(inventory), inventory, wanted, f"diagnose {subject}")
    if result.findings is None:
        render.complain(result.error or "the diagnosis did not come to its end")
        raise typer.Exit(result.exit_code or 1)
    findings = [finding.Finding.from_json(one) for one in result.findings]
    code = finding.exit_code(findings)
    if as_json:
        render.show_json({"subject": subject, "run_id": result.run_id, "exit_code": code, "findings": result.findings})
    else:
        render.show(show.render(subject, findings))
    raise typer.Exit(code)


def _named(subject: str, inventory: Path, *, as_site: bool) -> tuple[str, str]:
    """Plan and site, one of them empty. Raises XdrError, code usage."""
    from .plan_view import environment

    found = environment(inventory)
    if subject in found.plans and not as_site:
        return subject, ""
    if subject in found.sites:
        return "", subject
    todo = f"Plans: {', '.join(sorted(found.plans)) or 'none'}. Sites: {', '.join(sorted(found.sites)) or 'none'}"
    what = f"no site is named {subject!r}" if as_site else f"no plan or site is named {subject!r}"
    raise XdrError(what, where=str(inventory), todo=todo, code="usage")


@app.command("bundle")
def bundle(
    plan: Annotated[str, typer.Argument(metavar="[PLAN]", help="Only of this plan; otherwise of all.")] = "",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write it there; otherwise here, by the time.")
    ] = None,
    force: Force = False,
    inventory: Inventory = DEFAULT_INVENTORY,
) -> None:
    """Write an archive for support: plans, what was seen, runs and their events, findings and logs, with secrets taken out."""
    from . import following
    from .options import plan as known_plan
    from .store import audit
    from .support import bundle as bundles

    if plan:
        known_plan(plan, inventory)
    store = following.open_store(inventory)
    path = bundles.write(store, inventory, plan, output, force=force)
    audit.add(store, following.me(), "command line", "support bundle", f"plan {plan}" if plan else "all plans", path.name)
    typer.echo(f"the bundle is in {path}; look through it before you send it")
