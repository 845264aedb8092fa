"""Readers: a delivery's archived bytes as batches of records, by format.

Belongs here: choosing the reader; what every reader offers. Does not: contracts, or what becomes of a record.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import polars as pl

from platform_assets.engine.feed import Files
from platform_assets.errors import DeliveryRefused

MALFORMED_SCHEMA: Final = {"_line": pl.Int64(), "record": pl.String(), "rule": pl.String()}


@dataclass(frozen=True)
class Batch:
    """Some consecutive records of a delivery, in its order.

    frame: `_line` (1-based physical line; in Parquet the row) and one column per name that was asked for.
    malformed: records that could not be taken apart: `_line`, `record` as it arrived, `rule` it breaks.
    """

    frame: pl.DataFrame
    malformed: pl.DataFrame


class Reader(Protocol):
    """One delivery. Constructing it surveys the whole file: what makes it unreadable is known before any row."""

    format: str

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


def open_reader(copy: Path, slot: str, files: Files) -> Reader:
    """The reader for a delivery that was called `slot` and now lies at `copy`.

    Raises DeliveryRefused (or its half-written kin, DeliveryUnfinished) where it cannot be read as a whole.
    """
    name = slot.lower().removesuffix(".gz")
    compressed = slot.lower().endswith(".gz")
    if name.endswith((".csv", ".tsv", ".txt")):
        from platform_assets.engine.readers.csv import CsvReader

        return CsvReader(copy, compressed=compressed, files=files)
    if name.endswith((".ndjson", ".jsonl")):
        from platform_assets.engine.readers.ndjson import NdjsonReader

        return NdjsonReader(copy, compressed=compressed, files=files)
    if name.endswith(".parquet") and not compressed:
        from platform_assets.engine.readers.parquet import ParquetReader

        return ParquetReader(copy)
    raise DeliveryRefused(
        f"format of {Path(slot).name!r} is not known",
        remedy="Deliver .csv, .csv.gz, .tsv, .ndjson, .ndjson.gz, .jsonl or .parquet.",
    )
