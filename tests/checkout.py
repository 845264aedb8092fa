"""Copies of this checkout, for tests that change what they look at, and the sample in them.

Belongs here: what git has or would add, copied with its links. Elsewhere: where the project lies (machine.py).
"""

import atexit
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

SAMPLE_LINKS: Final = {
    "platform_assets/feeds/retail.py": "../../samples/retail/feeds.py",
    "platform_assets/marts/retail.py": "../../samples/retail/marts.py",
    "dbt_project/sample": "../samples/retail/dbt",
}


def files_of(project: Path, *parts: str) -> list[str]:
    """What git has or would add, of `parts` or in all: files and links."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *parts]
    listed = subprocess.run(command, cwd=project, capture_output=True, check=True, text=True).stdout
    return [name for name in sorted(listed.split("\0")) if name and _is_there(project / name)]


def copy_checkout(project: Path, to: Path, *parts: str) -> None:
    """Copy what git has or would add, of `parts` or in all."""
    for name in files_of(project, *parts):
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(project / name, to / name, follow_symlinks=False)


def link_sample(project: Path) -> None:
    """Make the sample part of the checkout, as it is of a fresh clone."""
    for name, leads_to in SAMPLE_LINKS.items():
        if not (project / name).is_symlink():
            (project / name).symlink_to(leads_to)


def with_sample(checkout: Path) -> Path:
    """The checkout or, where its sample is taken out, a copy of it that has the sample, which this process and its
    children then import: what the sample shows of the platform is tested wherever the platform is."""
    if not (checkout / "samples").is_dir() or all((checkout / link).is_symlink() for link in SAMPLE_LINKS):
        return checkout
    copy = Path(tempfile.mkdtemp(prefix="checkout-"), "project")
    atexit.register(shutil.rmtree, copy.parent, ignore_errors=True)
    copy_checkout(checkout, copy)
    subprocess.run(["git", "init", "--quiet"], cwd=copy, check=True)  # so that it can be copied again
    link_sample(copy)
    sys.path.insert(0, str(copy))
    os.environ["PYTHONPATH"] = str(copy)
    return copy


def _is_there(path: Path) -> bool:
    return path.is_symlink() or path.is_file()
