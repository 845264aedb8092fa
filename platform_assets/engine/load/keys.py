"""Rows with the same key in several deliveries: the feed's policy keeps the first or the last of them.

Belongs here: which rows give way, and their coming back when what they gave way to is gone or comes elsewhere in the
order. Does not: exact copies within a delivery (copies.py), the order itself (slots.py). Rows that give way are counted
as duplicates and noted in ledger.duplicates.
"""

from collections.abc import Generator, Sequence

import duckdb
import polars as pl

from platform_assets.engine.archive.archive import Archive
from platform_assets.engine.contract.model import headers_of, match_header
from platform_assets.engine.feed.feed import Feed
from platform_assets.engine.load.rows import Judged, Judging, Rows, ahead
from platform_assets.engine.readers import Batch, open_reader
from platform_assets.engine.store.ledger import Ledger
from platform_assets.engine.store.receipts import Receipt
from platform_assets.engine.store.tables import FeedTables
from platform_assets.engine.store.warehouse import quote

# The order of slots, not of ids: a correction keeps its slot's place. What no slot stands for, but counts all the same
# (an appended restatement), stands where it came.
_RIVALS = """
WITH new AS (
    SELECT DISTINCT {key} FROM {raw} WHERE _delivery_id BETWEEN $first AND $last
    AND list_contains($deliveries, _delivery_id)
), held AS (
    SELECT {key}, _delivery_id, _line FROM {raw} SEMI JOIN new USING ({key})
), places AS (
    SELECT stands_for AS _delivery_id, min(place) AS place FROM ledger.slots WHERE feed = $feed GROUP BY ALL
)
SELECT _delivery_id, _line, first_value(_delivery_id) OVER ranked AS of, first_value(_line) OVER ranked AS of_line
FROM held LEFT JOIN places USING (_delivery_id)
WINDOW ranked AS (
    PARTITION BY {key} ORDER BY coalesce(place, _delivery_id) {order}, _delivery_id {order}, _line {order}
)
QUALIFY row_number() OVER ranked > 1
"""


def give_way(connection: duckdb.DuckDBPyConnection, feed: Feed, deliveries: Sequence[int], revision: int) -> list[int]:
    """Of the rows that share a key with a row of `deliveries`, leave one in raw; the deliveries that lost any."""
    if feed.on_known_key == "allow" or not deliveries:
        return []
    tables = FeedTables(connection, feed)
    losers = _rivals(connection, tables, feed, deliveries)
    if losers.height:
        tables.remove_lines(losers)
        Ledger(connection).give_way(losers, revision)
    return losers["_delivery_id"].unique().to_list()


def come_back(
    connection: duckdb.DuckDBPyConnection,
    feed: Feed,
    archive: Archive,
    receipt: Receipt,
    lines: Sequence[int],
    revision: int,
) -> None:
    """Store lines of a delivery in force again that had given way; which of them stay is for `give_way` to say.

    They are read from the archive.
    """
    rows = Rows(connection, FeedTables(connection, feed))
    for judged in ahead(_judged(feed, archive, receipt, lines, Judging(feed, rows.types))):
        rows.store(judged)
    Ledger(connection).came_back(receipt.delivery_id, len(lines), rows.of(receipt.delivery_id).rejected, revision)


def _judged(
    feed: Feed, archive: Archive, receipt: Receipt, lines: Sequence[int], judging: Judging
) -> Generator[Judged, None, None]:
    wanted = headers_of(feed.contract)
    reader = open_reader(archive.root / str(receipt.archived), receipt.slot, feed.source, wanted)
    columns = judging.begin(receipt.delivery_id, match_header(feed.contract, reader.header), receipt.arrived_at.date())
    for batch in reader.batches(columns):
        theirs = batch.frame.filter(pl.col("_line").is_in(lines))
        yield from judging.add(receipt.delivery_id, Batch(theirs, batch.malformed.clear()))
    yield from judging.finish()


def _rivals(
    connection: duckdb.DuckDBPyConnection, tables: FeedTables, feed: Feed, deliveries: Sequence[int]
) -> pl.DataFrame:
    """Rows of raw that have to give way to another with the same key: `_delivery_id`, `_line`, and of whom: `of`,
    `of_line`.

    Only keys that `deliveries` hold are looked at. A key with a NULL in it is no key.
    """
    sql = _RIVALS.format(
        key=", ".join(quote(name) for name in feed.key),
        raw=tables.raw,
        order="ASC" if feed.on_known_key == "reject" else "DESC",
    )
    chosen = {"first": min(deliveries), "last": max(deliveries), "deliveries": list(deliveries), "feed": feed.name}
    found: pl.DataFrame = connection.sql(sql, params=chosen).pl()
    return found
