"""Sightings: in which state each file was when its delivery was settled.

Belongs here: keeping them, and the copy that can be read without the warehouse's lock. Does not: looking at files
(landing.py). They only save hashing what has not changed; what is new is decided by content.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import duckdb
import polars as pl

from platform_assets.engine.landing import Arrival, Sighting, State
from platform_assets.engine.receipts import Receipt
from platform_assets.engine.warehouse import execute_over
from platform_assets.errors import StorageError

_SEEN: Final = """
SELECT s.slot, s.size, s.mtime_ns, s.ctime_ns, s.inode,
    CASE WHEN d.status = 'quarantined' THEN d.contract END AS contract
FROM ledger.sightings s LEFT JOIN ledger.deliveries d USING (delivery_id) WHERE s.feed = ?
"""
_STATE: Final = {"size": pl.Int64, "mtime_ns": pl.Int64, "ctime_ns": pl.Int64, "inode": pl.UInt64}

Seen = dict[str, tuple[State, str | None]]


class Sightings:
    """The feed's sightings through one open connection."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, feed: str) -> None:
        self._connection = connection
        self._feed = feed

    def remember(self, seen: Sequence[tuple[Arrival, int]]) -> None:
        """Note in which state the files of these deliveries (by id) were."""
        if not seen:
            return
        rows = pl.DataFrame(
            [
                (self._feed, arrival.slot, a.size, a.mtime_ns, a.ctime_ns, a.inode, delivery_id)
                for arrival, delivery_id in seen
                for a in (arrival.seen,)
            ],
            schema={"feed": pl.String, "slot": pl.String, **_STATE, "delivery_id": pl.Int64},
            orient="row",
        )
        execute_over(
            self._connection,
            rows,
            "DELETE FROM ledger.sightings s "
            "WHERE EXISTS (FROM arrived WHERE arrived.feed = s.feed AND arrived.slot = s.slot)",
        )
        execute_over(self._connection, rows, "INSERT INTO ledger.sightings SELECT * FROM arrived")

    def all(self) -> Seen:
        """slot -> (state of the file, contract version if its delivery is quarantined)."""
        return _by_slot(self._rows())

    def publish(self, path: Path) -> None:
        """Write them to `path`, for a sensor to read without the warehouse's lock.

        Grain: slot. `contract` is the contract's version where the delivery is quarantined, else NULL.
        A lost or stale copy only makes a sensor ask for a run that finds nothing.
        """
        partial = path.with_suffix(".partial")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._rows().write_parquet(partial)
            partial.replace(path)
        except (OSError, pl.exceptions.PolarsError) as error:
            raise StorageError(path, str(error).splitlines()[0]) from error

    def _rows(self) -> pl.DataFrame:
        rows: pl.DataFrame = self._connection.sql(_SEEN, params=[self._feed]).pl()
        return rows


def recalled(receipt: Receipt) -> Sighting:
    """All that a receipt still tells of its file; no file is ever in just this state."""
    since_1970 = receipt.arrived_at - datetime(1970, 1, 1, tzinfo=UTC)
    return Sighting(receipt.bytes, since_1970 // timedelta(microseconds=1) * 1000, 0, 0)


def published(path: Path) -> Seen:
    """What `Sightings.publish` wrote; nothing where it has not, or the copy is damaged."""
    try:
        return _by_slot(pl.read_parquet(path))
    except (OSError, pl.exceptions.PolarsError):
        return {}


def _by_slot(rows: pl.DataFrame) -> Seen:
    states = zip(*(rows[name].to_list() for name in _STATE), strict=True)
    return dict(zip(rows["slot"].to_list(), zip(states, rows["contract"].to_list(), strict=True), strict=True))
