"""The macros of snapshots, compiled by dbt itself: they say of lists what a plain reckoning of these says."""

import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from machine import examples
from shop import SALES, Shop

from platform_assets.engine.contract.model import Contract, Field
from platform_assets.engine.feed.feed import Files, seconds
from platform_assets.settings import PROJECT

pytestmark = pytest.mark.slow

_PROJECT: Final = """
name: lists
version: "0.1.0"
config-version: 2
profile: lists
model-paths: [models]
macro-paths: [macros]
flags: {send_anonymous_usage_stats: false}
"""
_PROFILE: Final = (
    'lists: {target: t, outputs: {t: {type: duckdb, path: "warehouse.duckdb", schema: main, threads: 1}}}\n'
)
_SOURCES: Final = """
version: 2
sources:
  - name: crm
    schema: raw
    tables:
      - name: customers
        columns: [{name: id}, {name: name}, {name: tier}, {name: _delivery_id}, {name: _line}, {name: _file_date}]
      - name: undated
        columns: [{name: id}, {name: name}, {name: tier}, {name: _delivery_id}, {name: _line}]
"""
_COLUMNS: Final = "key='id', columns=['name', 'tier']"
_MODELS: Final = {
    "history": f"snapshot_history(source('crm', 'customers'), 'customers', {_COLUMNS})",
    "latest": "latest_snapshot(source('crm', 'customers'), 'customers')",
    "history_by_arrival": f"snapshot_history(source('crm', 'customers'), 'undated', {_COLUMNS}, at='arrived_at')",
    "latest_undated": "latest_snapshot(source('crm', 'customers'), 'undated')",
}
_WRONG: Final = {
    "wrong_feed": "latest_snapshot(source('crm', 'customers'), 'customer')",
    "wrong_at": "latest_snapshot(source('crm', 'customers'), 'customers', at='delivered')",
    "no_date": f"snapshot_history(source('crm', 'undated'), 'undated', {_COLUMNS}, at='file_date')",
}
_DAY: Final = date(2026, 3, 1)
_START: Final = datetime(2026, 3, 1, 6, tzinfo=UTC)
_LEDGER: Final = """
CREATE SCHEMA IF NOT EXISTS raw; CREATE SCHEMA IF NOT EXISTS ledger;
CREATE OR REPLACE TABLE raw.customers (id INTEGER, name VARCHAR, tier INTEGER, _delivery_id BIGINT, _line BIGINT);
CREATE OR REPLACE TABLE ledger.deliveries (
    delivery_id BIGINT, feed VARCHAR, status VARCHAR, file_date DATE, arrived_at TIMESTAMPTZ, committed_at TIMESTAMPTZ
);
CREATE OR REPLACE TABLE ledger.slots (feed VARCHAR, slot VARCHAR, place BIGINT, filled_by BIGINT, delivery_id BIGINT);
"""

Row = tuple[str | None, int | None]


class Customers(Contract):
    """All customers. Grain: customer and day."""

    id: int = Field()
    name: str = Field(nullable=True)
    tier: int = Field(nullable=True)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dbt project of these models, and the platform's own macros and sources."""
    root = tmp_path_factory.mktemp("lists")
    ours = PROJECT / "dbt_project"
    texts = {
        "dbt_project.yml": _PROJECT,
        "profiles.yml": _PROFILE,
        "models/sources.yml": _SOURCES,
        "models/ledger.yml": (ours / "models/platform/ledger.yml").read_text(),
        "macros/snapshots.sql": (ours / "macros/platform/snapshots.sql").read_text(),
        **{
            f"models/{name}.sql": f"select * from {{{{ {macro} }}}} as rows_of_it"
            for name, macro in (_MODELS | _WRONG).items()
        },
    }
    for name, text in texts.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(text)
    return root


def dbt_compile(project: Path, *options: str) -> str:
    """Compile models; what dbt said."""
    command = [sys.executable, "-m", "dbt.cli.main", "compile", "--profiles-dir", ".", *options]
    ran = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    return " ".join((ran.stdout + ran.stderr).split())


@pytest.fixture(scope="module")
def compiled(project: Path) -> Mapping[str, str]:
    """Model -> the SQL that dbt made of it."""
    said = dbt_compile(project, "--exclude", *_WRONG)
    found = {path.stem: path.read_text() for path in (project / "target/compiled/lists/models").glob("*.sql")}
    assert found.keys() == _MODELS.keys(), said
    return found


@pytest.fixture(scope="module")
def warehouse() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        connection.execute("ATTACH ':memory:' AS warehouse; USE warehouse; SET TimeZone = 'UTC'")
        yield connection


@dataclass(frozen=True)
class Listed:
    """A delivery: into which slot, of which day, the rows by key. The same slot again corrects what was there."""

    slot: int
    day: int
    rows: dict[int, Row]


