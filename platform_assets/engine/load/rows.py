"""The rows of deliveries on their way into raw and quarantine.

Belongs here: what becomes of each row: copy, accepted, rejected; storing and counting them. Elsewhere: what becomes of
a delivery (delivery.py), rows with the key of others (transaction.py), validation (contract), SQL (store).
Rows are read and validated by a thread without connection (`Validation`), while the one that has it stores (`Rows`).
"""

from collections import Counter
from collections.abc import Generator, Iterator, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final, TypeVar

import polars as pl

from platform_assets.engine.contract.cast import as_text
from platform_assets.engine.contract.model import LINEAGE, Header, folded, headers_of, match_header
from platform_assets.engine.contract.shown import shown_of
from platform_assets.engine.contract.validate import Reading, validate
from platform_assets.engine.feed.feed import Feed
from platform_assets.engine.load.readings import readings
from platform_assets.engine.readers import Batch, open_reader
from platform_assets.engine.readers.budget import width
from platform_assets.engine.store.copies import repeated
from platform_assets.engine.store.ledger import Ledger
from platform_assets.engine.store.receipts import Receipt
from platform_assets.engine.store.tables import FeedTables
from platform_assets.errors import DeliveryRefused, quoted

_FLUSH_ROWS: Final = 245_760  # two of DuckDB's row groups
_FLUSH_BYTES: Final = 32 << 20
_NULL: Final = 8  # bytes of a field of JSON beside its name, where it holds nothing
_LONGEST_NAME: Final = 255  # bytes of a column's name, as most databases take it
_T = TypeVar("_T")


@dataclass
class Figures:
    """What became of a delivery's rows so far."""

    accepted: int = 0
    rejected: int = 0
    duplicate: int = 0


@dataclass(frozen=True)
class Validated:
    """Rows that were validated together, of one delivery or several: accepted ones as raw takes them, rejected ones as
    quarantine takes them, and copies.

    spanning: hashes (`hash`, `_line`) of the rows of a delivery whose rows come in more than one such part. ended: that
    delivery, with its last part. gone: a delivery that turned out to be refused; its rows so far do not count.
    """

    accepted: pl.DataFrame | None = None
    rejected: pl.DataFrame | None = None
    copies: pl.DataFrame | None = None
    spanning: pl.DataFrame | None = None
    ended: int | None = None
    gone: int | None = None


