"""Due deliveries: which delivery met which tick of its feed's cadence, and when.

Belongs here: judging that by what the deliveries cover. Does not: the calendar (ticks.py), what share of them must be
in time (promise.py). Values in, values out: no connection, no clock.
"""

import functools
import itertools
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, time, timedelta
from typing import Final

from platform_assets.engine.feed import Cadence, Feed
from platform_assets.engine.receipts import Receipt

_INSTANT: Final = timedelta(microseconds=1)
_DAY: Final = timedelta(days=1)
_DAILY: Final = timedelta(hours=25)  # of the day on which clocks go back
_REMEMBERED: Final = timedelta(days=92)


@dataclass(frozen=True)
class Due:
    """A delivery due at `tick` with the data since `since`; `met_at`: when `receipt` brought it."""

    feed: Feed
    since: datetime
    tick: datetime
    receipt: Receipt | None = None
    met_at: datetime | None = None

    @property
    def late_since(self) -> datetime:
        """From when on it is late."""
        return self.tick + self.feed.delivered.within

    @property
    def kept(self) -> bool:
        """Whether it came in time."""
        return self.met_at is not None and self.met_at <= self.late_since

    def missing(self, now: datetime) -> bool:
        """Whether it should be there and is not."""
        return self.met_at is None and now > self.late_since

    @property
    def name(self) -> str:
        """Which delivery it is, by its feed's calendar."""
        zone = self.feed.delivered.zone
        tick, late = self.tick.astimezone(zone), self.late_since.astimezone(zone)
        due = f"{late:%H:%M}" if late.date() == tick.date() else f"{late:%A %H:%M}"
        return f"{tick:%A %Y-%m-%d}'s delivery of {self.feed.name}, due {due} {self.feed.delivered.timezone},"

    def __str__(self) -> str:
        return f"{self.name} " + ("is missing" if self.met_at is None else "came late" if not self.kept else "came")


def counted_since(receipt: Receipt) -> datetime | None:
    """When the delivery's rows first counted; None where they never did."""
    if receipt.status == "accepted" or (receipt.status == "superseded" and receipt.problem is None):
        return receipt.accepted_at or receipt.committed_at
    return None


def due(feed: Feed, receipts: Iterable[Receipt], after: datetime, until: datetime) -> list[Due]:
    """Every delivery of the feed due later than `after` and no later than `until`, with who met it first.

    With an event time a delivery meets each tick T that it has data for, later than the tick before T and no later
    than T; so old data meets old ticks only. Without one, or empty, it meets the one tick that it arrived for.
    Copies of other deliveries and what is quarantined meet nothing. What came in time for the tick before T, or met
    that one late and is nearer to it, does not meet T: its last hours are no delivery of their own.
    """
    ticks = list(feed.delivered.ticks(after, until))
    if not ticks:
        return []
    edges = [feed.delivered.last_tick(ticks[0] - _INSTANT) or ticks[0] - _DAY, *ticks]
    met: list[tuple[datetime, Receipt] | None] = [None] * len(ticks)
    counted = [(since, receipt) for receipt in receipts if (since := counted_since(receipt)) is not None]
    counted.sort(key=lambda each: (each[0], each[1].delivery_id))
    whole_days = feed.dated and not any(_of_its_day(feed, receipt) for _, receipt in counted)
    for since, receipt in counted:
        covered = _covered(feed, receipt, whole_days=whole_days)
        if covered is None:
            continue
        for at in range(max(bisect_left(edges, covered[0]) - 1, 0), min(bisect_left(edges, covered[1]), len(ticks))):
            before = met[at - 1] if at else None
            met_that = before is not None and before[1] is receipt
            its_own = _between(feed, edges[at], ticks[at]) if met_that else edges[at] + feed.delivered.within
            if met[at] is None and (since >= ticks[at] or since > its_own):
                met[at] = (since, receipt)
    return [
        Due(feed, edges[at], tick, *((first[1], first[0]) if (first := met[at]) is not None else ()))
        for at, tick in enumerate(ticks)
    ]


def begun(receipts: Iterable[Receipt]) -> datetime | None:
    """When the feed's very first delivery was taken in; what was due before is nobody's fault."""
    return min((receipt.committed_at for receipt in receipts), default=None)


def missing(feed: Feed, receipts: Sequence[Receipt], now: datetime) -> list[Due]:
    """The deliveries that should be there now and are not, the oldest first.

    Those due since the feed began, and the last due even before that. Three months (or two of the cadence's longest
    gaps) back: what has not come by then is past mending; closed days may be declared.
    """
    first = begun(receipts)
    if first is None:
        return []
    back = max(_REMEMBERED, 2 * feed.delivered.longest_gap())
    late_since = now - feed.delivered.within
    every = [each for each in due(feed, receipts, late_since - back, now) if now > each.late_since]
    last = every[-1:]
    return [each for each in every if each.missing(now) and (each.late_since >= first or each in last)]


