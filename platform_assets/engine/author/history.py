"""The history of headers: which of them are one column that was renamed, and which columns only some files have.

Belongs here: what speaks for two headers being one column, and putting them together. Elsewhere: what values look like
(watched.py), what of a feed's header has changed (headers.py).
"""

import difflib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from platform_assets.engine.author.candidates import OTHER
from platform_assets.engine.author.names import name_for
from platform_assets.engine.author.watched import Watched
from platform_assets.engine.contract.model import folded, letters
from platform_assets.errors import listed

_SURE: Final = 3.0
_PERHAPS: Final = 2.0


@dataclass
class History:
    """One column over all files. headers: as delivered, the oldest first. files: that have it, by their place."""

    headers: list[str]
    watched: Watched
    files: set[int]
    remarks: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Match:
    """What speaks for two columns being one."""

    old: int
    new: int
    score: float
    why: tuple[str, ...]


def histories(headers: Sequence[Sequence[str]], watched: dict[str, Watched], files: Sequence[str]) -> list[History]:
    """The columns of files that have these `headers`, in the order of the newest; `watched` by folded header."""
    columns: dict[str, History] = {}
    for at, header in enumerate(headers):
        for name in header:
            known = columns.setdefault(folded(name), History([name], watched[folded(name)], set()))
            known.files.add(at)
    rows = [tuple(map(folded, header)) for header in headers]
    while (match := _best(columns, rows)) is not None:
        old, new = (list(columns)[at] for at in (match.old, match.new))
        if match.why:
            columns[old].remarks.append(
                f"{columns[new].headers[0]!r} since {files[min(columns[new].files)]}: taken for the same column, "
                f"by {' and '.join(match.why)}"
            )
        columns[old].headers += columns[new].headers
        columns[old].remarks += columns[new].remarks
        columns[old].watched.merge(columns[new].watched)
        columns[old].files |= columns[new].files
        rows = [tuple(old if name == new else name for name in row) for row in rows]
        del columns[new]
    for match in _matches(columns, rows):
        one, other = (list(columns.values())[at] for at in (match.old, match.new))
        if _PERHAPS <= match.score < _SURE:
            other.remarks.append(
                f"may be what {one.headers[-1]!r} was until {files[max(one.files)]} "
                f"({' and '.join(match.why)}): if so, make one column of the two, with both headers in source"
            )
    return _in_order(columns, rows, files)


def _best(columns: dict[str, History], rows: Sequence[Sequence[str]]) -> _Match | None:
    """The two columns that are most surely one."""
    sure = [match for match in _matches(columns, rows) if match.score >= _SURE]
    return max(sure, key=lambda match: match.score, default=None)


def _matches(columns: dict[str, History], rows: Sequence[Sequence[str]]) -> list[_Match]:
    found = []
    for (one, first), (other, second) in itertools.combinations(enumerate(columns), 2):
        a, b = columns[first], columns[second]
        if a.files & b.files:
            continue
        old, new = ((one, first), (other, second)) if min(a.files) < min(b.files) else ((other, second), (one, first))
        score, why = _score(columns[old[1]], columns[new[1]], old[1], new[1], rows)
        if score >= _PERHAPS:
            found.append(_Match(old[0], new[0], score, why))
    return found


