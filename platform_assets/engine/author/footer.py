"""Footers: the lines after the last row of a file, such as a sum, and the regular expression that finds them.

Belongs here: which last lines are no rows. Elsewhere: reading files without them (engine/readers), whether nothing else
goes with them (survey.py).
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import polars as pl

from platform_assets.engine.readers import Batch

_TOTALS: Final = (
    *("total", "totals", "grand total", "subtotal", "sum", "sums", "summe", "summen", "gesamt", "gesamtsumme"),
    *("endsumme", "zwischensumme", "anzahl", "ende", "totale", "somme", "suma", "totaal", "celkem"),
    *("end", "eof", "trailer", "footer", "row count", "rows", "records", "count"),
)
_TOTAL: Final = re.compile(rf"({'|'.join(sorted(_TOTALS, key=len, reverse=True))})\b", re.IGNORECASE)
_WORD: Final = re.compile(r"[^\W\d_]{3,}")
MOST_LINES: Final = 3  # of a footer
_MOST_FULL: Final = 0.5  # of the fields of a sum; a row has more
_SUM: Final = 2  # fields that it has in any case: what it is, and the number
_FEW_FILES: Final = 2  # that end with a line of one word which is no row


@dataclass(frozen=True)
class LastRecord:
    """One of the last records of a file. text: its first field that holds something, or the whole line where it could
    not be taken apart; filled: how many of its fields hold something, of how many."""

    line: int
    text: str
    malformed: bool
    filled: int
    width: int

    @property
    def is_short(self) -> bool:
        """Whether it has as little as a line of sums."""
        few = self.filled < self.width and self.filled <= max(_SUM, _MOST_FULL * self.width)
        return self.malformed or few


def last_records(before: Sequence[LastRecord], batch: Batch, columns: Sequence[str]) -> tuple[LastRecord, ...]:
    """What the file ends with as far as this batch, in which the columns have these names."""
    found = [*before]
    for line, *cells in batch.frame.tail(MOST_LINES).select("_line", *columns).iter_rows():
        filled = [text for each in cells if each is not None and (text := f"{each}".strip())]
        found.append(LastRecord(line, filled[0] if filled else "", False, len(filled), len(cells)))
    for line, text in batch.malformed.tail(MOST_LINES).select("_line", pl.col("record").cast(pl.String)).iter_rows():
        found.append(LastRecord(line, f"{text}".strip(' "\t\r\n'), True, 0, len(columns)))
    return tuple(sorted(found, key=lambda each: each.line)[-MOST_LINES:])


def footer_words(files: Sequence[Sequence[LastRecord]]) -> tuple[str, ...]:
    """The words that lines begin with which are no rows, by what files end with."""
    sums: set[str] = set()
    unlike: Counter[str] = Counter()
    for *_, last in filter(None, files):
        if last.is_short and (total := _TOTAL.match(last.text)):
            sums.add(total[0])
        elif last.malformed and (word := _WORD.match(last.text)):
            unlike[word[0]] += 1
    sums |= {word for word, count in unlike.items() if count >= _FEW_FILES}
    return tuple(sorted(sums, key=lambda word: (-len(word), word)))


def footer_lines(records: Sequence[LastRecord], words: Sequence[str]) -> int:
    """How many of the last records of a file a footer of these words takes, if it takes no row."""
    ends = re.compile(expression(words))
    for at, each in enumerate(records):
        if each.is_short and ends.match(each.text):
            return len(records) - at
    return 0


def expression(words: Sequence[str]) -> str:
    """The regular expression that finds lines which begin with any of the words."""
    return rf"^\W*{words[0]}\b" if len(words) == 1 else rf"^\W*({'|'.join(words)})\b"
