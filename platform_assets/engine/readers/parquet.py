"""Parquet: typed columns, read in row groups; the values of declared `key=value` folders are columns too.

Belongs here: reading. Does not: whether a type fits the contract (cast.py). Nested columns come as JSON text, unless
the contract asks for a path into them ("customer.city").
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Final
from urllib.parse import unquote

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from platform_assets.engine.formats import Parquet
from platform_assets.engine.readers import MALFORMED_SCHEMA, Batch, Part, refuse_unreconciled
from platform_assets.errors import DeliveryRefused, DeliveryUnfinished

_ROWS: Final = 200_000
_BYTES: Final = 256 << 20
_MAGIC: Final = b"PAR1"
_NO_VALUE: Final = "__HIVE_DEFAULT_PARTITION__"
# Bytes that a value takes up to which it pays to read text as it is stored, each different one once.
_REPEATED: Final = 6


class ParquetReader:
    """Reads one Parquet delivery; see `Reader`. A record's line is its row number, from 1."""

    format = "parquet"

    def __init__(self, copy: Path, *, slot: str, form: Parquet, wanted: Sequence[str] = ()) -> None:
        self._copy = copy
        self.looks_cut_off = False
        self._records = 0
        self._batch = _ROWS
        self._repeated: list[str] = []
        self._within: dict[str, tuple[str, ...]] = {}  # header -> where its values are
        self._folders = {key: _folder(slot, key) for key in form.partitions}
        if copy.stat().st_size == 0:
            return
        try:
            with pq.ParquetFile(copy) as file:
                self._survey(file, [header.strip().casefold() for header in wanted])
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
        return {"partitions": "/".join(self._folders)} if self._folders else {}

    @property
    def parts(self) -> Sequence[Part]:
        """See `Reader`."""
        return ()

    @property
    def header(self) -> tuple[str, ...]:
        """See `Reader`; the folders' columns come last."""
        return (*self._within, *self._folders) if self._within else ()

    def batches(self, columns: Mapping[str, str]) -> Iterator[Batch]:
        """See `Reader`."""
        inside = {name: self._within[header] for name, header in columns.items() if header in self._within}
        folders = {name: header for name, header in columns.items() if header not in self._within}
        tops = list(dict.fromkeys(path[0] for path in inside.values()))
        nothing = pl.DataFrame(schema=MALFORMED_SCHEMA)
        line = 1
        try:
            with pq.ParquetFile(self._copy, page_checksum_verification=True, read_dictionary=self._repeated) as file:
                for arrow in file.iter_batches(batch_size=self._batch, columns=tops):
                    frame = pl.DataFrame([_series(top, arrow.column(top)) for top in tops], height=arrow.num_rows)
                    yield Batch(
                        frame.select(
                            pl.int_range(line, line + arrow.num_rows, dtype=pl.Int64).alias("_line"),
                            *(_value(frame.schema, path).alias(name) for name, path in inside.items()),
                            *(pl.lit(self._folders[key], pl.String).alias(name) for name, key in folders.items()),
                        ).select("_line", *columns),
                        nothing,
                    )
                    line += arrow.num_rows
        except (pa.ArrowException, OSError, pl.exceptions.PolarsError) as error:
            raise _damaged(error) from error

    def reconcile(self, read: int) -> None:
        """See `Reader`; the file's footer says how many rows there are."""
        refuse_unreconciled(self._records, read)

    def _survey(self, file: pq.ParquetFile, wanted: list[str]) -> None:
        footer, schema = file.metadata, file.schema_arrow
        self._records = footer.num_rows
        tops = {name.casefold() for name in schema.names}
        inner = [header for header in wanted if header not in tops]
        for field in schema:
            for header, path in _paths(field, (), inner):
                self._within[header] = path
        for key in self._folders:
            if key.casefold() in {header.casefold() for header in self._within}:
                raise DeliveryRefused(
                    f"column {key!r} is in the file as well as in the folder's name",
                    remedy=f"Take {key!r} out of Parquet(partitions=…) to read the file's own.",
                    column=key,
                )
        groups = [footer.row_group(at) for at in range(footer.num_row_groups)]
        size = sum(group.total_byte_size for group in groups)
        self._batch = max(1, min(_ROWS, _BYTES * max(self._records, 1) // max(size, 1)))
        for at in range(footer.num_columns):
            stored = [group.column(at) for group in groups]
            path = file.schema.column(at).path
            if (
                path in schema.names
                and _is_text(schema.field(path).type)
                and all(column.has_dictionary_page for column in stored)
                and sum(column.total_uncompressed_size for column in stored)
                <= _REPEATED * sum(column.num_values for column in stored)
            ):
                self._repeated.append(path)


def _folder(slot: str, key: str) -> str | None:
    """The value of the folder `key=…` that the delivery lies in."""
    folders = [part.partition("=") for part in PurePosixPath(slot).parent.parts]
    values = [value for name, sign, value in folders if sign and unquote(name) == key]
    if len(values) != 1:
        raise DeliveryRefused(
            f"lies in {len(values) or 'no'} folder{'s' * (len(values) > 1)} {key}=…",
            remedy=f"Deliver it in one, such as {key}=…/{PurePosixPath(slot).name}, or take {key!r} out of "
            "Parquet(partitions=…).",
            column=key,
        )
    return None if values[0] == _NO_VALUE else unquote(values[0])


def _paths(field: pa.Field, above: tuple[str, ...], wanted: list[str]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The columns that a field is: itself, or those within where one of them is asked for."""
    path = (*above, field.name)
    header = ".".join(path)
    if pa.types.is_struct(field.type) and any(asked.startswith(f"{header.casefold()}.") for asked in wanted):
        for inner in field.type:
            yield from _paths(inner, path, wanted)
    else:
        yield header, path


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_binary(kind))


def _series(name: str, arrow: pa.Array) -> pl.Series:
    """A column; its text is UTF-8, which else would pass unseen and stop the database when the rows are stored."""
    if pa.types.is_dictionary(arrow.type):
        # Each different value is looked at and copied once, however often it occurs.
        return _series(name, arrow.dictionary).gather(pl.Series(arrow.indices))
    kind = arrow.type
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        arrow = arrow.cast(pa.large_string() if pa.types.is_large_binary(kind) else pa.string())
    elif not pa.types.is_primitive(kind) or pa.types.is_decimal(kind):
        arrow.validate(full=True)
    return pl.Series(name, arrow)


def _value(schema: pl.Schema, path: tuple[str, ...]) -> pl.Expr:
    """What is at a path; nested as it is, JSON text."""
    value, kind = pl.col(path[0]), schema[path[0]]
    for name in path[1:]:
        assert isinstance(kind, pl.Struct)
        value, kind = value.struct.field(name), pl.Schema(kind.to_schema())[name]
    if isinstance(kind, pl.Struct):
        return pl.when(value.is_not_null()).then(value.struct.json_encode())
    if kind.is_nested():
        # Only a struct can be written as JSON: the list stands between {"v": and the closing brace.
        encoded = pl.struct(value.alias("v")).struct.json_encode().str.slice(5).str.head(-1)
        return pl.when(value.is_not_null()).then(encoded)
    return value.cast(pl.String, strict=True) if kind == pl.Binary else value


def _damaged(error: Exception) -> DeliveryRefused:
    return DeliveryRefused(
        f"damaged Parquet: {str(error).splitlines()[0]}", remedy="Ask the producer to deliver the file again."
    )
