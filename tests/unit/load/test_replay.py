"""Replay, keys across deliveries and what the archive brings back: as if today's contract had always been."""

import json
import tempfile
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import duckdb
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from machine import examples, rounds
from shop import SALES, Clock, Sales, Shop, child, ended, sales

from platform_assets.engine.contract.model import Contract, Field
from platform_assets.engine.durable import failpoint
from platform_assets.engine.feed.feed import Retention
from platform_assets.engine.load import offer
from platform_assets.engine.store.release import Label, MartLabel
from platform_assets.errors import ReplayRefused


class Strict(Sales):
    """Sales of at most five pieces, and of articles that begin with S."""

    sku: str = Field(str_matches=r"^S[0-9]+$")
    quantity: int = Field(ge=0, le=5)


class Renamed(Sales):
    """Sales whose quantity arrives as `pieces`: a delivery with `quantity` is refused as a whole."""

    quantity: int = Field(source="pieces", ge=0)


CONTRACTS: dict[str, type[Contract]] = {"sales": Sales, "strict": Strict, "renamed": Renamed}
Policy = Literal["reject", "latest", "allow"]


def content(shop: Shop) -> tuple[Any, ...]:
    """All that a reader of raw, quarantine and ledger could see, but for times."""
    raw = shop.query("SELECT * FROM raw.sales ORDER BY _delivery_id, _line")
    quarantine = shop.query("SELECT * FROM quarantine.sales ORDER BY _delivery_id, _line")
    duplicates = shop.query("SELECT * FROM ledger.duplicates ORDER BY ALL")
    receipts = shop.query(
        "SELECT delivery_id, slot, fingerprint, status, read, accepted, rejected, duplicate, problem, header, "
        "contract, event_min, event_max, supersedes, superseded_by, duplicate_of FROM ledger.deliveries ORDER BY 1"
    )
    return raw, quarantine, duplicates, receipts


def new_shop(folder: Path, **declared: Any) -> Shop:
    shop = Shop(folder, feed=replace(SALES, **declared))
    shop.landing.mkdir(parents=True)
    shop.deployment.prepare()
    return shop


FILES = ["a.csv", "b.csv", "c.csv"]
CONTENTS = [
    sales("S1,1", "S2,2", "S2,2", "bad"),
    sales("S1,9", "A3,3", "S4,4"),
    sales("S2,1", "S5,7", ",,", "S5,7"),
    sales("S1,1", header="sku,pieces,price,sold_at,email"),
    "",
]
DELIVERIES = st.lists(
    st.lists(
        st.tuples(st.sampled_from(FILES), st.sampled_from(CONTENTS)), min_size=1, max_size=3, unique_by=lambda d: d[0]
    ),
    min_size=1,
    max_size=5,
)


def replay_equals_clean(deliveries: list[list[tuple[str, str]]], before: str, after: str, policy: Policy) -> None:
    with tempfile.TemporaryDirectory() as folder:
        policies = {"key": ("sku",), "on_known_key": policy}
        shop = new_shop(Path(folder, "replayed"), contract=CONTRACTS[before], **policies)
        clean = new_shop(Path(folder, "clean"), contract=CONTRACTS[after], **policies)
        with shop.held(), clean.held():
            for together in deliveries:
                for name, text in together:
                    for each in (shop, clean):
                        each.deliver(name, text)
                for each in (shop, clean):
                    each.ingest()
            shop.declare(contract=CONTRACTS[after])
            shop.deployment.replay(shop.feed)
            assert content(shop) == content(clean)
            assert shop.deployment.replay(shop.feed) == []  # twice is once
            assert content(shop) == content(clean)
            shop.deployment.replay(shop.feed, again=True)
            assert content(shop) == content(clean)


SCENARIOS = {
    "deliveries": DELIVERIES,
    "before": st.sampled_from(sorted(CONTRACTS)),
    "after": st.sampled_from(sorted(CONTRACTS)),
    "policy": st.sampled_from(["reject", "latest", "allow"]),
}


@settings(max_examples=examples(6))
@given(**SCENARIOS)
@example(  # the restatement that today's contract refuses had replaced what it accepts
    deliveries=[[("a.csv", CONTENTS[0])], [("a.csv", CONTENTS[3])]], before="sales", after="renamed", policy="allow"
)
@example(  # a slot is restated to what stands in another, after a row of it had given way to that
    deliveries=[[("b.csv", CONTENTS[0])], [("a.csv", CONTENTS[1])], [("a.csv", CONTENTS[0])]],
    before="renamed",
    after="sales",
    policy="reject",
)
def test_a_replay_equals_a_clean_first_load(
    deliveries: list[list[tuple[str, str]]], before: str, after: str, policy: Policy
) -> None:
    replay_equals_clean(deliveries, before, after, policy)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@settings(max_examples=rounds(100, 2))
