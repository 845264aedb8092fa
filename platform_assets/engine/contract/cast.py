"""Casting a column: from values as they arrived to values of the contract's type, without loss or not at all.

Belongs here: numbers, words, typed sources, and which of several formats is meant. Elsewhere: reading a date or
timestamp of one format (timestamps.py), rules (validate.py). Digits are ASCII digits; blanks are not trimmed unasked.
"""

import functools
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import polars as pl

from platform_assets.engine.contract.column import Column
from platform_assets.engine.contract.timestamps import days, in_zone, instants, midnights, null_unless, within_years

_MARKS: Final = {" ": "[ \u00a0\u202f]", "'": "['\u2019]", ".": r"\.", ",": ","}
# A float keeps any number of 15 digits apart from its neighbours; beyond, digits may have been lost on the way.
_SURE: Final = 10**15

Holds = Mapping[int, pl.Series]
"""A format, by its place among the column's -> the rows in which it is the one to take where several fit, as a mask."""


@dataclass(frozen=True)
class Cast:
    """values: typed, NULL where one could not be cast. failed: the rules that such values break, each with its rows
    as a mask."""

    values: pl.Series
    failed: tuple[tuple[str, pl.Series], ...]


def cast(arrived: pl.Series, column: Column, holds: Holds = MappingProxyType({})) -> Cast:
    """The values of `column`, that `arrived` so."""
    if arrived.dtype in (pl.Categorical, pl.Enum):
        arrived = arrived.cast(pl.String)
    if arrived.dtype == pl.Null:
        return Cast(arrived.cast(column.dtype), ())
    if arrived.dtype != pl.String:
        return _cast(arrived, _from_typed(arrived, column), column)
    if column.strip:
        stripped = arrived.str.strip_chars()
        arrived = null_unless(stripped, stripped != "")
    if len(column.formats) > 1:
        return _by_any_format(arrived, column, holds)
    return _cast(arrived, _from_text(arrived, column), column)


def given(column: Column, rows: int) -> Cast:
    """The values of an optional `column` that the delivery of so many rows lacks."""
    value = pl.Series(column.name, [column.default], dtype=column.dtype)
    return Cast(value.new_from_index(0, rows), ())


def as_text(name: str, dtype: pl.DataType) -> pl.Expr:
    """Column `name` as a person can read it, whatever type a source gave it."""
    column = pl.col(name)
    if dtype.is_nested():
        return pl.struct(column.alias("v")).struct.json_encode().str.slice(5).str.head(-1).alias(name)
    if dtype == pl.Binary:
        return column.bin.encode("hex")
    return column.dt.to_string() if dtype == pl.Duration else column.cast(pl.String)


def _cast(arrived: pl.Series, values: pl.Series, column: Column) -> Cast:
    if values.null_count() == arrived.null_count():
        return Cast(values, ())
    return Cast(values, ((column.cast_rule, values.is_null() & arrived.is_not_null()),))


def _from_text(texts: pl.Series, column: Column) -> pl.Series:
    match column.kind:
        case "text":
            return _without_point_zero(texts) if column.point_zero else texts
        case "integer":
            texts = _plain(texts, column)
            # What Polars takes for an integer is exactly [+-]?[0-9]+ within 64 bits.
            return (_without_point_zero(texts) if column.point_zero else texts).cast(pl.Int64, strict=False)
        case "decimal":
            # The pattern keeps the cast from rounding: digits beyond the scale must be zeros.
            texts = _plain(texts, column)
            scale = column.digits[1]
            pointed = rf"\.[0-9]{{1,{scale}}}0*" if scale else r"\.0+"
            lossless = texts.str.contains(rf"^[+-]?([0-9]+(\.[0-9]{{0,{scale}}}0*)?|{pointed})$")
            return null_unless(texts, lossless).cast(column.dtype, strict=False)
        case "number":
            # What Polars takes for a float beyond digits, point and exponent are words for NaN and infinity.
            texts = _plain(texts, column)
            values = texts.cast(pl.Float64, strict=False)
            return _without_underflow(texts, null_unless(values, values.is_finite()))
        case "boolean":
            lower = texts.str.to_lowercase()
            true = lower.is_in(list(column.true))
            return null_unless(true, true | lower.is_in(list(column.false)))
        case "date":
            return days(texts, column.formats[0][0])
        case "timestamp":
            return instants(texts, column.formats[0][0], column.timezone)


