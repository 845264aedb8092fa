"""Columns inferred from what was counted of their values: type, formats, NULLs, closed lists, personal data.

Belongs here: conclusions on a single column. Elsewhere: counting (watched.py), which headers are one column
(history.py), how files are written (layout.py), the same as Python (draft.py).
"""

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import polars as pl

from platform_assets.engine.author.candidates import OTHER, ColumnType, as_declared, booleans, numbers, typed
from platform_assets.engine.author.names import (
    names_closed_list,
    names_days,
    names_for,
    names_identifiers,
    names_people,
)
from platform_assets.engine.author.watched import Watched
from platform_assets.errors import LONGEST_SHOWN, listed, printable

_NEAR: Final = 0.05  # share of values that may not fit a type that is still worth a remark
_NUMBERS: Final = {"integer", "decimal", "number"}
_MOST_DIGITS: Final = 38
_FLOAT_DIGITS: Final = 17
_DOUBLE_DIGITS: Final = 15  # as many significant ones as a float is written with when all of it is
_MEASURED: Final = 6  # decimals beyond which so many digits are a measurement's, not an amount's
_PLAIN_WHOLE: Final = 14
_PLAIN_SCALE: Final = 4
_MANY: Final = 1_000  # rows that say what a few do not
_SOME: Final = 20
_SOME_FILES: Final = 10
_CODES: Final = ("[a-z]+([_-][a-z]+)*", "[A-Z]{4,}([_-][A-Z]+)*")  # of two or three capitals are countries, too
# A type that nothing fits: what arrived is nothing that a contract has a kind for.
UNREADABLE: Final = ColumnType("text", {"unreadable": True})


@dataclass(frozen=True)
class InferredColumn:
    """What a column looks like. name: for the contract; headers: as delivered, the oldest first.

    type: what fits its values. near: what fits all but a few, and one of those. distinct: whether no value came twice.
    values: all there are, where they are few. closed: whether these seem to be all there will be. optional: whether
    files lack the column. strays: rows that do not fit the type, by file. remarks: what its author should know.
    """

    headers: tuple[str, ...]
    name: str
    type: ColumnType
    rows: int
    nulls: int
    distinct: bool = False
    values: tuple[str, ...] = ()
    closed: bool = False
    pii: str | None = None
    near: tuple[ColumnType, str] | None = None
    remarks: tuple[str, ...] = ()
    optional: bool = False
    strays: Mapping[int, int] = field(default_factory=dict)

    @property
    def header(self) -> str:
        """The newest of its headers."""
        return self.headers[-1]

    @property
    def options(self) -> dict[str, Any]:
        """The arguments of `Field` that say how the column arrives."""
        source: str | tuple[str, ...] = self.headers[0] if len(self.headers) == 1 else self.headers
        return {
            **({"source": source} if source != self.name else {}),
            **({"optional": True} if self.optional else {}),
            **self.type.options,
            **({"nullable": True} if self.nulls or self.optional else {}),
            **({"isin": list(self.values)} if self.closed else {}),
            **({"pii": self.pii} if self.pii else {}),
        }


@dataclass(frozen=True)
class Known:
    """What is known beside a column's values. commas, points: the files write decimals with one. nulls: words that mean
    a missing value. most: values that may be rejected for a type that all others have. files: their names."""

    commas: bool = False
    points: bool = False
    nulls: Collection[str] = ()
    most: int = 0
    files: Sequence[str] = ("this file",)


def infer_column(header: str, values: pl.Series) -> InferredColumn:
    """What one column looks like."""
    watched = Watched(header)
    watched.add(values)
    return infer(watched, names_for([header])[0], (header,), Known())


def infer(watched: Watched, name: str, headers: tuple[str, ...], known: Known) -> InferredColumn:
    """What a column looks like, by what was counted."""
    pii = "pseudonym" if names_people(name) or _looks_personal(watched) else None
    found = _decide(watched, name, known)
    type_, near = found.type, found.near
    if (
        type_.kind == "text"
        and type_ != UNREADABLE
        and (watched.padded or watched.blank)
        and "strip" not in type_.options
    ):
        type_ = replace(type_, options={**type_.options, "strip": True})
    if near is not None and pii:
        near = (near[0], "***")
    blank = watched.blank if type_.options.get("strip") else 0
    nulls = watched.nulls + blank + sum(watched.words[word] for word in known.nulls)
    values, closed = _list_of(watched, name, known) if type_.kind == "text" and not pii else ((), False)
    remarks = found.remarks
    if watched.padded and type_.kind == "text" and type_.options.get("strip") and len(watched.files) > 1:
        remarks = [
            *remarks,
            f"strip: {watched.padded:,} {'value has' if watched.padded == 1 else 'values have'} blanks around",
        ]
    if pii:
        remarks = [*remarks, "personal data by its name or look: masked wherever rows are shown"]
    return InferredColumn(
        headers, name, type_, watched.rows, nulls, watched.distinct, values, closed, pii, near, tuple(remarks),
        strays=found.strays,
    )  # fmt: skip


