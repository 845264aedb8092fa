"""JSON documents: an array of records, at the top or at a declared path, or one record; of any size.

Belongs here: where a record begins and ends, and on which line. Elsewhere: what is in it (fields.py). Brackets
outside of strings show where a record ends, so one that is broken within them is malformed, alone; where they do not,
the delivery is refused.
"""

import json
import re
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NoReturn

import polars as pl
import pyarrow as pa

from platform_assets.engine.feed.formats import Json
from platform_assets.engine.readers import Reader
from platform_assets.engine.readers.json.fields import NOT_JSON
from platform_assets.engine.readers.json.lines import NdjsonReader, StoredJson
from platform_assets.engine.readers.limits import Limits
from platform_assets.engine.readers.text import Text
from platform_assets.errors import DeliveryRefused, DeliveryUnfinished, quoted

# Atomic groups: Python before 3.11.5 gets a possessive repeat of anything longer than a character wrong.
_STRING: Final = rb'"[^"\\]*+(?>(?:\\.[^"\\]*+)*)"'
_PLAIN: Final = rb'[^"{}\[\]]*+(?>(?:' + _STRING + rb'[^"{}\[\]]*+)*)'
_BLANK: Final = rb"[ \t\r\n]*+"


def _bracketed(depth: int) -> bytes:
    inner = rb"(?>(?:" + _bracketed(depth - 1) + _PLAIN + rb")*)" if depth else b""
    return rb"[{\[]" + _PLAIN + inner + rb"[}\]]"


_blank: Final = re.compile(_BLANK)
_string: Final = re.compile(_STRING, re.DOTALL)
_scalar: Final = re.compile(rb'(?>(?:[^"{}\[\],\s]|' + _STRING + rb")+)", re.DOTALL)
_to_bracket: Final = re.compile(_PLAIN + rb"([{}\[\]]?)", re.DOTALL)
_comma: Final = re.compile(_BLANK + rb"," + _BLANK)
_between_objects: Final = re.compile(_BLANK + rb"(?=\{)")
# Elements as nearly all are, each with the comma after it; others are found bracket by bracket.
_element: Final = re.compile(rb"(" + _bracketed(3) + rb")" + _BLANK + rb"," + _BLANK, re.DOTALL)
_suspect: Final = re.compile(r"[\r\n{}\[\]]")
_LOOKED_AT: Final = 20


def open_json(copy: Path, *, form: Json, wanted: Sequence[str], limits: Limits) -> Reader:
    """The reader for a file that is called JSON: its content tells whether it is one document or an object a line."""
    if not form.records and _has_objects_in_lines(Text(copy, form.encoding, limits)):
        reader = NdjsonReader(copy, form=form, wanted=wanted, limits=limits)
        reader.dialect["layout"] = "an object a line"
        return reader
    return JsonReader(copy, form=form, wanted=wanted, limits=limits)


def _has_objects_in_lines(source: Text) -> bool:
    begin = next(iter(source.blocks()), b"").lstrip()
    if not begin.startswith(b"{"):
        return False
    whole = 0
    for line in begin.split(b"\n", _LOOKED_AT)[:_LOOKED_AT]:
        try:
            whole += isinstance(json.loads(line), dict)
        except (ValueError, RecursionError):
            continue
    return whole > 1


class JsonReader(StoredJson):
    """Reads one JSON document; see `Reader`. A record's line is the one on which it begins; where several begin on
    one line, that would not name them, and it is the record's number."""

    def __init__(self, copy: Path, *, form: Json, wanted: Sequence[str], limits: Limits) -> None:
        super().__init__(form, wanted, limits)
        source = Text(copy, form.encoding, limits)
        self.dialect["encoding"] = source.encoding
        document = _Document(source.blocks(), limits.record)
        records = last = 0
        for block in document.records([key for key in form.records.split(".") if key]):
            numbers = pl.int_range(records + 1, records + 1 + pl.len(), dtype=pl.Int64).alias("_line")
            records += block.height
            lines = block["_line"]
            if lines[0] == last or not lines.is_unique().all():
                self.dialect["line"] = "row"
            last = lines[-1]
            for malformed in self._add(block.with_columns(numbers), escapes=document.escapes, lines=lines):
                _refuse_contagious(malformed)
        if self._elements is None:
            self._counted = records
        self.dialect["layout"] = document.layout
        if form.records:
            self.dialect["records"] = form.records
        self._refuse_all_malformed()


