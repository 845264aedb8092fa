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
from pathlib import Path, PurePosixPath
from typing import Final
from xml.parsers import expat

from platform_assets.engine.readers.records import (
    Encrypted,
    xls_cells,
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
    """

    rows: int = 0
    merged: list[Window] = field(default_factory=list)
    broken: dict[int, str] = field(default_factory=dict)


def survey(copy: Path) -> str:
    """The kind of workbook, by its content. Raises DeliveryUnfinished or DeliveryRefused where it is none, is
    encrypted, cut off or absurdly packed."""
    with copy.open("rb") as stream:
        start = stream.read(8)
    if start == _COMPOUND:
        with _sound():
            xls_stream(copy)
        return "xls"
    if not start.startswith(b"PK"):
        raise DeliveryRefused("no workbook by its content", remedy="Deliver what a spreadsheet saved as .xlsx or .ods.")
    names = _members(copy)
    if "content.xml" in names:
        return "ods"
    return "xlsb" if any(name.endswith("workbook.bin") for name in names) else "xlsx"


def look(copy: Path, kind: str, sheet: str, window: Window) -> Look:
    """Count the rows of `sheet` that show something in `window`, and see what is merged."""
    with _sound():
        if kind == "xls":
            return _seen(xls_cells(xls_stream(copy), sheet), window)
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


class _Xlsx:
    """The patterns of an .xlsx's tags, whose prefix its first tag gives."""

    def __init__(self, prefix: bytes) -> None:
        p = re.escape(prefix)
        self.row = b"<" + prefix + b"row"
        self.end = b"</" + prefix + b"sheetData"
        self.number = re.compile(b"<" + p + rb"row[^>]*?\sr=\"([0-9]+)\"")
        self.shows = re.compile(b"<" + p + rb"(?:v|t)(?:\s[^>]*)?>\s*[^<\s]")
        self.formula = re.compile(b"<" + p + rb"f[\s/>]")
        self.cell = re.compile(b"<" + p + rb"c(?=[\s/>])([^>]*?)(?:/>|>(.*?)</" + p + b"c>)", re.DOTALL)
        self.shared = re.compile(b"<" + p + rb"v>\s*([0-9]+)")
        self.merge = re.compile(b"<" + p + rb"mergeCell\s[^>]*?ref=\"([^\"]+)\"")


_PLACE: Final = re.compile(rb"\sr=\"([A-Z]+)[0-9]+\"")
_KIND: Final = re.compile(rb"\st=\"(\w+)\"")
_TAG: Final = re.compile(rb"<([\w.-]+:)?(?:worksheet|sst)[\s>]")


def _xlsx(archive: zipfile.ZipFile, part: str, strings: str | None, window: Window) -> Look:
    blank = _blank_strings(archive, strings) if strings else frozenset()
    tags: _Xlsx | None = None
    seen = Look()
    number, buffer, inside = 0, b"", True
    for chunk in _read(archive, part):
        buffer += chunk
        if tags is None and (first := _TAG.search(buffer)):
            tags = _Xlsx(first[1] or b"")
        if tags is not None and inside:
            end = buffer.find(tags.end)
            inside = end < 0
            cut = max(buffer.rfind(tags.row) if inside else end, 0)
            for row in buffer[:cut].split(tags.row)[1:]:
                number = _row(seen, tags, tags.row + row, number, window, blank)
            buffer = buffer[cut:]
        # What follows the rows is short: merges, print settings.
        if len(buffer) > _LONGEST_ROW:
            raise DeliveryRefused(f"a row is longer than {_LONGEST_ROW >> 20} MB", remedy=_AGAIN)
    if tags is not None:
        seen.merged = [Window.of(ref.decode()) for ref in tags.merge.findall(buffer)]
    return seen


def _row(seen: Look, tags: _Xlsx, row: bytes, before: int, window: Window, blank: frozenset[int]) -> int:
    """Note what a row shows; its number."""
    given = tags.number.match(row)
    number = int(given[1]) if given else before + 1
    if not window.top <= number <= window.bottom:
        return number
    formula = tags.formula.search(row) is not None
    if not formula and not blank and (window.left, window.right) == (1, _LAST):
        seen.rows += tags.shows.search(row) is not None
        return number
    shows = False
    column = 0
    for attributes, body in tags.cell.findall(row):
        place = _PLACE.search(attributes)
        column = column_number(place[1].decode()) if place else column + 1
        if not window.left <= column <= window.right:
            continue
        kind = _KIND.search(attributes)
        filled = tags.shows.search(body) is not None
        if filled and kind is not None and kind[1] == b"s":
            index = tags.shared.search(body)
            filled = index is None or int(index[1]) not in blank
        # A formula that gives an empty text says so (t="str"); without a value it was never computed.
        if not filled and tags.formula.search(body) and (kind is None or kind[1] != b"str"):
            seen.broken.setdefault(number, f"cell {cell_name(number, column)} has a formula but no value")
            filled = True
        shows = shows or filled
    seen.rows += shows
    return number


def _blank_strings(archive: zipfile.ZipFile, strings: str) -> frozenset[int]:
    """The shared strings that show nothing, by number."""
    blank = []
    tags: _Xlsx | None = None
    end, at, buffer = b"", 0, b""
    for chunk in _read(archive, strings):
        buffer += chunk
        if tags is None:
            first = _TAG.search(buffer)
            if first is None:
                continue
            tags = _Xlsx(first[1] or b"")
            end = b"</" + (first[1] or b"") + b"si>"
        *whole, buffer = buffer.replace(b"<si/>", b"<si></si>").split(end)
        for one in whole:
            if tags.shows.search(one) is None:
                blank.append(at)
            at += 1
    return frozenset(blank)


class _Ods:
    """Handlers of expat for an .ods: its rows as they pass."""

    def __init__(self, sheet: str, window: Window) -> None:
        self.seen = Look()
        self._sheet, self._window = sheet, window
        self._inside = self._noted = self._shows = False
        self._row = self._column = 0
        self._rows = self._columns = 1
        self._kind, self._text = "", False

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
            tall, wide = (int(given.get(f"table:number-{of}-spanned", "1")) for of in ("rows", "columns"))
            if tall * wide > 1:
                top, left = self._row + 1, self._column + 1
                self.seen.merged.append(Window(top, top + tall - 1, left, left + wide - 1))
        elif name == "annotation":
            self._noted = True

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
                if self._kind == "error":
                    for row in range(self._row + 1, self._row + 1 + self._rows):
                        self.seen.broken.setdefault(row, f"cell {cell_name(row, first)} is an error")
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
