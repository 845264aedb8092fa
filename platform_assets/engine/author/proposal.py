"""A proposal: a feed as some of its files suggest it. Its format, its columns, its name, its cadence.

Belongs here: conclusions from the files as a whole and from where they lie. Elsewhere: reading them (survey.py), single
columns (infer.py), headers that changed (history.py), the proposal as Python (draft.py), trying it (trial.py).
"""

import glob
import itertools
import os
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path, PurePosixPath
from typing import Final

from platform_assets.engine.author.file_dates import FileDates, LikelyCadence, file_dates, likely_cadence
from platform_assets.engine.author.given import Aside, Named, files_named
from platform_assets.engine.author.history import History, histories
from platform_assets.engine.author.infer import UNREADABLE, InferredColumn, Known, infer
from platform_assets.engine.author.layout import with_options
from platform_assets.engine.author.names import name_for, names_for
from platform_assets.engine.author.survey import Survey, survey
from platform_assets.engine.feed.dated import name_date
from platform_assets.engine.feed.formats import Csv, Format
from platform_assets.errors import DeliveryRefused, listed

_DIGITS: Final = re.compile(r"\d([-_.:T\d]*\d)?")
_WHEN: Final = ("event", "occurred", "created", "ordered", "invoice", "sold", "booked", "date", "time", "at", "on")
_REJECTED: Final = 0.001  # share of all rows that may be rejected for types that all others have
_ALWAYS_MISSING: Final = ("na", "none", "nil", "?", "nv", "missing")  # words that may be a value in a column of texts
_MOST_PATTERNS: Final = 4


@dataclass(frozen=True)
class Place:
    """Where a file lies, and where it has to lie to be taken in, if it is elsewhere."""

    path: Path
    slot: str


@dataclass(frozen=True)
class Proposal:
    """A feed as its first files suggest it. aside: files that were given and are not of it. dated: the format of the
    dates in their names. full_lists: whether every file lists all there is. volume: the least, and why; tolerate: the
    share, and why. dimension: a column with few values, by which rows may be counted."""

    name: str
    origin: str
    patterns: tuple[str, ...]
    form: Format | None
    places: tuple[Place, ...]
    columns: tuple[InferredColumn, ...]
    left_out: tuple[InferredColumn, ...]
    rows: int
    cadence: LikelyCadence
    owner: str
    remarks: tuple[str, ...]
    aside: tuple[Aside, ...] = ()
    dated: str | None = None
    days: tuple[date, ...] = ()
    key: tuple[str, ...] = ()
    key_why: str = ""
    full_lists: bool = False
    volume: tuple[float, str] | None = None
    tolerate: tuple[float, str] | None = None
    dimension: str | None = None

    @property
    def file(self) -> str:
        """The newest of its files."""
        return self.places[-1].path.name

    @property
    def files(self) -> str:
        """Its files, in words."""
        if len(self.places) == 1:
            return self.file
        return f"{len(self.places):,} files, {self.places[0].path.name} to {self.file}"

    @property
    def event_time(self) -> str | None:
        """The column that most likely is the time at which a row happened."""
        times = [c for c in self.columns if c.type.kind in ("timestamp", "date") and not c.optional]
        times.sort(
            key=lambda c: (
                c.nulls > 0,
                c.type.kind == "date",
                next((at for at, word in enumerate(_WHEN) if word in c.name), len(_WHEN)),
            )
        )
        return times[0].name if times else None

    @property
    def keys(self) -> tuple[str, ...]:
        """Columns of which no value came twice."""
        unlikely = ("number", "decimal", "boolean")
        return tuple(c.name for c in self.columns if c.distinct and c.type.kind not in unlikely)


