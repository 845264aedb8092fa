"""Packed files (.gz, .zst) as plain ones: whole, checked and bounded before anybody reads them.

Belongs here: plain copies, how large they may get and that they do not stay. Elsewhere: zip's directory (zip.py).
A plain copy costs less than to decompress twice, which a survey and a reading would.
"""

import contextlib
import fcntl
import os
import tempfile
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Final, TypeVar, cast

from platform_assets.engine.readers.budget import RATIO_CAP
from platform_assets.engine.readers.limits import Limits
from platform_assets.errors import DeliveryRefused, DeliveryUnfinished, StorageError, foreign

_BLOCK: Final = 1 << 20
_MOST_BYTES: Final = 256 << 30
_AGAIN: Final = "Ask the producer to deliver the file again."


_Holder = TypeVar("_Holder")


class Room:
    """Where a delivery's plain copies lie, how large they may get together, and the limits of whoever reads them."""

    def __init__(self, delivered: Path, folder: Path, limits: Limits) -> None:
        self.limits = limits
        self._delivered = delivered
        self._folder = folder
        self._most = min(max(limits.unpacked, delivered.stat().st_size * RATIO_CAP), _MOST_BYTES)
        self._used = 0
        self._had_room = limits.disk.low() is None

    def anew(self) -> "Room":
        """The same room with nothing in it, to unpack the delivery once more."""
        return Room(self._delivered, self._folder, self.limits)

    def copy_of(self, blocks: Iterator[bytes], name: str) -> "PlainCopy":
        """A plain copy of `blocks`, with the suffix of `name`; DeliveryRefused where there is no room for it."""
        copy = PlainCopy(self._folder, Path(name).suffix.lower())
        try:
            with copy.path.open("wb", buffering=0) as file:
                for block in blocks:
                    self.limits.budget.check()
                    self._take(len(block))
                    _write(file, block)
        except OSError as error:
            copy.remove()
            raise StorageError(self._folder, error.strerror or str(error)) from error
        except BaseException:
            copy.remove()
            raise
        return copy

    def _take(self, size: int) -> None:
        self._used += size
        if self._used > self._most:
            what = f"{RATIO_CAP} times its size" if self._most < _MOST_BYTES else f"{_MOST_BYTES >> 30} GB"
            raise DeliveryRefused(
                f"unpacks to more than {what}",
                remedy="If this is real, deliver it unpacked; it looks like a decompression bomb.",
            )
        # Where there was too little before, this delivery is not to blame.
        if self._had_room and (low := self.limits.disk.low()) is not None:
            raise DeliveryRefused(
                f"unpacks to more than there is room for: after {self._used >> 20} MB, {low.what}",
                remedy="Free space and replay it, or ask the producer for several deliveries.",
            )


class PlainCopy:
    """A temporary file that is gone when it is removed, let go of, or when the process ends.

    Of a process that is killed the archive's sweep removes it; the lock says that it is in use.
    """

    def __init__(self, folder: Path, suffix: str) -> None:
        try:
            while True:
                descriptor, path = tempfile.mkstemp(prefix=".claiming-", suffix=suffix, dir=folder)
                fcntl.flock(descriptor, fcntl.LOCK_SH)
                if os.fstat(descriptor).st_nlink:
                    break
                os.close(descriptor)  # swept before it was locked
        except OSError as error:
            raise StorageError(folder, error.strerror or str(error)) from error
        self.path = Path(path)
        self._remove = weakref.finalize(self, _remove, descriptor, path)

    def held_by(self, make: Callable[[Path], _Holder]) -> _Holder:
        """What `make` makes of the file, which stays for as long as that is in use."""
        try:
            holder = make(self.path)
        except BaseException:
            self.remove()
            raise
        weakref.finalize(holder, self.remove)
        return holder

    def remove(self) -> None:
        """Delete the file."""
        self._remove()


def packing(name: str) -> str:
    """The suffix by which `name` says that it is packed; empty where it does not."""
    return next((suffix for suffix in _UNPACKED if name.lower().endswith(suffix)), "")


def unpacked(packed: Path, name: str, room: Room) -> PlainCopy:
    """The plain copy of a file whose `name` says that it is packed.

    Raises DeliveryUnfinished where it stops short, DeliveryRefused for damage, a failed checksum or a bomb.
    """
    suffix = packing(name)
    return room.copy_of(_UNPACKED[suffix](packed), name.lower().removesuffix(suffix))


def blocks_of(copy: Path, suffix: str) -> Iterator[bytes]:
    """The content of a file, unpacked where `suffix` says that it is packed; raises as `unpacked` does."""
    if suffix:
        yield from _UNPACKED[suffix](copy)
        return
    with copy.open("rb") as file:
        while block := file.read(_BLOCK):
            yield block


def _ungzipped(packed: Path) -> Iterator[bytes]:
    import gzip
    import zlib

    from isal import igzip, isal_zlib

    with packed.open("rb") as file:
        if file.peek(2)[:2] not in (b"", b"\x1f", b"\x1f\x8b"):
            raise DeliveryRefused("damaged gzip: it does not begin as one", remedy=_AGAIN)
        damages = (gzip.BadGzipFile, zlib.error, cast("type[Exception]", isal_zlib.error))
        with cast("IO[bytes]", igzip.open(file)) as stream:  # type: ignore[no-untyped-call]
            while True:
                try:
                    block = stream.read(_BLOCK)
                except EOFError as error:
                    raise _short() from error
                except damages as error:
                    raise DeliveryRefused(f"damaged gzip: {foreign(error)}", remedy=_AGAIN) from error
                if not block:
                    return
                yield block


def _unzstd(packed: Path) -> Iterator[bytes]:
    import pyarrow as pa

    if packed.stat().st_size == 0:
        return
    with pa.OSFile(str(packed)) as file, pa.CompressedInputStream(file, "zstd") as stream:
        while True:
            try:
                block = stream.read(_BLOCK)
            except OSError as error:
                if error.errno is not None:
                    raise
                if "Truncated" in str(error):
                    raise _short() from error
                raise DeliveryRefused(f"damaged zstd: {foreign(error)}", remedy=_AGAIN) from error
            if not block:
                return
            yield block


_UNPACKED: Final[dict[str, Callable[[Path], Iterator[bytes]]]] = {".gz": _ungzipped, ".zst": _unzstd}


def _short() -> DeliveryUnfinished:
    return DeliveryUnfinished("the compressed file ends before its content does")


def _write(file: IO[bytes], block: bytes) -> None:
    left = memoryview(block)
    while left:  # a write to a disk that is nearly full stops short without an error
        left = left[file.write(left) :]


def _remove(descriptor: int, path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        Path(path).unlink()
    os.close(descriptor)
