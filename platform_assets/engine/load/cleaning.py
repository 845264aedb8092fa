"""Offers without the rows of erased persons: before a delivery is read, its copy is written anew without them.

Belongs here: what that changes of an offer, letting go of the old copy. Elsewhere: who was erased, how a copy is
written anew (erase). So no delivery brings such a person back: not a new one, nor a replay, nor what comes back from
the archive.
"""

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Final

from platform_assets.engine.archive.archive import Archive
from platform_assets.engine.durable import failpoint
from platform_assets.engine.erase.copies import Copies
from platform_assets.engine.erase.tombstones import Tombstones
from platform_assets.engine.feed.feed import Feed
from platform_assets.engine.load.offer import Offer
from platform_assets.engine.load.under_way import UnderWay
from platform_assets.engine.store.ledger import Ledger
from platform_assets.engine.store.unit import Unit
from platform_assets.errors import DeliveryRefused

_NAMES_ONE: Final = DeliveryRefused(
    "it names a person who was erased, and cannot be read: no copy of it is kept",
    remedy="Ask the producer to deliver it as the contract reads it; the person's rows are then left out.",
)


class Cleaning:
    """Cleans the offers of one transaction. replaced: copies in whose place others stand now; they still have to go.
    unkept: copies, by their names in receipts, in whose place there is none.

    A feed from which nobody was erased pays nothing for it.
    """

    def __init__(
        self, feed: Feed, archive: Archive, tombstones: Tombstones, ledger: Ledger, under_way: UnderWay
    ) -> None:
        erased = tombstones.erased(feed)
        self._copies = None if erased is None else Copies(feed, archive, erased)
        self._feed = feed.name
        self._root = archive.root
        self._ledger = ledger
        self._under_way = under_way
        self._made: dict[Path, tuple[Path | None, int]] = {}
        self.replaced: set[Path] = set()
        self.unkept: set[str] = set()

    def __call__(self, offer: Offer) -> Offer:
        """The offer without those rows, its receipt telling how many there were."""
        if self._copies is None or offer.claim is None or offer.kept is not None or offer.refused is not None:
            return offer
        copy = offer.claim.copy
        if copy not in self._made:
            try:
                self._under_way.begin(offer.claim.fingerprint, offer.slot)
            except DeliveryRefused as problem:
                return replace(offer, refused=problem)
            self._made[copy] = self._copies.without(copy, offer.slot)
        made, rows = self._made[copy]
        if made == copy:
            return offer
        if offer.known_as is None and not self._ledger.has_copy(copy.relative_to(self._root).as_posix()):
            # Nobody knows of it but this claim, which would make it again.
            copy.unlink(missing_ok=True)
        else:
            self.replaced.add(copy)
        if made is None:
            self.unkept.add(copy.relative_to(self._root).as_posix())
            return replace(offer, refused=_NAMES_ONE)
        return replace(offer, claim=replace(offer.claim, copy=made), erased=offer.erased + rows)


def let_go(feed: Feed, archive: Archive, unit: Unit, copies: Collection[Path]) -> list[str]:
    """Have the journal tell where copies lie that were rewritten, then remove those of `copies` that no delivery
    needs; which."""
    receipts = [receipt for receipt in unit.ledger.receipts(feed.name) if receipt.fingerprint is not None]
    journal = archive.journal(feed.name)
    amended = {
        (receipt.slot, receipt.fingerprint or "", receipt.generation): (receipt.archived, receipt.erased)
        for receipt in receipts
        if receipt.archived is not None
    }
    if any((e.archived, e.erased) != amended.get(e.name, (e.archived, e.erased)) for e in journal.entries()):
        journal.mend((), amended)
    failpoint.reached("mid-let-go")
    needed = {receipt.archived for receipt in receipts}
    names = {copy: copy.relative_to(archive.root).as_posix() for copy in copies}
    gone = [copy for copy, name in names.items() if name not in needed]
    for copy in gone:
        copy.unlink(missing_ok=True)
    return sorted(names[copy] for copy in gone)
