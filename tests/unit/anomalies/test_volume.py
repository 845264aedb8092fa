"""The newest deliveries are held to what their feed usually brings: quiet where that is not known or wild."""

import random
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest
from machine import RETAIL
from shop import SALES

from platform_assets.engine.anomalies.volume import VolumeResult, check_volume
from platform_assets.engine.feed.feed import Feed, Volume
from platform_assets.engine.store.receipts import Receipt
from platform_assets.errors import ConfigurationError
from platform_assets.feeds.retail import ORDER_LINES

DELIVERED = RETAIL / "by-day"
MONDAY = date(2026, 1, 5)


def receipts(days: Iterable[tuple[date, int]]) -> list[Receipt]:
    """A delivery each day at six in the morning, of the rows of the day."""
    made = []
    for number, (day, rows) in enumerate(days, start=1):
        noon = datetime(day.year, day.month, day.day, 12, tzinfo=UTC)
        made.append(
            Receipt(
                delivery_id=number,
                feed="sales",
                slot=f"{day}.csv",
                bytes=rows,
                contract="",
                arrived_at=noon + timedelta(hours=18),
                committed_at=noon + timedelta(hours=18),
                revision=number,
                status="accepted",
                read=rows,
                accepted=rows,
                event_max=noon,
            )
        )
    return made


def daily(*rows: int, start: date = MONDAY) -> list[Receipt]:
    return receipts((start + timedelta(days=n), count) for n, count in enumerate(rows))


def usual(weeks: int = 10, spread: float = 0.1, *, seed: int = 7) -> list[int]:
    """About 1,000 rows a day, a tenth of that on Sundays."""
    draw = random.Random(seed)
    return [round((100 if n % 7 == 6 else 1000) * draw.lognormvariate(0, spread)) for n in range(weeks * 7)]


def judged(feed: Feed, made: Sequence[Receipt]) -> tuple[int, list[str]]:
    judgement = check_volume(feed, made)
    return judgement.judged, [unusual.receipt.slot for unusual in judgement.unusual]


def test_half_of_the_usual_rows_are_too_few() -> None:
    assert judged(SALES, daily(*usual(), 1000)) == (1, [])
    assert judged(SALES, daily(*usual(), 480)) == (1, ["2026-03-16.csv"])


def test_a_delivery_is_compared_with_those_of_its_weekday() -> None:
    sunday = [*usual(), *usual(1)[:6]]
    assert judged(SALES, daily(*sunday, 100)) == (1, [])
    assert judged(SALES, daily(*sunday, 40)) == (1, ["2026-03-22.csv"])


def test_what_is_wrong_is_said_with_what_is_usual_and_how_to_accept_it() -> None:
    assert str(check_volume(SALES, daily(*usual(), 300))) == (
        "1 failed: 2026-03-16.csv has 300 rows; deliveries of that weekday have about 968, at least 484. Let it be "
        "delivered again whole; if it is right, declare a wider Feed(volume=Volume(…))"
    )


def test_a_wider_volume_accepts_it() -> None:
    made = daily(*usual(), 300)
    assert judged(replace(SALES, volume=Volume(least=0.2)), made) == (1, [])
    assert check_volume(replace(SALES, volume=None), made) == VolumeResult(0, 0, ())


def test_a_restatement_heals_it() -> None:
    *before, cut = daily(*usual(), 300)
    whole = replace(cut, delivery_id=cut.delivery_id + 1, read=1000)
    assert judged(SALES, [*before, replace(cut, status="superseded"), whole]) == (1, [])


def test_a_later_usual_delivery_heals_it_but_not_one_of_the_same_hour() -> None:
    *before, cut = daily(*usual(), 300)
    soon = replace(
        cut, delivery_id=cut.delivery_id + 1, read=1000, committed_at=cut.committed_at + timedelta(minutes=5)
    )
    assert judged(SALES, [*before, cut, soon]) == (2, [cut.slot])
    later = replace(soon, committed_at=cut.committed_at + timedelta(hours=2))
    assert judged(SALES, [*before, cut, later]) == (1, [])


def test_too_many_rows_are_unusual_where_that_is_declared() -> None:
    made = daily(*usual(), 5000)
    assert judged(SALES, made) == (1, [])
    assert judged(replace(SALES, volume=Volume(most=3)), made) == (1, ["2026-03-16.csv"])
    assert "at most" in str(check_volume(replace(SALES, volume=Volume(most=3)), made))


@pytest.mark.parametrize("before", [0, 1, 7 * 7])
def test_it_says_nothing_where_little_is_known(before: int) -> None:
    judgement = check_volume(SALES, daily(*usual(20)[:before], 1))
    assert (judgement.judged, judgement.unusual) == (0, [])
    assert "not enough history" in str(judgement)


def test_it_says_nothing_of_deliveries_without_a_row() -> None:
    assert judged(SALES, daily(*usual(), 0)) == (1, [])  # the one before it


@pytest.mark.parametrize("seed", range(20))
def test_it_never_cries_wolf_where_days_are_alike(seed: int) -> None:
    days = usual(30, spread=0.15, seed=seed)
    assert judged(SALES, [replace(r, committed_at=datetime(2027, 1, 1, tzinfo=UTC)) for r in daily(*days)])[1] == []


def test_it_is_quiet_where_volumes_are_wild() -> None:
    alarms = deliveries = 0
    for seed in range(20):
        days = usual(30, spread=1.5, seed=seed)
        at_once = [replace(r, committed_at=datetime(2027, 1, 1, tzinfo=UTC)) for r in daily(*days)]
        count, unusual = judged(SALES, at_once)
        deliveries, alarms = deliveries + count, alarms + len(unusual)
    assert alarms / deliveries < 0.02


def test_all_of_many_deliveries_taken_in_at_once_are_judged() -> None:
    days = usual(20)
    days[100] //= 3
    at_once = [replace(r, committed_at=datetime(2027, 1, 1, tzinfo=UTC)) for r in daily(*days)]
    assert judged(SALES, at_once) == (140 - 7 * 8, ["2026-04-15.csv"])


@pytest.mark.parametrize("wrong", [{"least": 0}, {"least": 1.5}, {"most": 0.5}])
def test_factors_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError, match="Volume"):
        Volume(**wrong)


@pytest.mark.needs(DELIVERED)
def test_real_deliveries_raise_no_alarm_and_half_of_them_cut_in_half_do() -> None:
    days = [(date.fromisoformat(path.stem), path.read_bytes().count(b"\n") - 1) for path in sorted(DELIVERED.iterdir())]
    assert len(days) == 219
    whole = receipts(days)
    alarms, compared, caught, caught_at_a_quarter = [], 0, 0, 0
    for at, newest in enumerate(whole, start=1):
        count, unusual = judged(ORDER_LINES, whole[:at])
        alarms += unusual
        compared += count
        for part in (2, 4):
            cut = [*whole[: at - 1], replace(newest, read=newest.read // part)]
            found = len(judged(ORDER_LINES, cut)[1])
            if part == 2:
                caught += found
            else:
                caught_at_a_quarter += found
    assert alarms == []
    assert compared == 171  # the others have fewer than eight of their weekday before them
    assert caught / compared > 0.45
    assert caught_at_a_quarter / compared > 0.95
    print(f"caught {caught / compared:.0%} cut in half, {caught_at_a_quarter / compared:.0%} cut to a quarter")  # noqa: T201
