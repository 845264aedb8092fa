"""Replay: archived deliveries through today's contract, as if it had always been.

Belongs here: which deliveries have to come again together, and as what. Elsewhere: taking them out and in, as any
delivery comes in (transaction.py), so that a replay equals a clean first load.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import replace
from datetime import datetime
from itertools import chain
from pathlib import Path

from platform_assets.engine.archive.archive import Archive, content_of
from platform_assets.engine.archive.decisions import UNDECIDED, Decided
from platform_assets.engine.archive.expected import Expected
from platform_assets.engine.feed.feed import Feed
from platform_assets.engine.load.offer import Known, Offer
from platform_assets.engine.sources.source import Arrival, Claim
from platform_assets.engine.store.ledger import Ledger
from platform_assets.engine.store.receipts import Receipt
from platform_assets.errors import DeliveryRefused, ReplayRefused, printable


def linked(ledger: Ledger, feed: str, deliveries: Collection[int]) -> list[Receipt]:
    """`deliveries` and all whose outcome may hang on theirs, by id.

    Two are linked by a slot (one replaces the other), by content (one is a duplicate of the other), or by a row of
    one that was left out for a row of the other.
    """
    found = components(ledger.receipts(feed), ledger.left_out(feed), deliveries)
    return sorted(chain.from_iterable(found), key=_by_id)


def components(
    known: Iterable[Receipt], left_out: Iterable[tuple[int, int]], deliveries: Collection[int]
) -> list[list[Receipt]]:
    """As `linked`, each set of deliveries that hang together apart from the others.

    known: the feed's receipts. left_out: pairs of deliveries, one with rows left out for rows of the other.
    """
    receipts = {receipt.delivery_id: receipt for receipt in known}
    neighbours: defaultdict[object, list[int]] = defaultdict(list)
    links: defaultdict[int, list[object]] = defaultdict(list)
    for receipt in receipts.values():
        shared: list[object] = [("slot", receipt.slot), ("content", receipt.fingerprint or receipt.delivery_id)]
        for link in shared:
            neighbours[link].append(receipt.delivery_id)
            links[receipt.delivery_id].append(link)
    for pair in left_out:
        for delivery in pair:
            neighbours[pair].append(delivery)
            links[delivery].append(pair)
    found: list[list[Receipt]] = []
    reached: set[int] = set()
    for seed in sorted(deliveries):
        if seed in reached or seed not in receipts:
            continue
        component, todo = [], [seed]
        reached.add(seed)
        while todo:
            delivery = todo.pop()
            component.append(receipts[delivery])
            for link in links.pop(delivery):
                for other in neighbours.pop(link, []):
                    if other not in reached and other in receipts:
                        reached.add(other)
                        todo.append(other)
        found.append(sorted(component, key=_by_id))
    return found


def outdated(feed: Feed, receipts: Iterable[Receipt]) -> list[int]:
    """The deliveries that were validated by an earlier contract, and can be validated again."""
    version = feed.version()
    return [receipt.delivery_id for receipt in receipts if receipt.contract != version and receipt.archived is not None]


def offered_again(receipt: Receipt, archive: Archive, decided: Decided = UNDECIDED) -> Offer:
    """The delivery as it was offered, by what persons decided of it; as one that stands, where the archive has no copy
    of what no longer counts."""
    counted = receipt.problem is None and receipt.status != "withdrawn"
    accepted_at = receipt.accepted_at or (receipt.committed_at if counted else None)
    known_as = Known(receipt.delivery_id, receipt.committed_at, accepted_at, receipt.generation, receipt.came_with)
    arrival = from_archive(receipt.slot, receipt.bytes, receipt.arrived_at, receipt.expects)
    problem = DeliveryRefused(
        receipt.problem or "",
        remedy=receipt.remedy or "",
        line=receipt.problem_line,
        column=receipt.problem_column,
    )
    if receipt.fingerprint is None:
        return Offer(arrival, None, problem, known_as=known_as, before=receipt)
    if receipt.archived is None:
        if receipt.problem is None or receipt.status == "withdrawn" or decided.withdrawn is not None:
            return Offer(arrival, None, kept=stands(receipt, decided))
        return Offer(arrival, None, problem, known_as=known_as)
    copy = archive.root / receipt.archived
    claim = Claim(receipt.fingerprint, copy, None)
    if not archive.holds(copy):
        if receipt.status in ("superseded", "duplicate", "withdrawn") or decided.withdrawn is not None:
            return Offer(arrival, None, kept=stands(receipt, decided))
        if receipt.status == "quarantined":
            return Offer(arrival, claim, altered(copy), known_as, receipt.moved_from, erased=receipt.erased)
        raise ReplayRefused(
            f"delivery {receipt.delivery_id} ({printable(receipt.slot)}): its copy {copy} is missing or damaged",
            remedy=f"Put the file with SHA-256 {content_of(copy)} back there, or deliver it anew.",
        )
    moved_from = receipt.moved_from
    return Offer(arrival, claim, known_as=known_as, moved_from=moved_from, erased=receipt.erased, before=receipt)


def stands(receipt: Receipt, decided: Decided) -> Receipt:
    """The receipt of a delivery that is not brought in again, for there is no copy: with what is decided of it."""
    if receipt.follows(decided):
        return receipt
    marked = replace(receipt, withdrawn=decided.withdrawn, allowed=decided.allowed)
    if decided.withdrawn is not None:
        return replace(marked, status="withdrawn", supersedes=None, superseded_by=None, duplicate_of=None)
    return replace(marked, status="superseded") if receipt.status == "withdrawn" else marked


def from_archive(slot: str, size: int, arrived_at: datetime, expects: Expected) -> Arrival:
    """What arrived once, brought in again from its copy: its source is not asked."""
    return Arrival(slot=slot, position=None, size=size, arrived_at=arrived_at, changed_at=arrived_at, expects=expects)


def altered(copy: Path) -> DeliveryRefused:
    """Why a delivery is not brought in again whose copy in the archive is not what was delivered."""
    what = "no longer has the bytes that were delivered" if copy.exists() else "is missing"
    return DeliveryRefused(
        f"its copy in the archive {what}",
        remedy=f"Put the file with SHA-256 {content_of(copy)} back at {copy} and replay it, or deliver it anew.",
    )


def _by_id(receipt: Receipt) -> int:
    return receipt.delivery_id
