"""Schedules and spans are told in words."""

from datetime import timedelta

import pytest

from platform_assets.engine.feed.cadence import Cadence, hours, minutes
from platform_assets.engine.feed.in_words import schedule_in_words, span_in_words


@pytest.mark.parametrize(
    ("cron", "zone", "words"),
    [
        ("0 6 * * 1-6", "Europe/London", "Monday to Saturday 06:00 London"),
        ("30 18 * * *", "America/New_York", "every day 18:30 New York"),
        ("0 6,18 * * *", "UTC", "every day 06:00 and 18:00 UTC"),
        ("0 6 * * 1", "UTC", "Monday 06:00 UTC"),
        ("0 6 * * MON,WED,FRI", "UTC", "Monday, Wednesday and Friday 06:00 UTC"),
        ("0 6 * * 0", "UTC", "Sunday 06:00 UTC"),
        ("0 6 1 * *", "UTC", "day 1 of the month 06:00 UTC"),
        ("0 6 1,15 * *", "UTC", "day 1 and 15 of the month 06:00 UTC"),
        ("0 6 L * *", "UTC", "the last day of the month 06:00 UTC"),
        ("0 6 1 1 *", "UTC", "day 1 of the month in January 06:00 UTC"),
        ("*/15 * * * *", "UTC", "every 15 minutes"),
        ("*/15 * * * 1-5", "UTC", "every 15 minutes, Monday to Friday"),
        ("5 * * * *", "UTC", "every hour at :05"),
        ("0 */4 * * *", "UTC", "every 4 hours at :00"),
        ("0 6 * * 1#2", "UTC", "cron 0 6 * * 1#2 UTC"),
        ("0 8-18 * * *", "UTC", "cron 0 8-18 * * * UTC"),
    ],
)
def test_a_schedule_is_told_in_words(cron: str, zone: str, words: str) -> None:
    assert schedule_in_words(cron, zone) == words


@pytest.mark.parametrize(
    ("span", "words"),
    [
        (hours(3), "3 h"),
        (minutes(90), "1 h 30 min"),
        (minutes(30), "30 min"),
        (hours(24), "24 h"),
        (hours(72), "3 days"),
        (timedelta(seconds=10), "10 s"),
        (timedelta(), "0 min"),
    ],
)
def test_a_span_is_told_in_words(span: timedelta, words: str) -> None:
    assert span_in_words(span) == words


def test_a_cadence_is_told_in_words() -> None:
    cadence = Cadence(cron="0 6 * * 1-6", within=hours(3), timezone="Europe/London", closed=("12-25",))
    assert str(cadence) == "Monday to Saturday 06:00 London, not on 12-25, at most 3 h late"
