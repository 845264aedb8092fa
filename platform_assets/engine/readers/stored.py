"""Frames on disk, for as long as their reader lives: what is parsed once and then read as often as needed.

Belongs here: storing frames and reading them back. Elsewhere: what is in them. The file has no name that could stay.
"""

import tempfile
import weakref
from collections.abc import Iterator
from itertools import pairwise

import polars as pl

from platform_assets.engine.readers.limits import Limits


class StoredFrames:
    """Frames, to be read in the order in which they were added, any number of times. What is stored is decoded."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as these frames are needed
        self._ends = [0]
        weakref.finalize(self, self._file.close)

    def add(self, frame: pl.DataFrame) -> None:
        """Store a frame; raises DeliveryRefused where that is more than the delivery may decode to."""
        self._limits.budget.check()
        self._limits.budget.take(frame)  # before it is written, which takes each value for itself
        self._file.seek(self._ends[-1])
        frame.write_ipc(self._file, compat_level=pl.CompatLevel.oldest())
        self._ends.append(self._file.tell())

    def __iter__(self) -> Iterator[pl.DataFrame]:
        for begin, end in pairwise(self._ends):
            self._file.seek(begin)
            frame = pl.read_ipc(self._file.read(end - begin))
            self._limits.budget.take_again(frame)
            yield frame
