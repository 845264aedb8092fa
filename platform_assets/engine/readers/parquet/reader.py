"""Parquet: typed columns, read in batches; the values of declared `key=value` folders are columns too.

Belongs here: what becomes of the columns. Elsewhere: parsing (columnar.py, in a process of its own), whether a type
fits the contract (cast.py). Nested columns come as JSON text, unless the contract asks for a path into them
("customer.city").
"""

import contextlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Final
from urllib.parse import unquote

import polars as pl
import pyarrow as pa

from platform_assets.engine.feed.formats import Parquet
from platform_assets.engine.readers import MALFORMED_SCHEMA, Batch, Part
from platform_assets.engine.readers.isolated import Parser, Stopped
from platform_assets.engine.readers.limits import Limits
from platform_assets.engine.readers.magic import ENOUGH, kind_of
from platform_assets.errors import DeliveryRefused, DeliveryUnfinished, foreign, quoted

_PARSER: Final = Path(__file__).with_name("columnar.py")
_MAGIC: Final = b"PAR1"
_NO_VALUE: Final = "__HIVE_DEFAULT_PARTITION__"
_AGAIN: Final = "Ask the producer to deliver the file again."


class ParquetReader:
    """Reads one Parquet delivery; see `Reader`. A record's line is its row number, from 1."""

    format = "parquet"
    looks_cut_off = False

    def __init__(self, copy: Path, *, slot: str, form: Parquet, wanted: Sequence[str], limits: Limits) -> None:
        self._copy = copy
        self._limits = limits
        self._asked = json.dumps([header.strip().casefold() for header in wanted])
        self._found: dict[str, Any] = {"header": [], "rows": 0}
        self._folders = {key: _folder(slot, key) for key in form.partitions}
        self._surveyed: list[Parser] = []  # what surveyed the file waits here to be asked for its rows
        if copy.stat().st_size == 0:
            return
        _refuse_other(copy)
        with self._refusing():
            self._surveyed.append(self._parser())
        for key in self._folders:
            if key.casefold() in {header.casefold() for header, _ in self._found["header"]}:
                raise DeliveryRefused(
                    f"column {quoted(repr(key))} is in the file as well as in the folder's name",
                    remedy=f"Take {key!r} out of Parquet(partitions=…) to read the file's own.",
                    column=key,
                )

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
        own = tuple(header for header, _ in self._found["header"])
        return (*own, *self._folders) if own else ()

    def batches(self, columns: Mapping[str, str]) -> Iterator[Batch]:
        """See `Reader`."""
        own = {header for header, _ in self._found["header"]}
        asked = list(dict.fromkeys(header for header in columns.values() if header in own))
        places = {header: f"{at}" for at, header in enumerate(asked)}
        before = 0
        with self._refusing(), contextlib.closing(self._surveyed.pop() if self._surveyed else self._parser()) as parser:
            parser.ask(json.dumps(asked).encode())
            with pa.PythonFile(parser, mode="r") as output, pa.ipc.open_stream(output) as stream:
                for arrow in _heard(stream):
                    rows = pl.DataFrame([_series(name, arrow.column(name)) for name in arrow.schema.names])
                    rows = rows.select(pl.int_range(before + 1, before + arrow.num_rows + 1).alias("line"), pl.all())
                    before += arrow.num_rows
                    schema = rows.schema
                    values = (
                        _value(schema, places[header]) if header in own else pl.lit(self._folders[header], pl.String)
                        for header in columns.values()
                    )
                    sound, malformed = _apart(rows)
                    named = (value.alias(name) for value, name in zip(values, columns, strict=True))
                    yield Batch(sound.select(pl.col("line").alias("_line"), *named), malformed)

    def reconcile(self, read: int) -> None:
        """See `Reader`; the file's footer says how many rows there are."""
        if read != self._found["rows"]:
            raise DeliveryRefused(
                f"{self._found['rows']} records were delivered but {read} understood",
                remedy="The footer counts other rows than there are. " + _AGAIN,
            )

    def _parser(self) -> Parser:
        """A parser that has surveyed the file; what it found is noted."""
        seconds = self._limits.budget.seconds
        arguments = [str(self._copy.absolute()), str(self._limits.batch), self._asked]
        parser = Parser(_PARSER, arguments, seconds=seconds, memory=self._limits.parser_memory)
        self._found = json.loads(parser.line())
        if refused := self._found.get("refused"):
            raise _refused(refused)
        return parser

    @contextlib.contextmanager
    def _refusing(self) -> Iterator[None]:
        """What the parser did instead of ending, and what it wrote that cannot be, in words for people."""
        try:
            yield
        except Stopped as stopped:
            if b"crypt" in stopped.stderr:
                raise _encrypted() from stopped
            self._limits.budget.check()
            raise DeliveryRefused(
                f"the Parquet file cannot be parsed: its parser {stopped}",
                remedy="Ask the producer to write it anew with usual settings (smaller row groups), or as CSV.",
            ) from stopped
        except (pa.ArrowException, pl.exceptions.PolarsError) as error:
            raise DeliveryRefused(f"cannot be read: {foreign(str(error).splitlines()[0])}", remedy=_AGAIN) from error


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


