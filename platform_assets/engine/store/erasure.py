"""Erasing a person from what dbt has made and what was released, and the files written anew so that nothing stays.

Belongs here: finding the person in any table, snapshots, dropped models, releases, whole files. Elsewhere: raw and
quarantine, which a replay makes anew (load), the order of all steps (engine/erasure.py). DuckDB leaves what was deleted
in the blocks of its file until others need them: only a new file is without it.
"""

import contextlib
import functools
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, TypeAlias

import duckdb
import polars as pl

from platform_assets.engine.durable import failpoint
from platform_assets.engine.durable.files import sync
from platform_assets.engine.feed.feed import Feed
from platform_assets.engine.store import exact
from platform_assets.engine.store.connection import connect
from platform_assets.engine.store.ledger import Ledger
from platform_assets.engine.store.pseudonyms import Key
from platform_assets.engine.store.release import MartRelease, Release, Releases
from platform_assets.engine.store.serving import PARTIAL
from platform_assets.engine.store.sql import attach, execute_over, quote
from platform_assets.engine.store.tables import FeedTables
from platform_assets.engine.store.warehouse import MARTS_FORMAT, Warehouse
from platform_assets.errors import StorageError

DISTINCTIVE: Final = 6  # characters; a shorter value may stand in any column by chance
_LINES: Final = {"_delivery_id": pl.Int64, "_line": pl.Int64}
_FRESH: Final = "fresh"
_WITH_DECIMALS: Final = re.compile(r"-?[0-9]+\.[0-9]+")
Asks: TypeAlias = Callable[[str, str, Mapping[str, str]], tuple[str, list[Any]] | None]
"""Gives the condition for the rows that are asked for, of a table (schema, name, columns)."""


@dataclass(frozen=True)
class Made:
    """What dbt makes of a feed: models and snapshots, by schema and name. columns: of such a table, the columns of the
    feed's contract -> the columns there that are made of them."""

    models: Collection[tuple[str, str]] = ()
    snapshots: Collection[tuple[str, str]] = ()
    columns: Mapping[tuple[str, str], Mapping[str, Collection[str]]] = field(default_factory=dict)


@dataclass(frozen=True)
class Traces:
    """What a person is found by in a table: values, each in all its forms, by column of the feed's contract; and the
    rows of raw (`_delivery_id`, `_line`). key: that of pseudonyms."""

    values: Mapping[str, Sequence[str]]
    made: Made
    lines: Sequence[tuple[int, int]] = ()
    own: Collection[tuple[str, str]] = ()
    key: Key | None = None

    def within(
        self, schema: str, table: str, there: Mapping[str, str], pseudonyms: Collection[str] = ()
    ) -> tuple[str, list[Any]] | None:
        """The condition for the person's rows in a table that has these columns (name -> type); None where no column
        leads to the person. pseudonyms: the columns that have such in the place of values."""
        parts: list[str] = []
        values: list[Any] = []
        for column, forms in self.values.items():
            made = {name.lower() for name in (column, *self.made.columns.get((schema, table), {}).get(column, ()))}
            asked = [name for name in there if name.lower() in made]
            if not asked:
                return None
            told = [self._pseudonyms(forms) if name in pseudonyms else list(forms) for name in asked]
            parts.append(f"({' OR '.join(f'CAST({quote(name)} AS VARCHAR) IN (SELECT unnest(?))' for name in asked)})")
            values += told
        return " AND ".join(parts), values

    def within_release(self, name: str, mart: MartRelease) -> tuple[str, list[Any]] | None:
        """As `within`, of a released mart: by pseudonyms, where it has those; by the rows of raw, where what leads to
        the person was dropped and these are told. None also of marts that today's models do not make of the feed.

        Raises duckdb.Error where its pseudonyms are made with another key, so that nobody can be found.
        """
        if ("main", name) not in self.made.models:
            return None
        pseudonyms = {column for column, how in mart.personal.items() if how == "pseudonym"}
        if pseudonyms and (self.key is None or self.key.id != mart.pseudonyms):
            raise duckdb.InvalidInputException(f"the pseudonyms of {name} are made with another key")
        found = self.within("main", name, mart.columns, pseudonyms)
        if found is None and mart.columns.keys() >= _LINES.keys():
            theirs = "SELECT (unnest(?::BIGINT[]), unnest(?::BIGINT[]))"
            return f"(_delivery_id, _line) IN ({theirs})", [list(each) for each in zip(*self.lines, strict=True)] or [
                [],
                [],
            ]
        return found

    def _pseudonyms(self, forms: Sequence[str]) -> list[str]:
        """The pseudonyms of a value, in each of its forms; of a number without zeros at its end."""
        assert self.key is not None
        short = (form.rstrip("0").rstrip(".") for form in forms if _WITH_DECIMALS.fullmatch(form))
        return [self.key.pseudonym(form) for form in dict.fromkeys([*forms, *short])]

    def written(self, there: Mapping[str, str]) -> tuple[str, list[Any]] | None:
        """The condition for rows with a text in which a value stands that no text has by chance."""
        texts = [name for name, kind in there.items() if kind in ("VARCHAR", "JSON")]
        forms = [form for forms in self.values.values() for form in forms if len(form) >= DISTINCTIVE]
        if not texts or not forms:
            return None
        each = [f"contains(CAST({quote(name)} AS VARCHAR), ?)" for name in texts for _ in forms]
        return " OR ".join(each), forms * len(texts)


