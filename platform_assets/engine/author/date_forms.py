"""Forms of dates and timestamps among texts, counted so that what files hold adds up.

Belongs here: the formats a text may have by its look, which of these read it, and which order of day and month the
evidence of all files speaks for. Elsewhere: reading a date (engine/contract), choosing a column's type (infer.py).
"""

import copy
import re
import types
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any, Final

import polars as pl

from platform_assets.engine.author.candidates import TYPES, ColumnType
from platform_assets.engine.contract.cast import cast
from platform_assets.engine.contract.column import Column, Field, Kind
from platform_assets.engine.contract.model import Contract, columns_of

_TRIED: Final = "tried"
_MOST_LOOKS: Final = 300  # ways that dates of a column look; where there are more, it is no column of dates
_FEW: Final = 0.001  # share of a form's rows that may not fit the order of day and month that all others have
_NEAR: Final = timedelta(days=7)
_LIKE_DATES: Final = (
    r"^([0-9]{1,4}[-/. ][0-9]{1,2}[-/. ][0-9]|[0-9]{8}|[0-9]{1,2}[- ][A-Za-z]{3,9}[- ][0-9]|[A-Za-z]{3,9} [0-9]{1,2}, )"
)
_NUMERIC_DAY: Final = re.compile(r"(\d{4}|\d{1,2})([-/. ])\d{1,2}\2(\d{4}|\d{1,2})(?!\d)|\d{8}(?!\d)")
_NAMED_DAY: Final = re.compile(r"\d{1,2}([- ])([A-Za-z]{3,9})\1(\d{4}|\d{2})(?!\d)|([A-Za-z]{3,9}) \d{1,2}, \d{4}")
_TIME: Final = re.compile(r"([T ])\d{1,2}:\d\d(:\d\d)?(\.\d+)?( ?)([AaPp][Mm])?( ?)(Z|[+-]\d\d:?\d\d)?")


@dataclass
class Form:
    """Texts of one look. rows: by file. missed: of each format that the look allows, by file. near: of each, how many
    lie within days of the date in the file's name."""

    formats: tuple[str, ...]
    rows: Counter[int] = field(default_factory=Counter)
    missed: dict[str, Counter[int]] = field(default_factory=dict)
    near: Counter[str] = field(default_factory=Counter)
    dated: int = 0

    @property
    def kind(self) -> Kind:
        """What its texts are."""
        return "timestamp" if ":" in self.formats[0] else "date"

    @property
    def order(self) -> dict[str, str]:
        """Order of day, month and year -> the format that has it."""
        return {"".join(re.findall("%[dmyY]", form)).lower().replace("%", ""): form for form in self.formats}

    def fitting(self) -> list[str]:
        """The formats that read all of its texts but a few."""
        most = _FEW * self.rows.total()
        return [form for form in self.formats if self.missed.get(form, Counter()).total() <= most]


