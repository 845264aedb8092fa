"""Contracts: headers are matched by name, and a row is accepted exactly when it keeps the contract."""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pandera.errors
import pandera.polars as pa
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pandera.config import ValidationDepth, config_context

from platform_assets.engine.contract import Contract, Field, columns_of, match_header, version_of
from platform_assets.engine.validate import judge
from platform_assets.errors import ContractError, DeliveryRefused


class Order(Contract):
    """Orders."""

    number: int = Field(source=("Number", "No"))
    buyer: str = Field()


@pytest.mark.parametrize(
    ("header", "columns"),
    [
        (["Number", "buyer"], {"number": "Number", "buyer": "buyer"}),
        (["buyer", "Number"], {"number": "Number", "buyer": "buyer"}),
        (["No", "BUYER "], {"number": "No", "buyer": "BUYER "}),
        (["number", " Buyer"], {"number": "number", "buyer": " Buyer"}),
    ],
)
def test_headers_match_by_name_whatever_their_order_and_case(header: list[str], columns: dict[str, str]) -> None:
    matched = match_header(Order, header)
    assert (matched.columns, matched.unknown) == (columns, ())


def test_a_second_alias_is_an_unknown_column_not_a_second_value() -> None:
    matched = match_header(Order, ["No", "Number", "buyer"])
    assert (matched.columns["number"], matched.unknown) == ("Number", ("No",))


@pytest.mark.parametrize(
    ("header", "problem"),
    [
        (["Number"], "missing column buyer"),
        (["Number", "client"], "missing column buyer; unknown instead: client"),
        (["a", "b"], "missing columns Number, buyer; unknown instead: a, b"),
        (["Number", "buyer", "Buyer"], "'buyer' and 'Buyer' cannot be told apart"),
        (["Number", "buyer", "x", "x"], "'x' and 'x' cannot be told apart"),
        (["Number", "buyer", " "], "a column without a name"),
        (["No", "buyer", "_line"], "'_line' has the name of a column of raw"),
        (["Number", "buyer", "_Extra"], "'_Extra' has the name of a column of raw"),
    ],
)
def test_a_header_that_could_mean_two_things_is_refused_with_the_difference(header: list[str], problem: str) -> None:
    with pytest.raises(DeliveryRefused, match=problem) as refused:
        match_header(Order, header)
    assert refused.value.line == 1


def test_a_type_that_contracts_do_not_know_is_an_error_of_the_declaration() -> None:
    with pytest.raises(ContractError, match="Use one of: str, int, Decimal"):
        type("Wrong", (Contract,), {"__annotations__": {"blob": bytes}, "__doc__": "Wrong."})


def test_a_contract_may_have_columns_of_any_name() -> None:
    class Awkward(Contract):
        """Awkward."""

        columns: str = Field()
        reasons: str = Field()
        description: str = Field()

    frame = pl.DataFrame({"columns": ["a"], "reasons": ["b"], "description": ["c"]})
    assert judge(frame, Awkward).accepted.rows() == [("a", "b", "c")]


def test_the_version_changes_with_a_rule_and_not_by_itself() -> None:
    def declared(least: int) -> type[Contract]:
        class Same(Contract):
            """Same."""

            number: int = Field(ge=least)

        return Same

    assert version_of(declared(1)) == version_of(declared(1)) != version_of(declared(2))


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
    verdict = judge(frame, Strict)
    kept = dict(zip(verdict.accepted["_line"], verdict.accepted[column], strict=True))
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
        ("ratio", ".5", 0.5),
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
        *(("money", text) for text in ("5.555", "10000000", "1,5", "1.000,00", "£5", "NaN", "1e2", ".5", "٣", "- 1")),
        *(("ratio", text) for text in ("1e999", "-1e999", "NaN", "inf", "Infinity", "0x1F", "1_0", " 1", "٤")),
        ("local", "2026-10-25 01:30:00"),  # twice that night
        ("local", "2026-03-29 01:30:00"),  # never that night
        *(("local", f"{text}12:00:00") for text in ("+2026-06-01 ", " 2026-06-01 ", "2026-06-01  ", "12026-06-01 ")),
        *(("local", f"2026-06-01 {text}") for text in ("12:00:00 ", "24:00:00", "12:00:60", "12:00:00.5", "12:00:00Z")),
        ("offset", "01.06.2026 12:00"),
        *(
            ("iso", text)
            for text in ("2026-06-01", "2026-06-01 12:00:00", "2026-06-01T12:00:00.1234567Z", "01/06/2026")
        ),
        *(("on", text) for text in ("0000-00-00", "2026-02-29", "01/02/2024", "-2026-06-01", "2026-06-01 ", "")),
        *(("day", text) for text in ("2024-02-01", "31/02/2024", "13/13/2024")),
        *(("yes", text) for text in ("yes", "T", "2", "")),
    ],
)
def test_text_of_any_other_form_is_rejected_not_guessed(column: str, text: str) -> None:
    assert cast(column, text) == ["rejected"]