class Validation:
    """Validates the rows of several deliveries of a feed, those of small ones together. Knows no connection."""

    def __init__(self, feed: Feed, types: Mapping[str, str]) -> None:
        """types: the columns that raw has now."""
        self._feed = feed
        self._shown = shown_of(feed.contract)
        self._types = dict(types)
        self._spelled = {folded(name): name for name in types}
        self._known = {column.name for column in feed.columns} | set(LINEAGE)
        declared = {folded(column.name) for column in feed.columns} | set(LINEAGE)
        self._undeclared: Set[str] = self._spelled.keys() - declared
        self._new: frozenset[str] = frozenset()
        self._delivered: dict[int, Mapping[str, str]] = {}
        self._unknown: dict[int, list[str]] = {}
        self._lacking: dict[int, Sequence[str]] = {}
        self._readings: dict[int, Reading] = {}
        self._dated: dict[int, date | None] = {}
        self._buffer: list[pl.DataFrame] = []
        self._buffered = 0
        self._bytes = 0
        self._spanning: int | None = None

    def begin(self, receipt: Receipt, header: Header, reading: Reading) -> Mapping[str, str]:
        """Get ready for the rows of a delivery; which columns they are to have (name to give -> delivered header).

        Raises DeliveryRefused where raw cannot take its unknown columns.
        """
        self._hold_to_caps(header.unknown)
        delivery_id = receipt.delivery_id
        adds = self._feed.on_drift == "add"
        unknown = {self._column(name) if adds else name: name for name in header.unknown}
        self._delivered[delivery_id] = {**header.columns, **unknown}
        self._unknown[delivery_id] = list(unknown)
        self._lacking[delivery_id] = header.lacking
        self._readings[delivery_id] = reading
        self._dated[delivery_id] = receipt.file_date
        return self._delivered[delivery_id]

    def add(self, delivery_id: int, batch: Batch) -> Iterator[Validated]:
        """Take some more rows of a delivery."""
        if batch.malformed.height:
            yield Validated(rejected=self._malformed(delivery_id, batch.malformed))
        for part in self._bounded(batch.frame, self._unknown[delivery_id]):
            yield from self._add(delivery_id, part)

    def _bounded(self, frame: pl.DataFrame, unknown: Sequence[str]) -> Iterator[pl.DataFrame]:
        """The rows, so many at a time that the names of their unknown columns, repeated for each, do not weigh much."""
        names = sum(len(name.encode()) + _NULL for name in unknown) if self._feed.on_drift == "rescue" else 0
        yield from frame.iter_slices(max(1, _FLUSH_BYTES // (names or 1)))

    def _add(self, delivery_id: int, frame: pl.DataFrame) -> Iterator[Validated]:
        unknown = self._unknown[delivery_id]
        if unknown and self._feed.on_drift == "add":
            frame = frame.with_columns(as_text(name, frame.schema[name]) for name in unknown)
        elif self._feed.on_drift == "rescue":
            extra = pl.struct(unknown).struct.json_encode() if unknown else pl.lit(None, pl.String)
            frame = frame.with_columns(extra.alias("_extra")).drop(unknown)
        lacking = (pl.lit(None, pl.String).alias(name) for name in self._lacking[delivery_id])
        frame = frame.with_columns(pl.lit(delivery_id, pl.Int64).alias("_delivery_id"), *lacking)
        if self._feed.name_date is not None:
            frame = frame.with_columns(pl.lit(self._dated[delivery_id], pl.Date).alias("_file_date"))
        if self._buffer and self._buffer[-1].schema != frame.schema:
            if self._buffer[-1]["_delivery_id"][0] == delivery_id:
                self._spanning = delivery_id
            yield from self._flush()
        self._buffer.append(frame)
        self._buffered += frame.height
        self._bytes += width(frame)
        if self._buffered >= _FLUSH_ROWS or self._bytes >= _FLUSH_BYTES:
            self._spanning = delivery_id
            yield from self._flush()

    def end(self, delivery_id: int) -> Iterator[Validated]:
        """The delivery has no more rows."""
        if self._spanning == delivery_id:
            yield from self._flush()
            self._spanning = None
            if self._feed.on_duplicate == "reject":
                yield Validated(ended=delivery_id)

    def drop(self, delivery_id: int) -> Iterator[Validated]:
        """The delivery is refused: none of its rows counts."""
        kept = [frame.filter(pl.col("_delivery_id") != delivery_id) for frame in self._buffer]
        self._buffer = [frame for frame in kept if frame.height]
        self._buffered, self._bytes = sum(frame.height for frame in kept), sum(map(width, kept))
        if self._spanning == delivery_id:
            self._spanning = None
        else:  # raw has not heard of its columns
            self._undeclared -= self._new
            for name in self._new:
                self._types.pop(self._spelled.pop(name, ""), None)
        yield Validated(gone=delivery_id)

    def finish(self) -> Iterator[Validated]:
        """What is still waiting."""
        yield from self._flush()

    def again(self, receipt: Receipt, copy: Path, lines: Sequence[int]) -> Generator[Validated, None, None]:
        """The rows of these lines of a delivery that was taken in before, read from its copy."""
        contract = self._feed.contract
        reader = open_reader(copy, receipt.slot, self._feed.source, headers_of(contract))
        header = match_header(contract, reader.header, lacking=receipt.allowed is not None)
        columns = self.begin(receipt, header, readings(self._feed, reader, header, receipt))
        for batch in reader.batches(columns):
            theirs = batch.frame.filter(pl.col("_line").is_in(lines))
            yield from self.add(receipt.delivery_id, Batch(theirs, batch.malformed.clear()))
        yield from self.finish()

    def _hold_to_caps(self, unknown: Sequence[str]) -> None:
        """Raise DeliveryRefused where an undeclared column's name is too long, or raw would get more of them than the
        feed allows: a file of some kilobytes can name thousands, and each costs memory in every load from then on."""
        self._new = frozenset()
        for name in unknown:
            if (size := len(name.strip().encode())) > _LONGEST_NAME:
                raise DeliveryRefused(
                    f"an undeclared column whose name is {size} bytes long, more than {_LONGEST_NAME}",
                    remedy="Ask the producer for a shorter name, or declare the column in "
                    f"{self._feed.contract.__name__}.",
                    line=1,
                )
        if self._feed.on_drift != "add":
            return
        new = frozenset(map(folded, unknown)) - self._undeclared
        if new and len(self._undeclared) + len(new) > self._feed.most_undeclared:
            raise DeliveryRefused(
                f"{len(new)} new undeclared columns beside the {len(self._undeclared)} that raw has, more than the "
                f"{self._feed.most_undeclared} that the feed allows",
                remedy=f"Declare the columns that are wanted in {self._feed.contract.__name__}; or declare "
                'on_drift="rescue", or a higher most_undeclared, if the feed should grow so.',
                line=1,
            )
        self._new = new
        self._undeclared |= new

    def _column(self, name: str) -> str:
        """The text column of raw that takes the unknown column `name`."""
        column = self._spelled.setdefault(folded(name), name.strip())
        if (there := self._types.setdefault(column, "VARCHAR")) != "VARCHAR":
            raise DeliveryRefused(
                f"unknown column {quoted(repr(name))} is {there} in raw, from an earlier contract",
                remedy=f"Declare it in {self._feed.contract.__name__} again, or drop it from raw.",
                line=1,
                column=name,
            )
        return column

    def _flush(self) -> Iterator[Validated]:
        if not self._buffer:
            return
        frame = pl.concat(self._buffer)
        self._buffer, self._buffered, self._bytes = [], 0, 0
        copies = spanning = None
        if self._feed.on_duplicate == "reject":
            frame, copies, hashes = _split(frame)
            if self._spanning is not None:
                of_it = frame["_delivery_id"] == self._spanning
                spanning = pl.DataFrame({"hash": hashes.filter(of_it), "_line": frame["_line"].filter(of_it)})
        split = validate(frame, self._feed.contract, self._readings)
        rejected = self._rejected(split.rejected, split.reasons) if split.rejected.height else None
        # Columns that nobody declared, of what a person let through: what is rejected, or a copy, is told by them, too.
        strange = () if self._feed.on_drift == "add" else set(split.accepted.columns) - self._known
        yield Validated(split.accepted.drop(strange), rejected, copies, spanning)

    def _malformed(self, delivery_id: int, malformed: pl.DataFrame) -> pl.DataFrame:
        header = self._delivered[delivery_id].values()
        rules = {rule: self._shown.rule(rule, header) for rule in malformed["rule"].unique()}
        nothing, rule = pl.lit(None, pl.String), pl.col("rule").replace_strict(rules, return_dtype=pl.String)
        reason = pl.struct(nothing.alias("column"), rule.alias("rule"), nothing.alias("value"))
        # The record becomes a JSON string: what stands between {"r": and the closing brace.
        return malformed.select(
            pl.lit(delivery_id, pl.Int64).alias("_delivery_id"),
            "_line",
            pl.concat_list(reason).alias("reasons"),
            pl.struct(pl.col("record").alias("r")).struct.json_encode().str.slice(5).str.head(-1).alias("record"),
        )

    def _rejected(self, rejected: pl.DataFrame, reasons: pl.Series) -> pl.DataFrame:
        """Rejected rows as quarantine takes them, those of deliveries with the same header made together."""
        alike: dict[tuple[tuple[str, str], ...], list[int]] = {}
        for delivery_id in rejected["_delivery_id"].unique(maintain_order=True):
            alike.setdefault(tuple(self._delivered[delivery_id].items()), []).append(delivery_id)
        parts = []
        for header, deliveries in alike.items():
            theirs = rejected["_delivery_id"].is_in(deliveries)
            part = rejected.filter(theirs)
            delivered = dict(header)
            record = pl.struct(
                as_text(name, part.schema[name]).alias(delivered[name]) for name in part.columns if name in delivered
            )
            parts.append(
                part.select(
                    "_delivery_id",
                    "_line",
                    reasons.filter(theirs).alias("reasons"),
                    record.struct.json_encode().alias("record"),
                )
            )
        return pl.concat(parts)


class Rows:
    """Stores validated rows, within one transaction, and counts them."""

    def __init__(self, ledger: Ledger, tables: FeedTables) -> None:
        self._tables = tables
        self._ledger = ledger
        self._copies = tables.copies()
        self.types = tables.types()
        self.figures: dict[int, Figures] = {}

    def store(self, validated: Validated) -> None:
        """Store what was validated."""
        if validated.accepted is not None and validated.accepted.height:
            for name in validated.accepted.columns:
                if name not in self.types:
                    self._tables.add_column(name, "VARCHAR")
                    self.types[name] = "VARCHAR"
            self._tables.insert(validated.accepted)
            self._count(Counter(_of(validated.accepted)), "accepted")
        if validated.rejected is not None:
            self._tables.insert_rejected(validated.rejected)
            self._count(Counter(_of(validated.rejected)), "rejected")
        if validated.copies is not None and validated.copies.height:
            self._ledger.add_duplicates(validated.copies)
            self._count(Counter(_of(validated.copies)), "duplicate")
        if validated.spanning is not None:
            self._copies.add(validated.spanning)
        if validated.ended is not None:
            copies = self._copies.found(validated.ended)
            if copies.height:
                self._leave_out(copies)
        if validated.gone is not None:
            self._copies.clear()

    def of(self, delivery_id: int) -> Figures:
        """What became of the delivery's rows."""
        return self.figures.setdefault(delivery_id, Figures())

    def _count(self, rows: Mapping[int, int], figure: str) -> None:
        for delivery_id, count in rows.items():
            figures = self.of(delivery_id)
            setattr(figures, figure, getattr(figures, figure) + count)

    def _leave_out(self, lines: pl.DataFrame) -> None:
        """Turn stored rows (`_delivery_id`, `_line`) into duplicates."""
        from_raw, from_quarantine = self._tables.remove_lines(lines)
        self._ledger.add_duplicates(lines)
        for left, figure in ((from_raw, "accepted"), (from_quarantine, "rejected")):
            self._count({delivery: -count for delivery, count in left.items()}, figure)
            self._count(left, "duplicate")


def ahead(items: Generator[_T, None, None]) -> Iterator[_T]:
    """The items, each made by another thread while the one before is used. Whatever happens, that thread is done with
    them when this ends."""
    end = object()
    with closing(items), ThreadPoolExecutor(1, thread_name_prefix="ahead") as other:
        made = other.submit(next, items, end)
        while (item := made.result()) is not end:
            made = other.submit(next, items, end)
            yield item  # type: ignore[misc]  # the end is none of them


def _split(frame: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame, pl.Series]:
    """`frame` without rows that equal an earlier row of their delivery, these copies, and the hashes of what stays."""
    hashes = frame.drop("_line").hash_rows()
    twice = repeated(hashes)
    copies = frame.clear()
    if twice.len():
        suspects = hashes.is_in(twice.implode())
        # Equal hashes only name suspects; the rows themselves decide.
        again = frame.filter(suspects).select(~pl.struct(pl.exclude("_line")).is_first_distinct()).to_series()
        copy = pl.Series([False]).new_from_index(0, frame.height).scatter(suspects.arg_true().filter(again), True)
        frame, copies, hashes = frame.filter(~copy), frame.filter(copy), hashes.filter(~copy)
    return frame, copies, hashes


def _of(rows: pl.DataFrame) -> dict[int, int]:
    return dict(rows.group_by("_delivery_id").len().iter_rows())
