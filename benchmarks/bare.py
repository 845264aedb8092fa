"""The limit: DuckDB alone, one typed INSERT … SELECT of clean files, closed at the end. No check, no account.

Belongs here: bare loads, bare listing of a folder, a bare EXCEPT. Elsewhere: ours (ours.py).
"""

import os
import shutil
from pathlib import Path
from typing import Final

import duckdb

from benchmarks.child import Measured

_COLUMNS: Final = {
    "InvoiceNo": "VARCHAR",
    "StockCode": "VARCHAR",
    "Description": "VARCHAR",
    "Quantity": "BIGINT",
    "InvoiceDate": "TIMESTAMP",
    "UnitPrice": "DECIMAL(18,4)",
    "CustomerID": "VARCHAR",
    "Country": "VARCHAR",
}
_TABLE: Final = """
CREATE TABLE IF NOT EXISTS lines (invoice_no VARCHAR, stock_code VARCHAR, description VARCHAR, quantity BIGINT,
    invoiced_at TIMESTAMPTZ, unit_price DECIMAL(18, 4), customer_id VARCHAR, country VARCHAR)
"""
_TYPED: Final = "{" + ", ".join(f"'{name}': '{sql_type}'" for name, sql_type in _COLUMNS.items()) + "}"
_READ: Final = {
    ".csv": f"read_csv($files, columns = {_TYPED}, auto_detect = false, header = true, delim = ',', quote = '\"')",
    ".ndjson": f"read_json($files, columns = {_TYPED}, format = 'newline_delimited')",
    ".parquet": "read_parquet($files)",
}


def load(run: str, files: list[str], warm: str, state: str | None = None, timezone: str = "UTC") -> Measured:
    """Load `files` into a table, on top of what the database `state` holds."""
    database = Path(run, "bare.duckdb")
    database.parent.mkdir(parents=True, exist_ok=True)
    _load(Path(run, "warm.duckdb"), [warm], timezone)
    before = 0
    if state is not None:
        shutil.copyfile(state, database)
        before = _count(database)
    os.sync()
    return Measured(lambda: _load(database, files, timezone), lambda: (_count(database) - before, 0))


def prepare(state: str, folder: str, start: str | None = None) -> None:
    """Make a database to start from that holds all files of `folder`."""
    partial = Path(state).with_name(f".making-{Path(state).name}")
    partial.unlink(missing_ok=True)
    partial.parent.mkdir(parents=True, exist_ok=True)
    if start is not None:
        shutil.copyfile(start, partial)
    _load(partial, [str(path) for path in sorted(Path(folder).iterdir())], "UTC")
    partial.rename(state)


def listing(run: str, landing: str) -> Measured:  # noqa: ARG001 - every contender is told where it runs
    """Only list the names in a folder."""
    names: list[str] = []

    def work() -> None:
        with os.scandir(landing) as entries:
            names.extend(entry.name for entry in entries)

    return Measured(work, lambda: (len(names), 0))


def differing(run: str, before: str, after: str) -> Measured:  # noqa: ARG001 - every contender is told where it runs
    """Only count the rows of one Parquet file that are not in the other, with all the memory there is."""
    counts: list[int] = []

    def work() -> None:
        with duckdb.connect() as connection:
            rows = connection.read_parquet(after).except_(connection.read_parquet(before))
            counts.extend(count for (count,) in rows.count("*").fetchall())

    return Measured(work, lambda: (counts[0], 0))


def _load(database: Path, files: list[str], timezone: str) -> None:
    suffix = Path(files[0].removesuffix(".gz")).suffix
    with duckdb.connect(str(database)) as connection:
        connection.execute(f"SET TimeZone = '{timezone}'")
        connection.execute(_TABLE)
        columns = ", ".join(f'"{name}"' for name in _COLUMNS)
        connection.execute(f"INSERT INTO lines SELECT {columns} FROM {_READ[suffix]}", {"files": files})


def _count(database: Path) -> int:
    with duckdb.connect(str(database), read_only=True) as connection:
        (count,) = connection.sql("SELECT count(*) FROM lines").fetchall()[0]
        return int(count)
