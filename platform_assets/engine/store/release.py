"""Releases: published, immutable, read-only versions of the marts, each a file of its own.

Belongs here: making one, listing them, the pointer to the current one. Elsewhere: deciding that the marts are
fit (orchestration/release.py). A release is a byte copy, so it costs what a file copy costs. It is there when both the
copy and its manifest are; whatever stops us in between leaves what readers have, and nothing that is listed.
"""

import json
import re
import shutil
import stat
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import duckdb

from platform_assets.engine.durable import failpoint
from platform_assets.engine.durable.files import remembered, replacing, sync
from platform_assets.engine.store.connection import connect
from platform_assets.engine.store.sql import attach, quote
from platform_assets.engine.store.warehouse import Warehouse
from platform_assets.errors import ReleaseRefused, StorageError

_ID: Final = re.compile(r"([0-9]{8}T[0-9]{6}Z)-([0-9]+)")
PARTIAL: Final = ".releasing-"
"""How names of files begin that a release is written to before it is whole."""


@dataclass(frozen=True)
class Label:
    """What marts hold. `built_from`: feed -> revision of its rows that went in; `made_from`: mart -> its version;
    `decided`: deliveries of these feeds that a person withdrew or let through: which, who, why and when."""

    built_from: Mapping[str, int] = field(default_factory=dict)
    made_from: Mapping[str, str] = field(default_factory=dict)
    decided: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True)
class Release:
    """One version of the marts; `tables`: rows by mart. For the rest see `Label`.

    erased: which persons were erased from it since, by the ids of their erasures: when, and how many rows by mart.
    """

    id: str
    path: str
    created_at: str
    tables: Mapping[str, int]
    built_from: Mapping[str, int] = field(default_factory=dict)
    made_from: Mapping[str, str] = field(default_factory=dict)
    decided: Sequence[Mapping[str, Any]] = ()
    erased: Sequence[Mapping[str, Any]] = ()

    def columns(self, mart: str) -> list[str]:
        """The columns that a mart has in this release, which may be others than it is declared with now."""
        with connect(Path(self.path), read_only=True) as connection:
            return [name for name, *_ in connection.execute(f"DESCRIBE {quote(mart)}").fetchall()]

    def newest_rows(self, mart: str, columns: Sequence[str], by: str | None, most: int) -> list[tuple[Any, ...]]:
        """The newest rows of a mart by that column, else its first by their first, read as any reader would."""
        order = "1" if by is None else f"{quote(by)} DESC NULLS LAST, 1"
        with connect(Path(self.path), read_only=True) as connection:
            chosen = ", ".join(map(quote, columns))
            return connection.execute(
                f"SELECT {chosen} FROM {quote(mart)} ORDER BY {order} LIMIT {int(most)}"
            ).fetchall()


