"""A proposal: a feed as one of its files suggests it. Its format, its columns, its name, its cadence.

Belongs here: conclusions from the file as a whole, its name and its neighbours. Elsewhere: single columns (infer.py),
the proposal as Python (draft.py), the feed tried on the file (trial.py).
"""

import codecs
import glob
import itertools
import re
import statistics
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Final

from platform_assets.engine.author.infer import UNREADABLE, Columns, InferredColumn, name_for
from platform_assets.engine.feed.feed import Files
from platform_assets.engine.feed.formats import Csv, Format, Json, Xml
from platform_assets.engine.readers import FORMATS, Reader, open_reader
from platform_assets.engine.readers.csv.dialect import SAMPLE, likely
from platform_assets.engine.readers.encodings import FAR, likely_encodings
from platform_assets.engine.readers.magic import kind_of
from platform_assets.engine.readers.packing.unpack import blocks_of, packing
from platform_assets.errors import ConfigurationError, DeliveryRefused, DeliveryUnfinished, listed

_NAME: Final = re.compile(r"(?P<stem>.*?)(?P<kind>\.[a-z]+)(?P<packed>\.(gz|zst|zip))?", re.IGNORECASE)
_DIGITS: Final = re.compile(r"\d([-_.:T\d]*\d)?")
_DATED: Final = re.compile(r"(?<!\d)(\d{4})[-_.]?(\d{2})[-_.]?(\d{2})(?!\d{3})")
_HEAD: Final = 1 << 20
_WHEN: Final = ("event", "occurred", "created", "ordered", "invoice", "sold", "booked", "date", "time", "at", "on")


@dataclass(frozen=True)
class LikelyCadence:
    """When deliveries seem to come, and the evidence."""

    cron: str
    why: str


@dataclass(frozen=True)
class Proposal:
    """A feed as its first file suggests it."""

    name: str
    origin: str
    pattern: str
    form: Format | None
    file: str
    columns: tuple[InferredColumn, ...]
    left_out: tuple[InferredColumn, ...]
    rows: int
    cadence: LikelyCadence
    owner: str
    remarks: tuple[str, ...]

    @property
    def event_time(self) -> str | None:
        """The column that most likely is the time at which a row happened."""
        times = [c for c in self.columns if c.type.kind in ("timestamp", "date")]
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
    file: Path,
    *,
    landing: Path,
    name: str | None = None,
    origin: str | None = None,
    pattern: str | None = None,
    owner: str | None = None,
    given: Sequence[str] = (),
) -> Proposal:
    """Read all of `file` and propose a feed for the likes of it.

    given: what is known of its format, such as "sheet=Orders". Raises ConfigurationError where there is no such file
    or no such format, DeliveryRefused where it cannot be read.
    """
    if not file.is_file():
        raise ConfigurationError(f"file {str(file)!r}", "is not a regular file", "Name the file to start from.")
    stem, suffix, kind = _parts(file)
    place = file.absolute()
    below = place.relative_to(landing).parts[:-1] if place.is_relative_to(landing) else ()
    words = name_for(re.sub(_DIGITS, " ", stem))
    name = name or (below[-1:] and name_for(below[-1])) or words or name_for(file.absolute().parent.name) or "rows"
    origin = origin or (name_for(below[0]) if len(below) > 1 else name)
    likes = f"{_alike(stem)}{glob.escape(suffix)}"
    folder = [*map(glob.escape, below)] if place.is_relative_to(landing) else [origin, name]
    with tempfile.TemporaryDirectory(prefix="proposal-") as scratch:
        opened = _Opened(file, Path(scratch))
        if kind in (Csv, Json, Xml) and not suffix.lower().endswith(".zip"):
            _refuse_another_kind(opened)
        form, remarks = _form(opened, kind, given)
        try:
            reader = opened.by(form)
        except DeliveryUnfinished as error:
            raise DeliveryRefused(error.what, remedy="Name a whole file.") from error
        inferred, rows, more = _inferred(reader)
    if isinstance(form, Csv) or (form is None and kind is Csv):
        form = _written_down(form, reader.dialect)
    columns = tuple(column for column in inferred if column.type != UNREADABLE)
    if not columns:
        raise DeliveryRefused("no column of it fits any kind of a contract", remedy="Deliver plain columns.")
    return Proposal(
        name=name,
        origin=origin,
        pattern=pattern or "/".join([*folder, likes]),
        form=form,
        file=file.name,
        columns=columns,
        left_out=tuple(column for column in inferred if column.type == UNREADABLE),
        rows=rows,
        cadence=_likely_cadence(file),
        owner=owner or "team:data",
        remarks=(*remarks, *more),
    )


