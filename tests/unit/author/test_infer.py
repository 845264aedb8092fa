"""A feed from a file: what columns look like, how the file is written, that the feed takes what it was made from."""

import csv
import gzip
import io
import subprocess
import sys
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from machine import PROJECT, RETAIL, examples

from platform_assets.engine.author.draft import declared_by, draft, field_line
from platform_assets.engine.author.infer import InferredColumn, infer_column
from platform_assets.engine.author.names import names_for
from platform_assets.engine.author.proposal import propose
from platform_assets.engine.author.trial import try_on
from platform_assets.engine.contract.model import columns_of
from platform_assets.engine.feed.feed import Feed
from platform_assets.engine.feed.formats import Csv
from platform_assets.engine.store.receipts import Receipt
from platform_assets.errors import ConfigurationError, DeliveryRefused
from platform_assets.project.declared import load_feeds

FEEDS: Final = PROJECT / "platform_assets" / "feeds"
BY_DAY: Final = RETAIL / "by-day"


def look(*values: str | None, header: str = "value") -> InferredColumn:
    return infer_column(header, pl.Series(values, dtype=pl.String))


def declared(*values: str | None, header: str = "value") -> tuple[str, dict[str, Any]]:
    """Kind and options of the column that is proposed for the values."""
    profile = look(*values, header=header)
    return profile.type.kind, {key: value for key, value in profile.options.items() if key != "source"}


def tried(file: Path, **known: Any) -> tuple[Feed, Receipt, str]:
    """The feed proposed for `file`, the receipt it gives the file, and its text."""
    proposed = propose(file, landing=file.parent, **known)
    text = draft(proposed)
    feed = declared_by(text, proposed)
    return feed, try_on(feed, file).receipt, text


def ruff(text: str, *command: str) -> None:
    """Assert that the project's own formatter or linter has nothing to say of `text` as a feed's file."""
    done = subprocess.run(
        [Path(sys.executable).with_name("ruff"), *command, "--no-cache", f"--stdin-filename={FEEDS / 'new.py'}", "-"],
        cwd=PROJECT, input=text, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout}{done.stderr}\n{text}"


def well_formed(text: str) -> None:
    ruff(text, "format", "--diff")
    ruff(text, "check")


# ---- columns


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["1", "-2", "30"], ("integer", {})),
        (["1.25", "3", None], ("decimal", {"nullable": True})),
        (["0.123456", "1"], ("decimal", {"digits": (18, 6)})),
        (["123456789012345.5", "1"], ("decimal", {"digits": (19, 4)})),
        (["1234567890123456789.55", "1"], ("decimal", {"digits": (23, 4)})),
        (["1,25", "3,5"], ("decimal", {"decimal": ","})),
        (["1.234,25", "3,5"], ("decimal", {"decimal": ",", "thousands": "."})),
        (["1,234.25", "3.5"], ("decimal", {"thousands": ","})),
        (["1.234.567", "2.000.000"], ("integer", {"thousands": "."})),
        (["1e5", "2.5E-3"], ("number", {})),
        ([" 1 ", "2", " "], ("integer", {"strip": True, "nullable": True})),
        (["true", "False"], ("boolean", {})),
        (["Y", "N", "Y"], ("boolean", {"true": "y", "false": "n"})),
        (["2026-03-01", "2026-12-24"], ("date", {})),
        (["13/04/2024", "01/02/2024"], ("date", {"format": "%d/%m/%Y"})),
        (["04/13/2024", "01/02/2024"], ("date", {"format": "%m/%d/%Y"})),
        (["5 Jan 2024", "17 Feb 2024"], ("date", {"format": "%d %b %Y"})),
        (["13.04.2024", "2024-05-06"], ("date", {"format": ("%d.%m.%Y", "%Y-%m-%d")})),
        (["2026-03-01T10:00:00Z", "2026-03-01T10:00:00.5+01:00"], ("timestamp", {})),
        (["2010-12-01 08:26:00"], ("timestamp", {"format": "%Y-%m-%d %H:%M:%S"})),
        (["13/02/2024 1:15 am", "01/02/2024 10:30 PM"], ("timestamp", {"format": "%d/%m/%Y %I:%M %p"})),
        (["blue", "red"], ("text", {})),
        ([None, None], ("text", {"nullable": True})),
    ],
)
def test_a_kind_is_what_all_values_can_be_read_as(values: list[str | None], expected: tuple[str, Any]) -> None:
    assert declared(*values) == expected


