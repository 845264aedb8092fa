"""The archive's copies without the records of erased persons, each in its own format.

Belongs here: finding those records in a copy, and writing it anew without them. Elsewhere: who was erased
(tombstones.py), receipts and rows (load). In text a record's lines are left blank, so that every other line keeps its
number and its bytes. Of formats that cannot be written so, the records are kept as their reader gave them.
"""

import codecs
import contextlib
import hashlib
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import polars as pl

from platform_assets.engine.archive.archive import Archive
from platform_assets.engine.contract.model import folded, headers_of
from platform_assets.engine.durable import failpoint
from platform_assets.engine.erase.tombstones import Erased
from platform_assets.engine.feed.feed import Feed
from platform_assets.engine.readers import Batch, Reader, name_of, open_reader
from platform_assets.engine.readers.limits import LIMITS
from platform_assets.engine.readers.packing.unpack import Room, blocks_of, packing, unpacked
from platform_assets.engine.readers.records import SUFFIX, Draining, packed_records
from platform_assets.engine.readers.text import MARKS, Text, line_ends
from platform_assets.errors import DeliveryRefused, DeliveryUnfinished, StorageError

_LINE_END: Final = re.compile(rb"\r\n|\n|\r")
_LONGEST_WORD: Final = 1_000  # characters
_KEYED: Final = ("ndjson", "json", "xml")
_BY_LINES: Final = ("csv", "ndjson")
_TO_THE_END: Final = 1 << 62


@dataclass(frozen=True)
class Search:
    """What a copy holds. read: its records; rows: those of erased persons; spans: first line and the line after each;
    missing: columns that name persons and are not in its header."""

    read: int
    rows: int
    spans: tuple[tuple[int, int], ...]
    header: tuple[str, ...]
    missing: tuple[str, ...]
    format: str
    by_lines: bool


