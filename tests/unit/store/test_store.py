"""What any store promises, whatever keeps its rows. A second implementation is added to STORES and has to pass."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Final

import polars as pl
import pytest
from shop import SALES, child, ended

from platform_assets.engine.store.receipts import Receipt
from platform_assets.engine.store.slots import Slot
from platform_assets.engine.store.unit import Store, Unit
from platform_assets.engine.store.warehouse import Warehouse
from platform_assets.errors import ConfigurationError, WarehouseBusy

NOW: Final = datetime(2026, 3, 1, 12, tzinfo=UTC)
OTHER: Final = replace(SALES, name="returns")


def duckdb_files(home: Path, wait: timedelta = timedelta()) -> Store:
    return Warehouse(home / "warehouse.duckdb", home / "marts.duckdb", wait)


Opens = Callable[..., Store]
STORES: Final[list[Opens]] = [duckdb_files]


@pytest.fixture(params=STORES, ids=lambda opens: opens.__name__)
def opens(request: pytest.FixtureRequest) -> Opens:
    made: Opens = request.param
    return made


@pytest.fixture
def store(opens: Opens, tmp_path: Path) -> Store:
    made = opens(tmp_path)
    made.prepare([SALES, OTHER], after=lambda: 0)
    return made


def rows(delivery: int, count: int, first: int = 1) -> pl.DataFrame:
    lines = range(first, first + count)
    return pl.DataFrame(
        {"_delivery_id": [delivery] * count, "_line": list(lines), "sku": [f"S{n}" for n in lines], "quantity": 1},
        schema_overrides={"_delivery_id": pl.Int64, "_line": pl.Int64, "quantity": pl.Int64},
    )


def take_in(unit: Unit, slot: str = "sales/a.csv", accepted: int = 3, rejected: int = 1) -> Receipt:
    """A delivery, as loading writes it."""
    delivery, revision = unit.ledger.next_ids()
    unit.will_change(SALES)
    unit.tables(SALES).insert(rows(delivery, accepted))
    broken = pl.struct(pl.lit("sku").alias("column"), pl.lit("str_matches").alias("rule"), pl.lit("?").alias("value"))
    unit.tables(SALES).insert_rejected(
        rows(delivery, rejected, accepted + 1).select(
            "_delivery_id", "_line", pl.concat_list(broken).alias("reasons"), pl.lit('{"sku":"?"}').alias("record")
        )
    )
    receipt = Receipt(
        delivery_id=delivery,
        feed=SALES.name,
        slot=slot,
        bytes=10,
        contract=SALES.version(),
        arrived_at=NOW,
        committed_at=NOW,
        accepted_at=NOW,
        revision=revision,
        status="accepted",
        fingerprint=f"{delivery:064x}",
        read=accepted + rejected,
        accepted=accepted,
        rejected=rejected,
    )
    unit.ledger.add([receipt], revision)
    unit.slots(SALES).write(
        [
            Slot(
                slot,
                delivery,
                delivery,
                delivery,
                receipt.fingerprint,
                generation=1,
                position=f"[{delivery}]",
                traits="10",
            )
        ],
        revision,
    )
    return receipt


@contextmanager
def broken_off(store: Store) -> Iterator[Unit]:
    """A transaction that an error ends, after what is done in it."""
    with suppress(ZeroDivisionError), store.transaction("load sales") as unit:
        yield unit
        raise ZeroDivisionError


def held(store: Store) -> tuple[list[Receipt], int, list[tuple[str | None, str, int]], dict[str, Slot]]:
    """All that is stored of sales: receipts, rows in raw, reasons in quarantine, slots."""
    with store.reading("look") as unit:
        figures = unit.tables(SALES).figures({"sku": True})["sku"]
        slots = unit.slots(SALES).named(["sales/a.csv", "sales/b.csv"])
        return unit.ledger.receipts("sales"), figures.rows, unit.quarantine(SALES).reasons(), slots


# ---- all or nothing


def test_what_is_committed_is_there_for_the_next(store: Store) -> None:
    with store.transaction("load sales") as unit:
        receipt = take_in(unit)
    receipts, raw, reasons, slots = held(store)
    assert (receipts, raw, reasons) == ([receipt], 3, [("sku", "str_matches", 1)])
    assert slots["sales/a.csv"].filled_by == receipt.delivery_id


def test_what_an_error_ends_never_was(store: Store) -> None:
    before = held(store)
    with broken_off(store) as unit:
        take_in(unit)
        unit.tables(SALES).add_column("gained", "VARCHAR")
    assert held(store) == before
    with store.reading("look") as unit:
        assert "gained" not in unit.tables(SALES).types()


def test_what_was_committed_before_an_error_stands(store: Store) -> None:
    with broken_off(store) as unit:
        first = take_in(unit)
        unit.commit()
        take_in(unit, "sales/b.csv")
    receipts, raw, *_ = held(store)
    assert (receipts, raw) == ([first], 3)


def _die_in_a_transaction(opens: Opens, home: Path) -> None:
    with opens(home).transaction("load sales") as unit:
        take_in(unit)
        unit.commit()
        take_in(unit, "sales/b.csv")
        os._exit(9)


def test_a_process_that_dies_leaves_what_it_committed_and_keeps_nobody_out(
    store: Store, opens: Opens, tmp_path: Path
) -> None:
    assert ended(child(_die_in_a_transaction, opens, tmp_path)) == 9
    receipts, raw, *_ = held(store)
    assert ([receipt.slot for receipt in receipts], raw) == (["sales/a.csv"], 3)


# ---- reading


def test_a_unit_for_questions_changes_nothing(store: Store) -> None:
    with pytest.raises(Exception, match="read-only"), store.reading("look") as unit:
        take_in(unit)
    assert held(store)[0] == []


def test_what_is_published_is_what_was_committed_and_says_when_it_is_behind(store: Store) -> None:
    with store.transaction("load sales") as unit:
        receipt = take_in(unit)
        assert store.published(SALES).is_stale
        assert store.published(SALES).receipts() == []
        unit.publish(SALES)
        assert not store.published(SALES).is_stale
        assert store.published(SALES).receipts() == [receipt], "read while the store is held"
        assert store.published(SALES).revision == receipt.revision
        with store.published(SALES).positions(SALES.version()) as positions:
            assert dict(positions) == {"sales/a.csv": f"[{receipt.delivery_id}]"}
    with broken_off(store) as unit:
        take_in(unit, "sales/b.csv")
    assert store.published(SALES).is_stale
    with store.transaction("publish") as unit:
        unit.publish(SALES)
    assert store.published(SALES).receipts() == [receipt]


# ---- ids, sums, sightings


def test_ids_and_revisions_are_given_out_once(store: Store) -> None:
    given: list[tuple[int, int]] = []
    for slot in ("sales/a.csv", "sales/b.csv"):
        with store.transaction("load sales") as unit:
            given.append(unit.ledger.next_ids())
            take_in(unit, slot)
    with broken_off(store) as unit:
        take_in(unit, "sales/c.csv")
    assert given == [(1, 1), (2, 2)]
    with store.reading("look") as unit:
        assert unit.ledger.next_ids() == (3, 3), "of what was rolled back nobody has heard"


def test_revisions_of_a_store_that_was_lost_are_not_given_out_again(opens: Opens, tmp_path: Path) -> None:
    store = opens(tmp_path)
    for revision in (40, 7):
        store.prepare([SALES], after=partial(int, revision))
        with store.reading("look") as unit:
            assert unit.ledger.next_ids() == (1, 41)


def test_sums_reconcile_with_rows_and_say_where_they_do_not(store: Store) -> None:
    with store.transaction("load sales") as unit:
        receipts = [take_in(unit, slot) for slot in ("sales/a.csv", "sales/b.csv")]
    with store.transaction("check") as unit:
        totals = unit.ledger.totals("sales")
        assert (totals.read, totals.accepted, totals.rejected, totals.rows) == (8, 6, 2, 6)
        assert unit.ledger.totals("returns").deliveries == 0
        assert unit.ledger.unsound("sales", 1.0, 100) == ([], [])
        assert unit.tables(SALES).unaccounted(100) == []
        lines = rows(2, 1).select("_delivery_id", "_line")
        assert unit.tables(SALES).remove_lines(lines) == ({2: 1}, {})
        assert unit.tables(SALES).unaccounted(100) == [2]
        unit.ledger.add([replace(receipts[0], delivery_id=3, accepted=1)], 3)
        assert [receipt.delivery_id for receipt in unit.ledger.unsound("sales", 1.0, 100)[0]] == [3]


def test_a_delivery_leaves_with_its_rows_and_its_figures_say_who_replaced_it(store: Store) -> None:
    with store.transaction("load sales") as unit:
        take_in(unit)
        new = take_in(unit, "sales/b.csv")
        unit.tables(SALES).remove([1])
        unit.ledger.supersede({1: 2}, 2)
    receipts, raw, reasons, _ = held(store)
    assert (receipts[0], raw, reasons) == (new, 3, [("sku", "str_matches", 1)])
    assert (receipts[1].status, receipts[1].superseded_by, receipts[1].revision) == ("superseded", 2, 2)


def test_slots_remember_what_stands_there_and_where_its_source_was_read(store: Store) -> None:
    with store.transaction("load sales") as unit:
        receipt = take_in(unit)
    with store.reading("look") as unit:
        slots = unit.slots(SALES)
        (found,) = slots.brought([str(receipt.fingerprint)])
        assert found == slots.named(["sales/a.csv"])["sales/a.csv"] == slots.holding([receipt.delivery_id])[0]
        assert (found.position, found.traits) == (f"[{receipt.delivery_id}]", "10")
        assert slots.having(["10", "11"]) == {"10": {"sales/a.csv"}}
        assert slots.named(["sales/new.csv"]) == {"sales/new.csv": Slot("sales/new.csv")}
        assert unit.slots(OTHER).named(["sales/a.csv"])["sales/a.csv"].delivery_id is None


# ---- alone


def _hold(opens: Opens, home: Path, ready: str, done: str) -> None:
    with opens(home).transaction("hold it") as unit:
        unit.commit()  # what is committed in between lets nobody in
        Path(ready).touch()
        while not Path(done).exists():
            threading.Event().wait(0.02)


@pytest.mark.parametrize("way", ["transaction", "reading"])
def test_another_process_is_kept_out_and_told_by_whom(store: Store, opens: Opens, tmp_path: Path, way: str) -> None:
    ready, done = tmp_path / "ready", tmp_path / "done"
    assert store.held_by() is None
    holder = child(_hold, opens, tmp_path, str(ready), str(done))
    try:
        while not ready.exists():
            threading.Event().wait(0.02)
        with pytest.raises(WarehouseBusy, match=f"process {holder.pid} .*load sales"):
            getattr(store, way)("load sales").__enter__()
        assert f"process {holder.pid}" in str(store.held_by())
        waiting = threading.Timer(0.3, done.touch)
        waiting.start()
        with getattr(opens(tmp_path, timedelta(seconds=20)), way)("load sales") as unit:
            assert unit.ledger.receipts() == []
    finally:
        done.touch()
        assert ended(holder) == 0


# ---- rows that can be found


def test_rows_are_found_by_their_values_with_delivery_and_line(store: Store) -> None:
    with store.transaction("load sales") as unit:
        take_in(unit)
    with store.reading("trace") as unit:
        assert unit.lines("raw.sales", {"sku": "S2"}, 10) == [(1, 2)]
        for table, values in (("raw.none", {}), ("ledger.given_out", {}), ("raw.sales", {"none": "1"})):
            with pytest.raises(ConfigurationError):
                unit.lines(table, values, 10)
        (row,) = unit.quarantine(SALES).rows()
        assert (row.delivery, row.file, row.line, row.record) == (1, "sales/a.csv", 4, {"sku": "?"})
