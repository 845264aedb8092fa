"""SQLite files that several processes use at once: incidents, builds, what is published of the ledger.

Belongs here: one short transaction on such a file. Elsewhere: what is in it.
"""

import contextlib
import sqlite3
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from platform_assets.errors import StorageError

_BUSY_S: Final = 20.0


@contextlib.contextmanager
def transaction(path: Path, schema: Sequence[str]) -> Iterator[sqlite3.Connection]:
    """One transaction, all or nothing, on the file at `path`; others can read meanwhile.

    schema: the statements that make a new file. Raises StorageError where the disk or another process stops us;
    sqlite3.DatabaseError where the file is damaged.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with opened(path) as connection:
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA foreign_keys = ON")
            _begin(connection)
            try:
                if connection.execute("PRAGMA user_version").fetchone()[0] == 0:
                    for statement in (*schema, "PRAGMA user_version = 1"):
                        connection.execute(statement)
                yield connection
            except BaseException:
                with contextlib.suppress(sqlite3.Error):  # what stopped us is told, not what it made impossible
                    connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")
    except sqlite3.OperationalError as error:
        raise StorageError(path, str(error)) from error
    except OSError as error:
        raise StorageError(path, error.strerror or type(error).__name__) from error


@contextlib.contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    """The file, for questions that need no transaction."""
    with contextlib.closing(sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None)) as connection:
        yield connection


def vacuum(path: Path) -> None:
    """Write the file anew, with what is in it and nothing that was deleted; raises StorageError."""
    try:
        with opened(path) as connection:
            connection.execute("VACUUM")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except sqlite3.Error as error:
        raise StorageError(path, str(error)) from error


def set_aside(path: Path) -> None:
    """Move a file away that is damaged, so that the next transaction makes a new one."""
    with contextlib.suppress(FileNotFoundError):  # another process was first
        path.replace(path.with_name(f"{path.name}.damaged"))
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def _begin(connection: sqlite3.Connection) -> None:
    """Begin, with the journal that lets others read meanwhile. Changing to it does not wait for others by itself."""
    until = time.monotonic() + _BUSY_S
    while connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(0.02)
    connection.execute("BEGIN IMMEDIATE")
