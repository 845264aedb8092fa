"""Metadata of a feed's assets in Dagster's UI: receipts, newest data, rejected rows by rule.

Belongs here: the figures after a run, and how they are shown. Elsewhere: deciding by them (checks.py), Markdown
(markdown.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import dagster as dg

from platform_assets.engine.deployment import Deployment, FeedStatus
from platform_assets.engine.feed.feed import Feed
from platform_assets.engine.store.newest import Rows
from platform_assets.engine.store.quarantine import RejectedRow
from platform_assets.engine.store.receipts import Receipt
from platform_assets.errors import LONGEST_SHOWN, printable
from platform_assets.orchestration.markdown import code, listing, newest, rejected, table
from platform_assets.orchestration.runs.keys import quarantine_key

_SHOWN: Final = 20
_NEWEST: Final = 10
_BARS: Final = "▁▂▃▄▅▆▇█"


@dataclass(frozen=True)
class FeedFigures:
    """A feed after a run. receipts: of that run; recent: ids of the newest deliveries that were read, oldest first;
    by_rule: rejected rows by (column, rule) and delivery; rows, rejected: the newest; arrived: the newest deliveries,
    whatever became of them."""

    feed: Feed
    status: FeedStatus
    receipts: Sequence[Receipt]
    recent: Sequence[int]
    by_rule: dict[tuple[str | None, str], dict[int, int]]
    rows: Rows
    rejected: Sequence[RejectedRow]
    arrived: Sequence[Receipt]

    @classmethod
    def of(cls, deployment: Deployment, feed: Feed, receipts: Sequence[Receipt]) -> "FeedFigures":
        """The figures after a run that wrote `receipts`."""
        (status,) = deployment.status([feed])
        with deployment.warehouse.reading("count rejected rows") as unit:
            known = deployment.receipts_published(feed)
            in_force = [r for r in known if r.status == "accepted"]
            recent = [r.delivery_id for r in in_force[:_SHOWN]][::-1]
            deliveries = {*recent, *(receipt.delivery_id for receipt in receipts)}
            by_rule = unit.quarantine(feed).reasons_of(sorted(deliveries))
            rows = unit.newest(feed, [r.delivery_id for r in in_force if r.accepted][:_NEWEST])
            waiting = [r.delivery_id for r in known if r.rejected > r.expired][:_NEWEST]
            rejected = list(unit.quarantine(feed).first_rows(waiting, _NEWEST))
        return cls(feed, status, receipts, recent, by_rule, rows, rejected, known[:_NEWEST])

    def raw_metadata(self) -> dict[str, Any]:
        """Metadata of the feed's raw asset."""
        figures = {
            figure: sum(getattr(receipt, figure) for receipt in self.receipts)
            for figure in ("read", "accepted", "rejected", "duplicate", "erased")
        }
        data = {"newest_data": dg.MetadataValue.timestamp(self.status.newest)} if self.status.newest else {}
        return {
            **newest(self.rows),
            "newest_deliveries": _deliveries(self.arrived),
            "deliveries": len(self.receipts),
            **figures,
            "freshness": self.status.freshness,
            **data,
            "dagster/row_count": self.status.totals.rows,
            "receipts": dg.MetadataValue.md(receipts_table(self.receipts)),
            "quarantine": dg.MetadataValue.asset(quarantine_key(self.feed)),
            **self._plotted(),
        }

    def quarantine_metadata(self) -> dict[str, Any]:
        """Metadata of the feed's quarantine asset."""
        rows = sum(count for _, _, count in self.status.reasons)
        rules = [
            (code(column), code(rule), count, self._bars(self.by_rule.get((column, rule), {})))
            for column, rule, count in self.status.reasons
        ]
        head = ("column", "rule", "broken", f"last {len(self.recent)} deliveries")
        return {
            "newest_rows": rejected(self.rejected),
            "broken_rules": rows,
            "deliveries_waiting": self.status.totals.waiting,
            "reasons": dg.MetadataValue.md(table(head, rules, empty="nothing is rejected")),
            "rows": dg.MetadataValue.md(f"`platform quarantine explain {self.feed.name}` shows more of them."),
            **self._plotted(),
        }

    def _plotted(self) -> dict[str, int]:
        """Rows that this run rejected by rule, none too: Dagster draws figures that every materialization has."""
        mine = {receipt.delivery_id for receipt in self.receipts}
        return {
            printable(f"rejected: {column or ''} {rule}", LONGEST_SHOWN): sum(
                rows for delivery, rows in counts.items() if delivery in mine
            )
            for (column, rule), counts in self.by_rule.items()
        }

    def _bars(self, counts: dict[int, int]) -> str:
        """The rule's rejected rows in the last deliveries, a bar each."""
        most = max(counts.values(), default=0)
        return "".join(
            "·" if not (rows := counts.get(delivery, 0)) else _BARS[(rows * len(_BARS) - 1) // most]
            for delivery in self.recent
        )


def _remarks(receipt: Receipt) -> tuple[str, str]:
    return code(receipt.problem), code(receipt.decided or None)


def _deliveries(receipts: Sequence[Receipt]) -> dg.TableMetadataValue:
    """What came, newest first: which file, when, what became of it."""
    head = ("file", "taken in (UTC)", "status", "rows accepted", "rejected", "problem")
    rows = [(r.slot, f"{r.committed_at:%Y-%m-%d %H:%M}", r.status, r.accepted, r.rejected, r.problem) for r in receipts]
    return listing(head, rows)


def receipts_table(receipts: Sequence[Receipt]) -> str:
    """Receipts as Markdown, the newest 20."""
    head = ("delivery", "file", "status", "read", "accepted", "rejected", "duplicate", "problem", "decided")
    rows = [
        (r.delivery_id, code(r.slot), r.status, *(r.read, r.accepted, r.rejected, r.duplicate), *_remarks(r))
        for r in receipts[-_SHOWN:]
    ]
    more = f"\n\nand {len(receipts) - _SHOWN} before these" if len(receipts) > _SHOWN else ""
    return table(head, rows, empty="nothing new") + more
