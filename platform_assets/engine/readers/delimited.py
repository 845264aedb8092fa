"""Blocks of lines of delimited text, taken apart into records and fields.

Belongs here: what a record is; what cannot be taken apart is malformed, alone, with its line. Does not: the file.
Whole blocks go through Arrow's CSV parser. It is lenient, so that lines of an odd shape are kept from it and go, one
by one, through the expression that defines a record. Its records are counted: where they are not as many as lines
went in, the whole block goes the exact way.
"""

import csv
import io
import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import polars as pl
import pyarrow as pa
from pyarrow import csv as arrow

from platform_assets.engine.formats import Csv
from platform_assets.engine.readers import MALFORMED_SCHEMA
from platform_assets.engine.readers.text import LONGEST_LINE

LONGEST_RECORD: Final = 1 << 20  # of those that span lines
_BOM: Final = "\ufeff"
_HEADER_AGAIN: Final = "the header again"
csv.field_size_limit(LONGEST_LINE)

_Malformed = tuple[int, str, str]


@dataclass(frozen=True)
class Block:
    """A block taken apart. `frame` has `_line` and a column of text per field asked for, named by its position
    ("0", "1", …). `consumed` bytes and `lines` lines were; what is left may go on in the next block."""

    frame: pl.DataFrame
    malformed: pl.DataFrame
    consumed: int
    lines: int


@dataclass(frozen=True)
class _Exact:
    """What became of the odd lines: sound records, malformed ones, and the lines they took. From line `stop` on
    nothing was looked at."""

    rows: list[tuple[object, ...]]
    malformed: list[_Malformed]
    taken: list[int]
    stop: int


class Grammar:
    """What a record is: fields, each quoted whole or not quoted at all, as many lines as quoted line ends make it."""

    def __init__(self, form: Csv) -> None:
        """form: with its delimiter known."""
        self.delimiter = form.delimiter or ","
        self.quote = form.quote
        between = self.delimiter.encode()
        inner = (
            b"[^%b\\r\\n]" % re.escape(between) if len(between) == 1 else b"(?:(?!%b)[^\\r\\n])" % re.escape(between)
        )
        # Atomic groups: Python before 3.11.5 gets a possessive repeat of anything longer than a character wrong.
        if form.quote is None:
            field, opened = b"(?>%b*)" % inner, b"(?!)"
        else:
            quote = re.escape(form.quote.encode())
            opened = b"%b(?>(?:[^%b]+|%b%b)*)" % (quote, quote, quote, quote)
            field = b"(?:%b%b|(?!%b)(?>%b*))" % (opened, quote, quote, inner)
        before = b"(?>(?:%b%b)*)" % (field, re.escape(between))
        self.record: Final = re.compile(b"%b%b(?:\\r\\n|\\n|\\r|\\Z)" % (before, field))
        self.left_open: Final = re.compile(b"%b%b\\Z" % (before, opened))

    def line(self) -> str:
        """A line that is a record, to Polars."""
        between, quote = (f"\\x{{{ord(each):x}}}" for each in (self.delimiter, self.quote or '"'))
        field = f"(?:{quote}(?:[^{quote}]|{quote}{quote})*{quote}|(?:[^{quote}{between}][^{between}]*)?)"
        return f"^{field}(?:{between}{field})*$"

    def fields(self, record: str) -> list[str]:
        """The fields of a record."""
        if self.quote is None or self.quote not in record:
            return record.split(self.delimiter)
        text = io.StringIO(record, newline="")
        return next(csv.reader(text, delimiter=self.delimiter, quotechar=self.quote, strict=True))


