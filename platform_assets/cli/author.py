"""Verbs for whoever declares feeds: a feed from a file, the headers it had, its contract against what came.

Belongs here: writing a feed's file, and showing what speaks for changing it. Does not: conclusions (engine).
"""

import importlib.util
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from platform_assets.cli.common import FIGURES, Json, answer, configured, line, say, show
from platform_assets.cli.show import feed_app
from platform_assets.engine.author.draft import draft
from platform_assets.engine.author.drift import Drift, compare
from platform_assets.engine.author.headers import HeaderSeen, headers
from platform_assets.engine.author.proposal import Proposal, propose
from platform_assets.engine.author.rehearsal import Rehearsal, rehearse
from platform_assets.engine.contract.model import listed
from platform_assets.engine.feed.feed import Feed
from platform_assets.errors import ConfigurationError
from platform_assets.project.configured import FEEDS_PACKAGE, declared_feeds
from platform_assets.project.dbt_sources import gained_columns, sources_file, write_sources
from platform_assets.project.manifest import model_folders

contract_app = typer.Typer(no_args_is_help=True, help="Contracts: what feeds promise, against what came.")
_SHOWN = 5


@feed_app.command("add")
def feed_add(
    file: Annotated[Path, typer.Argument(help="A file such as the feed will deliver, wherever it lies.")],
    name: Annotated[str | None, typer.Option(help="The feed's name; by the file's name or folder.")] = None,
    origin: Annotated[str | None, typer.Option(help="The source system; by the folder below landing.")] = None,
    pattern: Annotated[str | None, typer.Option(help="Where under the landing folder its files will be.")] = None,
    owner: Annotated[str | None, typer.Option(help="Who answers for it, such as team:sales.")] = None,
    form: Annotated[
        list[str] | None, typer.Option("--format", help="What you know of its format, such as sheet=Orders.")
    ] = None,
    write: Annotated[bool, typer.Option("--write/--print", help="Write the file, or only print it.")] = True,
    as_json: Json = False,
) -> None:
    """Declare a feed from one of its files: read all of it, write the feed's Python file, try the feed on the file.

    A file of that origin that is already there gets the feed added behind what it has. Exit code 1 when the feed
    would not take every row of the file.

    Example: platform feed add ~/orders-2026-11-18.csv --origin shop --owner team:sales
    """
    settings, deployment = configured()
    proposed = propose(
        file, landing=settings.landing, name=name, origin=origin, pattern=pattern, owner=owner, given=form or ()
    )
    taken = {feed.name: feed.origin for feed in deployment.feeds}
    if proposed.name in taken:
        raise ConfigurationError(
            f"feed {proposed.name!r}", f"is declared already, in {taken[proposed.name]}.py", "Give another --name."
        )
    target = _feeds_folder() / f"{proposed.origin}.py"
    before = target.read_text() if target.exists() else None
    text = draft(proposed, before)
    feed = _loaded(text, proposed)
    tried = rehearse(feed, file)
    if write:
        _write(target, text, before)
        importlib.invalidate_caches()
        sys.modules.pop(f"{FEEDS_PACKAGE}.{proposed.origin}", None)
        write_sources(declared_feeds(), gained_columns(deployment))
    _tell_added(proposed, tried, target if write else None, text, as_json=as_json)
    if tried.receipt.status != "accepted" or tried.receipt.rejected:
        raise typer.Exit(1)


@feed_app.command("headers")
def feed_headers(
    feed: Annotated[str, typer.Argument(help="The feed.")],
    as_json: Json = False,
) -> None:
    """Show every header a feed's deliveries had, since when, and how it differs from the one before.

    Example: platform feed headers order_lines
    """
    _, deployment = configured()
    chosen = deployment.feed(feed)
    seen: list[HeaderSeen] = []
    if deployment.warehouse.path.exists():
        with deployment.warehouse.reading("read the headers") as unit:
            seen = headers(unit, chosen, deployment.archive.root)
    if as_json:
        answer({"feed": chosen.name, "headers": [_header_json(each) for each in seen]})
        return
    show(
        f"Headers of {chosen.name}, in the order they first came",
        ("deliveries", "first", "last", "against the one before", "against the contract"),
        [
            (
                each.deliveries,
                f"{each.first.file}\n{each.first.arrived_at:%Y-%m-%d %H:%M}",
                f"{each.last.file}\n{each.last.arrived_at:%Y-%m-%d %H:%M}",
                _differences(each) if at else f"{len(each.header)} columns: {listed(each.header)}",
                "\n".join(
                    [f"missing {listed(each.missing)}"] * bool(each.missing)
                    + [f"unknown {listed(each.unknown)}"] * bool(each.unknown)
                    + ["waits in quarantine"] * each.waiting
                )
                or "agrees",
            )
            for at, each in enumerate(seen)
        ],
        right=("deliveries",),
    )


