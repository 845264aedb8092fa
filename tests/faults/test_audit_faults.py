"""What a person does is in the audit log, whatever kills it on the way, and whoever writes at the same time."""

import os
import signal
from pathlib import Path
from typing import Final
from unittest import mock

import pytest
from deployed import Deployed

from platform_assets.project.configured import prepared_deployment

FEED: Final = "order_lines"


@pytest.fixture
def world(tmp_path: Path) -> Deployed:
    """A deployment that has taken in a few files."""
    world = Deployed(tmp_path)
    world.verb("simulate", "--days", "2", "--rows-per-day", "20", "--until", "2026-03-16")
    with mock.patch.dict(os.environ, world.environment()):
        _, deployment = prepared_deployment(lambda _: None)
        deployment.ingest(deployment.feed(FEED))
    return world


def judged(world: Deployed) -> list[tuple[str, str, int]]:
    """What is recorded: what, outcome, deliveries."""
    entries = world.verb("audit", "list", "--json").answer["entries"][::-1]
    return [(each["what"], each["outcome"], each["about"].get("deliveries", 0)) for each in entries]


def replayed_at(world: Deployed) -> list[tuple[object, ...]]:
    return world.query("SELECT replayed_at FROM ledger.deliveries ORDER BY ALL", world.home / "warehouse.duckdb")


@pytest.mark.parametrize(
    ("point", "left"),
    [
        ("mid-audit-line", [("cut short", "done", 0)]),
        ("audit-line", [("replay", "no end", 0)]),
        ("before-commit", [("replay", "no end", 0)]),
    ],
)
def test_a_replay_that_is_killed_did_nothing_and_the_log_says_how_far_it_came(
    world: Deployed, point: str, left: list[tuple[str, str, int]]
) -> None:
    before = replayed_at(world)
    killed = world.platform("replay", FEED, "--again", env={"PLATFORM_FAILPOINT": point})
    assert killed.code == -signal.SIGKILL, killed.err
    assert replayed_at(world) == before
    assert world.verb("audit", "verify").code == 0
    assert world.verb("replay", FEED, "--again").code == 0
    deliveries = len(before)
    assert judged(world) == [*left, ("replay", "asked", 0), ("replay", "done", deliveries)]
    assert world.verb("audit", "verify").code == 0
    assert replayed_at(world) != before


def test_a_replay_that_was_done_when_it_was_killed_has_an_entry_too(world: Deployed) -> None:
    before = replayed_at(world)
    killed = world.platform("replay", FEED, "--again", env={"PLATFORM_FAILPOINT": "after-commit"})
    assert killed.code == -signal.SIGKILL, killed.err
    assert replayed_at(world) != before
    assert judged(world) == [("replay", "no end", 0)]


def test_a_log_that_was_cut_off_stops_what_people_do_and_not_what_runs_by_itself(world: Deployed) -> None:
    world.verb("replay", FEED)
    log = world.home / "audit.jsonl"
    log.write_bytes(log.read_bytes().splitlines(keepends=True)[0])
    before = replayed_at(world)
    assert world.verb("replay", FEED, "--again").code == 1
    assert replayed_at(world) == before
    with mock.patch.dict(os.environ, world.environment()):
        _, deployment = prepared_deployment(lambda _: None)
        deployment.ingest(deployment.feed(FEED))
    for name in ("audit.jsonl", "audit.head"):
        (world.home / name).rename(world.root / name)
    assert world.verb("replay", FEED, "--again").code == 0
    assert judged(world)[0] == ("replay", "asked", 0)
