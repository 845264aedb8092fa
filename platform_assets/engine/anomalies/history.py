"""History: what the deliveries of a feed are usually like, weekday by weekday.

Belongs here: which deliveries are compared. Elsewhere: by what (volume.py: their rows, profile.py: their values).
"""

import statistics
from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
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
    """The weekday of the delivery's newest event, else of its arrival."""
    newest = receipt.covers_to or receipt.event_max or receipt.arrived_at
    return newest.astimezone(feed.delivered.zone).weekday()


def comparable(receipts: Iterable[Receipt]) -> list[tuple[Receipt, bool]]:
    """Deliveries in force with a row, in their order, and whether each is to be judged: it is of the last hour in which
    any came, and no person has let it through."""
    in_force = sorted(
        (receipt for receipt in receipts if receipt.status == "accepted" and receipt.read),
        key=lambda receipt: receipt.delivery_id,
    )
    last = max((receipt.committed_at for receipt in in_force), default=None)
    since = None if last is None else last - _TOGETHER
    return [(each, since is not None and each.committed_at >= since and each.allowed is None) for each in in_force]
