"""One example or more for every option of what authors declare.

Belongs here: the examples. Elsewhere: how they are run (examples.py), the page that shows them (generate.py).
"""

import io
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import polars as pl
import xlsxwriter
from examples import AGAIN, ARRIVED, Example

from platform_assets import Cadence, Chart, Files, Mart, Rejects, Retention, Volume

_TWO: Final = "sku,quantity\nA1,2\nB7,1\n"
_HISTORY: Final = 'day: date = Field(format=("%m/%d/%Y", Since(date(2026, 3, 1), "%d/%m/%Y")))'


def _column(options: str, code: str, *values: str, header: str | None = None, arrived: datetime = ARRIVED) -> Example:
    """Of Field: a contract of one column, and the values that it gets."""
    lines = (code.partition(":")[0] if header is None else header, *values)
    return Example(
        _of("Field", options), code, {"sales/a.csv": "".join(f'"{each}"\n' for each in lines)}, code, arrived=arrived
    )


def _format(option: str, code: str, files: Mapping[str, str | bytes], **more: Any) -> Example:
    """Of a format: `code` is what stands in `format=`."""
    return Example((option,), code, files, declared=f'source=Files("sales/**/*", format={code})', **more)


def _feed(options: str, code: str, files: Mapping[str, str | bytes], **more: Any) -> Example:
    """Of Feed: `code` is what the feed declares besides."""
    return Example(_of("Feed", options), code, files, declared=code, **more)


def _files(option: str, code: str, files: Mapping[str, str | bytes], **more: Any) -> Example:
    """Of Files: `code` is the feed's source."""
    return Example((f"Files.{option}",), code, files, declared=f"source={code}", **more)


def _value(kind: str, options: str, code: str, answer: Callable[[Any], str]) -> Example:
    """Of what needs no delivery to be understood."""
    return Example(_of(kind, options), code, answer=answer)


def _of(kind: str, options: str) -> tuple[str, ...]:
    return tuple(f"{kind}.{option}" for option in options.split())


def _workbook(rows: Sequence[Sequence[object]], sheet: str) -> bytes:
    packed = io.BytesIO()
    with xlsxwriter.Workbook(packed, {"in_memory": True}) as book:
        book.set_properties({"created": datetime(2026, 3, 1)})  # noqa: DTZ001 - as the format has it
        book.add_worksheet("Notes").write(0, 0, "as agreed")
        page = book.add_worksheet(sheet)
        for at, row in enumerate(rows):
            page.write_row(at, 0, row)
    return packed.getvalue()


def _parquet() -> bytes:
    packed = io.BytesIO()
    pl.DataFrame({"sku": ["A1"], "quantity": [2]}).write_parquet(packed)
    return packed.getvalue()


def _due(cadence: Cadence) -> str:
    """When the next delivery is due after Christmas Eve, noon, and until when it may come."""
    tick = cadence.next_tick(datetime(2026, 12, 24, 12, tzinfo=UTC))
    assert tick is not None
    return f"after 24 December noon: due {tick:%d %B %H:%M} UTC, late after {tick + cadence.within:%H:%M}"


def _reads(files: Files) -> str:
    return f"a file may take {files.longest} to be read, and a second more for each 4 MB"


def _rests(files: Files) -> str:
    return f"a file is taken in once nobody has touched it for {files.settle.total_seconds():.0f} seconds"


def _waits(files: Files) -> str:
    return f"a file that ends inside a record is taken as it is after {files.patience.total_seconds() / 3600:.0f} hours"


def _allowed(rejects: Rejects) -> str:
    return ", ".join(f"{n} of 100: {'allowed' if rejects.allows(n, 100) else 'too many'}" for n in (5, 6))


def _usual(volume: Volume) -> str:
    most = "" if volume.most is None else f", more than {1000 * volume.most:,.0f}"
    return f"where 1,000 rows are usual: fewer than {1000 * volume.least:,.0f}{most} hold the release"


def _kept(retention: Retention) -> str:
    return ", ".join(
        f"{what} for {kept.days} days"
        for what, kept in (("superseded copies", retention.archive), ("rejected rows", retention.quarantine))
        if kept is not None
    )


