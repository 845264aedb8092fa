"""What stands in a slot: renamed, rotated, swapped, corrected, refused; no row is lost and none counts twice."""

import errno
import gzip
import itertools
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from shop import HEADER, SALES, Shop, child, ended, ingest_in_child, sales

from platform_assets.engine.archive.archive import Archive
from platform_assets.engine.feed.feed import Rejects
from platform_assets.engine.load import delivery as load
from platform_assets.engine.load import offer
from platform_assets.engine.load import rows as engine


def moved(shop: Shop, *moves: tuple[str, str]) -> None:
    """Rename files, each from what it was before any of them was."""
    folder = shop.landing / "sales"
    for name, _ in moves:
        (folder / name).rename(folder / f".{name}")
    for name, other in moves:
        (folder / f".{name}").rename(folder / other)


# ---- rotation, renaming, swaps


@pytest.mark.parametrize(
    ("names", "between", "together"),
    [
        *((names, False, 100) for names in map("".join, itertools.permutations("amz"))),
        *((names, between, together) for names in ("amz", "zma") for between, together in ((False, 1), (True, 100))),
    ],
)
def test_rotation_loses_no_row_whatever_the_names_sort_as(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, names: Sequence[str], between: bool, together: int
) -> None:
    monkeypatch.setattr(offer, "MOST_FILES", together)
    log, first, second = (f"{name}.csv" for name in names)
    shop.load(log, sales("S1,1", "S2,1"))
    for number, moves in enumerate([[(log, first)], [(first, second), (log, first)]]):
        moved(shop, *moves)
        if between:
            shop.ingest()
        shop.deliver(log, sales(f"S{3 + number},1"))
        shop.ingest()
    assert shop.skus() == ["S1", "S2", "S3", "S4"]
    assert [receipt.status for receipt in shop.receipts()].count("accepted") == 3  # rows were moved, not loaded anew
    assert shop.reconciles()
    shop.load(second, sales("S9,1"))  # a correction of what was renamed
    assert shop.skus() == ["S3", "S4", "S9"]


@pytest.mark.parametrize("packed", ["a.csv.gz", "z.csv.gz"])
def test_rotation_into_packed_files_loses_no_row(shop: Shop, packed: str) -> None:
    text = sales("S1,1")
    shop.load("m.csv", text)
    shop.deliver(packed, gzip.compress(text.encode()))
    shop.deliver("m.csv", sales("S2,1"))
    shop.ingest()
    assert shop.skus() == ["S1", "S2"]


def test_rows_outlive_their_rotated_files_where_the_feed_appends(shop: Shop) -> None:
    shop.declare(on_restatement="append")
    for number in range(4):
        if number:
            moved(shop, ("m.csv", "m.1.csv"))
        shop.deliver("m.csv", sales(f"S{number},1"))
        shop.ingest()
    assert shop.skus() == ["S0", "S1", "S2", "S3"]


def test_a_log_that_is_copied_and_cut_keeps_its_rows(shop: Shop) -> None:
    shop.load("m.csv", sales("S1,1"))
    shop.deliver("a.csv", sales("S1,1"))
    shop.deliver("m.csv", sales("S2,1"))
    shop.ingest()
    assert shop.skus() == ["S1", "S2"]


@pytest.mark.parametrize("most_files", [None, 1])
def test_names_that_are_swapped_keep_their_rows_and_places(tmp_path: Path, most_files: int | None) -> None:
    shop = Shop(tmp_path, replace(SALES, key=("sku",), on_known_key="latest"))
    shop.landing.mkdir()
    shop.deployment.prepare()
    shop.load("a.csv", sales("S1,1", "S2,1"))
    shop.load("b.csv", sales("S1,2"))
    moved(shop, ("a.csv", "b.csv"), ("b.csv", "a.csv"))
    told = shop.deployment.ingest(shop.feed, most_files=most_files).receipts
    assert [receipt.status for receipt in told] == ["duplicate", "duplicate"]
    assert shop.rows() == [("S1", 2), ("S2", 1)]
    shop.load("a.csv", sales("S1,3"))  # what b.csv was
    assert shop.rows() == [("S1", 3), ("S2", 1)]


def test_a_renamed_file_may_be_followed_where_restatements_are_refused(shop: Shop) -> None:
    shop.declare(on_restatement="refuse")
    shop.load("m.csv", sales("S1,1"))
    moved(shop, ("m.csv", "a.csv"))
    shop.deliver("m.csv", sales("S2,1"))
    assert {receipt.status for receipt in shop.ingest().receipts} == {"duplicate", "accepted"}
    assert shop.skus() == ["S1", "S2"]


