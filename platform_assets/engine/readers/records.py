"""Records as another reader gave them: what is kept of a delivery that cannot be written anew in its own format.

Belongs here: keeping batches, and giving them again with their lines and types. Elsewhere: why (engine/erase). The
container is a zip of Arrow files, stored plain, so that what is not in it can be seen to be not in it.
"""

import io
import json
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

import polars as pl

from platform_assets.engine.readers import Batch, Part, Reader, refuse_unreconciled

SUFFIX: Final = ".records"
_ABOUT: Final = "about.json"


def packed_records(reader: Reader, batches: Iterator[Batch]) -> Iterator[bytes]:
    """The bytes of a container of these batches, whose columns are c0, c1 … in the order of the reader's header."""
    sink = Draining()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as file:
        rows = 0
        for at, batch in enumerate(batches):
            for name, frame in (("frame", batch.frame), ("malformed", batch.malformed)):
                stored = io.BytesIO()
                frame.write_ipc(stored, compat_level=pl.CompatLevel.oldest())
                file.writestr(zipfile.ZipInfo(f"{at:06}.{name}"), stored.getvalue())
                rows += frame.height
            yield sink.drained()
        about = {
            "format": reader.format,
            "dialect": dict(reader.dialect),
            "parts": [asdict(part) for part in reader.parts],
            "header": list(reader.header),
            "rows": rows,
        }
        file.writestr(zipfile.ZipInfo(_ABOUT), json.dumps(about))
    yield sink.drained()


class Draining:
    """A file that is written and given away bit by bit."""

    closed = False

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._at = 0

    def write(self, part: bytes) -> int:
        """Take some more."""
        self._parts.append(bytes(part))
        self._at += len(part)
        return len(part)

    def tell(self) -> int:
        """How much was written."""
        return self._at

    def drained(self) -> bytes:
        """What was written since this was last asked."""
        parts, self._parts = self._parts, []
        return b"".join(parts)

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        """Nothing to be closed."""


class RecordsReader:
    """Reads such a container; see `Reader`."""

    looks_cut_off = False

    def __init__(self, copy: Path) -> None:
        self._copy = copy
        with zipfile.ZipFile(copy) as file:
            about = json.loads(file.read(_ABOUT))
        self.format: str = about["format"]
        self.dialect: Mapping[str, str] = about["dialect"]
        self.parts: Sequence[Part] = tuple(Part(**part) for part in about["parts"])
        self.header: tuple[str, ...] = tuple(about["header"])
        self._rows: int = about["rows"]

    def batches(self, columns: Mapping[str, str]) -> Iterator[Batch]:
        """See `Reader`."""
        places = {header: f"c{at}" for at, header in enumerate(self.header)}
        with zipfile.ZipFile(self._copy) as file:
            for at in range((len(file.namelist()) - 1) // 2):
                frame, malformed = (pl.read_ipc(file.read(f"{at:06}.{name}")) for name in ("frame", "malformed"))
                named = (pl.col(places[header]).alias(name) for name, header in columns.items())
                yield Batch(frame.select("_line", *named), malformed)

    def reconcile(self, read: int) -> None:
        """See `Reader`; they were counted when they were kept."""
        refuse_unreconciled(self._rows, read)
