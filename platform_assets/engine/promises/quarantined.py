"""Quarantined deliveries: which of those that are due each would be, had it been accepted.

Belongs here: deciding that by what it covers, else by its name and its slot, else by when it came. Elsewhere: what is
due (due.py), what follows from it (promise.py).
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final, NamedTuple

from platform_assets.engine.feed.feed import Cadence
from platform_assets.engine.store.receipts import Receipt

_INSTANT: Final = timedelta(microseconds=1)
_FARTHEST: Final = timedelta(days=92)
_ENOUGH: Final = 50
_DIGITS: Final = re.compile(r"\d+")
_DAY: Final = re.compile(r"((?:19|20)\d\d)[-_./]?(0[1-9]|1[0-2])[-_./]?(0[1-9]|[12]\d|3[01])(?!\d)")


class Counted(NamedTuple):
    """A delivery that counts: its slot, the end of what it covers, the date in its name where its feed declares one."""

    slot: str
    until: datetime
    file_date: date | None = None


@dataclass(frozen=True)
class Naming:
    """How the slots of a feed's deliveries are called: `patterns`, digits aside, empty where they follow none; those
    that are `taken`; `lag`: how many days behind the day in its name a delivery is due."""

    patterns: frozenset[str]
    taken: frozenset[str]
    lag: int | None

    @classmethod
    def of(cls, known: Sequence[Counted], cadence: Cadence) -> "Naming":
        """What the deliveries that count tell, the newest last."""
        slots = {each.slot for each in known}
        patterns = frozenset(map(_pattern, slots))
        lags: Counter[int] = Counter()
        for each in known[-_ENOUGH:]:
            day, tick = each.file_date or _day_in(each.slot), cadence.next_tick(each.until - _INSTANT)
            if day is not None and tick is not None:
                lags[(tick.astimezone(cadence.zone).date() - day).days] += 1
        regular = 2 * len(patterns) <= len(slots)
        return cls(
            patterns if regular else frozenset(), frozenset(slots), max(lags, key=lags.__getitem__, default=None)
        )

    def is_stray(self, slot: str) -> bool:
        """Whether its name says that it is no new delivery: it is called otherwise, or restates one that counts."""
        other = bool(self.patterns) and _pattern(slot) not in self.patterns
        return other or (slot in self.taken and _DIGITS.search(slot) is not None)

    def tick_of(self, receipt: Receipt, cadence: Cadence) -> datetime | None:
        """The tick that its name says it is for, of several the nearest to its arrival; None where it says nothing."""
        day, arrived = receipt.file_date or _day_in(receipt.slot), receipt.arrived_at
        if day is None or self.lag is None:
            return None
        start = datetime.combine(day + timedelta(days=self.lag), time(), cadence.zone)
        end = datetime.combine(day + timedelta(days=self.lag + 1), time(), cadence.zone)
        ticks = cadence.ticks(start.astimezone(UTC) - _INSTANT, end.astimezone(UTC) - _INSTANT)
        return min(ticks, key=lambda tick: abs(tick - arrived), default=None)


def would_meet(
    receipt: Receipt,
    covers: tuple[datetime, datetime] | None,
    arrived_for: datetime | None,
    naming: Naming,
    cadence: Cadence,
) -> list[datetime]:
    """The ticks that a quarantined delivery would meet.

    covers: from when to when it has data, as far as that was read. arrived_for: the tick that it came for.
    """
    if covers is not None:
        first, last = max(covers[0], covers[1] - _FARTHEST), cadence.next_tick(covers[1] - _INSTANT)
        return [] if last is None else list(cadence.ticks(first - _INSTANT, last))
    if naming.is_stray(receipt.slot):
        return []
    tick = naming.tick_of(receipt, cadence) or arrived_for
    return [] if tick is None else [tick]


def _pattern(slot: str) -> str:
    return _DIGITS.sub("0", slot)


def _day_in(slot: str) -> date | None:
    found = _DAY.findall(slot)
    try:
        return date(*map(int, found[-1])) if found else None
    except ValueError:  # 30 February
        return None
