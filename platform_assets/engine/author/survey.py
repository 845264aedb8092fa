"""A survey of files: each read once, its columns counted, what cannot be used set aside with the reason.

Belongs here: reading all rows of all files, and which files are of one feed. Elsewhere: counting (watched.py), how
files are written (layout.py), what follows from it (proposal.py).
"""

import re
import shlex
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Final

import polars as pl

from platform_assets.engine.author.file_dates import FileDates, file_dates
from platform_assets.engine.author.footer import (
    MOST_LINES,
    LastRecord,
    expression,
    footer_lines,
    footer_words,
    last_records,
)
from platform_assets.engine.author.given import Aside, Named
from platform_assets.engine.author.layout import Opened, form_of, with_delimiter, with_options
from platform_assets.engine.author.watched import HASHES, Watched
from platform_assets.engine.contract.model import folded, letters
from platform_assets.engine.feed.formats import Csv, Format
from platform_assets.engine.readers import Reader
from platform_assets.engine.readers.csv.dialect import SAMPLE, likely
from platform_assets.errors import ConfigurationError, DeliveryRefused, DeliveryUnfinished, PlatformError, listed

_EVERY_S: Final = 2.0
_FOREIGN: Final = 0.1  # share of files that may be something else and are set aside
_SHOWN: Final = 3
_TOGETHER: Final = 50_000  # rows
_TOGETHER_BYTES: Final = 16 << 20
_SHARED: Final = 0.5  # of the columns of two files of a feed, those that have one name


@dataclass(frozen=True)
class Read:
    """A file that was read. rows: its records, malformed: of these, what could not be taken apart; where: the first;
    ends: the last records."""

    named: Named
    header: tuple[str, ...]
    rows: int
    malformed: int
    dialect: Mapping[str, str]
    day: date | None
    where: tuple[str, ...] = ()
    ends: tuple[LastRecord, ...] = ()


@dataclass
class Survey:
    """What the files hold. watched: columns by folded header."""

    form: Format | None
    files: list[Read] = field(default_factory=list)
    aside: list[Aside] = field(default_factory=list)
    watched: dict[str, Watched] = field(default_factory=dict)
    dates: FileDates | None = None
    remarks: list[str] = field(default_factory=list)

    @property
    def rows(self) -> int:
        """Records that were read."""
        return sum(each.rows for each in self.files)


def survey(
    files: Sequence[Named], given: Sequence[str], tell: Callable[[str], None], *, scratch: Path | None = None
) -> Survey:
    """Read all of the files.

    given: what is known of their format. Raises ConfigurationError where they are of several feeds, DeliveryRefused
    where none of them can be read.
    """
    with tempfile.TemporaryDirectory(prefix="survey-", dir=scratch) as folder:
        opened = [Opened(each, Path(folder)) for each in files]
        usable, aside = _usable(opened)
        named = any(each.startswith("header=") for each in given)
        same, foreign = (usable, []) if named else _of_one_feed(usable)
        dates = file_dates([each.named.stem for each, _ in same])
        days = dict(zip((each.named for each, _ in same), dates.days if dates else (), strict=False))
        same.sort(key=lambda pair: (days.get(pair[0].named) or date.min, str(pair[0].named.path)))
        encoding, remarks = _encoding([each for each, _ in same])
        form = form_of(same[-1][0], given, encoding)
        some = _Some(same, [*aside, *foreign], dates, remarks, days)
        found = _without_footers(some, _read_all(some, form, tell), tell)
    _check(found, len(files))
    found.form = with_delimiter(found.form, [each.dialect for each in found.files if each.named.kind is Csv])
    return found


@dataclass(frozen=True)
class _Some:
    """Files to be read as those of one feed, and what is known of them before."""

    files: Sequence[tuple[Opened, tuple[str, ...]]]
    aside: Sequence[Aside]
    dates: FileDates | None
    remarks: Sequence[str]
    days: Mapping[Named, date | None]


