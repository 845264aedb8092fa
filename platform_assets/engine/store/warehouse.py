"""The warehouse: the store in DuckDB files, with one process at a time, opened for as short as can be.

Belongs here: opening, waiting for the lock, transactions. Elsewhere: what every store promises (unit.py), the SQL of
ledger and tables (ledger.py, tables.py, slots.py), the file of the marts (marts.py, release.py).
"""

import contextlib
import json
import os
import random
import re
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import duckdb
import psutil

from platform_assets.engine.durable.files import replacing
from platform_assets.engine.feed.feed import Feed
from platform_assets.engine.store.connection import connect
from platform_assets.engine.store.ledger import Ledger
from platform_assets.engine.store.listing import Listing
from platform_assets.engine.store.newest import Rows, newest_of_raw
from platform_assets.engine.store.profiles import Profiles
from platform_assets.engine.store.published import Published
from platform_assets.engine.store.quarantine import Quarantine
from platform_assets.engine.store.slots import Slots
from platform_assets.engine.store.sql import attach, lines_with
from platform_assets.engine.store.tables import FeedTables
from platform_assets.engine.store.undeclared import Undeclared
from platform_assets.engine.store.unit import Unit
from platform_assets.errors import StorageError, WarehouseBusy, WarehouseUnreadable, listed, printable

MARTS_FORMAT: Final = "(STORAGE_VERSION 'v1.5.0')"
"""The marts are what others open, so they are written in a format that older DuckDB reads."""

_READ_ONLY: Final = "BEGIN TRANSACTION READ ONLY"
_LONGEST_NAME: Final = 200
_CLOCKS_DIFFER_S: Final = 2
_PROGRAM: Final = 15  # characters that the kernel keeps of a program's name
_LOCKED: Final = re.compile(r"Conflicting lock is held in (?P<program>.*?) ?\(PID (?P<pid>\d+)\)")


class Warehouse:
    """The file with raw, quarantine and ledger; beside it the file in which dbt builds the marts, and what is published
    of the ledger. `notify` is told when another process keeps us waiting."""

    def __init__(
        self,
        path: Path,
        marts: Path,
        wait: timedelta = timedelta(seconds=60),
        notify: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.path = path
        self.marts = marts
        self._wait = wait
        self._notify = notify

    def __getstate__(self) -> dict[str, Any]:
        """For another process, in which nobody is told."""
        return {**self.__dict__, "_notify": _unheard}

    def prepare(self, feeds: Iterable[Feed], *, after: Callable[[], int]) -> None:
        """Create files, tables, and columns that contracts have gained; revisions go on `after()` that one."""
        self._create_files()
        with self.transaction("prepare the tables") as unit:
            self._refuse_other_version(unit)
            unit.ledger.prepare(after())
            for feed in feeds:
                unit.tables(feed).prepare()
                if not self.published(feed).exists:
                    unit.publish(feed)

    def refuse_other_version(self) -> None:
        """Raise WarehouseUnreadable where another version of the platform made it, as far as that can be seen without
        waiting for anybody."""
        if self.path.exists() and self.marts.exists() and self.held_by() is None:
            with self.reading("look which version made it") as unit:
                self._refuse_other_version(unit)

    def _refuse_other_version(self, unit: Unit) -> None:
        if lacking := unit.ledger.lacking():
            what = f"another version of the platform made it; its ledger lacks {listed(lacking, 3)}"
            raise WarehouseUnreadable(self.path, what)

    @contextlib.contextmanager
    def transaction(self, purpose: str) -> Iterator[Unit]:
        """A unit that is committed at its end, and rolled back where an error ends it."""
        with self.open(purpose) as connection:
            connection.begin()
            try:
                yield _Unit(connection, self)
                connection.commit()
            except BaseException:
                with contextlib.suppress(duckdb.Error):  # a commit that failed has no transaction any more
                    connection.rollback()
                raise

    @contextlib.contextmanager
    def reading(self, purpose: str) -> Iterator[Unit]:
        """A unit for questions; it can change nothing."""
        with self.open(purpose) as connection:
            connection.execute(_READ_ONLY)
            yield _Unit(connection, self, begin=_READ_ONLY)

    def published(self, feed: Feed) -> Published:
        """What can be read of the feed while another process has the warehouse."""
        return Published(self.path.parent / "seen" / f"{feed.name}.sqlite", feed.name)

    @contextlib.contextmanager
    def open(self, purpose: str, *also: Path) -> Iterator[duckdb.DuckDBPyConnection]:
        """A bare connection, for this room alone; closed at the end so that others can have the file. also: files that
        will be attached beside the marts.

        Waits with backoff while another process holds the file, then raises WarehouseBusy naming it.
        """
        connection = self._connect(purpose, *also)
        try:
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

    def held_by(self) -> str | None:
        """The process that holds the file now; None if it is free, or not there."""
        try:
            if self.path.exists():
                connect(self.path, self.marts).close()
        except duckdb.Error as error:
            held = _LOCKED.search(str(error))
            return None if held is None else self._called(int(held["pid"]))
        return None

    def call_holder(self, name: str) -> None:
        """Call this process so whenever another waits for the file: `Dagster run 1a2b3c4d (raw/shop/sales)`."""
        said = {"name": name, "since": time.time(), "pid": os.getpid(), "began": _began(os.getpid())}
        with contextlib.suppress(OSError):  # it is only for the words of who waits
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(self._holder) as partial:
                partial.write_text(json.dumps(said))

    @property
    def _holder(self) -> Path:
        return self.path.with_name("holder.json")

    def _called(self, pid: int) -> str:
        """What the process that holds the file is called: as it has said, or by its number and program."""
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, psutil.Error):
            said = json.loads(self._holder.read_text())
            if said["pid"] == pid and abs(said["began"] - _began(pid)) < _CLOCKS_DIFFER_S:
                since = datetime.fromtimestamp(said["since"], tz=UTC)
                return f"{printable(said['name'], _LONGEST_NAME)}, since {since:%H:%M:%S} UTC"
        return _process(pid)

    def _create_files(self) -> None:
        """Create both files if they are missing, each in one step: a kill leaves no file or a whole one."""
        for path, options in ((self.path, ""), (self.marts, MARTS_FORMAT)):
            partial = path.with_name(f".creating-{os.getpid()}-{path.name}")
            try:
                if path.exists():
                    continue
                path.parent.mkdir(parents=True, exist_ok=True)
                partial.unlink(missing_ok=True)
                with connect(None, partial) as connection:
                    attach(connection, partial, "made", options)
                with contextlib.suppress(FileExistsError):  # another process was first
                    path.hardlink_to(partial)
            except (OSError, duckdb.IOException) as error:
                raise StorageError(path, str(error).splitlines()[0]) from error
            finally:
                with contextlib.suppress(OSError):
                    partial.unlink()

    def _connect(self, purpose: str, *also: Path) -> duckdb.DuckDBPyConnection:
        path = self.path
        start = time.monotonic()
        delay = 0.02
        told = False
        while True:
            try:
                before = _inode(path)
                connection = connect(path, self.marts, *also)
                if before in (None, _inode(path)):
                    return connection
                connection.close()  # it was written anew meanwhile, and this is what nobody sees any more
                continue
            except duckdb.IOException as error:
                held = _LOCKED.search(str(error))
                if held is None:
                    if "not a valid DuckDB" in str(error) or "checksum" in str(error).lower():
                        raise WarehouseUnreadable(path, str(error).splitlines()[0]) from error
                    raise StorageError(path, str(error).splitlines()[0]) from error
                holder = self._called(int(held["pid"]))
                waited = time.monotonic() - start
                if waited >= self._wait.total_seconds():
                    raise WarehouseBusy(path, holder, waited, purpose) from error
                if waited > 1 and not told:
                    self._notify(f"waiting for {holder} to let go of {path.name}, to {purpose}")
                    told = True
                time.sleep(delay * random.uniform(0.5, 1.5))  # noqa: S311 - jitter, not a secret
                delay = min(delay * 1.5, 1.0)
            except duckdb.Error as error:
                raise WarehouseUnreadable(path, str(error).splitlines()[0]) from error


