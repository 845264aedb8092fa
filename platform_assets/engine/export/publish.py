"""An export: the marts of a release become tables of another database, in one transaction with the release's id.

Belongs here: what is written, kept, refused and compared, whichever database it is. Elsewhere: each database's SQL
(postgres.py, sqlite.py). Decided from what the database says that it holds; where that is right already, nothing is
written.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from platform_assets.engine.durable import failpoint
from platform_assets.engine.export.columns import Column
from platform_assets.engine.export.database import NOTES, PREVIOUS, Database, ExportRefused, Held
from platform_assets.engine.store.released import Digest, ReleasedMart, digest_of
from platform_assets.errors import listed, printable

_OURS: Final = frozenset({NOTES, "_platform_stage"})
_SYSTEM: Final = {"PostgreSQL": ("tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"), "SQLite": ()}


@dataclass(frozen=True)
class Outgoing:
    """The marts of a release that are exported. content: of each mart, changes whenever its rows do. comments: what
    each is. contents: of any release and mart, what it holds now, or None where it is gone: rows of before are kept
    only as long as the platform has them as well."""

    product: str
    release: str
    marts: Mapping[str, ReleasedMart]
    content: Mapping[str, str]
    comments: Mapping[str, str]
    contents: Callable[[str, str], str | None]


@dataclass(frozen=True)
class Compared:
    """A mart as it was read back from the other database. differing: columns whose values are not the release's."""

    rows: int
    expected: int
    differing: Sequence[str] = ()


@dataclass(frozen=True)
class Exported:
    """What an export came to. written: marts whose rows were written. left: tables that this product has there and the
    release does not have. compared: of each mart, what was read back from the database."""

    release: str
    written: Sequence[str]
    left: Sequence[str]
    compared: Mapping[str, Compared]


@dataclass(frozen=True)
class _Mart:
    name: str
    source: ReleasedMart
    columns: Sequence[Column]

    @property
    def there(self) -> dict[str, str]:
        return {each.name: each.there for each in self.columns}

    def expected(self) -> Digest:
        return self.source.digest({each.name: each.own for each in self.columns})


def export(database: Database, out: Outgoing, now: datetime) -> Exported:
    """Bring the database to the release; what it holds of it already stays as it is.

    Raises ExportRefused and DatabaseUnreachable: the database is then as it was.
    """
    marts = {name: _mart(database, name, source) for name, source in out.marts.items()}
    with database.transaction():
        known = {each.mart: each for each in database.held()}
        held = {name: each for name, each in known.items() if each.product == out.product}
        for mart in marts.values():
            _refuse_foreign(database, mart.name, known.get(mart.name), out.product)
        expected = {name: mart.expected() for name, mart in marts.items()}
        found = {
            name: _read_back(database, mart)
            for name, mart in marts.items()
            if name in held and _is_said_to_be(held[name], mart, out.content[name])
        }
        to_write = [name for name in marts if name not in found or found[name].differing(expected[name])]
        for name in to_write:
            _refuse_values(database, marts[name])
        if to_write:
            database.prepare()
        touched = []
        for name, mart in marts.items():
            before = held.get(name)
            note = _noted(before, out, mart, expected[name].rows, now)
            if name in to_write:
                note = _write(database, mart, before, note, out)
                touched += [name, *([name + PREVIOUS] if before is not None else [])]
                found[name] = _read_back(database, mart)
                if differing := found[name].differing(expected[name]):
                    raise ExportRefused(
                        f"{database.kind} gives other values back than the release has, of {printable(name)}: "
                        f"{listed(differing)}",
                        "Cast them in the mart to a type that both hold, such as text; and look for a trigger there.",
                    )
            elif note.kept is not None and out.contents(note.kept, name) != note.kept_content:
                database.clear(name + PREVIOUS)
                touched.append(name + PREVIOUS)
                note = replace(note, kept=None, kept_content=None)
            if note != before:
                database.note(note)
        failpoint.reached("before-export-commit")
    failpoint.reached("after-export-commit")
    database.tidy(touched)
    compared = {name: Compared(found[name].rows, expected[name].rows) for name in marts}
    return Exported(out.release, to_write, sorted(set(held) - set(marts)), compared)


def standing(database: Database) -> list[Held]:
    """What the database says that it holds, as far as its tables are there."""
    return [each for each in database.held() if database.table(each.mart) is not None]


def is_held(held: Sequence[Held], out: Outgoing) -> bool:
    """Whether a database that says this of itself needs no export: it holds the release, and nothing of before that the
    platform no longer has."""
    ours = {each.mart: each for each in held if each.product == out.product}
    return all(
        name in ours
        and ours[name].release == out.release
        and ours[name].content == out.content[name]
        and (ours[name].kept is None or out.contents(str(ours[name].kept), name) == ours[name].kept_content)
        for name in out.marts
    )


