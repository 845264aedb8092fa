"""The look at a sheet in the XML of .xlsx and .xlsm: patterns over its bytes, row by row.

Belongs here: what a row of `<c>` elements shows, and XML written in other ways than spreadsheets do. Elsewhere: where
in the zip a sheet is (sheets.py).
"""

import re
from collections.abc import Iterator
from typing import Final
from xml.parsers import expat
from xml.sax.saxutils import escape, unescape

from platform_assets.engine.readers.excel.grid import (
    LAST,
    SAVE_ANEW,
    SecondLook,
    Window,
    Workbook,
    beyond_double,
    cell_name,
    column_number,
    no_document_type,
)
from platform_assets.errors import DeliveryRefused

_LONGEST_ROW: Final = 64 << 20
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


def look_at_xlsx(book: Workbook, part: str, strings: str | None, window: Window) -> SecondLook:
    """What is seen of the sheet in `part`. strings: the part with the texts that its cells refer to."""
    blank = _blank_strings(book, strings) if strings else frozenset()
    seen = SecondLook()
    number, buffer, inside = 0, b"", True
    for chunk in _plain(book, part):
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
            raise DeliveryRefused(f"a row is longer than {_LONGEST_ROW >> 20} MB", remedy=SAVE_ANEW)
    seen.merged = [Window.of(ref.decode()) for ref in _MERGE.findall(buffer)]
    return seen


def _row(seen: SecondLook, row: bytes, before: int, window: Window, blank: frozenset[int]) -> int:
    """Note what a row shows; its number."""
    given = _NUMBER.match(row)
    number = int(given[1]) if given else before + 1
    if not window.top <= number <= window.bottom:
        return number
    exact = any(map(beyond_double, _LONG.findall(row))) or _ESCAPED.search(row) is not None
    if not (exact or blank or _FORMULA.search(row)) and (window.left, window.right) == (1, LAST):
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
        if exact and value is not None and (kind is None or kind[1] == b"n") and beyond_double(value[1]):
            seen.exact[number, column] = value[1].decode()
        if exact and value is not None and kind is not None and kind[1] == b"str" and _ESCAPED.search(body):
            # Of all texts fastexcel leaves the escapes in those that formulas gave.
            seen.exact[number, column] = _ESCAPE.sub(_character, unescape(value[1].decode()))
            filled = True
        # A formula that gives an empty text is marked so (t="str"); without a value it was never computed.
        if not filled and _FORMULA.search(body) and (kind is None or kind[1] != b"str"):
            seen.broken.setdefault(number, f"cell {cell_name(number, column)} has a formula but no value")
            filled = True
        shows = shows or filled
    seen.rows += shows
    return number


def _character(escape: re.Match[str]) -> str:
    character = chr(int(escape[1], 16))
    return escape[0] if "\ud800" <= character <= "\udfff" else character


def _blank_strings(book: Workbook, strings: str) -> frozenset[int]:
    """The shared strings that show nothing, by number."""
    blank = []
    at, buffer = 0, b""
    for chunk in _plain(book, strings):
        *whole, buffer = (buffer + chunk).replace(b"<si/>", b"<si></si>").split(b"</si>")
        if len(buffer) > _LONGEST_ROW:
            raise DeliveryRefused(f"a text is longer than {_LONGEST_ROW >> 20} MB", remedy=SAVE_ANEW)
        for one in whole:
            if _SHOWS.search(one) is None:
                blank.append(at)
            at += 1
    return frozenset(blank)


def _plain(book: Workbook, part: str) -> Iterator[bytes]:
    """A part's XML in the one way that the patterns know, whichever of XML's ways it is written in."""
    before = b""
    for chunk in book.read(part):
        if _ODD.search(before + chunk):
            return _rewritten(book.read(part))
        before = chunk[-_LONGEST_MARK:]
    return book.read(part)


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

    def text(content: str) -> None:
        if not spoken:
            out.append(escape(content))

    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = no_document_type
    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = start, end, text
    for chunk in chunks:
        parser.Parse(chunk)
        yield "".join(out).encode()
        out.clear()
    parser.Parse(b"", True)
    yield "".join(out).encode()
