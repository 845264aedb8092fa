"""Tally: what share of a promise was kept, and what that leaves of its budget.

Belongs here: the account of any promise. Does not: what was due and what was kept (promise.py, served.py).
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final, Literal

from platform_assets.engine.feed.feed import Cadence, Feed
from platform_assets.engine.promises.due import Deliveries, Due
from platform_assets.engine.store.receipts import Receipt

Kind = Literal["on time", "sound", "fresh"]

_INSTANT: Final = timedelta(microseconds=1)


@dataclass(frozen=True)
class Break:
    """A promise that is broken now: since when, and by what, in plain words.

    subject: the feed or mart that promised. feed: the feed it is down to; None where a release is.
    tick: when the delivery was due. delivery_id, file: the delivery to blame, where there is one.
    """

    subject: str
    kind: Kind
    owner: str
    since: datetime
    what: str
    feed: str | None
    tick: datetime | None = None
    delivery_id: int | None = None
    file: str | None = None


@dataclass(frozen=True)
class Promise:
    """How a promise stands in a month of its own zone.

    due: deliveries due so far (`sound`: that came); kept: those in time (sound). repair: the median time by which
    those that were mended had been late. broken_since: None where it is whole now. blame: what breaks it now, else
    what last broke it this month. budget_left: the share of the allowed misses that is left. Allowed is what the
    objective leaves of all that is due in the whole month, not rounded: where that is less than one, the first miss
    spends it. burning: the budget is spent, or will be by the end of the month at this rate.
    """

    subject: str
    kind: Kind
    owner: str
    objective: float
    due: int
    kept: int
    budget_left: float
    burning: bool
    repair: timedelta | None
    broken_since: datetime | None
    blame: str | None
    delivery_id: int | None = None
    file: str | None = None

    @property
    def attainment(self) -> float | None:
        """The share that was kept; None where nothing was due."""
        return self.kept / self.due if self.due else None


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


def late_breaks(deliveries: Deliveries, now: datetime) -> list[Break]:
    """The deliveries that are missing, each with the quarantined one that would be it."""
    found = []
    for each in deliveries.missing(now):
        file = deliveries.held(each)
        what = str(each)
        if file is not None:
            what += f"; delivery {file.delivery_id} ({file.slot}), which may be it, is quarantined: {file.problem}"
        found.append(broken_by(deliveries.feed, "on time", each.late_since, what, each.tick, file))
    return found


def broken_by(
    feed: Feed, kind: Kind, since: datetime, what: str, tick: datetime | None, receipt: Receipt | None
) -> Break:
    """A promise of the feed that a delivery breaks, or the lack of one."""
    known = (receipt.delivery_id, receipt.slot) if receipt else (None, None)
    return Break(feed.name, kind, feed.owner, since, what, feed.name, tick, *known)


def tally(
    subject: str,
    kind: Kind,
    owner: str,
    objective: float,
    *,
    due: int,
    kept: int,
    ahead: int,
    repairs: Sequence[timedelta],
    broken: Sequence[Break],
    before: str | None,
    last: Receipt | None,
) -> Promise:
    """The promise's account.

    ahead: what is due in the whole month. repairs: how late what was mended had been. broken: what is broken now.
    before, last: what broke it before, and the delivery to blame.
    """
    misses, allowed = due - kept, (1 - objective) * ahead
    left = max(0.0, 1 - misses / allowed) if allowed > 0 else float(not misses)
    # Rounding must not make one miss of twenty more than 5 %.
    burning = bool(misses) and (left < 1e-9 or misses / due * ahead > allowed + 1e-9)
    oldest = min(broken, key=lambda each: each.since) if broken else None
    more = f"; and {len(broken) - 1} more" if len(broken) > 1 else ""
    return Promise(
        subject=subject,
        kind=kind,
        owner=owner,
        objective=objective,
        due=due,
        kept=kept,
        budget_left=left,
        burning=burning,
        repair=timedelta(seconds=statistics.median(each.total_seconds() for each in repairs)) if repairs else None,
        broken_since=oldest.since if oldest else None,
        blame=oldest.what + more if oldest else before,
        delivery_id=oldest.delivery_id if oldest else (last.delivery_id if last else None),
        file=oldest.file if oldest else (last.slot if last else None),
    )


def month_of(cadence: Cadence, now: datetime, month: date | None) -> tuple[datetime, datetime]:
    """The month as (after, until], by the cadence's zone."""
    first = (month or now.astimezone(cadence.zone).date()).replace(day=1)
    following = (first + timedelta(days=32)).replace(day=1)
    start, end = (datetime.combine(day, time(), cadence.zone).astimezone(UTC) for day in (first, following))
    return start - _INSTANT, end - _INSTANT


def long(lapse: timedelta) -> str:
    """A lapse of time as people say it."""
    minutes = round(lapse.total_seconds() / 60)
    if minutes < 120:
        return f"{minutes} min"
    return f"{minutes / 60:.0f} h" if minutes < 48 * 60 else f"{minutes / 60 / 24:.0f} days"
