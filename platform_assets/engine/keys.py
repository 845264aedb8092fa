"""Rows with the same key in several deliveries: the feed's policy keeps the first or the last of them.

Belongs here: which rows give way, and their coming back when what they gave way to is gone. Does not: exact copies
within a delivery (copies.py). Rows that give way are counted as duplicates and noted in ledger.duplicates.
"""

import contextlib
from collections.abc import Iterable, Sequence
from typing import Literal

import duckdb
import polars as pl

from platform_assets.engine.archive import Archive
from platform_assets.engine.contract import headers_of, match_header
from platform_assets.engine.feed import Feed
from platform_assets.engine.ledger import Ledger
from platform_assets.engine.readers import Batch, open_reader
from platform_assets.engine.receipts import Receipt
from platform_assets.engine.rows import Rows
from platform_assets.engine.tables import FeedTables
from platform_assets.engine.warehouse import quote


def give_way(connection: duckdb.DuckDBPyConnection, feed: Feed, deliveries: Sequence[int], revision: int) -> None:
    """Of the rows that share a key with a row of `deliveries`, leave one in raw."""
    if feed.on_known_key == "allow" or not deliveries:
        return
    tables, ledger = FeedTables(connection, feed), Ledger(connection)
    losers = _rivals(connection, tables, feed.key, deliveries, "first" if feed.on_known_key == "reject" else "last")
    if losers.height:
        left, _ = tables.remove_lines(losers)
        ledger.add_duplicates(losers)
        ledger.give_way(left, revision)


def come_back(
    connection: duckdb.DuckDBPyConnection, feed: Feed, archive: Archive, receipt: Receipt, removed: Iterable[int]
) -> None:
    """Store those rows of a delivery in force again that gave way to rows of deliveries that are `removed`.

    They are read from the archive; which of them stay is for `give_way` to say.
    """
    tables, ledger = FeedTables(connection, feed), Ledger(connection)
    lines = ledger.take_back(receipt.delivery_id, list(removed))
    wanted = headers_of(feed.contract)
    reader = open_reader(archive.root / str(receipt.archived), receipt.slot, feed.source, wanted)
    header = match_header(feed.contract, reader.header)
    with contextlib.closing(Rows(connection, feed, tables)) as rows:
        rows.begin(receipt.delivery_id, header, receipt.arrived_at.date())
        for batch in reader.batches({**header.columns, **{name: name for name in header.unknown}}):
            theirs = batch.frame.filter(pl.col("_line").is_in(lines))
            rows.add(receipt.delivery_id, Batch(theirs, batch.malformed.clear()))
        rows.end(receipt.delivery_id)
        rows.finish()
    figures = rows.figures[receipt.delivery_id]
    ledger.came_back(receipt.delivery_id, figures.accepted, figures.rejected, figures.duplicate - len(lines))


def _rivals(
    connection: duckdb.DuckDBPyConnection,
    tables: FeedTables,
    key: Sequence[str],
    deliveries: Sequence[int],
    keep: Literal["first", "last"],
) -> pl.DataFrame:
    """Rows of raw that have to give way to another with the same key: `_delivery_id`, `_line`, `of` (who keeps it).

    Only keys that `deliveries` hold are looked at. A key with a NULL in it is no key. Deliveries count in the order
    of their ids, whenever their rows were stored, so that a replay comes to the same.
    """
    columns = ", ".join(quote(name) for name in key)
    order = "ASC" if keep == "first" else "DESC"
    found: pl.DataFrame = connection.sql(
        f"WITH new AS (SELECT DISTINCT {columns} FROM {tables.raw} "
        "WHERE _delivery_id BETWEEN $first AND $last AND list_contains($deliveries, _delivery_id)), "
        f"held AS (SELECT {columns}, _delivery_id, _line FROM {tables.raw} SEMI JOIN new USING ({columns})) "
        "SELECT _delivery_id, _line, first_value(_delivery_id) OVER place AS of FROM held "
        f"WINDOW place AS (PARTITION BY {columns} ORDER BY _delivery_id {order}, _line {order}) "
        "QUALIFY row_number() OVER place > 1",
        params={"first": min(deliveries), "last": max(deliveries), "deliveries": list(deliveries)},
    ).pl()
    return found
