"""Binary workbooks: .xlsb (records in zip members) and .xls (records in a compound file), taken apart by hand.

Belongs here: which cells show something and which are merged, as (top, left, bottom, right) from 1, and which of them
are errors that fastexcel takes for nothing. Does not: values.
Bytes that are not as they should be raise struct.error or LookupError, too few of them EOFError.
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final

# The last is the error that a cell is, or "".
Cells = Iterator[tuple[int, int, int, int, str]]

_FREE: Final = 0xFFFFFFFA  # sectors from here on are marks, not places
_NUMBER, _RK, _MULRK, _LABELSST, _LABEL, _RSTRING, _BOOLERR = 0x203, 0x27E, 0xBD, 0xFD, 0x204, 0xD6, 0x205
_FORMULAS: Final = (0x06, 0x206, 0x406)
_MERGED, _SHEET, _PASSWORD, _START, _END = 0xE5, 0x85, 0x2F, 0x809, 0x0A


class Encrypted(Exception):
    """The workbook has a password."""


def xls_stream(copy: Path) -> bytes:
    """The records of an .xls: the stream of that name in the compound file."""
    data = copy.read_bytes()
    if len(data) < 512:
        raise EOFError
    size, small = 1 << struct.unpack_from("<H", data, 30)[0], 1 << struct.unpack_from("<H", data, 32)[0]
    (directory,) = struct.unpack_from("<I", data, 48)
    cutoff, small_fat = struct.unpack_from("<II", data, 56)
    more, _ = struct.unpack_from("<II", data, 68)

    def sector(number: int) -> bytes:
        found = data[(number + 1) * size : (number + 2) * size]
        if not found:
            raise EOFError
        return found

    def table(content: bytes) -> tuple[int, ...]:
        return struct.unpack(f"<{len(content) // 4}I", content[: len(content) // 4 * 4])

    def chain(start: int, fat: tuple[int, ...]) -> Iterator[int]:
        for _ in fat:
            if start >= _FREE:
                return
            yield start
            start = fat[start]

    tables = list(struct.unpack_from("<109I", data, 76))
    for _ in range(len(data) // size):
        if more >= _FREE:
            break
        *listed, more = table(sector(more))
        tables += listed
    fat = table(b"".join(sector(number) for number in tables if number < _FREE))
    entries = b"".join(sector(number) for number in chain(directory, fat))
    root = b""
    for at in range(0, len(entries) - 127, 128):
        (length,) = struct.unpack_from("<H", entries, at + 64)
        # Of these names, upper and lower case are one.
        name = entries[at : at + max(length - 2, 0)].decode("utf-16-le", "replace").casefold()
        start, total = struct.unpack_from("<II", entries, at + 116)
        if at == 0:
            root = b"".join(sector(number) for number in chain(start, fat))
        if name in ("encryptedpackage", "encryptioninfo"):
            raise Encrypted
        if name in ("workbook", "book"):
            if total < cutoff:
                places = chain(start, table(b"".join(sector(number) for number in chain(small_fat, fat))))
                stream = b"".join(root[number * small : (number + 1) * small] for number in places)
            else:
                stream = b"".join(sector(number) for number in chain(start, fat))
            if len(stream) < total:
                raise EOFError
            if any(kind == _PASSWORD for kind, _ in _xls_records(stream, 0)):
                raise Encrypted
            return stream[:total]
    raise LookupError("Workbook")


def xls_cells(stream: bytes, sheet: str) -> Cells:
    """The filled cells and the merges of a sheet."""
    for kind, record in _xls_records(stream, _xls_place(stream, sheet)):
        if kind in (_NUMBER, _RK, _LABELSST, _LABEL, _RSTRING, _BOOLERR) or (
            # A formula whose value is an empty text: mark 3.
            kind in _FORMULAS and not (record[12:14] == b"\xff\xff" and record[6] == 3)
        ):
            row, column = struct.unpack_from("<HH", record)
            yield row + 1, column + 1, row + 1, column + 1, ""
        elif kind == _MULRK:
            row, column = struct.unpack_from("<HH", record)
            for at in range(column, struct.unpack_from("<H", record, len(record) - 2)[0] + 1):
                yield row + 1, at + 1, row + 1, at + 1, ""
        elif kind == _MERGED:
            for top, bottom, left, right in struct.iter_unpack("<HHHH", record[2:]):
                yield top + 1, left + 1, bottom + 1, right + 1, ""


def _xls_place(stream: bytes, sheet: str) -> int:
    wide = struct.unpack_from("<H", stream, 4)[0] >= 0x600
    for kind, record in _xls_records(stream, 0):
        if kind == _SHEET:
            (place,) = struct.unpack_from("<I", record)
            if not wide:
                name = record[7:].decode("cp1252", "replace")
            else:
                name = record[8:].decode("utf-16-le" if record[7] & 1 else "latin-1", "replace")
            if name == sheet:
                return int(place)
    raise LookupError(sheet)


def xls_charted(stream: bytes, sheet: str) -> bool:
    """Whether a chart within a sheet holds cells of its own: the numbers that it was drawn from."""
    inner = _xls_nested(stream, _xls_place(stream, sheet))
    return any(depth > 1 and kind in (_NUMBER, _RK, _MULRK, _LABEL, _LABELSST) for depth, kind, _ in inner)


def _xls_records(stream: bytes, place: int) -> Iterator[tuple[int, bytes]]:
    """The records from `place` to the end of that sheet; what lies within it (charts) is left out."""
    return ((kind, record) for depth, kind, record in _xls_nested(stream, place) if depth == 1)


def _xls_nested(stream: bytes, place: int) -> Iterator[tuple[int, int, bytes]]:
    """The records from `place` to the end of that sheet, each with how deep it lies."""
    depth = 0
    while place + 4 <= len(stream):
        kind, length = struct.unpack_from("<HH", stream, place)
        depth += (kind == _START) - (kind == _END)
        yield depth, kind, stream[place + 4 : place + 4 + length]
        if depth <= 0:
            return
        place += 4 + length


_BLANK, _SHORT, _FMLA_STRING, _SHARED, _TEXT = 1, 12, 8, 7, 6
_ERROR, _FMLA_ERROR = 3, 11
_ERRORS: Final = {
    0x00: "#NULL!",
    0x07: "#DIV/0!",
    0x0F: "#VALUE!",
    0x17: "#REF!",
    0x1D: "#NAME?",
    0x24: "#NUM!",
    0x2A: "#N/A",
    0x2B: "#GETTING_DATA",
}
_ROW, _STRING_ITEM, _BUNDLE, _MERGE, _LAST_CELL = 0, 19, 156, 176, 18


def xlsb_sheets(chunks: Iterator[bytes]) -> dict[str, str]:
    """The sheets of a workbook: name -> id of the relation that leads to its part."""
    sheets = {}
    for kind, record in _xlsb_records(chunks):
        if kind == _BUNDLE:
            relation, at = _wide(record, 8)
            name, _ = _wide(record, at)
            sheets[name] = relation
    return sheets


def xlsb_strings(chunks: Iterator[bytes]) -> frozenset[int]:
    """The shared strings that show nothing, by number."""
    items = (record for kind, record in _xlsb_records(chunks) if kind == _STRING_ITEM)
    return frozenset(at for at, record in enumerate(items) if not _wide(record, 1)[0].strip(" \t\r\n\x0b\x0c"))


def xlsb_cells(chunks: Iterator[bytes], blank: frozenset[int]) -> Cells:
    """The filled cells and the merges of a sheet."""
    row = column = 0
    for kind, record in _xlsb_records(chunks):
        if kind == _ROW:
            row, column = struct.unpack_from("<I", record)[0] + 1, 0
        elif _BLANK <= kind <= _LAST_CELL:
            # The short forms leave the column out: it is the next.
            value = 4 if kind >= _SHORT else 8
            column = column + 1 if kind >= _SHORT else struct.unpack_from("<I", record)[0] + 1
            if kind in (_BLANK, _SHORT):
                continue
            if kind in (_SHARED, _SHORT + _SHARED - 1):
                if struct.unpack_from("<I", record, value)[0] in blank:
                    continue
            elif kind in (_TEXT, _FMLA_STRING, _SHORT + _TEXT - 1) and not _wide(record, value)[0].strip():
                continue
            error = ""
            if kind in (_ERROR, _FMLA_ERROR, _SHORT + _ERROR - 1):
                error = _ERRORS.get(record[value], f"error {record[value]}")
            yield row, column, row, column, error
        elif kind == _MERGE:
            top, bottom, left, right = struct.unpack_from("<IIII", record)
            yield top + 1, left + 1, bottom + 1, right + 1, ""


def _wide(record: bytes, at: int) -> tuple[str, int]:
    """A string and where it ends."""
    (length,) = struct.unpack_from("<I", record, at)
    end = at + 4 + (0 if length == 0xFFFFFFFF else 2 * length)
    return record[at + 4 : end].decode("utf-16-le", "replace"), end


def _xlsb_records(chunks: Iterator[bytes]) -> Iterator[tuple[int, bytes]]:
    buffer, at = b"", 0

    def number(most: int) -> int:
        nonlocal at
        value = 0
        for shift in range(most):
            byte = buffer[at]
            at += 1
            value |= (byte & 0x7F) << 7 * shift
            if byte < 0x80:
                break
        return value

    for chunk in chunks:
        buffer, at = buffer[at:] + chunk, 0
        while len(buffer) - at >= 6:  # of what ends a part there is more than that
            begin = at
            first, second = buffer[at], buffer[at + 1]
            at += 1
            kind = first if first < 0x80 else (first & 0x7F) | (second & 0x7F) << 7
            at += first >= 0x80
            length = number(4)
            if at + length > len(buffer):
                at = begin
                break
            yield kind, buffer[at : at + length]
            at += length
