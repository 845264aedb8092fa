"""The warehouse: DuckDB files with one writer at a time, opened for as short as can be.

Belongs here: opening, waiting for the lock, identifiers, schemas that every deployment has. Does not: what is
written (ingest.py, ledger.py) or released (release.py). Other storage would be added behind this class.
"""

import contextlib
import os
import random
import re
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Final

import duckdb
import polars as pl
import psutil

from platform_assets.errors import StorageError, WarehouseBusy, WarehouseUnreadable

_MEMORY_LIMIT: Final = "512MB"
_LOCKED: Final = re.compile(r"Conflicting lock is held in (?P<program>.*?) ?\(PID (?P<pid>\d+)\)")


def quote(identifier: str) -> str:
    """`identifier` as SQL writes it, whatever characters it holds."""
    return '"' + identifier.replace('"', '""') + '"'


def execute_over(
    connection: duckdb.DuckDBPyConnection, rows: pl.DataFrame, sql: str, values: Sequence[object] = ()
) -> duckdb.DuckDBPyConnection:
    """Run `sql`, in which the table `arrived` stands for `rows`.

    DuckDB finds the variable by its name. A registered view would keep the rows in memory until the transaction
    ends, however often it is dropped.
    """
    arrived = rows.to_arrow()  # noqa: F841 - see above
    return connection.execute(sql, list(values))


def attach(connection: duckdb.DuckDBPyConnection, path: Path, name: str, options: str = "") -> None:
    """Attach the database file at `path`, whatever characters it holds, as `name`."""
    literal = str(path).replace("'", "''")
    connection.execute(f"ATTACH '{literal}' AS {quote(name)} {options}")


class Warehouse:
    """The file with raw, quarantine and ledger, and beside it the file in which dbt builds the marts."""

    def __init__(self, path: Path, marts: Path, wait: timedelta = timedelta(seconds=60)) -> None:
        self.path = path
        self.marts = marts
        self._wait = wait

    @contextlib.contextmanager
    def open(self, purpose: str, notify: Callable[[str], None] | None = None) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection to the warehouse, closed at the end so that others can have it.

        Waits with backoff while another process holds the file, then raises WarehouseBusy naming it.
        """
        connection = self._connect(self.path, purpose, notify)
        try:
            # Instants are stored; showing them must not depend on the machine's zone.
            connection.execute("SET TimeZone = 'UTC'")
            # What does not fit goes to disk beside the file, so that no delivery is too large for the machine.
            connection.execute(f"SET memory_limit = '{_MEMORY_LIMIT}'")
            yield connection
        except duckdb.IOException as error:
            raise StorageError(self.path, str(error).splitlines()[0]) from error
        except (duckdb.TransactionException, duckdb.FatalException) as error:
            # This is how DuckDB tells of a commit that the disk stopped.
            if "Failed to commit" not in str(error) and "invalidated" not in str(error):
                raise
            raise StorageError(self.path, str(error).splitlines()[0]) from error
        finally:
            connection.close()

    def prepare(self) -> None:
        """Create both files if they are missing, each in one step: a kill leaves no file or a whole one."""
        # The marts are what others open, so they are written in a format that older DuckDB reads.
        for path, options in ((self.path, ""), (self.marts, "(STORAGE_VERSION 'v1.5.0')")):
            partial = path.with_name(f".creating-{os.getpid()}-{path.name}")
            try:
                if path.exists():
                    continue
                path.parent.mkdir(parents=True, exist_ok=True)
                partial.unlink(missing_ok=True)
                with duckdb.connect() as connection:
                    attach(connection, partial, "made", options)
                with contextlib.suppress(FileExistsError):  # another process was first
                    path.hardlink_to(partial)
            except (OSError, duckdb.IOException) as error:
                raise StorageError(path, str(error).splitlines()[0]) from error
            finally:
                with contextlib.suppress(OSError):
                    partial.unlink()

    def held_by(self) -> str | None:
        """The process that holds the file now; None if it is free, or not there."""
        try:
            if self.path.exists():
                duckdb.connect(str(self.path)).close()
        except duckdb.Error as error:
            held = _LOCKED.search(str(error))
            return None if held is None else _process(int(held["pid"]))
        return None

    def sweep(self, connection: duckdb.DuckDBPyConnection, endings: Sequence[str]) -> None:
        """Drop tables and views, in both files, whose names end so."""
        attach(connection, self.marts, "marts")
        found = connection.execute(
            "SELECT database_name, schema_name, table_name, 'TABLE' FROM duckdb_tables() UNION ALL "
            "SELECT database_name, schema_name, view_name, 'VIEW' FROM duckdb_views() WHERE NOT internal"
        ).fetchall()
        for database, schema, name, kind in found:
            if name.endswith(tuple(endings)):
                connection.execute(f"DROP {kind} {quote(database)}.{quote(schema)}.{quote(name)}")
        connection.execute("DETACH marts")

    def _connect(self, path: Path, purpose: str, notify: Callable[[str], None] | None) -> duckdb.DuckDBPyConnection:
        start = time.monotonic()
        delay = 0.02
        told = False
        while True:
            try:
                return duckdb.connect(str(path))
            except duckdb.IOException as error:
                held = _LOCKED.search(str(error))
                if held is None:
                    if "not a valid DuckDB" in str(error) or "checksum" in str(error).lower():
                        raise WarehouseUnreadable(path, str(error).splitlines()[0]) from error
                    raise StorageError(path, str(error).splitlines()[0]) from error
                holder = _process(int(held["pid"]))
                waited = time.monotonic() - start
                if waited >= self._wait.total_seconds():
                    raise WarehouseBusy(path, holder, waited, purpose) from error
                if waited > 1 and not told and notify is not None:
                    notify(f"waiting for {holder} to let go of {path.name}, to {purpose}")
                    told = True
                time.sleep(delay * random.uniform(0.5, 1.5))  # noqa: S311 - jitter, not a secret
                delay = min(delay * 1.5, 1.0)
            except duckdb.Error as error:
                raise WarehouseUnreadable(path, str(error).splitlines()[0]) from error


def _process(pid: int) -> str:
    try:
        command = " ".join(psutil.Process(pid).cmdline())[:120]
    except psutil.Error:
        command = "a process that has ended"
    return f"process {pid} ({command})"
