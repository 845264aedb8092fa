"""Validating rows: cast by the contract's declared formats, then the checks of the contract's Pandera model.

Belongs here: what makes a row accepted or rejected, and for which reasons. Elsewhere: casting (cast.py), reading and
storing rows. A frame's rows keep their order, so a row's index names it throughout.
"""

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import polars as pl
from pandera.api.polars.container import DataFrameSchema
from pandera.config import ValidationDepth, config_context

from platform_assets.engine.contract.cast import as_text, cast, given
from platform_assets.engine.contract.model import Column, Contract, columns_of
from platform_assets.engine.contract.rules import rule_of
from platform_assets.errors import ContractError

Reading = Mapping[str, tuple[int, ...]]
"""Column -> the formats, by their places, that hold where several fit a text."""

_REASON: Final = pl.Struct({"column": pl.String, "rule": pl.String, "value": pl.String})


@dataclass(frozen=True)
class SplitRows:
    """What became of a frame's rows.

    accepted: the rows that keep the contract, typed, with every further column of the frame.
    rejected: the others as they arrived. reasons: for each of these a list of {column, rule, value}, PII masked;
        a series of its own because a delivery may have a column of any name.
    """

    accepted: pl.DataFrame
    rejected: pl.DataFrame
    reasons: pl.Series


@dataclass(frozen=True)
class _Broken:
    """A rule, the column it is of (None for a rule across columns), and the rows that break it, as a mask."""

    column: str | None
    rule: str
    rows: pl.Series


def validate(frame: pl.DataFrame, contract: type[Contract], readings: Mapping[int, Reading] | None = None) -> SplitRows:
    """Split `frame` (one column per contract column, as it arrived, and any others) by `contract`. Every row has the
    default of an optional column that it lacks.

    readings: of each delivery, by the frame's column _delivery_id, the formats (by their places) that hold for a column
    where several fit a text and read it differently; without them such a value is rejected.
    """
    columns = columns_of(contract)

    def holds(column: Column) -> dict[int, pl.Series]:
        found: dict[int, list[int]] = {}
        for delivery, reading in (readings or {}).items():
            for at in reading.get(column.name, ()):
                found.setdefault(at, []).append(delivery)
        return {at: frame["_delivery_id"].is_in(deliveries) for at, deliveries in found.items()}

    lacking = {column.name for column in columns if column.optional} - set(frame.columns)
    casts = {
        column.name: given(column, frame.height)
        if column.name in lacking
        else cast(frame[column.name], column, holds(column))
        for column in columns
    }
    typed = pl.DataFrame({name: done.values for name, done in casts.items()})
    lost = {name: done.failed for name, done in casts.items() if done.failed}
    broken = [_Broken(name, rule, rows) for name, failed in lost.items() for rule, rows in failed]
    if frame.height:
        uncast = {name: _any([rows for _, rows in failed]) for name, failed in lost.items()}
        # A value that could not be cast is NULL by now: what the model finds wrong with that NULL is noise, and so is
        # what a rule across columns finds, for that is about values that never arrived.
        uncast_rows = _any(list(uncast.values())) if uncast else None
        for found in _checked(typed, contract):
            noise = uncast_rows if found.column is None else uncast.get(found.column)
            if noise is None:
                broken.append(found)
            elif (rows := found.rows & ~noise).any():
                broken.append(_Broken(found.column, found.rule, rows))
    accepted = typed.with_columns(frame.select(name for name in frame.columns if name not in casts))
    if not broken:
        return SplitRows(accepted, frame.clear(), pl.Series("reasons", [], pl.List(_REASON)))
    rejected = _any([one.rows for one in broken])
    return SplitRows(accepted.filter(~rejected), frame.filter(rejected), _reasons(broken, frame, contract))


def _any(masks: list[pl.Series]) -> pl.Series:
    return functools.reduce(lambda one, other: one | other, masks)


def _checked(typed: pl.DataFrame, contract: type[Contract]) -> Iterator[_Broken]:
    """Every rule of the Pandera model that rows break.

    What makes a value valid is Pandera's own Check, called as Pandera calls it. `schema.validate` itself looks at the
    same frame some seventy times and writes the failures out row by row: it costs three times as much.
    """
    schema = _schema(contract)
    for name, column in schema.columns.items():
        if not column.nullable and typed[name].null_count():
            yield _Broken(name, "not_nullable", typed[name].is_null())
        for check in column.checks:
            yield from _rule(typed, contract, check, name)
    for check in schema.checks:
        yield from _rule(typed, contract, check, None)


def _rule(
    typed: pl.DataFrame,
    contract: type[Contract],
    check: Any,  # noqa: ANN401 - pandera's Check
    column: str | None,
) -> Iterator[_Broken]:
    try:
        kept = check(typed.lazy(), column).check_output.collect().to_series()
    except Exception as error:
        raise _no_rule(contract, check, type(error).__name__) from error
    if len(kept) != typed.height:
        # One answer for the whole frame would otherwise be charged to its first row.
        raise _no_rule(contract, check, f"{len(kept)} answer{'s' * (len(kept) != 1)} for {typed.height} rows")
    if not kept.all():
        yield _Broken(column, rule_of(check), ~kept)


def _no_rule(contract: type[Contract], check: Any, problem: str) -> ContractError:  # noqa: ANN401 - pandera's Check
    return ContractError(
        contract.__name__,
        f"rule {rule_of(check)} does not answer for single rows ({problem})",
        "Return one boolean per row from the check.",
    )


@functools.cache
def _schema(contract: type[Contract]) -> DataFrameSchema:
    """The contract's Pandera schema, once Pandera has agreed that its columns and types are those we cast to."""
    schema = contract.to_schema()
    nothing = pl.DataFrame(schema={column.name: column.dtype for column in columns_of(contract)})
    # The depth is named because an environment variable could otherwise switch the check off.
    with config_context(validation_enabled=True, validation_depth=ValidationDepth.SCHEMA_ONLY):
        schema.validate(nothing)
    return schema


def _reasons(broken: list[_Broken], frame: pl.DataFrame, contract: type[Contract]) -> pl.Series:
    """For each rejected row, in order, what it breaks and the value that was delivered."""
    columns = columns_of(contract)
    masked = {column.name for column in columns if column.pii}
    # A rule across columns shows the whole row, so it is masked whole where any column is PII.
    texts = {name: as_text(name, frame.schema[name]) for column in columns if (name := column.name) in frame.columns}
    record = pl.struct(texts.values()).struct.json_encode()
    parts = []
    for one in broken:
        rows = one.rows.arg_true()
        if one.column is None:
            values = frame[rows].select(record).to_series()
        elif one.column not in texts:
            values = pl.repeat(None, len(rows), dtype=pl.String(), eager=True)
        else:
            values = frame.select(one.column)[rows].select(texts[one.column]).to_series()
        if one.column in masked or (one.column is None and masked):
            values = pl.select(pl.when(values.is_not_null()).then(pl.lit("***"))).to_series()
        part = {"row": rows, "column": one.column, "rule": one.rule, "value": values}
        parts.append(pl.DataFrame(part, schema={"row": pl.UInt32, **_REASON.to_schema()}))
    reasons = pl.concat(parts).unique(maintain_order=True).group_by("row", maintain_order=True)
    return reasons.agg(pl.struct("column", "rule", "value").alias("reasons")).sort("row")["reasons"]
