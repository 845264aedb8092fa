"""What a chart shows of a release: a bounded number of points, computed in DuckDB, and in words what is left out.

Belongs here: the queries of a chart; values leave as exact text. Elsewhere: the declaration (feed/chart.py), which
columns may be shown (project/personal.py), drawing (web).
"""

import functools
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import Any, Final, Literal

import duckdb

from platform_assets.engine.feed.chart import MOST_SERIES, Chart
from platform_assets.engine.store.connection import literal
from platform_assets.engine.store.release import Release
from platform_assets.engine.store.sql import quote
from platform_assets.errors import counted, listed

MOST_POINTS: Final = 1_000
MOST_CATEGORIES: Final = 50
OTHERS: Final = "all others"
NONE: Final = "(none)"
_MEAN_DECIMALS: Final = 4
_WIDE: Final = Context(prec=80)  # whatever digits DuckDB has
# Of a query; no column of a mart is called so.
_X, _M, _S = '"chart: x"', '"chart: measure"', '"chart: series"'
_MOST_REMEMBERED: Final = 200
Axis = Literal["time", "number", "category"]
Kind = Literal["line", "bar", "scatter"]


@dataclass(frozen=True)
class Series:
    """The values of a series, one for each x; None where there is none. Numbers are text, exact, with commas."""

    name: str
    values: tuple[str | None, ...]


@dataclass(frozen=True)
class Charted:
    """A chart's points in the order they are drawn. left_out: what of the mart they do not show, in words.

    problem: why there is nothing to draw; then there is nothing else.
    """

    kind: Kind = "line"
    axis: Axis = "category"
    x: tuple[str, ...] = ()
    series: tuple[Series, ...] = ()
    left_out: str = ""
    problem: str = ""


_remembered: Final[dict[tuple[object, ...], Charted]] = {}


def charted(release: Release, chart: Chart, hidden: Collection[str]) -> Charted:
    """What the chart shows of its mart in the release. hidden: columns of the mart whose values nobody is shown.

    A release never changes, unless somebody is erased from it: what was computed of it is remembered.
    """
    told = tuple(name for name in chart.columns if name in hidden)
    key = (release.path, len(release.erased), chart, told)
    if key not in _remembered:
        if len(_remembered) >= _MOST_REMEMBERED:
            del _remembered[next(iter(_remembered))]
        _remembered[key] = _charted(release, chart, told)
    return _remembered[key]


def _charted(release: Release, chart: Chart, hidden: Sequence[str]) -> Charted:
    types = release.marts[chart.mart].columns if chart.mart in release.marts else {}
    if not types:
        return Charted(problem=f"The release has no {chart.mart} yet.")
    if lacking := [name for name in chart.columns if name not in types]:
        return Charted(problem=f"{chart.mart} has no {listed(lacking)} in this release; the next one may.")
    if hidden:
        return Charted(problem=f"{listed(hidden)} may be personal data, and is not shown.")
    try:
        with release.opened() as connection:
            query = _Query(connection, chart, types)
            return query.scattered() if chart.kind == "scatter" else query.grouped()
    except duckdb.Error as error:  # its own text may tell values
        return Charted(problem=f"It cannot be drawn: {type(error).__name__}.")