def _refuse_other(copy: Path) -> None:
    """Raise DeliveryRefused or DeliveryUnfinished where the file does not begin and end as Parquet does."""
    with copy.open("rb") as stream:
        head = stream.read(ENOUGH)
        stream.seek(-min(len(_MAGIC), copy.stat().st_size), os.SEEK_END)
        tail = stream.read()
    if head.startswith(_MAGIC):
        if tail != _MAGIC:
            raise DeliveryUnfinished("the Parquet file ends before its footer does")
        return
    if head.startswith(b"PARE"):
        raise _encrypted()
    what = kind_of(head)
    raise DeliveryRefused(
        "no Parquet by its content" + (f": it is {what}" if what else ""),
        remedy="Ask the producer for Parquet, or for a name that says what the file is.",
    )


def _encrypted() -> DeliveryRefused:
    return DeliveryRefused("the Parquet file is encrypted", remedy="Ask the producer to write it without encryption.")


def _heard(stream: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
    """The batches; raises DeliveryRefused where one has, instead of rows, the reason why the file cannot be read."""
    with contextlib.suppress(StopIteration):
        while True:
            arrow, metadata = stream.read_next_batch_with_custom_metadata()
            if metadata:
                raise _refused(json.loads(metadata[b"refused"]))
            yield arrow


def _refused(details: Mapping[str, str | None]) -> DeliveryRefused:
    return DeliveryRefused(f"{details['problem']}", remedy=f"{details['remedy']}", column=details["column"])


def _series(name: str, arrow: pa.Array) -> pl.Series:
    if pa.types.is_dictionary(arrow.type):
        # Each different value is copied once, however often it occurs.
        return pl.Series(name, arrow.dictionary).gather(pl.Series(arrow.indices))
    return pl.Series(name, arrow)


def _apart(rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The sound rows and the malformed ones."""
    broken = rows.filter(pl.col("rule").is_not_null())
    malformed = broken.select(pl.col("line").alias("_line"), "record", "rule").cast(pl.Schema(MALFORMED_SCHEMA))
    return rows.filter(pl.col("rule").is_null()) if broken.height else rows, malformed


def _value(schema: pl.Schema, name: str) -> pl.Expr:
    """A column; nested as it is, JSON text."""
    value, kind = pl.col(name), schema[name]
    if isinstance(kind, pl.Struct):
        return pl.when(value.is_not_null()).then(value.struct.json_encode())
    if kind.is_nested():
        # Only a struct can be written as JSON: the list stands between {"v": and the closing brace.
        encoded = pl.struct(value.alias("v")).struct.json_encode().str.slice(5).str.head(-1)
        return pl.when(value.is_not_null()).then(encoded)
    return value
