"""Casting: a value is cast as its column declares it and without loss, or it is rejected."""

import re
import sys
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, localcontext
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from machine import examples

from platform_assets.engine.contract.model import ISO, Contract, Field, Since, columns_of
from platform_assets.engine.contract.validate import validate


class Strict(Contract):
    """One column of every kind."""

    whole: int = Field(nullable=True)
    money: Decimal = Field(nullable=True, digits=(9, 2))
    ratio: float = Field(nullable=True)
    local: datetime = Field(nullable=True, format="%Y-%m-%d %H:%M:%S", timezone="Europe/London")
    offset: datetime = Field(nullable=True, format="%d.%m.%Y %H:%M %z")
    iso: datetime = Field(nullable=True)
    on: date = Field(nullable=True)
    day: date = Field(nullable=True, format="%d/%m/%Y")
    yes: bool = Field(nullable=True)


def cast(column: str, *texts: str) -> list[Any]:
    frame = pl.DataFrame(
        {c.name: list(texts) if c.name == column else None for c in columns_of(Strict)},
        schema={c.name: pl.String for c in columns_of(Strict)},
    ).with_row_index("_line")
    split = validate(frame, Strict)
    kept = dict(zip(split.accepted["_line"], split.accepted[column], strict=True))
    return [kept.get(line, "rejected") for line in range(len(texts))]


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[misc, arg-type]


@pytest.mark.parametrize(
    ("column", "text", "value"),
    [
        ("whole", "+6", 6),
        ("whole", "007", 7),
        ("whole", "9223372036854775807", 2**63 - 1),
        ("money", "5", Decimal("5.00")),
        ("money", "-5.500", Decimal("-5.50")),
        ("money", "9999999.99", Decimal("9999999.99")),
        ("ratio", "1e5", 1e5),
        *(("money", text, Decimal(text)) for text in (".5", "+.25", "-.5", "5.", ".500")),
        *(("ratio", text, float(text)) for text in (".5", "5.", "2.2250738585072014e-308", "0e-400", "-0.0e9")),
        ("local", "2026-06-01 12:00:00", utc(2026, 6, 1, 11)),
        ("local", "2026-12-01 12:00:00", utc(2026, 12, 1, 12)),
        ("offset", "01.06.2026 12:00 +0200", utc(2026, 6, 1, 10)),
        ("iso", "2026-06-01T12:00:00", utc(2026, 6, 1, 12)),
        ("iso", "2026-06-01T12:00:00Z", utc(2026, 6, 1, 12)),
        ("iso", "2026-06-01T12:00:00.25-05:00", utc(2026, 6, 1, 17, 0, 0, 250000)),
        ("on", "2024-02-29", date(2024, 2, 29)),
        ("day", "01/02/2024", date(2024, 2, 1)),
        ("yes", "TRUE", True),
        ("yes", "0", False),
    ],
)
def test_text_as_the_contract_declares_it_is_cast(column: str, text: str, value: Any) -> None:
    assert cast(column, text) == [value]


@pytest.mark.parametrize(
    ("column", "text"),
    [
        *(("whole", text) for text in ("12.7", " 6", "6 ", "6\n", "0x1F", "٣", "1e3", "1_000", "9223372036854775808")),
        *(
            ("money", text)
            for text in ("5.555", "10000000", "1,5", "1.000,00", "£5", "NaN", "1e2", ".555", ".", "٣", "- 1")
        ),
        *(
            ("ratio", text)
            for text in ("1e999", "1e-400", "-1e-320", "NaN", "inf", "Infinity", "0x1F", "1_0", " 1", "٤")
        ),
        ("local", "2026-10-25 01:30:00"),  # twice that night
        ("local", "2026-03-29 01:30:00"),  # never that night
        *(("local", f"{text}12:00:00") for text in ("+2026-06-01 ", " 2026-06-01 ", "2026-06-01  ", "12026-06-01 ")),
        *(("local", f"2026-06-01 {text}") for text in ("12:00:00 ", "24:00:00", "12:00:60", "12:00:00.5", "12:00:00Z")),
        ("offset", "01.06.2026 12:00"),
        *(
            ("iso", text)
            for text in ("2026-06-01", "2026-06-01 12:00:00", "2026-06-01T12:00:00.1234567Z", "01/06/2026")
        ),
        *(("local", text) for text in ("0000-01-01 00:00:00", "-026-06-01 12:00:00", "2026-06- 1 12:00:00")),
        *(
            ("on", text)
            for text in ("0000-00-00", "0000-01-01", "2026-02-29", "01/02/2024", "-2026-06-01", "2026-06-01 ", "")
        ),
        *(("day", text) for text in ("2024-02-01", "31/02/2024", "13/13/2024")),
        *(("yes", text) for text in ("yes", "T", "2", "")),
    ],
)
def test_text_of_any_other_form_is_rejected_not_guessed(column: str, text: str) -> None:
    assert cast(column, text) == ["rejected"]


