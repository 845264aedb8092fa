"""The landing folder: which files wait there for a feed, and which of them must not be touched.

Belongs here: listing, settling, refusing. Does not: opening a file (archive.py) or knowing what was loaded
(ledger.py). Nothing is opened here, so a FIFO or a link cannot hurt us.
"""

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Final

from platform_assets.engine.feed import Feed

UNFINISHED_SUFFIXES: Final = (".tmp", ".part", ".partial", ".crdownload", ".filepart", ".swp", "~")


@dataclass(frozen=True)
class Sighting:
    """What tells one state of a file from another without reading it; any write changes `ctime_ns`."""

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int

    @classmethod
    def of(cls, status: os.stat_result) -> "Sighting":
        """The sighting that an lstat or fstat amounts to."""
        return cls(status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


@dataclass(frozen=True)
class Arrival:
    """A file seen in the landing folder. `slot` is its path below the folder; `refused` why it is not opened."""

    slot: str
    path: Path
    seen: Sighting
    refused: str | None = None

    @property
    def arrived_at(self) -> datetime:
        """When the producer last wrote it, by its own account (mtime)."""
        return datetime.fromtimestamp(self.seen.mtime_ns / 1e9, tz=UTC)

    def age_s(self, now: datetime) -> float:
        """Seconds since the file, or its name, last changed; the clock may have been set back since."""
        return abs(now.timestamp() - self.seen.ctime_ns / 1e9)


def arrivals(feed: Feed, landing: Path) -> list[Arrival]:
    """Every file of `feed` in the landing folder, by slot; those that must not be opened say why."""
    found: dict[str, Arrival] = {}
    for pattern in feed.source.patterns:
        for path, refused in _matching(landing, PurePosixPath(pattern).parts):
            slot = _slot(path, landing)
            try:
                status = path.lstat()
            except FileNotFoundError:  # taken away since it was listed
                continue
            found[slot] = Arrival(slot, path, Sighting.of(status), refused)
    return [found[slot] for slot in sorted(found)]


def settled(arrival: Arrival, feed: Feed, now: datetime) -> bool:
    """Whether the file has been untouched for the feed's settle time (or is never going to be opened)."""
    return arrival.refused is not None or arrival.age_s(now) >= feed.source.settle.total_seconds()


def unclaimed(feeds: Iterable[Feed], landing: Path) -> list[str]:
    """Files in the landing folder that no feed asks for: a misspelt name is not to be lost in silence."""
    if not landing.is_dir():
        return []
    claimed = {arrival.slot for feed in feeds for arrival in arrivals(feed, landing)}
    stray = []
    for folder, folders, names in os.walk(landing):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            slot = _slot(Path(folder, name), landing)
            if slot not in claimed and not _unfinished(name):
                stray.append(slot)
    return stray


def _slot(path: Path, landing: Path) -> str:
    # Names are bytes; those that are no UTF-8 are spelled out, since the ledger holds text.
    return path.relative_to(landing).as_posix().encode("utf-8", "backslashreplace").decode()


def _unfinished(name: str) -> bool:
    return name.startswith(".") or name.endswith(UNFINISHED_SUFFIXES)


def _matching(folder: Path, pattern: tuple[str, ...]) -> Iterator[tuple[Path, str | None]]:
    """Entries below `folder` matching `pattern`, each with the reason it must not be opened, or None.

    Names are compared with the pattern, never expanded, so a file called `a*.csv` is just that file.
    """
    head, rest = pattern[0], pattern[1:]
    try:
        with os.scandir(folder) as listing:
            entries = sorted(listing, key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return
    except PermissionError:
        yield folder, "a folder that this user may not list"
        return
    if head == "**" and rest:
        yield from _matching(folder, rest)
    for entry in entries:
        if _unfinished(entry.name) or not (head == "**" or fnmatchcase(entry.name, head)):
            continue
        path = Path(entry.path)
        link = entry.is_symlink()
        if not rest:
            yield path, "a link; links are never followed" if link else _not_regular(entry)
        elif not link and entry.is_dir(follow_symlinks=False):
            yield from _matching(path, pattern if head == "**" else rest)
        elif link and path.is_dir():
            # A linked folder hides files from us; naming it once is better than silence.
            yield path, "a link to a folder; links are never followed"


def _not_regular(entry: os.DirEntry[str]) -> str | None:
    mode = entry.stat(follow_symlinks=False).st_mode
    if stat.S_ISREG(mode):
        return None
    kind = {
        stat.S_IFDIR: "a folder",
        stat.S_IFIFO: "a named pipe",
        stat.S_IFSOCK: "a socket",
        stat.S_IFBLK: "a device",
        stat.S_IFCHR: "a device",
    }.get(stat.S_IFMT(mode), "a special file")
    return f"{kind}, not a regular file"