class Copies:
    """The copies of a feed's deliveries, as far as erased persons are concerned."""

    def __init__(self, feed: Feed, archive: Archive, erased: Erased) -> None:
        self._feed = feed
        self._archive = archive
        self._erased = erased

    def search(self, copy: Path, slot: str) -> Search:
        """Look for records of erased persons; raises DeliveryRefused or DeliveryUnfinished where it cannot be read."""
        reader = self._open(copy, slot)
        columns = self._named(reader)
        read, found = 0, 0
        after: dict[int, int] = {}  # the line of each record found -> the one where the next record begins
        last: list[int] = []  # those after which no sound record came yet
        malformed = pl.Series(dtype=pl.Int64)  # malformed ones come with the first of several parts of a batch
        for batch in reader.batches(columns) if reader.header else ():
            mask, lines = self._those(batch)
            malformed = pl.concat([malformed, batch.malformed["_line"].cast(pl.Int64)])
            hits = lines.filter(mask).to_list()
            read, found = read + len(lines), found + len(hits)
            known = pl.concat([batch.frame["_line"].cast(pl.Int64), malformed]).sort()
            end = batch.frame["_line"].max() if batch.frame.height else 0
            for hit in [*last, *hits]:
                at = known.search_sorted(hit, side="right")
                if at < len(known):
                    after[hit] = min(after.get(hit, _TO_THE_END), int(known[at]))
                after.setdefault(hit, _TO_THE_END)
            last = [hit for hit in [*last, *hits] if hit >= end]
        end = getattr(reader, "last_line", _TO_THE_END - 1) + 1
        spans = tuple((hit, min(line, end)) for hit, line in sorted(after.items()))
        missing = tuple(
            name for name in self._erased.columns if name not in columns and not self._may_lack(name, reader)
        )
        by_lines = reader.format in _BY_LINES and not reader.parts and reader.dialect.get("line") != "row"
        return Search(read, found, spans, reader.header, missing, reader.format, by_lines)

    def found(self, copy: Path, slot: str) -> Search | None:
        """As `search`; None where it cannot be read by the contract, at least not by the columns that name persons."""
        try:
            found = self.search(copy, slot)
        except (DeliveryRefused, DeliveryUnfinished):
            return None
        except OSError as error:
            if error.errno is None:
                return None
            raise StorageError(copy, f"cannot be read: {error.strerror}") from error
        # A key that JSON lacks is NULL; a column that a header lacks makes its delivery one that is quarantined whole.
        return None if found.missing and not found.rows and found.format not in _KEYED else found

    def names_one(self, copy: Path, slot: str) -> bool:
        """Whether the copy cannot be read by the contract, and names an erased person."""
        return self.found(copy, slot) is None and self._named_in(copy)

    def _named_in(self, copy: Path) -> bool:
        """Whether the text of a copy names an erased person, as a word of its own."""
        rest = ""
        with contextlib.suppress(DeliveryRefused, DeliveryUnfinished):
            for block in blocks_of(copy, packing(copy.name)):
                codec = "utf-16" if block.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8"
                text = rest + block.decode(codec, errors="replace")
                if self._erased.named_in(text):
                    return True
                rest = text[-_LONGEST_WORD:]
        return False

    def without(self, copy: Path, slot: str) -> tuple[Path | None, int]:
        """The copy without records of erased persons, safe on disk, and how many these were; `copy` itself where it
        holds none; None where it cannot be read by the contract, and names such a person.

        The same copy and persons give the same bytes. What is at `copy` stays.
        """
        found = self.found(copy, slot)
        if found is None or not found.rows:
            return (None if found is None and self._named_in(copy) else copy), 0
        failpoint.reached("mid-erase")
        suffix = copy.name[len(copy.name.partition(".")[0]) :]
        made = self._in_its_format(copy, slot, found, suffix)
        if made is None:
            _, made = self._archive.keep(self._feed.name, packed_records(*self._left(copy, slot)), SUFFIX)
        self._archive.secure([made])
        return made, found.rows

    def _in_its_format(self, copy: Path, slot: str, found: Search, suffix: str) -> Path | None:
        """The copy in its own format; None where that cannot be, or what was written does not read like the rest."""
        name = name_of(slot, copy).lower()
        if suffix == SUFFIX:
            return None
        if found.by_lines:
            content = self._blanked(copy, name, found)
        elif found.format == "parquet" and not packing(name):
            content = _parquet_without(copy, [start for start, _ in found.spans])
        else:
            return None
        if content is None:
            return None
        _, made = self._archive.keep(self._feed.name, content, suffix)
        try:
            again = self.search(made, slot)
        except (DeliveryRefused, DeliveryUnfinished):
            again = None
        if again is None or (again.header, again.read, again.rows) != (found.header, found.read - found.rows, 0):
            made.unlink()
            return None
        return made

    def _open(self, copy: Path, slot: str) -> Reader:
        wanted = headers_of(self._feed.contract)
        scratch = self._archive.root / self._feed.name
        return open_reader(copy, slot, self._feed.source, wanted, scratch=scratch)

    def _may_lack(self, name: str, reader: Reader) -> bool:
        """Whether the header may lack the column, and names no other than declared ones that might stand for it."""
        column = self._erased.columns[name]
        declared = set(map(folded, headers_of(self._feed.contract)))
        return column is not None and column.optional and declared >= set(map(folded, reader.header))

    def _named(self, reader: Reader) -> Mapping[str, str]:
        """The columns that name persons -> the headers under which they were delivered."""
        delivered = {folded(name): name for name in reader.header}
        return {
            name: delivered[header]
            for name, column in self._erased.columns.items()
            for header in [folded(name), *map(folded, column.headers if column else ())][::-1]
            if header in delivered
        }

    def _those(self, batch: Batch) -> tuple[pl.Series, pl.Series]:
        """Which records of the batch are of erased persons, as a mask, and on which lines its records begin."""
        sound, malformed = batch.frame, batch.malformed
        mask, lines = self._erased.rows(sound), sound["_line"]
        if not malformed.height:
            return mask, lines
        both = pl.DataFrame(
            {
                "mask": pl.concat([mask.alias("m"), self._erased.malformed(malformed["record"]).alias("m")]),
                "line": pl.concat([lines.cast(pl.Int64), malformed["_line"].cast(pl.Int64)]),
            }
        ).sort("line", maintain_order=True)
        return both["mask"], both["line"]

    def _left(self, copy: Path, slot: str) -> tuple[Reader, Iterator[Batch]]:
        """The copy's reader, and its batches without records of erased persons, by delivered header."""
        reader = self._open(copy, slot)
        named = self._named(reader)
        places = {f"c{at}": header for at, header in enumerate(reader.header)}
        of = {name: place for name, header in named.items() for place, there in places.items() if there == header}

        def batches() -> Iterator[Batch]:
            for batch in reader.batches(places):
                theirs = batch.frame.select(pl.col(place).alias(name) for name, place in of.items())
                mask = self._erased.rows(theirs) if batch.frame.height and of else None
                frame = batch.frame if mask is None else batch.frame.filter(~mask)
                yield Batch(frame, batch.malformed.filter(~self._erased.malformed(batch.malformed["record"])))

        return reader, batches()

    def _blanked(self, copy: Path, name: str, found: Search) -> Iterator[bytes] | None:
        """The file's bytes, with nothing but line ends where those records are."""
        suffix = packing(name)
        if not suffix:
            return _text_without(copy, self._encoding(copy, name), found)
        plain = unpacked(copy, name, Room(copy, self._archive.root / self._feed.name, LIMITS))
        content = _text_without(plain.path, self._encoding(plain.path, name.removesuffix(suffix)), found)
        if content is None:
            return None
        return _packed(suffix, content, plain)

    def _encoding(self, plain: Path, name: str) -> str:
        form: Any = self._feed.source.format
        declared = getattr(form, "encoding", None)
        return Text(plain, declared, LIMITS).encoding if name else ""


