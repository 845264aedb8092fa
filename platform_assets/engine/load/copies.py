"""Exact copies of rows within a delivery.

Belongs here: finding them in bounded memory. Does not: what becomes of them (rows.py), keys (keys.py).
"""

from typing import Final

import duckdb
import polars as pl

from platform_assets.engine.store.tables import FeedTables
from platform_assets.engine.store.warehouse import execute_over

_IN_MEMORY: Final = 12_000_000
_LINES: Final = {"_delivery_id": pl.Int64, "_line": pl.Int64}
_HASHES: Final = {"hash": pl.UInt64, "_line": pl.Int64}


def split(frame: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame, pl.Series]:
    """`frame` without rows that equal an earlier row of their delivery, these copies, and the hashes of what stays."""
    hashes = frame.drop("_line").hash_rows()
    repeated = _repeated(hashes)
    copies = frame.clear()
    if repeated.len():
        suspects = hashes.is_in(repeated.implode())
        # Equal hashes only name suspects; the rows themselves decide.
        again = frame.filter(suspects).select(~pl.struct(pl.exclude("_line")).is_first_distinct()).to_series()
        copy = pl.Series([False]).new_from_index(0, frame.height).scatter(suspects.arg_true().filter(again), True)
        frame, copies, hashes = frame.filter(~copy), frame.filter(copy), hashes.filter(~copy)
    return frame, copies, hashes


class Copies:
    """Finds copies among the stored rows of a delivery that is longer than a frame.

    The hash of every row is kept (16 bytes; beyond 12 million rows in the database, on disk if need be) and looked
    through when the delivery ends: hashes that occur twice name the few rows that are then compared as they are stored.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, tables: FeedTables) -> None:
        self._connection = connection
        self._tables = tables
        self._seen: list[pl.DataFrame] = []
        self._rows = 0
        self._spilled = False

    def remember(self, rows: pl.DataFrame) -> None:
        """Note rows (`hash`, `_line`) of the delivery that spans frames."""
        self._seen.append(rows)
        self._rows += rows.height
        if self._rows > _IN_MEMORY:
            self._spill()

    def forget(self) -> None:
        """Let go of what was noted."""
        self._suspects()

    def across(self, delivery: int) -> pl.DataFrame:
        """The stored copies (`_delivery_id`, `_line`) across the frames of `delivery`, whose rows were noted."""
        suspects = self._suspects()
        if not suspects.height:
            return pl.DataFrame(schema=_LINES)
        parts = []
        for table in (self._tables.raw, self._tables.quarantine):
            arrived = suspects.to_arrow()  # noqa: F841 - DuckDB finds it by its name
            stored: pl.DataFrame = self._connection.sql(
                f"SELECT arrived.hash, stored.* FROM {table} stored JOIN arrived USING (_line) "
                "WHERE stored._delivery_id = $delivery ORDER BY _line",
                params={"delivery": delivery},
            ).pl()
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
        repeated = _repeated(seen["hash"])
        return seen.filter(pl.col("hash").is_in(repeated.implode())) if repeated.len() else seen.clear()


def _repeated(hashes: pl.Series) -> pl.Series:
    ordered = hashes.sort()  # by far cheaper than a hash table of them all
    return ordered.filter(ordered == ordered.shift(1)).unique()
