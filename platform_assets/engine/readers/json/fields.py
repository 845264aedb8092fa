"""Fields of JSON records, by key: scalars as text exactly as they are written, nested values as JSON text.

Belongs here: parsing records, wherever they came from. Elsewhere: finding records (lines.py, document.py). The keys
of the first records, in their order, make patterns, by which the next ones are parsed a block at a time (patterns.py);
what matches none goes through Python's json, one by one.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NoReturn

import polars as pl

from platform_assets.engine.readers import MALFORMED_SCHEMA
from platform_assets.engine.readers.json.patterns import DEEPEST_TEXT, MOST_LEAVES, KeyPattern, Leaf, flat, keys
from platform_assets.errors import DeliveryRefused

NOT_JSON: Final = "not JSON"

_MOST_COLUMNS: Final = 10_000
_CELLS: Final = 1 << 22
_FEW: Final = 16  # records for which an expression is not worth its making
_MOST_PATTERNS: Final = 8
_MOST_VALUES: Final = 2_000_000
_blank: Final = re.compile(r"[ \t\n\r]*")


class Broken(ValueError):
    """A record that breaks a rule."""


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


# Numbers are not made: they are kept as they are written.
_DECODER: Final = json.JSONDecoder(parse_float=str, parse_int=str, parse_constant=_no_constant)
_scan: Final = _DECODER.scan_once  # type: ignore[attr-defined]  # half-public for twenty years
_scan_string: Final = json.decoder.scanstring  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Parsed:
    """Parsed records: `_line` and a column per path that occurs; and those that could not be parsed."""

    frame: pl.DataFrame
    malformed: pl.DataFrame


class RecordParser:
    """Parses records, with the patterns that the blocks before gave.

    wanted: the paths that are asked for. With "customer.city", every key of customer is a field of its own; an
    object that no path leads into is one field. prefix: stands before every path.
    bare: the name of a record that is no object, where such are parsed as they are; else they are malformed.
    """

    def __init__(self, wanted: Sequence[str], *, prefix: str = "", bare: str | None = None) -> None:
        paths = [header.strip().casefold() for header in wanted]
        self._wanted = set(paths)
        self._open = {".".join(path[:at]) for path in (each.split(".") for each in paths) for at in range(1, len(path))}
        self._prefix = prefix
        self._bare = bare
        self._patterns: list[KeyPattern] = []
        self._names: dict[str, tuple[bool, bool]] = {}
        self.columns: dict[str, None] = {}
        self.nulls: dict[str, None] = {}  # the paths at which null was instead of an object that is parsed

    def parse(self, block: pl.DataFrame, *, escapes: bool) -> Iterator[Parsed]:
        """Parse the records of `block` (`_line`, `text`): in one piece, unless they have very many fields.

        escapes: whether a backslash occurs in them.
        """
        for part in block.iter_slices(max(1, _CELLS // max(1, len(self.columns)))):
            yield from self._parse(part, escapes=escapes)

    def _parse(self, rest: pl.DataFrame, *, escapes: bool) -> Iterator[Parsed]:
        parts: list[pl.DataFrame] = []
        malformed: list[tuple[int, str, str]] = []
        for pattern in self._patterns:
            if rest.height >= _FEW:
                rest = pattern.parse(rest, parts, escapes=escapes)
        self._patterns.sort(key=lambda pattern: -pattern.hits)
        sample = 2 * _FEW
        while rest.height:
            done, learned = self._one_by_one(rest.head(sample), parts, malformed)
            rest = rest.slice(done)
            for pattern in learned:
                if rest.height >= _FEW:
                    rest = pattern.parse(rest, parts, escapes=escapes)
            sample *= 2
            if sum(part.height for part in parts) * len(self.columns) > 2 * _CELLS:
                yield _joined(parts, malformed)
                parts, malformed = [], []
        yield _joined(parts, malformed)

    def _one_by_one(
        self, block: pl.DataFrame, parts: list[pl.DataFrame], malformed: list[tuple[int, str, str]]
    ) -> tuple[int, list[KeyPattern]]:
        """Take records apart by Python's json: how many were, and the patterns that are new or have got wider."""
        lines: list[int] = []
        rows: list[dict[str, str | None]] = []
        names: dict[str, None] = {}
        learned: dict[str, KeyPattern] = {}
        done = 0
        for line, text in block.iter_rows():
            done += 1
            try:
                fields, leaves = self.record(text)
            except Broken as broken:
                malformed.append((line, text, str(broken)))
                continue
            lines.append(line)
            rows.append(fields)
            names.update(dict.fromkeys(fields))
            if leaves is not None and (pattern := self._learn(leaves)) is not None:
                learned[pattern.keys] = pattern
            if len(rows) * len(names) > _CELLS:
                break
        if rows:
            self.columns.update(names)
            if len(self.columns) > _MOST_COLUMNS:
                raise DeliveryRefused(
                    f"more than {_MOST_COLUMNS} different keys",
                    remedy="Where keys are data, let the contract ask for what is above them, as one JSON text.",
                    line=lines[-1],
                )
            columns = {name: [row.get(name) for row in rows] for name in names}
            schema = {"_line": pl.Int64, **dict.fromkeys(names, pl.String)}
            parts.append(pl.DataFrame({"_line": lines, **columns}, schema=schema))
        # Of very many patterns only the last are kept; to try each on what follows would take for ever.
        return done, [pattern for pattern in learned.values() if pattern in self._patterns]

    def record(self, text: str) -> tuple[dict[str, str | None], list[Leaf] | None]:
        """The fields of a record by path, and its pattern if there is an expression for it. Raises Broken."""
        fields: dict[str, str | None] = {}
        leaves: list[Leaf] = []
        sound = False
        at = _after_blanks(text, 0)
        if len(text) > _MOST_VALUES and sum(map(text.count, "[{,")) > _MOST_VALUES:
            raise Broken(f"more than {_MOST_VALUES:,} values")  # each takes far more memory than it does as text
        try:
            if text.startswith("{", at):
                at, sound = self._object(text, at, self._prefix, fields, leaves)
            else:
                value, end = _scan(text, at)
                if self._bare is None:
                    raise Broken("not a JSON object" if _after_blanks(text, end) == len(text) else NOT_JSON)
                fields[self._bare], _ = _written(value, text[at:end])
                at = end
        except Broken:
            raise
        except UnicodeEncodeError:
            raise Broken("half of a surrogate pair, which is no character") from None
        except RecursionError:
            raise Broken("nested too deep") from None
        except (ValueError, StopIteration):
            raise Broken(NOT_JSON) from None
        if _after_blanks(text, at) != len(text):
            raise Broken(NOT_JSON)
        return fields, leaves if sound and sum(1 for _ in flat(leaves)) <= MOST_LEAVES else None

    def _object(
        self, text: str, at: int, prefix: str, fields: dict[str, str | None], leaves: list[Leaf]
    ) -> tuple[int, bool]:
        """Parse the object at `at` into `fields`. Gives where it ends, and whether `leaves` describe all of it."""
        sound = True
        seen: set[str] = set()
        at = _after_blanks(text, at + 1)
        if text.startswith("}", at):
            return at + 1, sound
        while True:
            begin = at
            if not text.startswith('"', at):
                raise Broken(NOT_JSON)
            key, at = _scan_string(text, at + 1)
            path = prefix + key
            leads_on, wanted = self._names.get(path) or self._name(path)
            leaf = Leaf(text[begin:at], path)
            leaves.append(leaf)
            at = _after_blanks(text, at)
            if not text.startswith(":", at):
                raise Broken(NOT_JSON)
            begin = at = _after_blanks(text, at + 1)
            if key in seen or path in fields:
                _scan_to_end(text)
                raise Broken("a key twice")
            seen.add(key)
            if leads_on and text.startswith("{", at):
                leaf.inner = []
                at, whole = self._object(text, at, f"{path}.", fields, leaf.inner)
                sound = sound and whole and not wanted
                if wanted:
                    fields[path] = text[begin:at]
            else:
                value, at = _scan(text, at)
                if leads_on and value is None and not wanted:
                    self.nulls[path] = None
                    leaf.path = None
                else:
                    fields[path], kind = _written(value, text[begin:at])
                    sound = sound and kind is not None and not leads_on
                    leaf.kinds.update(kind or ())
            at = _after_blanks(text, at)
            if text.startswith("}", at):
                return at + 1, sound
            if not text.startswith(",", at):
                raise Broken(NOT_JSON)
            at = _after_blanks(text, at + 1)

    def _name(self, path: str) -> tuple[bool, bool]:
        """Whether a path leads to one that is asked for, and whether it is asked for itself."""
        path.encode()  # half a surrogate pair is no character
        folded = path.strip().casefold()
        known = folded in self._open, folded in self._wanted
        if len(self._names) < 2 * _MOST_COLUMNS:
            self._names[path] = known
        return known

    def _learn(self, leaves: list[Leaf]) -> KeyPattern | None:
        """The pattern of these keys, if this record adds to what is known of it."""
        order = keys(leaves)
        for pattern in self._patterns:
            if pattern.keys == order:
                return pattern if pattern.widen(leaves) else None
        del self._patterns[_MOST_PATTERNS - 1 :]
        self._patterns.append(KeyPattern(leaves, _decoded))
        return self._patterns[-1]


