"""Blocks of lines of delimited text, taken apart into records and fields.

Belongs here: what becomes of lines, what is malformed. Elsewhere: what a record is (grammar.py), the file (reader.py).
Whole blocks go through Arrow's CSV parser. It is lenient, so that lines of an odd shape are kept from it and go, one
by one, through the expression that defines a record. Its records are counted: where they are not as many as lines
went in, the whole block goes the exact way."""

import csv
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import polars as pl
import pyarrow as pa
from pyarrow import csv as arrow

from platform_assets.engine.feed.formats import Csv
from platform_assets.engine.readers import MALFORMED_SCHEMA
from platform_assets.engine.readers.csv.grammar import STRAY, UNKNOWN_ESCAPE, Fields, Grammar
from platform_assets.engine.readers.limits import Limits

_NUL: Final = "NUL byte"
_BOM: Final = "\ufeff"
_BOM_BYTES: Final = _BOM.encode()
_BOM_WITHIN: Final = "byte-order mark within"
_HEADER_AGAIN: Final = "the header again"
_DOUBTFUL: Final = "stray quotes in several fields: a delimiter before a quote may be missing"

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
    nothing was looked at. doubt: the records that were malformed left a quote open."""

    rows: list[tuple[object, ...]]
    malformed: list[_Malformed]
    taken: list[int]
    stop: int
    doubt: bool


class Splitter:
    """Takes blocks of whole lines apart, for one way of writing and one header."""

    def __init__(self, form: Csv, header: Sequence[str], fields: Sequence[int], limits: Limits) -> None:
        """form: with its delimiter known. fields: the positions of those that are asked for."""
        self._over_lines = limits.over_lines
        self._budget = limits.budget
        self._grammar = Grammar(form)
        self._header = list(header)
        self._fields = sorted(set(fields)) or [0]
        self._names = [f"{at}" for at in self._fields]
        self._nulls = frozenset(("", *form.nulls))
        self._quote = form.quote
        self._lines = self._grammar.lines()
        self._fast = self._grammar.delimiter.isascii()
        self._marks = [each.encode() for each in (form.quote, form.escape) if each is not None]
        missing = [] if form.escape is None else [f"{form.escape}N"]
        self._options: dict[str, Any] = {
            "column_types": dict.fromkeys(self._names, pa.string()),
            "include_columns": self._names,
            "strings_can_be_null": True,
            "quoted_strings_can_be_null": True,
            "null_values": [*self._nulls, *missing],
            "check_utf8": False,  # decoding has
        }
        self._columns = [f"{at}" for at in range(len(self._header))]
        self._doubt = False  # whether the malformed records so far left a quote open, so that its end is still to come

    def split(self, block: bytes, line: int, *, final: bool, plain_lines: int | None) -> Block:
        """Take apart the lines of `block`, the first of which is physical line `line`.

        final: no more lines follow, so an open quote stays open.
        plain_lines: how many lines the block has, if that is known and none of them is blank.
        """
        if plain_lines is not None and self._fast and not self._has_oddities(block):
            at = pl.int_range(line, line + plain_lines, dtype=pl.Int64, eager=True)
            bulk = self._bulk(block, at, quoted=False)
            if bulk is not None and not len(self._like_header(bulk[0])):
                return Block(*bulk, len(block), plain_lines)
        return self._sifted(block, line, final=final)

    def _is_quoted(self, block: bytes) -> bool:
        return self._quote is not None and self._quote.encode() in block

    def _has_oddities(self, block: bytes) -> bool:
        return any(mark in block for mark in (*self._marks, b"\0")) or _has_bom(block)

    def _bulk(self, block: bytes, at: pl.Series, *, quoted: bool) -> tuple[pl.DataFrame, pl.DataFrame] | None:
        """The records of a block of none but sound or ragged lines, which stand on the lines `at`; None where it
        does not come to as many records as that."""
        ragged: list[tuple[int, str, int]] = []

        def keep(row: Any) -> str:  # noqa: ANN401 - of pyarrow
            ragged.append((row.number - 1, row.text, row.actual_columns))
            return "skip"

        if not len(at):
            return self._frame([]), _malformed([])
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
            bulk = self._bulk(text, left.arg_true().cast(pl.Int64) + line, quoted=self._is_quoted(text))
            if bulk is None:
                odd = ~blank
                continue
            frame, malformed = bulk
            # A ragged line with a quote may be the first of a record that spans lines.
            suspect = (
                malformed.filter(pl.col("record").str.contains(self._quote, literal=True)) if self._quote else None
            )
            again = [self._like_header(frame), *([] if suspect is None else [suspect["_line"]])]
            if not any(map(len, again)):
                break
            odd |= _mask(len(lines), (pl.concat(again) - line).to_list())
        if exact.rows:
            frame = pl.concat([frame, self._frame(exact.rows)]).sort("_line")
        if exact.malformed:
            malformed = pl.concat([malformed, _malformed(exact.malformed)]).sort("_line")
        self._doubt = exact.doubt
        consumed = int(ends[exact.stop - 1]) if exact.stop else 0
        return Block(frame, malformed, consumed, exact.stop)

    def _odd(self, block: bytes, lines: pl.Series) -> pl.Series:
        """Which lines are not for Arrow's parser: a quote where none should be, an escape, a NUL, a mark it drops."""
        if not self._fast:
            return lines != ""
        odd = pl.repeat(value=False, n=len(lines), dtype=pl.Boolean, eager=True)
        for sign, present in (("\0", b"\0" in block), (_BOM, _has_bom(block))):
            if present:
                odd |= lines.str.contains(sign, literal=True)
        for mark in self._marks:
            if mark in block:
                marked = lines.str.contains(mark.decode(), literal=True).arg_true()
                odd |= _mask(len(lines), self._misshapen(lines, marked).to_list())
        return odd

    def _misshapen(self, lines: pl.Series, marked: pl.Series) -> pl.Series:
        """Those of the lines `marked` (they have quotes or escapes) that may not be records by themselves."""
        pure, nearly, closing = self._lines
        impure = (~lines.gather(marked).str.contains(pure)).arg_true()
        if not len(impure):
            return marked.clear()
        # A quote in an unquoted field may have lost the delimiter before it, if the next one ends a field.
        following = lines.gather(marked.gather((impure + 1).clip(upper_bound=len(marked) - 1)))
        quote = self._quote or ""
        opens = following.str.ends_with(quote) | following.str.contains(quote + self._grammar.delimiter, literal=True)
        if opens.any():  # which an expression would tell at a higher cost
            opens &= following.str.contains(closing)
        opens |= impure == len(marked) - 1
        return marked.gather(impure).filter(opens | ~lines.gather(marked.gather(impure)).str.contains(nearly))

    def _exactly(self, block: bytes, line_ends: pl.Series, odd: pl.Series, line: int, *, final: bool) -> _Exact:
        """The records that begin at the lines `odd`, or the rules they break."""
        done = _Exact([], [], [], len(line_ends), self._doubt)
        if not odd.any() and not self._doubt:
            return done
        ends = line_ends.to_list()
        todo = odd.arg_true().to_list()
        free = 0
        while True:
            following = bisect_left(todo, free)
            at = min(
                todo[following] if following < len(todo) else len(ends),
                self._next_quote(block, ends, free) if done.doubt else len(ends),
            )
            if at >= len(ends):
                return done
            self._budget.check()
            found = self._at(block, ends, at, final=final)
            if found is None:
                return replace(done, stop=at)  # it may go on in the next block
            fields, spans = found
            free = at + spans
            done.taken.extend(range(at, free))
            record = block[ends[at - 1] if at else 0 : ends[free - 1]].decode().rstrip("\r\n")
            odd_quotes = self._grammar.quotes(record) % 2 == 1
            if done.doubt and odd_quotes and not isinstance(fields, str) and self._grammar.closing.match(record):
                fields = STRAY
            if isinstance(fields, str):
                done.malformed.append((line + at, record, fields))
                done = replace(done, doubt=done.doubt != odd_quotes)
            else:
                done.rows.append((line + at, *(None if fields[n] in self._nulls else fields[n] for n in self._fields)))
                done = replace(done, doubt=done.doubt and not (self._quote and self._quote in record))

    def _next_quote(self, block: bytes, ends: Sequence[int], free: int) -> int:
        """The next line from line `free` on that has a quote."""
        quote = (self._quote or "").encode()
        found = block.find(quote, ends[free - 1] if free else 0) if quote else -1
        return bisect_right(ends, found) if found >= 0 else len(ends)

    def _at(self, block: bytes, ends: Sequence[int], at: int, *, final: bool) -> tuple[Fields | str, int] | None:
        """The record that begins at line `at`, or the rule it breaks, and how many lines it takes; None where the
        next block tells."""
        grammar = self._grammar
        start, line_end = ends[at - 1] if at else 0, ends[at]
        reach = max(line_end, min(start + self._over_lines, len(block)))
        goes_on = not final and len(block) - start <= self._over_lines
        found = grammar.record.match(block, start, reach)
        if found and (spans := _lines_to(found.end(), ends, at)):
            if goes_on and not found[1] and found.end() == len(block):
                return None  # the last line end is escaped
            record = found[0].removesuffix(found[1]).decode()
            outcome = self._outcome(record, block[ends[at + spans - 2] : found.end()])
            if not isinstance(outcome, int):
                if outcome != _DOUBTFUL and not (isinstance(outcome, list) and grammar.quotes(record) % 2):
                    return outcome, spans
                torn = grammar.torn(block, start, reach, len(self._header))
                if torn is None and goes_on:
                    return None
                if torn_lines := _lines_to(torn or start, ends, at):
                    return _DOUBTFUL, torn_lines
                return (_DOUBTFUL if self._is_closed_after(block, ends, at + spans) else outcome), spans
            if spans > 1:
                # One delimiter short or over is a broken record of so many lines. Anything else is a quote that went
                # astray: what it means is not sure, so that its neighbours are read on their own.
                return self._ragged(outcome), spans if abs(outcome - len(self._header)) == 1 else 1
            rule = self._ragged(outcome)
        else:
            rule = STRAY if self._is_quoted(block[start:line_end]) else UNKNOWN_ESCAPE
            if grammar.left_open.match(block, start, line_end):
                rule = "quote never closed"
                if grammar.left_open.match(block, start, reach):
                    if goes_on:
                        return None
                    if reach - start >= self._over_lines:
                        rule = f"quote not closed within {self._over_lines >> 20} MB, the most for a record over lines"
            rule = _NUL if b"\0" in block[start:line_end] else rule
        torn = grammar.torn(block, start, reach, len(self._header))
        if torn is None and goes_on:
            return None
        return rule, _lines_to(torn or start, ends, at) or 1

    def _is_closed_after(self, block: bytes, ends: Sequence[int], at: int) -> bool:
        """Whether the next line from `at` on with a quote is broken, but would close what an earlier quote opened."""
        line = self._next_quote(block, ends, at)
        if line == len(ends):
            return False
        found = self._grammar.record.match(block, ends[line - 1], ends[line])
        text = block[ends[line - 1] : ends[line]].decode().rstrip("\r\n")
        alone = found is not None and found.end() == ends[line] and len(self._grammar.parts(text)) == len(self._header)
        return not alone and self._grammar.closing.match(text) is not None

    def _outcome(self, record: str, last_line: bytes) -> Fields | str | int:
        """The fields of a well-formed record, or the rule it breaks; how many there are where that is wrong."""
        if "\0" in record:
            return _NUL
        text = record.removeprefix(_BOM)
        try:
            fields = self._grammar.fields(text)
        except ValueError:
            return UNKNOWN_ESCAPE
        except csv.Error:
            if text == record:
                raise
            return _BOM_WITHIN  # without its mark it opens a quote that nothing closes
        if fields == self._header:
            return _HEADER_AGAIN
        if text != record or (len(self._header) == 1 and _BOM in record):
            return _BOM_WITHIN
        if len(fields) != len(self._header):
            return len(fields)
        strays = self._grammar.strays(record)
        if len(strays) > 1 and any(count % 2 for count in strays):
            return _DOUBTFUL
        if strays and len(last_line) < len(record.encode()) and self._grammar.record.fullmatch(last_line):
            alone = last_line.decode().rstrip("\r\n")
            if len(self._grammar.parts(alone)) == len(fields) and len(self._grammar.strays(alone)) < 2:
                return _DOUBTFUL
        return fields

    def _ragged(self, width: int) -> str:
        return f"{width} fields instead of {len(self._header)}"

    def _frame(self, rows: Sequence[tuple[object, ...]]) -> pl.DataFrame:
        return pl.DataFrame(rows, {"_line": pl.Int64(), **dict.fromkeys(self._names, pl.String())}, orient="row")


def _malformed(rows: Sequence[_Malformed]) -> pl.DataFrame:
    return pl.DataFrame(rows, MALFORMED_SCHEMA, orient="row")


def _has_bom(block: bytes) -> bool:
    # Its first byte is rare, and looking for one byte costs nothing.
    return _BOM_BYTES[:1] in block and _BOM_BYTES in block


def _lines_to(end: int, ends: Sequence[int], at: int) -> int:
    """How many lines from line `at` on end at byte `end`; 0 where none does."""
    last = bisect_left(ends, end)
    return last - at + 1 if last < len(ends) and ends[last] == end else 0


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
