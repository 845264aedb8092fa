"""`platform quarantine`, `replay`, `trace`: rows and the deliveries they came with, as verbs ask for them.

Belongs here: the deployment opened as each of these needs it. Elsewhere: quarantine (engine/store), replay and trace
(engine/load).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

from platform_assets.commands.counts import Quarantined, added_up, quarantined
from platform_assets.engine.deployment import Deployment
from platform_assets.engine.load.replay import Chosen
from platform_assets.engine.load.trace import trace
from platform_assets.engine.store.quarantine import Record, RejectedRow, explain, export, rejected_rows
from platform_assets.engine.store.receipts import Receipt
from platform_assets.project.configured import configured_deployment, prepared_deployment

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Explained:
    """Why rows and deliveries of a feed are quarantined. rules: with some rows that break each, as they arrived.
    outdated: deliveries among them that an earlier contract judged."""

    feed: str
    rows: int
    rules: list[dict[str, Any]]
    deliveries: list[Quarantined]
    outdated: Sequence[int]


@dataclass(frozen=True)
class TracedRow:
    """Where a row came from. archived: the copy of the file. record: as it arrived; None where the copy is gone."""

    feed: str
    delivery: int
    file: str
    line: int
    arrived_at: datetime
    archived: Path
    record: Record | None


@dataclass(frozen=True)
class Replayed:
    """What a replay did: the deliveries that came in again, and what their rows came to."""

    ok: bool
    feed: str
    deliveries: int
    read: int
    accepted: int
    rejected: int
    duplicate: int
    quarantined: list[Quarantined]


def waiting_rows(feed: str | None, limit: int, tell: Tell) -> tuple[list[dict[str, Any]], list[Quarantined]]:
    """Rejected rows, at most `limit` of each feed, and the deliveries that are quarantined as a whole."""
    _, deployment = prepared_deployment(tell)
    rows: list[dict[str, Any]] = []
    receipts: list[Receipt] = []
    with deployment.warehouse.open("list the quarantine", tell) as connection:
        for each in deployment.feeds if feed is None else (deployment.feed(feed),):
            receipts += explain(connection, each, examples=0).waiting
            rows += [{"feed": each.name, **_place(row)} for row in islice(rejected_rows(connection, each), limit)]
    return rows, quarantined(receipts)


def explained(feed: str, examples: int, tell: Tell) -> Explained:
    """Why rows and deliveries of the feed are quarantined, with `examples` of rows for each broken rule."""
    _, deployment = prepared_deployment(tell)
    with deployment.warehouse.open("explain the quarantine", tell) as connection:
        found = explain(connection, deployment.feed(feed), examples=examples)
    rules = [
        {
            "column": rule.column,
            "rule": rule.rule,
            "rows": rule.rows,
            "deliveries": rule.deliveries,
            "examples": [_place(row) | {"record": row.record} for row in rule.examples],
        }
        for rule in found.rules
    ]
    return Explained(feed, found.rows, rules, quarantined(found.waiting), found.outdated)


def exported(feed: str, to: Path, tell: Tell) -> int:
    """Write the feed's rejected rows to a CSV file; how many."""
    _, deployment = prepared_deployment(tell)
    with deployment.warehouse.open("export the quarantine", tell) as connection:
        return export(connection, deployment.feed(feed), to)


def replay_quarantined(feed: str, tell: Tell) -> Replayed:
    """Replay what is quarantined and was judged by an earlier contract."""
    deployment = _prepared_but(feed, tell)
    with deployment.warehouse.open("look at the quarantine", tell) as connection:
        outdated = set(explain(connection, deployment.feed(feed), examples=0).outdated)
    return _replay(deployment, feed, lambda receipt: receipt.delivery_id in outdated, again=False)


def replay_archived(
    feed: str,
    tell: Tell,
    *,
    deliveries: Sequence[int],
    file: str | None,
    since: datetime | None,
    until: datetime | None,
    again: bool,
) -> Replayed:
    """Replay deliveries by id, path and arrival; `again`: also those that today's contract has judged."""
    chosen = Chosen(deliveries, file, since, until)
    return _replay(_prepared_but(feed, tell), feed, chosen, again=again)


def traced(table: str, values: Mapping[str, str], limit: int, tell: Tell) -> list[TracedRow]:
    """Where rows of the table with these values came from."""
    _, deployment = prepared_deployment(tell)
    with deployment.warehouse.open("trace rows", tell) as connection:
        found = trace(connection, deployment.feeds, deployment.archive, table, values, most=limit)
    return [
        TracedRow(
            feed=each.receipt.feed,
            delivery=each.receipt.delivery_id,
            file=each.file,
            line=each.line,
            arrived_at=each.receipt.arrived_at,
            archived=deployment.archive.root / (each.receipt.archived or ""),
            record=each.record,
        )
        for each in found
    ]


def _place(row: RejectedRow) -> dict[str, Any]:
    return {"delivery": row.delivery_id, "file": row.file, "line": row.line, "reasons": row.reasons}


def _prepared_but(feed: str, tell: Tell) -> Deployment:
    """The deployment, prepared but for the one feed, whose tables a replay may have to make anew."""
    _, deployment = configured_deployment(tell)
    deployment.prepare(but=deployment.feed(feed))
    return deployment


def _replay(deployment: Deployment, feed: str, chosen: Callable[[Receipt], bool], *, again: bool) -> Replayed:
    receipts = deployment.replay(deployment.feed(feed), chosen, again=again)
    return Replayed(ok=True, feed=feed, **added_up(receipts), quarantined=quarantined(receipts))
