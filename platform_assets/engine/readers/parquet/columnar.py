"""The program that parses a Parquet file: first what it found, then, when asked, columns as Arrow batches.

Belongs here: what pyarrow makes of a column, in types that Polars has words for, and which rows hold what these have
no words for. It runs by itself (isolated.py) and imports nothing of ours.
"""

import contextlib
import functools
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import types

_ROWS: Final = 200_000
_BUFFER: Final = 1 << 20
# Bytes that a value takes up to which it pays to read text as it is stored, each different one once.
_REPEATED: Final = 6
_MOST_COLUMNS: Final = 10_000
_LONGEST_ROW: Final = 64 << 20
_VALUE: Final = 8
_SIGNS: Final = 4  # of JSON beside a name or value: quotes, colon, comma
_RATIO_CAP: Final = 300
_RATIO_FREE: Final = 1 << 30
_MOST_DIGITS: Final = 38
_LAST_MS: Final = 1 << 50
_AGAIN: Final = "Ask the producer to deliver the file again."
_USUAL: Final = "Ask the producer to write the file with usual types, encodings and compression."


def _quoted(*names: str) -> str:
    """As `quoted` of the platform's errors: whoever knows the contract decides what of the names is shown."""
    return "\ue000" + "\ue001".join(re.sub("[\ue000-\ue003]", "", name) for name in names) + "\ue002"


def _foreign(message: str) -> str:
    """As `foreign` of the platform's errors: what a library says."""
    return _quoted(message).replace("\ue000", "\ue000\ue003")


class _Refused(Exception):
    """The file cannot be read as a whole: problem, remedy, column."""

    def __init__(self, problem: str, remedy: str, column: str | None = None) -> None:
        super().__init__(problem)
        self.details = json.dumps({"problem": problem, "remedy": remedy, "column": column})


class _Variant(pa.ExtensionType):  # type: ignore[misc]  # pyarrow is not annotated
    """VARIANT, by the name that pyarrow asks for; without it such a column passes for a struct of its encoded bytes."""

    def __init__(self, storage: pa.DataType) -> None:
        super().__init__(storage, "arrow.parquet.variant")

    def __arrow_ext_serialize__(self) -> bytes:
        return b""

    @classmethod
    def __arrow_ext_deserialize__(cls, storage: pa.DataType, _: bytes) -> "_Variant":
        return cls(storage)


@dataclass(frozen=True)
class _File:
    """What the footer says.

    header: each column's name and where its values are. repeated: text that is stored as numbers of different values.
    old: columns with times of 96 bits, which reach further than what they are usually read into.
    """

    path: str
    rows: int
    batch: int
    header: list[tuple[str, list[str]]]
    repeated: list[str]
    old: set[str]

    def batches(self, tops: list[str], times: str | None = None) -> Iterator[pa.RecordBatch]:
        """Some of its columns. times: the unit for times of 96 bits."""
        with pq.ParquetFile(
            self.path,
            read_dictionary=self.repeated,
            coerce_int96_timestamp_unit=times,
            page_checksum_verification=True,
            # Page by page: a group of rows may be larger than memory.
            pre_buffer=False,
            buffer_size=_BUFFER,
        ) as file:
            yield from file.iter_batches(batch_size=self.batch, columns=tops)


def _main(path: str, most_bytes: str, wanted: str) -> None:
    out = sys.stdout.buffer
    try:
        with _reasons():
            file = _surveyed(path, int(most_bytes), json.loads(wanted))
    except _Refused as refused:
        out.write(b'{"refused":%b}\n' % refused.details.encode())
        return
    out.write(json.dumps({"rows": file.rows, "header": file.header}).encode() + b"\n")
    out.flush()
    if asked := sys.stdin.readline():
        _answer(file, json.loads(asked), int(most_bytes))


