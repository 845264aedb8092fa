"""Deliveries of a feed that are taken in together: from claimed bytes to rows, receipts and slots.

Belongs here: what becomes of each delivery, and what it does to its slot. Does not: the transaction's borders
(ingest.py), parsing (readers), what becomes of each row (rows.py), storing (tables.py, ledger.py, slots.py).
"""

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import duckdb

from platform_assets.engine import failpoint
from platform_assets.engine.archive import Archive, Claim
from platform_assets.engine.contract import Header, headers_of, listed, match_header
from platform_assets.engine.feed import Feed
from platform_assets.engine.landing import Arrival
from platform_assets.engine.ledger import Ledger
from platform_assets.engine.readers import Batch, Reader, open_reader
from platform_assets.engine.receipts import Receipt
from platform_assets.engine.rows import Judged, Judging, Rows, ahead
from platform_assets.engine.slots import Slot, Slots, ranks
from platform_assets.engine.tables import FeedTables
from platform_assets.errors import DeliveryRefused, DeliveryUnfinished, StorageError


class Known(NamedTuple):
    """What a delivery that is brought in again keeps of its receipt; `accepted_at`: where it was ever accepted."""

    delivery_id: int
    committed_at: datetime
    accepted_at: datetime | None
    generation: int
    batch: int


@dataclass(frozen=True)
class Offer:
    """A delivery to be taken in: an arrival, claimed into the archive or `refused`.

    known_as: if it came before. moved_from: as in its receipt. settles: whether its file, once it has a receipt, need
    not be looked at again until it changes. stands: a receipt that stays as it is, for what it did to its slot.
    """

    arrival: Arrival
    claim: Claim | None
    refused: DeliveryRefused | None = None
    known_as: Known | None = None
    moved_from: tuple[str, ...] = ()
    settles: bool = True
    stands: Receipt | None = None

    @property
    def slot(self) -> str:
        """The slot it fills."""
        return self.arrival.slot

    @property
    def fingerprint(self) -> str | None:
        """Its content."""
        return self.claim.fingerprint if self.claim else None


@dataclass
class _Delivery:
    """A delivery under way: what its receipt will say. copy_of: the delivery that has its content already."""

    offer: Offer
    receipt: Receipt
    copy_of: int | None = None


