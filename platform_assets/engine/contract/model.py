"""Contracts: Pandera models that also declare how a column arrives (headers, formats, zones, PII).

Belongs here: the contract as a whole, and matching a delivery's header to it. Elsewhere: a single column (column.py),
validating rows (validate.py).
"""

import difflib
import functools
import inspect
import itertools
import re
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar

import pandera.polars as pa
import polars as pl
from pandera.api.polars.container import DataFrameSchema

from platform_assets.engine.contract.column import (
    KINDS,
    LINEAGE,
    Column,
    Field,
    Kind,
    Since,
    declared,
    read_column,
    refuse_unannotated,
)
from platform_assets.engine.contract.declaration import no_type
from platform_assets.engine.contract.rules import refuse_unlike_a_rule
from platform_assets.engine.contract.timestamps import ISO
from platform_assets.engine.contract.version import digest
from platform_assets.errors import LONGEST_SHOWN, ContractError, DeliveryRefused, listed, quoted

__all__ = [
    "ISO",
    "LINEAGE",
    "Column",
    "Contract",
    "Field",
    "Header",
    "Kind",
    "Since",
    "columns_of",
    "describe",
    "folded",
    "match_header",
    "version_of",
]


@dataclass(frozen=True)
class Header:
    """A delivery's header, matched to a contract: contract name -> delivered header, and what is left over. Optional
    columns that it lacks are not in it. lacking: those that it had to have, and that a person does without."""

    columns: Mapping[str, str]
    unknown: tuple[str, ...]
    lacking: tuple[str, ...] = ()