def _answer(file: _File, asked: list[str], most_bytes: int) -> None:
    """Write the columns `asked` for, by header, as batches; each has its `rule` and `record` besides."""
    out, schema, refusal = sys.stdout.buffer, pa.schema({}), {}
    stream = None
    batches = _batches(file, asked, most_bytes)
    while True:
        try:
            with _reasons():
                batch = next(batches, None)
        except _Refused as refused:
            batch, refusal = None, {"refused": refused.details}
        schema = batch.schema if batch is not None else schema
        stream = stream or pa.ipc.new_stream(out, schema)
        if batch is None:
            break
        stream.write_batch(batch)
    if refusal:
        stream.write_batch(pa.RecordBatch.from_pylist([], schema=schema), custom_metadata=refusal)
    stream.close()
    out.flush()


@contextlib.contextmanager
def _reasons() -> Iterator[None]:
    """What a file's bytes can be wrong in, in words for people."""
    try:
        yield
    except MemoryError:
        raise
    except (pa.ArrowException, OSError, ValueError, LookupError, OverflowError) as error:
        message = str(error).strip("'").partition("\n")[0]
        if "crypt" in message:
            raise _Refused(
                "the Parquet file is encrypted", "Ask the producer to write it without encryption."
            ) from error
        if isinstance(error, NotImplementedError) or message.startswith(("Unsupported", "Map keys")):
            raise _Refused(f"cannot be read: {_foreign(message)}", _USUAL) from error
        raise _Refused(f"damaged Parquet: {_foreign(message)}", _AGAIN) from error


