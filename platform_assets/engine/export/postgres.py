"""PostgreSQL: tables whose rows are replaced in one transaction, while who reads them sees the old ones.

Belongs here: PostgreSQL's SQL, and what its failures mean. Elsewhere: what is written (publish.py). Rows are deleted
and copied in; no table is truncated or renamed: views, grants, indexes and readers keep what they have.
"""

import contextlib
import io
import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import psycopg
from psycopg import conninfo, errors

from platform_assets.engine.export.columns import Column, postgres_column
from platform_assets.engine.export.database import NOTES, DatabaseUnreachable, ExportRefused, Held, Table
from platform_assets.engine.store.released import ReleasedMart
from platform_assets.engine.store.sql import quote
from platform_assets.errors import ConfigurationError, PlatformError, printable

if TYPE_CHECKING:
    import pyarrow as pa

_CONNECT_S: Final = 10
_OTHERS_S: Final = 60  # that another export of the same tables is waited for
READERS_WAIT_S: Final = 2
"""How long at most a reader waits behind us while columns change, before the export gives way and is tried again."""
_BLOCK: Final = 16 * 1024 * 1024  # bytes; the longest row that is read back
_COLUMNS: Final = tuple(Held.__dataclass_fields__)
_SETTINGS: Final = {
    "timezone": "UTC",
    "datestyle": "ISO",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "statement_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "search_path": "pg_catalog",
}
_REFUSED_AT_THE_DOOR: Final = {
    "password authentication failed": "the user or the password is wrong",
    "no password supplied": "it wants a password, and the URL has none",
    "role ": "the user is wrong",
    "database ": "there is no database of that name",
    "pg_hba.conf": "it lets no such user in from this machine",
    "certificate": "its certificate is not trusted",
    "SSL": "it does not speak TLS; add ?sslmode=disable to the URL where the network between is your own",
}
_PASSING: Final = (
    errors.OperationalError,  # gone, shut down, full, too many connections
    errors.LockNotAvailable,
    errors.DeadlockDetected,
    errors.SerializationFailure,
    errors.QueryCanceled,
    errors.ObjectInUse,
)