@dataclass(frozen=True)
class _Opened:
    """A file to open in several ways; `scratch` is where it may be unpacked."""

    path: Path
    scratch: Path

    def by(self, form: Format | None) -> Reader:
        """Its reader, if it is of the form."""
        return open_reader(self.path, self.path.name, Files("*", format=form), scratch=self.scratch)

    def beginning(self, most: int) -> bytes:
        """Its first bytes, unpacked."""
        begin = b""
        for block in blocks_of(self.path, packing(self.path.name)):
            begin += block
            if len(begin) >= most:
                break
        return begin[:most]


def _refuse_another_kind(file: _Opened) -> None:
    """Raise DeliveryRefused for what is not what its name says."""
    if (found := kind_of(file.beginning(_HEAD))) is not None:
        what, ends = found
        remedy = (
            f"Give it a name that ends in {ends}." if ends else "Ask for the data in the format that the name says."
        )
        raise DeliveryRefused(f"by its content the file is {what}", remedy=remedy)


def _parts(file: Path) -> tuple[str, str, type[Format]]:
    found = _NAME.fullmatch(file.name)
    while found is not None and found["kind"].lower() not in FORMATS and "." in file.name[len(found["stem"]) + 1 :]:
        found = re.compile(rf"(?P<stem>{re.escape(found['stem'] + found['kind'])}.*?)(?P<kind>\.[a-z]+)(?P<packed>"
                           r"\.(gz|zst|zip))?", re.IGNORECASE).fullmatch(file.name)  # fmt: skip
    if found is None or found["kind"].lower() not in FORMATS:
        raise ConfigurationError(
            f"file {file.name!r}", "has no name of a known format", f"Its name should end in {' '.join(FORMATS)}."
        )
    return found["stem"], file.name[len(found["stem"]) :], FORMATS[found["kind"].lower()]


def _alike(stem: str) -> str:
    """A pattern for names like `stem`: what is numbers in it may be others."""
    numbered = [glob.escape(part) for part in re.split(r"\d(?:[-_.:T\d]*\d)?", stem)]
    return "*".join(numbered) if len(numbered) > 1 else f"{numbered[0]}*"


def _form(file: _Opened, kind: type[Format], given: Sequence[str]) -> tuple[Format | None, list[str]]:
    """The format to declare, None where the reader finds out all there is; and remarks."""
    options = dict(_option(kind, each) for each in given)
    if kind is not Csv:
        return (kind(**options) if options else None), []
    remarks = []
    if "encoding" not in options:
        encoding = _encoding(file)
        if encoding is not None:
            options["encoding"] = encoding
            remarks.append(f"the file is not UTF-8; {encoding} is a guess: look at its accented letters")
    if "delimiter" not in options and "skip" not in options and "header" not in options:
        options |= _layout(file, options.get("encoding"))
    return (Csv(**options) if options else None), remarks


def _option(kind: type[Format], given: str) -> tuple[str, Any]:
    key, _, value = given.partition("=")
    if key not in {each.name for each in fields(kind)}:
        known = ", ".join(each.name for each in fields(kind))
        raise ConfigurationError(f"--format {given!r}", f"is no option of {kind.__name__}", f"Name one of: {known}.")
    if key == "skip":
        if not value.isdecimal():
            raise ConfigurationError(f"--format {given!r}", "is no number of lines", "Give one, such as skip=2.")
        return key, int(value)
    if key in ("header", "nulls", "partitions"):
        return key, tuple(value.split(","))
    return key, {"\\t": "\t", "tab": "\t"}.get(value, value) if key == "delimiter" else value