def _surveyed(path: str, most_bytes: int, wanted: list[str]) -> _File:
    with pq.ParquetFile(path) as file:
        footer = file.metadata
        if footer.num_columns > _MOST_COLUMNS:
            raise _Refused(
                f"{footer.num_columns} columns, more than {_MOST_COLUMNS}",
                "Ask the producer for names and values in rows (one row for each value), or for fewer columns.",
            )
        schema = file.schema_arrow
        names = list(schema.names)
        lower = {name.casefold() for name in names}
        inner = [asked for asked in wanted if asked not in lower]
        header = [column for each in schema for column in _paths(each, [], inner)]
        for name, count in Counter(name for name, _ in header).items():
            if count > 1:
                raise _Refused(
                    f"{count} columns are called {_quoted(repr(name))}", "Ask the producer for one of each name.", name
                )
        groups = [footer.row_group(at) for at in range(footer.num_row_groups)]
        size, repeated, old = 0, [], set()
        flat = {name for name, kind in zip(names, schema.types, strict=True) if _is_text(kind)}
        for at in range(footer.num_columns):
            column = file.schema.column(at)
            stored = [group.column(at) for group in groups]
            values = sum(part.num_values for part in stored)
            unpacked = sum(part.total_uncompressed_size for part in stored)
            # Values within others become JSON, in which each has its name beside it.
            names_of_it = 0 if column.path in names else len(column.path)
            size += max(unpacked, values * (_VALUE + names_of_it))
            if column.path in flat and unpacked <= _REPEATED * values and all(p.has_dictionary_page for p in stored):
                repeated.append(column.path)
            if column.physical_type == "INT96":
                old.add(column.path.partition(".")[0] if column.path not in names else column.path)
    if size > max(_RATIO_FREE, _RATIO_CAP * Path(path).stat().st_size):
        raise _Refused(
            f"unpacks to {size >> 20} MB, more than {_RATIO_CAP} times its size",
            "If this is real, deliver it in several files; it looks like a decompression bomb.",
        )
    rows = footer.num_rows
    return _File(path, rows, max(1, min(_ROWS, most_bytes * max(rows, 1) // max(size, 1))), header, repeated, old)


def _paths(field: pa.Field, above: list[str], wanted: list[str]) -> Iterator[tuple[str, list[str]]]:
    """The columns that a field is: itself, or those within where one of them is asked for."""
    path = [*above, field.name]
    header = ".".join(path)
    if types.is_struct(field.type) and any(asked.startswith(f"{header.casefold()}.") for asked in wanted):
        for inner in field.type:
            yield from _paths(inner, path, wanted)
    else:
        yield header, path


def _is_text(kind: pa.DataType) -> bool:
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_binary(kind))


def _batches(file: _File, asked: list[str], most_bytes: int) -> Iterator[pa.RecordBatch]:
    where = dict(file.header)
    paths = {header: where[header] for header in asked}
    tops = list(dict.fromkeys(path[0] for path in paths.values()))
    old = file.old.intersection(tops)
    # In milliseconds times of 96 bits fit, in nanoseconds they are exact, but for multiples of 2**64.
    exact = file.batches(sorted(old)) if old else None
    for read in file.batches(tops, "ms" if old else None):
        finer = next(exact) if exact else None
        columns: list[pa.Array] = []
        shown: dict[str, pa.Array] = {}
        rules = _Rules(read.num_rows)
        for header, path in paths.items():
            values = _within(read, path)
            if path[0] in old and finer is not None:
                values, shown[header] = _moments(values, _within(finer, path), header, rules)
            else:
                shown[header] = values
            columns.append(_told(values, header, rules))
        rule = rules.broken()
        names = [*map(str, range(len(columns))), "rule", "record"]
        yield from _bounded(
            pa.RecordBatch.from_arrays([*columns, rule, _records(shown, rule)], names=names), most_bytes
        )


class _Rules:
    """Which rows of a batch hold what there are no words for."""

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self._broken: list[tuple[pa.Array, str]] = []

    def add(self, broken: pa.Array, rule: str) -> None:
        """Note rows; of several rules for a row the first counts."""
        if pc.any(broken).as_py():
            self._broken.append((broken, rule))

    def broken(self) -> pa.Array:
        """The rule that a row breaks, or NULL."""
        rule = pa.nulls(self._rows, pa.string())
        for rows, broken in reversed(self._broken):
            rule = pc.if_else(rows, broken, rule)
        return rule


def _records(shown: dict[str, pa.Array], rule: pa.Array) -> pa.Array:
    """The rows that break a rule, as JSON."""
    if rule.null_count == len(rule):
        return pa.nulls(len(rule), pa.string())
    broken = rule.is_valid()
    values = [_legible(column.filter(broken)) for column in shown.values()]
    records = iter(
        json.dumps(dict(zip(shown, row, strict=True)), default=str, ensure_ascii=False)
        for row in zip(*values, strict=True)
    )
    return pa.array((next(records) if at else None for at in broken.to_pylist()), pa.string())


def _legible(column: pa.Array) -> list[Any]:
    if types.is_temporal(column.type):
        column = column.cast(pa.string())
    try:
        return list(column.to_pylist())
    except (ValueError, OverflowError, pa.ArrowException):  # times that Python has no words for
        return ["…"] * len(column)


def _bounded(batch: pa.RecordBatch, most_bytes: int) -> Iterator[pa.RecordBatch]:
    """The batch in pieces none of which is much larger than `most_bytes`."""
    weight = sum(_weight(column) for column in batch.columns)
    if batch.num_rows <= 1 and weight > _LONGEST_ROW:
        raise _Refused(
            f"a row holds {weight >> 20} MB, more than {_LONGEST_ROW >> 20}", "Ask the producer for smaller values."
        )
    if batch.num_rows <= 1 or weight <= most_bytes:
        yield batch
        return
    half = batch.num_rows // 2
    yield from _bounded(batch.slice(0, half), most_bytes)
    yield from _bounded(batch.slice(half), most_bytes)


def _weight(column: pa.Array) -> int:
    """Bytes that a column takes, each value for itself; of nested values, as the JSON that they become."""
    if types.is_dictionary(column.type):
        lengths = pc.binary_length(column.dictionary).take(column.indices)
        return int(column.indices.nbytes + (pc.sum(lengths).as_py() or 0))
    return _json_weight(column) if types.is_nested(column.type) else int(column.nbytes)


def _json_weight(values: pa.Array) -> int:
    kind, count = values.type, len(values)
    if types.is_struct(kind):
        names = sum(len(field.name.encode()) + _SIGNS for field in kind)
        return count * (names + 2) + sum(map(_json_weight, values.flatten()))
    if types.is_map(kind):
        first, last = (int(values.offsets[at].as_py()) for at in (0, -1))
        inner = _json_weight(values.keys[first:last]) + _json_weight(values.items[first:last])
        return 2 * count + len('{"key":,"value":},') * (last - first) + inner
    if types.is_list(kind) or types.is_large_list(kind):
        return 2 * count + _json_weight(values.flatten())
    return count * _SIGNS + int(values.nbytes)


def _within(batch: pa.RecordBatch, path: list[str]) -> pa.Array:
    values = batch.column(path[0])
    for name in path[1:]:
        values = values.flatten()[values.type.get_field_index(name)]
    return values


def _moments(coarse: pa.Array, wrapped: pa.Array, header: str, rules: _Rules) -> tuple[pa.Array, pa.Array]:
    """Times of 96 bits, in microseconds; and as text, to the last digit."""
    if not types.is_timestamp(coarse.type):
        raise _Refused(
            f"column {_quoted(repr(header))} holds times of 96 bits (INT96) among others: not read for sure",
            "Ask the producer to write its times as TIMESTAMP, or for a column of their own.",
            header,
        )
    ms = coarse.cast(pa.int64())
    rest = pc.subtract(wrapped.cast(pa.int64()), pc.multiply(ms, 1_000_000))  # both wrap alike
    micro = pc.divide(rest, 1000)
    finer = pc.subtract(rest, pc.multiply(micro, 1000))
    far = pc.fill_null(pc.greater(pc.abs(ms), _LAST_MS), pa.scalar(value=False))
    us = pc.if_else(far, None, pc.add(pc.multiply(ms, 1000), micro)).cast(pa.timestamp("us"))
    rules.add(far, f"{header} holds a time out of any calendar")
    rules.add(
        pc.fill_null(pc.not_equal(finer, 0), pa.scalar(value=False)),
        f"{header} holds a time finer than a microsecond",
    )
    digits = pc.utf8_lpad(finer.cast(pa.string()), 3, "0")
    return us, pc.binary_join_element_wise(us.cast(pa.string()), digits, "")


def _told(values: pa.Array, header: str, rules: _Rules) -> pa.Array:
    """A column in a type that Polars has; what does not fit there breaks a rule."""
    kind = values.type
    if types.is_dictionary(kind) and _is_text(kind.value_type):
        # Each different value is looked at once, however often it occurs.
        return pa.DictionaryArray.from_arrays(values.indices, _leaf(values.dictionary, header))
    if types.is_decimal(kind):
        values.validate(full=True)
        return _decimals(values, header, rules)
    if not types.is_nested(kind):
        return _leaf(values, header)
    values.validate(full=True)
    values = _nested(values, header)
    if (odd := _not_finite(values)) is not None:
        rules.add(odd, f"{header} holds NaN or infinity, which JSON has no words for")
    return values


def _decimals(values: pa.Array, header: str, rules: _Rules) -> pa.Array:
    kind = values.type
    if not types.is_decimal256(kind):
        return values.cast(pa.decimal128(kind.precision, kind.scale))
    fits = pa.decimal128(_MOST_DIGITS, min(kind.scale, _MOST_DIGITS))
    with contextlib.suppress(pa.ArrowInvalid):
        return values.cast(fits)
    small, most = [], Decimal(10) ** (_MOST_DIGITS - fits.scale)
    for value in values.to_pylist():
        ok = value is not None and abs(value) < most and value.as_tuple().exponent >= -_MOST_DIGITS
        small.append(value if ok else None)
    rules.add(
        pa.array([(a is None) != (b is None) for a, b in zip(small, values.to_pylist(), strict=True)]),
        f"{header} holds a number of more than {_MOST_DIGITS} digits",
    )
    return pa.array(small, fits)


def _leaf(values: pa.Array, header: str) -> pa.Array:
    """Values that hold no others."""
    kind = values.type
    if isinstance(kind, _Variant):
        raise _Refused(f"column {_quoted(repr(header))} holds VARIANT, which cannot be read", _USUAL, header)
    if isinstance(kind, pa.BaseExtensionType):
        uuid = kind.extension_name == "arrow.uuid"
        return _uuids(values.storage) if uuid else _leaf(values.storage, header)
    if types.is_dictionary(kind):
        return _leaf(values.dictionary_decode(), header)
    if types.is_float16(kind):
        return values.cast(pa.float32())
    if types.is_primitive(kind) or types.is_null(kind):
        return values
    if types.is_fixed_size_binary(kind) or types.is_binary_view(kind):
        values = values.cast(pa.binary())
    try:
        if types.is_large_binary(kind) or types.is_large_string(kind):
            values = values.cast(pa.large_string())
        else:
            values = values.cast(pa.string())
        values.validate(full=True)
    except pa.ArrowNotImplementedError as error:
        raise _Refused(
            f"column {_quoted(repr(header))} holds {_foreign(str(kind))}, which cannot be read", _USUAL, header
        ) from error
    except pa.ArrowInvalid as error:
        raise _Refused(
            f"column {_quoted(repr(header))} holds bytes that are no UTF-8 text",
            "Ask the producer to write them as text (such as hex), or take the column out of the contract.",
            header,
        ) from error
    return values


def _uuids(values: pa.Array) -> pa.Array:
    """Identifiers of 16 bytes as they are written: 8-4-4-4-12 digits."""
    raw = b"".join(values.fill_null(bytes(16)).cast(pa.binary()).to_pylist())
    digits = pa.py_buffer(raw.hex().encode())
    whole = pa.Array.from_buffers(pa.binary(32), len(values), [None, digits]).cast(pa.binary()).cast(pa.string())
    groups = [pc.utf8_slice_codeunits(whole, *ends) for ends in ((0, 8), (8, 12), (12, 16), (16, 20), (20, 32))]
    return pc.if_else(values.is_valid(), pc.binary_join_element_wise(*groups, "-"), None)


def _nested(values: pa.Array, header: str) -> pa.Array:
    """Lists, maps and structs of what JSON has words for; a map's keys are text."""
    kind = values.type
    if values.offset:
        values = values.take(pa.array(range(len(values)), pa.int64()))
    empty = values.is_null()
    if types.is_struct(kind):
        inner = [_nested(part, header) for part in values.flatten()]
        return pa.StructArray.from_arrays(inner, names=[part.name for part in kind], mask=empty) if inner else values
    if types.is_map(kind):
        keys = _nested(values.keys, header)
        keys = keys if types.is_string(keys.type) or types.is_large_string(keys.type) else keys.cast(pa.string())
        return pa.MapArray.from_arrays(values.offsets, keys, _nested(values.items, header), mask=empty)
    if types.is_list_view(kind) or types.is_large_list_view(kind) or types.is_fixed_size_list(kind):
        values = values.cast(pa.large_list(kind.value_type))
    if types.is_large_list(values.type):
        return pa.LargeListArray.from_arrays(values.offsets, _nested(values.values, header), mask=empty)
    if types.is_list(kind):
        return pa.ListArray.from_arrays(values.offsets, _nested(values.values, header), mask=empty)
    if types.is_decimal256(kind) or types.is_time(kind):
        return values.cast(pa.string())
    return values if types.is_decimal(kind) else _leaf(values, header)


def _not_finite(values: pa.Array) -> pa.Array | None:
    """Which of the values hold NaN or infinity, at any depth; None where none can."""
    kind = values.type
    if types.is_floating(kind):
        return pc.fill_null(pc.invert(pc.is_finite(values)), pa.scalar(value=False))
    if types.is_struct(kind):
        found = [odd for part in values.flatten() if (odd := _not_finite(part)) is not None]
        return functools.reduce(pc.or_, found) if found else None
    if types.is_map(kind):
        values = pa.ListArray.from_arrays(values.offsets, values.items, mask=values.is_null())
    elif not (types.is_list(kind) or types.is_large_list(kind)):
        return None
    if (odd := _not_finite(values.flatten())) is None:
        return None
    holders = pc.list_parent_indices(values).filter(odd).cast(pa.int64())
    return pc.is_in(pa.array(range(len(values)), pa.int64()), value_set=holders)


if __name__ == "__main__":
    pa.register_extension_type(_Variant(pa.struct({})))
    _main(*sys.argv[1:])