def _plain(texts: pl.Series, column: Column) -> pl.Series:
    """Numbers written with the column's marks, rewritten with a point and no marks between thousands."""
    if column.thousands is None and column.decimal == ".":
        return texts
    texts = null_unless(texts, texts.str.contains(_as_written(column)))
    if column.thousands is not None:
        texts = texts.str.replace_all(_MARKS[column.thousands], "")
    return texts.str.replace(column.decimal, ".", literal=True)


@functools.cache
def _as_written(column: Column) -> str:
    whole = "[0-9]+"
    if column.thousands is not None:
        whole = f"({whole}|[1-9][0-9]{{0,2}}({_MARKS[column.thousands]}[0-9]{{3}})+)"
    point = _MARKS[column.decimal]
    match column.kind:
        case "integer":
            return f"^[+-]?{whole}({point}0+)?$" if column.point_zero else f"^[+-]?{whole}$"
        case "decimal":
            return f"^[+-]?({whole}({point}[0-9]*)?|{point}[0-9]+)$"
        case _:
            return f"^[+-]?({whole}({point}[0-9]*)?|{point}[0-9]+)([eE][+-]?[0-9]+)?$"


def _without_underflow(texts: pl.Series, values: pl.Series) -> pl.Series:
    """`values`, but for those so close to zero that a float keeps none or few of the digits of `texts`."""
    tiny = (values.abs() < sys.float_info.min).fill_null(value=False)
    if not tiny.any():
        return values
    return null_unless(values, ~(tiny & texts.str.contains("^[^eE]*[1-9]")))


def _without_point_zero(texts: pl.Series) -> pl.Series:
    return texts.str.replace(r"^([+-]?[0-9]+)\.0+$", "$1")


def by_each_format(texts: pl.Series, column: Column) -> tuple[pl.DataFrame, pl.Series]:
    """What each of the column's formats makes of `texts` (`value0`, …), whether they have its shape (`fits0`, …), and
    what the `first` that fits does; and where those that fit give different values, as a mask."""
    tried: dict[str, pl.Series] = {}
    for at, (form, _) in enumerate(column.formats):
        if column.kind == "date":
            tried[f"value{at}"] = days(texts, form)
            tried[f"fits{at}"] = tried[f"value{at}"].is_not_null()
        else:
            tried[f"value{at}"] = instants(texts, form, column.timezone)
            # In UTC every local time exists, so this tells shape from a time that happens twice or never.
            in_utc = tried[f"value{at}"] if column.timezone == "UTC" else instants(texts, form, "UTC")
            tried[f"fits{at}"] = in_utc.is_not_null()
    count = range(len(column.formats))
    first = pl.lit(None)
    for at in reversed(count):
        first = pl.when(f"fits{at}").then(f"value{at}").otherwise(first)
    differs = [pl.col(f"fits{at}") & pl.col(f"value{at}").ne_missing(pl.col("first")) for at in count]
    table = pl.DataFrame(tried).with_columns(first.alias("first"))
    return table, table.select(pl.any_horizontal(differs)).to_series()


