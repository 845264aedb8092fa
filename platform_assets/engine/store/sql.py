"""SQL as DuckDB takes it: identifiers, frames as tables, attached files.

Belongs here: what every module of this room needs to speak SQL. Elsewhere: opening and locking (warehouse.py).
"""

from collections.abc import Sequence
from pathlib import Path

import duckdb
import polars as pl


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