_VALUES: Final = st.tuples(st.sampled_from([None, "Ann", "Bo"]), st.sampled_from([None, 1]))
_LISTED: Final = st.builds(
    lambda slot, rows: Listed(slot, slot // 2, rows),  # two slots of each day
    st.integers(0, 9),
    st.dictionaries(st.integers(1, 3), _VALUES, max_size=3),
)


def fill(connection: duckdb.DuckDBPyConnection, deliveries: Sequence[Listed], feed: str) -> dict[int, tuple[int, int]]:
    """The ledger and raw as the engine would leave them; slot -> its place, and the delivery that fills it."""
    connection.execute(_LEDGER)
    slots: dict[int, tuple[int, int]] = {}
    for number, listed in enumerate(deliveries, start=1):
        slots[listed.slot] = (slots.get(listed.slot, (number, 0))[0], number)
    for number, listed in enumerate(deliveries, start=1):
        counts = slots[listed.slot][1] == number
        came = _START + timedelta(hours=number)
        connection.execute(
            "INSERT INTO ledger.deliveries VALUES (?, ?, ?, ?, ?, ?)",
            [
                number,
                feed,
                "accepted" if counts else "superseded",
                _DAY + timedelta(days=listed.day),
                came,
                came,
            ],
        )
        for line, (key, row) in enumerate(listed.rows.items() if counts else (), start=2):
            connection.execute("INSERT INTO raw.customers VALUES (?, ?, ?, ?, ?)", [key, *row, number, line])
    for slot, (place, filled_by) in slots.items():
        connection.execute("INSERT INTO ledger.slots VALUES ($1, $2, $3, $4, $4)", [feed, str(slot), place, filled_by])
    return slots


def reckoned(lists: Sequence[tuple[Any, Mapping[int, Row]]]) -> list[tuple[Any, ...]]:
    """The history of lists in their order, moment by moment, as a person would write it down."""
    done: list[tuple[Any, ...]] = []
    now: dict[int, tuple[Row, Any]] = {}
    for moment, rows in lists:
        for key in [key for key, (row, _) in now.items() if rows.get(key) != row]:
            row, since = now.pop(key)
            done.append((key, *row, since, moment, False))
        for key, row in rows.items():
            now.setdefault(key, (row, moment))
    return sorted([*done, *((key, *row, since, None, True) for key, (row, since) in now.items())], key=repr)


def asked(connection: duckdb.DuckDBPyConnection, sql: str) -> list[tuple[Any, ...]]:
    return sorted(connection.execute(sql).fetchall(), key=repr)


@settings(max_examples=examples(60), deadline=None)
@given(deliveries=st.lists(_LISTED, max_size=14))
def test_the_history_of_dated_lists_is_what_a_person_would_write_down(
    compiled: Mapping[str, str], warehouse: duckdb.DuckDBPyConnection, deliveries: list[Listed]
) -> None:
    slots = fill(warehouse, deliveries, "customers")
    of_days: dict[int, tuple[int, int]] = {}
    for slot, at in slots.items():
        of_days[slot // 2] = max(of_days.get(slot // 2, (0, 0)), at)
    lists = [(_DAY + timedelta(days=day), deliveries[of_days[day][1] - 1].rows) for day in sorted(of_days)]
    assert asked(warehouse, compiled["history"]) == reckoned(lists)
    newest = lists[-1][1] if lists else {}
    latest = {row[0]: row[1:3] for row in asked(warehouse, compiled["latest"])}
    assert latest == newest


@settings(max_examples=examples(30), deadline=None)
@given(deliveries=st.lists(_LISTED, max_size=12))
def test_undated_lists_stand_in_the_order_of_their_files_whenever_they_were_corrected(
    compiled: Mapping[str, str], warehouse: duckdb.DuckDBPyConnection, deliveries: list[Listed]
) -> None:
    slots = fill(warehouse, deliveries, "undated")
    lists = [(_START + timedelta(hours=place), deliveries[by - 1].rows) for place, by in sorted(slots.values())]
    assert asked(warehouse, compiled["history_by_arrival"]) == reckoned(lists)
    latest = {row[0]: row[1:3] for row in asked(warehouse, compiled["latest_undated"])}
    assert latest == (lists[-1][1] if lists else {})


@pytest.mark.parametrize(
    ("model", "wanted"),
    [
        ("wrong_feed", "no feed is called 'customer'; feeds are: customers, undated"),
        ("wrong_at", "at='delivered' is none of file_date, arrived_at and committed_at"),
        ("no_date", "the files of 'undated' have no date: declare Files(…, dated=…), or say at='arrived_at'"),
    ],
)
def test_what_makes_no_sense_is_an_error_that_says_what_there_is(project: Path, model: str, wanted: str) -> None:
    assert wanted in dbt_compile(project, "--select", model)


def test_lists_that_the_engine_took_in_out_of_order_corrected_equal_and_renamed(
    compiled: Mapping[str, str], tmp_path: Path
) -> None:
    feed = replace(
        SALES, name="customers", source=Files("*.csv", dated="%Y-%m-%d", settle=seconds(0)), event_time=None,
        contract=Customers, key=("id",), key_within="delivery", on_known_key="reject",
    )  # fmt: skip
    shop = Shop(tmp_path, feed)
    shop.landing.mkdir()
    shop.deployment.prepare()

    def deliver(day: str, *rows: str) -> Path:
        path = shop.landing / f"customers_{day}.csv"
        path.write_text("\n".join(["id,name,tier", *rows]) + "\n")
        shop.ingest()
        return path

    deliver("2026-03-03", "1,Ann,1", "2,Bo,1")
    deliver("2026-03-02", "1,Ann,1")
    first = deliver("2026-03-01", "1,Ann,1", "2,Bo,1")  # equal to the last
    deliver("2026-03-02", "1,Ann,2")  # corrected
    first.rename(first.with_name("customers_2026-02-28.csv"))
    shop.ingest()
    with shop.deployment.warehouse.open("look") as connection:
        history = asked(connection, compiled["history"])
        latest = asked(connection, compiled["latest"])
    days = {day: date.fromisoformat(f"2026-{day}") for day in ("02-28", "03-02", "03-03")}
    assert history == reckoned(
        [
            (days["02-28"], {1: ("Ann", 1), 2: ("Bo", 1)}),
            (days["03-02"], {1: ("Ann", 2)}),
            (days["03-03"], {1: ("Ann", 1), 2: ("Bo", 1)}),
        ]
    )
    assert [row[:3] for row in latest] == [(1, "Ann", 1), (2, "Bo", 1)]
