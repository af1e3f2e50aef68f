# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""``xdr run``: run an action on a plan; list, show and stop runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError

from .actions import ACTIONS, Action
from .options import DEFAULT_INVENTORY, Inventory, Json, PlanName, group
from .options import plan as known_plan

app = group("Run an action on a plan; list, show and stop runs.")

Check = Annotated[bool, typer.Option("--check", help="Change nothing; show what would change.")]
Attestation = Annotated[
    str, typer.Option("--attest-primary-is-off", metavar="TEXT", help="Who saw that the primary site is off, and how. It is kept for good.")
]

Point = Annotated[
    str,
    typer.Option("--recovery-point", metavar="NAME", help="Go back to this state of the volumes; xdr status lists them."),
]
Follow = Annotated[bool, typer.Option("--follow", "-f", help="Tell every step and answer, line by line.")]


def _run(
    action: str, plan: str, inventory: Path, *, check: bool, follow: bool = False, as_json: bool, attestation: str = "", point: str = ""
) -> None:
    from . import following, render
    from .actions import asked
    from .results import refusal

    try:
        known_plan(plan, inventory)
        wanted = asked(action, plan, by=following.me(), origin="command line", attestation=attestation, point=point, check=check)
        with render.watching(f"{action} {plan}" + " (check)" * check, whole=follow) as listener:
            result = following.execute(following.open_store(inventory), inventory, wanted, listener)
    except XdrError as error:
        if as_json:
            render.show_json(refusal(action, plan, error))
        raise
    except KeyboardInterrupt:
        render.complain(f"run {wanted.id} goes on in the worker; stop it: xdr run stop {wanted.id}")
        raise typer.Exit(130) from None
    if as_json:
        render.show_json(result.to_json())
    if result.ok and not as_json:
        typer.echo(render.summary(result))
    if not result.ok:
        render.complain(result.error)
    raise typer.Exit(result.exit_code)


def _command(action: Action) -> Callable[..., None]:
    def command(
        plan: PlanName, inventory: Inventory = DEFAULT_INVENTORY, check: Check = False, follow: Follow = False, as_json: Json = False
    ) -> None:
        _run(action.name, plan, inventory, check=check, follow=follow, as_json=as_json)

    return command


for _action in ACTIONS.values():
    if _action.name not in ("failover", "status", "site-test"):
        app.command(_action.name, help=_action.help)(_command(_action))


@app.command("failover", help=ACTIONS["failover"].help)
def run_failover(
    plan: PlanName,
    attestation: Attestation = "",
    point: Point = "",
    inventory: Inventory = DEFAULT_INVENTORY,
    check: Check = False,
    follow: Follow = False,
    as_json: Json = False,
) -> None:
    _run("failover", plan, inventory, check=check, follow=follow, as_json=as_json, attestation=attestation, point=point)


RunId = Annotated[str, typer.Argument(metavar="RUN", help="The run's id, as xdr run list shows it.")]


@app.command("list")
def run_list(
    plan: Annotated[str, typer.Argument(metavar="[PLAN]", help="Only this plan's.")] = "",
    cycles: Annotated[bool, typer.Option("--cycles", help="The schedule's replication cycles as well.")] = False,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many.")] = 20,
    inventory: Inventory = DEFAULT_INVENTORY,
    as_json: Json = False,
) -> None:
    """List runs, the newest first."""
    from . import following, render, run_view
    from .store import runs

    found = runs.latest(following.open_store(inventory), plan=plan, cycles=cycles, limit=limit)
    render.show_json([run_view.document(run) for run in found]) if as_json else render.show(run_view.render(found))


@app.command("show")
def run_show(
    run_id: RunId,
    log: Annotated[bool, typer.Option("--log", help="All its events, line by line.")] = False,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until it has ended.")] = False,
    inventory: Inventory = DEFAULT_INVENTORY,
    as_json: Json = False,
) -> None:
    """Show a run: who asked for it, its steps, how it ended."""
    from . import following, render, run_view
    from .store import events, runs

    store = following.open_store(inventory)
    run = runs.get(store, run_id)
    if log or follow:
        with render.watching(f"{run.action} {run.plan}", whole=log) as listener:
            for event in events.after(store, run_id) if not follow else []:
                listener(event)
            run = following.follow(store, run_id, listener) if follow else run
    if as_json:
        render.show_json({**run_view.document(run), "result": run.result})
    elif not log:
        render.show(run_view.render_one(run))
    raise typer.Exit(run.exit_code or 0)


@app.command("stop")
def run_stop(run_id: RunId, inventory: Inventory = DEFAULT_INVENTORY) -> None:
    """Stop a run; what it has finished is kept, the same command goes on from there."""
    from . import following
    from .store import runs

    run = runs.send(following.open_store(inventory), run_id, runs.STOP, by=following.me(), origin="command line")
    typer.echo(f"run {run.id} ({run.action} {run.plan}) is asked to stop")
