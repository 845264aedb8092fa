"""Readers: a delivery's archived bytes as records, some at a time, by format.

Belongs here: choosing the reader; what every reader offers. Other rooms: what becomes of a record (load).
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

import polars as pl

from platform_assets.engine.feed.feed import SourceDeclaration
from platform_assets.engine.feed.formats import Csv, Excel, Format, Json, Parquet, Xml
from platform_assets.engine.readers.budget import Budget, pieces
from platform_assets.engine.readers.limits import LIMITS, Limits
from platform_assets.engine.readers.packing.unpack import Room, packing, unpacked
from platform_assets.errors import DeliveryRefused, foreign

FORMATS: Final[Mapping[str, type[Format]]] = {
    **dict.fromkeys((".csv", ".tsv", ".txt"), Csv),
    **dict.fromkeys((".json", ".ndjson", ".jsonl"), Json),
    **dict.fromkeys((".xlsx", ".xlsm", ".xlsb", ".xls", ".ods"), Excel),
    ".xml": Xml,
    ".parquet": Parquet,
}
"""The format that the end of a name means."""
MALFORMED_SCHEMA: Final = {"_line": pl.Int64(), "record": pl.String(), "rule": pl.String()}


@dataclass(frozen=True)
class Batch:
    """Some consecutive records of a delivery, in its order.

    frame: `_line` (1-based physical line; in Parquet the row) and one column per name that was asked for.
    malformed: records that could not be taken apart: `_line`, `record` as it arrived, `rule` it breaks.
    """

    frame: pl.DataFrame
    malformed: pl.DataFrame


@dataclass(frozen=True)
class Part:
    """A file within a delivery (a member of an archive). `_line` runs on from part to part, so that it names a row
    of the delivery; the part's own line is `_line - lines_before`."""

    name: str
    lines_before: int
    records: int


class Reader(Protocol):
    """One delivery. Constructing it surveys the whole file: what makes it unreadable is known before any row."""

    format: str

    @property
    def dialect(self) -> Mapping[str, str]:
        """How the file turned out to be written (delimiter, encoding, line ends, sheet …), for its receipt."""

    @property
    def parts(self) -> Sequence[Part]:
        """The files within, in their order; none where the delivery is a single file."""

    @property
    def header(self) -> tuple[str, ...]:
        """The delivered column names, in their order; empty where the delivery holds nothing at all."""

    @property
    def looks_cut_off(self) -> bool:
        """Whether the end looks like that of a file that is still being written."""

    def batches(self, columns: Mapping[str, str]) -> Iterator[Batch]:
        """The records, with `columns` (name to give -> delivered header), in bounded batches."""

    def reconcile(self, read: int) -> None:
        """Raise DeliveryRefused unless `read` records is what a count made without the parser gives.

        To be called when `batches` is exhausted.
        """


def refuse_unreconciled(counted: int, read: int) -> None:
    """Raise DeliveryRefused where two counts of a delivery's records differ."""
    if counted != read:
        raise DeliveryRefused(
            f"{counted} records were delivered but {read} understood",
            remedy="Compare the file with its declared format (delimiter, quoting, encoding).",
        )


def open_reader(
    copy: Path,
    slot: str,
    source: SourceDeclaration,
    wanted: Sequence[str] = (),
    *,
    scratch: Path | None = None,
    limits: Limits = LIMITS,
) -> Reader:
    """The reader for a delivery that was called `slot` and now lies at `copy`.

    Where the name of the slot means no format, as a table's does not, the copy's does.
    wanted: the headers that the contract asks for; where records are nested they say which paths are columns.
    scratch: where a plain copy of a packed file may lie for as long as the reader is used; beside `copy` if None.
    Raises DeliveryRefused (or its half-written kin, DeliveryUnfinished) where it cannot be read as a whole, or not
    within the time and memory that it may take.
    """
    if copy.suffix == ".records":
        from platform_assets.engine.readers.records import RecordsReader

        return RecordsReader(copy)
    slot = name_of(slot, copy)
    budget = Budget(copy.stat().st_size, source.longest)
    limits = replace(limits, budget=budget)
    with _panics(), budget.spending():
        reader = open_within(Room(copy, scratch or copy.parent, limits), copy, slot, source, wanted)
    return _Shielded(reader, limits)


