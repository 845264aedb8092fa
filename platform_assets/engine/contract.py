"""Contracts: Pandera models that also say how a column arrives (headers, formats, zones, PII).

Belongs here: the declaration, and matching a delivery's header to it. Does not: judging rows (validate.py).
"""

import functools
import hashlib
import inspect
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any, ClassVar, Final, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import pandera.polars as pa
import polars as pl
from pandera.api.polars.container import DataFrameSchema

from platform_assets.errors import ContractError, DeliveryRefused

Kind = Literal["text", "integer", "decimal", "number", "timestamp", "date", "boolean"]

_KINDS: Final[dict[Any, Kind]] = {
    str: "text",
    int: "integer",
    Decimal: "decimal",
    float: "number",
    datetime: "timestamp",
    date: "date",
    bool: "boolean",
}
_OURS: Final = "platform"
_LONGEST_SHOWN: Final = 80
LINEAGE: Final = ("_delivery_id", "_line", "_revision", "_extra")


def Field(  # noqa: N802 - reads like pandera.Field, which it extends
    *,
    source: str | Sequence[str] | None = None,
    format: str | None = None,
    timezone: str = "UTC",
    digits: tuple[int, int] = (18, 4),
    pii: Literal["pseudonym", "secret"] | None = None,
    **pandera: Any,  # noqa: ANN401 - handed to pandera.Field as they are
) -> Any:  # noqa: ANN401 - a descriptor that the model's annotation types
    """A column of a contract: pandera.Field plus how the column arrives.

    source: the header(s) it may arrive under; its own name by default.
    format: strptime format of a date or timestamp; ISO 8601 by default.
    timezone: the zone a timestamp without offset is written in; it is stored as an instant.
    digits: precision and scale of a Decimal.
    pii: masks the column's values wherever a row is shown.
    """
    headers = (source,) if isinstance(source, str) else tuple(source or ())
    ours = {"headers": headers, "format": format, "timezone": timezone, "digits": digits, "pii": pii}
    return pa.Field(metadata={_OURS: ours}, **pandera)


@dataclass(frozen=True)
class Column:
    """One column of a contract, as the engine needs it."""

    name: str
    headers: tuple[str, ...]
    kind: Kind
    format: str | None
    timezone: str
    digits: tuple[int, int]
    nullable: bool
    pii: str | None
    description: str
    rules: tuple[str, ...]

    @property
    def dtype(self) -> pl.DataType:
        """The Polars type of the parsed column."""
        match self.kind:
            case "text":
                return pl.String()
            case "integer":
                return pl.Int64()
            case "decimal":
                return pl.Decimal(*self.digits)
            case "number":
                return pl.Float64()
            case "timestamp":
                return pl.Datetime("us", "UTC")
            case "date":
                return pl.Date()
            case "boolean":
                return pl.Boolean()

    @property
    def sql_type(self) -> str:
        """The DuckDB type of the column in raw."""
        match self.kind:
            case "text":
                return "VARCHAR"
            case "integer":
                return "BIGINT"
            case "decimal":
                return f"DECIMAL({self.digits[0]},{self.digits[1]})"
            case "number":
                return "DOUBLE"
            case "timestamp":
                return "TIMESTAMP WITH TIME ZONE"
            case "date":
                return "DATE"
            case "boolean":
                return "BOOLEAN"


@dataclass(frozen=True)
class Header:
    """A delivery's header, matched to a contract: contract name -> delivered header, and what is left over."""

    columns: Mapping[str, str]
    unknown: tuple[str, ...]


