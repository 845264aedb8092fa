"""Columns that a delivery's header may lack: its rows have NULL or the default, and nothing is drift."""

from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Final

import pytest
from shop import SALES, Shop, sales

from platform_assets.engine.author.drift import compare
from platform_assets.engine.author.trial import try_on
from platform_assets.engine.contract.model import Contract, Field
from platform_assets.engine.load import Outcome
from platform_assets.project.dbt_sources import _table

NARROW: Final = "sku,quantity"
WIDE: Final = "sku,quantity,Channel,Discount"


class Grown(Contract):
    """Sales, whose producer added columns over the years. Grain: line."""

    sku: str = Field()
    quantity: int = Field(ge=0)
    channel: str = Field(source=("Chan", "Channel"), optional=True, default="shop", isin=["shop", "web"])
    discount: Decimal = Field(source="Discount", optional=True, nullable=True, ge=0)
    sold_on: date = Field(optional=True, default=date(2020, 1, 31))


@pytest.fixture
def grown(shop: Shop) -> Shop:
    shop.declare(contract=Grown, event_time=None)
    return shop


def load(shop: Shop, **texts: str) -> Outcome:
    for name, text in texts.items():
        shop.deliver(f"{name}.csv", text)
    return shop.ingest()


def test_rows_of_a_delivery_that_lacks_a_column_have_null_or_the_default(grown: Shop) -> None:
    outcome = load(
        grown,
        a=sales("A1,1", header=NARROW),
        b=sales("B1,1,web,0.50", "B2,2,shop,", header=WIDE),
        c=sales("C1,1", header=NARROW),
        d="sku,quantity,Chan\nD1,1,web\n",
    )
    assert [(receipt.status, receipt.accepted, receipt.rejected) for receipt in outcome.receipts] == [
        ("accepted", 1, 0),
        ("accepted", 2, 0),
        ("accepted", 1, 0),
        ("accepted", 1, 0),
    ]
    day = date(2020, 1, 31)
    assert grown.rows("sku, channel, discount, sold_on") == [
        ("A1", "shop", None, day),
        ("B1", "web", Decimal("0.5000"), day),
        ("B2", "shop", None, day),
        ("C1", "shop", None, day),
        ("D1", "web", None, day),
    ]


def test_a_value_that_was_delivered_empty_is_not_made_up(grown: Shop) -> None:
    load(grown, a=sales("A1,1,,", header=WIDE))
    ((_, (reason,), record),) = grown.rejected()
    assert (reason["column"], reason["rule"]) == ("channel", "not_nullable")
    assert '"Channel":null' in record


def test_a_rejected_row_is_kept_as_it_arrived(grown: Shop) -> None:
    load(grown, a=sales("A1,-1", header=NARROW))
    ((_, _, record),) = grown.rejected()
    assert record == '{"sku":"A1","quantity":"-1"}'


def test_a_column_that_is_lacked_is_no_drift(grown: Shop) -> None:
    load(grown, a=sales("A1,1", header=NARROW), b=sales("B1,1,web,0.50", header=WIDE))
    with grown.deployment.warehouse.reading("compare") as unit:
        assert not compare(unit, grown.feed, grown.deployment.archive.root).drifted
    trial = try_on(grown.feed, grown.landing / "sales" / "a.csv")
    assert (trial.receipt.accepted, trial.loads) == (1, True)


def test_older_deliveries_are_replayed_by_a_contract_that_has_gained_a_column(shop: Shop) -> None:
    class Before(Contract):
        """Sales as they began."""

        sku: str = Field()
        quantity: int = Field()

    shop.declare(contract=Before, event_time=None)
    load(shop, a=sales("A1,1", header=NARROW))
    shop.declare(contract=Grown)
    shop.deployment.replay(shop.feed, lambda _: True)
    load(shop, b=sales("B1,1,web,", header=WIDE))
    assert shop.rows("sku, channel") == [("A1", "shop"), ("B1", "web")]
    assert shop.reconciles()


def test_a_column_that_is_not_optional_still_may_not_be_lacked(grown: Shop) -> None:
    (receipt,) = load(grown, a="sku,Channel\nA1,web\n").receipts
    assert (receipt.status, receipt.problem) == ("quarantined", "missing column quantity")


def test_dbts_source_tells_which_columns_are_optional() -> None:
    table = _table(replace(SALES, contract=Grown, event_time=None), ())
    assert [c["name"] for c in table["columns"] if c.get("config", {}).get("meta", {}).get("optional")] == [
        "channel",
        "discount",
        "sold_on",
    ]
