"""The path of deliveries: claim, load, commit, note, a group of them at a time.

Belongs here: groups, their transactions and what a failure leaves; bringing back what the warehouse has lost. Does
not: what becomes of deliveries that are taken in at once (round.py), which deliveries to bring in again (replay.py).
"""

import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final, TypeVar

import duckdb

from platform_assets.engine.archive.archive import Archive
from platform_assets.engine.archive.journal import Entry, Extent
from platform_assets.engine.durable import failpoint
from platform_assets.engine.feed.feed import Feed
from platform_assets.engine.load.keys import come_back, give_way
from platform_assets.engine.load.offer import Known, Offer
from platform_assets.engine.load.replay import altered, from_archive, linked, stale, take_out
from platform_assets.engine.load.round import Round
from platform_assets.engine.sources.source import Arrival, Claim, Source
from platform_assets.engine.store.ledger import Ledger
from platform_assets.engine.store.published import Published
from platform_assets.engine.store.receipts import Receipt
from platform_assets.engine.store.slots import Slot, Slots
from platform_assets.engine.store.tables import FeedTables
from platform_assets.engine.store.warehouse import Warehouse
from platform_assets.errors import DeliveryRefused, DeliveryUnfinished, DeliveryUnreadable

_GROUP_FILES: Final = 100
_GROUP_BYTES: Final = 1 << 30