def propose(
    *files: Path,
    landing: Path,
    name: str | None = None,
    origin: str | None = None,
    patterns: Sequence[str] = (),
    owner: str | None = None,
    given: Sequence[str] = (),
    tell: Callable[[str], None] = lambda _: None,
) -> Proposal:
    """Read all of the files (or folders, or patterns of names) and propose a feed for the likes of them.

    given: what is known of their format, such as "sheet=Orders". Raises ConfigurationError where there is no such file
    or no such format, or where they are of several feeds, DeliveryRefused where none can be read.
    """
    named, aside = files_named(files)
    found = survey(named, given, tell)
    columns, nulls, more = _columns(found)
    usable = tuple(column for column in columns if column.type != UNREADABLE)
    if not usable:
        raise DeliveryRefused("no column of it fits any kind of a contract", remedy="Deliver plain columns.")
    form = found.form
    if nulls:
        form = with_options(form if isinstance(form, Csv) else None, nulls=nulls)
    used = [each.named for each in found.files]
    where = _Where.of(used, landing, name, origin, patterns)
    dates = found.dates
    days = tuple(day for day in dates.days if day is not None) if dates else ()
    if dates is not None and not dates.sure:
        more.append(
            f"the dates in the names could also be {dates.other}; {dates.form} makes them follow each other more evenly"
        )
    return Proposal(
        name=where.name,
        origin=where.origin,
        patterns=tuple(patterns) or where.patterns(),
        form=form,
        places=tuple(Place(each.path, where.slot(each)) for each in used),
        columns=usable,
        left_out=tuple(column for column in columns if column.type == UNREADABLE),
        rows=found.rows,
        cadence=likely_cadence(days if len(used) > 1 else _days_beside(used[0])),
        owner=owner or "team:data",
        remarks=(*found.remarks, *more),
        aside=(*aside, *found.aside),
        dated=_dated(dates, [where.slot(each) for each in used], more),
        days=days,
    )


def _columns(found: Survey) -> tuple[list[InferredColumn], tuple[str, ...], list[str]]:
    """The columns, the words that mean a missing value in all files, and remarks."""
    files = [each.named.path.name for each in found.files]
    columns = histories([each.header for each in found.files], found.watched, files)
    names = names_for([column.headers[-1] for column in columns])
    types = [
        _inferred(column, name, len(files), Known(files=files)).type
        for column, name in zip(columns, names, strict=True)
    ]
    commas = any(each.options.get("decimal") == "," for each in types)
    points = not commas and any(
        each.kind in ("decimal", "number") and "1.2" in column.watched.ways
        for each, column in zip(types, columns, strict=True)
    )
    # Where one column has decimal commas, the points of another may stand between thousands.
    known = Known(commas=commas, points=points, files=files)
    nulls = _nulls(found, columns, names, known)
    known = Known(commas=commas, points=points, nulls=nulls, files=files)
    most = int(_REJECTED * found.rows)
    lenient = replace(known, most=most)
    tried = {name: _inferred(column, name, len(files), lenient) for column, name in zip(columns, names, strict=True)}
    left = most
    for name, column in sorted(tried.items(), key=lambda item: sum(item[1].strays.values())):
        left -= sum(column.strays.values())
        if column.strays and left < 0:
            at = names.index(name)
            tried[name] = _inferred(columns[at], name, len(files), known)
    remarks = []
    if nulls:
        remarks.append(f"{' and '.join(map(repr, nulls))}: words for a missing value where other values are numbers")
    return [tried[name] for name in names], nulls, remarks


def _inferred(column: History, name: str, files: int, known: Known) -> InferredColumn:
    found = infer(column.watched, name, tuple(column.headers), known)
    return replace(found, optional=len(column.files) < files, remarks=(*column.remarks, *found.remarks))


def _nulls(found: Survey, columns: Sequence[History], names: Sequence[str], known: Known) -> tuple[str, ...]:
    """Words that stand for a missing value among numbers and dates, and are no value elsewhere."""
    if found.form is not None and not isinstance(found.form, Csv):
        return ()
    if isinstance(found.form, Csv) and found.form.nulls:
        return ()
    if any(each.named.kind is not Csv for each in found.files) or len(found.files) < 2:
        return ()
    typed: set[str] = set()
    texts: set[str] = set()
    for column, name in zip(columns, names, strict=True):
        words = set(column.watched.words)
        if words:
            without = infer(column.watched, name, tuple(column.headers), replace(known, nulls=words))
            (texts if without.type.kind == "text" else typed).update(words)
    doubtful = {word for word in texts if word.lower() in _ALWAYS_MISSING}
    return tuple(sorted(typed - doubtful))