def _encoding(file: _Opened) -> str | None:
    """The encoding to declare; None for what the reader takes the file for, and where none of the usual reads it."""
    if file.path.name.lower().endswith(".zip"):
        for encoding in (None, "cp1252"):
            with suppress(DeliveryRefused):
                file.by(Csv(delimiter=",", encoding=encoding))
                return encoding
        return None
    likely = likely_encodings(file.beginning(FAR), "utf-8")
    return likely[0] if likely and likely[0] not in ("utf-8", "utf-16") else None


def _layout(file: _Opened, encoding: str | None) -> dict[str, Any]:
    """Delimiter and lines before the header, where the reader is not sure of them itself."""
    with suppress(DeliveryRefused, DeliveryUnfinished):
        reader = file.by(Csv(encoding=encoding))
        if len(reader.header) > 1 and all(name.strip() for name in reader.header):
            return {}
    begin = file.beginning(SAMPLE)
    usual = "utf-16" if begin[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8-sig"
    form = likely(begin.decode(encoding or usual, "replace").encode(), Csv(), file.path.name)
    if form is None:
        return {}
    return {"delimiter": form.delimiter} | ({"skip": form.skip} if form.skip else {})


def _inferred(reader: Reader) -> tuple[tuple[InferredColumn, ...], int, list[str]]:
    """The columns by all rows of the file; how many rows; and remarks."""
    if not reader.header:
        raise DeliveryRefused("the file is empty", remedy="Name a file with a header and some rows.")
    columns = Columns(reader.header)
    rows = malformed = 0
    where: list[str] = []
    for some in reader.batches(columns.asked):
        rows += some.frame.height
        malformed += some.malformed.height
        where += [f"line {line} ({rule})" for line, rule in some.malformed.select("_line", "rule").head(3).iter_rows()]
        columns.add(some.frame)
    remarks = []
    if malformed:
        remarks.append(f"{malformed} lines could not be taken apart and would be rejected: {listed(where, 3)}")
    if all(re.fullmatch(r"[-+.,:/ 0-9]*", name) for name in reader.header):
        remarks.append("the first line looks like a row: if no line has names, give them with --format header=a,b,c")
    return columns.inferred(), rows, remarks


def _written_down(form: Format | None, dialect: Mapping[str, str]) -> Format | None:
    """The form with the delimiter that was found, so that the next file is read in the same way."""
    found = dialect.get("delimiter", ",")
    if not isinstance(form, Csv | None) or found in (",", "") or (form and form.delimiter):
        return form
    known = {each.name: getattr(form, each.name) for each in fields(form)} if form else {}
    return Csv(**{**known, "delimiter": found})


def _likely_cadence(file: Path) -> LikelyCadence:
    """When files like this one seem to come, by the dates in their names."""
    dates = sorted({day for path in _likes(file) for day in _dates(path.name)})
    if len(dates) < 2:
        return LikelyCadence("0 6 * * *", "one file does not show how often files come: daily, until you know better")
    gap = statistics.median((later - earlier) / timedelta(days=1) for earlier, later in itertools.pairwise(dates))
    seen = f"the {len(dates)} dates in the names beside it lie {gap:g} day{'s' * (gap != 1)} apart"
    if gap <= 2:
        weekdays = sorted({day.isoweekday() % 7 for day in dates})
        some = ",".join(map(str, weekdays)) if len(dates) >= 14 and len(weekdays) < 7 else "*"
        return LikelyCadence(f"0 6 * * {some}", seen)
    if gap <= 10:
        return LikelyCadence(f"0 6 * * {dates[-1].isoweekday() % 7}", seen)
    return LikelyCadence(f"0 6 {min(dates[-1].day, 28)} * *", seen)


def _likes(file: Path) -> Iterator[Path]:
    stem, suffix, _ = _parts(file)
    return file.absolute().parent.glob(f"{_alike(stem)}{glob.escape(suffix)}")


def _dates(name: str) -> Iterator[date]:
    for year, month, day in _DATED.findall(name):
        with suppress(ValueError):
            yield date(int(year), int(month), int(day))
