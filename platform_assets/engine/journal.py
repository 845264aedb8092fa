"""The journal: beside the archive's copies of a feed, which deliveries they were and in which order they came.

Belongs here: writing it after a commit, and what it holds that a warehouse lacks. Does not: loading (ingest.py).
With it the archive alone can bring back what a lost, damaged or older warehouse no longer knows.
"""

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from platform_assets.engine.disk import sync
from platform_assets.engine.landing import Sighting
from platform_assets.engine.sidecar import NOTHING, Expected
from platform_assets.errors import StorageError

_TAIL: Final = 1 << 16


@dataclass(frozen=True)
class Entry:
    """A delivery that was committed with a copy in the archive (`archived`: its path there)."""

    delivery_id: int
    slot: str
    fingerprint: str
    archived: str
    committed_at: str
    seen: Sighting
    expects: Expected = NOTHING


class Journal:
    """One line of JSON for each delivery, in the order of their commits."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def append(self, entries: Iterable[Entry]) -> None:
        """Add entries, safe on disk when this returns."""
        text = "".join(_line(entry) for entry in entries)
        if not text:
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("ab") as file:
                new = file.tell() == 0
                # A line that a kill or a full disk cut short ends here, and is skipped when read.
                file.write((text if new else "\n" + text).encode())
                file.flush()
                os.fsync(file.fileno())
            if new:
                sync(self._path.parent)
        except OSError as error:
            raise StorageError(self._path, error.strerror or str(error)) from error

    def last(self) -> int:
        """The id of the delivery noted last; 0 where there is none."""
        try:
            with self._path.open("rb") as file:
                file.seek(max(0, self._path.stat().st_size - _TAIL))
                return max((entry.delivery_id for entry in _entries(file)), default=0)
        except FileNotFoundError:
            return 0
        except OSError as error:
            raise StorageError(self._path, error.strerror or str(error)) from error

    def entries(self) -> list[Entry]:
        """All entries, by delivery id."""
        try:
            with self._path.open("rb") as file:
                return sorted(_entries(file), key=lambda entry: entry.delivery_id)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise StorageError(self._path, error.strerror or str(error)) from error


def _line(entry: Entry) -> str:
    return json.dumps({**asdict(entry), "seen": entry.seen._asdict()}) + "\n"


def _entries(lines: Iterable[bytes]) -> Iterator[Entry]:
    for line in lines:
        try:
            read = json.loads(line)
            seen, expects = Sighting(**read["seen"]), Expected(**read.get("expects", {}))
            yield Entry(**{**read, "seen": seen, "expects": expects})
        except (ValueError, KeyError, TypeError):
            continue  # blank, or cut short
