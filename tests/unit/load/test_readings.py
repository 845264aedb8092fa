"""Dates that can be read in two ways: a delivery's own values and dates decide for all of it, or it waits whole."""

import os
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import pytest
from shop import SALES, Clock, Shop

from platform_assets.engine.contract.column import Column
from platform_assets.engine.contract.model import Contract, Field, Since, columns_of
from platform_assets.engine.contract.readings import may_be_ambiguous
from platform_assets.engine.feed.feed import Files, seconds

EITHER = ("%d/%m/%Y", "%m/%d/%Y")
TURNED = ("%m/%d/%Y", Since(date(2026, 3, 1), "%d/%m/%Y"))
NOW = datetime(2026, 3, 20, 8, tzinfo=UTC)


def shop_of(shop: Shop, formats: Any, *, dated: bool = False, event: bool = False, kind: type = date) -> Shop:
    annotations = {"sku": str, "day": kind}
    fields = {"sku": Field(), "day": Field(format=formats)}
    contract = type("Dated", (Contract,), {"__annotations__": annotations, "__doc__": "Days.", **fields})
    source = Files("sales/*", settle=seconds(0), dated="%Y-%m-%d" if dated else None)
    shop.feed = replace(SALES, source=source, contract=contract, event_time="day" if event else None)
    shop.clock = Clock(at=NOW)
    return shop


def came(shop: Shop, *days: str, name: str = "a.csv", written: datetime = NOW) -> Any:
    """The days that are taken in; where the delivery waits, its problem."""
    path = shop.deliver(name, "sku,day\n" + "".join(f"A{at},{day}\n" for at, day in enumerate(days)))
    os.utime(path, (written.timestamp(), written.timestamp()))
    shop.deployment.prepare()
    (receipt,) = shop.ingest().receipts
    if receipt.status == "quarantined":
        return receipt.problem
    assert receipt.accepted == len(days)
    return [day for (day,) in shop.query("SELECT day FROM raw.sales ORDER BY _line")]


def test_nothing_is_guessed_where_nothing_decides(shop: Shop) -> None:
    problem = came(shop_of(shop, EITHER), "03/03/2020", "03/04/2020")
    assert problem == (
        "'03/04/2020' may be 3 April 2020 (%d/%m/%Y) or 4 March 2020 (%m/%d/%Y), "
        "and nothing in the delivery tells which"
    )
    (receipt,) = shop.receipts()
    assert (receipt.problem_line, receipt.problem_column) == (3, "day")
    assert "Declare the one format" in str(receipt.remedy)


@pytest.mark.parametrize(("sure", "month"), [("25/12/2019", 4), ("12/25/2019", 3)])
def test_a_value_that_has_one_reading_decides_for_the_whole_column(shop: Shop, sure: str, month: int) -> None:
    days = came(shop_of(shop, EITHER), "03/04/2020", sure)
    assert days == [date(2020, month, 7 - month), date(2019, 12, 25)]


def test_values_that_speak_for_either_decide_nothing(shop: Shop) -> None:
    assert "other values speak for either" in came(shop_of(shop, EITHER), "03/04/2020", "25/12/2019", "12/25/2019")


@pytest.mark.slow
def test_a_value_far_from_the_others_decides_as_well(shop: Shop) -> None:
    days = came(shop_of(shop, EITHER), *["03/04/2020"] * 250_000, "25/12/2019")
    assert (days[0], days[-1]) == (date(2020, 4, 3), date(2019, 12, 25))


def test_what_happened_is_not_later_than_the_date_in_the_name(shop: Shop) -> None:
    assert came(shop_of(shop, EITHER, dated=True, event=True), "03/04/2020", name="2020-03-04.csv") == [
        date(2020, 3, 4)
    ]


def test_a_day_that_is_no_event_may_be_later_than_the_date_in_the_name(shop: Shop) -> None:
    assert "nothing in the delivery tells" in came(
        shop_of(shop, EITHER, dated=True), "03/04/2020", name="2020-03-04.csv"
    )


def test_what_happened_is_not_later_than_now(shop: Shop) -> None:
    assert came(shop_of(shop, EITHER, event=True), "03/11/2026") == [date(2026, 3, 11)]


@pytest.mark.parametrize(("name", "month"), [("2026-02-28.csv", 3), ("2026-03-01.csv", 4)])
def test_the_format_in_force_on_the_date_in_the_name_decides(shop: Shop, name: str, month: int) -> None:
    assert came(shop_of(shop, TURNED, dated=True), "03/04/2020", name=name) == [date(2020, month, 7 - month)]


def test_a_file_that_was_written_before_a_format_changed_has_the_old_one(shop: Shop) -> None:
    written = datetime(2026, 2, 28, tzinfo=UTC)
    assert came(shop_of(shop, TURNED), "03/04/2020", written=written) == [date(2020, 3, 4)]


def test_that_a_file_was_copied_today_says_nothing_of_its_format(shop: Shop) -> None:
    assert "3 April 2020 (%d/%m/%Y)" in came(shop_of(shop, TURNED, event=True), "03/04/2020")


def test_a_delivery_with_events_of_after_the_change_has_the_new_format(shop: Shop) -> None:
    assert came(shop_of(shop, TURNED, event=True), "02/03/2026", "04/03/2026") == [date(2026, 3, 2), date(2026, 3, 4)]


def test_what_waited_comes_in_by_the_declaration_that_decides(shop: Shop) -> None:
    came(shop_of(shop, EITHER), "03/04/2020")
    shop_of(shop, "%m/%d/%Y").deployment.prepare()
    (receipt,) = shop.deployment.replay(shop.feed, lambda _: True)
    assert (receipt.status, shop.rows("day")) == ("accepted", [(date(2020, 3, 4),)])


def test_json_is_held_to_the_same(shop: Shop) -> None:
    shop_of(shop, EITHER)
    text = '{"sku": "A1", "day": "03/04/2020"}\n'
    assert "may be 3 April 2020" in str(shop.load("a.ndjson", text).problem)
    assert shop.load("b.ndjson", text + '{"sku": "A2", "day": "25/12/2020"}\n').status == "accepted"


def column(kind: type, formats: Any) -> Column:
    contract = type("One", (Contract,), {"__annotations__": {"a": kind}, "__doc__": "One.", "a": Field(format=formats)})
    (found,) = columns_of(contract)
    return found


@pytest.mark.parametrize(
    ("kind", "formats", "ambiguous"),
    [
        (date, "%d/%m/%Y", False),
        (date, ("%d/%m/%Y", "%Y-%m-%d"), False),
        (date, EITHER, True),
        (date, ("%d/%m/%y", "%y/%m/%d"), True),
        (datetime, ("%m/%d/%Y %H:%M", "%m/%d/%y %H:%M", "%Y-%m-%d %H:%M:%S"), False),
        (datetime, ("%d/%m/%Y %H:%M", "%m/%d/%Y %H:%M"), True),
    ],
)
def test_only_formats_that_can_be_mistaken_cost_a_second_look(kind: type, formats: Any, ambiguous: bool) -> None:
    assert may_be_ambiguous(column(kind, formats)) is ambiguous
