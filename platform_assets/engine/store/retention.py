"""Which releases of a product need not be kept any longer, and what their removal frees.

Belongs here: the choice, by age and number. Elsewhere: removing one (release.py), what is declared (feed/product.py).
Readers look into the files of a release with every query, so one that they have open, or that was current a short while
ago, stays.
"""

import fcntl
import struct
import sys
from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from platform_assets.engine.store.release import Release

GRACE: Final = timedelta(hours=1)
"""How long a release stays after it was current: whoever opened it then reads it to the end."""


def outlived(
    releases: "Sequence[Release]", now: datetime, keep: timedelta, least: int, spared: Collection[str]
) -> "list[Release]":
    """Those of the releases (newest first) whose successor was made longer ago than `keep`, beyond the newest `least`.

    spared: ids of releases that stay whatever their age. What another process has open is left for the next time.
    """
    found = []
    for at, release in enumerate(releases):
        if at < max(least, 1) or release.id in spared:
            continue
        followed = datetime.fromisoformat(releases[at - 1].created_at)
        left = datetime.fromtimestamp(release.folder.stat().st_mtime, tz=UTC)
        if now - followed > keep and now - left > GRACE and not _is_read(Path(release.path)):
            found.append(release)
    return found


def freed(releases: "Iterable[Release]") -> int:
    """Bytes of the disk that are free once all of these are gone: files that other releases have, too, stay."""
    found: dict[tuple[int, int], list[int]] = {}
    for file in (file for release in releases for file in _files(release.folder)):
        state = file.stat()
        counted = found.setdefault((state.st_dev, state.st_ino), [0, state.st_nlink, state.st_blocks * 512])
        counted[0] += 1
    return sum(size for names, links, size in found.values() if names == links)


def _is_read(views: Path) -> bool:
    """Whether another process has this file open: DuckDB locks what it reads. Where the file system keeps no locks,
    nobody can tell, and age alone decides."""
    # What this process itself has locked it is not told, and loses; it reads no release for as long as that matters.
    fields, kind = ("hhqqi4x", 0) if sys.platform == "linux" else ("qqihh", 3)
    asked = [0] * 5
    asked[kind] = fcntl.F_WRLCK
    try:
        with views.open("rb") as file:
            told = fcntl.fcntl(file, fcntl.F_GETLK, struct.pack(fields, *asked))
    except OSError:
        return False
    return bool(struct.unpack(fields, told)[kind] != fcntl.F_UNLCK)


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.is_file() and not path.is_symlink()]
