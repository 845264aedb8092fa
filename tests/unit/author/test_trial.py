"""What would become of a file is said without a trace, and is what becomes of it."""

from dataclasses import replace
from pathlib import Path

import pytest
from shop import SALES, Shop, sales

from platform_assets.engine.author.trial import feed_of, try_on
from platform_assets.engine.feed.feed import Files, Rejects
from platform_assets.errors import ConfigurationError

MIXED = sales("S1,1", "S1,1", "bad,2", "S3,x")


def state(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*")}


def test_a_trial_says_what_the_delivery_then_does(shop: Shop) -> None:
    path = shop.deliver("a.csv", MIXED)
    said = try_on(SALES, path)
    (did,) = shop.ingest().receipts
    assert (said.receipt.read, said.receipt.accepted, said.receipt.rejected, said.receipt.duplicate) == (4, 1, 2, 1)
    assert (said.receipt.status, said.receipt.header) == (did.status, did.header)
    assert (did.read, did.accepted, did.rejected, did.duplicate) == (4, 1, 2, 1)
    assert [(row.line, row.reasons[0]["column"]) for row in said.rejected] == [(4, "sku"), (5, "quantity")]


def test_a_trial_leaves_no_trace(shop: Shop) -> None:
    path = shop.deliver("a.csv", MIXED)
    before = state(shop.root)
    try_on(SALES, path)
    assert state(shop.root) == before
    assert shop.receipts() == []


def test_a_file_cut_off_is_tried_as_it_is(shop: Shop) -> None:
    said = try_on(SALES, shop.deliver("a.csv", sales("S1,1") + "S2"))
    assert (said.receipt.status, said.receipt.accepted, said.receipt.rejected) == ("accepted", 1, 1)


def test_a_delivery_that_would_be_quarantined_says_why(shop: Shop) -> None:
    said = try_on(SALES, shop.deliver("a.csv", "sku\nS1\n"))
    assert not said.loads
    assert said.receipt.problem is not None
    assert said.receipt.problem.startswith("missing columns quantity, price")


@pytest.mark.parametrize(("tolerated", "loads"), [(1, False), (2, True)])
def test_more_rejects_than_tolerated_would_hold_the_release(shop: Shop, tolerated: int, loads: bool) -> None:
    feed = replace(SALES, tolerate=Rejects(rows=tolerated))
    assert try_on(feed, shop.deliver("a.csv", MIXED)).loads is loads


def test_a_name_with_pattern_characters_is_just_that_file(shop: Shop) -> None:
    shop.deliver("a1.csv", sales("S9,9"))
    assert try_on(SALES, shop.deliver("a[1]*.csv", sales("S1,1", "S2,2"))).receipt.accepted == 2


def test_the_feed_is_known_by_the_name_of_the_file(shop: Shop) -> None:
    other = replace(SALES, name="other", source=Files("other/*.csv"))
    assert feed_of(shop.deliver("a.csv", MIXED), (SALES, other)) == SALES
    with pytest.raises(ConfigurationError, match="no feed asks for"):
        feed_of(Path("elsewhere/a.csv"), (SALES, other))
    with pytest.raises(ConfigurationError, match="several feeds"):
        feed_of(shop.deliver("b.csv", MIXED), (SALES, replace(SALES, name="twin")))


@pytest.mark.parametrize("name", ["nothing.csv", "."])
def test_what_is_no_file_cannot_be_tried(shop: Shop, name: str) -> None:
    with pytest.raises(ConfigurationError, match="not a regular file"):
        try_on(SALES, shop.root / name)
