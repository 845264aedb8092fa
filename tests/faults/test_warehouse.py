"""Warehouses and clocks that fail: torn, restored, read-only, too small, a day ahead; and Dagster's state gone."""

import contextlib
import os
import signal
import sqlite3
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pytest
from modelled import opens, project_of_shop
from shop import SALES, Shop, child, ended, ingest_in_child, numbered, sales

from platform_assets.engine.deployment import Deployment
from platform_assets.engine.feed.feed import Files, Volume, seconds
from platform_assets.engine.store import warehouse
from platform_assets.errors import StorageError, WarehouseUnreadable
from platform_assets.orchestration.feeds import feed_assets

FAILED_AS_IT_SHOULD = 3


def _ingest_and_die_with_the_log_open(root: Path) -> None:
    shop = Shop(root)
    # A second connection keeps the log from being written into the file.
    with duckdb.connect(str(shop.deployment.warehouse.path)):
        shop.ingest()
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_warehouse_of_another_version_is_refused_and_its_remedy_works(shop: Shop) -> None:
    shop.load("a.csv", numbered(0, 10))
    path = shop.deployment.warehouse.path
    with duckdb.connect(str(path)) as connection:
        connection.execute("ALTER TABLE ledger.slots DROP COLUMN position")
    with pytest.raises(
        WarehouseUnreadable, match=r"(?s)another version .* lacks slots\.position.*or move it"
    ) as refused:
        shop.deployment.prepare()
    assert "comes back from the archive" in str(refused.value)
    path.rename(path.with_suffix(".old"))
    shop.deployment.prepare()
    shop.ingest()
    assert len(shop.skus()) == 10
    assert shop.reconciles()


def test_a_copy_of_the_ledger_that_another_version_made_knows_no_receipt(shop: Shop) -> None:
    shop.load("a.csv", numbered(0, 10))
    published = shop.deployment.warehouse.published(shop.feed)
    assert len(published.receipts()) == 1
    with contextlib.closing(sqlite3.connect(shop.deployment.home / "seen/sales.sqlite", isolation_level=None)) as copy:
        copy.execute("UPDATE receipts SET receipt = '[1]'")
    assert published.receipts() == []


@pytest.mark.parametrize("cut", [0, 1, 1024, 40_000])
def test_what_a_torn_log_has_lost_comes_back_from_the_archive(shop: Shop, cut: int) -> None:
    shop.load("a.csv", numbered(0, 1000))
    shop.deliver("b.csv", numbered(1000, 5000))
    assert ended(child(_ingest_and_die_with_the_log_open, shop.root)) == -signal.SIGKILL
    log = shop.deployment.warehouse.path.with_name("warehouse.duckdb.wal")
    assert log.stat().st_size > 40_000
    os.truncate(log, log.stat().st_size - cut)
    (shop.landing / "sales" / "b.csv").unlink()  # tidied away by the producer meanwhile
    shop.deployment.prepare()
    shop.ingest()
    assert sorted(shop.skus()) == sorted(f"S{n}" for n in range(6000))
    assert shop.reconciles()
    assert shop.ingest().receipts == []


def _ingest_feed_of_two(root: Path, name: str) -> None:
    deployment = _two(root)
    deployment.prepare()
    deployment.ingest(deployment.feed(name))


def _two(root: Path) -> Deployment:
    feeds = [
        replace(SALES, name=name, source=Files(f"sales/{name}/*.csv", settle=seconds(0))) for name in ("north", "south")
    ]
    return Deployment(feeds, home=root / "home", landing=root / "landing")


