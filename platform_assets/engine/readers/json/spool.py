"""A spool: what was read with great effort, kept on disk for as long as its reader lives.

Belongs here: storing frames and giving them back. Does not: what they hold. The file has no name to be left behind.
"""

import tempfile
import weakref
from collections.abc import Iterator
from itertools import pairwise

import polars as pl


class Spool:
    """Frames, to be read in the order in which they came, as often as one likes."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - as long-lived as the spool
        self._ends = [0]
        weakref.finalize(self, self._file.close)

    def add(self, frame: pl.DataFrame) -> None:
        """Store a frame."""
        self._file.seek(self._ends[-1])
        frame.write_ipc(self._file, compat_level=pl.CompatLevel.oldest())
        self._ends.append(self._file.tell())

    def __iter__(self) -> Iterator[pl.DataFrame]:
        for begin, end in pairwise(self._ends):
            self._file.seek(begin)
            yield pl.read_ipc(self._file.read(end - begin))