class _Query:
    """The questions that one chart asks of its mart."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, chart: Chart, types: Mapping[str, str]) -> None:
        self._connection = connection
        self._chart = chart
        self._types = types
        self._mart = quote(chart.mart)
        self._axis, self._x = self._placed(chart.x)
        self._by = None if chart.by is None else f"coalesce(CAST({quote(chart.by)} AS VARCHAR), '{NONE}')"

    def grouped(self) -> Charted:
        """Rows with the same x are one point of each series."""
        chart, columns = self._chart, self._chart.values or (None,)
        axis: Axis = "category" if chart.top is not None else self._axis
        ((distinct, without, rows),) = self._ask(
            f"SELECT count(DISTINCT {self._x}), count(*) FILTER (({self._x}) IS NULL), count(*) FROM {self._mart}"
        )
        measure = self._measure(columns[0])
        if axis == "category":
            distinct += bool(without)  # of times: a text has a word for that
            order = f"{_M} DESC NULLS LAST, {_X}"
            which = f"GROUP BY 1 ORDER BY {order} LIMIT {chart.top or MOST_CATEGORIES}"
        else:
            which = f"WHERE ({self._x}) IS NOT NULL GROUP BY 1 ORDER BY {_X} DESC LIMIT {MOST_POINTS}"
            order = _X
        chosen = f"chosen AS (SELECT {self._x} AS {_X}, {measure} AS {_M} FROM {self._mart} {which})"
        places = [
            NONE if x is None else x
            for (x,) in self._ask(f"WITH {chosen} SELECT CAST({_X} AS VARCHAR) FROM chosen ORDER BY {order}")
        ]
        names, of = self._series(measure)
        asked = ", ".join(expression for column in columns for expression in self._asked(column))
        found = self._ask(
            f"WITH {chosen} SELECT CAST({_X} AS VARCHAR), {of}, {asked} FROM {self._mart} "
            f"JOIN chosen ON {_X} IS NOT DISTINCT FROM {self._x} GROUP BY {_X}, 2"
        )
        cells: dict[str, list[Any]] = {name: [None] * len(places) for name in names}
        at = {x: place for place, x in enumerate(places)}
        for x, series, *given in found:
            values = [self._came_to(column, given) for column in columns]
            for name, value in zip(names if self._by is None else (series,), values, strict=True):
                cells[name][at[NONE if x is None else x]] = value
        said = []
        if len(places) < distinct:
            which = f"the {len(places):,} largest" if axis == "category" else f"the newest {len(places):,}"
            said.append(f"Shown are {which} of {distinct:,} values of {chart.x}{self._rest(columns[0], cells)}.")
        if without and axis != "category":
            said.append(f"Not shown: {without:,} of {counted(rows, 'row')}, without {chart.x}.")
        return self._drawn(axis, places, cells, " ".join(said))

    def scattered(self) -> Charted:
        """Each row that has both values is a point; where they are too many, a choice that is always the same."""
        (y,) = self._chart.values
        value, by = self._finite(y), self._by or "NULL"
        there = f"FROM {self._mart} WHERE ({self._x}) IS NOT NULL AND ({value}) IS NOT NULL"
        ((points, rows),) = self._ask(f"SELECT (SELECT count(*) {there}), count(*) FROM {self._mart}")
        names, of = self._series("count(*)")
        found = self._ask(
            f"WITH points AS (SELECT {self._x} AS {_X}, {value} AS {_M}, {of} AS {_S} {there} "
            f"ORDER BY hash({self._x}, {value}, {by}), {_X}, {_M}, {_S} LIMIT {MOST_POINTS}) "
            f"SELECT CAST({_X} AS VARCHAR), {_M}, {_S} FROM points ORDER BY {_X}, {_M}, {_S}"
        )
        cells: dict[str, list[Any]] = {name: [None] * len(found) for name in names}
        for place, (_, number, series) in enumerate(found):
            cells[names[0] if self._by is None else series][place] = number
        said = []
        if len(found) < points:
            said.append(f"Shown are {len(found):,} of {points:,} rows, chosen evenly.")
        if points < rows:
            said.append(f"Not shown: {rows - points:,} of {counted(rows, 'row')}, which lack one of both values.")
        return self._drawn(self._axis, [x for x, *_ in found], cells, " ".join(said))

    def _placed(self, column: str) -> tuple[Axis, str]:
        """What kind of axis the column is, and its values there as SQL."""
        kind, name = self._types[column], quote(column)
        if kind == "DATE" or kind.startswith("TIMESTAMP"):
            # Instants as of UTC, without the extension that knows zones. What is infinite has no place.
            at = name if kind == "DATE" else f"make_timestamp(epoch_us({name}))"
            per = self._chart.per
            at = at if per is None else f"CAST(date_trunc('{per}', {at}) AS DATE)"
            return "time", f"CASE WHEN isfinite({name}) THEN {at} END"
        if _is_number(kind):
            return "number", self._finite(column)
        return "category", f"coalesce(CAST({name} AS VARCHAR), '{NONE}')"

    def _series(self, measure: str) -> tuple[list[str], str]:
        """The names of the series, and the SQL that says of a row which is its."""
        if self._by is None:
            return [*self._chart.values] or ["rows"], "NULL"
        largest = self._ask(
            f"SELECT {self._by} AS {_S}, {measure} AS {_M} FROM {self._mart} GROUP BY 1 "
            f"ORDER BY {_M} DESC NULLS LAST, {_S} "
            f"LIMIT {MOST_SERIES + 1}"
        )
        names = [name for name, _ in largest]
        if len(names) <= MOST_SERIES:
            numbers = _is_number(self._types[self._chart.by or ""])
            return sorted(names, key=_by_number) if numbers else names, self._by
        known = ", ".join(map(literal, names[:MOST_SERIES]))
        return [*names[:MOST_SERIES], OTHERS], f"CASE WHEN {self._by} IN ({known}) THEN {self._by} ELSE '{OTHERS}' END"

    def _finite(self, column: str) -> str:
        name = quote(column)
        return name if _is_exact(self._types[column]) else f"CASE WHEN isfinite({name}) THEN {name} END"

    def _measure(self, column: str | None) -> str:
        """By what the largest are found."""
        if column is None:
            return "count(*)"
        how = {"mean": "avg"}.get(self._chart.how, self._chart.how)
        return f"{how}({self._finite(column)})"

    def _asked(self, column: str | None) -> list[str]:
        """What is asked of the rows of a point; the mean of exact numbers is the quotient of two."""
        if column is None:
            return ["count(*)"]
        value = self._finite(column)
        if self._chart.how == "mean":
            return [f"sum({value})" if _is_exact(self._types[column]) else f"fsum({value})", f"count({value})"]
        if self._chart.how == "sum" and not _is_exact(self._types[column]):
            return [f"fsum({value})"]
        return [f"{self._chart.how}({value})"]

    def _came_to(self, column: str | None, given: list[Any]) -> Any:  # noqa: ANN401 - a number of DuckDB's
        """The value of a point; takes what was asked for it from the front of `given`."""
        value = given.pop(0)
        if column is None or self._chart.how != "mean":
            return value
        rows = given.pop(0)
        if value is None or isinstance(value, float):
            return None if value is None else value / rows
        exact = Decimal(value)
        digits = max(_MEAN_DECIMALS, -int(exact.as_tuple().exponent))
        return _WIDE.divide(exact, rows).quantize(Decimal(1).scaleb(-digits), ROUND_HALF_EVEN, _WIDE)

    def _rest(self, column: str | None, cells: dict[str, list[Any]]) -> str:
        """What those that are not shown come to, where that can be said exactly."""
        if self._chart.how != "sum" or not (column is None or _is_exact(self._types[column])):
            return ""
        ((total,),) = self._ask(f"SELECT {self._measure(column)} FROM {self._mart}")
        shown = cells.values() if self._by is not None else [next(iter(cells.values()))]
        values = [Decimal(value) for series in shown for value in series if value is not None]
        rest = functools.reduce(_WIDE.subtract, values, Decimal(total or 0))
        return f"; the others come to {text_of(rest)}" + f" {self._chart.unit}" * bool(self._chart.unit)

    def _drawn(self, axis: Axis, x: Iterable[str], cells: dict[str, list[Any]], left_out: str) -> Charted:
        series = tuple(Series(name, tuple(map(text_of, values))) for name, values in cells.items())
        kind: Kind = self._chart.kind or ("bar" if axis == "category" else "line")
        return Charted(kind, axis, tuple(x), series, left_out)

    def _ask(self, sql: str) -> list[tuple[Any, ...]]:
        return self._connection.execute(sql).fetchall()


def text_of(value: Decimal | float | None) -> str | None:
    """A number as it is shown: every digit that it has, but for zeros behind the second decimal."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return None
    if isinstance(value, float):
        return f"{value:,.15g}"
    text = f"{value:,f}" if isinstance(value, Decimal) else f"{value:,}"
    whole, point, decimals = text.partition(".")
    return f"{whole}{point}{decimals.rstrip('0').ljust(min(2, len(decimals)), '0')}"


def _by_number(name: str) -> float:
    return math.inf if name == NONE else float(name)


def _is_exact(kind: str) -> bool:
    return kind.startswith("DECIMAL") or kind.removeprefix("U") in (
        "TINYINT",
        "SMALLINT",
        "INTEGER",
        "BIGINT",
        "HUGEINT",
    )


def _is_number(kind: str) -> bool:
    return _is_exact(kind) or kind in ("DOUBLE", "FLOAT")