class Splitter:
    """Takes blocks of whole lines apart, for one way of writing and one header."""

    def __init__(self, form: Csv, header: Sequence[str], fields: Sequence[int]) -> None:
        """form: with its delimiter known. fields: the positions of those that are asked for."""
        self._grammar = Grammar(form)
        self._header = list(header)
        self._fields = sorted(set(fields)) or [0]
        self._names = [f"{at}" for at in self._fields]
        self._nulls = frozenset(("", *form.nulls))
        self._quote = form.quote
        self._line = self._grammar.line()
        self._fast = self._grammar.delimiter.isascii()
        self._options: dict[str, Any] = {
            "column_types": dict.fromkeys(self._names, pa.string()),
            "include_columns": self._names,
            "strings_can_be_null": True,
            "quoted_strings_can_be_null": True,
            "null_values": list(self._nulls),
            "check_utf8": False,  # decoding has
        }
        self._columns = [f"{at}" for at in range(len(self._header))]

    def split(self, block: bytes, line: int, *, final: bool, plain_lines: int | None) -> Block:
        """Take apart the lines of `block`, the first of which is physical line `line`.

        final: no more lines follow, so an open quote stays open.
        plain_lines: how many lines the block has, if that is known and none of them is blank.
        """
        if plain_lines is not None and self._fast and not self._has_quotes(block) and b"\0" not in block:
            at = pl.int_range(line, line + plain_lines, dtype=pl.Int64, eager=True)
            bulk = self._bulk(block, at, quoted=False)
            if bulk is not None and not len(self._like_header(bulk[0])):
                return Block(*bulk, len(block), plain_lines)
        return self._sifted(block, line, final=final)

    def _has_quotes(self, block: bytes) -> bool:
        return self._quote is not None and self._quote.encode() in block

    def _bulk(self, block: bytes, at: pl.Series, *, quoted: bool) -> tuple[pl.DataFrame, pl.DataFrame] | None:
        """The records of a block of none but sound or ragged lines, which stand on the lines `at`; None where it
        does not come to as many records as that."""
        ragged: list[tuple[int, str, int]] = []

        def keep(row: Any) -> str:  # noqa: ANN401 - of pyarrow
            ragged.append((row.number - 1, row.text, row.actual_columns))
            return "skip"

        if not len(at) or block.startswith(_BOM.encode()):  # which Arrow would drop
            return None if len(at) else (self._frame([]), _malformed([]))
        try:
            table = arrow.read_csv(
                pa.py_buffer(block),
                read_options=arrow.ReadOptions(
                    use_threads=False, block_size=len(block) + 1, column_names=self._columns
                ),
                parse_options=arrow.ParseOptions(
                    delimiter=self._grammar.delimiter,
                    quote_char=self._quote if quoted else False,
                    invalid_row_handler=keep,
                ),
                convert_options=arrow.ConvertOptions(**self._options),
            )
        except pa.ArrowInvalid:
            return None
        if table.num_rows + len(ragged) != len(at):
            return None
        lines = at
        if ragged:
            lines = at.filter(~_mask(len(at), [number for number, _, _ in ragged]))
        if len(lines) != table.num_rows:
            return None
        frame = pl.DataFrame(table).insert_column(0, lines.alias("_line"))
        return frame, _malformed([(at[number], text, self._ragged(width)) for number, text, width in ragged])

    def _like_header(self, frame: pl.DataFrame) -> pl.Series:
        """The lines of the records that look like the header in what is asked for."""
        for name, at in zip(self._names, self._fields, strict=True):
            expected = None if self._header[at] in self._nulls else self._header[at]
            frame = frame.filter(pl.col(name).eq_missing(pl.lit(expected, pl.String)))
            if not frame.height:
                break
        return frame["_line"]

    def _sifted(self, block: bytes, line: int, *, final: bool) -> Block:
        """As `split`, with the odd lines taken out and read one by one."""
        lines, ends = _table(block)
        blank = lines == ""
        odd = self._odd(block, lines)
        while True:
            exact = self._exactly(block, ends, odd, line, final=final)
            left = ~(blank | _mask(len(lines), exact.taken))
            if exact.stop < len(lines):
                left &= pl.int_range(len(lines), eager=True) < exact.stop
            # What is left is copied only where something is missing.
            text = block if left.all() else lines.filter(left).str.join("\n").cast(pl.Binary).item()
            bulk = self._bulk(text, left.arg_true().cast(pl.Int64) + line, quoted=self._has_quotes(text))
            if bulk is None:
                odd = ~blank
                continue
            frame, malformed = bulk
            if not len(again := self._like_header(frame)):
                break
            odd |= _mask(len(lines), (again - line).to_list())
        if exact.rows:
            frame = pl.concat([frame, self._frame(exact.rows)]).sort("_line")
        if exact.malformed:
            malformed = pl.concat([malformed, _malformed(exact.malformed)]).sort("_line")
        consumed = int(ends[exact.stop - 1]) if exact.stop else 0
        return Block(frame, malformed, consumed, exact.stop)

    def _odd(self, block: bytes, lines: pl.Series) -> pl.Series:
        """Which lines are not for Arrow's parser: a quote where none should be, a NUL, a mark it would drop."""
        if not self._fast:
            return lines != ""
        odd = lines.str.starts_with(_BOM)
        if b"\0" in block:
            odd |= lines.str.contains("\0", literal=True)
        if self._quote is not None:
            quoted = lines.str.contains(self._quote, literal=True).arg_true()
            misshapen = quoted.filter(~lines.gather(quoted).str.contains(self._line))
            odd |= _mask(len(lines), misshapen.to_list())
        return odd

    def _exactly(self, block: bytes, line_ends: pl.Series, odd: pl.Series, line: int, *, final: bool) -> _Exact:
        """The records that begin at the lines `odd`, or the rules they break."""
        done = _Exact([], [], [], len(line_ends))
        if not odd.any():
            return done
        ends = line_ends.to_list()
        free = 0
        for at in odd.arg_true().to_list():
            if at < free:
                continue  # part of the record before
            start = ends[at - 1] if at else 0
            text = block[start : ends[at]].decode().rstrip("\r\n")
            spans = self._spans(block, ends, at)
            fields: list[str] | str
            if spans:
                record = block[start : ends[at + spans - 1]].decode().rstrip("\r\n")
                fields = self._judged(record)
                if fields == _HEADER_AGAIN:
                    done.malformed.append((line + at, record, _HEADER_AGAIN))
                    free = at + spans
                    done.taken.extend(range(at, free))
                    continue
            elif self._grammar.left_open.match(block, start, ends[at]):
                within_reach = not final and len(block) - start <= LONGEST_RECORD
                if within_reach and self._grammar.left_open.match(block, start):
                    return replace(done, stop=at)  # it may close in the next block
                fields = "NUL byte" if "\0" in text else "quote never closed"
            else:
                fields = "NUL byte" if "\0" in text else "stray quote"
            if isinstance(fields, str):
                # What the quotes of this line mean is not sure, so its neighbours are judged on their own.
                done.malformed.append((line + at, text, fields))
                spans = 1
            else:
                done.rows.append((line + at, *(None if fields[n] in self._nulls else fields[n] for n in self._fields)))
            free = at + spans
            done.taken.extend(range(at, free))
        return done

    def _spans(self, block: bytes, ends: Sequence[int], at: int) -> int:
        """How many lines the record takes that begins at line `at`; 0 where none does, or a longer one than allowed."""
        start = ends[at - 1] if at else 0
        found = self._grammar.record.match(block, start, max(ends[at], min(start + LONGEST_RECORD, len(block))))
        if found is None:
            return 0
        last = bisect_left(ends, found.end())
        return last - at + 1 if ends[last] == found.end() else 0

    def _judged(self, record: str) -> list[str] | str:
        """The fields of a well-formed record, or the rule it breaks."""
        if "\0" in record:
            return "NUL byte"
        fields = self._grammar.fields(record)
        if len(fields) != len(self._header):
            return self._ragged(len(fields))
        return _HEADER_AGAIN if fields == self._header else fields

    def _ragged(self, width: int) -> str:
        return f"{width} fields instead of {len(self._header)}"

    def _frame(self, rows: Sequence[tuple[object, ...]]) -> pl.DataFrame:
        return pl.DataFrame(rows, {"_line": pl.Int64(), **dict.fromkeys(self._names, pl.String())}, orient="row")


