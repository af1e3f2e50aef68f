# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""``xdr run``: run an action on a plan, or preview it; list, show, approve, answer and stop runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError

from .actions import ACTIONS, Action
from .options import DEFAULT_INVENTORY, Inventory, Json, PlanName, group
from .options import plan as known_plan

if TYPE_CHECKING:
    from .cutover import Deadline
    from .question import Question
    from .results import RunResult
    from .store import Store
    from .store.runs import Run
    from .windows import Admission

app = group("Run an action on a plan, or preview it; list, show, approve, answer and stop runs.")

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
Approved = Annotated[
    str, typer.Option("--approved", metavar="HASH", help="Only what was approved with this hash, or its beginning; else it is refused.")
]
WithoutApproval = Annotated[
    str,
    typer.Option("--without-approval", metavar="REASON", help="In an emergency, do without the second person. It is kept for good."),
]
SkipHooks = Annotated[
    list[str],
    typer.Option("--skip-hook", metavar="NAME", help="Leave this hook of the plan out; needs --reason. May be given several times."),
]
Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why hooks may be left out. It is kept for good.")]
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
    admission: Callable[[], Admission] | None = None,
    approved: str = "",
    alone: str = "",
    answer: Mapping[str, Any] | None = None,
    show: Callable[[RunResult], None] | None = None,
    skip_hooks: Sequence[str] = (),
) -> None:
    """``show`` prints the result in place of a line about it, also that of a run which did not end well."""
    from . import following, render
    from .actions import asked
    from .cli_following import followed
    from .results import refusal

    try:
        known_plan(plan, inventory)
        brought = _approval(action, plan, inventory, approved, alone) if not check and not answer else None
        begins: dict[str, Any] = {**(admission().__dict__ if admission else {}), "approved": brought}
        mine: dict[str, Any] = {"by": following.me(), "origin": "command line"}
        typed: dict[str, Any] = {"attestation": attestation, "point": point, "reason": reason, "keep": keep, "skip_hooks": skip_hooks}
        wanted = asked(action, plan, **mine, **typed, check=check, **begins, answer=answer)
        result = followed(following.open_store(inventory), inventory, wanted, f"{action} {plan}" + " (check)" * check, whole=follow)
    except XdrError as error:
        if as_json:
            render.show_json(refusal(action, plan, error))
        raise
    if as_json:
        render.show_json(result.to_json())
    elif show:
        show(result)
    elif result.ok:
        typer.echo(render.summary(result))
    if not result.ok:
        render.complain(result.error)
    raise typer.Exit(result.exit_code)


def _approval(action: str, plan: str, inventory: Path, typed: str, alone: str) -> dict[str, Any]:
    from . import approval, following
    from .store import audit

    store, me = following.open_store(inventory), following.me()
    try:
        return approval.given(store, known_plan(plan, inventory), action, approval.Starter(me, "command line"), typed=typed, override=alone)
    except XdrError as error:
        audit.add(store, me, "command line", action, f"plan {plan}", error.sentence(), "refused")
        raise


def _admitted(plan: str, inventory: Path, check: bool, typed: Mapping[str, str]) -> Admission:
    """A check changes nothing, so it needs no maintenance window."""
    from . import following, windows
    from .store import audit

    store = following.open_store(inventory)
    try:
        if check:
            return windows.Admission(windows.window(typed["until"], time.time(), store, plan) if typed["until"] else None)
        return windows.admitted(store, known_plan(plan, inventory), time.time(), **typed)
    except XdrError as error:
        audit.add(store, following.me(), "command line", "failback", f"plan {plan}", error.sentence(), "refused")
        raise


def _command(action: Action) -> Callable[..., None]:
    def command(
        plan: PlanName,
        approved: Approved = "",
        inventory: Inventory = DEFAULT_INVENTORY,
        check: Check = False,
        follow: Follow = False,
        as_json: Json = False,
    ) -> None:
        _run(action.name, plan, inventory, check=check, follow=follow, as_json=as_json, approved=approved)

    return command


for _action in ACTIONS.values():
    if _action.name not in ("failback", "failover", "resolve", "vouch", "status", "site-test", "diagnose"):
        app.command(_action.name, help=_action.help)(_command(_action))


@app.command("failback", help=ACTIONS["failback"].help)
def run_failback(
    plan: PlanName,
    until: Until = "",
    override: Annotated[
        str,
        typer.Option("--override-window", metavar="TEXT", help="Why it cannot wait for a maintenance window. It is kept for good."),
    ] = "",
    approved: Approved = "",
    skip_hook: SkipHooks = [],  # noqa: B006 - typer's
    reason: Reason = "",
    inventory: Inventory = DEFAULT_INVENTORY,
    check: Check = False,
    follow: Follow = False,
    as_json: Json = False,
) -> None:
    admission = partial(_admitted, plan, inventory, check, {"until": until, "override": override.strip()})
    typed: dict[str, Any] = {"admission": admission, "approved": approved, "reason": reason, "skip_hooks": skip_hook}
    _run("failback", plan, inventory, check=check, follow=follow, as_json=as_json, **typed)


