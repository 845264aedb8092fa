"""What would become of a file, by the ledger and the landing folder: foretold, and then it comes so."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from shop import Clock, Shop, sales

from platform_assets.engine.author.trial import try_on
from platform_assets.engine.feed.feed import Files, Rejects, seconds
from platform_assets.engine.foreseen import Foreseen


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    shop = Shop(tmp_path)
    shop.landing.mkdir(parents=True)
    shop.deployment.prepare()
    return shop


def foreseen(shop: Shop, path: Path) -> Foreseen:
    before = {each: each.stat().st_mtime_ns for each in (shop.root / "home").rglob("*") if each.suffix != ".wal"}
    said = shop.deployment.foresee(shop.feed, path)
    assert {
        each: each.stat().st_mtime_ns for each in (shop.root / "home").rglob("*") if each.suffix != ".wal"
    } == before
    return said


def test_before_anything_was_taken_in_every_file_is_new(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    assert shop.deployment.foresee(shop.feed, shop.deliver("a.csv", sales("S1,1"))).would_be == "new"
    assert not (tmp_path / "home").exists()


def test_a_duplicate_is_told_with_the_delivery_that_it_repeats(shop: Shop, tmp_path: Path) -> None:
    shop.load("a.csv", sales("S1,1"))
    elsewhere = tmp_path / "copy.csv"
    elsewhere.write_text(sales("S1,1"))
    for path in (shop.deliver("b.csv", sales("S1,1")), elsewhere):
        said = foreseen(shop, path)
        assert (said.would_be, said.delivery, said.counts) == ("duplicate", 1, False)
        assert said.why.startswith("is a duplicate of delivery 1 (sales/a.csv, taken in 20")
    (receipt,) = shop.ingest().receipts
    assert (receipt.status, receipt.duplicate_of) == ("duplicate", 1)


@pytest.mark.parametrize(
    ("policy", "would_be", "status", "why"),
    [
        ("replace", "restatement", "accepted", "whose 1 row it replaces"),
        ("append", "restatement", "accepted", "whose rows stay beside it"),
        ("refuse", "refused", "quarantined", "the feed refuses restatements"),
    ],
)
def test_a_restatement_is_told_with_what_it_restates(
    shop: Shop, tmp_path: Path, policy: Any, would_be: str, status: str, why: str
) -> None:
    shop.declare(on_restatement=policy)
    shop.load("a.csv", sales("S1,1"))
    elsewhere = tmp_path / "mended/sales/a.csv"
    elsewhere.parent.mkdir(parents=True)
    elsewhere.write_text(sales("S1,2"))
    for path in (elsewhere, shop.deliver("a.csv", sales("S1,2"))):
        said = foreseen(shop, path)
        assert (said.would_be, said.delivery) == (would_be, 1)
        assert why in said.why
    assert shop.ingest().receipts[0].status == status


def test_what_is_withdrawn_stays_out(shop: Shop) -> None:
    shop.load("a.csv", sales("S1,1"))
    shop.deployment.decide(shop.feed, "withdraw", 1, by="os:anna", why="wrong month")
    said = foreseen(shop, shop.deliver("b.csv", sales("S1,1")))
    assert (said.would_be, said.delivery) == ("withdrawn", 1)
    assert "withdrawn by os:anna: wrong month: it stays out" in said.why


def test_what_is_accepted_is_tried_as_accepted(shop: Shop) -> None:
    shop.declare(tolerate=Rejects(beyond="quarantine"))
    shop.load("a.csv", sales("S1,1", "bad"))
    assert try_on(shop.feed, shop.landing / "sales/a.csv").receipt.status == "quarantined"
    shop.deployment.decide(shop.feed, "accept", 1, by="os:anna", why="so")
    assert foreseen(shop, shop.landing / "sales/a.csv").would_be == "duplicate"
    (shop.landing / "sales/a.csv").unlink()
    shop.load("a.csv", sales("S1,2"))
    said = foreseen(shop, shop.deliver("b.csv", sales("S1,1", "bad")))
    assert (said.would_be, said.allowed is not None) == ("new", True)
    tried = try_on(shop.feed, shop.landing / "sales/b.csv", allowed=said.allowed)
    assert (tried.receipt.status, tried.loads) == ("accepted", True)
    assert shop.ingest().receipts[0].status == "accepted"


def test_what_is_not_finished_is_left_alone(shop: Shop, tmp_path: Path) -> None:
    shop.declare(source=Files("sales/*.csv", settle=timedelta(hours=1), sidecar=".done"))
    path = shop.deliver("a.csv", sales("S1,1"))
    assert foreseen(shop, path).why.startswith("waiting for a.csv.done")
    (shop.landing / "sales/a.csv.done").touch()
    assert foreseen(shop, path).why.startswith("is still being written")
    shop.clock = Clock(ahead=timedelta(hours=2))
    assert foreseen(shop, path).would_be == "new"
    partial = shop.landing / "sales/b.csv.tmp"
    partial.touch()
    said = foreseen(shop, partial)
    assert (said.would_be, said.readable) == ("unfinished", False)


def test_what_is_refused_or_not_asked_for_says_why(shop: Shop) -> None:
    target = shop.deliver("a.csv", sales("S1,1"))
    link = shop.landing / "sales/link.csv"
    link.symlink_to(target)
    assert foreseen(shop, link).why.startswith("is a link; links are never followed")
    second = shop.landing / "sales/second.csv"
    second.hardlink_to(target)
    assert foreseen(shop, second).would_be == "refused"
    second.unlink()
    shop.declare(source=Files("sales/*.csv", settle=seconds(0), largest=10))
    assert "more than the 10 that the feed takes" in foreseen(shop, target).why
    stray = shop.landing / "other.csv"
    stray.write_text(sales("S1,1"))
    assert foreseen(shop, stray).would_be == "ignored"
