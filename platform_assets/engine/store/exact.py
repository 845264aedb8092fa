"""Tables as Parquet, exactly: what a reader sees through the view on the file is what the table held, type and value.

Belongs here: in which form a type is kept, the file, its view, the hash of rows. Elsewhere: which tables, and where
they lie (release.py). What Parquet cannot hold is kept as text and cast back by the view; a type of which that is not
known to be exact is refused.
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import duckdb

from platform_assets.engine.store.connection import literal, no_pattern
from platform_assets.engine.store.sql import attach, quote
from platform_assets.errors import ReleaseRefused, foreign, quoted

VIEWS_FORMAT: Final = "(STORAGE_VERSION 'v1.2.0')"
"""The file of views is opened by whatever DuckDB a reader has, from 1.4 on."""

_AS_IT_IS: Final = frozenset(
    (
        *("boolean", "tinyint", "smallint", "integer", "bigint", "utinyint", "usmallint", "uinteger", "ubigint"),
        *(
            "decimal",
            "varchar",
            "blob",
            "uuid",
            "date",
            "time",
            "timestamp",
            "timestamp with time zone",
            "timestamp_ns",
        ),
    )
)
_FLOATS: Final = frozenset(("float", "double"))
_MICROSECONDS: Final = frozenset(("timestamp_s", "timestamp_ms"))
_AS_TEXT: Final = frozenset(
    ("hugeint", "uhugeint", "bignum", "interval", "time with time zone", "time_ns", "bit", "enum")
)


def columns_of(connection: duckdb.DuckDBPyConnection, table: str) -> dict[str, Any]:
    """Column -> type, of a table or view as SQL names it, in its order."""
    relation = connection.sql(f"FROM {table}")
    return dict(zip(relation.columns, relation.types, strict=True))


def selected(columns: Mapping[str, Any], table: str, mart: str) -> str:
    """The query that gives the mart's rows, as the query `table` has them, in the types that its file keeps. Raises
    ReleaseRefused for a type that cannot be kept."""
    chosen = []
    for name, kind in columns.items():
        try:
            kept = _kept_as(kind)
        except _NotExact as error:
            raise not_exact(mart, f"column {quoted(name)} has the type {error}") from None
        chosen.append(quote(name) if kept == str(kind) else f"CAST({quote(name)} AS {kept}) AS {quote(name)}")
    return f"SELECT {', '.join(chosen)} FROM {table}"


def write(
    connection: duckdb.DuckDBPyConnection, query: str, path: Path, mart: str, values: Sequence[object] = ()
) -> None:
    """Write what the query gives of the mart into a Parquet file. values: of the query's parameters. Raises
    ReleaseRefused where a value has no such form."""
    try:
        connection.execute(f"COPY ({query}) TO {literal(str(path))} (FORMAT parquet, COMPRESSION zstd)", list(values))
    except (duckdb.ConversionException, duckdb.OutOfRangeException, duckdb.NotImplementedException) as error:
        raise not_exact(mart, foreign(error)) from error


def view_of(connection: duckdb.DuckDBPyConnection, path: Path, columns: Mapping[str, str]) -> str:
    """The query that reads a file back as `columns` (name -> type)."""
    file = f"read_parquet({literal(no_pattern(str(path)))}, hive_partitioning = false, filename = false)"
    there = {name: str(kind) for name, kind in columns_of(connection, file).items()}
    chosen = [
        quote(name) if there.get(name) == kind else f"CAST({quote(name)} AS {kind}) AS {quote(name)}"
        for name, kind in columns.items()
    ]
    return f"SELECT {', '.join(chosen)} FROM {file}"


def comments_of(connection: duckdb.DuckDBPyConnection, database: str) -> dict[tuple[str, str | None], str]:
    """What is said of tables or views of an attached database: (name, column, or None of it as a whole) -> text."""
    said = connection.execute(
        "SELECT table_name, NULL, comment FROM duckdb_tables() WHERE database_name = $1 "
        "UNION ALL SELECT view_name, NULL, comment FROM duckdb_views() WHERE database_name = $1 "
        "UNION ALL SELECT table_name, column_name, comment FROM duckdb_columns() WHERE database_name = $1",
        [database],
    ).fetchall()
    return {(table, column): comment for table, column, comment in said if comment is not None}


def write_views(
    connection: duckdb.DuckDBPyConnection,
    path: Path,
    files: Mapping[str, tuple[Path, Mapping[str, str]]],
    comments: Mapping[tuple[str, str | None], str],
    also: Mapping[str, str],
) -> None:
    """Write a database file that holds nothing but a view on each of these files, by its name, with its columns. also:
    other names -> the view that they have, too."""
    attach(connection, path, "views", VIEWS_FORMAT)
    for name, of in {**{name: name for name in files}, **also}.items():
        file, columns = files[of]
        view = f"views.main.{quote(name)}"
        connection.execute(f"CREATE VIEW {view} AS {view_of(connection, file, columns)}")
        if (text := comments.get((of, None))) is not None:
            connection.execute(f"COMMENT ON VIEW {view} IS {literal(text)}")
        for column in columns:
            if (text := comments.get((of, column))) is not None:
                connection.execute(f"COMMENT ON COLUMN {view}.{quote(column)} IS {literal(text)}")
    connection.execute("CHECKPOINT views")
    connection.execute("DETACH views")


def rows_and_content(connection: duckdb.DuckDBPyConnection, table: str) -> tuple[int, str]:
    """How many rows there are, and a hash of them whatever their order: of two different tables it differs."""
    told = [each for name, kind in columns_of(connection, table).items() for each in _told(quote(name), kind)]
    # Each row is hashed twice, its values in both orders, and the hash again: sums of the bare one would not tell
    # that two rows have exchanged a value.
    sums = [f"coalesce(sum(hash(hash({', '.join(each)}))), 0)" for each in (told, [*told[::-1], "7"])]
    found = connection.execute(f"SELECT count(*), {', '.join(sums)} FROM {table}").fetchone()
    assert found is not None
    return int(found[0]), hashlib.sha256(repr(tuple(map(int, found))).encode()).hexdigest()[:32]


def not_exact(mart: str, why: str) -> ReleaseRefused:
    """A mart that a release cannot hold as it is."""
    return ReleaseRefused(
        f"the mart {quoted(mart)} cannot be kept exactly: {why}",
        "Cast such columns in the model to another type, such as VARCHAR.",
    )


class _NotExact(Exception):
    """A type that cannot be kept exactly."""


def _kept_as(kind: Any) -> str:  # noqa: ANN401 - a type of DuckDB's, which has no name in its stubs
    """The type that a file holds values of `kind` in."""
    if kind.id in _AS_IT_IS or kind.id in _FLOATS:
        return str(kind)
    if kind.id in _MICROSECONDS:
        return "TIMESTAMP"
    if kind.id in _AS_TEXT:
        return "VARCHAR"
    if kind.id in ("list", "array"):
        return f"{_kept_as(dict(kind.children)['child'])}[]"
    if kind.id == "map":
        of = dict(kind.children)
        return f"MAP({_kept_as(of['key'])}, {_kept_as(of['value'])})"
    if kind.id == "struct":
        return f"STRUCT({', '.join(f'{quote(name)} {_kept_as(each)}' for name, each in kind.children)})"
    raise _NotExact(str(kind))


def _told(name: str, kind: Any) -> list[str]:  # noqa: ANN401 - as above
    """What tells values of a column apart, once hashed: DuckDB's hash takes 0.0 and -0.0, a month and 30 days, an
    empty list and none for the same."""
    if kind.id in _AS_IT_IS:
        return [name]
    return [name, f"signbit({name})"] if kind.id in _FLOATS else [f"CAST({name} AS VARCHAR)"]
