"""One transaction of loading: deliveries come in, in rounds; what hangs on them follows; receipts and slots say so.

Belongs here: what is stored, in which order. Elsewhere: what becomes of each delivery (delivery.py) and of each row
(rows.py), what deliveries do to slots (slot_changes.py), which deliveries come in together (ingest.py).
"""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import asdict, replace
from datetime import datetime
from functools import partial

from platform_assets.engine.archive.archive import Archive
from platform_assets.engine.archive.decisions import decided_of
from platform_assets.engine.contract.shown import shown_of
from platform_assets.engine.feed.feed import Feed
from platform_assets.engine.load.decisions import known_decisions
from platform_assets.engine.load.delivery import Knowledge, Load, refused
from platform_assets.engine.load.offer import Offer, Outcome
from platform_assets.engine.load.replay import linked, offered_again, outdated
from platform_assets.engine.load.rows import Rows, Validation, ahead
from platform_assets.engine.load.slot_changes import SlotChanges, day_of
from platform_assets.engine.load.under_way import UnderWay
from platform_assets.engine.store.receipts import Receipt
from platform_assets.engine.store.slots import Slot, ranks
from platform_assets.engine.store.unit import Unit
from platform_assets.errors import DeliveryRefused, counted


class Transaction:
    """What is done to a feed within one unit of the store, of which it is the one user."""

    def __init__(
        self,
        unit: Unit,
        feed: Feed,
        archive: Archive,
        now: datetime,
        under_way: UnderWay,
        cleaned: Callable[[Offer], Offer],
    ) -> None:
        """cleaned: gives an offer without the rows of erased persons."""
        self._cleaned = cleaned
        self.feed = feed
        self.under_way = under_way
        self.archive = archive
        self.now = now
        self.ledger = unit.ledger
        self.tables = unit.tables(feed)
        self.slots = unit.slots(feed)
        self.decided = known_decisions(archive, unit, feed)
        self.revision = self.ledger.next_ids()[1]

    def run(self, offers: Sequence[Offer], again: Sequence[Receipt] = (), *, anew: bool = False) -> Outcome:
        """Take in the `offers`.

        again: deliveries that are taken out first, to be brought in with the others in the order of their ids.
        anew: whether raw and quarantine are to be made anew before, because the contract's types have changed.
        """
        waiting = self._rounds([*self._take_out(again, anew=anew), *offers])
        unfinished: dict[str, str] = {}
        written: set[int] = set()
        while waiting:
            each = Round(self, waiting.pop(0))
            taken = each.run()
            written |= set(taken)
            unfinished |= each.unfinished
            # Rows that were left out for rows that are gone, or come elsewhere in the order, are to be compared again.
            affected = each.removed | each.reordered
            lines = self.ledger.forget_left_out(sorted(affected))
            back = self.ledger.by_id(lines)
            by_earlier_contract = set(outdated(self.feed, back))
            for receipt in back:
                if receipt.delivery_id not in by_earlier_contract:
                    self._bring_back(receipt, lines[receipt.delivery_id])
            if by_earlier_contract:
                waiting = [
                    *self._rounds(self._take_out(linked(self.ledger, self.feed.name, by_earlier_contract))),
                    *waiting,
                ]
            changed = {*taken, *lines, *self._leave_out(sorted({*taken, *affected, *lines}))}
            if self.feed.event_time is not None:
                in_force = {r.delivery_id: r.committed_at for r in self.ledger.by_id(changed) if r.status == "accepted"}
                bounds = self.tables.bounds(in_force)
                self.ledger.note_bounds({delivery: bounds.get(delivery) for delivery in in_force}, self.revision)
        return Outcome(self.ledger.by_id(written), unfinished)

    def _rounds(self, offers: Sequence[Offer]) -> list[list[Offer]]:
        """The offers by what is taken in at once, without the rows of erased persons."""
        offers = [self._cleaned(offer) for offer in offers]
        contents = {offer.fingerprint for offer in offers if offer.fingerprint is not None}
        return list(_rounds(offers, self.ledger.known(self.feed.name, {offer.slot for offer in offers}, contents)))

    def _take_out(self, receipts: Sequence[Receipt], *, anew: bool = False) -> list[Offer]:
        """Remove the deliveries' rows and receipts, and offer them again under their ids.

        With a slot's deliveries goes what fills it, but not what is known of its file. Raises ReplayRefused, before
        anything is removed, where a copy is missing or damaged that rows stand on.
        """
        receipts = sorted(receipts, key=lambda receipt: receipt.delivery_id)
        offers = [offered_again(each, self.archive, decided_of(self.decided, each.subjects)) for each in receipts]
        deliveries = [offer.known_as.delivery_id for offer in offers if offer.known_as is not None]
        marked = [offer.kept for offer, was in zip(offers, receipts, strict=True) if offer.kept not in (None, was)]
        deliveries += [receipt.delivery_id for receipt in marked if receipt is not None]
        if anew:
            self.tables.drop()
            self.tables.prepare()
        else:
            self.tables.remove(deliveries)
        self.ledger.forget(deliveries)
        self.ledger.add([replace(receipt, revision=self.revision) for receipt in marked if receipt], self.revision)
        emptied = self.slots.named(offer.slot for offer in offers).values()
        self.slots.write(
            [Slot(slot.slot, position=slot.position, traits=slot.traits) for slot in emptied], self.revision
        )
        return offers

    # ---- rows with the same key in several deliveries: the feed's policy keeps the first or the last of them

    def _leave_out(self, deliveries: Sequence[int]) -> list[int]:
        """Of the rows that share a key with a row of `deliveries`, leave one in raw; the deliveries that lost any."""
        if self.feed.on_known_key == "allow" or not deliveries:
            return []
        lines = self.tables.known_keys(deliveries)
        if lines.height:
            self.tables.remove_lines(lines)
            self.ledger.leave_out(lines, self.revision)
        return lines["_delivery_id"].unique().to_list()

    def _bring_back(self, receipt: Receipt, lines: Sequence[int]) -> None:
        """Store lines of a delivery in force again that had been left out, from the archive; `_leave_out` says which of
        them stay."""
        rows = Rows(self.ledger, self.tables)
        copy = self.archive.root / str(receipt.archived)
        held = ranks(self.slots.holding([receipt.delivery_id]), partial(day_of, self.feed)).get(receipt.delivery_id)
        day = receipt.file_date if held is None or receipt.file_date is None else held.day
        again = Validation(self.feed, rows.types).again(replace(receipt, file_date=day), copy, lines)
        for validated in ahead(again):
            rows.store(validated)
        rejected = rows.of(receipt.delivery_id).rejected
        self.ledger.bring_back(receipt.delivery_id, len(lines), rejected, self.revision)