def declared(kind: type, **options: Any) -> type[Contract]:
    """A contract of one column `a`."""
    namespace = {"__annotations__": {"a": kind}, "__doc__": "One column.", "a": Field(nullable=True, **options)}
    return type("One", (Contract,), namespace)


def become(
    contract: type[Contract],
    delivered: list[Any] | pl.Series,
    readings: dict[int, dict[str, tuple[int, ...]]] | None = None,
) -> list[Any]:
    """What values of column `a` are accepted as; for a rejected one the rules it breaks."""
    values = delivered if isinstance(delivered, pl.Series) else pl.Series(delivered, dtype=pl.String)
    frame = pl.DataFrame({"a": values, "_delivery_id": 1}).with_row_index("_line")
    split = validate(frame, contract, readings)
    outcome = dict(zip(split.accepted["_line"], split.accepted["a"], strict=True))
    reasons = [", ".join(reason["rule"] for reason in row) for row in split.reasons.to_list()]
    outcome |= dict(zip(split.rejected["_line"], reasons, strict=True))
    return [outcome[line] for line in range(frame.height)]


# Numbers as people write them: only as the contract declares.


@pytest.mark.parametrize(
    ("kind", "options", "accepted"),
    [
        (Decimal, {"decimal": ","},
            {"1,5": Decimal("1.5"), "-,5": Decimal("-.5"), "1234,5000": Decimal("1234.5"), ",": None, "1.5": None}),
        (
            Decimal,
            {"decimal": ",", "thousands": "."},
            {"1.234,56": Decimal("1234.56"), "1234,56": Decimal("1234.56"), "-1.234.567": Decimal(-1234567)}
            | dict.fromkeys(["1.23,4", "12.34", "1.2345,6", "0.123", "1,234.56", "1..234", ".234", "1.234.", "1,2,3"])
            | dict.fromkeys(["1,23456", "1.234,56 ", "1e3"]),
        ),
        (Decimal, {"thousands": ","}, {"1,234.5": Decimal("1234.5"), "1.234,5": None, "1,23.4": None}),
        (
            float,
            {"decimal": ",", "thousands": " "},
            {"1 234,5": 1234.5, "1\u00a0234,5": 1234.5, "1\u202f234\u202f567": 1234567.0, ",5": 0.5, "1,5e2": 150.0}
            | dict.fromkeys(["1  234", " 234", "1 23", "1.5", "1e999"]),
        ),
        (int, {"thousands": "'"}, {"1'234": 1234, "1\u2019234\u2019567": 1234567, "12'34": None, "1'234.0": None}),
        (int, {"thousands": "."}, {"1.234": 1234, "007": 7, "1.23": None, "1.000": 1000}),
        (int, {"point_zero": True}, {"17850.0": 17850, "-5.000": -5, "17850": 17850}
            | dict.fromkeys(["17850.5", "17850.", ".0", "1e3", "17850,0", "9223372036854775808.0"])),
        (int, {"point_zero": True, "thousands": ".", "decimal": ","},
            {"17.850,0": 17850, "17.850": 17850, "17,850": None}),
        (int, {}, {"17850.0": None, "1,234": None, "1 234": None, "007": 7}),
        (str, {"point_zero": True}, {"17850.0": "17850", "017850.00": "017850", "1.5": "1.5", "v1.0": "v1.0"}),
        (str, {}, {"17850.0": "17850.0", "007": "007", " x ": " x "}),
        (bool, {"true": ("Y", "Ja"), "false": "N"}, {"y": True, "JA": True, "n": False, "true": None, "1": None}),
    ],
)  # fmt: skip
def test_numbers_and_words_are_read_as_declared_else_rejected(
    kind: type, options: dict[str, Any], accepted: dict[str, Any]
) -> None:
    rule = columns_of(contract := declared(kind, **options))[0].cast_rule
    expected = [rule if value is None else value for value in accepted.values()]
    assert become(contract, list(accepted)) == expected


