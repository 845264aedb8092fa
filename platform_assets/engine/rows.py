"""The rows of deliveries on their way into raw and quarantine, counted as they go.

Belongs here: what becomes of each row: copy, accepted, rejected. Does not: what becomes of a delivery (load.py), rows
with the key of others (keys.py), judging (validate.py), storing (tables.py).
"""

from collections import Counter
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from typing import Final

import duckdb
import polars as pl

from platform_assets.engine.cast import as_text
from platform_assets.engine.contract import Header
from platform_assets.engine.copies import Copies
from platform_assets.engine.feed import Feed
from platform_assets.engine.ledger import Ledger
from platform_assets.engine.readers import Batch
from platform_assets.engine.tables import FeedTables
from platform_assets.engine.validate import Verdict, judge
from platform_assets.errors import DeliveryRefused

_FLUSH_ROWS: Final = 245_760  # two of DuckDB's row groups


@dataclass
class Figures:
    """What became of a delivery's rows so far."""

    accepted: int = 0
    rejected: int = 0
    duplicate: int = 0


class Rows:
    """Rows of several deliveries of a feed, within one transaction.

    Those of small deliveries are judged and stored together: a frame of rows carries its delivery's id.
    While a frame is stored, by a thread of its own, the next is read and judged.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, feed: Feed, tables: FeedTables) -> None:
        self._feed = feed
        self._tables = tables
        self._ledger = Ledger(connection)
        self._copies = Copies(connection, tables)
        self._types = tables.types()
        self._headers: dict[int, Header] = {}
        self._arrived: dict[int, date] = {}
        self._buffer: list[pl.DataFrame] = []
        self._buffered = 0
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="store")
        self._storing: Future[None] | None = None
        self.figures: dict[int, Figures] = {}

    def begin(self, delivery_id: int, header: Header, arrived: date) -> None:
        """Get ready for the rows of a delivery.

        Raises DeliveryRefused where raw cannot take its unknown columns.
        """
        self.figures[delivery_id] = Figures()
        self._headers[delivery_id] = header
        self._arrived[delivery_id] = arrived
        if self._feed.on_drift == "add":
            for name in header.unknown:
                self._make_room(name)

    def add(self, delivery_id: int, batch: Batch) -> None:
        """Take some more rows of a delivery."""
        self._malformed(delivery_id, batch.malformed)
        frame = batch.frame
        if not frame.height:
            return
        unknown = list(self._headers[delivery_id].unknown)
        if unknown and self._feed.on_drift == "add":
            frame = frame.with_columns(as_text(name, frame.schema[name]) for name in unknown)
        elif self._feed.on_drift == "rescue":
            extra = pl.struct(unknown).struct.json_encode() if unknown else pl.lit(None, pl.String)
            frame = frame.with_columns(extra.alias("_extra")).drop(unknown)
        frame = frame.with_columns(pl.lit(delivery_id, pl.Int64).alias("_delivery_id"))
        if self._buffer and self._buffer[-1].schema != frame.schema:
            self._flush()
        self._buffer.append(frame)
        self._buffered += frame.height
        if self._buffered >= _FLUSH_ROWS:
            self._flush(more_of=delivery_id)

    def end(self, delivery_id: int) -> None:
        """The delivery has no more rows."""
        if self._copies.spanning == delivery_id:
            self._flush()
            self._settle()
            copies = self._copies.across()
            if copies.height:
                self._leave_out(copies)

    def finish(self) -> None:
        """Store what is still waiting."""
        self._flush()
        self._settle()

    def close(self) -> None:
        """Leave the connection alone from now on, whatever has happened."""
        self._writer.shutdown(wait=True)

    def _settle(self) -> None:
        """Wait until what was handed to the writer is stored; what stopped it stops us."""
        storing, self._storing = self._storing, None
        if storing is not None:
            storing.result()

    def _make_room(self, name: str) -> None:
        """See that raw has a text column for the unknown column `name`; to SQL its case makes no difference."""
        there = {known.lower(): sql_type for known, sql_type in self._types.items()}.get(name.lower())
        if there is None:
            self._settle()
            self._tables.add_column(name, "VARCHAR")
            self._types[name] = "VARCHAR"
        elif there != "VARCHAR":
            raise DeliveryRefused(
                f"unknown column {name!r} is {there} in raw, from an earlier contract",
                remedy=f"Declare it in {self._feed.contract.__name__} again, or drop it from raw.",
                line=1,
                column=name,
            )

    def _flush(self, more_of: int | None = None) -> None:
        """Judge and store the waiting rows; more rows of delivery `more_of` may follow."""
        if not self._buffer:
            return
        frame = pl.concat(self._buffer)
        self._buffer, self._buffered = [], 0
        if self._feed.on_duplicate == "reject":
            frame, copies = self._copies.split(frame, more_of)
            if self._copies.full:
                self._settle()
                self._copies.spill()
            if copies.height:
                self._count(Counter(copies["_delivery_id"]), "duplicate")
        else:
            copies = frame.clear()
        verdict = judge(frame, self._feed.contract, self._arrived)
        rejected = Counter(verdict.rejected["_delivery_id"])
        self._count(rejected, "rejected")
        rows = frame.group_by("_delivery_id").len().iter_rows()
        self._count({delivery: count - rejected[delivery] for delivery, count in rows}, "accepted")
        self._settle()
        self._storing = self._writer.submit(self._store, verdict, copies)

    def _store(self, verdict: Verdict, copies: pl.DataFrame) -> None:
        self._tables.insert(verdict.accepted)
        if verdict.rejected.height:
            self._reject(verdict.rejected, verdict.reasons)
        if copies.height:
            self._ledger.add_duplicates(copies)

    def _count(self, rows: Mapping[int, int], figure: str) -> None:
        for delivery_id, count in rows.items():
            figures = self.figures[delivery_id]
            setattr(figures, figure, getattr(figures, figure) + count)

    def _leave_out(self, lines: pl.DataFrame) -> None:
        """Turn stored rows (`_delivery_id`, `_line`) into duplicates."""
        from_raw, from_quarantine = self._tables.remove_lines(lines)
        self._ledger.add_duplicates(lines)
        for left, figure in ((from_raw, "accepted"), (from_quarantine, "rejected")):
            self._count({delivery: -count for delivery, count in left.items()}, figure)
            self._count(left, "duplicate")

    def _malformed(self, delivery_id: int, malformed: pl.DataFrame) -> None:
        if not malformed.height:
            return
        self._settle()
        reason = pl.struct(
            pl.lit(None, pl.String).alias("column"), pl.col("rule"), pl.lit(None, pl.String).alias("value")
        )
        # The record becomes a JSON string: what stands between {"r": and the closing brace.
        self._tables.insert_rejected(
            malformed.select(
                pl.lit(delivery_id, pl.Int64).alias("_delivery_id"),
                "_line",
                pl.concat_list(reason).alias("reasons"),
                pl.struct(pl.col("record").alias("r")).struct.json_encode().str.slice(5).str.head(-1).alias("record"),
            )
        )
        self._count({delivery_id: malformed.height}, "rejected")

    def _reject(self, rejected: pl.DataFrame, reasons: pl.Series) -> None:
        """Store rejected rows, those of deliveries with the same header together."""
        alike: dict[tuple[tuple[str, str], ...], list[int]] = {}
        for delivery_id in rejected["_delivery_id"].unique():
            alike.setdefault(tuple(self._headers[delivery_id].columns.items()), []).append(delivery_id)
        for header, deliveries in alike.items():
            theirs = rejected["_delivery_id"].is_in(deliveries)
            part = rejected.filter(theirs)
            delivered = dict(header)
            record = pl.struct(
                as_text(name, part.schema[name]).alias(delivered.get(name, name))
                for name in part.columns
                if name not in ("_delivery_id", "_line", "_extra")
            )
            self._tables.insert_rejected(
                part.select(
                    "_delivery_id",
                    "_line",
                    reasons.filter(theirs).alias("reasons"),
                    record.struct.json_encode().alias("record"),
                )
            )
