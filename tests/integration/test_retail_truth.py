"""The real deliveries of the sample retailer, against counts and sums that were made without us."""

import csv
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import Any

import pytest
from machine import RETAIL

from platform_assets.engine.deployment import Deployment
from platform_assets.engine.store.receipts import Receipt
from platform_assets.feeds.retail import ORDER_LINES
from platform_assets.project.declared import with_files

pytestmark = [
    pytest.mark.needs(RETAIL),
]


@dataclass
class Retail:
    """All days ingested once, and every file's rows as csv alone reads them."""

    deployment: Deployment
    receipts: dict[str, Receipt]

    @cached_property
    def truth(self) -> dict[str, Any]:
        told: dict[str, Any] = json.loads((RETAIL / "truth.json").read_text())
        return told

    @cached_property
    def files(self) -> dict[str, list[dict[str, str]]]:
        """Slot -> rows; no field of these files holds a line break, so row n is line n + 2."""
        files = {}
        for path in sorted((RETAIL / "by-day").iterdir()):
            with path.open(encoding="utf-8-sig", newline="") as file:
                files[f"by-day/{path.name}"] = list(csv.DictReader(file))
        return files

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        with self.deployment.warehouse.open("look") as connection:
            return connection.execute(sql).fetchall()

    def lines(self, table: str) -> Iterator[dict[str, str]]:
        """The delivered rows of the lines that `table` (a delivery and a line, first) names."""
        slots = {receipt.delivery_id: slot for slot, receipt in self.receipts.items()}
        for delivery, line, *_ in self.query(f"SELECT * FROM {table}"):
            yield self.files[slots[delivery]][line - 2]


@pytest.fixture(scope="module")
def retail(tmp_path_factory: pytest.TempPathFactory) -> Retail:
    root = tmp_path_factory.mktemp("retail")
    landing = root / "landing"
    shutil.copytree(RETAIL / "by-day", landing / "by-day")
    (feed,) = with_files([ORDER_LINES], {"order_lines": "by-day/*.csv"})
    deployment = Deployment([feed], home=root / "home", landing=landing)
    deployment.prepare()
    receipts = {receipt.slot: receipt for receipt in deployment.ingest(feed).receipts}
    return Retail(deployment, receipts)


def revenue(row: dict[str, str]) -> Decimal:
    return int(row["Quantity"]) * Decimal(row["UnitPrice"])


def test_every_row_of_every_file_is_read(retail: Retail) -> None:
    assert {slot: receipt.read for slot, receipt in retail.receipts.items()} == {
        slot: len(rows) for slot, rows in retail.files.items()
    }
    assert len(retail.receipts) == retail.truth["files"]
    assert sum(receipt.read for receipt in retail.receipts.values()) == retail.truth["rows"]


def test_every_row_is_accepted_rejected_or_a_duplicate(retail: Retail) -> None:
    assert all(receipt.status == "accepted" and receipt.reconciles for receipt in retail.receipts.values())
    assert sum(r.duplicate for r in retail.receipts.values()) == retail.truth["exact_duplicate_excess"] == 2483
    in_raw = dict(retail.query("SELECT _delivery_id, count(*) FROM raw.order_lines GROUP BY ALL"))
    assert in_raw == {receipt.delivery_id: receipt.accepted for receipt in retail.receipts.values()}


def test_only_the_two_negative_prices_are_rejected_by_file_and_line(retail: Retail) -> None:
    rejected = retail.query(
        "SELECT d.slot, q._line, q.reasons[1]['column'], q.reasons[1]['value'], len(q.reasons) "
        "FROM quarantine.order_lines q JOIN ledger.deliveries d ON d.delivery_id = q._delivery_id ORDER BY ALL"
    )
    negative = [
        (slot, at, "unit_price", row["UnitPrice"])
        for slot, rows in retail.files.items()
        for at, row in enumerate(rows, start=2)
        if Decimal(row["UnitPrice"]) < 0
    ]
    assert len(rejected) == len(negative) == retail.truth["negative_unit_price"] == 2
    assert [(*where, Decimal(value)) for *where, value, _ in rejected] == [
        (*where, Decimal(value)) for *where, value in negative
    ]
    assert all(reasons == 1 for *_, reasons in rejected)


def test_duplicates_are_the_lines_that_repeat_an_earlier_one_of_their_file(retail: Retail) -> None:
    slots = {receipt.delivery_id: slot for slot, receipt in retail.receipts.items()}
    found = {(slots[d], line) for d, line in retail.query("SELECT delivery_id, line FROM ledger.duplicates")}
    expected = set()
    for slot, rows in retail.files.items():
        seen = set()
        for line, row in enumerate(rows, start=2):
            key = tuple(row.values())
            if key in seen:
                expected.add((slot, line))
            seen.add(key)
    assert found == expected


def test_revenue_is_right_to_the_penny(retail: Retail) -> None:
    ((accepted,),) = retail.query("SELECT sum(quantity * unit_price)::DECIMAL(18, 4) FROM raw.order_lines")
    duplicates = sum(map(revenue, retail.lines("ledger.duplicates")))
    rejected = sum(map(revenue, retail.lines("(SELECT _delivery_id, _line FROM quarantine.order_lines)")))
    assert accepted + rejected == Decimal(retail.truth["revenue_after_exact_dedup"])
    assert accepted + rejected + duplicates == Decimal(retail.truth["revenue_all_rows"])


def test_what_else_is_known_of_the_rows_holds(retail: Retail) -> None:
    ((customers, descriptions, returns),) = retail.query(
        "SELECT count(*) FILTER (customer_id IS NULL), count(*) FILTER (description IS NULL), "
        "count(*) FILTER (quantity < 0) FROM raw.order_lines"
    )
    left_out = [
        *retail.lines("ledger.duplicates"),
        *retail.lines("(SELECT _delivery_id, _line FROM quarantine.order_lines)"),
    ]
    assert customers + sum(not row["CustomerID"] for row in left_out) == retail.truth["null_customer_id"]
    assert descriptions + sum(not row["Description"] for row in left_out) == retail.truth["null_description"]
    assert returns + sum(int(row["Quantity"]) < 0 for row in left_out) == retail.truth["negative_quantity"]


def test_a_second_run_and_renamed_files_load_nothing(retail: Retail) -> None:
    (feed,) = retail.deployment.feeds
    before = retail.query("SELECT count(*), sum(quantity), max(_delivery_id) FROM raw.order_lines")
    assert retail.deployment.ingest(feed).receipts == []
    for path in sorted((retail.deployment.landing / "by-day").iterdir()):
        path.rename(path.with_name(f"resent-{path.name}"))
    again = retail.deployment.ingest(feed).receipts
    assert [receipt.status for receipt in again] == ["duplicate"] * retail.truth["files"]
    assert sum(receipt.duplicate for receipt in again) == retail.truth["rows"]
    assert retail.query("SELECT count(*), sum(quantity), max(_delivery_id) FROM raw.order_lines") == before
