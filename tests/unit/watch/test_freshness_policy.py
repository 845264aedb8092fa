"""Dagster's own freshness of what is delivered: as Dagster itself evaluates it, beside what is really missing."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

import dagster as dg
import pytest
from cronsim import CronSim
from dagster._core.definitions.freshness_evaluator import FRESHNESS_EVALUATORS_BY_POLICY_TYPE
from dagster._core.loader import LoadingContextForTest
from dagster._core.test_utils import freeze_time
from hypothesis import given, settings
from hypothesis import strategies as st
from machine import examples
from shop import SALES

from platform_assets.engine.feed.feed import Cadence, Feed, hours
from platform_assets.engine.feed.ticks import later
from platform_assets.engine.promises.due import Deliveries
from platform_assets.engine.store.receipts import Receipt
from platform_assets.orchestration.feeds import delivered
from platform_assets.orchestration.watch.freshness_policy import newest_data_event, policy_of, report_deliveries

# 2026-03-09 is a Monday; the 12th is closed.
WORKING_DAYS: Final = replace(
    SALES, delivered=Cadence("0 6 * * 1-6", hours(3), "Europe/London", closed=("2026-03-12",))
)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def at(day: int, hour: float = 0) -> datetime:
    return datetime(2026, 3, 1, tzinfo=ZoneInfo("Europe/London")) + timedelta(days=day - 1, hours=hour)


def said(instance: dg.DagsterInstance, node: Any, feed: Feed, now: datetime) -> str:
    """What Dagster's daemon makes of it."""
    evaluator: Any = FRESHNESS_EVALUATORS_BY_POLICY_TYPE[type(policy_of(feed))]()
    with freeze_time(now.astimezone(UTC)):
        return str(asyncio.run(evaluator.evaluate_freshness(LoadingContextForTest(instance), node)).value)


def lived(instance: dg.DagsterInstance, feed: Feed, came: dict[int, datetime], until: datetime) -> list[str]:
    """Days on which Dagster says FAIL at some fifth hour, where the data of day -> came then; told as a run does, and
    looked at every half an hour by the alerts sensor."""
    red = set()
    (node,) = dg.Definitions(assets=[delivered(feed)]).resolve_asset_graph().asset_nodes
    receipts: list[Receipt] = []
    now = at(9, 9.5)
    with freeze_time(now.astimezone(UTC)):
        instance.report_runless_asset_event(newest_data_event(feed, at(8, 20).astimezone(UTC)))
    receipts.append(receipt(0, 7, at(9, 6.5)))
    while now < until:
        for day, moment in came.items():
            if now - timedelta(minutes=30) < moment <= now:
                receipts.append(receipt(day, day, moment))
                with freeze_time(moment.astimezone(UTC)):
                    instance.report_runless_asset_event(newest_data_event(feed, at(day, 20).astimezone(UTC)))
        with freeze_time(now.astimezone(UTC)):
            report_deliveries(instance, {feed.name: Deliveries(feed, list(receipts))}, now.astimezone(UTC))
        if now.minute == 0 and now.hour % 5 == 0 and said(instance, node, feed, now) == "FAIL":
            red.add(f"{now:%d}")
        now += timedelta(minutes=30)
    return sorted(red)


def receipt(number: int, day: int, came: datetime) -> Receipt:
    utc = came.astimezone(UTC)
    return Receipt(
        delivery_id=number, feed="sales", slot=f"{day}.csv", bytes=1, contract="", arrived_at=utc, committed_at=utc,
        accepted_at=utc, revision=number + 1, status="accepted", read=1, accepted=1,
        covers_from=at(day, 8).astimezone(UTC), covers_to=at(day, 20).astimezone(UTC),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("came", "red"),
    [
        ({9: at(10, 7), 10: at(11, 8), 12: at(13, 7)}, []),  # the 12th, a Thursday, is closed
        ({9: at(9, 21), 10: at(10, 21), 12: at(12, 21)}, []),  # the evening before
        ({9: at(10, 7), 12: at(13, 7)}, ["11", "12", "13"]),  # Tuesday's was missed; red until Friday at seven
        ({9: at(10, 7), 10: at(11, 13), 12: at(13, 7)}, ["11"]),  # it came four hours late
    ],
)
def test_a_missed_day_is_red_from_its_deadline_on_and_a_closed_one_is_not(
    instance: dg.DagsterInstance, came: dict[int, datetime], red: list[str]
) -> None:
    assert lived(instance, WORKING_DAYS, came, at(13, 12)) == red


def test_what_is_told_again_is_no_newer_data(instance: dg.DagsterInstance) -> None:
    one, again = (newest_data_event(WORKING_DAYS, at(9, 20)) for _ in range(2))
    assert one.tags == again.tags


@settings(max_examples=examples(60))
@given(
    minute=st.sampled_from(["0", "15,45", "*/20"]),
    hour=st.sampled_from(["6", "6,18", "*", "22", "*/6"]),
    day=st.sampled_from(["*", "1", "1,15"]),
    weekday=st.sampled_from(["*", "1-6", "0", "5#2"]),
    by=st.sampled_from([timedelta(), timedelta(minutes=10), hours(3), hours(30), timedelta(days=7, minutes=1)]),
)
def test_a_cron_expression_that_ticks_later_ticks_so_much_later(
    minute: str, hour: str, day: str, weekday: str, by: timedelta
) -> None:
    cron = f"{minute} {hour} {day} * {weekday}"
    moved = later(cron, by)
    if moved is None:
        assert by > timedelta()
        return
    start = datetime(2026, 1, 1, tzinfo=UTC)
    ticks, deadlines = CronSim(cron, start), CronSim(moved, start + by)
    first = next(ticks)
    assert next(each for each in deadlines if each >= first + by) == first + by
    assert [next(deadlines) for _ in range(50)] == [next(ticks) + by for _ in range(50)]


def test_what_no_cron_says_is_judged_by_the_longest_gap() -> None:
    for cron in ("0 6,22 * * 1-5", "0 6 LW * *"):
        policy = policy_of(replace(SALES, delivered=Cadence(cron, hours(3))))
        assert type(policy).__name__ == "TimeWindowFreshnessPolicy"
