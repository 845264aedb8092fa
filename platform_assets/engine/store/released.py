"""Released rows: what a mart of a release holds, streamed to those outside, and digests to compare it by.

Belongs here: reading a mart of a release in bounded memory. Elsewhere: making releases (release.py), where the rows
go (engine/export).
"""

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb

from platform_assets.engine.store.connection import connect
from platform_assets.engine.store.sql import quote

if TYPE_CHECKING:
    import pyarrow as pa

_ROWS_AT_A_TIME = 16_384
_BOM = b"\xef\xbb\xbf"
# What spreadsheets begin a formula with, also in the width of Chinese and Japanese letters, or pass over before one.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
_NO_TEXT = re.compile(
    r"U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?|FLOAT|DOUBLE|DECIMAL\(\d+,\s*\d+\)|BOOLEAN|DATE|UUID|(TIME|TIMESTAMP).*"
)


@dataclass(frozen=True)
class Digest:
    """What rows hold, whatever their order. whole: of the rows; by_column: of each column's values. Only digests that
    the same process has made can be compared."""

    rows: int
    whole: int | None
    by_column: Mapping[str, int | None]

    def differing(self, other: "Digest") -> list[str]:
        """The columns whose values are others; all of them where only their combination is."""
        if (self.rows, self.whole) == (other.rows, other.whole):
            return []
        return [name for name in self.by_column if self.by_column[name] != other.by_column[name]] or [*self.by_column]


@dataclass(frozen=True)
class ReleasedMart:
    """A mart of a release. database: the release's DuckDB file; also: other files that it reads."""

    name: str
    database: Path
    also: tuple[Path, ...] = ()

    @contextlib.contextmanager
    def _opened(self) -> Iterator[duckdb.DuckDBPyConnection]:
        with contextlib.closing(connect(self.database, *self.also, read_only=True)) as connection:
            yield connection

    def columns(self) -> dict[str, str]:
        """Name -> DuckDB's type, in their order."""
        with self._opened() as connection:
            described = connection.execute(f"DESCRIBE {quote(self.name)}").fetchall()
            return {str(name): str(kind) for name, kind, *_ in described}

    def first_rows(self, conditions: Sequence[str]) -> list[int | None]:
        """Of each condition in SQL the first row, counted from 1, of which it is true."""
        if not conditions:
            return []
        asked = ", ".join(f"min(n) FILTER (WHERE {each})" for each in conditions)
        with self._opened() as connection:
            numbered = f"(SELECT row_number() OVER () AS n, * FROM {quote(self.name)})"
            return list(_only_row(connection.execute(f"SELECT {asked} FROM {numbered}")))

    def digest(self, values: Mapping[str, str]) -> Digest:
        """values: column -> its value in SQL."""
        with self._opened() as connection:
            return _digest(connection, quote(self.name), values)

    @contextlib.contextmanager
    def batches(self, values: Sequence[str], rows: int = _ROWS_AT_A_TIME) -> "Iterator[pa.RecordBatchReader]":
        """The rows, as these values in SQL, in Arrow batches of at most so many."""
        with self._opened() as connection:
            yield connection.sql(f"SELECT {', '.join(values)} FROM {quote(self.name)}").to_arrow_reader(rows)

    def csv(self) -> Iterator[bytes]:
        """The rows as CSV, as RFC 4180 has it, piece by piece; with the mark by which a spreadsheet knows UTF-8. Text
        that a spreadsheet would take for a formula begins with an apostrophe."""
        import polars as pl

        kinds = self.columns()
        text = [name for name, kind in kinds.items() if not _NO_TEXT.fullmatch(kind)]
        values = [_inert(quote(name)) if name in text else f"CAST({quote(name)} AS VARCHAR)" for name in kinds]
        names = [f"'{name}" if name.startswith(_FORMULA) else name for name in kinds]
        yield _BOM + pl.DataFrame(schema=names).write_csv(line_terminator="\r\n").encode()
        with self.batches(values) as batches:
            for batch in batches:
                frame = pl.DataFrame(pl.from_arrow(batch))
                yield frame.write_csv(include_header=False, line_terminator="\r\n").encode()


def _inert(column: str) -> str:
    """A value as text that no spreadsheet takes for a formula."""
    text = f"CAST({column} AS VARCHAR)"
    begins = " OR ".join(f"starts_with({text}, chr({ord(each)}))" for each in _FORMULA)
    return f"CASE WHEN {begins} THEN chr(39) || {text} ELSE {text} END"


def digest_of(arrived: "pa.RecordBatchReader", values: Mapping[str, str]) -> Digest:
    """Of rows that come in Arrow batches. values: column -> its value in SQL over their columns."""
    with contextlib.closing(connect()) as connection:
        connection.register("arrived", arrived)
        return _digest(connection, "arrived", values)


def _digest(connection: duckdb.DuckDBPyConnection, table: str, values: Mapping[str, str]) -> Digest:
    sums = [f"sum(CAST(hash({each}) AS HUGEINT))" for each in (", ".join(values.values()), *values.values())]
    rows, whole, *columns = _only_row(connection.execute(f"SELECT count(*), {', '.join(sums)} FROM {table}"))
    return Digest(rows, whole, dict(zip(values, columns, strict=True)))


def _only_row(result: duckdb.DuckDBPyConnection) -> tuple[Any, ...]:
    row = result.fetchone()
    assert row is not None
    return row
