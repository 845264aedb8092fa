"""The console command `platform`: thin verbs over the engine and its orchestration.

Belongs here: how a command begins and ends. Elsewhere: the tree of commands (tree.py), work (commands). Modules that
import Dagster are imported by the verbs that need it, so that the others answer at once.
"""

from platform_assets.settings import import_nothing_from_here, protect_process

import_nothing_from_here()  # before anything is imported that could be taken from there

import json
import signal
import sys
import traceback
from typing import NoReturn

from platform_assets.cli.codes import FAILED, INTERRUPTED, MISUSED
from platform_assets.errors import ConfigurationError, ForeignError, PlatformError


def main() -> None:
    """Run the command; it ends as codes.py says."""
    protect_process()
    try:
        from platform_assets.cli.tree import app  # takes a while, and Ctrl-C may come meanwhile

        app()
    except KeyboardInterrupt:
        _tell_interrupted()
    except SystemExit as end:
        if end.code == INTERRUPTED:  # so Typer ends a command that was interrupted
            _tell_interrupted()
        raise
    except PlatformError as error:
        _tell(error)
    except Exception as error:
        from platform_assets.project.configured import has_personal_data

        if not has_personal_data():
            raise
        # A library's text may hold data, and so may what Python prints with it; where it happened does not.
        sys.stderr.writelines(traceback.format_tb(error.__traceback__))
        _tell(ForeignError(error))


def _tell_interrupted() -> NoReturn:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever presses it twice gets the same answer
    sys.stderr.write("interrupted; the last commit stands; run again\n")
    if "--json" in sys.argv:
        error = {"what": "interrupted", "state": "The last commit stands.", "remedy": "Run again."}
        sys.stdout.write(json.dumps({"ok": False, "error": error}) + "\n")
    sys.exit(INTERRUPTED)


def _tell(error: PlatformError) -> NoReturn:
    from platform_assets.cli.render import render, say

    say(f"error: {error}")
    answer = {"ok": False, "error": {"what": error.what, "state": error.state, "remedy": error.remedy}}
    render(answer, (), as_json="--json" in sys.argv)
    sys.exit(MISUSED if isinstance(error, ConfigurationError) else FAILED)
