"""Promises day by day: what was due on each of the last days, and whether it was kept.

Belongs here: laying out by days what the other modules judge. Elsewhere: the judging (kept.py, marts.py), words
(promise.py). Values in, values out.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Final

from platform_assets.engine.feed.feed import Cadence
from platform_assets.engine.promises.due import Deliveries
from platform_assets.engine.promises.kept import is_sound
from platform_assets.engine.promises.marts import ReleasedMart, due_of_mart
from platform_assets.engine.promises.promise import Kind, was_quarantined
from platform_assets.errors import printable

_INSTANT: Final = timedelta(microseconds=1)


@dataclass(frozen=True)
class DayKept:
    """A promise on a day of its feed's calendar. due, kept: deliveries, as far as that is decided. told: of the first
    one that was not kept, in words."""

    day: date
    due: int = 0
    kept: int = 0
    told: str = ""


def days_of_feed(theirs: Deliveries, kind: Kind, now: datetime, days: int) -> list[DayKept]:
    """What the feed promises ("on time", or "sound"), on each of so many days, the last of them today."""
    cadence, first = theirs.feed.delivered, theirs.begun
    start = _start(cadence, now, days)
    if kind == "sound":
        came = [r for r in theirs.receipts if r.status != "duplicate" and start <= r.committed_at <= now]
        judged = (
            (r.committed_at, is_sound(theirs.feed, r) and not was_quarantined(r), r.trouble, r.slot) for r in came
        )
        return _by_day(cadence, now, days, ((at, kept, f"{printable(of)}: {told}") for at, kept, told, of in judged))
    due = theirs.due(start - _INSTANT, now) if first is not None else ()
    decided = [each for each in due if each.late_since >= (first or now) and (each.met_at or now > each.late_since)]
    return _by_day(cadence, now, days, ((each.tick, each.kept, str(each)) for each in decided))


def days_of_mart(mart: ReleasedMart, deliveries: Mapping[str, Deliveries], now: datetime, days: int) -> list[DayKept]:
    """Whether what was due of each feed was in a release in time, likewise; by the calendar of its first feed."""
    cadence = mart.feeds[0].delivered
    start = _start(cadence, now, days)
    judged = []
    for feed in mart.feeds:
        for due, by, released in due_of_mart(mart, deliveries[feed.name], start - _INSTANT, now):
            if released is not None or now > by:
                kept = released is not None and released <= by
                told = str(due) if not due.kept else f"{due.name} came in time and was released late"
                judged.append(
                    (due.tick, kept, told if released is not None or due.met_at is None else f"{due}, unreleased")
                )
    return _by_day(cadence, now, days, judged)


def _start(cadence: Cadence, now: datetime, days: int) -> datetime:
    first = now.astimezone(cadence.zone).date() - timedelta(days=days - 1)
    return datetime.combine(first, time(), cadence.zone).astimezone(UTC)


def _by_day(cadence: Cadence, now: datetime, days: int, judged: Iterable[tuple[datetime, bool, str]]) -> list[DayKept]:
    today = now.astimezone(cadence.zone).date()
    found = {day: DayKept(day) for day in (today - timedelta(days=back) for back in range(days - 1, -1, -1))}
    for at, kept, told in judged:
        day = at.astimezone(cadence.zone).date()
        if day in found:
            so_far = found[day]
            found[day] = replace(
                so_far, due=so_far.due + 1, kept=so_far.kept + kept, told=so_far.told or ("" if kept else told)
            )
    return list(found.values())
