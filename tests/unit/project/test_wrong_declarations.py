"""What an author writes wrong is told when it is declared: its line, the nearest right word, what to do."""

import itertools
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from platform_assets.errors import ConfigurationError
from platform_assets.project.declared import load_charts, load_feeds, load_marts

RIGHT = '''"""A shop."""

from datetime import date, datetime
from decimal import Decimal

from platform_assets import (
    Cadence, Contract, Csv, Excel, Feed, Field, Files, Json, Mart, Parquet, Rejects, Retention, Since, Volume, Xml,
    Chart, gigabytes, hours, minutes,
)


class Prices(Contract):
    """Prices. Grain: article and day."""

    sku: str = Field(str_matches="^[A-Z]+$")
    price: Decimal = Field(source="Unit Price", ge=0, digits=(10, 2))
    stock: int = Field(nullable=True, thousands=",")
    at: datetime = Field(source=("At", Since(date(2026, 3, 1), "When")), format="%d.%m.%Y %H:%M", timezone="UTC")
    kind: str = Field(isin=["A", "B"], strip=True, pii="pseudonym")
    sold: bool = Field(true="Y", false="N")


PRICES = Feed(
    name="prices",
    source=Files("shop/prices/*.csv", format=Csv(delimiter=";", encoding="cp1252", skip=1), patience=minutes(5)),
    contract=Prices,
    delivered=Cadence(cron="0 6 * * 1-6", within=hours(3), timezone="Europe/London", closed=("12-25",)),
    owner="team:sales",
    event_time="at",
    key=("sku", "at"),
    on_drift="add",
    tolerate=Rejects(rate=0.02, beyond="hold"),
    volume=Volume(least=0.5, most=3),
    keep=Retention(quarantine=hours(24)),
    most_columns=100,
)
DAILY = Mart("prices_daily", contract=Prices, headline=("sku", "price"))
DRAWN = Chart("prices_daily", x="at", y="price", kind="line", per="day")
'''

