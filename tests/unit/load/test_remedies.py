"""A remedy was tried on the delivery before it is told: following it loads exactly what was delivered."""

import gzip
import io
import json
import re
from decimal import Decimal
from pathlib import Path

import openpyxl
import pytest
from shop import FILES, HEADER, OpenSales, Shop

from platform_assets.engine.contract.model import Contract, Field
from platform_assets.engine.feed.feed import Files, seconds
from platform_assets.engine.feed.formats import Csv, Format, Json, Xml

ROWS = [
    {"sku": f"S{n}", "quantity": f"{n}", "price": f"{n}.25", "sold_at": "2026-03-01T10:00:00Z", "email": f"José, {n}@x"}
    for n in range(10, 50)
]
NAMES = HEADER.split(",")


def delimited(delimiter: str = ",", quote: str = '"', *, header: str | None = None) -> str:
    """The rows, every text quoted."""
    lines = [delimiter.join(f"{quote}{name}{quote}" for name in NAMES) if header is None else header]
    lines += [delimiter.join(f"{quote}{value}{quote}" for value in row.values()) for row in ROWS]
    return "\n".join(filter(None, lines)) + "\n"


def workbook() -> bytes:
    book, content = openpyxl.Workbook(), io.BytesIO()
    assert book.active is not None
    book.active.append(NAMES)
    for row in ROWS:
        book.active.append([row["sku"], int(row["quantity"]), row["price"], row["sold_at"], row["email"]])
    book.save(content)
    return content.getvalue()


def declare(shop: Shop, form: Format | None) -> None:
    shop.declare(contract=OpenSales, source=Files("sales/*", settle=seconds(0), format=form), on_drift="add")


# What is delivered, under which name, what of its format is declared.
FOLLOWED: dict[str, tuple[str | bytes, str, Format | None]] = {
    "another delimiter": (delimited(";"), "a.csv", Csv(delimiter=",")),
    "another quote": (delimited(",", "'"), "a.csv", None),
    "another quote, delimiter declared": (delimited(",", "'"), "a.csv", Csv(delimiter=",")),
    "lines before the header": ("Sales\nof March, 2026\n\n" + delimited(), "a.csv", None),
    "lines before it, and another delimiter": ("Sales: a, b\n" + delimited(";"), "a.csv", Csv(delimiter=",")),
    "no header": (delimited(header=""), "a.csv", None),
    "names in another language": (delimited(header="Artikel,Menge,Preis,Verkauft,Post"), "a.csv", None),
    "names with digits": (delimited(header="F1,F2,F3,F4,F5"), "a.csv", None),
    "a title and no header": ("Sales\n" + delimited(header=""), "a.csv", None),
    "UTF-16 without a mark": (delimited().encode("utf-16-le"), "a.csv", None),
    "UTF-16 of the other order": (delimited().encode("utf-16-be"), "a.csv", None),
    "one byte a character": (delimited().encode("cp1252"), "a.csv", None),
    "an encoding that is not declared in JSON": (json.dumps(ROWS, ensure_ascii=False).encode("cp1252"), "a.json", None),
    "JSON in UTF-16": (json.dumps(ROWS).encode("utf-16-be"), "a.json", None),
    "records within a document": (json.dumps({"meta": {"n": 1}, "data": {"rows": ROWS}}), "a.json", None),
    "a workbook": (workbook(), "a.csv", None),
    "gzip": (gzip.compress(delimited().encode()), "a.csv", None),
    "JSON under a name of CSV": (json.dumps(ROWS, indent=1), "a.csv", None),
    "lines of JSON under a name of CSV": ("\n".join(map(json.dumps, ROWS)), "a.csv", None),
    "a document under a name of lines": (json.dumps(ROWS, indent=1), "a.ndjson", None),
    "CSV under a name of JSON": (delimited(), "a.json", None),
    "records of XML": (
        "<shop><head>x</head><sales>" + "".join(
            "<sale>" + "".join(f"<{name}>{value}</{name}>" for name, value in row.items()) + "</sale>" for row in ROWS
        ) + "</sales></shop>", "a.xml", None),
}  # fmt: skip