@pytest.mark.parametrize(
    ("values", "header", "why"),
    [
        (["01234", "99999"], "box", "leading zeros"),
        (["536365", "536366"], "InvoiceNo", "an identifier by its name"),
        (["17850.0", "13047.0"], "CustomerID", "point_zero=True"),
        (["01/02/2024", "03/04/2024"], "day", "%d/%m/%Y or %m/%d/%Y"),
        (["1,234", "3,500"], "amount", "could be int with thousands=',' or Decimal with decimal=','"),
        (["12345678901234567890.12345678901234567890"], "x", "more digits than"),
        (['{"a":1}', '{"a":2}'], "address", "nested"),
        (["1", "NA", *map(str, range(99))], "count", "Csv(nulls=…)"),
    ],
)
def test_what_could_lose_or_mistake_a_value_stays_text_and_says_why(values: list[str], header: str, why: str) -> None:
    profile = look(*values, header=header)
    assert profile.type.kind == "text"
    assert why in " ".join(profile.remarks)


def test_one_stray_value_makes_text_and_is_shown() -> None:
    profile = look(*map(str, range(100)), "twelve")
    assert profile.type.kind == "text"
    assert "nearly all are int, but not 'twelve'" in field_line(profile)


def test_a_stray_value_in_personal_data_is_not_shown() -> None:
    line = field_line(look(*map(str, range(1900, 2000)), "Ada Lovelace", header="birthday"))
    assert "Ada" not in line
    assert 'pii="pseudonym"' in line


@pytest.mark.parametrize(
    ("header", "values"),
    [("contact", ["a@b.de", "c@d.org"]), ("E-Mail", ["x", "y"]), ("Mobile Phone", ["+49 171 1", "2"]), ("name", ["A"])],
)
def test_personal_data_is_masked_until_somebody_says_otherwise(header: str, values: list[str]) -> None:
    profile = look(*values, header=header)
    assert profile.options["pii"] == "pseudonym"
    assert profile.values == ()


def test_few_values_are_offered_as_a_comment_only() -> None:
    line = field_line(look(*["open", "closed"] * 20, header="state"))
    assert '# only 2 values: isin=["open", "closed"]' in line
    assert line.endswith("state: str = Field()")


def test_a_column_is_distinct_only_if_no_value_comes_twice_anywhere() -> None:
    assert look("a", "b", "c").distinct
    assert not look("a", "b", "a").distinct
    assert not look("a", None).distinct


def test_typed_columns_keep_their_types() -> None:
    kinds: dict[Any, tuple[list[Any], str]] = {
        pl.Int32: ([1], "integer"),
        pl.UInt64: ([2**64 - 1], "decimal"),
        pl.Float64: ([1.5], "number"),
        pl.Decimal(20, 2): ([Decimal("1.25")], "decimal"),
        pl.Date: ([date(2026, 3, 1)], "date"),
        pl.Datetime("us"): ([datetime(2026, 3, 1)], "timestamp"),  # noqa: DTZ001 - a moment without a zone is meant
        pl.Boolean: ([True], "boolean"),
        pl.Categorical: (["a"], "text"),
    }
    for dtype, (values, kind) in kinds.items():
        assert infer_column("v", pl.Series(values, dtype=dtype)).type.kind == kind, dtype


def test_names_are_snake_case_usable_and_all_different() -> None:
    headers = [
        "InvoiceNo",
        "Unit Price (GBP)",
        "Größe",
        "date",
        "class",
        "validate",
        "_line",
        "2020",
        "???",
        "a-b",
        "a b",
    ]
    names = names_for(headers)
    assert names[:3] == ["invoice_no", "unit_price_gbp", "grosse"]
    assert names[3:6] == ["date_", "class_", "validate_"]
    assert len(set(names)) == len(headers)
    assert all(name.isidentifier() and name == name.lower() and name[0] != "_" for name in names)


# ---- files


def test_how_a_file_is_written_is_declared_where_it_is_not_the_default(tmp_path: Path) -> None:
    text = "Report of March\nby the till\nOrt;Preis\nKöln;1,50\nBärn;2,25\n"
    (tmp_path / "till-2026-03.csv").write_bytes(text.encode("cp1252"))
    feed, receipt, written = tried(tmp_path / "till-2026-03.csv")
    assert feed.source.format == Csv(delimiter=";", encoding="cp1252", skip=2)
    assert (receipt.status, receipt.read, receipt.accepted) == ("accepted", 2, 2)
    assert feed.source.places == ("till-*.csv",)
    assert "cp1252 is a guess" in written
    well_formed(written)


