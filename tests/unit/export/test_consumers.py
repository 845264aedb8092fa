"""Who reads the tables: never waits, never sees half, and keeps views, rights and indexes; and what fails, in words."""

import contextlib
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import psycopg
import pytest
from databases import There
from services import PostgresServer

from platform_assets.engine.export.database import DatabaseUnreachable, ExportRefused, opened
from platform_assets.errors import ConfigurationError, PlatformError

OLD = "SELECT range AS n, 1 AS release FROM range(1000)"
NEW = "SELECT range AS n, 2 AS release FROM range(2000)"
WIDER = "SELECT range AS n, 2 AS release, 'x' AS note FROM range(2000)"


@contextlib.contextmanager
def session(server: PostgresServer, there: There, **who: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(server.url(**who), autocommit=True) as db:
        db.execute(f"SET search_path = {there.schema}".encode())
        yield db


def test_views_rights_and_indexes_of_consumers_stay(server: PostgresServer, pg: There) -> None:
    pg.export(pg.release("r1", facts=OLD))
    pg.ask("CREATE VIEW totals AS SELECT release, count(*) FROM facts GROUP BY 1")
    pg.ask("CREATE MATERIALIZED VIEW kept AS SELECT * FROM facts")
    pg.ask("CREATE UNIQUE INDEX by_n ON facts (n)")
    pg.ask(f"CREATE ROLE analyst_{pg.schema} LOGIN PASSWORD 'p'")
    pg.ask(f"GRANT USAGE ON SCHEMA {pg.schema} TO analyst_{pg.schema}")
    pg.ask(f"GRANT SELECT ON facts, totals TO analyst_{pg.schema}")

    for name, rows in {"r2": NEW, "r3": WIDER, "r4": NEW}.items():
        pg.export(pg.release(name, facts=rows))
        with session(server, pg, user=f"analyst_{pg.schema}", password="p") as analyst:
            assert analyst.execute("SELECT * FROM totals").fetchall() == [(2, 2000)]
            assert analyst.execute("SELECT count(*) FROM facts").fetchall() == [(2000,)]
    assert pg.ask(f"SELECT indexname FROM pg_indexes WHERE schemaname = '{pg.schema}' AND tablename = 'facts'") == [
        ("by_n",)
    ]


def test_a_column_that_a_consumers_view_uses_is_not_taken_away(pg: There) -> None:
    pg.export(pg.release("r1", facts=WIDER))
    pg.ask("CREATE VIEW notes AS SELECT note FROM facts")

    with pytest.raises(ExportRefused, match=r"view .*notes depends on column note of table .*facts"):
        pg.export(pg.release("r2", facts=NEW))
    assert pg.held()["facts"].release == "r1"
    assert pg.ask("SELECT count(*) FROM notes") == [(2000,)]


def test_a_column_that_a_view_of_sqlite_uses_is_not_taken_away(there: There) -> None:
    there.export(there.release("r1", facts=WIDER))
    there.ask("CREATE VIEW notes AS SELECT note FROM facts")

    with pytest.raises(ExportRefused, match="notes"):
        there.export(there.release("r2", facts=NEW))
    assert there.held()["facts"].release == "r1"
    assert there.ask("SELECT count(*) FROM notes") == [(2000,)]


@pytest.mark.parametrize("level", ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"])
def test_a_reader_in_the_middle_of_its_work_neither_waits_nor_holds_us_up(
    server: PostgresServer, pg: There, level: str
) -> None:
    """A session left open in a tool must not stop releases; nor may its two tables be of two releases."""
    pg.export(pg.release("r1", a=OLD, b=OLD))
    with session(server, pg) as reader:
        reader.execute(f"BEGIN ISOLATION LEVEL {level}".encode())
        assert reader.execute("SELECT max(release), count(*) FROM a").fetchall() == [(1, 1000)]

        pg.export(pg.release("r2", a=NEW, b=NEW))

        seen = reader.execute("SELECT max(release), count(*) FROM b").fetchall()
        assert seen == [(2, 2000) if level == "READ COMMITTED" else (1, 1000)]


def test_a_reader_of_sqlite_neither_waits_nor_holds_us_up(there: There) -> None:
    if there.schema is not None:
        return
    there.export(there.release("r1", a=OLD, b=OLD))
    with closing(sqlite3.connect(there.folder / "there.sqlite", isolation_level=None)) as reader:
        reader.execute("BEGIN")
        assert reader.execute("SELECT max(release), count(*) FROM a").fetchall() == [(1, 1000)]
        there.export(there.release("r2", a=NEW, b=NEW))
        assert reader.execute("SELECT max(release), count(*) FROM b").fetchall() == [(1, 1000)]
        reader.execute("COMMIT")
        assert reader.execute("SELECT max(release), count(*) FROM b").fetchall() == [(2, 2000)]


@pytest.mark.slow
def test_readers_in_loops_see_one_release_whole_and_wait_for_nothing(server: PostgresServer, pg: There) -> None:
    """Each answer is of one release of both tables; the longest is not much longer than a quiet one."""
    large = "SELECT range AS n, {0} AS release FROM range({0} * 20000)"
    pg.export(pg.release("r1", a=large.format(1), b=large.format(1)))
    answers: list[tuple[Any, ...]] = []
    longest = 0.0
    ended = threading.Event()
    asked = "SELECT * FROM (SELECT max(release), count(*) FROM a) a, (SELECT max(release), count(*) FROM b) b"

    def read() -> None:
        nonlocal longest
        with session(server, pg) as reader:
            while not ended.is_set():
                begun = time.monotonic()
                answers.extend(reader.execute(asked).fetchall())
                longest = max(longest, time.monotonic() - begun)

    thread = threading.Thread(target=read)
    thread.start()
    try:
        for number in (2, 1, 3):
            pg.export(pg.release(f"r{number}", a=large.format(number), b=large.format(number)))
    finally:
        ended.set()
        thread.join()
    assert {each for each in answers if each != (each[0], each[0] * 20000) * 2} == set()
    assert len({each[0] for each in answers}) > 1
    assert longest < 2


@pytest.mark.slow
def test_columns_change_only_once_nobody_reads_and_readers_behind_wait_two_seconds_at_most(
    server: PostgresServer, pg: There
) -> None:
    pg.export(pg.release("r1", facts=OLD))
    with session(server, pg) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM facts LIMIT 1")
        begun = time.monotonic()
        with pytest.raises(DatabaseUnreachable, match=r"(?s)somebody holds a table.*idle in transaction"):
            pg.export(pg.release("r2", facts=WIDER))
        assert time.monotonic() - begun < 5
    assert pg.export(pg.release("r2", facts=WIDER)).written == ["facts"]


def test_two_exports_at_once_come_one_after_the_other(pg: There) -> None:
    one, other = pg.release("r1", facts=OLD), pg.release("r2", facts=NEW)
    pg.export(one)
    threads = [threading.Thread(target=pg.export, args=[out]) for out in (other, other, one)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert pg.ask("SELECT max(release), count(*) FROM facts") in ([(1, 1000)], [(2, 2000)])
    assert pg.held()["facts"].rows == len(pg.rows("facts"))


def said(error: PlatformError) -> str:
    """All that anybody could be shown of it."""
    chain: list[str] = []
    each: BaseException | None = error
    while each is not None:
        chain.append(f"{each!r} {each}")
        each = each.__cause__ or (None if each.__suppress_context__ else each.__context__)
    return " ".join(chain)


def test_a_server_that_is_down_may_be_up_later(server: PostgresServer, pg: There) -> None:
    out = pg.release("r1", facts=OLD)
    pg.export(out)
    server.stop()
    try:
        with pytest.raises(DatabaseUnreachable, match=r"ANALYTICS_DB: PostgreSQL: nothing listens there") as told:
            pg.export(out)
        assert told.value.may_pass
        assert server.password not in said(told.value)
        assert str(server.port) not in said(told.value)
    finally:
        server.start()
    assert pg.export(out).written == []


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"password": "n0t-this-one"}, "the user or the password is wrong"),
        ({"user": "nobody-of-that-name"}, "the user or the password is wrong"),
        ({"database": "no_such_db"}, "no database of that name"),
    ],
)
def test_wrong_credentials_are_told_without_them(
    server: PostgresServer, pg: There, wrong: dict[str, str], why: str
) -> None:
    pg.url = server.url(**wrong)
    with pytest.raises(ExportRefused, match=why) as told:
        pg.export(pg.release("r1", facts=OLD))
    for secret in (server.password, *wrong.values()):
        assert secret not in said(told.value)


