"""Retention: what is no longer in force goes when its time is over.

Belongs here: removing copies and rejected rows by the feed's declaration. Does not: anything that is in force.
"""

from datetime import datetime
from typing import Final

import duckdb

from platform_assets.engine.archive.archive import Archive
from platform_assets.engine.feed.feed import Feed
from platform_assets.engine.store.tables import FeedTables

_CHANGED: Final = "(SELECT max(changed) + 1 FROM ledger.deliveries)"


def expire(connection: duckdb.DuckDBPyConnection, feed: Feed, archive: Archive, now: datetime) -> None:
    """Remove copies and rejected rows that `feed.keep` no longer asks for; receipts stay and say so."""
    if feed.keep.archive is not None:
        _expire_copies(connection, feed, archive, now - feed.keep.archive)
    if feed.keep.quarantine is not None:
        _expire_rejected(connection, feed, now - feed.keep.quarantine)


def _expire_copies(connection: duckdb.DuckDBPyConnection, feed: Feed, archive: Archive, before: datetime) -> None:
    # A copy may serve several receipts; it goes when none of them needs it any longer.
    copies = connection.execute(
        "SELECT archived FROM ledger.deliveries WHERE feed = $1 AND archived IS NOT NULL GROUP BY archived "
        "HAVING bool_and(status IN ('superseded', 'duplicate') AND committed_at < $2) "
        "AND NOT bool_or(fingerprint IN (SELECT fingerprint FROM ledger.deliveries "
        "WHERE feed = $1 AND status IN ('accepted', 'quarantined')))",
        [feed.name, before],
    ).fetchall()
    for (archived,) in copies:
        (archive.root / archived).unlink(missing_ok=True)
        connection.execute(
            f"UPDATE ledger.deliveries SET archived = NULL, changed = {_CHANGED} WHERE feed = ? AND archived = ?",
            [feed.name, archived],
        )


def _expire_rejected(connection: duckdb.DuckDBPyConnection, feed: Feed, before: datetime) -> None:
    table = FeedTables(connection, feed).quarantine
    old = "_delivery_id IN (SELECT delivery_id FROM ledger.deliveries WHERE feed = $1 AND committed_at < $2)"
    connection.begin()
    connection.execute(
        f"UPDATE ledger.deliveries SET expired = expired + gone.rows, changed = {_CHANGED} "
        f"FROM (SELECT _delivery_id, count(*) AS rows FROM {table} WHERE {old} GROUP BY ALL) gone "
        "WHERE delivery_id = gone._delivery_id",
        [feed.name, before],
    )
    connection.execute(f"DELETE FROM {table} WHERE {old}", [feed.name, before])
    connection.commit()
