"""Bytes as chunks of whole lines of UTF-8: decompressed, decoded, without byte-order mark, bounded.

Belongs here: what every line-based format needs. Does not: what a line means (csv.py, ndjson.py).
"""

import codecs
import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final, cast

from platform_assets.errors import DeliveryRefused, DeliveryUnfinished

CHUNK: Final = 8 << 20
LONGEST_LINE: Final = 64 << 20
_RATIO_CAP: Final = 300
_RATIO_FREE: Final = 100 << 20


def decoded_chunks(copy: Path, *, compressed: bool, encoding: str) -> Iterator[bytes]:
    """The file in chunks of about 8 MB, each ending at a line end but perhaps the last.

    Raises DeliveryUnfinished for a compressed file that stops short, DeliveryRefused for bytes that are not in
    the declared encoding (naming their offset), for a failed checksum, an absurd ratio or an endless line.
    """
    carry = b""
    for text in _utf8(copy, compressed=compressed, encoding=encoding):
        block = carry + text
        # A carriage return at the very end may be half of a CRLF.
        end = max(block.rfind(b"\n"), block.rfind(b"\r", 0, len(block) - 1)) + 1
        if end == 0:
            carry = block
            if len(carry) > LONGEST_LINE:
                raise DeliveryRefused(
                    f"a line is longer than {LONGEST_LINE >> 20} MB",
                    remedy="Ask the producer for line breaks between the records.",
                )
            continue
        yield block[:end]
        carry = block[end:]
    if carry:
        yield carry


def line_ends(block: bytes) -> int:
    """How many lines end in `block`, whether by LF, CRLF or CR."""
    ends = block.count(b"\n")
    returns = block.count(b"\r")
    return ends + (returns - block.count(b"\r\n")) if returns else ends


def _utf8(copy: Path, *, compressed: bool, encoding: str) -> Iterator[bytes]:
    utf8 = codecs.lookup(encoding).name in ("utf-8", "utf-8-sig")
    decoder = codecs.getincrementaldecoder(encoding)()
    offset = 0
    first = True
    for block in _raw(copy, compressed=compressed):
        if first and utf8 and block.startswith(codecs.BOM_UTF8):
            block = block.removeprefix(codecs.BOM_UTF8)
            offset += len(codecs.BOM_UTF8)
        held = len(decoder.getstate()[0])  # of a character that straddles two blocks
        try:
            # Decoding checks the encoding; UTF-8 needs no copy afterwards.
            text = decoder.decode(block)
        except UnicodeDecodeError as error:
            raise _not_encoded(encoding, offset - held + error.start) from error
        offset += len(block)
        if utf8:
            yield block
        else:
            # A lone surrogate, which some codecs let through, cannot be written as UTF-8.
            yield (text.removeprefix("\ufeff") if first else text).encode(errors="replace")
        first = False
    try:
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        raise _not_encoded(encoding, offset - len(decoder.getstate()[0])) from error


def _not_encoded(encoding: str, offset: int) -> DeliveryRefused:
    return DeliveryRefused(
        f"byte {offset} is not {encoding}",
        remedy='Declare the encoding it has, such as Files(…, format=Csv(encoding="latin-1")) or "utf-16".',
    )


def _raw(copy: Path, *, compressed: bool) -> Iterator[bytes]:
    with copy.open("rb") as plain:
        if not compressed:
            while block := plain.read(CHUNK):
                yield block
            return
        size = copy.stat().st_size
        total = 0
        with cast("IO[bytes]", gzip.GzipFile(fileobj=plain)) as unpacked:
            while True:
                try:
                    block = unpacked.read(CHUNK)
                except EOFError as error:
                    raise DeliveryUnfinished("the compressed file ends before its content does") from error
                except (gzip.BadGzipFile, zlib.error) as error:
                    raise DeliveryRefused(
                        f"damaged gzip: {error}", remedy="Ask the producer to deliver the file again."
                    ) from error
                if not block:
                    return
                total += len(block)
                if total > _RATIO_FREE and total > size * _RATIO_CAP:
                    raise DeliveryRefused(
                        f"unpacks to more than {_RATIO_CAP} times its size",
                        remedy="If this is real, deliver it unpacked; it looks like a decompression bomb.",
                    )
                yield block
