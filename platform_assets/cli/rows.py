"""Verbs about rows and the deliveries they came with: quarantine, replay, trace.

Belongs here: their options and how their answers look. Elsewhere: what a replay does (engine/load).
"""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from platform_assets.cli.render import Json, Table, plain, render, say
from platform_assets.commands.counts import Quarantined, by_reason, counts_shown, quarantined
from platform_assets.commands.rows import (
    Replayed,
    explained,
    exported,
    exported_for_spreadsheet,
    replay_archived,
    replay_quarantined,
    traced,
    waiting_rows,
)
from platform_assets.errors import ConfigurationError, counted

quarantine_app = typer.Typer(no_args_is_help=True, help="Rows and deliveries that broke their contract.")

FeedName = Annotated[str, typer.Argument(help="The feed.")]
_SHOWN: Final = 20
_LONGEST: Final = 300


@quarantine_app.command("list")
def quarantine_list(
    feed: Annotated[str | None, typer.Argument(help="Only this feed.")] = None,
    limit: Annotated[int, typer.Option(help="Rows of each feed to show.", min=1)] = 20,
    as_json: Json = False,
) -> None:
    """List rejected rows with file, line, column, rule and value (PII masked), and deliveries waiting as a whole.

    Example: platform quarantine list order_lines --limit 5
    """
    found, deliveries = waiting_rows(feed, limit, say)
    rows = [{"feed": name, **plain(row)} for name, row in found]
    columns = ("feed", "file", "line", "column", "rule", "value")
    render(
        {"rows": rows, "deliveries": deliveries},
        [
            Table("Rejected rows", by_reason(rows), columns, empty="no rejected rows", least=("feed",)),
            _waiting(deliveries),
        ],
        as_json=as_json,
    )


@quarantine_app.command("explain")
def quarantine_explain(
    feed: FeedName,
    examples: Annotated[int, typer.Option(help="Rows to show for each broken rule.", min=0)] = 3,
    as_json: Json = False,
) -> None:
    """Say why rows and deliveries of a feed wait: every broken rule, how often, with rows as they arrived (PII masked).

    Example: platform quarantine explain order_lines --examples 1
    """
    found = explained(feed, examples, say)
    deliveries = quarantined(found.waiting)
    answer = {
        "feed": feed,
        "rows": found.rows,
        "rules": found.rules,
        "deliveries": deliveries,
        "outdated": found.outdated,
    }

    def shown() -> Iterator[Table | str]:
        title, empty = f"Rejected rows of {feed}, by the rules they break", f"{feed} has no rejected rows"
        yield Table(title, found.rules, ("column", "rule", "rows", "deliveries"), empty=empty)
        for rule in found.rules:
            for row in rule.examples:
                yield f"{rule.column or 'record'}, {rule.rule}: {row.file}, line {row.line}: {_shown(row.record)}"
        yield _waiting(deliveries)
        if found.outdated:
            yield f"An earlier contract judged {len(found.outdated)} of these deliveries. To try them with today's:"
            yield f"  platform quarantine replay {feed}"

    render(answer, shown(), as_json=as_json)


@quarantine_app.command("replay")
def quarantine_replay(feed: FeedName, as_json: Json = False) -> None:
    """Bring what waits in quarantine through today's contract: whole deliveries, and those with rejected rows.

    Deliveries that today's contract has judged already are left alone, so that repeating it changes nothing. Exit code
    3 when a delivery is quarantined whole again.

    Example: platform quarantine replay order_lines
    """
    done = replay_quarantined(feed, say)
    nothing = f"nothing to replay: today's contract has judged all that waits in quarantine of {feed}"
    said = [f"{nothing}; see it: platform quarantine explain {feed}"]
    render(done, _replayed(done) if done.deliveries else said, as_json=as_json, attention=done.attention)


