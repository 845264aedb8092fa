"""One column of a contract: what its author declares, and what the engine reads from that.

Belongs here: Field, Since, Column and what of a declaration contradicts itself. Elsewhere: the contract as a whole
(model.py), casting (cast.py, timestamps.py).
"""

import inspect
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final, Literal, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

import pandera.polars as pa
import polars as pl

from platform_assets.engine.contract.declaration import checked, declaration, refuse_unknown
from platform_assets.engine.contract.default import refuse_wrong_default
from platform_assets.engine.contract.rules import pandera_name, refuse_senseless, refuse_unlike_a_rule, rule_of
from platform_assets.engine.contract.timestamps import ISO, unreadable
from platform_assets.errors import ContractError, nearest

_Given = TypeVar("_Given")

Kind = Literal["text", "integer", "decimal", "number", "timestamp", "date", "boolean"]

KINDS: Final[dict[Any, Kind]] = {
    str: "text",
    int: "integer",
    Decimal: "decimal",
    float: "number",
    datetime: "timestamp",
    date: "date",
    bool: "boolean",
}
LINEAGE: Final = ("_delivery_id", "_line", "_file_date", "_revision", "_extra")

_OURS: Final = "platform"
_MOST_DIGITS: Final = 38
# Words that people write for others of Field's.
_MEANT: Final = {
    **dict.fromkeys(("header", "name", "column"), "source"),
    **dict.fromkeys(("min", "minimum", "min_value"), "ge"),
    **dict.fromkeys(("max", "maximum", "max_value"), "le"),
    **dict.fromkeys(("enum", "choices", "values", "allowed"), "isin"),
    **dict.fromkeys(("pattern", "regexp", "matches"), "str_matches"),
    **dict.fromkeys(("null", "required", "nulls"), "nullable"),
    **dict.fromkeys(("tz", "zone"), "timezone"),
}
_OF_PANDERA: Final = inspect.signature(pa.Field).parameters.keys() - {"kwargs", "required"}
_MEANT_FOR: Final[dict[str, tuple[Kind, ...]]] = {
    "format": ("timestamp", "date"),
    "timezone": ("timestamp",),
    "digits": ("decimal",),
    "decimal": ("decimal", "number", "integer"),
    "thousands": ("integer", "decimal", "number"),
    "point_zero": ("integer", "text"),
    "true": ("boolean",),
    "false": ("boolean",),
}
_PANDERA_ONLY: Final = {
    "unique": "it is no rule of a single row",
    "coerce": "casting is the platform's, and without loss",
    "regex": "every column is named",
    "default": "a value that is delivered empty is never made up",
    "drop_invalid_rows": "rejected rows are kept in quarantine",
    "parsers": "a value is validated as it arrived",
}


@declaration
@dataclass(frozen=True)
class Since:
    """What a producer has written since a day: a header in `source`, or a format in `format`, such as
    `Since(date(2026, 3, 1), "%d/%m/%Y")`.

    day: the first day; what was delivered earlier was written otherwise. It is compared with the date in the file's
        name (`Files(dated=…)`). Without one, a file that is as old as that has what came before; of a newer one, which
        may be an old one's copy, only its values tell.
    text: the header or the format.
    """

    day: date
    text: str


