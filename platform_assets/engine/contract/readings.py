"""Readings: which of a column's formats a delivery is written in, where its texts can be read in several ways.

Belongs here: what a delivery's own values and dates say of that, over all of it. Elsewhere: casting by it (cast.py),
going through a delivery (load/readings.py). Nothing is guessed: what is not decided refuses the whole delivery.
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final

import polars as pl

from platform_assets.engine.contract.cast import by_each_format
from platform_assets.engine.contract.column import Column
from platform_assets.engine.contract.timestamps import written
from platform_assets.errors import DeliveryRefused, quoted

_DAY: Final = timedelta(days=1)
_PROBES: Final = [
    datetime(2000 + year, month, day, (day + month) % 12, day, month, tzinfo=UTC)
    for year in range(1, 13)
    for month in range(1, 13)
    for day in range(1, 13)
]


@dataclass(frozen=True)
class Times:
    """What is known of when a delivery was written.

    named: the date in its name. by: it was there by then. after: it has events of then, where that is known.
    is_event: whether the column that is asked for says when things happened, so that nothing is later than `by`.
    """

    named: date | None
    by: datetime
    after: datetime | None
    is_event: bool


@functools.cache
def may_be_ambiguous(column: Column) -> bool:
    """Whether there are texts that two of its formats read differently."""
    if len(column.formats) < 2:
        return False
    moments = pl.Series(_PROBES, dtype=pl.Datetime("us", "UTC"))
    for form, _ in column.formats:
        _, differ = by_each_format(written(moments, form), column)
        if differ.any():
            return True
    return False


class Readings:
    """What was seen of one column of a delivery, part by part.

    Texts are told apart by which formats fit them: `_sure` where one reading is left, `_unsure` where several differ.
    """

    def __init__(self, column: Column) -> None:
        self._column = column
        self._sure: set[tuple[int, ...]] = set()
        self._unsure: dict[tuple[int, ...], _Unsure] = {}

    def look(self, texts: pl.Series, lines: pl.Series) -> None:
        """See some more of the column's texts, and the lines that they stand on."""
        if texts.dtype != pl.String:
            return
        texts = texts.str.strip_chars() if self._column.strip else texts
        table, differ = by_each_format(texts, self._column)
        count = range(len(self._column.formats))
        masks = pl.concat_list(pl.when(f"fits{at}").then(pl.lit(at, pl.Int8)) for at in count).list.drop_nulls()
        seen = table.with_columns(masks.alias("mask"), differ.alias("differ"), texts.alias("text"), lines.alias("line"))
        values = [pl.col(f"value{at}").max().alias(f"value{at}") for at in count]
        kinds = seen.group_by("mask", "differ", maintain_order=True).agg(
            pl.col("text", "line").first(),
            *(pl.col(f"value{at}").first().alias(f"example{at}") for at in count),
            *values,
        )
        for kind in kinds.iter_rows(named=True):
            mask = tuple(kind["mask"])
            if not kind["differ"]:
                self._sure.add(mask)
                continue
            newest = {at: _moment(kind[f"value{at}"]) for at in mask if kind[f"value{at}"] is not None}
            shown = {at: kind[f"example{at}"] for at in mask}
            known = self._unsure.setdefault(mask, _Unsure(kind["text"], kind["line"], shown, newest))
            for at, moment in newest.items():
                known.newest[at] = max(known.newest.get(at, moment), moment)

    def decided(self, times: Times, header: str) -> tuple[int, ...]:
        """The formats to be taken where several fit, as indices; none where that never happens.

        What fits one of them alone decides for the whole column; else the delivery's dates do. Raises DeliveryRefused
        where neither does.
        """
        chosen: list[int] = []
        for mask, unsure in self._unsure.items():
            own = {fits[0] for sure in self._sure if len(fits := sorted(set(mask) & set(sure))) == 1}
            left = own or self._by_dates(mask, unsure, times)
            if len(left) != 1:
                raise self._undecided(unsure, header, contradicted=len(own) > 1)
            chosen += left
        return tuple(dict.fromkeys(chosen))

    def _by_dates(self, mask: Sequence[int], unsure: "_Unsure", times: Times) -> set[int]:
        """The formats that the delivery's dates leave."""
        since = {at: self._column.formats[at][1] or date.min for at in mask}
        left = set(mask)
        if times.is_event:
            left = {at for at in left if unsure.newest.get(at, times.by) <= times.by + _DAY}
        if times.named is not None:
            return _in_force(left, since, times.named)
        # When its file was last changed is no earlier than when it was written: what came into force later is not it.
        left = {at for at in left if since[at] <= times.by.date()}
        after = min((unsure.newest[at] for at in left if at in unsure.newest), default=None) if times.is_event else None
        after = after if times.after is None else max(after or times.after, times.after)
        return left if after is None or len(left) < 2 else _since(left, since, after.date())

    def _undecided(self, unsure: "_Unsure", header: str, *, contradicted: bool) -> DeliveryRefused:
        ways = [f"{quoted(_shown(value))} ({self._column.formats[at][0]})" for at, value in unsure.readings.items()]
        why = "other values speak for either" if contradicted else "nothing in the delivery tells which"
        return DeliveryRefused(
            f"{quoted(repr(unsure.text))} may be {' or '.join(ways)}, and {why}",
            remedy=f"Declare the one format that the producer writes as format= of {self._column.name}. If it has "
            'changed: Since(date(…), "…") in format=, and the date in the names of the files, Files(…, dated="…"); or '
            "have files of either format delivered to a feed of their own.",
            line=unsure.line,
            column=header,
        )


@dataclass
class _Unsure:
    """Texts that several formats read differently. text, line, readings: the first of them; newest: by each format."""

    text: str
    line: int
    readings: Mapping[int, datetime | date | None]
    newest: dict[int, datetime]


def _in_force(formats: set[int], since: Mapping[int, date], day: date) -> set[int]:
    """Of `formats` those in force on the day."""
    begun = [since[at] for at in formats if since[at] <= day]
    return {at for at in formats if begun and since[at] == max(begun)}


def _since(formats: set[int], since: Mapping[int, date], day: date) -> set[int]:
    """Of `formats` those that were in force on the day or later."""
    begun = [since[at] for at in formats if since[at] <= day]
    return {at for at in formats if not begun or since[at] >= max(begun)}


def _moment(value: datetime | date) -> datetime:
    return value if isinstance(value, datetime) else datetime.combine(value, time(), UTC)


def _shown(value: datetime | date | None) -> str:
    if value is None:
        return "no time that exists"
    return f"{value:%-d %B %Y %H:%M}" if isinstance(value, datetime) else f"{value:%-d %B %Y}"
