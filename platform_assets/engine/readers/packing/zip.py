"""Zip: several files of one format as one delivery, in the order of the archive.

Belongs here: which members are read, and their rows one after another. Elsewhere: what is in a member (its own reader).
Members are unpacked into plain copies; nothing is ever written under a member's name.
"""

import contextlib
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import polars as pl

from platform_assets.engine.feed.feed import SourceDeclaration
from platform_assets.engine.readers import Batch, Part, Reader, open_within, refuse_unreconciled
from platform_assets.engine.readers.packing.unpack import Room
from platform_assets.errors import DeliveryRefused, DeliveryUnfinished, foreign, quoted

_BLOCK: Final = 1 << 20
_MOST_MEMBERS: Final = 2_000
_MOST_DIRECTORY: Final = 16 << 20
_KEPT_OPEN: Final = 8
_AGAIN: Final = "Ask the producer to deliver the file again."
# Formats whose header is no line of its own but the names that occur: a name may be missing from a member.
_HEADERLESS: Final = ("ndjson", "json", "xml")
_BEGIN: Final = b"PK\3\4"
_END: Final = struct.Struct("<4s4H2LH")
_END64: Final = struct.Struct("<4sQ2H2L4Q")
_END64_AT: Final = struct.Struct("<4sLQL")


class ZipReader:
    """Reads the members of one archive; see `Reader`. Each of them is surveyed before any row is read."""

    looks_cut_off = False  # its directory stands at its end, so it is whole or DeliveryUnfinished

    def __init__(self, room: Room, copy: Path, slot: str, source: SourceDeclaration, wanted: Sequence[str]) -> None:
        self._room = room
        self._copy = copy
        self._slot = slot
        self._source = source
        self._wanted = wanted
        self._members: list[zipfile.ZipInfo] = []
        self._kept: dict[int, Reader] = {}
        self._dialects: dict[str, dict[str, None]] = {}
        self.format = "zip"
        self.header: tuple[str, ...] = ()
        self._headers: list[tuple[str, ...]] = []
        if copy.stat().st_size == 0:
            self.parts: tuple[Part, ...] = ()
            return
        with self._archive() as archive:
            entries = archive.infolist()
            self._members = [entry for entry in entries if not _left_out(entry)]
            _refuse_unsafe(self._members)
            for at, member in enumerate(self._members):
                self._survey(archive, at, member)
        if left_out := len(entries) - len(self._members):
            self._dialects["members left out"] = {f"{left_out}": None}
        self.parts = tuple(Part(member.filename, 0, 0) for member in self._members)

    @property
    def dialect(self) -> Mapping[str, str]:
        """See `Reader`; where members differ, all that occurs."""
        return {key: ", ".join(values) for key, values in self._dialects.items()}

    def batches(self, columns: Mapping[str, str]) -> Iterator[Batch]:
        """See `Reader`. Lines run on from member to member; `parts` is complete at the end."""
        parts: list[Part] = []
        before = 0
        room = self._room.anew()
        with self._archive() as archive:
            for at, member in enumerate(self._members):
                with _naming(member.filename):
                    reader = self._kept.pop(at, None) or self._open(archive, member, room)
                    there = {name: header for name, header in columns.items() if header in self._headers[at]}
                    read = 0
                    last = before
                    # A member may lack every name that is asked for, and still its records count.
                    for batch in reader.batches(there) if self._headers[at] else ():
                        read += batch.frame.height + batch.malformed.height
                        moved = _moved(batch, before, list(columns))
                        last = max(last, _last_line(moved.frame), _last_line(moved.malformed))
                        yield moved
                    reader.reconcile(read)
                parts.append(Part(member.filename, before, read))
                before = last
        self.parts = tuple(parts)

    def reconcile(self, read: int) -> None:
        """See `Reader`; each member has been reconciled by its own reader."""
        refuse_unreconciled(sum(part.records for part in self.parts), read)

    def _survey(self, archive: zipfile.ZipFile, at: int, member: zipfile.ZipInfo) -> None:
        with _naming(member.filename):
            reader = self._open(archive, member, self._room)
            if at == 0:
                self.format, self.header = reader.format, reader.header
            elif reader.format != self.format:
                raise DeliveryRefused(
                    f"is {reader.format}, but {quoted(self._members[0].filename)} is {self.format}",
                    remedy="Ask the producer for one format in an archive.",
                )
            elif self.format in _HEADERLESS:
                self.header = tuple(dict.fromkeys((*self.header, *reader.header)))
            elif sorted(reader.header) != sorted(self.header):
                raise self._other_header(reader.header)
        self._headers.append(reader.header)
        for key, value in reader.dialect.items():
            self._dialects.setdefault(key, {}).setdefault(value)
        if at < _KEPT_OPEN:  # each has a plain copy and may hold more; the others are opened again
            self._kept[at] = reader

    def _other_header(self, header: tuple[str, ...]) -> DeliveryRefused:
        missing = [name for name in self.header if name not in header]
        unknown = [name for name in header if name not in self.header]
        differences = [
            f"{what} {quoted(*names)}" for what, names in (("lacks", missing), ("has besides", unknown)) if names
        ]
        other = "; ".join(differences) or "one of them twice"
        if not (header and self.header):
            other = "it is empty" if not header else "that one is empty"
        return DeliveryRefused(
            f"has other columns than {quoted(self._members[0].filename)}: {other}",
            remedy="Ask the producer for the same columns in all members, or for separate deliveries.",
            line=1,
            column=next(iter(missing or unknown), None),
        )

    def _open(self, archive: zipfile.ZipFile, member: zipfile.ZipInfo, room: Room) -> Reader:
        if member.filename.lower().endswith(".zip"):
            raise DeliveryRefused("is an archive in an archive", remedy="Ask the producer for its members themselves.")
        plain = room.copy_of(_blocks(archive, member), member.filename)
        slot = f"{self._slot}/{member.filename}"
        return plain.held_by(lambda path: open_within(room, path, slot, self._source, self._wanted))

    @contextlib.contextmanager
    def _archive(self) -> Iterator[zipfile.ZipFile]:
        _refuse_directory(self._copy)
        try:
            archive = zipfile.ZipFile(self._copy)
        except (zipfile.BadZipFile, NotImplementedError) as error:
            raise _damaged(error) from error
        with archive:
            yield archive


