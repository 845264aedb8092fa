"""What reading one delivery may use: time, and memory by the width of what is decoded.

Belongs here: measuring both, and refusing what goes beyond. Elsewhere: the limits themselves (limits.py), caps on a
parser in a process of its own (isolated.py). A file says little of the width: repeated values are stored once.
"""

import contextlib
import math
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Final

import polars as pl

from platform_assets.errors import DeliveryRefused, quoted

RATIO_CAP: Final = 300
"""How many times its size a delivery may unpack or decode to, where that is more than what is free."""
_FREE: Final = 1 << 30  # bytes
_BYTES_A_SECOND: Final = 4 << 20
_VALUE: Final = 8


class Budget:
    """What is left for reading a delivery of `size` bytes; without arguments, everything there is.

    Only the time counts that is spent reading, not that in which rows wait to be stored.
    """

    def __init__(self, size: int = 0, longest: timedelta = timedelta.max) -> None:
        self._seconds = longest.total_seconds() + size // _BYTES_A_SECOND
        self._bytes = max(_FREE, RATIO_CAP * size)
        self._spent, self._decoded = 0.0, 0
        self._since: float | None = None

    @property
    def seconds(self) -> int:
        """The time that is left, in whole seconds, one at least."""
        return max(1, math.ceil(self._seconds - self._used()))

    @contextlib.contextmanager
    def spending(self) -> Iterator[None]:
        """Let the time count; within another, nothing is counted twice."""
        if self._since is not None:
            yield
            return
        self._since = time.monotonic()
        try:
            yield
        finally:
            self._spent, self._since = self._used(), None

    def check(self) -> None:
        """Raise DeliveryRefused where the time is used up; to be called every few megabytes."""
        if self._used() > self._seconds:
            raise DeliveryRefused(
                f"takes longer than {self._seconds:.0f} s to read",
                remedy=f"If this is real, declare Files(…, longest=minutes({math.ceil(self._seconds / 60) * 4})), or "
                "ask the producer for smaller deliveries.",
            )

    def take(self, frame: pl.DataFrame) -> None:
        """Note that these rows were decoded; raises DeliveryRefused where that makes too many bytes."""
        self._decoded += width(frame)
        if self._decoded > self._bytes:
            widest = max(frame.columns, key=lambda name: width(frame.select(name)), default=None)
            limit = f"{RATIO_CAP} times its size" if self._bytes > _FREE else f"{_FREE >> 20} MB"
            raise DeliveryRefused(
                f"decodes to more than {limit}; column {quoted(str(widest))} is the widest",
                remedy="If this is real, ask the producer for several deliveries; it looks like a decompression bomb.",
                column=widest,
            )

    def begin(self) -> None:
        """What was decoded so far was only surveyed: it is decoded again."""
        self._decoded = 0

    def take_again(self, frame: pl.DataFrame) -> None:
        """Note that rows that were noted when they were put aside are about to be handed on, and noted then."""
        self._decoded -= width(frame)

    def _used(self) -> float:
        return self._spent + (time.monotonic() - self._since if self._since is not None else 0)


def width(frame: pl.DataFrame) -> int:
    """The bytes of all values, each for itself, however often one of them is repeated."""
    if not frame.height:
        return 0
    total = float(_VALUE * frame.height * frame.width)
    for column in frame.iter_columns():
        if column.dtype in (pl.String, pl.Binary):
            sizes = column.str.len_bytes() if column.dtype == pl.String else column.bin.size()
            # Lengths have 32 bits, in which their sum would wrap.
            total += float(sizes.mean() or 0) * (frame.height - sizes.null_count())  # type: ignore[arg-type]
        elif column.dtype.is_nested():
            total += column.estimated_size()
    return round(total)


def pieces(frame: pl.DataFrame, most: int) -> Iterator[pl.DataFrame]:
    """The frame in pieces none of which is wider than `most` bytes, unless it is a single row."""
    if frame.height <= 1 or width(frame) <= most:
        yield frame
        return
    half = frame.height // 2
    yield from pieces(frame.head(half), most)
    yield from pieces(frame.slice(half), most)
