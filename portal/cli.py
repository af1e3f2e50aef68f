# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The command line ``xdr``. Thin: each command parses, calls one function and prints what it returns.

What a command needs is imported inside it: ``xdr --help`` must not wait for Ansible or paramiko.
Exit codes are ansible-playbook's (0, 1, 2, 4, 5), and 10 gate refused, 11 another run is active, 12 wrong state.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError
from typer.core import TyperGroup

from . import PROJECT
from .actions import ACTIONS, Action

BAD_OPTIONS = 5
DEFAULT_INVENTORY = PROJECT / "var" / "lab" / "inventory"
_UsageError: Any = typer.BadParameter.__base__  # typer has no public name for it


@contextlib.contextmanager
def _sentences() -> Iterator[None]:
    """An expected failure ends as one sentence on stderr and its exit code, never as a traceback."""
    from .render import complain

    try:
        yield
    except XdrError as error:
        from .results import code_of

        complain(error.sentence())
        raise typer.Exit(code_of(error)) from None
    except _UsageError as error:
        error.exit_code = BAD_OPTIONS
        raise


class Commands(TyperGroup):
    """The top of the command line: where every failure of a command comes by."""

    def make_context(self, *args: Any, **options: Any) -> Any:
        with _sentences():
            return super().make_context(*args, **options)

    def invoke(self, ctx: Any) -> Any:
        with _sentences():
            return super().invoke(ctx)


def _app(help_text: str, **options: Any) -> typer.Typer:
    return typer.Typer(
        help=help_text, no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False, rich_markup_mode=None, **options
    )


app = _app("Bring a company's workloads home from the DR site, without losing an acknowledged write.", cls=Commands)
plan_app = _app("Plans: validate and show them.")
site_app = _app("Sites: list and test them.")
run_app = _app("Run an action on a plan.")
schema_app = _app("The schema of plan files.")
lab_app = _app("The lab: two real sites on this machine.")
for name, part in (("plan", plan_app), ("site", site_app), ("run", run_app), ("schema", schema_app), ("lab", lab_app)):
    app.add_typer(part, name=name)