def test_blanks_are_part_of_a_value_unless_declared_not_to_be() -> None:
    texts = [" 7", "7\t", "\u00a07", " ", "", None, "7"]
    assert become(declared(int, strip=True), texts) == [7, 7, 7, None, None, None, 7]
    assert become(declared(int), texts) == ["integer"] * 5 + [None, 7]
    assert become(declared(str, strip=True), [" a b ", "  "]) == ["a b", None]


# Values that arrive typed, such as the floats that all numbers of a workbook are.


@pytest.mark.parametrize(
    ("kind", "options", "arrived", "accepted"),
    [
        (str, {}, [17850.0, -3.0, 0.0], ["17850", "-3", "0"]),
        (str, {}, [1.5, 1e15, 1e300, float("nan"), float("inf")], ["text"] * 5),
        (int, {}, [17850.0, -0.0, 999_999_999_999_999.0], [17850, 0, 999_999_999_999_999]),
        (int, {}, [17850.5, 1e15, 2.0**63, float("nan")], ["integer"] * 4),
        (Decimal, {}, [3.39, 1.0, -0.1], [Decimal("3.39"), Decimal(1), Decimal("-0.1")]),
        (Decimal, {}, [12345678901.2345], [Decimal("12345678901.2345")]),
        (Decimal, {}, [0.1 + 0.2, 1.00005, 1e11, 1e300, float("nan")], ["decimal(18,4)"] * 5),
        (Decimal, {"digits": (4, 2)}, [99.99, 100.0], [Decimal("99.99"), "decimal(4,2)"]),
        (Decimal, {"digits": (5, 0)}, [17850.0, 0.5], [Decimal(17850), "decimal(5,0)"]),
        (date, {}, [1.0], ["date(ISO 8601)"]),
        (bool, {}, [1.0], ["boolean"]),
    ],
)  # fmt: skip
def test_a_float_is_taken_for_the_one_number_it_can_stand_for(
    kind: type, options: dict[str, Any], arrived: list[float], accepted: list[Any]
) -> None:
    assert become(declared(kind, **options), pl.Series(arrived, dtype=pl.Float64)) == accepted


@settings(max_examples=examples(60))
@given(st.lists(st.decimals(min_value=-(10**10), max_value=10**10, places=4), min_size=1))
def test_a_decimal_that_went_through_a_workbook_is_the_same_decimal(numbers: list[Decimal]) -> None:
    floats = pl.Series([float(number) for number in numbers])
    assert become(declared(Decimal), floats) == numbers


@pytest.mark.parametrize(
    ("kind", "arrived", "accepted"),
    [
        (date, pl.Series([datetime(2026, 6, 1), datetime(2026, 6, 1, 0, 0, 1)]), [date(2026, 6, 1), "date(ISO 8601)"]),  # noqa: DTZ001
        (date, pl.Series([1, 0]).cast(pl.Datetime("ns")), ["date(ISO 8601)", date(1970, 1, 1)]),
        (int, pl.Series([Decimal("7.00"), Decimal("7.50")]), [7, "integer"]),
        (float, pl.Series([Decimal("0.1"), Decimal("12345678901234567.8")]), [0.1, "number"]),
        (int, pl.Series(["7", "x"], dtype=pl.Categorical), [7, "integer"]),
        (str, pl.Series([[1]]), ["text"]),
        (str, pl.Series([timedelta(1)]), ["text"]),
        (int, pl.Series([None, None], dtype=pl.Null), [None, None]),
    ],
)
def test_other_typed_values_are_cast_where_nothing_is_lost(kind: type, arrived: pl.Series, accepted: list[Any]) -> None:
    assert become(declared(kind), arrived) == accepted


# Dates and timestamps whose format changed over the years, as those of the COVID-19 daily reports did.