def _read_all(some: _Some, form: Format | None, tell: Callable[[str], None]) -> Survey:
    found = Survey(form, aside=[*some.aside], dates=some.dates, remarks=[*some.remarks])
    columns = _Columns(found.watched)
    told = time.monotonic()
    several = len(some.files) + len(some.aside) > 1
    for at, (each, _) in enumerate(some.files):
        try:
            day = some.days.get(each.named)
            found.files.append(_read(each, form, day, len(found.files), columns, several=several))
        except (DeliveryRefused, DeliveryUnfinished) as error:
            if len(some.files) == 1:
                raise
            found.aside.append(Aside(each.named.path.name, error.what))
        if time.monotonic() - told > _EVERY_S:
            told = time.monotonic()
            tell(f"read {at + 1:,} of {len(some.files):,} files, {found.rows:,} rows")
    columns.count()
    return found


def _without_footers(some: _Some, found: Survey, tell: Callable[[str], None]) -> Survey:
    """The survey with the lines at the ends of files that are no rows declared as a footer, unless that would also end
    a file before its last row."""
    words: list[str] = []
    lines = 0
    for _ in range(MOST_LINES):
        form = found.form
        if not isinstance(form, Csv | None) or (form and form.footer and not words):
            break
        if any(each.named.kind is not Csv for each in found.files):
            break
        more = footer_words([each.ends for each in found.files])
        if not more:
            break
        taken = [footer_lines(each.ends, more) for each in found.files]
        without = _read_all(some, with_options(form, footer=expression([*words, *more])), tell)
        if without.rows != found.rows - sum(taken):
            named = " or ".join(map(repr, more))
            found.remarks.append(
                f"{sum(map(bool, taken)):,} files end with a line that begins with {named}, and so do rows, it seems: "
                "if the former are no rows, format=Csv(footer=…) says how to tell them"
            )
            break
        found, words, lines = without, [*words, *more], lines + sum(taken)
    if words:
        named = " or ".join(map(repr, words))
        found.remarks.append(
            f"{lines:,} lines at the ends of files begin with {named} and are no rows: the footer, "
            "which ends the data wherever it is found"
        )
    return found


def _check(found: Survey, files: int) -> None:
    if not found.files:
        raise DeliveryRefused(
            f"none of {files} files can be read: {listed([f'{each.file}: {each.why}' for each in found.aside], 3)}",
            remedy="Name files with a header and some rows.",
        )
    kinds = {each.named.kind for each in found.files}
    if len(kinds) > 1 and found.form is not None:
        raise _several(
            [[each.named for each in found.files if each.named.kind is kind] for kind in kinds],
            f"are of {len(kinds)} formats, and {type(found.form).__name__} needs options that others do not have",
        )
    broken = [each for each in found.files if each.malformed]
    if broken:
        where = [
            f"{line}{f' of {each.named.path.name}' * (len(found.files) > 1)}" for each in broken for line in each.where
        ]
        found.remarks.append(
            f"{sum(each.malformed for each in broken):,} lines could not be taken apart and would be rejected: "
            + listed(where, _SHOWN)
        )
    if all(re.fullmatch(r"[-+.,:/ 0-9]*", name) for name in found.files[-1].header):
        found.remarks.append(
            "the first line looks like a row: if no line has names, give them with --format header=a,b,c"
        )


def _usable(opened: Sequence[Opened]) -> tuple[list[tuple[Opened, tuple[str, ...]]], list[Aside]]:
    """The files that can be opened, with their headers as far as the reader finds them by itself."""
    usable, aside = [], []
    for each in opened:
        try:
            each.refuse_another_kind()
            header: tuple[str, ...] = ()
            if len(opened) > 1:
                header = _header(each)
                if header and not any(name.strip() for name in header):
                    raise DeliveryRefused("its header names no column", remedy="Name a file with a header.")
                if each.named.path.stat().st_size == 0 or not header:
                    raise DeliveryRefused("the file is empty", remedy="Name a file with a header and some rows.")
            usable.append((each, header))
        except (DeliveryRefused, DeliveryUnfinished) as error:
            if len(opened) == 1:
                raise
            aside.append(Aside(each.named.path.name, error.what))
        except OSError as error:
            if len(opened) == 1:
                raise
            aside.append(Aside(each.named.path.name, error.strerror or type(error).__name__))
    if not usable:
        raise DeliveryRefused(
            f"none of {len(opened)} files can be read: {listed([f'{each.file}: {each.why}' for each in aside], 3)}",
            remedy="Name files with a header and some rows.",
        )
    return usable, aside


