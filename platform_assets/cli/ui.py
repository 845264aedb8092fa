"""`platform ui`, and who may log in to the view that a team shares.

Belongs here: options, asking for a password, how a refusal to start looks. Elsewhere: the work (commands/ui.py).
"""

import getpass
import sys
from typing import Annotated

import typer

from platform_assets.cli.codes import MISUSED
from platform_assets.cli.render import Json, Table, render, say
from platform_assets.commands.ui import add_user, login_link, open_ui, remove_user, user_names
from platform_assets.errors import ConfigurationError

ui_app = typer.Typer()
user_app = typer.Typer(no_args_is_help=True, help="Who may log in to `platform ui --share`.")
ui_app.add_typer(user_app, name="user")


@ui_app.callback(invoke_without_command=True)
def ui(
    context: typer.Context,
    port: Annotated[str, typer.Option(metavar="PORT", help="Port.")] = "3000",
    share: Annotated[
        str | None,
        typer.Option(metavar="HOST", help="Serve a read-only view at this address, for users with a password."),
    ] = None,
    login: Annotated[bool, typer.Option("--login", help="Print a new link to the running UI, and end.")] = False,
) -> None:
    """Open the Dagster UI on 127.0.0.1, with sensors and automation on.

    It prints a link that opens once. Nobody else gets in: no other user of the machine, no page of another site.

    Example: platform ui --port 3001
    """
    if context.invoked_subcommand is not None:
        return
    try:
        if login:
            sys.stdout.write(f"{login_link(say)}\n")
        else:
            open_ui(port, share, say)
    except ConfigurationError as error:
        say(f"error: {error.what}. {error.remedy}")
        raise typer.Exit(MISUSED) from None


@user_app.command()
def add(name: Annotated[str, typer.Argument(help="Name to log in with.")]) -> None:
    """Add a user, or give one another password; it is asked for, or read from standard input.

    Example: platform ui user add anna
    """
    if sys.stdin.isatty():
        password = getpass.getpass(f"Password of {name}: ")
        if getpass.getpass("Once more: ") != password:
            raise ConfigurationError("password", "the two differ", "Type it again.")
    else:
        password = sys.stdin.readline().rstrip("\n")
    add_user(name, password, say)
    say(f"{name} can log in to `platform ui --share`")


@user_app.command()
def remove(name: Annotated[str, typer.Argument(help="Name of the user.")]) -> None:
    """Take a user out, who is logged out by that.

    Example: platform ui user remove anna
    """
    remove_user(name, say)
    say(f"{name} can no longer log in")


@user_app.command(name="list")
def list_(as_json: Json = False) -> None:
    """Show who can log in.

    Example: platform ui user list
    """
    names = user_names()
    users = [{"name": name} for name in names]
    render({"users": users}, [Table("Users of the shared view", users, ("name",), empty="none")], as_json=as_json)