def found_in_snapshots(warehouse: Warehouse, traces: Traces) -> dict[str, int]:
    """Rows of the person by snapshot."""
    with warehouse.open("look for a person") as connection:
        return _snapshots(connection, traces, "SELECT 1 FROM")


def remove_without_copies(
    warehouse: Warehouse, feed: Feed, traces: Traces, deliveries: Sequence[int]
) -> dict[int, int]:
    """Delete the person's rows of deliveries whose copy in the archive is lost, so that no replay can; rows by
    delivery. Their receipts count them as erased."""
    if not deliveries:
        return {}
    with warehouse.open("erase rows whose copies are lost") as connection:
        tables = FeedTables(connection, feed)
        asked = traces.within("raw", feed.name, tables.types())
        found = "list_contains(json_extract_string(record, '$.*'), ?)"
        parts = [f"({' OR '.join([found] * len(forms))})" for forms in traces.values.values()]
        in_record = " AND ".join(parts), [form for forms in traces.values.values() for form in forms]
        warehouse.published(feed).changing()
        connection.begin()
        ledger = Ledger(connection)
        changed = ledger.next_ids()[1]
        gone: dict[int, int] = {}
        for table, figure, condition in (
            (tables.raw, "accepted", asked),
            (tables.quarantine, "rejected", in_record),
        ):
            where, values = condition or ("FALSE", [])
            theirs = "list_contains(?::BIGINT[], _delivery_id) RETURNING _delivery_id"
            sql = f"DELETE FROM {table} WHERE ({where}) AND {theirs}"
            left = Counter(delivery for (delivery,) in connection.execute(sql, [*values, list(deliveries)]).fetchall())
            for delivery, rows in left.items():
                gone[delivery] = gone.get(delivery, 0) + rows
                connection.execute(
                    f"UPDATE ledger.deliveries SET {figure} = {figure} - $2, erased = erased + $2, revision = $3, "
                    "changed = $3 WHERE delivery_id = $1",
                    [delivery, rows, changed],
                )
        connection.commit()
    return gone


def remove_from_made(warehouse: Warehouse, feed: Feed, traces: Traces) -> dict[str, int]:
    """Delete the person's rows from snapshots, which nothing can make again, and drop the models, which the next build
    makes anew; with the profiles of the feed's values. Rows by snapshot."""
    with warehouse.open("erase a person from what was made") as connection:
        attach(connection, warehouse.marts, "marts")
        rows = _snapshots(connection, traces, "DELETE FROM")
        connection.execute("DELETE FROM ledger.profiles WHERE feed = ?", [feed.name])
        wanted = set(traces.made.models)
        for database, schema, name, kind in connection.execute(
            "SELECT database_name, schema_name, table_name, 'TABLE' FROM duckdb_tables() UNION ALL "
            "SELECT database_name, schema_name, view_name, 'VIEW' FROM duckdb_views() WHERE NOT internal"
        ).fetchall():
            if (schema, name) in wanted:
                connection.execute(f"DROP {kind} {quote(database)}.{quote(schema)}.{quote(name)}")
        connection.execute("DETACH marts")
    return rows


