"""Feeds whose files have a date in their names: it orders the deliveries, and says what day their rows are of."""

import os
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from machine import examples
from shop import SALES, Shop, sales

from platform_assets.engine.feed.dated import NameDate
from platform_assets.engine.feed.feed import Feed, Files, seconds
from platform_assets.errors import ConfigurationError, DeliveryRefused

DAILY = replace(
    SALES,
    source=Files("sales/**/*.csv", "sales/*.zip", settle=seconds(0), dated="%m-%d-%Y"),
    event_time=None,
    key=("sku",),
    on_known_key="latest",
)


@pytest.fixture
def daily(shop: Shop) -> Shop:
    shop.feed = DAILY
    shop.deployment.prepare()
    return shop


def dated_rows(shop: Shop) -> list[tuple[Any, ...]]:
    return shop.rows("sku, quantity, _file_date")


# ---- reading a date from a name


@pytest.mark.parametrize(
    ("form", "slot", "day"),
    [
        ("%m-%d-%Y", "reports/01-22-2020.csv", date(2020, 1, 22)),
        ("%m-%d-%Y", "reports/1-2-2020.csv.gz", date(2020, 1, 2)),
        ("%m-%d-%Y", "01-22-2020/report 01-23-2020.csv", date(2020, 1, 23)),
        ("%Y%m%d", "sales_20200131_v2.csv", date(2020, 1, 31)),
        ("%Y%m%d", "20200131-20200131.csv", date(2020, 1, 31)),
        ("%Y%m%d%H%M%S", "sales20200131235959.csv", date(2020, 1, 31)),
        ("to_%Y%m%d", "from_20200101_to_20200131.csv", date(2020, 1, 31)),
        ("%d%b%y", "x_31JAN20.csv", date(2020, 1, 31)),
        ("%B %Y", "report for february 2020.xlsx", date(2020, 2, 1)),
        ("%Y-%m", "sales_2020-02.csv", date(2020, 2, 1)),
        ("%Y", "2019.csv", date(2019, 1, 1)),
        ("%Y.%j", "log.2020.366.csv", date(2020, 12, 31)),
        ("%Y/%m/%d", "sales/2020/01/31/part-1.csv", date(2020, 1, 31)),
        ("dt=%Y-%m-%d/", "sales/dt=2020-01-31/part-2020.csv", date(2020, 1, 31)),
    ],
)
def test_a_date_is_found_wherever_it_stands_in_the_name(form: str, slot: str, day: date) -> None:
    assert NameDate(form).read(slot) == day


@pytest.mark.parametrize(
    ("form", "slot", "why"),
    [
        ("%m-%d-%Y", "report.csv", "its name has no date as %m-%d-%Y writes it"),
        ("%m-%d-%Y", "01-22-2020/report.csv", "its name has no date"),
        ("%Y%m%d", "202001311.csv", "its name has no date"),
        ("%m-%d-%Y", "02-30-2020.csv", "impossible: 02-30-2020"),
        ("%Y.%j", "2019.366.csv", "impossible: 2019.366"),
        ("%Y%m%d", "20200131_99999999.csv", "impossible: 99999999"),
        ("%m-%d-%Y", "01-22-2020_01-23-2020.csv", "several dates as %m-%d-%Y writes them: 01-22-2020, 01-23-2020"),
    ],
)
def test_a_name_without_just_one_date_is_refused(form: str, slot: str, why: str) -> None:
    with pytest.raises(DeliveryRefused) as refused:
        NameDate(form).read(slot)
    assert why in str(refused.value)