@checked("Field")
def Field(  # noqa: N802 - reads like pandera.Field, which it extends
    *,
    source: str | Since | Sequence[str | Since] | None = None,
    format: str | Since | Sequence[str | Since] | None = None,
    timezone: str | None = None,
    digits: tuple[int, int] | None = None,
    decimal: Literal[".", ","] | None = None,
    thousands: Literal[",", ".", " ", "'"] | None = None,
    point_zero: bool | None = None,
    true: str | Sequence[str] | None = None,
    false: str | Sequence[str] | None = None,
    strip: bool = False,
    nullable: bool = False,
    description: str | None = None,
    optional: bool = False,
    default: str | bool | float | Decimal | date | None = None,
    pii: Literal["pseudonym", "secret"] | None = None,
    **pandera: Any,  # noqa: ANN401 - handed to pandera.Field as they are
) -> Any:  # noqa: ANN401 - a descriptor that the model's annotation types
    """A column of a contract: pandera.Field plus how the column arrives, such as `Field(source="Unit Price", ge=0)`.

    source: the header(s) it may arrive under; its own name by default.
    format: the strptime format(s) of a date or timestamp; ISO 8601 by default. A value is cast by each format whose
        shape it has. Where they give different values, those of the delivery that have one reading decide for the
        whole column, else its dates do: an event time is not later than the delivery, and `Since` goes by the date in
        its name. What is not decided so is never guessed: the delivery is quarantined.
    timezone: the zone a timestamp without offset is written in, UTC by default; it is stored as an instant.
    digits: precision and scale of a Decimal, (18, 4) by default.
    decimal: the decimal mark, "." by default; a float so near zero that it would lose digits is rejected.
    thousands: what may stand between groups of three digits; " " and "'" also mean their typographic kin.
    point_zero: "17850.0" stands for 17850, of an int or in a str: a whole number that went through a float.
    true: the words that mean true, in any case; "true" and "1" by default.
    false: the words that mean false, in any case; "false" and "0" by default.
    strip: blanks around a value are no part of it, and a blank value is a missing one.
    optional: a delivery's header may lack the column; each of its rows then has NULL, or the `default`.
    default: what rows have whose delivery lacks an optional column: a value of the column's type, a timestamp with its
        offset. A value that is delivered empty stays NULL.
    pii: personal data: masks the column's values wherever a row is shown. Of a contract that has any, names and values
        that nobody declared are not shown either.
    nullable: a value may be missing.
    description: what the column means, with its unit.
    pandera: what else `pandera.Field` takes: rules such as `ge`, `isin`, `in_range`, `str_matches`.
    """
    others = [name for name in pandera if not hasattr(pa.Check, name)]
    refuse_unknown(
        "Field", others, sorted(_OF_PANDERA | set(inspect.signature(Field).parameters) - {"pandera"}), _MEANT
    )
    ours = {
        "source": source,
        "format": format,
        "timezone": timezone,
        "digits": digits,
        "decimal": decimal,
        "thousands": thousands,
        "point_zero": point_zero,
        "true": true,
        "false": false,
        "strip": strip,
        "optional": optional,
        "default": default,
        "pii": pii,
    }
    try:
        return pa.Field(metadata={_OURS: ours}, nullable=nullable, description=description, **pandera)
    except (TypeError, ValueError, re.error) as error:  # a rule that Pandera cannot make of what it was given
        raise ContractError("Field", str(error), "Give what the rule takes, such as in_range=(0, 1).") from None


@dataclass(frozen=True)
class Column:
    """One column of a contract, as the engine needs it.

    formats: each with the day since when it is in force, None if ever since.
    default: what a row has whose delivery lacks the column, which only an `optional` one may be lacked.
    """

    name: str
    headers: tuple[str, ...]
    kind: Kind
    formats: tuple[tuple[str, date | None], ...]
    timezone: str
    digits: tuple[int, int]
    decimal: str
    thousands: str | None
    point_zero: bool
    true: tuple[str, ...]
    false: tuple[str, ...]
    strip: bool
    optional: bool
    default: Any
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

    @property
    def cast_rule(self) -> str:
        """The rule that a value breaks which cannot be cast."""
        formats = " or ".join(form for form, _ in self.formats)
        match self.kind:
            case "decimal":
                return f"decimal({self.digits[0]},{self.digits[1]})"
            case "timestamp":
                return f"timestamp({formats}, {self.timezone})"
            case "date":
                return f"date({formats})"
            case _:
                return self.kind


def declared(field: Any, option: str) -> Any:  # noqa: ANN401 - a FieldInfo or nothing; whatever Field was given
    """What Field was given for `option`, None if nothing."""
    metadata: dict[str, dict[str, Any]] = getattr(field, "metadata", None) or {}
    return metadata.get(_OURS, {}).get(option)


def refuse_unannotated(owner: str, members: Mapping[str, Any], annotations: Mapping[str, Any]) -> None:
    """Raise ContractError for a column without a type, or one that is given something else than a Field."""
    for name, given in members.items():
        is_field = declared(given, "strip") is not None
        if is_field and name not in annotations:
            raise ContractError(f"{owner}.{name}", "has no type", f"Write {name}: str = Field(…), or another type.")
        if name in annotations and not name.startswith("_") and not is_field and annotations[name] in KINDS:
            shown = "Field without brackets" if given is Field else repr(given)
            raise ContractError(f"{owner}.{name}", f"{shown} is no Field", f"Write {name}: … = Field(…).")


