"""The path of deliveries: claim, load, commit, note, a group of them at a time.

Belongs here: groups, their transactions and what a failure leaves; replays; bringing back what the warehouse has lost;
removing what is kept no longer. Elsewhere: what one transaction does (transaction.py), which deliveries have to come in
again together (replay.py).
"""

import contextlib
import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any

from platform_assets.engine.archive.archive import Archive
from platform_assets.engine.archive.journal import Entry, Extent
from platform_assets.engine.contract.shown import shown_of
from platform_assets.engine.durable import failpoint
from platform_assets.engine.erase.tombstones import Tombstones
from platform_assets.engine.feed.feed import Feed, Retention
from platform_assets.engine.load.alone import rest_of
from platform_assets.engine.load.cleaning import Cleaning, let_go
from platform_assets.engine.load.decisions import follow, unfollowed
from platform_assets.engine.load.offer import ITS_TURN, MOST_FILES, Known, Offer, Outcome, grouped
from platform_assets.engine.load.replay import altered, components, from_archive, outdated
from platform_assets.engine.load.slot_changes import day_of
from platform_assets.engine.load.transaction import Transaction
from platform_assets.engine.load.under_way import UnderWay
from platform_assets.engine.sources.source import A_MOMENT, Arrival, Claim, Source
from platform_assets.engine.store.ledger import Ledger
from platform_assets.engine.store.receipts import Receipt
from platform_assets.engine.store.slots import Slot
from platform_assets.engine.store.sql import lacks_memory
from platform_assets.engine.store.unit import Store, Unit
from platform_assets.errors import DeliveryRefused, DeliveryUnfinished, DeliveryUnreadable, DiskLow, ReplayRefused
from platform_assets.errors import counted as in_words


