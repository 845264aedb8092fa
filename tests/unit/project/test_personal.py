"""Personal data is followed through dbt's models: what is said of them, which columns hold it, which rows are shown."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pytest
from shop import SALES, OpenSales, Shop

from platform_assets.engine.contract.model import Contract, Field
from platform_assets.engine.feed.feed import Feed
from platform_assets.engine.feed.mart import Mart
from platform_assets.engine.store.marts import BuiltTable, check_marts
from platform_assets.orchestration.marts import _result
from platform_assets.orchestration.runs.keys import mart_key
from platform_assets.project.lineage import Origins, lineage_of, note_origins, noted_origins
from platform_assets.project.personal import Personal, PersonalColumn, personal_columns, personal_of

ERROR = "Conversion Error: Could not convert string 'anna@x.example' to INT32"


class Buyers(Contract):
    """Who bought."""

    sku: str = Field(nullable=True, str_matches="^never$")
    whose: str = Field(nullable=True, str_matches="^never$")
    bought: int = Field(nullable=True)


BUYERS = Mart("buyers", Buyers)


def node(name: str, *folders: str) -> dict[str, Any]:
    return {
        "name": name, "resource_type": "model", "fqn": ["platform", *folders, name], "raw_code": "select sku",
        "columns": {}, "original_file_path": f"models/{name}.sql", "package_name": "platform", "alias": name,
        "config": {"materialized": "table"}, "language": "sql", "database": "warehouse", "unique_id": f"model.{name}",
        "schema": "main" if "marts" in folders else "staging", "depends_on": {"macros": [], "nodes": []},
        "relation_name": f"warehouse.{(*folders, 'raw')[0]}.{name}",
    }  # fmt: skip


SOURCE = {
    **node("sales"), "resource_type": "source", "schema": "raw", "source_name": "shop", "identifier": "sales",
    "config": {"meta": {"dagster": {"asset_key": ["raw", "shop", "sales"]}}}, "unique_id": "source.sales",
}  # fmt: skip
MANIFEST: dict[str, Any] = {
    "sources": {"source.sales": SOURCE},
    "nodes": {
        "model.stg": node("stg", "staging"),
        "model.buyers": node("buyers", "marts"),
        "model.rain": node("rain", "marts"),
    },
    "macros": {},
    "child_map": {"source.sales": ["model.stg"], "model.stg": ["model.buyers"], "model.buyers": []},
    "parent_map": {"model.stg": ["source.sales"], "model.buyers": ["model.stg"], "model.rain": []},
}
"""A mart `buyers` that is made from the feed, and one `rain` that is not."""


def followed(feed: Feed, manifest: dict[str, Any] = MANIFEST) -> Personal:
    return Personal(manifest, [feed], [BUYERS])


def build(home: Path, feed: Feed, staging: str, mart: str, manifest: dict[str, Any] = MANIFEST) -> None:
    """As a build does it: dbt has compiled the models, the tables are there, and what they are made from is noted."""
    target = home / "dbt"
    models = target / "compiled/platform/models"
    models.mkdir(parents=True)
    (models / "stg.sql").write_text(staging)
    (models / "buyers.sql").write_text(mart)
    raw = {column.name: column.sql_type for column in feed.columns} | {"_extra": "JSON"}
    tables = {
        ("raw", "sales"): BuiltTable(raw, None),
        ("staging", "stg"): BuiltTable(dict.fromkeys(("contact", "sku"), "VARCHAR"), None),
        ("main", "buyers"): BuiltTable({"sku": "VARCHAR", "whose": "VARCHAR", "bought": "BIGINT"}, 1),
    }
    nodes = {
        key: {**each, "raw_code": mart if key == "model.buyers" else staging} for key, each in manifest["nodes"].items()
    }
    manifest = {**manifest, "nodes": nodes}
    personal = followed(feed, manifest)
    lineage = lineage_of(manifest, tables, target, personal.may_name)
    note_origins(lineage, manifest, tables, [feed], personal.may_name, target)


def columns(home: Path, feed: Feed) -> set[str]:
    return set(personal_columns([BUYERS], [feed], home)["buyers"])


def test_of_nodes_that_are_made_from_personal_data_dbt_is_quoted_without_values() -> None:
    personal = followed(SALES)
    assert personal
    assert personal.told(ERROR, "model.buyers") == "Conversion Error: Could not convert string '…' to INT32"
    assert personal.told(ERROR, None) == personal.told(ERROR, "model.stg")
    assert personal.told(ERROR, "model.rain") == ERROR
    assert not personal.may_name("model.stg", "Anna Smith")
    assert personal.may_name("model.stg", "sku")
    assert personal.may_name("model.rain", "Anna Smith")


def test_without_personal_data_dbt_is_quoted_as_it_is() -> None:
    personal = followed(replace(SALES, contract=OpenSales))
    assert not personal
    assert personal.told(ERROR, None) == ERROR


STAGING = "select email as contact, sku from raw.sales"
PLAIN = "select sku, contact as whose, count(contact) as bought from staging.stg group by all"


@pytest.mark.parametrize(
    ("staging", "mart", "secret"),
    [
        (STAGING, PLAIN, {"whose"}),
        (STAGING, "select sku, '' as whose, cast(contact as bigint) as bought from staging.stg", {"bought"}),
        (STAGING, "select sku, case when contact is null then 'no' end as whose, 1 as bought from staging.stg", set()),
        (STAGING, "select sku, email as whose, 1 as bought from raw.sales", {"whose"}),
        (STAGING, "select sku, _extra as whose, 1 as bought from raw.sales", {"whose"}),
        ("frobnicate contact, sku", "select 'S1' as sku, contact as whose, 1 as bought from staging.stg", {"whose"}),
        (STAGING, "frobnicate sku, whose, bought", {"whose", "sku", "bought"}),
        (STAGING, "select sku, record as whose, 1 as bought from quarantine.sales", {"whose", "sku"}),
    ],
    ids=[
        "renamed, or counted", "a number that is no count", "a condition", "past staging", "what nobody declared",
        "a model between cannot be followed", "nothing can be followed", "quarantine",
    ],
)  # fmt: skip
def test_columns_are_followed_under_other_names(tmp_path: Path, staging: str, mart: str, secret: set[str]) -> None:
    feed = replace(SALES, origin="shop")
    assert columns(tmp_path, feed) == {"whose", "sku", "bought"}, "before anything is noted any may be personal"
    build(tmp_path, feed, staging, mart)
    assert columns(tmp_path, feed) == secret


@pytest.mark.parametrize(
    "changed",
    [
        {"language": "python"},
        {"config": {"materialized": "table", "post-hook": [{"sql": "update {{ this }} set sku = 'anna'"}]}},
        {"config": {"materialized": "a_macro_of_the_team"}},
    ],
    ids=["a Python model", "a hook that may write anything", "a materialization of the team's own"],
)
def test_what_sql_does_not_tell_may_be_from_anything_above(tmp_path: Path, changed: dict[str, Any]) -> None:
    feed = replace(SALES, origin="shop")
    nodes = {**MANIFEST["nodes"], "model.buyers": MANIFEST["nodes"]["model.buyers"] | changed}
    build(tmp_path, feed, STAGING, PLAIN, {**MANIFEST, "nodes": nodes})
    assert columns(tmp_path, feed) == {"whose", "sku", "bought"}
    (whose,) = [each for each in personal_of(BUYERS, noted_origins(tmp_path)["buyers"], [feed]) if each.name == "whose"]
    assert whose == PersonalColumn("whose", ("sales",), followed=False)


def test_a_mart_that_names_a_table_rather_than_its_source_is_made_from_it_all_the_same(tmp_path: Path) -> None:
    feed = replace(SALES, origin="shop")
    loose = {
        **MANIFEST["nodes"],
        "model.buyers": node("buyers", "marts") | {"raw_code": 'select email from "raw"."sales"'},
    }
    manifest = {**MANIFEST, "nodes": loose, "parent_map": {}, "child_map": {"source.sales": []}}
    assert followed(feed, manifest).reaches("model.buyers")
    build(tmp_path, feed, STAGING, "frobnicate 'raw'.sales, raw.sales as sku, whose, bought", manifest)
    assert columns(tmp_path, feed) == {"whose", "sku", "bought"}


def test_a_mark_that_comes_later_counts_at_once(tmp_path: Path) -> None:
    """What is noted is what columns are made from; what of that is personal, today's contracts say."""
    build(tmp_path, replace(SALES, origin="shop", contract=OpenSales), STAGING, PLAIN)
    assert columns(tmp_path, replace(SALES, origin="shop", contract=OpenSales)) == set()
    assert columns(tmp_path, replace(SALES, origin="shop")) == {"whose"}