class Postgres:
    """See `Database`."""

    kind = "PostgreSQL"
    longest: int | None = 63

    def __init__(self, url: str, setting: str, schema: str | None) -> None:
        self._setting = setting
        self._db = _connected(url, setting)
        try:
            with self._telling():
                # On a server behind a pool, what is set for a session would stay for others.
                found = self._rows("SELECT current_schema()")[0][0]
            if schema is None and found is None:
                raise ExportRefused(
                    f"{setting}: the user's search_path leads to no schema that is there", "Say schema= in the Export."
                )
        except BaseException:
            self._db.close()
            raise
        self._schema: str = schema or found

    def close(self) -> None:
        self._db.close()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        with self._telling(), self._db.transaction():
            for name, value in _SETTINGS.items():
                self._run(f"SET LOCAL {name} = '{value}'")
            with contextlib.suppress(errors.Error), self._db.transaction():
                # Whoever is killed while the server works lets go at once, and not when it is done.
                self._run("SET LOCAL client_connection_check_interval = '2s'")
            self._run(f"SET LOCAL lock_timeout = '{_OTHERS_S}s'")
            self._rows("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"{self._schema}.{NOTES}"])
            self._run(f"SET LOCAL lock_timeout = '{READERS_WAIT_S}s'")
            yield

    def column(self, name: str, kind: str) -> Column | None:
        return postgres_column(name, kind)

    def held(self) -> list[Held]:
        with self._telling():
            if self.table(NOTES) is None:
                return []
            return [Held.read(row) for row in self._rows(f"SELECT {_listed(_COLUMNS)} FROM {self._named(NOTES)}")]

    def prepare(self) -> None:
        if self.table(NOTES) is None:
            if not self._rows("SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = %s", [self._schema]):
                self._run(f"CREATE SCHEMA {quote(self._schema)}")
            self._run(
                f"CREATE TABLE {self._named(NOTES)} (product text, mart text, release text NOT NULL, exported_at "
                "timestamptz NOT NULL, rows bigint NOT NULL, content text NOT NULL, columns json NOT NULL, kept text, "
                "kept_content text, kept_columns json, PRIMARY KEY (product, mart))"
            )
            self._comment(NOTES, "What the tables here hold that a platform writes, by product and mart.")

    def table(self, name: str) -> Table | None:
        found = self._rows(
            "SELECT c.relkind::text, a.attname::text FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON "
            "n.oid = c.relnamespace LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT "
            "a.attisdropped WHERE n.nspname = %s AND c.relname = %s ORDER BY a.attnum",
            [self._schema, name],
        )
        if not found:
            return None
        return Table([column for _, column in found if column is not None], found[0][0] == "r")

    def create(self, name: str, columns: Mapping[str, str], comment: str) -> None:
        self._run(f"CREATE TABLE {self._named(name)} ({_declared(columns)})")
        self._comment(name, comment)

    def change(self, name: str, drop: Sequence[str], add: Mapping[str, str]) -> None:
        parts = [f"DROP COLUMN {quote(each)}" for each in drop]
        parts += [f"ADD COLUMN {quote(each)} {there}" for each, there in add.items()]
        if parts:
            self._run(f"ALTER TABLE {self._named(name)} {', '.join(parts)}")

    def clear(self, name: str) -> None:
        self._run(f"DELETE FROM {self._named(name)}")

    def copy(self, source: str, target: str, columns: Sequence[str]) -> None:
        listed = _listed(columns)
        self._run(f"INSERT INTO {self._named(target)} ({listed}) SELECT {listed} FROM {self._named(source)}")

    def stage(self, columns: Mapping[str, str]) -> str:
        self._run(f"DROP TABLE IF EXISTS {self._named(_STAGE)}")
        self._run(f"CREATE TEMP TABLE {quote(_STAGE.name)} ({_declared(columns)}) ON COMMIT DROP")
        return _STAGE

    def write(self, name: str, mart: ReleasedMart, columns: Sequence[Column]) -> None:
        import pyarrow as pa
        from pyarrow import csv

        how = csv.WriteOptions(include_header=False, quoting_style="all_valid")  # NULL alone stands without quotes
        copied = f"COPY {self._named(name)} ({_listed([each.name for each in columns])}) FROM STDIN (FORMAT csv)"
        with mart.batches([each.sent for each in columns]) as batches, self._db.cursor().copy(copied.encode()) as copy:
            for batch in batches:
                text = pa.BufferOutputStream()
                csv.write_csv(batch, text, how)
                copy.write(memoryview(text.getvalue()))

    @contextlib.contextmanager
    def read(self, name: str, columns: Sequence[Column]) -> "Iterator[pa.RecordBatchReader]":
        import pyarrow as pa
        from pyarrow import csv

        names = [each.name for each in columns]
        texts = ", ".join(f"{quote(each)}::text" for each in names)
        selected = f"COPY (SELECT {texts} FROM {self._named(name)}) TO STDOUT (FORMAT csv, FORCE_QUOTE *)"
        with self._db.cursor().copy(selected.encode()) as copy:
            blocks = iter(copy)
            if not (first := bytes(next(blocks, b""))):
                yield pa.RecordBatchReader.from_batches(pa.schema([(each, pa.string()) for each in names]), [])
                return
            yield csv.open_csv(
                io.BufferedReader(_Blocks(first, blocks), 1 << 20),
                csv.ReadOptions(use_threads=False, block_size=_BLOCK, column_names=names),
                csv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False),
                csv.ConvertOptions(
                    column_types=dict.fromkeys(names, pa.string()),
                    null_values=[""],
                    strings_can_be_null=True,
                    quoted_strings_can_be_null=False,
                ),
            )
            for _ in blocks:  # whoever read has stopped early
                pass

    def note(self, held: Held) -> None:
        marks = ", ".join("%s" for _ in _COLUMNS)
        changed = ", ".join(f"{each} = EXCLUDED.{each}" for each in _COLUMNS[2:])
        self._rows(
            f"INSERT INTO {self._named(NOTES).replace('%', '%%')} ({_listed(_COLUMNS)}) VALUES ({marks}) "
            f"ON CONFLICT (product, mart) DO UPDATE SET {changed} RETURNING 1",
            held.row(),
        )

    def tidy(self, names: Sequence[str]) -> None:
        for name in names:
            with contextlib.suppress(psycopg.Error):  # else the server does it by itself, later
                self._run(f"VACUUM (ANALYZE, TRUNCATE false) {self._named(name)}")

    def _named(self, name: str) -> str:
        return f"pg_temp.{quote(name.name)}" if isinstance(name, _Staged) else f"{quote(self._schema)}.{quote(name)}"

    def _comment(self, name: str, comment: str) -> None:
        text = comment.replace("\0", "").replace("'", "''").replace("\\", "/")
        self._run(f"COMMENT ON TABLE {self._named(name)} IS '{text}'")

    def _run(self, sql: str) -> None:
        self._db.execute(sql.encode())

    def _rows(self, sql: str, values: Sequence[object] | None = None) -> list[tuple[Any, ...]]:
        return self._db.execute(sql.encode(), values).fetchall()

    @contextlib.contextmanager
    def _telling(self) -> Iterator[None]:
        """Errors of the server in our words, without a value."""
        try:
            yield
        except psycopg.Error as error:
            raise _told(error, self._setting) from None


