"""A second look at a workbook's own bytes, without its parser: which rows show something, what is merged.

Belongs here: what is packed in a zip (.xlsx, .xlsm, .ods) or in records (.xlsb, .xls: records.py), and what is no
workbook. Does not: values; those are fastexcel's (workbook.py).
"""

import contextlib
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path, PurePosixPath
from typing import Final
from xml.parsers import expat
from xml.sax.saxutils import escape, unescape

from platform_assets.engine.readers.magic import ENOUGH, container_of
from platform_assets.engine.readers.records import (
    Encrypted,
    xls_cells,
    xls_charted,
    xls_stream,
    xlsb_cells,
    xlsb_sheets,
    xlsb_strings,
)
from platform_assets.errors import DeliveryRefused, DeliveryUnfinished

_CHUNK: Final = 1 << 20
_RATIO_CAP: Final = 300
_RATIO_FREE: Final = 100 << 20
_LONGEST_ROW: Final = 64 << 20
_COMPOUND: Final = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_REF: Final = re.compile(r"\$?([A-Z]{0,3})\$?([0-9]*)(?::\$?([A-Z]{0,3})\$?([0-9]*))?")
_LAST: Final = 1 << 30
_BLANKS: Final = " \t\r\n\x0b\x0c"
_AGAIN: Final = "Open the workbook, save it anew and deliver it again."


@dataclass(frozen=True)
class Window:
    """Some rows and columns of a sheet, from 1, both ends included."""

    top: int = 1
    bottom: int = _LAST
    left: int = 1
    right: int = _LAST

    @classmethod
    def of(cls, cells: str) -> "Window":
        """The window that a spreadsheet writes as "B3:D40", "A3:F", "A:F" or, open to the right and below, "B3"."""
        match = _REF.fullmatch(cells)
        assert match is not None, cells
        left, top, right, bottom = match.groups()
        return cls(int(top or 1), int(bottom or _LAST), column_number(left) or 1, column_number(right or "") or _LAST)

    def has(self, row: int, column: int) -> bool:
        """Whether a cell is in it."""
        return self.top <= row <= self.bottom and self.left <= column <= self.right


@dataclass
class Look:
    """What was seen of a sheet. rows: how many show something. merged: windows of cells that are one.

    broken: by row, what is wrong with a cell of it whose value is not in the file: a formula never computed.
    exact: by row and column, numbers as they are written that say more than a double can.
    """

    rows: int = 0
    merged: list[Window] = field(default_factory=list)
    broken: dict[int, str] = field(default_factory=dict)
    exact: dict[tuple[int, int], str] = field(default_factory=dict)


def survey(copy: Path) -> str:
    """The kind of workbook, by its content. Raises DeliveryUnfinished or DeliveryRefused where it is none, is
    encrypted, cut off or absurdly packed."""
    with copy.open("rb") as stream:
        start = stream.read(ENOUGH)
    if start.startswith(_COMPOUND):
        with _sound():
            xls_stream(copy)
        return "xls"
    if not start.startswith(b"PK"):
        what = container_of(start)
        raise DeliveryRefused(
            "no workbook by its content" + (f": it is {what}" if what else ""),
            remedy="Deliver what a spreadsheet saved as .xlsx or .ods, or name the file by what it is.",
        )
    names = _members(copy)
    if "content.xml" in names:
        return "ods"
    return "xlsb" if any(name.endswith("workbook.bin") for name in names) else "xlsx"


def look(copy: Path, kind: str, sheet: str, window: Window) -> Look:
    """Count the rows of `sheet` that show something in `window`, and see what is merged."""
    with _sound():
        if kind == "xls":
            stream = xls_stream(copy)
            if xls_charted(stream, sheet):
                raise DeliveryRefused(
                    "the sheet holds a chart, whose numbers the parser takes for the sheet's",
                    remedy="Save the workbook as .xlsx, or have the chart on a sheet of its own, and deliver it again.",
                )
            return _seen(xls_cells(stream, sheet), window)
        with zipfile.ZipFile(copy) as archive:
            if kind == "ods":
                return _ods(archive, sheet, window)
            part, strings = _parts(archive, sheet)
            if kind == "xlsb":
                blank = xlsb_strings(_read(archive, strings)) if strings else frozenset()
                return _seen(xlsb_cells(_read(archive, part), blank), window)
            return _xlsx(archive, part, strings, window)


