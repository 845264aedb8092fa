"""Tables for people, as wide as the terminal: texts are folded, columns give way, and only then names break.

Belongs here: which columns stand there, how wide each is, what is red or green. Elsewhere: what a cell says
(render.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from rich.table import Table as RichTable
from rich.text import Text

_FRAME: Final = 3  # characters that a column takes beside its text
_UNBROKEN: Final = 40  # characters of a word that is not broken where there is room
_NARROWEST: Final = 10  # characters of a broken word's line
_OF_STATE: Final = ("", "status", "would be", "freshness", "outcome")
_WELL: Final = ("ok", "fresh", "accepted", "done")
_BADLY: Final = ("failed", "late", "quarantined", "missing", "drift", "withdrawn", "error", "overdue")


@dataclass(frozen=True)
class Shown:
    """A column as it is shown: its header, its cells as text, whether they are numbers."""

    header: str
    cells: Sequence[str]
    numbers: bool

    def least(self, unbroken: int = _UNBROKEN) -> int:
        """The width below which a name of so many characters or a number would break."""
        return self.most if self.numbers else min(self._longest_word, unbroken)

    @cached_property
    def _longest_word(self) -> int:
        return max((len(word) for text in (self.header, *self.cells) for word in text.split()), default=1)

    @cached_property
    def most(self) -> int:
        """The width at which nothing is folded."""
        return max((len(line) for text in (self.header, *self.cells) for line in text.split("\n")), default=1) or 1


def laid_out(columns: Sequence[Shown], width: int, least: Sequence[str]) -> tuple[RichTable, list[str]]:
    """The table within `width` characters, and the headers of the columns for which there is no room.

    least: headers of columns that give way, the first of them first. Where that is not enough, long names are broken;
    then columns give way at the right, the first never.
    """
    kept = list(columns)
    gone = []
    for header in least:
        if _fit(kept, width):
            break
        for each in [each for each in kept if each.header == header]:
            kept.remove(each)
            gone.append(header)
    while len(kept) > 1 and not _fit(kept, width, _NARROWEST):
        gone.append(kept.pop().header)
    unbroken = next((most for most in range(_UNBROKEN, _NARROWEST, -1) if _fit(kept, width, most)), _NARROWEST)
    table = RichTable(header_style="bold")
    for each, wide in zip(kept, _widths(kept, width, unbroken), strict=True):
        justify: Any = "right" if each.numbers else "left"
        table.add_column(each.header, justify=justify, overflow="fold", width=wide)
    for row in zip(*(each.cells for each in kept), strict=True):
        table.add_row(*(Text(cell, _style(each.header, cell)) for each, cell in zip(kept, row, strict=True)))
    return table, gone


def _fit(columns: Sequence[Shown], width: int, unbroken: int = _UNBROKEN) -> bool:
    """Whether there is room for all of them, with names of so many characters whole."""
    return sum(each.least(unbroken) + _FRAME for each in columns) + 1 <= width


def _widths(columns: Sequence[Shown], width: int, unbroken: int) -> list[int]:
    """Each column's width: what it needs, and of the rest as much as it can use, the narrowest first."""
    widths = [each.least(unbroken) for each in columns]
    left = max(width - sum(widths) - _FRAME * len(columns) - 1, 0)
    wanting = sorted(range(len(columns)), key=lambda at: columns[at].most - widths[at])
    for done, at in enumerate(wanting):
        more = min(columns[at].most - widths[at], left // (len(wanting) - done))
        widths[at] += more
        left -= more
    return widths


def _style(header: str, cell: str) -> str:
    first = cell.partition(" ")[0].casefold() if header in _OF_STATE else ""
    return "green" if first in _WELL else "red" if first in _BADLY else ""