def test_a_lost_warehouse_remembers_what_was_renamed(shop: Shop) -> None:
    shop.load("m.csv", sales("S1,1"))
    moved(shop, ("m.csv", "a.csv"))
    shop.ingest()
    shop.load("m.csv", sales("S2,1"))
    for file in (shop.landing / "sales").iterdir():
        file.unlink()
    (shop.root / "home/warehouse.duckdb").unlink()
    shop.deployment.prepare()
    shop.ingest()
    assert shop.skus() == ["S1", "S2"]


# ---- keys


def test_rows_that_gave_way_are_of_no_time_and_come_back_as_a_change(tmp_path: Path) -> None:
    shop = Shop(tmp_path, replace(SALES, key=("sku",), on_known_key="reject"))
    shop.landing.mkdir()
    shop.deployment.prepare()
    shop.load("a.csv", sales("S1,1,1,2026-03-01T10:00:00Z"))
    late = shop.load("b.csv", sales("S1,2,1,2026-03-02T10:00:00Z"))
    assert (late.accepted, late.duplicate, late.event_max, late.covers_to) == (0, 1, None, None)
    shop.load("a.csv", sales("S2,1,1,2026-03-01T10:00:00Z"))
    back = next(receipt for receipt in shop.receipts() if receipt.slot == "sales/b.csv")
    assert (back.accepted, back.event_max) == (1, back.covers_to)
    assert back.revision > late.revision
    assert shop.rows() == [("S1", 2), ("S2", 1)]


# ---- one owner of the connection; what turns out bad late


