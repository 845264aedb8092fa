"""The contract against what deliveries held, and the history of their headers."""

from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Final

import pytest
import yaml
from shop import SALES, OpenSales, Sales, Shop, sales

from platform_assets.engine.author.drift import ColumnSeen, Drift, compare
from platform_assets.engine.author.headers import HeaderSeen, headers
from platform_assets.engine.contract.model import Contract, Field, columns_of
from platform_assets.engine.feed.feed import Rejects
from platform_assets.errors import ContractError
from platform_assets.project.dbt_sources import drifted_sources, gained_columns, sources_file, write_sources

WIDER: Final = "sku,quantity,price,sold_at,email,Channel"


def drift(shop: Shop) -> Drift:
    with shop.deployment.warehouse.reading("compare") as unit:
        return compare(unit, shop.feed, shop.deployment.archive.root)


def history(shop: Shop) -> list[HeaderSeen]:
    with shop.deployment.warehouse.reading("compare") as unit:
        return headers(unit, shop.feed, shop.deployment.archive.root)


def column(report: Drift, name: str) -> ColumnSeen:
    (found,) = (seen for seen in report.columns if seen.column == name)
    return found


def says(report: Drift, name: str | None, *, drift: bool = False) -> str:
    """What is found of a column, as one text."""
    return "\n".join(each.finding for each in report.findings if each.column == name and each.drift == drift)


# ---- headers


def test_every_header_is_told_once_with_its_first_and_last_delivery(shop: Shop) -> None:
    shop.declare(contract=OpenSales, on_drift="add")
    shop.load("1.csv", sales("A1,1"))
    shop.load("2.csv", sales("A2,1"))
    shop.load("3.csv", sales("A3,1,,,,web", header=WIDER))
    old, new = history(shop)
    assert (old.deliveries, old.first.file, old.last.file) == (2, "sales/1.csv", "sales/2.csv")
    assert (old.missing, old.unknown, old.added) == ((), (), ())
    assert (new.deliveries, new.first.file, new.added, new.unknown) == (1, "sales/3.csv", ("Channel",), ("Channel",))
    assert new.first.arrived_at >= old.last.arrived_at


def test_a_renamed_column_is_recognised_in_a_delivery_that_waits(shop: Shop) -> None:
    shop.load("1.csv", sales("A1,1"))
    shop.load("2.csv", sales("A2,1", header="sku,qty_sold,price,sold_at,e-mail"))
    _, waiting = history(shop)
    assert waiting.waiting
    assert waiting.missing == ("quantity", "email")
    assert ("email", "e-mail") in waiting.renamed
    report = drift(shop)
    assert report.drifted
    assert "sales/2.csv, which waits in quarantine: declare it optional" in says(report, "quantity", drift=True)
    assert "perhaps e-mail is email renamed" in says(report, "email", drift=True)


def test_another_order_is_another_header_and_no_drift(shop: Shop) -> None:
    shop.load("1.csv", sales("A1,1"))
    shop.load("2.csv", sales("1,A2", header="quantity,sku,price,sold_at,email"))
    _, other = history(shop)
    assert (other.added, other.gone, other.renamed) == ((), (), ())
    assert not drift(shop).drifted


# ---- unknown columns


def test_a_column_that_raw_gained_is_told_with_a_line_to_paste(shop: Shop) -> None:
    shop.declare(contract=OpenSales, on_drift="add")
    shop.load("1.csv", sales("A1,1"))
    shop.load("2.csv", sales("A2,1,,,,01.03.2026", "A3,1,,,,24.12.2026", header=WIDER))
    report = drift(shop)
    (unknown,) = report.unknown
    assert (unknown.header, unknown.since, unknown.deliveries, unknown.kind) == (
        "Channel",
        "sales/2.csv",
        1,
        "date",
    )
    assert unknown.went == "column Channel of raw, as text"
    assert unknown.declaration.endswith(
        'channel: date = Field(source="Channel", format="%d.%m.%Y", nullable=True, optional=True)'
    )
    assert report.drifted


