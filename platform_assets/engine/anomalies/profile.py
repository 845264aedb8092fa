"""Profiles: what the values of a delivery are like, and whether the newest are like those before them.

Belongs here: comparing the figures of each column with the feed's own history. Elsewhere: measuring them
(store/profiles.py), which deliveries are compared (history.py), what follows from it (a check in Dagster).
"""

import math
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from platform_assets.engine.anomalies.history import ENOUGH, WINDOW, History, comparable, weekday_of
from platform_assets.engine.contract.model import columns_of
from platform_assets.engine.feed.feed import Feed
from platform_assets.engine.store.profiles import Figure, Profile
from platform_assets.engine.store.receipts import Receipt
from platform_assets.engine.store.unit import Unit
from platform_assets.errors import printable

_FEW_ROWS: Final = 30  # say little of what is usual
_SPREADS: Final = 5.0
_LEAST_SHARE: Final = 0.15  # of rows by which a share must differ
_LEAST_FACTOR: Final = 3.0  # by which a size must
_SAID: Final[Mapping[Figure, str]] = {
    "nulls": "{} of the rows have none",
    "low": "a tenth of the values are below {}",
    "middle": "half of the values are below {}",
    "high": "nine tenths of the values are below {}",
    "distinct": "{} different values",
    "top": "{} of the values are the same",
}


@dataclass(frozen=True)
class Odd:
    """A figure of a delivery's column that is not as usual. Figures and `example` are None where they would show
    personal data."""

    receipt: Receipt
    column: str
    figure: Figure
    value: float | None
    usual: float | None
    example: str | None

    def __str__(self) -> str:
        if self.value is None or self.usual is None:
            return (
                f"{printable(self.receipt.slot)}: {self.column}: the values are not as usual (personal data, not shown)"
            )
        said = _SAID[self.figure].format(_shown(self.figure, self.value))
        what = f" ({self.example})" if self.example else ""
        return f"{printable(self.receipt.slot)}: {self.column}: {said}{what}, usually {_shown(self.figure, self.usual)}"


@dataclass(frozen=True)
class ValuesResult:
    """How many of the newest deliveries there was enough history for, and what is odd about them."""

    judged: int
    odd: Sequence[Odd]

    def __str__(self) -> str:
        if self.odd:
            more = f"; and {len(self.odd) - 1} more" if len(self.odd) > 1 else ""
            return f"{len(self.odd)} failed: {self.odd[-1]}{more}"
        if not self.judged:
            return f"0 failed; not enough history: fewer than {ENOUGH} deliveries of the same weekday"
        return f"0 failed; {self.judged} of the newest deliveries are as usual"


def profiles(unit: Unit, feed: Feed, receipts: Iterable[Receipt]) -> dict[int, Profile]:
    """Delivery -> its profile, of those that history needs; only what has changed is looked at."""
    like: defaultdict[int, list[Receipt]] = defaultdict(list)
    for receipt, _ in comparable(receipts):
        like[weekday_of(feed, receipt)].append(receipt)
    return unit.profiles(feed).of([r for of_a_day in like.values() for r in of_a_day[-WINDOW - 1 :] if r.accepted])


def check_values(
    feed: Feed, receipts: Iterable[Receipt], profiles: Mapping[int, Profile]
) -> tuple[ValuesResult, ValuesResult]:
    """Whether the newest deliveries have about as many NULLs, and about such values, as those of their weekday.

    A delivery is compared with the last 20 of its weekday, if there are 8. A figure is odd where it lies more than five
    spreads of all weekdays from its weekday's median, and by at least 15 % of the rows (shares) or a factor of
    three (sizes, numbers of different values). So is another most frequent value than all of them had.
    """
    secret = {column.name for column in columns_of(feed.contract) if column.pii}
    histories: defaultdict[tuple[str, Figure], History] = defaultdict(History)
    most_frequent: defaultdict[str, deque[str]] = defaultdict(lambda: deque(maxlen=7 * WINDOW))
    judged = 0
    nulls: list[Odd] = []
    values: list[Odd] = []
    for receipt, new in comparable(receipts):
        weekday = weekday_of(feed, receipt)
        profile = profiles.get(receipt.delivery_id)
        if profile is None or receipt.accepted < _FEW_ROWS:
            continue
        compared = False
        for (column, figure), (value, example) in profile.items():
            history, tops = histories[column, figure], most_frequent[column]
            usual = _odd(history, figure, weekday, value, receipt.accepted) if new else None
            if usual is not None:
                compared = True
                if figure == "top" and example is not None and len(set(tops)) == 1 and example != tops[0]:
                    values.append(Odd(receipt, column, figure, value, usual.middle, f"{example}, not {tops[0]}"))
                elif usual.is_odd:
                    shown = column not in secret or figure in ("nulls", "distinct", "top")
                    odd = Odd(receipt, column, figure, value, usual.middle, example)
                    odd = odd if shown else replace(odd, value=None, usual=None)
                    (nulls if figure == "nulls" else values).append(odd)
            history.add(weekday, value)
            if figure == "top" and example is not None:
                tops.append(example)
        judged += compared
    return ValuesResult(judged, nulls), ValuesResult(judged, values)


@dataclass(frozen=True)
class _Compared:
    middle: float
    is_odd: bool


def _odd(history: History, figure: Figure, weekday: int, value: float, rows: int) -> _Compared | None:
    """What is usual, and whether the value is not; None where that is not known."""
    scale = _scale(figure, history)
    usual = history.usual(weekday, scale)
    if usual is None:
        return None
    middle = _back(figure, history)(usual.middle)
    off = abs(scale(value) - usual.middle)
    if figure in ("nulls", "top"):
        by_chance = 3 / (2 * math.sqrt(rows))  # on this scale every share has the same standard error
        return _Compared(middle, abs(value - middle) >= _LEAST_SHARE and off > _SPREADS * usual.spread + by_chance)
    return _Compared(middle, off > max(math.log(_LEAST_FACTOR), _SPREADS * usual.spread))


def _scale(figure: Figure, history: History) -> Callable[[float], float]:
    """A scale on which a figure lies evenly: shares by their angle, sizes by their logarithm, with a sign."""
    if figure in ("nulls", "top"):
        return lambda share: math.asin(math.sqrt(min(max(share, 0.0), 1.0)))
    if figure == "distinct":
        return lambda count: math.log(max(count, 1.0))
    unit = _unit(history)
    return lambda size: math.asinh(size / unit)


def _back(figure: Figure, history: History) -> Callable[[float], float]:
    if figure in ("nulls", "top"):
        return lambda angle: math.sin(angle) ** 2
    if figure == "distinct":
        return math.exp
    unit = _unit(history)
    return lambda scaled: math.sinh(scaled) * unit


def _unit(history: History) -> float:
    """A hundredth of what is usual: what is smaller does not count."""
    return (history.size() or 1.0) / 100


def _shown(figure: Figure, value: float) -> str:
    return f"{value:.0%}" if figure in ("nulls", "top") else f"{value:,.4g}" if value < 1e6 else f"{value:,.0f}"
