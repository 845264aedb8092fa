"""The tree of commands: every verb under its name.

Belongs here: the tree and `--version`. Elsewhere: how a command ends (the room's own module).
"""

from importlib.metadata import version
from typing import Annotated

import typer

from platform_assets.cli.alerts import alerts_app
from platform_assets.cli.audit import audit_app
from platform_assets.cli.author import contract_app
from platform_assets.cli.codes import explained
from platform_assets.cli.deliveries import delivery_app
from platform_assets.cli.erase import erase_app
from platform_assets.cli.feeds import feed_drop, feed_rename
from platform_assets.cli.personal import release_personal
from platform_assets.cli.promises import promises
from platform_assets.cli.releases import release_app
from platform_assets.cli.rows import quarantine_app, replay, trace
from platform_assets.cli.run import check, ci, run, setup
from platform_assets.cli.sample import sample_app, simulate
from platform_assets.cli.show import feed_app, page, why
from platform_assets.cli.ui import ui_app

app = typer.Typer(
    name="platform",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help=f"Drop a file, get a trusted table.\n\n{explained()}\n\nExample: platform simulate --days 30 && platform run",
)
for verb in (run, check, why, page, promises, replay, trace, ci, simulate, setup):
    app.command()(verb)
feed_app.command("drop")(feed_drop)
feed_app.command("rename")(feed_rename)
release_app.command("personal")(release_personal)
app.add_typer(alerts_app, name="alerts")
app.add_typer(audit_app, name="audit")
app.add_typer(delivery_app, name="delivery")
app.add_typer(feed_app, name="feed")
app.add_typer(erase_app, name="erase")
app.add_typer(contract_app, name="contract")
app.add_typer(quarantine_app, name="quarantine")
app.add_typer(release_app, name="release")
app.add_typer(sample_app, name="sample")
app.add_typer(ui_app, name="ui")


def _tell_version(asked: bool) -> None:
    if asked:
        typer.echo(f"platform {version('platform-assets')}")
        raise typer.Exit


@app.callback()
def platform(
    _: Annotated[
        bool, typer.Option("--version", help="Say which version this is.", is_eager=True, callback=_tell_version)
    ] = False,
) -> None:
    """What stands before a verb."""
