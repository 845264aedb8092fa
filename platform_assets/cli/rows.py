"""Verbs about rows and the deliveries they came with: quarantine, replay, trace.

Belongs here: asking and showing. Does not: what a replay does (engine).
"""

from collections.abc import Sequence
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from platform_assets.cli.common import FIGURES, Json, answer, configured, line, open_deployment, show
from platform_assets.engine.deployment import Deployment
from platform_assets.engine.feed.feed import Feed
from platform_assets.engine.load.replay import Chosen
from platform_assets.engine.load.trace import trace as traced
from platform_assets.engine.store.quarantine import RejectedRow
from platform_assets.engine.store.receipts import Receipt
from platform_assets.errors import ConfigurationError

quarantine_app = typer.Typer(no_args_is_help=True, help="Rows and deliveries that broke their contract.")

FeedName = Annotated[str, typer.Argument(help="The feed.")]
_SHOWN: Final = 20


@quarantine_app.command("list")
def quarantine_list(
    feed: Annotated[str | None, typer.Argument(help="Only this feed.")] = None,
    limit: Annotated[int, typer.Option(help="Rows of each feed to show.", min=1)] = 20,
    as_json: Json = False,
) -> None:
    """List rejected rows with file, line, column, rule and value (PII masked), and deliveries waiting as a whole.

    Example: platform quarantine list order_lines --limit 5
    """
    _, deployment = open_deployment()
    feeds = deployment.feeds if feed is None else (deployment.feed(feed),)
    rows: list[tuple[Feed, RejectedRow]] = []
    waiting: list[Receipt] = []
    with deployment.warehouse.reading("list the quarantine") as unit:
        for each in feeds:
            waiting += unit.ledger.waiting(each.name)[::-1]
            rows += [(each, row) for row in islice(unit.quarantine(each).rows(), limit)]
    if as_json:
        answer(
            {
                "rows": [{"feed": each.name, **_row_json(row)} for each, row in rows],
                "deliveries": [_waiting_json(receipt) for receipt in waiting],
            }
        )
        return
    show(
        "Rejected rows",
        ("feed", "file", "line", "column", "rule", "value"),
        [
            (each.name, row.file, row.line, reason["column"], reason["rule"], reason["value"])
            for each, row in rows
            for reason in row.reasons
        ],
        right=("line",),
    )
    _show_waiting(waiting)


@quarantine_app.command("explain")
def quarantine_explain(
    feed: FeedName,
    examples: Annotated[int, typer.Option(help="Rows to show for each broken rule.", min=0)] = 3,
    as_json: Json = False,
) -> None:
    """Say why rows and deliveries of a feed wait: every broken rule, how often, with rows as they arrived (PII masked).

    Example: platform quarantine explain order_lines --examples 1
    """
    _, deployment = open_deployment()
    with deployment.warehouse.reading("explain the quarantine") as unit:
        found = unit.quarantine(deployment.feed(feed)).explain(examples=examples)
    if as_json:
        answer(
            {
                "feed": feed,
                "rows": found.rows,
                "rules": [
                    {
                        "column": rule.column,
                        "rule": rule.rule,
                        "rows": rule.rows,
                        "deliveries": rule.deliveries,
                        "examples": [_row_json(row) | {"record": row.record} for row in rule.examples],
                    }
                    for rule in found.rules
                ],
                "deliveries": [_waiting_json(receipt) for receipt in found.waiting],
                "outdated": list(found.outdated),
            }
        )
        return
    show(
        f"Rejected rows of {feed}, by the rules they break",
        ("column", "rule", "rows", "deliveries"),
        [(rule.column, rule.rule, rule.rows, rule.deliveries) for rule in found.rules],
        right=("rows", "deliveries"),
    )
    for rule in found.rules:
        for row in rule.examples:
            line(f"{rule.column or 'record'}, {rule.rule}: {row.file}, line {row.line}: {_shown(row.record)}")
    _show_waiting(found.waiting)
    if found.outdated:
        line(f"{len(found.outdated)} of these deliveries were judged by an earlier contract; bring them in again with")
        line(f"  platform quarantine replay {feed}")


@quarantine_app.command("replay")
def quarantine_replay(feed: FeedName, as_json: Json = False) -> None:
    """Bring what waits in quarantine through today's contract: whole deliveries, and those with rejected rows.

    Deliveries that today's contract has judged already are left alone, so that repeating it changes nothing.

    Example: platform quarantine replay order_lines
    """
    deployment, chosen = _to_be_replayed(feed)
    with deployment.warehouse.reading("look at the quarantine") as unit:
        outdated = set(unit.quarantine(chosen).explain(examples=0).outdated)
    _tell(chosen, deployment.replay(chosen, lambda r: r.delivery_id in outdated), as_json=as_json)


@quarantine_app.command("export")
def quarantine_export(
    feed: FeedName,
    to: Annotated[Path, typer.Option(help="The CSV file to write.")],
    as_json: Json = False,
) -> None:
    """Write a feed's rejected rows to a CSV file, for the producer to mend (PII masked, formulas made inert).

    Example: platform quarantine export order_lines --to rejected.csv
    """
    _, deployment = open_deployment()
    with deployment.warehouse.reading("export the quarantine") as unit:
        rows = unit.quarantine(deployment.feed(feed)).export(to)
    if as_json:
        answer({"feed": feed, "rows": rows, "file": str(to)})
    else:
        line(f"{rows} rejected rows written to {to}")


