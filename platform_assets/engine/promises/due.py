"""Due deliveries: which delivery met which tick of its feed's cadence, and when.

Belongs here: deciding that by what the deliveries cover. Elsewhere: the calendar (feed/ticks.py), what share of them
must be in time (kept.py). Values in, values out: no connection, no clock.
"""

import functools
import itertools
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, time, timedelta
from functools import cached_property
from typing import Final

from platform_assets.engine.feed.feed import Cadence, Feed
from platform_assets.engine.promises.quarantined import Counted, Naming, would_meet
from platform_assets.engine.store.receipts import Receipt

_INSTANT: Final = timedelta(microseconds=1)
_DAY: Final = timedelta(days=1)
_DAILY: Final = timedelta(hours=25)  # of the day on which clocks go back
_REMEMBERED: Final = timedelta(days=92)
# A month, 30 days, three months up to now and up to half an hour ago, and those of a tick before.
_WINDOWS: Final = 10


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


@dataclass(frozen=True, eq=False)
class Deliveries:
    """A feed's deliveries, as promises see them: matched with ticks once, asked again as time goes by.

    among: those that these are some of, where they are not all there is.
    """

    feed: Feed
    receipts: Sequence[Receipt]
    among: "Deliveries | None" = None

    def due(self, after: datetime, until: datetime) -> Sequence[Due]:
        """Every delivery of the feed due later than `after` and no later than `until`, with who met it first.

        With an event time a delivery meets each tick T that it has data for, later than the tick before T and no later
        than T; so old data meets old ticks only. Without one, or empty, it meets the one tick that it arrived for.
        Copies of other deliveries and what is quarantined meet nothing. What came in time for the tick before T, or
        met that one late and is nearer to it, does not meet T: its last hours are no delivery of their own.
        """
        ticks = tuple(self.feed.delivered.ticks(after, until))
        if not ticks:
            return ()
        # Time moves on at every look, the ticks it lies between only now and then.
        asked = ticks[0], ticks[-1]
        if asked not in self._matched:
            if len(self._matched) >= _WINDOWS:
                del self._matched[next(iter(self._matched))]
            self._matched[asked] = self._match(ticks)
        return self._matched[asked]

    def missing(self, now: datetime) -> list[Due]:
        """The deliveries that should be there now and are not, the oldest first.

        Those due since the feed began; of those before, only the last, and only while nothing newer has come. Three
        months (or two of the cadence's longest gaps) back: what has not come by then is past mending; closed days may
        be declared.
        """
        first = self.begun
        if first is None:
            return []
        back = max(_REMEMBERED, 2 * self.feed.delivered.longest_gap())
        late_since = now - self.feed.delivered.within
        every = self.due(late_since - back, now)
        every = every[: bisect_left(every, late_since, key=lambda each: each.tick)]
        newest = self.newest_data or datetime.min.replace(tzinfo=UTC)
        return [
            each
            for each in every
            if each.met_at is None and (each.late_since >= first or (each is every[-1] and newest <= each.tick))
        ]

    def absent(self, now: datetime) -> list[Due]:
        """Those of the missing ones that nothing is there for: what is quarantined is missing for that reason."""
        return [each for each in self.missing(now) if self.quarantined_for(each) is None]

    def first_missing(self, now: datetime) -> Due | None:
        """The first of those that have been missing without a break until now; None where the last one due came."""
        last = self.feed.delivered.last_tick(now - self.feed.delivered.within - _INSTANT)
        first = None
        for each in reversed(self.missing(now)):
            if last is None or each.tick != last:
                break
            first, last = each, self.feed.delivered.last_tick(last - _INSTANT)
        return first

    @cached_property
    def begun(self) -> datetime | None:
        """When the feed's very first delivery was taken in; what was due before is nobody's fault."""
        if self.among is not None:
            return self.among.begun
        return min((receipt.committed_at for receipt in self.receipts), default=None)

    @cached_property
    def newest_data(self) -> datetime | None:
        """Up to when the feed's data goes; without an event time, when it last arrived."""
        if self.feed.event_time is None and self.feed.name_date is None:
            arrived = (min(receipt.arrived_at, receipt.committed_at) for _, receipt, _ in self.counted)
            return max(arrived, default=None)
        by_name = self.feed.event_time is None
        told = (span[1] for _, receipt, span in self.counted if (receipt.read or by_name) and span is not None)
        return max(told, default=None)

    @cached_property
    def in_raw(self) -> "Deliveries":
        """The same, by the rows that are in raw now."""
        return Deliveries(self.feed, _in_raw(self.feed, self.receipts))

    @cached_property
    def counted(self) -> Sequence[tuple[datetime, Receipt, tuple[datetime, datetime] | None]]:
        """Deliveries whose rows count or counted, in that order: since when, and from when to when they have data."""
        if self.among is not None and self.among._whole_days == self._whole_days:
            mine = {receipt.delivery_id for receipt in self.receipts}
            return [each for each in self.among.counted if each[1].delivery_id in mine]
        found = [(since, receipt) for receipt in self.receipts if (since := counted_since(receipt)) is not None]
        found.sort(key=lambda each: (each[0], each[1].delivery_id))
        return [(since, receipt, _covered(self.feed, receipt, self._whole_days)) for since, receipt in found]

    def quarantined_for(self, absent: Due) -> Receipt | None:
        """The quarantined delivery that would be the one that is absent."""
        waiting = self._quarantined.get(absent.tick, ())
        return min(waiting, key=lambda receipt: abs(receipt.arrived_at - absent.tick), default=None)

    @cached_property
    def _quarantined(self) -> Mapping[datetime, Sequence[Receipt]]:
        """Quarantined deliveries, by the ticks that each would meet."""
        found: dict[datetime, list[Receipt]] = {}
        waiting = [receipt for receipt in self.receipts if receipt.status == "quarantined"]
        if self.feed.name_date is not None:  # what has no date in its name may be of any day
            waiting = [receipt for receipt in waiting if receipt.file_date is not None]
        if waiting:
            cadence = self.feed.delivered
            counted = [Counted(r.slot, span[1], r.file_date) for _, r, span in self.counted if span is not None]
            naming = Naming.of(counted, cadence)
            for receipt in waiting:
                told = self.feed.event_time is not None and receipt.read > 0
                told |= self.feed.event_time is None and receipt.file_date is not None
                covers = _covered(self.feed, receipt, self._whole_days) if told else None
                came = _arrived_for(self.feed, min(receipt.arrived_at, receipt.committed_at))
                for tick in would_meet(receipt, covers, came, naming, cadence):
                    found.setdefault(tick, []).append(receipt)
        return found

    @cached_property
    def _whole_days(self) -> bool | None:
        """Of a feed whose data is told by days: whether that is the day before, by all that counts; None of others."""
        if not self.feed.by_day:
            return None
        return not any(_of_its_day(self.feed, each) for each in self.receipts if counted_since(each) is not None)

    @cached_property
    def _matched(self) -> dict[tuple[datetime, datetime], Sequence[Due]]:
        return {}

    def _match(self, ticks: tuple[datetime, ...]) -> Sequence[Due]:
        edges = [self.feed.delivered.last_tick(ticks[0] - _INSTANT) or ticks[0] - _DAY, *ticks]
        within = self.feed.delivered.within
        met: list[tuple[datetime, Receipt] | None] = [None] * len(ticks)
        unmet = list(range(len(ticks) + 1))  # at or behind each tick, the way to the first that nothing has met
        for since, receipt, span in self.counted:
            if span is None or span[1] <= edges[0] or span[0] > edges[-1]:
                continue
            at = _first(unmet, max(bisect_left(edges, span[0]) - 1, 0))
            end = min(bisect_left(edges, span[1]), len(ticks))
            # What is too early for a tick is too early for all that follow.
            while at < end and (since >= ticks[at] or since > edges[at] + within):
                before = met[at - 1] if at else None
                met_that = before is not None and before[1] is receipt
                if since >= ticks[at] or not met_that or since > _between(self.feed, edges[at], ticks[at]):
                    met[at] = (since, receipt)
                    unmet[at] = at + 1
                at = _first(unmet, at + 1)
        return tuple(
            Due(self.feed, edges[at], tick, *((first[1], first[0]) if (first := met[at]) is not None else ()))
            for at, tick in enumerate(ticks)
        )


