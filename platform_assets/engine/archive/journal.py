"""The journal: beside the archive's copies of a feed, which deliveries they were and in which order they came.

Belongs here: writing it after a commit, and what it holds that a warehouse lacks. Elsewhere: loading (load).
With it the archive alone can bring back what a lost, damaged or older warehouse no longer knows. A delivery is known by
its slot, content and generation: ids belong to a warehouse.
"""

import hashlib
import json
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

from platform_assets.engine.archive.expected import NOTHING, Expected
from platform_assets.engine.archive.position import Position
from platform_assets.engine.durable.files import replacing, sync
from platform_assets.errors import StorageError

_TAIL: Final = 1 << 16

Name = tuple[str, str, int]
"""What names a delivery of a feed, whatever warehouse it is in: slot, fingerprint, generation."""


@dataclass(frozen=True)
class Entry:
    """A delivery that was committed with a copy in the archive (`archived`: its path there).

    delivery_id, came_with: as in the warehouse that noted it. arrived_at, committed_at: ISO 8601, UTC.
    position, traits: as the source last gave them; None where its slot has had another delivery since.
    erased: rows of erased persons, which the copy holds no longer.
    """

    delivery_id: int
    slot: str
    fingerprint: str
    generation: int
    came_with: int
    archived: str
    bytes: int
    arrived_at: str
    committed_at: str
    position: Position | None = None
    traits: str | None = None
    expects: Expected = NOTHING
    moved_from: tuple[str, ...] = ()
    erased: int = 0

    @property
    def name(self) -> Name:
        """What names the delivery."""
        return self.slot, self.fingerprint, self.generation


@dataclass(frozen=True)
class Extent:
    """How many deliveries are noted, and a digest of which: equal to the ledger's where both know the same."""

    entries: int = 0
    digest: int = 0

    def and_also(self, name: Name) -> "Extent":
        """With one more."""
        slot, fingerprint, generation = name
        mark = hashlib.md5(f"{generation}{fingerprint}{slot}".encode(), usedforsecurity=False).digest()
        return Extent(self.entries + 1, self.digest ^ int.from_bytes(mark[8:], "little"))


class Journal:
    """One line of JSON for each delivery, in the order of their commits, each with the extent up to there."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def append(self, entries: Sequence[Entry]) -> None:
        """Add entries, safe on disk when this returns. Only who holds the warehouse does."""
        if entries:
            self._write(_lines(entries, self.extent()))

    def extent(self) -> Extent:
        """What is noted, by the last line alone."""
        try:
            with self._path.open("rb") as file:
                file.seek(max(0, self._path.stat().st_size - _TAIL))
                lines = list(_read(file))
        except FileNotFoundError:
            return Extent()
        except OSError as error:
            raise StorageError(self._path, error.strerror or str(error)) from error
        return lines[-1][1] if lines else self._counted()

    def entries(self) -> list[Entry]:
        """All entries, in the order of their commits, each once."""
        try:
            with self._path.open("rb") as file:
                return list({entry.name: entry for entry, _ in _read(file)}.values())
        except FileNotFoundError:
            return []
        except OSError as error:
            raise StorageError(self._path, error.strerror or str(error)) from error

    def mend(self, but: Collection[Name], amended: Mapping[Name, tuple[str, int]] | None = None) -> None:
        """Write the journal anew, without what was cut short or noted twice, and without those named.

        amended: name -> where its copy lies by now, and how many rows were erased from it.
        """
        kept = [entry for entry in self.entries() if entry.name not in but]
        for at, entry in enumerate(kept):
            if amended and entry.name in amended:
                archived, erased = amended[entry.name]
                kept[at] = replace(entry, archived=archived, erased=erased)
        # A name that is swept with what claims leave.
        with replacing(self._path, self._path.with_name(f".claiming-{self._path.name}")) as partial:
            partial.write_text(_lines(kept, Extent()))

    def _counted(self) -> Extent:
        extent = Extent()
        for entry in self.entries():
            extent = extent.and_also(entry.name)
        return extent

    def _write(self, text: str) -> None:
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


def _lines(entries: Iterable[Entry], extent: Extent) -> str:
    lines = []
    for entry in entries:
        extent = extent.and_also(entry.name)
        lines.append(json.dumps({**asdict(entry), "extent": asdict(extent)}) + "\n")
    return "".join(lines)


def _read(lines: Iterable[bytes]) -> Iterator[tuple[Entry, Extent]]:
    for line in lines:
        try:
            read = json.loads(line)
            extent, expects = Extent(**read.pop("extent")), Expected(**read["expects"])
            yield Entry(**{**read, "expects": expects, "moved_from": tuple(read["moved_from"])}), extent
        except (ValueError, KeyError, TypeError):
            continue  # blank, or cut short
