"""Text files as chunks of whole lines of UTF-8: decoded, without byte-order mark, bounded.

Belongs here: what every line-based format needs. Elsewhere: decompression (unpack.py), what a line means (csv/ …).
"""

import codecs
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

from platform_assets.engine.readers.limits import Limits
from platform_assets.errors import DeliveryRefused

_TAIL: Final = 1 << 16
# The longer marks first: UTF-16's is how UTF-32's begins.
MARKS: Final = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


class Text:
    """A text file that may be gone through several times; it must not change meanwhile.

    encoding: as declared, or else as the byte-order mark says, or else UTF-8.
    """

    def __init__(self, copy: Path, encoding: str | None, limits: Limits) -> None:
        self._copy = copy
        self._limits = limits
        with copy.open("rb") as file:
            begin = file.read(4)
        self.encoding = encoding or next((name for mark, name in MARKS if begin.startswith(mark)), "utf-8")
        self._utf8 = codecs.lookup(self.encoding).name in ("utf-8", "utf-8-sig")
        self._start = len(codecs.BOM_UTF8) if self._utf8 and begin.startswith(codecs.BOM_UTF8) else 0
        self._checked = False

    def chunks(self) -> Iterator[bytes]:
        """The text in chunks of about 8 MB, each ending at a line end but perhaps the last.

        Raises DeliveryRefused for bytes that are not in the encoding (naming their offset) or an endless line.
        """
        with self._copy.open("rb", buffering=0) as file:
            yield from self._slices(file) if self._utf8 else self._whole_lines(file)

    def blocks(self) -> Iterator[bytes]:
        """The text in blocks that end anywhere between characters, for formats that do not go by lines."""
        with self._copy.open("rb", buffering=0) as file:
            yield from self._decoded(file)

    def _slices(self, file: IO[bytes]) -> Iterator[bytes]:
        """Each chunk is read at once up to where its last line ends, so that none is put together or cut."""
        at, size = self._start, self._copy.stat().st_size
        while at < size:
            end = self._line_end(file, at, size)
            file.seek(at)
            chunk = _exactly(file, end - at)
            self._limits.budget.check()
            if not self._checked:
                self._check(chunk, at)
            yield chunk
            at = end
        self._checked = True

    def _check(self, chunk: bytes, at: int) -> None:
        if chunk.isascii() or _is_utf8(chunk):
            return
        try:
            chunk.decode("utf-8")
        except UnicodeDecodeError as error:
            raise self._not_encoded(at + error.start) from error

    def _decoded(self, file: IO[bytes]) -> Iterator[bytes]:
        decoder = codecs.getincrementaldecoder(self.encoding)()
        offset = 0
        first = True
        while True:
            block = file.read(self._limits.at_once)
            self._limits.budget.check()
            held = len(decoder.getstate()[0])  # of a character that straddles two blocks
            try:
                text = decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                raise self._not_encoded(offset - held + error.start) from error
            offset += len(block)
            if first and text:
                text, first = text.removeprefix("\ufeff"), False
            # A lone surrogate, which some codecs let through, cannot be written as UTF-8.
            yield text.encode(errors="replace")
            if not block:
                return

    def _whole_lines(self, file: IO[bytes]) -> Iterator[bytes]:
        carry = b""
        for text in self._decoded(file):
            block = carry + text
            # A carriage return at the very end may be half of a CRLF.
            end = max(block.rfind(b"\n"), block.rfind(b"\r", 0, len(block) - 1)) + 1
            if end == 0:
                carry = block
                if len(carry) > self._limits.record:
                    raise self._endless()
                continue
            yield block[:end]
            carry = block[end:]
        if carry:
            yield carry

    def _line_end(self, file: IO[bytes], start: int, size: int) -> int:
        """Where the last line ends that ends within a chunk's reach of `start`; the file's end if there are no more."""
        searched = start
        while (reach := searched + self._limits.at_once) < size:
            tail = reach
            while tail > searched:
                head = max(searched, tail - _TAIL)
                file.seek(head)
                # The byte after it tells whether a carriage return is half of a CRLF.
                block = _exactly(file, tail - head + 1)
                if end := max(block.rfind(b"\n", 0, -1), _last_return(block)) + 1:
                    return head + end
                tail = head
            if reach - start > self._limits.record:
                raise self._endless()
            searched = reach
        return size

    def _endless(self) -> DeliveryRefused:
        return DeliveryRefused(
            f"a line is longer than {self._limits.record >> 20} MB",
            remedy="Ask the producer for line breaks between the records.",
        )

    def _not_encoded(self, offset: int) -> DeliveryRefused:
        return DeliveryRefused(
            f"byte {offset} is not {self.encoding}",
            remedy='Declare the encoding that it has, encoding="…" of the format, or ask the producer for UTF-8.',
            guess=True,
        )


def line_ends(block: bytes) -> int:
    """How many lines end in `block`, whether by LF, CRLF or CR."""
    ends = block.count(b"\n")
    returns = block.count(b"\r")
    return ends + (returns - block.count(b"\r\n")) if returns else ends


def _last_return(block: bytes) -> int:
    """The last carriage return but in the last byte that is no half of a CRLF."""
    at = block.rfind(b"\r", 0, -1)
    return -1 if block[at + 1 : at + 2] == b"\n" else at


def _exactly(file: IO[bytes], length: int) -> bytes:
    block = file.read(length)
    while len(block) < length and (more := file.read(length - len(block))):
        block += more
    return block


def _is_utf8(chunk: bytes) -> bool:
    """As decoding would find, at a thirtieth of its cost."""
    import pyarrow as pa

    ends = b"".join(at.to_bytes(8, "little") for at in (0, len(chunk)))
    text = pa.Array.from_buffers(pa.large_string(), 1, [None, pa.py_buffer(ends), pa.py_buffer(chunk)])
    try:
        text.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True
