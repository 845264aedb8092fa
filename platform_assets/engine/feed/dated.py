"""The date in a file's name, which tells what day or period the file is of.

Belongs here: how such a date is declared, and reading it. Elsewhere: what follows from it: the order of deliveries
(load), what was due (promises), what is unusual (anomalies).
"""

import calendar
import functools
import re
from dataclasses import dataclass
from datetime import date
from typing import Final

from platform_assets.errors import ConfigurationError, DeliveryRefused, quoted

_MONTHS: Final = {name.lower(): at for at, name in enumerate(calendar.month_name) if name}
_SHORT: Final = {name[:3]: at for name, at in _MONTHS.items()}
_DIGITS: Final = {"Y": "4", "y": "2", "m": "1,2", "d": "1,2", "j": "1,3", "H": "1,2", "M": "1,2", "S": "1,2"}
_WORDS: Final = {"b": _SHORT, "B": _MONTHS}
_SAME: Final = {"y": "Y", "b": "m", "B": "m"}
_EXAMPLE: Final = date(2026, 1, 31)
_REMEDY: Final = 'Give a strptime format with a year, such as dated="%Y-%m-%d".'


@dataclass(frozen=True)
class NameDate:
    """A date as names have it, by a strptime format; with `/` in it, it is looked for in the path, else in the name."""

    form: str

    def __post_init__(self) -> None:
        parts = re.findall(r"%(.?)", self.form.replace("%%", ""))
        unknown = [part for part in parts if part not in _DIGITS and part not in _WORDS]
        units = [_SAME.get(part, part) for part in parts]
        problem = ""
        if unknown:
            known = " ".join(f"%{part}" for part in (*_DIGITS, *_WORDS))
            problem = f"%{unknown[0]} is not read; known are {known}"
        elif "Y" not in units:
            problem = "it has no year"
        elif len(set(units)) < len(units) or ("j" in units and {"m", "d"} & set(units)):
            problem = "it names a part of the date twice"
        elif "d" in units and "m" not in units:
            problem = "it has a day without a month"
        if problem:
            raise ConfigurationError("Files.dated", f"{self.form!r}: {problem}", _REMEDY)

    def read(self, slot: str) -> date:
        """The date in the name of the file that fills `slot`; of a month or year its first day.

        Raises DeliveryRefused where it has none, an impossible one, or several different ones.
        """
        text = slot if "/" in self.form else slot.rpartition("/")[2]
        found: dict[date, str] = {}
        for match in self._pattern.finditer(text):
            try:
                found.setdefault(_day(match.groupdict()), match["all"])
            except ValueError:
                raise DeliveryRefused(
                    f"the date in its name is impossible: {quoted(match['all'])} as {self.form} writes it",
                    remedy=f"Have it delivered under a name with its date, such as {self._example}. Where this is no "
                    f'date, declare more of the name: Files(…, dated="report_{self.form}").',
                ) from None
        if not found:
            raise DeliveryRefused(
                f"its name has no date as {self.form} writes it",
                remedy=f"Have it delivered under a name with its date, such as {self._example}; or declare how "
                "names are written: Files(…, dated=…).",
            )
        if len(found) > 1:
            raise DeliveryRefused(
                f"its name has several dates as {self.form} writes them: {quoted(*found.values())}",
                remedy="Have it delivered under a name with one date; or declare what of the name stands around the "
                f'one that counts: Files(…, dated="to_{self.form}").',
            )
        return next(iter(found))

    def last(self, first: date) -> date:
        """The last day of what is named by its `first`: the day itself, or the end of its month or year."""
        if re.search("%[dj]", self.form):
            return first
        month = first.month if re.search("%[mbB]", self.form) else 12
        return date(first.year, month, calendar.monthrange(first.year, month)[1])

    @property
    def _example(self) -> str:
        return _EXAMPLE.strftime(self.form)

    @property
    def _pattern(self) -> re.Pattern[str]:
        return _pattern(self.form)


@functools.cache
def name_date(form: str) -> NameDate:
    """The date that names have by this format."""
    return NameDate(form)


@functools.cache
def _pattern(form: str) -> re.Pattern[str]:
    """What a date of this format looks like, at any place of a name (each, also where they overlap)."""
    fields = re.findall(r"%.|[^%]", form, re.DOTALL)
    numeric = [field[0] == "%" and field[1:] in _DIGITS for field in fields]
    parts = []
    for at, field in enumerate(fields):
        if numeric[at]:
            # Between digits only the full width tells where a field ends.
            joined = (at > 0 and numeric[at - 1]) or (at + 1 < len(fields) and numeric[at + 1])
            width = _DIGITS[field[1]]
            parts.append(f"(?P<{field[1]}>[0-9]{{{width[-1] if joined else width}}})")
        elif field[0] == "%" and field[1:] in _WORDS:
            parts.append(f"(?P<{field[1]}>(?i:{'|'.join(_WORDS[field[1]])}))")
        else:
            parts.append(re.escape("%" if field == "%%" else field))
    before = "(?<![0-9])" if numeric[0] else "(?<![A-Za-z])" if fields[0] in ("%b", "%B") else ""
    after = "(?![0-9])" if numeric[-1] else "(?![A-Za-z])" if fields[-1] in ("%b", "%B") else ""
    return re.compile(f"{before}(?=(?P<all>{''.join(parts)}{after}))")


def _day(fields: dict[str, str]) -> date:
    """The date of what was found; raises ValueError where there is no such day."""
    year = int(fields["Y"]) if "Y" in fields else int(fields["y"]) + (1900 if int(fields["y"]) > 68 else 2000)
    if "j" in fields:
        first = date(year, 1, 1)
        found = date.fromordinal(first.toordinal() + int(fields["j"]) - 1)
        if found.year != year:
            raise ValueError(fields["j"])
        return found
    word = next((names[fields[part].lower()] for part, names in _WORDS.items() if part in fields), None)
    return date(year, word or int(fields.get("m", 1)), int(fields.get("d", 1)))