def test_a_plain_file_declares_no_format(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("sku,units\nA,1\nB,2\n")
    assert tried(tmp_path / "a.csv")[0].source.format is None


def test_packed_files_are_read_and_nothing_is_left_beside_them(tmp_path: Path) -> None:
    (tmp_path / "a.tsv.gz").write_bytes(gzip.compress(b"sku\tunits\nA\t1\nB\t2\n"))
    feed, receipt, _ = tried(tmp_path / "a.tsv.gz")
    assert receipt.accepted == 2
    assert feed.source.places == ("a*.tsv.gz",)
    assert [path.name for path in tmp_path.iterdir()] == ["a.tsv.gz"]


def test_what_is_known_of_a_format_can_be_said(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("A,1\nB,NA\n")
    feed, receipt, _ = tried(tmp_path / "a.csv", given=["header=sku,units", "nulls=NA"])
    assert [(c.name, c.kind, c.nullable) for c in columns_of(feed.contract)] == [
        ("sku", "text", False),
        ("units", "integer", True),
    ]
    assert receipt.accepted == 2
    with pytest.raises(ConfigurationError, match="is no option of Csv"):
        propose(tmp_path / "a.csv", landing=tmp_path, given=["sheet=1"])


def test_parquet_keeps_what_no_kind_takes_out_of_the_contract(tmp_path: Path) -> None:
    frame = pl.DataFrame({"sku": ["a"], "took": [timedelta(seconds=1)], "bad": [float("nan")]})
    frame.write_parquet(tmp_path / "x.parquet")
    proposed = propose(tmp_path / "x.parquet", landing=tmp_path)
    assert [c.name for c in proposed.columns] == ["sku"]
    feed = declared_by(draft(proposed), proposed)
    assert feed.on_drift == "rescue"
    assert try_on(feed, tmp_path / "x.parquet").receipt.accepted == 1


def test_names_pattern_and_cadence_follow_from_where_the_file_lies(tmp_path: Path) -> None:
    folder = tmp_path / "landing" / "shop" / "order_lines"
    folder.mkdir(parents=True)
    for day in range(4):
        (folder / f"2026-03-{2 + 7 * day:02}.csv").write_text("sold_at,units\n2026-03-01T10:00:00Z,1\n")
    proposed = propose(folder / "2026-03-02.csv", landing=tmp_path / "landing")
    assert (proposed.origin, proposed.name, proposed.patterns) == ("shop", "order_lines", ("shop/order_lines/*.csv",))
    assert proposed.cadence.cron == "0 6 * * 1"
    assert "7 days apart" in proposed.cadence.why
    assert proposed.event_time == "sold_at"


@pytest.mark.parametrize(("content", "problem"), [(b"", "empty"), (b"PAR1nothing", "Parquet")])
def test_a_file_that_cannot_be_read_proposes_nothing(tmp_path: Path, content: bytes, problem: str) -> None:
    (tmp_path / "x.parquet").write_bytes(content)
    with pytest.raises(DeliveryRefused, match=problem):
        propose(tmp_path / "x.parquet", landing=tmp_path)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"PK\x03\x04\x14\x00 xl/workbook.xml \x81", "an Excel workbook"),
        (b"<!doctype html><p>Log in", "a web page"),
        ("name,city\nJosé,Köln\nAnn,".encode() + b"\xe9\n", "byte 26 is not utf-8"),
    ],
    ids=["workbook", "page", "UTF-8 with a byte that is not"],
)
def test_what_is_no_delimited_text_is_not_guessed_to_be_some(tmp_path: Path, content: bytes, problem: str) -> None:
    (tmp_path / "x.csv").write_bytes(content)
    with pytest.raises(DeliveryRefused, match=problem):
        propose(tmp_path / "x.csv", landing=tmp_path)