def _by_any_format(texts: pl.Series, column: Column, holds: Holds) -> Cast:
    """Values by whichever format they have the shape of; where several give different values, by the one that holds."""
    table, differ = by_each_format(texts, column)
    values = table["first"].alias(texts.name)
    if not differ.any():
        return _cast(texts, values, column)
    none = pl.repeat(False, len(texts), eager=True)
    count = range(len(column.formats))
    those = table.with_columns(holds.get(at, none).alias(f"holds{at}") for at in count).filter(differ)
    chosen = those.select(
        pl.coalesce(
            pl.when(pl.col(f"holds{at}") & pl.col(f"fits{at}")).then(f"value{at}").otherwise(None) for at in count
        )
    ).to_series()
    values = values.scatter(differ.arg_true(), chosen)
    unsure = differ & values.is_null()
    failed = [(f"ambiguous {column.cast_rule}", unsure)] if unsure.any() else []
    lost = values.is_null() & texts.is_not_null() & ~unsure
    return Cast(values, (*failed, *([(column.cast_rule, lost)] if lost.any() else [])))


def _from_typed(arrived: pl.Series, column: Column) -> pl.Series:
    """A column that arrived typed (Parquet, Excel): only casts that cannot change a value."""
    kind, dtype = column.kind, arrived.dtype
    nothing = pl.repeat(None, len(arrived), dtype=column.dtype, eager=True).alias(arrived.name)
    if dtype.is_float() and kind != "number":
        return _from_float(arrived.cast(pl.Float64), column) if kind in ("text", "integer", "decimal") else nothing
    match kind:
        case "text":
            return arrived.cast(pl.String) if dtype.is_integer() or dtype in (pl.Boolean, pl.Date) else nothing
        case "integer":
            if not (dtype.is_integer() or dtype.is_decimal()):
                return nothing
            values = arrived.cast(pl.Int64, strict=False)
            return values if dtype.is_integer() else null_unless(values, values.cast(dtype, strict=False) == arrived)
        case "decimal":
            if not (dtype.is_integer() or dtype.is_decimal()):
                return nothing
            values = arrived.cast(column.dtype, strict=False)
            return values if dtype == column.dtype else null_unless(values, values.cast(dtype, strict=False) == arrived)
        case "number":
            if not dtype.is_numeric():
                return nothing
            if dtype.is_decimal():
                arrived = null_unless(arrived, arrived.cast(pl.Float64).abs() < _SURE / 10 ** (dtype.scale or 0))  # type: ignore[attr-defined]
            values = arrived.cast(pl.Float64, strict=False)
            # DuckDB and most peers take NaN and infinity for numbers; a contract has no word for them.
            same = values.is_finite() if not dtype.is_integer() else values.cast(dtype, strict=False) == arrived
            return null_unless(values, same & values.is_finite())
        case "timestamp":
            if not isinstance(dtype, pl.Datetime):
                return nothing
            if dtype.time_zone is None:
                return in_zone(_microseconds(arrived), column.timezone)
            return within_years(_microseconds(arrived).dt.convert_time_zone("UTC"))
        case "date":
            if isinstance(dtype, pl.Datetime) and dtype.time_zone is None:
                return midnights(_microseconds(arrived))
            return within_years(arrived) if dtype == pl.Date else nothing
        case "boolean":
            return arrived if dtype == pl.Boolean else nothing


def _microseconds(timestamps: pl.Series) -> pl.Series:
    micro = timestamps.dt.cast_time_unit("us")
    return null_unless(micro, micro.cast(timestamps.dtype) == timestamps)


def _from_float(floats: pl.Series, column: Column) -> pl.Series:
    """Numbers of a source that has no others than floats (Excel), where there is one number they can stand for."""
    scale = column.digits[1] if column.kind == "decimal" else 0
    sure = floats.abs() < _SURE / 10**scale
    if scale:
        values = null_unless(floats, sure).cast(pl.Decimal(38, scale), strict=False)
        values = null_unless(values, values.cast(pl.Float64) == floats)
        return values.cast(column.dtype, strict=False)
    whole = null_unless(floats, sure & (floats == floats.round())).cast(pl.Int64)
    return whole.cast(column.dtype, strict=False)