WRONG = [
    # Feed
    ('on_drift="add"', 'on_drift="ad"', "'ad' is not one of 'fail', 'add', 'rescue'. Did you mean 'add'?"),
    ('owner="team:sales"', 'ownr="team:sales"', "Did you mean 'owner'?"),
    ('owner="team:sales"', 'owner=""', "owner: names nobody"),
    ('    owner="team:sales",\n', "", "Feed('prices').owner: is missing"),
    ('name="prices"', 'name="Prices!"', "'Prices!' is not a usable name"),
    ('event_time="at"', 'event_time="att"', "Did you mean 'at'?"),
    ('event_time="at"', 'event_time="sku"', "'sku' is not a timestamp or date column of Prices"),
    ('key=("sku", "at")', 'key="sku"', "Write key=('sku',): the comma makes it a tuple."),
    ('key=("sku", "at")', 'key=["sku", "at"]', "Write key=('sku', 'at',), in round brackets."),
    ('key=("sku", "at")', 'key=("skuu",)', "Did you mean 'sku'?"),
    ("contract=Prices,\n    del", "contract=Prices(),\n    del", ""),
    ("contract=Prices,\n    del", "contract=str,\n    del", "str is not a class that begins with `class …(Contract):`"),
    ("contract=Prices,\n    del", "contract=Price,\n    del", "Did you mean 'Prices'?"),
    ("most_columns=100", "most_columns=0", "0 is too few"),
    ("most_columns=100", 'most_columns="100"', "'100' is not a whole number"),
    ("most_columns=100", 'on_known_key="latst"', "Did you mean 'latest'?"),
    # Files and formats
    ('Files("shop/prices/*.csv",', 'Files("/shop/*.csv",', "leaves the landing folder"),
    ('Files("shop/prices/*.csv",', 'Files("",', "is no pattern"),
    ('Files("shop/prices/*.csv",', "Files(5,", "5 is not a text"),
    ('Files("shop/prices/*.csv",', "Files(", "no pattern"),
    ('Files("shop/prices/*.csv",', 'File("shop/prices/*.csv",', "Did you mean 'Files'?"),
    ("patience=minutes(5)", "patience=5", "Write patience=hours(5), or minutes(5)."),
    ("patience=minutes(5)", "patiance=minutes(5)", "Did you mean 'patience'?"),
    ("patience=minutes(5)", 'sidecar=""', 'Give the end of its name, such as ".done"'),
    ("patience=minutes(5)", "largest=0", "Give a size, such as gigabytes(10)."),
    ("patience=minutes(5)", "settle=minutes(-5)", "Files.settle"),
    ('delimiter=";"', 'delimiter=";;"', "Give one character, such as ';'."),
    ('delimiter=";"', 'delimeter=";"', "Did you mean 'delimiter'?"),
    ('encoding="cp1252"', 'encoding="cp12522"', "Did you mean 'cp1252'?"),
    ("skip=1", "skip=-1", "Give the number of lines before the header."),
    ("skip=1", 'skip="1"', "'1' is not a whole number"),
    ("skip=1", 'header="sku"', "the comma makes it a tuple"),
    ("skip=1", 'footer="["', "Give a regular expression"),
    ("Csv(", "Cvs(", "Did you mean 'Csv'?"),
    ('Csv(delimiter=";", encoding="cp1252", skip=1)', '"csv"', "'csv' is not a declaration such as Csv("),
    ('Csv(delimiter=";", encoding="cp1252", skip=1)', 'Json(record="a")', "Did you mean 'records'?"),
    ('Csv(delimiter=";", encoding="cp1252", skip=1)', 'Json(unnest=["a"])', "is not a text or None"),
    ('Csv(delimiter=";", encoding="cp1252", skip=1)', "Xml(records=1)", "1 is not a text"),
    ('Csv(delimiter=";", encoding="cp1252", skip=1)', 'Excel(sheets="A")', "Did you mean 'sheet'?"),
    ('Csv(delimiter=";", encoding="cp1252", skip=1)', 'Excel(range="3:F")', 'Give cells, such as "A3:F" or "B2:D40".'),
    ('Csv(delimiter=";", encoding="cp1252", skip=1)', 'Parquet(partitions="day")', "the comma makes it a tuple"),
    # Cadence
    ('cron="0 6 * * 1-6"', 'cron="0 6 * *"', "has 4 fields, not five"),
    ('cron="0 6 * * 1-6"', 'cron="0 25 * * *"', "Bad hour"),
    ('cron="0 6 * * 1-6"', 'corn="0 6 * * 1-6"', "Did you mean 'cron'?"),
    ('timezone="Europe/London"', 'timezone="Europe/Lodnon"', "Did you mean 'Europe/London'?"),
    ("within=hours(3)", "within=3", "Write within=hours(3), or minutes(3)."),
    ("within=hours(3)", 'within=hours("3")', "hours"),
    ("within=hours(3)", "within=hour(3)", "Did you mean 'hours'?"),
    ("within=hours(3)", "within=hours(-3)", "is below nothing"),
    ('closed=("12-25",)', 'closed=("25-12",)', "has what is no day"),
    ('closed=("12-25",)', 'closed="12-25"', "the comma makes it a tuple"),
    ('closed=("12-25",)', "objective=95", "Give a number above 0 and up to 1"),
    # Rejects, Volume, Retention
    ("rate=0.02", "rate=5", "5 % is rate=0.05"),
    ("rate=0.02", 'rate="2%"', "'2%' is not a number"),
    ("rate=0.02", "rows=-1", "Give 0 or more"),
    ('beyond="hold"', 'beyond="quarantin"', "Did you mean 'quarantine'?"),
    ("tolerate=Rejects(rate=0.02, ", "tolerate=0.02, volum=dict(", "Did you mean 'volume'?"),
    ("least=0.5", "least=50", "Give factors"),
    ("least=0.5", "lest=0.5", "Did you mean 'least'?"),
    ("quarantine=hours(24)", "quarantine=hours(-24)", "is below nothing"),
    ("quarantine=hours(24)", "quarantine=90", "Write quarantine=hours(90)"),
    ("quarantine=hours(24)", "days=90", "Its arguments are: archive, quarantine."),
    # Contract and Field
    ("sku: str", "sku: string", "Did you mean 'str'?"),
    ("sku: str", "sku: strr", "Did you mean 'str'?"),
    ("stock: int", "stock: integer", "Did you mean 'int'?"),
    ("stock: int", "stock: int | None", "Write int, and Field(nullable=True)."),
    ("stock: int", "stock: list[int]", "is not one a contract knows"),
    ("stock: int", "Stock: int", "Use lower-case snake_case."),
    ("stock: int = Field", "stock = Field", "has no type"),
    ('stock: int = Field(nullable=True, thousands=",")', "stock: int = 5", "5 is no Field"),
    ('stock: int = Field(nullable=True, thousands=",")', "stock: int = Field", "Field without brackets is no Field"),
    ("class Prices(Contract)", "class Prices(Contrakt)", "Did you mean 'Contract'?"),
    ("class Prices(Contract)", "class Prices", "Prices is not a class that begins with `class …(Contract):`"),
    ("ge=0", "gee=0", "Did you mean 'ge'?"),
    ("ge=0", "min=0", "Did you mean 'ge'?"),
    ("ge=0", 'ge="0"', "'0' cannot be compared with Decimal"),
    ("ge=0", "ge=5, le=1", "no value is at least 5 and at most 1"),
    ("ge=0", 'str_matches="^[0-9]+$"', "str_matches asks texts"),
    ('source="Unit Price"', 'sorce="Unit Price"', "Did you mean 'source'?"),
    ('source="Unit Price"', 'header="Unit Price"', "Did you mean 'source'?"),
    ('source="Unit Price"', "source=5", "5 is not a text"),
    ('source="Unit Price"', 'source="At"', "header 'At' is that of"),
    ("digits=(10, 2)", "digits=(2, 10)", "Give all digits first"),
    ("digits=(10, 2)", "digits=10", "is not 2 in a tuple"),
    ("digits=(10, 2)", "digits=(40, 2)", "of up to 38 digits"),
    ("digits=(10, 2)", 'format="%d"', "format means nothing for a decimal"),
    ("digits=(10, 2)", "unique=True", "unique cannot be declared"),
    ("nullable=True", 'nullable="yes"', "nullable"),
    ("nullable=True", "required=False", "Did you mean 'nullable'?"),
    ('thousands=","', 'thousands="_"', "'_' is not one of"),
    ('str_matches="^[A-Z]+$"', 'str_matches="["', "unterminated character set"),
    ('str_matches="^[A-Z]+$"', 'str_match="^[A-Z]+$"', "Did you mean 'str_matches'?"),
    ('str_matches="^[A-Z]+$"', '"SKU"', "'SKU' stands there without a name"),
    ('isin=["A", "B"]', 'isin="AB"', 'Write isin=["A", "B"].'),
    ('isin=["A", "B"]', "isin=[1, 2]", "1 cannot be compared with String"),
    ('pii="pseudonym"', 'pii="pseudonim"', "Did you mean 'pseudonym'?"),
    ('pii="pseudonym"', "pii=True", "True is not one of"),
    ('format="%d.%m.%Y %H:%M"', 'format="%d.%m.%Q"', "%Q is not read"),
    ('format="%d.%m.%Y %H:%M"', 'format="DD.MM.YYYY"', "does not name a day of a year"),
    ('timezone="UTC"', 'timezone="Europe/Pariss"', "Did you mean 'Europe/Paris'?"),
    ('timezone="UTC"', 'tz="UTC"', "Did you mean 'timezone'?"),
    ('true="Y", false="N"', 'true="Y"', "true and false need words of their own"),
    ('Since(date(2026, 3, 1), "When")', 'Since("2026-03-01", "When")', "is not a day, such as date(2026, 3, 1)"),
    ('Since(date(2026, 3, 1), "When")', 'Since(date(2026, 3, 1))', "Since.text: is missing"),
    # Mart
    ('headline=("sku", "price")', 'headline=("skuu",)', "Did you mean 'sku'?"),
    ('headline=("sku", "price")', 'headline="sku"', "the comma makes it a tuple"),
    ('headline=("sku", "price")', 'headlin=("sku",)', "Did you mean 'headline'?"),
    ('Mart("prices_daily", contract=Prices', "Mart(contract=Prices", "Mart.name: is missing"),
    ('Mart("prices_daily", contract=Prices', 'Mart("prices_daily", Prices, ("sku",), 1', "stands there without a name"),
    # Chart
    ('Chart("prices_daily"', 'Chart("price_daily"', "Did you mean 'prices_daily'?"),
    ('x="at"', 'x="att"', "Did you mean 'at'?"),
    ('y="price"', 'y="prize"', "Did you mean 'price'?"),
    ('y="price"', 'y=("price", "sku")', "'sku' holds no numbers (text)"),
    ('y="price"', 'y=5', "5 is not a text"),
    ('y="price"', 'y=("price", "stock"), by="sku"', "does not go with 2 columns in y"),
    ('kind="line"', 'kind="lines"', "Did you mean 'line'?"),
    ('kind="line"', 'kind="pie"', "'pie' is not one of 'line', 'bar', 'scatter'"),
    ('kind="line"', 'knd="line"', "Did you mean 'kind'?"),
    ('kind="line"', 'kind="scatter"', "means nothing where each row is a point"),
    ('kind="line"', 'top=0', "0 is not from 1 to 100"),
    ('kind="line"', 'by="skuu"', "Did you mean 'sku'?"),
    ('x="at"', 'x="sku"', "'sku' holds no days or times (text)"),
    ('kind="line", per="day"', 'per="dayly"', "Did you mean 'day'?"),
    ("DRAWN = Chart", "ALL = [Chart('prices_daily', x='at')]\nDRAWN = Chart", "has no name of its own"),
    # Python
    ('    owner="team:sales",\n', '    owner="team:sales"\n', "Perhaps you forgot a comma"),
    ("from platform_assets import (", "from platform_asset import (", "Did you mean 'platform_assets'?"),
    ("Cadence, Contract", "Cadense, Contract", "Did you mean 'Cadence'?"),
    ("Volume, Xml,", "Xml,", "Write `from platform_assets import Volume` at the top."),
    ("headline=(", "headline=5 + (", "TypeError"),
    ("PRICES = Feed(", "PRICES = (Feed(", "was never closed"),
    ("    most_columns=100,\n)", "    most_columns=100,\n),", "the comma at its end makes a tuple of it"),
    ("DAILY = Mart", "AGAIN = [Feed(**vars(PRICES) | {'name': 'again'})]\nDAILY = Mart", "has no name of its own"),
]  # fmt: skip