class Releases:
    """The folder of releases. `current.duckdb` in it links to the one that readers should open.

    A process that holds an old release and opens the same path again would see old data, so every release
    has its own path and only the link moves.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def link(self) -> Path:
        """The link that always points to the current release."""
        return self.folder / "current.duckdb"

    def current(self) -> Release | None:
        """The release that readers get; None where there is none, or its manifest cannot be read."""
        try:
            target = self.link.readlink()
        except OSError:  # none yet; or a home that was copied without its links
            return None
        return _described(self.folder / target)

    def all(self) -> list[Release]:
        """Every release, newest first; what is not whole is left out."""
        files = self.folder.glob("*.duckdb")
        found = [(ids[1], int(ids[2]), path) for path in files if (ids := _ID.fullmatch(path.stem))]
        described = (_described(path) for *_, path in sorted(found, reverse=True))
        return [release for release in described if release is not None]

    def publish(
        self,
        warehouse: Warehouse,
        now: datetime,
        marts: Collection[str],
        label: Callable[[], Label] = Label,
    ) -> Release:
        """Copy the marts as they are into a new release and point the link at it.

        label: gives what they hold, called when nobody can change it any more; what it raises stops the release.

        Tables that are none of `marts` are what deleted models have left: they are dropped first.
        The warehouse is held meanwhile, so nothing is half-built. Raises ReleaseRefused where there is no
        mart, StorageError where the disk stops us; either way readers keep what they have.
        """
        with warehouse.open("release the marts") as connection:
            tables = _checkpointed_tables(connection, warehouse.marts, marts)
            described = label()
            if not tables:
                raise ReleaseRefused("there is no mart to release", "Build the marts first: platform run")
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                release_id = self._free_id(f"{now:%Y%m%dT%H%M%SZ}")
                self._sweep()
                target = self.folder / f"{release_id}.duckdb"
                release = Release(release_id, str(target), now.isoformat(), tables, **asdict(described))
                self._place(release, warehouse.marts, target)
                self._point_at(target)
            except OSError as error:
                raise StorageError(self.folder, error.strerror or str(error)) from error
        return release

    def remove(self, release: Release) -> None:
        """Remove a release; where it is the current one, readers get the newest that is left, if any is."""
        target = Path(release.path)
        if (current := self.current()) is not None and current.id == release.id:
            left = next((each for each in self.all() if each.id != release.id), None)
            if left is None:
                self.link.unlink(missing_ok=True)
            else:
                self._point_at(Path(left.path))
        for path in (target, target.with_suffix(".json")):
            path.unlink(missing_ok=True)

    def _free_id(self, stamp: str) -> str:
        """One that sorts behind all there are, though a kill may have left gaps, or the clock was set back since."""
        there = [(ids[1], int(ids[2])) for path in self.folder.iterdir() if (ids := _ID.fullmatch(path.stem))]
        newest, number = max(there, default=("", 0))
        return f"{newest}-{number + 1}" if newest >= stamp else f"{stamp}-1"

    def _place(self, release: Release, marts: Path, target: Path) -> None:
        """Put both files where they belong, the manifest first: without its copy it counts for nothing."""
        manifest = target.with_suffix(".json")
        # Whom the folder lets read it, they may read what is in it.
        mode = stat.S_IRUSR | (self.folder.stat().st_mode & stat.S_IRGRP)
        with replacing(manifest, manifest.with_name(f"{PARTIAL}{manifest.name}"), mode=mode) as partial:
            partial.write_text(json.dumps(asdict(release)))
        with replacing(target, target.with_name(f"{PARTIAL}{target.name}"), mode=mode) as partial:
            shutil.copyfile(marts, partial)
            failpoint.reached("mid-release")

    def _point_at(self, target: Path) -> None:
        link = self.folder / f"{PARTIAL}current"
        link.symlink_to(target.name)
        link.replace(self.link)
        sync(self.folder)

    def _sweep(self) -> None:
        """Remove what a killed publish left behind. Whoever publishes holds the warehouse, so nobody else is at it."""
        for path in self.folder.iterdir():
            alone = path.suffix == ".json" and not path.with_suffix(".duckdb").exists()
            if path.name.startswith(PARTIAL) or (alone and _ID.fullmatch(path.stem)):
                path.unlink(missing_ok=True)


def _described(path: Path) -> Release | None:
    """The release whose file is at `path`, by its manifest; None where either is missing or the manifest is torn."""
    stored = _read(path.with_suffix(".json"))
    # The folder may have been moved since.
    return replace(stored, id=path.stem, path=str(path)) if stored is not None and path.is_file() else None


@remembered(most=20_000)
def _read(manifest: Path) -> Release | None:
    try:
        stored = json.loads(manifest.read_bytes())
        return Release(
            id="",
            path="",
            created_at=datetime.fromisoformat(stored["created_at"]).astimezone(UTC).isoformat(),
            built_from={str(feed): int(revision) for feed, revision in stored["built_from"].items()},
            tables={str(mart): int(rows) for mart, rows in stored["tables"].items()},
            made_from={str(mart): str(version) for mart, version in stored["made_from"].items()},
            decided=tuple(map(dict, stored["decided"])),
            erased=tuple(map(dict, stored["erased"])),
        )
    except (OSError, ValueError, TypeError, KeyError, AttributeError, ArithmeticError, RecursionError):
        return None


def _checkpointed_tables(connection: duckdb.DuckDBPyConnection, path: Path, marts: Collection[str]) -> dict[str, int]:
    """Rows by mart, with the marts file complete on disk and nothing in it but the marts."""
    attach(connection, path, "marts")
    names = [
        name
        for (name,) in connection.execute(
            "SELECT table_name FROM duckdb_tables() WHERE database_name = 'marts' AND schema_name = 'main' ORDER BY 1"
        ).fetchall()
    ]
    tables = {}
    for name in names:
        if name not in marts:
            connection.execute(f"DROP TABLE marts.main.{quote(name)}")
            continue
        counted = connection.execute(f"SELECT count(*) FROM marts.main.{quote(name)}").fetchone()
        assert counted is not None
        tables[name] = int(counted[0])
    connection.execute("CHECKPOINT marts")
    connection.execute("DETACH marts")
    return tables
