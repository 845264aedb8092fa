"""Verbs that only look: feeds, releases.

Belongs here: reading and showing. Does not: anything that changes state.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from platform_assets.cli.common import FIGURES, Json, answer, configured, feed_json, line, newest, open_deployment, show
from platform_assets.engine.author.rehearsal import feed_of, rehearse
from platform_assets.engine.contract.model import columns_of, listed
from platform_assets.engine.feed.feed import feed_named
from platform_assets.project.configured import declared_feeds
from platform_assets.project.dbt_sources import drifted_sources, gained_columns, write_sources

_SHOWN = 10

feed_app = typer.Typer(no_args_is_help=True, help="Feeds: what is declared, and how each stands.")
release_app = typer.Typer(no_args_is_help=True, help="Published versions of the marts.")


@feed_app.command("list")
def feed_list(as_json: Json = False) -> None:
    """List the declared feeds.

    Example: platform feed list
    """
    _, deployment = open_deployment()
    feeds = [
        {
            "feed": feed.name,
            "origin": feed.origin,
            "files": list(feed.source.patterns),
            "contract": feed.contract.__name__,
            "columns": [column.name for column in columns_of(feed.contract)],
            "cron": feed.delivered.cron,
            "timezone": feed.delivered.timezone,
            "owner": feed.owner,
        }
        for feed in deployment.feeds
    ]
    if as_json:
        answer({"feeds": feeds})
        return
    show(
        f"Feeds (files under {deployment.landing})",
        ("feed", "origin", "files", "contract", "delivered", "owner"),
        [
            (f["feed"], f["origin"], "\n".join(f["files"]), f["contract"], f"{f['cron']} {f['timezone']}", f["owner"])
            for f in feeds
        ],
    )


@feed_app.command("status")
def feed_status(as_json: Json = False) -> None:
    """Show every feed's totals over all time, its newest data and whether it is fresh.

    Example: platform feed status --json
    """
    _, deployment = open_deployment()
    statuses = deployment.status()
    if as_json:
        answer({"feeds": [feed_json(status) for status in statuses], "unclaimed": list(deployment.look().unclaimed)})
        return
    show(
        "Feeds, over all time",
        ("feed", *FIGURES, "rows now", "waiting", "newest data", "freshness"),
        [
            (
                status.feed.name,
                *(getattr(status.totals, figure) for figure in FIGURES),
                status.totals.rows,
                status.totals.waiting,
                newest(status),
                status.freshness,
            )
            for status in statuses
        ],
        right=(*FIGURES, "rows now", "waiting"),
    )


@feed_app.command("check")
def feed_check(
    file: Annotated[Path, typer.Argument(help="The file to try, wherever it lies.")],
    feed: Annotated[str | None, typer.Option(help="The feed to try it for; by its name by default.")] = None,
    limit: Annotated[int, typer.Option(help="Rejected rows to show.", min=1)] = 20,
    as_json: Json = False,
) -> None:
    """Say what would become of a file, without taking it in: nothing is written.

    Exit code 1 when it would be quarantined, or hold the release.

    Example: platform feed check landing/retail/order_lines/2026-11-18.csv
    """
    feeds = declared_feeds()
    chosen = feed_of(file, feeds) if feed is None else feed_named(feed, feeds)
    tried = rehearse(chosen, file, shown=limit)
    receipt = tried.receipt
    if as_json:
        figures = {figure: getattr(receipt, figure) for figure in FIGURES[1:]}
        answer(
            {
                "ok": tried.loads,
                "feed": chosen.name,
                "status": receipt.status,
                **figures,
                "problem": receipt.problem,
                "remedy": receipt.remedy,
                "unknown_columns": list(receipt.unknown_columns),
                "reasons": [{"column": column, "rule": rule, "rows": rows} for column, rule, rows in tried.reasons],
                "rejected_rows": [{"line": row.line, "reasons": row.reasons} for row in tried.rejected],
            }
        )
    else:
        show(
            f"{file.name} as a delivery of {chosen.name}",
            ("would be", *FIGURES[1:]),
            [(receipt.status, *(getattr(receipt, figure) for figure in FIGURES[1:]))],
            right=FIGURES,
        )
        if receipt.problem is not None:
            line(f"{receipt.problem}\n  remedy: {receipt.remedy}")
        if receipt.unknown_columns:
            line(f"unknown columns ({chosen.on_drift}): {listed(receipt.unknown_columns)}")
        if tried.rejected:
            show(
                "Rejected rows",
                ("line", "column", "rule", "value"),
                [
                    (row.line, reason["column"], reason["rule"], reason["value"])
                    for row in tried.rejected
                    for reason in row.reasons
                ],
                right=("line",),
            )
        if not tried.tolerated:
            line(f"more rows rejected than {chosen.name} tolerates: the release would be held")
    if not tried.loads:
        raise typer.Exit(1)


@feed_app.command("sources")
def feed_sources(
    check: Annotated[bool, typer.Option("--check", help="Write nothing; exit code 1 if a file has drifted.")] = False,
    as_json: Json = False,
) -> None:
    """Write dbt's sources from the feeds, a file per origin, with the columns that raw has gained undeclared.

    Example: platform feed sources --check
    """
    feeds = declared_feeds()
    drifted = drifted_sources(feeds) if check else write_sources(feeds, gained_columns(configured()[1]))
    if as_json:
        answer({"ok": not (check and drifted), "drifted": bool(drifted), "files": [str(path) for path in drifted]})
    else:
        for path in drifted:
            line(f"{path}: {'has drifted' if check else 'written' if path.exists() else 'removed'}")
        if not drifted:
            line("dbt's sources agree with the feeds")
    if check and drifted:
        raise typer.Exit(1)


def why(
    asset: Annotated[str, typer.Argument(help="An asset's key, or how it ends, such as marts/daily_sales.")],
    as_json: Json = False,
) -> None:
    """Say why an asset did not run, is stale or is red: the first cause, and what else keeps data from it.

    Exit code 1 when something does.

    Example: platform why marts/daily_sales
    """
    settings, deployment = configured()
    from platform_assets.commands.run import ask_why

    key, reasons = ask_why(settings, deployment, asset)
    first, *others = reasons
    if as_json:
        answer({"ok": first.kind == "all is well", "asset": key, "reasons": [asdict(reason) for reason in reasons]})
    else:
        line(f"{key}: {first.kind}")
        line(f"  {first.said}" + (f" [{first.asset}]" if first.asset != key else ""))
        line(f"  {first.then}")
        if others:
            show("Besides", ("asset", "", ""), [(r.asset, r.kind, f"{r.said}. {r.then}") for r in others[:_SHOWN]])
    if first.kind != "all is well":
        raise typer.Exit(1)


@release_app.command("list")
def release_list(as_json: Json = False) -> None:
    """List releases, newest first; the current one is marked.

    Example: platform release list
    """
    _, deployment = open_deployment()
    current = deployment.releases.current()
    releases = deployment.releases.all()
    if as_json:
        answer(
            {
                "releases": [
                    {
                        "id": release.id,
                        "path": release.path,
                        "created_at": release.created_at,
                        "current": current is not None and release.id == current.id,
                        "tables": dict(release.tables),
                    }
                    for release in releases
                ]
            }
        )
        return
    show(
        "Releases",
        ("", "id", "created", "marts", "rows", "path"),
        [
            (
                "→" if current is not None and release.id == current.id else "",
                release.id,
                release.created_at[:19],
                len(release.tables),
                sum(release.tables.values()),
                release.path,
            )
            for release in releases
        ],
        right=("marts", "rows"),
    )
