"""Marts: when their releases had what the feeds brought, and whether that was in time.

Belongs here: what marts promise, by the feeds they need. Elsewhere: which feeds those are (dbt's manifest), what the
feeds promise (kept.py).
"""

import itertools
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from functools import cached_property
from typing import Final, NamedTuple

from platform_assets.engine.feed.feed import Feed
from platform_assets.engine.promises.due import Deliveries, Due, counted_since
from platform_assets.engine.promises.promise import Break, Promise, missing_now, month_of, promise_of
from platform_assets.engine.store.receipts import Receipt
from platform_assets.engine.store.release import Release

TO_RELEASE: Final = timedelta(minutes=30)  # what a delivery in time may take until readers have it


class ReleasesOfFeed(NamedTuple):
    """Releases of a mart, oldest first: when each was made, from which revision of a feed; and the newest of those up
    to each of them, since a later release may be built from older rows."""

    created: Sequence[datetime]
    built_from: Sequence[int]
    newest: Sequence[int]

    def first(self, at: int, revision: int) -> datetime | None:
        """When the first release, the `at`-th or later, was made that was built from that revision or a newer one."""
        for each in range(max(at, bisect_left(self.newest, revision)), len(self.created)):
            if self.built_from[each] >= revision:
                return self.created[each]
        return None


@dataclass(frozen=True, eq=False)
class ReleasedMart:
    """A mart, the feeds it needs and the releases that have it, oldest first."""

    mart: str
    owner: str
    feeds: Sequence[Feed]
    releases: Sequence[tuple[datetime, Release]]

    def released_at(self, feed: Feed, receipt: Receipt, since: datetime) -> datetime | None:
        """When readers first had the rows of a delivery that counts since then; None where they have not yet.

        A restatement or replay gives its receipt a new revision; what was released before it is told by the first
        release after the delivery that was built from newer rows of the feed than the one before.
        """
        releases = self._releases_of(feed.name)
        at = bisect_left(releases.created, since)
        wanted = receipt.revision
        if receipt.status == "superseded" or receipt.replayed_at is not None or feed.on_known_key != "allow":
            wanted = min(wanted, (releases.built_from[at - 1] if at else 0) + 1)
        return releases.first(at, wanted)

    def deliveries_released(self, deliveries: Deliveries) -> Deliveries:
        """Those of a feed's deliveries that were in a release. For readers, nothing else was delivered."""
        name = deliveries.feed.name
        if name not in self._released or self._released[name][0] is not deliveries:
            there = [
                receipt
                for since, receipt, _ in deliveries.counted
                if self.released_at(deliveries.feed, receipt, since) is not None
            ]
            self._released[name] = deliveries, Deliveries(deliveries.feed, there, among=deliveries)
        return self._released[name][1]

    def _releases_of(self, feed: str) -> ReleasesOfFeed:
        if feed not in self._by_feed:
            built_from = [release.built_from.get(feed, 0) for _, release in self.releases]
            newest = list(itertools.accumulate(built_from, max))
            self._by_feed[feed] = ReleasesOfFeed([created for created, _ in self.releases], built_from, newest)
        return self._by_feed[feed]

    @cached_property
    def _by_feed(self) -> dict[str, ReleasesOfFeed]:
        return {}

    @cached_property
    def _released(self) -> dict[str, tuple[Deliveries, Deliveries]]:
        return {}


def released_marts(
    feeds: Sequence[Feed],
    releases: Iterable[Release],
    needs: Mapping[str, Sequence[str]],
    owners: Mapping[str, str] | None = None,
) -> list[ReleasedMart]:
    """The marts (`needs`: mart -> its feeds) that need any of the feeds. owners: of marts, else that of a feed."""
    by_name = {feed.name: feed for feed in feeds}
    in_order = sorted(((datetime.fromisoformat(r.created_at), r) for r in releases), key=lambda each: each[0])
    return [
        ReleasedMart(
            mart,
            (owners or {}).get(mart, by_name[needed[0]].owner),
            [by_name[name] for name in needed],
            [(created, release) for created, release in in_order if mart in release.tables],
        )
        for mart, names in needs.items()
        if (needed := [name for name in names if name in by_name])
    ]