class _Staged(str):
    """The name of a table that only its transaction sees."""

    __slots__ = ()

    @property
    def name(self) -> str:
        return str(self)


_STAGE: Final = _Staged("_platform_stage")


class _Blocks(io.RawIOBase):
    """What the server sends, as a file."""

    def __init__(self, first: bytes, rest: "Iterator[Any]") -> None:
        self._left = memoryview(first)
        self._rest = rest

    def readable(self) -> bool:
        return True

    def readinto(self, into: Any) -> int:  # noqa: ANN401 - any buffer
        while not self._left:
            block = next(self._rest, None)
            if block is None:
                return 0
            self._left = memoryview(block)
        size = min(len(into), len(self._left))
        into[:size], self._left = self._left[:size], self._left[size:]
        return size


def _connected(url: str, setting: str) -> "psycopg.Connection[tuple[Any, ...]]":
    try:
        given = conninfo.conninfo_to_dict(url)
    except psycopg.Error:
        raise ConfigurationError(
            setting,
            "is no URL that PostgreSQL's library can read",
            "Give postgresql://user:password@host:5432/database; write %40 for an @ in the password, %2F for a /.",
        ) from None
    defaults: dict[str, Any] = {
        "connect_timeout": _CONNECT_S,
        "application_name": "platform export",
        "keepalives_idle": 30,
        "tcp_user_timeout": 30_000,
    }
    if not all(map(_is_here, str(given.get("host") or "").split(","))):
        defaults["sslmode"] = "require"
    try:
        return psycopg.connect(
            **{**defaults, **given, "client_encoding": "UTF8"}, autocommit=True, prepare_threshold=None
        )
    except psycopg.Error as error:
        said = str(error)
    for found, what in _REFUSED_AT_THE_DOOR.items():
        if found in said and "starting up" not in said and "shutting down" not in said and "recovery" not in said:
            raise ExportRefused(f"{setting}: PostgreSQL lets nobody in: {what}", f"Mend the URL in {setting}.")
    why = next((each for each in ("refused", "timeout", "resolve", "translate host name") if each in said), None)
    words = {"refused": "nothing listens there", "timeout": "it does not answer", None: "it cannot be reached"}
    raise DatabaseUnreachable(
        f"{setting}: PostgreSQL: {words.get(why, 'the name of its host is not known')}",
        f"Start it, or mend the URL in {setting}; it is tried again by itself, ever later.",
    )


def _is_here(host: str) -> bool:
    """Whether the host is this machine, so that nobody listens in between."""
    if not host or host.startswith("/") or host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _told(error: psycopg.Error, setting: str) -> PlatformError:
    said = printable(error.diag.message_primary or "", 300)
    detail = printable(error.diag.message_detail or "", 300)
    if isinstance(error, errors.InsufficientPrivilege):
        return ExportRefused(
            f"{setting}: the user may not: {said}",
            "The user creates and owns the tables: GRANT CREATE, USAGE ON SCHEMA … TO …, and let it own them.",
        )
    if isinstance(error, errors.DependentObjectsStillExist | errors.FeatureNotSupported):
        return ExportRefused(
            f"{setting}: the release lacks a column, or has it with another type, that something there uses: {said}. "
            f"{detail}",
            "Change what uses it, as its name is told here, then run again; or keep the column in the mart.",
        )
    if isinstance(error, errors.DataError):  # its words have values in them
        place = printable((error.diag.context or "").partition(":")[0], 300)
        return ExportRefused(
            f"{setting}: PostgreSQL cannot hold a value ({type(error).__name__}) of {place or 'a column'}",
            "Cast the column in the mart to a type that holds it.",
        )
    if isinstance(error, errors.IntegrityError):
        return ExportRefused(
            f"{setting}: the rows break {printable(error.diag.constraint_name or 'a constraint')}, which "
            f"somebody has put on {printable(error.diag.table_name or 'a table')}",
            "Take the constraint off, or make it DEFERRABLE INITIALLY DEFERRED if it refers to the mart's rows.",
        )
    if isinstance(error, errors.LockNotAvailable):
        return DatabaseUnreachable(
            f"{setting}: somebody holds a table that has to be changed",
            "It is tried again by itself, ever later. A session that is left `idle in transaction` has to be ended.",
        )
    if isinstance(error, _PASSING):
        return DatabaseUnreachable(
            f"{setting}: PostgreSQL stopped in the middle: {type(error).__name__} {said}".rstrip(),
            "It is tried again by itself, ever later; the server's log says more.",
        )
    return ExportRefused(
        f"{setting}: PostgreSQL refuses: {type(error).__name__}: {said}", "The server's log says more of it."
    )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(quote, names))


def _declared(columns: Mapping[str, str]) -> str:
    return ", ".join(f"{quote(name)} {there}" for name, there in columns.items())