@dataclass(frozen=True)
class _Decision:
    """The type of a column, what nearly fits, remarks on both, and the rows that do not fit, by file."""

    type: ColumnType
    near: tuple[ColumnType, str] | None = None
    remarks: list[str] = field(default_factory=list)
    strays: Mapping[int, int] = field(default_factory=dict)


def _looks_personal(watched: Watched) -> bool:
    return watched.emails and watched.dtype == pl.String and watched.seen > 0


def _decide(watched: Watched, name: str, known: Known) -> _Decision:
    text = ColumnType("text")
    if not watched.dtypes:
        where = "this file" if len(watched.files) < 2 else f"these {len(watched.files)} files"
        return _Decision(text, None, [f"no value in {where}, so its kind is not known"])
    if pl.String not in watched.dtypes and len(watched.dtypes) == 1:
        return _decide_typed(watched)
    decision = _decide_text(watched, name, known)
    others = [dtype for dtype in watched.dtypes if dtype != pl.String]
    if all(decision.type.kind in _kinds_of(dtype, watched) for dtype in others):
        return decision
    why = "values of several types: text can take them, if they are texts, days or whole numbers"
    return _Decision(text, None, [why])


def _kinds_of(dtype: pl.DataType, watched: Watched) -> set[str]:
    """The kinds that take all values of a typed source without loss."""
    kinds = {each.kind for each in typed(dtype) if watched.typed.get(each, 0) >= watched.dtypes[dtype]}
    return kinds | ({"number", "text"} if dtype.is_integer() else {"text"} if dtype in (pl.Date, pl.Boolean) else set())


def _decide_typed(watched: Watched) -> _Decision:
    dtype, present = watched.dtype, sum(watched.dtypes.values())
    fitting = [each for each in typed(dtype) if watched.typed.get(each) == present] if dtype is not None else []
    if not fitting:
        return _Decision(UNREADABLE, None, [f"{dtype} values that no kind of a contract takes"])
    first = fitting[0]
    if first.kind == "timestamp" and getattr(dtype, "time_zone", None) is None:
        return _Decision(first, None, ["no zone is given: declare the timezone of the producer's clock, or it is UTC"])
    if first.kind == "decimal" and isinstance(dtype, pl.Decimal):
        return _Decision(first)
    return _Decision(ColumnType(first.kind, {k: v for k, v in first.options.items() if k != "digits" or v[1] == 0}))


def _decide_text(watched: Watched, name: str, known: Known) -> _Decision:
    strip: dict[str, Any] = {"strip": True} if watched.padded or watched.blank else {}
    # A word for a missing value is one only where it is declared so.
    ways = Counter(watched.tally())
    ways[OTHER] += sum(count for word, count in watched.words.items() if word not in known.nulls)
    everything = ways.total()
    if not everything:
        return _Decision(ColumnType("text"), None, ["no value but blanks and words for a missing one"])
    if (words := _boolean(watched, known)) is not None:
        return _Decision(replace(words, options={**words.options, **strip}))
    if (dates := _dates(watched, name, everything, known, strip)) is not None:
        return dates
    tried = [(each, missed) for each, missed in numbers(+ways) if _meant(each, watched)]
    fitting = [each for each, missed in tried if not missed]
    if not fitting and (near := _strays(watched, tried, known)):
        fitting = near
    if not fitting:
        return _Decision(ColumnType("text"), *_nearly(watched, name, tried, known))
    first = fitting[0]
    if names_identifiers(name) or watched.zeros_lead:
        why = "leading zeros" if watched.zeros_lead else "numbers by their look, an identifier by its name"
        options: dict[str, Any] = {}
        if ways["12.0"] and not set(+ways) - {"12", "12.0"}:
            why += '; point_zero=True makes 17850 of "17850.0"'
            options = {"point_zero": True}
        return _Decision(ColumnType("text", options), None, [f"{why}: text, so that nothing is lost"])
    if (grouped := _grouped(watched, fitting, known)) is not None:
        mark = grouped.options["thousands"]
        first, fitting = grouped, [grouped]
        remark = (
            f"{mark!r} stands between thousands, since other columns have {',' if mark == '.' else '.'!r} for decimals"
        )
        return _Decision(replace(first, options={**first.options, **strip}), None, [remark])
    if rivals := [each for each in fitting if _scaled_otherwise(first, each, commas=known.commas)]:
        both = f"{as_declared(first)} or {as_declared(rivals[0])}"
        return _Decision(ColumnType("text"), None, [f"could be {both}: declare which, since no value here decides it"])
    strays = _rows_but(watched, dict(tried)[first], first)
    found = _fitted(watched, first, ways)
    return replace(
        found,
        type=replace(found.type, options={**found.type.options, **strip}),
        remarks=[*found.remarks, *_of_strays(watched, first, strays, known)],
        strays=strays,
    )


