"""Patterns of JSON objects: keys in an order, as a regular expression that parses many records at once.

Belongs here: what such an expression matches, which is JSON and nothing else. Elsewhere: records that match none
(fields.py).
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

import polars as pl

MOST_LEAVES: Final = 24  # beyond, expressions are slower than Python's json
DEEPEST_TEXT: Final = 2

_BLANK: Final = r"[ \t\n\r]*"
_NUMBER: Final = r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?"
_CHARS: Final = r'(?:[^"\\\x00-\x1f]|\\[ -~])*'  # an escape is looked at when it is decoded
_SURE_CHARS: Final = r'(?:[^"\\\x00-\x1f]|\\["\\/bfnrt]|\\u[0-9a-fA-F]{4})*'  # in text that is kept as it is


@dataclass
class Leaf:
    """A key of a pattern.

    written: the key as it stands there. path: the column its value goes to; none where it is always null.
    kinds: how its values were: "s" strings, "v" other scalars, "1" or "2" lists and objects so deep.
    inner: the keys of an object that is parsed.
    """

    written: str
    path: str | None
    kinds: set[str] = field(default_factory=set)
    inner: "list[Leaf] | None" = None


def flat(leaves: list[Leaf]) -> Iterator[Leaf]:
    """The leaves that hold values, in their order."""
    for leaf in leaves:
        if leaf.inner is None:
            yield leaf
        else:
            yield from flat(leaf.inner)


def keys(leaves: list[Leaf]) -> str:
    """The keys in their order: records that have the same match the same pattern."""
    return ",".join(leaf.written if leaf.inner is None else f"{leaf.written}:{{{keys(leaf.inner)}}}" for leaf in leaves)


class KeyPattern:
    """Records that have just these keys in this order, and values of the kinds that such records had so far."""

    def __init__(self, leaves: list[Leaf], decode: Callable[[list[str]], list[str]]) -> None:
        """decode: strings with escapes, as they stand between quotes, into the text that they mean; or ValueError."""
        self.keys = keys(leaves)
        self.hits = 0
        self._leaves = leaves
        self._decode = decode
        self._expression = ""  # made when it is used: of many patterns most never are

    def widen(self, leaves: list[Leaf]) -> bool:
        """Admit the kinds of values of a record with the same keys; False if they were admitted already."""
        wider = False
        for mine, other in zip(flat(self._leaves), flat(leaves), strict=True):
            wider |= not other.kinds <= mine.kinds
            mine.kinds |= other.kinds
        if wider:
            self._expression = ""
        return wider

    def parse(self, block: pl.DataFrame, parts: list[pl.DataFrame], *, escapes: bool) -> pl.DataFrame:
        """Put the fields of the records that match into `parts`; give the other records back.

        escapes: whether there may be any in the block.
        """
        if not self._expression:
            self._make()
        groups = block["text"].str.extract_groups(self._expression).struct.unnest()
        fits = groups["1"].is_not_null()
        if escapes:
            groups, failed = self._unescaped(groups)
            fits &= ~failed
        rest = block.clear()
        if not fits.all():
            if not fits.any():
                return block
            rest, block, groups = block.filter(~fits), block.filter(fits), groups.filter(fits)
        self.hits += block.height
        parts.append(
            groups.select(
                block["_line"],
                *(
                    (pl.coalesce(ways) if ways else pl.lit(None, pl.String)).alias(path)
                    for path, ways in self._columns.items()
                ),
            )
        )
        return rest

    def _unescaped(self, groups: pl.DataFrame) -> tuple[pl.DataFrame, pl.Series]:
        """`groups` with decoded strings; and for which records that fails."""
        failed = pl.repeat(value=False, n=groups.height, eager=True)
        columns = []
        for name in self._strings:
            column = groups[name]
            escaped = column.str.contains("\\", literal=True).fill_null(value=False)
            if escaped.any():
                try:
                    decoded = pl.Series(self._decode(column.filter(escaped).to_list()), dtype=pl.String)
                except ValueError:
                    failed |= escaped
                else:
                    columns.append(column.scatter(escaped.arg_true(), decoded))
        return groups.with_columns(columns), failed

    def _make(self) -> None:
        self._columns: dict[str, list[str]] = {}
        self._strings: list[str] = []
        self._groups = 1
        self._expression = rf"^{_BLANK}(\{{){self._members(self._leaves)}\}}{_BLANK}$"

    def _members(self, leaves: list[Leaf]) -> str:
        members = []
        for leaf in leaves:
            apart = rf"(?:null|\{{{self._members(leaf.inner)}\}})" if leaf.inner is not None else None
            value = apart or self._value(leaf)
            members.append(f"{_BLANK}{_literal(leaf.written)}{_BLANK}:{_BLANK}{value}{_BLANK}")
        return ",".join(members) or _BLANK

    def _value(self, leaf: Leaf) -> str:
        if leaf.path is None:
            return "null"
        names = self._columns[leaf.path] = []
        ways = ["null"]
        if "s" in leaf.kinds:
            names.append(self._group())
            self._strings.append(names[-1])
            ways.append(f'"({_CHARS})"')
        if others := leaf.kinds - {"s"}:
            names.append(self._group())
            raw = [f"{_NUMBER}|true|false"] if "v" in others else []
            if depth := max((int(kind) for kind in others - {"v"}), default=0):
                raw.append(_nested(depth))
            ways.append(f"({'|'.join(raw)})")
        return f"(?:{'|'.join(ways)})"

    def _group(self) -> str:
        self._groups += 1
        return f"{self._groups}"


def _nested(depth: int) -> str:
    """Lists and objects, so deep, of any keys."""
    value = rf'(?:"{_SURE_CHARS}"|{_NUMBER}|true|false|null{"|" + _nested(depth - 1) if depth > 1 else ""})'
    member = rf'"{_SURE_CHARS}"{_BLANK}:{_BLANK}{value}'
    return "|".join(
        rf"\{opening}{_BLANK}(?:{each}{_BLANK}(?:,{_BLANK}{each}{_BLANK})*)?\{closing}"
        for opening, each, closing in (("[", value, "]"), ("{", member, "}"))
    )


def _literal(text: str) -> str:
    return re.sub(r'[^0-9A-Za-z_"]', lambda char: rf"\x{{{ord(char[0]):x}}}", text)
