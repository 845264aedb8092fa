"""The floor of free disk: below it nothing new is claimed, so that what is there can still be read, built and released.

Belongs here: how much is free, and whether that is enough. Elsewhere: what then waits (load/ingest.py), who is told
(orchestration/watch).
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from platform_assets.errors import ConfigurationError, DiskLow

_UNITS: Final = {"KB": 1000, "MB": 1000**2, "GB": 1000**3, "TB": 1000**4}
_SIZE: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([KMGT]B|%)", re.IGNORECASE)


@dataclass(frozen=True)
class Floor:
    """So many bytes, and no more than that share of the file system; the smaller counts."""

    size: int = 1000**3
    share: float = 0.05

    @classmethod
    def read(cls, text: str, key: str) -> "Floor":
        """The floor that a setting says: a size, or a share of the file system."""
        match = _SIZE.fullmatch(text.strip())
        if match is None or (match[2] == "%" and float(match[1]) > 100):
            raise ConfigurationError(key, f"{text!r} is no size", "Give one such as 5GB, 500MB, 10% or 0%.")
        if match[2] == "%":
            return cls(1 << 62, float(match[1]) / 100)
        return cls(round(float(match[1]) * _UNITS[match[2].upper()]), 1.0)

    def of(self, total: int) -> int:
        """The floor of a file system of `total` bytes."""
        return min(self.size, round(total * self.share))


@dataclass(frozen=True)
class Disk:
    """The file systems that claiming fills: those of `folders`, with the floor of each."""

    folders: tuple[Path, ...]
    floor: Floor = Floor()

    def low(self, needed: int = 0) -> DiskLow | None:
        """Why nothing is claimed that needs so many bytes, and as many again for its rows; None where there is room."""
        for folder in self.folders:
            found = os.statvfs(_nearest(folder))
            free, floor = found.f_bavail * found.f_frsize, self.floor.of(found.f_blocks * found.f_frsize)
            if free - 2 * needed < floor:
                return DiskLow(folder, free, floor, 2 * needed if free >= floor else 0)
        return None

    def require(self, needed: int = 0) -> None:
        """Raise DiskLow where there is no room for so many bytes."""
        if (low := self.low(needed)) is not None:
            raise low


ANY: Final = Disk(())
"""Of which nothing has to be left free."""


def _nearest(folder: Path) -> Path:
    """The folder, or what there is of the way to it."""
    return next(each for each in (folder, *folder.parents) if each.exists())