@contextlib.contextmanager
def _sound() -> Iterator[None]:
    """What a workbook's bytes can be wrong in, said to a user."""
    try:
        yield
    except Encrypted as error:
        raise _encrypted() from error
    except EOFError as error:
        raise DeliveryUnfinished("the workbook ends before its content does") from error
    except (zipfile.BadZipFile, zlib.error, expat.ExpatError, struct.error) as error:
        raise DeliveryRefused(f"damaged workbook: {error}", remedy=_AGAIN) from error
    except (LookupError, StopIteration, NotImplementedError, ValueError) as error:
        raise DeliveryRefused(f"damaged workbook: a part is missing or unknown ({error})", remedy=_AGAIN) from error


def column_number(letters: str) -> int:
    """A column's number, from 1, of its letters; 0 of none."""
    number = 0
    for letter in letters:
        number = number * 26 + ord(letter) - 64
    return number


def _members(copy: Path) -> list[str]:
    try:
        with zipfile.ZipFile(copy) as archive:
            members = archive.infolist()
    except zipfile.BadZipFile as error:
        raise DeliveryUnfinished("the workbook ends before its contents list does") from error
    unpacked = sum(member.file_size for member in members)
    if unpacked > _RATIO_FREE and unpacked > copy.stat().st_size * _RATIO_CAP:
        raise _bomb()
    names = [member.filename for member in members]
    if len(set(names)) < len(names):
        raise DeliveryRefused("damaged workbook: a part occurs twice", remedy=_AGAIN)
    if any(member.flag_bits & 1 for member in members):
        raise _encrypted()
    return names


def _encrypted() -> DeliveryRefused:
    return DeliveryRefused("the workbook is encrypted", remedy="Ask the producer to save it without a password.")


def _bomb() -> DeliveryRefused:
    return DeliveryRefused(
        f"unpacks to more than {_RATIO_CAP} times its size",
        remedy="If this is real, deliver it as CSV; it looks like a decompression bomb.",
    )


def _read(archive: zipfile.ZipFile, name: str) -> Iterator[bytes]:
    """A part in chunks; no more of it than it is said to hold, as zipfile sees to."""
    with archive.open(name) as stream:
        while chunk := stream.read(_CHUNK):
            yield chunk


def _elements(chunks: Iterator[bytes]) -> Iterator[tuple[str, dict[str, str]]]:
    """Start tags, by local name, with their attributes by local name."""
    found: list[tuple[str, dict[str, str]]] = []
    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = _no_dtd
    parser.StartElementHandler = lambda tag, given: found.append(
        (tag.rpartition(":")[2], {name.rpartition(":")[2]: value for name, value in given.items()})
    )
    for chunk in chunks:
        parser.Parse(chunk)
        yield from found
        found.clear()
    parser.Parse(b"", True)


def _no_dtd(*_: object) -> None:
    raise DeliveryRefused("damaged workbook: it declares a document type", remedy=_AGAIN)


def _parts(archive: zipfile.ZipFile, sheet: str) -> tuple[str, str | None]:
    """The parts that hold a sheet and the strings that its cells refer to."""
    names = archive.namelist()
    book = PurePosixPath(next(name for name in names if re.search(r"(^|/)workbook\d*\.(xml|bin)$", name)))
    related = {
        given["Id"]: (given.get("Type", ""), given.get("Target", ""))
        for tag, given in _elements(_read(archive, f"{book.parent}/_rels/{book.name}.rels"))
        if tag == "Relationship"
    }
    if book.suffix == ".bin":
        sheets = xlsb_sheets(_read(archive, str(book)))
    else:
        found = (given for tag, given in _elements(_read(archive, str(book))) if tag == "sheet")
        sheets = {given["name"]: given["id"] for given in found}

    def part(target: str) -> str:
        return target.lstrip("/") if target.startswith("/") else f"{book.parent}/{target}"

    strings = next((part(target) for kind, target in related.values() if kind.endswith("/sharedStrings")), None)
    return part(related[sheets[sheet]][1]), strings if strings in names else None


def _seen(cells: Iterator[tuple[int, int, int, int]], window: Window) -> Look:
    """What records say: (top, left, bottom, right) of each cell that shows something and of each merge."""
    seen = Look()
    last = 0
    for top, left, bottom, right in cells:
        if (top, left) != (bottom, right):
            seen.merged.append(Window(top, bottom, left, right))
        elif top != last and window.has(top, left):
            seen.rows += 1
            last = top
    return seen