class DateForms:
    """The forms that the dates of a column have."""

    def __init__(self) -> None:
        self.forms: dict[tuple[str, ...], Form] = {}
        self._looks: dict[str, tuple[str, ...]] = {}

    def add(self, counted: pl.DataFrame, days: Mapping[int, date]) -> None:
        """Count texts (value, file, rows). days: in the names of files."""
        if len(self._looks) > _MOST_LOOKS:
            return
        like = counted["value"].str.contains(_LIKE_DATES)
        if not like.any():
            return
        looks = counted.filter(like).with_columns(look=_look(pl.col("value"))).partition_by("look", as_dict=True)
        for (look,), some in looks.items():
            if look not in self._looks:
                dates, time = formats_of(some["value"][0])
                self._looks[look] = tuple(day + time for day in dates)
            if formats := self._looks[look]:
                self._count(self.forms.setdefault(formats, Form(formats)), some, days)

    def _count(self, form: Form, some: pl.DataFrame, days: Mapping[int, date]) -> None:
        form.rows.update(_by_file(some))
        dated = len(form.formats) > 1 and bool(days)
        if dated:
            some = some.with_columns(day=pl.col("file").replace_strict(days, default=None, return_dtype=pl.Date))
            form.dated += int(some.filter(pl.col("day").is_not_null())["rows"].sum())
        for each in form.formats:
            values = read_as(some["value"], ColumnType(form.kind, {"format": each}))
            if values.null_count():
                form.missed.setdefault(each, Counter()).update(_by_file(some.filter(values.is_null())))
            if dated:
                close = ((values.cast(pl.Date) - some["day"]).abs() <= _NEAR).fill_null(value=False)
                form.near[each] += int(some["rows"].filter(close).sum())

    def merge(self, other: "DateForms") -> None:
        """Take in what was counted of another column."""
        for key, theirs in other.forms.items():
            ours = self.forms.setdefault(key, Form(theirs.formats))
            ours.rows.update(theirs.rows)
            ours.near.update(theirs.near)
            ours.dated += theirs.dated
            for each, missed in theirs.missed.items():
                ours.missed.setdefault(each, Counter()).update(missed)

    def decided(self) -> "Decided":
        """Which formats the forms have, by all that is known."""
        forms = _with_fractions(copy.deepcopy(list(self.forms.values())))
        chosen: dict[int, str] = {}
        sure = set()
        for at, form in enumerate(forms):
            fits = form.fitting()
            if len(fits) == 1:
                chosen[at] = fits[0]
                if len(form.formats) > 1:
                    sure |= {order for order, each in form.order.items() if each == fits[0]}
        remarks: list[str] = []
        rivals: list[tuple[str, ...]] = []
        for at, form in enumerate(forms):
            fits = form.fitting()
            if at in chosen or not fits:
                continue
            by_order = [form.order[order] for order in sure if form.order.get(order) in fits]
            by_name = [each for each in fits if form.near[each] >= 0.9 * form.dated > 0]
            if len(by_order) == 1:
                chosen[at] = by_order[0]
                remarks.append(f"{by_order[0]} is in the order of the other formats; its own values do not decide it")
            elif len(by_name) == 1:
                chosen[at] = by_name[0]
                remarks.append(
                    f"{by_name[0]}: read so, {form.near[by_name[0]]:,} of {form.dated:,} lie within days of the date "
                    f"in their file's name; read as {_others(fits, by_name[0])}, "
                    f"{max(form.near[each] for each in fits if each != by_name[0]):,}"
                )
            else:
                rivals.append(tuple(fits))
        missed = {at: form.missed.get(chosen[at], Counter()) for at, form in enumerate(forms) if at in chosen}
        by_rows = sorted(chosen, key=lambda at: (min(forms[at].rows), -forms[at].rows.total()))
        return Decided(
            formats=tuple(dict.fromkeys(chosen[at] for at in by_rows)),
            kinds=frozenset(forms[at].kind for at in chosen),
            rows=sum((forms[at].rows - missed[at] for at in chosen), Counter()),
            rivals=tuple(rivals),
            could=sum(form.rows.total() for form in forms),
            remarks=tuple(remarks),
        )


@dataclass(frozen=True)
class Decided:
    """What the dates of a column are. rows: that its formats read, by file. rivals: formats between which nothing
    decides. could: rows that look like dates."""

    formats: tuple[str, ...]
    kinds: frozenset[Kind]
    rows: Mapping[int, int]
    rivals: tuple[tuple[str, ...], ...]
    could: int
    remarks: tuple[str, ...]

    @property
    def type(self) -> ColumnType | None:
        """The type that reads them; None where there are no such or they are not decided."""
        if not self.formats or self.rivals:
            return None
        kind: Kind = "timestamp" if "timestamp" in self.kinds else "date"
        iso = "%Y-%m-%d" if kind == "date" else "%Y-%m-%dT%H:%M:%S"
        if all(re.sub(r"%\.f|%:?z", "", form) == iso for form in self.formats):
            return ColumnType(kind)
        return ColumnType(kind, {"format": self.formats[0] if len(self.formats) == 1 else self.formats})


def read_as(texts: pl.Series, column_type: ColumnType) -> pl.Series:
    """The texts as the engine reads them by this type; NULL where it does not."""
    return cast(texts, _column(column_type)).values


