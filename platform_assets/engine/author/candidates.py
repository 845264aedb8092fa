"""Candidates: the types that texts may have (a kind, with formats and marks as the options of `Field` name them).

Belongs here: which are worth trying on some values, and trying one with the engine's own casts. Elsewhere: choosing
among them (infer.py).
"""

import itertools
import re
import types
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final

import polars as pl

from platform_assets.engine.contract.cast import cast
from platform_assets.engine.contract.column import Column, Field, Kind
from platform_assets.engine.contract.model import Contract, columns_of

TYPES: Final[dict[Kind, type]] = {
    "text": str,
    "integer": int,
    "decimal": Decimal,
    "number": float,
    "timestamp": datetime,
    "date": date,
    "boolean": bool,
}
_DATES_READ: Final = 500  # values that are looked at for formats of dates
_MOST: Final = 6  # ways to combine the formats of a column that has several
_TRIED: Final = "tried"
_WIDEST: Final = {"digits": (38, 18)}
_WORDS: Final = (("true", "false"), ("yes", "no"), ("y", "n"), ("t", "f"))
_MARKS: Final = {",": ",", ".": r"\.", " ": "[ \u00a0\u202f]", "'": "['\u2019]"}

_NUMERIC_DAY: Final = re.compile(r"(\d{4}|\d{1,2})([-/. ])\d{1,2}\2(\d{4}|\d{1,2})(?!\d)|\d{8}(?!\d)")
_NAMED_DAY: Final = re.compile(r"\d{1,2}([- ])([A-Za-z]{3,9})\1(\d{4}|\d{2})(?!\d)|([A-Za-z]{3,9}) \d{1,2}, \d{4}")
_TIME: Final = re.compile(r"([T ])\d{1,2}:\d\d(:\d\d)?(\.\d+)?( ?)([AaPp][Mm])?( ?)(Z|[+-]\d\d:?\d\d)?")


@dataclass(frozen=True)
class ColumnType:
    """One way to understand texts: a kind, and the options of `Field` that it takes."""

    kind: Kind
    options: Mapping[str, Any] = field(default_factory=dict)


class Candidate:
    """A type that is tried on every value of a column: how many distinct ones it does not fit, and one of them."""

    def __init__(self, column_type: ColumnType) -> None:
        self.type = column_type
        self.missed = 0
        self.example = ""
        self._column = _column(column_type)

    def put(self, values: pl.Series) -> None:
        """Try the type on distinct values, none of them NULL."""
        if self._column.strip:
            values = values.filter(values.str.strip_chars() != "")
        never = cast(values, self._column).values.is_null()
        if never.any():
            self.missed += int(never.sum())
            self.example = self.example or str(values.filter(never)[0])


def as_declared(column_type: ColumnType) -> str:
    """The type, as an author would declare it."""
    written = ", ".join(f"{key}={value!r}" for key, value in column_type.options.items() if key != "digits")
    return TYPES[column_type.kind].__name__ + (f" with {written}" if written else "")


def likely_types(sample: pl.Series) -> list[ColumnType]:
    """Readings that some of the values may have, the plainest first."""
    if sample.dtype != pl.String:
        return _typed(sample.dtype)
    stripped = sample.str.strip_chars()
    strip: dict[str, Any] = {} if sample.equals(stripped) else {"strip": True}
    some = stripped.head(_DATES_READ)
    lower = set(some.str.to_lowercase())
    found = [
        ColumnType("boolean", {**({} if true == "true" else {"true": true, "false": no}), **strip})
        for true, no in _WORDS
        if lower & {true, no}
    ]
    found += [ColumnType(kind, {**form, **strip}) for kind, form in _dates(some)]
    if stripped.str.contains("^[+-]?[.,]?[0-9]").any():
        found += [ColumnType(kind, {**options, **strip}) for kind, options in _numbers(stripped)]
    return found


def _numbers(values: pl.Series) -> Iterable[tuple[Kind, dict[str, Any]]]:
    yield from (("integer", {}), ("decimal", _WIDEST), ("number", {}))
    for mark, pattern in _MARKS.items():
        if values.str.contains(f"[0-9]{pattern}[0-9]{{3}}").any():
            yield "integer", {"thousands": mark}
            if mark != ".":
                yield "decimal", {"thousands": mark, **_WIDEST}
            if mark != ",":
                yield "decimal", {"decimal": ",", "thousands": mark, **_WIDEST}
    if values.str.contains(",", literal=True).any():
        yield from (("decimal", {"decimal": ",", **_WIDEST}), ("number", {"decimal": ","}))


