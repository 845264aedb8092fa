"""Kept promises: what share of what was due came in time and sound, for feeds; and all promises together.

Belongs here: what feeds promise. Elsewhere: which delivery meets which tick (due.py), marts (marts.py), budgets and
words (promise.py). Values in, values out: no connection, no clock.
"""

from collections.abc import Collection, Iterable, Mapping
from datetime import date, datetime
from types import MappingProxyType

from platform_assets.engine.feed.feed import Feed
from platform_assets.engine.promises.due import Deliveries
from platform_assets.engine.promises.marts import ReleasedMart, promise_of_mart, promise_of_product
from platform_assets.engine.promises.promise import Break, Promise, missing_now, month_of, promise_of, was_quarantined
from platform_assets.engine.store.receipts import Receipt


def promises(
    deliveries: Mapping[str, Deliveries],
    marts: Iterable[ReleasedMart],
    now: datetime,
    *,
    month: date | None = None,
    products: Mapping[str, tuple[str, Collection[str]]] = MappingProxyType({}),
) -> list[Promise]:
    """Every promise of the feeds (`deliveries`: theirs, by feed), of the marts and of products (owner and marts, by
    what they are called) in the month, by default this one."""
    found: list[Promise] = []
    for theirs in deliveries.values():
        found += [_on_time(theirs, now, month), _sound(theirs, now, month)]
    of_marts = [promise_of_mart(mart, deliveries, now, month) for mart in marts]
    of_products = [
        promise_of_product(name, owner, together)
        for name, (owner, released) in products.items()
        if (together := [each for each in of_marts if each.subject in released])
    ]
    return [*found, *of_marts, *of_products]


def _on_time(theirs: Deliveries, now: datetime, month: date | None) -> Promise:
    feed, first = theirs.feed, theirs.begun
    every = [
        each
        for each in theirs.due(*month_of(feed.delivered, now, month))
        if first is not None and each.late_since >= first
    ]
    so_far = [each for each in every if each.met_at is not None or now > each.late_since]
    late = [each for each in so_far if not each.kept]
    mended = [each for each in late if each.met_at is not None]
    was = mended[-1] if mended else None
    return promise_of(
        feed.name,
        "on time",
        feed.owner,
        feed.delivered.objective,
        due=len(so_far),
        kept=len(so_far) - len(late),
        due_in_all=len(every),
        repairs=[each.met_at - each.late_since for each in mended if each.met_at is not None],
        broken=missing_now(theirs, now),
        last=Break(feed.name, "on time", feed.owner, was.late_since, was, was.receipt) if was else None,
    )


def _sound(theirs: Deliveries, now: datetime, month: date | None) -> Promise:
    feed, receipts = theirs.feed, theirs.receipts
    after, until = month_of(feed.delivered, now, month)
    came = [r for r in receipts if r.status != "duplicate" and after < r.committed_at <= until]
    wrong = [r for r in came if not is_sound(feed, r) or was_quarantined(r)]
    by_id = {receipt.delivery_id: receipt for receipt in receipts} if wrong else {}
    repairs = []
    for receipt in wrong:
        mended = receipt.accepted_at if is_sound(feed, receipt) else None
        if mended is None and receipt.superseded_by in by_id:
            mended = by_id[receipt.superseded_by].committed_at
        if mended is not None:
            repairs.append(mended - receipt.committed_at)
    last = max(wrong, key=lambda r: r.committed_at, default=None)
    return promise_of(
        feed.name,
        "sound",
        feed.owner,
        feed.delivered.objective,
        due=len(came),
        kept=len(came) - len(wrong),
        due_in_all=max(len(came), sum(1 for _ in feed.delivered.ticks(after, until))),
        repairs=repairs,
        broken=_unsound_now(theirs),
        last=_unsound(feed, last) if last else None,
    )


def is_sound(feed: Feed, receipt: Receipt) -> bool:
    """Whether the delivery is what its feed promises, as it stands now."""
    tolerated = receipt.allowed is not None or feed.tolerate.allows(receipt.rejected, receipt.read)
    return receipt.problem is None and tolerated


def _unsound(feed: Feed, receipt: Receipt) -> Break:
    return Break(feed.name, "sound", feed.owner, receipt.committed_at, receipt=receipt)


def _unsound_now(theirs: Deliveries) -> list[Break]:
    feed = theirs.feed
    wrong = [r for r in theirs.receipts if r.status in ("accepted", "quarantined") and not is_sound(feed, r)]
    return [_unsound(feed, receipt) for receipt in sorted(wrong, key=lambda receipt: receipt.delivery_id)]
