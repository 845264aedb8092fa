"""`make check`: lint, types and the unit tests of what has changed since it was last shared, in half a minute.

Belongs here: which tests those are, and that they end in time. Elsewhere: rooms and their arrows (rooms.py).
"""

import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import pytest
from machine import PROJECT
from rooms import PACKAGE, arrows, room

BIN: Final = Path(sys.executable).parent
UNIT: Final = PROJECT / "tests" / "unit"
SHAPE: Final = PROJECT / "tests" / "graph" / "test_graph_shape.py"
TESTS_END_S: Final = 25


class InTime:
    """Ends a session of tests when its time is over; what has failed until then has failed."""

    def __init__(self, within_s: float) -> None:
        self._ends = time.monotonic() + within_s
        self._ran = self._failed = 0

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._ran += report.when == "call"
        self._failed += report.failed
        if time.monotonic() > self._ends:
            pytest.exit(f"time is over after {self._ran} tests; `make test` runs them all", bool(self._failed))


def changed() -> list[Path]:
    """Files that differ from what this branch shares with the main one, committed or not."""
    base = next(filter(None, (_git("merge-base", "HEAD", main) for main in ("origin/main", "main"))), "HEAD")
    names = f"{_git('diff', '--name-only', base)}\n{_git('ls-files', '--others', '--exclude-standard')}".split("\n")
    return sorted({PROJECT / name for name in names if name and (PROJECT / name).is_file()})


def nearest_tests(files: Iterable[Path]) -> list[Path]:
    """Unit tests of these files: those among them, then those of their rooms, then of the rooms that import these."""
    files = list(files)
    found = [file for file in files if file.name.startswith("test_") and UNIT in file.parents]
    rooms = {room(file) for file in files if PACKAGE in file.parents and file.suffix == ".py"}
    above = {each for each, below in arrows().items() if below & rooms}
    for each in (*sorted(rooms), *sorted(above - rooms)):
        found += sorted((UNIT / Path(each).stem).glob("test_*.py"))
    return [*dict.fromkeys(found), SHAPE] if rooms or found else []


def _git(*command: str) -> str:
    return subprocess.run(["git", *command], cwd=PROJECT, capture_output=True, text=True, check=False).stdout.strip()


def main() -> bool:
    """Whether all is well."""
    in_time = InTime(TESTS_END_S)
    if any(subprocess.call([BIN / "ruff", *how], cwd=PROJECT) for how in (("format", "--check", "."), ("check", "."))):
        return False
    with subprocess.Popen([BIN / "mypy"], cwd=PROJECT, stdout=subprocess.PIPE, text=True) as types:
        tests = nearest_tests(changed())
        failed = tests and pytest.main(["-q", *map(str, tests)], plugins=[in_time])
        said, _ = types.communicate()
    sys.stdout.write(said)
    return not failed and types.returncode == 0


if __name__ == "__main__":
    sys.exit(not main())