def test_a_snapshot_carries_what_it_is_taken_of_and_a_hash_of_its_key(tmp_path: Path) -> None:
    feed = replace(SALES, origin="shop")
    taken = node("stg") | {
        "resource_type": "snapshot", "unique_id": "snapshot.stg", "schema": "snapshots",
        "raw_code": "select email as contact, sku from {{ source('shop', 'sales') }}",
        "depends_on": {"macros": [], "nodes": ["source.sales"]},
        "config": {"materialized": "snapshot", "unique_key": "contact", "strategy": "check"},
    }  # fmt: skip
    manifest = {**MANIFEST, "nodes": {"snapshot.stg": taken}}
    raw = {column.name: column.sql_type for column in feed.columns}
    added = ("dbt_scd_id", "dbt_valid_from")
    tables = {
        ("raw", "sales"): BuiltTable(raw, None),
        ("snapshots", "stg"): BuiltTable(dict.fromkeys(("contact", "sku", *added), "VARCHAR"), 1),
    }
    (tmp_path / "dbt").mkdir()
    lineage = lineage_of(manifest, tables, tmp_path / "dbt", lambda *_: True)
    origins = Origins(lineage, manifest, [feed])
    assert {column: origins.of("snapshots/stg", column) for column in ("contact", "sku", *added)} == {
        "contact": (("sales", "email"),), "sku": (("sales", "sku"),),
        "dbt_scd_id": (("sales", "email"),), "dbt_valid_from": (),
    }  # fmt: skip


