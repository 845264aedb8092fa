"""Profiles: what the values of a feed's newest deliveries are like, column by column.

Belongs here: measuring deliveries, and keeping the figures until their rows change. Elsewhere: what is usual, and what
is not (anomalies).
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import duckdb
import polars as pl

from platform_assets.engine.contract.column import Column
from platform_assets.engine.contract.model import columns_of
from platform_assets.engine.feed.feed import Feed
from platform_assets.engine.store.receipts import Receipt
from platform_assets.engine.store.sql import execute_over, quote
from platform_assets.engine.store.tables import FeedTables

Figure = Literal["nulls", "low", "middle", "high", "distinct", "top"]
Profile = Mapping[tuple[str, Figure], tuple[float, str | None]]
"""A delivery's figures, by column; with the most frequent value of a column that may be shown."""

_QUANTILES: Final[Mapping[Figure, float]] = {"low": 0.1, "middle": 0.5, "high": 0.9}
_ROWS: Final = 200_000  # of a delivery are looked at
_EXAMPLE: Final = 60
_SCHEMA: Final = {
    "feed": pl.String,
    "delivery_id": pl.Int64,
    "revision": pl.Int64,
    "column": pl.String,
    "figure": pl.String,
    "value": pl.Float64,
    "example": pl.String,
}


@dataclass(frozen=True)
class Naming:
    """How far some columns name the rows of raw. complete: rows in which none of them is NULL. within: different keys,
    counted for each delivery; across: counted once."""

    rows: int
    complete: int
    within: int
    across: int

    @property
    def names_all(self) -> bool:
        """Whether each row has a key of its own within its delivery."""
        return self.within == self.rows == self.complete


class Profiles:
    """The profiles of a feed's deliveries, through one open connection."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, feed: Feed) -> None:
        self._connection = connection
        self._feed = feed
        self._raw = FeedTables(connection, feed).raw

    def named_by(self, columns: Sequence[str], *, of: int | None = None) -> Naming:
        """How far these columns name the rows of raw, or those of one delivery."""
        key = ", ".join(map(quote, columns))
        complete = " AND ".join(f"{quote(name)} IS NOT NULL" for name in columns)
        rows = f"{self._raw} WHERE {'TRUE' if of is None else f'_delivery_id = {int(of)}'}"
        row = self._connection.execute(
            f"SELECT (SELECT count(*) FROM {rows}), (SELECT count(*) FROM {rows} AND {complete}), "
            f"(SELECT count(*) FROM (SELECT DISTINCT _delivery_id, {key} FROM {rows})), "
            f"(SELECT count(*) FROM (SELECT DISTINCT {key} FROM {rows}))"
        ).fetchone()
        assert row is not None
        return Naming(*row)

    def kept_from_one_to_the_next(self, columns: Sequence[str]) -> list[float]:
        """Of each delivery but the last, which share of its keys the next one has, too."""
        key = ", ".join(map(quote, columns))
        rows = self._connection.execute(
            f"WITH keys AS (SELECT DISTINCT _delivery_id AS id, hash({key}) AS key FROM {self._raw}), "
            "following AS (SELECT id, lead(id) OVER (ORDER BY id) AS next FROM (SELECT DISTINCT id FROM keys)) "
            "SELECT count(again.key) / count(*) FROM following JOIN keys USING (id) "
            "LEFT JOIN keys AS again ON again.id = following.next AND again.key = keys.key "
            "WHERE following.next IS NOT NULL GROUP BY following.id ORDER BY following.id"
        ).fetchall()
        return [share for (share,) in rows]

    def of(self, receipts: Sequence[Receipt]) -> dict[int, Profile]:
        """Delivery -> its profile. Only what has changed is looked at; profiles of other deliveries are let go."""
        wanted = {receipt.delivery_id: receipt for receipt in receipts}
        known = dict(
            self._connection.execute(
                "SELECT DISTINCT delivery_id, revision FROM ledger.profiles WHERE feed = ?", [self._feed.name]
            ).fetchall()
        )
        gone = [each for each, revision in known.items() if each not in wanted or wanted[each].revision != revision]
        if gone:
            self._connection.execute(
                "DELETE FROM ledger.profiles WHERE feed = ? AND list_contains(?::BIGINT[], delivery_id)",
                [self._feed.name, gone],
            )
        by_step: defaultdict[int, list[Receipt]] = defaultdict(list)
        for receipt in receipts:
            if known.get(receipt.delivery_id) != receipt.revision:
                by_step[math.ceil(receipt.accepted / _ROWS)].append(receipt)
        for step, alike in by_step.items():
            self._measure(alike, step)
        return self._stored()

    def _stored(self) -> dict[int, Profile]:
        found: defaultdict[int, dict[tuple[str, Figure], tuple[float, str | None]]] = defaultdict(dict)
        for delivery, column, figure, value, example in self._connection.execute(
            'SELECT delivery_id, "column", figure, "value", example FROM ledger.profiles WHERE feed = ?',
            [self._feed.name],
        ).fetchall():
            found[delivery][column, figure] = (value, example)
        return dict(found)

    def _measure(self, receipts: Sequence[Receipt], step: int) -> None:
        """Look at every `step`-th row of the deliveries."""
        deliveries = [receipt.delivery_id for receipt in receipts]
        rows = (
            f"FROM {self._raw} WHERE _delivery_id BETWEEN {min(deliveries)} AND {max(deliveries)} "
            f"AND list_contains({deliveries}::BIGINT[], _delivery_id) AND _line % {step} = 0"
        )
        there = FeedTables(self._connection, self._feed).types()
        found: list[tuple[int, str, str, float | None, str | None]] = []
        for column in columns_of(self._feed.contract):
            if column.name not in there:
                continue
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
        figures = [(self._feed.name, row[0], revisions[row[0]], *row[1:]) for row in found]
        execute_over(
            self._connection,
            pl.DataFrame(figures, schema=_SCHEMA, orient="row"),
            "INSERT INTO ledger.profiles SELECT * FROM arrived",
        )


def _is_number(column: Column) -> bool:
    return column.kind in ("integer", "decimal", "number")
