# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The command line ``xdr``. Thin: each command parses, calls one function and prints what it returns.

What a command needs is imported inside it: ``xdr --help`` must not wait for Ansible or paramiko.
Exit codes are ansible-playbook's (0, 1, 2, 4, 5), and 10 gate refused, 11 another run is active, 12 wrong state (portal/results.py).
"""

from __future__ import annotations

import contextlib
import faulthandler
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError
from typer.core import TyperGroup

from . import cli_audit, cli_bench, cli_faults, cli_report, cli_runbook, cli_runs, cli_support, cli_users, cli_windows
from .options import DEFAULT_INVENTORY, BackupFile, Force, Inventory, Json, PlanName, group
from .options import plan as plan_named

_UsageError: Any = typer.BadParameter.__base__  # typer has no public name for it


@contextlib.contextmanager
def _sentences() -> Iterator[None]:
    """An expected failure ends as one sentence on stderr and its exit code, never as a traceback."""
    from .render import complain
    from .results import BAD_OPTIONS, code_of

    try:
        yield
    except XdrError as error:
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


app = group("Bring a company's workloads home from the DR site, without losing an acknowledged write.", cls=Commands)
plan_app = group("Plans: validate and show them; their order, priorities and versions.")
site_app = group("Sites: list and test them.")
db_app = group("The store: bring it to this program's version.")
schema_app = group("The schema of plan files.")
lab_app = group("The lab: two real sites on this machine.")
for name, part in (
    ("plan", plan_app),
    ("site", site_app),
    ("run", cli_runs.app),
    ("window", cli_windows.app),
    ("db", db_app),
    ("user", cli_users.app),
    ("audit", cli_audit.app),
    ("schema", schema_app),
    ("lab", lab_app),
    ("bench", cli_bench.app),
    ("faults", cli_faults.app),
    ("support", cli_support.app),
):
    app.add_typer(part, name=name)

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
    from . import following, plan_view, render, status

    found = plan_named(name, inventory)
    if as_json:
        render.show_json(found)
    else:
        seen = following.last_seen(name, inventory)
        render.show(plan_view.render(found, status.proof(seen), seen.get("split")))


for name, command in cli_runbook.COMMANDS.items():
    plan_app.command(name)(command)

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
    from . import following, plan_view, render, sightings, sites
    from .actions import asked
    from .cli_following import followed

    plan_view.all_plans(inventory)  # a broken environment is told with file and line
    wanted = asked(sightings.SITE_TEST, "", by=following.me(), origin="command line")
    with contextlib.closing(following.open_store(inventory)) as store:
        result = followed(store, inventory, wanted, "site test")
        document = sightings.of_run(store, wanted, result.exit_code, result.error)
    if as_json:
        render.show_json(document)
    else:
        render.show(sites.render_test(document))
    if document["exit_code"]:
        render.complain(document["error"])
    raise typer.Exit(document["exit_code"])


@site_app.command("history")
def site_history(
    name: Annotated[str, typer.Argument(metavar="SITE", help="The site's name.")],
    inventory: Inventory = DEFAULT_INVENTORY,
    as_json: Json = False,
) -> None:
    """Show what was found of a site's hosts and since when, and how fast its ways to the other sites were."""
    from . import following, plan_view, render, site_history

    hosts = site_history.hosts_of(plan_view.environment(inventory), name, inventory)
    with contextlib.closing(following.open_store(inventory)) as store:
        document = site_history.document(store, name, hosts)
    if as_json:
        render.show_json(document)
    else:
        render.show(site_history.render(document))


# -- status ----------------------------------------------------------------------------------------------------


@app.command()
def status(
    plan: Annotated[str, typer.Argument(metavar="[PLAN]", help="One plan; otherwise all.")] = "",
    inventory: Inventory = DEFAULT_INVENTORY,
    as_json: Json = False,
) -> None:
    """Tell the state of plans, as their hosts know it now."""
    from . import calendar, following, plan_view, render
    from . import status as states

    known, now = {plan: plan_named(plan, inventory)} if plan else plan_view.all_plans(inventory), time.time()
    documents = [{**states.read(name, inventory), "question": None, "window": None} for name in known]
    if following.has_store(inventory):
        with contextlib.closing(following.open_store(inventory)) as store:
            for document, one in zip(documents, known.values(), strict=True):
                question = following.asked(store, one, document)
                document["question"] = question.to_json() if question else None
                document["window"] = calendar.Calendar.read(store, one, now).summary(document["state"], now)
    if as_json:
        render.show_json(documents[0] if plan else documents)
    else:
        render.show(states.render(documents, {name: plan_view.site_names(one) for name, one in known.items()}))
    raise typer.Exit(states.exit_code(documents))