def elements(text: str) -> list[str]:
    """The elements of a JSON list that is known to be sound, each as it is written."""
    found = []
    at = _after_blanks(text, 1)
    while not text.startswith("]", at):
        _, end = _scan(text, at)
        found.append(text[at:end])
        at = _after_blanks(text, end)
        if text.startswith(",", at):
            at = _after_blanks(text, at + 1)
    return found


def _decoded(strings: list[str]) -> list[str]:
    decoded: list[str] = _DECODER.decode('["' + '","'.join(strings) + '"]')
    return decoded


def _after_blanks(text: str, at: int) -> int:
    found = _blank.match(text, at)
    assert found is not None
    return found.end()


def _scan_to_end(text: str) -> None:
    """That a record is not JSON weighs more than any other rule it breaks."""
    _, end = _scan(text, _after_blanks(text, 0))
    if _after_blanks(text, end) != len(text):
        raise Broken(NOT_JSON)


def _written(value: Any, text: str) -> tuple[str | None, str | None]:  # noqa: ANN401 - JSON
    """A value as a field, and its kind (see Leaf): "" where it is null, None where no expression can stand for it."""
    if value is None:
        return None, ""
    if isinstance(value, list | dict):
        depth = _depth(value)
        return text, f"{depth}" if depth <= DEEPEST_TEXT else None
    if not text.startswith('"'):
        return text, "v"
    if not value.isascii():
        value.encode()  # half a surrogate pair is no character
    return value, "s"


def _depth(value: Any) -> int:  # noqa: ANN401 - JSON
    if not isinstance(value, list | dict):
        return 0
    return 1 + max(map(_depth, value.values() if isinstance(value, dict) else value), default=0)


def _joined(parts: list[pl.DataFrame], malformed: list[tuple[int, str, str]]) -> Parsed:
    if len(parts) == 1:
        frame = parts[0]
    else:
        frame = pl.concat(parts, how="diagonal").sort("_line") if parts else pl.DataFrame(schema={"_line": pl.Int64})
    return Parsed(frame, pl.DataFrame(malformed, schema=MALFORMED_SCHEMA, orient="row"))
