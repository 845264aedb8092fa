"""The console command `platform`: thin verbs over the engine and its orchestration.

Belongs here: the command tree and how errors end a command. Elsewhere: work (commands). Modules that import Dagster
are imported by the verbs that need it, so that the others answer at once.
"""

from platform_assets.settings import import_nothing_from_here, protect_process

import_nothing_from_here()  # before anything is imported that could be taken from there

import sys
import traceback
from typing import NoReturn

import typer

from platform_assets.cli.alerts import alerts_app
from platform_assets.cli.audit import audit_app
from platform_assets.cli.author import contract_app
from platform_assets.cli.codes import FAILED, MISUSED, explained
from platform_assets.cli.deliveries import delivery_app
from platform_assets.cli.erase import erase_app
from platform_assets.cli.feeds import feed_drop, feed_rename
from platform_assets.cli.promises import promises
from platform_assets.cli.render import render, say
from platform_assets.cli.rows import quarantine_app, replay, trace
from platform_assets.cli.run import check, ci, run, setup
from platform_assets.cli.sample import sample_app, simulate
from platform_assets.cli.show import feed_app, release_app, why
from platform_assets.cli.ui import ui_app
from platform_assets.errors import ConfigurationError, ForeignError, PlatformError

app = typer.Typer(
    name="platform",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help=f"Drop a file, get a trusted table.\n\n{explained()}\n\nExample: platform simulate --days 30 && platform run",
)
for verb in (run, check, why, promises, replay, trace, ci, simulate, setup):
    app.command()(verb)
feed_app.command("drop")(feed_drop)
feed_app.command("rename")(feed_rename)
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


def main() -> None:
    """Run the command; it ends as codes.py says."""
    protect_process()
    try:
        app()
    except PlatformError as error:
        _tell(error)
    except Exception as error:
        from platform_assets.project.configured import has_personal_data

        if not has_personal_data():
            raise
        # A library's text may hold data, and so may what Python prints with it; where it happened does not.
        sys.stderr.writelines(traceback.format_tb(error.__traceback__))
        _tell(ForeignError(error))


def _tell(error: PlatformError) -> NoReturn:
    say(f"error: {error}")
    answer = {"ok": False, "error": {"what": error.what, "state": error.state, "remedy": error.remedy}}
    render(answer, (), as_json="--json" in sys.argv)
    sys.exit(MISUSED if isinstance(error, ConfigurationError) else FAILED)
