"""Promises: which delivery meets which tick, what is missing now, and that old data turns nothing green."""

import itertools
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from machine import examples
from shop import SALES, Sales, Shop, sales

from platform_assets.engine.contract.model import Contract, Field
from platform_assets.engine.feed.feed import Cadence, Feed, hours
from platform_assets.engine.promises.due import Deliveries, Due
from platform_assets.engine.promises.freshness import Freshness, feed_freshness, mart_freshness
from platform_assets.engine.promises.kept import promises
from platform_assets.engine.promises.marts import released_marts
from platform_assets.engine.promises.promise import Break, Promise
from platform_assets.engine.store.receipts import Receipt
from platform_assets.engine.store.release import MartRelease, Release
from platform_assets.errors import ConfigurationError
from platform_assets.orchestration.checks import evaluated
from platform_assets.orchestration.feed_metadata import FeedFigures

# 2026-11-16 is a Monday. A day's data comes the next morning by six, at the latest at nine.
DAILY = replace(SALES, delivered=Cadence("0 6 * * *", hours(3), objective=0.9))
MONDAY = datetime(2026, 11, 16, tzinfo=UTC)


def at(day: float, hour: float = 0) -> datetime:
    """An hour of a day of November 2026."""
    return MONDAY + timedelta(days=day - 16, hours=hour)


def delivery(
    number: int, day: int, *, to_day: int | None = None, came: datetime | None = None, **changes: object
) -> Receipt:
    """A delivery of the rows of `day` (to `to_day`), that comes the next morning at seven."""
    last = day if to_day is None else to_day
    came = came or at(last + 1, 7)
    receipt = Receipt(
        delivery_id=number,
        feed="sales",
        slot=f"{day:02}.csv",
        bytes=1,
        contract="",
        arrived_at=came,
        committed_at=came,
        accepted_at=came,
        revision=number,
        status="accepted",
        read=10,
        accepted=10,
        covers_from=at(day, 8),
        covers_to=at(last, 20),
    )
    return replace(receipt, **changes)  # type: ignore[arg-type]


def missing(feed: Feed, receipts: Sequence[Receipt], now: datetime) -> list[Due]:
    return Deliveries(feed, receipts).missing(now)


def fresh(feed: Feed, receipts: Sequence[Receipt], now: datetime) -> Freshness:
    return feed_freshness(Deliveries(feed, receipts), now)


def deliveries(feeds: Sequence[Feed], receipts: Mapping[str, Sequence[Receipt]]) -> dict[str, Deliveries]:
    return {feed.name: Deliveries(feed, receipts[feed.name]) for feed in feeds}


def days_missing(receipts: Sequence[Receipt], now: datetime, feed: Feed = DAILY) -> list[int]:
    """The days whose delivery is missing; it is due the next morning."""
    return [each.tick.day - 1 for each in missing(feed, receipts, now)]


def promise(
    kind: str,
    receipts: Sequence[Receipt],
    now: datetime,
    feed: Feed = DAILY,
    releases: Sequence[Release] = (),
    month: date | None = None,
) -> Promise:
    known = deliveries([feed], {"sales": receipts})
    found = promises(known, released_marts([feed], releases, {"mart": ["sales"]}), now, month=month)
    (one,) = [each for each in found if each.kind == kind]
    return one


def broken(receipts: Sequence[Receipt], now: datetime) -> list[Break]:
    return [each for made in promises(deliveries([DAILY], {"sales": receipts}), (), now) for each in made.broken]


def fresh_marts(
    feeds: Sequence[Feed], receipts: Mapping[str, Sequence[Receipt]], releases: Sequence[Release], now: datetime
) -> Freshness:
    """How fresh the mart is that needs all the feeds."""
    (mart,) = released_marts(feeds, releases, {"mart": [feed.name for feed in feeds]})
    return mart_freshness(mart, deliveries(feeds, receipts), now)


def release(number: int, created: datetime, revision: int) -> Release:
    built_from = {"sales": revision}
    return Release(str(number), "marts", "", created.isoformat(), {"mart": MartRelease(rows=1)}, built_from)


# ---- the calendar


def test_nothing_is_due_on_closed_days() -> None:
    cadence = Cadence("0 6 * * 1-6", hours(3), "Europe/London", closed=("12-25", "12-26", "2026-12-28"))
    ticks = cadence.ticks(datetime(2026, 12, 23, 12, tzinfo=UTC), datetime(2026, 12, 30, tzinfo=UTC))
    assert [tick.day for tick in ticks] == [24, 29]
    # On the 29th at ten the newest due delivery covers what came since the 24th.
    feed = replace(DAILY, delivered=cadence)
    absent = missing(feed, [delivery(1, 1)], datetime(2026, 12, 29, 10, tzinfo=UTC))
    assert absent[-1].since == datetime(2026, 12, 24, 6, tzinfo=UTC)
    assert cadence.longest_gap() == timedelta(days=5, hours=3)


