# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""``xdr run``: run an action on a plan; list, show, answer and stop runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError

from .actions import ACTIONS, Action
from .options import DEFAULT_INVENTORY, Inventory, Json, PlanName, group
from .options import plan as known_plan

if TYPE_CHECKING:
    from ansible_collections.xdr.failback.plugins.plugin_utils.window import Window

    from .cutover import Deadline
    from .question import Question
    from .store import Store
    from .store.runs import Run

app = group("Run an action on a plan; list, show, answer and stop runs.")

Check = Annotated[bool, typer.Option("--check", help="Change nothing; show what would change.")]
Attestation = Annotated[
    str, typer.Option("--attest-primary-is-off", metavar="TEXT", help="Who saw that the primary site is off, and how. It is kept for good.")
]

Point = Annotated[
    str,
    typer.Option("--recovery-point", metavar="NAME", help="Go back to this state of the volumes; xdr status lists them."),
]
Until = Annotated[
    str,
    typer.Option(
        "--until",
        metavar="TIME",
        help="When the window ends, such as 05:00 or 2026-03-01T05:00. It hands over before that, less a rollback, or rolls back.",
    ),
]
Follow = Annotated[bool, typer.Option("--follow", "-f", help="Tell every step and answer, line by line.")]


def _run(
    action: str,
    plan: str,
    inventory: Path,
    *,
    check: bool = False,
    follow: bool = False,
    as_json: bool,
    attestation: str = "",
    point: str = "",
    reason: str = "",
    keep: str = "",
    until: str = "",
    answer: Mapping[str, Any] | None = None,
) -> None:
    from . import following, render
    from .actions import asked
    from .results import refusal

    try:
        known_plan(plan, inventory)
        window = _window(action, plan, until, inventory) if until else None
        mine = {"by": following.me(), "origin": "command line"}
        typed = {"attestation": attestation, "point": point, "reason": reason, "keep": keep}
        wanted = asked(action, plan, **mine, **typed, check=check, window=window, answer=answer)
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


def _window(action: str, plan: str, until: str, inventory: Path) -> Window:
    from . import following, windows
    from .store import audit

    store = following.open_store(inventory)
    try:
        return windows.window(until, time.time(), store, plan)
    except XdrError as error:
        audit.add(store, following.me(), "command line", action, f"plan {plan}", error.sentence(), "refused")
        raise


def _command(action: Action) -> Callable[..., None]:
    def command(
        plan: PlanName, inventory: Inventory = DEFAULT_INVENTORY, check: Check = False, follow: Follow = False, as_json: Json = False
    ) -> None:
        _run(action.name, plan, inventory, check=check, follow=follow, as_json=as_json)

    return command


for _action in ACTIONS.values():
    if _action.name not in ("failback", "failover", "resolve", "vouch", "status", "site-test"):
        app.command(_action.name, help=_action.help)(_command(_action))


@app.command("failback", help=ACTIONS["failback"].help)
def run_failback(
    plan: PlanName,
    until: Until = "",
    inventory: Inventory = DEFAULT_INVENTORY,
    check: Check = False,
    follow: Follow = False,
    as_json: Json = False,
) -> None:
    _run("failback", plan, inventory, check=check, follow=follow, as_json=as_json, until=until)


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


@app.command("resolve", help=ACTIONS["resolve"].help)
def run_resolve(
    plan: PlanName,
    keep: Annotated[str, typer.Option("--keep", metavar="primary|dr", help="The side whose data and services go on.")],
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why this side. It is kept for good.")],
    confirm: Annotated[str, typer.Option("--confirm", metavar="PLAN", help="The plan's name once more: the other side is stopped.")] = "",
    inventory: Inventory = DEFAULT_INVENTORY,
    check: Check = False,
    follow: Follow = False,
    as_json: Json = False,
) -> None:
    if confirm != plan and not check:
        raise XdrError(f"resolve stops one side of plan {plan}", todo=f"Confirm it: --confirm {plan}", code="usage")
    _run("resolve", plan, inventory, check=check, follow=follow, as_json=as_json, reason=reason, keep=keep)