def _text_without(plain: Path, encoding: str, found: Search) -> Iterator[bytes] | None:
    """The text with the lines of `found` left blank; None where the encoding does not give the same bytes again."""
    mark, codec = written_in(plain, encoding)

    def encoded(chunks: Iterator[bytes]) -> Iterator[bytes]:
        yield mark
        for chunk in chunks:
            yield chunk if codec == "utf-8" else chunk.decode().encode(codec)

    def text() -> Iterator[bytes]:
        return Text(plain, encoding, LIMITS).chunks()

    if codec != "utf-8":
        digest = hashlib.sha256()
        try:
            for part in encoded(text()):
                digest.update(part)
        except UnicodeError:
            return None
        with plain.open("rb") as file:
            if hashlib.file_digest(file, "sha256").digest() != digest.digest():
                return None
    return encoded(_blank(text(), found))


def written_in(plain: Path, encoding: str) -> tuple[bytes, str]:
    """The byte-order mark that a text file in this encoding begins with, if any, and the codec of what follows."""
    with plain.open("rb") as file:
        begin = file.read(4)
    mark, marked = next(((mark, name) for mark, name in MARKS if begin.startswith(mark)), (b"", ""))
    codec = codecs.lookup(encoding).name
    if codec in ("utf-8", "utf-8-sig"):
        mark, codec = (mark if marked == "utf-8-sig" else b""), "utf-8"
    elif codec in ("utf-16", "utf-32"):
        codec = marked or f"{codec}-le"
    elif marked.replace("-", "") != codec.replace("-", ""):
        mark = b""
    return mark, codec


def _blank(chunks: Iterator[bytes], found: Search) -> Iterator[bytes]:
    """The chunks, each of whole lines, with nothing but the ends of the lines that are in spans."""
    lines_each = found.format == "ndjson"
    spans = iter([(start, start + 1 if lines_each else after) for start, after in found.spans])
    start, after = next(spans, (_TO_THE_END, _TO_THE_END))
    line = 1  # the first of the chunk
    for chunk in chunks:
        behind = line + line_ends(chunk) + (not chunk.endswith((b"\n", b"\r")))
        if start >= behind:
            yield chunk
            line = behind
            continue
        ends = [0, *(end.end() for end in _LINE_END.finditer(chunk))]
        if ends[-1] < len(chunk):
            ends.append(len(chunk))
        kept = []
        for at, (begin, end) in enumerate(pairwise(ends), start=line):
            while at >= after:
                start, after = next(spans, (_TO_THE_END, _TO_THE_END))
            kept.append(chunk[begin:end] if at < start else _end_of(chunk, begin, end))
        yield b"".join(kept)
        line = behind


def _end_of(chunk: bytes, begin: int, end: int) -> bytes:
    if chunk.endswith(b"\r\n", begin, end):
        return b"\r\n"
    return chunk[end - 1 : end] if chunk[end - 1 : end] in (b"\n", b"\r") else b""


def _packed(suffix: str, content: Iterator[bytes], plain: object) -> Iterator[bytes]:
    """The content packed again; the same content always gives the same bytes. plain: kept for as long as it is read."""
    if suffix == ".gz":
        packer = zlib.compressobj(6, zlib.DEFLATED, 31)  # with no time and no name in its head
        for part in content:
            yield packer.compress(part)
        yield packer.flush()
    else:
        import pyarrow as pa

        for part in content:
            if part:
                yield pa.compress(part, codec="zstd", asbytes=True)
    del plain


def _parquet_without(copy: Path, rows: list[int]) -> Iterator[bytes]:
    """The Parquet file without these rows (from 1), with the same schema and packing."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pq.ParquetFile(copy) as file:
        codec = "snappy"
        if file.metadata.num_row_groups and file.metadata.num_columns:
            codec = file.metadata.row_group(0).column(0).compression.lower()
        sink = Draining()
        packing_of = "none" if codec == "uncompressed" else codec
        with pq.ParquetWriter(pa.PythonFile(sink, mode="w"), file.schema_arrow, compression=packing_of) as writer:
            before = 0
            for batch in file.iter_batches(65_536):
                gone = [row - 1 - before for row in rows if before < row <= before + batch.num_rows]
                kept = pl.repeat(value=True, n=batch.num_rows, dtype=pl.Boolean, eager=True).scatter(gone, False)
                before += batch.num_rows
                writer.write_batch(batch.filter(kept.to_arrow()))
                yield sink.drained()
        yield sink.drained()


def holds_bytes(path: Path, values: Sequence[str]) -> bool:
    """Whether any of the values stands in the file, in UTF-8, UTF-16 or Latin-1; what is packed is unpacked."""
    wanted = {
        value.encode(codec, "ignore") for value in values for codec in ("utf-8", "utf-16-le", "utf-16-be", "latin-1")
    }
    wanted.discard(b"")
    found = re.compile(b"|".join(map(re.escape, sorted(wanted)))) if wanted else None
    longest = max(map(len, wanted), default=0)
    tail = b""
    try:
        for block in blocks_of(path, packing(path.name)):
            if found is not None and found.search(tail + block):
                return True
            tail = block[-longest:]
    except (DeliveryRefused, DeliveryUnfinished, FileNotFoundError):
        return False  # damaged, or gone meanwhile
    return False
