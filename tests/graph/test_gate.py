"""The gate itself: every process finds the same tests, and nothing is left out unseen."""

import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from check import nearest_tests
from conftest import pytest_runtest_setup
from machine import PROJECT, rounds


@pytest.mark.slow
def test_tests_have_the_same_names_in_every_process() -> None:
    """pytest-xdist's workers must find the same: no name hangs on a clock, a size, a hash or the machine's zone."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-n", "0", "-m", "", "-p", "no:cacheprovider"]
    found = []
    collecting = [
        subprocess.Popen(
            command,
            cwd=PROJECT,
            env={**os.environ, "PYTHONHASHSEED": seed, "TZ": zone},
            stdout=subprocess.PIPE,
            text=True,
        )
        for seed, zone in (("1", "UTC"), ("2", "Pacific/Auckland"))
    ]
    for process in collecting:
        told, _ = process.communicate(timeout=240)
        assert process.returncode == 0, told[-3000:]
        found.append([line for line in told.splitlines() if "::" in line])
    assert found[0] == found[1]
    assert len(found[0]) == len({*found[0]}) > 1000


@pytest.mark.parametrize(("ci", "outcome"), [("true", pytest.fail.Exception), ("", pytest.skip.Exception)])
def test_what_is_missing_is_skipped_but_fails_in_ci(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ci: str, outcome: type[BaseException]
) -> None:
    def item(path: Path) -> Any:
        return SimpleNamespace(iter_markers=lambda _: [pytest.mark.needs(path).mark])

    monkeypatch.setenv("CI", ci)
    pytest_runtest_setup(item(tmp_path))
    with pytest.raises(outcome, match="is not here"):
        pytest_runtest_setup(item(tmp_path / "data"))


def test_nothing_is_skipped_in_another_way() -> None:
    """But for what hypothesis or a library does by itself."""
    skipping = re.compile(r"pytest\.(skip|importorskip|mark\.skip|mark\.xfail)")
    others = [test.name for test in (PROJECT / "tests").rglob("*.py") if skipping.search(test.read_text())]
    assert sorted(others) == ["machine.py", "test_gate.py"]


def test_a_long_test_is_run_in_full_when_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FULL", raising=False)
    assert rounds(50) == 12
    monkeypatch.setenv("FULL", "1")
    assert rounds(50) == 50


def test_what_changed_is_tested_by_its_own_room_first_and_then_by_those_that_import_it() -> None:
    found = nearest_tests([PROJECT / "platform_assets" / "engine" / "promises" / "due.py"])
    rooms = list(dict.fromkeys(test.parent.name for test in found))
    assert rooms[0] == "promises"
    assert "watch" in rooms
    assert not {"readers", "contract", "integration"} & {*rooms}
    assert nearest_tests([PROJECT / "README.md"]) == []
    changed = PROJECT / "tests" / "unit" / "store" / "test_release.py"
    assert nearest_tests([changed])[0] == changed
