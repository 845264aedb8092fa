"""Judging: a row is accepted exactly when it keeps the contract, and else every rule it breaks is told."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pandera.errors
import pandera.polars as pa
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from machine import examples
from pandera.config import ValidationDepth, config_context

from platform_assets.engine.contract.cast import cast
from platform_assets.engine.contract.model import Contract, Field, columns_of
from platform_assets.engine.contract.validate import validate
from platform_assets.errors import ContractError


def test_a_contract_may_have_columns_of_any_name() -> None:
    class Awkward(Contract):
        """Awkward."""

        columns: str = Field()
        reasons: str = Field()
        description: str = Field()

    frame = pl.DataFrame({"columns": ["a"], "reasons": ["b"], "description": ["c"]})
    assert validate(frame, Awkward).accepted.rows() == [("a", "b", "c")]


class Ruled(Contract):
    """Rules within and across columns."""

    code: str = Field(str_matches=r"^[A-Z]{2}$", pii="secret")
    low: int = Field(ge=0, le=9)
    high: int = Field(nullable=True, isin=[1, 5, 9])
    share: float = Field(nullable=True, gt=0)

    @pa.dataframe_check(name="low_below_high")
    def _ordered(cls, data: pa.PolarsData) -> pl.LazyFrame:  # noqa: N805 - pandera's shape
        return data.lazyframe.select(pl.col("high").is_null() | (pl.col("low") <= pl.col("high")))


def test_every_broken_rule_of_a_row_is_told_with_its_value_and_pii_masked() -> None:
    frame = pl.DataFrame({"code": ["x"], "low": ["99"], "high": ["5"], "share": ["-1"]})
    split = validate(frame, Ruled)
    (reasons,) = split.reasons.to_list()
    assert split.rejected.rows() == frame.rows()
    assert {(reason["column"], reason["rule"], reason["value"]) for reason in reasons if reason["column"]} == {
        ("code", "str_matches('^[A-Z]{2}$')", "***"),
        ("low", "less_than_or_equal_to(9)", "99"),
        ("share", "greater_than(0)", "-1"),
    }
    (across,) = (reason for reason in reasons if reason["column"] is None)
    assert (across["rule"], across["value"]) == ("low_below_high", "***")


def test_a_value_that_cannot_be_cast_is_told_once_as_it_arrived() -> None:
    split = validate(pl.DataFrame({"code": ["AB"], "low": ["٤"], "high": [None], "share": [None]}), Ruled)
    assert split.reasons.to_list() == [[{"column": "low", "rule": "integer", "value": "٤"}]]


def test_a_missing_value_breaks_a_column_that_is_not_nullable() -> None:
    frame = pl.DataFrame({"code": ["AB"], "low": [None], "high": [None], "share": [None]})
    (((reason,),),) = [validate(frame, Ruled).reasons.to_list()]
    assert (reason["column"], reason["rule"], reason["value"]) == ("low", "not_nullable", None)


def test_a_rule_that_judges_the_whole_frame_is_an_error_of_the_contract() -> None:
    class Whole(Contract):
        """Judged as a whole."""

        number: int = Field()

        @pa.dataframe_check(name="some")
        def _some(cls, data: pa.PolarsData) -> bool:  # noqa: N805 - pandera's shape
            return bool(data.lazyframe.collect()["number"].sum() > 10)

    with pytest.raises(ContractError, match="does not answer for single rows"):
        validate(pl.DataFrame({"number": ["1", "2"]}), Whole)


def test_the_environment_cannot_switch_validation_off(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = pl.DataFrame({"code": ["x"], "low": ["1"], "high": [None], "share": [None]})
    with config_context(validation_enabled=False, validation_depth=ValidationDepth.SCHEMA_ONLY):
        assert validate(frame, Ruled).rejected.height == 1


@pytest.mark.parametrize("answer", [True, False])
def test_a_rule_of_one_answer_is_refused_whatever_it_says(answer: bool) -> None:
    class Whole(Contract):
        """Judged as a whole."""

        number: int = Field()

        @pa.check("number", name="some")
        def _some(cls, data: pa.PolarsData) -> pl.LazyFrame:  # noqa: N805 - pandera's shape
            return data.lazyframe.select((pl.col(data.key).sum() > 0) == answer)

    with pytest.raises(ContractError, match=r"rule some does not answer for single rows \(1 answer for 2 rows\)"):
        validate(pl.DataFrame({"number": ["1", "2"]}), Whole)


def test_a_rule_that_fails_to_run_is_an_error_of_the_contract_without_the_data() -> None:
    class Failing(Contract):
        """Fails."""

        name: str = Field(pii="secret")

        @pa.check("name", name="number_like")
        def _number(cls, data: pa.PolarsData) -> pl.LazyFrame:  # noqa: N805 - pandera's shape
            return data.lazyframe.select(pl.col(data.key).str.to_integer() > 0)

    with pytest.raises(ContractError, match="rule number_like does not answer for single rows") as error:
        validate(pl.DataFrame({"name": ["Ada Lovelace"]}), Failing)
    assert "Ada" not in str(error.value)


def test_a_frame_without_rows_is_judged_to_be_empty() -> None:
    nothing = pl.DataFrame(schema={**dict.fromkeys(["code", "low", "high", "share"], pl.String), "_line": pl.Int64})
    split = validate(nothing, Ruled)
    assert dict(split.accepted.schema) == {
        "code": pl.String, "low": pl.Int64, "high": pl.Int64, "share": pl.Float64, "_line": pl.Int64,
    }  # fmt: skip
    assert (split.accepted.height, split.rejected.height, len(split.reasons)) == (0, 0, 0)


def test_values_that_no_text_stands_for_are_shown_all_the_same() -> None:
    class Plain(Contract):
        """Text only."""

        list: str = Field()
        bytes: str = Field()

    split = validate(pl.DataFrame({"list": [[1, 2]], "bytes": [b"\xff"]}), Plain)
    assert [reason["value"] for reason in split.reasons[0]] == ["[1,2]", "ff"]


# What Pandera's own `validate` says of the frame that the caster made is the reference, for contracts of any rules.


RULES: dict[type, list[dict[str, Any]]] = {
    str: [
        {"str_matches": r"^[A-Z]+$"}, {"str_length": {"min_value": 1, "max_value": 3}}, {"isin": ["AB", "007", ""]},
        {"str_contains": "1"}, {"str_startswith": "1", "ne": "1"}, {"notin": ["AB", "\x00"], "str_endswith": "B"},
    ],
    int: [{"ge": 0}, {"le": 7, "ne": 1}, {"in_range": {"min_value": -1, "max_value": 7}}, {"isin": [0, 1, 7]}],
    Decimal: [{"ge": 0}, {"lt": 7, "gt": -1}, {"eq": 1}],
    float: [{"gt": 0}, {"in_range": {"min_value": 0, "max_value": 7, "include_min": False}}, {"le": 1e5, "ge": -1}],
    datetime: [{"ge": datetime(2024, 1, 1, tzinfo=UTC)}, {"lt": datetime(2024, 2, 29, tzinfo=UTC)}],
}  # fmt: skip


class Custom:
    """Checks of every shape that Pandera takes; a generated contract gets some of them."""

    @pa.check("whole", name="even")
    def whole_even(cls, data: pa.PolarsData) -> pl.LazyFrame:  # noqa: N805 - pandera's shape
        return data.lazyframe.select(pl.col(data.key) % 2 == 0)

    @pa.check("whole", name="told", error="has to be even", ignore_na=False)
    def whole_told(cls, data: pa.PolarsData) -> pl.LazyFrame:  # noqa: N805
        return data.lazyframe.select(pl.col(data.key) % 2 == 0)

    @pa.check("whole", name="small", element_wise=True)
    def whole_small(cls, value: int) -> bool:  # noqa: N805
        return value < 7

    @pa.dataframe_check(name="below")
    def across(cls, data: pa.PolarsData) -> pl.LazyFrame:  # noqa: N805
        return data.lazyframe.select(pl.col("whole") <= pl.col("share"))

    @pa.dataframe_check(name="surely_below", ignore_na=False)
    def strictly(cls, data: pa.PolarsData) -> pl.LazyFrame:  # noqa: N805
        return data.lazyframe.select(pl.col("whole") <= pl.col("share"))

    @pa.dataframe_check(name="both_positive")
    def both(cls, data: pa.PolarsData) -> pl.LazyFrame:  # noqa: N805
        return data.lazyframe.select(pl.col("whole") >= 0, pl.col("share") >= 0)


CUSTOM = {name: check for name, check in vars(Custom).items() if not name.startswith("_")}
TEXTS = [
    "0", "1", "-1", "7", "007", "8", "1.5", "-0.5", "1e3", "1e999", "NaN", "inf", "٣", "9" * 30, "AB", "ab", "x\ny", "",
    " ", "\x00", "🙂", "2024-02-29T00:00:00", "2023-12-31T23:59:59Z", "2024-02-30T00:00:00", None,
]  # fmt: skip
COLUMNS: dict[str, type] = {"text": str, "whole": int, "money": Decimal, "share": float, "at": datetime}


@st.composite
def contracts(draw: st.DrawFn) -> type[Contract]:
    namespace: dict[str, Any] = {"__annotations__": dict(COLUMNS), "__doc__": "Generated."}
    for name, kind in COLUMNS.items():
        rules = draw(st.sampled_from([{}, *RULES[kind]]))
        options: dict[str, Any] = {"ignore_na": draw(st.booleans()), **rules} if rules else {}
        if draw(st.booleans()):
            options["pii"] = "secret"
        namespace[name] = Field(nullable=draw(st.booleans()), **options)
    chosen = draw(st.sets(st.sampled_from(sorted(CUSTOM)), max_size=3))
    return type("Generated", (Contract,), namespace | {name: CUSTOM[name] for name in chosen})


@st.composite
def frames(draw: st.DrawFn) -> pl.DataFrame:
    likely = {
        "text": st.sampled_from(TEXTS), "whole": st.sampled_from(TEXTS[:7]), "money": st.sampled_from(TEXTS[:8]),
        "share": st.sampled_from(TEXTS[:9]), "at": st.sampled_from(TEXTS[-4:]),
    }  # fmt: skip
    height = draw(st.integers(0, 12))
    values = {
        name: draw(st.lists(some | st.sampled_from(TEXTS), min_size=height, max_size=height))
        for name, some in likely.items()
    }
    frame = pl.DataFrame(values, schema=dict.fromkeys(values, pl.String))
    return frame.select(draw(st.permutations(frame.columns))).with_row_index("_line")


Reasons = dict[int, set[tuple[str | None, str]]]


def told(frame: pl.DataFrame, contract: type[Contract]) -> Reasons:
    split = validate(frame, contract)
    assert split.reasons.list.len().sum() == sum(len({tuple(one.items()) for one in row}) for row in split.reasons)
    return {
        line: {(reason["column"], reason["rule"]) for reason in row}
        for line, row in zip(split.rejected["_line"], split.reasons.to_list(), strict=True)
    }


def reference(frame: pl.DataFrame, contract: type[Contract]) -> Reasons:
    """What the caster could not cast, and what Pandera says of the rest."""
    found: Reasons = {}
    typed = {}
    for column in columns_of(contract):
        done = cast(frame[column.name], column)
        typed[column.name] = done.values
        for line, (was, is_now) in enumerate(zip(frame[column.name], done.values.is_null(), strict=True)):
            if was is not None and is_now:
                found.setdefault(line, set()).add((column.name, column.cast_rule))
    uncast = {(line, column) for line, reasons in found.items() for column, _ in reasons}
    lines = set(found)
    try:
        with config_context(validation_depth=ValidationDepth.SCHEMA_AND_DATA):
            contract.validate(pl.DataFrame(typed), lazy=True)
    except pandera.errors.SchemaErrors as errors:
        names = ("index", "schema_context", "column", "check")
        for line, context, column, rule in errors.failure_cases.select(names).rows():
            of = column if context == "Column" else None
            if (line, of) not in uncast and (of is not None or line not in lines):
                found.setdefault(line, set()).add((of, rule))
    return found


@settings(max_examples=examples(60))
@given(contracts(), frames())
def test_a_row_is_accepted_exactly_when_pandera_accepts_it_and_else_told_why(
    contract: type[Contract], frame: pl.DataFrame
) -> None:
    expected = reference(frame, contract)
    assert told(frame, contract) == expected
    split = validate(frame, contract)
    assert split.rejected.equals(frame[sorted(expected)])
    assert split.accepted["_line"].to_list() == [line for line in frame["_line"] if line not in expected]
    typed = {column.name: cast(frame[column.name], column).values for column in columns_of(contract)}
    kept = [line for line in range(frame.height) if line not in expected]
    assert split.accepted.drop("_line").equals(pl.DataFrame(typed)[kept])


@settings(max_examples=examples(40))
@given(contracts(), frames(), st.integers(0, 12))
def test_where_a_frame_is_cut_makes_no_difference(contract: type[Contract], frame: pl.DataFrame, at: int) -> None:
    whole = validate(frame, contract)
    parts = [validate(part, contract) for part in (frame.head(at), frame.slice(at))]
    assert pl.concat([part.accepted for part in parts]).equals(whole.accepted)
    assert pl.concat([part.rejected for part in parts]).equals(whole.rejected)
    assert pl.concat([part.reasons for part in parts]).to_list() == whole.reasons.to_list()
