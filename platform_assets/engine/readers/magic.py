"""What a file is by its first bytes, whatever its name says.

Belongs here: the marks by which containers begin. Elsewhere: reading any of them.
"""

from typing import Final

ENOUGH: Final = 4096  # bytes from the beginning that are enough to tell

_MARKS: Final = (
    (b"PAR1", "Parquet (.parquet)"),
    (b"PARE", "encrypted Parquet"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "a workbook of the old kind (.xls), or one with a password"),
    (b"\x1f\x8b", "packed with gzip (.gz)"),
    (b"\x28\xb5\x2f\xfd", "packed with zstd (.zst)"),
    (b"BZh", "packed with bzip2"),
    (b"\xfd7zXZ\x00", "packed with xz"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"Rar!\x1a\x07", "a rar archive"),
    (b"%PDF-", "a PDF document"),
    (b"ARROW1", "an Arrow file"),
    (b"Obj\x01", "an Avro file"),
    (b"ORC", "an ORC file"),
    (b"SQLite format 3\x00", "an SQLite database"),
    (b"\x89PNG", "a picture (PNG)"),
    (b"\xff\xd8\xff", "a picture (JPEG)"),
)


def container_of(head: bytes) -> str | None:
    """What a file is that begins with `head` (ENOUGH of it), in words after "it is"; None where it may be text."""
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        if b"opendocument.spreadsheet" in head[:200]:
            return "a workbook (.ods)"
        office = b"[Content_Types].xml" in head or b"xl/" in head
        return "a workbook (.xlsx)" if office else "a zip archive (.zip)"
    return next((what for mark, what in _MARKS if head.startswith(mark)), None)
