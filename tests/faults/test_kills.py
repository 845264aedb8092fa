"""A run that is killed leaves what its last commit left, and the next run converges."""

import os
import random
import signal
import threading
import time
from pathlib import Path

import duckdb
import pytest
from machine import rounds
from shop import Shop, child, ended, ingest_in_child, numbered

from platform_assets.errors import ReleaseRefused

FILES = 6
UNDISTURBED = [f"S{n}" for n in range(FILES * 500)]
IN_A_LOAD = ["mid-archive", "claim", "mid-read", "before-commit", "after-commit"]


def delivered(root: Path, files: int = FILES, rows: int = 500) -> Shop:
    shop = Shop(root)
    shop.landing.mkdir()
    for number in range(files):
        shop.deliver(f"{number}.csv", numbered(number * rows, rows))
    return shop


def converges(shop: Shop, expected: list[str]) -> None:
    """A rerun loads what is missing, once, and leaves nothing half-made; one more does nothing."""
    shop.deployment.prepare()
    shop.ingest()
    assert sorted(shop.skus()) == sorted(expected)
    assert shop.reconciles()
    assert shop.leftovers() == []
    assert shop.ingest().receipts == []


@pytest.mark.parametrize("point", IN_A_LOAD)
def test_a_run_killed_at_any_point_is_made_good_by_the_next(tmp_path: Path, point: str) -> None:
    shop = delivered(tmp_path)
    assert ended(child(ingest_in_child, tmp_path, point)) == -signal.SIGKILL
    converges(shop, UNDISTURBED)


@pytest.mark.parametrize("point", ["mid-read", "before-commit", "after-commit"])
def test_a_restatement_killed_at_any_point_is_the_old_or_the_new(tmp_path: Path, point: str) -> None:
    shop = delivered(tmp_path, files=1)
    assert ended(child(ingest_in_child, tmp_path)) == 0
    shop.deliver("0.csv", numbered(9000, 500))
    assert ended(child(ingest_in_child, tmp_path, point)) == -signal.SIGKILL
    first = "S9000" if point == "after-commit" else "S0"
    assert (len(shop.skus()), first in shop.skus()) == (500, True)
    converges(shop, [f"S{n}" for n in range(9000, 9500)])


def _kill_at_random(root: Path, kills: int) -> None:
    moments = random.Random(7)
    shop = delivered(root, files=12)
    for kill in range(kills):
        shop.deliver(f"{kill % 12}.csv", numbered((kill % 40) * 500, 500))
        run = child(ingest_in_child, root)
        time.sleep(moments.uniform(0.01, 0.8))
        run.kill()
        assert ended(run) in (0, -signal.SIGKILL)
        if (root / "home/warehouse.duckdb").exists():
            shop.deployment.prepare()
            assert shop.reconciles()
    by_name = {path: path.read_text().splitlines()[1:] for path in (shop.landing / "sales").iterdir()}
    converges(shop, sorted({line.split(",")[0] for lines in by_name.values() for line in lines}))


def test_random_kills_lose_and_double_nothing(tmp_path: Path) -> None:
    _kill_at_random(tmp_path, 5)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_many_random_kills_lose_and_double_nothing(tmp_path: Path) -> None:
    _kill_at_random(tmp_path, rounds(200))


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("point", IN_A_LOAD)
def test_many_kills_at_a_point_lose_and_double_nothing(tmp_path: Path, point: str) -> None:
    shop = delivered(tmp_path)
    for kill in range(rounds(20)):
        shop.deliver(f"{kill % FILES}.csv", numbered(10_000 + kill * 500, 500))
        assert ended(child(ingest_in_child, tmp_path, point)) == -signal.SIGKILL
        shop.deployment.prepare()
        assert shop.reconciles()
    by_name = {path: path.read_text().splitlines()[1:] for path in (shop.landing / "sales").iterdir()}
    converges(shop, [line.split(",")[0] for lines in by_name.values() for line in lines])


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_many_restatements_under_kill_are_each_the_old_or_the_new(tmp_path: Path) -> None:
    moments = random.Random(11)
    shop = delivered(tmp_path, files=1)
    shop.deployment.prepare()
    shop.ingest()
    versions = [set(shop.skus())]
    for restatement in range(rounds(100)):
        start = 1000 * (restatement + 1)
        shop.deliver("0.csv", numbered(start, 500))
        versions.append({f"S{n}" for n in range(start, start + 500)})
        run = child(ingest_in_child, tmp_path, moments.choice([None, "mid-read", "before-commit", "after-commit"]))
        time.sleep(moments.uniform(0, 0.3))
        run.kill()
        ended(run)
        assert set(shop.skus()) in versions
        assert len(shop.skus()) == 500
    converges(shop, list(versions[-1]))


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_thousand_redeliveries_bring_no_row(shop: Shop) -> None:
    for number in range(50):
        shop.deliver(f"{number}.csv", numbered(number * 10, 10))
    shop.ingest()
    for number in range(1000):
        shop.deliver(f"again-{number}.csv", numbered(number % 50 * 10, 10))
    assert {receipt.status for receipt in shop.ingest().receipts} == {"duplicate"}
    assert len(shop.skus()) == 500
    assert shop.reconciles()


