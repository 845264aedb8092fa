"""Releases: published, immutable, read-only versions of the marts, each a file of its own.

Belongs here: making one, listing them, the pointer to the current one. Does not: deciding that the marts are
fit (orchestration/release.py). A release is a byte copy, so it costs what a file copy costs.
"""

import json
import os
import shutil
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path

import duckdb

from platform_assets.engine import failpoint
from platform_assets.engine.remembered import remembered
from platform_assets.engine.warehouse import Warehouse, attach, quote
from platform_assets.errors import ReleaseRefused, StorageError


@dataclass(frozen=True)
class Release:
    """One version of the marts. `built_from`: feed -> the revision of its rows that went in; `made_from`: mart -> its
    version."""

    id: str
    path: str
    created_at: str
    built_from: Mapping[str, int]
    tables: Mapping[str, int]
    made_from: Mapping[str, str] = field(default_factory=dict)


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
        """The release that readers get."""
        try:
            target = self.link.readlink()
        except FileNotFoundError:
            return None
        return _described((self.folder / target).with_suffix(".json"))

    def all(self) -> list[Release]:
        """Every release, newest first."""
        described = (_described(path) for path in sorted(self.folder.glob("*.json"), reverse=True))
        return [release for release in described if release is not None]

    def publish(
        self,
        warehouse: Warehouse,
        now: datetime,
        marts: Collection[str],
        *,
        built_from: Mapping[str, int] | None = None,
        made_from: Mapping[str, str] | None = None,
    ) -> Release:
        """Copy the marts as they are into a new release, labelled with what they hold, and point the link at it.

        Tables that are none of `marts` are what deleted models have left: they are dropped first.
        The warehouse is held meanwhile, so nothing is half-built. Raises ReleaseRefused where there is no
        mart, StorageError where the disk stops us; either way readers keep what they have.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self._sweep()
        with warehouse.open("release the marts") as connection:
            tables = _checkpointed_tables(connection, warehouse.marts, marts)
            if not tables:
                raise ReleaseRefused("there is no mart to release", "Build the marts first: platform run")
            release_id = self._free_id(f"{now:%Y%m%dT%H%M%SZ}")
            target = self.folder / f"{release_id}.duckdb"
            release = Release(
                release_id, str(target), now.isoformat(), dict(built_from or {}), tables, dict(made_from or {})
            )
            partial = self.folder / f".releasing-{release_id}"
            try:
                shutil.copyfile(warehouse.marts, partial)
                failpoint.reached("mid-release")
                with partial.open("rb") as written:
                    os.fsync(written.fileno())
                partial.chmod(0o444)
                partial.replace(target)
                self._write(target.with_suffix(".json"), json.dumps(asdict(release)))
                self._point_at(target)
            except OSError as error:
                raise StorageError(self.folder, error.strerror or str(error)) from error
        return release

    def _free_id(self, stem: str) -> str:
        number = 1
        while (self.folder / f"{stem}-{number}.duckdb").exists():
            number += 1
        return f"{stem}-{number}"

    def _point_at(self, target: Path) -> None:
        link = self.folder / ".current-next"
        link.unlink(missing_ok=True)
        link.symlink_to(target.name)
        link.replace(self.link)

    def _write(self, path: Path, text: str) -> None:
        partial = path.with_name(f".releasing-{path.name}")
        partial.write_text(text)
        partial.replace(path)

    def _sweep(self) -> None:
        """Remove what a killed publish left behind."""
        for leftover in self.folder.glob(".releasing-*"):
            leftover.unlink(missing_ok=True)


@remembered(most=20_000)
def _described(path: Path) -> Release | None:
    try:
        # The folder may have been moved since.
        return Release(**{**json.loads(path.read_text()), "path": str(path.with_suffix(".duckdb"))})
    except FileNotFoundError:
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
