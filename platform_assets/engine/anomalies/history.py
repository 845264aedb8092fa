"""History: what the deliveries of a feed are usually like, weekday by weekday.

Belongs here: which deliveries are compared. Elsewhere: by what (volume.py: their rows, profile.py: their values).
"""

import statistics
from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Final

from platform_assets.engine.feed.feed import Feed
from platform_assets.engine.store.receipts import Receipt

ENOUGH: Final = 8
WINDOW: Final = 20  # deliveries of a weekday: what was half a year ago is another season
_TOGETHER: Final = timedelta(hours=1)
_TO_SIGMA: Final = 1.4826  # a median absolute deviation, as a standard deviation


@dataclass(frozen=True)
class Usual:
    """The median of a weekday, and how far deliveries of all weekdays lie from their own: one standard deviation."""

    middle: float
    spread: float


class History:
    """One figure of the deliveries so far, the last 20 of each weekday."""

    def __init__(self) -> None:
        self._like: defaultdict[int, deque[float]] = defaultdict(lambda: deque(maxlen=WINDOW))

    def add(self, weekday: int, figure: float) -> None:
        """Add the figure of the next delivery."""
        self._like[weekday].append(figure)

    def usual(self, weekday: int, scale: Callable[[float], float] = float) -> Usual | None:
        """What is usual of the weekday, on a scale on which deliveries lie evenly; None below eight of them."""
        if len(self._like[weekday]) < ENOUGH:
            return None
        off = []
        for like in self._like.values():
            scaled = [scale(figure) for figure in like]
            middle = statistics.median(scaled) if scaled else 0.0
            off += [abs(figure - middle) for figure in scaled if len(scaled) > 1]
        return Usual(
            statistics.median(scale(figure) for figure in self._like[weekday]), _TO_SIGMA * statistics.median(off)
        )

    def size(self) -> float:
        """About how large its figures are, whatever their sign."""
        figures = [abs(figure) for like in self._like.values() for figure in like]
        return statistics.median(figures) if figures else 0.0


def weekday_of(feed: Feed, receipt: Receipt) -> int:
    """The weekday of the delivery's newest event, else of the date in its name, else of its arrival."""
    newest = receipt.covers_to or receipt.event_max
    if newest is None and receipt.file_date is not None:
        return receipt.file_date.weekday()
    return (newest or receipt.arrived_at).astimezone(feed.delivered.zone).weekday()


def comparable(receipts: Iterable[Receipt]) -> list[tuple[Receipt, bool]]:
    """Deliveries in force with a row, in the order of their own times, and whether each is to be judged: it is of the
    last hour in which any came, and no person has let it through. A feed's first deliveries, if they tell no time of
    their own, are not judged: nobody knows their order."""
    in_force = [receipt for receipt in receipts if receipt.status == "accepted" and receipt.read]
    in_force.sort(key=lambda receipt: (_own_time(receipt) or receipt.committed_at, receipt.delivery_id))
    if not in_force:
        return []
    since = max(receipt.committed_at for receipt in in_force) - _TOGETHER
    begins = len(in_force) > 1 and min(receipt.committed_at for receipt in in_force) >= since

    def is_judged(receipt: Receipt) -> bool:
        in_order = not begins or _own_time(receipt) is not None
        return receipt.committed_at >= since and receipt.allowed is None and in_order

    return [(receipt, is_judged(receipt)) for receipt in in_force]


def _own_time(receipt: Receipt) -> datetime | None:
    """When its data is from: by its newest event, else by the date in its name."""
    newest = receipt.covers_to or receipt.event_max
    if newest is None and receipt.file_date is not None:
        return datetime.combine(receipt.file_date, time(), UTC)
    return newest