_ROW: Final = b"<row"
_ROWS_END: Final = b"</sheetData"
_NUMBER: Final = re.compile(rb"<row[^>]*?\sr=\"([0-9]+)\"")
# A character that XML has no place for is written as _x000D_.
_SHOWS: Final = re.compile(rb"<(?:v|t)(?:\s[^>]*)?>(?:\s|_x00(?:0[9A-Da-d]|20)_)*+[^<\s]")
_FORMULA: Final = re.compile(rb"<f[\s/>]")
_CELL: Final = re.compile(rb"<c(?=[\s/>])([^>]*?)(?:/>|>(.*?)</c>)", re.DOTALL)
_VALUE: Final = re.compile(rb"<v(?:\s[^>]*)?>\s*([^<]*[^<\s])")
_ESCAPE: Final = re.compile("_x([0-9a-fA-F]{4})_")
_ESCAPED: Final = re.compile(rb"<v(?:\s[^>]*)?>[^<]*_x[0-9a-fA-F]{4}_")
_LONG: Final = re.compile(rb"<v(?:\s[^>]*)?>\s*([-+]?(?:[0-9.]{16,}[-+0-9.eE]*|[0-9.]+[eE][-+]?[0-9]{3,}))")
_MERGE: Final = re.compile(rb"<mergeCell\s[^>]*?ref=\"([^\"]+)\"")
_PLACE: Final = re.compile(rb"\sr=\"([A-Z]+)[0-9]+\"")
_KIND: Final = re.compile(rb"\st=\"(\w+)\"")
# What XML may be written with that the patterns do not know: other quotes, comments, character references, prefixes …
_ODD: Final = re.compile(
    rb"<!|&#|\x00|=\s*'|\s=\s*\"|=\s+\"|<\?(?!xml )|<[\w.-]+:(?:worksheet|sst|row|c|v|si)\b|<rPh\b"
)
_LONGEST_MARK: Final = 256


def _xlsx(archive: zipfile.ZipFile, part: str, strings: str | None, window: Window) -> Look:
    blank = _blank_strings(archive, strings) if strings else frozenset()
    seen = Look()
    number, buffer, inside = 0, b"", True
    for chunk in _plain(archive, part):
        buffer += chunk
        if inside:
            end = buffer.find(_ROWS_END)
            inside = end < 0
            cut = max(buffer.rfind(_ROW) if inside else end, 0)
            for row in buffer[:cut].split(_ROW)[1:]:
                number = _row(seen, _ROW + row, number, window, blank)
            buffer = buffer[cut:]
        # What follows the rows is short: merges, print settings.
        if len(buffer) > _LONGEST_ROW:
            raise DeliveryRefused(f"a row is longer than {_LONGEST_ROW >> 20} MB", remedy=_AGAIN)
    seen.merged = [Window.of(ref.decode()) for ref in _MERGE.findall(buffer)]
    return seen


def _row(seen: Look, row: bytes, before: int, window: Window, blank: frozenset[int]) -> int:
    """Note what a row shows; its number."""
    given = _NUMBER.match(row)
    number = int(given[1]) if given else before + 1
    if not window.top <= number <= window.bottom:
        return number
    exact = any(map(_beyond, _LONG.findall(row))) or _ESCAPED.search(row) is not None
    if not (exact or blank or _FORMULA.search(row)) and (window.left, window.right) == (1, _LAST):
        seen.rows += _SHOWS.search(row) is not None
        return number
    shows = False
    column = 0
    for attributes, body in _CELL.findall(row):
        place = _PLACE.search(attributes)
        column = column_number(place[1].decode()) if place else column + 1
        if not window.left <= column <= window.right:
            continue
        kind = _KIND.search(attributes)
        filled = _SHOWS.search(body) is not None
        value = _VALUE.search(body)
        if filled and kind is not None and kind[1] == b"s":
            filled = value is None or int(value[1]) not in blank
        if exact and value is not None and (kind is None or kind[1] == b"n") and _beyond(value[1]):
            seen.exact[number, column] = value[1].decode()
        if exact and value is not None and kind is not None and kind[1] == b"str" and _ESCAPED.search(body):
            # Of all texts fastexcel leaves the escapes in those that formulas gave.
            seen.exact[number, column] = _ESCAPE.sub(_character, unescape(value[1].decode()))
            filled = True
        # A formula that gives an empty text says so (t="str"); without a value it was never computed.
        if not filled and _FORMULA.search(body) and (kind is None or kind[1] != b"str"):
            seen.broken.setdefault(number, f"cell {cell_name(number, column)} has a formula but no value")
            filled = True
        shows = shows or filled
    seen.rows += shows
    return number