def _score(a: History, b: History, old: str, new: str, rows: Sequence[Sequence[str]]) -> tuple[float, tuple[str, ...]]:
    """How much speaks for `b` being what `a` was; and what, unless their names say so alone."""
    ours, theirs = letters(a.headers[-1]), letters(b.headers[0])
    if ours == theirs and ours:
        return 2 * _SURE, ()
    if not _same_kind(a.watched, b.watched):
        return 0.0, ()
    score, why = 0.5, []
    alike = difflib.SequenceMatcher(None, ours, theirs).ratio()
    shorter, longer = sorted((ours, theirs), key=len)
    tokens = set(name_for(a.headers[-1]).split("_")) & set(name_for(b.headers[0]).split("_"))
    if alike >= 0.75 or (len(shorter) > 2 and longer.startswith(shorter)):
        score += 1.5
        why.append("its name")
    elif alike >= 0.55 or any(len(token) > 2 for token in tokens):
        score += 0.75
        why.append("its name")
    before, after = max(a.files), min(b.files)
    if before < after:
        score += 0.5
        if not any(before < at < after for at in range(len(rows))):
            score += 0.5
            why.append("one ending where the other begins")
    neighbours = _neighbours(rows[before], old), _neighbours(rows[after], new)
    same = sum(x is not None and x == y for x, y in zip(*neighbours, strict=True))
    place = rows[before].index(old) == rows[after].index(new) and len(rows[before]) == len(rows[after])
    if same == 2 or (place and same == 1):
        score += 1.5
        why.append("the same neighbours")
    elif same or place:
        score += 0.75
        why.append("its place")
    like = _likeness(a.watched, b.watched)
    score += like
    if like > 0:
        why.append("the look of its values")
    return score, tuple(why)


def _neighbours(row: Sequence[str], name: str) -> tuple[str | None, str | None]:
    """What stands before and after; the ends of a header are neighbours, too."""
    at = row.index(name)
    return row[at - 1] if at else "", row[at + 1] if at + 1 < len(row) else ""


def _same_kind(a: Watched, b: Watched) -> bool:
    kinds = [_kind(each) for each in (a, b)]
    return kinds[0] == kinds[1] or "nothing" in kinds


def _kind(watched: Watched) -> str:
    ways = watched.tally()
    everything = sum(ways.values()) + sum(watched.typed.values())
    if not everything:
        return "nothing"
    if sum(form.rows.total() for form in watched.dates.forms.values()) > 0.9 * everything:
        return "days"
    return "texts" if ways.get(OTHER, 0) > 0.1 * everything else "numbers"


def _likeness(a: Watched, b: Watched) -> float:
    """How alike the values of two columns of a kind are: below 0 where they are not."""
    kind = _kind(a)
    if "nothing" in (kind, _kind(b)):
        return 0.0
    if kind == "days":
        return 0.75
    shared = a.like(b)
    if shared >= 0.3:
        return 1.5
    if kind == "numbers" and a.range is not None and b.range is not None:
        sizes = [max(abs(low), abs(high), 1e-9) for low, high in (a.range, b.range)]
        same_sign = (a.range[0] < 0) == (b.range[0] < 0)
        whole = [set(each.ways) <= {"12", "12.0"} for each in (a, b)]
        return 0.75 if max(sizes) <= 5 * min(sizes) and same_sign and whole[0] == whole[1] else -0.5
    return 0.75 if shared >= 0.1 else -0.75


def _in_order(columns: dict[str, History], rows: Sequence[Sequence[str]], files: Sequence[str]) -> list[History]:
    """The columns in the order of the newest header; what it lacks follows what it followed once."""
    order: list[str] = []
    for row in reversed(rows):
        before = -1
        for name in row:
            if name in order:
                before = order.index(name)
            else:
                before += 1
                order.insert(before, name)
    found = []
    for name in order:
        column = columns[name]
        if len(column.files) < len(rows):
            column.remarks.insert(0, _where(column.files, files))
        found.append(column)
    return found


def _where(there: set[int], files: Sequence[str]) -> str:
    """Which files have a column that not all have."""
    first, last = min(there), max(there)
    if there == set(range(first, last + 1)):
        if last == len(files) - 1:
            return f"in the {len(there):,} files since {files[first]}"
        if first == 0:
            return f"in the {len(there):,} files until {files[last]}"
        return f"in the {len(there):,} files from {files[first]} to {files[last]}"
    lacking = [name for at, name in enumerate(files) if at not in there]
    return f"in {len(there):,} of {len(files):,} files; not in {listed(lacking, 3)}"
