"""Rejected rows, exported, mended and delivered again: they come in right, whatever the format of their delivery."""

import gzip
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from shop import SALES, Shop, sales

from platform_assets.engine.contract.model import Contract, Field
from platform_assets.engine.feed.feed import Files, seconds
from platform_assets.engine.feed.formats import Csv
from platform_assets.engine.load.export import Exported, export_rows
from platform_assets.errors import ConfigurationError


class Orders(Contract):
    """Orders of a shop. Grain: order."""

    number: str = Field(source=("No", "Number"), str_matches=r"^\d{5}$")
    note: str = Field(source="Note", nullable=True)
    amount: Decimal = Field(source="Amount", ge=0)
    at: datetime = Field(source="At", nullable=True)


def orders(folder: Path, form: Csv | None = None, **declared: Any) -> Shop:
    source = Files("sales/*.csv", "sales/*.csv.gz", "sales/*.ndjson", format=form, settle=seconds(0))
    shop = Shop(folder, replace(SALES, contract=Orders, event_time="at", source=source, **declared))
    shop.landing.mkdir(parents=True)
    shop.deployment.prepare()
    return shop


def export(shop: Shop, to: Path, *deliveries: int) -> Exported:
    deployment = shop.deployment
    with deployment.warehouse.reading("export") as unit:
        return export_rows(unit, shop.feed, deployment.archive, to, deliveries)


FORMS = {
    "comma": (Csv(), "utf-8", ","),
    "semicolon, cp1252": (Csv(delimiter=";", encoding="cp1252"), "cp1252", ";"),
    "utf-16": (Csv(delimiter="\t", encoding="utf-16"), "utf-16", "\t"),
    "with a mark": (Csv(), "utf-8-sig", ","),
    "words for nothing, and lines before": (Csv(skip=2, nulls=("n/a",), delimiter="|"), "utf-8", "|"),
}


@pytest.mark.parametrize("form", FORMS, ids=FORMS)
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "packed"])
def test_exported_mended_and_delivered_again_the_rows_come_in_right(tmp_path: Path, form: str, *, packed: bool) -> None:
    declared, encoding, mark = FORMS[form]
    shop = orders(tmp_path, declared)
    before = "Orders of May\nin pounds\n" if declared.skip else ""
    nothing = "n/a" if declared.nulls else ""
    records = [
        ("00001", "sound", "1.5", "2026-03-01T10:00:00Z"),
        ("00002", '"two\nlines, ""quoted"""', "x", ""),
        ("00003", " é with blanks ", "x", nothing),
        ("0004", "too short a number", "2.5", ""),
        ("00005", nothing, "=x", "2026-03-01T10:00:00Z"),
    ]
    text = before + "".join(mark.join(line) + "\n" for line in [("No", "Note", "Amount", "At"), *records])
    data = text.encode(encoding)
    shop.load(*(("a.csv.gz", gzip.compress(data)) if packed else ("a.csv", data)))
    assert len(shop.rejected()) == 4
    (file,) = export(shop, tmp_path / "out.csv").files
    assert (file.rows, file.deliveries, file.path.stat().st_mode & 0o777) == (4, 1, 0o600)
    exported = file.path.read_bytes().decode(encoding)
    assert exported == text.replace(mark.join(records[0]) + "\n", "")
    mended = exported.replace("=x", "4.0").replace(f"{mark}x{mark}", f"{mark}3.25{mark}").replace("0004", "00004")
    receipt = shop.load("mended.csv", mended.encode(encoding))
    assert (receipt.read, receipt.accepted, receipt.rejected) == (4, 4, 0)
    assert shop.query('SELECT number, note, amount::VARCHAR, "at" IS NULL FROM raw.sales ORDER BY 1') == [
        ("00001", "sound", "1.5000", False),
        ("00002", 'two\nlines, "quoted"', "3.2500", True),
        ("00003", " é with blanks ", "3.2500", True),
        ("00004", "too short a number", "2.5000", True),
        ("00005", None, "4.0000", False),
    ]


def test_rows_of_different_headers_go_to_files_of_their_own(tmp_path: Path) -> None:
    shop = orders(tmp_path, on_drift="rescue")
    shop.load("a.csv", "No,Note,Amount,At\n00001,,x,\n00002,,1.0,\n")
    shop.load("b.csv", "Amount,Number,Note,At,Extra\nx,00003,,,kept\n")
    shop.load("c.csv", "No,Note,Amount,At\n00004,,x,\n")
    done = export(shop, tmp_path / "out.csv")
    told = [(each.path.name, each.rows, each.deliveries) for each in done.files]
    assert told == [("out.csv", 2, 2), ("out-2.csv", 1, 1)]
    assert (tmp_path / "out.csv").read_text() == "No,Note,Amount,At\n00001,,x,\n00004,,x,\n"
    second = (tmp_path / "out-2.csv").read_text()
    assert second == "Amount,Number,Note,At,Extra\nx,00003,,,kept\n"
    assert shop.load("d.csv", second.replace("x,", "1.0,")).accepted == 1
    assert shop.query("SELECT _extra->>'Extra' FROM raw.sales WHERE number = '00003'") == [("kept",)]
    assert export(shop, tmp_path / "one.csv", 3).files[0].rows == 1


def test_what_could_not_be_taken_apart_is_exported_as_it_came(tmp_path: Path) -> None:
    shop = orders(tmp_path)
    shop.load("a.csv", "No,Note,Amount,At\n00001,torn,a,b,c,d\n00002,,1.0,")
    export(shop, tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text() == "No,Note,Amount,At\n00001,torn,a,b,c,d\n"


def test_objects_of_json_lines_keep_what_is_null_and_what_is_empty(tmp_path: Path) -> None:
    shop = orders(tmp_path)
    lines = ['{"No": "00001", "Note": null, "Amount": "x", "At": null}', '{"No": "00002", "Note": "", "Amount": "x"}']
    text = "".join(f"{line}\n" for line in lines).replace('"x"}', '"x", "At": null}')
    shop.load("a.ndjson", text)
    export(shop, tmp_path / "out.ndjson")
    assert (tmp_path / "out.ndjson").read_text() == text
    assert shop.load("b.ndjson", text.replace('"x"', '"1.0"')).accepted == 2


def test_rows_of_no_text_are_not_exported_so(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    shop.landing.mkdir()
    shop.deployment.prepare()
    columns = {"sku": ["bad"], "quantity": [1], "price": [None], "sold_at": [None], "email": [None]}
    pl.DataFrame(columns, schema_overrides=dict.fromkeys(("price", "sold_at", "email"), pl.String)).write_parquet(
        tmp_path / "a.parquet"
    )
    shop.load("a.parquet", (tmp_path / "a.parquet").read_bytes())
    assert len(shop.rejected()) == 1
    with pytest.raises(ConfigurationError, match="is no plain text of lines"):
        export(shop, tmp_path / "out.csv")
    assert not (tmp_path / "out.csv").exists()


def test_without_rejected_rows_there_is_no_file(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    shop.landing.mkdir()
    shop.deployment.prepare()
    shop.load("a.csv", sales("S1,1"))
    assert export(shop, tmp_path / "out.csv").files == []
    assert not (tmp_path / "out.csv").exists()
