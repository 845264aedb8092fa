"""What of a feed's ledger can be read without the warehouse's lock: positions, newest receipts, what they rejected.

Belongs here: the copy, bringing it up to date, and its mark while it is not. Elsewhere: the ledger itself,
which is right where they differ. A copy that is lost or damaged is made anew; till then no slot is known.
"""

import contextlib
import functools
import json
import sqlite3
from collections.abc import Iterator, Mapping
from datetime import date, datetime
from pathlib import Path
from typing import Any, Final

import duckdb
import polars as pl

from platform_assets.engine.archive.position import Position
from platform_assets.engine.durable.sqlite import opened, set_aside, transaction
from platform_assets.engine.store.receipts import RECEIPT_COLUMNS, RECEIPT_SCHEMA, Receipt, receipt_of
from platform_assets.engine.store.sql import quote

NEWEST: Final = 5_000
NEWEST_REJECTIONS: Final = 100
_SCHEMA: Final = (
    # Grain: slot that is settled. `version`: of the feed, where only another version would ask for it again.
    "CREATE TABLE positions (slot TEXT PRIMARY KEY, position TEXT, version TEXT) WITHOUT ROWID",
    "CREATE TABLE receipts (delivery_id INTEGER PRIMARY KEY, receipt TEXT)",
    # Grain: delivery and broken rule, of the newest deliveries; `rows`: those that wait in quarantine.
    'CREATE TABLE rejections (delivery_id INTEGER, "column" TEXT, rule TEXT, rows INTEGER)',
    # One row. `upto`: the revision up to which the copy is complete; `changing`: whether the ledger may be ahead of it.
    "CREATE TABLE state (one INTEGER PRIMARY KEY CHECK (one = 0), upto INTEGER, revision INTEGER, changing INTEGER)",
    "INSERT INTO state VALUES (0, -1, 0, 1)",
)
# What waits in quarantine as a whole gets another chance when the feed's version is no longer this one.
_POSITIONS: Final = """
SELECT s.slot, s.position, CASE WHEN d.status = 'quarantined' THEN d.contract END
FROM ledger.slots s LEFT JOIN ledger.deliveries d USING (delivery_id) WHERE s.feed = $1 AND s.changed > $2
"""
_TIMES: Final = tuple(at for at, kind in enumerate(RECEIPT_SCHEMA.values()) if isinstance(kind, pl.Datetime))
_DAYS: Final = tuple(at for at, kind in enumerate(RECEIPT_SCHEMA.values()) if isinstance(kind, pl.Date))


