"""A second look at a workbook's own bytes, without its parser: which rows show something, what is merged.

Belongs here: what kind of workbook it is, or that it is none, and which part of it a sheet is. Elsewhere: looking at
one kind (sheetml.py, opendocument.py), values, which are fastexcel's (workbook.py).
"""

import contextlib
import posixpath
import re
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from xml.parsers import expat

from platform_assets.engine.readers.budget import RATIO_CAP
from platform_assets.engine.readers.excel import compound
from platform_assets.engine.readers.excel.grid import SAVE_ANEW, SecondLook, Window, Workbook, no_document_type
from platform_assets.engine.readers.excel.opendocument import look_at_ods
from platform_assets.engine.readers.excel.sheetml import look_at_xlsx
from platform_assets.engine.readers.limits import Limits
from platform_assets.engine.readers.magic import ENOUGH, kind_of
from platform_assets.errors import DeliveryRefused, DeliveryUnfinished, foreign


def survey(copy: Path, limits: Limits) -> str:
    """The kind of workbook, by its content. Raises DeliveryUnfinished or DeliveryRefused where it is none, is
    encrypted, cut off or absurdly packed."""
    with copy.open("rb") as stream:
        start = stream.read(ENOUGH)
    if start.startswith(compound.BEGINS):
        compound.check(copy)
        return "xls"
    if not start.startswith(b"PK"):
        what = kind_of(start)
        raise DeliveryRefused(
            "no workbook by its content" + (f": it is {what}" if what else ""),
            remedy="Deliver what a spreadsheet saved as .xlsx or .ods, or name the file by what it is.",
        )
    names = _members(copy, limits)
    if "content.xml" in names:
        return "ods"
    return "xlsb" if any(name.endswith("workbook.bin") for name in names) else "xlsx"


def look_again(copy: Path, kind: str, sheet: str, window: Window, limits: Limits) -> SecondLook | None:
    """Count the rows of `sheet` that show something in `window`, and find what is merged. None of a binary workbook
    (.xls, .xlsb), of which only fastexcel knows the rows."""
    if kind in ("xls", "xlsb"):
        return None
    with _damage_explained(), zipfile.ZipFile(copy) as archive:
        book = Workbook(archive, limits.budget)
        if kind == "ods":
            return look_at_ods(book, sheet, window)
        part, strings = _parts(book, sheet)
        return look_at_xlsx(book, part, strings, window)


@contextlib.contextmanager
def _damage_explained() -> Iterator[None]:
    """What a workbook's bytes can be wrong in, in words for people."""
    try:
        yield
    except EOFError as error:
        raise DeliveryUnfinished("the workbook ends before its content does") from error
    except (zipfile.BadZipFile, zlib.error, expat.ExpatError) as error:
        raise DeliveryRefused(f"damaged workbook: {foreign(error)}", remedy=SAVE_ANEW) from error
    except (LookupError, StopIteration, NotImplementedError, ValueError) as error:
        raise DeliveryRefused(
            f"damaged workbook: a part is missing or unknown ({foreign(error)})", remedy=SAVE_ANEW
        ) from error


def _members(copy: Path, limits: Limits) -> list[str]:
    try:
        with zipfile.ZipFile(copy) as archive:
            members = archive.infolist()
    except zipfile.BadZipFile as error:
        raise DeliveryUnfinished("the workbook ends before its contents list does") from error
    unpacked = sum(member.file_size for member in members)
    if unpacked > limits.unpacked and unpacked > copy.stat().st_size * RATIO_CAP:
        raise _bomb()
    names = [member.filename for member in members]
    if len(set(names)) < len(names):
        raise DeliveryRefused("damaged workbook: a part occurs twice", remedy=SAVE_ANEW)
    if any(member.flag_bits & 1 for member in members):
        raise compound.encrypted()
    return names


def _bomb() -> DeliveryRefused:
    return DeliveryRefused(
        f"unpacks to more than {RATIO_CAP} times its size",
        remedy="If this is real, deliver it as CSV; it looks like a decompression bomb.",
    )


def _elements(chunks: Iterator[bytes]) -> Iterator[tuple[str, dict[str, str]]]:
    """Start tags, by local name, with their attributes by local name."""
    found: list[tuple[str, dict[str, str]]] = []
    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = no_document_type
    parser.StartElementHandler = lambda tag, given: found.append(
        (tag.rpartition(":")[2], {name.rpartition(":")[2]: value for name, value in given.items()})
    )
    for chunk in chunks:
        parser.Parse(chunk)
        yield from found
        found.clear()
    parser.Parse(b"", True)


def _parts(book: Workbook, sheet: str) -> tuple[str, str | None]:
    """The parts that hold a sheet and the strings that its cells refer to."""
    main = PurePosixPath(next(name for name in book.names if re.search(r"(^|/)workbook\d*\.xml$", name)))

    def part(target: str) -> str:
        return posixpath.normpath(main.parent / target).lstrip("/")

    related = {
        given["Id"]: (given.get("Type", ""), given.get("Target", ""))
        for tag, given in _elements(book.read(part(f"_rels/{main.name}.rels")))
        if tag == "Relationship"
    }
    found = (given for tag, given in _elements(book.read(str(main))) if tag == "sheet")
    sheets = {given["name"]: given["id"] for given in found}
    strings = next((part(target) for kind, target in related.values() if kind.endswith("/sharedStrings")), None)
    return part(related[sheets[sheet]][1]), strings if strings in book.names else None