def _header(opened: Opened) -> tuple[str, ...]:
    """The header of a file; of delimited text without reading more than its beginning."""
    if opened.named.kind is not Csv or opened.zipped:
        return opened.by(None).header
    begin = opened.beginning(SAMPLE)[:SAMPLE]
    text = begin.decode("utf-16" if begin[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig", "replace")
    form = likely(text.encode(), Csv(), opened.named.path.name) or Csv(delimiter=",")
    lines = [line for line in text.splitlines() if line.strip()]
    line = lines[form.skip] if len(lines) > form.skip else (lines or [""])[-1]
    return tuple(name.strip().strip('"') for name in line.split(form.delimiter or ",")) if line else ()


def _of_one_feed(
    usable: Sequence[tuple[Opened, tuple[str, ...]]],
) -> tuple[list[tuple[Opened, tuple[str, ...]]], list[Aside]]:
    """The files that have columns in common, and a few others that are set aside.

    Raises ConfigurationError where there are several groups of files.
    """
    groups: list[tuple[list[tuple[Opened, tuple[str, ...]]], list[set[str]]]] = []
    for each in usable:
        names = {letters(name) for name in each[1]}
        likely = [group for group in groups if any(_shared(names, other) for other in group[1])]
        if not likely:
            groups.append(([each], [names]))
            continue
        first, *others = likely
        for other in others:
            first[0].extend(other[0])
            first[1].extend(other[1])
            groups.remove(other)
        first[0].append(each)
        if names not in first[1]:
            first[1].append(names)
    groups.sort(key=lambda group: -len(group[0]))
    main = list(groups[0][0])
    apart: list[list[tuple[Opened, tuple[str, ...]]]] = []
    for group, _ in groups[1:]:
        if _follows(main, group):
            main += group
        else:
            apart.append(group)
    few = max(1, _FOREIGN * len(usable)) if len(main) > 2 else 0
    if sum(map(len, apart)) > few:
        raise _several([[each.named for each, _ in group] for group in (main, *apart)], "have no columns in common")
    theirs = {letters(name) for _, header in main for name in header}
    aside = [
        Aside(
            each.named.path.name,
            f"has other columns than the others: {len([n for n in header if letters(n) in theirs])} of {len(header)} "
            "are among theirs",
        )
        for group in apart
        for each, header in group
    ]
    return main, aside


def _shared(names: set[str], others: set[str]) -> bool:
    if not names or not others:
        return names == others
    return len(names & others) >= _SHARED * min(len(names), len(others))


def _follows(main: Sequence[tuple[Opened, tuple[str, ...]]], group: Sequence[tuple[Opened, tuple[str, ...]]]) -> bool:
    """Whether files of the same names and as many columns went before or came after: all columns were renamed."""
    if len({each.named.alike for each, _ in (*main, *group)}) > 1 or min(len(main), len(group)) < 3:
        return False
    if not {len(header) for _, header in main} & {len(header) for _, header in group}:
        return False
    dates = file_dates([each.named.stem for each, _ in (*main, *group)])
    if dates is None or None in dates.days:
        return False
    ours = [day for day in dates.days[: len(main)] if day]
    theirs = [day for day in dates.days[len(main) :] if day]
    return max(ours) < min(theirs) or max(theirs) < min(ours)


def _encoding(opened: Sequence[Opened]) -> tuple[str | None, list[str]]:
    """The encoding to declare for all of the files; raises ConfigurationError where there is no such."""
    texts = [(each, each.encoding()) for each in opened if each.named.kind is Csv]
    found = Counter(encoding for _, encoding in texts if encoding is not None)
    if not found:
        return None, []
    ((encoding, _),) = found.most_common(1)
    other = [each for each, its in texts if its != encoding and not each.is_plain()]
    if other:
        groups = [[each.named for each, _ in texts if each not in other], [each.named for each in other]]
        raise _several(groups, f"are written in other encodings: some in {encoding}, some in UTF-8")
    these = "the file is" if len(opened) == 1 else f"{found[encoding]:,} files are"
    return encoding, [f"{these} not UTF-8; {encoding} is a guess: look at its accented letters"]


class _Columns:
    """Rows of some files with one header, which are counted together: a count costs more than its rows."""

    def __init__(self, watched: dict[str, Watched]) -> None:
        self._watched = watched
        self._header: tuple[str, ...] = ()
        self._frames: list[pl.DataFrame] = []
        self.days: dict[int, date] = {}

    def add(self, header: tuple[str, ...], frame: pl.DataFrame, file: int) -> None:
        """Take in some rows, whose columns are called by their place."""
        frame = frame.with_columns(pl.lit(file, pl.UInt32).alias("file"))
        if self._frames and (header != self._header or frame.schema != self._frames[0].schema):
            self.count()
        self._header = header
        self._frames.append(frame)
        if sum(each.height for each in self._frames) > _TOGETHER or frame.estimated_size() > _TOGETHER_BYTES:
            self.count()

    def count(self) -> None:
        """Count what was taken in."""
        if not self._frames:
            return
        frame = pl.concat(self._frames)
        self._frames = []
        cap = HASHES // max(1, len(self._header) // 8)
        for place, name in enumerate(self._header):
            column = self._watched.setdefault(folded(name), Watched(name, cap))
            column.add(frame[f"{place}"], frame["file"], self.days)


def _read(opened: Opened, form: Format | None, day: date | None, at: int, columns: _Columns, *, several: bool) -> Read:
    """Read all of a file, its rows into `columns`; of several, one without a row is refused."""
    try:
        reader = opened.by(form)
    except DeliveryUnfinished as error:
        raise DeliveryRefused(error.what, remedy="Name a whole file.") from error
    _refuse_unusable(reader)
    if day is not None:
        columns.days[at] = day
    rows = malformed = 0
    where: list[str] = []
    ends: tuple[LastRecord, ...] = ()
    places = {f"{place}": name for place, name in enumerate(reader.header)}
    for some in reader.batches(places):
        rows += some.frame.height
        if opened.named.kind is Csv:
            ends = last_records(ends, some, list(places))
        malformed += some.malformed.height
        if len(where) < _SHOWN:
            where += [f"line {line} ({rule})" for line, rule in some.malformed.select("_line", "rule").iter_rows()]
        if some.frame.height or not several:
            columns.add(reader.header, some.frame.select(*places), at)
    if several and not rows + malformed:
        raise DeliveryRefused("it has a header and no row", remedy="Name a file with some rows.")
    return Read(
        opened.named, reader.header, rows + malformed, malformed, reader.dialect, day, tuple(where[:_SHOWN]), ends
    )


def _refuse_unusable(reader: Reader) -> None:
    if not reader.header:
        raise DeliveryRefused("the file is empty", remedy="Name a file with a header and some rows.")
    names = Counter(map(folded, reader.header))
    if twice := [name for name, count in names.items() if count > 1]:
        raise DeliveryRefused(
            f"{len(twice)} columns have the name of another one",
            remedy="Ask the producer for a header that names every column once.",
        )


def _several(groups: Sequence[Sequence[Named]], why: str) -> PlatformError:
    """The error that names groups of files, and for each what to type."""
    told = []
    for group in groups:
        patterns = sorted({f"{each.path.parent}/{each.alike}{each.suffix}" for each in group})
        names = [shlex.quote(str(group[0].path))] if len(group) == 1 else patterns if len(patterns) < 4 else []
        what = " ".join(names) or " ".join(shlex.quote(str(each.path)) for each in group[:3]) + " …"
        told.append(f"platform feed add {what}   ({len(group)} files)")
    remedy = "Draft a feed for each, with a --name of its own:\n    " + "\n    ".join(told)
    return ConfigurationError("the files", why, remedy)