class Contract(pa.DataFrameModel):
    """Base of all contracts. The docstring says what a row is, its grain and its units."""

    class Config:
        """Pandera's configuration; a contract names every column, and casting is ours."""

        strict = True
        coerce = False

    __kinds__: ClassVar[dict[str, Kind]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:  # noqa: ANN401 - as the base class has it
        """Turn the Python types of the annotations into the Polars types that Pandera checks."""
        kinds = dict(cls.__kinds__)
        annotations = dict(inspect.get_annotations(cls, eval_str=True))
        for name, annotation in annotations.items():
            if name.startswith("_") or typing.get_origin(annotation) is ClassVar:
                continue
            if annotation not in _KINDS:
                raise ContractError(
                    f"{cls.__name__}.{name}",
                    f"type {annotation!r} is not one a contract knows",
                    f"Use one of: {', '.join(t.__name__ for t in _KINDS)}.",
                )
            kind = kinds[name] = _KINDS[annotation]
            if kind == "decimal":
                precision, scale = _declared(cls.__dict__.get(name)).get("digits", (18, 4))
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
    """Changes whenever the contract might judge the same row differently."""
    schema = contract.to_schema()
    rules = [(check.name, check.error, check.statistics) for check in schema.checks]
    columns = [
        (column, [(check.name, check.error, check.statistics) for check in schema.columns[column.name].checks])
        for column in columns_of(contract)
    ]
    return hashlib.sha256(repr((columns, rules)).encode()).hexdigest()[:12]


def describe(contract: type[Contract]) -> str:
    """The contract's docstring."""
    return inspect.cleandoc(contract.__doc__ or contract.__name__)


def match_header(contract: type[Contract], header: Sequence[str]) -> Header:
    """Match delivered column names to the contract, by name, whatever their order.

    Names match exactly, or else without regard to case and surrounding blanks if only one can be meant.
    Raises DeliveryRefused with the difference when a column is missing or named twice.
    """
    _refuse_repeated(header)
    left = {_folded(name): name for name in header}
    found: dict[str, str] = {}
    missing: list[Column] = []
    for column in columns_of(contract):
        delivered = next((h for h in column.headers if left.get(_folded(h)) == h), None) or next(
            (left[_folded(h)] for h in column.headers if _folded(h) in left), None
        )
        if delivered is None:
            missing.append(column)
        else:
            found[column.name] = left.pop(_folded(delivered))
    if missing:
        remedy = (
            "Ask the producer for the column, or, if it was renamed, add its new name to "
            f"{contract.__name__}.{missing[0].name}: source=({missing[0].headers[0]!r}, …)."
        )
        if len(header) == 1 and all(column.headers[0] in header[0] for column in missing):
            remedy = "All of them stand in one column: declare the delimiter, such as format=Csv(delimiter=';')."
        raise DeliveryRefused(
            f"missing column{'s' * (len(missing) > 1)} {listed([column.headers[0] for column in missing])}"
            + (f"; unknown instead: {listed(list(left.values()))}" if left else ""),
            remedy=remedy,
            line=1,
            column=missing[0].headers[0],
        )
    unknown = tuple(left.values())
    taken = {column.name for column in columns_of(contract)} | set(LINEAGE)
    for name in unknown:
        if _folded(name) in taken:
            raise DeliveryRefused(
                f"unknown column {name!r} has the name of a column of raw",
                remedy=f"Declare it in {contract.__name__} under another name.",
                line=1,
                column=name,
            )
    return Header(found, unknown)


def listed(names: Sequence[str], most: int = 10) -> str:
    """Some of the names, for a message that stays readable whatever a file brings."""
    shown = ", ".join(name if len(name) <= _LONGEST_SHOWN else f"{name[:_LONGEST_SHOWN]}…" for name in names[:most])
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")


def _declared(field: Any) -> dict[str, Any]:  # noqa: ANN401 - a FieldInfo or nothing
    metadata: dict[str, Any] = getattr(field, "metadata", None) or {}
    ours: dict[str, Any] = metadata.get(_OURS, {})
    return ours


@functools.cache
def _columns(contract: type[Contract]) -> tuple[Column, ...]:
    schema: DataFrameSchema = contract.to_schema()
    columns = []
    for name, declared in schema.columns.items():
        ours = _declared(declared)
        timezone = ours.get("timezone", "UTC")
        try:
            ZoneInfo(timezone)
        except (ZoneInfoNotFoundError, ValueError):
            raise ContractError(
                f"{contract.__name__}.{name}", f"unknown timezone {timezone!r}", "Give an IANA name."
            ) from None
        if name in LINEAGE or not name.isidentifier() or name != name.lower():
            raise ContractError(f"{contract.__name__}.{name}", "not a usable column name", "Use lower-case snake_case.")
        columns.append(
            Column(
                name=name,
                headers=ours.get("headers") or (name,),
                kind=contract.__kinds__[name],
                format=ours.get("format"),
                timezone=timezone,
                digits=ours.get("digits", (18, 4)),
                nullable=bool(declared.nullable),
                pii=ours.get("pii"),
                description=declared.description or "",
                rules=tuple(str(check.error or check.name) for check in declared.checks),
            )
        )
    return tuple(columns)


def _folded(name: str) -> str:
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
        if _folded(name) in seen:
            raise DeliveryRefused(
                f"columns {seen[_folded(name)]!r} and {name!r} cannot be told apart",
                remedy="Ask the producer for a header that names every column once.",
                line=1,
                column=name,
            )
        seen[_folded(name)] = name
