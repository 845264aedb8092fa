"""Deliveries of a feed that are taken in together: from claimed bytes to validated rows, and what their receipts say.

Belongs here: what becomes of each delivery, by what is known before any of them comes. Elsewhere: storing
(transaction.py), what it does to its slot (slot_changes.py), parsing (readers), what becomes of each row (rows.py).
Nothing here knows the store: a thread of its own runs it.
"""

import time
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from platform_assets.engine.archive.archive import Archive, content_of
from platform_assets.engine.archive.decisions import Decided, decided_of
from platform_assets.engine.archive.expected import Expected
from platform_assets.engine.contract.model import Header, headers_of, match_header
from platform_assets.engine.contract.shown import Shown, shown_of
from platform_assets.engine.durable import failpoint
from platform_assets.engine.feed.feed import Feed
from platform_assets.engine.feed.formats import Excel
from platform_assets.engine.load.decisions import taken_back
from platform_assets.engine.load.offer import ITS_TURN, Offer
from platform_assets.engine.load.readings import readings
from platform_assets.engine.load.remedies import advised
from platform_assets.engine.load.rows import Validated, Validation
from platform_assets.engine.load.slot_changes import SlotChanges, day_of
from platform_assets.engine.load.under_way import UnderWay
from platform_assets.engine.readers import Batch, Part, Reader, open_reader
from platform_assets.engine.readers.limits import LIMITS
from platform_assets.engine.sources.source import Claim
from platform_assets.engine.store.receipts import Receipt
from platform_assets.errors import HIDDEN, DeliveryRefused, DeliveryUnfinished, StorageError, quoted

_LONGEST_S: Final = 600
"""Of reading in one transaction; what is left then waits for the next, so that the writer's lock is let go."""


@dataclass(frozen=True)
class Knowledge:
    """What the ledger knows when deliveries come: of their slots, which of these are offered what is in force, the last
    receipts of their slots by id, what persons decided, the columns that raw has, and the next id and revision."""

    slots: SlotChanges
    in_force: Mapping[str, Receipt]
    last: Mapping[int, Receipt]
    decided: Mapping[str, Decided]
    types: Mapping[str, str]
    next_id: int
    revision: int


@dataclass
class Delivery:
    """A delivery under way: what its receipt will say. copy_of: the delivery that has its content already."""

    offer: Offer
    receipt: Receipt
    copy_of: int | None = None


