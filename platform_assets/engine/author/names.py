"""Names: those of a contract's columns for what a producer calls them, and what a name says of its values.

Belongs here: conclusions from a name alone. Elsewhere: conclusions from values (infer.py).
"""

import itertools
import keyword
import re
import unicodedata
from collections.abc import Sequence
from typing import Final

from platform_assets.engine.author.candidates import TYPES
from platform_assets.engine.contract.column import LINEAGE
from platform_assets.engine.contract.model import Contract

_IDENTIFIERS: Final = frozenset(
    {"id", "ids", "no", "nr", "num", "number", "code", "sku", "ean", "gtin", "isbn", "zip", "postcode", "plz"}
    | {"phone", "telephone", "tel", "mobile", "fax", "key", "ref", "account", "nummer", "uuid", "guid", "iban"}
)
_DAYS: Final = frozenset({"date", "day", "dt", "on", "datum", "ymd", "tag", "stichtag"})
# Names of columns about people; as a name's last word all but the first line says so too.
_PERHAPS_PEOPLE: Final = frozenset({"name", "contact", "person", "address", "street"})
_PEOPLE: Final = _PERHAPS_PEOPLE | {
    *("first_name", "last_name", "full_name", "given_name", "family_name", "firstname", "lastname", "fullname"),
    *("surname", "forename", "contact_name", "customer_name", "employee_name", "username", "user_name"),
    *("dob", "birthday", "birth_date", "date_of_birth", "ssn", "iban", "passport"),
    *("email", "e_mail", "mail", "phone", "telephone", "tel", "mobile", "fax", "phone_number", "email_address"),
    *("employee", "cashier", "salesperson", "patient", "mitarbeiter", "sachbearbeiter", "verkaufer", "kassierer"),
    *("vorname", "nachname", "ansprechpartner", "anschrift", "strasse", "telefon", "geburtsdatum"),
}
# Names of columns whose values are a closed list by what they mean, and of those where another may come any day.
_CLOSED: Final = frozenset(
    {"status", "stage", "phase", "type", "kind", "class", "level", "priority", "severity", "currency", "unit"}
    | {"gender", "sex", "method", "mode", "direction", "outcome", "result", "event", "action", "typ", "art", "einheit"}
)
_GROWING: Final = frozenset(
    {"country", "region", "province", "county", "district", "city", "town", "place", "location", "area", "zone", "site"}
    | {"land", "ort", "stadt", "bezirk", "filiale", "lager", "standort", "gebiet"}
    | {"store", "shop", "branch", "market", "warehouse", "depot", "station", "office", "department", "team"}
    | {"host", "server", "node", "machine", "device", "sensor", "agent", "version", "model", "modell"}
    | {"user", "customer", "client", "kunde", "seller", "vendor", "supplier", "lieferant", "manager", "author", "owner"}
    | {"brand", "marke", "manufacturer", "hersteller", "company", "firma", "product", "produkt", "item", "article"}
    | {"artikel", "project", "campaign", "plan", "group", "gruppe", "category", "name", "title", "source"}
    | (_NOTES := {"note", "notes", "comment", "comments", "remark", "bemerkung", "description", "text", "message"})
)


# Words that SQL keeps for itself: as a column's name each would have to be quoted wherever it is used.
_SQL: Final = frozenset(
    """all analyse analyze and any array as asc asymmetric both case cast check collate column constraint create default
    deferrable desc describe distinct do else end except false fetch for foreign from group having in initially
    intersect into lambda lateral leading limit not null offset on only or order pivot placing primary qualify
    references returning select show some summarize symmetric table then to trailing true union unique unpivot using
    variadic when where window with""".split()  # noqa: SIM905 - a list of words is easier to read
)


def name_for(text: str) -> str:
    """`text` in snake_case and ASCII, usable as a name; "" where nothing of it is."""
    plain = unicodedata.normalize("NFKD", text.replace("ß", "ss")).encode("ascii", "ignore").decode()
    plain = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", plain)
    name = re.sub(r"[^a-z0-9]+", "_", plain.lower()).strip("_")
    return f"n{name}" if name[:1].isdigit() else name


def names_for(headers: Sequence[str]) -> list[str]:
    """A contract's names for the delivered headers, each another."""
    taken = {*LINEAGE, *(kind.__name__.lower() for kind in TYPES.values()), *dir(Contract), *keyword.kwlist, *_SQL}
    names: list[str] = []
    for at, header in enumerate(headers, start=1):
        name = name_for(header) or f"column_{at}"
        if name in taken:
            tries = (f"{name}_{number}" for number in itertools.count(2))
            name = (
                f"{name}_"
                if f"{name}_" not in taken and name not in names
                else next(t for t in tries if t not in taken)
            )
        taken.add(name)
        names.append(name)
    return names


def names_identifiers(name: str) -> bool:
    """Whether a column of this name holds identifiers, which are no numbers whatever they look like."""
    return name.rstrip("_").split("_")[-1] in _IDENTIFIERS


def names_days(name: str) -> bool:
    """Whether eight digits in a column of this name may be a day."""
    return bool(_DAYS & set(name.split("_")))


def names_notes(name: str) -> bool:
    """Whether a column of this name holds what people write."""
    return bool(_NOTES & set(name.split("_")))


def names_closed_list(name: str) -> bool | None:
    """Whether the values of a column of this name are all there will be; None where its name does not say."""
    words = set(name.rstrip("_").split("_"))
    if words & _GROWING or name.endswith("gruppe"):
        return False
    return True if words & _CLOSED else None


def names_people(name: str) -> bool:
    """Whether a column of this name holds personal data."""
    tokens = name.rstrip("_").split("_")
    ends = {"_".join(tokens[-length:]) for length in (2, 3)} | {"_".join(tokens)}
    return bool(ends & _PEOPLE) or tokens[-1] in _PEOPLE - _PERHAPS_PEOPLE
