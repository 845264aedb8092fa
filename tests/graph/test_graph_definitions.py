"""What the definitions hold: names, owners, promises, checks and automation of everything, derived and not listed."""

import ast
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import dagster as dg
import pytest
import yaml
from dagster._core.definitions.freshness import CronFreshnessPolicy
from machine import PROJECT

from platform_assets import Contract, Field
from platform_assets.definitions import build_definitions
from platform_assets.engine.author.drift import compare
from platform_assets.engine.contract.model import LINEAGE, columns_of
from platform_assets.engine.deployment import Deployment
from platform_assets.engine.feed.feed import Feed
from platform_assets.engine.feed.mart import Mart
from platform_assets.errors import ConfigurationError
from platform_assets.orchestration.runs.keys import WRITER_POOL, deliveries_key, quarantine_key, raw_key
from platform_assets.project.configured import declared_feeds, declared_marts
from platform_assets.project.dbt_marts import mart_disagreements
from platform_assets.project.dbt_sources import drifted_sources, sources_file
from platform_assets.project.manifest import current_manifest, model_folders

FEEDS: Final = declared_feeds()
MARTS: Final = declared_marts()
LAYERS: Final = {
    "deliveries": 3,  # deliveries/<source>/<feed>
    "raw": 3,  # raw/<source>/<feed>
    "quarantine": 3,
    "staging": 3,  # staging/<source>/stg_<source>__<table>
    "intermediate": 2,
    "snapshots": 2,
    "marts": 2,
    "consumers": 2,
    "release": 2,  # release/<product>
}
FEED_CHECKS: Final = {
    "receipts_reconcile": True,
    "rejects_within_tolerance": True,
    "volume_as_usual": True,
    "no_drift": False,
    "nulls_as_usual": False,
    "values_as_usual": False,
    "fresh": False,
    "no_delivery_quarantined": False,
}


@pytest.fixture(scope="module")
def definitions() -> dg.Definitions:
    return build_definitions()


@pytest.fixture(scope="module")
def specs(definitions: dg.Definitions) -> Sequence[dg.AssetSpec]:
    return [spec for spec in definitions.resolve_all_asset_specs() if spec.key.path[0] != "platform"]


@pytest.fixture(scope="module")
def graph(definitions: dg.Definitions) -> Any:
    return definitions.resolve_asset_graph()


def dbt_marts() -> dict[str, dict[str, Any]]:
    """The marts as the dbt project declares them."""
    found = {}
    for path in (path for folder in model_folders() for path in folder.glob("marts/**/*.yml")):
        for model in yaml.safe_load(path.read_text()).get("models", []):
            found[model["name"]] = model
    return found


def above(specs: Sequence[dg.AssetSpec], key: dg.AssetKey) -> set[dg.AssetKey]:
    """The asset and everything that it is made from."""
    inputs = {spec.key: [dep.asset_key for dep in spec.deps] for spec in specs}
    reached: set[dg.AssetKey] = set()
    ahead = [key]
    while ahead:
        if (here := ahead.pop()) not in reached:
            reached.add(here)
            ahead += inputs.get(here, [])
    return reached


# ---- every asset


def test_every_asset_says_what_it_is_and_whose(specs: Sequence[dg.AssetSpec]) -> None:
    for spec in specs:
        name = spec.key.to_user_string()
        assert spec.owners, name
        assert spec.kinds, name
        assert spec.group_name == spec.key.path[0], name
        assert len(spec.description or "") > 10, name


def test_keys_follow_the_grammar(specs: Sequence[dg.AssetSpec]) -> None:
    for spec in specs:
        assert len(spec.key.path) == LAYERS[spec.key.path[0]], spec.key.to_user_string()
        if spec.key.path[0] == "staging":
            assert spec.key.path[2].startswith(f"stg_{spec.key.path[1]}__")


def test_lineage_runs_from_layer_to_layer(specs: Sequence[dg.AssetSpec]) -> None:
    allowed = {
        "deliveries": set(),
        "raw": {"deliveries"},
        "quarantine": {"deliveries"},
        "staging": {"raw"},
        "intermediate": {"staging", "intermediate", "snapshots", "marts"},
        "snapshots": {"intermediate"},
        "marts": {"intermediate", "marts"},
        "release": {"marts"},
        "consumers": {"marts", "release"},
    }
    for spec in specs:
        assert {dep.asset_key.path[0] for dep in spec.deps} <= allowed[spec.key.path[0]], spec.key.to_user_string()