SEEN_ELSEWHERE = ("", "class Prices", 'source="At"', "Xml,", "Cadense, Contract", "    most_columns=100,\n),")

_numbers = itertools.count()


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / f"declared_{next(_numbers)}"
    folder.mkdir()
    (folder / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield folder
    for name in [each for each in sys.modules if each.startswith(folder.name)]:
        del sys.modules[name]


def test_what_is_right_is_declared(package: Path) -> None:
    (package / "shop.py").write_text(RIGHT)
    assert [feed.name for feed in load_feeds(package.name)] == ["prices"]
    marts = load_marts(package.name)
    assert [mart.name for mart in marts] == ["prices_daily"]
    assert [(name, chart.heading) for name, chart in load_charts(package.name, marts).items()] == [
        ("DRAWN", "Price by at")
    ]


@pytest.mark.parametrize(("right", "wrong", "told"), WRONG, ids=[wrong[:40] for _, wrong, _ in WRONG])
def test_what_is_wrong_is_told_with_its_line(package: Path, right: str, wrong: str, told: str) -> None:
    assert RIGHT.count(right) == 1, f"{right!r} names one place"
    text = RIGHT.replace(right, wrong)
    (package / "shop.py").write_text(text)
    with pytest.raises(ConfigurationError) as raised:
        _ = load_feeds(package.name), load_charts(package.name, load_marts(package.name))
    message = str(raised.value)
    assert told in message
    assert len(message.splitlines()) == 3
    place = message.partition(": ")[0]
    assert place.startswith(f"{package}/shop.py:")
    line = int(place.rpartition(":")[2])
    changed = RIGHT[: RIGHT.index(right)].count("\n") + 1
    if wrong not in SEEN_ELSEWHERE:
        assert changed <= line <= changed + 1, message