@dataclass(frozen=True)
class Intake:
    """Takes deliveries of a feed into the store. excused: contents that are read though two processes died of them."""

    feed: Feed
    source: Source[Any]
    archive: Archive
    store: Store
    tombstones: Tombstones
    clock: Callable[[], datetime]
    notify: Callable[[str], None]
    excused: frozenset[str] = frozenset()

    def pending(self, *, wait: bool = False) -> Sequence[Arrival]:
        """What may be new, by what was published of the ledger; takes no lock.

        wait: for what only has to be unchanged a moment longer, at most three seconds.
        """
        unseen = self._unseen()
        now = self.clock()
        young = [each for each in unseen if each.waits_for is None and not each.settled(now)]
        if not wait or not young or max(each.settle for each in young) > A_MOMENT:
            return unseen
        time.sleep(max(each.settle - each.age(now) for each in young).total_seconds() + 0.01)
        return [again for each in unseen if (again := self.source.again(each) if each in young else each) is not None]

    def ingest(self, *, most_files: int | None = None) -> Outcome:
        """Take in what is new and has settled, each delivery exactly once; of more than `most_files`, the first.

        A delivery that cannot be trusted as a whole gets a receipt that says why; the others go on. What stops
        the process, or raises, leaves the groups already committed and nothing of the one under way.
        """
        arrivals, unsettled = self._settled()
        outcome = Outcome(unfinished={arrival.slot: arrival.unfinished for arrival in unsettled})
        try:
            if arrivals:
                self._take_in(arrivals, most_files, outcome)
        except Exception:
            # What was stopped half-way may have committed something. Where that cannot be published, its mark remains.
            with contextlib.suppress(Exception):
                self.publish()
            raise
        self.expire()
        self.publish()
        return outcome

    def _take_in(self, arrivals: Sequence[Arrival], most_files: int | None, outcome: Outcome) -> None:
        """Claim and load `arrivals`, group by group; `outcome` gains what came of it."""
        self.archive.sweep()
        done = 0
        groups = list(self._groups(arrivals, most_files))
        for at, group in enumerate(groups):
            if (low := self.archive.disk.low()) is not None:
                outcome.unfinished |= {each.slot: f"waits: {low.what}" for each in itertools.chain(*groups[at:])}
                self.notify(f"{self.feed.name}: {low}")
                return
            offers = list(self._offers(group, outcome.unfinished))
            self.archive.secure(offer.claim.copy for offer in offers if offer.claim is not None)
            loaded = self.take(rest_of(self, offers, outcome))
            outcome.receipts += loaded.receipts
            outcome.unfinished |= {slot: why for slot, why in loaded.unfinished.items() if why != ITS_TURN}
            if left := [arrival for arrival in group if loaded.unfinished.get(arrival.slot) == ITS_TURN]:
                groups.insert(at + 1, left)
            done += len(group) - len(left)
            if len(arrivals) > MOST_FILES:
                self.notify(f"{self.feed.name}: {done} of {len(arrivals)} deliveries")

    def take(self, offers: Sequence[Offer]) -> Outcome:
        """Load `offers` in one transaction, by themselves."""
        with self.store.transaction(f"load {self.feed.name}") as unit:
            return self.load(unit, self._moved(unit, offers))

    def under_way(self) -> UnderWay:
        """What is being read of the feed, or was when a process died."""
        return UnderWay(self.archive.root / self.feed.name / "under-way.txt", self.excused)

    def replay(self, chosen: Callable[[Receipt], bool], *, again: bool) -> list[Receipt]:
        """Bring archived deliveries that `chosen` names through today's contract, with all that hang on them."""
        receipts: list[Receipt] = []
        try:
            with self.store.transaction(f"replay {self.feed.name}") as unit:
                unit.publish(self.feed)
                anew = bool(unit.tables(self.feed).retyped())
                groups = self._due(unit.ledger, chosen, again=again, anew=anew)
                contents = frozenset(receipt.fingerprint or "" for group in groups for receipt in group)
                within = replace(self, excused=contents) if again else self  # a person asks for it
                for group in groups:
                    receipts += within.load(unit, [], again=group, anew=anew).receipts
                    self.notify(f"{self.feed.name}: replayed {len(receipts)} of {sum(map(len, groups))} deliveries")
                unit.publish(self.feed)
        except ReplayRefused:
            self.publish()  # the groups before it
            raise
        return receipts

    def _due(
        self, ledger: Ledger, chosen: Callable[[Receipt], bool], *, again: bool, anew: bool
    ) -> list[list[Receipt]]:
        """The deliveries to be replayed, by what goes into one transaction."""
        known = ledger.receipts(self.feed.name)
        if anew:
            return [known]
        picked = [receipt for receipt in known if chosen(receipt)]
        due = [r.delivery_id for r in picked if r.archived] if again else outdated(self.feed, picked)
        hanging = grouped(
            components(known, ledger.left_out(self.feed.name), due),
            lambda group: sum(receipt.bytes for receipt in group),
        )
        return [[receipt for component in group for receipt in component] for group in hanging]

    def lacks(self, unit: Unit) -> bool:
        """Whether ledger and archive know of different deliveries, or decisions: one of the two was lost, damaged or is
        older, or a kill came between."""
        known = self.archive.journal(self.feed.name).extent() == Extent(*unit.ledger.archived(self.feed.name))
        return not known or bool(unfollowed(self.archive, unit, self.feed))

    def restore(self) -> list[Receipt]:
        """Bring in from the archive what the warehouse no longer knows: it was lost, damaged or is an older copy.

        The journal too gets what a kill kept out of it. A delivery whose copy has changed since is quarantined.
        """
        with self.store.transaction(f"bring back what is missing of {self.feed.name}") as unit:
            journal = self.archive.journal(self.feed.name)
            unit.publish(self.feed)
            known = unit.ledger.names(self.feed.name)
            entries = journal.entries()
            noted = {entry.name for entry in entries}
            journal.append(self._entries(unit, [known[name] for name in known if name not in noted]))
            lost = [entry for entry in entries if entry.name not in known]
            expired = {entry.name for entry in lost if self._has_expired(entry)}
            if expired:
                self.notify(f"{self.feed.name}: the archive no longer keeps {len(expired)} old deliveries")
            receipts: list[Receipt] = []
            offers = self._lost(unit, [entry for entry in lost if entry.name not in expired])
            for group in grouped(offers, lambda offer: offer.arrival.size):
                self.notify(f"{self.feed.name}: from the archive, {in_words(len(group), 'lost delivery')}")
                receipts += self.load(unit, [self._verified(offer) for offer in group]).receipts
            receipts += follow(self, unit)
            for receipt in receipts:
                if receipt.status == "quarantined":
                    self.notify(f"{receipt.slot}: {receipt.problem}")
            if self.lacks(unit):
                journal.mend(expired)
            unit.publish(self.feed)
        return receipts

    def expire(self) -> None:
        """Remove copies and rejected rows that the feed need keep no longer; receipts stay and say so."""
        keep, now = self.feed.keep, self.clock()
        if keep == Retention():
            return
        with self.store.transaction(f"remove what is old of {self.feed.name}") as unit:
            unit.will_change(self.feed)
            changed = unit.ledger.next_ids()[1]
            if keep.archive is not None and (copies := unit.ledger.unneeded_copies(self.feed.name, now - keep.archive)):
                for copy in copies:
                    (self.archive.root / copy).unlink(missing_ok=True)
                unit.ledger.forget_copies(self.feed.name, copies, changed)
            if keep.quarantine is not None:
                unit.tables(self.feed).expire_rejected(now - keep.quarantine, changed)
            unit.publish(self.feed)

    def publish(self) -> None:
        """Publish what has changed of the feed's ledger."""
        if self.store.published(self.feed).is_stale:
            with self.store.transaction(f"publish what was seen of {self.feed.name}") as unit:
                unit.publish(self.feed)

    def load(
        self,
        unit: Unit,
        offers: Sequence[Offer],
        *,
        again: Sequence[Receipt] = (),
        anew: bool = False,
        agree: Callable[[], None] = lambda: None,
    ) -> Outcome:
        """Load `offers` and `again`, as `Transaction.run` does; commit, and note what is new in the journal.

        agree: called before the commit; what it raises leaves everything as it was.
        """
        unit.will_change(self.feed)
        under_way = self.under_way()
        cleaning = Cleaning(self.feed, self.archive, self.tombstones, unit.ledger, under_way)
        try:
            transaction = Transaction(unit, self.feed, self.archive, self.clock(), under_way, cleaning)
            outcome = transaction.run(offers, again, anew=anew)
            if cleaning.unkept:
                unit.ledger.forget_copies(self.feed.name, sorted(cleaning.unkept), transaction.revision)
                outcome.receipts = unit.ledger.by_id(receipt.delivery_id for receipt in outcome.receipts)
            agree()
            failpoint.reached("before-commit")
            unit.commit()
        except BaseException as error:
            if not lacks_memory(error):  # which is as good as a death: so is it next time
                under_way.settle()
            raise
        under_way.settle()
        failpoint.reached("after-commit")
        self._note(unit, [receipt.delivery_id for receipt in outcome.receipts if receipt.replayed_at is None])
        if cleaning.replaced:
            let_go(self.feed, self.archive, unit, cleaning.replaced)
        return outcome

    # ---- what arrives

    def _unseen(self) -> Sequence[Arrival]:
        with self.store.published(self.feed).positions(self.feed.version()) as known:
            return self.source.pending(known)

    def _settled(self) -> tuple[list[Arrival], list[Arrival]]:
        """Arrivals that are new and settled, and those still changing after a reasonable wait."""
        ready: list[Arrival] = []
        left = list(self._unseen())
        settle_s = max((arrival.settle.total_seconds() for arrival in left), default=0)
        patience = time.monotonic() + 3 * settle_s + 1
        while True:
            now = self.clock()
            ready += [arrival for arrival in left if arrival.settled(now)]
            left = [arrival for arrival in left if not arrival.settled(now)]
            # What has to come first, or to be untouched for longer, is seen when it has.
            if not any(arrival.settles_soon(now) for arrival in left) or time.monotonic() > patience:
                days = {arrival.slot: day_of(self.feed, arrival.slot) or date.max for arrival in ready}
                return sorted(ready, key=lambda arrival: (days[arrival.slot], arrival.slot)), left
            time.sleep(min(0.2, settle_s))
            left = [now_seen for arrival in left if (now_seen := self.source.again(arrival)) is not None]

    def _groups(self, arrivals: Sequence[Arrival], most_files: int | None) -> Iterator[list[Arrival]]:
        """The arrivals in groups. Files that look renamed are one group, and the first: where several names change
        hands, what each file was is known only while none of them has been taken in."""
        groups = list(grouped(arrivals[:most_files], lambda arrival: arrival.size))
        if len(groups) > 1 or len(arrivals[:most_files]) < len(arrivals):
            with self.store.reading("see what was renamed") as unit:
                alike = unit.slots(self.feed).having(each.traits for each in arrivals if each.traits)
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
                yield Offer(arrival, None, error, final=not isinstance(error, DeliveryUnreadable))
            except DeliveryUnfinished as error:
                unfinished[arrival.slot] = shown_of(self.feed.contract).message(error.said[0])
            except DiskLow as error:
                unfinished[arrival.slot] = f"waits: {error.what}"

    def _moved(self, unit: Unit, offers: Sequence[Offer]) -> list[Offer]:
        """The offers, each with the slots whose files had its content before and have it no longer."""
        here = {offer.slot: offer for offer in offers}
        known: dict[str, list[Slot]] = {}
        for slot in unit.slots(self.feed).brought({offer.fingerprint or "" for offer in offers}):
            known.setdefault(slot.fingerprint or "", []).append(slot)
        found = []
        for offer in offers:
            before = [slot for slot in known.get(offer.fingerprint or "", []) if self._moved_to(offer, slot, here)]
            if before and offer.slot not in {slot.slot for slot in known[offer.fingerprint or ""]}:
                before.sort(key=lambda slot: (not offer.is_like(slot), slot.slot))
                offer = replace(offer, moved_from=tuple(slot.slot for slot in before))
            found.append(offer)
        return found

    def _moved_to(self, offer: Offer, slot: Slot, here: Mapping[str, Offer]) -> bool:
        """Whether what filled `slot`, with the offer's content, became the offered one: the slot has another content by
        now, or nothing fills it and the offered one has the same traits."""
        if (now := here.get(slot.slot)) is not None:
            return now.fingerprint not in (None, slot.fingerprint) or now.arrival.refused is not None
        if (there := self.source.traits(slot.slot)) is None:
            return offer.is_like(slot)
        return slot.traits not in (None, there)

    # ---- what was lost

    def _has_expired(self, entry: Entry) -> bool:
        """Whether retention may have taken the delivery's copy."""
        keep, copy = self.feed.keep.archive, self.archive.root / entry.archived
        return (
            keep is not None and datetime.fromisoformat(entry.committed_at) < self.clock() - keep and not copy.exists()
        )

    def _lost(self, unit: Unit, lost: Sequence[Entry]) -> list[Offer]:
        """The deliveries that the journal tells of, in their order; under their ids where these are still free."""
        ledger = unit.ledger
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
            offers.append(Offer(arrival, claim, known_as=known_as, moved_from=entry.moved_from, erased=entry.erased))
        return offers

    def _verified(self, offer: Offer) -> Offer:
        """The offer, refused where the archive's copy is not what was delivered."""
        assert offer.claim is not None
        if self.archive.holds(offer.claim.copy):
            return offer
        return replace(offer, refused=altered(offer.claim.copy), final=False)

    def _note(self, unit: Unit, deliveries: Sequence[int]) -> None:
        """Note new deliveries in the journal, and before them what a kill kept out of it."""
        journal, ledger = self.archive.journal(self.feed.name), unit.ledger
        entries, extent = self._entries(unit, deliveries), journal.extent()
        for entry in entries:
            extent = extent.and_also(entry.name)
        if entries and extent != Extent(*ledger.archived(self.feed.name)):
            noted = {entry.name for entry in journal.entries()}
            known = ledger.names(self.feed.name)
            entries = self._entries(unit, [known[name] for name in known if name not in noted])
        journal.append(entries)

    def _entries(self, unit: Unit, deliveries: Sequence[int]) -> list[Entry]:
        """What the journal notes of deliveries, in their order."""
        receipts = [r for r in unit.ledger.by_id(deliveries) if r.fingerprint is not None]
        slots = unit.slots(self.feed).named(receipt.slot for receipt in receipts)
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
                erased=receipt.erased,
            )
            for receipt in receipts
            for slot in (slots[receipt.slot],)
        ]
