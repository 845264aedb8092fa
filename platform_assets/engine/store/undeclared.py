"""What the warehouse holds of feeds that nothing declares any more: their tables and entries of the ledger.

Belongs here: finding, dropping and renaming them within a transaction. Elsewhere: archive, notes and what else there is
of a feed (engine/undeclared.py).
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import duckdb

from platform_assets.engine.store.sql import column_types, quote

_SCHEMAS: Final = ("raw", "quarantine")
_OF_FEEDS: Final = ("ledger.deliveries", "ledger.slots", "ledger.profiles")


@dataclass(frozen=True)
class Left:
    """What there is of a feed. rows: in raw; rejected: in quarantine; since, last: when its first and last delivery was
    taken in."""

    feed: str
    rows: int = 0
    rejected: int = 0
    deliveries: int = 0
    since: datetime | None = None
    last: datetime | None = None


class Undeclared:
    """What is stored of feeds that are none of those `declared`, through one open connection."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, declared: Collection[str]) -> None:
        self._connection = connection
        self._declared = frozenset(declared)

    def all(self) -> list[Left]:
        """Each such feed, by name."""
        names = {
            name
            for (name,) in self._connection.execute(
                "SELECT table_name FROM duckdb_tables() WHERE database_name = current_database() "
                "AND schema_name IN ('raw', 'quarantine') "
                + "".join(f" UNION SELECT DISTINCT feed FROM {table}" for table in _OF_FEEDS)
            ).fetchall()
        }
        return [self.of(name) for name in sorted(names - self._declared)]

    def of(self, feed: str) -> Left:
        """What there is of the feed."""
        ((deliveries, since, last),) = self._connection.execute(
            "SELECT count(*), min(committed_at), max(committed_at) FROM ledger.deliveries WHERE feed = ?", [feed]
        ).fetchall()
        rows, rejected = (self._rows(schema, feed) for schema in _SCHEMAS)
        return Left(feed, rows, rejected, deliveries, since, last)

    def is_there(self, feed: str) -> bool:
        """Whether there is anything of the feed."""
        return any(column_types(self._connection, schema, feed) for schema in _SCHEMAS) or any(
            self._connection.execute(f"FROM {table} WHERE feed = ? LIMIT 1", [feed]).fetchall() for table in _OF_FEEDS
        )

    def not_of(self, feed: str, other: str) -> int:
        """How many deliveries the feed has that `other` has not, by file and content."""
        ((count,),) = self._connection.execute(
            "SELECT count(*) FROM ledger.deliveries d WHERE feed = $1 AND NOT EXISTS (FROM ledger.deliveries o "
            "WHERE o.feed = $2 AND o.slot = d.slot AND o.fingerprint IS NOT DISTINCT FROM d.fingerprint)",
            [feed, other],
        ).fetchall()
        return int(count)

    def drop(self, feed: str) -> None:
        """Remove the feed's tables and entries. Ids and revisions that it was given are not given out again."""
        self._connection.execute(
            "INSERT INTO ledger.given_out SELECT max(changed), max(delivery_id) FROM ledger.deliveries WHERE feed = ? "
            "HAVING count(*) > 0",
            [feed],
        )
        self._connection.execute(
            "DELETE FROM ledger.duplicates WHERE delivery_id IN "
            "(SELECT delivery_id FROM ledger.deliveries WHERE feed = ?)",
            [feed],
        )
        for table in _OF_FEEDS:
            self._connection.execute(f"DELETE FROM {table} WHERE feed = ?", [feed])
        for schema in _SCHEMAS:
            self._connection.execute(f"DROP TABLE IF EXISTS {schema}.{quote(feed)}")

    def rename(self, old: str, new: str, changed: int) -> None:
        """Let all that there is of `old` be of `new`, under the revision `changed`.

        What there was of `new` goes: whoever calls knows that `old` has it, too.
        """
        self.drop(new)
        for schema in _SCHEMAS:
            if column_types(self._connection, schema, old):
                self._connection.execute(f"ALTER TABLE {schema}.{quote(old)} RENAME TO {quote(new)}")
        self._connection.execute(
            "UPDATE ledger.deliveries SET feed = $2, changed = $3, archived = "
            "CASE WHEN starts_with(archived, $1 || '/') THEN $2 || substr(archived, length($1) + 1) ELSE archived END "
            "WHERE feed = $1",
            [old, new, changed],
        )
        self._connection.execute("UPDATE ledger.slots SET feed = $2, changed = $3 WHERE feed = $1", [old, new, changed])
        self._connection.execute("UPDATE ledger.profiles SET feed = $2 WHERE feed = $1", [old, new])

    def _rows(self, schema: str, feed: str) -> int:
        if not column_types(self._connection, schema, feed):
            return 0
        ((rows,),) = self._connection.execute(f"SELECT count(*) FROM {schema}.{quote(feed)}").fetchall()
        return int(rows)
