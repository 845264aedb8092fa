"""The path of deliveries: claim, load, commit, a group of them at a time.

Belongs here: groups, their transactions and what a failure leaves; bringing back what the warehouse has lost. Does
not: what becomes of a delivery in its transaction (load.py), which deliveries to bring in again (replay.py).
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, TypeVar

import duckdb

from platform_assets.engine import failpoint
from platform_assets.engine.archive import Archive, Claim
from platform_assets.engine.feed import Feed
from platform_assets.engine.journal import Entry
from platform_assets.engine.keys import come_back, give_way
from platform_assets.engine.landing import Arrival, Sighting
from platform_assets.engine.ledger import Ledger
from platform_assets.engine.load import Known, Load, Offer, Poisoned
from platform_assets.engine.receipts import Receipt
from platform_assets.engine.replay import linked, stale, take_out
from platform_assets.engine.sightings import recalled
from platform_assets.engine.warehouse import Warehouse
from platform_assets.errors import DeliveryRefused, DeliveryUnfinished

_GROUP_FILES: Final = 100
_GROUP_BYTES: Final = 1 << 30


@dataclass
class Outcome:
    """What one ingest did: receipts written, and deliveries left alone (slot -> why)."""

    receipts: list[Receipt] = field(default_factory=list)
    unfinished: dict[str, str] = field(default_factory=dict)


def ingest(
    feed: Feed,
    arrivals: Sequence[Arrival],
    *,
    archive: Archive,
    warehouse: Warehouse,
    clock: Callable[[], datetime],
    notify: Callable[[str], None],
) -> Outcome:
    """Take `arrivals` of `feed` into the warehouse, each exactly once, and account for them.

    A delivery that cannot be trusted as a whole gets a receipt that says why; the others go on. What stops
    the process, or raises, leaves the groups already committed and nothing of the one under way.
    """
    outcome = Outcome()
    archive.sweep()
    done = 0
    for group in grouped(arrivals, lambda arrival: arrival.seen.size):
        offers = list(_offers(feed, group, archive, outcome.unfinished))
        archive.secure(offer.claim.copy for offer in offers if offer.claim is not None)
        with warehouse.open(f"load {feed.name}", notify) as connection:
            receipts = commit(connection, feed, archive, offers, clock, unfinished=outcome.unfinished)
        outcome.receipts += receipts
        archive.journal(feed.name).append(_entries(receipts, {arrival.slot: arrival.seen for arrival in group}))
        done += len(group)
        if len(arrivals) > _GROUP_FILES:
            notify(f"{feed.name}: {done} of {len(arrivals)} deliveries")
    return outcome


def restore(
    connection: duckdb.DuckDBPyConnection,
    feed: Feed,
    archive: Archive,
    clock: Callable[[], datetime],
    notify: Callable[[str], None],
) -> list[Receipt]:
    """Bring in from the archive what the warehouse no longer knows: it was lost, damaged or is an older copy.

    The other way round too: what a kill kept out of the journal is noted.
    """
    ledger, journal = Ledger(connection), archive.journal(feed.name)
    if (noted := journal.last()) == (known := ledger.last_archived(feed.name)):
        return []
    if known > noted:
        late = [receipt for receipt in ledger.receipts(feed.name, after=noted) if receipt.archived is not None]
        journal.append(_entries(sorted(late, key=lambda receipt: receipt.delivery_id), {}))
    taken = {receipt.delivery_id for receipt in ledger.receipts()}
    lost = [entry for entry in journal.entries() if entry.delivery_id not in taken]
    there = [entry for entry in lost if (archive.root / entry.archived).exists()]
    if len(there) < len(lost):
        notify(f"{feed.name}: {len(lost) - len(there)} old deliveries are in neither the warehouse nor the archive")
    receipts: list[Receipt] = []
    for group in grouped(there, lambda entry: entry.seen.size):
        notify(f"{feed.name}: {len(group)} deliveries that the warehouse lacks come back from the archive")
        offers = [_offer(entry, archive) for entry in group]
        receipts += commit(connection, feed, archive, offers, clock, unfinished={})
    return receipts


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


def commit(
    connection: duckdb.DuckDBPyConnection,
    feed: Feed,
    archive: Archive,
    offers: Sequence[Offer],
    clock: Callable[[], datetime],
    *,
    unfinished: dict[str, str],
    again: Sequence[Receipt] = (),
    anew: bool = False,
) -> list[Receipt]:
    """Load `offers` in one transaction; a delivery that poisons it is quarantined and the rest begun again.

    again: deliveries that are taken out first, to be brought in with the others in the order of their ids.
    anew: whether raw and quarantine are to be made anew before, because the contract's types have changed.
    """
    poisoned: dict[tuple[str, str], DeliveryRefused] = {}
    # By one thread DuckDB stores rows in whole row groups; by several it leaves pieces, to be put together at the
    # next checkpoint for half as much again. The other core reads and judges meanwhile.
    connection.execute("SET threads = 1")
    while True:
        connection.begin()
        try:
            receipts, left_alone = _load(connection, feed, archive, offers, again, poisoned, clock(), anew=anew)
            failpoint.reached("before-commit")
            connection.commit()
        except Poisoned as error:
            connection.rollback()
            poisoned[_name(error.offer)] = error.cause
            continue
        except BaseException:
            with contextlib.suppress(duckdb.Error):  # a commit that failed has no transaction any more
                connection.rollback()
            raise
        failpoint.reached("after-commit")
        unfinished |= left_alone
        return receipts


def _load(
    connection: duckdb.DuckDBPyConnection,
    feed: Feed,
    archive: Archive,
    offers: Sequence[Offer],
    again: Sequence[Receipt],
    poisoned: dict[tuple[str, str], DeliveryRefused],
    now: datetime,
    *,
    anew: bool,
) -> tuple[list[Receipt], dict[str, str]]:
    """What one transaction does: receipts, and deliveries left alone (slot -> why)."""
    ledger = Ledger(connection)
    _, revision = ledger.next_ids()
    waiting = [*take_out(connection, feed, archive, again, anew=anew), *offers]
    receipts: dict[int, Receipt] = {}
    unfinished: dict[str, str] = {}
    while waiting:
        removed: list[int] = []
        taken: list[int] = []
        for each in _rounds(waiting):
            with contextlib.closing(Load(connection, feed, archive, now, offers=each, revision=revision)) as load:
                for offer in each:
                    problem = poisoned.get(_name(offer))
                    try:
                        load.take(offer if problem is None else offer.but(problem))
                    except DeliveryUnfinished as error:
                        unfinished[offer.arrival.slot] = error.what
                written = load.finish()
            receipts |= {receipt.delivery_id: receipt for receipt in written}
            taken += [receipt.delivery_id for receipt in written]
            removed += load.removed
        # Rows that had given way to rows now gone have their say again.
        revived = [ledger.receipt(delivery) for delivery in ledger.gave_way_to(removed)] if removed else []
        outdated = {receipt.delivery_id for receipt in revived} & set(stale(feed, revived))
        for receipt in revived:
            if receipt.delivery_id not in outdated:
                come_back(connection, feed, archive, receipt, removed)
        hanging = linked(ledger, feed.name, outdated) if outdated else []
        waiting = take_out(connection, feed, archive, hanging, anew=False) if hanging else []
        give_way(connection, feed, [*taken, *(receipt.delivery_id for receipt in revived)], revision)
    if feed.on_known_key != "allow":  # some rows may have given way since
        receipts = {delivery_id: ledger.receipt(delivery_id) for delivery_id in receipts}
    return [receipts[delivery_id] for delivery_id in sorted(receipts)], unfinished


def _rounds(offers: Sequence[Offer]) -> Iterator[list[Offer]]:
    """The offers in their order, cut wherever a slot comes again."""
    each: list[Offer] = []
    slots: set[str] = set()
    for offer in offers:
        if offer.arrival.slot in slots:
            yield each
            each, slots = [], set()
        each.append(offer)
        slots.add(offer.arrival.slot)
    if each:
        yield each


def _name(offer: Offer) -> tuple[str, str]:
    return offer.arrival.slot, offer.claim.fingerprint if offer.claim else ""


def _offers(feed: Feed, arrivals: Sequence[Arrival], archive: Archive, unfinished: dict[str, str]) -> Iterator[Offer]:
    for arrival in arrivals:
        if arrival.refused is not None:
            problem = DeliveryRefused(f"is {arrival.refused}", remedy=arrival.remedy)
            yield Offer(arrival, None, problem)
            continue
        try:
            yield Offer(arrival, archive.claim(feed.name, arrival))
        except DeliveryRefused as error:
            yield Offer(arrival, None, error)
        except DeliveryUnfinished as error:
            unfinished[arrival.slot] = error.what


def _offer(entry: Entry, archive: Archive) -> Offer:
    """A delivery that the journal tells of."""
    copy = archive.root / entry.archived
    arrival = Arrival(entry.slot, copy, entry.seen, expects=entry.expects)
    committed_at = datetime.fromisoformat(entry.committed_at)
    known_as = Known(entry.delivery_id, committed_at, accepted_at=committed_at)
    return Offer(arrival, Claim(arrival, entry.fingerprint, copy), known_as=known_as)


def _entries(receipts: Iterable[Receipt], seen: dict[str, Sighting]) -> Iterator[Entry]:
    """What the journal notes of receipts; `seen`, where it is known, in which state the files were."""
    for receipt in receipts:
        if receipt.archived is not None and receipt.fingerprint is not None:
            yield Entry(
                delivery_id=receipt.delivery_id,
                slot=receipt.slot,
                fingerprint=receipt.fingerprint,
                archived=receipt.archived,
                committed_at=receipt.committed_at.isoformat(),
                seen=seen.get(receipt.slot) or recalled(receipt),
                expects=receipt.expects,
            )
