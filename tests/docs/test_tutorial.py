"""docs/tutorial.md, done literally in a copy of the repository.

Belongs here: what a fenced block means. Elsewhere: what the tutorial says.
A block with a title is a file to write, `sh` is run, `text` is what the command above it must print.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
from checkout import copy_checkout, files_of
from machine import PROJECT

_BLOCK: Final = re.compile(r'^```(?P<kind>\w+)(?: title="(?P<title>[^"]+)")?\n(?P<body>.*?)^```$', re.M | re.S)
# A reader goes on where all is done and something waits for a person besides (exit code 3).
_LIKE_A_READER: Final = 'platform() { command platform "$@" || test $? -eq 3; }'
_BOX: Final = re.compile(r"[\s\u2500-\u257f]+")


@dataclass(frozen=True)
class Block:
    """A fenced block; `line` is where it begins."""

    kind: str
    title: str | None
    body: str
    line: int


def blocks(markdown: str) -> Iterator[Block]:
    """The fenced blocks of a page, in order."""
    for found in _BLOCK.finditer(markdown):
        yield Block(found["kind"], found["title"], found["body"], markdown.count("\n", 0, found.start()) + 1)


def squeezed(text: str) -> str:
    """`text` with the lines of tables and runs of blanks as one blank each."""
    return _BOX.sub(" ", text).strip()


class Reader:
    """Somebody who does what the page says, in one shell session in `project`."""

    def __init__(self, project: Path) -> None:
        self.project = project
        self._session = project.parent / "session.sh"
        env = {key: value for key, value in os.environ.items() if not key.startswith(("PLATFORM_", "DAGSTER_", "DBT_"))}
        # The installed command, with the copy's code.
        self._env = {**env, "PYTHONPATH": str(project), "BASH_ENV": str(self._session)}
        self._session.touch()

    def write(self, title: str, body: str) -> None:
        path = self.project / title
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(body)

    def run(self, script: str) -> subprocess.CompletedProcess[str]:
        """Run a block; what it exports holds for the blocks after it."""
        return subprocess.run(
            ["bash", "-e", "-c", f"{_LIKE_A_READER}\n{script}\nexport -p > '{self._session}'"],
            cwd=self.project,
            env=self._env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_tutorial_does_what_it_says(tmp_path: Path) -> None:
    project = tmp_path / "project"
    copy_checkout(PROJECT, project)
    before = {name: (project / name).read_bytes() for name in files_of(PROJECT) if (project / name).is_file()}
    (project / ".venv").symlink_to(sys.prefix)
    reader = Reader(project)
    said = ""
    for block in blocks((project / "docs" / "tutorial.md").read_text()):
        where = f"docs/tutorial.md:{block.line}"
        if block.title is not None:
            reader.write(block.title, block.body)
        elif block.kind == "sh":
            done = reader.run(block.body)
            assert done.returncode == 0, f"{where}: exit code {done.returncode}\n{done.stdout}"
            said = done.stdout
        elif block.kind == "text":
            for promised in filter(None, map(squeezed, block.body.splitlines())):
                assert promised in squeezed(said), f"{where}: {promised!r} is not in what was printed:\n{said}"
        else:
            pytest.fail(f"{where}: a {block.kind} block without a title does nothing")
    after = {name: (project / name).read_bytes() for name in before if (project / name).is_file()}
    assert after == before, "what the tutorial adds, it takes away"
    assert {path.name for path in (project / "platform_assets").rglob("cafe*.py")} == set()


def test_tutorial_leaves_no_language_unread() -> None:
    page = (PROJECT / "docs" / "tutorial.md").read_text()
    assert page.count("```") == 2 * len(list(blocks(page)))
    assert shutil.which("bash") is not None
