"""Another database to export to, a schema of a real PostgreSQL or a file of SQLite, as its consumers see it.

Belongs here: making releases, exporting them there and asking there. Elsewhere: the server (services.py), assertions.
"""

import contextlib
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any, Final

import duckdb
import psycopg
from services import PostgresServer

from platform_assets.engine.export.database import Database, Held, opened
from platform_assets.engine.export.publish import Exported, Outgoing, export
from platform_assets.engine.store.released import ReleasedMart
from platform_assets.engine.store.sql import quote

NOON: Final = datetime(2026, 3, 1, 12, tzinfo=UTC)
_schemas = count(1)


@dataclass
class There:
    """Another database, as its consumers see it, and a platform that exports releases of `retail` to it.

    tables: of the release, mart -> the SQL of its rows. released: what the platform keeps, release -> the same.
    """

    folder: Path
    url: str
    schema: str | None
    ask: Callable[[str], Sequence[Any]]
    tables: dict[str, str] = field(default_factory=dict)
    released: dict[str, Mapping[str, str]] = field(default_factory=dict)
    product: str = "retail"

    def release(self, name: str, **tables: str) -> Outgoing:
        """A release of marts with the rows that these SELECTs give."""
        self.released[name] = tables
        path = self.folder / f"{name}.duckdb"
        with closing(duckdb.connect(str(path))) as made:
            for mart, rows in tables.items():
                made.execute(f"CREATE OR REPLACE TABLE {quote(mart)} AS {rows}")
        return Outgoing(
            product=self.product,
            release=name,
            marts={mart: ReleasedMart(mart, path) for mart in tables},
            content=tables,
            comments={mart: f"What {mart} is" for mart in tables},
            contents=lambda release, mart: self.released.get(release, {}).get(mart),
        )

    @contextlib.contextmanager
    def opened(self) -> Iterator[Database]:
        with closing(opened(self.url, setting="ANALYTICS_DB", base=self.folder, schema=self.schema)) as database:
            yield database

    def export(self, out: Outgoing) -> Exported:
        with self.opened() as database:
            return export(database, out, NOON)

    def held(self) -> dict[str, Held]:
        with self.opened() as database:
            return {each.mart: each for each in database.held()}

    def rows(self, table: str) -> list[Any]:
        return sorted(self.ask(f"SELECT * FROM {quote(table)}"), key=repr)

    def of(self, product: str) -> "There":
        """The same database, and another product."""
        return replace(self, product=product, released={})


def in_postgres(server: PostgresServer, folder: Path) -> There:
    schema = f"s{next(_schemas)}"

    def ask(sql: str) -> Sequence[Any]:
        with psycopg.connect(server.url(), autocommit=True) as db:
            db.execute(f"SET search_path = {schema}".encode())
            found = db.execute(sql.encode())
            return found.fetchall() if found.description else []

    ask(f"CREATE SCHEMA {schema}")
    return There(folder, server.url(), schema, ask)


def in_sqlite(folder: Path) -> There:
    def ask(sql: str) -> Sequence[Any]:
        with closing(sqlite3.connect(folder / "there.sqlite", isolation_level=None)) as db:
            return db.execute(sql).fetchall()

    return There(folder, "sqlite:///there.sqlite", None, ask)