def _boolean(watched: Watched, known: Known) -> ColumnType | None:
    values = {text.lower() for text in watched.few or () if text not in known.nulls}
    for column_type, words in booleans():
        if values and values <= words and (len(values) > 1 or not column_type.options):
            return column_type
    return None


def _dates(watched: Watched, name: str, everything: int, known: Known, strip: Mapping[str, Any]) -> _Decision | None:
    """What the column is if its values are dates; None where they are not."""
    decided = watched.dates.decided()
    if decided.rivals and decided.could >= everything - known.most:
        forms = " or ".join(decided.rivals[0])
        return _Decision(
            ColumnType("text"),
            None,
            [f"dates that could be {forms}: declare the right one, since no value here decides it"],
        )
    if decided.type is None or ("%Y%m%d" in decided.formats and not names_days(name)):
        return None
    missed = everything - sum(decided.rows.values())
    if missed > known.most:
        return None
    total: Counter[int] = sum(watched.ways.values(), Counter())
    strays = dict(total - Counter(decided.rows)) if missed else {}
    if missed and not _is_rare(watched, strays):
        return None
    remarks = list(decided.remarks)
    if decided.type.kind == "timestamp" and not watched.offsets:
        remarks.append("no offset is written: declare the timezone of the producer's clock, or it is UTC")
    if len(decided.kinds) > 1:
        remarks.append("some values are days without a time: they are read as midnight")
    type_ = replace(decided.type, options={**decided.type.options, **strip})
    return _Decision(type_, None, [*remarks, *_of_strays(watched, type_, strays, known)], strays)


def _meant(type_: ColumnType, watched: Watched) -> bool:
    """Whether a type of number can be meant."""
    if type_.kind != "integer":
        return True
    if type_.options.get("point_zero"):
        zeros = watched.ways.get("12.0", Counter()).total()
        return not watched.huge and (zeros >= _MANY or bool(zeros and "12" in watched.ways))
    return not watched.huge


def _strays(watched: Watched, tried: Sequence[tuple[ColumnType, int]], known: Known) -> list[ColumnType]:
    """The types that all values fit but so few, in so few files, that these are faults rather than another type."""
    least = min((missed for _, missed in tried), default=0)
    return [
        each
        for each, missed in tried
        if missed == least <= known.most and _is_rare(watched, _rows_but(watched, missed, each))
    ]


def _rows_but(watched: Watched, missed: int, type_: ColumnType) -> dict[int, int]:
    """The rows, by file, that a type of number does not take."""
    if not missed:
        return {}
    taken = {way for way in watched.ways if dict(numbers({way: 1})).get(type_, 1) == 0}
    return dict(sum((counts for way, counts in watched.ways.items() if way not in taken), Counter()))


def _is_rare(watched: Watched, strays: Mapping[int, int]) -> bool:
    total: Counter[int] = sum(watched.ways.values(), Counter())
    in_few_files = len(strays) <= max(1, 0.02 * len(watched.files)) or sum(strays.values()) <= 3
    return bool(strays) and in_few_files and all(2 * rows < total[file] for file, rows in strays.items())


def _of_strays(watched: Watched, type_: ColumnType, strays: Mapping[int, int], known: Known) -> list[str]:
    if not strays:
        return []
    files = listed([known.files[file] for file in strays if file < len(known.files)], 3)
    share = f"{sum(strays.values()):,} of {watched.rows - watched.nulls:,} values"
    return [f"{share} are no {as_declared(type_)}, in {files}: such rows are rejected; str would take them"]