def test_missing_rights_are_told_with_what_to_grant(server: PostgresServer, pg: There) -> None:
    pg.ask(f"CREATE ROLE guest_{pg.schema} LOGIN PASSWORD 'p'")
    pg.ask(f"GRANT USAGE ON SCHEMA {pg.schema} TO guest_{pg.schema}")
    pg.url = server.url(user=f"guest_{pg.schema}", password="p")
    with pytest.raises(ExportRefused, match=r"(?s)the user may not: permission denied for schema .*GRANT CREATE"):
        pg.export(pg.release("r1", facts=OLD))


def test_rows_that_break_a_consumers_constraint_are_refused_by_its_name(pg: There) -> None:
    pg.export(pg.release("r1", facts=OLD))
    pg.ask("ALTER TABLE facts ADD CONSTRAINT few CHECK (n < 1500)")
    with pytest.raises(ExportRefused, match="the rows break few"):
        pg.export(pg.release("r2", facts=NEW))
    assert pg.held()["facts"].release == "r1"


def test_a_trigger_that_changes_values_is_found(pg: There) -> None:
    pg.export(pg.release("r1", facts=OLD))
    pg.ask("CREATE FUNCTION half() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.n = NEW.n / 2; RETURN NEW; END'")
    pg.ask("CREATE TRIGGER halves BEFORE INSERT ON facts FOR EACH ROW EXECUTE FUNCTION half()")
    with pytest.raises(ExportRefused, match="gives other values back than the release has, of facts: n"):
        pg.export(pg.release("r2", facts=NEW))
    assert pg.ask("SELECT max(release), count(*) FROM facts") == [(1, 1000)]