@contract_app.command("diff")
def contract_diff(
    feed: Annotated[str | None, typer.Argument(help="Only this feed.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Exit code 1 when a contract has drifted.")] = False,
    as_json: Json = False,
) -> None:
    """Compare contracts with what deliveries really held: headers, unknown columns, NULLs, rules, ranges, formats.

    Drift is what contradicts the contract: unknown or missing columns, more rejected rows than tolerated, a type that
    raw does not have yet. All else are hints.

    Example: platform contract diff order_lines --check
    """
    _, deployment = configured()
    feeds = deployment.feeds if feed is None else (deployment.feed(feed),)
    compared: list[Drift] = []
    if deployment.warehouse.path.exists():
        with deployment.warehouse.reading("compare contracts with deliveries") as unit:
            compared = [compare(unit, each, deployment.archive.root) for each in feeds]
    drifted = [each.feed.name for each in compared if each.drifted]
    if as_json:
        answer({"ok": not drifted, "drifted": drifted, "feeds": [_drift_json(each) for each in compared]})
    else:
        for each in compared:
            _tell_drift(each)
        line(f"drifted: {', '.join(drifted)}" if drifted else "no contract has drifted")
    if check and drifted:
        raise typer.Exit(1)


# ---- adding


def _feeds_folder() -> Path:
    return Path(importlib.import_module(FEEDS_PACKAGE).__path__[0])