class Published:
    """The copy of a feed's ledger at `path`."""

    def __init__(self, path: Path, feed: str) -> None:
        self._path = path
        self._feed = feed

    @property
    def exists(self) -> bool:
        """Whether there is a copy, sound or not."""
        return self._path.exists()

    @property
    def is_stale(self) -> bool:
        """Whether the ledger may be ahead: it was being changed when this was last written, or the copy is gone."""
        return bool(self._state()[1])

    @property
    def revision(self) -> int:
        """The feed's revision when the ledger was last published; 0 before its first delivery."""
        return self._state()[0]

    def receipts(self) -> list[Receipt]:
        """The newest 5,000 receipts, newest first."""
        rows = self._read("SELECT receipt FROM receipts ORDER BY delivery_id DESC")
        try:
            return [_receipt(text) for (text,) in rows]
        except (ValueError, TypeError, LookupError):  # damaged, or of another version of the platform
            return []

    def rejections(self) -> dict[int, list[tuple[str | None, str, int]]]:
        """Of the newest 100 deliveries, those with rows in quarantine: (column, rule, rows), most frequent first."""
        found: dict[int, list[tuple[str | None, str, int]]] = {}
        for delivery, *broken in self._read('SELECT * FROM rejections ORDER BY delivery_id, rows DESC, "column", rule'):
            found.setdefault(delivery, []).append((broken[0], broken[1], broken[2]))
        return found

    @contextlib.contextmanager
    def positions(self, version: str) -> Iterator[Mapping[str, Position]]:
        """The position in which each slot was settled for good, looked up by name.

        version: the feed's; what was quarantined as a whole by another one is not settled.
        """
        if not self.exists:
            yield {}
            return
        with self._opened() as database:
            yield _Positions(database, version)

    def changing(self) -> None:
        """Mark that the ledger is about to change; safe on disk when this returns."""
        if not self.is_stale:
            with transaction(self._path, _SCHEMA) as database:
                database.execute("UPDATE state SET changing = 1")

    def publish(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Bring the copy up to date by what has changed since; all of it, or nothing."""
        try:
            self._publish(connection)
        except sqlite3.DatabaseError:
            set_aside(self._path)
            self._publish(connection)

    def _publish(self, connection: duckdb.DuckDBPyConnection) -> None:
        now, revision = _revisions(connection, self._feed)
        if self._read("SELECT upto, changing FROM state") == [(now, 0)]:
            return
        with transaction(self._path, _SCHEMA) as database:
            ((upto,),) = database.execute("SELECT upto FROM state").fetchall()
            if upto > now:  # the warehouse was lost, or is an older one
                upto = -1
                database.execute("DELETE FROM positions")
                database.execute("DELETE FROM receipts")
                database.execute("DELETE FROM rejections")
            slots = connection.execute(_POSITIONS, [self._feed, upto]).fetchall()
            database.executemany("DELETE FROM positions WHERE slot = ?", [(slot,) for slot, *_ in slots])
            database.executemany(
                "INSERT INTO positions VALUES (?, ?, ?)", [each for each in slots if each[1] is not None]
            )
            receipts = list(_newest(connection, self._feed, upto))
            database.executemany("INSERT OR REPLACE INTO receipts VALUES (?, ?)", receipts)
            database.execute(
                "DELETE FROM receipts WHERE delivery_id <= "
                f"(SELECT delivery_id FROM receipts ORDER BY delivery_id DESC LIMIT 1 OFFSET {NEWEST})"
            )
            _note_rejections(database, connection, self._feed, [delivery for delivery, _ in receipts])
            database.execute("UPDATE state SET upto = ?, revision = ?, changing = 0", [now, revision])

    def _state(self) -> tuple[int, int]:
        rows = self._read("SELECT revision, changing FROM state")
        return rows[0] if rows else (0, 1)

    def _read(self, sql: str) -> list[tuple[Any, ...]]:
        try:
            with self._opened() as database:
                return database.execute(sql).fetchall()
        except (FileNotFoundError, sqlite3.Error):
            return []

    @contextlib.contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        if not self.exists:
            raise FileNotFoundError(self._path)
        with opened(self._path) as database:
            yield database


class _Positions(Mapping[str, Position]):
    """Positions looked up one by one: what is asked for is what lies there, not what ever lay there."""

    def __init__(self, database: sqlite3.Connection, version: str) -> None:
        self._ask = database.cursor()
        self._version = version

    def __getitem__(self, slot: str) -> Position:
        row = None
        with contextlib.suppress(sqlite3.Error):  # a damaged copy knows nothing
            row = self._ask.execute("SELECT position, version FROM positions WHERE slot = ?", (slot,)).fetchone()
        if row is None or row[1] not in (None, self._version):
            raise KeyError(slot)
        return str(row[0])

    def __iter__(self) -> Iterator[str]:
        return (slot for (slot,) in self._ask.execute("SELECT slot FROM positions").fetchall() if slot in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _revisions(connection: duckdb.DuckDBPyConnection, feed: str) -> tuple[int, int]:
    """Under which revision the feed's ledger last changed in any way, and the revision of its rows."""
    (row,) = connection.execute(
        "SELECT greatest(max(changed), (SELECT max(changed) FROM ledger.slots WHERE feed = $1), 0), "
        "coalesce(max(revision) FILTER (status IN ('accepted', 'superseded', 'withdrawn')), 0) "
        "FROM ledger.deliveries WHERE feed = $1",
        [feed],
    ).fetchall()
    return int(row[0]), int(row[1])


def _newest(connection: duckdb.DuckDBPyConnection, feed: str, after: int) -> Iterator[tuple[int, str]]:
    """The newest receipts that have changed since revision `after`."""
    rows = connection.execute(
        f"SELECT {', '.join(RECEIPT_COLUMNS)} FROM ledger.deliveries WHERE changed > $2 AND delivery_id IN "
        f"(SELECT delivery_id FROM ledger.deliveries WHERE feed = $1 ORDER BY 1 DESC LIMIT {NEWEST})",
        [feed, after],
    ).fetchall()
    for row in rows:
        yield row[0], json.dumps(row, default=lambda moment: moment.isoformat())


def _note_rejections(
    database: sqlite3.Connection, connection: duckdb.DuckDBPyConnection, feed: str, changed: list[int]
) -> None:
    """Count anew which rules the changed ones of the newest deliveries broke."""
    newest = database.execute(
        "SELECT delivery_id FROM receipts ORDER BY delivery_id DESC LIMIT ?", [NEWEST_REJECTIONS]
    ).fetchall()
    kept = {delivery for (delivery,) in newest}
    gone = [(delivery,) for (delivery,) in database.execute("SELECT DISTINCT delivery_id FROM rejections").fetchall()]
    again = sorted(kept.intersection(changed))
    database.executemany(
        "DELETE FROM rejections WHERE delivery_id = ?",
        [each for each in gone if each[0] not in kept] + [(each,) for each in again],
    )
    if again:
        rows = connection.execute(
            "SELECT _delivery_id, reason['column'], reason['rule'], count(*) FROM (SELECT _delivery_id, "
            f"unnest(reasons) AS reason FROM quarantine.{quote(feed)} "
            "WHERE list_contains($1::BIGINT[], _delivery_id)) GROUP BY ALL",
            [again],
        ).fetchall()
        database.executemany("INSERT INTO rejections VALUES (?, ?, ?, ?)", rows)


@functools.lru_cache(maxsize=20_000)
def _receipt(text: str) -> Receipt:
    values = json.loads(text)
    for at in _TIMES:
        if values[at] is not None:
            values[at] = datetime.fromisoformat(values[at])
    for at in _DAYS:
        if values[at] is not None:
            values[at] = date.fromisoformat(values[at])
    return receipt_of(dict(zip(RECEIPT_COLUMNS, values, strict=True)))