@pytest.mark.parametrize(
    ("form", "why"),
    [
        ("%q", "%q is not read"),
        ("", "it has no year"),
        ("%m-%d", "it has no year"),
        ("%Y-%y", "names a part of the date twice"),
        ("%Y-%j-%m", "names a part of the date twice"),
        ("%Y-%d", "a day without a month"),
        ("%Y%", "% is not read"),
        (7, "7 is not a text"),
    ],
)
def test_a_format_is_an_error_when_it_is_declared(form: Any, why: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        Files("a/*.csv", dated=form)
    assert error.value.what.startswith("Files.dated")
    assert why in error.value.what
    assert len(str(error.value).splitlines()) == 3


def test_of_a_month_or_year_the_last_day_is_told() -> None:
    assert NameDate("%Y-%m").last(date(2020, 2, 1)) == date(2020, 2, 29)
    assert NameDate("%Y").last(date(2020, 1, 1)) == date(2020, 12, 31)
    assert NameDate("%Y-%j").last(date(2020, 1, 1)) == date(2020, 1, 1)


# ---- deliveries


def test_a_backlog_is_taken_in_by_the_dates_whatever_its_names_and_times(daily: Shop) -> None:
    for at, name in enumerate(["01-22-2021.csv", "12-31-2020.csv", "02-01-2020.csv"]):
        path = daily.deliver(name, sales(f"A1,{at}"))
        os.utime(path, (1_000 * at, 1_000 * at))
    receipts = daily.ingest().receipts
    assert [receipt.file_date for receipt in receipts] == [date(2020, 2, 1), date(2020, 12, 31), date(2021, 1, 22)]
    assert dated_rows(daily) == [("A1", 0, date(2021, 1, 22))]
    assert daily.reconciles()


def test_of_more_files_than_are_taken_at_once_the_oldest_come_first(daily: Shop) -> None:
    for name in ["01-01-2021.csv", "02-01-2020.csv", "03-01-2019.csv"]:
        daily.deliver(name, sales(f"A{name[:2]},1"))
    (receipt,) = daily.deployment.ingest(daily.feed, most_files=1).receipts
    assert receipt.file_date == date(2019, 3, 1)


def test_an_older_file_that_comes_later_keeps_its_place(daily: Shop) -> None:
    daily.load("01-05-2020.csv", sales("A1,5"))
    daily.load("01-03-2020.csv", sales("A1,3", "A2,3"))
    assert dated_rows(daily) == [("A1", 5, date(2020, 1, 5)), ("A2", 3, date(2020, 1, 3))]
    daily.load("01-03-2020.csv", sales("A1,30", "A2,30"))
    assert dated_rows(daily) == [("A1", 5, date(2020, 1, 5)), ("A2", 30, date(2020, 1, 3))]
    assert daily.reconciles()


@pytest.mark.parametrize("name", ["report.csv", "02-30-2020.csv", "01-01-2020_01-02-2020.csv"])
def test_a_file_whose_name_has_no_date_is_quarantined_and_others_go_on(daily: Shop, name: str) -> None:
    daily.deliver(name, sales("B1,1"))
    daily.deliver("01-05-2020.csv", sales("A1,5"))
    wrong, sound = sorted(daily.ingest().receipts, key=lambda receipt: receipt.status == "accepted")
    assert (wrong.status, wrong.file_date, sound.status) == ("quarantined", None, "accepted")
    assert "its name" in str(wrong.problem)
    assert wrong.remedy
    assert daily.skus() == ["A1"]


def test_what_waited_for_its_date_comes_in_by_the_declaration_that_reads_it(daily: Shop) -> None:
    receipt = daily.load("2020_01_05.csv", sales("A1,5"))
    assert receipt.status == "quarantined"
    daily.declare(source=Files("sales/*.csv", settle=seconds(0), dated="%Y_%m_%d"))
    (replayed,) = daily.deployment.replay(daily.feed, lambda _: True)
    assert (replayed.status, replayed.file_date) == ("accepted", date(2020, 1, 5))
    assert dated_rows(daily) == [("A1", 5, date(2020, 1, 5))]


def test_a_replay_takes_the_date_from_the_name_that_was_recorded(daily: Shop) -> None:
    daily.load("01-05-2020.csv", sales("A1,5"))
    (daily.landing / "sales" / "01-05-2020.csv").unlink()
    daily.deployment.replay(daily.feed, lambda _: True, again=True)
    assert dated_rows(daily) == [("A1", 5, date(2020, 1, 5))]


def test_a_feed_that_declares_dates_later_gets_them_by_a_replay(shop: Shop) -> None:
    shop.declare(event_time=None)
    shop.load("01-05-2020.csv", sales("A1,5"))
    shop.declare(source=DAILY.source)
    shop.load("01-06-2020.csv", sales("A2,6"))
    assert dated_rows(shop) == [("A1", 5, None), ("A2", 6, date(2020, 1, 6))]
    shop.deployment.replay(shop.feed, lambda _: True)
    assert dated_rows(shop) == [("A1", 5, date(2020, 1, 5)), ("A2", 6, date(2020, 1, 6))]


def test_a_renamed_file_is_of_the_day_in_its_new_name(daily: Shop) -> None:
    path = daily.deliver("01-05-2020.csv", sales("A1,5"))
    daily.ingest()
    path.rename(path.with_name("01-06-2020.csv"))
    (receipt,) = daily.ingest().receipts
    assert (receipt.status, receipt.file_date) == ("duplicate", date(2020, 1, 6))
    assert dated_rows(daily) == [("A1", 5, date(2020, 1, 6))]
    assert daily.reconciles()


def test_equal_files_of_two_days_count_once_of_the_first_of_them(daily: Shop) -> None:
    daily.load("01-05-2020.csv", sales("A1,5"))
    assert daily.load("01-03-2020.csv", sales("A1,5")).status == "duplicate"
    assert dated_rows(daily) == [("A1", 5, date(2020, 1, 3))]
    daily.load("01-03-2020.csv", sales("A2,3"))
    assert dated_rows(daily) == [("A1", 5, date(2020, 1, 5)), ("A2", 3, date(2020, 1, 3))]


def test_an_archive_of_several_files_is_of_the_day_in_its_own_name(daily: Shop) -> None:
    path = daily.deliver("a.csv", sales("A1,5"))
    for name in ("sales 01-05-2020.zip", "sales.zip"):
        with zipfile.ZipFile(path.with_name(name), "w") as packed:
            packed.writestr("01-01-2019.csv", path.read_text() + ("\n" if name == "sales.zip" else ""))
    path.unlink()
    sound, wrong = daily.ingest().receipts
    assert (sound.file_date, wrong.status) == (date(2020, 1, 5), "quarantined")


def test_rows_that_were_left_out_come_back_with_their_day(daily: Shop) -> None:
    daily.load("01-03-2020.csv", sales("A1,3"))
    daily.load("01-05-2020.csv", sales("A1,5"))
    daily.load("01-05-2020.csv", sales("A2,5"))
    assert dated_rows(daily) == [("A1", 3, date(2020, 1, 3)), ("A2", 5, date(2020, 1, 5))]


# ---- any order

DAYS = [date(2020, 1, 1) + timedelta(days=13 * at) for at in range(4)]
Policy = Literal["reject", "latest", "allow"]


def lines(content: int) -> list[str]:
    """The rows of a content: it shares keys with others; some rows are bad, some equal."""
    return [*(f"S{at},{content}" for at in range(content % 3, 4)), f"S{content},{content}", f"bad{content}"]


def came(feed: Feed, portions: Sequence[Sequence[tuple[date, int]]]) -> tuple[list[Any], int]:
    """What is in raw, and how many rows were rejected, once these files have come, one portion after the other."""
    with tempfile.TemporaryDirectory() as folder:
        shop = Shop(Path(folder), feed)
        shop.deployment.prepare()
        with shop.held():
            for portion in portions:
                for day, content in portion:
                    shop.deliver(f"{day:%m-%d-%Y}.csv", sales(*lines(content)))
                shop.ingest()
            assert shop.reconciles()
            return dated_rows(shop), len(shop.rejected())


@pytest.mark.slow
@settings(max_examples=examples(40), deadline=None)
@given(
    versions=st.lists(st.lists(st.integers(1, 4), min_size=1, max_size=2), min_size=2, max_size=4),
    policy=st.sampled_from(["reject", "latest", "allow"]),
    data=st.data(),
)
def test_in_whatever_order_files_and_their_corrections_come_raw_is_as_if_they_had_come_in_order(
    versions: list[list[int]], policy: Policy, data: st.DataObject
) -> None:
    feed = replace(DAILY, on_known_key=policy)
    files = {day: list(contents) for day, contents in zip(DAYS, versions, strict=False)}
    in_order = [[(day, content)] for day, contents in files.items() for content in contents]
    portions: list[list[tuple[date, int]]] = []
    while files:
        some = data.draw(st.lists(st.sampled_from(sorted(files)), min_size=1, max_size=3, unique=True))
        portions.append([(day, files[day].pop(0)) for day in some])
        files = {day: left for day, left in files.items() if left}
    assert came(feed, portions) == came(feed, in_order)
