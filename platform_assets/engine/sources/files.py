"""Files as a source: the files that wait for a feed in the landing folder, and putting one into the archive.

Belongs here: how files implement a source. Elsewhere: finding them (landing.py), one file's state and bytes (file.py).
"""

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from platform_assets.engine.archive.archive import Archive
from platform_assets.engine.archive.position import Position
from platform_assets.engine.feed.feed import Feed, Files
from platform_assets.engine.sources.file import FileArrival, FileState, arrival_of, chunks
from platform_assets.engine.sources.landing import list_files
from platform_assets.engine.sources.source import Claim, Source, Waiting, source_of


class FileSource(Source[FileArrival]):
    """The files of `feed` in the landing folder. A position is a file's state: size, times and inode."""

    def __init__(self, declared: Files, feed: Feed, landing: Path) -> None:
        self._files = declared
        self._feed = feed.name
        self._landing = landing

    def pending(self, positions: Mapping[str, Position]) -> Sequence[FileArrival]:
        """The files that are not known in just this state, by slot. Of those that must not be opened,
        `refused` is the reason."""
        found, _ = list_files(self._landing, {self._feed: self._files}, {self._feed: positions})
        return found[self._feed]

    def claim(self, arrival: FileArrival, archive: Archive) -> Claim:
        """Copy the file into the archive, unless it changes meanwhile."""
        suffix = "".join(Path(arrival.slot).suffixes[-2:])[-24:]
        with contextlib.closing(chunks(arrival, self._files.largest, archive.disk)) as content:
            fingerprint, copy = archive.keep(self._feed, content, suffix)
        return Claim(fingerprint, copy, arrival.position)

    def again(self, arrival: FileArrival) -> FileArrival | None:
        """The same file as it is now; None where it was taken away."""
        try:
            status = arrival.path.lstat()
        except OSError:
            return None
        sidecar = None
        if self._files.sidecar is not None:
            with contextlib.suppress(OSError):
                sidecar = arrival.path.with_name(arrival.path.name + self._files.sidecar).lstat()
        return arrival_of(arrival.slot, arrival.path, status, sidecar, self._files)

    def traits(self, slot: str) -> str | None:
        """Size and time of the last change of the file that is there now."""
        try:
            return FileState.of((self._landing / slot).lstat()).traits
        except OSError:
            return None


source_of.register(Files, FileSource)


def all_waiting(feeds: Sequence[Feed], landing: Path, positions: Mapping[str, Mapping[str, Position]]) -> Waiting:
    """What of all `feeds` may be new, by their names, as `Source.pending` gives it of one; and stray files. The landing
    folder is walked through once, whatever asks for its files."""
    wanted = {feed.name: feed.source for feed in feeds if isinstance(feed.source, Files)}
    found, strays = list_files(landing, wanted, positions, strays=True)
    others = [feed for feed in feeds if feed.name not in wanted]
    pending = {feed.name: source_of(feed.source, feed, landing).pending(positions[feed.name]) for feed in others}
    return Waiting({**found, **pending}, strays)