@quarantine_app.command("export")
def quarantine_export(
    feed: FeedName,
    to: Annotated[Path, typer.Option(help="The file to write.")],
    delivery: Annotated[list[int] | None, typer.Option(help="Only rows of these deliveries, by id.")] = None,
    unmasked: Annotated[
        bool, typer.Option("--unmasked", help="With personal data as it came; the audit log records it.")
    ] = False,
    spreadsheet: Annotated[
        bool, typer.Option("--spreadsheet", help="For looking at: with reasons, masked, formulas made inert.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Write a feed's rejected rows to a file, just as they came, to be mended and delivered again.

    Their header, columns, quotes and encoding are those of their delivery; rows of different headers go to files of
    their own. With --spreadsheet: a CSV file with file, line and reasons, which is not for delivering again.

    Example: platform quarantine export order_lines --to mended.csv --unmasked
    """
    if spreadsheet:
        if unmasked or delivery:
            raise ConfigurationError("--spreadsheet", "is of all rows, and masked", "Leave the other option out.")
        rows = exported_for_spreadsheet(feed, to, say)
        said = [f"{counted(rows, 'rejected row')} written to {to}, to look at; it is not for delivering again"]
        render({"feed": feed, "rows": rows, "file": to}, said, as_json=as_json)
        return
    done = exported(feed, to, say, deliveries=delivery or (), unmasked=unmasked)
    rows = sum(each.rows for each in done.files)
    answer = {
        "feed": feed,
        "rows": rows,
        "files": done.files,
        "left": [{"delivery": d, "why": why} for d, why in done.left],
    }

    def told() -> Iterator[str]:
        for each in done.files:
            named = f", to be delivered under a name with the date {each.dated}" if each.dated else ""
            rows = f"{counted(each.rows, 'rejected row')} of {counted(each.deliveries, 'delivery')}"
            yield f"{rows} written to {each.path}{named}"
        for left, why in done.left:
            yield f"those of delivery {left} are left out: {why}"
        if done.files:
            yield f"mend them, and deliver each file under a new name that {feed} asks for: platform feed check FILE"
        else:
            yield f"{feed} has no rejected rows"

    render(answer, told(), as_json=as_json)


def replay(
    feed: FeedName,
    delivery: Annotated[list[int] | None, typer.Option(help="Only these deliveries, by id.")] = None,
    file: Annotated[str | None, typer.Option(help="Only files whose path fits, such as '*/2026-11-*'.")] = None,
    since: Annotated[
        datetime | None,
        typer.Option(help="Only what is of then or later: by the date in its name, else by arrival (UTC)."),
    ] = None,
    until: Annotated[datetime | None, typer.Option(help="Only what is of before then, likewise.")] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Also what today's contract has judged already: from the archive, anew.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Bring archived deliveries through today's contract, as if it had always been.

    Deliveries that replace or repeat one another come together. Repeating it changes nothing. Exit code 3 when a
    delivery is quarantined whole again.

    Example: platform replay order_lines --since 2026-11-01 --file '*.csv'
    """
    done = replay_archived(feed, say, deliveries=delivery or (), file=file, since=since, until=until, again=again)
    render(done, _replayed(done), as_json=as_json, attention=done.attention)


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
    rows = traced(table, values, limit, say)
    record = ("record", lambda row: _shown(row.record))
    columns = ("feed", "delivery", "file", "line", ("arrived", "arrived_at"), record)
    empty = f"no row of {table} has these values"
    render({"rows": rows}, [Table(f"Rows of {table}", rows, columns, empty=empty)], as_json=as_json)


def _replayed(done: Replayed) -> Iterator[Table | str]:
    if not done.deliveries:
        yield f"nothing to replay: today's contract has judged every delivery of {done.feed} that was asked for"
        yield f"to judge them anew all the same: platform replay {done.feed} --again"
        return
    yield Table(f"Replayed deliveries of {done.feed}", [done], counts_shown([done]))
    yield _waiting(done.quarantined)
    yield "`platform run` builds the marts from it"


def _waiting(deliveries: list[Quarantined]) -> Table:
    return Table("Deliveries quarantined as a whole", deliveries, ("feed", "file", "problem", "line", "remedy"))


def _shown(record: Any) -> str:  # noqa: ANN401 - a record, its text, or None
    if record is None:
        return "no longer in the archive"
    text = record if isinstance(record, str) else ", ".join(f"{name}={value}" for name, value in record.items())
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