def trailing(feed: Feed, receipts: Sequence[Receipt], now: datetime) -> Due | None:
    """The first of the deliveries that are missing up to now; None where the last one due is there."""
    last = feed.delivered.last_tick(now - feed.delivered.within - _INSTANT)
    first = None
    for each in reversed(missing(feed, receipts, now)):
        if last is None or each.tick != last:
            break
        first, last = each, feed.delivered.last_tick(last - _INSTANT)
    return first


def newest_data(feed: Feed, receipts: Iterable[Receipt]) -> datetime | None:
    """Up to when the feed's data goes; without an event time, when it last arrived."""
    receipts = [receipt for receipt in receipts if counted_since(receipt) is not None]
    if feed.event_time is None:
        return max((min(receipt.arrived_at, receipt.committed_at) for receipt in receipts), default=None)
    whole_days = feed.dated and not any(_of_its_day(feed, receipt) for receipt in receipts)
    covered = [_covered(feed, receipt, whole_days=whole_days) for receipt in receipts if receipt.read]
    return max((last for _, last in filter(None, covered)), default=None)


def there_now(feed: Feed, receipts: Iterable[Receipt]) -> list[Receipt]:
    """The receipts as far as their rows are still in raw; those that have none there count as copies of others.

    Rows give way to others with their key, and a restatement may bring less than what it replaces. Without an event
    time it is the arrival that counts, and a restatement takes nothing of that back.
    """
    found = []
    for receipt in receipts:
        replaced = receipt.status == "superseded" and feed.event_time is not None
        if replaced or (receipt.read and not receipt.accepted):
            receipt = replace(receipt, status="duplicate")
        elif receipt.event_max is not None and receipt.covers_to is not None and receipt.event_max < receipt.covers_to:
            receipt = replace(receipt, covers_from=receipt.event_min, covers_to=receipt.event_max)
        found.append(receipt)
    return found


def _covered(feed: Feed, receipt: Receipt, *, whole_days: bool) -> tuple[datetime, datetime] | None:
    """From when to when the delivery has data; as instants that lie in the ticks they are for."""
    if feed.event_time is None or not receipt.read:
        tick = _arrived_for(feed, min(receipt.arrived_at, receipt.committed_at))
        return None if tick is None else (tick, tick)
    first, last = receipt.covers_from or receipt.event_min, receipt.covers_to or receipt.event_max
    if first is None or last is None:
        return None
    if feed.dated:
        first, last = _stamped(feed, first, last, whole_days=whole_days)
    last = min(last, receipt.committed_at)
    return (first, last) if first <= last else None


def _arrived_for(feed: Feed, arrived: datetime) -> datetime | None:
    """The tick that an arrival is for: the last, late or not, until it is nearer to the next."""
    cadence = feed.delivered
    before, after = cadence.last_tick(arrived), cadence.next_tick(arrived)
    if before is None or after is None or arrived > _between(feed, before, after):
        return after
    return before


def _between(feed: Feed, before: datetime, after: datetime) -> datetime:
    """Until when an arrival is for `before` rather than for the tick after it."""
    by = before + feed.delivered.within
    return max(by, by + (after - by) / 2)


def _of_its_day(feed: Feed, receipt: Receipt) -> bool:
    """Whether the delivery came before the last day it is dated was over."""
    last = receipt.covers_to or receipt.event_max
    return last is not None and receipt.committed_at < _midnight(feed, last) + _DAY


def _stamped(feed: Feed, first: datetime, last: datetime, *, whole_days: bool) -> tuple[datetime, datetime]:
    """A span of days as instants. A date does not tell whether its delivery is due on that day or on the next one.

    It is the day itself where any delivery of the feed has come so early. Else, if due daily, the next; if due more
    rarely, what is dated the very day of a tick counts for that tick and not for the one after it.
    """
    start, end = _midnight(feed, first), _midnight(feed, last)
    if not whole_days:
        return start, end
    over = _DAY - _INSTANT
    if _is_daily(feed.delivered):
        return start + over, end + over
    return min(start + over, end), end


@functools.cache
def _is_daily(cadence: Cadence) -> bool:
    some = list(cadence.ticks(datetime(2000, 1, 1, tzinfo=UTC), datetime(2000, 2, 1, tzinfo=UTC)))
    return any(later - earlier <= _DAILY for earlier, later in itertools.pairwise(some))


def _midnight(feed: Feed, stored: datetime) -> datetime:
    """When a date, stored as a midnight of UTC, begins where the feed comes from."""
    return datetime.combine(stored.astimezone(UTC).date(), time(), feed.delivered.zone).astimezone(UTC)
