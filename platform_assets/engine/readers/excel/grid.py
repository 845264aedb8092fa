"""What every second look at a sheet shares: windows of cells and their names, what was found, packed parts in pieces.

Belongs here: what .xlsx and .ods have in common. Elsewhere: each of them (sheetml.py, opendocument.py).
"""

import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

from platform_assets.engine.readers.budget import Budget
from platform_assets.errors import DeliveryRefused

LAST: Final = 1 << 30
SAVE_ANEW: Final = "Open the workbook, save it anew and deliver it again."
_CHUNK: Final = 1 << 20
_REF: Final = re.compile(r"\$?([A-Z]{0,3})\$?([0-9]*)(?::\$?([A-Z]{0,3})\$?([0-9]*))?")


@dataclass(frozen=True)
class Window:
    """Some rows and columns of a sheet, from 1, both ends included."""

    top: int = 1
    bottom: int = LAST
    left: int = 1
    right: int = LAST

    @classmethod
    def of(cls, cells: str) -> "Window":
        """The window that a spreadsheet writes as "B3:D40", "A3:F", "A:F" or, open to the right and below, "B3"."""
        match = _REF.fullmatch(cells)
        assert match is not None, cells
        left, top, right, bottom = match.groups()
        return cls(int(top or 1), int(bottom or LAST), column_number(left) or 1, column_number(right or "") or LAST)


@dataclass
class SecondLook:
    """What a sheet's own bytes show, without the parser. rows: how many show something. merged: windows of
    cells that are one.

    broken: by row, what is wrong with a cell of it whose value is not in the file: a formula never computed.
    exact: by row and column, numbers as they are written that are more exact than a double.
    """

    rows: int = 0
    merged: list[Window] = field(default_factory=list)
    broken: dict[int, str] = field(default_factory=dict)
    exact: dict[tuple[int, int], str] = field(default_factory=dict)


def column_number(letters: str) -> int:
    """A column's number, from 1, of its letters; 0 of none."""
    number = 0
    for letter in letters:
        number = number * 26 + ord(letter) - 64
    return number


def cell_name(row: int | None, column: int) -> str:
    """A cell (or, without row, a column) as a spreadsheet names it."""
    letters = ""
    while column:
        column, letter = divmod(column - 1, 26)
        letters = chr(65 + letter) + letters
    return letters if row is None else f"{letters}{row}"


def beyond_double(number: bytes | str) -> bool:
    """Whether a number as it is written is more exact than the double that a spreadsheet makes of it.

    A spreadsheet writes a double by its first 17 digits, which are no more exact: 0.10000000000000001 is 0.1.
    """
    text = number.decode() if isinstance(number, bytes) else number
    try:
        written, double = Decimal(text), float(text)
    except (ArithmeticError, ValueError):
        return False
    return written not in (Decimal(repr(double)), Decimal(f"{double:.17g}"))


class Workbook:
    """The parts of a workbook that is a zip, read within the budget of its delivery."""

    def __init__(self, archive: zipfile.ZipFile, budget: Budget) -> None:
        self._archive = archive
        self._budget = budget
        self.names = archive.namelist()

    def read(self, name: str) -> Iterator[bytes]:
        """A part in chunks; no more of it than the directory announces, as zipfile sees to."""
        with self._archive.open(name) as stream:
            while chunk := stream.read(_CHUNK):
                self._budget.check()
                yield chunk


def no_document_type(*_: object) -> None:
    """expat's handler of a document type: no spreadsheet writes one, and with one, short XML can mean very much."""
    raise DeliveryRefused("damaged workbook: it declares a document type", remedy=SAVE_ANEW)