class Round:
    """Deliveries that are taken in at once, what they find being what was there before any of them.

    They are read by a thread that has no connection, while this one stores.
    """

    def __init__(self, within: Transaction, offers: Sequence[Offer]) -> None:
        feed = within.feed
        self._feed = feed
        self._revision = within.revision
        self._ledger = within.ledger
        self._tables = within.tables
        self._slots = within.slots
        self._rows = Rows(within.ledger, within.tables)
        before = self._slots.named(name for offer in offers for name in (offer.slot, *offer.moved_from))
        there = self._ledger.in_force(feed.name, [each.fingerprint for each in offers if each.fingerprint is not None])
        in_force = _same_contents(feed, offers, there, before)
        last = self._ledger.by_id(slot.delivery_id for slot in before.values() if slot.delivery_id is not None)
        self._slot_changes = SlotChanges(before, feed, offers, in_force)
        known = Knowledge(
            slots=self._slot_changes,
            in_force=in_force,
            last={receipt.delivery_id: receipt for receipt in last},
            decided=within.decided,
            types=self._rows.types,
            next_id=self._ledger.next_ids()[0],
            revision=self._revision,
        )
        self._load = Load(feed, within.archive, within.now, offers, known, within.under_way)
        self.unfinished: Mapping[str, str] = self._load.unfinished
        self.removed: set[int] = set()
        self.reordered: Set[int] = set()

    def run(self) -> list[int]:
        """Take the deliveries in; their ids. Afterwards, `removed` are those that they took out of raw, and `reordered`
        those that are at another place in the order."""
        for validated in ahead(self._load.validated()):
            self._rows.store(validated)
        self._quarantine_intolerable()
        receipts: dict[int, Receipt] = {}
        for delivery_id, delivery in self._load.deliveries.items():
            receipt = delivery.receipt
            if receipt.status == "accepted":
                receipt = replace(receipt, **asdict(self._rows.of(delivery_id)))
            if not receipt.reconciles:
                raise AssertionError(f"a receipt that does not reconcile: {receipt}")
            receipts[delivery_id] = receipt
        first = min((receipt.delivery_id for receipt in receipts.values() if not receipt.came_with), default=0)
        for delivery_id, receipt in receipts.items():
            receipts[delivery_id] = replace(receipt, came_with=receipt.came_with or first)
        self._remove_refused()
        replaced = self._fill_slots(receipts)
        for delivery_id, old in replaced.items():
            receipts[delivery_id] = replace(receipts[delivery_id], supersedes=old)
        ordered = [receipts[delivery_id] for delivery_id in sorted(receipts)]
        self._ledger.add(ordered, self._revision)
        before = self._slot_changes.before
        known = [each for each in ordered if before[each.slot].delivery_id is not None and each.status != "withdrawn"]
        self._ledger.supersede_quarantined(known, self._revision)
        return [receipt.delivery_id for receipt in ordered]

    def _quarantine_intolerable(self) -> None:
        """Quarantine the deliveries that break the contract beyond what the feed tolerates, and what equals them."""
        tolerate = self._feed.tolerate
        if tolerate.beyond != "quarantine":
            return
        for delivery in [*self._load.fresh.values(), *self._load.deliveries.values()]:
            receipt = delivery.receipt
            breaking = receipt.delivery_id if delivery.copy_of is None else delivery.copy_of
            if receipt.status not in ("accepted", "duplicate") or breaking not in self._load.deliveries:
                continue
            if receipt.allowed is not None:
                continue
            rejected = self._rows.of(breaking).rejected
            if not tolerate.allows(rejected, receipt.read):
                problem = DeliveryRefused(
                    f"{rejected:,} of {counted(receipt.read, 'row')} break the contract, more than the feed tolerates",
                    remedy="Look at them with `platform feed check`; mend contract or file, or tolerate more. To let "
                    f"this one through: platform delivery accept {receipt.delivery_id} --why …. "
                    f"To take it back: platform delivery withdraw {receipt.delivery_id} --why …",
                )
                delivery.receipt = replace(refused(receipt, problem, shown_of(self._feed.contract)), duplicate_of=None)
                delivery.copy_of = None

    def _remove_refused(self) -> None:
        """Take the rows out again that deliveries had in raw and quarantine before they turned out to be refused."""
        accepted = {each for each, of in self._load.deliveries.items() if of.receipt.status == "accepted"}
        if gone := sorted(self._rows.figures.keys() - accepted):
            self._tables.remove(gone)
            self._ledger.forget_duplicates(gone)

    def _fill_slots(self, receipts: Mapping[int, Receipt]) -> dict[int, int]:
        """Note what fills the slots now; take out what fills none any more. Delivery -> what it replaces."""
        came = [(receipt, self._load.deliveries[receipt.delivery_id].copy_of) for receipt in receipts.values()]
        kept = [(receipt, receipt.original if receipt.duplicate_of else None) for receipt in self._load.kept]
        replaced = self._slot_changes.fill(sorted([*came, *kept], key=lambda each: each[0].delivery_id))
        for delivery in self._load.deliveries.values():
            self._slot_changes.note_position(delivery.offer)
        written = self._slot_changes.write(self._slots, replaced, self._revision)
        self.removed, self.reordered = set(written.removed), written.moved
        self._tables.remove(sorted(written.removed))
        self._tables.redate(written.redated)
        self._ledger.supersede(written.removed, self._revision)
        return {delivery_id: old for delivery_id, old in replaced.items() if delivery_id in receipts}


def _same_contents(
    feed: Feed, offers: Sequence[Offer], there: Sequence[Receipt], before: Mapping[str, Slot]
) -> dict[str, Receipt]:
    """Slot -> the delivery in force that has brought the content which is offered for it; there: all of these contents.

    Where every delivery is a full list, an equal list is another one, unless it is the same file touched or renamed.
    """
    if feed.key_within == "feed":
        by_content = {receipt.fingerprint: receipt for receipt in there}
        return {offer.slot: by_content[offer.fingerprint] for offer in offers if offer.fingerprint in by_content}
    found: dict[str, Receipt] = {}
    by_id = {receipt.delivery_id: receipt for receipt in there}
    for step in (lambda offer: (offer.slot,), lambda offer: offer.moved_from):
        for offer in offers:
            for slot in step(offer) if offer.slot not in found else ():
                receipt = by_id.get(before[slot].filled_by or 0)
                if receipt is not None and receipt.fingerprint == offer.fingerprint:
                    found[offer.slot] = by_id.pop(receipt.delivery_id)
                    break
    return found


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
        return 0 if offer.kept is None else offer.kept.came_with

    for _, together in itertools.groupby(offers, first):
        yield list(together)