def write_anew(warehouse: Warehouse) -> list[str]:
    """Write both files anew, with what is in them and nothing else; a kill leaves the old one or the new one."""
    partials = [_partial(path) for path in (warehouse.marts, warehouse.path)]
    with warehouse.open("write the files anew", *partials) as connection:
        attach(connection, warehouse.marts, "marts")
        connection.execute("CHECKPOINT")
        connection.execute("CHECKPOINT marts")
        # The warehouse last: with it goes the lock.
        for path in (warehouse.marts, warehouse.path):
            partial = _partial(path)
            _unlink(partial)
            _copied(connection, path.stem, partial, "" if path == warehouse.path else MARTS_FORMAT)
            failpoint.reached("mid-rewrite")
            if path == warehouse.marts:
                connection.execute("DETACH marts")
            try:
                sync(partial)
                path.with_name(f"{path.name}.wal").unlink(missing_ok=True)  # it was empty, and is not the new file's
                partial.replace(path)
                sync(path.parent)
            except OSError as error:
                raise StorageError(path, error.strerror or str(error)) from error
    return [warehouse.path.name, warehouse.marts.name]


def erase_from_releases(
    warehouse: Warehouse, products: Iterable[Releases], traces: Traces, mark: Mapping[str, str]
) -> list[str]:
    """Write every kept release anew without the person's rows; whoever has a file open keeps what is open. Those that
    cannot be read are removed, and readers get the newest that is left. Gives the names of those that were removed.

    mark: what their manifests say of it, beside the rows by mart. Those that say so already are left alone.
    """
    removed = []
    with warehouse.open("erase a person from the releases"):
        for releases in products:
            releases.sweep()
            anew: dict[int, Path] = {}
            for release in releases.kept():
                if any(each.get("erasure") == mark["erasure"] for each in release.erased):
                    continue
                try:
                    _require_readable(release)
                    releases.rewrite(_erase_from(release, traces, mark, releases.mode, anew))
                except duckdb.Error:
                    removed.append(_called(release))
                    releases.remove(release)
    return removed


def found_in_releases(products: Iterable[Releases], traces: Traces) -> dict[str, dict[str, int]]:
    """Rows of the person by release and mart."""
    found = {}
    for release in (each for releases in products for each in releases.kept()):
        with contextlib.suppress(duckdb.Error), release.opened() as connection:
            found[_called(release)] = _counted(connection, _marts_of(release), _within(release, traces))
    return found


def held(warehouse: Warehouse, products: Iterable[Releases], traces: Traces) -> dict[str, int]:
    """Rows in which the person can still be found, by table: in both files, and in releases. Also those that only
    mention a value which no text has by chance."""
    found: dict[str, int] = {}
    with warehouse.open("look whether a person is left") as connection:
        attach(connection, warehouse.marts, "marts", "(READ_ONLY)")
        for database in (warehouse.path.stem, "marts"):
            tables = list(_tables(connection, database))
            found |= _counted(connection, tables, functools.partial(_held, traces), f"{quote(database)}.")
    for release in (each for releases in products for each in releases.kept()):
        with release.opened() as connection:
            rows = _counted(connection, _marts_of(release), _held_in(release, traces))
            found |= {f"release {_called(release)}: {mart}": count for mart, count in rows.items()}
    return found


def _require_readable(release: Release) -> None:
    with release.opened() as connection:
        for mart in release.marts:
            connection.execute(f"FROM {quote(mart)} LIMIT 0")


def _called(release: Release) -> str:
    return f"{release.product}/{release.id}"


def _marts_of(release: Release) -> list[tuple[str, str, Mapping[str, str]]]:
    return [("main", mart, each.columns) for mart, each in release.marts.items()]


def _counted(
    connection: duckdb.DuckDBPyConnection,
    tables: Iterable[tuple[str, str, Mapping[str, str]]],
    asks: Asks,
    database: str = "",
) -> dict[str, int]:
    """Rows by table (schema, name, columns) of which what `asks` gives is true, where there are any."""
    found = {}
    for schema, table, there in tables:
        if (asked := asks(schema, table, there)) is not None:
            name = f"{database}{quote(schema)}.{quote(table)}"
            ((rows,),) = connection.execute(f"SELECT count(*) FROM {name} WHERE {asked[0]}", asked[1]).fetchall()
            if rows:
                found[table if schema == "main" else f"{schema}.{table}"] = int(rows)
    return found


def _held(traces: Traces, schema: str, table: str, there: Mapping[str, str]) -> tuple[str, list[Any]] | None:
    """Whatever leads to the person in a table that is the feed's, or is made of it."""
    if (schema, table) not in {*traces.made.models, *traces.made.snapshots, *traces.own}:
        return None
    return _any_of(traces.within(schema, table, there), traces.written(there))


def _within(release: Release, traces: Traces) -> Asks:
    return lambda _, mart, __: traces.within_release(mart, release.marts[mart])


def _held_in(release: Release, traces: Traces) -> Asks:
    """Whatever leads to the person in a released mart that is made of the feed."""

    def asked(schema: str, mart: str, there: Mapping[str, str]) -> tuple[str, list[Any]] | None:
        if (schema, mart) not in traces.made.models:
            return None
        return _any_of(traces.within_release(mart, release.marts[mart]), traces.written(there))

    return asked