def _in_raw(feed: Feed, receipts: Iterable[Receipt]) -> list[Receipt]:
    """The receipts as far as their rows are still in raw; those that have none there count as copies of others.

    Rows are replaced by others with their key, and a restatement may bring less than what it replaces. Without an event
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


def _first(unmet: list[int], at: int) -> int:
    """The first tick at or behind `at` that nothing has met; the way there is shorter for who asks next."""
    while unmet[at] != at:
        unmet[at] = unmet[unmet[at]]
        at = unmet[at]
    return at


def _covered(feed: Feed, receipt: Receipt, whole_days: bool | None) -> tuple[datetime, datetime] | None:
    """From when to when the delivery has data; as instants that lie in the ticks they are for.

    whole_days: of a feed whose data is told by days, whether that is the day before; None of any other.
    """
    if (feed.event_time is None or not receipt.read) and (day := _named_day(feed, receipt)) is not None:
        _, end = _stamped(feed, day, day, whole_days=whole_days is not False)
        end = min(end, receipt.committed_at)  # what is dated ahead is there when it comes
        return end, end
    if feed.event_time is None or not receipt.read:
        tick = _arrived_for(feed, min(receipt.arrived_at, receipt.committed_at))
        return None if tick is None else (tick, tick)
    first, last = receipt.covers_from or receipt.event_min, receipt.covers_to or receipt.event_max
    if first is None or last is None:
        return None
    if whole_days is not None:
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
    last = receipt.covers_to or receipt.event_max or _named_day(feed, receipt)
    return last is not None and receipt.committed_at < _midnight(feed, last) + _DAY


def _named_day(feed: Feed, receipt: Receipt) -> datetime | None:
    """The last day that its name says it is of, as a midnight of UTC."""
    if receipt.file_date is None or feed.name_date is None:
        return None
    return datetime.combine(feed.name_date.last(receipt.file_date), time(), UTC)


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
