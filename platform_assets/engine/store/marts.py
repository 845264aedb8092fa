"""The tables that dbt builds: what there is of them, their check by contract, what a killed build left.

Belongs here: reading the file of the marts. Elsewhere: how dbt builds it (dbt_project), releasing it (release.py).
"""

import contextlib
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import duckdb
import polars as pl

from platform_assets.engine.contract.model import LINEAGE, columns_of, match_header
from platform_assets.engine.contract.shown import MASK, guarding, shown_of
from platform_assets.engine.contract.validate import validate
from platform_assets.engine.feed.mart import Mart
from platform_assets.engine.store.newest import Rows, read_newest
from platform_assets.engine.store.sql import attach, quote
from platform_assets.engine.store.warehouse import Warehouse
from platform_assets.errors import DeliveryRefused, listed

_ROWS: Final = 250_000
_SAMPLES: Final = 10
_TIMES: Final = ("DATE", "TIMESTAMP")


@dataclass(frozen=True)
class MartReport:
    """How a mart stands to its contract: rows checked, rows that break it, how many break which rule of which column,
    the most frequent first, and some of the reasons, each with the `row` as text; personal data is masked."""

    rows: int
    broken: int
    problem: str | None
    rules: tuple[tuple[str | None, str, int], ...] = ()
    samples: tuple[dict[str, str | None], ...] = ()


def check_marts(
    marts: Sequence[Mart], warehouse: Warehouse, secret: Mapping[str, Collection[str]]
) -> dict[Mart, MartReport]:
    """Check every row of the built marts by their contracts, in bounded batches. secret: of each mart, the columns
    whose values no sample shows."""
    with guarding(mart.contract for mart in marts), warehouse.open("check the marts") as connection:
        attach(connection, warehouse.marts, "marts", "(READ_ONLY)")
        return {mart: _check(mart, connection, secret.get(mart.name, ())) for mart in marts}


@dataclass(frozen=True)
class BuiltTable:
    """A table or view: column -> type, in its order. rows: of tables that dbt builds; else None."""

    columns: Mapping[str, str]
    rows: int | None


def built_tables(warehouse: Warehouse) -> dict[tuple[str, str], BuiltTable]:
    """Every table and view that is there, in both files, by schema and name."""
    with warehouse.open("look at what is built") as connection:
        attach(connection, warehouse.marts, "marts", "(READ_ONLY)")
        columns: dict[tuple[str, str], dict[str, str]] = {}
        for schema, table, column, kind in connection.execute(
            "SELECT schema_name, table_name, column_name, data_type FROM duckdb_columns() WHERE NOT internal "
            "ORDER BY database_name, schema_name, table_name, column_index"
        ).fetchall():
            columns.setdefault((schema, table), {})[column] = kind
        rows: dict[tuple[str, str], int] = {}
        for database, schema, table in connection.execute(
            "SELECT database_name, schema_name, table_name FROM duckdb_tables() "
            "WHERE database_name = 'marts' OR schema_name = 'snapshots'"
        ).fetchall():
            name = f"{quote(database)}.{quote(schema)}.{quote(table)}"
            ((rows[schema, table],),) = connection.execute(f"SELECT count(*) FROM {name}").fetchall()
    return {table: BuiltTable(of, rows.get(table)) for table, of in columns.items()}


def newest_of_marts(warehouse: Warehouse, secret: Mapping[str, Collection[str]]) -> dict[str, Rows]:
    """The newest rows of each of these marts that is built, by its first time, or else as they were written.

    secret: of each, the columns whose values are not shown.
    """
    found = {}
    with warehouse.open("show the newest rows") as connection:
        attach(connection, warehouse.marts, "marts", "(READ_ONLY)")
        for mart, hidden in secret.items():
            kinds = dict(
                connection.execute(
                    "SELECT column_name, data_type FROM duckdb_columns() WHERE database_name = 'marts' "
                    "AND schema_name = 'main' AND table_name = $1 ORDER BY column_index",
                    [mart],
                ).fetchall()
            )
            columns = [name for name in kinds if name not in LINEAGE]
            times = [name for name in columns if kinds[name].startswith(_TIMES) and name not in hidden]
            end = f"ORDER BY {quote(times[0])} DESC NULLS LAST" if times else "ORDER BY rowid DESC"
            if columns:
                found[mart] = read_newest(connection, f"marts.main.{quote(mart)}", columns, hidden, end)
        connection.execute("DETACH marts")
    return found


