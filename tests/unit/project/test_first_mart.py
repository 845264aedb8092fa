"""The first marts that a feed's declaration suggests: what they are called, of what rows they are, what is added up."""

from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest

from platform_assets import Cadence, Contract, Feed, Field, Files, hours
from platform_assets.project.first_mart import FirstMart, first_marts


class Stock(Contract):
    """Stock. Grain: article and list."""

    article: str = Field()
    state: str = Field()
    day: str = Field(nullable=True)
    counted_at: datetime = Field(timezone="Europe/Berlin")
    units: int = Field(ge=0)
    weight: float = Field(ge=0)
    worth: Decimal = Field(ge=0)
    einzelpreis: Decimal = Field(ge=0)
    http_status: int = Field()
    contact: str = Field(pii="pseudonym")


def feed(**declared: Any) -> Feed:
    given = {"source": Files("store/*.csv", dated="%Y-%m-%d"), **declared}
    return Feed(
        name="stock", contract=Stock, delivered=Cadence(cron="0 6 * * *", within=hours(3)), owner="team:store",
        origin="store", **given,
    )  # fmt: skip


def names(mart: FirstMart) -> tuple[str, ...]:
    return tuple(column.name for column in mart.columns)


def test_rows_add_up_by_the_day_of_their_file_and_prices_and_codes_do_not_add_up() -> None:
    (mart,) = first_marts(feed(), "state")
    assert (mart.name, mart.grain) == ("stock_by_day", ("day", "state"))
    assert names(mart) == ("day", "state", "row_count", "units", "weight", "worth")


def test_full_lists_have_the_newest_one_and_a_history_to_chart() -> None:
    latest, history = first_marts(feed(key=("article",), key_within="delivery"), "state")
    assert (latest.name, latest.grain) == ("stock_latest", ("article",))
    assert "contact" not in names(latest)
    assert (history.name, history.grain) == ("stock_by_day", ("day", "state"))
    assert names(history) == ("day", "state", "row_count", "units", "weight", "worth")
    assert "snapshot_lists('stock')" in history.source, "neither withdrawn lists nor those that another replaced"


def test_a_history_of_months_is_called_so() -> None:
    of_months = Files("store/*.csv", dated="%Y-%m")
    _, history = first_marts(feed(source=of_months, key=("article",), key_within="delivery"), None)
    assert (history.name, history.grain) == ("stock_by_month", ("month",))


def test_full_lists_without_a_date_have_the_newest_one_alone() -> None:
    undated = feed(source=Files("store/*.csv"), key=("article",), key_within="delivery")
    assert [mart.name for mart in first_marts(undated, "state")] == ["stock_latest"]


@pytest.mark.parametrize("dimension", ["day", None])
def test_a_column_that_is_called_like_one_of_the_mart_does_not_stand_in_its_way(dimension: str | None) -> None:
    (mart,) = first_marts(feed(), dimension)
    assert names(mart)[:2] == ("day", "row_count")
