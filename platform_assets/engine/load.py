"""One transaction's worth of deliveries of a feed: from claimed bytes to rows and receipts.

Belongs here: what becomes of each delivery and each row of it. Does not: the transaction's borders and what a
failure does to the group (ingest.py), parsing (readers), judging (validate.py), storing (tables.py, ledger.py).
"""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

import duckdb
import polars as pl

from platform_assets.engine import failpoint
from platform_assets.engine.archive import Archive, Claim
from platform_assets.engine.contract import Header, columns_of, listed, match_header
from platform_assets.engine.feed import Feed
from platform_assets.engine.landing import Arrival
from platform_assets.engine.ledger import Ledger, Receipt
from platform_assets.engine.readers import Reader, open_reader
from platform_assets.engine.tables import FeedTables
from platform_assets.engine.validate import judge
from platform_assets.engine.warehouse import execute_over
from platform_assets.errors import DeliveryRefused, DeliveryUnfinished

_FLUSH_ROWS: Final = 250_000


class Poisoned(Exception):
    """A delivery turned out bad when rows of it were already in the transaction."""

    def __init__(self, claim: Claim, cause: DeliveryRefused) -> None:
        super().__init__(str(cause))
        self.claim = claim
        self.cause = cause


@dataclass
class _Delivery:
    """A delivery under way: what its receipt will say."""

    receipt: Receipt
    header: Header