def _any_of(*conditions: tuple[str, list[Any]] | None) -> tuple[str, list[Any]] | None:
    found = [each for each in conditions if each is not None]
    if not found:
        return None
    return " OR ".join(f"({where})" for where, _ in found), [value for _, values in found for value in values]


def _erase_from(release: Release, traces: Traces, mark: Mapping[str, str], mode: int, anew: dict[int, Path]) -> Release:
    """The release as it is without the person. anew: by the inode that a file had, where it was written anew; releases
    share files, and go on to."""
    marts = dict(release.marts)
    for mart, before in release.marts.items():
        if (asked := traces.within_release(mart, before)) is None:
            continue
        path = release.parquet(mart)
        partial = path.with_name(f"{PARTIAL}{path.name}")
        partial.unlink(missing_ok=True)
        with connect(None, path, partial) as connection:
            table = f"({exact.view_of(connection, path, before.columns)})"
            if connection.execute(f"FROM {table} WHERE {asked[0]} LIMIT 1", asked[1]).fetchone() is not None:
                inode = path.stat().st_ino
                if inode in anew:
                    partial.hardlink_to(anew[inode])
                else:
                    kept = f"(FROM {table} WHERE ({asked[0]}) IS NOT TRUE)"
                    query = exact.selected(exact.columns_of(connection, table), kept, mart)
                    exact.write(connection, query, partial, mart, asked[1])
                    partial.chmod(mode)
                    sync(partial)
                    anew[inode] = path
                partial.replace(path)
                sync(path.parent)
                failpoint.reached("mid-erase-release")
            rows, content = exact.rows_and_content(connection, table)
        marts[mart] = replace(before, rows=rows, content=content, size=path.stat().st_size)
    gone = {mart: before.rows - marts[mart].rows for mart, before in release.marts.items()}
    said = {**mark, "rows": {mart: rows for mart, rows in gone.items() if rows}}
    return replace(release, marts=marts, erased=(*release.erased, said))


def _snapshots(connection: duckdb.DuckDBPyConnection, traces: Traces, begin: str) -> dict[str, int]:
    rows = {}
    for schema, table, there in _tables(connection, None):
        if (schema, table) not in traces.made.snapshots:
            continue
        conditions, values = [], []
        if (asked := traces.within(schema, table, there)) is not None:
            conditions, values = [f"({asked[0]})"], asked[1]
        if there.keys() >= _LINES.keys():
            conditions.append("(_delivery_id, _line) IN (SELECT (_delivery_id, _line) FROM arrived)")
        if conditions:
            lines = pl.DataFrame(list(traces.lines), schema=_LINES, orient="row")
            sql = f"{begin} {quote(schema)}.{quote(table)} WHERE {' OR '.join(conditions)}"
            if begin.startswith("DELETE"):
                sql += " RETURNING 1"
            rows[f"{schema}.{table}"] = len(execute_over(connection, lines, sql, values))
    return rows


def _tables(connection: duckdb.DuckDBPyConnection, database: str | None) -> Iterator[tuple[str, str, dict[str, str]]]:
    """The tables of a database (by default the connection's own): schema, name, columns with their types."""
    found: dict[tuple[str, str], dict[str, str]] = {}
    for schema, table, column, kind in connection.execute(
        "SELECT schema_name, table_name, column_name, data_type FROM duckdb_columns() JOIN duckdb_tables() "
        "USING (database_name, schema_name, table_name) WHERE database_name = coalesce(?, current_database()) "
        "ORDER BY 1, 2, column_index",
        [database],
    ).fetchall():
        found.setdefault((schema, table), {})[column] = kind
    for (schema, table), columns in found.items():
        yield schema, table, columns


def _partial(path: Path) -> Path:
    return path.with_name(f".rewriting-{path.name}")


def _unlink(partial: Path) -> None:
    """Remove what a kill has left."""
    for leftover in (partial, partial.with_name(f"{partial.name}.wal")):
        leftover.unlink(missing_ok=True)


def _copied(connection: duckdb.DuckDBPyConnection, database: str, to: Path, options: str) -> None:
    """Copy a whole database into a new file."""
    attach(connection, to, _FRESH, options)
    connection.execute(f"COPY FROM DATABASE {quote(database)} TO {_FRESH}")
    connection.execute(f"CHECKPOINT {_FRESH}")
    connection.execute(f"DETACH {_FRESH}")
