"""CSV: a header, then records of as many fields, `"` for quoting.

Belongs here: taking lines apart into fields, exactly; what cannot be is malformed, alone. Does not: types.
Lines without quotes, nearly all, are split by Polars a chunk at a time; lines with quotes by Python's csv.
"""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import polars as pl

from platform_assets.engine.formats import Csv
from platform_assets.engine.readers import MALFORMED_SCHEMA, Batch, Part, refuse_unreconciled
from platform_assets.engine.readers.text import LONGEST_LINE, decoded_chunks, line_ends

_LONGEST_RECORD: Final = 1 << 20
csv.field_size_limit(LONGEST_LINE)


class CsvReader:
    """Reads one CSV delivery; see `Reader`."""

    format = "csv"

    def __init__(self, copy: Path, *, compressed: bool, form: Csv) -> None:
        self._copy = copy
        self._compressed = compressed
        self._form = form
        self._delimiter = form.delimiter or ","
        self._survey = _Survey(self._delimiter)
        for chunk in self._chunks():
            self._survey.add(chunk)
        self._survey.finish()
        self._accounted = 0

    @property
    def dialect(self) -> Mapping[str, str]:
        """See `Reader`."""
        return {"delimiter": self._delimiter, "encoding": self._form.encoding or "utf-8"}

    @property
    def parts(self) -> Sequence[Part]:
        """See `Reader`."""
        return ()

    @property
    def header(self) -> tuple[str, ...]:
        """See `Reader`."""
        return self._survey.header

    @property
    def looks_cut_off(self) -> bool:
        """Whether the last line has no end and too few fields, as of a file that is still being written."""
        return self._survey.cut_off

    def batches(self, columns: Mapping[str, str]) -> Iterator[Batch]:
        """See `Reader`. Empty fields are NULL."""
        names = {f"{self.header.index(header)}": name for name, header in columns.items()}
        splitter = _Splitter(self._delimiter, len(self.header))
        line = 1
        header = True
        carry = b""
        chunks = self._chunks()
        chunk = next(chunks, None)
        while chunk is not None:
            following = next(chunks, None)
            chunk = carry + chunk
            block = splitter.split(chunk, line, header=header, final=following is None)
            header = block.header
            carry = chunk[block.consumed :]
            line += block.lines
            self._accounted = line - 1
            yield Batch(
                block.frame.select("_line", *(pl.col(at).alias(name) for at, name in names.items())),
                block.malformed,
            )
            chunk = following

    def reconcile(self, read: int) -> None:
        """See `Reader`; a record ends at a line end outside quotes.

        Where a stray quote makes that count meaningless, every physical line must have been accounted for.
        """
        if not (self._survey.quoted and self._accounted == self._survey.lines):
            refuse_unreconciled(self._survey.records, read)

    def _chunks(self) -> Iterator[bytes]:
        return decoded_chunks(self._copy, compressed=self._compressed, encoding=self._form.encoding or "utf-8")


class _Survey:
    """Counts over the whole file, made without the parser, and the header."""

    def __init__(self, delimiter: str) -> None:
        self._delimiter = delimiter
        self.header: tuple[str, ...] = ()
        self.lines = 0
        self.records = -1  # the header is not a record
        self.quoted = False
        self.cut_off = False
        self._inside = False
        self._last = b""
        self._previous_end = b"\n"

    def add(self, chunk: bytes) -> None:
        if not self.header:
            self._read_header(chunk)
        self.lines += line_ends(chunk)
        outside = chunk
        if b'"' in chunk:
            self.quoted = True
            pieces = chunk.split(b'"')
            # What lies inside quotes is blotted out by the quote, so that no blank line appears.
            outside = b'"'.join(pieces[1 if self._inside else 0 :: 2])
            self._inside ^= len(pieces) % 2 == 0
        elif self._inside:
            outside = b""
        if b"\r" in outside:
            outside = outside.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        ends = outside.count(b"\n")
        joined = self._previous_end + outside
        blank = 0
        if b"\n\n" in joined:
            blank = ends - sum(1 for line in outside.split(b"\n")[:-1] if line)
            if self._previous_end != b"\n" and outside.startswith(b"\n"):
                blank -= 1
        self.records += ends - blank
        self._previous_end = joined[-1:]
        self._last = chunk[max(chunk.rfind(b"\n", 0, -1), chunk.rfind(b"\r", 0, -1)) + 1 :]

    def finish(self) -> None:
        unended = bool(self._last) and not self._last.endswith((b"\n", b"\r"))
        if unended:
            self.lines += 1
            self.records += 1
            fields = self._last.count(self._delimiter.encode())
            self.cut_off = self._inside or fields < len(self.header) - 1
        self.records = max(self.records, 0)

    def _read_header(self, chunk: bytes) -> None:
        text = io.StringIO(chunk.decode("utf-8"), newline="")
        for fields in csv.reader(text, delimiter=self._delimiter):
            if fields:
                self.header = tuple(fields)
                return


@dataclass(frozen=True)
class _Block:
    """A block taken apart. `frame` has `_line` and columns "0", "1", … of text; `consumed` bytes were.
    `header`: whether the header is still to come."""

    frame: pl.DataFrame
    malformed: pl.DataFrame
    consumed: int
    lines: int
    header: bool


