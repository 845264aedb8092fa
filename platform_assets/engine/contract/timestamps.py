"""Dates and timestamps: from texts of a declared format to days and instants.

Belongs here: formats, what a text of a format looks like, and zones. Elsewhere: which of several formats is meant
(cast.py). A text is read only if it looks as its format writes it, because the parser also takes blanks, signs,
second 60 and more decimals than it keeps.
"""

import functools
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

import polars as pl

ISO: Final = "ISO 8601"

_ISO_DATE: Final = "%Y-%m-%d"
_ISO_LOCAL: Final = "%Y-%m-%dT%H:%M:%S%.f"
_ISO_OFFSET: Final = f"{_ISO_LOCAL}%:z"
_WRITTEN: Final = {
    "%Y": "[0-9]{4}",
    "%y": "[0-9]{2}",
    **dict.fromkeys(("%m", "%d", "%H", "%I", "%M"), "[0-9]{1,2}"),
    "%S": "[0-5]?[0-9]",
    "%j": "[0-9]{1,3}",
    **dict.fromkeys(("%b", "%a"), "[A-Za-z]{3}"),
    "%B": "[A-Za-z]{3,9}",
    "%A": "[A-Za-z]{6,9}",
    **dict.fromkeys(("%p", "%P"), "[AaPp][Mm]"),
    "%.f": r"(\.[0-9]{1,6}0*)?",
    "%.3f": r"\.[0-9]{3}",
    "%.6f": r"\.[0-9]{6}",
    **dict.fromkeys(("%z", "%:z"), "(Z|[+-][0-9]{2}:?[0-9]{2})"),
    "%%": "%",
}
_OF_A_TIME: Final = {"%H", "%I", "%M", "%S", "%p", "%P", "%.f", "%.3f", "%.6f", "%z", "%:z"}
# What fields of one width are bounded by, byte by byte. %.f may be missing, so it is where a text without it ends.
_LOWEST: Final = {"%Y": "0000", "%m": "00", "%d": "00", "%H": "00", "%M": "00", "%S": "00", "%y": "00", "%.f": ""}
_HIGHEST: Final = {"%Y": "9999", "%m": "99", "%d": "99", "%H": "99", "%M": "99", "%S": "59", "%y": "99", "%.f": ""}

_DAY_US: Final = 86_400_000_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_US: Final = (datetime(1, 1, 1, tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1)
_LAST_US: Final = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1)
_LONGEST_STEADY_DAYS: Final = 400


def unreadable(form: str, kind: str) -> str | None:
    """What keeps texts of `form` from being read as a date or timestamp, if anything does."""
    if form == ISO:
        return None
    unknown = [part for part in _parts(form) if part[0] == "%" and part not in _WRITTEN]
    if unknown:
        return f"{unknown[0]} is not read; known are {' '.join(_WRITTEN)}"
    if kind == "date" and _has_offset(form):
        return "a day has no offset"
    day = datetime(2020, 11, 23, tzinfo=UTC)
    example = pl.Series([day]).dt.to_string(form)
    try:
        read = instants(example, form, "UTC") if kind == "timestamp" else days(example, form)
    except pl.exceptions.PolarsError as error:
        return str(error).splitlines()[0]
    return None if read[0] in (day, day.date()) else "does not name a day of a year"


def days(texts: pl.Series, form: str) -> pl.Series:
    """The days that `texts` of format `form` name; NULL for any other text. Of a time only midnight is no loss."""
    form = _ISO_DATE if form == ISO else form
    if not _has_time(form):
        return within_years(_read(texts, form, lambda texts, form: texts.str.strptime(pl.Date, form, strict=False)))
    return midnights(_read(texts, form, _local))


def written(moments: pl.Series, form: str) -> pl.Series:
    """`moments` as texts of format `form`."""
    return moments.dt.to_string("%Y-%m-%dT%H:%M:%SZ" if form == ISO else form)


def midnights(timestamps: pl.Series) -> pl.Series:
    """The days that local `timestamps` begin; NULL for any other time of day."""
    return within_years(null_unless(timestamps.dt.date(), timestamps.to_physical() % _DAY_US == 0))