@app.command()
def adopt(
    plan: Annotated[str, typer.Argument(metavar="[PLAN]", help="One plan; otherwise all.")] = "",
    inventory: Inventory = DEFAULT_INVENTORY,
    as_json: Json = False,
) -> None:
    """Take the plans over on a new controller: its store learns from the sites' records what is true of them. Changes nothing there."""
    from . import adoption, following, plan_view, render
    from . import status as states

    known = {plan: plan_named(plan, inventory)} if plan else plan_view.all_plans(inventory)
    documents = adoption.adopt(following.open_store(inventory), inventory, known, by=following.me())
    if as_json:
        render.show_json(documents[0] if plan else documents)
    else:
        render.show(adoption.render(documents, {name: plan_view.site_names(one) for name, one in known.items()}))
    raise typer.Exit(states.exit_code(documents))


app.command("report")(cli_report.report)
app.command("diagnose")(cli_support.diagnose)


# -- portal, worker, store -------------------------------------------------------------------------------


@app.command()
def worker(inventory: Inventory = DEFAULT_INVENTORY) -> None:
    """Work on the runs that are asked for, replicate every plan on its interval, and look after plans and sites."""
    from .worker.worker import serve

    raise typer.Exit(serve(inventory))


@app.command()
def portal(
    inventory: Inventory = DEFAULT_INVENTORY,
    host: Annotated[str, typer.Option("--host", help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", help="The port to listen on.")] = 8300,
    certificate: Annotated[Path | None, typer.Option("--certificate", help="PEM file; with it the portal speaks https.")] = None,
    key: Annotated[Path | None, typer.Option("--key", help="PEM file of the certificate's private key.")] = None,
    proxy: Annotated[str, typer.Option("--proxy", help="Addresses of proxies whose X-Forwarded headers are believed.")] = "",
) -> None:
    """Serve the portal's pages. The first start makes the user admin and prints its password."""
    from . import following
    from .web.auth import first_user
    from .web.server import serve

    store = following.open_store(inventory)
    password = first_user(store)
    store.close()
    if password:
        typer.echo(f"This is the first start: log in as admin with the password {password}")
    raise typer.Exit(serve(inventory, host=host, port=port, certificate=certificate, key=key, proxy=proxy))


@db_app.command("upgrade")
def db_upgrade(inventory: Inventory = DEFAULT_INVENTORY) -> None:
    """Bring the store to this program's version; end worker and portal first, and make a copy."""
    from . import var_folder
    from .store import Store, migration
    from .store.engine import url_of

    before, after = migration.upgrade(Store(url_of(var_folder(inventory))))
    typer.echo(f"the store has version {after}" + (f", it had {before}" if before not in (None, after) else ""))


@app.command()
def backup(file: BackupFile, inventory: Inventory = DEFAULT_INVENTORY, force: Force = False, as_json: Json = False) -> None:
    """Write the store to a file, while worker and portal may run. It holds password hashes: keep it as such."""
    from . import render, var_folder
    from .store import backup as backups
    from .store.engine import url_of

    version = backups.backup(url_of(var_folder(inventory)), file, force=force)
    if as_json:
        render.show_json({"file": str(file), "version": version})
    else:
        typer.echo(f"the store, version {version}, is in {file}")


@app.command()
def restore(file: BackupFile, inventory: Inventory = DEFAULT_INVENTORY, force: Force = False, as_json: Json = False) -> None:
    """Put a backup in the store's place; end worker and portal first. What runs then is ended in the store, and everybody logs in again."""
    from dataclasses import asdict

    from . import render, var_folder
    from .store import backup as backups
    from .store.engine import url_of

    restored = backups.restore(url_of(var_folder(inventory)), file, force=force)
    if as_json:
        render.show_json({**asdict(restored), "file": str(file), "kept": str(restored.kept or "")})
        return
    typer.echo(f"the store, version {restored.version}, is restored from {file}")
    if restored.kept:
        typer.echo(f"the store that it replaces was damaged; it is kept in {restored.kept}")
    for run_id in restored.ended:
        typer.echo(f"run {run_id} had not ended when the backup was made; xdr status says how far it came")


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
    from .services import Services

    lab = Lab.create()
    Services(lab.inventory, lab.inventory.parent).stop()
    lab.down()
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
    faulthandler.register(signal.SIGUSR1)  # what each thread does, on stderr: for a command that does not end
    app(prog_name="xdr")
