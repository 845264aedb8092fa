"""Charts, as authors declare them beside a mart: what the page of a release draws of it.

Belongs here: the declaration, and holding it to the mart's contract. Elsewhere: computing it from a release
(store/charted.py), drawing it (web).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

from platform_assets.engine.contract.declaration import declaration
from platform_assets.engine.feed.mart import Mart
from platform_assets.errors import ConfigurationError, nearest

MOST_TOP: Final = 100
MOST_SERIES: Final = 8
"""So many series can be told apart; what else there is, is added up as one more."""
_TIMES: Final = ("timestamp", "date")
_NUMBERS: Final = ("integer", "decimal", "number")


@declaration
@dataclass(frozen=True)
class Chart:
    """What the page of a release draws of a mart, such as `Chart("daily_sales", x="sale_date", y="net_revenue")`.

    mart: the mart, by its name.
    x: the column along the axis: days, times, numbers or texts.
    y: the column whose values are drawn, or several of them; without any, rows are counted.
    kind: "line" or "bar": rows with the same x are one point; "scatter": a point for each row. Without it, times and
        numbers make a line, and texts make bars.
    by: a column: each of its values is a series of its own, up to eight; the others are one more. With one `y` at most.
    top: only so many x, the largest by (the first) `y`. Without it, times and numbers are drawn up to the newest 1,000,
        texts up to the largest 50. What is left out is told below the chart.
    how: what rows with the same x come to.
    per: days and times are put together so; a time counts as of UTC.
    title: what stands above it; by default, made from the names of the columns.
    unit: of the values, such as "GBP".
    """

    mart: str
    x: str
    y: str | tuple[str, ...] = ()
    kind: Literal["line", "bar", "scatter"] | None = None
    by: str | None = None
    top: int | None = None
    how: Literal["sum", "mean", "min", "max"] = "sum"
    per: Literal["day", "week", "month", "quarter", "year"] | None = None
    title: str = ""
    unit: str = ""

    def __post_init__(self) -> None:
        for argument, problem, remedy in self._contradictions():
            raise ConfigurationError(f"Chart({self.mart!r}).{argument}", problem, remedy)

    def _contradictions(self) -> Iterator[tuple[str, str, str]]:
        most = MOST_SERIES + 1
        if self.by is not None and len(self.values) > 1:
            yield "by", f"does not go with {len(self.values)} columns in y", "Draw one of the columns, or leave by out."
        if len(self.values) > most:
            yield "y", f"{len(self.values)} columns cannot be told apart", f"Name up to {most}; declare more charts."
        if self.top is not None and not 1 <= self.top <= MOST_TOP:
            yield "top", f"{self.top} is not from 1 to {MOST_TOP}", "Give such as top=10."
        if self.kind == "scatter":
            if len(self.values) != 1:
                yield "y", "a scatter chart draws one column", 'Give one, such as y="net_revenue".'
            for argument, default in (("top", None), ("how", "sum"), ("per", None)):
                if getattr(self, argument) != default:
                    yield argument, "means nothing where each row is a point", f"Take {argument} out."

    @property
    def values(self) -> tuple[str, ...]:
        """The columns whose values are drawn; none where rows are counted."""
        return (self.y,) if isinstance(self.y, str) else self.y

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column that it reads, each once."""
        return tuple(dict.fromkeys((self.x, *self.values, *([self.by] if self.by is not None else []))))

    @property
    def heading(self) -> str:
        """What stands above it."""
        values = " and ".join(self.values) or "rows"
        said = f"{values} by {self.x}" + (f" and {self.by}" if self.by is not None else "")
        return self.title or said.replace("_", " ").capitalize()

    def refuse_unlike(self, mart: Mart) -> None:
        """Raise ConfigurationError where the mart's contract has no such column, or its values cannot be drawn so."""
        kinds = {column.name: column.kind for column in mart.columns}

        def wrong(argument: str, problem: str, fit: list[str]) -> ConfigurationError:
            remedy = f"Name one of: {', '.join(fit)}." if fit else "Draw other columns."
            return ConfigurationError(f"Chart({self.mart!r}).{argument}", problem, remedy)

        numbers = [name for name, kind in kinds.items() if kind in _NUMBERS]
        asked = [("x", self.x), *(("y", name) for name in self.values)]
        for argument, name in [*asked, *([("by", self.by)] if self.by is not None else [])]:
            if name not in kinds:
                near = nearest(name, kinds)
                raise wrong(argument, f"{name!r} is not a column of {mart.contract.__name__}.{near}", list(kinds))
            if argument == "y" and name not in numbers:
                raise wrong(argument, f"{name!r} holds no numbers ({kinds[name]})", numbers)
        times = [name for name, kind in kinds.items() if kind in _TIMES]
        if self.per is not None and self.x not in times:
            raise wrong("per", f"{self.x!r} holds no days or times ({kinds[self.x]})", times)
        if self.kind == "scatter" and self.x not in (*numbers, *times):
            raise wrong("x", f"{self.x!r} is no number, day or time ({kinds[self.x]})", [*numbers, *times])