def test_the_release_is_made_from_every_mart(specs: Sequence[dg.AssetSpec]) -> None:
    (release,) = (spec for spec in specs if spec.key.path == ["release", "retail"])
    assert {dep.asset_key.path[-1] for dep in release.deps} == {mart.name for mart in MARTS}


def test_dagsters_freshness_policy_is_on_what_is_delivered_and_nowhere_else(specs: Sequence[dg.AssetSpec]) -> None:
    """It looks at materializations only; those of anything else say that something ran, not that data is new."""
    feeds = {deliveries_key(feed): feed for feed in FEEDS}
    assert {spec.key for spec in specs if spec.freshness_policy is not None} == set(feeds)
    for spec in specs:
        if spec.key in feeds:
            assert isinstance(spec.freshness_policy, CronFreshnessPolicy)
            assert spec.freshness_policy.timezone == feeds[spec.key].delivered.timezone


def test_whatever_writes_shares_the_pool_of_one_writer(definitions: dg.Definitions) -> None:
    for each in (*(definitions.assets or ()), *(definitions.asset_checks or ())):
        if isinstance(each, dg.AssetSpec):
            continue  # made by nobody here
        assert isinstance(each, dg.AssetsDefinition)
        only_reads_releases = {node.name for node in _ops(each)} <= {"check_freshness", "check_releases"}
        assert {node.pool for node in _ops(each)} == {None if only_reads_releases else WRITER_POOL}, each


def _ops(definition: dg.AssetsDefinition) -> list[dg.OpDefinition]:
    return list(definition.node_def.iterate_op_defs())


def test_whatever_is_below_raw_is_automated_and_raw_is_not(specs: Sequence[dg.AssetSpec]) -> None:
    for spec in specs:
        not_by_it = spec.key.path[0] in ("deliveries", "raw", "quarantine", "consumers")
        assert (spec.automation_condition is None) == not_by_it, spec.key.to_user_string()


# ---- feeds


@pytest.mark.parametrize("feed", FEEDS, ids=lambda feed: feed.name)
def test_a_feed_has_raw_quarantine_sensor_and_five_checks(graph: Any, definitions: dg.Definitions, feed: Feed) -> None:
    assert graph.has(raw_key(feed))
    assert graph.has(quarantine_key(feed))
    assert {sensor.name for sensor in definitions.sensors or ()} >= {f"{feed.name}_files"}
    checks = {key.name: graph.get(key).blocking for key in graph.get(raw_key(feed)).check_keys}
    assert checks == FEED_CHECKS


@pytest.mark.parametrize("feed", FEEDS, ids=lambda feed: feed.name)
def test_raw_shows_its_contract_as_columns(specs: Sequence[dg.AssetSpec], feed: Feed) -> None:
    (spec,) = (spec for spec in specs if spec.key == raw_key(feed))
    shown = {column.name: column.type for column in spec.metadata["dagster/column_schema"].columns}
    assert shown == {c.name: c.sql_type for c in columns_of(feed.contract)} | {
        "_delivery_id": "BIGINT",
        "_line": "BIGINT",
    }


def test_sensors_and_automation_run_by_default(definitions: dg.Definitions) -> None:
    sensors = {sensor.name: sensor for sensor in definitions.sensors or ()}
    assert set(sensors) == {"automation", "alerts"} | {f"{feed.name}_files" for feed in FEEDS}
    assert {sensor.default_status for sensor in sensors.values()} == {dg.DefaultSensorStatus.RUNNING}


def test_dbt_sources_are_what_the_feeds_generate() -> None:
    assert drifted_sources(FEEDS) == [], "run `platform feed sources`"


