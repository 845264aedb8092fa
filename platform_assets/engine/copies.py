"""Exact copies of rows within a delivery.

Belongs here: finding them in bounded memory. Does not: what becomes of them (rows.py), keys (keys.py).
"""

from typing import Final

import duckdb
import polars as pl

from platform_assets.engine.tables import FeedTables
from platform_assets.engine.warehouse import execute_over

_IN_MEMORY: Final = 12_000_000
_LINES: Final = {"_delivery_id": pl.Int64, "_line": pl.Int64}
_HASHES: Final = {"hash": pl.UInt64, "_line": pl.Int64}


class Copies:
    """Finds rows that equal an earlier row of their delivery in every delivered column.

    Within a frame at once. Of a delivery that is longer than a frame the hash of every row is kept (16 bytes; beyond
    12 million rows in the database, on disk if need be) and looked through when the delivery ends: hashes that occur
    twice name the few rows that are then compared as they are stored.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, tables: FeedTables) -> None:
        self._connection = connection
        self._tables = tables
        self._of: int | None = None
        self._seen: list[pl.DataFrame] = []
        self._rows = 0
        self._spilled = False

    def split(self, frame: pl.DataFrame, more_of: int | None) -> tuple[pl.DataFrame, pl.DataFrame]:
        """`frame` without copies, and the copies. More rows of delivery `more_of` are to follow in other frames."""
        hashes = frame.drop("_line").hash_rows()
        repeated = _repeated(hashes)
        copies = frame.clear()
        if repeated.len():
            suspects = hashes.is_in(repeated.implode())
            # Equal hashes only name suspects; the rows themselves decide.
            again = frame.filter(suspects).select(~pl.struct(pl.exclude("_line")).is_first_distinct()).to_series()
            copy = pl.Series([False]).new_from_index(0, frame.height).scatter(suspects.arg_true().filter(again), True)
            frame, copies, hashes = frame.filter(~copy), frame.filter(copy), hashes.filter(~copy)
        if more_of is not None:
            self._of = more_of
        if self._of is not None:
            of_it = frame["_delivery_id"] == self._of
            self._remember(pl.DataFrame({"hash": hashes.filter(of_it), "_line": frame["_line"].filter(of_it)}))
        return frame, copies

    @property
    def spanning(self) -> int | None:
        """The delivery whose rows came in more than one frame, until `across` has looked through them."""
        return self._of

    def across(self) -> pl.DataFrame:
        """The stored copies (`_delivery_id`, `_line`) across the frames of the delivery that spans several."""
        delivery, self._of = self._of, None
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

    def _remember(self, rows: pl.DataFrame) -> None:
        self._seen.append(rows)
        self._rows += rows.height

    @property
    def full(self) -> bool:
        """Whether `spill` is due."""
        return self._rows > _IN_MEMORY

    def spill(self) -> None:
        """Hand the hashes to the database."""
        self._connection.execute("CREATE TEMP TABLE IF NOT EXISTS hashes_seen (hash UBIGINT, _line BIGINT)")
        execute_over(self._connection, pl.concat(self._seen), "INSERT INTO hashes_seen SELECT hash, _line FROM arrived")
        self._seen, self._rows, self._spilled = [], 0, True

    def _suspects(self) -> pl.DataFrame:
        """The rows whose hash another row has."""
        if self._spilled:
            self.spill()
            suspects: pl.DataFrame = self._connection.sql(
                "SELECT hash, _line FROM hashes_seen "
                "WHERE hash IN (SELECT hash FROM hashes_seen GROUP BY hash HAVING count(*) > 1)"
            ).pl()
            self._connection.execute("DROP TABLE hashes_seen")
            self._spilled = False
            return suspects
        seen = pl.concat(self._seen) if self._seen else pl.DataFrame(schema=_HASHES)
        self._seen, self._rows = [], 0
        repeated = _repeated(seen["hash"])
        return seen.filter(pl.col("hash").is_in(repeated.implode())) if repeated.len() else seen.clear()


def _repeated(hashes: pl.Series) -> pl.Series:
    ordered = hashes.sort()  # by far cheaper than a hash table of them all
    return ordered.filter(ordered == ordered.shift(1)).unique()
