"""What a file is by its first bytes, whatever its name says.

Belongs here: formats that are no text, and pages. Elsewhere: which text it is, which is found out by reading it.
"""

import re
from typing import Final

_BINARY: Final = (
    (b"\x1f\x8b", "a gzip file", ".gz"),
    (b"\x28\xb5\x2f\xfd", "a zstd file", ".zst"),
    (b"PAR1", "a Parquet file", ".parquet"),
    (b"\xd0\xcf\x11\xe0", "an Excel workbook", ".xls"),
    (b"%PDF", "a PDF document", None),
    (b"SQLite format 3\0", "an SQLite database", None),
    (b"Obj\x01", "an Avro file", None),
    (b"ORC", "an ORC file", None),
    (b"BZh", "a bzip2 file", None),
    (b"\xfd7zXZ", "an xz file", None),
    (b"7z\xbc\xaf", "a 7-Zip archive", None),
)


def kind_of(begin: bytes) -> tuple[str, str | None] | None:
    """What a file is, and the suffix by which it would be read if it is of a known format; None for a text."""
    if begin.startswith(b"PK\x03\x04"):
        if b"opendocument.spreadsheet" in begin[:200]:
            return "a spreadsheet", ".ods"
        if b"xl/workbook.bin" in begin:
            return "an Excel workbook", ".xlsb"
        return ("an Excel workbook", ".xlsx") if b"xl/" in begin else ("a zip archive", ".zip")
    if re.match(rb"(?i)(\xef\xbb\xbf)?\s*(<!doctype html|<html)", begin):
        return "a web page (HTML), such as one that asks to log in", None
    return next(((what, suffix) for mark, what, suffix in _BINARY if begin.startswith(mark)), None)