def test_text_of_two_bytes_a_character_is_declared_so(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("sku,units\nA,1\nB,2\n".encode("utf-16-le"))
    feed, receipt, _ = tried(tmp_path / "a.csv")
    assert (feed.source.format, receipt.accepted) == (Csv(encoding="utf-16-le"), 2)


def test_a_file_without_a_known_name_proposes_nothing(tmp_path: Path) -> None:
    (tmp_path / "x.pdf").write_text("a")
    with pytest.raises(ConfigurationError, match="known format"):
        propose(tmp_path / "x.pdf", landing=tmp_path)


# ---- the file that is written


def test_a_drafted_file_is_lint_clean_and_has_one_line_of_ours(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("sku;units;day;price;sold\nA;1;2026-03-01;1.5;2026-03-01T10:00:00Z\n")
    proposed = propose(tmp_path / "a.csv", landing=tmp_path, name="stock", origin="shop")
    text = draft(proposed)
    well_formed(text)
    imports = [line for line in text.splitlines() if line.startswith(("from", "import"))]
    assert imports == [
        "from datetime import date, datetime",
        "from decimal import Decimal",
        "from platform_assets import Cadence, Contract, Csv, Feed, Field, Files, hours",
    ]
    assert "origin=" not in text, "the file's name says it"


def test_a_drafted_file_can_stand_beside_the_one_of_its_origin(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("sku,units\nA,1\nB,2\n")
    text = draft(propose(tmp_path / "a.csv", landing=tmp_path, name="stock", origin="shop"), own_file=False)
    well_formed(text)
    package = tmp_path / "some_feeds"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "shop_stock.py").write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(tmp_path)
        (feed,) = load_feeds("some_feeds")
    assert (feed.name, feed.origin) == ("stock", "shop")


@pytest.mark.parametrize("name", ["files", "decimal", "feed"])
def test_a_feed_may_be_called_like_what_its_file_imports(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.csv").write_text("price\n1.5\n2.5\n")
    proposed = propose(tmp_path / "a.csv", landing=tmp_path, name=name, origin="shop")
    well_formed(draft(proposed))
    assert try_on(declared_by(draft(proposed), proposed), tmp_path / "a.csv").receipt.accepted == 2


# ---- any file


_TEXT: Final = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=12)
_CELLS: Final = st.one_of(
    st.just(st.integers(-(10**20), 10**20).map(str)),
    st.just(st.decimals(allow_nan=False, allow_infinity=False, places=3).map(str)),
    st.just(st.decimals(allow_nan=False, allow_infinity=False, places=2).map(lambda d: str(d).replace(".", ","))),
    st.just(st.floats().map(str)),
    st.just(st.dates().map(str)),
    st.just(st.dates().map(lambda d: f"{d.day:02}/{d.month:02}/{d.year:04}")),
    st.just(st.datetimes().map(str)),
    st.just(st.datetimes().map(lambda d: f"{d.isoformat()}Z")),
    st.just(st.sampled_from(["true", "false"])),
    st.just(st.from_regex(r"[ ]?[0-9]{1,6}[.,]?[0-9]{0,3}[ ]?", fullmatch=True)),
    st.just(_TEXT),
).flatmap(lambda cells: st.lists(st.one_of(st.just(""), cells, cells, cells), min_size=3, max_size=8))


@settings(max_examples=examples(10))
@given(
    columns=st.lists(_CELLS, min_size=2, max_size=5),
    names=st.lists(_TEXT.filter(str.strip), min_size=5, max_size=5, unique_by=lambda name: name.strip().casefold()),
    delimiter=st.sampled_from([",", ";", "\t", "|"]),
)
def test_a_feed_takes_every_row_of_the_file_it_was_made_from(
    tmp_path_factory: pytest.TempPathFactory, columns: list[list[str]], names: list[str], delimiter: str
) -> None:
    file = tmp_path_factory.mktemp("any") / "any.csv"
    rows = list(zip(*columns, strict=False))
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, delimiter=delimiter, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerow(names[: len(columns)])
    writer.writerows(rows)
    file.write_bytes(buffer.getvalue().encode())
    _, receipt, text = tried(file, given=[f"delimiter={delimiter}"])
    assert (receipt.status, receipt.rejected, receipt.read) == ("accepted", 0, len(rows)), f"{receipt}\n{text}"
    compile(text, "any.py", "exec")


@settings(max_examples=examples(5))
@given(
    names=st.lists(_TEXT.filter(str.strip), min_size=6, max_size=6, unique_by=lambda name: name.strip().casefold()),
    values=st.lists(st.sampled_from(["a'b", 'a"b', "\\", "'\"", "ß", "x" * 50, '"""']), min_size=30, max_size=30),
)
def test_whatever_names_and_values_say_the_file_stays_formatted(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], values: list[str]
) -> None:
    file = tmp_path_factory.mktemp("any") / "any.csv"
    with file.open("w", newline="") as opened:
        writer = csv.writer(opened, lineterminator="\n")
        writer.writerows([names, *([value] * len(names) for value in values)])
    ruff(tried(file)[2], "format", "--diff")


@pytest.mark.needs(BY_DAY)
def test_real_deliveries_are_taken_by_the_feeds_made_from_them() -> None:
    for file in sorted(BY_DAY.glob("*.csv"))[::20]:
        _, receipt, text = tried(file, name="tills")
        assert (receipt.status, receipt.rejected) == ("accepted", 0), file
        assert 'invoice_date: datetime = Field(source="InvoiceDate", format="%Y-%m-%d %H:%M:%S")' in text
        assert "quantity: int" in text
        assert "unit_price: Decimal" in text
