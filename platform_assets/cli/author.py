"""Verbs for whoever declares feeds: a feed from a file, a file on trial, headers, contracts against what came.

Belongs here: their options and how their answers look. Elsewhere: what is concluded (engine/author).
"""

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from platform_assets.cli.render import Json, Table, render, say
from platform_assets.cli.show import feed_app
from platform_assets.commands.author import (
    Added,
    Compared,
    add_feed,
    check_file,
    compare_contracts,
    headers_seen,
    rehearsed_as,
    tried_as,
    update_sources,
)
from platform_assets.commands.counts import ROWS, by_reason
from platform_assets.errors import counted, listed

contract_app = typer.Typer(no_args_is_help=True, help="Contracts: what feeds promise, against what came.")
_VALUES: Final = 5
_LONGEST: Final = 30
_FILES: Final = 3


@feed_app.command("add")
def feed_add(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE...|FOLDER|PATTERN", help="Files such as the feed will deliver, wherever they lie."
        ),
    ],
    name: Annotated[str | None, typer.Option(help="The feed's name; by the files' name or folder.")] = None,
    origin: Annotated[str | None, typer.Option(help="The source system; by the folder below landing.")] = None,
    pattern: Annotated[
        list[str] | None, typer.Option(help="Where under the landing folder its files will be; may be repeated.")
    ] = None,
    owner: Annotated[str | None, typer.Option(help="Who answers for it, such as team:sales.")] = None,
    form: Annotated[
        list[str] | None, typer.Option("--format", help="What you know of its format, such as sheet=Orders.")
    ] = None,
    mart: Annotated[
        bool,
        typer.Option("--mart", help="Also write its staging model in dbt, and the first marts with their contracts."),
    ] = False,
    write: Annotated[bool, typer.Option("--write/--print", help="Write the files, or only print them.")] = True,
    as_json: Json = False,
) -> None:
    """Declare a feed from the files that there are: read all of them, write the feed's Python file, try the feed on
    every file.

    The more of its history there is, the more the feed knows: headers that were renamed, columns that came and went,
    formats that changed, the dates in the names. One file will do, too. It is always a new Python file: no file that is
    there is changed. Exit code 1 when the feed would not take every row.

    Example: platform feed add ~/exports/daily-reports --origin health --name reports --mart
    """
    added = add_feed(
        files,
        say,
        name=name,
        origin=origin,
        patterns=pattern or (),
        owner=owner,
        known=form or (),
        mart=mart,
        write=write,
    )
    proposal = added.proposal
    answer = {
        "ok": added.takes_all,
        "feed": proposal.name,
        "origin": proposal.origin,
        "files": ", ".join(proposal.patterns),
        "written": added.written[0] if added.written else None,
        "files_written": added.written,
        "marts": added.marts,
        "text": added.text,
        "remarks": proposal.remarks,
        **rehearsed_as(added.tried),
        "set_aside": [{"file": each.file, "why": each.why} for each in proposal.aside],
        "files_to_place": [{"file": each.path, "as": each.slot} for each in added.elsewhere],
    }
    render(answer, _added(added, answer), as_json=as_json, failed=not added.takes_all)


def _added(added: Added, answer: dict[str, Any]) -> Iterator[Table | str]:
    proposal, tried = added.proposal, added.tried
    if not added.written:
        yield added.text
    title = (
        f"{proposal.files} as deliveries of {proposal.name}, which was drafted from all their {proposal.rows:,} rows"
    )
    yield Table(title, [answer], (("files", "files_read"), ("would be", "status"), *ROWS))
    yield f"{tried.share} of {counted(tried.rows, 'row')} in {_files(len(tried.receipts))} would be taken"
    yield Table(
        "Rejected rows by rule",
        tried.rules,
        (("column", lambda rule: rule.column or "row"), "rule", "rows", ("in", lambda rule: _in_files(rule.files))),
    )
    for receipt in tried.refused[:_VALUES]:
        yield f"{receipt.slot} would be quarantined: {receipt.problem}\n  remedy: {receipt.remedy}"
    yield Table("Set aside: no rows of these files were looked at", list(proposal.aside), ("file", "why"))
    if added.written:
        say(f"written: {', '.join(map(str, added.written))}")
        for line in _next(added):
            say(line)


