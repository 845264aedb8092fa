"""The landing folder: which files wait there for a feed, and which of them must not be touched.

Belongs here: listing, settling, sidecars' places, refusing. Does not: opening a delivery (archive.py) or knowing what
was loaded (ledger.py). No delivery is opened here, so a FIFO or a link cannot hurt us.
"""

import fnmatch
import os
import re
import stat
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import Final, NamedTuple

from platform_assets.engine.feed.feed import Feed
from platform_assets.engine.sources.sidecar import NOTHING, Expected, read_sidecar

UNFINISHED_SUFFIXES: Final = (".tmp", ".part", ".partial", ".crdownload", ".filepart", ".swp", "~")
_LINK: Final = "a link; links are never followed"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_NS: Final = 9_223_372_036_854_775_000  # in whole microseconds, as receipts keep it


State = tuple[int, int, int, int]
"""A `Sighting`, or what equals one: of a hundred thousand files there are only plain tuples."""


class Sighting(NamedTuple):
    """What tells one state of a file from another without reading it; any write changes `ctime_ns`.

    size: negative for what is no regular file, by its kind, or cannot be looked at. Times: ns since 1970, as near as
    64 bits come.
    """

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int

    @classmethod
    def of(cls, status: os.stat_result) -> "Sighting":
        """The sighting that an lstat or fstat amounts to."""
        size = status.st_size if stat.S_ISREG(status.st_mode) else -stat.S_IFMT(status.st_mode)
        return cls(size, _kept(status.st_mtime_ns), _kept(status.st_ctime_ns), status.st_ino)

    def beside(self, sidecar: "Sighting | None") -> "Sighting":
        """The state of a file and its sidecar together: a write to either changes it."""
        if sidecar is None:
            return self
        mixed = hash((self.inode, *sidecar)) & (1 << 63) - 1
        return Sighting(self.size, self.mtime_ns, max(self.ctime_ns, sidecar.ctime_ns), mixed)


_NOBODY_KNOWS: Final = Sighting(-1, 0, 1, 0)  # the state of what we may not look at; it has another when we may


