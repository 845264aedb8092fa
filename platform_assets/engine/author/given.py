"""The files that a feed is to be drafted from: named one by one, as a folder, or by a pattern.

Belongs here: which files these are, in the order of the dates in their names, and what their names say. Elsewhere:
what is in them (survey.py).
"""

import glob
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from platform_assets.engine.feed.formats import Format
from platform_assets.engine.readers import FORMATS
from platform_assets.engine.sources.landing import UNFINISHED_SUFFIXES
from platform_assets.errors import ConfigurationError

_NAME: Final = re.compile(r"(?P<stem>.*?)(?P<kind>\.[a-z]+)(?P<packed>\.(gz|zst|zip))?", re.IGNORECASE)
_NUMBERS: Final = re.compile(r"\d(?:[-_.:T\d]*\d)?")


@dataclass(frozen=True)
class Named:
    """A file and what its name says: what is before its ending, the ending, the format that it means."""

    path: Path
    stem: str
    suffix: str
    kind: type[Format]

    @property
    def alike(self) -> str:
        """A pattern for names like this one: what is numbers in it may be others."""
        numbered = [glob.escape(part) for part in _NUMBERS.split(self.stem)]
        return "*".join(numbered) if len(numbered) > 1 else f"{numbered[0]}*"


@dataclass(frozen=True)
class Aside:
    """A file that no feed is drafted from, and why."""

    file: str
    why: str


def files_named(given: Sequence[Path]) -> tuple[list[Named], list[Aside]]:
    """The files that are given, in the order of their names, and what in a folder is none.

    Raises ConfigurationError where something that is named is not there, or has no name of a known format.
    """
    found: dict[Path, None] = {}
    aside = []
    for each in given:
        if each.is_dir() or (not each.exists() and glob.has_magic(str(each))):
            paths = sorted(Path(path) for path in _within(each) if Path(path).is_file())
            for path in paths:
                if path.name.startswith(".") or path.name.lower().endswith(UNFINISHED_SUFFIXES):
                    aside.append(Aside(path.name, "has the name of an unfinished file"))
                elif _parts(path.name) is None:
                    aside.append(Aside(path.name, "has no name of a known format"))
                else:
                    found[path] = None
            if not paths:
                raise ConfigurationError(f"{str(each)!r}", "holds no file", "Name the files to start from.")
        elif each.is_file():
            found[each] = None
        else:
            raise ConfigurationError(
                f"file {str(each)!r}", "is not a regular file", "Name the file to start from, or a folder of them."
            )
    named = [_named(path) for path in found]
    if not named:
        raise ConfigurationError(
            f"{str(given[0])!r}", "holds no file of a known format", f"Names should end in {' '.join(FORMATS)}."
        )
    return named, aside


def _within(place: Path) -> Iterator[str]:
    if not place.is_dir():
        yield from map(str, Path(place.anchor).glob(str(place.relative_to(place.anchor))))
    elif direct := [str(path) for path in place.iterdir() if path.is_file()]:
        yield from direct
    else:
        yield from map(str, place.rglob("*"))


def _named(path: Path) -> Named:
    parts = _parts(path.name)
    if parts is None:
        raise ConfigurationError(
            f"file {path.name!r}", "has no name of a known format", f"Its name should end in {' '.join(FORMATS)}."
        )
    return Named(path, *parts)


def _parts(name: str) -> tuple[str, str, type[Format]] | None:
    found = _NAME.fullmatch(name)
    while found is not None and found["kind"].lower() not in FORMATS and "." in name[len(found["stem"]) + 1 :]:
        found = re.compile(rf"(?P<stem>{re.escape(found['stem'] + found['kind'])}.*?)(?P<kind>\.[a-z]+)(?P<packed>"
                           r"\.(gz|zst|zip))?", re.IGNORECASE).fullmatch(name)  # fmt: skip
    if found is None or found["kind"].lower() not in FORMATS:
        return None
    return found["stem"], name[len(found["stem"]) :], FORMATS[found["kind"].lower()]