def rows_that_fail(warehouse: Warehouse, tests: Mapping[str, str]) -> dict[str, Rows]:
    """Some of the rows that each of these tests finds; tests are SQL, which dbt has compiled. None of one that fails
    otherwise."""
    found: dict[str, Rows] = {}
    if not tests:
        return found
    with warehouse.open("show what fails") as connection:
        attach(connection, warehouse.marts, "marts", "(READ_ONLY)")
        for test, sql in tests.items():
            with contextlib.suppress(duckdb.Error):
                columns = connection.sql(f"FROM ({sql}\n)").columns
                found[test] = read_newest(connection, f"({sql}\n)", columns, (), "")
        connection.execute("DETACH marts")
    return found


def tables_there(connection: duckdb.DuckDBPyConnection, path: Path, declared: Collection[str] | None) -> list[str]:
    """The tables of the marts' file, which is then complete on disk, without those that are not declared."""
    attach(connection, path, "marts")
    there = [
        name
        for (name,) in connection.execute(
            "SELECT table_name FROM duckdb_tables() WHERE database_name = 'marts' AND schema_name = 'main' ORDER BY 1"
        ).fetchall()
    ]
    for name in there:
        if declared is not None and name not in declared:
            connection.execute(f"DROP TABLE marts.main.{quote(name)}")
    connection.execute("CHECKPOINT marts")
    connection.execute("DETACH marts")
    return there


def drop_leftovers(warehouse: Warehouse, endings: Sequence[str]) -> None:
    """Drop tables and views, in both files, whose names end so: a build that was killed has left them."""
    with warehouse.open("begin to build the marts") as connection:
        attach(connection, warehouse.marts, "marts")
        found = connection.execute(
            "SELECT database_name, schema_name, table_name, 'TABLE' FROM duckdb_tables() UNION ALL "
            "SELECT database_name, schema_name, view_name, 'VIEW' FROM duckdb_views() WHERE NOT internal"
        ).fetchall()
        for database, schema, name, kind in found:
            if name.endswith(tuple(endings)):
                connection.execute(f"DROP {kind} {quote(database)}.{quote(schema)}.{quote(name)}")
        connection.execute("DETACH marts")


def _check(mart: Mart, connection: duckdb.DuckDBPyConnection, secret: Collection[str]) -> MartReport:
    rows = broken = 0
    rules = Counter[tuple[str | None, str]]()
    samples: list[dict[str, str | None]] = []
    try:
        for frame in _batches(connection, mart.name):
            # Lineage columns lead back to a row's file and line; they are the platform's promise.
            header = match_header(mart.contract, [name for name in frame.columns if name not in LINEAGE])
            if header.unknown:
                return MartReport(rows, broken, f"columns without a promise: {listed(header.unknown)}")
            split = validate(frame.select(c.name for c in columns_of(mart.contract)), mart.contract)
            rows += frame.height
            broken += split.rejected.height
            broken_by = split.reasons.explode().struct.unnest().group_by("column", "rule").len()
            rules.update({(column, rule): count for column, rule, count in broken_by.rows()})
            wanted = max(_SAMPLES - len(samples), 0)
            for row, reasons in zip(
                split.rejected.head(wanted).to_dicts(), split.reasons.head(wanted).to_list(), strict=True
            ):
                shown = _shown_row(mart, row, secret)
                samples.extend({**_masked(reason, secret), "row": shown} for reason in reasons)
    except DeliveryRefused as error:
        return MartReport(rows, broken, shown_of(mart.contract).message(error.said[0]))
    except duckdb.CatalogException:
        return MartReport(0, 0, "the mart has not been built")
    counted = tuple((column, rule, count) for (column, rule), count in rules.most_common())
    return MartReport(rows, broken, None, counted, tuple(samples[:_SAMPLES]))


def _shown_row(mart: Mart, row: Mapping[str, Any], secret: Collection[str]) -> str:
    """A row of the mart, column by column."""
    shown = shown_of(mart.contract)
    cells = {
        name: MASK if value is not None and (name in secret or shown.holds(name)) else value
        for name, value in row.items()
    }
    return ", ".join(f"{name}={'' if value is None else value}" for name, value in cells.items())


def _masked(reason: dict[str, str | None], secret: Collection[str]) -> dict[str, str | None]:
    """The reason; of a rule across columns the value is the whole row."""
    hidden = bool(secret) if reason["column"] is None else reason["column"] in secret
    return {**reason, "value": MASK} if hidden and reason["value"] is not None else reason


def _batches(connection: duckdb.DuckDBPyConnection, name: str) -> Iterator[pl.DataFrame]:
    relation = connection.sql(f"SELECT * FROM marts.main.{quote(name)}")
    with relation.to_arrow_reader(_ROWS) as reader:
        for batch in reader:
            yield pl.DataFrame(batch)
