"""Profiles: what the values of a delivery are like, and whether the newest are like those before them.

Belongs here: the figures of each column, kept in ledger.profiles, and judging them by the feed's own history. Does
not: which deliveries are compared (history.py), what becomes of the judgement (a check in Dagster).
"""

import math
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

import duckdb
import polars as pl

from platform_assets.engine.anomalies.history import ENOUGH, WINDOW, History, comparable, weekday_of
from platform_assets.engine.contract.column import Column
from platform_assets.engine.contract.model import columns_of
from platform_assets.engine.feed.feed import Feed
from platform_assets.engine.store.receipts import Receipt
from platform_assets.engine.store.tables import FeedTables
from platform_assets.engine.store.warehouse import execute_over, quote

Figure = Literal["nulls", "low", "middle", "high", "distinct", "top"]

_QUANTILES: Final[Mapping[Figure, float]] = {"low": 0.1, "middle": 0.5, "high": 0.9}
_FIGURE_ROWS: Final = 200_000  # of a delivery are looked at
_FEW_ROWS: Final = 30  # say little of what is usual
_SPREADS: Final = 5.0
_LEAST_SHARE: Final = 0.15  # of rows by which a share must differ
_LEAST_FACTOR: Final = 3.0  # by which a size must
_EXAMPLE: Final = 60
_SAID: Final[Mapping[Figure, str]] = {
    "nulls": "{} of the rows have none",
    "low": "a tenth of the values are below {}",
    "middle": "half of the values are below {}",
    "high": "nine tenths of the values are below {}",
    "distinct": "{} different values",
    "top": "{} of the values are the same",
}

Profile = Mapping[tuple[str, Figure], tuple[float, str | None]]


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
            return f"{self.receipt.slot}: {self.column}: the values are not as usual (personal data, not shown)"
        said = _SAID[self.figure].format(_shown(self.figure, self.value))
        what = f" ({self.example})" if self.example else ""
        return f"{self.receipt.slot}: {self.column}: {said}{what}, usually {_shown(self.figure, self.usual)}"


@dataclass(frozen=True)
class Judgement:
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


class Profiles:
    """The profiles of a feed's newest deliveries, through one open connection."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, feed: Feed) -> None:
        self._connection = connection
        self._feed = feed
        self._raw = FeedTables(connection, feed).raw
        there = FeedTables(connection, feed).types()
        self._columns = [column for column in columns_of(feed.contract) if column.name in there]

    def refresh(self, receipts: Iterable[Receipt]) -> dict[int, Profile]:
        """Delivery -> its profile, of those that history needs; only what has changed is looked at."""
        like: defaultdict[int, list[Receipt]] = defaultdict(list)
        for receipt, _ in comparable(receipts):
            like[weekday_of(self._feed, receipt)].append(receipt)
        needed = {r.delivery_id: r for of_a_day in like.values() for r in of_a_day[-WINDOW - 1 :] if r.accepted}
        known = dict(
            self._connection.execute(
                "SELECT DISTINCT delivery_id, revision FROM ledger.profiles WHERE feed = ?", [self._feed.name]
            ).fetchall()
        )
        gone = [
            delivery for delivery, rev in known.items() if delivery not in needed or needed[delivery].revision != rev
        ]
        new = [receipt for receipt in needed.values() if known.get(receipt.delivery_id) != receipt.revision]
        if gone or new:
            self._connection.begin()
            self._connection.execute(
                "DELETE FROM ledger.profiles WHERE feed = ? AND list_contains(?::BIGINT[], delivery_id)",
                [self._feed.name, gone],
            )
            by_step: defaultdict[int, list[Receipt]] = defaultdict(list)
            for receipt in new:
                by_step[math.ceil(receipt.accepted / _FIGURE_ROWS)].append(receipt)
            for step, alike in by_step.items():
                self._store(alike, step)
            self._connection.commit()
        return self._stored()

    def _stored(self) -> dict[int, Profile]:
        found: defaultdict[int, dict[tuple[str, Figure], tuple[float, str | None]]] = defaultdict(dict)
        for delivery, column, figure, value, example in self._connection.execute(
            'SELECT delivery_id, "column", figure, "value", example FROM ledger.profiles WHERE feed = ?',
            [self._feed.name],
        ).fetchall():
            found[delivery][column, figure] = (value, example)
        return dict(found)

    def _store(self, receipts: Sequence[Receipt], step: int) -> None:
        """Look at every `step`-th row of the deliveries."""
        deliveries = [receipt.delivery_id for receipt in receipts]
        rows = (
            f"FROM {self._raw} WHERE _delivery_id BETWEEN {min(deliveries)} AND {max(deliveries)} "
            f"AND list_contains({deliveries}::BIGINT[], _delivery_id) AND _line % {step} = 0"
        )
        found: list[tuple[int, str, str, float | None, str | None]] = []
        for column in self._columns:
            name = quote(column.name)
            quantiles = (
                f"quantile_cont({name}::DOUBLE, {list(_QUANTILES.values())})"
                if _is_number(column)
                else "NULL::DOUBLE[]"
            )
            counted = self._connection.execute(
                f"SELECT _delivery_id, 1 - count({name}) / count(*), {quantiles} {rows} GROUP BY ALL"
            ).fetchall()
            for delivery, nulls, sizes in counted:
                found.append((delivery, column.name, "nulls", nulls, None))
                if sizes:
                    found += [(delivery, column.name, each, x, None) for each, x in zip(_QUANTILES, sizes, strict=True)]
            if column.kind in ("text", "boolean"):
                for delivery, distinct, share, most in self._connection.execute(
                    "SELECT _delivery_id, count(*), max(n) / sum(n), arg_max(v, n) FROM "
                    f"(SELECT _delivery_id, {name}::VARCHAR AS v, count(*) AS n {rows} AND {name} IS NOT NULL "
                    "GROUP BY ALL) GROUP BY ALL"
                ).fetchall():
                    found.append((delivery, column.name, "distinct", distinct, None))
                    found.append((delivery, column.name, "top", share, None if column.pii else most[:_EXAMPLE]))
        revisions = {receipt.delivery_id: receipt.revision for receipt in receipts}
        frame = pl.DataFrame(
            [(self._feed.name, row[0], revisions[row[0]], *row[1:]) for row in found],
            schema={
                "feed": pl.String,
                "delivery_id": pl.Int64,
                "revision": pl.Int64,
                "column": pl.String,
                "figure": pl.String,
                "value": pl.Float64,
                "example": pl.String,
            },
            orient="row",
        )
        execute_over(self._connection, frame, "INSERT INTO ledger.profiles SELECT * FROM arrived")


def judge(feed: Feed, receipts: Iterable[Receipt], profiles: Mapping[int, Profile]) -> tuple[Judgement, Judgement]:
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
    return Judgement(judged, nulls), Judgement(judged, values)


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


def _is_number(column: Column) -> bool:
    return column.kind in ("integer", "decimal", "number")


def _shown(figure: Figure, value: float) -> str:
    return f"{value:.0%}" if figure in ("nulls", "top") else f"{value:,.4g}" if value < 1e6 else f"{value:,.0f}"
