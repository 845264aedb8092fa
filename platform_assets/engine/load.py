"""One transaction's worth of deliveries of a feed: from claimed bytes to rows and receipts.

Belongs here: what becomes of each delivery. Does not: the transaction's borders and what a failure does to the
group (ingest.py), parsing (readers), what becomes of each row (rows.py), storing (tables.py, ledger.py).
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any, NamedTuple

import duckdb

from platform_assets.engine import failpoint
from platform_assets.engine.archive import Archive, Claim
from platform_assets.engine.contract import Header, headers_of, listed, match_header
from platform_assets.engine.feed import Feed
from platform_assets.engine.landing import Arrival
from platform_assets.engine.ledger import Ledger
from platform_assets.engine.readers import Reader, open_reader
from platform_assets.engine.receipts import Receipt
from platform_assets.engine.remedies import advised
from platform_assets.engine.rows import Rows
from platform_assets.engine.sightings import Sightings
from platform_assets.engine.tables import FeedTables
from platform_assets.errors import DeliveryRefused, DeliveryUnfinished


class Known(NamedTuple):
    """What a delivery that is brought in again keeps of its receipt; `accepted_at`: where it was ever accepted."""

    delivery_id: int
    committed_at: datetime
    accepted_at: datetime | None


@dataclass(frozen=True)
class Offer:
    """A delivery to be taken in: an arrival, claimed into the archive or `refused`; `known_as`: if it came before."""

    arrival: Arrival
    claim: Claim | None
    refused: DeliveryRefused | None = None
    known_as: Known | None = None

    def but(self, refused: DeliveryRefused) -> "Offer":
        """The same delivery, to be quarantined as a whole."""
        return replace(self, refused=refused)


class Poisoned(Exception):
    """A delivery turned out bad when rows of it were already in the transaction."""

    def __init__(self, offer: Offer, cause: DeliveryRefused) -> None:
        super().__init__(str(cause))
        self.offer = offer
        self.cause = cause


@dataclass
class _Delivery:
    """A delivery under way: what its receipt will say."""

    offer: Offer
    receipt: Receipt
    header: Header


class Load:
    """One transaction's worth of deliveries of a feed, no two of the same slot."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        feed: Feed,
        archive: Archive,
        now: datetime,
        *,
        offers: Sequence[Offer],
        revision: int | None = None,
    ) -> None:
        """`offers` are those to come: the ledger is asked once which of their slots and contents it knows, so
        that what is new costs no further question."""
        self._connection = connection
        self._feed = feed
        self._archive = archive
        self._now = now
        self._ledger = Ledger(connection)
        self._tables = FeedTables(connection, feed)
        slots = [offer.arrival.slot for offer in offers]
        contents = [offer.claim.fingerprint for offer in offers if offer.claim is not None]
        self._known_slots, self._known_content = self._ledger.known(feed.name, slots, contents)
        self._next_id, next_revision = self._ledger.next_ids()
        self._revision = next_revision if revision is None else revision
        self._version = feed.version()
        self._rows = Rows(connection, feed, self._tables)
        self._under_way: dict[int, _Delivery] = {}
        self._receipts: list[Receipt] = []
        self._seen: list[tuple[Arrival, int]] = []
        self._fingerprints: dict[str, _Delivery] = {}  # content accepted in this very transaction
        self._words: dict[str, Receipt] = {}  # restatements of this very transaction, by slot
        self.removed: list[int] = []

    def close(self) -> None:
        """Leave the connection alone from now on, whatever has happened."""
        self._rows.close()

    def take(self, offer: Offer) -> None:
        """Read a delivery, or recognise it as a duplicate, or quarantine it as a whole.

        Raises DeliveryUnfinished, before anything is written, where it looks half-written and is young.
        """
        if offer.refused is not None or offer.claim is None:
            assert offer.refused is not None
            self._quarantine(offer, offer.refused)
            return
        self._take(offer, offer.claim)

    def _quarantine(self, offer: Offer, problem: DeliveryRefused) -> None:
        """Write the receipt of a delivery that is not trusted as a whole. What it might replace stays."""
        receipt = self._receipt(
            offer,
            status="quarantined",
            problem=problem.what,
            problem_line=problem.line,
            problem_column=problem.column,
            remedy=problem.remedy,
        )
        self._settle_quarantined(receipt)
        self._receipts.append(receipt)

    def _take(self, offer: Offer, claim: Claim) -> None:
        arrival = claim.arrival
        same = self._same_content(claim)
        try:
            arrival.expects.hold(fingerprint=claim.fingerprint, read=same.read if same else None)
        except DeliveryRefused as mismatch:
            self._quarantine(offer, mismatch)
            return
        known = arrival.slot in self._known_slots
        replaced = self._ledger.in_force(self._feed.name, arrival.slot) if known else None
        if replaced and self._feed.on_restatement == "refuse" and replaced.fingerprint != claim.fingerprint:
            problem = DeliveryRefused(
                f"new content under the name of delivery {replaced.delivery_id}, and the feed refuses restatements",
                remedy='Deliver it under another name, or declare on_restatement="replace".',
            )
            self._quarantine(offer, problem)
            return
        if same is not None:
            if replaced is not None and replaced.delivery_id == same.delivery_id:
                replaced = None  # the file was touched, not changed
            receipt = self._receipt(
                offer,
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
            reader, header = self._opened(claim, young=offer.known_as is None and self._is_young(arrival))
        except DeliveryRefused as problem:
            self._quarantine(offer, advised(problem, claim.copy, arrival.slot, self._feed))
            return
        receipt = self._receipt(
            offer,
            status="accepted",
            format=reader.format,
            dialect=dict(reader.dialect),
            parts=tuple(reader.parts),
            header=reader.header,
            unknown_columns=header.unknown,
        )
        receipt = self._replacing(receipt, replaced)
        delivery = self._under_way[receipt.delivery_id] = _Delivery(offer, receipt, header)
        self._fingerprints[claim.fingerprint] = delivery
        try:
            self._read(delivery, reader)
        except DeliveryRefused as problem:
            raise Poisoned(offer, problem) from problem

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
        """Store what is still waiting, and write the receipts."""
        self._rows.finish()
        bounds = self._tables.bounds({known: each.receipt.committed_at for known, each in self._under_way.items()})
        for delivery_id, delivery in self._under_way.items():
            times = asdict(bounds[delivery_id]) if delivery_id in bounds else {}
            receipt = replace(delivery.receipt, **asdict(self._rows.figures[delivery_id]), **times)
            if not receipt.reconciles:
                raise AssertionError(f"a receipt that does not reconcile: {receipt}")
            self._hold_to_tolerance(delivery.offer, receipt)
            self._receipts.append(receipt)
        self._receipts.sort(key=lambda receipt: receipt.delivery_id)
        self._ledger.add(self._receipts)
        Sightings(self._connection, self._feed.name).remember(self._seen)
        return self._receipts

    def _hold_to_tolerance(self, offer: Offer, receipt: Receipt) -> None:
        tolerate = self._feed.tolerate
        if tolerate.beyond == "quarantine" and not tolerate.allows(receipt.rejected, receipt.read):
            problem = DeliveryRefused(
                f"{receipt.rejected} of {receipt.read} rows break the contract, more than the feed tolerates",
                remedy="Look at them with `platform feed check`; mend contract or file, or tolerate more.",
            )
            raise Poisoned(offer, problem)

    def _receipt(self, offer: Offer, **outcome: Any) -> Receipt:  # noqa: ANN401 - of Receipt
        arrival, claim = offer.arrival, offer.claim
        if offer.known_as is None:
            known, self._next_id = Known(self._next_id, self._now, self._now), self._next_id + 1
            replayed_at: datetime | None = None
        else:
            known, replayed_at = offer.known_as, self._now
        if arrival.seen.ctime_ns:  # else nobody has looked at the file again
            self._seen.append((arrival, known.delivery_id))
        return Receipt(
            delivery_id=known.delivery_id,
            feed=self._feed.name,
            slot=arrival.slot,
            bytes=max(arrival.seen.size, 0),
            contract=self._version,
            arrived_at=arrival.arrived_at,
            revision=self._revision,
            fingerprint=claim.fingerprint if claim else None,
            archived=claim.copy.relative_to(self._archive.root).as_posix() if claim else None,
            committed_at=known.committed_at,
            accepted_at=(known.accepted_at or self._now) if outcome["status"] == "accepted" else None,
            replayed_at=replayed_at,
            expects=arrival.expects,
            **outcome,
        )

    def _is_young(self, arrival: Arrival) -> bool:
        return arrival.age_s(self._now) < self._feed.source.patience.total_seconds()

    def _opened(self, claim: Claim, *, young: bool) -> tuple[Reader, Header]:
        """The delivery's reader and matched header, or DeliveryRefused before any row."""
        feed = self._feed
        try:
            wanted = headers_of(feed.contract)
            scratch = self._archive.root / feed.name
            reader = open_reader(claim.copy, claim.arrival.slot, feed.source, wanted, scratch=scratch)
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
            self._tables.remove([replaced.delivery_id])
            self.removed.append(replaced.delivery_id)
            self._ledger.supersede(replaced.delivery_id, receipt.delivery_id, self._revision)
        return receipt

    def _read(self, delivery: _Delivery, reader: Reader) -> None:
        delivery_id = delivery.receipt.delivery_id
        names = {**delivery.header.columns, **{name: name for name in delivery.header.unknown}}
        self._rows.begin(delivery_id, delivery.header, delivery.receipt.arrived_at.date())
        read = 0
        if reader.header:
            for batch in reader.batches(names):
                read += batch.frame.height + batch.malformed.height
                failpoint.reached("mid-read")
                self._rows.add(delivery_id, batch)
        reader.reconcile(read)
        delivery.offer.arrival.expects.hold(read=read)
        self._rows.end(delivery_id)
        if read == 0 and reader.header and self._feed.on_empty == "quarantine":
            raise _empty("a header and no row")
        delivery.receipt = replace(delivery.receipt, read=read, parts=tuple(reader.parts))


def _empty(what: str) -> DeliveryRefused:
    return DeliveryRefused(
        what,
        remedy='Ask the producer for the rows, or declare on_empty="accept" if this is how no data looks.',
    )