def _left_out(entry: zipfile.ZipInfo) -> bool:
    """Whether it is nothing that anybody delivers: a folder, what a desktop adds, a hidden file."""
    parts = entry.filename.replace("\\", "/").split("/")
    return entry.is_dir() or parts[0] == "__MACOSX" or any(p.startswith(".") and p.strip(".") for p in parts)


def _refuse_unsafe(members: Sequence[zipfile.ZipInfo]) -> None:
    seen: set[str] = set()
    for member in members:
        name = member.filename
        parts = name.replace("\\", "/").split("/")
        mode = stat.S_IFMT(member.external_attr >> 16)
        what = remedy = ""
        if ".." in parts or not parts[0] or parts[0].endswith(":"):
            what, remedy = "leaves the archive by its name", "Ask the producer for plain relative names."
        elif mode not in (0, stat.S_IFREG):
            what, remedy = "is a link or no regular file", "Ask the producer for the files themselves."
        elif member.flag_bits & 0x1:
            what, remedy = "is encrypted", "Ask the producer for an archive without a password."
        elif member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            what, remedy = "is not packed by deflate", "Ask the producer for zip's usual method, deflate."
        elif name in seen:
            what, remedy = "is there twice", "Ask the producer for one file of each name."
        if what:
            raise DeliveryRefused(f"{quoted(name)}: {what}", remedy=remedy)
        seen.add(name)


def _refuse_directory(copy: Path) -> None:
    """Raise DeliveryUnfinished where the archive has no directory at its very end, DeliveryRefused where it is
    no archive at all or its directory too large to be looked at."""
    size = copy.stat().st_size
    with copy.open("rb") as file:
        begun = file.read(4) == _BEGIN
        file.seek(max(0, size - _END.size - 0xFFFF - _END64_AT.size))
        start, tail = file.tell(), file.read()
        at = max(tail.rfind(b"PK\5\6"), 0)  # as zipfile finds it
        entries, length, offset, comment = _END.unpack_from(tail.ljust(at + _END.size, b"\0"), at)[4:8]
        whole = tail[at : at + 4] == b"PK\5\6" and start + at + _END.size + comment == size
        ends = start + at
        if at >= _END64_AT.size and tail[at - _END64_AT.size :].startswith(b"PK\6\7"):
            ends = _END64_AT.unpack_from(tail, at - _END64_AT.size)[2]
            file.seek(ends)
            record = file.read(_END64.size).ljust(_END64.size, b"\0")
            entries, length, offset = _END64.unpack(record)[7:10]
    # Where the directory does not end where it should, what was found may be that of an archive within.
    if not whole or offset + length != ends:
        if begun:
            raise DeliveryUnfinished("the archive ends before its directory does")
        raise _damaged("it is no zip archive")
    if entries > _MOST_MEMBERS or length > _MOST_DIRECTORY:
        raise DeliveryRefused(
            f"an archive of {entries} members, more than {_MOST_MEMBERS} or with too long names",
            remedy="Ask the producer for fewer files in an archive.",
        )


def _blocks(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Iterator[bytes]:
    try:
        with archive.open(member) as stream:
            while block := stream.read(_BLOCK):
                yield block
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise _damaged(error) from error


def _moved(batch: Batch, lines: int, names: Sequence[str]) -> Batch:
    """The batch with its lines counted from the archive's first, and every name that was asked for."""
    missing = [pl.lit(None, pl.String()).alias(name) for name in names if name not in batch.frame.columns]
    frame = batch.frame.with_columns(pl.col("_line") + lines, *missing).select("_line", *names)
    return Batch(frame, batch.malformed.with_columns(pl.col("_line") + lines))


def _last_line(frame: pl.DataFrame) -> int:
    last = frame["_line"].max()
    return last if isinstance(last, int) else 0


@contextlib.contextmanager
def _naming(member: str) -> Iterator[None]:
    """What is wrong within a member names it. The archive is whole, so there is nothing to wait for."""
    try:
        yield
    except DeliveryRefused as error:
        raise DeliveryRefused(
            f"{quoted(member)}: {error.said[0]}", remedy=error.said[1], line=error.line, column=error.column
        ) from error
    except DeliveryUnfinished as error:
        raise DeliveryRefused(f"{quoted(member)}: {error.said[0]}", remedy=_AGAIN) from error


def _damaged(why: object) -> DeliveryRefused:
    return DeliveryRefused(f"damaged zip: {foreign(why)}", remedy=_AGAIN)
