"""What the verbs share: where output goes, the `--json` option, opening the deployment.

Belongs here: output and options used by more than one verb. Does not: verbs.
"""

import json
import sys
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from platform_assets.engine.deployment import Deployment, FeedStatus
from platform_assets.project.configured import configured_deployment
from platform_assets.settings import Settings

Json = Annotated[bool, typer.Option("--json", help="Print one line of JSON instead of tables.")]

_WIDTH_OF_PIPES: Final = 160
_out = Console(width=None if sys.stdout.isatty() else _WIDTH_OF_PIPES)
_err = Console(stderr=True)


def say(message: str) -> None:
    """Progress and remarks: standard error, so that standard output stays the answer. Text, never markup."""
    _err.print(Text(message), soft_wrap=True)


def answer(payload: dict[str, Any]) -> None:
    """The answer as one line of JSON, the last on standard output."""
    sys.stdout.write(json.dumps(payload, default=str) + "\n")
    sys.stdout.flush()


def show(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]], *, right: Iterable[str] = ()) -> None:
    """The answer as a table; cells are data, never markup. `right` names the columns of figures."""
    table = Table(title=title, title_justify="left", title_style="bold", header_style="bold")
    figures = set(right)
    for column in columns:
        table.add_column(
            column, justify="right" if column in figures else "left", overflow="fold", no_wrap=column in figures
        )
    for row in rows:
        table.add_row(
            *(
                Text("" if cell is None else f"{cell:,}" if isinstance(cell, int | Decimal) else str(cell))
                for cell in row
            )
        )
    _out.print(table)


def line(text: str) -> None:
    """A line of the answer."""
    _out.print(Text(text), soft_wrap=True)


def configured() -> tuple[Settings, Deployment]:
    """The settings and the deployment they name, as it stands."""
    return configured_deployment(say)


def open_deployment() -> tuple[Settings, Deployment]:
    """The settings and the deployment they name, its tables prepared."""
    settings, deployment = configured()
    deployment.prepare()
    return settings, deployment


FIGURES = ("deliveries", "read", "accepted", "rejected", "duplicate")


def feed_json(status: FeedStatus) -> dict[str, Any]:
    """A feed's totals over all time, as plain values."""
    totals = status.totals
    return {
        "feed": status.feed.name,
        "origin": status.feed.origin,
        **{figure: getattr(totals, figure) for figure in FIGURES},
        "rows": totals.rows,
        "waiting": totals.waiting,
        "newest_data": status.newest.isoformat() if status.newest else None,
        "missing": str(status.fresh.missing) if status.fresh.missing else None,
        "freshness": status.freshness,
        "reasons": [{"column": column, "rule": rule, "rows": rows} for column, rule, rows in status.reasons],
    }


def newest(status: FeedStatus) -> str:
    """The newest data time of a feed as a person reads it, in UTC."""
    return f"{status.newest:%Y-%m-%d %H:%M}" if status.newest else "-"