def _malformed(rows: Sequence[_Malformed]) -> pl.DataFrame:
    return pl.DataFrame(rows, MALFORMED_SCHEMA, orient="row")


def _mask(length: int, at: Sequence[int]) -> pl.Series:
    """True at the positions `at`."""
    mask = pl.repeat(False, length, dtype=pl.Boolean, eager=True)
    return mask.scatter(list(at), True) if at else mask


def _table(block: bytes) -> tuple[pl.Series, pl.Series]:
    """The physical lines without their ends (LF, CRLF or CR), and the bytes at which they end."""
    lines = pl.read_lines(block, name="line")["line"]
    sizes = lines.str.len_bytes().cast(pl.Int64)
    whole = len(lines) - (not block.endswith((b"\n", b"\r")))
    breaks = len(block) - int(sizes.sum())
    if b"\r" not in block:
        sizes += 1
    elif breaks == 2 * whole and not lines.str.contains("\r", literal=True).any():
        sizes += 2
    else:
        raw = pl.Series(block.splitlines(keepends=True), dtype=pl.Binary)
        lines = raw.cast(pl.String).str.strip_chars_end("\r\n")
        sizes = raw.bin.size().cast(pl.Int64)
    return lines, sizes.cum_sum().clip(upper_bound=len(block))