class Load:
    """One transaction's worth of deliveries of a feed.

    Small deliveries are validated and inserted together: a frame of rows carries its delivery's id.
    """

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        feed: Feed,
        archive: Archive,
        now: datetime,
        *,
        slots: list[str],
        contents: list[str],
    ) -> None:
        """`slots` and `contents` (fingerprints) are those to come: the ledger is asked once which of them it
        knows, so that what is new costs no further question."""
        self._connection = connection
        self._feed = feed
        self._archive = archive
        self._now = now
        self._ledger = Ledger(connection)
        self._tables = FeedTables(connection, feed)
        self._known_slots, self._known_content = self._ledger.known(feed.name, slots, contents)
        self._next_id, self._revision = self._ledger.next_ids()
        self._version = feed.version()
        self._types = self._tables.types()
        self._buffer: list[pl.DataFrame] = []
        self._buffered = 0
        self._under_way: dict[int, _Delivery] = {}
        self._receipts: list[Receipt] = []
        self._seen: list[tuple[Arrival, int]] = []
        self._fingerprints: dict[str, _Delivery] = {}  # content accepted in this very transaction
        self._words: dict[str, Receipt] = {}  # restatements of this very transaction, by slot
        self._spanning: int | None = None  # the delivery whose rows are in the table `hashes_seen`

    def quarantine(self, arrival: Arrival, problem: DeliveryRefused, claim: Claim | None = None) -> None:
        """Write the receipt of a delivery that is not trusted as a whole. What it might replace stays."""
        receipt = self._receipt(
            arrival,
            claim,
            status="quarantined",
            problem=problem.what,
            problem_line=problem.line,
            problem_column=problem.column,
            remedy=problem.remedy,
        )
        self._settle_quarantined(receipt)
        self._receipts.append(receipt)

    def take(self, claim: Claim) -> None:
        """Read a claimed delivery, or recognise it as a duplicate.

        Raises DeliveryUnfinished, before anything is written, where it looks half-written and is young.
        """
        arrival = claim.arrival
        known = arrival.slot in self._known_slots
        replaced = self._ledger.in_force(self._feed.name, arrival.slot) if known else None
        if replaced and self._feed.on_restatement == "refuse" and replaced.fingerprint != claim.fingerprint:
            problem = DeliveryRefused(
                f"new content under the name of delivery {replaced.delivery_id}, and the feed refuses restatements",
                remedy='Deliver it under another name, or declare on_restatement="replace".',
            )
            self.quarantine(arrival, problem, claim)
            return
        same = self._same_content(claim)
        if same is not None:
            if replaced is not None and replaced.delivery_id == same.delivery_id:
                replaced = None  # the file was touched, not changed
            receipt = self._receipt(
                arrival,
                claim,
                status="duplicate",
                read=same.read,
                duplicate=same.read,
                format=same.format,
                dialect=same.dialect,
                parts=same.parts,
                header=same.header,
                duplicate_of=same.delivery_id,
            )
            self._receipts.append(self._replacing(receipt, replaced))
            return
        try:
            reader, header = self._opened(claim)
        except DeliveryRefused as problem:
            self.quarantine(arrival, problem, claim)
            return
        receipt = self._receipt(
            arrival,
            claim,
            status="accepted",
            format=reader.format,
            dialect=dict(reader.dialect),
            parts=tuple(reader.parts),
            header=reader.header,
            unknown_columns=header.unknown,
        )
        receipt = self._replacing(receipt, replaced)
        delivery = self._under_way[receipt.delivery_id] = _Delivery(receipt, header)
        self._fingerprints[claim.fingerprint] = delivery
        try:
            self._read(delivery, reader)
        except DeliveryRefused as problem:
            raise Poisoned(claim, problem) from problem

    def _same_content(self, claim: Claim) -> Receipt | None:
        """The delivery that had these bytes already, if its rows are here or the file was merely touched."""
        if (twin := self._fingerprints.get(claim.fingerprint)) is not None:
            return twin.receipt
        if claim.fingerprint not in self._known_content:
            return None
        return self._ledger.accepted_content(self._feed.name, claim.fingerprint) or self._ledger.said_before(
            self._feed.name, claim.arrival.slot, claim.fingerprint
        )

    def _settle_quarantined(self, receipt: Receipt) -> None:
        if receipt.slot in self._known_slots:
            self._ledger.settle_quarantined(self._feed.name, receipt.slot, receipt.delivery_id)

    def finish(self) -> list[Receipt]:
        """Write what is still buffered, and the receipts."""
        self._flush()
        receipts = sorted(
            [*self._receipts, *(delivery.receipt for delivery in self._under_way.values())],
            key=lambda receipt: receipt.delivery_id,
        )
        for receipt in receipts:
            if not receipt.reconciles:
                raise AssertionError(f"a receipt that does not reconcile: {receipt}")
        self._ledger.add(receipts)
        self._ledger.saw(self._feed.name, self._seen)
        return receipts

    def _receipt(self, arrival: Arrival, claim: Claim | None, **outcome: Any) -> Receipt:  # noqa: ANN401 - of Receipt
        delivery_id, self._next_id = self._next_id, self._next_id + 1
        self._seen.append((arrival, delivery_id))
        return Receipt(
            delivery_id=delivery_id,
            feed=self._feed.name,
            slot=arrival.slot,
            bytes=arrival.seen.size,
            contract=self._version,
            arrived_at=arrival.arrived_at,
            committed_at=self._now,
            revision=self._revision,
            fingerprint=claim.fingerprint if claim else None,
            archived=claim.copy.relative_to(self._archive.root).as_posix() if claim else None,
            **outcome,
        )

    def _opened(self, claim: Claim) -> tuple[Reader, Header]:
        """The delivery's reader and matched header, or DeliveryRefused before any row."""
        feed = self._feed
        young = claim.arrival.age_s(self._now) < feed.source.patience.total_seconds()
        try:
            wanted = [header for column in columns_of(feed.contract) for header in column.headers]
            reader = open_reader(claim.copy, claim.arrival.slot, feed.source, wanted)
        except DeliveryUnfinished as error:
            if young:
                raise
            raise DeliveryRefused(error.what, remedy="Ask the producer to deliver the whole file again.") from error
        if reader.looks_cut_off and young:
            raise DeliveryUnfinished("ends in the middle of a record")
        if not reader.header:
            if feed.on_empty == "quarantine":
                raise _empty("the file is empty")
            return reader, Header({}, ())
        if len(reader.header) > feed.most_columns:
            raise DeliveryRefused(
                f"{len(reader.header)} columns, more than the {feed.most_columns} that the feed allows",
                remedy="Declare a higher most_columns, if this is how the file should look.",
                line=1,
            )
        header = match_header(feed.contract, reader.header)
        if header.unknown and feed.on_drift == "fail":
            raise DeliveryRefused(
                f"unknown column{'s' * (len(header.unknown) > 1)} {listed(header.unknown)}",
                remedy=f'Declare it in {feed.contract.__name__}, or declare on_drift="add" or "rescue".',
                line=1,
                column=header.unknown[0],
            )
        return reader, header

    def _replacing(self, receipt: Receipt, replaced: Receipt | None) -> Receipt:
        """Take the rows of what the slot held before out, unless the feed keeps both."""
        self._settle_quarantined(receipt)
        if replaced is None or self._feed.on_restatement == "append":
            return receipt
        receipt = self._words[receipt.slot] = replace(receipt, supersedes=replaced.delivery_id)
        others = [word.stands_for for word in self._words.values()]
        if replaced.delivery_id not in others and not self._ledger.held(replaced, besides=list(self._words)):
            self._tables.remove(replaced.delivery_id)
            self._ledger.supersede(replaced.delivery_id, receipt.delivery_id, self._revision)
        return receipt

    def _read(self, delivery: _Delivery, reader: Reader) -> None:
        header = delivery.header
        names = {**header.columns, **{name: name for name in header.unknown}}
        if self._feed.on_drift == "add":
            for name in header.unknown:
                self._make_room(name)
        read = 0
        if reader.header:
            for batch in reader.batches(names):
                read += batch.frame.height + batch.malformed.height
                failpoint.reached("mid-read")
                self._malformed(delivery, batch.malformed)
                self._add(delivery, batch.frame)
        reader.reconcile(read)
        if read == 0 and reader.header and self._feed.on_empty == "quarantine":
            raise _empty("a header and no row")
        delivery.receipt = replace(delivery.receipt, read=read)

    def _make_room(self, name: str) -> None:
        """See that raw has a text column for the unknown column `name`; to SQL its case makes no difference."""
        there = {known.lower(): sql_type for known, sql_type in self._types.items()}.get(name.lower())
        if there is None:
            self._tables.add_column(name, "VARCHAR")
            self._types[name] = "VARCHAR"
        elif there != "VARCHAR":
            raise DeliveryRefused(
                f"unknown column {name!r} is {there} in raw, from an earlier contract",
                remedy=f"Declare it in {self._feed.contract.__name__} again, or drop it from raw.",
                line=1,
                column=name,
            )

    def _malformed(self, delivery: _Delivery, malformed: pl.DataFrame) -> None:
        if not malformed.height:
            return
        reason = pl.struct(
            pl.lit(None, pl.String).alias("column"), pl.col("rule"), pl.lit(None, pl.String).alias("value")
        )
        # The record becomes a JSON string: what stands between {"r": and the closing brace.
        self._tables.insert_rejected(
            malformed.select(
                pl.lit(delivery.receipt.delivery_id, pl.Int64).alias("_delivery_id"),
                "_line",
                pl.concat_list(reason).alias("reasons"),
                pl.struct(pl.col("record").alias("r")).struct.json_encode().str.slice(5).str.head(-1).alias("record"),
            )
        )
        delivery.receipt = replace(delivery.receipt, rejected=delivery.receipt.rejected + malformed.height)

    def _add(self, delivery: _Delivery, frame: pl.DataFrame) -> None:
        if not frame.height:
            return
        unknown = list(delivery.header.unknown)
        if self._feed.on_drift == "add":
            frame = frame.with_columns(pl.col(unknown).cast(pl.String, strict=False))
        elif self._feed.on_drift == "rescue":
            extra = pl.struct(unknown).struct.json_encode() if unknown else pl.lit(None, pl.String)
            frame = frame.with_columns(extra.alias("_extra")).drop(unknown)
        frame = frame.with_columns(pl.lit(delivery.receipt.delivery_id, pl.Int64).alias("_delivery_id"))
        if self._buffer and self._buffer[-1].schema != frame.schema:
            self._flush()
        self._buffer.append(frame)
        self._buffered += frame.height
        if self._buffered >= _FLUSH_ROWS:
            self._flush(more_of=delivery)

    def _flush(self, more_of: _Delivery | None = None) -> None:
        """Judge and store the buffered rows; more rows of delivery `more_of` may follow."""
        if not self._buffer:
            return
        frame = pl.concat(self._buffer)
        self._buffer, self._buffered = [], 0
        if self._feed.on_duplicate == "reject":
            frame, copies = self._split_duplicates(frame, more_of)
            if copies.height:
                self._ledger.add_duplicates(copies)
                self._count(copies, "duplicate")
        verdict = judge(frame, self._feed.contract)
        self._tables.insert(verdict.accepted)
        self._count(verdict.accepted, "accepted")
        self._widen_event_time(verdict.accepted)
        if verdict.rejected.height:
            self._reject(verdict.rejected, verdict.reasons)
            self._count(verdict.rejected, "rejected")

    def _count(self, rows: pl.DataFrame, figure: str) -> None:
        for delivery_id, count in rows.group_by("_delivery_id").len().iter_rows():
            delivery = self._under_way[delivery_id]
            delivery.receipt = replace(delivery.receipt, **{figure: getattr(delivery.receipt, figure) + count})

    def _widen_event_time(self, rows: pl.DataFrame) -> None:
        if self._feed.event_time is None:
            return
        instant = pl.col(self._feed.event_time).cast(pl.Datetime("us", "UTC"))
        bounds = rows.group_by("_delivery_id").agg(instant.min().alias("first"), instant.max().alias("last"))
        for delivery_id, first, last in bounds.iter_rows():
            delivery = self._under_way[delivery_id]
            known = [t for t in (delivery.receipt.event_min, delivery.receipt.event_max, first, last) if t is not None]
            if known:
                delivery.receipt = replace(delivery.receipt, event_min=min(known), event_max=max(known))

    def _reject(self, rejected: pl.DataFrame, reasons: pl.Series) -> None:
        for delivery_id in rejected["_delivery_id"].unique():
            of_delivery = rejected["_delivery_id"] == delivery_id
            part = rejected.filter(of_delivery)
            delivered = self._under_way[delivery_id].header.columns
            record = pl.struct(
                pl.col(name).cast(pl.String, strict=False).alias(delivered.get(name, name))
                for name in part.columns
                if name not in ("_delivery_id", "_line", "_extra")
            )
            self._tables.insert_rejected(
                part.select(
                    "_delivery_id",
                    "_line",
                    reasons.filter(of_delivery).alias("reasons"),
                    record.struct.json_encode().alias("record"),
                )
            )

    def _split_duplicates(self, frame: pl.DataFrame, more_of: _Delivery | None) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Split off rows that equal an earlier row of their delivery in every delivered column."""
        compared = pl.struct(pl.exclude("_line"))
        again = frame.select(~compared.is_first_distinct()).to_series()
        if more_of is not None or frame["_delivery_id"][0] == self._spanning:
            again = again | self._seen_before(frame)
        self._spanning = more_of.receipt.delivery_id if more_of else None
        if not again.any():
            return frame, frame.clear()
        return frame.filter(~again), frame.filter(again)

    def _seen_before(self, frame: pl.DataFrame) -> pl.Series:
        """For deliveries too large for one frame: which rows equal a row of an earlier frame.

        Rows are compared by 128 bits of hash, which DuckDB keeps, on disk if need be.
        """
        self._connection.execute(
            "CREATE TEMP TABLE IF NOT EXISTS hashes_seen (delivery_id BIGINT, h1 UBIGINT, h2 UBIGINT)"
        )
        columns = frame.drop("_line")
        hashes = pl.DataFrame(
            {
                "row": pl.int_range(frame.height, eager=True),
                "delivery_id": frame["_delivery_id"],
                "h1": columns.hash_rows(seed=0),
                "h2": columns.hash_rows(seed=1),
            }
        )
        self._connection.execute("DELETE FROM hashes_seen WHERE delivery_id < ?", [frame["_delivery_id"][0]])
        # An inner join hashes its smaller side, these rows; a semi join would hash all that was seen.
        rows = execute_over(
            self._connection,
            hashes,
            "SELECT DISTINCT row FROM hashes_seen JOIN arrived USING (delivery_id, h1, h2)",
        ).fetchall()
        execute_over(self._connection, hashes, "INSERT INTO hashes_seen SELECT delivery_id, h1, h2 FROM arrived")
        return pl.int_range(frame.height, eager=True).is_in([row for (row,) in rows])


def _empty(what: str) -> DeliveryRefused:
    return DeliveryRefused(
        what,
        remedy='Ask the producer for the rows, or declare on_empty="accept" if this is how no data looks.',
    )
