"""The real deliveries through the whole graph by one command, steered by settings alone."""

import csv
import json
from collections import defaultdict
from contextlib import closing
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import duckdb
import pytest
from deployed import Deployed, Finished
from machine import RETAIL

pytestmark = [
    pytest.mark.needs(RETAIL),
]

Line = tuple[str, int]
"""A file's path in the landing folder, and a physical line of it."""


@dataclass
class Ran:
    """What one `platform run` on all the files made of them."""

    finished: Finished
    sold: dict[Line, Decimal]
    left_out: dict[Line, str]
    months: dict[str, Decimal]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    deployed = Deployed(
        tmp_path_factory.mktemp("retail"),
        settings={"PLATFORM_LANDING": str(RETAIL), "PLATFORM_FEED_ORDER_LINES_FILES": "by-day/*.csv"},
    )
    finished = deployed.platform("run", "--json")
    assert finished.did, finished.err
    with closing(duckdb.connect(str(deployed.home / "warehouse.duckdb"), read_only=True)) as warehouse:
        slots = dict(warehouse.execute("SELECT delivery_id, slot FROM ledger.deliveries").fetchall())
        left_out = warehouse.execute(
            "SELECT delivery_id, line, 'duplicate' FROM ledger.duplicates "
            "UNION ALL SELECT _delivery_id, _line, 'rejected' FROM quarantine.order_lines"
        ).fetchall()
    with closing(duckdb.connect(finished.answer["releases"]["retail"]["path"], read_only=True)) as release:
        sold = release.execute("SELECT _delivery_id, _line, line_amount FROM fct_order_lines").fetchall()
        months = release.execute(
            "SELECT strftime(sale_date, '%Y-%m'), sum(net_revenue) FROM daily_sales GROUP BY 1"
        ).fetchall()
    return Ran(
        finished,
        {(slots[delivery], line): amount for delivery, line, amount in sold},
        {(slots[delivery], line): why for delivery, line, why in left_out},
        dict(months),
    )


@pytest.fixture(scope="module")
def delivered() -> dict[Line, tuple[str, Decimal]]:
    """Every delivered line's month and revenue, as csv alone reads it."""
    lines = {}
    for path in sorted((RETAIL / "by-day").iterdir()):
        with path.open(encoding="utf-8-sig", newline="") as file:
            for number, row in enumerate(csv.DictReader(file), start=2):
                amount = int(row["Quantity"]) * Decimal(row["UnitPrice"])
                lines[f"by-day/{path.name}", number] = (row["InvoiceDate"][:7], amount)
    return lines


@pytest.fixture(scope="module")
def truth() -> dict[str, Any]:
    told: dict[str, Any] = json.loads((RETAIL / "truth.json").read_text())
    return told


def test_one_command_takes_all_files_to_a_release(ran: Ran, truth: dict[str, Any]) -> None:
    (order_lines,) = (feed for feed in ran.finished.answer["feeds"] if feed["feed"] == "order_lines")
    assert (order_lines["deliveries"], order_lines["read"]) == (truth["files"], truth["rows"])
    assert order_lines["rejected"] == truth["negative_unit_price"]
    assert order_lines["duplicate"] == truth["exact_duplicate_excess"]
    assert order_lines["read"] == order_lines["accepted"] + order_lines["rejected"] + order_lines["duplicate"]


def test_every_delivered_line_is_in_the_fact_or_in_the_account_of_those_left_out(
    ran: Ran, delivered: dict[Line, tuple[str, Decimal]]
) -> None:
    assert ran.sold.keys() | ran.left_out.keys() == delivered.keys()
    assert not ran.sold.keys() & ran.left_out.keys()


def test_every_line_of_the_fact_is_worth_what_its_file_says(
    ran: Ran, delivered: dict[Line, tuple[str, Decimal]]
) -> None:
    assert [line for line, amount in ran.sold.items() if amount != delivered[line][1]] == []


def test_revenue_of_a_month_is_the_truth_less_the_lines_left_out(
    ran: Ran, delivered: dict[Line, tuple[str, Decimal]], truth: dict[str, Any]
) -> None:
    left_out: dict[str, Decimal] = defaultdict(Decimal)
    for line in ran.left_out:
        month, amount = delivered[line]
        left_out[month] += amount
    expected = {
        month: Decimal(revenue) - left_out[month] for month, revenue in truth["revenue_per_month_all_rows"].items()
    }
    assert ran.months == expected