@pytest.mark.parametrize("case", FOLLOWED)
def test_a_remedy_that_is_followed_loads_what_was_delivered(shop: Shop, case: str) -> None:
    content, name, form = FOLLOWED[case]
    declare(shop, form)
    receipt = shop.load(name, content)
    assert receipt.status == "quarantined"
    remedy = receipt.remedy or ""
    if said := re.search(r"format=((?:Csv|Json|Xml)\(.*?\))(?:[:.]|$)", remedy):
        form = eval(said[1], {"Csv": Csv, "Json": Json, "Xml": Xml})
    elif said := re.search(r"ends in (\.\w+)", remedy):
        name = name + said[1] if said[1] == ".gz" else Path(name).stem + said[1]
    else:
        pytest.fail(f"{receipt.problem}: {remedy}")
    (shop.landing / "sales" / receipt.slot.removeprefix("sales/")).unlink()
    declare(shop, form if name.endswith(Path(receipt.slot).suffix) else None)
    shop.deliver(name, content)
    receipts = shop.ingest().receipts
    assert [(each.status, each.rejected) for each in receipts][-1] == ("accepted", 0), (remedy, receipts[-1].problem)
    expected = sorted((row["sku"], int(row["quantity"]), Decimal(row["price"]), row["email"]) for row in ROWS)
    assert shop.rows("sku, quantity, price, email") == expected


NONE_HELPS: dict[str, tuple[str | bytes, str, str]] = {
    "a web page": ("<!DOCTYPE html><html><body>Log in</body></html>", "a.csv", "a web page (HTML)"),
    "a PDF": (b"%PDF-1.7\n\xff\xfe", "a.csv", "a PDF document"),
    "an archive of something else": (b"PK\x03\x04 nothing of ours", "a.csv", "a zip archive"),
    "UTF-8 with one byte that is not": (
        delimited().encode().replace("é".encode(), b"\xe9", 1),
        "a.csv",
        "is not utf-8",
    ),
    "columns of something else": ("name,city\nAnn,Bath\nBob,Cork\n", "a.csv", "missing columns"),
    "a list of numbers": ("[1, 2, 3]", "a.json", "no object with fields in 3 records: not a JSON object"),
    "objects without a field": ("[{}, {}]", "a.json", "no object with fields in 2 records"),
    "lines of no JSON": ("a\nb\n", "a.ndjson", "no object with fields in 2 records: not JSON"),
    "a scalar": ('"text"', "a.json", "neither a list nor an object"),
    "a header that is cut": ('"sku,quantity\n1,2\n', "a.csv", "the middle of the header"),
}


@pytest.mark.parametrize("case", NONE_HELPS)
def test_what_does_not_help_is_not_told(shop: Shop, case: str) -> None:
    content, name, problem = NONE_HELPS[case]
    declare(shop, None)
    shop.clock.ahead = FILES.patience
    receipt = shop.load(name, content)
    assert receipt.status == "quarantined"
    assert problem in (receipt.problem or "")
    assert not re.search(r"Csv\(|Json\(\w|encoding=|source=|ends in", receipt.remedy or ""), receipt.remedy


class Places(Contract):
    """Places. Grain: place."""

    name: str = Field()
    city: str = Field(source="town")


def test_what_helps_only_under_a_condition_says_so(shop: Shop) -> None:
    shop.declare(contract=Places, event_time=None, source=Files("sales/*.csv", settle=seconds(0)))
    receipt = shop.load("a.csv", "Ann,Bath 1\nBob,Cork 2\n")
    assert "in this order, declare format=Csv(delimiter=',', header=('name', 'town'))" in (receipt.remedy or "")
    nothing_tells = shop.load("c.csv", "nom,ville\nAnn,Bath\n")
    assert "Csv(" not in (nothing_tells.remedy or "")
    renamed = shop.load("b.csv", "name,city\nAnn,Bath\n")
    assert "add the new name in Places, city: source=('town', 'city')" in (renamed.remedy or "")


def test_ways_that_help_equally_are_told_beside_each_other(shop: Shop) -> None:
    shop.declare(contract=Places, event_time=None, source=Files("sales/*.csv", settle=seconds(0)), on_drift="add")
    receipt = shop.load("a.csv", "name,town,x;name;town;y\n" + "a,b,c;d;e;f\n" * 3)
    assert receipt.status == "quarantined"
    assert all(f"Csv(delimiter={each!r})" in (receipt.remedy or "") for each in ",;")
    assert "look which is meant" in (receipt.remedy or "")
