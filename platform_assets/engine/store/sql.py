"""SQL as DuckDB takes it: identifiers, frames as tables, attached files, rows found by their values.

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

from platform_assets.engine.store.connection import connect, literal
from platform_assets.errors import ConfigurationError, listed, nearest, quoted


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
    connection.execute(f"ATTACH {literal(str(path))} AS {quote(name)} {options}")


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


def lines_with(
    connection: duckdb.DuckDBPyConnection, table: str, values: Mapping[str, str], most: int
) -> list[tuple[int, int]]:
    """Delivery and line of the first rows of `table` in which columns have these values, as text.

    Raises ConfigurationError where there is no such table or column, or its rows do not say where they came from.
    """
    schema, _, name = table.rpartition(".")
    columns = column_types(connection, schema or "raw", name)
    if not columns:
        there = [
            f"{schema}.{name}"
            for schema, name in connection.execute(
                "SELECT DISTINCT schema_name, table_name FROM duckdb_columns() WHERE column_name = '_delivery_id' "
                "AND NOT internal AND schema_name NOT IN ('ledger', 'quarantine') ORDER BY ALL"
            ).fetchall()
        ]
        raise ConfigurationError(
            f"table {table!r}",
            f"is not in the warehouse.{nearest(table, there)}",
            f"Name one whose rows can be traced: {listed(there)}." if there else "Nothing is loaded yet: platform run",
        )
    if not {"_delivery_id", "_line"} <= columns.keys():
        raise ConfigurationError(
            f"table {table!r}",
            "does not keep _delivery_id and _line, by which a row is traced",
            "A staging model keeps them by selecting both as they are: SELECT …, _delivery_id, _line FROM "
            "{{ source(…) }}; then `platform run`. A raw table such as raw.order_lines always has them.",
        )
    own = [column for column in columns if not column.startswith("_")]
    for column in values:
        if column not in columns:
            raise ConfigurationError(f"column {column!r}", f"is not in {table}", f"Its columns are: {quoted(*own)}.")
    wanted = " AND ".join(f"CAST({quote(column)} AS VARCHAR) = ?" for column in values) or "TRUE"
    return connection.execute(
        f"SELECT _delivery_id, _line FROM {quote(schema or 'raw')}.{quote(name)} WHERE {wanted} ORDER BY 1, 2 LIMIT ?",
        [*values.values(), most],
    ).fetchall()
