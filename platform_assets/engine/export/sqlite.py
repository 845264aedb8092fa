"""SQLite: tables in a file that others read while they are written anew.

Belongs here: SQLite's SQL, and what its failures mean. Elsewhere: what is written (publish.py). The journal is a log
written ahead, so that a reader has the old rows, and never waits, until the transaction ends.
"""

import contextlib
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from platform_assets.engine.export.columns import Column, sqlite_column
from platform_assets.engine.export.database import NOTES, DatabaseUnreachable, ExportRefused, Held, Table
from platform_assets.engine.store.released import ReleasedMart
from platform_assets.engine.store.sql import quote
from platform_assets.errors import printable

if TYPE_CHECKING:
    import pyarrow as pa

_BUSY_S: Final = 20.0
_ROWS: Final = 16_384
_STAGE: Final = "_platform_stage"
_PASSING: Final = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)
_COLUMNS: Final = tuple(Held.__dataclass_fields__)


class Sqlite:
    """See `Database`."""

    kind = "SQLite"
    longest: int | None = None

    def __init__(self, path: Path, setting: str) -> None:
        self._setting = setting
        with self._telling():
            if not path.parent.is_dir():
                raise ExportRefused(
                    f"{setting}: the folder of that SQLite file is not there", "Make the folder, or name another file."
                )
            # DuckDB reads the rows back in a thread of its own, while this one waits.
            self._db = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)

    def close(self) -> None:
        self._db.close()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        with self._telling():
            self._log_ahead()
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    self._db.execute("ROLLBACK")
                raise

    def column(self, name: str, kind: str) -> Column | None:
        return sqlite_column(name, kind)

    def held(self) -> list[Held]:
        with self._telling():
            if self.table(NOTES) is None:
                return []
            rows = self._db.execute(f"SELECT {', '.join(map(quote, _COLUMNS))} FROM {quote(NOTES)}").fetchall()
        return [Held.read(row) for row in rows]

    def prepare(self) -> None:
        self._db.execute(
            f"CREATE TABLE IF NOT EXISTS {quote(NOTES)} (product TEXT, mart TEXT, release TEXT, exported_at TIMESTAMP, "
            "rows INTEGER, content TEXT, columns TEXT, kept TEXT, kept_content TEXT, kept_columns TEXT, "
            "PRIMARY KEY (product, mart))"
        )

    def table(self, name: str) -> Table | None:
        # SQLite's names are the same in any case of ASCII letters.
        found = self._db.execute(
            "SELECT name, type FROM sqlite_schema WHERE lower(name) = lower(?) AND type IN ('table', 'view')", [name]
        ).fetchone()
        if found is None:
            return None
        columns = [name for _, name, *_ in self._db.execute(f"PRAGMA table_info({quote(found[0])})").fetchall()]
        return Table(columns, found[1] == "table" and found[0] == name)

    def create(self, name: str, columns: Mapping[str, str], comment: str) -> None:
        del comment  # SQLite keeps none
        self._db.execute(f"CREATE TABLE {quote(name)} ({_declared(columns)})")

    def change(self, name: str, drop: Sequence[str], add: Mapping[str, str]) -> None:
        # Before others go: a table has at least one column.
        gone = {each.lower() for each in drop}
        added = {f"{column} " if column.lower() in gone else column: there for column, there in add.items()}
        for column, there in added.items():
            self._db.execute(f"ALTER TABLE {quote(name)} ADD COLUMN {_declared({column: there})}")
        for column in drop:
            self._db.execute(f"ALTER TABLE {quote(name)} DROP COLUMN {quote(column)}")
        for column in added:
            if column not in add:
                self._db.execute(f"ALTER TABLE {quote(name)} RENAME COLUMN {quote(column)} TO {quote(column[:-1])}")

    def clear(self, name: str) -> None:
        self._db.execute(f"DELETE FROM {quote(name)}")

    def copy(self, source: str, target: str, columns: Sequence[str]) -> None:
        listed = ", ".join(map(quote, columns))
        self._db.execute(f"INSERT INTO {quote(target)} ({listed}) SELECT {listed} FROM {quote(source)}")

    def stage(self, columns: Mapping[str, str]) -> str:
        self._db.execute(f"DROP TABLE IF EXISTS temp.{quote(_STAGE)}")
        self._db.execute(f"CREATE TEMP TABLE {quote(_STAGE)} ({_declared(columns)})")
        return _STAGE

    def write(self, name: str, mart: ReleasedMart, columns: Sequence[Column]) -> None:
        named, marks = ", ".join(quote(each.name) for each in columns), ", ".join("?" for _ in columns)
        insert = f"INSERT INTO {quote(name)} ({named}) VALUES ({marks})"
        with mart.batches([each.sent for each in columns], _ROWS) as batches:
            for batch in batches:
                self._db.executemany(insert, zip(*(column.to_pylist() for column in batch.columns), strict=True))

    @contextlib.contextmanager
    def read(self, name: str, columns: Sequence[Column]) -> "Iterator[pa.RecordBatchReader]":
        import pyarrow as pa

        kinds = [_arrow(each.there) for each in columns]
        schema = pa.schema(list(zip((each.name for each in columns), kinds, strict=True)))
        cursor = self._db.execute(f"SELECT {', '.join(quote(each.name) for each in columns)} FROM {quote(name)}")

        def batches() -> "Iterator[pa.RecordBatch]":
            while rows := cursor.fetchmany(_ROWS):
                try:
                    arrays = [pa.array(v, kind) for v, kind in zip(zip(*rows, strict=True), kinds, strict=True)]
                except (pa.ArrowInvalid, pa.ArrowTypeError):  # others wrote there what no mart's column holds
                    arrays = [pa.nulls(len(rows), kind) for kind in kinds]
                yield pa.record_batch(arrays, schema=schema)

        with contextlib.closing(cursor):
            yield pa.RecordBatchReader.from_batches(schema, batches())

    def note(self, held: Held) -> None:
        marks = ", ".join("?" for _ in _COLUMNS)
        self._db.execute(
            f"INSERT OR REPLACE INTO {quote(NOTES)} ({', '.join(map(quote, _COLUMNS))}) VALUES ({marks})",
            held.row(),
        )

    def tidy(self, names: Sequence[str]) -> None:
        del names
        with contextlib.suppress(sqlite3.Error):  # somebody reads: it is done with the next transaction
            self._db.execute("PRAGMA busy_timeout = 0")
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _log_ahead(self) -> None:
        """Change to the journal that lets others read meanwhile; that does not wait for others by itself."""
        until = time.monotonic() + _BUSY_S
        while self._db.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
            try:
                self._db.execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                    raise
                time.sleep(0.05)

    @contextlib.contextmanager
    def _telling(self) -> Iterator[None]:
        """Errors of SQLite, in our words."""
        try:
            yield
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            said = printable(str(error), 300)
            if code in _PASSING:
                raise DatabaseUnreachable(
                    f"{self._setting}: the SQLite file cannot be written now: {said}",
                    "Let go of it where somebody else writes to it, or make room; then run again.",
                ) from None
            remedy = "Name a file that this user can write, in a folder that this user can write to."
            if "no such column" in said or "error in " in said:
                remedy = "A view of the file uses what the release no longer has: change the view, then run again."
            raise ExportRefused(f"{self._setting}: SQLite refuses: {said}", remedy) from None


def _declared(columns: Mapping[str, str]) -> str:
    return ", ".join(f"{quote(name)} {there}" for name, there in columns.items())


def _arrow(there: str) -> "pa.DataType":
    import pyarrow as pa

    if there == "BOOLEAN":
        return pa.int64()
    if there.startswith("DECIMAL"):
        return pa.float64()
    return {"BIGINT": pa.int64(), "REAL": pa.float64(), "BLOB": pa.binary()}.get(there, pa.string())
