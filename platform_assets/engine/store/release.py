"""Releases: published, immutable, read-only versions of a product's marts, each a folder of its own.

Belongs here: making one. Elsewhere: listing them, which one readers get (serving.py), deciding that the marts are fit
(orchestration/release.py), a table as a file (exact.py). A release costs what changed: a mart of the same version is
not read, one with the same rows is linked. It is there once its manifest is, which is written last.
"""

import hashlib
import json
import shutil
import stat
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from typing import Final
from urllib.parse import quote as percent_encoded

import duckdb

from platform_assets.engine.durable import failpoint
from platform_assets.engine.durable.files import replacing, sync_all
from platform_assets.engine.store import exact
from platform_assets.engine.store.connection import connect
from platform_assets.engine.store.manifest import Label, MartLabel, MartRelease, Release, manifest_in
from platform_assets.engine.store.marts import tables_there
from platform_assets.engine.store.pseudonyms import treated
from platform_assets.engine.store.serving import MANIFEST, UNFINISHED, Serving
from platform_assets.engine.store.sql import attach, quote
from platform_assets.engine.store.warehouse import Warehouse
from platform_assets.errors import ReleaseRefused, StorageError

__all__ = ["Label", "MartLabel", "MartRelease", "Release", "Releases"]

_LONGEST_NAME: Final = 200  # characters, of a file


class Releases(Serving):
    """The releases of a product."""

    def publish(
        self,
        warehouse: Warehouse,
        now: datetime,
        marts: Collection[str],
        label: Callable[[], Label] = Label,
        declared: Collection[str] | None = None,
        *,
        shadow: bool = False,
    ) -> Release:
        """Make a release of the marts as they are, and give it to readers unless another is pinned.

        label: gives what they hold, called when nobody can change it any more; what it raises stops the release. A mart
        of which it gives no version is read, whatever the last release has. declared: the marts of all products; tables
        that are none of them are what deleted models have left, and are dropped. shadow: make a candidate beside the
        releases instead, in the place of the one before; a release that holds the same ends it.

        The warehouse is held meanwhile, so nothing is half-built. Raises ReleaseRefused where there is no mart, or one
        has a column that a release cannot hold, StorageError where the disk stops us; either way readers keep what they
        have.
        """
        with warehouse.open("release the marts") as connection:
            there = [mart for mart in tables_there(connection, warehouse.marts, declared) if mart in marts]
            described = label()
            if not there:
                raise ReleaseRefused("there is no mart to release", "Build the marts first: platform run")
            try:
                self._make_folder(self.folder.parent)
                self._make_folder(self.folder)
                self.sweep()
                folder = self.folder / self._free_id(f"{now:%Y%m%dT%H%M%SZ}")
                try:
                    release = self._made(folder, warehouse.marts, now, there, described, shadow=shadow)
                except BaseException:
                    shutil.rmtree(folder, ignore_errors=True)
                    raise
                if shadow:
                    self._cast(release)
                else:
                    self.settle(now)
                    if (before := self.shadow()) is not None and _holds_the_same(before, release):
                        self.unshadow()
            except OSError as error:
                raise StorageError(self.folder, error.strerror or str(error)) from error
            except duckdb.IOException as error:
                raise StorageError(self.folder, str(error).splitlines()[0]) from error
        return release

    def rewrite(self, release: Release) -> None:
        """Write the manifest of a release anew, as it is described now."""
        with replacing(release.folder / MANIFEST, mode=self.mode) as partial:
            partial.write_text(json.dumps(asdict(release)))

    def _made(
        self, folder: Path, marts: Path, now: datetime, there: Sequence[str], label: Label, *, shadow: bool
    ) -> Release:
        """A release of these marts in that folder, whole and on the disk, which no reader gets yet."""
        before = self.newest()
        self._make_folder(folder)
        unfinished = folder / UNFINISHED
        unfinished.touch()
        path = folder / f"{self.product}.duckdb"
        with connect(None, marts, path, *(folder / _file_of(mart) for mart in there)) as connection:
            attach(connection, marts, "marts", "(READ_ONLY)")
            if label.key is not None:
                label.key.bind(connection)
            made = {
                mart: self._released(connection, mart, label.marts.get(mart, MartLabel()), folder, before)
                for mart in there
            }
            comments = exact.comments_of(connection, "marts")
            connection.execute("DETACH marts")
            latest = {name: mart for name, mart in label.latest.items() if mart in made and name not in made}
            exact.write_views(connection, path, _files(folder, made), comments, latest)
        for name, mart in latest.items():
            (folder / _file_of(name)).symlink_to(made[mart].file)
        failpoint.reached("release-views")
        release = Release(
            id=folder.name,
            product=self.product,
            path=str(path),
            created_at=now.isoformat(),
            marts=made,
            built_from=_built_from(made),
            decided=label.decided,
            shadow=shadow,
            unfit=label.unfit,
            latest=latest,
        )
        unfinished.write_text(json.dumps(asdict(release)))
        # What is linked is on the disk, and has the rights that it needs.
        written = [each for mart in made.values() if (each := folder / mart.file).stat().st_nlink == 1]
        for each in (*written, path, unfinished):
            each.chmod(self.mode)
        sync_all((*written, path, unfinished, folder))
        unfinished.replace(folder / MANIFEST)
        sync_all((folder, self.folder, self.folder.parent))
        failpoint.reached("release-manifest")
        return release

    def _released(
        self,
        connection: duckdb.DuckDBPyConnection,
        mart: str,
        label: MartLabel,
        folder: Path,
        before: Release | None,
    ) -> MartRelease:
        """The mart in the release that is made in `folder`: linked to that of the release before where that has its
        rows, else written."""
        last = before.marts.get(mart) if before is not None else None
        known = asdict(label)
        if last is not None and _same(last, label) and _linked(before, mart, folder):
            return replace(last, **known)
        built = f"marts.main.{quote(mart)}"
        table = f"({treated(mart, built, exact.columns_of(connection, built), label.personal)})"
        columns = exact.columns_of(connection, table)
        query = exact.selected(columns, table, mart)
        rows, content = exact.rows_and_content(connection, table)
        shown = {name: str(kind) for name, kind in columns.items()}
        made = MartRelease(**known, rows=rows, columns=shown, content=content, file=_file_of(mart))
        same = last is not None and (last.content, dict(last.columns)) == (content, shown)
        if last is not None and same and _linked(before, mart, folder):
            return replace(made, size=last.size)
        path = folder / made.file
        exact.write(connection, query, path, mart)
        failpoint.reached("mid-release")
        if exact.rows_and_content(connection, f"({exact.view_of(connection, path, shown)})") != (rows, content):
            raise exact.not_exact(mart, "what was written is not what was read")
        return replace(made, size=path.stat().st_size)

    def _make_folder(self, folder: Path) -> None:
        """Whom the folder of all releases lets read it, they may read what is in it."""
        folder.mkdir(parents=True, exist_ok=True)
        if folder != self.folder.parent:
            readers = stat.S_ISGID | stat.S_IRGRP | stat.S_IXGRP
            folder.chmod(stat.S_IRWXU | (self.folder.parent.stat().st_mode & readers))

    @property
    def mode(self) -> int:
        """The permissions of what is in a release."""
        return stat.S_IRUSR | (self.folder.parent.stat().st_mode & stat.S_IRGRP)

    def _described(self, folder: Path) -> Release | None:
        """The release in that folder, by its manifest; None where files are missing or the manifest is torn."""
        stored = manifest_in(folder)
        path = folder / f"{self.product}.duckdb"
        if stored is None or not all(
            each.is_file() for each in (path, *(folder / m.file for m in stored.marts.values()))
        ):
            return None
        # The folder may have been moved since.
        return replace(stored, id=folder.name, product=self.product, path=str(path))


