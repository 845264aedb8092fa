"""Commands of the how-to pages, run as they stand there on a small deployment of the sample feeds.

A `sh` block is run, line by line; a `text` block is what the command above it must print.
Elsewhere: whether what the other blocks name exists (test_readme.py), the tutorial (test_tutorial.py).
"""

import os
import shlex
import subprocess
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Final

import pytest
from deployed import BIN
from machine import PROJECT
from test_tutorial import blocks, squeezed
from typer.testing import CliRunner

from platform_assets.cli.codes import ATTENTION, DONE
from platform_assets.cli.tree import app
from platform_assets.project.configured import configured_deployment
from samples.retail.simulator import simulate

RELEASES: Final = "releases"
PAGES: Final = sorted((PROJECT / "docs" / "how-to").glob("*.md"))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder to work in, with deliveries in its landing folder that have been taken in."""
    folder = tmp_path_factory.mktemp("how-to")
    simulate(folder / "landing", days=3, rows_per_day=100, seed=1, dirt=0.1, until=date(2026, 11, 18))
    with pytest.MonkeyPatch.context() as patch:
        for variable in [name for name in os.environ if name.startswith(("PLATFORM_", "DAGSTER_"))]:
            patch.delenv(variable)
        patch.setenv("PLATFORM_HOME", str(folder / ".platform"))
        patch.setenv("PLATFORM_LANDING", str(folder / "landing"))
        patch.setenv("COLUMNS", "200")
        patch.chdir(folder)
        _, deployment = configured_deployment(lambda _: None)
        deployment.prepare()
        for feed in deployment.feeds:
            deployment.ingest(feed)
        yield folder


@pytest.mark.parametrize("page", [page for page in PAGES if page.stem != RELEASES], ids=lambda page: page.stem)
def test_commands_of_a_page_work(page: Path, place: Path) -> None:
    follow(page)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_commands_of_the_page_of_releases_work(place: Path) -> None:
    """On two releases of the sample."""
    for day in (18, 19):
        simulate(place / "landing", days=1, rows_per_day=100, seed=1, dirt=0.1, until=date(2026, 11, day))
        done = subprocess.run([BIN / "platform", "run"], capture_output=True, text=True, check=False)
        assert done.returncode in (DONE, ATTENTION), done.stdout + done.stderr
    follow(PROJECT / "docs" / "how-to" / f"{RELEASES}.md")


def follow(page: Path) -> None:
    """Do what the page says."""
    printed = ""
    for block in blocks(page.read_text()):
        where = f"{page.name}:{block.line}"
        if block.kind == "text":
            for promised in filter(None, map(squeezed, block.body.splitlines())):
                assert promised in squeezed(printed), f"{where}: {promised!r} is not in what was printed:\n{printed}"
        for line in block.body.splitlines() if block.kind == "sh" else ():
            program, *arguments = shlex.split(line)
            assert program == "platform", f"{where}: {line}"
            done = CliRunner().invoke(app, [found for each in arguments for found in expanded(each)])
            assert done.exit_code in (DONE, ATTENTION), (
                f"{where}: {line}: exit code {done.exit_code}\n{done.output}\n{done.exception!r}"
            )
            printed = done.stdout


def expanded(argument: str) -> list[str]:
    """A pattern as the shell expands it: here to the first file alone."""
    return (
        [str(path) for path in sorted(Path.cwd().glob(argument))[:1]] if argument.startswith("landing/") else [argument]
    )
