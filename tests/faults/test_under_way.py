"""What was being read in two deaths of its process is quarantined, and its neighbours load; kills convict nobody."""

import os
import random
import resource
import signal
import time
from dataclasses import replace
from pathlib import Path

import pandera.polars as pa
import polars as pl
import pytest
from shop import SALES, Sales, Shop, child, ended, ingest_in_child, numbered, sales

from platform_assets.engine.load.under_way import UnderWay


class Deadly(Sales):
    """Sales of which some kill the process that reads them, as the kernel does where memory runs out."""

    @pa.check("sku")
    def dies(cls, data: pa.PolarsData) -> pl.LazyFrame:  # noqa: N805 - Pandera's signature
        """S666 kills by a signal; S777 asks for more memory than there is."""
        skus = data.lazyframe.collect()[data.key]
        if "S666" in skus:
            os.kill(os.getpid(), signal.SIGKILL)
        if "S777" in skus:
            resource.setrlimit(resource.RLIMIT_AS, (4 << 30, resource.RLIM_INFINITY))
            pl.zeros(1 << 40, eager=True)
        return data.lazyframe.select(pl.col(data.key).is_not_null())


def shop_of(root: Path) -> Shop:
    return Shop(root, replace(SALES, contract=Deadly))


def ingest_deadly(root: Path) -> None:
    ingest_in_child(root, None, [("contract", Deadly)])


def statuses(shop: Shop) -> dict[str, str]:
    return {receipt.slot[6:]: receipt.status for receipt in shop.receipts()}


@pytest.mark.parametrize(("sku", "how"), [("S666", "SIGKILL"), ("S777", "SIGABRT")])
def test_what_was_read_in_two_deaths_is_quarantined_and_its_neighbours_load(tmp_path: Path, sku: str, how: str) -> None:
    shop = shop_of(tmp_path)
    shop.deliver("a.csv", numbered(0, 10))
    shop.deliver("b.csv", sales(f"{sku},1"))
    shop.deliver("c.csv", numbered(10, 10))
    assert ended(child(ingest_deadly, tmp_path)) == -getattr(signal, how)
    assert ended(child(ingest_deadly, tmp_path)) == 0  # the second death is another process's
    assert statuses(shop) == {"a.csv": "accepted", "b.csv": "quarantined", "c.csv": "accepted"}
    (guilty,) = [receipt for receipt in shop.receipts() if receipt.status == "quarantined"]
    assert guilty.problem == f"was being read in two deaths of the process (likely out of memory: {how})"
    assert "platform replay sales --file sales/b.csv --again" in (guilty.remedy or "")
    assert shop.reconciles()
    shop.deployment.prepare()
    assert shop.ingest().receipts == []  # told once
    shop.deployment.replay(shop.feed)  # of what an earlier contract has judged: it is not read
    assert statuses(shop)["b.csv"] == "quarantined"


def test_a_mended_file_comes_in_and_so_does_the_same_one_where_it_kills_no_more(tmp_path: Path) -> None:
    shop = shop_of(tmp_path)
    shop.deliver("b.csv", sales("S666,1"))
    for _ in range(2):
        ended(child(ingest_deadly, tmp_path))
    shop.feed = SALES  # say, with more memory
    shop.deployment.prepare()
    assert [receipt.status for receipt in shop.ingest().receipts] == ["accepted"]
    assert shop.skus() == ["S666"]
    assert not UnderWay(tmp_path / "home/archive/sales/under-way.txt")


def test_a_convicted_delivery_is_read_again_where_a_person_asks(tmp_path: Path) -> None:
    shop = shop_of(tmp_path)
    shop.deliver("b.csv", sales("S666,1"))
    for _ in range(2):
        ended(child(ingest_deadly, tmp_path))
    shop.feed = replace(SALES, contract=Sales, most_columns=1_000)
    shop.deployment.prepare()
    (receipt,) = shop.receipts()
    assert [r.status for r in shop.deployment.replay(shop.feed)] == ["quarantined"]
    again = shop.deployment.replay(shop.feed, lambda each: each.delivery_id == receipt.delivery_id, again=True)
    assert [r.status for r in again] == ["accepted"]


def _ingest_and_die_reading(root: Path, slots: list[str]) -> None:
    """Die where one of these is read, by an order from outside: nothing is wrong with it."""
    from platform_assets.engine.load.delivery import Load

    opened = Load._opened

    def die(self: Load, claim: object, slot: str, **options: bool) -> object:
        if slot in slots:
            os.kill(os.getpid(), signal.SIGKILL)
        return opened(self, claim, slot, **options)  # type: ignore[arg-type]

    Load._opened = die  # type: ignore[assignment, method-assign]
    ingest_in_child(root)


def test_kills_from_outside_convict_nobody(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    for name in ("a.csv", "b.csv"):
        shop.deliver(name, numbered(ord(name[0]) * 1000, 500))
    for _ in range(2):
        assert ended(child(_ingest_and_die_reading, tmp_path, ["sales/a.csv", "sales/b.csv"])) in (0, -signal.SIGKILL)
    shop.deployment.prepare()
    shop.ingest()
    assert set(statuses(shop).values()) == {"accepted"}
    assert len(shop.skus()) == 1000


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_twelve_kills_at_random_moments_of_a_load_convict_nobody(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    shop.deployment.prepare()
    for name in ("a.csv", "b.csv"):
        shop.deliver(name, numbered(ord(name[0]) * 1_000_000, 150_000))
    moments = random.Random(3)
    for _ in range(12):
        run = child(ingest_in_child, tmp_path)
        time.sleep(moments.uniform(0.2, 4))
        run.kill()
        ended(run)
    shop.deployment.prepare()
    shop.ingest()
    assert set(statuses(shop).values()) == {"accepted"}
    assert len(shop.skus()) == 300_000
    assert shop.reconciles()


def test_the_process_that_takes_one_in_alone_dies_with_the_one_that_started_it(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    shop.deliver("a.csv", numbered(0, 300_000))
    assert ended(child(ingest_in_child, tmp_path, "mid-read")) == -signal.SIGKILL
    run = child(ingest_in_child, tmp_path)
    time.sleep(2)
    run.kill()
    ended(run)
    shop.deployment.prepare()
    shop.ingest()
    assert set(statuses(shop).values()) == {"accepted"}
    assert len(shop.skus()) == 300_000
