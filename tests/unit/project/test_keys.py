"""The key of a mart, as dbt's constraints and tests tell it."""

import json
from pathlib import Path
from typing import Any

import pytest

from platform_assets.project.keys import mart_keys

SALES = "model.shop.sales"


def of_test(name: str, arguments: dict[str, Any], **config: Any) -> dict[str, Any]:
    return {
        "resource_type": "test",
        "test_metadata": {"name": name, "kwargs": arguments},
        "config": {"severity": "ERROR", **config},
        "attached_node": SALES,
        "depends_on": {"nodes": [SALES]},
    }


def keys(folder: Path, *tests: dict[str, Any], **model: Any) -> dict[str, tuple[str, ...]]:
    node = {"resource_type": "model", "name": "sales", "alias": "sales", "columns": {}, **model}
    nodes = {SALES: node, **{f"test.shop.{n}": each for n, each in enumerate(tests)}}
    (folder / "manifest.json").write_text(json.dumps({"nodes": nodes}))
    return mart_keys(folder / "manifest.json")


UNIQUE = of_test("unique", {"column_name": "day"})
TOGETHER = of_test("unique_together", {"columns": ["shop", "day"]})


@pytest.mark.parametrize(
    ("tests", "key"),
    [
        ([UNIQUE], ("day",)),
        ([TOGETHER], ("shop", "day")),
        ([TOGETHER, UNIQUE], ("day",)),
        ([of_test("unique_combination_of_columns", {"combination_of_columns": ["a", "b"]})], ("a", "b")),
        ([of_test("not_null", {"column_name": "day"})], None),
        # What holds for some rows, or is only told of, tells no rows apart.
        ([of_test("unique", {"column_name": "day"}, where="day > '2026-01-01'")], None),
        ([of_test("unique", {"column_name": "day"}, severity="warn")], None),
    ],
)
def test_a_blocking_test_of_all_rows_says_it(tmp_path: Path, tests: list[Any], key: tuple[str, ...] | None) -> None:
    assert keys(tmp_path, *tests).get("sales") == key


def test_a_primary_key_goes_before_what_is_tested(tmp_path: Path) -> None:
    constraint = {"type": "primary_key", "columns": ["id", "shop"]}
    assert keys(tmp_path, UNIQUE, constraints=[constraint]) == {"sales": ("id", "shop")}
    column = {"id": {"name": "id", "constraints": [{"type": "primary_key"}]}}
    assert keys(tmp_path, UNIQUE, columns=column) == {"sales": ("id",)}