class Load:
    """Deliveries of a feed that are taken in at once, no two of the same slot.

    deliveries: what came, by id, once `validated` is exhausted; fresh: of these, whose content is new; stand: receipts
    that stay as they are; unfinished: what is left alone, and why.
    """

    def __init__(
        self,
        feed: Feed,
        archive: Archive,
        now: datetime,
        offers: Sequence[Offer],
        known: Knowledge,
        under_way: UnderWay,
    ) -> None:
        self._feed = feed
        self._under_way = under_way
        self._archive = archive
        self._now = now
        self._offers = offers
        self._known = known
        self._next_id = known.next_id
        self._version = feed.version()
        self._shown = shown_of(feed.contract)
        self._validation = Validation(feed, known.types)
        # What persons let through with columns that nobody declared, or without columns.
        self._allowed = {offer.slot for offer in offers if self._decided(offer).allowed is not None}
        self.fresh: dict[str, Delivery] = {}
        self.deliveries: dict[int, Delivery] = {}
        self.kept: list[Receipt] = []
        self.unfinished: dict[str, str] = {}

    def validated(self) -> Generator[Validated, None, None]:
        """Take the deliveries, one after the other; their rows, validated."""
        begun = time.monotonic()
        # What was renamed is told from what it was only while none of it has been taken in.
        apart = not any(offer.moved_from or offer.known_as for offer in self._offers)
        for offer in self._offers:
            if apart and self.deliveries and time.monotonic() - begun > _LONGEST_S:
                self.unfinished[offer.slot] = ITS_TURN
                continue
            try:
                yield from self._take(offer)
            except DeliveryUnfinished as error:
                self.unfinished[offer.slot] = self._shown.message(error.said[0])
        yield from self._validation.finish()

    def _take(self, offer: Offer) -> Generator[Validated, None, None]:
        """Read a delivery, or recognise it as a duplicate, or quarantine it as a whole."""
        if offer.kept is not None:
            self.kept.append(offer.kept)
            return
        if self._decided(offer).withdrawn is not None:
            receipt = self._receipt(offer, status="withdrawn", read=offer.erased)
            self.deliveries[receipt.delivery_id] = Delivery(offer, taken_back(receipt, offer.before))
            return
        if offer.refused is not None or offer.claim is None:
            assert offer.refused is not None
            self._refuse(offer, offer.refused)
            return
        same = self._same_content(offer.slot, offer.claim.fingerprint)
        try:
            self._feed.file_date(offer.slot)
            offer.arrival.expects.check(fingerprint=offer.claim.fingerprint, read=same.read if same else None)
            if self._decided(offer).allowed is None:
                self._hold_to_restatements(offer.slot)
            if same is None:
                self._under_way.begin(offer.claim.fingerprint, offer.slot)
        except DeliveryRefused as problem:
            self._quarantine(offer, problem)
            return
        if same is not None:
            receipt = self._receipt(
                offer,
                status="duplicate",
                read=same.read,
                duplicate=same.read - offer.erased,
                format=same.format,
                dialect=same.dialect,
                parts=same.parts,
                header=same.header,
                duplicate_of=same.delivery_id,
            )
            self.deliveries[receipt.delivery_id] = Delivery(offer, receipt, copy_of=same.original)
            return
        try:
            reader, header = self._opened(offer.claim, offer.slot, young=self._may_grow(offer))
        except DeliveryRefused as problem:
            self._quarantine(offer, advised(problem, offer.claim.copy, offer.slot, self._feed))
            return
        yield from self._read(offer, offer.claim, reader, header)

    def _read(self, offer: Offer, claim: Claim, reader: Reader, header: Header) -> Generator[Validated, None, None]:
        receipt = self._receipt(
            offer,
            status="accepted",
            format=reader.format,
            dialect=self._dialect(reader),
            parts=self._parts(reader),
            header=self._shown.names(reader.header),
            unknown_columns=self._shown.names(header.unknown),
        )
        delivery = self.deliveries[receipt.delivery_id] = Delivery(offer, receipt)
        read = 0
        try:
            reading = readings(self._feed, reader, header, receipt)
            columns = self._validation.begin(receipt, header, reading)
            if reader.header:
                for batch in _readable(claim.copy, reader.batches(columns)):
                    read += batch.frame.height + batch.malformed.height
                    failpoint.reached("mid-read")
                    yield from self._validation.add(receipt.delivery_id, batch)
            reader.reconcile(read)
            read += offer.erased
            offer.arrival.expects.check(read=read)
            refuses = self._feed.on_empty == "quarantine" and receipt.allowed is None
            if read == 0 and reader.header and refuses:
                raise _empty("a header and no row")
        except DeliveryRefused as problem:
            yield from self._validation.drop(receipt.delivery_id)
            delivery.receipt = refused(receipt, problem, self._shown)
            return
        except DeliveryUnfinished as error:
            yield from self._validation.drop(receipt.delivery_id)
            if self._may_grow(offer):
                del self.deliveries[receipt.delivery_id]
                raise
            delivery.receipt = refused(receipt, _cut_off(error), self._shown)
            return
        yield from self._validation.end(receipt.delivery_id)
        delivery.receipt = replace(receipt, read=read, parts=self._parts(reader))
        self.fresh[claim.fingerprint] = delivery

    def _refuse(self, offer: Offer, problem: DeliveryRefused) -> None:
        """Quarantine what has no copy; a file that still cannot be read gets no second receipt."""
        last = self._known.last.get(self._known.slots.before[offer.slot].delivery_id or 0)
        if (
            not offer.final
            and last is not None
            and last.fingerprint is None
            and last.problem == self._shown.message(problem.said[0])
        ):
            self.unfinished[offer.slot] = problem.what
        else:
            self._quarantine(offer, problem)

    def _quarantine(self, offer: Offer, problem: DeliveryRefused) -> None:
        """Write the receipt of a delivery that is not trusted as a whole. What it might replace stays."""
        receipt = refused(self._receipt(offer, status="quarantined"), problem, self._shown)
        self.deliveries[receipt.delivery_id] = Delivery(offer, receipt)

    def _same_content(self, slot: str, fingerprint: str) -> Receipt | None:
        """The delivery that had these bytes already, if its rows are here or the file was merely touched."""
        lists = self._feed.key_within == "delivery"  # of which each counts, also one that equals another
        if not lists and (twin := self.fresh.get(fingerprint)) is not None:
            return twin.receipt
        if (there := self._known.in_force.get(slot)) is not None:
            return there
        before = self._known.slots.before[slot]
        last = self._known.last.get(before.delivery_id or 0)
        touched = before.fingerprint == fingerprint and last is not None and last.problem is None
        return last if touched else None

    def _hold_to_restatements(self, slot: str) -> None:
        filled_by = self._known.slots.own(slot).filled_by
        if filled_by is None or self._feed.on_restatement != "refuse":
            return
        there = self._known.in_force.get(slot)
        if there is None or there.delivery_id != filled_by:
            raise DeliveryRefused(
                f"new content under the name of delivery {filled_by}, and the feed refuses restatements",
                remedy='Deliver it under another name, or declare on_restatement="replace".',
            )

    def _decided(self, offer: Offer) -> Decided:
        """What persons decided of the offer's content."""
        return decided_of(self._known.decided, offer.subjects)

    def _may_grow(self, offer: Offer) -> bool:
        """Whether, where it looks cut off, it may still be being written."""
        return offer.known_as is None and offer.arrival.age(self._now) < offer.arrival.patience

    def _opened(self, claim: Claim, slot: str, *, young: bool) -> tuple[Reader, Header]:
        """The delivery's reader and matched header, or DeliveryRefused before any row."""
        feed = self._feed
        allowed = slot in self._allowed
        try:
            wanted = headers_of(feed.contract)
            scratch = self._archive.root / feed.name
            limits = replace(LIMITS, disk=self._archive.disk)
            reader = open_reader(claim.copy, slot, feed.source, wanted, scratch=scratch, limits=limits)
        except DeliveryUnfinished as error:
            if young:
                raise
            raise _cut_off(error) from error
        except OSError as error:
            raise _unreadable(claim.copy, error) from error
        if reader.looks_cut_off and young:
            raise DeliveryUnfinished("ends in the middle of a record")
        if not reader.header:
            if feed.on_empty == "quarantine" and not allowed:
                raise _empty("the file is empty")
            return reader, Header({}, ())
        if len(reader.header) > feed.most_columns:
            raise DeliveryRefused(
                f"{len(reader.header)} columns, more than the {feed.most_columns} that the feed allows",
                remedy="Declare a higher most_columns, if this is how the file should look.",
                line=1,
            )
        header = match_header(feed.contract, reader.header, lacking=allowed)
        if header.unknown and feed.on_drift == "fail" and not allowed:
            raise DeliveryRefused(
                f"unknown column{'s' * (len(header.unknown) > 1)} {quoted(*header.unknown)}",
                remedy=f'Declare it in {feed.contract.__name__}, or declare on_drift="add" or "rescue".',
                line=1,
                column=header.unknown[0],
            )
        return reader, header

    def _parts(self, reader: Reader) -> tuple[Part, ...]:
        """The files within, which are called by their number where their names may be personal data."""
        if not self._shown.personal:
            return tuple(reader.parts)
        return tuple(replace(part, name=f"member {at}") for at, part in enumerate(reader.parts, start=1))

    def _dialect(self, reader: Reader) -> dict[str, str]:
        """How it is written; a sheet's name only as it is declared."""
        dialect = dict(reader.dialect)
        declared = isinstance(self._feed.source.format, Excel) and self._feed.source.format.sheet is not None
        if self._shown.personal and "sheet" in dialect and not declared:
            dialect["sheet"] = HIDDEN
        return dialect

    def _expected(self, expects: Expected) -> Expected:
        if expects.problem is None:
            return expects
        return replace(expects, problem=self._shown.message(expects.quoted_problem))

    def _receipt(self, offer: Offer, **outcome: Any) -> Receipt:  # noqa: ANN401 - of Receipt
        arrival, claim = offer.arrival, offer.claim
        known = offer.known_as
        if known is None:
            delivery_id, self._next_id = self._next_id, self._next_id + 1
        else:
            delivery_id = known.delivery_id
        accepted_at = None if known is None else known.accepted_at
        decided = self._decided(offer)
        return Receipt(
            delivery_id=delivery_id,
            feed=self._feed.name,
            slot=arrival.slot,
            bytes=arrival.size,
            contract=self._version,
            arrived_at=arrival.arrived_at,
            revision=self._known.revision,
            fingerprint=claim.fingerprint if claim else None,
            archived=claim.copy.relative_to(self._archive.root).as_posix() if claim else None,
            committed_at=self._now if known is None else known.committed_at,
            accepted_at=(accepted_at or self._now) if outcome["status"] == "accepted" else None,
            replayed_at=None if known is None else self._now,
            expects=self._expected(arrival.expects),
            generation=self._known.slots.before[arrival.slot].generation + 1 if known is None else known.generation,
            came_with=0 if known is None else known.came_with,
            moved_from=offer.moved_from,
            erased=offer.erased,
            rewritten=content_of(claim.copy) if claim and offer.erased else None,
            file_date=day_of(self._feed, arrival.slot),
            withdrawn=decided.withdrawn,
            allowed=decided.allowed,
            **outcome,
        )