@dataclass(frozen=True)
class Arrival:
    """A file seen in the landing folder. `slot` is its path below the folder; `seen` its state, with its sidecar's.

    refused: why it is not opened. waits_for: what has to come before it is claimed. expects: what its sidecar says.
    """

    slot: str
    path: Path
    seen: Sighting
    refused: str | None = None
    waits_for: str | None = None
    sidecar: Sighting | None = None
    expects: Expected = NOTHING

    @property
    def remedy(self) -> str:
        """What to do where it is refused."""
        if self.seen == _NOBODY_KNOWS:
            return f"Let this user look at {self.path}; it is then offered again."
        return f"Deliver the file itself as {self.slot}."

    @property
    def unfinished(self) -> str:
        """Why it is left alone until it is settled."""
        return "is still being written" if self.waits_for is None else f"waiting for {self.waits_for}"

    @property
    def arrived_at(self) -> datetime:
        """When the producer last wrote it, by its own account (mtime), from 1677 to 2262."""
        return _EPOCH + timedelta(microseconds=self.seen.mtime_ns // 1000)

    def age_s(self, now: datetime) -> float:
        """Seconds since the file, or its name, last changed; the clock may have been set back since."""
        return abs(now.timestamp() - self.seen.ctime_ns / 1e9)

    def unchanged(self, status: os.stat_result) -> bool:
        """Whether the file of that status is in the state that was seen."""
        return Sighting.of(status).beside(self.sidecar) == self.seen


@dataclass(frozen=True)
class Look:
    """The landing folder at one moment. arrivals: by the feeds' names, what is not known yet, by slot.
    unclaimed: files that no feed asks for."""

    arrivals: Mapping[str, Sequence[Arrival]]
    unclaimed: Sequence[str]


def look(
    landing: Path,
    feeds: Sequence[Feed],
    known: Mapping[str, Mapping[str, State]] | None = None,
    *,
    strays: bool = False,
) -> Look:
    """What lies in the landing folder for `feeds`; every folder is listed once, whatever asks for its files.

    known: by the feeds' names, slot -> state in which the file was settled; files in that state are left out. Every
        file's state is asked for every time: a file may be rewritten without a trace in its folder.
    strays: look through the whole folder for files that no feed asks for: a misspelt name is not to be lost.
    """
    walk = _Walk(landing, feeds, known or {}, strays=strays)
    walk.through()
    return Look(
        {name: [found[slot] for slot in sorted(found)] for name, found in walk.found.items()}, sorted(walk.strays)
    )


def arrivals(feed: Feed, landing: Path) -> Sequence[Arrival]:
    """Every file of `feed` in the landing folder, by slot; those that must not be opened say why."""
    return look(landing, [feed]).arrivals[feed.name]


def look_again(arrival: Arrival, feed: Feed) -> Arrival | None:
    """The same file as it is now; None where it was taken away."""
    try:
        status = arrival.path.lstat()
    except OSError:
        return None
    sidecar = None
    if feed.source.sidecar is not None:
        try:
            sidecar = arrival.path.with_name(arrival.path.name + feed.source.sidecar).lstat()
        except OSError:
            sidecar = None
    return _arrival(feed, arrival.slot, arrival.path, status, sidecar)


def settled(arrival: Arrival, feed: Feed, now: datetime) -> bool:
    """Whether the file has been untouched for the feed's settle time (or is never going to be opened)."""
    if arrival.refused is not None:
        return True
    return arrival.waits_for is None and arrival.age_s(now) >= feed.source.settle.total_seconds()


def _arrival(feed: Feed, slot: str, path: Path, status: os.stat_result, sidecar: os.stat_result | None) -> Arrival:
    refused = _not_regular(status.st_mode)
    seen = Sighting.of(status)
    suffix = feed.source.sidecar
    if suffix is None or refused is not None:
        return Arrival(slot, path, seen, refused)
    if sidecar is None:
        return Arrival(slot, path, seen, waits_for=path.name + suffix)
    state = Sighting.of(sidecar)
    # Read after its state was taken: what is written meanwhile shows in the next look.
    expects = read_sidecar(path.with_name(path.name + suffix))
    return Arrival(slot, path, seen.beside(state), sidecar=state, expects=expects)


def _kept(time_ns: int) -> int:
    """A time that can be kept: file systems hold years that neither a database nor a calendar does."""
    return min(max(time_ns, -_LAST_NS), _LAST_NS)


def _spelled(name: str) -> str:
    # Names are bytes; those that are no UTF-8 are spelled out, since the ledger holds text.
    return name if name.isascii() else name.encode("utf-8", "backslashreplace").decode()


def _unfinished(name: str) -> bool:
    return name[0] == "." or name.endswith(UNFINISHED_SUFFIXES)


def _matcher(patterns: Iterable[str]) -> Callable[[str], object]:
    """Names are compared with patterns, never expanded, so a file called `a*.csv` is just that file."""
    return re.compile("|".join(fnmatch.translate(pattern) for pattern in patterns) or "(?!)").match


@dataclass(frozen=True)
class _Want:
    """What is left of a feed's pattern in some folder."""

    feed: Feed
    parts: tuple[str, ...]


class _Walk:
    """One walk through the landing folder."""

    def __init__(
        self, landing: Path, feeds: Sequence[Feed], known: Mapping[str, Mapping[str, State]], *, strays: bool
    ) -> None:
        self._landing = landing
        self._known = known
        self._all = strays
        self._feeds = feeds
        self._todo: list[tuple[str, str, Sequence[_Want]]] = []
        self.found: dict[str, dict[str, Arrival]] = {feed.name: {} for feed in feeds}
        self.strays: list[str] = []

    def through(self) -> None:
        wants = [_Want(feed, PurePosixPath(p).parts) for feed in self._feeds for p in feed.source.patterns]
        self._todo = [(str(self._landing), "", wants)]
        while self._todo:
            self._folder(*self._todo.pop())

    def _folder(self, folder: str, prefix: str, wants: Sequence[_Want]) -> None:
        try:
            with os.scandir(folder) as listing:
                entries = list(listing)
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            why = f"a folder that cannot be listed: {error.strerror}"
            self._refuse(folder, prefix.rstrip("/") or ".", wants, why, _NOBODY_KNOWS)
            return
        # `**` also stands for no folder at all.
        spread = [_Want(want.feed, rest) for want in wants for rest in _without_spread(want.parts)]
        names: dict[str, list[str]] = {}
        for want in spread:
            if len(want.parts) == 1:
                names.setdefault(want.feed.name, []).append(want.parts[0])
        takers = [
            _Taker(feed, names[feed.name], self._known.get(feed.name, {}), self.found[feed.name])
            for feed in self._feeds
            if feed.name in names
        ]
        sidecars = {taker.suffix for taker in takers if taker.suffix is not None}
        beside = {entry.name: entry for entry in entries if entry.name.endswith(tuple(sidecars))} if sidecars else {}
        deeper = [want for want in spread if len(want.parts) > 1]
        for entry in entries:
            name = entry.name
            if _unfinished(name):
                continue
            taken = False
            for taker in takers:
                taken |= taker.takes(entry, name, prefix, beside)
            if entry.is_file(follow_symlinks=False):
                if self._all and not taken:
                    self.strays.append(prefix + _spelled(name))
            else:
                self._other(entry, prefix, deeper, taken=taken)

    def _other(self, entry: os.DirEntry[str], prefix: str, deeper: Sequence[_Want], *, taken: bool) -> None:
        """A folder, to be looked through later; or a link, or what else is no file."""
        slot = prefix + _spelled(entry.name)
        below = [
            _Want(want.feed, want.parts if want.parts[0] == "**" else want.parts[1:])
            for want in deeper
            if want.parts[0] == "**" or fnmatch.fnmatchcase(entry.name, want.parts[0])
        ]
        if entry.is_dir(follow_symlinks=False):
            if below or self._all:
                self._todo.append((entry.path, slot + "/", below))
        elif below and entry.is_symlink() and _leads_to_a_folder(entry):  # which a loop does not
            # A linked folder hides files from us; naming it once is better than silence.
            self._refuse(entry.path, slot, below, "a link to a folder; links are never followed")
        elif self._all and not taken:
            self.strays.append(slot)

    def _refuse(self, path: str, slot: str, wants: Iterable[_Want], why: str, seen: Sighting | None = None) -> None:
        try:
            seen = seen or Sighting.of(os.lstat(path))
        except OSError:
            return  # taken away since it was listed
        for feed in {want.feed.name: want.feed for want in wants}.values():
            if self._known.get(feed.name, {}).get(slot) != seen:
                self.found[feed.name][slot] = Arrival(slot, Path(path), seen, why)


class _Taker:
    """A feed that takes files of one folder by their names."""

    def __init__(
        self,
        feed: Feed,
        patterns: Sequence[str],
        known: Mapping[str, State],
        found: dict[str, Arrival],
    ) -> None:
        self._feed = feed
        self._match = _matcher(patterns)
        # `*` means files; a folder is only taken for a misplaced delivery where it is called like one.
        self._match_folder = _matcher([pattern for pattern in patterns if pattern.strip("*")])
        self._known = known
        self._found = found
        self.suffix = feed.source.sidecar

    def takes(self, entry: os.DirEntry[str], name: str, prefix: str, beside: Mapping[str, os.DirEntry[str]]) -> bool:
        """Note the entry unless it is known; whether it is the feed's."""
        if self.suffix is not None and name.endswith(self.suffix):
            return self._sidecar(entry, name.removesuffix(self.suffix), prefix)
        if not self._match(name):
            return False
        if entry.is_dir(follow_symlinks=False) and not self._match_folder(name):
            return False
        slot = prefix + _spelled(name)
        try:
            status = entry.stat(follow_symlinks=False)
            sidecar = None
            if self.suffix is not None and (there := beside.get(name + self.suffix)) is not None:
                sidecar = there.stat(follow_symlinks=False)
        except FileNotFoundError:  # taken away since it was listed
            return True
        except OSError as error:
            self._refuse(slot, entry, f"a file that cannot be looked at: {error.strerror}")
            return True
        before = self._known.get(slot)
        # Every file comes by here at every look, so nothing is made that a known file does not need.
        if before == (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino) and sidecar is None:
            return True
        if before is not None:
            seen = Sighting.of(status)
            tidied_away = self.suffix is not None and sidecar is None
            if sidecar is not None and stat.S_ISREG(status.st_mode):
                seen = seen.beside(Sighting.of(sidecar))
            if before == seen or (tidied_away and before[:2] == seen[:2]):
                return True
        self._found[slot] = _arrival(self._feed, slot, Path(entry.path), status, sidecar)
        return True

    def _refuse(self, slot: str, entry: os.DirEntry[str], why: str) -> None:
        if self._known.get(slot) != _NOBODY_KNOWS:
            self._found[slot] = Arrival(slot, Path(entry.path), _NOBODY_KNOWS, why)

    def _sidecar(self, entry: os.DirEntry[str], name: str, prefix: str) -> bool:
        """A sidecar is no delivery; one whose file is not there, and never was, announces what has not come."""
        if not name or not self._match(name):
            return False
        slot = prefix + _spelled(name)
        path = Path(entry.path).with_name(name)
        if slot not in self._known and not os.path.lexists(path):
            try:
                seen = Sighting.of(entry.stat(follow_symlinks=False))
            except OSError:
                return True
            self._found[slot] = Arrival(slot, path, seen, waits_for=f"{name} itself, whose sidecar is there")
        return True


def _leads_to_a_folder(link: os.DirEntry[str]) -> bool:
    try:
        return link.is_dir()
    except OSError:  # nobody lets us look there
        return False


def _without_spread(parts: tuple[str, ...]) -> Iterable[tuple[str, ...]]:
    yield parts
    while parts[0] == "**" and len(parts) > 1:
        parts = parts[1:]
        yield parts


def _not_regular(mode: int) -> str | None:
    if stat.S_ISREG(mode):
        return None
    if stat.S_ISLNK(mode):
        return _LINK
    kind = {
        stat.S_IFDIR: "a folder",
        stat.S_IFIFO: "a named pipe",
        stat.S_IFSOCK: "a socket",
        stat.S_IFBLK: "a device",
        stat.S_IFCHR: "a device",
    }.get(stat.S_IFMT(mode), "a special file")
    return f"{kind}, not a regular file"