@pytest.mark.parametrize("feed", FEEDS, ids=lambda feed: feed.name)
def test_one_contract_feeds_validation_raw_source_docs_and_drift_report(feed: Feed, tmp_path: Path) -> None:
    columns = columns_of(feed.contract)
    validated = feed.contract.to_schema().columns
    assert list(validated) == [column.name for column in columns]
    assert {name: bool(column.nullable) for name, column in validated.items()} == {c.name: c.nullable for c in columns}

    deployment = Deployment([feed], home=tmp_path / "home", landing=tmp_path / "landing")
    deployment.prepare()
    with deployment.warehouse.reading("compare") as unit:
        raw = unit.tables(feed).types()
        report = compare(unit, feed, deployment.archive.root)
    assert {name: kind for name, kind in raw.items() if name not in LINEAGE} == {c.name: c.sql_type for c in columns}
    assert tuple(seen.declared for seen in report.columns) == columns
    assert report.findings == ()

    (source,) = yaml.safe_load(sources_file(feed.origin, model_folders()).read_text())["sources"]
    (table,) = (table for table in source["tables"] if (source["name"], table["name"]) == (feed.origin, feed.name))
    documented = [
        (
            column["name"],
            column["data_type"],
            column["description"],
            column.get("config", {}).get("meta", {}).get("pii"),
        )
        for column in table["columns"]
        if column["name"] not in LINEAGE and not column.get("config", {}).get("meta", {}).get("undeclared")
    ]
    assert documented == [(c.name, c.sql_type.lower(), c.description, c.pii) for c in columns]
    assert table["description"] == feed.description


STOCK: Final = '''
"""Counts of a warehouse."""

from platform_assets.engine.contract.model import Contract, Field
from platform_assets.engine.feed.feed import Cadence, Feed, Files, hours


class Stock(Contract):
    """Units on the shelf. Grain: article."""

    sku: str = Field(description="Article")
    units: int = Field(ge=0, description="Units")


STOCK = Feed(
    name="stock",
    source=Files("shop/stock/*.csv"),
    contract=Stock,
    delivered=Cadence(cron="0 6 * * *", within=hours(1)),
    owner="team:shop",
)
'''


def test_a_file_more_or_less_is_a_feed_more_or_less(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    retail = PROJECT / "platform_assets" / "feeds" / "retail.py"
    for package, files in {
        "both_feeds": {"retail.py": retail.read_text(), "shop.py": STOCK},
        "shop_only": {"shop.py": STOCK},
    }.items():
        (tmp_path / package).mkdir()
        for name, text in {"__init__.py": "", **files}.items():
            (tmp_path / package / name).write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))

    def derived(package: str) -> tuple[set[str], set[str], set[str]]:
        """Assets that are made here, checks and sensors."""
        monkeypatch.setattr("platform_assets.project.configured.FEEDS_PACKAGE", package)
        made = build_definitions()
        graph = made.resolve_asset_graph()
        return (
            {key.to_user_string() for key in graph.executable_asset_keys},
            {key.to_user_string() for key in graph.asset_check_keys},
            {sensor.name for sensor in made.sensors or ()},
        )

    shop = (
        {"raw/shop/stock", "quarantine/shop/stock"},
        {f"raw/shop/stock:{check}" for check in FEED_CHECKS},
        {"stock_files"},
    )
    ours, both = derived("platform_assets.feeds"), derived("both_feeds")
    assert tuple(more - less for more, less in zip(both, ours, strict=True)) == shop
    assert not any(less - more for more, less in zip(both, ours, strict=True))
    with pytest.raises(ConfigurationError, match=r"stg_retail__\w+ .* reads source\('retail', '\w+'\), which no feed"):
        derived("shop_only")


# ---- marts


def test_every_mart_of_dbt_has_a_contract_and_the_reverse() -> None:
    assert {mart.name for mart in MARTS} == set(dbt_marts())


def test_contract_and_dbt_name_the_same_columns_of_the_same_types() -> None:
    assert mart_disagreements(MARTS, current_manifest()) == []


class AsItWas(Contract):
    """A mart that dbt builds otherwise."""

    sale_date: date = Field(description="Day")
    orders: str = Field()
    vouchers: Decimal = Field(digits=(9, 2), description="Vouchers redeemed, GBP")


