"""Exact copies among the stored rows of a delivery that is too long to be compared at once.

Belongs here: finding them in bounded memory. Elsewhere: copies among rows read together, and what becomes of copies
(load/rows.py).
"""

from collections.abc import Callable
from typing import Final

import duckdb
import polars as pl

from platform_assets.engine.store.sql import execute_over

_IN_MEMORY: Final = 12_000_000
_LINES: Final = {"_delivery_id": pl.Int64, "_line": pl.Int64}
_HASHES: Final = {"hash": pl.UInt64, "_line": pl.Int64}


class Copies:
    """Finds copies among the stored rows of a delivery, whose hashes it is given bit by bit.

    The hash of every row is kept (16 bytes; beyond 12 million rows in the database, on disk if need be) and looked
    through when the delivery ends: hashes that occur twice name the few rows that are then compared as they are stored.
    """

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, stored: Callable[[int, pl.DataFrame], list[pl.DataFrame]]
    ) -> None:
        """stored: gives the stored rows of a delivery at lines, as `FeedTables.stored` does."""
        self._connection = connection
        self._stored = stored
        self._seen: list[pl.DataFrame] = []
        self._rows = 0
        self._spilled = False

    def add(self, rows: pl.DataFrame) -> None:
        """Note rows (`hash`, `_line`) of the delivery."""
        self._seen.append(rows)
        self._rows += rows.height
        if self._rows > _IN_MEMORY:
            self._spill()

    def clear(self) -> None:
        """Let go of what was noted."""
        self._suspects()

    def found(self, delivery: int) -> pl.DataFrame:
        """The stored copies (`_delivery_id`, `_line`) in `delivery`, whose rows were noted; these are let go of."""
        suspects = self._suspects()
        if not suspects.height:
            return pl.DataFrame(schema=_LINES)
        parts = []
        for stored in self._stored(delivery, suspects):
            again = stored.select(~pl.struct(pl.exclude("_line")).is_first_distinct()).to_series()
            parts.append(stored.filter(again).select("_delivery_id", "_line"))
        return pl.concat(parts)

    def _spill(self) -> None:
        """Hand the hashes to the database."""
        self._connection.execute("CREATE TEMP TABLE IF NOT EXISTS hashes_seen (hash UBIGINT, _line BIGINT)")
        seen = pl.concat([pl.DataFrame(schema=_HASHES), *self._seen])
        execute_over(self._connection, seen, "INSERT INTO hashes_seen SELECT hash, _line FROM arrived")
        self._seen, self._rows, self._spilled = [], 0, True

    def _suspects(self) -> pl.DataFrame:
        """The rows whose hash another row has."""
        if self._spilled:
            self._spill()
            suspects: pl.DataFrame = self._connection.sql(
                "SELECT hash, _line FROM hashes_seen "
                "WHERE hash IN (SELECT hash FROM hashes_seen GROUP BY hash HAVING count(*) > 1)"
            ).pl()
            self._connection.execute("DROP TABLE hashes_seen")
            self._spilled = False
            return suspects
        seen = pl.concat([pl.DataFrame(schema=_HASHES), *self._seen])
        self._seen, self._rows = [], 0
        twice = repeated(seen["hash"])
        return seen.filter(pl.col("hash").is_in(twice.implode())) if twice.len() else seen.clear()


def repeated(hashes: pl.Series) -> pl.Series:
    """The hashes that occur more than once."""
    ordered = hashes.sort()  # by far cheaper than a hash table of them all
    return ordered.filter(ordered == ordered.shift(1)).unique()
