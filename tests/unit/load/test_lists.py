"""Feeds whose every delivery is a full list: a key names a row within its list, and each list counts."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from shop import SALES, Shop, sales

from platform_assets.engine.feed.feed import Feed
from platform_assets.errors import ConfigurationError

LISTS = replace(SALES, key=("sku",), key_within="delivery", on_known_key="reject")


@pytest.fixture
def lists(tmp_path: Path) -> Shop:
    shop = Shop(tmp_path, LISTS)
    shop.landing.mkdir()
    shop.deployment.prepare()
    return shop


def held(shop: Shop) -> dict[str, list[tuple[str, int]]]:
    """File -> its rows in raw."""
    found: dict[str, list[tuple[str, int]]] = {}
    for slot, sku, quantity in shop.query(
        "SELECT slot, sku, quantity FROM raw.sales JOIN ledger.deliveries ON _delivery_id = delivery_id ORDER BY ALL"
    ):
        found.setdefault(slot.removeprefix("sales/"), []).append((sku, quantity))
    return found


def test_a_key_is_unique_within_each_list_and_not_across_them(lists: Shop) -> None:
    lists.deliver("1.csv", sales("S1,1", "S2,1", "S1,9"))
    lists.deliver("2.csv", sales("S1,2", "S2,2"))
    first, second = lists.ingest().receipts
    assert (first.accepted, first.duplicate, second.accepted, second.duplicate) == (2, 1, 2, 0)
    assert held(lists) == {"1.csv": [("S1", 1), ("S2", 1)], "2.csv": [("S1", 2), ("S2", 2)]}
    assert lists.query("SELECT line, of_delivery, of_line FROM ledger.duplicates") == [(4, first.delivery_id, 2)]


def test_the_last_of_a_list_is_kept_where_the_feed_says_so_and_a_key_with_a_null_is_none(lists: Shop) -> None:
    lists.declare(key=("sku", "price"), on_known_key="latest")
    lists.load("1.csv", sales("S1,1,5", "S1,2,5", "S2,3", "S2,4"))
    assert held(lists) == {"1.csv": [("S1", 2), ("S2", 3), ("S2", 4)]}


def test_a_restated_list_replaces_its_own_rows_alone(lists: Shop) -> None:
    lists.load("1.csv", sales("S1,1", "S2,1"))
    lists.load("2.csv", sales("S1,2"))
    assert lists.load("1.csv", sales("S1,7", "S1,8")).supersedes == 1
    assert held(lists) == {"1.csv": [("S1", 7)], "2.csv": [("S1", 2)]}
    assert lists.reconciles()


@pytest.mark.parametrize("together", [True, False])
def test_a_list_that_equals_an_earlier_one_is_a_list_of_its_own(lists: Shop, *, together: bool) -> None:
    for name, quantity in (("1.csv", 1), ("2.csv", 2), ("3.csv", 1)):
        lists.deliver(name, sales(f"S1,{quantity}"))
        if not together:
            lists.ingest()
    lists.ingest()
    wanted = {"1.csv": [("S1", 1)], "2.csv": [("S1", 2)], "3.csv": [("S1", 1)]}
    assert held(lists) == wanted
    lists.deployment.replay(lists.feed, again=True)
    assert held(lists) == wanted
    lists.load("1.csv", sales("S1,5"))
    assert held(lists) == {**wanted, "1.csv": [("S1", 5)]}


def test_a_list_that_is_touched_or_renamed_stays_one(lists: Shop) -> None:
    path = lists.deliver("1.csv", sales("S1,1"))
    lists.deliver("2.csv", sales("S1,1"))
    lists.ingest()
    os.utime(path)
    assert [receipt.status for receipt in lists.ingest().receipts] == ["duplicate"]
    path.rename(path.with_name("3.csv"))
    assert [receipt.status for receipt in lists.ingest().receipts] == ["duplicate"]
    assert lists.query("SELECT count(*) FROM raw.sales") == [(2,)]
    lists.load("3.csv", sales("S1,4"))
    assert sorted(lists.rows("quantity")) == [(1,), (4,)]


def test_one_file_that_is_overwritten_keeps_every_list_where_the_feed_appends(lists: Shop) -> None:
    lists.declare(on_restatement="append")
    for quantity in (1, 2, 1):
        lists.load("all.csv", sales(f"S1,{quantity}"))
    assert lists.query("SELECT _delivery_id, quantity FROM raw.sales ORDER BY 1") == [(1, 1), (2, 2), (3, 1)]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"key_within": "deliveries"}, "'deliveries' is not one of 'feed', 'delivery'"),
        ({"key": (), "on_known_key": "allow"}, "'delivery' needs to know what names a row of the list"),
        ({"key": ("sku", "nothing")}, "'nothing' is not a column of Sales"),
    ],
)
def test_what_makes_no_sense_is_refused_when_it_is_declared(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        Feed(**{**{name: getattr(LISTS, name) for name in LISTS.__dataclass_fields__}, **wrong})
    assert said in str(error.value)
    assert len(str(error.value).splitlines()) == 3