class _Document:
    """A document read from its begin to its end, once, of which no more is held than a block and a record."""

    def __init__(self, blocks: Iterator[bytes], longest: int) -> None:
        self._blocks = blocks
        self._longest = longest  # bytes of a record
        self._buffer = next(blocks, b"")
        self._at = 0
        self._line = 1  # that of the byte at _at
        self._newline = b"\n" if b"\n" in self._buffer or b"\r" not in self._buffer else b"\r"
        self._began = 1  # the line of the value that is being read
        self.layout = "empty"
        self.escapes = b"\\" in self._buffer  # whether a backslash has occurred

    def records(self, path: list[str]) -> Iterator[pl.DataFrame]:
        """The records in blocks of `_line` and `text`; the whole document is gone through."""
        if self._peek() is None:
            return
        yield from self._at_path(path, 0)
        while (first := self._peek()) is not None:
            if path or first != b"{" or self.layout not in ("object", "objects"):
                self._refuse("more after the end of the document")
            self.layout = "objects"
            if (block := self._at_hand(_between_objects)) is not None:
                yield block
            else:
                yield self._single()

    def _at_path(self, path: list[str], depth: int) -> Iterator[pl.DataFrame]:
        first = self._next()
        if depth == len(path):
            if first == b"[":
                self.layout = "array"
                yield from self._array()
            elif first == b"{":
                self.layout = "object"
                yield self._single()
            else:
                self._refuse(f"{_shown(path)} is neither a list nor an object")
            return
        if first != b"{":
            self._refuse(f"{_shown(path[:depth])} is no object, so there is no {'.'.join(path)}")
        self._step()
        keys: list[str] = []
        while self._next() != b"}":
            if keys:
                self._expect(b",")
            key = self._key()
            self._expect(b":")
            if key != path[depth]:
                self._skip()
            elif key in keys:
                self._refuse(f"{_shown(path[: depth + 1])} occurs twice")
            else:
                yield from self._at_path(path, depth + 1)
            # Only what is needed to say what is there instead.
            keys += [key] if key == path[depth] or len(keys) < _LOOKED_AT else []
        self._step()
        if path[depth] not in keys:
            there = quoted(*keys) if keys else "nothing"
            self._refuse(f"no {'.'.join(path[: depth + 1])} in the document; there is {there}")

    def _array(self) -> Iterator[pl.DataFrame]:
        """The elements of the array that begins here."""
        self._step()
        if self._next() == b"]":
            self._step()
            return
        while True:
            if (block := self._at_hand(_comma)) is not None:
                yield block
            yield self._single()
            if self._next() == b"]":
                self._step()
                return
            self._expect(b",")

    def _at_hand(self, between: re.Pattern[bytes]) -> pl.DataFrame | None:
        """The records from here on that are in the buffer together with what has to stand after them."""
        offsets, lines = array("q"), array("q")
        self._peek()
        buffer, count, newline = self._buffer, self._buffer.count, self._newline
        at = counted = self._at
        line = self._line
        while True:
            if between is _comma:
                for found in iter(_element.scanner(buffer, at).match, None):  # type: ignore[attr-defined]
                    begin, end = found.span(1)
                    line += count(newline, counted, begin)
                    counted = begin
                    offsets.extend((begin, end))
                    lines.append(line)
                    at = found.end()
            if at == len(buffer) or (end := self._end(at)) is None:
                break
            after = between.match(buffer, end)
            if end == at or after is None or after.end() == len(buffer):
                break
            line += count(newline, counted, at)
            counted = at
            offsets.extend((at, end))
            lines.append(line)
            at = after.end()
        if not lines:
            return None
        self._advance(at)
        return _block(buffer, offsets, lines)

    def _single(self) -> pl.DataFrame:
        """The record that begins here, wherever it ends."""
        first = self._next()
        self._began = self._line
        while (end := self._end(self._at)) is None:
            self._more()
        if end == self._at:
            self._refuse(f"{first.decode()} where a record should begin")
        block = _block(self._buffer, array("q", (self._at, end)), array("q", (self._began,)))
        self._advance(end)
        return block

    def _end(self, at: int) -> int | None:
        """Where the value that begins at `at` ends; None if that is not in the buffer."""
        if self._buffer[at] not in b"{[":
            found = _scalar.match(self._buffer, at)
            end = found.end() if found else at
            cut = end == len(self._buffer) or self._buffer[end] == ord('"')
            return None if cut else end
        depth = 0
        while True:
            found = _to_bracket.match(self._buffer, at)
            assert found is not None
            at = found.end()
            bracket = found[1]
            if not bracket:
                return None
            depth += 1 if bracket in b"{[" else -1
            if depth == 0:
                return at

    def _skip(self) -> None:
        """Go past the value that begins here, holding none of it."""
        first = self._next()
        self._began = self._line
        if first not in b"{[":
            while (end := self._end(self._at)) is None:
                self._more()
            if end == self._at:
                self._refuse("no value where one should be")
            self._advance(end)
            return
        depth = 0
        while True:
            found = _to_bracket.match(self._buffer, self._at)
            assert found is not None
            self._advance(found.end())
            if not found[1]:
                self._more()
                continue
            depth += 1 if found[1] in b"{[" else -1
            if depth == 0:
                return

    def _key(self) -> str:
        if self._next() != b'"':
            self._refuse("no key where one should be")
        self._began = self._line
        while (found := _string.match(self._buffer, self._at)) is None:
            self._more()
        self._advance(found.end())
        try:
            key: str = json.loads(found[0])
        except ValueError:
            self._refuse("a key that is no JSON text")
        return key

    def _expect(self, byte: bytes) -> None:
        if self._next() != byte:
            self._refuse(f"no {byte.decode()} where one should be")
        self._step()

    def _step(self) -> None:
        self._at += 1

    def _next(self) -> bytes:
        """The next byte that is not blank, which is then at hand."""
        if (byte := self._peek()) is None:
            self._more()
            return self._next()
        return byte

    def _peek(self) -> bytes | None:
        """As _next; None at the end."""
        while True:
            found = _blank.match(self._buffer, self._at)
            assert found is not None
            self._advance(found.end())
            if self._at < len(self._buffer):
                return self._buffer[self._at : self._at + 1]
            block = next(self._blocks, None)
            if block is None:
                return None
            self._bring(b"", block)

    def _more(self) -> None:
        """Bring the next block to what is left of this one."""
        kept = self._buffer[self._at :]
        if len(kept) > self._longest:
            raise DeliveryRefused(
                f"a record is longer than {self._longest >> 20} MB",
                remedy="Declare the path of the records, Json(records=…), or look for a bracket that is missing.",
                line=self._began,
            )
        block = next(self._blocks, None)
        if block is None:
            raise DeliveryUnfinished(f"the document ends within what begins on line {self._began}")
        self._bring(kept, block)

    def _bring(self, kept: bytes, block: bytes) -> None:
        self._buffer, self._at = kept + block, 0
        self.escapes = self.escapes or b"\\" in block

    def _advance(self, to: int) -> None:
        self._line += self._buffer.count(self._newline, self._at, to)
        self._at = to

    def _refuse(self, problem: str) -> NoReturn:
        raise DeliveryRefused(
            problem,
            remedy="Compare the file with format=Json(records=…); if the JSON is broken, ask for the file again.",
            line=self._line,
            guess=True,
        )


def _block(buffer: bytes, offsets: "array[int]", lines: "array[int]") -> pl.DataFrame:
    """Records, as (begin, end) in the buffer, with their lines."""
    slices = pa.Array.from_buffers(
        pa.large_string(),
        len(offsets) - 1,
        [None, pa.py_buffer(offsets), pa.py_buffer(buffer)],
    )
    texts = pl.Series("text", slices).gather_every(2)
    return pl.DataFrame([pl.Series("_line", pa.array(memoryview(lines), pa.int64())), texts])


def _refuse_contagious(malformed: pl.DataFrame) -> None:
    """A quote too many or too few makes strings of what is between them: then a record may be several."""
    for line, record in malformed.filter(pl.col("rule") == NOT_JSON).select("_line", "record").iter_rows():
        if any(_suspect.search(each.decode()) for each in _string.findall(record.encode())):
            raise DeliveryRefused(
                "broken JSON, and where its record ends cannot be told",
                remedy="Ask the producer for the file again; from there on nothing in it can be trusted.",
                line=line,
            )


def _shown(path: Sequence[str]) -> str:
    return ".".join(path) or "the document"
