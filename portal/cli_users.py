# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""``xdr user``: the users of the portal."""

from __future__ import annotations

from typing import Annotated

import typer

from .options import DEFAULT_INVENTORY, Inventory, group

app = group("The users of the portal.")

UserName = Annotated[str, typer.Argument(metavar="NAME", help="The user's name.")]


@app.command("add")
def user_add(
    name: UserName,
    role: Annotated[str, typer.Option("--role", help="viewer, operator or dr-admin.")] = "viewer",
    inventory: Inventory = DEFAULT_INVENTORY,
) -> None:
    """Make a user of the portal, and print the password."""
    from . import following
    from .store import accounts, audit

    store = following.open_store(inventory)
    password = accounts.add(store, name, accounts.role_of(role))
    audit.add(store, following.me(), "command line", "user add", f"user {name}", f"role {role}")
    typer.echo(password)


@app.command("password")
def user_password(name: UserName, inventory: Inventory = DEFAULT_INVENTORY) -> None:
    """Give a user a new password, and print it; the user's sessions end."""
    from . import following
    from .store import accounts, audit

    store = following.open_store(inventory)
    password = accounts.set_password(store, name)
    audit.add(store, following.me(), "command line", "user password", f"user {name}")
    typer.echo(password)


@app.command("remove")
def user_remove(name: UserName, inventory: Inventory = DEFAULT_INVENTORY) -> None:
    """Remove a user; the user's sessions end."""
    from . import following
    from .store import accounts, audit

    store = following.open_store(inventory)
    accounts.remove(store, name)
    audit.add(store, following.me(), "command line", "user remove", f"user {name}")


@app.command("list")
def user_list(inventory: Inventory = DEFAULT_INVENTORY) -> None:
    """List the users of the portal and their roles."""
    from . import following
    from .store import accounts

    for user in accounts.all_users(following.open_store(inventory)):
        typer.echo(f"{user.name:<32} {user.role.label}")
