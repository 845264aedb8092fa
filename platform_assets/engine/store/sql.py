"""SQL as DuckDB takes it: identifiers, frames as tables, attached files.

Belongs here: what every module of this room needs to speak SQL. Elsewhere: connections (connection.py), waiting for the
file (warehouse.py).
"""

import contextlib
import functools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb
import polars as pl

from platform_assets.engine.store.connection import connect


def quote(identifier: str) -> str:
    """`identifier` as SQL writes it, whatever characters it holds."""
    return '"' + identifier.replace('"', '""') + '"'


@contextlib.contextmanager
def arrived(connection: duckdb.DuckDBPyConnection, rows: pl.DataFrame) -> Iterator[None]:
    """Within this, the table `arrived` stands for `rows`.

    What is registered is kept until the transaction ends, however often it is dropped: so that is a mere holder, which
    lets go of the rows.
    """
    holder = _Holder(rows.to_arrow())
    connection.register("arrived", holder)
    try:
        yield
    finally:
        holder.rows = None


class _Holder:
    """Rows, as DuckDB takes them from any library."""

    def __init__(self, rows: Any) -> None:  # noqa: ANN401 - a table of Arrow, which need not be imported for this
        self.rows = rows

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self.rows.__arrow_c_stream__(requested_schema)


def execute_over(
    connection: duckdb.DuckDBPyConnection, rows: pl.DataFrame, sql: str, values: Sequence[object] = ()
) -> list[tuple[Any, ...]]:
    """Run `sql`, in which the table `arrived` stands for `rows`; what it gives."""
    with arrived(connection, rows):
        return connection.execute(sql, list(values)).fetchall()


def lacks_memory(error: BaseException) -> bool:
    """Whether memory did not suffice."""
    return isinstance(error, MemoryError | duckdb.OutOfMemoryException)


def attach(connection: duckdb.DuckDBPyConnection, path: Path, name: str, options: str = "") -> None:
    """Attach the database file at `path`, whatever characters it holds, as `name`."""
    literal = str(path).replace("'", "''")
    connection.execute(f"ATTACH '{literal}' AS {quote(name)} {options}")


def column_types(connection: duckdb.DuckDBPyConnection, schema: str, table: str) -> dict[str, str]:
    """The columns that a table or view of the warehouse has now, with their SQL types; none where there is none.

    Asked of the catalog, because an error, as DESCRIBE raises one, would end the transaction.
    """
    return dict(
        connection.execute(
            "SELECT column_name, data_type FROM duckdb_columns() WHERE database_name = current_database() "
            "AND schema_name = ? AND table_name = ? ORDER BY column_index",
            [schema, table],
        ).fetchall()
    )


def lacking(connection: duckdb.DuckDBPyConnection, schema: str, tables: str) -> list[str]:
    """Columns, as table.column, that those tables of `schema` which are there lack. tables: the SQL that creates
    them."""
    there = _columns(connection, schema)
    wanted = _columns_made_by(tables, schema).items()
    return [f"{table}.{column}" for table, columns in wanted for column in sorted(columns - there.get(table, columns))]


@functools.cache
def _columns_made_by(tables: str, schema: str) -> Mapping[str, set[str]]:
    with contextlib.closing(connect()) as empty:
        empty.execute(tables)
        return _columns(empty, schema)


def _columns(connection: duckdb.DuckDBPyConnection, schema: str) -> Mapping[str, set[str]]:
    found: dict[str, set[str]] = {}
    asked = "SELECT table_name, column_name FROM duckdb_columns() WHERE schema_name = ? ORDER BY ALL"
    for table, column in connection.execute(asked, [schema]).fetchall():
        found.setdefault(table, set()).add(column)
    return found
