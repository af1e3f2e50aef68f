# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""What the command line's files share: how a group of commands is made, and the options that many commands have."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from . import PROJECT

DEFAULT_INVENTORY = PROJECT / "var" / "lab" / "inventory"

Inventory = Annotated[
    Path, typer.Option("--inventory", "-i", envvar="XDR_INVENTORY", help="The environment's inventory.", show_default=False)
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
BackupFile = Annotated[Path, typer.Argument(metavar="FILE", help="The backup.")]
Force = Annotated[bool, typer.Option("--force", help="Overwrite what is there.")]
PlanName = Annotated[str, typer.Argument(metavar="PLAN", help="The plan's name.")]


def plan(name: str, inventory: Path) -> Mapping[str, Any]:
    """The compiled plan. Raises XdrError for a name the environment does not have."""
    from .plan_view import one_plan

    return one_plan(name, inventory)


def group(help_text: str, **options: Any) -> typer.Typer:
    return typer.Typer(
        help=help_text, no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False, rich_markup_mode=None, **options
    )
