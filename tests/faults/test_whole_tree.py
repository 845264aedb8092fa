"""`platform ui` and everything it has started, killed at once at any moment: whatever was dropped comes in once.

Nothing is mocked: the real command on a throw-away deployment, SIGKILL to every process of it.
"""

import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import pytest
from machine import rounds
from tree import TAKEN_IN_S, Tree

from platform_assets.orchestration.runs.process import PROCESS_TAG

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture
def trees(tmp_path: Path) -> Iterator[Callable[[int], Tree]]:
    """Makes trees for so many days; whatever happens, none of their processes stays."""
    made: list[Tree] = []

    def make(days: int) -> Tree:
        made.append(Tree(tmp_path / str(len(made)), days))
        return made[-1]

    yield make
    for tree in made:
        if tree.starts:
            tree.kill()


def test_two_kills_of_everything_lose_and_double_nothing(trees: Callable[[int], Tree]) -> None:
    tree = trees(4)
    tree.start()
    tree.drop_a_day()
    tree.until(lambda: tree.executing() is not None, 60, "run")
    tree.kill()
    assert tree.orphans(), "a run has died"
    tree.drop_a_day()
    tree.start()
    tree.until(lambda: bool(tree.runs(dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED)), 60, "run")
    assert tree.died(), "it was found when the UI was started again"
    tree.kill()
    tree.recovers()


@pytest.mark.timeout(5400)
def test_many_kills_of_everything_lose_and_double_nothing(trees: Callable[[int], Tree]) -> None:
    kills = rounds(50)
    tree = trees(2 * kills)
    chance = random.Random(7)
    for _ in range(kills):
        tree.start()
        tree.drop_a_day()
        time.sleep(chance.uniform(0.5, 12))
        tree.kill()
    assert tree.died()
    tree.recovers()


def test_a_run_that_is_killed_alone_is_noticed_and_its_file_offered_again(trees: Callable[[int], Tree]) -> None:
    tree = trees(2)
    tree.start()
    tree.drop_a_day()
    tree.until(lambda: tree.executing() is not None, 60, "run")
    victim = tree.executing()
    assert victim is not None
    os.kill(int(victim.tags[PROCESS_TAG].split("@")[0]), signal.SIGKILL)
    tree.until(lambda: victim.run_id in {run.run_id for run in tree.died()}, 30, "notice of its death")
    tree.until(lambda: victim.run_id in {r.run_id for r in tree.runs(dg.DagsterRunStatus.FAILURE)}, 5, "failure")
    tree.until(tree.all_taken_in, TAKEN_IN_S, "receipt for every file")
    tree.end()
    tree.recovers()


def test_a_daemon_that_dies_in_the_middle_of_a_tick_leaves_no_process_and_loses_nothing(
    trees: Callable[[int], Tree],
) -> None:
    tree = trees(2)
    tree.drop_a_day()
    tree.start(PLATFORM_FAILPOINT="mid-tick")
    tree.until(lambda: "DagsterUserCodeUnreachableError" in tree.details(), 60, "tick that dies")
    for process in tree.processes():
        if "dagster._daemon" in process.cmdline():
            process.kill()
    tree.until(lambda: not tree.processes(), 120, "end of what the daemon leaves behind")
    tree.kill()
    tree.recovers()


def test_a_lost_cursor_brings_no_row_twice(trees: Callable[[int], Tree]) -> None:
    tree = trees(2)
    tree.drop_a_day()
    tree.recovers()
    rows = tree.lines()
    shutil.rmtree(tree.world.home / "dagster" / "schedules")
    known = next(tree.world.landing.glob("retail/order_lines/*.csv"))
    shutil.copy(known, known.with_name("again.csv"))
    tree.recovers()
    assert tree.ask("SELECT status FROM ledger.deliveries WHERE slot LIKE '%again.csv'") == [("duplicate",)]
    assert tree.ask("SELECT count(*) FROM raw.order_lines") == [(rows,)]