def test_a_closed_day_is_one_of_the_feeds_own_zone() -> None:
    cadence = Cadence("0 6 * * *", hours(1), "Pacific/Auckland", closed=("2026-12-25",))
    ticks = list(cadence.ticks(datetime(2026, 12, 23, 18, tzinfo=UTC), datetime(2026, 12, 26, tzinfo=UTC)))
    assert ticks == [datetime(2026, 12, 25, 17, tzinfo=UTC)]  # the 26th there; the 25th began at 17:00 on the 24th


@pytest.mark.parametrize("zone", ["Europe/London", "America/New_York", "Australia/Lord_Howe", "UTC"])
@pytest.mark.parametrize("cron", ["30 1 * * *", "30 2 * * *", "15 * * * *", "0 6 * * 1-6"])
def test_ticks_are_the_same_whoever_asks_around_a_change_of_the_clock(zone: str, cron: str) -> None:
    cadence = Cadence(cron, hours(1), zone)
    whole = list(cadence.ticks(datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)))
    assert whole == sorted(set(whole))
    for before, tick in itertools.pairwise(whole):
        assert cadence.last_tick(tick) == tick
        assert cadence.last_tick(tick - timedelta(microseconds=1)) == before
        assert cadence.next_tick(before) == tick
    days = {tick.astimezone(cadence.zone).date() for tick in whole}
    assert len(days) >= (310 if "1-6" in cron else 364)  # a day whose hour the clock skips is not lost


