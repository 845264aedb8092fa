"""What differs between the marts of two databases: schema, counts, rows by key, column by column, with samples.

Belongs here: what is compared at all, and the connection for it, bounded in memory. Elsewhere: comparing one mart
(comparison.py), which releases are compared and by which keys (commands/releases.py). What both sides hold alike by its
content hash is not read.
"""

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import duckdb

from platform_assets.engine.store.comparison import SIDES, Comparison, MartDiff, MartSide
from platform_assets.engine.store.connection import connect
from platform_assets.engine.store.sql import attach
from platform_assets.errors import StorageError

_MEMORY: Final = "512MB"
_SCRATCH: Final = ".comparing-"


@dataclass(frozen=True)
class Side:
    """One of two databases. also: the folder of other files that its views read."""

    database: Path
    marts: Mapping[str, MartSide]
    also: Path | None = None


def compare(
    before: Side,
    after: Side,
    *,
    keys: Mapping[str, Sequence[str]],
    hidden: Mapping[str, Collection[str]],
    scratch: Path,
    samples: int = 5,
) -> list[MartDiff]:
    """How each mart of either side differs, by name.

    keys: mart -> columns that tell its rows apart. hidden: mart -> columns whose values no sample shows. scratch: the
    folder in which what does not fit into memory lies meanwhile. Raises StorageError.
    """
    found: dict[str, MartDiff] = {}
    differing = []
    for mart in sorted({*before.marts, *after.marts}):
        was, now = before.marts.get(mart), after.marts.get(mart)
        if was is None or now is None:
            what = "added" if was is None else "removed"
            found[mart] = MartDiff(mart, what, was.rows if was else 0, now.rows if now else 0)
        elif was.content == now.content and list(was.columns.items()) == list(now.columns.items()):
            found[mart] = MartDiff(mart, "same", was.rows, now.rows, keys.get(mart, ()))
        else:
            differing.append((mart, was, now))
    if differing:
        with _opened(before, after, scratch) as connection:
            for mart, was, now in differing:
                key, secret = keys.get(mart, ()), hidden.get(mart, ())
                found[mart] = Comparison(connection, mart, (was, now), key, secret, samples).made()
    return [found[mart] for mart in sorted(found)]


@contextlib.contextmanager
def _opened(before: Side, after: Side, scratch: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A locked connection that has both sides attached as `before` and `after`."""
    sides = (before, after)
    with _scratch(scratch) as folder:
        connection = connect(
            None,
            *(side.database for side in sides),
            directories=[*(side.also for side in sides if side.also is not None), folder],
            memory_limit=_MEMORY,
            temp_directory=str(folder),
            preserve_insertion_order="false",
        )
        try:
            for name, side in zip(SIDES, sides, strict=True):
                attach(connection, side.database, name, "(READ_ONLY)")
            yield connection
        except (duckdb.IOException, duckdb.OutOfMemoryException) as error:
            raise StorageError(scratch, str(error).splitlines()[0]) from error
        finally:
            connection.close()


@contextlib.contextmanager
def _scratch(parent: Path) -> Iterator[Path]:
    """A folder of this comparison alone; those of comparisons that were killed are removed."""
    try:
        for left in parent.glob(f"{_SCRATCH}*"):
            with contextlib.suppress(OSError), _locked(left):
                shutil.rmtree(left)
        folder = Path(tempfile.mkdtemp(prefix=_SCRATCH, dir=parent))
    except OSError as error:
        raise StorageError(parent, error.strerror or str(error)) from error
    try:
        with _locked(folder):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Have the folder as long as this process lives; raises BlockingIOError where another has it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)
