"""What a file is by its first bytes, whatever its name promises.

Belongs here: the marks of formats that are no text, and of web pages. Elsewhere: which text it is, which only reading
finds out (encodings.py, csv/dialect.py, load/remedies.py).
"""

import re
from typing import Final, NamedTuple

ENOUGH: Final = 4096  # bytes from the beginning that are enough to tell


class Kind(NamedTuple):
    """What a file is, in words after "it is"; the suffix by which it would be read, if it is of a format we read."""

    what: str
    suffix: str | None

    def __str__(self) -> str:
        return self.what if self.suffix is None else f"{self.what} ({self.suffix})"


_MARKS: Final = (
    (bytes(64), Kind("full of NUL bytes from its beginning: it was made so large, but never written", None)),
    (b"PAR1", Kind("a Parquet file", ".parquet")),
    (b"PARE", Kind("an encrypted Parquet file", None)),
    (b"\xd0\xcf\x11\xe0", Kind("an Excel workbook", ".xls")),
    (b"\x1f\x8b", Kind("a gzip file", ".gz")),
    (b"\x28\xb5\x2f\xfd", Kind("a zstd file", ".zst")),
    (b"BZh", Kind("a bzip2 file", None)),
    (b"\xfd7zXZ", Kind("an xz file", None)),
    (b"7z\xbc\xaf", Kind("a 7-Zip archive", None)),
    (b"Rar!\x1a\x07", Kind("a RAR archive", None)),
    (b"%PDF", Kind("a PDF document", None)),
    (b"ARROW1", Kind("an Arrow file", None)),
    (b"Obj\x01", Kind("an Avro file", None)),
    (b"ORC", Kind("an ORC file", None)),
    (b"SQLite format 3\0", Kind("an SQLite database", None)),
    (b"\x89PNG", Kind("a picture (PNG)", None)),
    (b"\xff\xd8\xff", Kind("a picture (JPEG)", None)),
)
_PAGE: Final = re.compile(rb"(\xef\xbb\xbf)?\s*(<!doctype html|<html)", re.IGNORECASE)


def kind_of(begin: bytes) -> Kind | None:
    """What a file is that begins so (ENOUGH of it, or more); None for a text."""
    if begin.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        if b"opendocument.spreadsheet" in begin[:200]:
            return Kind("a spreadsheet", ".ods")
        if b"xl/workbook.bin" in begin:
            return Kind("an Excel workbook", ".xlsb")
        return Kind("an Excel workbook", ".xlsx") if b"xl/" in begin else Kind("a zip archive", ".zip")
    if _PAGE.match(begin):
        return Kind("a web page (HTML), such as one that asks to log in", None)
    return next((kind for mark, kind in _MARKS if begin.startswith(mark)), None)