def _mart(database: Database, name: str, source: ReleasedMart) -> _Mart:
    """What the mart becomes there; ExportRefused for what has no place there."""
    columns = []
    for column, kind in source.columns().items():
        made = database.column(column, kind)
        if made is None:
            raise ExportRefused(
                f"{printable(name)}.{printable(column)} is of type {printable(kind, 60)}, "
                f"which {database.kind} has nothing for",
                "Cast it in the mart, such as to text or to a number.",
            )
        if column.lower() in _SYSTEM[database.kind]:
            raise ExportRefused(
                f"{printable(name)}.{printable(column)}: {database.kind} has a column of that name in every table",
                "Give it another name in the mart.",
            )
        columns.append(made)
    for each in (name + PREVIOUS, *(column.name for column in columns)):
        if database.longest is not None and len(each.encode()) > database.longest:
            raise ExportRefused(
                f"{printable(each)} is longer than the {database.longest} bytes that a name has in {database.kind}",
                "Give it a shorter name in the mart.",
            )
    if name in _OURS:
        raise ExportRefused(f"{name} is the name of a table that the platform itself has there", "Rename the mart.")
    return _Mart(name, source, columns)


def _refuse_foreign(database: Database, name: str, held: Held | None, product: str) -> None:
    """Nothing is overwritten that this product has not made."""
    if held is not None and held.product != product:
        raise ExportRefused(
            f"{printable(name)} there is of the product {printable(held.product)}",
            "Export one of them into another schema or database.",
        )
    for each in (name, name + PREVIOUS):
        there = database.table(each)
        ours = held is not None and (each == name or bool(held.kept_columns))
        if there is not None and not (ours and there.ordinary):
            raise ExportRefused(
                f"{printable(each)} is there already, and the platform did not make it",
                "Rename or drop it there, or say another schema= in the Export.",
            )
        if there is not None and held is not None and each == name and set(there.columns) != set(held.columns):
            raise ExportRefused(
                f"{printable(each)} has other columns there than the platform made: somebody has changed it",
                f"Give it back its columns ({listed(list(held.columns))}), or drop it there.",
            )


def _is_said_to_be(held: Held, mart: _Mart, content: str) -> bool:
    return held.content == content and dict(held.columns) == mart.there


def _refuse_values(database: Database, mart: _Mart) -> None:
    """Values that the database cannot hold, told by row and column."""
    asked = [(column, condition, what) for column in mart.columns for condition, what in column.unfit.items()]
    for (column, _, what), row in zip(asked, mart.source.first_rows([each[1] for each in asked]), strict=True):
        if row is not None:
            raise ExportRefused(
                f"{printable(mart.name)}.{printable(column.name)} {what}, first in row {row:,} of the release",
                f"Clean it in the mart, or cast it to what {database.kind} holds.",
            )


def _read_back(database: Database, mart: _Mart) -> Digest:
    if database.table(mart.name) is None:  # somebody has dropped it
        return Digest(0, -1, dict.fromkeys(mart.there, -1))
    with database.read(mart.name, mart.columns) as rows:
        return digest_of(rows, {each.name: each.back for each in mart.columns})


def _noted(before: Held | None, out: Outgoing, mart: _Mart, rows: int, now: datetime) -> Held:
    """What is to be noted of a mart; the time is that of the release's first export."""
    content = out.content[mart.name]
    if before is None:
        return Held(out.product, mart.name, out.release, now.isoformat(), rows, content, mart.there)
    at = before.exported_at if before.release == out.release else now.isoformat()
    return replace(before, release=out.release, exported_at=at, rows=rows, content=content, columns=mart.there)


def _write(database: Database, mart: _Mart, before: Held | None, note: Held, out: Outgoing) -> Held:
    """Replace the rows, and keep the old ones if the platform still has them, too; what is to be noted then."""
    name, previous, there = mart.name, mart.name + PREVIOUS, database.table(mart.name)
    if there is None or before is None:
        if note.kept is not None:
            database.clear(previous)
        database.create(name, mart.there, out.comments.get(name, ""))
        database.write(name, mart.source, mart.columns)
        return replace(note, kept=None, kept_content=None)
    drop, add = _changed(before.columns, mart.there)
    stage = database.stage(mart.there) if drop or add else None
    if stage is not None:  # so that the table is held only while rows move within the database
        database.write(stage, mart.source, mart.columns)
    if not before.kept_columns:
        database.create(previous, before.columns, f"What {name} held before its present release.")
    else:
        database.clear(previous)
        database.change(previous, *_changed(before.kept_columns, before.columns))
    keeps = before.release != out.release and out.contents(before.release, name) == before.content
    if keeps:
        database.copy(name, previous, list(before.columns))
    database.change(name, drop, add)
    database.clear(name)
    failpoint.reached("mid-export")
    if stage is None:
        database.write(name, mart.source, mart.columns)
    else:
        database.copy(stage, name, list(mart.there))
    kept = (before.release, before.content) if keeps else (None, None)
    return replace(note, kept=kept[0], kept_content=kept[1], kept_columns=before.columns)


def _changed(old: Mapping[str, str], new: Mapping[str, str]) -> tuple[list[str], dict[str, str]]:
    """Columns to take out of a table, and to add, so that it has the new ones."""
    return (
        [column for column, kind in old.items() if new.get(column) != kind],
        {column: kind for column, kind in new.items() if old.get(column) != kind},
    )
