"""What waits in quarantine can be understood, exported and traced, and shows no personal data."""

import csv
from pathlib import Path

import pytest
from shop import SALES, Shop, sales

from platform_assets.engine.load.trace import Trace, trace
from platform_assets.engine.store.quarantine import inert
from platform_assets.errors import ConfigurationError


def traced(shop: Shop, table: str = "raw.sales", **values: str) -> list[Trace]:
    with shop.deployment.warehouse.reading("trace") as unit:
        return trace(unit, [SALES], shop.deployment.archive, table, values, most=10)


def test_every_broken_rule_is_explained_with_rows_as_they_arrived(shop: Shop) -> None:
    shop.load("a.csv", sales("bad,-1,,,secret@x.y", "S1,1", "S2,-5", "torn,1,2,3,4,5,6,7"))
    shop.load("b.csv", "sku;x\n")
    with shop.deployment.warehouse.reading("explain") as unit:
        found = unit.quarantine(SALES).explain()
    rules = {(rule.column, rule.rule): rule for rule in found.rules}
    assert rules["quantity", "greater_than_or_equal_to(0)"].rows == 2
    (bad,) = next(rule for (column, _), rule in rules.items() if column == "sku").examples
    assert (bad.file, bad.line) == ("sales/a.csv", 2)
    assert bad.record == {"sku": "bad", "quantity": "-1", "price": None, "sold_at": None, "email": "***"}
    (torn,) = next(rule for (column, _), rule in rules.items() if column is None).examples
    assert torn.record == "***", "a record that could not be taken apart may hold personal data"
    assert [receipt.slot for receipt in found.waiting] == ["sales/b.csv"]
    assert found.rows == 3
    assert found.outdated == []


def test_an_export_runs_in_no_spreadsheet(shop: Shop, tmp_path: Path) -> None:
    shop.load("a.csv", sales("=1+1,-1", "+x,1", "@sum,1", "-2,1", '"\tx",1', "plain,1"))
    with shop.deployment.warehouse.reading("export") as unit:
        assert unit.quarantine(SALES).export(tmp_path / "out.csv") == 6
        with pytest.raises(ConfigurationError, match=r"\.csv"):
            unit.quarantine(SALES).export(tmp_path / "out.xlsx")
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["sku"] for row in rows] == ["'=1+1", "'+x", "'@sum", "'-2", "'\tx", "plain"]
    assert rows[0]["quantity"] == "'-1"
    assert rows[0]["file"] == "sales/a.csv"
    assert rows[0]["line"] == "2"


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_a_cell_that_begins_a_formula_is_inert(start: str) -> None:
    assert inert(f"{start}x") == f"'{start}x"
    assert inert(f"x{start}") == f"x{start}"


def test_a_row_is_traced_to_its_file_line_and_record(shop: Shop) -> None:
    shop.load("a.csv", sales("S1,1", "S2,2,,,a@b"))
    shop.load("b.csv", sales("S3,3"))
    (found,) = traced(shop, sku="S2", quantity="2")
    assert (found.file, found.line) == ("sales/a.csv", 3)
    assert found.record == {"sku": "S2", "quantity": "2", "price": None, "sold_at": None, "email": "***"}
    assert traced(shop, sku="' OR 1=1 --") == []


def test_what_cannot_be_traced_says_why(shop: Shop) -> None:
    with pytest.raises(ConfigurationError, match="not in the warehouse"):
        traced(shop, "raw.nonsense")
    with pytest.raises(ConfigurationError, match="does not keep"):
        traced(shop, "ledger.given_out")
    with pytest.raises(ConfigurationError, match="Its columns are"):
        traced(shop, nonsense="1")


def test_a_row_whose_copy_is_gone_is_still_placed(shop: Shop) -> None:
    receipt = shop.load("a.csv", sales("S1,1"))
    (shop.deployment.archive.root / str(receipt.archived)).unlink()
    (found,) = traced(shop, sku="S1")
    assert (found.file, found.line, found.record) == ("sales/a.csv", 2, None)
