"""Mending: what to write in a contract so that it takes what deliveries really held; each line to be pasted as it is.

Belongs here: which headers are one column, columns that only some deliveries have, formats that came besides.
Elsewhere: what came (headers.py, drift.py). What is not certain is said in a comment, and never guessed.
"""

import ast
import inspect
import itertools
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import polars as pl

from platform_assets.engine.author.draft import field_line, literal
from platform_assets.engine.author.headers import HeaderSeen, changes
from platform_assets.engine.author.infer import infer_column
from platform_assets.engine.author.names import name_for
from platform_assets.engine.contract.model import LINEAGE, Column
from platform_assets.engine.contract.timestamps import ISO, days, instants
from platform_assets.engine.feed.feed import Feed
from platform_assets.errors import HIDDEN, listed, printable

_INDENT: Final = "    "
_WIDTH: Final = 120
_KINDS: Final = {
    "Decimal": "from decimal import Decimal",
    **{n: f"from datetime import {n}" for n in ("date", "datetime")},
}

Values = Callable[[str], pl.Series]
"""Gives some values that came under a header."""


@dataclass(frozen=True)
class Proposed:
    """A column as it is to be written: `declaration`, remarks above it. replaces: whether the contract has it already.
    headers: those that are new. imports: a line that the file needs besides, if any."""

    column: str
    headers: tuple[str, ...]
    declaration: str
    replaces: bool
    imports: str | None = None


@dataclass
class _New:
    """A column that is to be declared, by its headers."""

    headers: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


def proposed(feed: Feed, seen: Sequence[HeaderSeen], values: Values, *, personal: bool) -> list[Proposed]:
    """What to write in the contract, by the headers that were `seen`. personal: whether values are not looked at."""
    every = [each.header for each in seen]
    unknown = list(dict.fromkeys(name for each in seen for name in each.unknown if name != HIDDEN))
    known = {column.name: _New(list(column.headers)) for column in feed.columns}
    left = [name for name in unknown if not _joins(feed, known, name, seen)]
    found = [*_mended(feed, known, every, values, personal=personal)]
    taken = {column.name for column in feed.columns} | set(LINEAGE)
    for new in _grouped(left, every):
        found.append(_declared(feed, new, taken, values, personal=personal))
        taken.add(found[-1].column)
    return found


def _joins(feed: Feed, known: Mapping[str, _New], name: str, seen: Sequence[HeaderSeen]) -> bool:
    """Whether the header `name` is a further one of a column of the contract; noted there."""
    every = [each.header for each in seen]
    alike = [c for c in feed.columns if name_for(name) in {c.name, *map(name_for, known[c.name].headers)}]
    perhaps = [
        column
        for each in seen
        for old, new in changes(each.missing, each.unknown)[2]
        for column in feed.columns
        if new == name and old == column.headers[0]
    ]
    for sure, columns in ((True, alike), (False, perhaps)):
        for column in columns:
            if not any(_together([name], known[column.name].headers, header) for header in every):
                known[column.name].headers.append(name)
                if not sure:
                    known[column.name].remarks.append(f"{name} perhaps is {column.headers[0]} renamed: look at it")
                return True
    return False


def _grouped(left: Sequence[str], every: Sequence[Sequence[str]]) -> list[_New]:
    """The headers by the columns that they are: those that make one name, and those that look renamed."""
    groups: list[_New] = []
    renamed = {
        new: old
        for before, now in itertools.pairwise(every)
        for old, new in changes(before, now)[2]
        if old in left and new in left
    }
    for name in left:
        for group in groups:
            same = any(name_for(name) == name_for(other) for other in group.headers)
            if (same or renamed.get(name) in group.headers) and not any(
                _together([name], group.headers, header) for header in every
            ):
                if not same:
                    group.remarks.append(f"{name} perhaps is {renamed[name]} renamed: look at it")
                group.headers.append(name)
                break
        else:
            groups.append(_New([name]))
    return groups


def _together(one: Sequence[str], other: Sequence[str], header: Sequence[str]) -> bool:
    """Whether a delivery had headers of both, which then are no one column."""
    there = {name.strip().casefold() for name in header}
    return all(any(name.strip().casefold() in there for name in names) for names in (one, other))


def _mended(
    feed: Feed, known: Mapping[str, _New], every: Sequence[Sequence[str]], values: Values, *, personal: bool
) -> Iterator[Proposed]:
    """Columns of the contract that have to be declared otherwise."""
    for column in feed.columns:
        now = known[column.name]
        more: dict[str, str] = {}
        new = [name for name in now.headers if name not in column.headers]
        if new:
            more["source"] = literal(tuple(now.headers))
        lacking = [header for header in every if not _together(now.headers, now.headers, header)]
        if lacking and not column.optional:
            more["optional"] = "True"
            now.remarks.append(f"{len(lacking)} of {len(every)} headers that came lack it")
            if not column.nullable:
                more["nullable"] = "True"
        if new and not personal:
            came = _of(values, new)
            formats, remark = _further_formats(column, came)
            if formats:
                more["format"] = literal(tuple(dict.fromkeys([*(form for form, _ in column.formats), *formats])))
            if remark:
                now.remarks.append(remark)
            if came.null_count() and not column.nullable:
                more["nullable"] = "True"
                now.remarks.append(f"empty in some rows under {listed(new)}")
        if more:
            yield Proposed(
                column.name, tuple(new), _edited(_as_written(feed, column), more, now.remarks), replaces=True
            )


