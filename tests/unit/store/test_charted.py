"""Charts of a release: their values are the release's to the last digit, they are few, and say what they leave out."""

import itertools
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest
from shop import Shop

from platform_assets import Chart
from platform_assets.engine.store.charted import MOST_POINTS, NONE, OTHERS, Charted, charted, text_of
from platform_assets.engine.store.release import Release

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
Released = Callable[[str], Release]


@pytest.fixture
def released(tmp_path: Path) -> Released:
    """Makes a release whose one mart, `sales`, is what the query gives."""
    numbers = itertools.count()

    def release(query: str) -> Release:
        shop = Shop(tmp_path / str(next(numbers)))
        shop.deployment.prepare()
        with duckdb.connect(str(shop.deployment.warehouse.marts)) as marts:
            marts.execute(f"CREATE TABLE sales AS {query}")
        return shop.deployment.releases.publish(shop.deployment.warehouse, NOON, ["sales"])

    return release


def points(found: Charted) -> dict[str, list[str | None]]:
    """x -> the value of each series."""
    return {x: [series.values[at] for series in found.series] for at, x in enumerate(found.x)}


def test_days_are_added_up_to_the_last_digit(released: Released) -> None:
    """In floats these would be 0.30000000000000004 and 12345678901234567000."""
    release = released(
        "SELECT DATE '2026-03-01' + (range % 2)::INTEGER AS day, CASE range % 2 WHEN 0 THEN 0.1 + range / 20.0 "
        "ELSE 0 END::DECIMAL(18, 4) AS price, 12345678901234567::DECIMAL(38, 4) / 1 AS big FROM range(4)"
    )
    found = charted(release, Chart("sales", x="day", y="price"), ())
    assert (found.kind, found.axis, found.left_out) == ("line", "time", "")
    assert points(found) == {"2026-03-01": ["0.30"], "2026-03-02": ["0.00"]}


def test_numbers_are_told_with_every_digit_that_they_have() -> None:
    told = {
        Decimal("1234.5000"): "1,234.50",
        Decimal("1234.5678"): "1,234.5678",
        Decimal("-0.0100"): "-0.01",
        Decimal("5.0"): "5.0",
        Decimal("1E+3"): "1,000",
        Decimal("99999999999999999999999999999999.9999"): "99,999,999,999,999,999,999,999,999,999,999.9999",
        12345678901234567890: "12,345,678,901,234,567,890",
        0.1: "0.1",
        float("inf"): None,
        None: None,
    }
    assert {number: text_of(number) for number in told} == told


def test_the_largest_texts_are_drawn_and_what_the_others_come_to_is_told(released: Released) -> None:
    release = released("SELECT 'item ' || range AS item, (range + 0.005)::DECIMAL(18, 3) AS price FROM range(60)")
    found = charted(release, Chart("sales", x="item", y="price", top=3, unit="GBP"), ())
    assert (found.kind, found.axis) == ("bar", "category")
    assert points(found) == {"item 59": ["59.005"], "item 58": ["58.005"], "item 57": ["57.005"]}
    rest = sum(range(57)) + Decimal("0.285")
    assert found.left_out == f"Shown are the 3 largest of 60 values of item; the others come to {rest:,} GBP."
    assert len(charted(release, Chart("sales", x="item", y="price"), ()).x) == 50
    assert charted(release, Chart("sales", x="item", y="price", top=60), ()).left_out == ""


def test_the_newest_of_too_many_times_are_drawn(released: Released) -> None:
    release = released("SELECT TIMESTAMPTZ '2026-01-01 00:00:00+00' + range * INTERVAL 1 HOUR AS at FROM range(1500)")
    found = charted(release, Chart("sales", x="at"), ())
    assert len(found.x) == MOST_POINTS
    assert (found.x[0], found.x[-1]) == ("2026-01-21 20:00:00", "2026-03-04 11:00:00")
    assert found.left_out == "Shown are the newest 1,000 of 1,500 values of at; the others come to 500."
    by_month = charted(release, Chart("sales", x="at", per="month"), ())
    assert points(by_month) == {"2026-01-01": ["744"], "2026-02-01": ["672"], "2026-03-01": ["84"]}


