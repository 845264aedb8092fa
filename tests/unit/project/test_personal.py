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
from platform_assets.engine.store.marts import check_marts
from platform_assets.orchestration.marts import _result
from platform_assets.orchestration.runs.keys import mart_key
from platform_assets.project.personal import Personal, personal_columns

ERROR = "Conversion Error: Could not convert string 'anna@x.example' to INT32"


class Buyers(Contract):
    """Who bought."""

    sku: str = Field(nullable=True, str_matches="^never$")
    whose: str = Field(nullable=True, str_matches="^never$")
    bought: int = Field(nullable=True)


BUYERS = Mart("buyers", Buyers)


def node(name: str, *folders: str) -> dict[str, Any]:
    return {
        "name": name, "alias": name, "resource_type": "model", "fqn": ["platform", *folders, name],
        "columns": {}, "raw_code": "select sku", "original_file_path": f"models/{name}.sql",
    }  # fmt: skip


def followed(feed: Feed) -> Personal:
    """Of a mart `buyers` that is made from `feed`, and one `rain` that is not."""
    manifest = {
        "sources": {"source.sales": {**node("sales"), "schema": "raw"}},
        "nodes": {
            "model.stg": node("stg", "staging"),
            "model.buyers": node("buyers", "marts"),
            "model.rain": node("rain", "marts"),
        },
        "child_map": {"source.sales": ["model.stg"], "model.stg": ["model.buyers"], "model.buyers": []},
    }
    return Personal(manifest, [feed], [BUYERS])


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


@pytest.mark.parametrize(
    ("lineage", "secret"),
    [
        (
            {
                "model.stg": {"contact": [("raw/shop/sales", "email")], "sku": [("raw/shop/sales", "sku")]},
                "model.buyers": {
                    "whose": [("staging/stg", "contact")],
                    "sku": [("staging/stg", "sku")],
                    "bought": [("staging/stg", "contact")],
                },
            },
            {"whose"},
        ),
        ({"model.buyers": {"whose": [("staging/stg", "contact")], "sku": []}}, {"whose"}),
        ({}, {"whose", "sku", "bought"}),
    ],
    ids=["renamed, or counted", "a model between cannot be traced", "nothing can be traced"],
)
def test_columns_are_followed_under_other_names(tmp_path: Path, lineage: Any, secret: set[str]) -> None:
    feed = replace(SALES, origin="shop")
    assert columns(tmp_path, feed) == {"whose", "sku", "bought"}, "before anything is noted any may be personal"
    followed(feed).note(lineage, tmp_path / "dbt")
    assert columns(tmp_path, feed) == secret


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
