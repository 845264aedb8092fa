"""Candidates: the types that texts may have (a kind, with formats and marks as the options of `Field` name them).

Belongs here: the ways in which numbers are written, and which types take which of them. Elsewhere: dates
(date_forms.py), counting (watched.py), choosing (infer.py). Ways are counted, so that what files hold adds up.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final

import polars as pl

from platform_assets.engine.contract.column import Kind

TYPES: Final[dict[Kind, type]] = {
    "text": str,
    "integer": int,
    "decimal": Decimal,
    "number": float,
    "timestamp": datetime,
    "date": date,
    "boolean": bool,
}
LIKE_NUMBERS: Final = "^[+-]?[.,]?[0-9]"
OTHER: Final = "other"
"""What is no number, however it is read."""
_WIDEST: Final = {"digits": (38, 18)}
_WORDS: Final = (("true", "false"), ("yes", "no"), ("y", "n"), ("t", "f"))

# The ways to write a number, each text counted for the first that it matches. "1.234" and "1,234" are ways of their
# own, since their mark may be either.
_BLANK, _TICK = "[ \u00a0\u202f]", "['\u2019]"
_GROUPS: Final = "[1-9][0-9]{{0,2}}({}[0-9]{{3}})"
WAYS: Final[Mapping[str, str]] = {
    "12": "[0-9]+",
    "1.000": r"[1-9][0-9]{0,2}\.000",
    "1.234": r"[1-9][0-9]{0,2}\.[0-9]{3}",
    "1,234": "[1-9][0-9]{0,2},[0-9]{3}",
    "12.0": r"[0-9]+\.0",
    "12.00": r"[0-9]+\.0+",
    "1.2": r"([0-9]+\.[0-9]*|\.[0-9]+)",
    "1,2": "([0-9]+,[0-9]*|,[0-9]+)",
    "1.234.567": _GROUPS.format(r"\.") + "{2,}",
    "1,234,567": _GROUPS.format(",") + "{2,}",
    "1,234.5": _GROUPS.format(",") + r"+\.[0-9]*",
    "1.234,5": _GROUPS.format(r"\.") + "+,[0-9]*",
    "1 234": _GROUPS.format(_BLANK) + "+",
    "1 234.5": _GROUPS.format(_BLANK) + r"+\.[0-9]*",
    "1 234,5": _GROUPS.format(_BLANK) + "+,[0-9]*",
    "1'234": _GROUPS.format(_TICK) + "+",
    "1'234.5": _GROUPS.format(_TICK) + r"+\.[0-9]*",
    "1'234,5": _GROUPS.format(_TICK) + "+,[0-9]*",
    "1e5": "[0-9]+[eE][+-]?[0-9]+",
    "1.2e5": r"([0-9]+\.[0-9]*|\.[0-9]+)[eE][+-]?[0-9]+",
    "1,2e5": "([0-9]+,[0-9]*|,[0-9]+)[eE][+-]?[0-9]+",
}
_POINT: Final = ("12", "12.0", "12.00", "1.2", "1.000", "1.234")
_COMMA: Final = ("12", "1,2", "1,234")


@dataclass(frozen=True)
class ColumnType:
    """One way to understand texts: a kind, and the options of `Field` that it takes."""

    kind: Kind
    options: Mapping[str, Any] = field(default_factory=dict)

    def __hash__(self) -> int:
        return hash((self.kind, tuple(self.options.items())))


def as_declared(column_type: ColumnType) -> str:
    """The type, as an author would declare it."""
    written = ", ".join(f"{key}={value!r}" for key, value in column_type.options.items() if key != "digits")
    return TYPES[column_type.kind].__name__ + (f" with {written}" if written else "")


def booleans() -> Iterator[tuple[ColumnType, frozenset[str]]]:
    """Types of two words, and the words, in lower case."""
    for true, false in _WORDS:
        options = {} if true == "true" else {"true": true, "false": false}
        yield ColumnType("boolean", options), frozenset({true, false})


def numbers(ways: Mapping[str, int]) -> Iterator[tuple[ColumnType, int]]:
    """Types of numbers for a column whose values are written in these `ways`, the plainest first: each with how many
    values it would not take."""
    everything = sum(ways.values())
    for column_type, taken in _numbers(set(ways)):
        yield column_type, everything - sum(ways.get(way, 0) for way in taken)


def _numbers(seen: set[str]) -> Iterator[tuple[ColumnType, tuple[str, ...]]]:
    yield ColumnType("integer"), ("12",)
    yield ColumnType("integer", {"point_zero": True}), ("12", "12.0")
    yield ColumnType("decimal", _WIDEST), _POINT
    yield ColumnType("number"), (*_POINT, "1e5", "1.2e5")
    for mark, one, many, pointed, commaed in (
        (",", "1,234", "1,234,567", "1,234.5", ""),
        (".", "1.234", "1.234.567", "", "1.234,5"),
        (" ", "1 234", "1 234", "1 234.5", "1 234,5"),
        ("'", "1'234", "1'234", "1'234.5", "1'234,5"),
    ):
        groups = (one, many, *(("1.000",) if mark == "." else ()))
        if not seen & {*groups, pointed, commaed}:
            continue
        yield ColumnType("integer", {"thousands": mark}), ("12", *groups)
        if mark != ".":
            yield ColumnType("decimal", {"thousands": mark, **_WIDEST}), tuple({*_POINT, *groups, pointed})
        if mark != ",":
            options = {"decimal": ",", "thousands": mark, **_WIDEST}
            yield ColumnType("decimal", options), tuple({*_COMMA, *groups, commaed})
    if any("," in way for way in seen):
        yield ColumnType("decimal", {"decimal": ",", **_WIDEST}), _COMMA
        yield ColumnType("number", {"decimal": ","}), (*_COMMA, "1e5", "1,2e5")


def typed(dtype: pl.DataType) -> list[ColumnType]:
    """The types that values of a typed source may have, the plainest first."""
    if dtype.is_integer():
        return [ColumnType("integer"), ColumnType("decimal", {"digits": (20, 0)})]
    if isinstance(dtype, pl.Decimal):
        return [ColumnType("decimal", {"digits": (dtype.precision, dtype.scale)})]
    if dtype.is_float():
        return [ColumnType("number")]
    if isinstance(dtype, pl.Datetime):
        return [ColumnType("timestamp"), ColumnType("date")]
    if dtype == pl.Date:
        return [ColumnType("date")]
    return [ColumnType("boolean")] if dtype == pl.Boolean else []
