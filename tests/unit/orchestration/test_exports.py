"""Exports by themselves: another database follows what readers have, by what it says of itself."""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import dagster as dg
import pytest
from modelled import RELEASE, Modelled, modelled
from shop import OpenSales, Shop, sales

from platform_assets.engine.feed.export import Export
from platform_assets.orchestration.runs.keys import is_export
from platform_assets.project.exports import read

EXPORT: Final = Export("marts", to="env:ANALYTICS_DB")
LATER: Final = timedelta(minutes=2)


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The other database, whose URL nobody is to see."""
    folder = tmp_path / "canary-of-the-url"
    folder.mkdir()
    monkeypatch.setenv("ANALYTICS_DB", f"sqlite:///{folder}/there.sqlite")
    return folder / "there.sqlite"


@pytest.fixture
def world(shop: Shop, file: Path) -> Iterator[Modelled]:
    """A shop whose first delivery is released and exported."""
    shop.declare(contract=OpenSales)
    with modelled(shop) as made:
        made.exports = (EXPORT,)
        shop.deliver("a.csv", sales("S1,1"))
        assert [each.success for each in made.by_itself()] == [True]
        yield made


@pytest.fixture
def ask(file: Path) -> Callable[[str], Sequence[Any]]:
    def asked(sql: str) -> Sequence[Any]:
        with closing(sqlite3.connect(file, isolation_level=None)) as db:
            return db.execute(sql).fetchall()

    return asked


def another(world: Modelled, rows: str) -> None:
    """The model's code changes, and it makes these rows."""
    world.rows, world.code = rows, rows


def release(world: Modelled) -> str:
    current = world.shop.deployment.releases.current()
    assert current is not None
    return current.id


def test_a_release_is_exported_in_the_run_that_makes_it(world: Modelled, ask: Callable[[str], Sequence[Any]]) -> None:
    assert ask("SELECT * FROM revenue") == [(1,)]
    assert ask("SELECT product, mart, release, rows FROM _platform_releases") == [
        ("marts", "revenue", release(world), 1)
    ]
    assert world.automated() == set()

    another(world, "SELECT 2 AS one")
    world.by_itself()
    assert ask("SELECT * FROM revenue") == [(2,)]
    assert ask("SELECT * FROM revenue__previous") == [(1,)]


def test_a_release_that_readers_were_taken_back_to_is_exported(
    world: Modelled, ask: Callable[[str], Sequence[Any]]
) -> None:
    releases = world.shop.deployment.releases
    first = releases.current()
    assert first is not None
    another(world, "SELECT 2 AS one")
    world.by_itself()
    releases.pin(first, "os:anna", "two is wrong", world.shop.clock())

    assert EXPORT.asset in world.automated()
    world.by_hand(EXPORT.asset)
    assert ask("SELECT * FROM revenue") == [(1,)]
    assert world.state.outdated(EXPORT.asset) is None


def test_what_somebody_dropped_there_is_made_again(world: Modelled, ask: Callable[[str], Sequence[Any]]) -> None:
    ask("DROP TABLE revenue")
    assert world.automated() == set(), "asked a moment ago"
    world.shop.clock.ahead += LATER

    assert world.automated() == {EXPORT.asset}
    world.by_itself()
    assert ask("SELECT * FROM revenue") == [(1,)]


def test_a_database_that_cannot_be_had_fails_its_asset_alone_and_is_tried_ever_later(
    world: Modelled, ask: Callable[[str], Sequence[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANALYTICS_DB", "sqlite:////nowhere/canary-of-the-url/there.sqlite")
    another(world, "SELECT 2 AS one")
    before = release(world)
    results = world.by_itself()

    assert release(world) != before
    failures = [event for each in results for event in each.all_events if event.is_step_failure]
    assert [each.step_key for each in failures] == ["export__marts__analytics_db"]
    assert "the folder of that SQLite file is not there" in str(failures[0].step_failure_data.error)
    assert world.automated() == set(), "it has just failed"
    assert world.state.outdated(EXPORT.asset) is not None

    monkeypatch.undo()
    world.shop.clock.ahead += timedelta(hours=2)
    monkeypatch.setenv("ANALYTICS_DB", f"sqlite:///{world.shop.root}/canary-of-the-url/there.sqlite")
    world.by_itself()
    assert ask("SELECT * FROM revenue") == [(2,)]


def test_it_stays_out_of_date_while_nothing_else_can_be_released(world: Modelled, file: Path) -> None:
    """What holds back the next release does not hold back the export of this one."""
    file.unlink()
    world.sound = False
    world.shop.deliver("b.csv", sales("S2,1"))
    world.by_itself()
    assert not world.released
    world.shop.clock.ahead += LATER
    world.by_itself()

    assert file.exists()
    assert world.state.outdated(EXPORT.asset) is None


def test_what_was_exported_is_told_and_checked_and_the_url_is_in_nothing_that_is_kept(world: Modelled) -> None:
    key = dg.AssetKey(EXPORT.asset.split("/"))
    event = world.instance.get_latest_materialization_event(key)
    assert event is not None
    assert event.asset_materialization is not None
    told = event.asset_materialization.metadata
    assert told["release"].value == release(world)
    assert "revenue" in str(told["tables"].value)

    result = world.by_hand(EXPORT.asset)
    checks = {each.check_name: each.passed for each in result.get_asset_check_evaluations()}
    assert checks == {"rows_there": True, "values_there": True}
    said = " ".join(str(each) for each in world.instance.all_logs(result.run_id))
    assert "canary-of-the-url" not in said
    kept = [path for path in world.shop.deployment.home.rglob("*") if path.is_file()]
    assert [path for path in kept if b"canary-of-the-url" in path.read_bytes()] == []
    assert read(world.shop.deployment.home, EXPORT) is not None


def test_only_exports_are_kept_out_of_ci(world: Modelled) -> None:
    keys = world.definitions.resolve_asset_graph().executable_asset_keys
    assert {key.to_user_string() for key in keys if is_export(key)} == {EXPORT.asset}


def test_there_is_nothing_to_export_before_there_is_a_release(shop: Shop, file: Path) -> None:
    with modelled(shop) as made:
        made.exports = (EXPORT,)
        assert made.by_itself() == []
        assert not made.by_hand(EXPORT.asset).success
        assert made.state.outdated(RELEASE) is not None
    assert not file.exists() or file.stat().st_size == 0