class Contract(pa.DataFrameModel):
    """Base of all contracts. The docstring tells what a row is, its grain and its units.

    class Prices(Contract):
        "Prices of articles. Grain: article and day. Currency: GBP."

        sku: str = Field(str_matches="^[A-Z][0-9]+$")
        price: Decimal = Field(source="Unit Price", ge=0)
    """

    class Config:
        """Pandera's configuration; a contract names every column, and casting is ours."""

        strict = True
        coerce = False

    __kinds__: ClassVar[dict[str, Kind]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:  # noqa: ANN401 - as the base class has it
        """Turn the Python types of the annotations into the Polars types that Pandera checks."""
        kinds = dict(cls.__kinds__)
        annotations = dict(inspect.get_annotations(cls, eval_str=True))
        refuse_unannotated(cls.__name__, vars(cls), annotations)
        for name, annotation in annotations.items():
            if name.startswith("_") or typing.get_origin(annotation) is ClassVar:
                continue
            if annotation not in KINDS:
                raise ContractError(f"{cls.__name__}.{name}", *no_type(annotation, KINDS))
            kind = kinds[name] = KINDS[annotation]
            if kind == "decimal":
                precision, scale = declared(cls.__dict__.get(name), "digits") or (18, 4)
                annotations[name] = Annotated[pl.Decimal, precision, scale]
            elif kind == "timestamp":
                annotations[name] = Annotated[pl.Datetime, "us", "UTC"]
        cls.__annotations__ = annotations
        cls.__kinds__ = kinds
        super().__init_subclass__(**kwargs)  # type: ignore[no-untyped-call]  # pandera's is not annotated


# Functions, not methods: a contract's own columns may be called `columns` or `description`.


def columns_of(contract: type[Contract]) -> tuple[Column, ...]:
    """The contract's columns in the order they are declared."""
    return _columns(contract)


def version_of(contract: type[Contract]) -> str:
    """Changes whenever the contract might accept another row, and with nothing else: what its checks do is
    part of it, and so is what they use. The same in every process."""
    return _version(contract)


def describe(contract: type[Contract]) -> str:
    """The contract's docstring."""
    return inspect.cleandoc(contract.__doc__ or contract.__name__)


def headers_of(contract: type[Contract]) -> list[str]:
    """Every header that the contract declares, those a column has had included."""
    return [header for column in columns_of(contract) for header in column.headers]


def match_header(contract: type[Contract], header: Sequence[str], *, lacking: bool = False) -> Header:
    """Match delivered column names to the contract, by name, whatever their order.

    Case and surrounding blanks make no difference. Of a column's declared headers one has to be there, unless the
    column is optional.
    Raises DeliveryRefused with the difference when a column is named twice or is missing; `lacking`: when all are.
    """
    _refuse_repeated(header)
    left = {folded(name): name for name in header}
    found: dict[str, str] = {}
    missing: list[Column] = []
    for column in columns_of(contract):
        delivered = [left.pop(name) for name in dict.fromkeys(map(folded, column.headers)) if name in left]
        if len(delivered) > 1:
            raise DeliveryRefused(
                f"columns {quoted(*map(repr, delivered))} are both declared to be {column.name}",
                remedy=f"Ask the producer for one of them, or declare one as a column of its own in "
                f"{contract.__name__}.",
                line=1,
                column=delivered[1],
            )
        if delivered:
            found[column.name] = delivered[0]
        elif not column.optional:
            missing.append(column)
    if missing and not (lacking and found):
        _refuse_missing(contract, missing, tuple(left.values()))
    unknown = tuple(left.values())
    taken = {folded(column.name) for column in columns_of(contract)} | set(LINEAGE)
    for name in unknown:
        if folded(name) in taken:
            raise DeliveryRefused(
                f"unknown column {quoted(repr(name))} has the name of a column of raw",
                remedy=f"Declare it in {contract.__name__} under another name.",
                line=1,
                column=name,
            )
    return Header(found, unknown, tuple(column.name for column in missing))


@functools.cache
def _version(contract: type[Contract]) -> str:
    schema: DataFrameSchema = contract.to_schema()
    # Of rules the checks tell; what they are called may show the order of a set.
    columns = [(replace(column, rules=()), schema.columns[column.name].checks) for column in columns_of(contract)]
    return digest((columns, schema.checks, contract), package=contract.__module__.partition(".")[0])


@functools.cache
def _columns(contract: type[Contract]) -> tuple[Column, ...]:
    owner = contract.__name__
    schema: DataFrameSchema = contract.to_schema()
    for option in ("unique", "coerce", "drop_invalid_rows", "parsers"):
        if getattr(schema, option, None):
            raise ContractError(f"{owner}.Config", f"{option} is no rule of a single row", f"Take {option} out.")
    for check in schema.checks:
        refuse_unlike_a_rule(owner, check)
    if not schema.columns:
        raise ContractError(owner, "declares no column", "Write one, such as price: Decimal = Field(ge=0).")
    columns = []
    taken: dict[str, str] = {}
    for name, field in schema.columns.items():
        if name not in contract.__kinds__:
            raise ContractError(f"{owner}.{name}", "alias renames a column", "Declare the header with source=.")
        column = read_column(owner, name, contract.__kinds__[name], field)
        for header in column.headers:
            if (other := taken.setdefault(folded(header), name)) != name:
                raise ContractError(
                    f"{owner}.{name}", f"header {header!r} is that of {other} too", "Name a header for one column only."
                )
        columns.append(column)
    if columns and all(column.optional for column in columns):
        raise ContractError(
            owner, "every column is optional, so that any file would be one of its deliveries", "Leave one that is not."
        )
    return tuple(replace(column, pii=column.pii or _pii_within(column, columns)) for column in columns)


def _pii_within(column: Column, columns: Sequence[Column]) -> str | None:
    """The mark of a column of which this one is a part, or that is a part of this one, by their paths."""
    for other in columns:
        for one, two in itertools.product(column.headers, other.headers) if other.pii else ():
            longer, shorter = sorted((folded(one), folded(two)), key=len, reverse=True)
            if longer.startswith((f"{shorter}.", f"{shorter}/")):
                return other.pii
    return None


def _refuse_missing(contract: type[Contract], missing: Sequence[Column], unknown: Sequence[str]) -> typing.NoReturn:
    """Say what is missing, what came instead, and which of that it may have become."""
    first = missing[0]
    spelled = {letters(name): name for name in unknown}
    alike = [name for one in first.headers for name in difflib.get_close_matches(letters(one), spelled, n=1)]
    remedy = (
        "Ask the producer for the column, or, if it was renamed, add its new name to "
        f"{contract.__name__}.{first.name}: source=({first.headers[0]!r}, "
        f"{quoted(repr(spelled[alike[0]][:LONGEST_SHOWN])) if alike else '…'})."
    )
    raise DeliveryRefused(
        f"missing column{'s' * (len(missing) > 1)} {listed([column.headers[0] for column in missing])}"
        + (f"; unknown instead: {quoted(*unknown)}" if unknown else ""),
        remedy=remedy,
        line=1,
        column=first.headers[0],
        guess=True,
    )


def letters(name: str) -> str:
    """What of a header's spelling makes it another."""
    return re.sub(r"[\W_]", "", name.casefold())[:LONGEST_SHOWN]


def folded(name: str) -> str:
    """A column's name as names are compared: case and surrounding blanks make no difference."""
    return name.strip().casefold()


def _refuse_repeated(header: Sequence[str]) -> None:
    seen: dict[str, str] = {}
    for name in header:
        if not name.strip():
            raise DeliveryRefused(
                "a column without a name",
                remedy="Ask the producer for a header that names every column.",
                line=1,
            )
        if folded(name) in seen:
            raise DeliveryRefused(
                f"columns {quoted(repr(seen[folded(name)]))} and {quoted(repr(name))} cannot be told apart",
                remedy="Ask the producer for a header that names every column once.",
                line=1,
                column=name,
            )
        seen[folded(name)] = name
