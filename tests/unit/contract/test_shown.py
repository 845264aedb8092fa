"""What of a feed's text is shown where its contract has personal data, and where it has none."""

import traceback

import pytest

from platform_assets.engine.contract.model import Contract, Field, columns_of
from platform_assets.engine.contract.shown import MASK, guarding, shown_of
from platform_assets.errors import HIDDEN, DeliveryRefused, ForeignError, quoted


class Open(Contract):
    """Nothing personal."""

    sku: str = Field()


class People(Contract):
    """People."""

    sku: str = Field()
    customer_number: str = Field(source="Customer Number")
    email: str = Field(nullable=True, pii="secret")


class Nested(Contract):
    """People, nested."""

    customer: str = Field(nullable=True)
    email: str = Field(source="customer.email", pii="secret")
    city: str = Field(source="customer.city")
    raw: str = Field(source="meta", pii="pseudonym")
    key: str = Field(source="meta/key")


WHO = "-".join(("an", "na")).replace("-", "")  # not as code spells it, for tracebacks show code
PEOPLE, OPEN = shown_of(People), shown_of(Open)


@pytest.mark.parametrize(
    "name",
    ["sku", " SKU ", "E-Mail", "e_mail", "customer number", "CustomerNumber", "custmer_number", "Kustomer Number"],
)
def test_a_name_that_resembles_a_declared_one_is_shown(name: str) -> None:
    assert PEOPLE.names([name]) == (name,)


@pytest.mark.parametrize("name", ["Emil", "emila", "sk", "anna@x.example", "Channel", "customer", "4915209876", "ski"])
def test_any_other_may_be_data_and_is_not(name: str) -> None:
    assert PEOPLE.names([name]) == (HIDDEN,)
    assert PEOPLE.name(name) is None


def test_without_personal_data_everything_is_shown() -> None:
    assert OPEN.names(["anna@x.example"]) == ("anna@x.example",)
    assert OPEN.record({"sku": "a", "anna": "b"}) == {"sku": "a", "anna": "b"}
    assert OPEN.record("a,b") == "a,b"
    assert OPEN.message(f"unknown {quoted('anna')}") == "unknown anna"


def test_of_a_record_only_declared_columns_that_are_not_personal_are_shown() -> None:
    record = {"sku": "a", "E-Mail": "b", "email": "c", "Anna": "d", "Smith": None}
    hidden = "(2, not shown: the contract has personal data)"
    assert PEOPLE.record(record) == {"sku": "a", "E-Mail": MASK, "email": MASK, hidden: MASK}
    assert PEOPLE.record("anna,smith") == MASK
    assert (PEOPLE.value("sku", "a"), PEOPLE.value("email", "b"), PEOPLE.value(None, "{}")) == ("a", MASK, MASK)


def test_what_holds_a_personal_path_or_lies_within_one_is_personal() -> None:
    assert {c.name: c.pii for c in columns_of(Nested)} == {
        "customer": "secret",
        "email": "secret",
        "city": None,
        "raw": "pseudonym",
        "key": "pseudonym",
    }


def fails(message: str) -> None:
    try:
        raise KeyError(WHO)
    except KeyError as error:
        raise ValueError(message) from error


def test_an_error_leaves_without_data_and_without_what_caused_it() -> None:
    with pytest.raises(ForeignError, match=r"ValueError: could not convert '…' of sku") as caught, guarding([People]):
        fails(f"could not convert '{WHO}' of sku")
    assert "anna" not in "".join(traceback.format_exception(caught.value))
    assert (caught.value.__cause__, caught.value.__suppress_context__) == (None, True)
    with pytest.raises(DeliveryRefused) as refused, guarding([People]):
        raise DeliveryRefused(f"unknown {quoted(WHO)}", remedy="none") from ValueError(WHO)
    assert "anna" not in "".join(traceback.format_exception(refused.value))


def test_errors_of_feeds_without_personal_data_are_as_they_were() -> None:
    with pytest.raises(ValueError, match="anna"), guarding([Open]):
        raise ValueError("anna")


def test_an_error_that_says_nothing_of_data_passes() -> None:
    with pytest.raises(KeyError), guarding([People], but=(KeyError,)):
        raise KeyError("passes")
