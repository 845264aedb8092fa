"""When a feed's deliveries are due, as its author declares it.

Belongs here: cadences, their checks, spans of time. Elsewhere: moments of a cron expression (ticks.py).
"""

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError

from platform_assets.engine.contract.declaration import declaration
from platform_assets.engine.feed.in_words import schedule_in_words, span_in_words
from platform_assets.engine.feed.ticks import is_closed, last_tick, longest_gap, next_tick, ticks
from platform_assets.errors import ConfigurationError, counted, nearest


def days(n: float) -> timedelta:
    """`n` days of 24 hours, such as `days(30)`."""
    return timedelta(days=n)


def hours(n: float) -> timedelta:
    """`n` hours, such as `hours(3)`."""
    return timedelta(hours=n)


def minutes(n: float) -> timedelta:
    """`n` minutes, such as `minutes(30)`."""
    return timedelta(minutes=n)


def seconds(n: float) -> timedelta:
    """`n` seconds, such as `seconds(10)`."""
    return timedelta(seconds=n)


@declaration
@dataclass(frozen=True)
class Cadence:
    """When a delivery is due, and how late it may be, such as `Cadence(cron="0 6 * * 1-6", within=hours(3))`.

    cron: when a delivery is due: minute, hour, day of month, month, day of week.
    within: how late it may be.
    timezone: the zone that `cron` is meant in, by its IANA name.
    closed: days in that zone on which no delivery is due: a date ("2026-12-25"), or a day of every year ("12-25").
    objective: the share of due deliveries that must be in time.
    """

    cron: str
    within: timedelta
    timezone: str = "UTC"
    closed: tuple[str, ...] = ()
    objective: float = 0.95

    def __post_init__(self) -> None:
        if len(self.cron.split()) != 5:
            raise ConfigurationError(
                "Cadence.cron",
                f"{self.cron!r} has {counted(len(self.cron.split()), 'field')}, not five",
                "Give minute, hour, day of month, month and day of week, such as '0 6 * * 1-6'.",
            )
        try:
            every = CronSim(self.cron, datetime(2000, 1, 1, tzinfo=ZoneInfo(self.timezone)))
        except CronSimError as error:
            raise ConfigurationError(
                "Cadence.cron", f"{self.cron!r}: {error}", "Give five fields, such as '0 6 * * 1-6'."
            ) from None
        except (KeyError, ValueError):
            raise ConfigurationError(
                "Cadence.timezone",
                f"unknown time zone {self.timezone!r}.{nearest(self.timezone, available_timezones())}",
                "Give an IANA name, such as Europe/London.",
            ) from None
        if self.within < timedelta():
            raise ConfigurationError("Cadence.within", f"{self.within} is below nothing", "Give a time: hours(3).")
        if not all(map(_is_day, self.closed)):
            raise ConfigurationError(
                "Cadence.closed",
                f"{self.closed!r} has what is no day",
                'Give dates, or days of every year: closed=("2026-12-24", "12-25").',
            )
        if all(is_closed(tick.date(), self.closed) for tick in itertools.islice(every, 400)):
            raise ConfigurationError(
                "Cadence.closed",
                f"{self.closed!r} closes every day on which {self.cron!r} has a delivery due",
                "Leave a day open.",
            )
        if not 0 < self.objective <= 1:
            raise ConfigurationError(
                "Cadence.objective",
                f"{self.objective!r} is no share",
                "Give a number above 0 and up to 1, such as 0.95.",
            )

    def __str__(self) -> str:
        """In words: "Monday to Saturday 06:00 London, at most 3 h late"."""
        closed = f", not on {', '.join(self.closed)}" if self.closed else ""
        schedule = schedule_in_words(self.cron, self.timezone)
        return f"{schedule}{closed}, at most {span_in_words(self.within)} late"

    @property
    def zone(self) -> ZoneInfo:
        """Its time zone."""
        return ZoneInfo(self.timezone)

    def ticks(self, after: datetime, until: datetime) -> Iterator[datetime]:
        """When deliveries are due, later than `after` and no later than `until`; in UTC."""
        return ticks(self.cron, self.timezone, self.closed, after, until)

    def last_tick(self, by: datetime) -> datetime | None:
        """When a delivery was last due by then; None where none was for twelve years."""
        return last_tick(self.cron, self.timezone, self.closed, by)

    def next_tick(self, after: datetime) -> datetime | None:
        """When the next delivery is due after then; None where none is for twelve years."""
        return next_tick(self.cron, self.timezone, self.closed, after)

    def longest_gap(self) -> timedelta:
        """The longest time between two deliveries that keep the promise, by a fixed calendar."""
        return longest_gap(self.cron, self.timezone, self.closed) + self.within


def _is_day(text: str) -> bool:
    """Whether it names a date, or a day of every year."""
    if not re.fullmatch(r"([0-9]{4}-)?[0-9]{2}-[0-9]{2}", text):
        return False
    try:
        date.fromisoformat(text if len(text) == 10 else f"2000-{text}")
    except ValueError:
        return False
    return True