def _promised(mart: Mart) -> str:
    return f"the model {mart.name} keeps {mart.contract.__name__}; shown: {', '.join(mart.headline) or 'nothing'}"


def _drawn(chart: Chart) -> str:
    kind = {"line": "a line", "bar": "bars", "scatter": "points", None: "a line or bars"}[chart.kind]
    values = ", ".join(chart.values) or "the number of rows"
    by = f", a series for each {chart.by}" if chart.by is not None else ""
    per = f" of each {chart.per}" if chart.per is not None else ""
    how = {"sum": "", "mean": "the mean of "}.get(chart.how, f"the {chart.how}imum of ")
    top = f"the {chart.top} largest " if chart.top is not None else ""
    unit = f" in {chart.unit}" if chart.unit else ""
    return f"{chart.heading}: {kind} of {how}{values}{unit} for {top}{chart.x}{per}{by}"


EXAMPLES: Final = (
    _column("source", 'sku: str = Field(source=("SKU", "Article No"))', "A1", header="Article No"),
    _column("format", 'day: date = Field(format="%d.%m.%Y")', "01.03.2026", "2026-03-01"),
    _column(
        "timezone", 'sold_at: datetime = Field(format="%Y-%m-%d %H:%M", timezone="Europe/London")', "2026-07-01 12:00"
    ),
    _column("digits", "rate: Decimal = Field(digits=(6, 2))", "1.25", "1.255"),
    _column("decimal thousands", 'price: Decimal = Field(decimal=",", thousands=".")', "1.234,50", "1,234.50"),
    _column("point_zero", "customer: str = Field(point_zero=True)", "17850.0", "17850"),
    _column("true false", 'paid: bool = Field(true=("Y", "yes"), false="N")', "y", "N", "1"),
    _column("strip", "sku: str = Field(strip=True)", " A1 "),
    Example(
        _of("Field", "optional default"),
        'currency: str = Field(optional=True, default="GBP")',
        {"sales/a.csv": "sku\nA1\n", "sales/b.csv": "sku,currency\nB7,EUR\n"},
        'sku: str = Field()\ncurrency: str = Field(optional=True, default="GBP")',
    ),
    _column("pii", 'email: str = Field(pii="secret", str_contains="@")', "ann@example.org", "ann"),
    _column("nullable description", 'stock: int = Field(nullable=True, description="Units")', "3", ""),
    _column("pandera", "quantity: int = Field(ge=0)", "3", "-1"),
    *(
        Example(
            ("Since.day", "Since.text"),
            _HISTORY,
            {f"sales/{day}.csv": "day\n04/03/2020\n"},
            _HISTORY,
            'source=Files("sales/*.csv", dated="%Y-%m-%d")',
        )
        for day in ("2026-03-01", "2026-02-28")
    ),
    Example(("Since.day", "Since.text"), _HISTORY, {"sales/a.csv": "day\n04/03/2020\n"}, _HISTORY),
    _files(
        "patterns",
        'Files("sales/*.csv", "old/**/*.csv")',
        {
            "sales/a.csv": "sku,quantity\nA1,2\n",
            "old/2025/b.csv": "sku,quantity\nB7,1\n",
            "sales/c.txt": "sku,quantity\nC3,1\n",
        },
    ),
    _files(
        "dated",
        'Files("sales/*.csv", dated="%m-%d-%Y")',
        {"sales/01-22-2020.csv": "sku,quantity\nA1,2\n", "sales/latest.csv": "sku,quantity\nB7,1\n"},
    ),
    _value("Files", "settle", 'Files("sales/*", settle=seconds(30))', _rests),
    _value("Files", "patience", 'Files("sales/*", patience=hours(2))', _waits),
    _files("format", 'Files("sales/*.txt", format=Csv(delimiter="|"))', {"sales/a.txt": "sku|quantity\nA1|2\n"}),
    _files(
        "largest",
        'Files("sales/*.csv", largest=gigabytes(0.000_000_02))',
        {"sales/a.csv": _TWO, "sales/b.csv": "sku,quantity\nA1,2\n"},
    ),
    _value("Files", "longest", 'Files("sales/*.csv", longest=minutes(20))', _reads),
    _files(
        "sidecar",
        'Files("sales/*.csv", sidecar=".done")',
        {"sales/a.csv": "sku,quantity\nA1,2\n", "sales/a.csv.done": "", "sales/b.csv": "sku,quantity\nB7,1\n"},
    ),
    _format("Csv.delimiter", 'Csv(delimiter=";")', {"sales/a.csv": "sku;quantity\nA1;2\n"}),
    _format("Csv.encoding", 'Csv(encoding="latin-1")', {"sales/a.csv": "sku,quantity\nÄ1,2\n".encode("latin-1")}),
    _format("Csv.quote", 'Csv(quote="\'")', {"sales/a.csv": "sku,quantity\n'A1, blue',2\n"}),
    _format("Csv.escape", r'Csv(escape="\\")', {"sales/a.csv": 'sku,quantity\n"A1 \\"blue\\"",2\n'}),
    _format("Csv.skip", "Csv(skip=1)", {"sales/a.csv": "Sales of March\nsku,quantity\nA1,2\n"}),
    _format("Csv.header", 'Csv(header=("sku", "quantity"))', {"sales/a.csv": "A1,2\n"}),
    _format("Csv.footer", 'Csv(footer="^Total")', {"sales/a.csv": "sku,quantity\nA1,2\nTotal,2\n"}),
    _format(
        "Csv.nulls",
        'Csv(nulls=("NA",))',
        {"sales/a.csv": "sku,quantity\nA1,NA\n"},
        columns="sku: str = Field()\nquantity: int = Field(nullable=True)",
    ),
    _format(
        "Json.records",
        'Json(records="data.sales")',
        {"sales/a.json": '{"data": {"sales": [{"sku": "A1", "quantity": 2}]}}\n'},
    ),
    _format(
        "Json.unnest",
        'Json(unnest="lines")',
        {"sales/a.ndjson": '{"order": 7, "lines": [{"sku": "A1"}, {"sku": "B7"}]}\n'},
        columns='order: int = Field()\nsku: str = Field(source="lines.sku")',
    ),
    _format(
        "Json.encoding",
        'Json(encoding="latin-1")',
        {"sales/a.ndjson": '{"sku": "Ä1", "quantity": 2}\n'.encode("latin-1")},
    ),
    _format(
        "Xml.records",
        'Xml(records="export/sale")',
        {"sales/a.xml": '<export><sale sku="A1"><quantity>2</quantity></sale></export>\n'},
        columns='sku: str = Field(source="@sku")\nquantity: int = Field()',
    ),
    _format(
        "Excel.sheet",
        'Excel(sheet="March")',
        {"sales/a.xlsx": _workbook([["sku", "quantity"], ["A1", 2]], "March")},
    ),
    _format(
        "Excel.range",
        'Excel(sheet="March", range="A2:B")',
        {"sales/a.xlsx": _workbook([["Sales of March"], ["sku", "quantity"], ["A1", 2]], "March")},
    ),
    _format(
        "Parquet.partitions",
        'Parquet(partitions=("shop",))',
        {"sales/shop=North/a.parquet": _parquet()},
        columns="sku: str = Field()\nquantity: int = Field()\nshop: str = Field()",
    ),
    _value("Cadence", "cron within", 'Cadence(cron="0 6 * * *", within=hours(3))', _due),
    _value("Cadence", "timezone", 'Cadence(cron="0 6 * * *", within=hours(3), timezone="America/New_York")', _due),
    _value("Cadence", "closed", 'Cadence(cron="0 6 * * *", within=hours(3), closed=("12-25", "2026-12-26"))', _due),
    _value(
        "Cadence",
        "objective",
        'Cadence(cron="0 6 * * *", within=hours(3), objective=0.9)',
        lambda cadence: f"of 30 due deliveries, {round(30 * (1 - cadence.objective))} may be late",
    ),
    _value("Rejects", "rate", "Rejects(rate=0.05)", _allowed),
    _value("Rejects", "rows", "Rejects(rows=5)", _allowed),
    Example(
        ("Rejects.beyond",),
        'Rejects(rate=0.05, beyond="quarantine")',
        {"sales/a.csv": "sku,quantity\nA1,2\nB7,many\n"},
        declared='tolerate=Rejects(rate=0.05, beyond="quarantine")',
    ),
    _value("Volume", "least", "Volume(least=0.5)", _usual),
    _value("Volume", "most", "Volume(least=0.5, most=3)", _usual),
    _value("Retention", "archive", "Retention(archive=timedelta(days=365))", _kept),
    _value("Retention", "quarantine", "Retention(quarantine=timedelta(days=90))", _kept),
    _feed("name source contract delivered owner", 'name="web_sales"', {"sales/a.csv": _TWO}),
    _feed(
        "event_time",
        'event_time="sold_on"',
        {"sales/a.csv": "sku,quantity,sold_on\nA1,2,2026-03-01\n"},
        columns="sku: str = Field()\nquantity: int = Field()\nsold_on: date = Field()",
    ),
    *(
        _feed(
            "on_restatement",
            f'on_restatement="{does}"',
            {"sales/a.csv": "sku,quantity\nA1,2\n", f"sales/a.csv{AGAIN}": "sku,quantity\nA1,3\n"},
        )
        for does in ("replace", "append", "refuse")
    ),
    *(
        _feed("on_drift", f'on_drift="{does}"', {"sales/a.csv": "sku,quantity,shop\nA1,2,North\n"})
        for does in ("fail", "add", "rescue")
    ),
    *(
        _feed("on_duplicate", f'on_duplicate="{does}"', {"sales/a.csv": "sku,quantity\nA1,2\nA1,2\n"})
        for does in ("reject", "allow")
    ),
    *(_feed("on_empty", f'on_empty="{does}"', {"sales/a.csv": "sku,quantity\n"}) for does in ("quarantine", "accept")),
    *(
        _feed(
            "key on_known_key",
            f'key=("sku",), on_known_key="{does}"',
            {"sales/a.csv": "sku,quantity\nA1,2\n", "sales/b.csv": "sku,quantity\nA1,3\n"},
        )
        for does in ("reject", "latest", "allow")
    ),
    _feed(
        "key_within",
        'key=("sku",), key_within="delivery", on_known_key="reject"',
        {"sales/a.csv": "sku,quantity\nA1,2\nA1,3\n", "sales/b.csv": "sku,quantity\nA1,4\n"},
    ),
    _feed("tolerate", "tolerate=Rejects(rows=1)", {"sales/a.csv": "sku,quantity\nA1,2\nB7,many\n"}),
    _feed("most_columns", "most_columns=2", {"sales/a.csv": "sku,quantity,shop\nA1,2,North\n"}),
    _feed(
        "most_undeclared",
        'on_drift="add", most_undeclared=1',
        {"sales/a.csv": "sku,quantity,shop,till\nA1,2,North,4\n"},
    ),
    _feed("volume", "volume=Volume(least=0.8, most=2)", {"sales/a.csv": _TWO}),
    _feed("keep", "keep=Retention(archive=timedelta(days=365))", {"sales/a.csv": _TWO}),
    _feed("origin", 'origin="shop"', {"sales/a.csv": _TWO}),
    _value("Mart", "name contract", 'Mart("daily_sales", Sales)', _promised),
    _value("Mart", "headline", 'Mart("daily_sales", Sales, headline=("sku", "quantity"))', _promised),
    _value("Chart", "mart x y", 'Chart("daily_sales", x="day", y=("revenue", "returns"))', _drawn),
    _value("Chart", "kind by", 'Chart("customer_value", x="orders", y="revenue", kind="scatter", by="score")', _drawn),
    _value("Chart", "top", 'Chart("order_lines", x="description", y="revenue", top=10)', _drawn),
    _value("Chart", "how per", 'Chart("order_lines", x="sold_at", y="price", how="mean", per="week")', _drawn),
    _value("Chart", "title unit", 'Chart("daily_sales", x="day", y="revenue", title="Sales", unit="GBP")', _drawn),
)