def test_series_beyond_the_eighth_are_one(released: Released) -> None:
    release = released("SELECT range % 2 AS n, 'shop ' || range % 11 AS shop, 10 - range % 11 AS sold FROM range(22)")
    found = charted(release, Chart("sales", x="n", y="sold", by="shop"), ())
    assert [series.name for series in found.series] == [*(f"shop {each}" for each in range(8)), OTHERS]
    assert sum(int(value or 0) for series in found.series for value in series.values) == 110
    assert points(found)["0"][-1] == str(2 + 1 + 0)


def test_numbers_in_place_of_names_stand_in_their_order(released: Released) -> None:
    release = released("SELECT 1 AS n, range % 4 AS score, (4 - range) ** 2 AS sold FROM range(4)")
    assert [s.name for s in charted(release, Chart("sales", x="n", y="sold", by="score"), ()).series] == [*"0123"]


def test_what_is_missing_is_told_and_what_has_no_end_is_on_no_axis(released: Released) -> None:
    release = released(
        "SELECT * FROM (VALUES (DATE '2026-03-01', 'a', 1.5::DOUBLE), (NULL, 'b', 2), (DATE 'infinity', NULL, 'NaN'), "
        "(DATE '2026-03-02', 'a', NULL)) AS t(day, item, price)"
    )
    by_day = charted(release, Chart("sales", x="day", y="price"), ())
    assert points(by_day) == {"2026-03-01": ["1.5"], "2026-03-02": [None]}
    assert by_day.left_out == "Not shown: 2 of 4 rows, without day."
    assert points(charted(release, Chart("sales", x="item", y="price"), ())) == {"b": ["2"], "a": ["1.5"], NONE: [None]}


@pytest.mark.parametrize(("how", "value"), [("mean", "0.3333"), ("min", "0.00"), ("max", "1.00"), ("sum", "1.00")])
def test_rows_with_the_same_x_come_to_what_is_declared(released: Released, how: str, value: str) -> None:
    release = released("SELECT 'a' AS item, (range = 0)::INTEGER::DECIMAL(9, 2) AS price FROM range(3)")
    chart = Chart("sales", x="item", y="price", how=how)  # type: ignore[arg-type]
    assert points(charted(release, chart, ())) == {"a": [value]}


def test_of_too_many_points_some_are_chosen_that_are_always_the_same(released: Released) -> None:
    query = "SELECT range AS n, CASE WHEN range < 1500 THEN range END AS m FROM range(2000)"
    first, second = (charted(released(query), Chart("sales", x="n", y="m", kind="scatter"), ()) for _ in range(2))
    assert first == second
    assert len(first.x) == MOST_POINTS
    assert first.left_out == (
        "Shown are 1,000 of 1,500 rows, chosen evenly. Not shown: 500 of 2,000 rows, which lack one of both values."
    )
    assert all(series.values[at] == f"{int(x):,}" for series in first.series for at, x in enumerate(first.x))


def test_columns_are_taken_by_their_names_whatever_these_are(released: Released) -> None:
    release = released("""SELECT 'it''s "x"' AS "order", 3 AS "a ""b"" --", 4 AS x, 5 AS m FROM range(2)""")
    assert points(charted(release, Chart("sales", x="order", y='a "b" --', by="x"), ())) == {'it\'s "x"': ["6"]}
    assert points(charted(release, Chart("sales", x="m", y="x"), ())) == {"5": ["8"]}


def test_personal_data_is_drawn_nowhere(released: Released) -> None:
    release = released("SELECT 'anna@example.com' AS email, 3 AS sold")
    for chart in (Chart("sales", x="email"), Chart("sales", x="sold", by="email")):
        found = charted(release, chart, {"email"})
        assert (found.x, found.series) == ((), ())
        assert found.problem == "email may be personal data, and is not shown."


def test_a_release_of_before_is_no_reason_to_fail(released: Released) -> None:
    release = released("SELECT 1 AS sold")
    assert "has no day in this release" in charted(release, Chart("sales", x="day"), ()).problem
    assert "has no other yet" in charted(release, Chart("other", x="day"), ()).problem