def replay(
    feed: FeedName,
    delivery: Annotated[list[int] | None, typer.Option(help="Only these deliveries, by id.")] = None,
    file: Annotated[str | None, typer.Option(help="Only files whose path fits, such as '*/2026-11-*'.")] = None,
    since: Annotated[datetime | None, typer.Option(help="Only what arrived then or later (UTC).")] = None,
    until: Annotated[datetime | None, typer.Option(help="Only what arrived before then (UTC).")] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Also what today's contract has judged already: from the archive, anew.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Bring archived deliveries through today's contract, as if it had always been.

    Deliveries that replace or repeat one another come together. Repeating it changes nothing.

    Example: platform replay order_lines --since 2026-11-01 --file '*.csv'
    """
    deployment, chosen = _to_be_replayed(feed)
    wanted = Chosen(delivery or (), file, since, until)
    _tell(chosen, deployment.replay(chosen, wanted, again=again), as_json=as_json)


def trace(
    table: Annotated[str, typer.Argument(help="A table that keeps _delivery_id and _line, such as raw.order_lines.")],
    where: Annotated[list[str], typer.Option(help="COLUMN=VALUE that the row has; may be repeated.")],
    limit: Annotated[int, typer.Option(help="Rows to trace.", min=1)] = _SHOWN,
    as_json: Json = False,
) -> None:
    """Say which file and line rows of a raw or staging table came from, and how they arrived (PII masked).

    Example: platform trace raw.order_lines --where invoice_no=536365 --where stock_code=71053
    """
    values = {}
    for each in where:
        column, equals, value = each.partition("=")
        if not equals:
            raise ConfigurationError(f"--where {each!r}", "is not COLUMN=VALUE", "Write --where invoice_no=536365.")
        values[column] = value
    _, deployment = open_deployment()
    with deployment.warehouse.reading("trace rows") as unit:
        found = traced(unit, deployment.feeds, deployment.archive, table, values, most=limit)
    if as_json:
        answer(
            {
                "rows": [
                    {
                        "feed": each.receipt.feed,
                        "delivery": each.receipt.delivery_id,
                        "file": each.file,
                        "line": each.line,
                        "arrived_at": each.receipt.arrived_at.isoformat(),
                        "archived": str(deployment.archive.root / (each.receipt.archived or "")),
                        "record": each.record,
                    }
                    for each in found
                ]
            }
        )
        return
    show(
        f"Rows of {table}",
        ("feed", "delivery", "file", "line", "arrived", "record"),
        [
            (
                each.receipt.feed,
                each.receipt.delivery_id,
                each.file,
                each.line,
                f"{each.receipt.arrived_at:%Y-%m-%d %H:%M}",
                "no longer in the archive" if each.record is None else _shown(each.record),
            )
            for each in found
        ],
        right=("delivery", "line"),
    )


def _to_be_replayed(name: str) -> tuple[Deployment, Feed]:
    """The deployment, prepared but for the one feed, whose tables a replay may have to make anew."""
    _, deployment = configured()
    feed = deployment.feed(name)
    deployment.prepare(but=feed)
    return deployment, feed


def _tell(feed: Feed, receipts: list[Receipt], *, as_json: bool) -> None:
    figures: dict[str, Any] = {"deliveries": len(receipts)}
    figures |= {each: sum(getattr(receipt, each) for receipt in receipts) for each in FIGURES[1:]}
    waiting = [receipt for receipt in receipts if receipt.status == "quarantined"]
    if as_json:
        answer({"ok": True, "feed": feed.name, **figures, "quarantined": [_waiting_json(r) for r in waiting]})
        return
    if not receipts:
        line(f"nothing to replay: today's contract has judged every delivery of {feed.name} that was asked for")
        return
    show(f"Replayed deliveries of {feed.name}", tuple(figures), [tuple(figures.values())], right=tuple(figures))
    _show_waiting(waiting)
    line("`platform run` builds the marts from it")


def _row_json(row: RejectedRow) -> dict[str, Any]:
    return {"delivery": row.delivery_id, "file": row.file, "line": row.line, "reasons": row.reasons}


def _waiting_json(receipt: Receipt) -> dict[str, Any]:
    return {
        "feed": receipt.feed,
        "file": receipt.slot,
        "problem": receipt.problem,
        "line": receipt.problem_line,
        "column": receipt.problem_column,
        "remedy": receipt.remedy,
        "delivery": receipt.delivery_id,
    }


def _show_waiting(waiting: Sequence[Receipt]) -> None:
    if waiting:
        show(
            "Deliveries quarantined as a whole",
            ("feed", "file", "problem", "line", "remedy"),
            [(w.feed, w.slot, w.problem, w.problem_line, w.remedy) for w in waiting],
            right=("line",),
        )


def _shown(record: Any) -> str:  # noqa: ANN401 - a record or its text
    text = record if isinstance(record, str) else ", ".join(f"{name}={value}" for name, value in record.items())
    return text if len(text) <= 300 else f"{text[:300]}…"
