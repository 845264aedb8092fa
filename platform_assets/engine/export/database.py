"""The other database: what an export asks of it, whichever it is, and how its failures are told.

Belongs here: the protocol, the errors, and which database a URL means. Elsewhere: each database (postgres.py,
sqlite.py), what is written (publish.py). A URL is a secret: no error, log or record has any part of it.
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import urlsplit

from platform_assets.engine.export.columns import Column
from platform_assets.engine.store.released import ReleasedMart
from platform_assets.errors import ConfigurationError, PlatformError, printable

if TYPE_CHECKING:
    import pyarrow as pa

NOTES: Final = "_platform_releases"
"""The table in which the other database says what it holds: a row by product and mart."""
PREVIOUS: Final = "__previous"
_AS_BEFORE: Final = "Its tables hold what they held before; the release stands."


class ExportRefused(PlatformError):
    """The other database cannot take the release as it is; its tables are as they were."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(what, state=_AS_BEFORE, remedy=remedy)


class DatabaseUnreachable(PlatformError):
    """The other database is down, busy or full: the same may succeed later."""

    may_pass = True

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(what, state=_AS_BEFORE, remedy=remedy)


@dataclass(frozen=True)
class Held:
    """What the other database says of a mart's table. content: of the release's mart. columns: name -> type there.
    kept, kept_content: release and content of the rows in the table of the previous ones, if there are any;
    kept_columns: that table's."""

    product: str
    mart: str
    release: str
    exported_at: str
    rows: int
    content: str
    columns: Mapping[str, str]
    kept: str | None = None
    kept_content: str | None = None
    kept_columns: Mapping[str, str] | None = None

    @classmethod
    def read(cls, row: Sequence[Any]) -> "Held":
        """From a row of the notes, whose columns are these fields."""
        told = dict(zip(cls.__dataclass_fields__, row, strict=True))
        for name in ("columns", "kept_columns"):
            told[name] = json.loads(told[name]) if isinstance(told[name], str) else told[name]
        return cls(**told | {"exported_at": str(told["exported_at"])})

    def row(self) -> list[object]:
        """The same as such a row."""
        return [json.dumps(dict(each)) if isinstance(each, Mapping) else each for each in vars(self).values()]


@dataclass(frozen=True)
class Table:
    """What stands in the other database under a name. ordinary: a table, and not a view or anything else."""

    columns: Sequence[str]
    ordinary: bool


class Database(Protocol):
    """A connection to the other database; every method but `tidy` is called within `transaction`.

    longest: bytes of a name. Every error is an ExportRefused or a DatabaseUnreachable.
    """

    kind: str
    longest: int | None

    def transaction(self) -> AbstractContextManager[None]:
        """All or nothing; other exports wait, readers do not."""

    def column(self, name: str, kind: str) -> Column | None:
        """A column of DuckDB's type there; None where there is no type for it."""

    def held(self) -> list[Held]:
        """What it says that it holds, of all products; takes no lock."""

    def prepare(self) -> None:
        """Make the table of notes, if it is not there."""

    def table(self, name: str) -> Table | None:
        """What stands under the name."""

    def create(self, name: str, columns: Mapping[str, str], comment: str) -> None:
        """A new table."""

    def change(self, name: str, drop: Sequence[str], add: Mapping[str, str]) -> None:
        """Take columns out of a table, and add some."""

    def clear(self, name: str) -> None:
        """Take all rows out of a table, so that who reads it sees them until the transaction ends."""

    def copy(self, source: str, target: str, columns: Sequence[str]) -> None:
        """Add the rows of one table to another."""

    def stage(self, columns: Mapping[str, str]) -> str:
        """A new table that only this transaction sees, and its name."""

    def write(self, name: str, mart: ReleasedMart, columns: Sequence[Column]) -> None:
        """Add the mart's rows to a table, in bounded memory."""

    def read(self, name: str, columns: Sequence[Column]) -> "AbstractContextManager[pa.RecordBatchReader]":
        """The rows of a table as they are there."""

    def note(self, held: Held) -> None:
        """Note what a table holds now."""

    def tidy(self, names: Sequence[str]) -> None:
        """After the transaction: let the database give back the room of rows that are gone, and count anew."""

    def close(self) -> None:
        """Let go of the connection."""


def opened(url: str, *, setting: str, base: Path, schema: str | None = None) -> Database:
    """The database that the URL means, connected. setting: the name that errors call it by. base: where relative paths
    begin. schema: where its tables are; None: where the connection puts them.

    Raises ConfigurationError for a URL that means none, DatabaseUnreachable, ExportRefused.
    """
    try:
        scheme = urlsplit(url).scheme
    except ValueError:
        scheme = ""
    if scheme in ("postgresql", "postgres"):
        try:
            from platform_assets.engine.export.postgres import Postgres
        except ImportError as error:
            if (error.name or "").partition(".")[0] not in ("psycopg", "psycopg_binary"):
                raise
            raise ConfigurationError(
                setting,
                "leads to PostgreSQL, and psycopg is not installed, which speaks with it",
                ".venv/bin/uv sync --locked --inexact --extra postgres",
            ) from None
        return Postgres(url, setting, schema)
    if scheme == "sqlite":
        from platform_assets.engine.export.sqlite import Sqlite

        if schema is not None:
            raise ConfigurationError(
                f"Export.schema={printable(schema)!r}",
                f"{setting} leads to SQLite, which has no schemas",
                "Leave schema= out.",
            )
        return Sqlite(_sqlite_file(url, setting, base), setting)
    raise ConfigurationError(
        setting,
        "is no URL of a database that can be exported to",
        "Give postgresql://user:password@host:5432/database or sqlite:///folder/file.sqlite.",
    )


def _sqlite_file(url: str, setting: str, base: Path) -> Path:
    """`sqlite:///a.sqlite` is relative, `sqlite:////srv/a.sqlite` absolute, as other tools have it."""
    rest = url.partition("://")[2]
    if not rest.startswith("/") or len(rest) < 2 or rest[1:] == ":memory:" or "?" in rest:
        raise ConfigurationError(
            setting,
            "names no file of SQLite",
            "Write sqlite:///file.sqlite, relative to the project, or sqlite:////srv/file.sqlite, with four slashes.",
        )
    return base / rest[1:]
