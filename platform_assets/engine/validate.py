"""Judging rows: cast by the contract's declared formats, then the contract's Pandera model.

Belongs here: what makes a row accepted or rejected, and for which reasons. Does not: reading or storing rows.
A frame's rows keep their order, so a row's index names it throughout.
"""

import functools
import re
from dataclasses import dataclass
from typing import Final

import pandera.errors
import polars as pl
from pandera.config import ValidationDepth, config_context

from platform_assets.engine.contract import Column, Contract, columns_of
from platform_assets.errors import ContractError

_REASON = pl.Struct({"column": pl.String, "rule": pl.String, "value": pl.String})
_FAILURES = {"row": pl.UInt32, "column": pl.String, "rule": pl.String, "value": pl.String}

_ISO: Final = "%Y-%m-%dT%H:%M:%S%.f"
_WRITTEN: Final = {
    "%Y": "[0-9]{4}",
    **dict.fromkeys(("%m", "%d", "%H", "%M"), "[0-9]{1,2}"),
    "%S": "[0-5]?[0-9]",
    "%.f": r"(\.[0-9]{1,6}0*)?",
    **dict.fromkeys(("%z", "%:z"), "(Z|[+-][0-9]{2}:?[0-9]{2})"),
    "%%": "%",
}


@dataclass(frozen=True)
class Verdict:
    """What became of a frame's rows.

    accepted: the rows that keep the contract, typed, with every further column of the frame.
    rejected: the others as they arrived. reasons: for each of these a list of {column, rule, value}, PII masked;
        a series of its own because a delivery may have a column of any name.
    """

    accepted: pl.DataFrame
    rejected: pl.DataFrame
    reasons: pl.Series


def judge(frame: pl.DataFrame, contract: type[Contract]) -> Verdict:
    """Split `frame` (one column per contract column, as it arrived, and any others) by `contract`."""
    typed, uncastable = _cast(frame, columns_of(contract))
    broken = _broken(typed, contract)
    if uncastable.height:
        # A value that could not be cast is NULL by now: what Pandera says of that NULL is noise, and what
        # it says of a rule across columns is about values that never arrived.
        broken = broken.join(uncastable, on=["row", "column"], how="anti")
        broken = broken.filter(pl.col("column").is_not_null() | ~pl.col("row").is_in(uncastable["row"].implode()))
        broken = pl.concat([uncastable, broken])
    others = [name for name in frame.columns if name not in typed.columns]
    if not broken.height:
        return Verdict(
            accepted=typed.with_columns(frame.select(others)) if others else typed,
            rejected=frame.clear(),
            reasons=pl.Series("reasons", [], pl.List(_REASON)),
        )
    broken = _as_arrived(broken, frame)
    masked = [column.name for column in columns_of(contract) if column.pii]
    # A rule across columns shows the whole row, so it is masked whole where any column is PII.
    hide = pl.col("column").is_in(masked) | (pl.col("column").is_null() & bool(masked))
    reasons = (
        broken.with_columns(
            pl.when(hide & pl.col("value").is_not_null()).then(pl.lit("***")).otherwise(pl.col("value")).alias("value")
        )
        .group_by("row", maintain_order=True)
        .agg(pl.struct("column", "rule", "value").alias("reasons"))
        .sort("row")
    )
    keep = ~pl.int_range(pl.len(), dtype=pl.UInt32).is_in(reasons["row"].implode())
    accepted = typed.with_columns(frame.select(others)) if others else typed
    return Verdict(
        accepted=accepted.filter(keep),
        rejected=frame[reasons["row"]],
        reasons=reasons["reasons"],
    )


def _as_arrived(broken: pl.DataFrame, frame: pl.DataFrame) -> pl.DataFrame:
    """The broken rules with the value that was delivered, instead of what it was cast to."""
    parts = [
        part.with_columns(frame[column].gather(part["row"]).cast(pl.String, strict=False).alias("value"))
        if column is not None
        else part
        for (column,), part in broken.partition_by("column", as_dict=True, maintain_order=True).items()
    ]
    return pl.concat(parts)