class _Unit:
    """One connection of the warehouse, and what there is of it to be used."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, warehouse: Warehouse, begin: str = "BEGIN") -> None:
        """begin: how the transaction began in which it is, and how the next one begins."""
        self._connection = connection
        self._warehouse = warehouse
        self._begin = begin
        self.ledger = Ledger(connection)

    def listing(self, feed: str) -> Listing:
        return Listing(self._connection, feed)

    def tables(self, feed: Feed) -> FeedTables:
        return FeedTables(self._connection, feed)

    def slots(self, feed: Feed) -> Slots:
        return Slots(self._connection, feed.name)

    def newest(self, feed: Feed, deliveries: Collection[int]) -> Rows:
        return newest_of_raw(self._connection, feed, deliveries)

    def quarantine(self, feed: Feed) -> Quarantine:
        return Quarantine(self._connection, feed)

    def profiles(self, feed: Feed) -> Profiles:
        return Profiles(self._connection, feed)

    def undeclared(self, declared: Collection[str]) -> Undeclared:
        return Undeclared(self._connection, declared)

    def lines(self, table: str, values: Mapping[str, str], most: int) -> list[tuple[int, int]]:
        return lines_with(self._connection, table, values, most)

    def commit(self) -> None:
        self._connection.commit()
        self._connection.execute(self._begin)

    def will_change(self, feed: Feed) -> None:
        self._warehouse.published(feed).changing()

    def publish(self, feed: Feed) -> None:
        self.commit()
        self._warehouse.published(feed).publish(self._connection)


def _inode(path: Path) -> int | None:
    """Which file is there, None where there is none."""
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return None


def _unheard(told: str) -> None:
    """Tell nobody."""


def _began(pid: int) -> float:
    """When the process began, which with its number tells it from every other."""
    return psutil.Process(pid).create_time()


def _process(pid: int) -> str:
    """Its number and the name of its program. Never its command line: that may hold another user's secrets."""
    try:
        # psutil makes a name that the kernel cut short longer, by the command line.
        name = psutil.Process(pid).name()[:_PROGRAM]
    except psutil.Error:
        name = "gone, or hidden from this user"
    return f"process {pid} ({''.join(each if each.isprintable() else '?' for each in name)})"