COVID = declared(
    datetime,
    format=(
        "%m/%d/%Y %H:%M",
        Since(date(2020, 2, 2), "%Y-%m-%dT%H:%M:%S"),
        Since(date(2020, 3, 8), "%m/%d/%y %H:%M"),
        Since(date(2020, 3, 22), "%Y-%m-%d %H:%M:%S"),
    ),
)


def test_a_value_is_read_by_whichever_declared_format_it_has_the_shape_of() -> None:
    texts = ["1/22/2020 17:00", "2020-02-02T23:43:02", "3/8/20 5:31", "2020-03-22 23:45:00", None, "22/1/2020 17:00"]
    *read, rejected = become(COVID, texts)
    assert read == [
        utc(2020, 1, 22, 17), utc(2020, 2, 2, 23, 43, 2), utc(2020, 3, 8, 5, 31), utc(2020, 3, 22, 23, 45), None,
    ]  # fmt: skip
    assert rejected == ("timestamp(%m/%d/%Y %H:%M or %Y-%m-%dT%H:%M:%S or %m/%d/%y %H:%M or %Y-%m-%d %H:%M:%S, UTC)")


AMBIGUOUS = "ambiguous date(%d/%m/%Y or %m/%d/%Y)"
TURNED = declared(date, format=("%d/%m/%Y", Since(date(2021, 6, 1), "%m/%d/%Y")))


@pytest.mark.parametrize(
    ("text", "holds", "outcome"),
    [
        ("25/12/2021", 1, date(2021, 12, 25)),  # one format fits, so nothing is asked
        ("12/25/2021", None, date(2021, 12, 25)),
        ("03/03/2021", None, date(2021, 3, 3)),  # both fit and agree
        ("01/02/2021", 0, date(2021, 2, 1)),
        ("01/02/2021", 1, date(2021, 1, 2)),
        ("01/02/2021", None, AMBIGUOUS),
    ],
)
def test_where_formats_disagree_the_one_that_holds_for_the_delivery_decides(
    text: str, holds: int | None, outcome: Any
) -> None:
    assert become(TURNED, [text], {1: {"a": () if holds is None else (holds,)}}) == [outcome]


def test_deliveries_of_one_frame_are_read_by_their_own_format() -> None:
    frame = pl.DataFrame({"a": ["01/02/2021"] * 3, "_delivery_id": [1, 2, 3]})
    split = validate(frame, TURNED, {1: {"a": (0,)}, 2: {"a": (1,)}})
    assert split.accepted["a"].to_list() == [date(2021, 2, 1), date(2021, 1, 2)]
    assert split.rejected["_delivery_id"].to_list() == [3]


def test_a_format_that_holds_but_does_not_fit_never_decides() -> None:
    newest = declared(date, format=("%d/%m/%Y", "%m/%d/%Y", Since(date(2020, 1, 1), ISO)))
    rule = "ambiguous date(%d/%m/%Y or %m/%d/%Y or ISO 8601)"
    assert become(newest, ["01/02/2021"], {1: {"a": (2,)}}) == [rule]


def test_a_time_that_exists_by_one_format_only_is_still_ambiguous() -> None:
    # On 31 October 2027, 01:30 happens twice in London; by the other format it is 27 October 2031.
    contract = declared(datetime, format=("%y-%m-%d %H:%M", "%d-%m-%y %H:%M"), timezone="Europe/London")
    assert become(contract, ["27-10-31 01:30"]) == [
        "ambiguous timestamp(%y-%m-%d %H:%M or %d-%m-%y %H:%M, Europe/London)"
    ]


