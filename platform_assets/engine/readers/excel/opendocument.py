"""The look at a sheet of an OpenDocument spreadsheet (.ods): its rows as an XML parser passes them.

Belongs here: repeated rows and cells, spans, notes, and what fastexcel does not give of a cell. Elsewhere: other
formats.
"""

import re
from typing import Final
from xml.parsers import expat

from platform_assets.engine.readers.excel.grid import (
    SecondLook,
    Window,
    Workbook,
    beyond_double,
    cell_name,
    no_document_type,
)
from platform_assets.errors import DeliveryRefused

_BLANKS: Final = " \t\r\n\x0b\x0c"
_LENGTH: Final = re.compile(r"(-?)PT([0-9]+)H([0-9]+)M([0-9]+)(\.[0-9]+)?S")
_HOURS: Final = 24
_MOST_NOTED: Final = 1_000_000


class _Ods:
    """Handlers of expat for an .ods: its rows as they pass."""

    def __init__(self, sheet: str, window: Window) -> None:
        self.seen = SecondLook()
        self._sheet, self._window = sheet, window
        self._inside = self._noted = self._shows = False
        self._row = self._column = 0
        self._rows = self._columns = 1
        self._kind, self._text, self._number, self._time = "", False, "", ""

    def start(self, tag: str, given: dict[str, str]) -> None:
        name = tag.rpartition(":")[2]
        if name == "table":
            self._inside = given.get("table:name") == self._sheet
        elif not self._inside:
            return
        elif name == "table-row":
            self._rows = int(given.get("table:number-rows-repeated", "1"))
            self._column, self._shows = 0, False
        elif name in ("table-cell", "covered-table-cell"):
            self._columns = int(given.get("table:number-columns-repeated", "1"))
            self._kind = given.get("calcext:value-type") or given.get("office:value-type", "")
            self._text = self._kind not in ("", "string")
            self._number = given.get("office:value", "")
            self._time = given.get("office:time-value", "") if self._kind == "time" else ""
            tall, wide = (int(given.get(f"table:number-{of}-spanned", "1")) for of in ("rows", "columns"))
            if tall * wide > 1:
                top, left = self._row + 1, self._column + 1
                self.seen.merged.append(Window(top, top + tall - 1, left, left + wide - 1))
        elif name == "annotation":
            self._noted = True

    def _note(self, first: int, last: int) -> None:
        """Keep what fastexcel does not give: errors, long numbers, times of a day or more."""
        length = _LENGTH.fullmatch(self._time)
        wrong = (
            "is an error" if self._kind == "error" else f"is {self._time}, no time" if self._time and not length else ""
        )
        exact = self._number if beyond_double(self._number) else ""
        if length and (length[1] or int(length[2]) >= _HOURS):
            exact = f"{length[1]}{length[2]:0>2}:{length[3]:0>2}:{length[4]:0>2}{(length[5] or '').rstrip('.0')}"
        if not wrong and not exact:
            return
        if len(self.seen.exact) + len(self.seen.broken) + self._rows * (last - first + 1) > _MOST_NOTED:
            raise DeliveryRefused(
                f"more than {_MOST_NOTED} cells are errors, or numbers that a spreadsheet does not keep",
                remedy="Deliver it as CSV.",
            )
        for row in range(self._row + 1, self._row + 1 + self._rows):
            if wrong:
                self.seen.broken.setdefault(row, f"cell {cell_name(row, first)} {wrong}")
            else:
                self.seen.exact |= dict.fromkeys(((row, column) for column in range(first, last + 1)), exact)

    def text(self, text: str) -> None:
        if self._inside and not self._noted and text.strip(_BLANKS):
            self._text = True

    def end(self, tag: str) -> None:
        name = tag.rpartition(":")[2]
        if not self._inside:
            return
        if name in ("table-cell", "covered-table-cell"):
            first, last = self._column + 1, self._column + self._columns
            self._column = last
            if self._text and self._kind and first <= self._window.right and last >= self._window.left:
                self._shows = True
                self._note(first, last)
            self._kind, self._text = "", False
        elif name == "table-row":
            first, last = max(self._row + 1, self._window.top), min(self._row + self._rows, self._window.bottom)
            if self._shows:
                self.seen.rows += max(last - first + 1, 0)
            self._row += self._rows
        elif name == "annotation":
            self._noted = False
        elif name == "table":
            self._inside = False


def look_at_ods(book: Workbook, sheet: str, window: Window) -> SecondLook:
    """What is seen of `sheet`."""
    handlers = _Ods(sheet, window)
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = no_document_type
    parser.StartElementHandler = handlers.start
    parser.EndElementHandler = handlers.end
    parser.CharacterDataHandler = handlers.text
    for chunk in book.read("content.xml"):
        parser.Parse(chunk)
    parser.Parse(b"", True)
    return handlers.seen