@dataclass(frozen=True)
class _Where:
    """Where files lie below `base`, and below which `folder` of the landing folder they have to lie."""

    files: tuple[Named, ...]
    base: Path
    name: str
    origin: str
    folder: tuple[str, ...]

    @classmethod
    def of(
        cls, files: Sequence[Named], landing: Path, name: str | None, origin: str | None, patterns: Sequence[str]
    ) -> "_Where":
        """By where they lie, unless somebody says otherwise."""
        base = Path(os.path.commonpath([each.path.absolute().parent for each in files]))
        inside = base.is_relative_to(landing)
        below = base.relative_to(landing).parts if inside else ()
        words = name_for(re.sub(_DIGITS, " ", files[-1].stem))
        name = name or (below[-1:] and name_for(below[-1])) or words or name_for(base.name) or "rows"
        origin = origin or (name_for(below[0]) if len(below) > 1 else name)
        folder = below if inside else (origin, name)
        if patterns and not inside:
            parts = PurePosixPath(patterns[0]).parts[:-1]
            folder = tuple(itertools.takewhile(lambda part: not glob.has_magic(part), parts))
        return cls(tuple(files), base, name, origin, folder)

    def slot(self, file: Named) -> str:
        """Where below the landing folder a file lies, or has to."""
        return "/".join([*self.folder, *file.path.absolute().relative_to(self.base).parts])

    def patterns(self) -> tuple[str, ...]:
        """Patterns of the names of the files, and as little else as may be."""
        found = {self._pattern(each, each.alike): None for each in self.files}
        if len(found) > _MOST_PATTERNS:
            stems = sorted(each.stem for each in self.files)
            same = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(stems[0], stems[-1], strict=False))
            begin = re.sub(r"\d.*$", "", "".join(one for one, _ in same))
            found = {self._pattern(each, f"{glob.escape(begin)}*"): None for each in self.files}
        if len(found) > _MOST_PATTERNS:
            ends = {
                "/".join([*map(glob.escape, self.folder), "**", f"*{glob.escape(each.suffix)}"]): None
                for each in self.files
            }
            found = ends
        return tuple(found)

    def _pattern(self, file: Named, alike: str) -> str:
        below = file.path.absolute().relative_to(self.base).parts[:-1]
        parts = [*map(glob.escape, self.folder), *(_DIGITS.sub("*", part) for part in below)]
        return "/".join([*parts, f"{alike}{glob.escape(file.suffix)}"])


def _dated(dates: FileDates | None, slots: Sequence[str], remarks: list[str]) -> str | None:
    """The format of the dates in the names, if the engine reads just one date in each; else a remark says why not."""
    if dates is None or len(slots) < 2:
        return None
    begins = {re.match(r"\D*", slot.rpartition("/")[2])[0] for slot in slots}  # type: ignore[index]  # it always matches
    begin = begins.pop().replace("%", "%%") if len(begins) == 1 else ""
    for form in dict.fromkeys((dates.form, f"{begin}{dates.form}")):
        unread = [slot for slot in slots if not _is_read(form, slot)]
        if not unread:
            return form
    remarks.append(
        f"no dated=: {listed(unread, 3)} would be quarantined, having no date, or several, as {dates.form} writes it"
    )
    return None


def _is_read(form: str, slot: str) -> bool:
    with suppress(DeliveryRefused):
        return bool(name_date(form).read(slot))
    return False


def _days_beside(file: Named) -> tuple[date, ...]:
    """The dates in the names of the files beside it that are called like it."""
    with suppress(OSError):
        likes = sorted(file.path.absolute().parent.glob(f"{file.alike}{glob.escape(file.suffix)}"))
        dates = file_dates([path.name for path in likes])
        return tuple(day for day in dates.days if day is not None) if dates else ()
    return ()