def test_a_column_that_was_rescued_is_read_from_extra(shop: Shop) -> None:
    shop.declare(contract=OpenSales, on_drift="rescue")
    shop.load("1.csv", sales("A2,1,,,,7", header="sku,quantity,price,sold_at,email,a/b~c"))
    (unknown,) = drift(shop).unknown
    assert (unknown.header, unknown.kind, unknown.went) == ("a/b~c", "integer", "_extra of raw, as JSON")


def test_a_column_that_quarantined_its_delivery_is_read_from_the_archive(shop: Shop) -> None:
    shop.declare(contract=OpenSales)
    shop.load("1.csv", sales("A2,1,,,,web", header=WIDER))
    report = drift(shop)
    (unknown,) = report.unknown
    assert (unknown.header, unknown.kind) == ("Channel", "text")
    assert "archive only; 1 deliveries wait in quarantine" in unknown.went
    assert report.drifted


class WithText(Sales):
    """Sales with the channel they were made by."""

    channel: str = Field(source="Channel", nullable=True)


class WithNumber(Sales):
    """Sales with the number of the channel they were made by."""

    channel: int = Field(source="Channel", nullable=True)


def test_a_column_of_raw_that_is_declared_afterwards_keeps_its_values(shop: Shop) -> None:
    shop.declare(on_drift="add")
    shop.load("1.csv", sales("A1,1,,,,7", header=WIDER))
    shop.declare(contract=WithText)
    assert shop.rows("sku, channel") == [("A1", "7")]
    report = drift(shop)
    assert report.unknown == ()
    assert not report.drifted
    assert gained_columns(shop.deployment) == {"sales": []}


def test_declared_afterwards_with_another_type_it_is_drift_until_the_feed_is_replayed(shop: Shop) -> None:
    shop.declare(on_drift="add")
    shop.load("1.csv", sales("A1,1,,,,7", header=WIDER))
    shop.declare(contract=WithNumber)
    with pytest.raises(ContractError, match=r'is BIGINT now, but raw\."sales" holds VARCHAR'):
        shop.ingest()
    assert "but raw holds VARCHAR: platform replay sales" in says(drift(shop), "channel", drift=True)
    shop.deployment.replay(shop.feed)
    assert shop.rows("sku, channel") == [("A1", 7)]
    assert not drift(shop).drifted


# ---- values


def test_rejected_rows_are_told_by_rule_with_share_and_values(shop: Shop) -> None:
    shop.load("1.csv", sales("A1,1", "A2,twelve", "A3,13.5", "bad,4", "A4,-1,,,nobody"))
    report = drift(shop)
    rules = {broken.rule: broken for broken in column(report, "quantity").broken}
    assert rules["integer"].rows == 2
    assert rules["integer"].share == pytest.approx(0.4)
    assert set(rules["integer"].values) == {"twelve", "13.5"}
    assert [broken.values for broken in column(report, "email").broken] == [("***",)], "personal data is masked"
    assert "2 rows (40.00% of those read) break integer" in says(report, "quantity")
    assert "1 deliveries had more rows rejected than tolerated" in says(report, None, drift=True)


def test_tolerated_rejections_are_no_drift(shop: Shop) -> None:
    shop.declare(tolerate=Rejects(rows=5))
    shop.load("1.csv", sales("A1,1", "A2,twelve"))
    assert not drift(shop).drifted


def test_nulls_and_bounds_are_told(shop: Shop) -> None:
    shop.load("1.csv", sales("A1,1,2.5", "A2,7,1.25", "A3,3"))
    report = drift(shop)
    price, quantity = column(report, "price"), column(report, "quantity")
    assert (price.rows, price.nulls, price.lowest, price.highest) == (3, 1, "1.2500", "2.5000")
    assert (quantity.lowest, quantity.highest) == ("1", "7")
    assert column(report, "email").lowest is None, "personal data"


def test_nullable_that_never_was_null_is_a_hint(shop: Shop) -> None:
    shop.load("1.csv", sales("A1,1,2.5"))
    report = drift(shop)
    assert "none of 1 rows is NULL" in says(report, "price")
    assert "NULL" not in says(report, "sold_at")
    assert not report.drifted


class Shelf(Contract):
    """What a shelf holds. Grain: article."""

    sku: str = Field(source=("sku", "article"))
    state: str = Field(isin=["open", "closed", "lost"])
    units: str = Field()
    weight: str = Field()