def _files(folder: Path, marts: Mapping[str, MartRelease]) -> dict[str, tuple[Path, Mapping[str, str]]]:
    return {mart: (folder / each.file, each.columns) for mart, each in marts.items()}


def _holds_the_same(one: Release, other: Release) -> bool:
    kept = ([(mart, each.content, dict(each.columns)) for mart, each in sorted(r.marts.items())] for r in (one, other))
    return next(kept) == next(kept)


def _same(last: MartRelease, label: MartLabel) -> bool:
    """Whether what the last release has of a mart is what it would be made of now."""
    treated_alike = (dict(last.personal), last.pseudonyms) == (dict(label.personal), label.pseudonyms)
    return label.version != "" and last.version == label.version and treated_alike


def _linked(release: Release | None, mart: str, folder: Path) -> bool:
    """Whether the release's file of the mart could be given a second name in that folder; not where it is no longer
    what was written, nor where the file system cannot."""
    if release is None:
        return False
    old = release.parquet(mart)
    try:
        if old.stat().st_size != release.marts[mart].size:
            return False
        (folder / _file_of(mart)).hardlink_to(old)
    except OSError:
        return False
    return True


def _file_of(mart: str) -> str:
    """The name of the file of a mart, whatever characters the mart's has, and however many."""
    name = percent_encoded(mart, safe="")
    name = f"%2E{name[1:]}" if name.startswith(".") else name
    if len(name) > _LONGEST_NAME:
        name = f"{name[:_LONGEST_NAME]}-{hashlib.sha256(mart.encode()).hexdigest()[:16]}"
    return f"{name}.parquet"


def _built_from(marts: Mapping[str, MartLabel]) -> dict[str, int]:
    """Feed -> the revision of its rows that all marts hold that are made of it."""
    found: dict[str, int] = {}
    for mart in marts.values():
        for feed, revision in mart.built_from.items():
            found[feed] = min(revision, found.get(feed, revision))
    return found
