"""What readers are served: when a mart's releases had what its feeds brought, and how fresh the mart is by that.

Belongs here: what marts promise, by the feeds they need. Does not: which feeds those are (dbt's manifest says), what
the feeds promise (promise.py).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Final

from platform_assets.engine.due import Due, begun, counted_since, due, newest_data, trailing
from platform_assets.engine.feed import Feed
from platform_assets.engine.receipts import Receipt
from platform_assets.engine.release import Release
from platform_assets.engine.tally import Break, Freshness, Promise, late_breaks, month_of, tally

TO_RELEASE: Final = timedelta(minutes=30)  # what a delivery in time may take until readers have it


@dataclass(frozen=True)
class Served:
    """A mart, the feeds it needs and the releases that have it, oldest first."""

    mart: str
    owner: str
    feeds: Sequence[Feed]
    releases: Sequence[tuple[datetime, Release]]

    def had(self, feed: Feed, receipt: Receipt, since: datetime) -> datetime | None:
        """When readers first had the rows of a delivery that counts since then; None where they have not yet.

        A restatement or replay gives its receipt a new revision; what was released before it is told by the first
        release after the delivery that was built from newer rows of the feed than the one before.
        """
        bumped = receipt.status == "superseded" or receipt.replayed_at is not None or feed.on_known_key != "allow"
        before = 0
        for created, release in self.releases:
            built_from = release.built_from.get(feed.name, 0)
            if created < since:
                before = built_from
            elif built_from >= receipt.revision or (bumped and built_from > before):
                return created
        return None


def served(
    feeds: Sequence[Feed],
    releases: Iterable[Release],
    needs: Mapping[str, Sequence[str]],
    owners: Mapping[str, str] | None = None,
) -> list[Served]:
    """The marts (`needs`: mart -> its feeds) that need any of the feeds. owners: of marts, else that of a feed."""
    by_name = {feed.name: feed for feed in feeds}
    in_order = sorted(((datetime.fromisoformat(r.created_at), r) for r in releases), key=lambda each: each[0])
    return [
        Served(
            mart,
            (owners or {}).get(mart, by_name[needed[0]].owner),
            [by_name[name] for name in needed],
            [(created, release) for created, release in in_order if mart in release.tables],
        )
        for mart, names in needs.items()
        if (needed := [name for name in names if name in by_name])
    ]


def fresh_promise(
    mart: Served, receipts: Mapping[str, Sequence[Receipt]], now: datetime, month: date | None
) -> Promise:
    """Whether every delivery due of every feed was in a release in time; nothing counts before the first of them."""
    judged = kept = ahead = 0
    repairs: list[timedelta] = []
    last: tuple[datetime, Due] | None = None
    for feed in mart.feeds:
        theirs = receipts.get(feed.name, ())
        since = _counts_since(mart, theirs)
        for each in due(feed, theirs, *month_of(feed.delivered, now, month)):
            by = each.late_since + TO_RELEASE
            if since is None or each.late_since < since:
                continue
            ahead += 1
            had = mart.had(feed, each.receipt, each.met_at) if each.receipt and each.met_at else None
            if had is None and now <= by:
                continue
            judged += 1
            if had is not None and had <= by:
                kept += 1
            elif had is not None:
                repairs.append(had - by)
                last = max(last or (had, each), (had, each), key=lambda late: late[0])
    return tally(
        mart.mart,
        "fresh",
        mart.owner,
        min(feed.delivered.objective for feed in mart.feeds),
        due=judged,
        kept=kept,
        ahead=ahead,
        repairs=repairs,
        broken=stale_now(mart, receipts, now),
        before=f"{last[1].name} came {'in time and was released ' if last[1].kept else ''}late" if last else None,
        last=last[1].receipt if last else None,
    )


def stale_now(mart: Served, receipts: Mapping[str, Sequence[Receipt]], now: datetime) -> list[Break]:
    """What the mart lacks, the oldest first; nothing before its first release."""
    if not mart.releases:
        return []
    found = []
    for feed in mart.feeds:
        theirs = receipts.get(feed.name, ())
        found += [
            replace(broken, subject=mart.mart, kind="fresh", owner=mart.owner, since=broken.since + TO_RELEASE)
            for broken in late_breaks(feed, theirs, now - TO_RELEASE)
        ]
        waiting = _unreleased(mart, feed, theirs)
        changed = _changed_at(theirs)
        since = min((changed[receipt.revision] for receipt in waiting), default=now) + TO_RELEASE
        if now > since:
            first = min(waiting, key=lambda receipt: changed[receipt.revision])
            more = f" and {len(waiting) - 1} more of them" if len(waiting) > 1 else ""
            what = (
                f"the release: delivery {first.delivery_id} ({first.slot}) of {feed.name}{more} is in and not released"
            )
            known = (first.delivery_id, first.slot)
            found.append(Break(mart.mart, "fresh", mart.owner, since, what, None, None, *known))
    return sorted(found, key=lambda each: each.since)


def fresh_mart(
    mart: str,
    feeds: Sequence[Feed],
    receipts: Mapping[str, Sequence[Receipt]],
    releases: Iterable[Release],
    now: datetime,
) -> Freshness | None:
    """Whether the current release has the data that is due of every one of `feeds`, which the mart needs: it is as
    fresh as the stalest of them. None where it needs none."""
    never = datetime.min.replace(tzinfo=UTC)
    found: list[tuple[datetime, datetime, Feed, Due | None]] = []
    for readers in served(feeds, releases, {mart: [feed.name for feed in feeds]}):
        for feed in readers.feeds:
            theirs = receipts.get(feed.name, ())
            there = [r for r in theirs if (at := counted_since(r)) is not None and readers.had(feed, r, at) is not None]
            # What is not released counts as not delivered, but the feed has begun all the same.
            ids = {receipt.delivery_id for receipt in there}
            others = [replace(r, status="duplicate") for r in theirs if r.delivery_id not in ids]
            absent = trailing(feed, [*there, *others], now - TO_RELEASE)
            newest = newest_data(feed, there)
            overdue = absent.late_since if absent else datetime.max.replace(tzinfo=UTC)
            found.append((overdue, newest or never, feed, absent))
    if not found:
        return None
    _, _, stalest, absent = min(found, key=lambda each: each[:2])
    newest = min(each[1] for each in found)
    return Freshness(mart, newest if newest > never else None, stalest.name, absent)


def _counts_since(mart: Served, receipts: Sequence[Receipt]) -> datetime | None:
    """From when deliveries that are late make the mart late: both the feed and the mart have been there once."""
    first = begun(receipts)
    return None if first is None or not mart.releases else max(first, mart.releases[0][0] - TO_RELEASE)


def _unreleased(mart: Served, feed: Feed, receipts: Sequence[Receipt]) -> list[Receipt]:
    """Deliveries whose rows have changed since the newest release was built."""
    built_from = mart.releases[-1][1].built_from.get(feed.name, 0)
    return [r for r in receipts if r.revision > built_from and counted_since(r) is not None]


def _changed_at(receipts: Iterable[Receipt]) -> dict[int, datetime]:
    """When each revision was made: some of the deliveries it changed came in then, and tell."""
    changed: dict[int, datetime] = {}
    for receipt in receipts:
        at = receipt.replayed_at or receipt.committed_at
        changed[receipt.revision] = max(changed.get(receipt.revision, at), at)
    return changed
