"""Ticks: the instants, in UTC, at which something is due by a cron expression, but for closed days.

Belongs here: the calendar. Elsewhere: what is due or how late it may be (feed.py), who met what (promise.py).
"""

import functools
import itertools
from bisect import bisect_right
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from cronsim import CronSim

_MONTHS: Final = 12 * 12  # the rarest day, 29 February, may be eight years away
_GAPS: Final = 400
_DAY_MINUTES: Final = 24 * 60
_YEARS: Final = range(2000, 2011)  # in which a day of the year falls on every weekday


def ticks(cron: str, timezone: str, closed: tuple[str, ...], after: datetime, until: datetime) -> Iterator[datetime]:
    """Ticks later than `after` and no later than `until`, in their order."""
    month = _month_of(after)
    while month <= _month_of(until):
        every = _open(cron, timezone, closed, *divmod(month, 12))
        yield from every[bisect_right(every, after) : bisect_right(every, until)]
        month += 1


def last_tick(cron: str, timezone: str, closed: tuple[str, ...], by: datetime) -> datetime | None:
    """The last tick no later than `by`; None where there has been none for twelve years."""
    for month in range(_month_of(by), _month_of(by) - _MONTHS, -1):
        every = _open(cron, timezone, closed, *divmod(month, 12))
        if at := bisect_right(every, by):
            return every[at - 1]
    return None


def next_tick(cron: str, timezone: str, closed: tuple[str, ...], after: datetime) -> datetime | None:
    """The first tick later than `after`; None where there is none for twelve years."""
    for month in range(_month_of(after), _month_of(after) + _MONTHS):
        every = _open(cron, timezone, closed, *divmod(month, 12))
        if (at := bisect_right(every, after)) < len(every):
            return every[at]
    return None


@functools.cache
def longest_gap(cron: str, timezone: str, closed: tuple[str, ...]) -> timedelta:
    """The longest time between two ticks: in the first year of a fixed calendar, and around each closed day."""
    zone = ZoneInfo(timezone)
    every = CronSim(cron, datetime(2000, 1, 1, tzinfo=zone))
    dates = [tick.astimezone(UTC) for tick in itertools.islice(every, _GAPS)]
    gaps = [later - earlier for earlier, later in itertools.pairwise(dates)]
    # Where ticks come by the minute, the weekday matters little and looking through all of them takes seconds.
    years = _YEARS if dates[-1] - dates[0] > timedelta(days=30) else _YEARS[:1]
    for day in closed:
        for year in [int(day[:4])] if len(day) == 10 else years:
            named = day if len(day) == 10 else f"{year}-{day}"
            try:
                noon = datetime.combine(date.fromisoformat(named), datetime.min.time(), zone) + timedelta(hours=12)
            except ValueError:  # 29 February
                continue
            before = last_tick(cron, timezone, closed, noon.astimezone(UTC))
            after = next_tick(cron, timezone, closed, noon.astimezone(UTC))
            if before is not None and after is not None:
                gaps.append(after - before)
    return max(gaps)


@functools.cache
def shortest_gap(cron: str, timezone: str) -> timedelta:
    """The shortest time between two ticks, closed days or not, of the first 400."""
    every = CronSim(cron, datetime(2000, 1, 1, tzinfo=ZoneInfo(timezone)))
    dates = [tick.astimezone(UTC) for tick in itertools.islice(every, _GAPS)]
    return min(after - before for before, after in itertools.pairwise(dates))


def later(cron: str, by: timedelta) -> str | None:
    """The expression that ticks so much later by the wall's clock, to the minute and rounded up; None where none does.

    There is none where a tick moves into another day of the month, or some of a day's ticks into the next and others
    not, and where the moved ticks are no product of hours and minutes.
    """
    every = CronSim(cron, datetime(2000, 1, 1, tzinfo=UTC))
    _, _, _, day, month, weekday = every.parts
    minutes = -(-by // timedelta(minutes=1))
    moved = [divmod(60 * hour + minute + minutes, _DAY_MINUTES) for hour in every.hours for minute in every.minutes]
    days = {carried for carried, _ in moved}
    at_minutes, at_hours = {at % 60 for _, at in moved}, {at // 60 for _, at in moved}
    whole_days = len({at for _, at in moved}) == len(at_minutes) * len(at_hours)
    if len(every.seconds) != 1 or not whole_days or (days != {0} and (day, month) != ("*", "*")):
        return None
    if days != {0} and weekday != "*":
        if len(days) > 1 or not all(isinstance(each, int) for each in every.weekdays):
            return None
        (carried,) = days
        weekday = _listed({(each + carried) % 7 for each in every.weekdays if isinstance(each, int)})
    return f"{_listed(at_minutes)} {_listed(at_hours)} {day} {month} {weekday}"


def _listed(numbers: set[int]) -> str:
    return ",".join(map(str, sorted(numbers)))


def is_closed(day: date, closed: tuple[str, ...]) -> bool:
    """Whether nothing is due on `day`: it is named itself, or every year."""
    named = day.isoformat()
    return named in closed or named[5:] in closed


def _month_of(instant: datetime) -> int:
    utc = instant.astimezone(UTC)
    return utc.year * 12 + utc.month - 1


@functools.lru_cache(maxsize=4096)
def _open(cron: str, timezone: str, closed: tuple[str, ...], year: int, month: int) -> tuple[datetime, ...]:
    zone = ZoneInfo(timezone)
    all_ticks = _month(cron, timezone, year, month)
    if not closed:
        return all_ticks
    return tuple(tick for tick in all_ticks if not is_closed(tick.astimezone(zone).date(), closed))


@functools.lru_cache(maxsize=4096)
def _month(cron: str, timezone: str, year: int, month: int) -> tuple[datetime, ...]:
    """The ticks of a month of UTC; `month` counts from 0.

    Always forward and from the same instant, so that whoever asks gets the same ticks around a change of the clock.
    """
    start = datetime(year, month + 1, 1, tzinfo=UTC)
    end = datetime(year + (month == 11), (month + 1) % 12 + 1, 1, tzinfo=UTC)
    found = []
    for tick in CronSim(cron, (start - timedelta(seconds=1)).astimezone(ZoneInfo(timezone))):
        utc = tick.astimezone(UTC)
        if utc >= end:
            break
        found.append(utc)
    return tuple(found)