class Load:
    """Deliveries of a feed that are taken in at once, no two of the same slot: what they find is what was there before
    any of them came."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        feed: Feed,
        archive: Archive,
        now: datetime,
        *,
        offers: Sequence[Offer],
        revision: int,
    ) -> None:
        """Everything that is known of the offers' slots and contents is asked for here, so that the thread that reads
        has no need of the connection."""
        self._feed = feed
        self._archive = archive
        self._now = now
        self._offers = offers
        self._revision = revision
        self._version = feed.version()
        self._ledger = Ledger(connection)
        self._tables = FeedTables(connection, feed)
        self._stored_slots = Slots(connection, feed.name)
        self._rows = Rows(connection, self._tables)
        self._judging = Judging(feed, self._rows.types)
        names = [name for offer in offers for name in (offer.slot, *offer.moved_from)]
        self._before = self._stored_slots.named(names)
        contents = [offer.fingerprint for offer in offers if offer.fingerprint is not None]
        self._in_force = self._ledger.in_force(feed.name, contents)
        last = [slot.delivery_id for slot in self._before.values() if slot.delivery_id is not None]
        self._last = {receipt.delivery_id: receipt for receipt in self._ledger.by_id(last)}
        self._next_id, _ = self._ledger.next_ids()
        self._taken_over = self._moves()
        self._fresh: dict[str, _Delivery] = {}
        self._deliveries: dict[int, _Delivery] = {}
        self._stand: list[Receipt] = []
        self.unfinished: dict[str, str] = {}
        self.removed: set[int] = set()
        self.reranked: set[int] = set()

    def run(self) -> list[int]:
        """Take the deliveries in; their ids. What is `removed` from raw by them, or `reranked` there, is said after."""
        for judged in ahead(self._judged()):
            self._rows.store(judged)
        return self._finish()

    # ---- by the thread that reads: no connection from here on

    def _judged(self) -> Generator[Judged, None, None]:
        for offer in self._offers:
            try:
                yield from self._take(offer)
            except DeliveryUnfinished as error:
                self.unfinished[offer.slot] = error.what
        yield from self._judging.finish()

    def _take(self, offer: Offer) -> Generator[Judged, None, None]:
        """Read a delivery, or recognise it as a duplicate, or quarantine it as a whole."""
        if offer.stands is not None:
            self._stand.append(offer.stands)
            return
        if offer.refused is not None or offer.claim is None:
            assert offer.refused is not None
            self._refuse(offer, offer.refused)
            return
        same = self._same_content(offer.slot, offer.claim.fingerprint)
        try:
            offer.arrival.expects.hold(fingerprint=offer.claim.fingerprint, read=same.read if same else None)
            self._hold_to_restatements(offer.slot, offer.claim.fingerprint)
        except DeliveryRefused as problem:
            self._quarantine(offer, problem)
            return
        if same is not None:
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
            self._deliveries[receipt.delivery_id] = _Delivery(offer, receipt, copy_of=same.stands_for)
            return
        try:
            reader, header = self._opened(offer.claim, young=offer.known_as is None and self._is_young(offer.arrival))
        except DeliveryRefused as problem:
            self._quarantine(offer, problem)
            return
        yield from self._read(offer, offer.claim, reader, header)

    def _read(self, offer: Offer, claim: Claim, reader: Reader, header: Header) -> Generator[Judged, None, None]:
        receipt = self._receipt(
            offer,
            status="accepted",
            format=reader.format,
            dialect=dict(reader.dialect),
            parts=tuple(reader.parts),
            header=reader.header,
            unknown_columns=header.unknown,
        )
        delivery = self._deliveries[receipt.delivery_id] = _Delivery(offer, receipt)
        read = 0
        try:
            columns = self._judging.begin(receipt.delivery_id, header, receipt.arrived_at.date())
            if reader.header:
                for batch in _readable(claim.copy, reader.batches(columns)):
                    read += batch.frame.height + batch.malformed.height
                    failpoint.reached("mid-read")
                    yield from self._judging.add(receipt.delivery_id, batch)
            reader.reconcile(read)
            offer.arrival.expects.hold(read=read)
            if read == 0 and reader.header and self._feed.on_empty == "quarantine":
                raise _empty("a header and no row")
        except DeliveryRefused as problem:
            yield from self._judging.drop(receipt.delivery_id)
            delivery.receipt = self._refused(receipt, problem)
            return
        except DeliveryUnfinished:
            yield from self._judging.drop(receipt.delivery_id)
            del self._deliveries[receipt.delivery_id]
            raise
        yield from self._judging.end(receipt.delivery_id)
        delivery.receipt = replace(receipt, read=read, parts=tuple(reader.parts))
        self._fresh[claim.fingerprint] = delivery

    def _refuse(self, offer: Offer, problem: DeliveryRefused) -> None:
        """Quarantine what has no copy; a file that cannot be read again is not told of again."""
        last = self._last.get(self._before[offer.slot].delivery_id or 0)
        if not offer.settles and last is not None and last.fingerprint is None and last.problem == problem.what:
            self.unfinished[offer.slot] = problem.what
        else:
            self._quarantine(offer, problem)

    def _quarantine(self, offer: Offer, problem: DeliveryRefused) -> None:
        """Write the receipt of a delivery that is not trusted as a whole. What it might replace stays."""
        receipt = self._refused(self._receipt(offer, status="quarantined"), problem)
        self._deliveries[receipt.delivery_id] = _Delivery(offer, receipt)

    def _refused(self, receipt: Receipt, problem: DeliveryRefused) -> Receipt:
        """The receipt of a delivery that is quarantined as a whole."""
        return replace(
            receipt,
            status="quarantined",
            accepted_at=None,
            read=0,
            accepted=0,
            rejected=0,
            duplicate=0,
            format=None,
            dialect={},
            parts=(),
            header=(),
            unknown_columns=(),
            problem=problem.what,
            problem_line=problem.line,
            problem_column=problem.column,
            remedy=problem.remedy,
        )

    def _same_content(self, slot: str, fingerprint: str) -> Receipt | None:
        """The delivery that had these bytes already, if its rows are here or the file was merely touched."""
        if (twin := self._fresh.get(fingerprint)) is not None:
            return twin.receipt
        if (there := self._in_force.get(fingerprint)) is not None:
            return there
        before = self._before[slot]
        last = self._last.get(before.delivery_id or 0)
        touched = before.fingerprint == fingerprint and last is not None and last.problem is None
        return last if touched else None

    def _hold_to_restatements(self, slot: str, fingerprint: str) -> None:
        stands_for = self._own(slot).stands_for
        if stands_for is None or self._feed.on_restatement != "refuse":
            return
        there = self._in_force.get(fingerprint)
        if there is None or there.delivery_id != stands_for:
            raise DeliveryRefused(
                f"new content under the name of delivery {stands_for}, and the feed refuses restatements",
                remedy='Deliver it under another name, or declare on_restatement="replace".',
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
        except OSError as error:
            raise _unreadable(claim.copy, error) from error
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

    def _receipt(self, offer: Offer, **outcome: Any) -> Receipt:  # noqa: ANN401 - of Receipt
        arrival, claim = offer.arrival, offer.claim
        known = offer.known_as
        if known is None:
            delivery_id, self._next_id = self._next_id, self._next_id + 1
        else:
            delivery_id = known.delivery_id
        accepted_at = None if known is None else known.accepted_at
        return Receipt(
            delivery_id=delivery_id,
            feed=self._feed.name,
            slot=arrival.slot,
            bytes=arrival.seen.size,
            contract=self._version,
            arrived_at=arrival.arrived_at,
            revision=self._revision,
            fingerprint=claim.fingerprint if claim else None,
            archived=claim.copy.relative_to(self._archive.root).as_posix() if claim else None,
            committed_at=self._now if known is None else known.committed_at,
            accepted_at=(accepted_at or self._now) if outcome["status"] == "accepted" else None,
            replayed_at=None if known is None else self._now,
            expects=arrival.expects,
            generation=self._before[arrival.slot].generation + 1 if known is None else known.generation,
            batch=0 if known is None else known.batch,
            moved_from=offer.moved_from,
            **outcome,
        )

    # ---- slots

    def _moves(self) -> dict[str, Slot]:
        """Slot -> the one whose rows and place it takes over: its file was renamed, or rewritten meanwhile."""
        taken: dict[str, Slot] = {}
        for offer in self._offers:
            there = self._in_force.get(offer.fingerprint or "")
            if there is None or not _announced(offer, there):
                continue
            for name in offer.moved_from:
                if self._before[name].stands_for == there.delivery_id and self._before[name] not in taken.values():
                    taken[offer.slot] = self._before[name]
                    break
        while self._feed.on_restatement == "refuse":  # a slot that keeps what it has takes nothing over
            left = {other.slot for other in taken.values()}
            refusing = [
                name
                for name, other in taken.items()
                if self._before[name].stands_for not in (None, other.stands_for) and name not in left
            ]
            if not refusing:
                break
            for name in refusing:
                del taken[name]
        return taken

    def _own(self, slot: str) -> Slot:
        """What stood in the slot before, unless another has taken it over."""
        before = self._before[slot]
        gone = any(other.slot == slot for other in self._taken_over.values())
        return replace(before, stands_for=None, place=None) if gone else before

    def _settled(self, receipt: Receipt, copy_of: int | None) -> Slot:
        """What stands in the delivery's slot from now on."""
        own = self._own(receipt.slot)
        taken = self._taken_over.get(receipt.slot)
        appends = self._feed.on_restatement == "append"
        if receipt.status == "quarantined" or receipt.problem is not None:
            return own
        if copy_of is None:
            place = receipt.delivery_id if own.place is None or appends else own.place
            return replace(own, stands_for=receipt.delivery_id, place=place)
        if taken is not None and taken.stands_for == copy_of:
            return replace(own, stands_for=copy_of, place=taken.place)
        # A mere copy of what stands elsewhere stands for nothing: correcting the original corrects the copy.
        return own if own.stands_for is None or appends else replace(own, stands_for=copy_of)

    # ---- by the thread that has the connection: everything is read

    def _finish(self) -> list[int]:
        self._hold_to_tolerance()
        receipts: dict[int, Receipt] = {}
        for delivery_id, delivery in self._deliveries.items():
            receipt = delivery.receipt
            if receipt.status == "accepted":
                receipt = replace(receipt, **asdict(self._rows.of(delivery_id)))
            if not receipt.reconciles:
                raise AssertionError(f"a receipt that does not reconcile: {receipt}")
            receipts[delivery_id] = receipt
        batch = min((receipt.delivery_id for receipt in receipts.values() if not receipt.batch), default=0)
        for delivery_id, receipt in receipts.items():
            receipts[delivery_id] = replace(receipt, batch=receipt.batch or batch)
        self._forget_refused()
        replaced = self._fill_slots(receipts)
        for delivery_id, old in replaced.items():
            receipts[delivery_id] = replace(receipts[delivery_id], supersedes=old)
        ordered = [receipts[delivery_id] for delivery_id in sorted(receipts)]
        self._ledger.add(ordered, self._revision)
        known = [receipt for receipt in ordered if self._before[receipt.slot].delivery_id is not None]
        self._ledger.settle_quarantined(known, self._revision)
        return [receipt.delivery_id for receipt in ordered]

    def _hold_to_tolerance(self) -> None:
        """Quarantine the deliveries that break the contract beyond what the feed tolerates, and what equals them."""
        tolerate = self._feed.tolerate
        if tolerate.beyond != "quarantine":
            return
        for delivery in [*self._fresh.values(), *self._deliveries.values()]:
            receipt = delivery.receipt
            breaking = receipt.delivery_id if delivery.copy_of is None else delivery.copy_of
            if receipt.status not in ("accepted", "duplicate") or breaking not in self._deliveries:
                continue
            rejected = self._rows.of(breaking).rejected
            if not tolerate.allows(rejected, receipt.read):
                problem = DeliveryRefused(
                    f"{rejected} of {receipt.read} rows break the contract, more than the feed tolerates",
                    remedy="Look at them with `platform feed check`; mend contract or file, or tolerate more.",
                )
                delivery.receipt = replace(self._refused(receipt, problem), duplicate_of=None)
                delivery.copy_of = None

    def _forget_refused(self) -> None:
        """Take the rows out again that deliveries had in raw and quarantine before they turned out to be refused."""
        refused = [
            delivery_id
            for delivery_id in self._rows.figures
            if delivery_id not in self._deliveries or self._deliveries[delivery_id].receipt.status != "accepted"
        ]
        if refused:
            self._tables.remove(refused)
            self._ledger.forget_duplicates(refused)

    def _fill_slots(self, receipts: Mapping[int, Receipt]) -> dict[int, int]:
        """Note what stands in the slots now; take out what stands in none any more. Delivery -> what it replaces."""
        after = {name: self._own(name) for name in self._before}
        replaced: dict[int, int] = {}
        came = [(receipt, self._deliveries[receipt.delivery_id].copy_of) for receipt in receipts.values()]
        stand = [(receipt, receipt.stands_for if receipt.duplicate_of else None) for receipt in self._stand]
        for receipt, copy_of in sorted([*came, *stand], key=lambda each: each[0].delivery_id):
            own, settled = self._own(receipt.slot), self._settled(receipt, copy_of)
            if own.stands_for not in (None, settled.stands_for) and self._feed.on_restatement != "append":
                replaced[receipt.delivery_id] = own.stands_for or 0
            after[receipt.slot] = replace(
                settled,
                delivery_id=receipt.delivery_id,
                fingerprint=receipt.fingerprint,
                generation=max(receipt.generation, settled.generation),
            )
        for delivery in self._deliveries.values():
            seen, slot = delivery.offer.arrival.seen, after[delivery.receipt.slot]
            if not delivery.offer.settles:
                after[slot.slot] = replace(slot, seen=None)
            elif seen.ctime_ns:  # else nobody has looked at the file again
                after[slot.slot] = replace(slot, seen=seen)
        self._take_out(after, replaced)
        self._stored_slots.write([slot for name, slot in after.items() if slot != self._before[name]], self._revision)
        return replaced

    def _take_out(self, after: Mapping[str, Slot], replaced: Mapping[int, int]) -> None:
        """Take the rows out that no slot stands for any more; see whose place in the order is another now."""
        involved = [slot.stands_for for slot in (*self._before.values(), *after.values())]
        before = {s.slot: s for s in self._stored_slots.holding({each for each in involved if each is not None})}
        now = {**before, **after}
        held = {slot.stands_for for slot in now.values()}
        by = {old: delivery_id for delivery_id, old in sorted(replaced.items()) if old not in held}
        self.removed = set(by)
        self._tables.remove(sorted(by))
        self._ledger.supersede(by, self._revision)
        was, ranked = ranks({**before, **self._before}.values()), ranks(now.values())
        self.reranked = {each for each in was.keys() | ranked.keys() if was.get(each, each) != ranked.get(each, each)}
        self.reranked -= self.removed


def _announced(offer: Offer, there: Receipt) -> bool:
    """Whether what is there already is what the delivery's sidecar announces."""
    try:
        offer.arrival.expects.hold(fingerprint=offer.fingerprint, read=there.read)
    except DeliveryRefused:
        return False
    return True


def _readable(copy: Path, batches: Iterable[Batch]) -> Iterator[Batch]:
    """The batches; raises StorageError where the archive's copy stops being readable."""
    try:
        yield from batches
    except OSError as error:
        raise _unreadable(copy, error) from error


def _unreadable(copy: Path, error: OSError) -> Exception:
    # Libraries tell of damaged content by this class, too, without the number of an error of the system.
    return error if error.errno is None else StorageError(copy, f"cannot be read: {error.strerror}")


def _empty(what: str) -> DeliveryRefused:
    return DeliveryRefused(
        what,
        remedy='Ask the producer for the rows, or declare on_empty="accept" if this is how no data looks.',
    )
