"""Receipts beside the warehouse: a copy of a feed's newest, for judging promises while a long load holds the file.

Belongs here: writing and reading that copy. Does not: the ledger itself (ledger.py), which is right where they differ.
"""

from pathlib import Path
from typing import Final

import duckdb
import polars as pl

from platform_assets.engine.ledger import RECEIPT_COLUMNS, Receipt, receipt_of
from platform_assets.errors import StorageError

_NEWEST: Final = 5_000


def publish_receipts(connection: duckdb.DuckDBPyConnection, feed: str, path: Path) -> None:
    """Write the feed's newest receipts to `path`, in one step. Grain: delivery."""
    # Sorting whole receipts would take DuckDB megabytes; their ids alone do not.
    beyond = connection.execute(
        f"SELECT delivery_id FROM ledger.deliveries WHERE feed = ? ORDER BY 1 DESC LIMIT 1 OFFSET {_NEWEST}", [feed]
    ).fetchall()
    rows: pl.DataFrame = connection.sql(
        f"SELECT {', '.join(RECEIPT_COLUMNS)} FROM ledger.deliveries WHERE feed = ? AND delivery_id > ?",
        params=[feed, beyond[0][0] if beyond else 0],
    ).pl()
    partial = path.with_suffix(".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        rows.sort("delivery_id", descending=True).write_parquet(partial)
        partial.replace(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise StorageError(path, str(error).splitlines()[0]) from error


def published_receipts(path: Path) -> list[Receipt]:
    """What `publish_receipts` wrote, newest first; none where it has not, or the copy is damaged."""
    try:
        return [receipt_of(row) for row in pl.read_parquet(path, columns=list(RECEIPT_COLUMNS)).iter_rows(named=True)]
    except (OSError, ValueError, TypeError, pl.exceptions.PolarsError):
        return []