@pytest.mark.parametrize(
    ("key", "wrong"),
    [
        ("closed", {"closed": ("25.12.",)}),
        ("closed", {"closed": ("02-30",)}),
        ("closed", {"closed": ("2026-02-29",)}),
        ("closed", {"closed": "2026-12-25"}),
        ("closed", {"cron": "0 6 25 12 *", "closed": ("12-25",)}),
        ("objective", {"objective": 0}),
        ("objective", {"objective": 1.2}),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_key(key: str, wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError, match=rf"Cadence\.{key}"):
        Cadence(**{"cron": "0 6 * * *", "within": hours(3), **wrong})  # type: ignore[arg-type]


# ---- which delivery meets which tick


def test_fridays_file_is_missing_on_friday() -> None:
    known = [delivery(1, 17), delivery(2, 18)]
    assert days_missing(known, at(20, 9)) == []
    assert days_missing(known, at(20, 9.01)) == [19]
    (absent,) = broken(known, at(20, 10))
    assert str(absent) == "Friday 2026-11-20's delivery of sales, due 09:00 UTC, is missing"
    assert (absent.since, absent.owner, absent.subject) == (at(20, 9), "team:sales", "sales")


def test_a_delivery_of_three_days_meets_all_three() -> None:
    assert days_missing([delivery(1, 16), delivery(2, 17, to_day=19)], at(20, 10)) == []


@pytest.mark.parametrize("event_time", ["sold_at", None])
def test_a_feeds_first_delivery_is_fresh_at_any_hour_that_it_comes_at(event_time: str | None) -> None:
    """What was due before it, and is older than what it brings, is nobody's fault."""
    feed = replace(DAILY, event_time=event_time)
    for hour in range(24):
        came = at(18, hour + 0.5)
        first = delivery(1, 18, came=came, covers_from=came, covers_to=came)
        assert days_missing([first], came + timedelta(minutes=1), feed) == []
        assert fresh(feed, [first], came + timedelta(minutes=1)).is_fresh
    old = delivery(1, 10, came=at(18, 12))
    assert days_missing([old], at(18, 13), DAILY) == [17]


def test_a_later_delivery_does_not_stand_in_for_one_that_is_missing() -> None:
    assert days_missing([delivery(1, 16), delivery(2, 18), delivery(3, 19)], at(20, 10)) == [17]


def test_what_is_quarantined_or_a_copy_meets_nothing() -> None:
    known = [delivery(1, 17), delivery(2, 18)]
    held = delivery(3, 19, status="quarantined", problem="is cut off", accepted_at=None)
    copy = delivery(4, 19, status="duplicate", duplicate_of=1, accepted_at=None)
    assert days_missing([*known, held, copy], at(20, 10)) == [19]
    assert "quarantined: is cut off" in str(broken([*known, held], at(20, 10))[0])
    # What was quarantined and then replaced never counted; what was accepted and then replaced did.
    assert days_missing([*known, replace(held, status="superseded")], at(20, 10)) == [19]
    assert days_missing([*known, delivery(3, 19, status="superseded")], at(20, 10)) == []


def test_times_after_a_delivery_came_are_not_believed() -> None:
    dreaming = delivery(3, 18, to_day=25, came=at(19, 7))
    assert days_missing([delivery(1, 17), dreaming], at(20, 10)) == [19]
    ahead = delivery(3, 25, came=at(19, 7))
    assert days_missing([delivery(1, 17), ahead], at(19, 10)) == [18]


@pytest.mark.parametrize("hour", [7, 10])
def test_the_last_hours_of_a_delivery_are_not_the_next_one(hour: int) -> None:
    """In time or late, it goes up to the minute; and the next is missing all the same."""
    known = [delivery(1, 17), delivery(2, 18, came=at(19, hour), covers_to=at(19, hour - 0.1))]
    assert days_missing(known, at(19, 11)) == []
    assert days_missing(known, at(20, 10)) == [19]


def test_a_delivery_may_come_the_evening_before() -> None:
    known = [delivery(n, day, came=at(day, 21)) for n, day in enumerate((16, 17, 18), 1)]
    assert days_missing(known, at(19, 10)) == []
    assert days_missing(known, at(20, 10)) == [19]
    rolling = [replace(each, covers_from=each.covers_to - timedelta(days=1)) for each in known if each.covers_to]
    assert days_missing(rolling, at(19, 10)) == []


def test_receipts_from_before_fall_back_on_all_their_rows() -> None:
    old = delivery(2, 18, covers_from=None, covers_to=None, event_min=at(18, 8), event_max=at(18, 20))
    assert days_missing([delivery(1, 17), replace(old, accepted_at=None)], at(19, 10)) == []


def test_without_event_time_a_delivery_meets_the_tick_that_it_came_for() -> None:
    feed = replace(DAILY, event_time=None)
    early, in_time, late = (delivery(n, 18, came=came) for n, came in enumerate((at(18, 5), at(18, 8), at(18, 15))))
    begun = delivery(9, 16)
    for came in (early, in_time, late):
        assert days_missing([begun, came], at(18, 22), feed) == []
        assert days_missing([begun, came], at(19, 10), feed) == [18]
    assert promise("on time", [begun, early], at(18, 22), feed).kept == 2
    assert promise("on time", [begun, late], at(18, 22), feed).kept == 1
    touched = replace(in_time, committed_at=at(18, 8), arrived_at=at(25))  # a clock ahead of ours
    assert days_missing([begun, touched], at(19, 10), feed) == [18]


def test_an_empty_delivery_that_was_accepted_meets_its_tick() -> None:
    nothing = delivery(2, 18, read=0, accepted=0, covers_from=None, covers_to=None)
    assert days_missing([delivery(1, 17), nothing], at(19, 10)) == []


class Prices(Contract):
    """Prices of a day. Grain: article."""

    sku: str = Field()
    day: date = Field()


def dated(number: int, day: int, came: datetime) -> Receipt:
    return delivery(number, day, came=came, covers_from=at(day), covers_to=at(day))


@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo", "America/New_York"])
def test_a_date_is_met_the_next_morning_or_that_very_day(zone: str) -> None:
    feed = replace(DAILY, contract=Prices, event_time="day", delivered=Cadence("0 6 * * *", hours(3), zone))
    shift = datetime(2026, 11, 16, tzinfo=UTC) - datetime(2026, 11, 16, tzinfo=feed.delivered.zone)

    def there(day: float, hour: float) -> datetime:
        return at(day, hour) - shift

    next_morning = [dated(n, day, there(day + 1, 7)) for n, day in enumerate((16, 17), 1)]
    assert missing(feed, next_morning, there(18, 10)) == []
    assert [str(each)[:17] for each in missing(feed, next_morning, there(19, 10))] == ["Thursday 2026-11-"]
    same_day = [dated(n, day, there(day, 7)) for n, day in enumerate((16, 17), 1)]
    assert missing(feed, same_day, there(17, 10)) == []
    assert [each.tick for each in missing(feed, same_day, there(18, 10))] == [there(18, 6)]


def test_a_weekly_list_dated_its_own_day_does_not_stand_in_for_the_next() -> None:
    weekly = Cadence("0 6 * * 1", hours(12))
    feed = replace(DAILY, contract=Prices, event_time="day", delivered=weekly)
    for came in (at(16, 7), at(17, 12)):
        known = [dated(1, 9, at(9, 7)), dated(2, 16, came)]
        assert missing(feed, known, at(22)) == []
        assert [each.tick.day for each in missing(feed, known, at(23, 19))] == [23]


# ---- fresh: one answer, by what is in raw


class Daily(Sales):
    """Sales by the day."""

    sold_at: date = Field(nullable=True)  # type: ignore[assignment]  # the type has changed


def word(receipts: Sequence[Receipt], now: datetime, feed: Feed = DAILY) -> str:
    return str(fresh(feed, receipts, now))


def test_rows_that_gave_way_make_nothing_fresh() -> None:
    monday, tuesday = delivery(1, 16), delivery(2, 17)
    assert word([monday, tuesday], at(18, 10)) == "fresh"
    assert word([monday, replace(tuesday, accepted=0, duplicate=10)], at(18, 10)) == "late"
    assert word([replace(monday, accepted=0, duplicate=10), tuesday], at(18, 10)) == "fresh"
    # Those of its rows that are still there may be older than what it covered when it came, and in time.
    some = replace(tuesday, accepted=1, duplicate=9, event_min=at(10), event_max=at(10))
    assert word([monday, some], at(18, 10)) == "late"
    assert fresh(DAILY, [monday, some], at(18, 10)).newest == at(16, 20)
    assert days_missing([monday, some], at(18, 10)) == []


def test_a_restatement_with_less_makes_what_it_replaced_no_fresher() -> None:
    monday, tuesday = delivery(1, 16), delivery(2, 17, status="superseded")
    restated = delivery(3, 16, came=at(18, 8))
    assert word([monday, tuesday, restated], at(18, 10)) == "late"
    assert days_missing([monday, tuesday, restated], at(18, 10)) == []
    # What arrived has arrived, where nothing else is known of it.
    without = replace(DAILY, event_time=None)
    assert word([monday, tuesday, replace(restated, arrived_at=at(18, 20))], at(18, 21), without) == "fresh"


def test_nothing_accepted_is_nothing_new() -> None:
    monday = delivery(1, 16)
    for feed in (DAILY, replace(DAILY, event_time=None)):
        assert word([], at(18, 10), feed) == "no data"
        assert word([monday], at(17, 10), feed) == "fresh"
        assert word([monday, delivery(2, 17, accepted=0, rejected=10)], at(18, 10), feed) == "late"
        assert (
            word([monday, delivery(2, 17, read=0, accepted=0, covers_from=None, covers_to=None)], at(18, 10)) == "fresh"
        )


@pytest.mark.parametrize(
    ("contract", "event_time", "on_known_key"),
    [(Sales, "sold_at", "allow"), (Sales, "sold_at", "reject"), (Sales, None, "latest"), (Daily, "sold_at", "latest")],
)
def test_whoever_is_asked_says_the_same(
    tmp_path: Path, contract: type[Contract], event_time: str | None, on_known_key: Literal["allow", "latest", "reject"]
) -> None:
    """Status, the check of a run and the account in the UI, whatever was delivered, restated or gave way."""
    declared = {"key": ("sku",), "on_known_key": on_known_key}
    shop = Shop(tmp_path, replace(DAILY, contract=contract, event_time=event_time, **declared))  # type: ignore[arg-type]
    shop.landing.mkdir()
    shop.deployment.prepare()
    shop.clock.at = at(16, 7)
    words = set()
    for day, name, row in (
        (17, "a.csv", "S1,1,,{day}T10:00:00Z"),
        (18, "b.csv", "S1,1,,{day}T10:00:00Z"),
        (19, "b.csv", "S2,1,,2026-11-01T10:00:00Z"),
        (20, "c.csv", "S3,-1,,{day}T10:00:00Z"),
        (21, "d.csv", "S4,1,,{day}T10:00:00Z"),
    ):
        shop.clock.at = at(day, 7)
        text = sales(row.format(day=f"2026-11-{day - 1}"))
        path = shop.deliver(name, text.replace("T10:00:00Z", "") if contract is Daily else text)
        os.utime(path, (shop.clock.at.timestamp(),) * 2)
        receipts = shop.ingest().receipts
        for later in (0, 3, 30):
            shop.clock.at = at(day, 7 + later)
            status = shop.status()
            (told,) = evaluated(shop.deployment, shop.feed, {"fresh"})
            shown = FeedFigures.of(shop.deployment, shop.feed, receipts).raw_metadata()
            assert told.passed == (status.freshness == "fresh") == (shown["freshness"] == "fresh")
            assert told.metadata.get("newest_data") == shown.get("newest_data")
            words.add(status.freshness)
    assert words >= {"fresh", "late"}


# ---- old data turns nothing green


DAYS = st.integers(1, 14)


@given(
    known=st.lists(st.tuples(DAYS, st.integers(0, 3), st.floats(0, 200)), max_size=8),
    old=st.lists(st.tuples(st.integers(-60, 0), st.integers(0, 50), st.floats(0, 300)), max_size=5),
    hour=st.floats(0, 24 * 16),
)
def test_deliveries_of_old_data_mend_nothing_newer(
    known: list[tuple[int, int, float]], old: list[tuple[int, int, float]], hour: float
) -> None:
    now = at(1, hour)
    first = delivery(1, 0, came=at(1, 0))
    there = [
        delivery(n, day, to_day=day + more, came=at(day + more + 1, later))
        for n, (day, more, later) in enumerate(known, 2)
    ]
    # However late it comes, it has no row of November.
    late = [
        delivery(n, day, to_day=min(day + more, 0), came=max(now, at(1, 1)) + timedelta(hours=later))
        for n, (day, more, later) in enumerate(old, 100)
    ]
    before, after = ([first, *there], [first, *there, *late])
    november = [d.tick for d in missing(DAILY, before, now) if d.since >= at(1)]
    assert [d.tick for d in missing(DAILY, after, now) if d.since >= at(1)] == november
    assert fresh(DAILY, after, now).is_fresh <= (fresh(DAILY, before, now).is_fresh or now < at(2, 9))
    held = [release(1, max(now, at(1, 1)) + timedelta(hours=400), 1000)]
    was, still = (fresh_marts([DAILY], {"sales": each}, held, now) for each in (before, after))
    assert still.is_fresh <= (was.is_fresh or now < at(2, 9.5))


@pytest.mark.parametrize("ahead", [-1, 0, 1])
def test_a_clock_that_is_a_day_off_makes_nothing_green(ahead: int) -> None:
    """The producer stops after the 17th; our clock is off from the start, or only now."""
    off = timedelta(days=ahead)
    for known in (
        [delivery(n, day, came=at(day + 1, 7) + off) for n, day in enumerate((15, 16, 17), 1)],
        [delivery(n, day) for n, day in enumerate((15, 16, 17), 1)],
    ):
        assert not fresh(DAILY, known, at(20, 10) + min(off, timedelta())).is_fresh


# ---- the account


def test_the_months_account_names_what_was_late_and_by_how_much() -> None:
    known = [delivery(n, day) for n, day in enumerate(range(1, 19), 1)]
    known[9] = replace(known[9], accepted_at=at(11, 14), committed_at=at(11, 14))
    made = promise("on time", known, at(19, 12))
    assert (made.due, made.kept, made.objective) == (18, 17, 0.9)
    assert made.repair == timedelta(hours=5)
    assert made.blame == "Wednesday 2026-11-11's delivery of sales, due 09:00 UTC, came 5 h late"
    assert (made.delivery_id, made.file) == (10, "10.csv")
    assert made.broken_since is None
    assert made.budget_left == pytest.approx(1 - 1 / 2.9)  # a tenth of the 29 that are due in November
    assert not made.burning


def test_what_is_due_before_the_very_first_delivery_is_nobodys_fault() -> None:
    history = [delivery(1, -300, to_day=19, came=at(20, 12))]
    made = promise("on time", history, at(20, 13))
    assert (made.due, made.attainment, made.broken_since, made.burning) == (0, None, None, False)
    assert missing(DAILY, [], at(20)) == []
    # But what is missing when the feed begins is said.
    assert days_missing([replace(history[0], covers_to=at(17, 20))], at(20, 13)) == [19]


def test_the_first_miss_spends_a_budget_of_less_than_one() -> None:
    weekly = replace(DAILY, delivered=Cadence("0 6 * * 1", hours(3)))
    known = [delivery(n, day, to_day=day + 6) for n, day in enumerate((2, 16), 1)]
    made = promise("on time", known, at(23, 10), weekly)
    assert (made.due, made.kept, made.budget_left, made.burning) == (3, 2, 0.0, True)
    assert made.broken_since == at(16, 9)


def test_burning_is_told_before_the_budget_is_spent() -> None:
    known = [delivery(1, 0), *(delivery(n, n) for n in range(2, 5))]
    made = promise("on time", known, at(5, 10))
    assert made.due - made.kept == 1
    assert made.budget_left > 0
    assert made.burning  # one in five: six by the end of the month, where three are allowed


def test_a_past_month_can_be_asked_for() -> None:
    known = [delivery(n, day) for n, day in enumerate(range(1, 30), 1)]
    assert promise("on time", known, at(45), month=date(2026, 11, 1)).due == 29
    assert promise("on time", known, at(45)).due == 14


def test_sound_counts_deliveries_that_were_neither_quarantined_nor_above_tolerance() -> None:
    known = [delivery(n, day) for n, day in enumerate(range(1, 11), 1)]
    copy = replace(known[0], delivery_id=20, status="duplicate")
    assert promise("sound", [*known, copy], at(12)).due == 10
    bad = replace(known[4], rejected=3, accepted=7)
    made = promise("sound", [*known, replace(bad, delivery_id=30)], at(12))
    assert (made.due, made.kept, made.blame) == (11, 10, "delivery 30 (05.csv): 3 of 10 rows rejected")
    assert made.broken_since == bad.committed_at
    held = delivery(11, 11, status="quarantined", problem="is cut off", accepted_at=None)
    assert promise("sound", [*known, held], at(13)).broken_since == at(12, 7)
    mended = replace(held, status="superseded", superseded_by=12)
    made = promise("sound", [*known, mended, delivery(12, 11, came=at(12, 9))], at(13))
    assert (made.kept, made.repair, made.broken_since) == (11, timedelta(hours=2), None)


def test_what_a_replay_let_out_of_quarantine_counts_from_then_on() -> None:
    known = [delivery(1, 17), delivery(2, 18, accepted_at=at(19, 15), replayed_at=at(19, 15))]
    made = promise("on time", known, at(19, 16))
    assert (made.due - made.kept, made.repair) == (1, timedelta(hours=6))
    assert promise("sound", known, at(19, 16)).repair == timedelta(hours=8)


# ---- marts


KNOWN = [delivery(1, 16), delivery(2, 17), delivery(3, 18)]
RELEASED = [release(n, at(16 + n, 7.2), n) for n in (1, 2, 3)]


def test_a_mart_is_fresh_when_a_release_had_the_delivery_in_time() -> None:
    made = promise("fresh", KNOWN, at(19, 10), releases=RELEASED)
    assert (made.due, made.kept, made.broken_since) == (3, 3, None)


def test_a_release_that_came_late_is_to_blame_itself() -> None:
    made = promise("fresh", KNOWN, at(19, 14), releases=[*RELEASED[:2], release(3, at(19, 13.5), 3)])
    assert (made.due, made.kept, made.repair) == (3, 2, timedelta(hours=4))
    assert made.blame == "Thursday 2026-11-19's delivery of sales, due 09:00 UTC, came in time and was released late"


def test_what_is_in_and_not_released_is_said() -> None:
    for last in ([], [release(3, at(19, 7.2), 2)]):  # no release since, or one that was begun before
        made = promise("fresh", KNOWN, at(19, 10), releases=[*RELEASED[:2], *last])
        assert made.blame == "the release: delivery 3 (18.csv) of sales is in and not released"
        assert made.broken_since == at(19, 7.5)
        assert made.due - made.kept == 1


def test_a_product_keeps_its_promise_as_its_worst_mart_does() -> None:
    """Each by the releases of its own: one mart's came in time, the other's has not come."""
    label = {"mart": MartRelease(rows=1)}
    others = [replace(each, marts={"slow": label["mart"]}, product="other") for each in RELEASED[:2]]
    needs = {"mart": ["sales"], "slow": ["sales"]}
    marts = released_marts([DAILY], [*RELEASED, *others], needs)
    products = {"release/both": ("team:both", ["mart", "slow"]), "release/one": ("team:one", ["mart"])}
    found = promises(deliveries([DAILY], {"sales": KNOWN}), marts, at(19, 10), products=products)
    told = {
        each.subject: (each.owner, each.due, each.kept, each.broken_since) for each in found if each.kind == "fresh"
    }
    assert told["release/one"] == ("team:one", 3, 3, None)
    assert told["release/both"] == ("team:both", 3, 2, told["slow"][3])
    assert told["slow"][3] == at(19, 7.5)


def test_a_mart_is_as_fresh_as_its_stalest_feed() -> None:
    other = replace(DAILY, name="other", owner="team:other")
    receipts = {"sales": KNOWN, "other": [replace(each, feed="other") for each in KNOWN[:2]]}
    releases = [replace(each, built_from={"sales": 3, "other": 3}) for each in RELEASED]
    marts = released_marts([DAILY, other], releases, {"mart": ["sales", "other"]})
    found = promises(deliveries([DAILY, other], receipts), marts, at(19, 10))
    (stale,) = [each for made in found if made.kind == "fresh" for each in made.broken]
    assert stale.due is not None
    assert (stale.subject, stale.due.feed.name, stale.due.tick) == ("mart", "other", at(19, 6))
    state = fresh_marts([DAILY, other], receipts, releases, at(19, 10))
    assert (state.stalest, state.newest, state.is_fresh) == ("other", at(17, 20), False)
    assert str(state.missing) == "Thursday 2026-11-19's delivery of other, due 09:00 UTC, is missing"


def test_a_restatement_or_replay_does_not_make_an_old_release_late() -> None:
    restated = [replace(KNOWN[0], status="superseded", superseded_by=4, revision=4), *KNOWN[1:]]
    anew = delivery(4, 16, came=at(19, 8))
    made = promise("fresh", [*restated, anew], at(19, 8.2), releases=RELEASED)
    assert (made.due, made.kept, made.broken_since) == (3, 3, None)
    replayed = [replace(each, revision=5, replayed_at=at(19, 8)) for each in KNOWN]
    assert promise("fresh", replayed, at(19, 8.2), releases=RELEASED).kept == 3
    assert promise("fresh", replayed, at(19, 8.6), releases=RELEASED).broken_since == at(19, 8.5)


# ---- what is asked every few seconds


def calls(of: Callable[[], object]) -> int:
    """How many functions are called: what it costs, whatever else the machine does."""
    counted = 0

    def count(_: object, event: str, __: object) -> None:
        nonlocal counted
        counted += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        of()
    finally:
        sys.setprofile(None)
    return counted


@pytest.mark.parametrize("rolling", [False, True])
def test_what_a_long_history_costs_grows_with_it_and_asking_again_costs_little(rolling: bool) -> None:
    """Deliveries by the quarter of an hour, a release for each; `rolling`: each has all the data there ever was."""
    feed = replace(DAILY, delivered=Cadence("*/15 * * * *", timedelta(minutes=10)))

    def history(days: int) -> tuple[int, int]:
        until = at(20)
        ticks = list(feed.delivered.ticks(until - timedelta(days=days), until))
        known = [
            delivery(n, 16, came=tick + timedelta(minutes=3), covers_from=ticks[0] if rolling else tick, covers_to=tick)
            for n, tick in enumerate(ticks, 1)
        ]
        releases = [release(n, tick + timedelta(minutes=4), n) for n, tick in enumerate(ticks, 1)]
        seen = deliveries([feed], {"sales": known})
        marts = released_marts([feed], releases, {"mart": ["sales"]})

        def look() -> None:
            seen["sales"].missing(until)
            promises(seen, marts, until)
            mart_freshness(marts[0], seen, until)

        return calls(look), calls(look)

    history(1)  # the calendar itself is reckoned once
    (short, again), (long, long_again) = history(4), history(16)
    assert long < 5.5 * short
    assert long_again < 5.5 * again
    assert long_again < long


@settings(max_examples=examples(30))
@given(
    built=st.lists(st.integers(0, 12), max_size=8),
    revision=st.integers(1, 12),
    hours_after=st.integers(-2, 10),
    replayed=st.booleans(),
)
def test_readers_have_a_delivery_from_the_first_release_that_holds_it_on(
    built: list[int], revision: int, hours_after: int, replayed: bool
) -> None:
    """Whatever the order in which releases were made, of newer rows or of older ones."""
    releases = [release(n, at(20, n), number) for n, number in enumerate(built)]
    (mart,) = released_marts([DAILY], releases, {"mart": ["sales"]})
    since = at(20, hours_after)
    receipt = delivery(1, 18, revision=revision, replayed_at=since if replayed else None)
    expected, before = None, 0
    for n, number in enumerate(built):
        if at(20, n) < since:
            before = number
        elif expected is None and (number >= revision or (replayed and number > before)):
            expected = at(20, n)
    assert mart.released_at(DAILY, receipt, since) == expected


# ---- which missing delivery a quarantined file would be


def held_file(number: int, slot: str, came: datetime) -> Receipt:
    return delivery(
        number, 19, slot=slot, came=came, status="quarantined", problem="is cut off", accepted_at=None, read=0,
        accepted=0, covers_from=None, covers_to=None,
    )  # fmt: skip


NAMED = [delivery(n, n, slot=f"sales/2026-11-{n:02}.csv") for n in range(10, 19)]


@pytest.mark.parametrize(
    ("slot", "came", "is_it"),
    [
        ("sales/2026-11-19.csv", at(20, 7), True),
        ("sales/2026-11-19.csv", at(22, 7), True),  # late, but it says itself which it is
        ("sales/2026-11-18.csv", at(20, 7), False),  # a new version of one that is there
        ("sales/2026-11-21.csv", at(20, 7), False),  # another day's
        ("sales/notes.csv", at(20, 7), False),  # a stray file
        ("sales/old/2026-11-19.csv.bak.csv", at(20, 7), False),
    ],
)
def test_only_the_very_file_stands_for_a_missing_delivery(slot: str, came: datetime, is_it: bool) -> None:
    seen = Deliveries(DAILY, [*NAMED, held_file(30, slot, came)])
    absent = next(each for each in seen.missing(at(22, 10)) if each.tick == at(20, 6))
    assert (seen.quarantined_for(absent) is not None) is is_it


@pytest.mark.parametrize(("hour", "is_it"), [(7, True), (-20, False), (23, False)])
def test_where_names_say_nothing_the_time_of_arrival_does(hour: int, is_it: bool) -> None:
    known = [delivery(n, n, slot="sales/latest.csv") for n in range(10, 19)]
    seen = Deliveries(DAILY, [*known, held_file(30, "sales/latest.csv", at(20, hour))])
    absent = next(each for each in seen.missing(at(22, 10)) if each.tick == at(20, 6))
    assert (seen.quarantined_for(absent) is not None) is is_it


def test_what_could_be_read_of_a_quarantined_file_says_best_which_it_is() -> None:
    read = replace(held_file(30, "sales/x.csv", at(22, 7)), read=10, covers_from=at(19, 8), covers_to=at(19, 20))
    seen = Deliveries(DAILY, [*NAMED, read])
    assert [each.tick.day for each in seen.missing(at(22, 10)) if seen.quarantined_for(each)] == [20]


# ---- what the ledger tells


def test_stray_rows_neither_hide_nor_meet_anything(shop: Shop) -> None:
    shop.clock.at = at(19, 7)
    day = [f"S{n},1,1,2026-11-18T{n % 12 + 8:02}:00:00Z" for n in range(100)]
    receipt = shop.load("18.csv", sales(*day, "S200,1,1,2026-11-02T10:00:00Z", "S201,1,1,2031-01-01T00:00:00Z"))
    assert (receipt.event_min, receipt.event_max) == (at(2, 10), datetime(2031, 1, 1, tzinfo=UTC))
    assert (receipt.covers_from, receipt.covers_to) == (at(18, 8), at(18, 19))
    assert Deliveries(shop.feed, [receipt]).newest_data == at(18, 19)
    assert [each.tick.day for each in Deliveries(shop.feed, [receipt]).due(at(1), at(25)) if each.met_at] == [19]


def test_of_a_long_history_the_last_day_is_not_lost(shop: Shop) -> None:
    shop.clock.at = at(19, 7)
    rows = [f"S{n},1,1,{at(18 - n // 10, 8 + n % 10):%Y-%m-%dT%H:%M:%SZ}" for n in range(2000)]
    receipt = shop.load("all.csv", sales(*rows))
    assert receipt.covers_to is not None
    assert receipt.covers_to >= at(18, 16)
    assert days_missing([receipt], at(19, 10)) == []


def test_a_replay_keeps_what_a_delivery_covers_and_since_when(shop: Shop) -> None:
    shop.clock.at = at(19, 7)
    before = shop.load("18.csv", sales("S1,1,1,2026-11-18T10:00:00Z"))
    shop.clock.at = at(21)
    (after,) = shop.deployment.replay(shop.feed, again=True)
    assert (after.covers_from, after.covers_to, after.accepted_at) == (at(18, 10), at(18, 10), at(19, 7))
    assert replace(after, replayed_at=None, revision=before.revision) == before


def test_what_a_mended_contract_lets_in_counts_from_the_replay_on(shop: Shop) -> None:
    shop.clock.at = at(19, 7)
    held = shop.load("18.csv", "sku,quantity,price,sold_at,email,colour\nS1,1,1,2026-11-18T10:00:00Z,,red\n")
    assert (held.status, held.accepted_at) == ("quarantined", None)
    shop.declare(on_drift="add")
    shop.clock.at = at(19, 15)
    (replayed,) = shop.deployment.replay(shop.feed)
    assert (replayed.status, replayed.committed_at, replayed.accepted_at) == ("accepted", at(19, 7), at(19, 15))


def test_receipts_can_be_read_while_another_holds_the_warehouse(shop: Shop) -> None:
    assert shop.deployment.receipts_published(shop.feed) == []
    shop.load("a.csv", sales("S1,1,1,2026-11-18T10:00:00Z", "nonsense,1"))
    shop.load("b.csv", "not a delivery\n")
    told = shop.receipts()[::-1]
    assert [receipt.status for receipt in told] == ["quarantined", "accepted"]
    with shop.deployment.warehouse.open("hold it"):
        assert shop.deployment.receipts_published(shop.feed) == told
    copy = shop.root / "home/seen/sales.sqlite"
    copy.write_bytes(copy.read_bytes()[:100])
    assert shop.deployment.receipts_published(shop.feed) == []
    copy.unlink()
    assert shop.deployment.receipts_published(shop.feed) == []
    shop.ingest()
    assert shop.deployment.receipts_published(shop.feed) == told


def test_only_the_newest_receipts_are_published(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform_assets.engine.store.published.NEWEST", 2)
    for name in "abc":
        shop.load(f"{name}.csv", sales(f"S1{ord(name)},1"))
    assert [receipt.delivery_id for receipt in shop.deployment.receipts_published(shop.feed)] == [3, 2]
