"""The dates in the names of files: their format, and how often files come by them.

Belongs here: conclusions from names. Elsewhere: dates among values (date_forms.py).
"""

import itertools
import re
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final

from platform_assets.errors import listed

_MONTHS: Final = "(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
_LONG_MONTHS: Final = "(?:January|February|March|April|May|June|July|August|September|October|November|December)"
# What a name is searched for, and the formats that this may have.
_WRITTEN: Final[tuple[tuple[str, tuple[str, ...]], ...]] = (
    *((rf"(?<!\d)\d{{4}}{re.escape(s)}\d{{2}}{re.escape(s)}\d{{2}}(?!\d)", (f"%Y{s}%m{s}%d",)) for s in "-_."),
    *(
        (rf"(?<!\d)\d{{2}}{re.escape(s)}\d{{2}}{re.escape(s)}\d{{4}}(?!\d)", (f"%m{s}%d{s}%Y", f"%d{s}%m{s}%Y"))
        for s in "-_."
    ),
    (r"(?<!\d)\d{8}(?!\d)", ("%Y%m%d", "%m%d%Y", "%d%m%Y")),
    (r"(?<!\d)\d{8}(?=T?\d{4,6}(?!\d))", ("%Y%m%d",)),
    *((rf"(?<![\dA-Za-z])\d{{1,2}}{s}{_MONTHS}{s}\d{{4}}(?!\d)", (f"%d{s}%b{s}%Y",)) for s in ("-", "_", "")),
    *((rf"(?<!\d)\d{{4}}{re.escape(s)}\d{{2}}(?!{re.escape(s)}?\d)", (f"%Y{s}%m",)) for s in "-_."),
    *((rf"(?<!\d)\d{{2}}{re.escape(s)}\d{{4}}(?!{re.escape(s)}?\d)", (f"%m{s}%Y",)) for s in "-_."),
    *((rf"(?<![A-Za-z]){_LONG_MONTHS}{s}\d{{4}}(?!\d)", (f"%B{s}%Y",)) for s in ("-", "_", "")),
    *((rf"(?<![A-Za-z]){_MONTHS}{s}\d{{4}}(?!\d)", (f"%b{s}%Y",)) for s in ("-", "_", "")),
    (r"(?<!\d)\d{6}(?!\d)", ("%Y%m", "%y%m%d", "%d%m%y")),
)
_FIRST_YEAR, _LAST_YEAR = 1970, 2100
_A_WEEK: Final = 7


@dataclass(frozen=True)
class FileDates:
    """The dates in names. form: their strptime format; days: each name's, None where it has none. sure: whether no
    other format reads them all as well."""

    form: str
    days: tuple[date | None, ...]
    sure: bool = True
    other: str = ""


@dataclass(frozen=True)
class LikelyCadence:
    """When deliveries seem to come, and the evidence."""

    cron: str
    why: str


def file_dates(names: Sequence[str]) -> FileDates | None:
    """The dates in the names of files; None where few of them have one, or they are all the same."""
    found: list[FileDates] = []
    for pattern, forms in _WRITTEN:
        texts = [match[0] if (match := re.search(pattern, name)) else None for name in names]
        for form in forms if sum(text is not None for text in texts) >= max(1, 0.9 * len(names)) else ():
            days = tuple(_day(text, form) for text in texts)
            if sum(day is not None for day in days) >= max(1, 0.9 * len(names)):
                found.append(FileDates(form, days))
        if found:
            break
    if not found or (len(names) > 1 and max(len(set(each.days)) for each in found) < 2):
        return None
    found.sort(key=lambda each: (each.days.count(None), _unevenness(each.days)))
    best = found[0]
    same = [each for each in found[1:] if each.days.count(None) == best.days.count(None) and each.days != best.days]
    rivals = [each for each in same if _unevenness(each.days) <= 1.5 * _unevenness(best.days) + 1]
    return FileDates(best.form, best.days, sure=not rivals, other=rivals[0].form if rivals else "")


def likely_cadence(days: Sequence[date]) -> LikelyCadence:
    """When files seem to come, by the dates in their names."""
    days = sorted(set(days))
    if len(days) < 2:
        return LikelyCadence("0 6 * * *", "one file does not show how often files come: daily, until you know better")
    gaps = [(later - earlier).days for earlier, later in itertools.pairwise(days)]
    gap = statistics.median(gaps)
    seen = f"the {len(days)} dates in the names lie {gap:g} day{'s' * (gap != 1)} apart"
    if gap <= 2:
        weekdays = _weekdays(days)
        missing = _missing(days, weekdays)
        seen += f"; {missing}" if missing else ""
        return LikelyCadence(f"0 6 * * {_as_cron(weekdays) if len(days) >= 2 * _A_WEEK else '*'}", seen)
    if gap <= 10:
        (weekday, _), *_ = Counter(day.isoweekday() % 7 for day in days).most_common(1)
        return LikelyCadence(f"0 6 * * {weekday}", seen)
    if all((day + timedelta(days=1)).day == 1 for day in days):
        return LikelyCadence("0 6 L * *", f"{seen}, each the last day of a month")
    (day_of_month, _), *_ = Counter(min(day.day, 28) for day in days).most_common(1)
    if gap > 45:
        months = ",".join(map(str, sorted({day.month for day in days})))
        return LikelyCadence(f"0 6 {day_of_month} {months} *", seen)
    return LikelyCadence(f"0 6 {day_of_month} * *", seen)


def _day(text: str | None, form: str) -> date | None:
    if text is None:
        return None
    try:
        day = datetime.strptime(text, form).date()  # noqa: DTZ007 - a day has no zone
    except ValueError:
        return None
    return day if _FIRST_YEAR <= day.year <= _LAST_YEAR else None


def _unevenness(days: Sequence[date | None]) -> float:
    """How far apart dates lie that follow each other, beyond what is usual for them."""
    known = sorted({day for day in days if day is not None})
    gaps = [(later - earlier).days for earlier, later in itertools.pairwise(known)]
    return sum(abs(gap - statistics.median(gaps)) for gap in gaps) / len(gaps) if gaps else 0.0


def _weekdays(days: Sequence[date]) -> list[int]:
    """The weekdays (Sunday is 0) on which files usually come."""
    weeks = max(1, round(((days[-1] - days[0]).days + 1) / _A_WEEK))
    counts = Counter(day.isoweekday() % 7 for day in days)
    return sorted(weekday for weekday, count in counts.items() if count >= weeks / 2) or list(range(7))


def _missing(days: Sequence[date], weekdays: Sequence[int]) -> str:
    """Which days have no file though their weekday usually has one."""
    there = set(days)
    span = (days[0] + timedelta(days=at) for at in range((days[-1] - days[0]).days))
    missing = [f"{day}" for day in span if day.isoweekday() % 7 in weekdays and day not in there]
    return f"{len(missing)} such days have none: {listed(missing, 3)}" if missing else ""


def _as_cron(weekdays: Sequence[int]) -> str:
    if len(weekdays) == _A_WEEK:
        return "*"
    if len(weekdays) > 2 and weekdays[-1] - weekdays[0] == len(weekdays) - 1:
        return f"{weekdays[0]}-{weekdays[-1]}"
    return ",".join(map(str, weekdays))
