"""Rejected rows as files that can be mended and delivered again: their own lines, under the head that they came with.

Belongs here: cutting them out of the archive's copies. Elsewhere: rows for a spreadsheet (store/quarantine.py). No
value is parsed and written anew: delimiter, quotes, encoding, empty fields and columns are those of the delivery.
"""

import os
import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import IO, Any, Final

import polars as pl

from platform_assets.engine.archive.archive import Archive
from platform_assets.engine.contract.model import headers_of
from platform_assets.engine.durable.files import replacing
from platform_assets.engine.erase.copies import written_in
from platform_assets.engine.feed.feed import Feed
from platform_assets.engine.readers import name_of, open_reader
from platform_assets.engine.readers.limits import LIMITS
from platform_assets.engine.readers.packing.unpack import Room, packing, unpacked
from platform_assets.engine.readers.records import SUFFIX
from platform_assets.engine.readers.text import Text, line_ends
from platform_assets.engine.store.receipts import Receipt
from platform_assets.engine.store.unit import Unit
from platform_assets.errors import ConfigurationError, DeliveryRefused, DeliveryUnfinished, printable

_LINE_END: Final = re.compile(rb"\r\n|\n|\r")
_BY_LINES: Final = ("csv", "ndjson")
_PRIVATE: Final = 0o600


@dataclass(frozen=True)
class ExportedFile:
    """A file of rejected rows, all of which came under the same head: `rows` of so many `deliveries`. dated: the date
    that its new name has to have."""

    path: Path
    rows: int
    deliveries: int
    dated: date | None


@dataclass(frozen=True)
class Exported:
    """What was exported. left: deliveries whose rows cannot be cut out, and why."""

    files: Sequence[ExportedFile] = ()
    left: Sequence[tuple[int, str]] = ()


@dataclass
class _File:
    """A file under way, and the mark and codec that it is written in."""

    path: Path
    to: IO[bytes]
    mark: bytes
    codec: str
    dated: date | None
    rows: int = 0
    deliveries: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class _Copy:
    """A delivery's plain text: its head up to the first record, and the lines of each record that is wanted."""

    text: Text
    plain: Path
    first: int
    spans: Sequence[tuple[int, int]]


def export_rows(unit: Unit, feed: Feed, archive: Archive, to: Path, deliveries: Collection[int] = ()) -> Exported:
    """Write the feed's rejected rows to `to`, or those of some deliveries; where they came under different heads, or
    dates in their files' names, to further files beside it, numbered. They hold true values: only this user can read
    them.

    Raises ConfigurationError where none can be written so, StorageError where the disk stops us.
    """
    lines = unit.quarantine(feed).lines(deliveries)
    files: dict[tuple[object, ...], _File] = {}
    left: list[tuple[int, str]] = []
    with ExitStack() as stack:
        for receipt in unit.ledger.by_id(lines):
            try:
                found = _found(feed, archive, receipt, lines[receipt.delivery_id])
            except (DeliveryRefused, DeliveryUnfinished, OSError) as error:
                left.append((receipt.delivery_id, f"its copy cannot be read: {error}"))
                continue
            if isinstance(found, str):
                left.append((receipt.delivery_id, found))
                continue
            mark, codec = written_in(found.plain, found.text.encoding)
            head = b"".join(_cut(found.text, [(1, found.first)]))
            alike = (head, mark, codec, receipt.file_date)
            file = files.get(alike)
            if file is None:
                path = to if not files else to.with_name(f"{to.stem}-{len(files) + 1}{to.suffix}")
                partial = stack.enter_context(replacing(path, mode=_PRIVATE))
                stream = stack.enter_context(open(partial, "wb", opener=_private))
                file = files[alike] = _File(path, stream, mark, codec, receipt.file_date)
                file.to.write(mark + _encoded(head, codec))
            for record in _cut(found.text, found.spans):
                file.to.write(_encoded(record, codec))
            file.rows += len(found.spans)
            file.deliveries.append(receipt.delivery_id)
    if left and not files:
        delivery, why = left[0]
        raise ConfigurationError(
            f"rejected rows of {feed.name}",
            f"cannot be delivered again by themselves (delivery {delivery}: {why})",
            "Mend the whole file and deliver it under its name; or look at the rows with --spreadsheet.",
        )
    return Exported([ExportedFile(f.path, f.rows, len(f.deliveries), f.dated) for f in files.values()], left)


def _found(feed: Feed, archive: Archive, receipt: Receipt, wanted: Sequence[int]) -> _Copy | str:
    """Where the wanted records stand in the delivery's copy, or why they cannot be cut out of it."""
    copy = archive.root / str(receipt.archived)
    if receipt.archived is None or not copy.exists():
        return "the archive no longer has its copy"
    name = name_of(receipt.slot, copy).lower()
    suffix = packing(name)
    scratch = archive.root / feed.name
    reader = open_reader(copy, receipt.slot, feed.source, headers_of(feed.contract), scratch=scratch)
    by_lines = reader.format in _BY_LINES and not reader.parts and reader.dialect.get("line") != "row"
    if not by_lines or copy.suffix == SUFFIX:
        return f"{printable(receipt.slot)} is no plain text of lines"
    starts = [pl.Series("_line", [], pl.Int64)]
    for batch in reader.batches({}):
        starts += [batch.frame["_line"].cast(pl.Int64), batch.malformed["_line"].cast(pl.Int64)]
    begin = pl.concat(starts).unique().sort()
    end = getattr(reader, "last_line", None)
    spans = []
    for line in wanted:
        at = begin.search_sorted(line, side="right")
        after = int(begin[at]) if at < len(begin) else (end + 1 if end is not None else 1 << 62)
        spans.append((line, line + 1 if reader.format == "ndjson" else after))
    first = int(begin[0]) if len(begin) and reader.format == "csv" else 1
    plain, encoding = copy, _encoding(feed)
    if suffix:
        unpacked_copy = unpacked(copy, name, Room(copy, scratch, LIMITS))
        plain = unpacked_copy.path
        return _Held(Text(plain, encoding, LIMITS), plain, first, spans, unpacked_copy)
    return _Copy(Text(plain, encoding, LIMITS), plain, first, spans)


@dataclass(frozen=True)
class _Held(_Copy):
    """One whose plain copy is there for as long as this is."""

    held: object


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, _PRIVATE)


def _encoding(feed: Feed) -> str | None:
    form: Any = feed.source.format
    encoding: str | None = getattr(form, "encoding", None)
    return encoding


def _encoded(text: bytes, codec: str) -> bytes:
    return text if codec == "utf-8" else text.decode().encode(codec)


def _cut(text: Text, spans: Sequence[tuple[int, int]]) -> Iterator[bytes]:
    """The lines of each span (its first line, and the line after it), in their order, each ending with a line end."""
    left = iter(sorted(spans))
    span = next(left, None)
    taken = b""
    line = 1
    for chunk in text.chunks():
        behind = line + line_ends(chunk) + (not chunk.endswith((b"\n", b"\r")))
        if span is None:
            return
        if span[0] < behind:
            ends = [0, *(end.end() for end in _LINE_END.finditer(chunk))]
            if ends[-1] < len(chunk):
                ends.append(len(chunk))
            for at, (begin, end) in enumerate(pairwise(ends), start=line):
                if span is not None and at >= span[1]:
                    yield _ended(taken)
                    span, taken = next(left, None), b""
                if span is not None and span[0] <= at < span[1]:
                    taken += chunk[begin:end]
        line = behind
    if taken:
        yield _ended(taken)


def _ended(text: bytes) -> bytes:
    return text if text.endswith((b"\n", b"\r")) or not text else text + b"\n"
