"""Feeds of personal data in every format and policy, as a deployment would declare them.

Belongs here: declarations alone, for this file is copied into a checkout. Elsewhere: what is delivered (persons.py).
"""

from typing import Any

from platform_assets import Cadence, Contract, Csv, Excel, Feed, Field, Files, Json, Rejects, Xml, hours, seconds


class People(Contract):
    """People who bought something. Grain: person."""

    number: str = Field(str_matches=r"^[A-Z][0-9]+$")
    amount: int = Field(ge=0)
    email: str = Field(nullable=True, pii="secret", str_contains="@")
    born: str = Field(nullable=True, pii="secret", str_matches=r"^[0-9]{4}$")


class Nested(Contract):
    """People, nested. `customer` holds the personal `customer.email` and all else of the customer as JSON."""

    number: str = Field(source="number", str_matches=r"^[A-Z][0-9]+$")
    amount: int = Field(source="amount", ge=0)
    customer: str = Field(source="customer", nullable=True, str_matches="^never$")
    email: str = Field(source="customer.email", nullable=True, pii="secret", str_contains="@")


class Elements(Contract):
    """People in XML. Grain: element."""

    number: str = Field(source="@number", str_matches=r"^[A-Z][0-9]+$")
    amount: int = Field(source="amount", ge=0)
    email: str = Field(source="customer/email", nullable=True, pii="secret", str_contains="@")


def _feed(name: str, pattern: str, contract: type[Contract] = People, **more: Any) -> Feed:
    files = {option: more.pop(option) for option in ("format", "sidecar") if option in more}
    return Feed(
        name=name,
        source=Files(f"persons/{name}/{pattern}", **files, settle=seconds(0)),
        contract=contract,
        delivered=Cadence(cron="0 6 * * *", within=hours(3)),
        owner="team:people",
        origin="persons",
        **{"tolerate": Rejects(rate=1.0), **more},
    )


FAIL = _feed("fail", "*", on_drift="fail")
ADD = _feed("add", "*", on_drift="add")
RESCUE = _feed("rescue", "*", on_drift="rescue")
STRICT = _feed("strict", "*", tolerate=Rejects(rows=0))
BEYOND = _feed("beyond", "*", tolerate=Rejects(rows=0, beyond="quarantine"))
KEYED = _feed("keyed", "*", key=("email",), on_known_key="reject", on_drift="add")
ANNOUNCED = _feed("announced", "*.csv", sidecar=".done")
SEMICOLON = _feed("semicolon", "*", format=Csv(delimiter=";"))
NESTED = _feed("nested", "*", Nested, format=Json(), on_drift="add")
NESTED_RESCUE = _feed("nested_rescue", "*", Nested, format=Json(), on_drift="rescue")
DOCUMENT = _feed("document", "*.json", Nested, format=Json(records="data.people"))
UNNESTED = _feed("unnested", "*", Nested, format=Json(unnest="orders"), on_drift="rescue")
ELEMENTS = _feed("elements", "*.xml", Elements, format=Xml(records="export/person"), on_drift="rescue")
ELEMENTS_FAIL = _feed("elements_fail", "*.xml", Elements, format=Xml(records="export/person"))
ANY_XML = _feed("any_xml", "*.xml", Elements)
SHEET = _feed("sheet", "*.xlsx", format=Excel(sheet="People"))
FEEDS = [each for each in globals().values() if isinstance(each, Feed)]
