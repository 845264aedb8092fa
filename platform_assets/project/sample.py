"""The sample in this checkout: the links that make it part of the deployment, and how it is taken out.

Belongs here: links. Elsewhere: what the sample delivers and declares (samples/).
Its files stay in samples/: a later version of the platform changes them there without a conflict.
"""

import fnmatch
import json
import os
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Final

from platform_assets.errors import ConfigurationError
from platform_assets.settings import PROJECT

SAMPLES: Final = PROJECT / "samples"
ACCOUNT: Final = ".simulated/planted.json"
"""What the sample has delivered, below the landing folder: `platform simulate` writes it."""
_WORLD: Final = {"rows_per_day": 1000, "seed": 1, "dirt": 0.02}
# Where a deployment declares what it has.
_DECLARED_IN: Final = ("platform_assets/feeds", "platform_assets/marts", "dbt_project")


def sample_links() -> dict[Path, Path]:
    """The links into the samples folder and where they lead; none once the sample is taken out."""
    found = {}
    for folder in _DECLARED_IN:
        for path in sorted((PROJECT / folder).iterdir()):
            if path.is_symlink():
                leads_to = Path(os.path.normpath(path.parent / path.readlink()))
                if leads_to.is_relative_to(SAMPLES):
                    found[path] = leads_to
    return found


def check_sample_links() -> None:
    """Raises ConfigurationError where a link leads nowhere: somebody deleted the sample's files, and not the links."""
    for link, leads_to in sample_links().items():
        if not leads_to.exists():
            raise ConfigurationError(
                str(link.relative_to(PROJECT)),
                f"is a link to {leads_to.relative_to(PROJECT)}, which is not there",
                "Take the sample out: platform sample remove. Or bring its files back: git checkout samples.",
            )


def sample_goes_on(landing: Path, places: Sequence[str], today: date) -> str | None:
    """The command that delivers what the sample's files lack up to yesterday, if it delivered files of these places."""
    try:
        told = json.loads((landing / ACCOUNT).read_text("utf-8"))
        days = (today - timedelta(days=1) - date.fromisoformat(told["until"])).days
        files, world = [*told["files"]], {name: told[name] for name in _WORLD}
    except (OSError, ValueError, KeyError):
        return None
    if days < 1 or not sample_links() or not any(fnmatch.filter(files, place) for place in places):
        return None
    of_this_world = [f"--{name.replace('_', '-')} {value}" for name, value in world.items() if value != _WORLD[name]]
    return " ".join(["platform simulate", f"--days {days}", *of_this_world, "&& platform run"])


def remove_sample() -> None:
    """Take the sample out of the deployment. Its files, its deliveries and what was made of them stay."""
    for link in sample_links():
        link.unlink(missing_ok=True)
