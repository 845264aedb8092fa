"""Promises: what share of what was due came in time and sound, what that leaves, and who is to blame.

Belongs here: what feeds promise, and all promises together. Does not: which delivery meets which tick (due.py), marts
(served.py), the account (tally.py), how anything is shown. Values in, values out: no connection, no clock.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime

from platform_assets.engine.due import begun, due, newest_data, there_now, trailing
from platform_assets.engine.due import missing as missing
from platform_assets.engine.feed import Feed
from platform_assets.engine.receipts import Receipt
from platform_assets.engine.release import Release
from platform_assets.engine.served import fresh_mart as fresh_mart
from platform_assets.engine.served import fresh_promise, served, stale_now
from platform_assets.engine.tally import Break, Freshness, Promise, broken_by, late_breaks, long, month_of, tally


def promises(
    feeds: Sequence[Feed],
    receipts: Mapping[str, Sequence[Receipt]],
    releases: Iterable[Release],
    needs: Mapping[str, Sequence[str]],
    now: datetime,
    *,
    month: date | None = None,
    owners: Mapping[str, str] | None = None,
) -> list[Promise]:
    """Every promise of the feeds and of the marts (`needs`: mart -> its feeds) in the month, by default this one.

    receipts: by feed. owners: of marts; without one, that of its first feed.
    """
    found: list[Promise] = []
    for feed in feeds:
        theirs = receipts.get(feed.name, ())
        found += [_on_time(feed, theirs, now, month), _sound(feed, theirs, now, month)]
    found += [fresh_promise(mart, receipts, now, month) for mart in served(feeds, releases, needs, owners)]
    return found


def breaks(
    feeds: Sequence[Feed],
    receipts: Mapping[str, Sequence[Receipt]],
    releases: Iterable[Release],
    needs: Mapping[str, Sequence[str]],
    now: datetime,
    *,
    owners: Mapping[str, str] | None = None,
) -> list[Break]:
    """What is broken at this moment: missing deliveries, deliveries in quarantine, marts that lack what is due."""
    found: list[Break] = []
    for feed in feeds:
        theirs = receipts.get(feed.name, ())
        found += [*late_breaks(feed, theirs, now), *_unsound_now(feed, theirs)]
    for mart in served(feeds, releases, needs, owners):
        found += stale_now(mart, receipts, now)
    return found


def fresh(feed: Feed, receipts: Sequence[Receipt], now: datetime) -> Freshness:
    """Whether the feed has the data that is due, by the rows that are in raw; what once was missing and is in the past
    does not count. Whoever says how fresh a feed is says this."""
    there = there_now(feed, receipts)
    return Freshness(feed.name, newest_data(feed, there), feed.name, trailing(feed, there, now))


# ---- on time


def _on_time(feed: Feed, receipts: Sequence[Receipt], now: datetime, month: date | None) -> Promise:
    after, until = month_of(feed.delivered, now, month)
    first = begun(receipts)
    every = [each for each in due(feed, receipts, after, until) if first is not None and each.late_since >= first]
    judged = [each for each in every if each.met_at is not None or now > each.late_since]
    late = [each for each in judged if not each.kept]
    ahead = len(every) if first is not None else 0
    now_broken = late_breaks(feed, receipts, now)
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


def _sound(feed: Feed, receipts: Sequence[Receipt], now: datetime, month: date | None) -> Promise:
    after, until = month_of(feed.delivered, now, month)
    came = [r for r in receipts if r.status != "duplicate" and after < r.committed_at <= until]
    wrong = [r for r in came if not _is_sound(feed, r) or _was_quarantined(r)]
    by_id = {receipt.delivery_id: receipt for receipt in receipts}
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
        broken=_unsound_now(feed, receipts),
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


def _unsound_now(feed: Feed, receipts: Sequence[Receipt]) -> list[Break]:
    wrong = [r for r in receipts if r.status in ("accepted", "quarantined") and not _is_sound(feed, r)]
    wrong.sort(key=lambda receipt: receipt.delivery_id)
    return [broken_by(feed, "sound", r.committed_at, _unsound(r), None, r) for r in wrong]