def _next(added: Added) -> Iterator[str]:
    """What to do and to type once a feed is written."""
    proposal = added.proposal
    yield "next:"
    yield f"  review {added.written[0].name}: docstrings, owner, cadence, and every comment that asks something"
    there = f"as {' or '.join(proposal.patterns)} under the landing folder, {added.landing}"
    if elsewhere := added.elsewhere:
        folders = {(each.path.absolute().parent, (added.landing / each.slot).parent) for each in elsewhere}
        yield f"  deliver files {there}; the {_files(len(elsewhere))} read just now:"
        for source, target in sorted(folders)[:_VALUES]:
            ends = sorted({each.path.suffix for each in elsewhere if each.path.absolute().parent == source})
            names = (
                " ".join(f"{shlex.quote(str(source))}/*{end}" for end in ends)
                if len(elsewhere) > 1
                else shlex.quote(str(elsewhere[0].path))
            )
            yield f"    mkdir -p {shlex.quote(str(target))} && cp {names} {shlex.quote(str(target))}/"
    else:
        yield f"  the files lie where they have to; deliver others {there}"
        if proposal.aside:
            yield "  move away what was set aside, or it is quarantined where its name is asked for"
    yield "  take them in: platform run"
    if not added.marts:
        yield f"  model it in dbt: source('{proposal.origin}', '{proposal.name}'); with --mart a first mart is written"
    else:
        what, them = ("marts are", "them") if len(added.marts) > 1 else ("mart is", "it")
        yield f"  the {what} {' and '.join(added.marts)}: make ui shows {them}"


def _files(count: int) -> str:
    return counted(count, "file")


def _in_files(files: Sequence[tuple[str, int]]) -> list[str]:
    shown = [f"{file}: {rows:,}" for file, rows in files[:_FILES]]
    return [*shown, *([f"{len(files) - _FILES:,} more files"] if len(files) > _FILES else [])]


@feed_app.command("check")
def feed_check(
    file: Annotated[Path, typer.Argument(help="The file to try, wherever it lies.")],
    feed: Annotated[str | None, typer.Option(help="The feed to try it for; by its name by default.")] = None,
    limit: Annotated[int, typer.Option(help="Rejected rows to show.", min=1)] = 20,
    as_json: Json = False,
) -> None:
    """Say what would become of a file, without taking it in: nothing is written.

    First what the ledger says: whether it is new, repeats or replaces a delivery, is withdrawn, or is not finished;
    then what its rows would come to. Exit code 1 when it would be quarantined or left out, or hold the release.

    Example: platform feed check landing/retail/order_lines/2026-11-18.csv
    """
    checked = check_file(file, feed, limit, say)
    foreseen, tried = checked.foreseen, checked.tried
    rows = [] if tried is None else [{"line": row.line, "reasons": row.reasons} for row in tried.rejected]
    answer = {
        "ok": checked.comes_in,
        "feed": checked.feed.name,
        "would_be": foreseen.would_be,
        "why": foreseen.why,
        "delivery": foreseen.delivery,
        **({} if tried is None else tried_as(tried)),
        "rejected_rows": rows,
    }

    def tables() -> Iterator[Table | str]:
        yield f"{file.name} {foreseen.why}"
        if tried is None:
            return
        yield from _tried(f"Its rows by the contract of {checked.feed.name}, with nothing before it", answer)
        if tried.receipt.unknown_columns:
            yield f"unknown columns ({tried.feed.on_drift}): {listed(tried.receipt.unknown_columns)}"
        yield Table("Rejected rows", by_reason(rows), ("line", "column", "rule", "value"))
        if not tried.tolerated:
            yield f"more rows rejected than {tried.feed.name} tolerates: the release would be held"

    render(answer, tables(), as_json=as_json, failed=not checked.comes_in)


def _tried(title: str, answer: dict[str, Any]) -> Iterator[Table | str]:
    yield Table(title, [answer], (("would be", "status"), *ROWS))
    if answer["problem"] is not None:
        yield f"{answer['problem']}\n  remedy: {answer['remedy']}"