def _loaded(text: str, proposed: Proposal) -> Feed:
    """The proposed feed as Python has it from `text`, before anything is written."""
    with tempfile.TemporaryDirectory(prefix="draft-") as folder:
        path = Path(folder, f"{proposed.origin}.py")
        path.write_text(text)
        spec = importlib.util.spec_from_file_location(f"_draft_of_{proposed.origin}", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    feed = getattr(module, proposed.name.upper())
    assert isinstance(feed, Feed)
    return replace(feed, origin=proposed.origin)


def _write(target: Path, text: str, before: str | None) -> None:
    """Put `text` there, in one step, if nobody has written there meanwhile."""
    partial = target.with_name(f".{target.name}.tmp")
    partial.write_text(text)
    try:
        if before is None:
            target.hardlink_to(partial)
        elif target.read_text() == before:
            partial.replace(target)
        else:
            raise FileExistsError(target)
    except FileExistsError:
        raise ConfigurationError(
            f"{target.name}", "was written by somebody else meanwhile", "Look at it, then try again."
        ) from None
    finally:
        partial.unlink(missing_ok=True)


def _tell_added(proposed: Proposal, tried: Rehearsal, target: Path | None, text: str, *, as_json: bool) -> None:
    receipt = tried.receipt
    figures = {figure: getattr(receipt, figure) for figure in FIGURES[1:]}
    if as_json:
        answer(
            {
                "ok": receipt.status == "accepted" and not receipt.rejected,
                "feed": proposed.name,
                "origin": proposed.origin,
                "files": proposed.pattern,
                "written": str(target) if target else None,
                "text": text,
                "status": receipt.status,
                **figures,
                "problem": receipt.problem,
                "remedy": receipt.remedy,
                "remarks": list(proposed.remarks),
                "reasons": [{"column": column, "rule": rule, "rows": rows} for column, rule, rows in tried.reasons],
            }
        )
        return
    if target is None:
        line(text)
    show(
        f"{proposed.file} as a delivery of {proposed.name}, which was made from all its {proposed.rows} rows",
        ("would be", *FIGURES[1:]),
        [(receipt.status, *figures.values())],
        right=FIGURES,
    )
    if receipt.problem is not None:
        line(f"{receipt.problem}\n  remedy: {receipt.remedy}")
    for column, rule, rows in tried.reasons:
        line(f"{rows} rows rejected: {column or 'row'}: {rule}")
    if target is not None:
        say(f"written: {target}, {sources_file(proposed.origin, model_folders())}")
        say("next:")
        say(f"  review {target.name}: docstrings, owner, cadence, and every comment that asks something")
        say(f"  deliver files as {proposed.pattern} under the landing folder, then: platform run")
        say(f"  model it in dbt: source('{proposed.origin}', '{proposed.name}')")


# ---- showing


def _differences(each: HeaderSeen) -> str:
    renamed = [f"{old} perhaps renamed {new}" for old, new in each.renamed]
    pairs = {name for pair in each.renamed for name in pair}
    added = [name for name in each.added if name not in pairs]
    gone = [name for name in each.gone if name not in pairs]
    parts = [
        *([f"added {listed(added)}"] if added else []),
        *([f"gone {listed(gone)}"] if gone else []),
        *renamed,
    ]
    return "\n".join(parts) or "another order"


def _header_json(each: HeaderSeen) -> dict[str, Any]:
    sights = {
        when: {"delivery": sight.delivery, "file": sight.file, "arrived_at": sight.arrived_at.isoformat()}
        for when, sight in (("first", each.first), ("last", each.last))
    }
    return {
        "header": list(each.header),
        "deliveries": each.deliveries,
        **sights,
        "waiting": each.waiting,
        "added": list(each.added),
        "gone": list(each.gone),
        "renamed": [{"from": old, "to": new} for old, new in each.renamed],
        "missing": list(each.missing),
        "unknown": list(each.unknown),
    }


def _drift_json(drift: Drift) -> dict[str, Any]:
    return {
        "feed": drift.feed.name,
        "drifted": drift.drifted,
        "read": drift.read,
        "columns": [
            {
                "column": seen.column.name,
                "kind": seen.column.kind,
                "headers": {
                    header: {"since": sight.file, "delivery": sight.delivery} for header, sight in seen.headers.items()
                },
                "rows": seen.rows,
                "nulls": seen.nulls,
                "nullable": seen.column.nullable,
                "lowest": seen.lowest,
                "highest": seen.highest,
                "rules": list(seen.column.rules),
                "broken": [
                    {"rule": b.rule, "rows": b.rows, "share": b.share, "values": list(b.values)} for b in seen.broken
                ],
            }
            for seen in drift.columns
        ],
        "unknown": [
            {
                "header": each.header,
                "since": each.first.file,
                "delivery": each.first.delivery,
                "deliveries": each.deliveries,
                "policy": drift.feed.on_drift,
                "went": each.went,
                "kind": each.kind,
                "declaration": each.declaration,
            }
            for each in drift.unknown
        ],
        "findings": [
            {"column": finding.column, "drift": finding.drift, "says": finding.says} for finding in drift.findings
        ],
    }


def _tell_drift(drift: Drift) -> None:
    show(
        f"{drift.feed.name}: {drift.feed.contract.__name__} against {drift.read} rows",
        ("column", "kind", "headers seen", "NULL", "lowest", "highest", "rejected by"),
        [
            (
                seen.column.name,
                seen.column.kind,
                "\n".join(f"{header} since {sight.file}" for header, sight in seen.headers.items()) or "-",
                seen.nulls,
                _cut(seen.lowest),
                _cut(seen.highest),
                "\n".join(
                    f"{b.rule}: {b.rows} ({b.share:.2%}), such as {listed(b.values, _SHOWN)}" for b in seen.broken
                ),
            )
            for seen in drift.columns
        ],
        right=("NULL",),
    )
    for rule in drift.broken:
        line(f"{rule.rows} rows ({rule.share:.2%}) break {rule.rule}")
    for each in drift.unknown:
        line(f"\nunknown column {each.header} ({drift.feed.on_drift}), since {each.first.file}, in {each.went}:")
        line(each.declaration)
    if drift.findings:
        show(
            "What that says of the contract",
            ("", "column", "finding"),
            [("DRIFT" if each.drift else "hint", each.column or "", each.says) for each in drift.findings],
        )


def _cut(value: str | None) -> str | None:
    return value if value is None or len(value) <= 30 else f"{value[:29]}…"