def name_of(slot: str, copy: Path) -> str:
    """The slot, ending so that it tells the format of its copy: as the copy does, where the slot says nothing."""
    named = packing(slot) or Path(slot).suffix.lower() in (*FORMATS, ".zip")
    return slot if named else slot + "".join(copy.suffixes)


@contextlib.contextmanager
def _panics() -> Iterator[None]:
    """Polars ends some things that it has not learned by a panic, which is no Exception and would take all along."""
    try:
        yield
    except pl.exceptions.PanicException as panic:
        raise DeliveryRefused(
            f"cannot be read: {foreign(panic)}",
            remedy="Ask the producer for usual types of columns, or deliver it as CSV.",
        ) from panic


class _Shielded:
    """A reader whose parser may panic, held to its budget; see `Reader`."""

    def __init__(self, reader: Reader, limits: Limits) -> None:
        self._reader = reader
        self._limits = limits

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - the reader's
        return getattr(self._reader, name)

    def batches(self, columns: Mapping[str, str]) -> Iterator[Batch]:
        """See `Reader`."""
        budget, most = self._limits.budget, self._limits.batch
        batches = self._reader.batches(columns)
        budget.begin()
        while True:
            with _panics(), budget.spending():
                batch = next(batches, None)
                if batch is None:
                    return
                budget.check()
                budget.take(batch.frame)
                budget.take(batch.malformed)
            malformed = batch.malformed
            for piece in pieces(batch.frame, most):
                yield Batch(piece, malformed)
                malformed = malformed.clear()


def open_within(room: Room, copy: Path, slot: str, source: SourceDeclaration, wanted: Sequence[str]) -> Reader:
    """As `open_reader`; plain copies of what is packed find their place in `room`."""
    name = slot.lower()
    if suffix := packing(name):
        inner = slot[: -len(suffix)]
        return unpacked(copy, name, room).held_by(lambda plain: _open_plain(plain, inner, source, wanted, room.limits))
    if name.endswith(".zip"):
        from platform_assets.engine.readers.packing.zip import ZipReader

        return ZipReader(room, copy, slot, source, wanted)
    return _open_plain(copy, slot, source, wanted, room.limits)


def _open_plain(copy: Path, slot: str, source: SourceDeclaration, wanted: Sequence[str], limits: Limits) -> Reader:
    name = slot.lower()
    if name.endswith((".csv", ".tsv", ".txt")):
        from platform_assets.engine.readers.csv.reader import CsvReader

        return CsvReader(copy, form=declared(source, Csv, slot), name=Path(slot).name, wanted=wanted, limits=limits)
    if name.endswith((".ndjson", ".jsonl")):
        from platform_assets.engine.readers.json.lines import NdjsonReader

        return NdjsonReader(copy, form=declared(source, Json, slot), wanted=wanted, limits=limits)
    if name.endswith(".json"):
        from platform_assets.engine.readers.json.document import open_json

        return open_json(copy, form=declared(source, Json, slot), wanted=wanted, limits=limits)
    if name.endswith((".xlsx", ".xlsm", ".xlsb", ".xls", ".ods")):
        from platform_assets.engine.readers.excel.reader import ExcelReader

        return ExcelReader(copy, form=declared(source, Excel, slot), limits=limits)
    if name.endswith(".xml"):
        from platform_assets.engine.readers.xml.reader import XmlReader

        return XmlReader(copy, form=declared(source, Xml, slot), wanted=wanted, limits=limits)
    if name.endswith(".parquet"):
        from platform_assets.engine.readers.parquet.reader import ParquetReader

        return ParquetReader(copy, slot=slot, form=declared(source, Parquet, slot), wanted=wanted, limits=limits)
    raise DeliveryRefused(
        f"format of {Path(slot).name!r} is not known",
        remedy="Deliver .csv, .tsv, .txt, .ndjson, .jsonl, .json, .xml, .xlsx, .parquet, or these as .gz, .zst, .zip.",
    )


_Form = TypeVar("_Form", Csv, Json, Xml, Excel, Parquet)


def declared(source: SourceDeclaration, kind: type[_Form], slot: str) -> _Form:
    """The feed's declared format, which must be of the kind that the file's name says."""
    if source.format is None:
        return kind()
    if not isinstance(source.format, kind):
        raise DeliveryRefused(
            f"{Path(slot).name!r} is no {type(source.format).__name__} by its name",
            remedy=f"Declare Files(…, format={kind.__name__}(…)), or a pattern that leaves this file out.",
        )
    return source.format