def _typed(dtype: pl.DataType) -> list[ColumnType]:
    if dtype.is_integer():
        return [ColumnType("integer"), ColumnType("decimal", {"digits": (20, 0)})]
    if isinstance(dtype, pl.Decimal):
        return [ColumnType("decimal", {"digits": (dtype.precision, dtype.scale)})]
    if dtype.is_float():
        return [ColumnType("number")]
    if isinstance(dtype, pl.Datetime):
        return [ColumnType("timestamp")]
    if dtype == pl.Date:
        return [ColumnType("date")]
    return [ColumnType("boolean")] if dtype == pl.Boolean else []


def _dates(values: pl.Series) -> list[tuple[Kind, dict[str, Any]]]:
    """Formats of dates and timestamps that the values have the shape of, alone and together.

    A shape may be read in several orders of day, month and year; a column may have several shapes.
    """
    shapes: dict[str, tuple[str, ...]] = {}
    for value in values:
        days, time = _formats_of(value)
        for day in days:
            shapes.setdefault(re.sub("%[a-zA-Z]", "%", day) + time, tuple(d + time for d in days))
    # A fraction may be missing where the format has one.
    shapes = {
        key: forms
        for key, forms in shapes.items()
        if "%S" not in key or "%.f" in key or key.replace("%S", "%S%.f") not in shapes
    }
    ways = list(dict.fromkeys(itertools.islice(itertools.product(*dict.fromkeys(shapes.values())), _MOST)))
    found: list[tuple[Kind, dict[str, Any]]] = []
    for forms in (*((form,) for shape in dict.fromkeys(shapes.values()) for form in shape), *ways):
        kinds = {"timestamp" if ":" in form else "date" for form in forms}
        iso = "%Y-%m-%d" if "date" in kinds else "%Y-%m-%dT%H:%M:%S"
        options: dict[str, Any] = {"format": forms[0] if len(forms) == 1 else forms}
        if all(re.sub(r"%\.f|%:?z", "", form) == iso for form in forms):
            options = {}
        for kind in kinds if len(kinds) == 1 else ():
            candidate = ("timestamp" if kind == "timestamp" else "date", options)
            if candidate not in found:
                found.append(candidate)  # type: ignore[arg-type]  # a kind, by its two values
    return found


def _formats_of(value: str) -> tuple[tuple[str, ...], str]:
    """The formats that the day of `value` may have, and that of its time; no formats where it is no date."""
    if (found := _NUMERIC_DAY.match(value)) is not None:
        year, sep, last = found[1], found[2], found[3]
        if sep is None:
            days: tuple[str, ...] = ("%Y%m%d",)
        elif len(year) == 4:
            days = (f"%Y{sep}%m{sep}%d",) if len(last) < 3 else ()
        elif len(last) == 4:
            days = (f"%d{sep}%m{sep}%Y", f"%m{sep}%d{sep}%Y")
        else:
            days = (f"%d{sep}%m{sep}%y", f"%m{sep}%d{sep}%y") if len(last) == 2 else ()
            days += (f"%y{sep}%m{sep}%d",) if sep == "-" else ()
    elif (found := _NAMED_DAY.match(value)) is not None:
        month = "%b" if len(found[2] or found[4]) == 3 else "%B"
        year = "%y" if len(found[3] or "1234") == 2 else "%Y"
        days = (f"%d{found[1]}{month}{found[1]}{year}",) if found[1] else (f"{month} %d, {year}",)
    else:
        return (), ""
    rest = value[found.end() :]
    if not rest:
        return days, ""
    if (time := _TIME.fullmatch(rest)) is None:
        return (), ""
    hours = "%I" if time[5] else "%H"
    offset = "" if time[7] is None else f"{time[6]}{'%:z' if ':' in time[7] or time[7] == 'Z' else '%z'}"
    seconds = ("%S%.f" if time[3] else "%S") if time[2] else ""
    if time[3] and not time[2]:
        return (), ""
    clock = f"{time[1]}{hours}:%M" + (f":{seconds}" if seconds else "")
    return days, clock + (f"{time[4]}%p" if time[5] else time[4]) + offset


def _column(column_type: ColumnType) -> Column:
    """The column of a contract that reads so."""
    declared = {"__annotations__": {_TRIED: TYPES[column_type.kind]}, _TRIED: Field(**column_type.options)}
    contract = types.new_class("Tried", (Contract,), exec_body=lambda body: body.update(declared, __module__=__name__))
    return columns_of(contract)[0]
