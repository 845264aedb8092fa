"""The landing folder: which files lie there for which feed.

Belongs here: walking through it, by the feeds' patterns. Elsewhere: a file's state and bytes (file.py), what a sidecar
announces (sidecar.py), what was loaded (store). Names are compared with patterns; no file is opened.
"""

import fnmatch
import os
import re
import shlex
import stat
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from platform_assets.engine.archive.position import Position
from platform_assets.engine.feed.feed import Files
from platform_assets.engine.sources.file import UNREADABLE, FileArrival, FileState, arrival_of, claimable, refused
from platform_assets.errors import ConfigurationError, printable

UNFINISHED_SUFFIXES: Final = (".tmp", ".part", ".partial", ".crdownload", ".filepart", ".swp", "~")


def list_files(
    landing: Path,
    wanted: Mapping[str, Files],
    known: Mapping[str, Mapping[str, Position]],
    *,
    strays: bool = False,
) -> tuple[Mapping[str, Sequence[FileArrival]], Sequence[str]]:
    """What lies in the landing folder: by the feeds' names, the files that are not known yet, by slot; and files that
    no feed asks for. Every folder is listed once, whatever asks for its files.

    wanted: by the feeds' names, which files they ask for.
    known: by the feeds' names, slot -> position in which the file was settled; files in that state are left out. Every
        file's state is asked for every time: a file may be rewritten without a trace in its folder.
    strays: look through the whole folder for files that no feed asks for: a misspelt name is not to be lost.
    Raises ConfigurationError where feeds ask for files and there is no such folder: no file in it says nothing then.
    """
    if wanted:
        refuse_missing(landing)
    walk = _Walk(landing, wanted, known, strays=strays)
    walk.through()
    return {feed: [found[slot] for slot in sorted(found)] for feed, found in walk.found.items()}, sorted(walk.strays)


def refuse_missing(landing: Path) -> None:
    """A misspelt path, or a share that is not mounted, is not taken for a folder in which nothing lies: raises
    ConfigurationError."""
    try:
        if stat.S_ISDIR(landing.stat().st_mode):
            return
        problem = "is no folder"
    except FileNotFoundError:
        problem = "is not there"
    except OSError as error:
        problem = f"cannot be looked at: {error.strerror}"
    raise ConfigurationError(
        f"the landing folder {printable(str(landing))}",
        problem,
        "Mount it, correct PLATFORM_LANDING, or, if it is right and new, make it: "
        f"mkdir -p {shlex.quote(printable(str(landing)))}",
    )


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

    feed: str
    parts: tuple[str, ...]


class _Walk:
    """One walk through the landing folder."""

    def __init__(
        self,
        landing: Path,
        wanted: Mapping[str, Files],
        known: Mapping[str, Mapping[str, Position]],
        *,
        strays: bool,
    ) -> None:
        self._landing = landing
        self._known = known
        self._all = strays
        self._wanted = wanted
        self._todo: list[tuple[str, str, Sequence[_Want]]] = []
        self.found: dict[str, dict[str, FileArrival]] = {feed: {} for feed in wanted}
        self.strays: list[str] = []

    def through(self) -> None:
        wants = [_Want(feed, PurePosixPath(p).parts) for feed, files in self._wanted.items() for p in files.patterns]
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
            self._refuse(folder, prefix.rstrip("/") or ".", wants, why, UNREADABLE)
            return
        # `**` also stands for no folder at all.
        spread = [_Want(want.feed, rest) for want in wants for rest in _without_spread(want.parts)]
        names: dict[str, list[str]] = {}
        for want in spread:
            if len(want.parts) == 1:
                names.setdefault(want.feed, []).append(want.parts[0])
        takers = [
            _Taker(files, names[feed], self._known.get(feed, {}), self.found[feed])
            for feed, files in self._wanted.items()
            if feed in names
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

    def _refuse(self, path: str, slot: str, wants: Iterable[_Want], why: str, state: FileState | None = None) -> None:
        try:
            state = state or FileState.of(os.lstat(path))
        except OSError:
            return  # taken away since it was listed
        for feed in {want.feed for want in wants}:
            if self._known.get(feed, {}).get(slot) != state.position:
                self.found[feed][slot] = refused(slot, Path(path), state, why)


class _Taker:
    """A feed that takes files of one folder by their names."""

    def __init__(
        self,
        files: Files,
        patterns: Sequence[str],
        known: Mapping[str, Position],
        found: dict[str, FileArrival],
    ) -> None:
        self._files = files
        self._match = _matcher(patterns)
        # `*` means files; a folder is only taken for a misplaced delivery where it is called like one.
        self._match_folder = _matcher([pattern for pattern in patterns if pattern.strip("*")])
        self._known = known
        self._found = found
        self.suffix = files.sidecar

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
        if before is not None:
            # Every known file comes by here every time, so nothing is made that it does not need.
            as_known = f"[{status.st_size},{status.st_mtime_ns},{status.st_ctime_ns},{status.st_ino}]"
            if before == as_known and sidecar is None:
                return True
            state = FileState.of(status)
            tidied_away = self.suffix is not None and sidecar is None
            if sidecar is not None and stat.S_ISREG(status.st_mode):
                state = state.beside(FileState.of(sidecar))
            # A known file that only got a further name, as backups by hard links give it, brings nothing new.
            linked = status.st_nlink > 1 and stat.S_ISREG(status.st_mode)
            traits = state._replace(size=status.st_size).traits if linked else state.traits
            if before == state.position or ((tidied_away or linked) and FileState.read(before).traits == traits):
                return True
        self._found[slot] = arrival_of(slot, Path(entry.path), status, sidecar, self._files)
        return True

    def _refuse(self, slot: str, entry: os.DirEntry[str], why: str) -> None:
        if self._known.get(slot) != UNREADABLE.position:
            self._found[slot] = refused(slot, Path(entry.path), UNREADABLE, why)

    def _sidecar(self, entry: os.DirEntry[str], name: str, prefix: str) -> bool:
        """A sidecar is no delivery; one whose file is not there, and never was, announces what has not come."""
        if not name or not self._match(name):
            return False
        slot = prefix + _spelled(name)
        path = Path(entry.path).with_name(name)
        if slot not in self._known and not os.path.lexists(path):
            try:
                state = FileState.of(entry.stat(follow_symlinks=False))
            except OSError:
                return True
            missing = f"{name} itself, whose sidecar is there"
            self._found[slot] = claimable(slot, path, state, self._files, waits_for=missing)
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