def test_two_feeds_at_once_wait_for_each_other_and_load_everything(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    for number, name in enumerate(("north", "south")):
        for file in range(3):
            start = number * 100_000 + file * 5000
            shop.deliver(f"{name}/{file}.csv", numbered(start, 5000))
    _two(tmp_path).prepare()
    runs = [child(_ingest_feed_of_two, tmp_path, name) for name in ("north", "south")]
    assert [ended(run) for run in runs] == [0, 0]
    for name in ("north", "south"):
        assert shop.query(f"SELECT count(*), count(DISTINCT sku) FROM raw.{name}") == [(15_000, 15_000)]
    ids = [receipt.delivery_id for receipt in shop.receipts()]
    assert sorted(ids) == list(range(1, 7))


def _ingest_with_little_memory(root: Path) -> None:
    vars(warehouse)["_MEMORY_LIMIT"] = "12MB"
    try:
        ingest_in_child(root)
    except StorageError:
        os._exit(FAILED_AS_IT_SHOULD)


def test_a_delivery_larger_than_the_memory_limit_loads_or_fails_cleanly(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    path = shop.deliver("a.csv", numbered(0, 350_000))
    assert path.stat().st_size > 12 << 20
    code = ended(child(_ingest_with_little_memory, tmp_path))
    assert code in (0, FAILED_AS_IT_SHOULD)
    if code:
        assert shop.skus() == []
    shop.ingest()
    assert shop.query("SELECT count(*), count(DISTINCT sku) FROM raw.sales") == [(350_000, 350_000)]
    assert shop.leftovers() == []


@pytest.mark.parametrize("off", [timedelta(days=1), timedelta(days=-1)])
def test_a_clock_that_jumps_a_day_changes_no_order_and_no_outcome(shop: Shop, off: timedelta) -> None:
    shop.load("a.csv", sales("S1,1"))
    shop.clock.ahead = off
    shop.load("a.csv", sales("S2,1"))
    shop.clock.ahead = timedelta()
    last = shop.load("a.csv", sales("S3,1"))
    assert (shop.skus(), last.supersedes) == (["S3"], 2)
    shop.clock.ahead = off
    assert shop.ingest().receipts == []
    assert shop.reconciles()


def test_data_from_a_clock_that_was_a_day_ahead_is_late_when_it_is(shop: Shop) -> None:
    right = datetime(2026, 3, 10, 12, tzinfo=UTC)
    shop.clock.at = right + timedelta(days=1)
    shop.load("a.csv", sales("S1,1,,2026-03-09T10:00:00Z"))
    assert shop.status().freshness == "late"  # by the clock that is ahead
    shop.clock.at = right
    assert shop.status().freshness == "fresh"
    shop.clock.at = right + timedelta(days=1, hours=1)
    shop.ingest()  # a run that brings nothing new
    assert shop.status().freshness == "late"


# ---- in Dagster


def materialized(shop: Shop) -> dg.ExecuteInProcessResult:
    """A run of the feed and its checks, on a Dagster that knows of none before."""
    with dg.DagsterInstance.ephemeral() as instance:
        return dg.materialize(
            [feed_assets(shop.feed, project_of_shop(shop.feed))],
            resources={"deployment": opens(shop)},
            instance=instance,
            raise_on_error=False,
        )


def figures(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    raw = [event.materialization for event in result.get_asset_materialization_events()]
    (metadata,) = [each.metadata for each in raw if each.asset_key.path[0] == "raw"]
    return {name: metadata[name].value for name in ("deliveries", "read", "accepted")}


def test_without_anything_that_dagster_knew_no_delivery_loads_twice(shop: Shop) -> None:
    shop.deliver("a.csv", sales("S1,1"))
    assert figures(materialized(shop)) == {"deliveries": 1, "read": 1, "accepted": 1}
    assert figures(materialized(shop)) == {"deliveries": 0, "read": 0, "accepted": 0}
    assert shop.skus() == ["S1"]


def weekly(count: int, rows: int, *, start: int = 0) -> list[tuple[str, str]]:
    """Deliveries of `rows` lines, each sold on another Monday."""
    first = datetime(2026, 1, 5, 10, tzinfo=UTC)
    made = []
    for week in range(start, start + count):
        at = (first + timedelta(weeks=week)).strftime("%Y-%m-%dT%H:%M:%SZ")
        made.append((f"{week:02}.csv", sales(*(f"S{week * 1000 + n},1,,{at}" for n in range(rows)))))
    return made


def volume_check(shop: Shop) -> dg.AssetCheckEvaluation:
    (check,) = [
        each for each in materialized(shop).get_asset_check_evaluations() if each.check_name == "volume_as_usual"
    ]
    return check


def test_a_delivery_cut_off_at_a_line_end_holds_the_release_until_it_is_whole(shop: Shop) -> None:
    for name, text in weekly(9, 40):
        shop.deliver(name, text)
    assert volume_check(shop).passed
    ((name, text),) = weekly(1, 40, start=9)
    shop.deliver(name, "".join(text.splitlines(keepends=True)[:11]))
    shop.clock.ahead = timedelta(days=7)
    check = volume_check(shop)
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert "sales/09.csv has 10 rows; deliveries of that weekday have about 40, at least 20" in (
        check.description or ""
    )
    shop.declare(volume=Volume(least=0.1))  # accepted as it is
    assert volume_check(shop).passed
    shop.declare(volume=Volume())
    shop.deliver(name, text)
    assert volume_check(shop).passed


def test_the_volume_check_passes_where_little_is_known(shop: Shop) -> None:
    shop.deliver("a.csv", sales("S1,1"))
    check = volume_check(shop)
    assert (check.passed, "not enough history" in (check.description or "")) == (True, True)