def test_text_that_is_numbers_all_along_and_headers_and_words_never_seen_are_hints(shop: Shop) -> None:
    shop.feed = replace(SALES, contract=Shelf, event_time=None, tolerate=Rejects(rows=9))
    shop.deployment.prepare()
    rows = ("A,open,1,1.5", "B,closed,2,2.5", "C,Open ,3,3.5")
    shop.load("1.csv", sales(*rows, header="sku,state,units,weight"))
    report = drift(shop)
    assert "all of 2 looked at are int" in says(report, "units")
    assert "all of 2 looked at are Decimal" in says(report, "weight")
    assert "never came under article" in says(report, "sku")
    assert "never held lost, which isin allows" in says(report, "state")
    assert "'Open ' is rejected, and nearly 'open'" in says(report, "state")
    assert not report.drifted


def test_a_format_that_no_value_has_is_a_hint(shop: Shop) -> None:
    class Days(Contract):
        """Days."""

        day: str = Field()
        on: date = Field(format=("%Y-%m-%d", "%d.%m.%Y"))

    shop.feed = replace(SALES, contract=Days, event_time=None)
    shop.deployment.prepare()
    shop.load("1.csv", sales("a,2026-03-01", header="day,on"))
    assert "no value of the newest 1 deliveries has the format %d.%m.%Y" in says(drift(shop), "on")


def test_an_empty_warehouse_tells_the_contract_and_no_drift(shop: Shop) -> None:
    report = drift(shop)
    assert tuple(seen.declared for seen in report.columns) == columns_of(Sales)
    assert (report.unknown, report.findings, report.read) == ((), (), 0)
    assert history(shop) == []


# ---- dbt's sources


def test_sources_mark_what_raw_gained_and_the_check_ignores_it(shop: Shop, tmp_path: Path) -> None:
    feeds = [replace(shop.feed, contract=OpenSales, origin="shop", on_drift="add")]
    shop.declare(contract=OpenSales, on_drift="add", origin="shop")
    shop.load("1.csv", sales("A1,1"))
    file = sources_file("shop", [tmp_path])
    assert write_sources(feeds, gained_columns(shop.deployment), [tmp_path]) == [file]
    assert write_sources(feeds, folders=[tmp_path]) == [], "nothing gained, nothing said"
    shop.load("2.csv", sales("A2,1,,,,web", header=WIDER))
    assert write_sources(feeds, gained_columns(shop.deployment), [tmp_path]) == [file]
    (table,) = yaml.safe_load(file.read_text())["sources"][0]["tables"]
    assert table["columns"][-1] == {
        "name": "Channel",
        "description": "Arrived undeclared with delivery 2 (sales/2.csv).",
        "data_type": "varchar",
        "config": {"meta": {"undeclared": True}},
    }
    assert drifted_sources(feeds, [tmp_path]) == []
    file.write_text(file.read_text().replace("data_type: bigint", "data_type: integer", 1))
    assert drifted_sources(feeds, [tmp_path]) == [file]


def test_each_origin_has_its_sources_beside_its_staging_models(shop: Shop, tmp_path: Path) -> None:
    ours, sample = tmp_path / "models", tmp_path / "sample" / "models"
    (sample / "staging" / "retail").mkdir(parents=True)
    feeds = [replace(shop.feed, name=origin, origin=origin) for origin in ("shop", "retail")]
    there = [sample / "staging/retail/_retail__sources.yml", ours / "staging/shop/_shop__sources.yml"]
    assert write_sources(feeds, folders=[ours, sample]) == there
    assert drifted_sources(feeds, [ours, sample]) == []
    by_hand = there[1].with_name("_erp__sources.yml")
    by_hand.write_text("version: 2")
    assert drifted_sources(feeds[1:], [ours, sample]) == [there[1]], "a feed that is gone leaves no source"
    assert write_sources(feeds[1:], folders=[ours, sample]) == [there[1]]
    assert (there[1].exists(), by_hand.exists()) == (False, True)


def test_without_a_warehouse_nothing_is_gained(tmp_path: Path) -> None:
    assert gained_columns(Shop(tmp_path).deployment) == {}
    assert not (tmp_path / "home").exists()
