"""Freshness: whether a feed or a mart has all the data that is due. The word has no other meaning here.

Belongs here: that answer, for all who ask it. Elsewhere: which deliveries are due (due.py), what was promised
(kept.py, marts.py), Dagster's own freshness policies (watch/freshness_policy.py).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from platform_assets.engine.feed.feed import Feed
from platform_assets.engine.promises.due import Deliveries, Due
from platform_assets.engine.promises.marts import TO_RELEASE, ReleasedMart


@dataclass(frozen=True)
class Freshness:
    """Up to when a feed's or mart's data goes, and which of its feeds is the stalest; `missing`: that feed's first
    delivery that should be in it and is not."""

    subject: str
    newest: datetime | None
    stalest: str
    missing: Due | None

    @property
    def is_fresh(self) -> bool:
        """Whether all the data that is due is in it."""
        return self.newest is not None and self.missing is None

    def __str__(self) -> str:
        if self.newest is None:
            return "no data"
        return "fresh" if self.is_fresh else "late"


def feed_freshness(deliveries: Deliveries, now: datetime) -> Freshness:
    """Whether the feed has the data that is due, by the rows that are in raw; what once was missing and is in the past
    does not count."""
    feed, in_raw = deliveries.feed, deliveries.in_raw
    return Freshness(feed.name, in_raw.newest_data, feed.name, in_raw.first_missing(now))


def mart_freshness(mart: ReleasedMart, deliveries: Mapping[str, Deliveries], now: datetime) -> Freshness:
    """Whether the current release has the data that is due of every feed that the mart needs: it is as fresh as the
    stalest of them."""
    never = datetime.min.replace(tzinfo=UTC)
    found: list[tuple[datetime, datetime, Feed, Due | None]] = []
    for feed in mart.feeds:
        released = mart.deliveries_released(deliveries[feed.name])
        absent = released.first_missing(now - TO_RELEASE)
        overdue = absent.late_since if absent else datetime.max.replace(tzinfo=UTC)
        found.append((overdue, released.newest_data or never, feed, absent))
    _, _, stalest, absent = min(found, key=lambda each: each[:2])
    newest = min(each[1] for each in found)
    return Freshness(mart.mart, newest if newest > never else None, stalest.name, absent)