def test_a_run_that_is_told_to_stop_leaves_nothing_and_frees_the_lock(tmp_path: Path) -> None:
    shop = delivered(tmp_path, files=1, rows=400_000)
    shop.deployment.prepare()
    run = child(ingest_in_child, tmp_path)
    while not any(path.is_file() for path in (shop.root / "home" / "archive").rglob("*")):
        time.sleep(0.01)
    run.terminate()
    assert ended(run) == -signal.SIGTERM
    assert shop.skus() == []
    converges(shop, [f"S{n}" for n in range(400_000)])


def test_two_runs_of_one_feed_load_everything_once(tmp_path: Path) -> None:
    shop = delivered(tmp_path)
    shop.deployment.prepare()
    runs = [child(ingest_in_child, tmp_path) for _ in range(2)]
    assert [ended(run) for run in runs] == [0, 0]
    assert sorted(shop.skus()) == sorted(UNDISTURBED)
    assert [receipt.status for receipt in shop.receipts()].count("accepted") == FILES
    converges(shop, UNDISTURBED)


def _build(shop: Shop, rows: int) -> None:
    """What dbt would: a mart of `rows` rows."""
    with duckdb.connect(str(shop.deployment.warehouse.marts)) as marts:
        marts.execute(f"CREATE OR REPLACE TABLE daily AS SELECT range AS n FROM range({rows})")


def test_readers_of_releases_never_fail_whatever_is_published(shop: Shop) -> None:
    releases = shop.deployment.releases
    _build(shop, 1)
    old = releases.publish(shop.deployment.warehouse, shop.clock(), ["daily"])
    seen: list[int] = []
    failures: list[Exception] = []
    done = threading.Event()

    def read_on() -> None:
        while not done.is_set():
            try:
                with duckdb.connect(os.path.realpath(releases.link), read_only=True) as reader:
                    seen.extend(n for (n,) in reader.execute("SELECT count(*) FROM daily").fetchall())
            except Exception as error:  # noqa: BLE001 - whatever a reader may meet is what is looked for
                failures.append(error)

    with duckdb.connect(old.path, read_only=True) as holder:
        reading = threading.Thread(target=read_on)
        reading.start()
        for rows in range(2, 8):
            _build(shop, rows)
            releases.publish(shop.deployment.warehouse, shop.clock(), ["daily"])
        done.set()
        reading.join()
        assert holder.execute("SELECT count(*) FROM daily").fetchall() == [(1,)]
    assert failures == []
    assert seen == sorted(seen)
    assert len({made.id for made in releases.all()}) == 7


def test_what_a_deleted_model_has_left_is_not_released(shop: Shop) -> None:
    _build(shop, 1)
    with duckdb.connect(str(shop.deployment.warehouse.marts)) as marts:
        marts.execute("CREATE TABLE deleted AS SELECT 1; CREATE TABLE daily__dbt_backup AS SELECT 1")
    made = shop.deployment.releases.publish(
        shop.deployment.warehouse, shop.clock(), ["daily"], declared=["daily", "of_another_product"]
    )
    with duckdb.connect(made.path, read_only=True) as reader:
        assert reader.execute("SELECT view_name FROM duckdb_views() WHERE NOT internal").fetchall() == [("daily",)]
    with duckdb.connect(str(shop.deployment.warehouse.marts)) as marts:
        assert marts.execute("SELECT table_name FROM duckdb_tables()").fetchall() == [("daily",)]


def test_what_a_killed_build_has_left_is_swept_before_the_next(shop: Shop) -> None:
    _build(shop, 1)
    with duckdb.connect(str(shop.deployment.warehouse.marts)) as marts:
        marts.execute("CREATE TABLE daily__dbt_backup AS SELECT 1; CREATE VIEW daily__dbt_tmp AS SELECT 1")
    shop.query("CREATE VIEW stg__dbt_tmp AS SELECT 1")
    with shop.deployment.begin_build([], "run", leftovers=("__dbt_tmp", "__dbt_backup")):
        pass
    with duckdb.connect(str(shop.deployment.warehouse.marts)) as marts:
        assert marts.execute("SELECT table_name FROM duckdb_tables()").fetchall() == [("daily",)]
        assert marts.execute("SELECT view_name FROM duckdb_views() WHERE NOT internal").fetchall() == []
    assert shop.query("SELECT view_name FROM duckdb_views() WHERE NOT internal") == []


def test_without_a_mart_nothing_is_released(shop: Shop) -> None:
    with pytest.raises(ReleaseRefused, match="no mart to release"):
        shop.deployment.releases.publish(shop.deployment.warehouse, shop.clock(), ["daily"])
    assert shop.deployment.releases.current() is None