@app.command("failover", help=ACTIONS["failover"].help)
def run_failover(
    plan: PlanName,
    attestation: Attestation = "",
    point: Point = "",
    approved: Approved = "",
    without_approval: WithoutApproval = "",
    skip_hook: SkipHooks = [],  # noqa: B006 - typer's
    reason: Reason = "",
    inventory: Inventory = DEFAULT_INVENTORY,
    check: Check = False,
    follow: Follow = False,
    as_json: Json = False,
) -> None:
    typed: dict[str, Any] = {"attestation": attestation, "point": point, "reason": reason, "skip_hooks": skip_hook}
    typed |= {"approved": approved, "alone": without_approval}
    _run("failover", plan, inventory, check=check, follow=follow, as_json=as_json, **typed)


@app.command("resolve", help=ACTIONS["resolve"].help)
def run_resolve(
    plan: PlanName,
    keep: Annotated[str, typer.Option("--keep", metavar="primary|dr", help="The side whose data and services go on.")],
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why this side. It is kept for good.")],
    confirm: Annotated[str, typer.Option("--confirm", metavar="PLAN", help="The plan's name once more: the other side is stopped.")] = "",
    approved: Approved = "",
    inventory: Inventory = DEFAULT_INVENTORY,
    check: Check = False,
    follow: Follow = False,
    as_json: Json = False,
) -> None:
    if confirm != plan and not check:
        raise XdrError(f"resolve stops one side of plan {plan}", todo=f"Confirm it: --confirm {plan}", code="usage")
    _run("resolve", plan, inventory, check=check, follow=follow, as_json=as_json, reason=reason, keep=keep, approved=approved)


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


@app.command("preview")
def run_preview(
    action: Annotated[str, typer.Argument(metavar="ACTION", help="failback, failover, reverse-replication …")],
    plan: PlanName,
    attestation: Attestation = "",
    point: Point = "",
    keep: Annotated[
        str, typer.Option("--keep", metavar="primary|dr", help="Of a split brain, the side whose data and services go on.")
    ] = "",
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why, where the action needs a reason.")] = "",
    until: Until = "",
    skip_hook: SkipHooks = [],  # noqa: B006 - typer's
    inventory: Inventory = DEFAULT_INVENTORY,
    follow: Follow = False,
    as_json: Json = False,
) -> None:
    """Show what an action would do, step by step, by a run in check mode: nothing is changed."""
    from . import preview_view, render

    if action not in preview_view.ACTIONS:
        raise XdrError(f"{action} has no preview", todo=f"It is one of: {', '.join(preview_view.ACTIONS)}", code="usage")
    typed: dict[str, Any] = {"attestation": attestation, "point": point, "keep": keep, "reason": reason, "skip_hooks": skip_hook}
    if until:
        typed["admission"] = partial(_admitted, plan, inventory, True, {"until": until, "override": ""})
    _run(
        action, plan, inventory, check=True, follow=follow, as_json=as_json, **typed, show=lambda run: render.show(preview_view.render(run))
    )


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
    from . import following, pauses, render, run_view
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
    pause = None if run.ended else pauses.of(store, run.id)
    if as_json:
        render.show_json(
            {
                **run_view.document(run),
                "result": run.result,
                "question": asks,
                "deadline": due and asdict(due),
                "pause": pause and asdict(pause),
            }
        )
    elif not log:
        render.show(run_view.render_one(run, asks, due, pause))
    raise typer.Exit(run.exit_code or 0)


@app.command("approve")
def run_approve(
    run_id: RunId,
    note: Annotated[str, typer.Option("--note", metavar="TEXT", help="Why, or what was looked at. It is kept for good.")] = "",
    inventory: Inventory = DEFAULT_INVENTORY,
    as_json: Json = False,
) -> None:
    """Approve what a preview shows, by the id of its run: the start is refused when that would not be done any more."""
    from . import approval, following, render
    from .store import runs

    store = following.open_store(inventory)
    made = approval.approve(store, runs.get(store, run_id), who=following.me(), origin="command line", note=note)
    if as_json:
        render.show_json(made.to_json())
    else:
        typer.echo(f"{made.by} approved {made.action} of {made.plan}: xdr run {made.action} {made.plan} --approved {made.hash[:12]}")


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
    answer: Annotated[str, typer.Argument(metavar="retry|skip|abort|yes|no", help="xdr run show tells what each would do.")],
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; skip, yes and no need it. It is kept for good.")] = "",
    inventory: Inventory = DEFAULT_INVENTORY,
    follow: Follow = False,
    as_json: Json = False,
) -> None:
    """Answer yes or no to the pause in which a run waits; or what a failback or rollback asks that stopped half way: that answer is a
    new run, which this follows."""
    from . import following, question, render
    from .results import refusal
    from .store import answers, audit, runs

    store = following.open_store(inventory)
    run = runs.get(store, run_id)
    if answer in (answers.YES, answers.NO):
        _answer_pause(store, run, answer, reason)
        return
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


def _answer_pause(store: Store, run: Run, answer: str, reason: str) -> None:
    from . import following, pauses
    from .store import answers, audit

    pause = None if run.ended else pauses.of(store, run.id)
    mine = {"by": following.me(), "origin": "command line"}
    if pause is None:
        error = XdrError(f"run {run.id} does not wait for an answer", where=f"plan {run.plan}", code="wrong_state")
        subject = f"run {run.id} of plan {run.plan}"
        audit.add(store, mine["by"], mine["origin"], f"answer {answer}", subject, error.sentence(), "refused")
        raise error
    typer.echo(answers.give(store, run.id, pause.hook, answer, reason, **mine).told)


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
