"""Verbs that look: feeds, the page of the releases, what keeps an asset from its data.

Belongs here: their options and how their answers look. Elsewhere: verbs for whoever declares feeds (author.py).
"""

from typing import Annotated

import typer

from platform_assets.cli.codes import ATTENTION
from platform_assets.cli.render import Column, Json, Table, render, say
from platform_assets.commands.attention import Attention, waiting_for_people
from platform_assets.commands.counts import counts_shown, feed_totals
from platform_assets.engine.undeclared import undeclared_feeds
from platform_assets.project.configured import prepared_deployment

_SHOWN = 10
_LESS_OF_STATUS = ("duplicate", "read", "deliveries", "newest data", "waiting")

feed_app = typer.Typer(no_args_is_help=True, help="Feeds: what is declared, and how each stands.")


@feed_app.command("list")
def feed_list(as_json: Json = False) -> None:
    """List the declared feeds, and what is kept of feeds that are no longer declared.

    Example: platform feed list
    """
    _, deployment = prepared_deployment(say)
    feeds = [
        {
            "feed": feed.name,
            "origin": feed.origin,
            "files": list(feed.source.places),
            "contract": feed.contract.__name__,
            "columns": [column.name for column in feed.columns],
            "cron": feed.delivered.cron,
            "timezone": feed.delivered.timezone,
            "delivered": str(feed.delivered),
            "owner": feed.owner,
        }
        for feed in deployment.feeds
    ]
    columns = ("feed", "origin", "files", "contract", "delivered", "owner")
    least = ("contract", "origin", "owner")
    title = f"Feeds (files under {deployment.landing})"
    left = undeclared_feeds(deployment)
    since = ("since", lambda row: row.since and f"{row.since:%Y-%m-%d}")
    last = ("last", lambda row: row.last and f"{row.last:%Y-%m-%d}")
    tables: list[Table | str] = [Table(title, feeds, columns, empty="no feed is declared", least=least)]
    if left:
        columns_left = ("feed", "rows", ("in quarantine", "rejected"), "deliveries", since, last)
        tables += [Table("Kept, but not declared any more", left, columns_left)]
        tables += ["take it along: platform feed rename OLD NEW; remove it: platform feed drop NAME"]
    render({"feeds": feeds, "undeclared": left}, tables, as_json=as_json)


@feed_app.command("status")
def feed_status(as_json: Json = False) -> None:
    """Show every feed's totals over all time, its newest data and whether it is fresh.

    Exit code 3 when a delivery is quarantined whole or missing.

    Example: platform feed status --json
    """
    _, deployment = prepared_deployment(say)
    feeds = [feed_totals(status) for status in deployment.status()]
    columns: list[Column] = ["feed", *counts_shown(feeds), ("rows now", "rows"), "waiting", "newest data", "freshness"]
    low = deployment.disk.low()
    render(
        {"feeds": feeds, "unclaimed": deployment.look().unclaimed, "no_room": None if low is None else low.what},
        [
            Table("Feeds, over all time", feeds, columns, empty="no feed is declared", least=_LESS_OF_STATUS),
            *([f"nothing new is claimed: {low.what}", f"  {low.remedy}"] if low is not None else []),
        ],
        as_json=as_json,
        attention=waiting_for_people(deployment),
    )


def why(
    asset: Annotated[str, typer.Argument(help="An asset's key, or how it ends, such as marts/daily_sales.")],
    as_json: Json = False,
) -> None:
    """Say why an asset did not run, is stale or is red: the first cause, and what else keeps data from it.

    Exit code 1 when something does; 3 when it is only a delivery that is quarantined whole or missing.

    Example: platform why marts/daily_sales
    """
    from platform_assets.commands.execution import ask_why

    key, reasons = ask_why(asset, say)
    first, *others = reasons
    well = first.kind == "all is well"
    people = [Attention(each.sentence, each.asset, each.remedy) for each in reasons if each.waits_for_people]
    render(
        {"ok": well, "asset": key, "reasons": reasons, "attention": people},
        [
            f"{key}: {first.kind}",
            f"  {first.sentence}" + (f" [{first.asset}]" if first.asset != key else ""),
            f"  {first.remedy}",
            *([f"  $ {first.command}"] if first.command else []),
            Table(
                "Besides",
                others[:_SHOWN],
                ("asset", ("cause", "kind"), ("what, and what to do", lambda row: f"{row.sentence}. {row.remedy}")),
            ),
        ],
        as_json=as_json,
        failed=not well and len(people) < len(reasons),
    )
    if people:  # who reads this has just read what waits for them
        raise typer.Exit(ATTENTION)


def page(as_json: Json = False) -> None:
    """Write the page of the releases, if it says something else than is so now, and print where it lies.

    It is one file, which any browser opens: with each release, and whenever what it says changes, it is written anew.

    Example: platform page
    """
    from platform_assets.commands.execution import page_written

    path, written = page_written(say)
    render({"page": str(path), "url": path.as_uri(), "written": written}, [path.as_uri()], as_json=as_json)