def _fitted(watched: Watched, type_: ColumnType, ways: Mapping[str, int]) -> _Decision:
    remarks = []
    options = dict(type_.options)
    digits = watched.digits[options.get("decimal", ".")]
    whole, scale = digits.whole, digits.scale
    measured = scale > 2 * _PLAIN_SCALE or (scale > _MEASURED and digits.significant >= _DOUBLE_DIGITS)
    if type_.kind == "decimal" and measured and digits.significant <= _FLOAT_DIGITS:
        remarks.append(f"up to {digits.significant} significant digits, as binary floats are written: float")
        return _Decision(ColumnType("number", {k: v for k, v in options.items() if k == "decimal"}), None, remarks)
    if (type_.kind == "decimal" and whole + scale > _MOST_DIGITS) or (
        type_.kind == "number" and digits.significant > _FLOAT_DIGITS
    ):
        why = "more digits than a number would keep: text, so that nothing is lost"
        return _Decision(ColumnType("text"), None, [why])
    if type_.kind == "decimal":
        options.pop("digits")
        if whole > _PLAIN_WHOLE or scale > _PLAIN_SCALE:
            scale = max(scale, min(_PLAIN_SCALE, _MOST_DIGITS - whole))
            options["digits"] = (max(18, whole + scale), scale)
        if not set(ways) - {"12.0", OTHER} or not +Counter({k: v for k, v in ways.items() if k != "12.0"}):
            remarks.append('whole numbers written as "17850.0": int with point_zero=True, if they are')
    if type_.kind == "number" and ways.get("1e5") and {way for way in ways if ways[way]} <= {"12", "12.0", "1e5"}:
        remarks.append(
            f"whole numbers, of which {ways['1e5']:,} are written with an exponent: float, which takes these"
        )
    if type_.kind == "integer" and watched.few is not None and set(watched.few) <= {"0", "1"}:
        remarks.append("only 0 and 1: bool, if that is what they mean")
    return _Decision(ColumnType(type_.kind, options), None, remarks)


def _nearly(
    watched: Watched, name: str, tried: Sequence[tuple[ColumnType, int]], known: Known
) -> tuple[tuple[ColumnType, str] | None, list[str]]:
    """Which type all but a few values fit, and what to say of it."""
    if watched.objects and not watched.words:
        return None, ['nested: a field of it is named by its path, such as source="address.city"']
    everything = sum(watched.tally().values()) + watched.words.total()
    decided = watched.dates.decided()
    near = [(decided.type, everything - sum(decided.rows.values()))] if decided.type is not None else []
    near += [] if names_identifiers(name) or watched.zeros_lead else tried
    near = [(each, missed) for each, missed in near if missed <= _NEAR * max(everything, 1)]
    if not near:
        return None, []
    best, missed = min(near, key=lambda pair: pair[1])
    words = sorted(word for word in watched.words if word not in known.nulls)
    if words and missed <= sum(watched.words[word] for word in words):
        meant = " and ".join(map(repr, words))
        return (best, words[0]), [f"{as_declared(best)}, if {meant} means missing: format=Csv(nulls=…)"]
    return (best, next((text for _, text in watched.examples.get(OTHER, ())), "others")), []


def _list_of(watched: Watched, name: str, known: Known) -> tuple[tuple[str, ...], bool]:
    """The values of a column that has few, and whether these seem to be all there will be: none of them came late, and
    its name or their look says that they are codes rather than names of places, people or things."""
    few = {text: held for text, held in (watched.few or {}).items() if text not in known.nulls}
    if not few or watched.rows <= 24 or any(len(text) > LONGEST_SHOWN or printable(text) != text for text in few):
        return (), False
    files = sorted(watched.files)
    late = files[len(files) // 2]
    named = names_closed_list(name)
    codes = any(all(re.fullmatch(code, text) for text in few) for code in _CODES)
    closed = (
        len(files) >= _SOME_FILES
        and watched.rows >= _MANY
        and len(few) > 1
        and not names_identifiers(name)
        and (codes if named is None else named)
        and all(first < late and among >= 3 for _, first, among, _ in few.values())
    )
    return tuple(sorted(few)) if closed else tuple(few), closed


def _grouped(watched: Watched, fitting: Sequence[ColumnType], known: Known) -> ColumnType | None:
    """Whole numbers with a mark between all of their thousands, where other columns have another mark for decimals."""
    for mark, of_groups, elsewhere in (
        (".", ("1.234", "1.000", "1.234.567"), known.commas),
        (",", ("1,234", "1,234,567"), known.points),
    ):
        rows = sum(watched.ways.get(way, Counter()).total() for way in of_groups)
        whole = ColumnType("integer", {"thousands": mark})
        if elsewhere and rows >= _SOME and not watched.ungrouped and whole in fitting:
            return whole
    return None


def _scaled_otherwise(first: ColumnType, other: ColumnType, *, commas: bool) -> bool:
    """Whether one type takes for a decimal mark what the other takes for a mark between thousands."""
    (point, between), (other_point, other_between) = (
        (None if type_.kind == "integer" else type_.options.get("decimal", "."), type_.options.get("thousands"))
        for type_ in (first, other)
    )
    clash = ({point} & {other_between} | {other_point} & {between}) - {None}
    return "," in clash or (commas and "." in clash)