def refused(receipt: Receipt, problem: DeliveryRefused, shown: Shown) -> Receipt:
    """The receipt of a delivery that is quarantined as a whole after all."""
    what, remedy = map(shown.message, problem.said)
    return replace(
        receipt,
        status="quarantined",
        accepted_at=None,
        read=receipt.erased,
        accepted=0,
        rejected=0,
        duplicate=0,
        format=None,
        dialect={},
        parts=(),
        header=(),
        unknown_columns=(),
        problem=what,
        problem_line=problem.line,
        problem_column=shown.name(problem.column),
        remedy=remedy,
    )


def _readable(copy: Path, batches: Iterable[Batch]) -> Iterator[Batch]:
    """The batches; raises StorageError where the archive's copy stops being readable."""
    try:
        yield from batches
    except OSError as error:
        raise _unreadable(copy, error) from error


def _unreadable(copy: Path, error: OSError) -> Exception:
    # Libraries tell of damaged content by this class, too, without the number of an error of the system.
    return error if error.errno is None else StorageError(copy, f"cannot be read: {error.strerror}")


def _cut_off(error: DeliveryUnfinished) -> DeliveryRefused:
    return DeliveryRefused(error.said[0], remedy="Ask the producer to deliver the whole file again.")


def _empty(what: str) -> DeliveryRefused:
    return DeliveryRefused(
        what,
        remedy='Ask the producer for the rows, or declare on_empty="accept" if this is how no data looks.',
    )
