"""Volume: whether the newest deliveries of a feed bring about as many rows as it usually does.

Belongs here: deciding that by the feed's own receipts. Elsewhere: what follows from it (a check in Dagster).
What is cut off at a line's end looks whole in every other respect.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from platform_assets.engine.anomalies.history import ENOUGH, History, comparable, weekday_of
from platform_assets.engine.feed.feed import Feed
from platform_assets.engine.store.receipts import Receipt
from platform_assets.errors import counted, printable

_SPREADS: Final = 2.5


@dataclass(frozen=True)
class Unusual:
    """A delivery with too few or too many rows: `usual` is what its weekday brings, within `least` and `most`."""

    receipt: Receipt
    usual: int
    least: int
    most: int | None

    def __str__(self) -> str:
        bounds = f"at least {self.least}" + ("" if self.most is None else f" and at most {self.most}")
        return (
            f"{printable(self.receipt.slot)} has {counted(self.receipt.read, 'row')}; "
            f"deliveries of that weekday have about {self.usual}, "
            f"{bounds}. Let it be delivered again whole; if it is right, declare a wider Feed(volume=Volume(…))"
        )


@dataclass(frozen=True)
class VolumeResult:
    """How many of the newest deliveries there was enough history for, and which of them are unusual."""

    judged: int
    unjudged: int
    unusual: Sequence[Unusual]

    def __str__(self) -> str:
        if self.unusual:
            more = f"; and {len(self.unusual) - 1} more" if len(self.unusual) > 1 else ""
            return f"{len(self.unusual)} failed: {self.unusual[-1]}{more}"
        if not self.judged:
            return f"0 failed; not enough history: fewer than {ENOUGH} deliveries of the same weekday"
        return f"0 failed; {self.judged} of the newest deliveries have about as many rows as usual"


def check_volume(feed: Feed, receipts: Iterable[Receipt]) -> VolumeResult:
    """The deliveries of the last hour in which any came, each against those in force before it.

    A delivery is compared with the last 20 of its weekday (of its newest event, else its arrival), if there are 8. It
    is unusual beyond the feed's declared factors of their median, unless days differ as much among themselves: by 2.5
    spreads of all weekdays around their own medians, on a logarithmic scale. Deliveries without a row are left to the
    feed's on_empty.
    """
    if feed.volume is None:
        return VolumeResult(0, 0, ())
    history = History()
    judged = unjudged = 0
    unusual = []
    for receipt, new in comparable(receipts):
        rows, weekday = math.log(receipt.read), weekday_of(feed, receipt)
        if new:
            usual = history.usual(weekday)
            if usual is None:
                unjudged += 1
            else:
                judged += 1
                spread = _SPREADS * usual.spread
                lowest = usual.middle + min(math.log(feed.volume.least), -spread)
                highest = usual.middle + max(math.log(feed.volume.most), spread) if feed.volume.most else math.inf
                if not lowest <= rows <= highest:
                    most = None if highest == math.inf else round(math.exp(highest))
                    unusual.append(Unusual(receipt, round(math.exp(usual.middle)), math.ceil(math.exp(lowest)), most))
        history.add(weekday, rows)
    return VolumeResult(judged, unjudged, unusual)