@app.command("vouch", help=ACTIONS["vouch"].help)
def run_vouch(
    plan: PlanName,
    reason: Annotated[
        str, typer.Option("--reason", metavar="TEXT", help="With one site silent, why the other's word is enough. It is kept for good.")
    ] = "",
    inventory: Inventory = DEFAULT_INVENTORY,
    check: Check = False,
    follow: Follow = False,
    as_json: Json = False,
) -> None:
    _run("vouch", plan, inventory, check=check, follow=follow, as_json=as_json, reason=reason)


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
    """Show a run: who asked for it, its steps, how it ended, and what it asks where it stopped half way."""
    from . import following, render, run_view
    from .store import events, runs

    store = following.open_store(inventory)
    run = runs.get(store, run_id)
    if log or follow:
        with render.watching(f"{run.action} {run.plan}", whole=log) as listener:
            for event in events.after(store, run_id) if not follow else []:
                listener(event)
            run = following.follow(store, run_id, listener) if follow else run
    question, due = _question(store, run, inventory), _deadline(store, run, inventory)
    asks = question.to_json() if question else None
    if as_json:
        render.show_json({**run_view.document(run), "result": run.result, "question": asks, "deadline": due and asdict(due)})
    elif not log:
        render.show(run_view.render_one(run, asks, due))
    raise typer.Exit(run.exit_code or 0)


@app.command("stop")
def run_stop(
    run_id: RunId,
    after_step: Annotated[bool, typer.Option("--after-step", help="Not in the middle: a failback, once its present step is done.")] = False,
    inventory: Inventory = DEFAULT_INVENTORY,
) -> None:
    """Stop a run; what it has finished is kept, the same command goes on from there."""
    from . import following
    from .store import runs

    message = runs.STOP_AFTER if after_step else runs.STOP
    run = runs.send(following.open_store(inventory), run_id, message, by=following.me(), origin="command line")
    typer.echo(f"run {run.id} ({run.action} {run.plan}) is asked to stop{' once its present step is done' * after_step}")


@app.command("answer")
def run_answer(
    run_id: RunId,
    answer: Annotated[str, typer.Argument(metavar="retry|skip|abort", help="xdr run show tells what each would do.")],
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; skip needs it. It is kept for good.")] = "",
    inventory: Inventory = DEFAULT_INVENTORY,
    follow: Follow = False,
    as_json: Json = False,
) -> None:
    """Answer what a failback or rollback asks that stopped half way; the answer is a new run, which this follows."""
    from . import following, question, render
    from .results import refusal
    from .store import audit, runs

    store = following.open_store(inventory)
    run = runs.get(store, run_id)
    try:
        asks = _question(store, run, inventory)
        if asks is None:
            raise XdrError(f"run {run.id} asks nothing, or does not any more", where=f"plan {run.plan}", code="wrong_state")
        given = question.given(asks, answer, reason)
    except XdrError as error:
        audit.add(
            store, following.me(), "command line", f"answer {answer}", f"run {run.id} of plan {run.plan}", error.sentence(), "refused"
        )
        if as_json:
            render.show_json(refusal(run.action, run.plan, error))
        raise
    chosen = asks.answer(answer)
    assert chosen  # noqa: S101 - given() refuses any other
    _run(chosen.action, run.plan, inventory, follow=follow, as_json=as_json, answer=given)


def _question(store: Store, run: Run, inventory: Path) -> Question | None:
    """What this run asks, by a fresh look at the sites; those of a run that cannot ask are not looked at."""
    from . import following, status
    from .store import runs

    newest = runs.newest_move(store, run.plan)
    if newest is None or newest.id != run.id or not run.ended:
        return None
    return following.asked(store, known_plan(run.plan, inventory), status.read(run.plan, inventory))


def _deadline(store: Store, run: Run, inventory: Path) -> Deadline | None:
    from . import cutover

    if run.ended or run.action != cutover.FAILBACK:
        return None
    downtime = known_plan(run.plan, inventory)["failback"]["deadline"]
    return cutover.counting(run, downtime, cutover.gathered(store, run.id))
