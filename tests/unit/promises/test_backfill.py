"""Old files that are loaded today are judged by their own dates, or not at all: when they were copied says nothing."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from shop import SALES, Clock, Shop, sales

from platform_assets.engine.anomalies.volume import VolumeResult, check_volume
from platform_assets.engine.feed.feed import Cadence, Feed, Files, hours, seconds
from platform_assets.engine.promises.due import Deliveries
from platform_assets.engine.promises.freshness import Freshness, feed_freshness
from platform_assets.engine.promises.kept import promises
from platform_assets.engine.promises.promise import Promise

# 2026-11-16 is a Monday. A day's file comes the next morning by six, at the latest at nine.
MONDAY = datetime(2026, 11, 16, 10, tzinfo=UTC)
DAILY = replace(
    SALES,
    source=Files("sales/*.csv", settle=seconds(0), dated="%m-%d-%Y"),
    event_time=None,
    delivered=Cadence("0 6 * * *", hours(3)),
)


def feed(**changes: Any) -> Feed:
    return replace(DAILY, **changes)


def take_in(shop: Shop, of: Feed, days: list[date], now: datetime, form: str = "%m-%d-%Y") -> Deliveries:
    """These days' files come now, one row for each day of the month."""
    shop.feed, shop.clock = of, Clock(at=now)
    shop.deployment.prepare()
    for day in days:
        lines = (f"A{day:%Y%m%d}{n},1,,{day}T12:00:00Z" for n in range(20 if day.weekday() == 6 else 40))
        shop.deliver(f"{day.strftime(form)}.csv", sales(*lines))
    shop.ingest()
    return Deliveries(of, shop.receipts())


def on_time(deliveries: Deliveries, now: datetime) -> Promise:
    return promises({"sales": deliveries}, [], now)[0]


def past(count: int, until: date = date(2026, 9, 30)) -> list[date]:
    return [until - timedelta(days=at) for at in range(count)]


@pytest.mark.parametrize("event_time", [None, "sold_at"])
def test_a_history_that_is_loaded_today_was_never_late_and_makes_nothing_fresh(
    shop: Shop, event_time: str | None
) -> None:
    deliveries = take_in(shop, feed(event_time=event_time), past(100), MONDAY)
    promise = on_time(deliveries, MONDAY)
    assert (promise.due, promise.kept) == (0, 0)
    assert [str(broken) for broken in promise.broken] == [
        "Monday 2026-11-16's delivery of sales, due 09:00 UTC, is missing"
    ]
    fresh: Freshness = feed_freshness(deliveries, MONDAY)
    assert not fresh.is_fresh
    assert fresh.newest is not None
    assert fresh.newest.date() == date(2026, 9, 30)


@pytest.mark.parametrize("event_time", [None, "sold_at"])
def test_usual_volumes_go_by_the_days_that_files_are_of(shop: Shop, event_time: str | None) -> None:
    of = feed(event_time=event_time)
    days = past(100)
    deliveries = take_in(shop, of, days[:70], MONDAY)
    assert check_volume(of, deliveries.receipts) == VolumeResult(judged=14, unjudged=56, unusual=[])
    older = take_in(shop, of, days[70:], MONDAY + timedelta(days=1))
    assert check_volume(of, older.receipts).unusual == []


def test_files_that_tell_no_time_are_not_compared_by_when_they_were_copied(shop: Shop) -> None:
    of = feed(source=Files("sales/*.csv", settle=seconds(0)))
    deliveries = take_in(shop, of, past(40), MONDAY)
    assert check_volume(of, deliveries.receipts) == VolumeResult(judged=0, unjudged=0, unusual=[])


def test_what_comes_each_day_meets_its_tick_by_the_date_in_its_name(shop: Shop) -> None:
    take_in(shop, DAILY, [date(2026, 11, 14)], MONDAY - timedelta(days=1, hours=3))
    deliveries = take_in(shop, DAILY, [date(2026, 11, 15)], MONDAY - timedelta(hours=3))
    promise = on_time(deliveries, MONDAY)
    assert (promise.due, promise.kept, promise.broken) == (2, 2, ())
    assert feed_freshness(deliveries, MONDAY).is_fresh


def test_an_old_file_that_comes_today_is_not_todays(shop: Shop) -> None:
    take_in(shop, DAILY, [date(2026, 11, 14)], MONDAY - timedelta(days=1, hours=3))
    deliveries = take_in(shop, DAILY, [date(2026, 10, 1)], MONDAY - timedelta(hours=3))
    assert "Monday 2026-11-16's delivery of sales" in str(on_time(deliveries, MONDAY).blame)


def test_a_file_that_waits_is_the_delivery_that_its_name_says(shop: Shop) -> None:
    take_in(shop, DAILY, [date(2026, 11, 14)], MONDAY - timedelta(days=1, hours=3))
    shop.clock = Clock(at=MONDAY - timedelta(hours=3))
    shop.load("10-01-2026.csv", "wrong\n1\n")
    assert "which may be it" not in str(on_time(Deliveries(DAILY, shop.receipts()), MONDAY).blame)
    shop.load("02-30-2026.csv", "wrong\n1\n")
    assert "which may be it" not in str(on_time(Deliveries(DAILY, shop.receipts()), MONDAY).blame)
    shop.load("11-15-2026.csv", "wrong\n1\n")
    assert "(sales/11-15-2026.csv), which may be it" in str(on_time(Deliveries(DAILY, shop.receipts()), MONDAY).blame)


def test_a_file_of_a_month_is_due_when_the_month_is_over(shop: Shop) -> None:
    of = feed(source=Files("sales/*.csv", settle=seconds(0), dated="%Y-%m"), delivered=Cadence("0 6 1 * *", hours(3)))
    take_in(shop, of, [date(2026, 9, 1)], datetime(2026, 10, 1, 7, tzinfo=UTC), "%Y-%m")
    deliveries = take_in(shop, of, [date(2026, 10, 1)], datetime(2026, 11, 1, 7, tzinfo=UTC), "%Y-%m")
    promise = on_time(deliveries, MONDAY)
    assert (promise.due, promise.kept, promise.broken) == (1, 1, ())
    assert deliveries.missing(datetime(2026, 12, 1, 10, tzinfo=UTC))


def test_a_file_that_is_dated_ahead_is_there_when_it_comes(shop: Shop) -> None:
    take_in(shop, DAILY, [date(2026, 11, 16)], MONDAY - timedelta(days=1, hours=5))
    deliveries = take_in(shop, DAILY, [date(2026, 11, 17)], MONDAY - timedelta(hours=5))
    assert on_time(deliveries, MONDAY).broken == ()