class Ruled(Contract):
    """Rules within and across columns."""

    code: str = Field(str_matches=r"^[A-Z]{2}$", pii="secret")
    low: int = Field(ge=0, le=9)
    high: int = Field(nullable=True, isin=[1, 5, 9])
    share: float = Field(nullable=True, gt=0)

    @pa.dataframe_check(name="low_below_high")
    def _ordered(cls, data: pa.PolarsData) -> pl.LazyFrame:  # noqa: N805 - pandera's shape
        return data.lazyframe.select(pl.col("high").is_null() | (pl.col("low") <= pl.col("high")))


def test_a_header_that_was_not_split_names_the_delimiter_to_declare() -> None:
    with pytest.raises(DeliveryRefused, match="declare the delimiter"):
        match_header(Ruled, ["code;low;high;share"])


def test_a_header_of_thousands_of_columns_gives_a_message_one_can_read() -> None:
    with pytest.raises(DeliveryRefused) as refused:
        match_header(Ruled, [f"column {n} {'x' * 500}" for n in range(5000)])
    assert "and 4990 more" in refused.value.what
    assert len(refused.value.what) < 2000


def test_every_broken_rule_of_a_row_is_told_with_its_value_and_pii_masked() -> None:
    frame = pl.DataFrame({"code": ["x"], "low": ["99"], "high": ["5"], "share": ["-1"]})
    verdict = judge(frame, Ruled)
    (reasons,) = verdict.reasons.to_list()
    assert verdict.rejected.rows() == frame.rows()
    assert {(reason["column"], reason["rule"], reason["value"]) for reason in reasons if reason["column"]} == {
        ("code", "str_matches('^[A-Z]{2}$')", "***"),
        ("low", "less_than_or_equal_to(9)", "99"),
        ("share", "greater_than(0)", "-1"),
    }
    (across,) = (reason for reason in reasons if reason["column"] is None)
    assert (across["rule"], across["value"]) == ("low_below_high", "***")


def test_a_value_that_cannot_be_cast_is_told_once_as_it_arrived() -> None:
    verdict = judge(pl.DataFrame({"code": ["AB"], "low": ["٤"], "high": [None], "share": [None]}), Ruled)
    assert verdict.reasons.to_list() == [[{"column": "low", "rule": "integer", "value": "٤"}]]


def test_a_missing_value_breaks_a_column_that_is_not_nullable() -> None:
    frame = pl.DataFrame({"code": ["AB"], "low": [None], "high": [None], "share": [None]})
    (((reason,),),) = [judge(frame, Ruled).reasons.to_list()]
    assert (reason["column"], reason["rule"], reason["value"]) == ("low", "not_nullable", None)


def test_a_rule_that_judges_the_whole_frame_is_an_error_of_the_contract() -> None:
    class Whole(Contract):
        """Judged as a whole."""

        number: int = Field()

        @pa.dataframe_check(name="some")
        def _some(cls, data: pa.PolarsData) -> bool:  # noqa: N805 - pandera's shape
            return bool(data.lazyframe.collect()["number"].sum() > 10)

    with pytest.raises(ContractError, match="does not judge single rows"):
        judge(pl.DataFrame({"number": ["1", "2"]}), Whole)


def test_the_environment_cannot_switch_validation_off(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = pl.DataFrame({"code": ["x"], "low": ["1"], "high": [None], "share": [None]})
    with config_context(validation_enabled=False, validation_depth=ValidationDepth.SCHEMA_ONLY):
        assert judge(frame, Ruled).rejected.height == 1


rows = st.tuples(
    st.sampled_from(["AB", "XY", "x", "ABC", "", None]),
    st.integers(-2, 11) | st.none(),
    st.sampled_from([1, 2, 5, 9, None]),
    st.sampled_from([0.5, 0.0, -1.0, None]),
)


@settings(max_examples=30)
@given(st.lists(rows, min_size=1, max_size=20))
def test_a_row_is_accepted_exactly_when_pandera_alone_accepts_it(table: list[tuple[Any, ...]]) -> None:
    types = {"code": pl.String, "low": pl.Int64, "high": pl.Int64, "share": pl.Float64}
    frame = pl.DataFrame(table, schema=types, orient="row")
    alone = []
    for at in range(frame.height):
        try:
            with config_context(validation_depth=ValidationDepth.SCHEMA_AND_DATA):
                Ruled.validate(frame[at])
            alone.append(at)
        except pandera.errors.SchemaError:
            pass
    verdict = judge(frame.with_row_index("_line"), Ruled)
    assert verdict.accepted["_line"].to_list() == alone
    assert verdict.rejected["_line"].to_list() == [at for at in range(frame.height) if at not in alone]
