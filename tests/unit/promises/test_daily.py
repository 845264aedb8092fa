"""Promises by day: what was due on each of the last days, and whether it was kept."""

from datetime import UTC, datetime, timedelta

from test_promise import DAILY, at, delivery

from platform_assets.engine.promises.daily import DayKept, days_of_feed, days_of_mart
from platform_assets.engine.promises.due import Deliveries
from platform_assets.engine.promises.marts import released_marts
from platform_assets.engine.store.release import MartRelease, Release


def released(number: int, made: datetime, revision: int) -> Release:
    mart = MartRelease(rows=1, version=str(number), built_from={"sales": revision})
    return Release(str(number), "marts", "", made.isoformat(), {"daily": mart}, {"sales": revision})


def short(days: list[DayKept]) -> dict[int, tuple[int, int]]:
    """Day of the month -> (due, kept), of days on which anything was due."""
    return {each.day.day: (each.due, each.kept) for each in days if each.due}


def test_a_day_is_kept_missed_or_has_nothing_due() -> None:
    receipts = [delivery(3, 18, came=at(19, 12)), delivery(2, 17), delivery(1, 16)]
    days = days_of_feed(Deliveries(DAILY, receipts), "on time", at(21, 10), 5)
    assert [each.day.day for each in days] == [17, 18, 19, 20, 21]
    assert short(days) == {17: (1, 1), 18: (1, 1), 19: (1, 0), 20: (1, 0), 21: (1, 0)}
    assert days[2].told == "Thursday 2026-11-19's delivery of sales, due 09:00 UTC, came late"
    assert "is missing" in days[4].told


def test_what_is_not_late_yet_is_not_counted() -> None:
    days = days_of_feed(Deliveries(DAILY, [delivery(1, 16)]), "on time", at(18, 8), 3)
    assert short(days) == {17: (1, 1)}
    assert [each.day.day for each in days] == [16, 17, 18]


def test_a_delivery_that_was_quarantined_is_not_sound_on_its_day() -> None:
    bad = delivery(2, 17, status="quarantined", problem="the header lacks sku", read=0, accepted=0)
    days = days_of_feed(Deliveries(DAILY, [bad, delivery(1, 16)]), "sound", at(18, 12), 3)
    assert short(days) == {17: (1, 1), 18: (1, 0)}
    assert days[2].told.startswith("17.csv: the header lacks sku")


def test_a_mart_is_late_where_the_feed_was_in_time_and_the_release_was_not() -> None:
    deliveries = {"sales": Deliveries(DAILY, [delivery(3, 18), delivery(2, 17), delivery(1, 16)])}
    releases = [released(1, at(17, 7.1), 1), released(2, at(18, 12), 2), released(3, at(19, 7.1), 3)]
    (mart,) = released_marts([DAILY], releases, {"daily": ["sales"]})
    days = days_of_mart(mart, deliveries, at(19, 20), 3)
    assert short(days) == {17: (1, 1), 18: (1, 0), 19: (1, 1)}
    assert days[1].told.endswith("came in time and was released late")


def test_days_are_those_of_the_feeds_calendar() -> None:
    now = datetime(2026, 11, 20, 23, tzinfo=UTC)
    assert [each.day.day for each in days_of_feed(Deliveries(DAILY, []), "on time", now, 2)] == [19, 20]
    assert days_of_feed(Deliveries(DAILY, []), "sound", now + timedelta(hours=2), 1)[0].day.day == 21