@given(**SCENARIOS)
def test_many_replays_equal_a_clean_first_load(
    deliveries: list[list[tuple[str, str]]], before: str, after: str, policy: Policy
) -> None:
    replay_equals_clean(deliveries, before, after, policy)


class KeyModel:
    """Of all rows in force with one sku, that of the first or the last file is in raw; a correction keeps its place."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.in_force: dict[str, list[tuple[str, int]]] = {}

    def deliver(self, name: str, rows: list[tuple[str, int]]) -> None:
        self.in_force[name] = rows

    def raw(self) -> list[tuple[str, int]]:
        every = [row for rows in self.in_force.values() for row in rows]
        if self.policy == "allow":
            return sorted(every)
        ordered = every if self.policy == "latest" else every[::-1]
        return sorted({sku: (sku, quantity) for sku, quantity in ordered}.values())


@settings(max_examples=examples(5))
@given(
    policy=st.sampled_from(["reject", "latest", "allow"]),
    deliveries=st.lists(
        st.tuples(
            st.sampled_from(FILES),
            st.lists(st.tuples(st.sampled_from(["S1", "S2", "S3"]), st.integers(0, 99)), min_size=1, max_size=4),
        ),
        max_size=6,
        unique_by=lambda delivery: tuple(delivery[1]),
    ),
)
def test_of_rows_with_one_key_the_policy_keeps_one_whatever_is_restated(
    policy: Policy, deliveries: list[tuple[str, list[tuple[str, int]]]]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        shop = new_shop(Path(folder), key=("sku",), on_known_key=policy, on_duplicate="allow")
        model = KeyModel(policy)
        with shop.held():
            for name, rows in deliveries:
                shop.load(name, sales(*(f"{sku},{quantity}" for sku, quantity in rows)))
                model.deliver(name, rows)
                assert sorted(shop.rows()) == model.raw()
                in_raw = dict(shop.query("SELECT _delivery_id, count(*) FROM raw.sales GROUP BY ALL"))
                for receipt in shop.receipts():
                    assert receipt.reconciles
                    if receipt.status == "accepted":
                        assert receipt.accepted == in_raw.get(receipt.delivery_id, 0)


def test_rows_without_a_whole_key_give_way_to_none(tmp_path: Path) -> None:
    shop = new_shop(tmp_path, key=("sku", "email"), on_known_key="reject")
    shop.load("a.csv", sales("S1,1", "S1,2,,,x@y"))
    receipt = shop.load("b.csv", sales("S1,3", "S1,4,,,x@y"))
    assert (receipt.accepted, receipt.duplicate) == (1, 1)
    assert shop.query("SELECT delivery_id, line, of_delivery FROM ledger.duplicates") == [(2, 3, 1)]


def test_a_replay_that_lacks_a_copy_changes_nothing(tmp_path: Path) -> None:
    shop = new_shop(tmp_path)
    receipt = shop.load("a.csv", sales("S1,1"))
    before = content(shop)
    copy = shop.deployment.archive.root / str(receipt.archived)
    copy.chmod(0o644)
    copy.write_text(sales("S1,2"))
    with pytest.raises(ReplayRefused, match="missing or damaged"):
        shop.deployment.replay(shop.feed, again=True)
    assert content(shop) == before
    assert not shop.deployment.unpublished(shop.feed)


@pytest.mark.parametrize("landing", ["still there", "emptied"])
def test_a_lost_warehouse_comes_back_from_the_archive(tmp_path: Path, landing: str) -> None:
    shop = new_shop(tmp_path)
    for name, text in (("a.csv", CONTENTS[0]), ("b.csv", CONTENTS[1]), ("a.csv", CONTENTS[2]), ("c.csv", CONTENTS[1])):
        shop.load(name, text)
    before = content(shop)
    (shop.deployment.home / "warehouse.duckdb").unlink()
    if landing == "emptied":
        for file in (shop.landing / "sales").iterdir():
            file.unlink()
    shop.deployment.prepare()
    outcome = shop.ingest()
    assert [receipt.delivery_id for receipt in outcome.receipts] == [1, 2, 3, 4]
    assert content(shop) == before
    assert shop.ingest().receipts == []


def test_what_comes_back_counts_as_newer_than_what_was_released(tmp_path: Path) -> None:
    shop = new_shop(tmp_path)
    for name, text in (("a.csv", CONTENTS[0]), ("b.csv", CONTENTS[1]), ("a.csv", CONTENTS[2])):
        shop.load(name, text)
    with duckdb.connect(str(shop.deployment.warehouse.marts)) as marts:
        marts.execute("CREATE TABLE daily AS SELECT 1 AS n")
    label = MartLabel(built_from={shop.feed.name: shop.deployment.revision_published(shop.feed)})
    released = shop.deployment.releases.publish(
        shop.deployment.warehouse, shop.clock(), ["daily"], lambda: Label({"daily": label})
    )
    (shop.deployment.home / "warehouse.duckdb").unlink()
    shop.deployment.prepare()
    shop.ingest()
    assert min(receipt.revision for receipt in shop.receipts()) > released.built_from[shop.feed.name]
    assert shop.deployment.revision_published(shop.feed) > released.built_from[shop.feed.name]


def test_an_older_warehouse_gets_what_it_lacks_before_anything_new(tmp_path: Path) -> None:
    shop = new_shop(tmp_path)
    shop.load("a.csv", CONTENTS[0])
    backup = (shop.deployment.home / "warehouse.duckdb").read_bytes()
    shop.load("a.csv", CONTENTS[1])
    shop.load("b.csv", CONTENTS[0])
    before = content(shop)
    (shop.deployment.home / "warehouse.duckdb").write_bytes(backup)
    shop.deliver("c.csv", sales("S9,9"))
    outcome = shop.ingest()
    assert [(receipt.delivery_id, receipt.slot) for receipt in outcome.receipts] == [
        (2, "sales/a.csv"),
        (3, "sales/b.csv"),
        (4, "sales/c.csv"),
    ]
    assert content(shop)[3][:3] == before[3]


def test_the_journal_survives_a_line_that_was_cut_short(tmp_path: Path) -> None:
    shop = new_shop(tmp_path)
    shop.load("a.csv", CONTENTS[0])
    journal = shop.deployment.archive.root / "sales" / "journal.jsonl"
    journal.write_bytes(journal.read_bytes()[:-20])  # as a kill between commit and journal leaves it
    shop.load("b.csv", CONTENTS[1])
    noted = [json.loads(line)["slot"] for line in journal.read_text().splitlines() if line.endswith("}")]
    assert noted == ["sales/a.csv", "sales/b.csv"]


def test_retention_takes_what_no_longer_counts_and_nothing_else(tmp_path: Path) -> None:
    clock = Clock()
    shop = new_shop(tmp_path, keep=Retention(archive=timedelta(days=30), quarantine=timedelta(days=60)))
    shop.clock = clock
    old = shop.load("a.csv", sales("S1,1", "bad"))
    new = shop.load("a.csv", sales("S1,2", "bad,too"))
    root = shop.deployment.archive.root
    clock.ahead = timedelta(days=31)
    shop.ingest()
    assert not (root / str(old.archived)).exists()
    assert (root / str(new.archived)).exists()
    assert shop.query("SELECT count(*) FROM quarantine.sales") == [(1,)]
    clock.ahead = timedelta(days=61)
    shop.ingest()
    assert shop.query("SELECT count(*) FROM quarantine.sales") == [(0,)]
    assert [(r.rejected, r.expired) for r in shop.receipts() if r.status == "accepted"] == [(1, 1)]
    assert shop.rows() == [("S1", 2)]
    shop.deployment.replay(shop.feed, again=True)
    assert shop.rows() == [("S1", 2)]


def replay_strictly(root: Path, point: str) -> None:
    """Replay in a process of its own, one delivery a transaction, dying at `point`."""
    offer.MOST_FILES = 1  # type: ignore[misc]
    shop = Shop(root, replace(SALES, contract=Strict))
    failpoint.arm(point)
    shop.deployment.prepare()
    shop.deployment.replay(shop.feed)


@pytest.mark.parametrize(("point", "done"), [("mid-read", 0), ("before-commit", 0), ("after-commit", 1)])
def test_a_replay_that_is_killed_goes_on_where_it_stopped(tmp_path: Path, point: str, done: int) -> None:
    shop = new_shop(tmp_path)
    for number in range(5):
        shop.load(f"{number}.csv", sales(f"S{number},{number + 3}"))
    assert ended(child(replay_strictly, tmp_path, point)) == -9
    shop.declare(contract=Strict)
    assert len(shop.deployment.replay(shop.feed)) == 5 - done
    assert shop.rows() == [("S0", 3), ("S1", 4), ("S2", 5)]
    assert shop.reconciles()


def test_the_order_of_ids_decides_whenever_rows_were_stored(tmp_path: Path) -> None:
    shop = new_shop(tmp_path, contract=Strict, key=("sku",), on_known_key="reject")
    shop.load("a.csv", sales("S1,9"))  # rejected: more than five
    shop.load("b.csv", sales("S1,1"))
    assert shop.rows() == [("S1", 1)]
    shop.declare(contract=Sales)
    shop.deployment.replay(shop.feed)
    assert shop.rows() == [("S1", 9)]