@feed_app.command("sources")
def feed_sources(
    check: Annotated[bool, typer.Option("--check", help="Write nothing; exit code 1 if a file has drifted.")] = False,
    as_json: Json = False,
) -> None:
    """Write dbt's sources from the feeds, a file per origin, with the columns that raw has gained undeclared.

    Example: platform feed sources --check
    """
    drifted = update_sources(say, check=check)
    failed = check and bool(drifted)
    render(
        {"ok": not failed, "drifted": bool(drifted), "files": drifted},
        [f"{path}: {'has drifted' if check else 'written' if path.exists() else 'removed'}" for path in drifted]
        or ["dbt's sources agree with the feeds"],
        as_json=as_json,
        failed=failed,
    )


@feed_app.command("headers")
def feed_headers(
    feed: Annotated[str, typer.Argument(help="The feed.")],
    as_json: Json = False,
) -> None:
    """Show every header a feed's deliveries had, since when, and how it differs from the one before.

    Example: platform feed headers order_lines
    """
    seen = headers_seen(feed, say)
    columns = (
        "deliveries",
        ("first", lambda row: (row.first.file, f"{row.first.arrived_at:%Y-%m-%d %H:%M}")),
        ("last", lambda row: (row.last.file, f"{row.last.arrived_at:%Y-%m-%d %H:%M}")),
        (
            "against the one before",
            lambda row: row.differences if row is not seen[0] else row.columns,
        ),
        ("against the contract", "disagreements"),
    )
    title = f"Headers of {feed}, in the order they first came"
    table = Table(title, seen, columns, empty=f"no delivery of {feed} with a header yet", least=("last",))
    render({"feed": feed, "headers": seen}, [table], as_json=as_json)


@contract_app.command("diff")
def contract_diff(
    feed: Annotated[str | None, typer.Argument(help="Only this feed.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Exit code 1 when a contract has drifted.")] = False,
    as_json: Json = False,
) -> None:
    """Compare contracts with what deliveries really held: headers, unknown columns, NULLs, rules, ranges, formats.

    What it proposes is pasted into the feed's file as it is; then replay. Drift is what contradicts the contract:
    unknown or missing columns, more rejected rows than tolerated, a type that raw lacks. All else is a hint.

    Example: platform contract diff order_lines --check
    """
    found = compare_contracts(feed, say)
    render(found, _compared(found), as_json=as_json, failed=check and not found.ok)


def _compared(found: Compared) -> Iterator[Table | str]:
    for drift in found.feeds:
        yield Table(
            f"{drift.feed}: {drift.contract} against {counted(drift.read, 'row')}",
            drift.columns,
            (
                "column",
                "kind",
                (
                    "headers seen",
                    lambda row: [f"{header} since {first.since}" for header, first in row.headers.items()],
                ),
                ("NULL", "nulls"),
                ("lowest", lambda row: _cut(row.lowest)),
                ("highest", lambda row: _cut(row.highest)),
                (
                    "rejected by",
                    lambda row: [
                        f"{each.rule}: {each.rows} ({each.share:.2%}), such as {listed(each.values, _VALUES)}"
                        for each in row.broken
                    ],
                ),
            ),
        )
        for rule in drift.broken:
            yield f"{counted(rule.rows, 'row')} ({rule.share:.2%}) break {rule.rule}"
        for unknown in drift.unknown:
            yield f"unknown column {unknown.header} ({unknown.policy}), since {unknown.since}, in {unknown.went}"
        for replaces, what in ((True, "in place of the columns of these names"), (False, "besides")):
            lines = [each for each in drift.proposed if each.replaces == replaces]
            if lines:
                yield f"\nWrite in {drift.contract}, {what}, then: platform replay {drift.feed}"
                yield from sorted({each.imports for each in lines if each.imports})
                yield from (each.declaration for each in lines)
        marks = ("", lambda row: "DRIFT" if row.drift else "hint")
        yield Table("What that says of the contract", drift.findings, (marks, "column", "finding"))
    yield "no contract has drifted" if found.ok else f"drifted: {', '.join(found.drifted)}"


def _cut(value: str | None) -> str | None:
    return value if value is None or len(value) <= _LONGEST else f"{value[: _LONGEST - 1]}…"