def _declared(feed: Feed, new: _New, taken: set[str], values: Values, *, personal: bool) -> Proposed:
    """A column that the contract does not have."""
    came = _of(values, new.headers)
    inferred = infer_column(new.headers[0], came.clear() if personal else came)
    line = field_line(inferred)
    name, number = inferred.name, 2
    while name in taken:
        name, number = f"{inferred.name}_{number}", number + 1
    more = {"source": literal(tuple(new.headers) if len(new.headers) > 1 else new.headers[0])}
    more |= {"nullable": "True", "optional": "True"}
    text = _edited(line, more, new.remarks, name=name)
    annotation = ast.unparse(_parsed(text).annotation)
    there = vars(sys.modules.get(feed.contract.__module__, ast))
    return Proposed(
        name, tuple(new.headers), text, replaces=False, imports=None if annotation in there else _KINDS.get(annotation)
    )


def _of(values: Values, headers: Sequence[str]) -> pl.Series:
    """Values that came under any of the headers."""
    found = [values(name) for name in headers]
    if len({each.dtype for each in found}) > 1:
        found = [each.cast(pl.String) for each in found]
    return pl.concat([each.alias("v") for each in found]) if found else pl.Series("v", [], dtype=pl.String)


def _further_formats(column: Column, values: pl.Series) -> tuple[list[str], str | None]:
    """Formats of dates that values have and the column does not declare; or why they are not certain."""
    if column.kind not in ("date", "timestamp") or values.dtype != pl.String:
        return [], None
    left = values.drop_nulls().unique()
    left = left.filter(left.str.strip_chars() != "")
    if any(since is not None for _, since in column.formats):
        return [], "its formats have days: add what these values have, with the day since when"
    found: list[str] = []
    for form in [form for form, _ in column.formats]:
        left = left.filter(_read(column, left, form).is_null())
    while len(left):
        given = _options(field_line(infer_column("v", left)))
        forms = ast.literal_eval(given["format"]) if "format" in given else ISO
        forms = [forms] if isinstance(forms, str) else list(forms)
        rest = left
        for form in forms:
            rest = rest.filter(_read(column, rest, form).is_null())
        if len(rest) == len(left):
            return found, f"values such as {left[0]!r} need a format more, which they do not tell for certain"
        found += [form for form in forms if form not in found]
        left = rest
    return found, None


def _read(column: Column, values: pl.Series, form: str) -> pl.Series:
    return days(values, form) if column.kind == "date" else instants(values, form, column.timezone)


# ---- the text of a declaration


def _as_written(feed: Feed, column: Column) -> str:
    """The column's declaration as its author wrote it, or as near to it as can be told."""
    for contract in feed.contract.__mro__:
        try:
            (written,) = ast.parse(textwrap.dedent(inspect.getsource(contract))).body
        except (OSError, TypeError, SyntaxError, ValueError):
            continue
        for each in written.body if isinstance(written, ast.ClassDef) else ():
            if isinstance(each, ast.AnnAssign) and ast.unparse(each.target) == column.name:
                return ast.get_source_segment(textwrap.dedent(inspect.getsource(contract)), each) or ast.unparse(each)
    return f"{column.name}: str = Field()"


def _parsed(text: str) -> ast.AnnAssign:
    (parsed,) = ast.parse(textwrap.dedent(text)).body
    assert isinstance(parsed, ast.AnnAssign)
    return parsed


def _options(text: str) -> dict[str, str]:
    """The arguments of `Field` in a declaration, as they are written."""
    source, call = textwrap.dedent(text), _parsed(text).value
    if not isinstance(call, ast.Call):
        return {}
    return {each.arg: ast.get_source_segment(source, each.value) or "" for each in call.keywords if each.arg}


def _edited(text: str, more: Mapping[str, str], remarks: Sequence[str], *, name: str | None = None) -> str:
    """The declaration with other options, and with `remarks` above it."""
    parsed = _parsed(text)
    options = {**_options(text), **more}
    options = {key: options[key] for key in sorted(options, key=lambda key: key != "source")}
    begin = f"{name or ast.unparse(parsed.target)}: {ast.unparse(parsed.annotation)} = Field"
    written = [f"{key}={value}" for key, value in options.items()]
    line = f"{_INDENT}{begin}({', '.join(written)})"
    if len(line) > _WIDTH:
        line = f"{_INDENT}{begin}(\n" + "".join(f"{_INDENT * 2}{each},\n" for each in written) + f"{_INDENT})"
    above = [each.strip() for each in text.splitlines() if each.strip().startswith("#")]
    said = [*above, *(f"# {printable(' '.join(each.split()))}" for each in remarks)]
    return "".join(f"{_INDENT}{each}\n" for each in said) + line
