"""Contracts: what may be declared, and how a delivery's header is matched by name."""

import re
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from platform_assets.engine.contract.model import Contract, Field, Since, columns_of, match_header, version_of
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


class Report(Contract):
    """A feed whose headers changed over the years, as those of the COVID-19 daily reports did."""

    state: str = Field(source=("Province/State", Since(date(2020, 3, 22), "Province_State")), nullable=True)
    country: str = Field(source=("Country/Region", Since(date(2020, 3, 22), "Country_Region")))


@pytest.mark.parametrize("header", [["Province/State", "Country/Region"], ["Country_Region", "Province_State"]])
def test_a_column_is_found_under_any_header_it_has_had(header: list[str]) -> None:
    matched = match_header(Report, header)
    assert set(matched.columns.values()) == set(header)
    assert matched.columns["state"].startswith("Province")


def test_two_headers_of_one_column_in_one_delivery_are_refused() -> None:
    with pytest.raises(DeliveryRefused, match="'Province/State', 'province_state' are both declared to be state") as no:
        match_header(Report, ["Province/State", "Country/Region", "province_state"])
    assert (no.value.line, no.value.column) == (1, "province_state")


@pytest.mark.parametrize(
    ("header", "offered"),
    [
        (["Province/State", "Country Region"], "source=('Country/Region', 'Country Region')"),
        (["Province/State", "COUNTRYREGION", "x"], "source=('Country/Region', 'COUNTRYREGION')"),
        (["Province/State", "Countries/Regions"], "source=('Country/Region', 'Countries/Regions')"),
        (["Province/State", "Land"], "source=('Country/Region', …)"),
    ],
)
def test_a_renamed_column_is_refused_with_the_declaration_that_takes_it(header: list[str], offered: str) -> None:
    with pytest.raises(DeliveryRefused, match="missing column Country/Region; unknown instead: ") as refused:
        match_header(Report, header)
    assert offered in refused.value.remedy


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


def test_the_version_changes_with_a_rule_and_not_by_itself() -> None:
    def declared(least: int) -> type[Contract]:
        class Same(Contract):
            """Same."""

            number: int = Field(ge=least)

        return Same

    assert version_of(declared(1)) == version_of(declared(1)) != version_of(declared(2))


class Wide(Contract):
    """Two columns."""

    code: str = Field()
    low: int = Field()


def test_a_header_of_thousands_of_columns_gives_a_message_one_can_read() -> None:
    with pytest.raises(DeliveryRefused) as refused:
        match_header(Wide, [f"column {n} {'x' * 500}" for n in range(5000)])
    assert "and 4990 more" in refused.value.what
    assert len(refused.value.what) < 2000


def declare(kind: type, **options: Any) -> type[Contract]:
    return type("Wrong", (Contract,), {"__annotations__": {"a": kind}, "__doc__": "Wrong.", "a": Field(**options)})


@pytest.mark.parametrize(
    ("kind", "options", "problem"),
    [
        (int, {"format": "%Y"}, "format means nothing for a integer"),
        (str, {"thousands": "."}, "thousands means nothing for a text"),
        (float, {"point_zero": True}, "point_zero means nothing for a number"),
        (float, {"thousands": "."}, "cannot be both the decimal mark and stand between thousands"),
        (bool, {"true": "Y"}, "true and false need words of their own"),
        (bool, {"true": ("Y", "J"), "false": ("n", "j")}, "true and false need words of their own"),
        (datetime, {"timezone": "Mars/Base"}, "unknown timezone"),
        (date, {"format": "%d.%m."}, "format '%d.%m.'"),
        (date, {"format": "%d.%m.%Y %z"}, "a day has no offset"),
        (datetime, {"format": "%Y-%m-%d %H"}, "hour and minute"),
        (datetime, {"format": "%Y-%m-%d %H:%M:%S.%f"}, "%f is not read"),
        (datetime, {"format": ("%d/%m/%Y", Since(date(2020, 1, 1), "%c"))}, "%c is not read"),
        (int, {"unique": True}, "unique cannot be declared: it is no rule of a single row"),
        (int, {"coerce": True}, "coerce cannot be declared"),
        (int, {"ge": 0, "raise_warning": True}, "raise_warning would let rows pass"),
        (int, {"ge": 0, "n_failure_cases": 1}, "n_failure_cases would let rows pass"),
        (int, {"alias": "b"}, "alias renames a column"),
    ],
)
def test_a_declaration_that_cannot_be_meant_is_an_error(kind: type, options: dict[str, Any], problem: str) -> None:
    with pytest.raises(ContractError) as error:
        columns_of(declare(kind, **options))
    assert problem in error.value.what


