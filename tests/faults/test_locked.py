"""SQL that reaches for more than our two databases is refused, in the engine's connection and in dbt's."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest
from checkout import copy_checkout
from dbt.adapters.duckdb.credentials import Attachment, DuckDBCredentials, PluginConfig
from dbt.adapters.duckdb.environments import create
from deployed import Deployed
from machine import PROJECT
from shop import Shop, numbered

from platform_assets.engine.store.connection import connect
from platform_assets.project import dbt_connection

ATTACKS = [
    "SELECT * FROM read_csv('/etc/passwd')",
    "SELECT content FROM read_text('/etc/hostname')",
    "SELECT count(*) FROM glob('/**')",
    "SELECT * FROM '{outside}/a.csv'",
    "COPY (SELECT 1) TO '{outside}/x.csv'",
    "COPY (SELECT 1) TO '{outside}/home/archive/x.csv'",
    "SELECT content FROM read_blob('{outside}/home/../secret')",
    "EXPORT DATABASE '{outside}/x'",
    "IMPORT DATABASE '{outside}'",
    "ATTACH '{outside}/other.duckdb'",
    "ATTACH 'https://example.com/x.duckdb'",
    "SELECT * FROM read_parquet('s3://bucket/x.parquet')",
    "INSTALL httpfs",
    "FORCE INSTALL httpfs FROM 'http://example.com'",
    "LOAD httpfs",
    "LOAD '{outside}/x.duckdb_extension'",
    "CREATE PERSISTENT SECRET (TYPE http)",
    "SET enable_external_access = true",
    "SET lock_configuration = false",
    "RESET lock_configuration",
    "SET allowed_directories = ['/']",
    "SET allowed_configs = ['memory_limit']",
    "SET memory_limit = '1TB'",
    "SET TimeZone = 'Asia/Tokyo'",
    "PRAGMA temp_directory = '{outside}'",
    "SET profile_output = '{outside}/x.json'",
    "SELECT getenv('HOME')",
]
REFUSED = re.compile(
    r"disabled by configuration|through configuration|has been locked|requires the extension|secrets are disabled|"
    r"getenv does not exist"
)


def refused(connection: duckdb.DuckDBPyConnection, attack: str, outside: Path) -> None:
    (outside / "a.csv").write_text("a\n1\n")
    (outside / "secret").write_text("secret")
    with pytest.raises(duckdb.Error) as error:
        connection.execute(attack.format(outside=outside)).fetchall()
    assert REFUSED.search(str(error.value)), error.value
    assert sorted(path.name for path in outside.iterdir() if path.name != "home") == ["a.csv", "landing", "secret"]


@pytest.mark.parametrize("attack", ATTACKS)
def test_the_engine_reaches_its_two_databases_and_nothing_else(shop: Shop, attack: str) -> None:
    with shop.deployment.warehouse.open("attack") as connection:
        refused(connection, attack, shop.root)


@pytest.fixture
def dbt(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> Iterator[duckdb.DuckDBPyConnection]:
    """dbt's connection, made by dbt-duckdb as profiles.yml says."""
    monkeypatch.setattr(dbt_connection, "DBT_PROJECT", shop.root / "home" / "project")
    warehouse = shop.deployment.warehouse
    plugin = PluginConfig(module="platform_assets.project.dbt_connection", config={"directories": ["seeds"]})
    assert f"module: {plugin.module}" in (PROJECT / "dbt_project/profiles.yml").read_text()
    attached = [Attachment(path=str(warehouse.marts), alias="marts")]
    dbt = create(DuckDBCredentials(path=str(warehouse.path), attach=attached, plugins=[plugin]))
    yield dbt.handle().cursor()  # type: ignore[no-untyped-call]  # dbt's are not annotated
    dbt.close()  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_model_reaches_the_two_databases_and_nothing_else(
    shop: Shop, dbt: duckdb.DuckDBPyConnection, attack: str
) -> None:
    refused(dbt, attack, shop.root)


def test_a_model_may_read_the_folders_that_the_profile_names(shop: Shop, dbt: duckdb.DuckDBPyConnection) -> None:
    seeds = shop.root / "home/project/seeds"
    seeds.mkdir(parents=True)
    (seeds / "a.csv").write_text("a\n1\n")
    assert dbt.execute(f"SELECT * FROM read_csv('{seeds}/a.csv')").fetchall() == [(1,)]
    dbt.execute("CREATE TABLE marts.a AS SELECT now() AS at; CHECKPOINT marts; CHECKPOINT")
    assert dbt.execute("SELECT current_setting('TimeZone')").fetchall() == [("UTC",)]


def test_what_does_not_fit_into_memory_still_goes_to_disk(tmp_path: Path) -> None:
    with connect(tmp_path / "a.duckdb") as connection:
        connection.execute(
            "CREATE TEMP TABLE large AS SELECT range, repeat('x', 200) || range AS t FROM range(3_000_000)"
        )
        assert connection.execute("SELECT count(*) FROM large").fetchall() == [(3_000_000,)]
        assert list(tmp_path.glob("a.duckdb.tmp/*"))


def test_no_other_module_makes_a_connection() -> None:
    made = [
        path.relative_to(PROJECT).as_posix()
        for path in (PROJECT / "platform_assets").rglob("*.py")
        if "duckdb.connect(" in path.read_text()
    ]
    assert made == ["platform_assets/engine/store/connection.py"]


def test_a_database_that_this_process_has_open_is_opened_again(shop: Shop) -> None:
    with shop.deployment.warehouse.open("first"):
        shop.load("a.csv", numbered(0, 3))
    assert len(shop.skus()) == 3


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_run_refuses_models_that_reach_outside_and_says_what_to_declare(tmp_path: Path) -> None:
    project = tmp_path / "project"
    copy_checkout(PROJECT, project)
    marts = project / "dbt_project/models/marts"
    marts.mkdir(exist_ok=True)
    free = "{{ config(contract={'enforced': false}) }}\n"
    (marts / "reads.sql").write_text(f"{free}select * from read_csv('/etc/passwd', header = false)")
    (marts / "writes.sql").write_text(
        f"{free}{{{{ config(post_hook=\"COPY (select 1) TO '{tmp_path}/stolen.csv'\") }}}}\nselect 1 as a"
    )
    (marts / "loads.sql").write_text(f"{free}{{{{ config(pre_hook='INSTALL httpfs') }}}}\nselect 1 as a")
    (marts / "fine.sql").write_text(f"{free}select 1 as a")
    world = Deployed(tmp_path / "world", {"PYTHONPATH": str(project)})
    world.landing.mkdir(parents=True)
    world.simulate(days=1, rows=20, until="2026-03-31", dirt=0.0)
    done = world.platform("run")
    assert done.code != 0
    said = " ".join((done.out + done.err).split())
    for model in ("reads", "writes", "loads"):
        assert f"Failure in model {model}" in said
    assert "Failure in model fine" not in said
    assert "folders that dbt_project/profiles.yml names under `directories`" in said
    assert "`platform feed add FILE`" in said
    assert not (tmp_path / "stolen.csv").exists()
    shutil.rmtree(project)