@dataclass
class Outcome:
    """What one ingest did: receipts written, and deliveries left alone (slot -> why)."""

    receipts: list[Receipt] = field(default_factory=list)
    unfinished: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Intake:
    """Takes deliveries of a feed into the warehouse."""

    feed: Feed
    source: Source[Any]
    archive: Archive
    warehouse: Warehouse
    published: Published
    clock: Callable[[], datetime]
    notify: Callable[[str], None]

    def ingest(self, arrivals: Sequence[Arrival], *, most_files: int | None = None) -> Outcome:
        """Take `arrivals` in, each exactly once, and account for them; of more than `most_files` new ones, the first.

        A delivery that cannot be trusted as a whole gets a receipt that says why; the others go on. What stops
        the process, or raises, leaves the groups already committed and nothing of the one under way.
        """
        outcome = Outcome()
        self.archive.sweep()
        done = 0
        for group in self._groups(arrivals, most_files):
            offers = list(self._offers(group, outcome.unfinished))
            self.archive.secure(offer.claim.copy for offer in offers if offer.claim is not None)
            with self.warehouse.open(f"load {self.feed.name}", self.notify) as connection:
                told = self.commit(connection, self._moved(connection, offers))
            outcome.receipts += told.receipts
            outcome.unfinished |= told.unfinished
            done += len(group)
            if len(arrivals) > _GROUP_FILES:
                self.notify(f"{self.feed.name}: {done} of {len(arrivals)} deliveries")
        return outcome

    def restore(self, connection: duckdb.DuckDBPyConnection) -> list[Receipt]:
        """Bring in from the archive what the warehouse no longer knows: it was lost, damaged or is an older copy.

        The other way round too: what a kill kept out of the journal is noted. A copy that is not what was delivered is
        quarantined.
        """
        ledger, journal = Ledger(connection), self.archive.journal(self.feed.name)
        if journal.extent() == Extent(*ledger.archived(self.feed.name)):
            return []
        self.published.publish(connection)
        known = ledger.names(self.feed.name)
        entries = journal.entries()
        noted = {entry.name for entry in entries}
        journal.append(self._entries(connection, [known[name] for name in known if name not in noted]))
        lost = [entry for entry in entries if entry.name not in known]
        expired = {entry.name for entry in lost if self._has_expired(entry)}
        if expired:
            self.notify(f"{self.feed.name}: the archive no longer keeps {len(expired)} old deliveries")
        receipts: list[Receipt] = []
        offers = self._lost(connection, [entry for entry in lost if entry.name not in expired])
        for group in grouped(offers, lambda offer: offer.arrival.size):
            self.notify(
                f"{self.feed.name}: {len(group)} deliveries that the warehouse lacks come back from the archive"
            )
            group = [self._verified(offer) for offer in group]
            receipts += self.commit(connection, group).receipts
        for receipt in receipts:
            if receipt.status == "quarantined":
                self.notify(f"{receipt.slot}: {receipt.problem}")
        if journal.extent() != Extent(*ledger.archived(self.feed.name)):
            journal.mend(expired)
        self.published.publish(connection)
        return receipts

    def commit(
        self,
        connection: duckdb.DuckDBPyConnection,
        offers: Sequence[Offer],
        *,
        again: Sequence[Receipt] = (),
        anew: bool = False,
    ) -> Outcome:
        """Load `offers` in one transaction, and note what is new in the journal.

        again: deliveries that are taken out first, to be brought in with the others in the order of their ids.
        anew: whether raw and quarantine are to be made anew before, because the contract's types have changed.
        """
        # By one thread DuckDB stores rows in whole row groups; by several it leaves pieces, to be put together at the
        # next checkpoint for half as much again. The other core reads and judges meanwhile.
        connection.execute("SET threads = 1")
        self.published.changing()
        connection.begin()
        try:
            outcome = self._load(connection, offers, again, anew=anew)
            failpoint.reached("before-commit")
            connection.commit()
        except BaseException:
            with contextlib.suppress(duckdb.Error):  # a commit that failed has no transaction any more
                connection.rollback()
            raise
        failpoint.reached("after-commit")
        new = [receipt.delivery_id for receipt in outcome.receipts if receipt.replayed_at is None]
        self._note(connection, new)
        return outcome

    def _load(
        self, connection: duckdb.DuckDBPyConnection, offers: Sequence[Offer], again: Sequence[Receipt], *, anew: bool
    ) -> Outcome:
        """What one transaction does."""
        feed, archive, now = self.feed, self.archive, self.clock()
        ledger = Ledger(connection)
        _, revision = ledger.next_ids()
        waiting = self._rounds(
            ledger, [*take_out(connection, feed, archive, again, anew=anew, revision=revision), *offers]
        )
        unfinished: dict[str, str] = {}
        written: set[int] = set()
        while waiting:
            each = Round(connection, feed, archive, now, offers=waiting.pop(0), revision=revision)
            taken = each.run()
            written |= set(taken)
            unfinished |= each.unfinished
            # Rows that had given way to rows that are gone, or come elsewhere in the order, have their say again.
            unsettled = each.removed | each.reranked
            back = ledger.take_back(sorted(unsettled))
            revived = ledger.by_id(back)
            outdated = set(stale(feed, revived))
            for receipt in revived:
                if receipt.delivery_id not in outdated:
                    come_back(connection, feed, archive, receipt, back[receipt.delivery_id], revision)
            if outdated:
                hanging = linked(ledger, feed.name, outdated)
                offered = take_out(connection, feed, archive, hanging, anew=False, revision=revision)
                waiting = [*self._rounds(ledger, offered), *waiting]
            changed = {*taken, *back, *give_way(connection, feed, sorted({*taken, *unsettled, *back}), revision)}
            if feed.event_time is not None:
                in_force = {r.delivery_id: r.committed_at for r in ledger.by_id(changed) if r.status == "accepted"}
                bounds = FeedTables(connection, feed).bounds(in_force)
                ledger.note_bounds({delivery: bounds.get(delivery) for delivery in in_force}, revision)
        return Outcome(ledger.by_id(written), unfinished)

    def _rounds(self, ledger: Ledger, offers: Sequence[Offer]) -> list[list[Offer]]:
        """The offers by what is taken in at once."""
        contents = {offer.fingerprint for offer in offers if offer.fingerprint is not None}
        return list(_rounds(offers, ledger.known(self.feed.name, {offer.slot for offer in offers}, contents)))

    # ---- what arrives

    def _groups(self, arrivals: Sequence[Arrival], most_files: int | None) -> Iterator[list[Arrival]]:
        """The arrivals in groups. Files that look renamed are one group, and the first: where several names change
        hands, what each file was is known only while none of them has been taken in."""
        groups = list(grouped(arrivals[:most_files], lambda arrival: arrival.size))
        if len(groups) > 1 or len(arrivals[:most_files]) < len(arrivals):
            with self.warehouse.open("see what was renamed", self.notify) as connection:
                alike = Slots(connection, self.feed.name).having(each.traits for each in arrivals if each.traits)
            moved: list[Arrival] = []
            rest: list[Arrival] = []
            for arrival in arrivals:
                others = alike.get(arrival.traits or "", set()) - {arrival.slot}
                (moved if others else rest).append(arrival)
            if most_files is not None:
                rest = rest[: max(most_files - len(moved), 0)]
            groups = [*([moved] if moved else []), *grouped(rest, lambda arrival: arrival.size)]
        yield from groups

    def _offers(self, arrivals: Sequence[Arrival], unfinished: dict[str, str]) -> Iterator[Offer]:
        for arrival in arrivals:
            if arrival.refused is not None:
                problem = DeliveryRefused(f"is {arrival.refused}", remedy=arrival.remedy)
                yield Offer(arrival, None, problem)
                continue
            try:
                yield Offer(arrival, self.source.claim(arrival, self.archive))
            except DeliveryRefused as error:
                yield Offer(arrival, None, error, settles=not isinstance(error, DeliveryUnreadable))
            except DeliveryUnfinished as error:
                unfinished[arrival.slot] = error.what

    def _moved(self, connection: duckdb.DuckDBPyConnection, offers: Sequence[Offer]) -> list[Offer]:
        """The offers, each with the slots whose files had its content before and have it no longer."""
        here = {offer.slot: offer for offer in offers}
        known: dict[str, list[Slot]] = {}
        for slot in Slots(connection, self.feed.name).brought({offer.fingerprint or "" for offer in offers}):
            known.setdefault(slot.fingerprint or "", []).append(slot)
        found = []
        for offer in offers:
            before = [slot for slot in known.get(offer.fingerprint or "", []) if self._moved_to(offer, slot, here)]
            if before and offer.slot not in {slot.slot for slot in known[offer.fingerprint or ""]}:
                before.sort(key=lambda slot: (not _alike(slot, offer), slot.slot))
                offer = replace(offer, moved_from=tuple(slot.slot for slot in before))
            found.append(offer)
        return found

    def _moved_to(self, offer: Offer, slot: Slot, here: Mapping[str, Offer]) -> bool:
        """Whether what filled `slot`, with the offer's content, became the offered one: the slot has another content by
        now, or nothing fills it and the offered one has the same traits."""
        if (now := here.get(slot.slot)) is not None:
            return now.fingerprint not in (None, slot.fingerprint) or now.arrival.refused is not None
        if (there := self.source.traits(slot.slot)) is None:
            return _alike(slot, offer)
        return slot.traits not in (None, there)

    # ---- what was lost

    def _has_expired(self, entry: Entry) -> bool:
        """Whether retention may have taken the delivery's copy."""
        keep, copy = self.feed.keep.archive, self.archive.root / entry.archived
        return (
            keep is not None and datetime.fromisoformat(entry.committed_at) < self.clock() - keep and not copy.exists()
        )

    def _lost(self, connection: duckdb.DuckDBPyConnection, lost: Sequence[Entry]) -> list[Offer]:
        """The deliveries that the journal tells of, in their order; under their ids where these are still to be had."""
        ledger = Ledger(connection)
        ids = [entry.delivery_id for entry in lost]
        last = max((receipt.delivery_id for receipt in ledger.newest(self.feed.name, 1)), default=0)
        if ids != sorted({*ids}) or min(ids, default=0) <= last or ledger.by_id(ids):
            first, _ = ledger.next_ids()
            ids = list(range(first, first + len(lost)))
        firsts: dict[int, int] = {}
        offers = []
        for delivery_id, entry in zip(ids, lost, strict=True):
            came_with = firsts.setdefault(entry.came_with, delivery_id)
            copy = self.archive.root / entry.archived
            arrived_at = datetime.fromisoformat(entry.arrived_at)
            arrival = from_archive(entry.slot, entry.bytes, arrived_at, entry.expects)
            arrival = replace(arrival, position=entry.position, traits=entry.traits)
            at = datetime.fromisoformat(entry.committed_at)
            known_as = Known(delivery_id, at, accepted_at=at, generation=entry.generation, came_with=came_with)
            claim = Claim(entry.fingerprint, copy, entry.position)
            offers.append(Offer(arrival, claim, known_as=known_as, moved_from=entry.moved_from))
        return offers

    def _verified(self, offer: Offer) -> Offer:
        """The offer, refused where the archive's copy is not what was delivered."""
        assert offer.claim is not None
        if self.archive.holds(offer.claim.copy, offer.claim.fingerprint):
            return offer
        return replace(offer, refused=altered(offer.claim.copy, offer.claim.fingerprint), settles=False)

    def _note(self, connection: duckdb.DuckDBPyConnection, deliveries: Sequence[int]) -> None:
        """Note new deliveries in the journal, and before them what a kill kept out of it."""
        journal, ledger = self.archive.journal(self.feed.name), Ledger(connection)
        entries, extent = self._entries(connection, deliveries), journal.extent()
        for entry in entries:
            extent = extent.and_also(entry.name)
        if entries and extent != Extent(*ledger.archived(self.feed.name)):
            noted = {entry.name for entry in journal.entries()}
            known = ledger.names(self.feed.name)
            entries = self._entries(connection, [known[name] for name in known if name not in noted])
        journal.append(entries)

    def _entries(self, connection: duckdb.DuckDBPyConnection, deliveries: Sequence[int]) -> list[Entry]:
        """What the journal notes of deliveries, in their order."""
        receipts = [r for r in Ledger(connection).by_id(deliveries) if r.fingerprint is not None]
        slots = Slots(connection, self.feed.name).named(receipt.slot for receipt in receipts)
        return [
            Entry(
                delivery_id=receipt.delivery_id,
                slot=receipt.slot,
                fingerprint=receipt.fingerprint or "",
                generation=receipt.generation,
                came_with=receipt.came_with,
                archived=receipt.archived or "",
                bytes=receipt.bytes,
                arrived_at=receipt.arrived_at.isoformat(),
                committed_at=receipt.committed_at.isoformat(),
                position=slot.position if slot.delivery_id == receipt.delivery_id else None,
                traits=slot.traits if slot.delivery_id == receipt.delivery_id else None,
                expects=receipt.expects,
                moved_from=receipt.moved_from,
            )
            for receipt in receipts
            for slot in (slots[receipt.slot],)
        ]


