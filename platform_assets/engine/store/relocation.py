"""A home that was moved, or restored elsewhere: the views of its releases are written anew, for where they lie now.

Belongs here: seeing that, and writing them. Elsewhere: how a view is written (exact.py). Files with rows stay as they
are; a kill leaves old views or new ones, and the next start goes on.
"""

from collections.abc import Iterable
from pathlib import Path

import duckdb

from platform_assets.engine.durable.files import replacing
from platform_assets.engine.store import exact
from platform_assets.engine.store.connection import connect
from platform_assets.engine.store.manifest import manifest_in
from platform_assets.engine.store.release import Release, Releases
from platform_assets.engine.store.sql import attach
from platform_assets.engine.store.warehouse import Warehouse


def follow(warehouse: Warehouse, products: Iterable[Releases]) -> int:
    """Let the views of all releases read the files beside them; how many did not. One whose files cannot be read is
    left as it is."""
    moved = [(each, release) for each in products for release in each.kept() if _lay_elsewhere(release)]
    if moved:
        with warehouse.open("let the releases be read where they lie now"):
            for releases, release in moved:
                _write_anew(releases, release)
    return len(moved)


def _lay_elsewhere(release: Release) -> bool:
    """Whether its views were written for another place."""
    stored = manifest_in(release.folder)
    return stored is not None and stored.path != release.path


def _write_anew(releases: Releases, release: Release) -> None:
    path = Path(release.path)
    files = {mart: (release.parquet(mart), each.columns) for mart, each in release.marts.items()}
    partial = path.with_name(f".{path.name}.moved")
    try:
        with replacing(path, partial, mode=releases.mode) as anew:
            anew.unlink(missing_ok=True)
            with connect(None, path, anew, *(file for file, _ in files.values())) as connection:
                attach(connection, path, "old", "(READ_ONLY)")
                comments = exact.comments_of(connection, "old")
                connection.execute("DETACH old")
                exact.write_views(connection, anew, files, comments, release.latest)
    except duckdb.Error:
        return
    releases.rewrite(release)