def promise_of_mart(
    mart: ReleasedMart, deliveries: Mapping[str, Deliveries], now: datetime, month: date | None
) -> Promise:
    """Whether every delivery due of every feed was in a release in time; nothing counts before the first of them."""
    due = kept = due_in_all = 0
    repairs: list[timedelta] = []
    last: tuple[datetime, Due] | None = None
    for feed in mart.feeds:
        for each, by, released in due_of_mart(mart, deliveries[feed.name], *month_of(feed.delivered, now, month)):
            due_in_all += 1
            if released is None and now <= by:
                continue
            due += 1
            if released is not None and released <= by:
                kept += 1
            elif released is not None:
                repairs.append(released - by)
                last = max(last or (released, each), (released, each), key=lambda late: late[0])
    was = last[1] if last else None
    return promise_of(
        mart.mart,
        "fresh",
        mart.owner,
        min(feed.delivered.objective for feed in mart.feeds),
        due=due,
        kept=kept,
        due_in_all=due_in_all,
        repairs=repairs,
        broken=_lacking_now(mart, deliveries, now),
        last=Break(mart.mart, "fresh", mart.owner, was.late_since + TO_RELEASE, was, was.receipt) if was else None,
    )


def promise_of_product(subject: str, owner: str, marts: Sequence[Promise]) -> Promise:
    """The promise of marts that are released together: as kept as that of the mart which kept the least of its own."""
    worst = min(marts, key=lambda each: (each.budget_left, each.attainment or 0.0))
    broken = {str(each): replace(each, subject=subject, owner=owner) for mart in marts for each in mart.broken}
    return replace(worst, subject=subject, owner=owner, broken=tuple(broken.values()))


def due_of_mart(
    mart: ReleasedMart, theirs: Deliveries, after: datetime, until: datetime
) -> Iterator[tuple[Due, datetime, datetime | None]]:
    """What was due of one of the mart's feeds, by when a release was to have it, and when the first one had it."""
    since = _counts_since(mart, theirs)
    for each in theirs.due(after, until):
        if since is not None and each.late_since >= since:
            released = (
                mart.released_at(theirs.feed, each.receipt, each.met_at) if each.receipt and each.met_at else None
            )
            yield each, each.late_since + TO_RELEASE, released


def _lacking_now(mart: ReleasedMart, deliveries: Mapping[str, Deliveries], now: datetime) -> list[Break]:
    """What the mart lacks, the oldest first; nothing before its first release."""
    if not mart.releases:
        return []
    found = []
    for feed in mart.feeds:
        theirs = deliveries[feed.name]
        found += [
            replace(missing, subject=mart.mart, kind="fresh", owner=mart.owner, since=missing.since + TO_RELEASE)
            for missing in missing_now(theirs, now - TO_RELEASE)
        ]
        built_from = mart.releases[-1][1].built_from.get(feed.name, 0)
        # Rows that have changed since the newest release was built.
        waiting = [r for r in theirs.receipts if r.revision > built_from and counted_since(r) is not None]
        if not waiting:
            continue
        changed = _changed_at(theirs.receipts, built_from)
        since = min(changed[receipt.revision] for receipt in waiting) + TO_RELEASE
        if now > since:
            first = min(waiting, key=lambda receipt: changed[receipt.revision])
            more = len(waiting) - 1
            found.append(Break(mart.mart, "fresh", mart.owner, since, receipt=first, more=more))
    return sorted(found, key=lambda each: each.since)


def _counts_since(mart: ReleasedMart, deliveries: Deliveries) -> datetime | None:
    """From when deliveries that are late make the mart late: both the feed and the mart have been there once."""
    first = deliveries.begun
    return None if first is None or not mart.releases else max(first, mart.releases[0][0] - TO_RELEASE)


def _changed_at(receipts: Iterable[Receipt], after: int) -> dict[int, datetime]:
    """When each revision after that was made: some of the deliveries it changed came in then, and tell."""
    changed: dict[int, datetime] = {}
    for receipt in receipts:
        if receipt.revision > after:
            at = receipt.replayed_at or receipt.committed_at
            changed[receipt.revision] = max(changed.get(receipt.revision, at), at)
    return changed
