"""Parquet: typed columns, read in row groups.

Belongs here: reading; nested columns come as JSON text. Does not: whether a type fits the contract (validate.py).
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from platform_assets.engine.readers import MALFORMED_SCHEMA, Batch, Part, refuse_unreconciled
from platform_assets.errors import DeliveryRefused, DeliveryUnfinished

_ROWS: Final = 200_000
_MAGIC: Final = b"PAR1"


class ParquetReader:
    """Reads one Parquet delivery; see `Reader`. A record's line is its row number, from 1."""

    format = "parquet"

    def __init__(self, copy: Path) -> None:
        self._copy = copy
        self.looks_cut_off = False
        self._records = 0
        self._header: tuple[str, ...] = ()
        if copy.stat().st_size == 0:
            return
        try:
            with pq.ParquetFile(copy) as file:
                self._records = file.metadata.num_rows
                self._header = tuple(file.schema_arrow.names)
        except (pa.ArrowException, OSError) as error:
            with copy.open("rb") as stream:
                begun = stream.read(4) == _MAGIC
                stream.seek(-min(4, copy.stat().st_size), os.SEEK_END)
                finished = stream.read() == _MAGIC
            if begun and not finished:
                raise DeliveryUnfinished("the Parquet file ends before its footer does") from error
            raise _damaged(error) from error

    @property
    def dialect(self) -> Mapping[str, str]:
        """See `Reader`."""
        return {}

    @property
    def parts(self) -> Sequence[Part]:
        """See `Reader`."""
        return ()

    @property
    def header(self) -> tuple[str, ...]:
        """See `Reader`."""
        return self._header

    def batches(self, columns: Mapping[str, str]) -> Iterator[Batch]:
        """See `Reader`."""
        line = 1
        try:
            with pq.ParquetFile(self._copy, page_checksum_verification=True) as file:
                for arrow in file.iter_batches(batch_size=_ROWS, columns=list(columns.values())):
                    # Text that is not UTF-8 would pass unseen and stop the database when the rows are stored.
                    arrow.validate(full=True)
                    frame = pl.DataFrame(arrow).select(
                        pl.int_range(line, line + pl.len(), dtype=pl.Int64).alias("_line"),
                        *(
                            _flat(arrow.schema.field(header).type, header).alias(name)
                            for name, header in columns.items()
                        ),
                    )
                    line += frame.height
                    yield Batch(frame, pl.DataFrame(schema=MALFORMED_SCHEMA))
        except (pa.ArrowException, OSError) as error:
            raise _damaged(error) from error

    def reconcile(self, read: int) -> None:
        """See `Reader`; the file's footer says how many rows there are."""
        refuse_unreconciled(self._records, read)


def _flat(arrow_type: pa.DataType, header: str) -> pl.Expr:
    column = pl.col(header)
    if pa.types.is_struct(arrow_type):
        return column.struct.json_encode()
    if pa.types.is_nested(arrow_type):
        return pl.struct(column).struct.json_encode()
    if pa.types.is_binary(arrow_type) or pa.types.is_large_binary(arrow_type):
        return column.cast(pl.String, strict=False)
    return column


def _damaged(error: Exception) -> DeliveryRefused:
    return DeliveryRefused(
        f"damaged Parquet: {str(error).splitlines()[0]}", remedy="Ask the producer to deliver the file again."
    )
