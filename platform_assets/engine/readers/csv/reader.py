"""CSV: lines before the header, the header, records, a footer.

Belongs here: where in a file the records are, and counting them without the parser. Elsewhere: parsing them
(delimited.py), finding out the delimiter (dialect.py), decoding (text.py).
"""

import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import chain, islice
from pathlib import Path
from typing import Final

import polars as pl

from platform_assets.engine.feed.formats import Csv
from platform_assets.engine.readers import Batch, Part, refuse_unreconciled
from platform_assets.engine.readers.csv.delimited import Splitter
from platform_assets.engine.readers.csv.dialect import SAMPLE, detect
from platform_assets.engine.readers.csv.grammar import STRAY, UNKNOWN_ESCAPE, Grammar
from platform_assets.engine.readers.limits import Limits
from platform_assets.engine.readers.text import Text, line_ends
from platform_assets.errors import DeliveryRefused, DeliveryUnfinished

_LINE_END: Final = re.compile(rb"\r\n|\n|\r")


class CsvReader:
    """Reads one CSV delivery; see `Reader`."""

    format = "csv"

    def __init__(self, copy: Path, *, form: Csv, name: str, wanted: Sequence[str], limits: Limits) -> None:
        """name, wanted (the headers that the contract asks for): for finding out what `form` does not declare."""
        self._text = Text(copy, form.encoding, limits)
        self._form = form
        self._limits = limits
        self._whole: list[bytes] | None = None  # where one chunk holds all records, it is decoded once
        self._end = sys.maxsize
        self._footer_lines = 0
        self._accounted = 0
        chunks = self._chunks()
        begun = self._begin(chunks, name, wanted)
        self._survey = _Survey(self._form, len(self.header))
        self._survey.see_ends(self._before)
        read = 0
        for chunk in self._surveyed(chain(begun, chunks)):
            read += 1
            self._survey.add(chunk)
        self._survey.finish()
        if len(begun) == 1 and read <= (self._start < len(begun[0])):
            self._whole = begun

    @property
    def dialect(self) -> Mapping[str, str]:
        """See `Reader`."""
        dialect = {
            "delimiter": self._form.delimiter or "",
            "quote": self._form.quote or "none",
            "encoding": self._text.encoding,
            "line_ends": self._survey.line_ends,
        }
        if self._form.escape:
            dialect["escape"] = self._form.escape
        if self._form.skip:
            dialect["skip"] = f"{self._form.skip}"
        if self._form.footer is not None:
            dialect["footer_lines"] = f"{self._footer_lines}"
        return dialect

    @property
    def parts(self) -> Sequence[Part]:
        """See `Reader`."""
        return ()

    @property
    def header(self) -> tuple[str, ...]:
        """See `Reader`."""
        return self._header

    @property
    def last_line(self) -> int:
        """The last line that records may take; after it comes a footer, if anything."""
        return self._first_line + self._survey.lines - 1

    @property
    def looks_cut_off(self) -> bool:
        """Whether the last line has no end and too few fields, as of a file that is still being written."""
        return self._survey.cut_off

    def batches(self, columns: Mapping[str, str]) -> Iterator[Batch]:
        """See `Reader`. Empty fields are NULL, as are those that the form names."""
        at = {name: self.header.index(header) for name, header in columns.items()}
        splitter = Splitter(self._form, self.header, list(at.values()), self._limits)
        chosen = ["_line", *(pl.col(f"{position}").alias(name) for name, position in at.items())]
        line = self._first_line
        carry = b""
        blocks = self._survey.blocks
        for number, chunk in enumerate(self._data(self._chunks()), start=1):
            block = splitter.split(
                carry + chunk if carry else chunk,
                line,
                final=number == len(blocks),
                plain_lines=None if carry else blocks[number - 1],
            )
            carry = b"" if block.consumed == len(carry) + len(chunk) else (carry + chunk)[block.consumed :]
            line += block.lines
            self._accounted = line - self._first_line
            yield Batch(block.frame.select(chosen), block.malformed)

    def reconcile(self, read: int) -> None:
        """See `Reader`; a record ends at a line end outside quotes.

        Where a stray quote makes that count meaningless, every physical line must have been accounted for.
        """
        if not (self._survey.quoted and self._accounted == self._survey.lines):
            refuse_unreconciled(self._survey.records, read)

    def _chunks(self) -> Iterator[bytes]:
        if self._whole is not None:
            return iter(self._whole)
        return self._text.chunks()

    def _begin(self, chunks: Iterator[bytes], name: str, wanted: Sequence[str]) -> list[bytes]:
        """Find the header, and where the records begin. What was read of `chunks` is handed back."""
        begun: list[bytes] = []
        for chunk in chunks:
            begun.append(chunk)
            text = chunk if len(begun) == 1 else b"".join(begun)
            start = _after(text, self._form.skip)
            if len(text[start:].lstrip(b"\r\n")) > SAMPLE:
                ended = False
                break
        else:
            text = b"".join(begun) if len(begun) != 1 else begun[0]
            start = _after(text, self._form.skip)
            ended = True
        self._form = detect(text[start : start + SAMPLE + 1], self._form, name, wanted)
        if self._form.header is not None:
            self._header, self._start = self._form.header, start
        else:
            self._header, self._start = self._read_header(text, start, ended=ended)
        self._before = text[: self._start]
        self._first_line = 1 + line_ends(self._before)
        return begun

    def _read_header(self, text: bytes, start: int, *, ended: bool) -> tuple[tuple[str, ...], int]:
        """The names, and where their line ends; `ended`: `text` is all there is."""
        at = start
        while text[at : at + 1] in (b"\n", b"\r"):
            at += 1  # blank lines are not it
        if at == len(text):
            return (), at
        grammar = Grammar(self._form)
        reach = min(at + SAMPLE, len(text))
        found = grammar.record.match(text, at, reach)
        if found and (found[0].endswith((b"\n", b"\r")) or found.end() == len(text)):
            with suppress(ValueError):
                names = grammar.fields(found[0].removesuffix(found[1]).decode())
                return tuple(name or "" for name in names), found.end()
        line = 1 + line_ends(text[:at])
        opened = found is None and grammar.left_open.match(text, at, reach)
        if opened and ended and reach == len(text):
            raise DeliveryUnfinished("ends in the middle of the header")
        what = f"not well-formed: {UNKNOWN_ESCAPE if found and found[1] else STRAY}"
        if opened or (found and not found[1]):
            what = f"longer than {SAMPLE >> 20} MB"
        raise DeliveryRefused(
            f"the header is {what}",
            remedy="Ask the producer for a sound one, or declare Csv(quote=None) if quotes mean nothing in this file.",
            line=line,
            guess=True,
        )

    def _data(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """The lines that are records, a chunk at a time, as far as the end is known."""
        at = 0
        for chunk in chunks:
            data = chunk[max(self._start - at, 0) : max(self._end - at, 0)]
            at += len(chunk)
            if data:
                yield data
            if at >= self._end:
                return

    def _surveyed(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """As `_data`, finding the end: what comes after it is decoded, and so checked, too."""
        found = re.compile(self._form.footer).search if self._form.footer is not None else None
        end = None
        at = self._start
        for data in self._data(chunks):
            begins = 0 if end is not None else len(data)
            if found is not None and end is None:
                texts = _texts(data)[0].to_list()
                line = next((n for n, text in enumerate(texts) if found(text)), None)
                if line is not None:
                    begins = _after(data, line)
                    end = at + begins
            if begins:
                yield data[:begins]
            if end is not None:
                self._footer_lines += _lines(data[begins:])
            at += len(data)
        if end is not None:
            self._end = end


class _Survey:
    """Counts over the lines that hold records, made without the parser."""

    def __init__(self, form: Csv, width: int) -> None:
        self._delimiter = (form.delimiter or ",").encode()
        self._quote = form.quote.encode() if form.quote else None
        self._all_else = bytes(set(range(256)) - {*b"\n", *(self._quote or b"")})
        self._escape = form.escape.encode() if form.escape else None
        self._width = width
        self.blocks: list[int | None] = []  # the lines of each chunk, where none of them is blank
        self.lines = 0
        self.records = 0
        self.quoted = False
        self.cut_off = False
        self._inside = False
        self._last = b""
        self._ends: set[str] = set()

    @property
    def line_ends(self) -> str:
        """How lines end."""
        return "mixed" if len(self._ends) > 1 else next(iter(self._ends), "none")

    def see_ends(self, block: bytes) -> None:
        """Take note of how the lines before the records end."""
        if block:
            self._texts(block)

    def add(self, chunk: bytes) -> None:
        """Count the lines and records of the next chunk."""
        texts, plain = self._texts(chunk)
        blank = texts == ""
        closed = len(texts)
        if self._inside or any(mark is not None and mark in chunk for mark in (self._quote, self._escape)):
            self.quoted = True
            # Of each line nothing but its quotes; the end that the last may lack keeps it a line.
            plain += b"\n" * (not plain.endswith(b"\n"))
            escaped = None
            if self._escape is not None and self._escape in chunk:
                plain = re.sub(re.escape(self._escape) + rb"[^\n]", b"", plain)
                escaped = pl.read_lines(plain, name="line")["line"].str.ends_with(self._escape.decode())
            quotes = pl.read_lines(plain.translate(None, self._all_else), name="quotes")["quotes"].str.len_bytes()
            inside = ((quotes & 1).cum_sum() + self._inside) & 1 == 1
            self._inside = bool(inside[-1])
            if escaped is not None:
                inside |= escaped
            closed -= int(inside.sum())
            blank &= ~inside
        blanks = int(blank.sum())
        self.lines += len(texts)
        self.records += closed - blanks
        self.blocks.append(None if blanks else len(texts))
        self._last = chunk[max(chunk.rfind(b"\n", 0, -1), chunk.rfind(b"\r", 0, -1)) + 1 :]

    def finish(self) -> None:
        """Judge the end."""
        if self._last and not self._last.endswith((b"\n", b"\r")):
            self.records += self._inside
            self.cut_off = self._inside or self._last.count(self._delimiter) < self._width - 1

    def _texts(self, block: bytes) -> tuple[pl.Series, bytes]:
        texts, plain = _texts(block)
        if plain is not block:
            self._ends |= {"CR"} if b"\n" not in block else {"CR", "LF"}
        else:
            feeds = len(texts) - (not block.endswith(b"\n"))
            last = block.endswith(b"\r")
            returns = len(block) - int(texts.str.len_bytes().sum()) - feeds - last
            kinds = {"CR": last, "CRLF": returns, "LF": feeds - returns}
            self._ends |= {kind for kind, number in kinds.items() if number}
        return texts, plain


def _texts(block: bytes) -> tuple[pl.Series, bytes]:
    """The physical lines without their ends (LF, CRLF or CR), and the block, written anew if a CR stands alone."""
    texts = pl.read_lines(block, name="text")["text"]
    if b"\r" in block and texts.str.contains("\r", literal=True).any():
        block = block.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        texts = pl.read_lines(block, name="text")["text"]
    return texts, block


def _lines(block: bytes) -> int:
    """The number of lines, the last of which may have no end."""
    return line_ends(block) + (bool(block) and not block.endswith((b"\n", b"\r")))


def _after(block: bytes, lines: int) -> int:
    """Where the line after the first `lines` begins; the end of the block where it has no more."""
    ends = [end.end() for end in islice(_LINE_END.finditer(block), lines)]
    return (ends[-1] if ends else 0) if len(ends) == lines else len(block)
