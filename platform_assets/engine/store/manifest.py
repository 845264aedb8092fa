"""What a release says of itself: its manifest as values, and how it is read back.

Belongs here: what is known of a release and of each of its marts. Elsewhere: making releases (release.py), which one
readers get (serving.py). A manifest that cannot be read makes no release.
"""

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb

from platform_assets.engine.durable.files import remembered
from platform_assets.engine.store.connection import connect
from platform_assets.engine.store.pseudonyms import Key
from platform_assets.engine.store.serving import MANIFEST
from platform_assets.engine.store.sql import quote


@dataclass(frozen=True)
class MartLabel:
    """What is known of a mart that is to be released. version: of the asset; code: of what made it; built_from: feed ->
    revision of its rows that went in; newest: newest data, ISO; checks: blocking checks that it passed; personal:
    column with personal data -> "drop", "pseudonym" or "keep"; pseudonyms: the name of their key; until: the day, ISO,
    up to which this version of its model is served at least, where an end is told."""

    version: str = ""
    code: str = ""
    built_from: Mapping[str, int] = field(default_factory=dict)
    newest: str | None = None
    checks: Sequence[str] = ()
    personal: Mapping[str, str] = field(default_factory=dict)
    until: str | None = None
    pseudonyms: str | None = None


@dataclass(frozen=True)
class Label:
    """What marts hold. decided: deliveries of the feeds that they are made from that a person withdrew or let through:
    which, who, why and when. unfit: why they are not fit to be released, of a shadow; key: that of their pseudonyms.
    latest: other names of marts: a model with versions -> the mart that is its latest."""

    marts: Mapping[str, MartLabel] = field(default_factory=dict)
    decided: Sequence[Mapping[str, Any]] = ()
    unfit: str | None = None
    key: Key | None = None
    latest: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class MartRelease(MartLabel):
    """A mart in a release: what was known of it, and what it is. columns: name -> DuckDB type as readers see it;
    content: a hash of its rows whatever their order; file: the name of its Parquet file; size: of that file, in bytes.
    """

    rows: int = 0
    columns: Mapping[str, str] = field(default_factory=dict)
    content: str = ""
    file: str = ""
    size: int = 0


@dataclass(frozen=True)
class Release:
    """One version of a product's marts; `path`: its DuckDB file; `built_from`: feed -> the revision of its rows that
    all marts hold that are made of it; for `decided` and `latest` see `Label`.

    erased: which persons were erased from it since, by the ids of their erasures: when, and how many rows by mart.
    shadow: made beside the others, for a consumer to compare; readers never get it. unfit: why they could not, if so.
    """

    id: str
    product: str
    path: str
    created_at: str
    marts: Mapping[str, MartRelease]
    built_from: Mapping[str, int] = field(default_factory=dict)
    decided: Sequence[Mapping[str, Any]] = ()
    erased: Sequence[Mapping[str, Any]] = ()
    shadow: bool = False
    latest: Mapping[str, str] = field(default_factory=dict)
    unfit: str | None = None

    @property
    def folder(self) -> Path:
        """The folder that all of it is in."""
        return Path(self.path).parent

    @property
    def tables(self) -> Mapping[str, int]:
        """Rows by mart."""
        return {mart: each.rows for mart, each in self.marts.items()}

    @property
    def made_from(self) -> Mapping[str, str]:
        """The version of each mart."""
        return {mart: each.version for mart, each in self.marts.items()}

    def parquet(self, mart: str) -> Path:
        """The file with the mart's rows."""
        return self.folder / self.marts[mart].file

    @contextlib.contextmanager
    def opened(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection that sees what any reader would, and no other file."""
        with connect(Path(self.path), *map(self.parquet, self.marts), read_only=True) as connection:
            yield connection

    def damaged(self) -> dict[str, str]:
        """Marts that a reader cannot read, or finds with other rows than the manifest tells of: what is wrong."""
        found = {}
        for mart, each in self.marts.items():
            try:
                with self.opened() as connection:
                    ((rows,),) = connection.execute(f"SELECT count(*) FROM {quote(mart)}").fetchall()
            except duckdb.Error as error:
                found[mart] = str(error).splitlines()[0]
            else:
                if rows != each.rows:
                    found[mart] = f"{rows:,} rows, and the manifest tells of {each.rows:,}"
        return found

    def newest_rows(self, mart: str, columns: Sequence[str], by: str | None, most: int) -> list[tuple[Any, ...]]:
        """The newest rows of a mart by that column, else its first by their first, read as any reader would."""
        order = "1" if by is None else f"{quote(by)} DESC NULLS LAST, 1"
        with self.opened() as connection:
            chosen = ", ".join(map(quote, columns))
            return connection.execute(
                f"SELECT {chosen} FROM {quote(mart)} ORDER BY {order} LIMIT {int(most)}"
            ).fetchall()


def manifest_in(folder: Path) -> Release | None:
    """What the manifest in that folder says, word for word; None where there is none, or it is torn."""
    return _read(folder / MANIFEST)


@remembered(most=20_000)
def _read(manifest: Path) -> Release | None:
    try:
        stored = json.loads(manifest.read_bytes())
        return Release(
            id="",
            product="",
            path=str(stored["path"]),
            created_at=datetime.fromisoformat(stored["created_at"]).astimezone(UTC).isoformat(),
            marts={str(mart): _mart_of(each) for mart, each in stored["marts"].items()},
            built_from={str(feed): int(revision) for feed, revision in stored["built_from"].items()},
            decided=tuple(map(dict, stored["decided"])),
            erased=tuple(map(dict, stored["erased"])),
            shadow=bool(stored["shadow"]),
            latest={str(name): str(mart) for name, mart in stored["latest"].items()},
            unfit=None if stored["unfit"] is None else str(stored["unfit"]),
        )
    except (OSError, ValueError, TypeError, KeyError, AttributeError, ArithmeticError, RecursionError):
        return None


def _mart_of(stored: Mapping[str, Any]) -> MartRelease:
    return MartRelease(
        version=str(stored["version"]),
        code=str(stored["code"]),
        built_from={str(feed): int(revision) for feed, revision in stored["built_from"].items()},
        newest=None if stored["newest"] is None else str(stored["newest"]),
        checks=tuple(map(str, stored["checks"])),
        personal={str(column): str(how) for column, how in stored["personal"].items()},
        until=None if stored["until"] is None else str(stored["until"]),
        pseudonyms=None if stored["pseudonyms"] is None else str(stored["pseudonyms"]),
        rows=int(stored["rows"]),
        columns={str(name): str(kind) for name, kind in stored["columns"].items()},
        content=str(stored["content"]),
        file=str(stored["file"]),
        size=int(stored["size"]),
    )