def _character(escape: re.Match[str]) -> str:
    character = chr(int(escape[1], 16))
    return escape[0] if "\ud800" <= character <= "\udfff" else character


def _beyond(number: bytes | str) -> bool:
    """Whether a number as it is written says more than the double does that a spreadsheet makes of it.

    A spreadsheet writes a double by its first 17 digits, which say no more: 0.10000000000000001 is 0.1.
    """
    text = number.decode() if isinstance(number, bytes) else number
    try:
        said, double = Decimal(text), float(text)
    except (ArithmeticError, ValueError):
        return False
    return said not in (Decimal(repr(double)), Decimal(f"{double:.17g}"))


def _blank_strings(archive: zipfile.ZipFile, strings: str) -> frozenset[int]:
    """The shared strings that show nothing, by number."""
    blank = []
    at, buffer = 0, b""
    for chunk in _plain(archive, strings):
        *whole, buffer = (buffer + chunk).replace(b"<si/>", b"<si></si>").split(b"</si>")
        for one in whole:
            if _SHOWS.search(one) is None:
                blank.append(at)
            at += 1
    return frozenset(blank)


def _plain(archive: zipfile.ZipFile, part: str) -> Iterator[bytes]:
    """A part's XML in the one way that the patterns know, whichever of XML's ways it is written in."""
    before = b""
    for chunk in _read(archive, part):
        if _ODD.search(before + chunk):
            return _rewritten(_read(archive, part))
        before = chunk[-_LONGEST_MARK:]
    return _read(archive, part)


def _quoted(value: str) -> str:
    return '"' + escape(value, {'"': "&quot;"}) + '"'


def _rewritten(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """XML without prefixes, comments, character references and how text is pronounced; its quotes are double."""
    out: list[str] = []
    spoken = 0

    def start(tag: str, given: dict[str, str]) -> None:
        nonlocal spoken
        name = tag.rpartition(":")[2]
        spoken += name == "rPh"
        if not spoken:
            out.append(f"<{name}{''.join(f' {key}={_quoted(value)}' for key, value in given.items())}>")

    def end(tag: str) -> None:
        nonlocal spoken
        name = tag.rpartition(":")[2]
        if not spoken:
            out.append(f"</{name}>")
        spoken -= name == "rPh"

    def text(said: str) -> None:
        if not spoken:
            out.append(escape(said))

    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = _no_dtd
    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = start, end, text
    for chunk in chunks:
        parser.Parse(chunk)
        yield "".join(out).encode()
        out.clear()
    parser.Parse(b"", True)
    yield "".join(out).encode()


_LENGTH: Final = re.compile(r"(-?)PT([0-9]+)H([0-9]+)M([0-9]+)(\.[0-9]+)?S")
_HOURS: Final = 24


class _Ods:
    """Handlers of expat for an .ods: its rows as they pass."""

    def __init__(self, sheet: str, window: Window) -> None:
        self.seen = Look()
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
        exact = self._number if _beyond(self._number) else ""
        if length and (length[1] or int(length[2]) >= _HOURS):
            exact = f"{length[1]}{length[2]:0>2}:{length[3]:0>2}:{length[4]:0>2}{(length[5] or '').rstrip('.0')}"
        if not wrong and not exact:
            return
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


def _ods(archive: zipfile.ZipFile, sheet: str, window: Window) -> Look:
    handlers = _Ods(sheet, window)
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = _no_dtd
    parser.StartElementHandler = handlers.start
    parser.EndElementHandler = handlers.end
    parser.CharacterDataHandler = handlers.text
    for chunk in _read(archive, "content.xml"):
        parser.Parse(chunk)
    parser.Parse(b"", True)
    return handlers.seen


def cell_name(row: int | None, column: int) -> str:
    """A cell (or, without row, a column) as a spreadsheet names it."""
    letters = ""
    while column:
        column, letter = divmod(column - 1, 26)
        letters = chr(65 + letter) + letters
    return letters if row is None else f"{letters}{row}"
