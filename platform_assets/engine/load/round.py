"""A round: deliveries of a feed that are taken in at once, what they find being what was there before any of them.

Belongs here: asking what is known, storing what is read meanwhile, and writing receipts and slots. Does not: what
becomes of each delivery (delivery.py), the transaction's borders (ingest.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import datetime

import duckdb

from platform_assets.engine.archive.archive import Archive
from platform_assets.engine.feed.feed import Feed
from platform_assets.engine.load.delivery import Knowledge, Load, refused
from platform_assets.engine.load.offer import Offer
from platform_assets.engine.load.rows import Rows, ahead
from platform_assets.engine.load.standing import Standing
from platform_assets.engine.store.ledger import Ledger
from platform_assets.engine.store.receipts import Receipt
from platform_assets.engine.store.slots import Slots
from platform_assets.engine.store.tables import FeedTables
from platform_assets.errors import DeliveryRefused


class Round:
    """The one owner of the connection while deliveries come in: they are read by another thread, which has none."""

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
        self._feed = feed
        self._revision = revision
        self._ledger = Ledger(connection)
        self._tables = FeedTables(connection, feed)
        self._slots = Slots(connection, feed.name)
        self._rows = Rows(connection, self._tables)
        before = self._slots.named(name for offer in offers for name in (offer.slot, *offer.moved_from))
        in_force = self._ledger.in_force(
            feed.name, [each.fingerprint for each in offers if each.fingerprint is not None]
        )
        last = self._ledger.by_id(slot.delivery_id for slot in before.values() if slot.delivery_id is not None)
        self._standing = Standing(before, feed.on_restatement, offers, in_force)
        known = Knowledge(
            standing=self._standing,
            in_force=in_force,
            last={receipt.delivery_id: receipt for receipt in last},
            types=self._rows.types,
            next_id=self._ledger.next_ids()[0],
            revision=revision,
        )
        self._load = Load(feed, archive, now, offers, known)
        self.unfinished: Mapping[str, str] = self._load.unfinished
        self.removed: set[int] = set()
        self.reranked: set[int] = set()

    def run(self) -> list[int]:
        """Take the deliveries in; their ids. What is `removed` from raw by them, or `reranked` there, is said after."""
        for judged in ahead(self._load.judged()):
            self._rows.store(judged)
        return self._finish()

    def _finish(self) -> list[int]:
        self._hold_to_tolerance()
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
        self._forget_refused()
        replaced = self._fill_slots(receipts)
        for delivery_id, old in replaced.items():
            receipts[delivery_id] = replace(receipts[delivery_id], supersedes=old)
        ordered = [receipts[delivery_id] for delivery_id in sorted(receipts)]
        self._ledger.add(ordered, self._revision)
        known = [receipt for receipt in ordered if self._standing.before[receipt.slot].delivery_id is not None]
        self._ledger.settle_quarantined(known, self._revision)
        return [receipt.delivery_id for receipt in ordered]

    def _hold_to_tolerance(self) -> None:
        """Quarantine the deliveries that break the contract beyond what the feed tolerates, and what equals them."""
        tolerate = self._feed.tolerate
        if tolerate.beyond != "quarantine":
            return
        for delivery in [*self._load.fresh.values(), *self._load.deliveries.values()]:
            receipt = delivery.receipt
            breaking = receipt.delivery_id if delivery.copy_of is None else delivery.copy_of
            if receipt.status not in ("accepted", "duplicate") or breaking not in self._load.deliveries:
                continue
            rejected = self._rows.of(breaking).rejected
            if not tolerate.allows(rejected, receipt.read):
                problem = DeliveryRefused(
                    f"{rejected} of {receipt.read} rows break the contract, more than the feed tolerates",
                    remedy="Look at them with `platform feed check`; mend contract or file, or tolerate more.",
                )
                delivery.receipt = replace(refused(receipt, problem), duplicate_of=None)
                delivery.copy_of = None

    def _forget_refused(self) -> None:
        """Take the rows out again that deliveries had in raw and quarantine before they turned out to be refused."""
        accepted = {each for each, of in self._load.deliveries.items() if of.receipt.status == "accepted"}
        if gone := sorted(self._rows.figures.keys() - accepted):
            self._tables.remove(gone)
            self._ledger.forget_duplicates(gone)

    def _fill_slots(self, receipts: Mapping[int, Receipt]) -> dict[int, int]:
        """Note what stands in the slots now; take out what stands in none any more. Delivery -> what it replaces."""
        came = [(receipt, self._load.deliveries[receipt.delivery_id].copy_of) for receipt in receipts.values()]
        stand = [(receipt, receipt.stands_for if receipt.duplicate_of else None) for receipt in self._load.stand]
        replaced = self._standing.fill(sorted([*came, *stand], key=lambda each: each[0].delivery_id))
        for delivery in self._load.deliveries.values():
            self._standing.note_position(delivery.offer)
        by, self.reranked = self._standing.write(self._slots, replaced, self._revision)
        self.removed = set(by)
        self._tables.remove(sorted(by))
        self._ledger.supersede(by, self._revision)
        return {delivery_id: old for delivery_id, old in replaced.items() if delivery_id in receipts}
