"""What deliveries that are taken in at once do to the slots: what fills each afterwards, and its place in the order.

Belongs here: renamed files, corrections, copies, and what fills no slot any more. Elsewhere: how slots are kept
(store/slots.py), what becomes of a delivery (delivery.py).
"""

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from datetime import date

from platform_assets.engine.feed.feed import Feed
from platform_assets.engine.load.offer import Offer
from platform_assets.engine.store.receipts import Receipt
from platform_assets.engine.store.slots import Rank, Slot, Slots, ranks
from platform_assets.errors import DeliveryRefused


class SlotChanges:
    """The slots that offers touch, as they were `before` any of these came, and as they are left."""

    def __init__(
        self,
        before: Mapping[str, Slot],
        feed: Feed,
        offers: Sequence[Offer],
        in_force: Mapping[str, Receipt],
    ) -> None:
        """before: the offers' slots, and those they moved from. in_force: slot -> the delivery in force that has
        brought what is offered for it."""
        self._feed = feed
        self._policy = feed.on_restatement
        self._came: dict[int, date | None] = {}
        self.before = before
        self._taken_over = self._moves(offers, in_force)
        self._left = {other.slot for other in self._taken_over.values()}
        self._after = {name: self.own(name) for name in self.before}

    def own(self, slot: str) -> Slot:
        """What filled the slot before, unless another slot has taken it over."""
        before = self.before[slot]
        return replace(before, filled_by=None, place=None) if slot in self._left else before

    def fill(self, came: Iterable[tuple[Receipt, int | None]]) -> dict[int, int]:
        """Fill the slots by receipts, in their order; each with the delivery in force that has its content already.

        Gives delivery -> what it replaces in its slot.
        """
        replaced: dict[int, int] = {}
        for receipt, copy_of in came:
            self._came[receipt.delivery_id] = receipt.file_date
            own, filled = self.own(receipt.slot), self._filled(receipt, copy_of)
            if own.filled_by not in (None, filled.filled_by) and self._policy != "append":
                replaced[receipt.delivery_id] = own.filled_by or 0
            self._after[receipt.slot] = replace(
                filled,
                delivery_id=receipt.delivery_id,
                fingerprint=receipt.fingerprint,
                generation=max(receipt.generation, filled.generation),
            )
        return replaced

    def note_position(self, offer: Offer) -> None:
        """Note the offer's position, so that the source does not give it again until it changes; where the offer is not
        final, note none."""
        slot, position = self._after[offer.slot], offer.claim.position if offer.claim else offer.arrival.position
        if not offer.final:
            self._after[offer.slot] = replace(slot, position=None, traits=None)
        elif position is not None:  # else nobody has asked the source again
            self._after[offer.slot] = replace(slot, position=position, traits=offer.arrival.traits)

    def write(self, stored: Slots, replaced: Mapping[int, int], revision: int) -> "Written":
        """Write the slots."""
        involved = [slot.filled_by for slot in (*self.before.values(), *self._after.values())]
        before = {slot.slot: slot for slot in stored.holding({each for each in involved if each is not None})}
        now = {**before, **self._after}
        held = {slot.filled_by for slot in now.values()}
        by = {old: delivery_id for delivery_id, old in sorted(replaced.items()) if old not in held}
        was = ranks({**before, **self.before}.values(), self.day_of)
        ranked = ranks(now.values(), self.day_of)
        moved = {each for each in was.keys() | ranked.keys() if _is_moved(each, was.get(each), ranked.get(each))}
        stored.write([slot for name, slot in self._after.items() if slot != self.before[name]], revision)
        redated: dict[int, date | None] = {}
        if self._feed.name_date is not None:
            had = self._came | {each: rank.day for each, rank in was.items()}
            redated = {each: rank.day for each, rank in ranked.items() if had.get(each) != rank.day}
        return Written(by, moved - by.keys(), redated)

    def day_of(self, slot: str) -> date | None:
        """The date in the name of what fills a slot; None where it has none."""
        return day_of(self._feed, slot)

    def _moves(self, offers: Sequence[Offer], in_force: Mapping[str, Receipt]) -> dict[str, Slot]:
        """Slot -> the one whose rows and place it takes over: its file was renamed, or rewritten meanwhile."""
        taken: dict[str, Slot] = {}
        left: set[str] = set()
        for offer in offers:
            there = in_force.get(offer.slot)
            if there is None or not _announced(offer, there):
                continue
            for name in offer.moved_from:
                if self.before[name].filled_by == there.delivery_id and name not in left:
                    taken[offer.slot] = self.before[name]
                    left.add(name)
                    break
        while self._policy == "refuse":  # a slot that keeps what it has takes nothing over
            left = {other.slot for other in taken.values()}
            keeping = [name for name in taken if self.before[name].filled_by is not None and name not in left]
            if not keeping:
                break
            for name in keeping:
                del taken[name]
        return taken

    def _filled(self, receipt: Receipt, copy_of: int | None) -> Slot:
        """The delivery's slot as it is from now on."""
        own, taken = self.own(receipt.slot), self._taken_over.get(receipt.slot)
        if receipt.status in ("quarantined", "withdrawn") or receipt.problem is not None:
            return own
        if copy_of is None:
            place = receipt.delivery_id if own.place is None or self._policy == "append" else own.place
            return replace(own, filled_by=receipt.delivery_id, place=place)
        if taken is not None and taken.filled_by == copy_of:
            return replace(own, filled_by=copy_of, place=taken.place)
        if self._feed.name_date is not None and self._policy != "append":  # by its name it is of a day of its own
            return replace(own, filled_by=copy_of, place=own.place or receipt.delivery_id)
        # A mere copy of what fills another slot fills none: correcting the original corrects the copy.
        return own if own.filled_by is None or self._policy == "append" else replace(own, filled_by=copy_of)


@dataclass(frozen=True)
class Written:
    """What became of deliveries. removed: what fills no slot any more -> the delivery that replaced it. moved: those at
    another place in the order than before. redated: those whose rows are of another day than before."""

    removed: Mapping[int, int]
    moved: Set[int]
    redated: Mapping[int, date | None]


def day_of(feed: Feed, slot: str) -> date | None:
    """The date in the name of what fills a slot of the feed; None where it has none."""
    try:
        return feed.file_date(slot)
    except DeliveryRefused:  # it was taken in before its feed declared dates
        return None


def _is_moved(delivery: int, before: Rank | None, now: Rank | None) -> bool:
    """Whether its place in the order is another; what fills no slot stands where it came."""
    if before is None or now is None:
        there = before or now
        return there is not None and there.place != delivery
    return before != now


def _announced(offer: Offer, there: Receipt) -> bool:
    """Whether what is there already is what the delivery's sidecar announces."""
    try:
        offer.arrival.expects.check(fingerprint=offer.fingerprint, read=there.read)
    except DeliveryRefused:
        return False
    return True