class _Splitter:
    """Takes blocks of whole lines apart, for one delimiter and one number of fields."""

    def __init__(self, delimiter: str, width: int) -> None:
        self._delimiter = delimiter
        self._width = width
        self._fields = {f"{at}": pl.String() for at in range(width)}

    def split(self, block: bytes, line: int, *, header: bool, final: bool) -> _Block:
        """Take apart the lines of `block`, the first of which is physical line `line`.

        header: the first record is not data. final: no more lines follow, so an open quote stays open.
        """
        if b'"' in block:
            return self._with_quotes(block.splitlines(keepends=True), line, header=header, final=final)
        text = block.replace(b"\r\n", b"\n").replace(b"\r", b"\n") if b"\r" in block else block
        table = pl.read_lines(text, name="text").with_columns(
            pl.int_range(line, line + pl.len(), dtype=pl.Int64).alias("_line")
        )
        lines = table.height
        table = table.filter(pl.col("text") != "")
        if header and table.height:
            table, header = table[1:], False
        frame, malformed = self._without_quotes(table)
        return _Block(frame, malformed, len(block), lines, header)

    def _without_quotes(self, table: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Lines (`_line`, `text`), none blank, into fields; uneven ones are malformed."""
        delimiters = pl.col("text").str.count_matches(self._delimiter, literal=True)
        nul = pl.col("text").str.contains("\0", literal=True)
        table = table.with_columns(
            pl.when(nul)
            .then(pl.lit("NUL byte"))
            .when(delimiters != self._width - 1)
            .then(pl.format("{} fields instead of {}", delimiters + 1, self._width))
            .alias("rule")
        )
        malformed = table.filter(pl.col("rule").is_not_null())
        if malformed.height:
            table = table.filter(pl.col("rule").is_null())
        fields = pl.col("text").str.split_exact(self._delimiter, self._width - 1)
        names = list(self._fields)
        frame = (
            table.select("_line", fields.struct.rename_fields(names).alias("fields"))
            .unnest("fields")
            .with_columns(pl.when(pl.col(names) != "").then(pl.col(names)))
        )
        return frame, malformed.select("_line", pl.col("text").alias("record"), "rule")

    def _with_quotes(self, raw: list[bytes], line: int, *, header: bool, final: bool) -> _Block:
        """As `split`, line by line where there are quotes."""
        plain: list[tuple[int, str]] = []
        exact: list[tuple[object, ...]] = []
        broken: list[tuple[int, str, str]] = []
        at = 0
        while at < len(raw):
            if b'"' not in raw[at]:
                if text := raw[at].rstrip(b"\r\n").decode():
                    if not header:
                        plain.append((line + at, text))
                    header = False
                at += 1
                continue
            spans, fields = self._record(raw, at)
            if spans == 0 and not final and sum(map(len, raw[at:])) < _LONGEST_RECORD:
                break  # it may close in the next block: hand its lines back
            if header:
                header = False
            elif isinstance(fields, str):
                # The quotes of this line mean nothing sure, so its neighbours are judged on their own.
                broken.append((line + at, raw[at].rstrip(b"\r\n").decode(), fields))
                spans = 1
            else:
                exact.append((line + at, *(field or None for field in fields)))
            at += spans or 1
        frame, malformed = self._without_quotes(
            pl.DataFrame(plain, schema={"_line": pl.Int64(), "text": pl.String()}, orient="row")
        )
        if exact:
            quoted = pl.DataFrame(exact, schema={"_line": pl.Int64(), **self._fields}, orient="row")
            frame = pl.concat([frame, quoted]).sort("_line")
        if broken:
            malformed = pl.concat([malformed, pl.DataFrame(broken, schema=MALFORMED_SCHEMA, orient="row")])
        return _Block(frame, malformed.sort("_line"), sum(map(len, raw[:at])), at, header)

    def _record(self, raw: list[bytes], at: int) -> tuple[int, list[str] | str]:
        """The record that begins at line `at`: how many lines it spans (0 if its quotes do not close within
        reach), and its fields or the rule it breaks."""
        fields = self._parsed(raw[at])
        if isinstance(fields, list) or raw[at].count(b'"') % 2 == 0:
            return 1, fields
        record = raw[at]
        spans = 1
        inside = True
        while inside:
            if at + spans >= len(raw) or len(record) > _LONGEST_RECORD:
                return 0, "quote never closed"
            inside ^= raw[at + spans].count(b'"') % 2 == 1
            record += raw[at + spans]
            spans += 1
        return spans, self._parsed(record)

    def _parsed(self, record: bytes) -> list[str] | str:
        """The fields of a record with quotes, or the rule it breaks."""
        if b"\0" in record:
            return "NUL byte"
        text = io.StringIO(record.rstrip(b"\r\n").decode(), newline="")
        try:
            rows = list(csv.reader(text, delimiter=self._delimiter, strict=True))
        except csv.Error:
            return "stray quote"
        if len(rows) != 1:
            return "stray quote"
        return rows[0] if len(rows[0]) == self._width else f"{len(rows[0])} fields instead of {self._width}"