def test_a_mart_that_dbt_builds_otherwise_is_told_with_what_to_write() -> None:
    (said,) = mart_disagreements([Mart("daily_sales", AsItWas)], current_manifest())
    file, *lines = said.splitlines()
    assert file.startswith("sample/models/marts/daily_sales.yml has other columns than AsItWas; write there")
    assert [yaml.safe_load(line)[0] for line in lines] == [
        {"name": "sale_date", "data_type": "date", "description": "Calendar day in Europe/London."},
        {"name": "orders", "data_type": "varchar", "description": "Number of invoices with a sale line."},
        {"name": "vouchers", "data_type": "decimal(9,2)", "description": "Vouchers redeemed, GBP"},
    ]
    (said,) = mart_disagreements([Mart("nowhere", AsItWas)], current_manifest())
    assert "no dbt model" in said


@pytest.mark.parametrize("mart", MARTS, ids=lambda mart: mart.name)
def test_a_mart_is_held_to_its_contract_before_anybody_reads_it(graph: Any, mart: Mart) -> None:
    assert graph.get(dg.AssetCheckKey(dg.AssetKey(["marts", mart.name]), "contract")).blocking


def test_no_mart_promises_secret_columns() -> None:
    assert [column.name for mart in MARTS for column in columns_of(mart.contract) if column.pii == "secret"] == []


# ---- dbt's tests


def dbt_tests() -> list[dict[str, Any]]:
    manifest = json.loads(current_manifest().read_text())
    return [
        {**node, "reads": {parent for parent in node["depends_on"]["nodes"] if parent in manifest["nodes"]}}
        for node in manifest["nodes"].values()
        if node["resource_type"] == "test"
    ]


def test_every_dbt_test_is_a_check_that_blocks_if_it_is_an_error(graph: Any) -> None:
    blocking = {key.name: graph.get(key).blocking for key in graph.asset_check_keys}
    for test in dbt_tests():
        assert blocking[test["name"]] == (test["config"]["severity"].lower() == "error"), test["name"]


def test_a_dbt_test_reads_its_own_asset_and_what_that_is_made_from(graph: Any, specs: Sequence[dg.AssetSpec]) -> None:
    """Otherwise it runs before the others are there, fails on their old state, or holds back what would mend it."""
    owner = {key.name: key.asset_key for key in graph.asset_check_keys}
    for test in dbt_tests():
        asset = owner[test["name"]]
        read = {node.split(".")[-1] for node in test["reads"]}
        assert read <= {key.path[-1] for key in above(specs, asset)}, f"{test['name']} on {asset.to_user_string()}"


# ---- selections


@pytest.mark.parametrize("text", ["key:marts/*", 'key:"marts/*"'])
def test_a_layer_can_be_selected_as_the_help_says(graph: Any, text: str) -> None:
    chosen = dg.AssetSelection.from_string(text).resolve(graph)
    assert {key.path[-1] for key in chosen} == {mart.name for mart in MARTS}


# ---- loading


def test_definitions_load_without_a_warning() -> None:
    ignored = "ignore:sqlglotrs is deprecated:DeprecationWarning"
    load = "import platform_assets.definitions as location; location.defs()"
    done = _python("-W", "error", "-W", ignored, "-c", load)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr


def test_the_code_location_is_small() -> None:
    module = PROJECT / "platform_assets" / "definitions.py"
    assert len(module.read_text().splitlines()) <= 80
    assert not [node for node in ast.walk(ast.parse(module.read_text())) if isinstance(node, ast.For | ast.While)]


def test_importing_the_definitions_touches_nothing(tmp_path: Path) -> None:
    """No state, no DuckDB, no network, no environment of ours; not even when they are built."""
    watch = """
import os, socket, sys
import duckdb

def forbidden(*_, **__):
    raise AssertionError("at import")

duckdb.connect = forbidden
socket.socket.connect = forbidden
for name in [name for name in os.environ if name.startswith("PLATFORM_")]:
    del os.environ[name]
os.environ["PLATFORM_HOME"] = os.environ["PLATFORM_LANDING"] = sys.argv[1]
import platform_assets.definitions
platform_assets.definitions.build_definitions()
"""
    absent = tmp_path / "absent"
    done = _python("-c", watch, str(absent))
    assert done.returncode == 0, done.stderr
    assert not absent.exists()


def _python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=PROJECT,
        env={key: value for key, value in os.environ.items() if key != "DAGSTER_HOME"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