def read_column(owner: str, name: str, kind: Kind, field: Any) -> Column:  # noqa: ANN401 - pandera's Column
    """The column that `field` declares. Raises ContractError where the declaration cannot be meant."""
    where = f"{owner}.{name}"
    if name in LINEAGE or not name.isidentifier() or name != name.lower():
        raise ContractError(where, "not a usable column name", "Use lower-case snake_case.")
    for option, why in _PANDERA_ONLY.items():
        if (given := getattr(field, option, None)) is not None and given is not False and given != []:
            raise ContractError(where, f"{option} cannot be declared: {why}", f"Take {option} out.")
    for check in field.checks:
        refuse_unlike_a_rule(where, check)
    for option, kinds in _MEANT_FOR.items():
        if declared(field, option) is not None and kind not in kinds:
            raise ContractError(where, f"{option} means nothing for a {kind}", f"Take {option} out.")
    timezone = declared(field, "timezone") or "UTC"
    try:
        ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError):
        near = nearest(timezone, available_timezones())
        raise ContractError(where, f"unknown timezone {timezone!r}.{near}", "Give an IANA name.") from None
    digits = declared(field, "digits") or (18, 4)
    if not 0 <= digits[1] <= digits[0] <= _MOST_DIGITS:
        raise ContractError(
            where,
            f"digits={digits}: of up to {_MOST_DIGITS} digits, some are decimals",
            "Give all digits first, then those behind the mark, such as digits=(18, 4).",
        )
    formats = _dated(declared(field, "format")) or (((ISO, None),) if kind in ("timestamp", "date") else ())
    for form, _ in formats:
        if problem := unreadable(form, kind):
            raise ContractError(f"{where}: format {form!r}", problem, 'Give a strptime format, such as "%d.%m.%Y".')
    decimal, thousands = declared(field, "decimal") or ".", declared(field, "thousands")
    # Of a whole number only thousands can be meant.
    if thousands == decimal and (kind != "integer" or declared(field, "point_zero")):
        raise ContractError(
            where,
            f"{decimal!r} cannot be both the decimal mark and stand between thousands",
            f"Declare decimal={',' if decimal == '.' else '.'!r}.",
        )
    true, false = _words(declared(field, "true")), _words(declared(field, "false"))
    if bool(true) != bool(false) or set(true) & set(false):
        raise ContractError(where, "true and false need words of their own", 'Declare such as true="Y", false="N".')
    column = Column(
        name=name,
        headers=tuple(text for text, _ in _dated(declared(field, "source"))) or (name,),
        kind=kind,
        formats=formats,
        timezone=timezone,
        digits=digits,
        decimal=decimal,
        thousands=thousands,
        point_zero=bool(declared(field, "point_zero")),
        true=true or ("true", "1"),
        false=false or ("false", "0"),
        strip=bool(declared(field, "strip")),
        optional=bool(declared(field, "optional")),
        default=declared(field, "default"),
        nullable=bool(field.nullable),
        pii=declared(field, "pii"),
        description=field.description or "",
        rules=tuple(rule_of(check) for check in field.checks),
    )
    rules = [(rule, check.statistics) for check in field.checks if (rule := pandera_name(check))]
    refuse_senseless(where, rules, column.dtype)
    refuse_wrong_default(where, column, field.checks)
    return column


def _dated(given: str | Since | Collection[str | Since] | None) -> tuple[tuple[str, date | None], ...]:
    several = (given,) if isinstance(given, str | Since) else _in_order(given or ())
    return tuple((one.text, one.day) if isinstance(one, Since) else (one, None) for one in several)


def _words(given: str | Collection[str] | None) -> tuple[str, ...]:
    return tuple(word.lower() for word in ((given,) if isinstance(given, str) else _in_order(given or ())))


def _in_order(given: Collection[_Given]) -> Collection[_Given]:
    """As given; a set has an order of its own in every process."""
    return sorted(given, key=repr) if isinstance(given, set | frozenset) else given