Inventory = Annotated[
    Path, typer.Option("--inventory", "-i", envvar="XDR_INVENTORY", help="The environment's inventory.", show_default=False)
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
PlanName = Annotated[str, typer.Argument(metavar="PLAN", help="The plan's name.")]


def _plan(name: str, inventory: Path) -> Mapping[str, Any]:
    """The compiled plan. Raises XdrError for a name the environment does not have."""
    from .plan_view import one_plan

    return one_plan(name, inventory)


# -- plan ------------------------------------------------------------------------------------------------------


@plan_app.command("validate")
def plan_validate(what: Annotated[str, typer.Argument(metavar="[PATH|PLAN]")] = "", inventory: Inventory = DEFAULT_INVENTORY) -> None:
    """Check a plan file, a plan of the environment, or all of its plans."""
    from .plan_view import validate

    for line in validate(what, inventory):
        typer.echo(line)


@plan_app.command("show")
def plan_show(name: PlanName, inventory: Inventory = DEFAULT_INVENTORY, as_json: Json = False) -> None:
    """Show a plan with its order of groups."""
    from . import plan_view, render

    found = _plan(name, inventory)
    if as_json:
        render.show_json(found)
    else:
        render.show(plan_view.render(found))


# -- site ------------------------------------------------------------------------------------------------------


@site_app.command("list")
def site_list(inventory: Inventory = DEFAULT_INVENTORY, as_json: Json = False) -> None:
    """List the sites of the environment."""
    from . import plan_view, render, sites

    document = sites.listed(plan_view.environment(inventory))
    if as_json:
        render.show_json(document)
    else:
        render.show(sites.render_list(document))


@site_app.command("test")
def site_test(inventory: Inventory = DEFAULT_INVENTORY, as_json: Json = False) -> None:
    """Test how the controller reaches the hosts, how they reach each other, and how they are."""
    from . import plan_view, render, sites

    plan_view.all_plans(inventory)  # a broken environment is told with file and line
    document = sites.tested(sites.test(inventory))
    if as_json:
        render.show_json(document)
    else:
        render.show(sites.render_test(document))
    if document["exit_code"]:
        render.complain(document["error"])
    raise typer.Exit(document["exit_code"])


# -- run, status -----------------------------------------------------------------------------------------------

Check = Annotated[bool, typer.Option("--check", help="Change nothing; show what would change.")]
Attestation = Annotated[
    str, typer.Option("--attest-primary-is-off", metavar="TEXT", help="Who saw that the primary site is off, and how. It is kept for good.")
]


def _run(action: str, plan: str, inventory: Path, *, check: bool, as_json: bool, attestation: str = "") -> None:
    from . import render
    from .actions import execute, request
    from .results import refusal

    try:
        _plan(plan, inventory)
        wanted = request(action, plan, inventory, check=check, attestation=attestation)
        with render.watching(f"{action} {plan}" + " (check)" * check) as listener:
            result = execute(wanted, listener)
    except XdrError as error:
        if as_json:
            render.show_json(refusal(action, plan, error))
        raise
    if as_json:
        render.show_json(result.to_json())
    if result.ok and not as_json:
        typer.echo(render.summary(result))
    if not result.ok:
        render.complain(result.error)
    raise typer.Exit(result.exit_code)


def _command(action: Action) -> Callable[..., None]:
    def command(plan: PlanName, inventory: Inventory = DEFAULT_INVENTORY, check: Check = False, as_json: Json = False) -> None:
        _run(action.name, plan, inventory, check=check, as_json=as_json)

    return command


for _action in ACTIONS.values():
    if _action.name not in ("failover", "status", "site-test"):
        run_app.command(_action.name, help=_action.help)(_command(_action))


@run_app.command("failover", help=ACTIONS["failover"].help)
def run_failover(
    plan: PlanName, attestation: Attestation = "", inventory: Inventory = DEFAULT_INVENTORY, check: Check = False, as_json: Json = False
) -> None:
    _run("failover", plan, inventory, check=check, as_json=as_json, attestation=attestation)


@app.command()
def status(
    plan: Annotated[str, typer.Argument(metavar="[PLAN]", help="One plan; otherwise all.")] = "",
    inventory: Inventory = DEFAULT_INVENTORY,
    as_json: Json = False,
) -> None:
    """Tell the state of plans, as their hosts know it now."""
    from . import plan_view, render
    from . import status as states

    known = {plan: _plan(plan, inventory)} if plan else plan_view.all_plans(inventory)
    documents = [states.read(name, inventory) for name in known]
    if as_json:
        render.show_json(documents[0] if plan else documents)
    else:
        render.show(states.render(documents, {name: plan_view.site_names(one) for name, one in known.items()}))
    raise typer.Exit(states.exit_code(documents))


# -- schema, lab, demo, test -----------------------------------------------------------------------------------


@schema_app.command("export")
def schema_export(output: Annotated[Path | None, typer.Option("--output", "-o", help="Write it there instead of stdout.")] = None) -> None:
    """Print the JSON schema of plan files, for editors."""
    from ansible_collections.xdr.failback.plugins.plugin_utils.plan import schema_text

    if output is None:
        typer.echo(schema_text(), nl=False)
    else:
        output.write_text(schema_text(), encoding="utf-8")


@lab_app.command("up")
def lab_up() -> None:
    """Build the lab, or mend it; a second time changes nothing."""
    from .lab.lab import Lab

    lab = Lab.create()
    changes = lab.up()
    typer.echo(f"The lab is up ({changes} changes); its inventory is {lab.inventory}, its files are in {lab.root}")


@lab_app.command("down")
def lab_down() -> None:
    """End all processes of the lab and remove its files."""
    from .lab.lab import Lab

    Lab.create().down()
    typer.echo("The lab is down")


@app.command()
def demo(
    unattended: Annotated[bool, typer.Option("--unattended", help="Clean up everything at the end.")] = False,
    as_json: Json = False,
    down: Annotated[bool, typer.Option("--down", help="Take down what an earlier demo left up.")] = False,
) -> None:
    """Lose a site, run on DR, and bring the plan home while a client keeps writing."""
    from . import demo as story

    raise typer.Exit(story.take_down() if down else story.play(unattended=unattended, as_json=as_json))


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []})
def test(ctx: typer.Context) -> None:
    """Run the whole test suite, linters included."""
    from .testing import run

    raise typer.Exit(run(ctx.args))


def main() -> None:
    app(prog_name="xdr")
