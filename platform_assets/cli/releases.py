"""Verbs about releases: list, show, diff, rollback, unpin, prune, shadow.

Belongs here: their options and how their answers look. Elsewhere: what they do (commands/releases.py).
"""

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Final

import typer
from typer.core import TyperGroup

from platform_assets.cli.render import Json, Table, plain, render, say
from platform_assets.commands.releases import Shown, release_shown, releases_compared, releases_listed
from platform_assets.commands.rollback import (
    product_unpinned,
    releases_pruned,
    rolled_back,
    shadow_made,
    shadow_removed,
)
from platform_assets.engine.releases import NAMES, WentBack
from platform_assets.engine.store.comparison import ColumnDiff, MartDiff, Row
from platform_assets.errors import counted, listed

_NAMED: Final = f"An id, the beginning of one, or {', '.join(NAMES)}; PRODUCT/ID where there are several products."
_SHADOW: Final = "--shadow"
_PLACES: Final = ("B", "kB", "MB", "GB", "TB")


class _Group(TyperGroup):
    """`platform release --shadow [PRODUCT]` is `platform release shadow [PRODUCT]`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - Typer has a Click of its own
        if _SHADOW in args:
            args = ["shadow", *(each for each in args if each != _SHADOW)]
        return super().parse_args(ctx, args)


release_app = typer.Typer(
    cls=_Group,
    no_args_is_help=True,
    help="Releases: published, read-only versions of a product's marts. `--shadow [PRODUCT]` is the verb shadow.",
)
Product = Annotated[str | None, typer.Argument(help="Only this product.")]


@release_app.command("list")
def release_list(product: Product = None, as_json: Json = False) -> None:
    """List releases by product, newest first: rows and size of their marts, which one readers have.

    Example: platform release list
    """
    found = releases_listed(say, product)
    columns = (
        ("", lambda row: "→" if row.current else ""),
        "product",
        "id",
        ("created", lambda row: row.created_at[:16].replace("T", " ")),
        ("marts", lambda row: len(row.tables)),
        ("rows", lambda row: sum(row.tables.values())),
        ("size", lambda row: _size(row.size)),
        ("stands", lambda row: row.stands),
    )
    table = Table("Releases", found, columns, empty="no release yet", least=("marts", "size"))
    pins = [f"{each.product} is {each.pinned}" for each in found if each.pinned is not None]
    render({"releases": found}, [table, *pins], as_json=as_json)


@release_app.command("show")
def release_show(
    release: Annotated[list[str] | None, typer.Argument(help=f"{_NAMED} By default the current one.")] = None,
    as_json: Json = False,
) -> None:
    """Show what a release holds: its marts with columns, rows, newest data, deliveries, checks, personal data.

    Example: platform release show previous
    """
    found = release_shown(say, release or [])
    render(found, _manifest(found), as_json=as_json)


def _manifest(found: Shown) -> Iterator[Table | str]:
    about = found.release
    stands = f", {about.stands}" if about.stands else ""
    yield f"{about.product} {about.id}{stands}: {about.path}"
    if about.unfit is not None:
        yield f"it would not be released: {about.unfit}"
    rows = [{"mart": mart, **each} for mart, each in found.marts.items()]
    columns = (
        "mart",
        "rows",
        ("columns", lambda row: len(row["columns"])),
        ("size", lambda row: _size(row["size"])),
        ("newest data", lambda row: (row["newest"] or "")[:16].replace("T", " ")),
        ("checks passed", lambda row: len(row["checks"])),
        ("made from", lambda row: [f"{feed} {revision}" for feed, revision in row["built_from"].items()]),
        ("content", lambda row: row["content"][:12]),
    )
    yield Table("Marts", rows, columns, empty="no mart", least=("content", "checks passed", "size", "made from"))
    cells = [
        {"mart": mart, "column": column, "type": kind, "personal": each["personal"].get(column)}
        for mart, each in found.marts.items()
        for column, kind in each["columns"].items()
    ]
    yield Table("Columns", cells, ("mart", "column", "type", "personal"))
    yield Table("Decided by people", found.decided, ("feed", "delivery", "file", "what", "by", "why"))
    yield Table("Erased since", found.erased, _columns_of(found.erased))


def _columns_of(rows: Sequence[Any]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for row in rows for name in row))


@release_app.command("diff")
def release_diff(
    before: Annotated[str, typer.Argument(metavar="A", help=_NAMED)],
    after: Annotated[
        str | None, typer.Argument(metavar="[B]", help="Likewise, of the same product; by default the current one.")
    ] = None,
    samples: Annotated[int, typer.Option(help="Rows to show of each kind of difference.", min=0)] = 3,
    as_json: Json = False,
) -> None:
    """Compare two releases mart by mart: columns, counts, rows added, removed and changed by key, column by column.

    Personal data is masked. Exit code 0 whether or not they differ.

    Example: platform release diff previous
    """
    found = releases_compared(say, before, after, samples)
    title = f"{found.product}: from {found.before} to {found.after}"
    render(found, [_summary(title, found.marts), *_details(found.marts)], as_json=as_json)


def _summary(title: str, marts: Sequence[MartDiff]) -> Table:
    columns = (
        "mart",
        ("", "what"),
        ("rows before", "before"),
        ("after", "after"),
        "added",
        "removed",
        "changed",
        ("by", lambda row: ", ".join(row.key) if row.key else "whole rows" if row.what == "changed" else None),
    )
    return Table(title, marts, columns, empty="neither has a mart", least=("by",))


def _details(marts: Sequence[MartDiff]) -> Iterator[Table | str]:
    for mart in marts:
        if mart.what != "changed":
            continue
        if mart.not_unique:
            keys = counted(mart.not_unique, "key occurs", "keys occur")
            yield f"{mart.mart}: {keys} more than once; their rows are compared whole"
        if mart.reordered:
            yield f"{mart.mart}: its columns stand in another order"
        for was, now in mart.renamed.items():
            yield f"{mart.mart}: {was} is now called {now}: it holds the same in every row"
        columns = ("column", ("before", "before"), ("after", "after"), ("rows changed", "changed"))
        named = [{"column": each.name, **_types(each)} for each in mart.columns]
        yield Table(f"{mart.mart}: columns that differ", named, columns)
        changed = [
            {"key": _cells(key), "column": each.name, "before": was, "after": now}
            for each in mart.columns
            for key, was, now in each.samples
        ]
        yield Table(f"{mart.mart}: some rows changed", changed, ("key", "column", "before", "after"))
        yield from _rows(f"{mart.mart}: some rows added", mart.rows_added)
        yield from _rows(f"{mart.mart}: some rows removed", mart.rows_removed)


def _types(column: ColumnDiff) -> dict[str, Any]:
    return {"before": column.before, "after": column.after, "changed": column.changed}


def _rows(title: str, rows: Sequence[Row]) -> Iterator[Table]:
    columns = _columns_of(rows)
    if rows:
        yield Table(title, rows, [(name, _of(name)) for name in columns], least=columns[:0:-1])


def _of(column: str) -> Any:  # noqa: ANN401 - what a table shows
    """What shows that very column, whatever characters its name has."""
    return lambda row: row.get(column)


def _cells(key: Row) -> str:
    return ", ".join(f"{name}={'' if value is None else value}" for name, value in key.items())


@release_app.command("rollback")
def release_rollback(
    release: Annotated[
        list[str] | None,
        typer.Argument(help=f"{_NAMED} By default the one before the current one.", metavar="[PRODUCT] [ID]"),
    ] = None,
    because: Annotated[str, typer.Option(help="Why; everybody who asks is told, and the audit log has it.")] = "",
    as_json: Json = False,
) -> None:
    """Give readers an earlier release again, at once, and pin it: later runs publish beside it until it is unpinned.

    Example: platform release rollback --because 'returns are counted twice'
    """
    done, broken = rolled_back(say, release or [], because)
    answer = {"ok": True, **plain(done), "breaks": [str(each) for each in broken]}
    render(answer, [*_gone_back(done), *(f"it breaks a promise: {each}" for each in broken)], as_json=as_json)


def _gone_back(done: WentBack) -> Iterator[str]:
    had = "" if done.before in (None, done.release) else f"; they had {done.before}"
    yield f"readers of {done.product} get release {done.release} from now on{had}"
    if done.lacking:
        yield f"they then miss columns, or have them with another type: {listed(done.lacking)}"
    yield f"it is pinned: later runs publish beside it. `platform release unpin {done.product}` gives them the newest"


@release_app.command("unpin")
def release_unpin(product: Product = None, as_json: Json = False) -> None:
    """Take the pin of a product out: readers get its newest release at once, and what is published from then on.

    Example: platform release unpin
    """
    done = product_unpinned(say, product)
    told = f"readers of {done.product} get release {done.release}, the newest, from now on"
    render({"ok": True, **plain(done)}, [told], as_json=as_json)


@release_app.command("prune")
def release_prune(
    product: Product = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
    as_json: Json = False,
) -> None:
    """Remove releases that need not be kept, as `Product(keep=…, least=…)` says; that also happens with each release.

    What stays in any case: the current one, the newest, a pinned one, a shadow, what was current within the last hour,
    and what a program has open.

    Example: platform release prune --dry-run
    """
    found = releases_pruned(say, product, dry_run=dry_run)
    columns = (
        "product",
        ("would be removed" if dry_run else "removed", lambda row: list(row.removed) or "none"),
        ("frees" if dry_run else "freed", lambda row: _size(row.freed)),
        "kept",
    )
    table = Table("Releases that need not be kept", found, columns, empty="no release yet")
    render({"ok": True, "dry_run": dry_run, "products": found}, [table], as_json=as_json)


@release_app.command("shadow")
def release_shadow(product: Product = None, as_json: Json = False) -> None:
    """Publish the marts as they are built beside the current release, for a consumer to compare; readers get nothing.

    It replaces the shadow before it; `platform release diff current shadow` compares. `platform release --shadow` is
    the same.

    Example: platform release shadow retail
    """
    made = shadow_made(say, product)
    told = [f"shadow {made.id} of {made.product}: {made.path}"]
    if made.unfit is not None:
        told.append(f"it would not be released: {made.unfit}")
    told.append(f"compare: platform release diff {made.product}/current shadow")
    render({"ok": True, "release": made}, told, as_json=as_json)


@release_app.command("unshadow")
def release_unshadow(product: Product = None, as_json: Json = False) -> None:
    """Remove the shadow of a product, or those of all.

    Example: platform release unshadow
    """
    gone = shadow_removed(say, product)
    told = f"removed the shadow of {listed(gone)}" if gone else "there is no shadow"
    render({"ok": True, "products": gone}, [told], as_json=as_json)


def _size(number: float) -> str:
    """Bytes as people read them."""
    for place in _PLACES[:-1]:
        if number < 1000:
            return f"{number:.0f} {place}" if place == "B" else f"{number:.1f} {place}"
        number /= 1000
    return f"{number:.1f} {_PLACES[-1]}"