def test_a_schema_is_made_where_it_is_missing_and_the_users_own_is_the_default(
    server: PostgresServer, pg: There
) -> None:
    out = pg.release("r1", facts=OLD)
    pg.schema = f"{pg.schema} made"
    pg.export(out)
    assert pg.held()["facts"].release == "r1"
    pg.url += f"?options=-csearch_path%3D{pg.schema.removesuffix(' made')}"
    pg.schema = None
    pg.export(out)
    assert len(pg.rows("facts")) == 1000


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("mysql://u:s3cret-word@h/db", "is no URL of a database that can be exported to"),
        ("s3cret-word", "is no URL of a database that can be exported to"),
        ("postgresql://u:s3cret-word@h:5432:9/db?x=y", "is no URL that PostgreSQL's library can read"),
        ("postgresql://u@h/db?password=s3cret-word&nonsense=1", "is no URL that PostgreSQL's library can read"),
        ("sqlite://s3cret-word.sqlite", "names no file of SQLite"),
        ("sqlite:///:memory:", "names no file of SQLite"),
        ("postgresql://[s3cret-word", "is no URL"),
    ],
)
def test_a_url_that_means_no_database_is_refused_and_not_shown(there: There, url: str, why: str) -> None:
    with pytest.raises(ConfigurationError, match=f"ANALYTICS_DB: .*{why}") as told:
        opened(url, setting="ANALYTICS_DB", base=there.folder)
    assert "s3cret-word" not in said(told.value)


def test_sqlite_has_no_schemas_and_makes_no_folders(there: There) -> None:
    with pytest.raises(ConfigurationError, match="SQLite, which has no schemas"):
        opened("sqlite:///a.sqlite", setting="A", base=there.folder, schema="x")
    with pytest.raises(ExportRefused, match="the folder of that SQLite file is not there"):
        opened("sqlite:///none/a.sqlite", setting="A", base=there.folder)


def test_a_file_that_is_no_database_is_left_alone(there: There) -> None:
    file = there.folder / "notes.sqlite"
    file.write_text("my notes\n" * 1000)
    there.url, there.schema = "sqlite:///notes.sqlite", None
    with pytest.raises(ExportRefused, match="file is not a database"):
        there.export(there.release("r1", facts=OLD))
    assert file.read_text() == "my notes\n" * 1000


def test_a_file_that_somebody_writes_to_may_be_free_later(there: There, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform_assets.engine.export.sqlite._BUSY_S", 0.2)
    there.url, there.schema = "sqlite:///there.sqlite", None
    with closing(sqlite3.connect(there.folder / "there.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(DatabaseUnreachable, match="cannot be written now: database is locked"):
            there.export(there.release("r1", facts=OLD))


def test_what_speaks_with_postgresql_is_named_where_it_is_missing(
    there: There, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "psycopg", None)
    monkeypatch.delitem(__import__("sys").modules, "platform_assets.engine.export.postgres", raising=False)
    with pytest.raises(ConfigurationError, match=r"(?s)psycopg is not installed.*uv sync .*--extra postgres"):
        opened("postgresql://u:p@h/db", setting="ANALYTICS_DB", base=there.folder)