def test_samples_of_a_mart_do_not_show_them(shop: Shop) -> None:
    with duckdb.connect(str(shop.deployment.warehouse.marts)) as marts:
        marts.execute("CREATE TABLE buyers AS SELECT 'S1' AS sku, 'anna' AS whose, 1 AS bought")
    report = check_marts([BUYERS], shop.deployment.warehouse, {"buyers": ["whose"]})[BUYERS]
    assert {sample["column"]: sample["value"] for sample in report.samples} == {"sku": "S1", "whose": "***"}


def test_a_broken_mart_names_column_rule_count_and_rows_without_them(shop: Shop) -> None:
    with duckdb.connect(str(shop.deployment.warehouse.marts)) as marts:
        marts.execute(
            "CREATE TABLE buyers AS SELECT 'S' || i AS sku, NULL::VARCHAR AS whose, i AS bought FROM range(3) t(i)"
        )
        marts.execute("INSERT INTO buyers VALUES (NULL, 'anna', 7), (NULL, NULL, 8)")
    report = check_marts([BUYERS], shop.deployment.warehouse, {"buyers": ["whose"]})[BUYERS]
    assert (report.rows, report.broken) == (5, 4)
    rule = next(column for column in BUYERS.columns if column.name == "sku").rules[0]
    assert report.rules == (("sku", rule, 3), ("whose", rule, 1))
    assert {sample["row"] for sample in report.samples} >= {
        "sku=S0, whose=, bought=0", "sku=, whose=***, bought=7"
    }  # fmt: skip
    result = _result(mart_key("buyers"), report)
    assert result.passed is False
    assert result.description == (
        f"4 of 5 rows break the contract: `sku`: `{rule}` (3 rows), `whose`: `{rule}` (1 row)"
    )
    assert {"broken_rules", "samples", "runbook"} <= set(result.metadata)
    assert "anna" not in str(result.metadata)
