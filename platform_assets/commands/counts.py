"""What verbs count and list: rows of deliveries, a feed as a whole, what broke rules, what waits in quarantine.

Belongs here: the shapes that several verbs answer with. Their fields are the keys of `--json`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Protocol

from platform_assets.engine.deployment import FeedStatus
from platform_assets.engine.store.receipts import Receipt

ROWS: Final = ("read", "accepted", "rejected", "duplicate")
"""What each row that was read came to, as receipts count it."""
_COUNTED: Final = ("deliveries", *ROWS, "erased")


@dataclass(frozen=True)
class BrokenRule:
    """A rule, and how many rows in quarantine break it."""

    column: str | None
    rule: str
    rows: int


def broken_rules(reasons: Iterable[tuple[str | None, str, int]]) -> tuple[BrokenRule, ...]:
    """The rules that rows broke, the most frequent first."""
    return tuple(BrokenRule(*each) for each in reasons)


@dataclass(frozen=True)
class FeedTotals:
    """A feed: its deliveries and rows, over all time or of one run; and how it stands now."""

    feed: str
    origin: str
    deliveries: int
    read: int
    accepted: int
    rejected: int
    duplicate: int
    erased: int
    rows: int
    waiting: int
    newest_data: datetime | None
    missing: str | None
    freshness: str
    reasons: tuple[BrokenRule, ...]


def feed_totals(status: FeedStatus, receipts: Sequence[Receipt] | None = None) -> FeedTotals:
    """The feed as a whole; its deliveries and rows over all time, or those of `receipts`."""
    totals = status.totals
    counted = {name: getattr(totals, name) for name in _COUNTED} if receipts is None else added_up(receipts)
    return FeedTotals(
        feed=status.feed.name,
        origin=status.feed.origin,
        **counted,
        rows=totals.rows,
        waiting=totals.waiting,
        newest_data=status.newest,
        missing=str(status.fresh.missing) if status.fresh.missing else None,
        freshness=status.freshness,
        reasons=broken_rules(status.reasons),
    )


class Counted(Protocol):
    """What has counts of rows."""

    @property
    def erased(self) -> int:
        """Rows of erased persons."""


def counts_shown(counted: Iterable[Counted]) -> tuple[str, ...]:
    """The counts that a table of these has as columns: of erased rows only where there are any."""
    return _COUNTED if any(each.erased for each in counted) else _COUNTED[:-1]


def added_up(receipts: Sequence[Receipt]) -> dict[str, int]:
    """How many deliveries, and what their rows came to."""
    return {
        "deliveries": len(receipts),
        **{name: sum(getattr(receipt, name) for receipt in receipts) for name in (*ROWS, "erased")},
    }


@dataclass(frozen=True)
class Quarantined:
    """A delivery that is quarantined as a whole: why, where in the file, what to do."""

    feed: str
    file: str
    problem: str | None
    line: int | None
    column: str | None
    remedy: str | None
    delivery: int


def quarantined(receipts: Iterable[Receipt]) -> list[Quarantined]:
    """Those of the deliveries that are quarantined as a whole."""
    return [
        Quarantined(r.feed, r.slot, r.problem, r.problem_line, r.problem_column, r.remedy, r.delivery_id)
        for r in receipts
        if r.status == "quarantined"
    ]


def by_reason(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rejected rows, once for each rule that they break."""
    return [row | reason for row in rows for reason in row["reasons"]]