@pytest.mark.parametrize(
    ("kind", "form", "text", "value"),
    [
        (datetime, "%d %b %Y %I:%M %p", "1 Jan 2020 1:05 PM", utc(2020, 1, 1, 13, 5)),
        (date, "%B %d, %Y", "May 01, 2020", date(2020, 5, 1)),
        (date, "%Y%m%d", "20200101", date(2020, 1, 1)),
        (date, "%Y-%m-%d %H:%M:%S", "2020-01-01 00:00:00", date(2020, 1, 1)),
        (date, "%Y-%m-%d %H:%M:%S", "2020-01-01 00:00:01", "date(%Y-%m-%d %H:%M:%S)"),
        (datetime, "%Y-%m-%dT%H:%M:%S%:z", "2020-01-01T02:00:00+02:00", utc(2020, 1, 1)),
        *((date, "%d/%m/%y", f"01/02/{year % 100:02}", date(year, 2, 1)) for year in (1969, 1970, 1999, 2000, 2068)),
        (date, "%y%m%d", "690102", date(1969, 1, 2)),
        (date, "%a %d.%m.%y", "Thu 02.01.69", date(1969, 1, 2)),
        (datetime, "%d-%b-%y %H:%M", "5-Jan-69 06:09", utc(1969, 1, 5, 6, 9)),
        (datetime, "%d.%m.%y %H:%M%z", "01.02.69 01:00+02:00", utc(1969, 1, 31, 23)),
        (date, "%d/%m/%y", "29/02/69", "date(%d/%m/%y)"),
        (datetime, "%d/%m/%y %H:%M", "01/02/2020 10:00", "timestamp(%d/%m/%y %H:%M, UTC)"),
    ],
)
def test_formats_in_use_are_read(kind: type, form: str, text: str, value: Any) -> None:
    assert become(declared(kind, format=form), [text]) == [value]


# What decides is compared with Python's own reading, on texts made to be nearly right.

NASTY = st.text("0123456789+-.,eEnaif:/ TZ\n\t٣\uff14\u00a0", max_size=24)


def mangled(pattern: str) -> st.SearchStrategy[str]:
    """Texts of a pattern, some with one character replaced, put in or left out."""
    return st.one_of(
        st.from_regex(pattern, fullmatch=True),
        st.builds(
            lambda text, at, put, drop: text[: at % (len(text) + 1)] + put + text[at % (len(text) + 1) + drop :],
            st.from_regex(pattern, fullmatch=True),
            st.integers(0, 30),
            st.sampled_from(["", "+", "-", " ", "\t", "e", ".", ",", "0", "6", "٣", "\n", "Z"]),
            st.integers(0, 1),
        ),
        NASTY,
    )


def column_of(texts: st.SearchStrategy[str]) -> st.SearchStrategy[list[str | None]]:
    return st.lists(texts | st.none(), min_size=1, max_size=12)


def whole(text: str) -> Any:
    if not re.fullmatch(r"[+-]?[0-9]+", text) or not -(2**63) <= int(text) < 2**63:
        return "integer"
    return int(text)


def money(text: str) -> Any:
    if not re.fullmatch(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)", text):
        return "decimal(18,4)"
    with localcontext(prec=500):
        number = Decimal(text)
        return number if abs(number) < 10**14 and number == number.quantize(Decimal("0.0001")) else "decimal(18,4)"


