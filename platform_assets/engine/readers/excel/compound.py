"""Workbooks of the old kind (.xls): what fastexcel takes for an empty or a shorter sheet without a word.

Belongs here: a file that is cut off, a password, a chart among the cells; found by the file's table of sectors and by
patterns. Elsewhere: the cells (workbook.py). Of such a workbook nobody but fastexcel counts the rows.
"""

import re
import struct
from pathlib import Path
from typing import Final

from platform_assets.errors import DeliveryRefused, DeliveryUnfinished

BEGINS: Final = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_FREE: Final = 0xFFFFFFFF  # a sector that nothing uses
_LAST: Final = 0xFFFFFFFA  # from here on numbers are marks, no sectors
_ENTRY: Final = 128
_PACKAGE: Final = re.compile(re.escape("EncryptedPackage".encode("utf-16-le")), re.IGNORECASE)
# The record that begins a workbook, and behind it the one that holds what its password is checked by.
_PASSWORD: Final = re.compile(
    rb"\x09\x08(?:\x10\x00\x00\x06\x05\x00.{12}|\x08\x00\x00\x05\x05\x00.{4})(?:\x86\x00\x00\x00)?\x2f\x00", re.DOTALL
)
# The record that begins a chart, unless it stands behind the end of a sheet: then it is a sheet of its own.
_CHART: Final = re.compile(rb"(?<!\x0a\x00\x00\x00)\x09\x08(?:\x10\x00\x00\x06|\x08\x00\x00\x05)\x20\x00")


def check(copy: Path) -> None:
    """Raise DeliveryUnfinished where the file is cut off, DeliveryRefused where fastexcel would misread it."""
    content = copy.read_bytes()
    try:
        whole = len(content) >= _length(content)
    except struct.error:  # there is not even the table of sectors
        whole = False
    if not whole:
        raise DeliveryUnfinished("the workbook ends before its content does")
    package = any(found.start() % _ENTRY == 0 for found in _PACKAGE.finditer(content))
    if package or _PASSWORD.search(content):
        raise encrypted()
    if _CHART.search(content):
        raise DeliveryRefused(
            "the workbook holds a chart within a sheet, whose numbers the parser takes for the sheet's",
            remedy="Save the workbook as .xlsx, or have the chart on a sheet of its own, and deliver it again.",
        )


def encrypted() -> DeliveryRefused:
    """Why a workbook with a password is refused."""
    return DeliveryRefused("the workbook is encrypted", remedy="Ask the producer to save it without a password.")


def _length(content: bytes) -> int:
    """How many bytes the file has to have: up to the last sector that its table names as used."""
    (power,) = struct.unpack_from("<H", content, 30)
    size = 1 << min(power, 20)

    def sector(number: int) -> tuple[int, ...]:
        return struct.unpack_from(f"<{size // 4}I", content, (number + 1) * size)

    (more,) = struct.unpack_from("<I", content, 68)
    tables = list(struct.unpack_from("<109I", content, 76))
    for _ in range(len(content) // size):  # no more than there can be, should they lead in a circle
        if more >= _LAST:
            break
        *listed, more = sector(more)
        tables += listed
    entries = [entry for number in tables if number < _LAST for entry in sector(number)]
    used = max((at for at, entry in enumerate(entries) if entry != _FREE), default=0)
    return int((used + 2) * size)
