"""Verbs about feeds that are no longer declared: drop what is kept of one, or take it along under a new name.

Belongs here: their options, asking before anything is removed, how the answers look. Elsewhere: the work (commands).
"""

import sys
from typing import Annotated

import typer

from platform_assets.cli.render import Json, render, say
from platform_assets.commands.feeds import dropped, renamed
from platform_assets.engine.store.undeclared import Left
from platform_assets.errors import ConfigurationError, counted


def feed_drop(
    name: Annotated[str, typer.Argument(help="The feed, which is no longer declared.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Remove what is kept of a feed whose declaration was deleted: raw, quarantine, receipts, copies in the archive.

    Releases, Dagster's history, the audit log and the marks of erased persons stay. What was stopped half-way is
    finished by the same command. To rename a feed, see `platform feed rename`.

    Example: platform feed drop old_orders
    """

    def sure(left: Left) -> None:
        if yes:
            return
        if not sys.stdin.isatty():
            raise ConfigurationError(
                f"feed drop {name}", f"would remove {_counted(left)}, and nobody can be asked", "Give --yes."
            )
        say(f"{name}: {_counted(left)} and the copies of its deliveries are removed. They do not come back.")
        if not typer.confirm("Remove them?"):
            raise ConfigurationError(f"feed drop {name}", "was not confirmed", "Nothing is needed.")

    gone = dropped(name, sure, say)
    said = [
        f"{name}: removed {_counted(gone)}, and the copies of its deliveries",
        "releases, Dagster's history of its assets, the audit log and the marks of erased persons stay",
    ]
    render({"ok": True, **vars(gone)}, said, as_json=as_json)


def feed_rename(
    old: Annotated[str, typer.Argument(help="What it was called.")],
    new: Annotated[str, typer.Argument(help="What it is called in its Python file now.")],
    as_json: Json = False,
) -> None:
    """Take along what is kept of a feed whose name was changed in its Python file: nothing is taken in twice.

    Rows, quarantine, receipts, archive, marks of erased persons, notes of builds and open incidents are then of the new
    name. Dagster keeps the history of the assets under the old name. What was stopped half-way is finished by the same
    command.

    Example: platform feed rename orders web_orders
    """
    done = renamed(old, new, say)
    said = [
        f"{new}: has {counted(done.rows, 'row')} in raw and {counted(done.deliveries, 'delivery')}, {old}'s too",
        *(f"change source(…, '{old}') to '{new}' in dbt_project/{model}" for model in done.models),
        f"Dagster's history of the assets stays under {old}",
        f"PLATFORM_FEED_{old.upper()}_FILES, where it is set, is PLATFORM_FEED_{new.upper()}_FILES now",
    ]
    render({"ok": True, **vars(done)}, said, as_json=as_json)


def _counted(left: Left) -> str:
    return (
        f"{counted(left.rows, 'row')} in raw, {left.rejected:,} in quarantine and {counted(left.deliveries, 'receipt')}"
    )