def test_a_header_cannot_be_that_of_two_columns() -> None:
    class Twice(Contract):
        """Twice."""

        one: str = Field(source="Name")
        two: str = Field(source=("Other", "name"))

    with pytest.raises(ContractError, match="header 'name' is that of one too"):
        columns_of(Twice)


def test_rules_of_a_whole_table_cannot_be_configured() -> None:
    class Unique(Contract):
        """Unique."""

        one: str = Field()

        class Config:
            """Pandera's."""

            unique = ("one",)

    with pytest.raises(ContractError, match="unique is no rule of a single row"):
        columns_of(Unique)


@pytest.mark.parametrize(
    "changed",
    [
        Field(source=("a", Since(date(2021, 1, 1), "b"))),
        Field(thousands="'"),
        Field(point_zero=True),
        Field(strip=True),
        Field(ge=0),
    ],
)
def test_the_version_changes_with_every_option_that_matters(changed: Any) -> None:
    plain, other = (
        type("Same", (Contract,), {"__annotations__": {"a": int}, "__doc__": "Same.", "a": field})
        for field in (Field(), changed)
    )
    assert version_of(plain) != version_of(other)


NOON = datetime(2020, 1, 31, 12)  # noqa: DTZ001 - without an offset


def contract(name: str, fields: dict[str, tuple[type, dict[str, Any]]]) -> type[Contract]:
    """A contract of these columns: their types, and what Field is given."""
    annotations = {each: kind for each, (kind, _) in fields.items()}
    made = {each: Field(**options) for each, (_, options) in fields.items()}
    return type(name, (Contract,), {"__annotations__": annotations, "__doc__": f"{name}.", **made})


@pytest.mark.parametrize(
    ("annotation", "options", "why"),
    [
        (str, {"optional": True}, "optional and not nullable"),
        (str, {"default": "EUR"}, "default is for rows whose delivery lacks the column"),
        (str, {"optional": True, "default": 1}, "default 1 is no value of a text"),
        (int, {"optional": True, "default": True}, "default True is no value of a integer"),
        (int, {"optional": True, "default": 1 << 70}, "is no value of a integer"),
        (Decimal, {"optional": True, "default": Decimal("1.23"), "digits": (5, 1)}, "is no value of a decimal"),
        (datetime, {"optional": True, "default": NOON}, "is no value of a timestamp"),
        (date, {"optional": True, "default": NOON}, "is no value of a date"),
        (float, {"optional": True, "default": float("nan")}, "default nan is no value of a number"),
        (int, {"optional": True, "default": -1, "ge": 0}, "breaks the column's own rule greater_than_or_equal_to(0)"),
    ],
)
def test_a_default_is_a_value_that_the_column_can_have(annotation: Any, options: dict[str, Any], why: str) -> None:
    with pytest.raises(ContractError, match=re.escape(why)):
        columns_of(contract("Wrong", {"always": (str, {}), "column": (annotation, options)}))


def test_a_default_may_be_any_value_of_the_columns_type() -> None:
    noon = NOON.replace(tzinfo=UTC)
    given = {str: "EUR", int: 0, Decimal: 3, float: 1, datetime: noon, date: noon.date(), bool: False}
    fields = {f"c{at}": (kind, {"optional": True, "default": value}) for at, (kind, value) in enumerate(given.items())}
    columns = columns_of(contract("Right", {"always": (str, {}), **fields}))
    assert [column.default for column in columns[1:]] == list(given.values())


def test_a_header_has_to_have_something() -> None:
    with pytest.raises(ContractError, match="every column is optional"):
        columns_of(contract("Nothing", {"one": (str, {"optional": True, "nullable": True})}))


def test_whether_a_column_is_optional_is_part_of_the_version() -> None:
    options: list[dict[str, Any]] = [{}, {"optional": True}, {"optional": True, "default": "a"}]
    made = [contract("Same", {"always": (str, {}), "one": (str, {"nullable": True, **more})}) for more in options]
    assert len({version_of(each) for each in made}) == 3