def test_restated_files_with_other_headers_load_each_once(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_FLUSH_ROWS", 40)
    shop.declare(on_drift="add")
    for version in range(3):
        for number in range(6):
            more = (f"{HEADER},x{number % 3}", ",,,,z") if number % 2 else (HEADER, "")
            lines = [f"S{number * 100 + line},{version}{more[1]}" for line in range(30)]
            shop.deliver(f"{number}.csv", sales(*lines, header=more[0]))
        assert [receipt.status for receipt in shop.ingest().receipts] == ["accepted"] * 6
        assert shop.query("SELECT DISTINCT quantity, count(*) FROM raw.sales GROUP BY ALL") == [(version, 180)]
    assert shop.reconciles()


@pytest.mark.parametrize("spellings", [("é", "É"), ("Extra", "EXTRA", " Extra "), ("straße", "STRASSE")], ids="-".join)
def test_an_unknown_column_is_one_however_it_is_spelled(shop: Shop, spellings: Sequence[str]) -> None:
    shop.declare(on_drift="add")
    before = shop.query("DESCRIBE raw.sales")
    for number, name in enumerate(spellings):
        receipt = shop.load(f"{number}.csv", sales(f"S{number},1,,,,x", header=f"{HEADER},{name}"))
        assert receipt.accepted == 1
    (column,) = [name for name, *_ in shop.query("DESCRIBE raw.sales") if name not in {known for known, *_ in before}]
    assert shop.rows(f'"{column}"') == [("x",)] * len(spellings)


def test_breaches_are_read_once_and_harm_no_neighbour(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    opened = load.Load._opened

    def counted(self: load.Load, claim: Any, slot: str, *, young: bool) -> Any:
        read.append(slot)
        return opened(self, claim, slot, young=young)

    monkeypatch.setattr(load.Load, "_opened", counted)
    shop.declare(tolerate=Rejects(rate=0.1, beyond="quarantine"), on_duplicate="reject")
    shop.load("00.csv", sales("S0,1"))
    read.clear()
    shop.deliver("00.csv", sales("S0,9", "bad"))
    for number in range(1, 12):
        shop.deliver(f"{number:02}.csv", sales(f"S{number},1", *(["bad", "bad"] if number % 2 else [])))
    shop.deliver("20.csv", sales("S1,1", "bad", "bad"))  # as 01.csv
    statuses = {receipt.slot[6:8]: receipt.status for receipt in shop.ingest().receipts}
    assert len(read) == len(set(read))
    assert sorted(name for name, status in statuses.items() if status == "quarantined") == [
        *("00", "01", "03", "05", "07", "09", "11", "20"),
    ]
    assert shop.rows() == [("S0", 1), ("S10", 1), ("S2", 1), ("S4", 1), ("S6", 1), ("S8", 1)]
    assert shop.rejected() == []
    assert shop.query("SELECT * FROM ledger.duplicates") == []
    assert shop.reconciles()


# ---- errors where they belong


def test_a_file_that_cannot_be_read_is_told_of_once_and_offered_again(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = shop.deliver("a.csv", sales("S1,1")).stat().st_ino
    shop.deliver("b.csv", sales("S2,1"))
    real = os.read

    def read(descriptor: int, size: int) -> bytes:
        if os.fstat(descriptor).st_ino == broken:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(descriptor, size)

    with monkeypatch.context() as patch:
        patch.setattr(os, "read", read)
        first, second = shop.ingest().receipts
        assert (first.slot, first.problem) == ("sales/a.csv", "cannot be read: Input/output error")
        assert second.status == "accepted"
        again = shop.ingest()
        assert (again.receipts, again.unfinished) == ([], {"sales/a.csv": "cannot be read: Input/output error"})
    assert [receipt.status for receipt in shop.ingest().receipts] == ["accepted"]
    assert shop.skus() == ["S1", "S2"]
    assert shop.status().totals.waiting == 0


@pytest.mark.parametrize("damage", ["altered", "gone"])
def test_a_damaged_copy_is_not_restored_and_stops_no_other(shop: Shop, damage: str) -> None:
    landed = shop.deliver("a.csv", sales("S1,1"))
    shop.ingest()
    receipt = shop.receipts()[0]
    shop.load("b.csv", sales("S2,1"))
    copy = shop.deployment.archive.root / str(receipt.archived)
    copy.chmod(0o644)
    copy.write_text(sales("S9,1"))
    if damage == "gone":
        copy.unlink()
    text = landed.read_bytes()
    landed.unlink()
    (shop.root / "home/warehouse.duckdb").unlink()
    shop.deployment.prepare()
    told = {receipt.slot: receipt.problem for receipt in shop.ingest().receipts}
    assert "in the archive" in str(told["sales/a.csv"])
    assert shop.skus() == ["S2"]
    assert any("sales/a.csv" in line for line in shop.told)
    assert shop.ingest().receipts == []
    shop.deployment.replay(shop.feed, again=True)
    shop.load("a.csv", text)
    assert shop.skus() == ["S1", "S2"]
    assert shop.status().totals.waiting == 0


# ---- journal and ledger, and what is published of it


def test_what_a_kill_kept_out_of_the_journal_is_noted_though_another_went_on(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.load("a.csv", sales("S1,1"))
    keep = Archive.keep

    def meanwhile(self: Archive, feed: str, content: Any, suffix: str) -> Any:
        monkeypatch.setattr(Archive, "keep", keep)
        shop.deliver("b.csv", sales("S2,1"))
        assert ended(child(ingest_in_child, shop.root, "after-commit")) == -9
        assert shop.deployment.unpublished(shop.feed)
        return keep(self, feed, content, suffix)

    shop.deliver("c.csv", sales("S3,1"))
    monkeypatch.setattr(Archive, "keep", meanwhile)
    shop.ingest()
    before = shop.receipts()
    assert not shop.deployment.unpublished(shop.feed)
    for file in (shop.landing / "sales").iterdir():
        file.unlink()
    (shop.root / "home/warehouse.duckdb").unlink()
    shop.deployment.prepare()
    shop.ingest()
    assert shop.skus() == ["S1", "S2", "S3"]
    assert [(r.delivery_id, r.slot, r.status) for r in shop.receipts()] == [
        (r.delivery_id, r.slot, r.status) for r in before
    ]


def test_a_journal_with_lines_twice_and_torn_is_mended(shop: Shop) -> None:
    shop.load("a.csv", sales("S1,1"))
    shop.load("b.csv", sales("S2,1"))
    journal = shop.deployment.archive.root / "sales/journal.jsonl"
    lines = journal.read_text().splitlines()
    journal.write_text("\n".join([lines[0], lines[1], lines[0], lines[1][:50]]))
    assert shop.ingest().receipts == []
    assert [entry.slot for entry in shop.deployment.archive.journal("sales").entries()] == [
        "sales/a.csv",
        "sales/b.csv",
    ]
    with shop.deployment.warehouse.reading("compare") as unit:
        extent = shop.deployment.archive.journal("sales").extent()
        assert (extent.entries, extent.digest) == unit.ledger.archived("sales")


def test_what_is_published_follows_an_older_warehouse(shop: Shop) -> None:
    shop.load("a.csv", sales("S1,1"))
    backup = (shop.root / "home/warehouse.duckdb").read_bytes()
    for number in range(3):
        shop.load("b.csv", sales(f"S{number},1"))
    (shop.root / "home/warehouse.duckdb").write_bytes(backup)
    shop.ingest()
    assert shop.deployment.receipts_published(shop.feed) == shop.receipts()[::-1]
    assert shop.deployment.revision_published(shop.feed) == shop.status().revision
    assert shop.deployment.pending(shop.feed) == []


def test_rows_that_vanish_are_found_however_old_their_delivery(shop: Shop) -> None:
    for number in range(4):
        shop.load(f"{number}.csv", sales(f"S{number},1", "bad"))
    with shop.deployment.warehouse.reading("count") as unit:
        assert unit.tables(shop.feed).unaccounted(1) == []
    shop.query("DELETE FROM quarantine.sales WHERE _delivery_id = 1")
    shop.query("INSERT INTO raw.sales BY NAME SELECT 9 AS _delivery_id")
    with shop.deployment.warehouse.reading("count") as unit:
        assert unit.tables(shop.feed).unaccounted(1) == [9, 1]