def _cast(frame: pl.DataFrame, columns: tuple[Column, ...]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The contract's columns typed, and the values that could not be (row, column, rule, value as arrived)."""
    typed = frame.select(_parsed(column, frame.schema[column.name]) for column in columns)
    failures = []
    for column in columns:
        lost = frame[column.name].is_not_null() & typed[column.name].is_null()
        if lost.any():
            rows = lost.arg_true()
            failures.append(
                pl.DataFrame(
                    {
                        "row": rows,
                        "column": [column.name] * len(rows),
                        "rule": [_rule(column)] * len(rows),
                        "value": frame[column.name].gather(rows).cast(pl.String, strict=False),
                    },
                    schema=_FAILURES,
                )
            )
    return typed, pl.concat(failures) if failures else pl.DataFrame(schema=_FAILURES)


def _rule(column: Column) -> str:
    match column.kind:
        case "decimal":
            return f"decimal({column.digits[0]},{column.digits[1]})"
        case "timestamp":
            return f"timestamp({column.format or 'ISO 8601'}, {column.timezone})"
        case "date":
            return f"date({column.format or 'ISO 8601'})"
        case _:
            return column.kind


def _parsed(column: Column, arrived: pl.DataType) -> pl.Expr:
    """`column` cast without loss; what cannot be becomes NULL. Digits are ASCII digits, blanks are not trimmed."""
    expr = pl.col(column.name)
    if arrived == column.dtype:
        # DuckDB and most peers take NaN and infinity for numbers; a contract that wants them has to say so.
        return pl.when(expr.is_finite()).then(expr) if column.kind == "number" else expr
    if arrived != pl.String:
        return _from_typed(column, arrived)
    match column.kind:
        case "text":
            return expr
        case "integer":
            return pl.when(expr.str.contains(r"^[+-]?[0-9]+$")).then(
                expr.str.strip_prefix("+").cast(pl.Int64, strict=False)
            )
        case "decimal":
            precision, scale = column.digits
            # The pattern keeps the cast from rounding: digits beyond the scale must be zeros.
            lossless = expr.str.contains(rf"^[+-]?[0-9]+(\.[0-9]{{0,{scale}}}0*)?$")
            return pl.when(lossless).then(expr.str.strip_prefix("+").cast(pl.Decimal(precision, scale), strict=False))
        case "number":
            value = pl.when(expr.str.contains(r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$")).then(
                expr.str.strip_prefix("+").cast(pl.Float64, strict=False)
            )
            return pl.when(value.is_finite()).then(value).alias(column.name)
        case "boolean":
            lower = expr.str.to_lowercase()
            return (
                pl.when(lower.is_in(["true", "1"]))
                .then(True)
                .when(lower.is_in(["false", "0"]))
                .then(False)
                .alias(column.name)
            )
        case "date":
            return _shaped(expr, form := column.format or "%Y-%m-%d").str.strptime(pl.Date, form, strict=False)
        case "timestamp":
            return _instant(expr, column)


@functools.cache
def _shape(form: str) -> str:
    """The pattern of what a strptime format writes."""
    parts = re.findall(r"%[-_0]?(?:\.f|:z|.)|.", form, re.DOTALL)
    return "^" + "".join(_WRITTEN.get(part, ".+" if part[0] == "%" else re.escape(part)) for part in parts) + "$"


def _shaped(expr: pl.Expr, form: str) -> pl.Expr:
    """The texts that look as `form` writes them: the parser also takes blanks, signs, leap seconds and more
    decimals than it keeps."""
    return pl.when(expr.str.contains(_shape(form))).then(expr)


def _instant(expr: pl.Expr, column: Column) -> pl.Expr:
    """A timestamp as an instant; local times that happen twice or never are not cast."""
    if column.format is None:
        return pl.coalesce(_with_offset(expr, f"{_ISO}%:z"), _without_offset(expr, _ISO, column))
    if "%z" in column.format or "%:z" in column.format:
        return _with_offset(expr, column.format)
    return _without_offset(expr, column.format, column)


def _with_offset(expr: pl.Expr, form: str) -> pl.Expr:
    # Z is ISO 8601's short form of an offset, which the parser does not know.
    spelled = _shaped(expr, form).str.replace("Z$", "+00:00")
    return spelled.str.to_datetime(form, time_unit="us", time_zone="UTC", strict=False)


def _without_offset(expr: pl.Expr, form: str, column: Column) -> pl.Expr:
    return _localised(_shaped(expr, form).str.to_datetime(form, time_unit="us", strict=False), column)


def _localised(local: pl.Expr, column: Column) -> pl.Expr:
    zoned = local.dt.replace_time_zone(column.timezone, ambiguous="null", non_existent="null")
    return zoned.dt.convert_time_zone("UTC")


def _from_typed(column: Column, arrived: pl.DataType) -> pl.Expr:
    """A column that arrived typed (Parquet): only casts that cannot change a value."""
    expr = pl.col(column.name)
    if arrived == pl.Null:
        return expr.cast(column.dtype)
    same = {
        "text": arrived.is_integer() or arrived in (pl.Boolean, pl.Categorical, pl.Date),
        "integer": arrived.is_integer(),
        "decimal": arrived.is_integer() or isinstance(arrived, pl.Decimal),
        "number": arrived.is_numeric(),
        "timestamp": isinstance(arrived, pl.Datetime),
        "date": False,
        "boolean": False,
    }[column.kind]
    if not same:
        return pl.lit(None, column.dtype).alias(column.name)
    if column.kind == "timestamp":
        zone = arrived.time_zone if isinstance(arrived, pl.Datetime) else None
        micro = expr.dt.cast_time_unit("us")
        micro = pl.when(micro.cast(arrived) == expr).then(micro)
        if zone is not None:
            return micro.dt.convert_time_zone("UTC")
        return _localised(micro, column)
    cast = expr.cast(column.dtype, strict=False)
    if column.kind in ("decimal", "number"):
        # A cast that does not come back to the same value has lost digits, or there was none.
        back = cast.cast(arrived, strict=False)
        same_value = (back == expr) & cast.is_finite() if column.kind == "number" else back == expr
        return pl.when(same_value).then(cast).alias(column.name)
    return cast


def _broken(typed: pl.DataFrame, contract: type[Contract]) -> pl.DataFrame:
    """Every rule of the Pandera model that a row breaks (row, column or NULL for a rule across columns, …)."""
    schema = contract.to_schema()
    try:
        # The depth is named because an environment variable could otherwise switch off the data checks.
        with config_context(validation_enabled=True, validation_depth=ValidationDepth.SCHEMA_AND_DATA):
            schema.validate(typed, lazy=True)
    except pandera.errors.SchemaErrors as errors:
        cases: pl.DataFrame = errors.failure_cases
        whole = dict(cases.filter(pl.col("index").is_null()).select("check", "failure_case").iter_rows())
        for error in errors.schema_errors:
            answers = error.check_output.height if isinstance(error.check_output, pl.DataFrame) else 0
            # One answer for the whole frame would otherwise be charged to its first row.
            if error.check is not None and answers not in (0, typed.height):
                whole.setdefault(str(error.check.name), f"{answers} answers for {typed.height} rows")
        for rule, problem in whole.items():
            raise ContractError(
                contract.__name__,
                f"rule {rule} does not judge single rows ({problem})",
                "Return one boolean per row from the check.",
            ) from errors
        return cases.select(
            pl.col("index").cast(pl.UInt32).alias("row"),
            pl.when(pl.col("schema_context") == "Column").then(pl.col("column")).alias("column"),
            pl.col("check").cast(pl.String).alias("rule"),
            pl.col("failure_case").cast(pl.String).alias("value"),
        ).unique(maintain_order=True)
    return pl.DataFrame(schema=_FAILURES)
