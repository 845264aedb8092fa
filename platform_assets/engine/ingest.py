"""The path of deliveries: claim, load, commit, a group of them at a time.

Belongs here: groups, their transactions and what a failure leaves. Does not: what becomes of a delivery in its
transaction (load.py).
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import duckdb

from platform_assets.engine import failpoint
from platform_assets.engine.archive import Archive, Claim
from platform_assets.engine.feed import Feed
from platform_assets.engine.landing import Arrival
from platform_assets.engine.ledger import Receipt
from platform_assets.engine.load import Load, Poisoned
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
    for group in _groups(arrivals):
        claims: list[Claim] = []
        refused: list[tuple[Arrival, DeliveryRefused]] = []
        for arrival in group:
            if arrival.refused is not None:
                problem = DeliveryRefused(f"is {arrival.refused}", remedy=f"Deliver the file itself as {arrival.slot}.")
                refused.append((arrival, problem))
                continue
            try:
                claims.append(archive.claim(feed.name, arrival))
            except DeliveryRefused as error:
                refused.append((arrival, error))
            except DeliveryUnfinished as error:
                outcome.unfinished[arrival.slot] = error.what
        with warehouse.open(f"load {feed.name}", notify) as connection:
            outcome.receipts += _commit(connection, feed, claims, refused, outcome.unfinished, archive, clock)
        done += len(group)
        if len(arrivals) > _GROUP_FILES:
            notify(f"{feed.name}: {done} of {len(arrivals)} deliveries")
    return outcome


def _groups(arrivals: Sequence[Arrival]) -> Iterator[list[Arrival]]:
    group: list[Arrival] = []
    size = 0
    for arrival in arrivals:
        if group and (len(group) == _GROUP_FILES or size + arrival.seen.size > _GROUP_BYTES):
            yield group
            group, size = [], 0
        group.append(arrival)
        size += arrival.seen.size
    if group:
        yield group


def _commit(
    connection: duckdb.DuckDBPyConnection,
    feed: Feed,
    claims: list[Claim],
    refused: list[tuple[Arrival, DeliveryRefused]],
    unfinished: dict[str, str],
    archive: Archive,
    clock: Callable[[], datetime],
) -> list[Receipt]:
    """Load a group in one transaction; a delivery that poisons it is quarantined and the rest begun again."""
    poisoned: dict[str, DeliveryRefused] = {}
    while True:
        connection.begin()
        try:
            slots = [*(claim.arrival.slot for claim in claims), *(arrival.slot for arrival, _ in refused)]
            contents = [claim.fingerprint for claim in claims]
            load = Load(connection, feed, archive, clock(), slots=slots, contents=contents)
            for arrival, problem in refused:
                load.quarantine(arrival, problem)
            for claim in claims:
                if claim.arrival.slot in poisoned:
                    load.quarantine(claim.arrival, poisoned[claim.arrival.slot], claim)
                    continue
                try:
                    load.take(claim)
                except DeliveryUnfinished as error:
                    unfinished[claim.arrival.slot] = error.what
            receipts = load.finish()
            failpoint.reached("before-commit")
            connection.commit()
        except Poisoned as error:
            connection.rollback()
            poisoned[error.claim.arrival.slot] = error.cause
            continue
        except BaseException:
            with contextlib.suppress(duckdb.Error):  # a commit that failed has no transaction any more
                connection.rollback()
            raise
        failpoint.reached("after-commit")
        return receipts
