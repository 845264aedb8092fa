"""One promise as values: what was due and kept, what is left of its budget, which deliveries break it.

Belongs here: these facts, their arithmetic, and the only words for them. Elsewhere: which delivery was due (due.py),
what feeds (kept.py) and marts (marts.py) promise.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final, Literal

from platform_assets.engine.feed.feed import Cadence
from platform_assets.engine.promises.due import Deliveries, Due
from platform_assets.engine.store.receipts import Receipt
from platform_assets.errors import printable

Kind = Literal["on time", "sound", "fresh"]

_INSTANT: Final = timedelta(microseconds=1)


@dataclass(frozen=True)
class Break:
    """What breaks a promise, or broke it: a delivery, or the lack of one.

    subject: the feed or mart that promised. since: from when on it was broken. due: the delivery that is missing or was
    late; None where none was due. receipt: the delivery to blame, where there is one. more: how many others wait for
    the same.
    """

    subject: str
    kind: Kind
    owner: str
    since: datetime
    due: Due | None = None
    receipt: Receipt | None = None
    more: int = 0

    def __str__(self) -> str:
        known = f"delivery {self.receipt.delivery_id} ({printable(self.receipt.slot)})" if self.receipt else ""
        if self.due is not None and self.due.met_at is not None:
            if self.due.kept:
                return f"{self.due.name} came in time and was released late"
            return f"{self.due.name} came {in_words(self.due.met_at - self.due.late_since)} late"
        if self.due is not None:
            trouble = self.receipt.trouble if self.receipt else ""
            return f"{self.due}" + (f"; {known}, which may be it, is quarantined: {trouble}" if known else "")
        assert self.receipt is not None
        if self.kind == "sound":
            replayed = self.receipt.problem is None and was_quarantined(self.receipt)
            return f"{known}: " + ("was quarantined until it was replayed" if replayed else self.receipt.trouble)
        more = f" and {self.more} more of them" if self.more else ""
        return f"the release: {known} of {self.receipt.feed}{more} is in and not released"


@dataclass(frozen=True)
class Promise:
    """How a promise stands in a month of its own zone.

    due: deliveries due so far (`sound`: that came); kept: those in time (sound). repair: the median time by which
    those that were mended had been late. budget_left: the share of the allowed misses that is left. Allowed is what
    the objective leaves of all that is due in the whole month, not rounded: where that is less than one, the first miss
    spends it. burning: the budget is spent, or will be by the end of the month at this rate. broken: what breaks it
    now; last: what last broke it this month and is mended.
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
    broken: tuple[Break, ...]
    last: Break | None

    @property
    def attainment(self) -> float | None:
        """The share that was kept; None where nothing was due."""
        return self.kept / self.due if self.due else None

    @property
    def broken_since(self) -> datetime | None:
        """Since when it is broken; None where it is whole now."""
        return min((each.since for each in self.broken), default=None)

    @property
    def blamed(self) -> Break | None:
        """What has broken it for longest, else what last broke it this month."""
        return min(self.broken, key=lambda each: each.since, default=self.last)

    @property
    def delivery_id(self) -> int | None:
        """The delivery to blame, where there is one."""
        return self.blamed.receipt.delivery_id if self.blamed and self.blamed.receipt else None

    @property
    def file(self) -> str | None:
        """Its file, table or window."""
        return self.blamed.receipt.slot if self.blamed and self.blamed.receipt else None

    @property
    def blame(self) -> str | None:
        """What is to blame, in words."""
        more = f"; and {len(self.broken) - 1} more" if len(self.broken) > 1 else ""
        return None if self.blamed is None else f"{self.blamed}{more}"


def promise_of(
    subject: str,
    kind: Kind,
    owner: str,
    objective: float,
    *,
    due: int,
    kept: int,
    due_in_all: int,
    repairs: Sequence[timedelta],
    broken: Sequence[Break],
    last: Break | None,
) -> Promise:
    """The promise by what was counted.

    due_in_all: deliveries due in the whole month. repairs: how late what was mended had been.
    """
    misses, allowed = due - kept, (1 - objective) * due_in_all
    left = max(0.0, 1 - misses / allowed) if allowed > 0 else float(not misses)
    # Rounding must not make one miss of twenty more than 5 %.
    burning = bool(misses) and (left < 1e-9 or misses / due * due_in_all > allowed + 1e-9)
    repair = timedelta(seconds=statistics.median(each.total_seconds() for each in repairs)) if repairs else None
    return Promise(subject, kind, owner, objective, due, kept, left, burning, repair, tuple(broken), last)


def missing_now(deliveries: Deliveries, now: datetime) -> list[Break]:
    """The deliveries that are missing, each with the quarantined one that would be it."""
    feed = deliveries.feed
    return [
        Break(feed.name, "on time", feed.owner, each.late_since, each, deliveries.quarantined_for(each))
        for each in deliveries.missing(now)
    ]


def was_quarantined(receipt: Receipt) -> bool:
    """Whether a replay had to let it out."""
    return receipt.accepted_at is not None and receipt.accepted_at > receipt.committed_at


def month_of(cadence: Cadence, now: datetime, month: date | None) -> tuple[datetime, datetime]:
    """The month as (after, until], by the cadence's zone."""
    first = (month or now.astimezone(cadence.zone).date()).replace(day=1)
    following = (first + timedelta(days=32)).replace(day=1)
    start, end = (datetime.combine(day, time(), cadence.zone).astimezone(UTC) for day in (first, following))
    return start - _INSTANT, end - _INSTANT


def in_words(span: timedelta) -> str:
    """A span of time as people say it."""
    minutes = round(span.total_seconds() / 60)
    if minutes < 120:
        return f"{minutes} min"
    return f"{minutes / 60:.0f} h" if minutes < 48 * 60 else f"{minutes / 60 / 24:.0f} days"
