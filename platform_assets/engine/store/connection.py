"""DuckDB connections, locked: SQL that runs in one reaches our database files and nothing else.

Belongs here: making a connection, and locking one that dbt has made. Elsewhere: waiting for the file (warehouse.py).
No extension is installed or loaded, no other file is read or written, no setting changes, whoever wrote the SQL.
"""

import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import duckdb

_OFF: Final = (
    "autoinstall_known_extensions",
    "autoload_known_extensions",
    "allow_community_extensions",
    "allow_persistent_secrets",
    "enable_external_access",
)
# What does not fit goes to disk beside the file, so that no delivery is too large for the machine.
_MEMORY_LIMIT: Final = "512MB"
_BESIDE: Final = ("", ".wal", ".wal.checkpoint", ".wal.recovery")  # what DuckDB writes beside a database's file
_ONE_AT_A_TIME: Final = threading.Lock()
_FREE: Final = ("threads",)  # feed tables are written by one (tables.py)


def connect(
    path: Path | None = None,
    *also: Path,
    read_only: bool = False,
    directories: Iterable[Path] = (),
    memory_limit: str = _MEMORY_LIMIT,
    **settings: str,
) -> duckdb.DuckDBPyConnection:
    """A locked connection to the database at `path`, or to an empty one in memory. also: others to be attached;
    directories: to be read and written as well; settings: of DuckDB.

    Raises duckdb.Error, as duckdb.connect does.
    """
    connection = duckdb.connect(":memory:" if path is None else str(path), read_only=read_only, config={**settings})
    try:
        files = [str(each) for each in (path, *also) if each is not None]
        lock(connection, files, map(str, directories), memory_limit=memory_limit)
    except BaseException:
        connection.close()
        raise
    return connection


def lock(
    connection: duckdb.DuckDBPyConnection,
    files: Iterable[str],
    directories: Iterable[str] = (),
    settings: Iterable[str] = (),
    *,
    memory_limit: str | None = None,
) -> None:
    """Lock a connection, for as long as any to its database is open.

    files: of databases, which alone can be read, written and attached. directories: to be read and written as well.
    settings: those that can still be changed.
    """
    paths = [each + end for path in files for each in dict.fromkeys((path, no_pattern(path))) for end in _BESIDE]
    # Instants are stored; showing them must not depend on the machine's zone.
    settle = ["GLOBAL TimeZone = 'UTC'"]
    if memory_limit is not None:
        settle.append(f"memory_limit = '{memory_limit}'")
    settle += [f"allowed_paths = {_listed(paths)}", f"allowed_directories = {_listed(directories)}"]
    settle += [f"allowed_configs = {_listed([*_FREE, *settings])}", *(f"{name} = false" for name in _OFF)]
    with _ONE_AT_A_TIME:
        try:
            connection.execute(f"{''.join(f'SET {each};' for each in settle)} SET lock_configuration = true")
        except duckdb.InvalidInputException as error:
            # Another connection of this process to the same file has locked it for all.
            if "has been locked" not in str(error):
                raise


def literal(text: str) -> str:
    """`text` as SQL writes it, where a value cannot be bound."""
    return "'" + text.replace("'", "''") + "'"


def no_pattern(path: str) -> str:
    """The path, as DuckDB's functions that read files take it, so that no character in it stands for others."""
    return "".join(f"[{each}]" if each in "*?[" else each for each in path)


def _listed(texts: Iterable[str]) -> str:
    return f"[{', '.join(map(literal, texts))}]"