def instants(texts: pl.Series, form: str, zone: str) -> pl.Series:
    """The instants that `texts` of format `form` name; NULL for any other text, and for local times that happen
    twice or never in `zone`."""
    if form == ISO:
        return _iso(texts, zone)
    return _with_offset(texts, form) if _has_offset(form) else _without_offset(texts, form, zone)


def in_zone(local: pl.Series, zone: str) -> pl.Series:
    """Local times of `zone` as instants; NULL for those that happen twice or never, and outside years 1 to 9999."""
    first, last = _bounds(local)
    if first is None or last is None:
        return local.dt.replace_time_zone("UTC")
    # Most frames hold days without a change of the clocks, and there a zone is a number to subtract.
    shift = timedelta(0) if zone == "UTC" else _steady(zone, first // _DAY_US, last // _DAY_US)
    if shift is None:
        zoned = local.dt.replace_time_zone(zone, ambiguous="null", non_existent="null")
        return within_years(zoned.dt.convert_time_zone("UTC"))
    return within_years((local - shift if shift else local).dt.replace_time_zone("UTC"))


def within_years(values: pl.Series) -> pl.Series:
    """Days or instants of the years 1 to 9999; NULL for those outside, which no calendar in use writes so."""
    unit = _DAY_US if values.dtype == pl.Date else 1
    first, last = _bounds(values)
    if first is None or last is None or (first * unit >= _FIRST_US and last * unit <= _LAST_US):
        return values
    return null_unless(values, values.to_physical().is_between(-(-_FIRST_US // unit), _LAST_US // unit))


def null_unless(values: pl.Series, mask: pl.Series) -> pl.Series:
    """`values` where `mask`, NULL elsewhere. Where the mask is NULL, so are the values."""
    return values if mask.all() else pl.select(pl.when(mask).then(values).alias(values.name)).to_series()


def _iso(texts: pl.Series, zone: str) -> pl.Series:
    first = texts.is_not_null().arg_max()
    sample = texts[first] if first is not None else None
    local_first = sample is None or re.match(_shape(_ISO_LOCAL), sample) is not None
    found = _without_offset(texts, _ISO_LOCAL, zone) if local_first else _with_offset(texts, _ISO_OFFSET)
    left = (texts.is_not_null() & found.is_null()).arg_true()
    if not len(left):
        return found
    others = texts.gather(left)
    others = _with_offset(others, _ISO_OFFSET) if local_first else _without_offset(others, _ISO_LOCAL, zone)
    return found.scatter(left, others)


def _without_offset(texts: pl.Series, form: str, zone: str) -> pl.Series:
    return in_zone(_read(texts, form, _local), zone)


def _with_offset(texts: pl.Series, form: str) -> pl.Series:
    # Z is ISO 8601's short form of an offset, which the parser does not know.
    end = next((end for end in ("%:z", "%z") if form.endswith(end)), None)
    if end is not None and texts.str.ends_with("Z").all():
        return _without_offset(texts.str.strip_suffix("Z"), form.removesuffix(end), "UTC")
    return within_years(_read(texts, form, _instant))


def _local(texts: pl.Series, form: str) -> pl.Series:
    return texts.str.to_datetime(form, time_unit="us", strict=False)


def _instant(texts: pl.Series, form: str) -> pl.Series:
    spelled = texts.str.replace("Z$", "+00:00")
    return spelled.str.to_datetime(form, time_unit="us", time_zone="UTC", strict=False)


def _read(texts: pl.Series, form: str, parse: Callable[[pl.Series, str], pl.Series]) -> pl.Series:
    """What `parse` makes of `texts` that look as `form` writes them; NULL for the others. In two digits, as POSIX has
    it, 69 to 99 are of the last century and 00 to 68 of this one: the parser is of another mind about 69."""
    values = parse(_looking_like(texts, form), form)
    if "%y" not in _parts(form):
        return values
    last = _shape(form, y="69")
    rows = texts.str.contains(last).fill_null(value=False).arg_true()
    if not len(rows):
        return values
    spelled = texts.gather(rows).str.replace(last, "${before}1969${after}")
    return values.scatter(rows, parse(spelled, re.sub("%[-0_]?y", "%Y", form)))


@functools.lru_cache(maxsize=64)
def _steady(zone: str, first_day: int, last_day: int) -> timedelta | None:
    """The offset of `zone` from UTC if it is the same all through these local days and those around them."""
    if last_day - first_day > _LONGEST_STEADY_DAYS or first_day * _DAY_US < _FIRST_US or last_day * _DAY_US > _LAST_US:
        return None
    hours = pl.int_range((first_day - 2) * 24, (last_day + 3) * 24, dtype=pl.Int64, eager=True)
    utc = (hours * (_DAY_US // 24)).cast(pl.Datetime("us", "UTC"))
    shifts = utc.dt.convert_time_zone(zone).dt.replace_time_zone(None) - utc.dt.replace_time_zone(None)
    return shifts[0] if shifts.n_unique() == 1 else None


def _bounds(values: pl.Series) -> tuple[int | None, int | None]:
    whole = values.to_physical()
    return whole.min(), whole.max()  # type: ignore[return-value]  # integers, which polars' types cannot tell


def _parts(form: str) -> list[str]:
    """A format's directives and the characters between them; padding changes what is written, not what is read."""
    return [re.sub("^%[-0]", "%", part) for part in re.findall(r"%[-0_]?(?:\.[36]?f|:z|.)|[^%]", form, re.DOTALL)]


def _has_time(form: str) -> bool:
    return any(part in _OF_A_TIME for part in _parts(form))


def _has_offset(form: str) -> bool:
    return "%z" in form or "%:z" in form


@functools.cache
def _shape(form: str, y: str | None = None) -> str:
    """The pattern of what a strptime format writes; with `y` for its year of two digits, apart from what is before and
    after."""
    parts = [_WRITTEN.get(part) or re.escape(part) for part in _parts(form)]
    if y is None:
        return "^" + "".join(parts) + "$"
    at = _parts(form).index("%y")
    return f"^(?P<before>{''.join(parts[:at])}){y}(?P<after>{''.join(parts[at + 1 :])})$"


@functools.cache
def _limits(form: str) -> tuple[bytes, bytes] | None:
    """The lowest and the highest byte at each place of a text of `form`, if it has one length as a rule."""
    parts = _parts(form)
    if any(part[0] == "%" and part not in _LOWEST for part in parts):
        return None
    low, high = ("".join(widths.get(part, part) for part in parts).encode() for widths in (_LOWEST, _HIGHEST))
    return low, high


def _looking_like(texts: pl.Series, form: str) -> pl.Series:
    """`texts` that look as `form` writes them; NULL for the others."""
    suspects = _uneven(texts, form)
    if not len(suspects):
        return texts
    odd = suspects.filter(~texts.gather(suspects).str.contains(_shape(form)))
    return null_unless(texts, pl.repeat(True, len(texts), eager=True).scatter(odd, False)) if len(odd) else texts


def _uneven(texts: pl.Series, form: str) -> pl.Series:
    """The rows whose text needs a closer look: it has not, byte by byte, what fields of full width would have.

    This is a pass over bytes where the pattern of `_shape` is one over characters, at a sixth of the cost.
    """
    limits = _limits(form)
    if limits is None:
        return texts.is_not_null().arg_true()
    width = len(limits[0])
    cells = texts.cast(pl.Binary).bin.reinterpret(dtype=pl.Array(pl.UInt8, width))
    whole = cells.drop_nulls() if cells.null_count() else cells
    found = []
    if cells.null_count() > texts.null_count():
        found.append((cells.is_null() & texts.is_not_null()).arg_true())
    if len(whole):
        content = whole.explode()
        low, high = (_repeated(limit, len(whole)) for limit in limits)
        inside = content.is_between(low, high)
        if not inside.all():
            rows = ((~inside).arg_true() // width).unique()
            found.append(cells.is_not_null().arg_true().gather(rows) if cells.null_count() else rows)
    return pl.concat(found) if found else pl.Series([], dtype=pl.UInt32)


def _repeated(limit: bytes, times: int) -> pl.Series:
    return _tile(limit, 1 << (times - 1).bit_length()).head(times * len(limit))


@functools.lru_cache(maxsize=8)
def _tile(limit: bytes, times: int) -> pl.Series:
    tiled = pl.Series([limit * times], dtype=pl.Binary)
    return tiled.bin.reinterpret(dtype=pl.Array(pl.UInt8, len(limit) * times)).explode()
