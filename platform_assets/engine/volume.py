"""Volume: whether the newest deliveries of a feed bring about as many rows as it usually does.

Belongs here: judging that by the feed's own receipts. Does not: what becomes of the judgement (a check in Dagster).
What is cut off at a line's end looks whole in every other respect.
"""

import math
import statistics
from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from platform_assets.engine.feed import Feed
from platform_assets.engine.ledger import Receipt

ENOUGH: Final = 8
_WINDOW: Final = 20  # deliveries of a weekday: what was half a year ago is another season
_SPREADS: Final = 2.5
_TOGETHER: Final = timedelta(hours=1)
_TO_SIGMA: Final = 1.4826  # a median absolute deviation, as a standard deviation


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
            f"{self.receipt.slot} has {self.receipt.read} rows; deliveries of that weekday have about {self.usual}, "
            f"{bounds}. Let it be delivered again whole; if it is right, declare a wider Feed(volume=Volume(…))"
        )


@dataclass(frozen=True)
class Judgement:
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


def judge(feed: Feed, receipts: Iterable[Receipt]) -> Judgement:
    """The deliveries of the last hour in which any came, each against those in force before it.

    A delivery is compared with the last 20 of its weekday (of its newest event, else its arrival), if there are 8. It
    is unusual beyond the feed's declared factors of their median, unless days differ as much among themselves: by 2.5
    spreads of all weekdays around their own medians, on a logarithmic scale. Deliveries without a row are left to the
    feed's on_empty.
    """
    if feed.volume is None:
        return Judgement(0, 0, ())
    in_force = sorted(
        (receipt for receipt in receipts if receipt.status == "accepted" and receipt.read),
        key=lambda receipt: receipt.delivery_id,
    )
    since = max((receipt.committed_at for receipt in in_force), default=None)
    history: defaultdict[int, deque[float]] = defaultdict(lambda: deque(maxlen=_WINDOW))
    judged = unjudged = 0
    unusual = []
    for receipt in in_force:
        rows = math.log(receipt.read)
        like = history[_day(feed, receipt).weekday()]
        if since is not None and receipt.committed_at >= since - _TOGETHER:
            if len(like) < ENOUGH:
                unjudged += 1
            else:
                judged += 1
                usual = statistics.median(like)
                spread = _SPREADS * _spread(history.values())
                lowest = usual + min(math.log(feed.volume.least), -spread)
                highest = usual + max(math.log(feed.volume.most), spread) if feed.volume.most else math.inf
                if not lowest <= rows <= highest:
                    most = None if highest == math.inf else round(math.exp(highest))
                    unusual.append(Unusual(receipt, round(math.exp(usual)), math.ceil(math.exp(lowest)), most))
        like.append(rows)
    return Judgement(judged, unjudged, unusual)


def _day(feed: Feed, receipt: Receipt) -> datetime:
    return (receipt.event_max or receipt.arrived_at).astimezone(ZoneInfo(feed.delivered.timezone))


def _spread(history: Iterable[Sequence[float]]) -> float:
    """How far deliveries lie from the median of their weekday."""
    off = [
        abs(rows - middle)
        for like in history
        if len(like) > 1
        for middle in (statistics.median(like),)
        for rows in like
    ]
    return _TO_SIGMA * statistics.median(off)