_Sized = TypeVar("_Sized")


def grouped(items: Iterable[_Sized], size: Callable[[_Sized], int]) -> Iterator[list[_Sized]]:
    """What goes into one transaction: enough to be fast, little enough to lose and to wait for."""
    group: list[_Sized] = []
    total = 0
    for item in items:
        if group and (len(group) == _GROUP_FILES or total + size(item) > _GROUP_BYTES):
            yield group
            group, total = [], 0
        group.append(item)
        total += size(item)
    if group:
        yield group


def _rounds(offers: Sequence[Offer], known: set[str]) -> Iterator[list[Offer]]:
    """The offers in their order, in rounds that are taken in at once: what came together does so again, and with it
    what came later to slots of its own, with no content that is `known` from before where others may leave.

    known: slots and contents that the feed has had before.
    """
    seen = set(known)
    each: list[Offer] = []
    leaving = False
    for together in _together(offers):
        slots = {offer.slot for offer in together}
        contents = {offer.fingerprint for offer in together if offer.fingerprint is not None}
        apart = bool(slots & seen) or any(offer.moved_from for offer in together)
        if each and (apart or (leaving and contents & seen)):
            yield each
            each, leaving = [], False
        each += together
        leaving |= apart
        seen |= slots | contents
    if each:
        yield each


def _together(offers: Sequence[Offer]) -> Iterator[list[Offer]]:
    """The offers by what was taken in together; what is new was not taken in with anything before."""

    def first(offer: Offer) -> int:
        if offer.known_as is not None:
            return offer.known_as.came_with
        return 0 if offer.stands is None else offer.stands.came_with

    for _, together in itertools.groupby(offers, first):
        yield list(together)


def _alike(slot: Slot, offer: Offer) -> bool:
    """Whether what filled the slot may be what is offered, only renamed."""
    return slot.traits is not None and slot.traits == offer.arrival.traits