def number(text: str) -> Any:
    if not re.fullmatch(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?", text):
        return "number"
    value = abs(float(text))
    underflows = value < sys.float_info.min and Decimal(text) != 0
    return "number" if value == float("inf") or underflows else float(text)


def day(text: str) -> Any:
    return next(iter(moments(text, r"(\d{4})-(\d{1,2})-(\d{1,2})", lambda *parts: date(*parts))), "date(ISO 8601)")


def day_of_posix(text: str) -> Any:
    def build(day: int, month: int, year: int) -> date:
        return date(year + (1900 if year >= 69 else 2000), month, day)

    return next(iter(moments(text, r"(\d{1,2})\.(\d{1,2})\.(\d{2})", build)), "date(%d.%m.%y)")


def moment(text: str) -> Any:
    pattern = r"(\d{4})-(\d{1,2})-(\d{1,2}) (\d{1,2}):(\d{1,2}):(\d{1,2})"
    return next(iter(moments(text, pattern, utc)), "timestamp(%Y-%m-%d %H:%M:%S, UTC)")


def moments(text: str, pattern: str, build: Any) -> list[Any]:
    found = re.fullmatch(pattern, text, re.ASCII)
    try:
        return [build(*map(int, found.groups()))] if found else []
    except ValueError:
        return []


@settings(max_examples=examples(60))
@given(st.data())
@pytest.mark.parametrize(
    ("kind", "options", "pattern", "reading"),
    [
        (int, {}, r"[+-]?[0-9]{1,22}", whole),
        (Decimal, {}, r"[+-]?[0-9]{0,16}(\.[0-9]{0,7})?", money),
        (date, {"format": "%d.%m.%y"}, r"0[1-9]\.0?[1-9]\.[0-9]{2}", day_of_posix),
        (float, {}, r"[+-]?[0-9]{0,5}\.?[0-9]{0,5}([eE][+-]?[0-9]{1,3})?", number),
        (date, {}, r"20[0-9]{2}-0[1-9]-0[1-9]|[0-2][0-9]{3}-[01]?[0-9]-[0-3]?[0-9]", day),
        (datetime, {"format": "%Y-%m-%d %H:%M:%S"},
         r"20[0-9]{2}-0[1-9]-0[1-9] 0[1-9]:0[1-9]:0[1-9]"
         r"|[0-2][0-9]{3}-[01]?[0-9]-[0-3]?[0-9] [0-2]?[0-9]:[0-6]?[0-9]:[0-6]?[0-9]", moment),
    ],
)  # fmt: skip
def test_texts_are_read_exactly_as_python_reads_them(
    kind: type, options: dict[str, Any], pattern: str, reading: Any, data: st.DataObject
) -> None:
    texts = data.draw(column_of(mangled(pattern)))
    assert become(declared(kind, **options), texts) == [None if text is None else reading(text) for text in texts]


ZONES = [
    "Europe/London", "Australia/Lord_Howe", "America/St_Johns", "Pacific/Apia", "Africa/Casablanca", "Asia/Kathmandu",
]  # fmt: skip


@settings(max_examples=examples(80))
@given(
    st.sampled_from(ZONES),
    st.datetimes(datetime(1990, 1, 1), datetime(2025, 12, 31)),  # noqa: DTZ001 - local times are what is tried
    st.lists(st.integers(-4 * 96, 4 * 96), min_size=1, max_size=8),
)
def test_local_times_are_instants_unless_they_happen_twice_or_never(
    zone: str, around: datetime, quarters: list[int]
) -> None:
    local = [around.replace(microsecond=0) + timedelta(minutes=15 * quarter) for quarter in quarters]
    assert read_in(zone, local) == [instant(zone, at) for at in local]


@pytest.mark.parametrize(
    ("zone", "twice", "never"),
    [
        ("Europe/London", datetime(2026, 10, 25, 1, 30), datetime(2026, 3, 29, 1, 30)),  # noqa: DTZ001
        ("Australia/Lord_Howe", datetime(2026, 4, 5, 1, 45), datetime(2026, 10, 4, 2, 15)),  # noqa: DTZ001
    ],
)
def test_the_hours_around_a_change_of_the_clocks(zone: str, twice: datetime, never: datetime) -> None:
    for changed in (twice, never):
        local = [changed + timedelta(minutes=15 * quarter) for quarter in range(-16, 17)]
        expected = [instant(zone, at) for at in local]
        assert read_in(zone, local) == expected
        assert 1 <= expected.count("rejected") <= 8
        assert expected[16] == "rejected"


def instant(zone: str, local: datetime) -> Any:
    """The instant by Python's own rules: both readings of a time that happens twice or never differ."""
    once, again = (local.replace(tzinfo=ZoneInfo(zone), fold=fold).astimezone(UTC) for fold in (0, 1))
    return once if once == again else "rejected"


def read_in(zone: str, local: list[datetime]) -> list[Any]:
    contract = declared(datetime, format="%Y-%m-%d %H:%M:%S", timezone=zone)
    outcomes = become(contract, [f"{at:%Y-%m-%d %H:%M:%S}" for at in local])
    return ["rejected" if isinstance(outcome, str) else outcome for outcome in outcomes]


@settings(max_examples=examples(60))
@given(st.lists(st.sampled_from([
    "2026-06-01T12:00:00Z", "2026-06-01T12:00:00", "2026-06-01T12:00:00.5Z", "2026-06-01T14:00:00+02:00",
    "2026-06-01T12:00:00.25", "2026-6-1T12:00:00", "2026-06-01 12:00:00", "2026-06-01T12:00:00z", "Z", "", None,
])))  # fmt: skip
def test_texts_of_iso_8601_are_read_alike_whatever_stands_beside_them(texts: list[str | None]) -> None:
    contract = declared(datetime)
    assert become(contract, texts) == [become(contract, [text])[0] for text in texts]
