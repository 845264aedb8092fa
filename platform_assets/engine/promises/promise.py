"""Promises: what share of what was due came in time and sound, what that leaves, and who is to blame.

Belongs here: what feeds promise, and all promises together. Does not: which delivery meets which tick (due.py), marts
(served.py), the account (tally.py), how anything is shown. Values in, values out: no connection, no clock.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime

from platform_assets.engine.feed.feed import Feed
from platform_assets.engine.promises.due import Deliveries, Due
from platform_assets.engine.promises.served import Served, fresh_promise, stale_now
from platform_assets.engine.promises.tally import (
    Break,
    Freshness,
    Promise,
    broken_by,
    late_breaks,
    long,
    month_of,
    tally,
)
from platform_assets.engine.store.receipts import Receipt


def promises(
    known: Mapping[str, Deliveries], marts: Iterable[Served], now: datetime, *, month: date | None = None
) -> list[Promise]:
    """Every promise of the feeds (`known`: their deliveries by feed) and of the marts in the month, by default this
    one."""
    found: list[Promise] = []
    for theirs in known.values():
        found += [_on_time(theirs, now, month), _sound(theirs, now, month)]
    return [*found, *(fresh_promise(mart, known, now, month) for mart in marts)]


def breaks(known: Mapping[str, Deliveries], marts: Iterable[Served], now: datetime) -> list[Break]:
    """What is broken at this moment: missing deliveries, deliveries in quarantine, marts that lack what is due."""
    found: list[Break] = []
    for theirs in known.values():
        found += [*late_breaks(theirs, now), *_unsound_now(theirs)]
    for mart in marts:
        found += stale_now(mart, known, now)
    return found


def deliveries(feeds: Iterable[Feed], receipts: Mapping[str, Sequence[Receipt]]) -> dict[str, Deliveries]:
    """The feeds' deliveries by feed, as their receipts tell them."""
    return {feed.name: Deliveries(feed, receipts.get(feed.name, ())) for feed in feeds}


def missing(feed: Feed, receipts: Sequence[Receipt], now: datetime) -> list[Due]:
    """The deliveries of the feed that should be there now and are not, the oldest first."""
    return Deliveries(feed, receipts).missing(now)


def fresh(feed: Feed, receipts: Sequence[Receipt], now: datetime) -> Freshness:
    """Whether the feed has the data that is due, by its receipts."""
    return fresh_feed(Deliveries(feed, receipts), now)


def fresh_feed(theirs: Deliveries, now: datetime) -> Freshness:
    """Whether the feed has the data that is due, by the rows that are in raw; what once was missing and is in the past
    does not count. Whoever says how fresh a feed is says this."""
    there = theirs.there
    return Freshness(theirs.feed.name, there.newest_data, theirs.feed.name, there.trailing(now))


# ---- on time


def _on_time(theirs: Deliveries, now: datetime, month: date | None) -> Promise:
    feed, first = theirs.feed, theirs.begun
    after, until = month_of(feed.delivered, now, month)
    every = [each for each in theirs.due(after, until) if first is not None and each.late_since >= first]
    judged = [each for each in every if each.met_at is not None or now > each.late_since]
    late = [each for each in judged if not each.kept]
    ahead = len(every) if first is not None else 0
    now_broken = late_breaks(theirs, now)
    mended = [each for each in late if each.met_at is not None and each.receipt is not None]
    was = mended[-1] if mended else None
    return tally(
        feed.name,
        "on time",
        feed.owner,
        feed.delivered.objective,
        due=len(judged),
        kept=len(judged) - len(late),
        ahead=ahead,
        repairs=[each.met_at - each.late_since for each in mended if each.met_at is not None],
        broken=now_broken,
        before=f"{was.name} came {long(was.met_at - was.late_since)} late" if was and was.met_at else None,
        last=was.receipt if was else None,
    )


# ---- sound


def _sound(theirs: Deliveries, now: datetime, month: date | None) -> Promise:
    feed, receipts = theirs.feed, theirs.receipts
    after, until = month_of(feed.delivered, now, month)
    came = [r for r in receipts if r.status != "duplicate" and after < r.committed_at <= until]
    wrong = [r for r in came if not _is_sound(feed, r) or _was_quarantined(r)]
    by_id = {receipt.delivery_id: receipt for receipt in receipts} if wrong else {}
    repairs = []
    for receipt in wrong:
        mended = receipt.accepted_at if _is_sound(feed, receipt) else None
        if mended is None and receipt.superseded_by in by_id:
            mended = by_id[receipt.superseded_by].committed_at
        if mended is not None:
            repairs.append(mended - receipt.committed_at)
    last = max(wrong, key=lambda r: r.committed_at, default=None)
    return tally(
        feed.name,
        "sound",
        feed.owner,
        feed.delivered.objective,
        due=len(came),
        kept=len(came) - len(wrong),
        ahead=max(len(came), sum(1 for _ in feed.delivered.ticks(after, until))),
        repairs=repairs,
        broken=_unsound_now(theirs),
        before=_unsound(last) if last else None,
        last=last,
    )


def _is_sound(feed: Feed, receipt: Receipt) -> bool:
    return receipt.problem is None and feed.tolerate.allows(receipt.rejected, receipt.read)


def _was_quarantined(receipt: Receipt) -> bool:
    """Whether a replay had to let it out."""
    return receipt.accepted_at is not None and receipt.accepted_at > receipt.committed_at


def _unsound(receipt: Receipt) -> str:
    why = receipt.problem or f"{receipt.rejected} of {receipt.read} rows rejected"
    if receipt.problem is None and _was_quarantined(receipt):
        why = "was quarantined until it was replayed"
    return f"delivery {receipt.delivery_id} ({receipt.slot}): {why}"


def _unsound_now(theirs: Deliveries) -> list[Break]:
    feed = theirs.feed
    wrong = [r for r in theirs.receipts if r.status in ("accepted", "quarantined") and not _is_sound(feed, r)]
    wrong.sort(key=lambda receipt: receipt.delivery_id)
    return [broken_by(feed, "sound", r.committed_at, _unsound(r), None, r) for r in wrong]