def formats_of(value: str) -> tuple[tuple[str, ...], str]:
    """The formats that the day of `value` may have, and that of its time; no formats where it is no date."""
    if (found := _NUMERIC_DAY.match(value)) is not None:
        year, sep, last = found[1], found[2], found[3]
        if sep is None:
            days: tuple[str, ...] = ("%Y%m%d",)
        elif len(year) == 4:
            days = (f"%Y{sep}%m{sep}%d",) if len(last) < 3 else ()
        elif len(last) == 4:
            days = (f"%d{sep}%m{sep}%Y", f"%m{sep}%d{sep}%Y")
        else:
            days = (f"%d{sep}%m{sep}%y", f"%m{sep}%d{sep}%y") if len(last) == 2 else ()
            days += (f"%y{sep}%m{sep}%d",) if sep == "-" else ()
    elif (found := _NAMED_DAY.match(value)) is not None:
        month = "%b" if len(found[2] or found[4]) == 3 else "%B"
        year = "%y" if len(found[3] or "1234") == 2 else "%Y"
        days = (f"%d{found[1]}{month}{found[1]}{year}",) if found[1] else (f"{month} %d, {year}",)
    else:
        return (), ""
    rest = value[found.end() :]
    if not rest:
        return days, ""
    if (time := _TIME.fullmatch(rest)) is None:
        return (), ""
    hours = "%I" if time[5] else "%H"
    offset = "" if time[7] is None else f"{time[6]}{'%:z' if ':' in time[7] or time[7] == 'Z' else '%z'}"
    seconds = ("%S%.f" if time[3] else "%S") if time[2] else ""
    if time[3] and not time[2]:
        return (), ""
    clock = f"{time[1]}{hours}:%M" + (f":{seconds}" if seconds else "")
    return days, clock + (f"{time[4]}%p" if time[5] else time[4]) + offset


def _by_file(counted: pl.DataFrame) -> dict[int, int]:
    return dict(counted.group_by("file").agg(pl.sum("rows")).iter_rows())


def _look(text: pl.Expr) -> pl.Expr:
    """What of a text its format depends on: digits are nines, words are short or long, a fraction has one digit."""
    return (
        text.str.replace_all("[0-9]", "9")
        .str.replace_all("[A-Za-z]{4,}", "Long")
        .str.replace_all("[AaPp][Mm]", "PM")
        .str.replace(r":99\.9+", ":99.9")
    )


def _with_fractions(forms: Sequence[Form]) -> list[Form]:
    """The forms; one without a fraction of a second is of the one that may have it, if there is one."""
    by_formats = {form.formats: form for form in forms}
    found = []
    for form in forms:
        longer = tuple(each.replace("%S", "%S%.f") for each in form.formats)
        if longer != form.formats and "%.f" not in form.formats[0] and longer in by_formats:
            other = by_formats[longer]
            other.rows.update(form.rows)
            other.near.update({each.replace("%S", "%S%.f"): n for each, n in form.near.items()})
            other.dated += form.dated
            for each, missed in form.missed.items():
                other.missed.setdefault(each.replace("%S", "%S%.f"), Counter()).update(missed)
        else:
            found.append(form)
    return found


def _others(formats: Sequence[str], one: str) -> str:
    return " or ".join(each for each in formats if each != one)


def _column(column_type: ColumnType) -> Column:
    """The column of a contract that reads so."""
    key = (column_type.kind, tuple(column_type.options.items()))
    if key not in _COLUMNS:
        declared: dict[str, Any] = {
            "__annotations__": {_TRIED: TYPES[column_type.kind]},
            _TRIED: Field(**column_type.options),
        }
        contract = types.new_class(
            "Tried", (Contract,), exec_body=lambda body: body.update(declared, __module__=__name__)
        )
        _COLUMNS[key] = columns_of(contract)[0]
    return _COLUMNS[key]


_COLUMNS: Final[dict[tuple[Kind, tuple[Any, ...]], Column]] = {}
