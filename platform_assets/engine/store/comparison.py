"""One mart of two databases, compared: rows by key, or whole where there is none; exactly, in bounded memory.

Belongs here: the SQL of it, and what is found. Elsewhere: which marts are compared, the connection (diff.py).
Keys are joined by their values; of each row beside it two hashes, so that 10 million rows fit. Rows whose hashes differ
are compared by their values, in parts on the disk where memory ends.
"""

import re
import secrets
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import duckdb

from platform_assets.engine.contract.shown import MASK
from platform_assets.engine.store.sql import quote

SIDES: Final = ("before", "after")
"""What the two databases are attached as."""
_SIGNED: Final = (("before", -1), ("after", 1))
_CELL: Final = 120  # characters of a value in a sample
_FLAGS: Final = 60  # columns whose "differs" fits one number
_LOOKED_AT: Final = 1_000  # rows in which a renamed column is looked for first
_SUSPECT: Final = "SEMI JOIN suspect AS s ON r.mark = s.mark AND r.other = s.other"
# Types whose values differ in their hashes wherever they differ; of others the text is hashed, too.
_HASHED_WELL: Final = re.compile(
    r"BOOLEAN|U?(TINY|SMALL|BIG)INT|U?INTEGER|FLOAT|DOUBLE|DATE|TIMESTAMP( WITH TIME ZONE)?|DECIMAL\((\d|1[0-8]),.*\)"
)

Row = Mapping[str, str | None]
"""A row of a sample: column -> value as text, what is personal masked."""


@dataclass(frozen=True)
class MartSide:
    """A mart on one side. columns: name -> DuckDB type, in their order. content: hash of its rows in whatever order."""

    columns: Mapping[str, str]
    rows: int
    content: str


@dataclass(frozen=True)
class ColumnDiff:
    """A column that differs. before, after: its types, None where it is not there. changed: rows of the same key in
    which it has another value. samples: some of them, as (key, value before, value after)."""

    name: str
    before: str | None
    after: str | None
    changed: int = 0
    samples: Sequence[tuple[Row, str | None, str | None]] = ()


@dataclass(frozen=True)
class MartDiff:
    """How a mart differs. what: "same", "added", "removed" or "changed".

    key: by which rows are matched; where it is empty, rows are compared whole, as often as they occur. not_unique: keys
    that occur more than once on a side; their rows are compared whole, too. added, removed, changed: rows. renamed:
    columns gone -> columns new that hold the same in every row of the same key.
    """

    mart: str
    what: str
    before: int
    after: int
    key: Sequence[str] = ()
    added: int = 0
    removed: int = 0
    changed: int = 0
    columns: Sequence[ColumnDiff] = ()
    renamed: Mapping[str, str] = field(default_factory=dict)
    reordered: bool = False
    not_unique: int = 0
    rows_added: Sequence[Row] = ()
    rows_removed: Sequence[Row] = ()


class Comparison:
    """One mart of two sides that are attached. Within it, columns are called by numbers: no name of theirs matters."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        mart: str,
        sides: tuple[MartSide, MartSide],
        key: Sequence[str],
        hidden: Collection[str],
        samples: int,
    ) -> None:
        self._connection = connection
        self._mart = mart
        self._sides = dict(zip(SIDES, sides, strict=True))
        self._hidden = frozenset(hidden)
        self._samples = int(samples)
        self._types = {side: self._sides[side].columns for side in SIDES}
        common = [name for name in self._types["before"] if name in self._types["after"]]
        self._terms = {name: self._terms_of(name) for name in common}
        self._key = tuple(key) if key and all(name in self._terms for name in key) else ()
        self._values = [name for name in self._terms if name not in self._key]
        self._salt = secrets.token_hex(8)
        self._keys = [f"k{n}" for n in range(sum(len(self._terms[name][0]) for name in self._key))]

    def made(self) -> MartDiff:
        """The difference."""
        try:
            return self._by_key() if self._key else self._by_rows()
        finally:
            for table in ("repeated", "suspect", "differing", "leftover", "chosen"):
                self._connection.execute(f"DROP TABLE IF EXISTS temp.{table}")

    def _terms_of(self, name: str) -> tuple[list[str], list[str]]:
        """What stands for a column's value on either side: the same wherever the value is.

        A retyped one is cast to the type that it has after; a value that this would change stands for itself, as text.
        """
        was, now, column = self._types["before"][name], self._types["after"][name], quote(name)
        if was == now:
            return [column], [column]
        cast = f"TRY_CAST({column} AS {now})"
        kept = f"TRY_CAST({cast} AS {was}) IS NOT DISTINCT FROM {column}"
        terms = [f"CASE WHEN {kept} THEN {cast} END", f"CASE WHEN NOT ({kept}) THEN {column}::VARCHAR END"]
        return terms, [column, "NULL::VARCHAR"]

    def _by_key(self) -> MartDiff:
        repeated = 0 if self._is_unique("after") else self._find_repeated()
        removed, added, changed = self._join(repeated)
        # Where keys are unique after, each row before is joined once; so those that repeat before show in the sum.
        if not repeated and self._rows("before") - removed + added != self._rows("after"):
            repeated = self._find_repeated()
            removed, added, changed = self._join(repeated)
        counts = self._changed_by_column() if changed else {}
        picks = {"": "NOT now", " ": "NOT was"}  # no column is called so
        picks |= {name: f"was AND now AND {self._flag(name)} <> 0" for name, count in counts.items() if count}
        rows = self._read(picks)
        samples = {
            name: [({k: was[k] for k in self._key}, was[name], now[name]) for was, now in rows[name]] for name in counts
        }
        gone: list[Row] = [was for was, _ in rows[""]]
        new: list[Row] = [now for _, now in rows[" "]]
        if repeated:
            more_gone, more_new, whole_gone, whole_new = self._multisets(only="SEMI")
            removed, added = removed + more_gone, added + more_new
            gone, new = [*gone, *whole_gone], [*new, *whole_new]
        return self._told((removed, added, changed), gone, new, counts, samples, repeated)

    def _by_rows(self) -> MartDiff:
        removed, added, gone, new = self._multisets()
        return self._told((removed, added, 0), gone, new, {}, {}, 0)

    def _told(
        self,
        counts: tuple[int, int, int],
        gone: Sequence[Row],
        new: Sequence[Row],
        changed: Mapping[str, int],
        samples: Mapping[str, Sequence[tuple[Row, str | None, str | None]]],
        repeated: int,
    ) -> MartDiff:
        was, now = self._types["before"], self._types["after"]
        columns = [
            ColumnDiff(name, was.get(name), now.get(name), changed.get(name, 0), samples.get(name, ()))
            for name in [*was, *(name for name in now if name not in was)]
            if was.get(name) != now.get(name) or changed.get(name)
        ]
        removed, added, differing = counts
        common = [name for name in now if name in was]
        return MartDiff(
            mart=self._mart,
            what="changed",
            before=self._rows("before"),
            after=self._rows("after"),
            key=self._key,
            added=added,
            removed=removed,
            changed=differing,
            columns=columns,
            renamed=self._renamed() if self._key else {},
            reordered=common != [name for name in was if name in now],
            not_unique=repeated,
            rows_added=new[: self._samples],
            rows_removed=gone[: self._samples],
        )

    # Rows by key ----------------------------------------------------------------------------------------------------

    def _is_unique(self, side: str) -> bool:
        """Whether the keys of the side are surely unique: different hashes are of different keys."""
        ((rows, hashes),) = self._all(
            f"SELECT count(*), count(DISTINCT hash({_list(self._keys)})) FROM {self._of(side)}"
        )
        return bool(rows == hashes)

    def _find_repeated(self) -> int:
        """Note the keys that occur more than once on a side; how many there are."""
        keys = _list(self._keys)
        of = " UNION ".join(f"SELECT {keys} FROM {self._of(s)} GROUP BY {keys} HAVING count(*) > 1" for s in SIDES)
        self._all(f"CREATE OR REPLACE TEMP TABLE repeated AS {of}")
        return int(self._all("SELECT count(*) FROM repeated")[0][0])

    def _join(self, repeated: int) -> tuple[int, int, int]:
        """Note which keys were removed, added, changed, and these in which columns; how many of each."""
        only, keys = "ANTI" if repeated else "", _list(self._keys)
        before, after = (f"(SELECT *, true AS there FROM {self._marked(side, self._values, only)})" for side in SIDES)
        merged = _list(f"CASE WHEN a.there THEN a.{k} ELSE b.{k} END AS {k}" for k in self._keys)
        self._all(
            f"CREATE OR REPLACE TEMP TABLE suspect AS SELECT {merged}, b.there IS NOT NULL AS was, "
            f"a.there IS NOT NULL AS now FROM {before} AS b FULL JOIN {after} AS a ON {self._same('b', 'a')} "
            "WHERE b.there IS NULL OR a.there IS NULL OR b.mark <> a.mark OR b.other <> a.other"
        )
        flags = [
            " + ".join(
                f"CASE WHEN {' OR '.join(f'b.{c} IS DISTINCT FROM a.{c}' for c in self._called(name))} THEN {1 << bit} "
                "ELSE 0 END"
                for bit, name in enumerate(self._values[start : start + _FLAGS])
            )
            for start in range(0, len(self._values), _FLAGS)
        ]
        flagged = _list(f"({each})::BIGINT AS f{at}" for at, each in enumerate(flags)) or "0 AS f0"
        suspect = "SEMI JOIN (FROM suspect WHERE was AND now) AS s ON " + self._same("r", "s")
        before, after = (f"(FROM {self._of(side, self._values, only=only)} AS r {suspect})" for side in SIDES)
        self._all(
            f"CREATE OR REPLACE TEMP TABLE differing AS SELECT {keys}, was, now, "
            f"{_list(f'0 AS f{at}' for at in range(max(len(flags), 1)))} FROM suspect WHERE NOT (was AND now) "
            f"UNION ALL FROM (SELECT {_list(f'a.{k}' for k in self._keys)}, true, true, {flagged} "
            f"FROM {before} AS b JOIN {after} AS a ON {self._same('b', 'a')}) "
            f"WHERE {' OR '.join(f'f{at} <> 0' for at in range(max(len(flags), 1)))}"
        )
        counted = "count(*) FILTER (NOT now), count(*) FILTER (NOT was), count(*) FILTER (was AND now)"
        ((removed, added, changed),) = self._all(f"SELECT {counted} FROM differing")
        return removed, added, changed

    def _changed_by_column(self) -> dict[str, int]:
        """In how many rows of the same key each column that differs has another value."""
        counted = _list(f"count(*) FILTER ({self._flag(name)} <> 0)" for name in self._values)
        (counts,) = self._all(f"SELECT {counted} FROM differing WHERE was AND now")
        return {name: count for name, count in zip(self._values, counts, strict=True) if count}

    def _read(self, picks: Mapping[str, str]) -> dict[str, list[tuple[dict[str, str | None], dict[str, str | None]]]]:
        """Some rows, before and after, of the keys that fulfil each of these conditions, in the order of their keys."""
        keys = _list(self._keys)
        chosen = " UNION ALL ".join(
            f"FROM (SELECT {at} AS pick, row_number() OVER (ORDER BY {keys}) AS n, {keys} FROM differing "
            f"WHERE {condition} ORDER BY {keys} LIMIT {self._samples})"
            for at, condition in enumerate(picks.values())
        )
        self._all(f"CREATE OR REPLACE TEMP TABLE chosen AS {chosen}")
        read: dict[str, dict[tuple[int, int], dict[str, str | None]]] = {}
        for side in SIDES:
            names = list(self._types[side])
            columns = (f"{quote(name)} AS v{n}" for n, name in enumerate(names))
            rows = self._all(
                f"SELECT c.pick, c.n, {_list(self._shown(name, f'r.v{n}') for n, name in enumerate(names))} "
                f"FROM chosen AS c JOIN (SELECT {_list([*self._key_on(side), *columns])} FROM {self._table(side)}) "
                f"AS r ON {self._same('c', 'r')}"
            )
            read[side] = {(pick, n): dict(zip(names, values, strict=True)) for pick, n, *values in rows}
        found: dict[str, list[tuple[dict[str, str | None], dict[str, str | None]]]] = {}
        for at, name in enumerate(picks):
            which = sorted({each for side in SIDES for each in read[side] if each[0] == at})
            found[name] = [(read["before"].get(each, {}), read["after"].get(each, {})) for each in which]
        return found

    def _renamed(self) -> dict[str, str]:
        """Columns gone and columns new that hold the same in every row of the same key, where no other does."""
        was, now = self._types["before"], self._types["after"]
        pairs = [(g, n) for g in was if g not in now for n in now if n not in was and was[g] == now[n]]
        some = f"(FROM {self._table('after')} LIMIT {_LOOKED_AT})"
        for rows in (some, self._table("after")):
            pairs = self._alike(pairs, rows) if pairs else []
        gone, new = [g for g, _ in pairs], [n for _, n in pairs]
        return {g: n for g, n in pairs if gone.count(g) == 1 and new.count(n) == 1}

    def _alike(self, pairs: Sequence[tuple[str, str]], after: str) -> list[tuple[str, str]]:
        """Which of these pairs of columns hold the same, and not only NULL, in rows of the same key."""
        before, rows = self._table("before"), []
        for table, side, at in ((before, "before", 0), (after, "after", 1)):
            columns = (f"{quote(pair[at])} AS p{n}" for n, pair in enumerate(pairs))
            rows.append(f"(SELECT {_list([*self._key_on(side), *columns])} FROM {table})")
        same = _list(
            f"bool_and(b.p{n} IS NOT DISTINCT FROM a.p{n}) AND bool_or(a.p{n} IS NOT NULL)" for n in range(len(pairs))
        )
        (answers,) = self._all(f"SELECT {same} FROM {rows[0]} AS b JOIN {rows[1]} AS a ON {self._same('b', 'a')}")
        return [pair for pair, alike in zip(pairs, answers, strict=True) if alike]

    # Whole rows -----------------------------------------------------------------------------------------------------

    def _multisets(self, only: str = "") -> tuple[int, int, list[Row], list[Row]]:
        """Rows compared whole, as often as they occur: how many are gone and new, and some of them."""
        names = [*self._key, *self._values]
        terms = [*self._keys, *(c for name in self._values for c in self._called(name))]
        if not terms:
            gone = max(self._rows("before") - self._rows("after"), 0)
            return gone, max(self._rows("after") - self._rows("before"), 0), [], []
        for table, by, those in (("suspect", ["mark", "other"], ""), ("leftover", terms, _SUSPECT)):
            sides = (
                f"SELECT {_list(by)}, {sign} AS more FROM {self._marked(side, names, only, keep=terms)} AS r {those}"
                for side, sign in _SIGNED
            )
            self._all(
                f"CREATE OR REPLACE TEMP TABLE {table} AS SELECT {_list(by)}, sum(more) AS more "
                f"FROM ({' UNION ALL '.join(sides)}) GROUP BY {_list(by)} HAVING sum(more) <> 0"
            )
        ((gone, new),) = self._all(
            "SELECT coalesce(-sum(more) FILTER (more < 0), 0), coalesce(sum(more) FILTER (more > 0), 0) FROM leftover"
        )
        called = dict(zip(names, self._by_column(names, terms), strict=True))
        shown = (self._shown(name, f"coalesce({_list(f'{c}::VARCHAR' for c in called[name])})") for name in names)
        select = f"SELECT {_list(shown)} FROM leftover WHERE more"
        end = f"0 ORDER BY {_list(terms)} LIMIT {self._samples}"
        some: list[list[Row]] = [
            [dict(zip(names, row, strict=True)) for row in self._all(f"{select} {sign} {end}")] for sign in "<>"
        ]
        return int(gone), int(new), some[0], some[1]

    # SQL ------------------------------------------------------------------------------------------------------------

    def _table(self, side: str) -> str:
        return f"{side}.main.{quote(self._mart)}"

    def _rows(self, side: str) -> int:
        return int(self._all(f"SELECT count(*) FROM {self._table(side)}")[0][0])

    def _terms_on(self, side: str, names: Sequence[str]) -> list[str]:
        return [term for name in names for term in self._terms[name][SIDES.index(side)]]

    def _key_on(self, side: str) -> list[str]:
        return [f"{term} AS {k}" for k, term in zip(self._keys, self._terms_on(side, self._key), strict=True)]

    def _called(self, name: str) -> list[str]:
        """What the terms of a column that is no key are called."""
        at = self._values.index(name)
        first = sum(len(self._terms[each][0]) for each in self._values[:at])
        return [f"c{first + n}" for n in range(len(self._terms[name][0]))]

    def _flag(self, name: str) -> str:
        at, bit = divmod(self._values.index(name), _FLAGS)
        return f"(f{at} & {1 << bit})"

    def _of(self, side: str, values: Sequence[str] = (), *, only: str = "") -> str:
        """The rows of a side: their keys and the terms of these columns. only: ANTI leaves out repeated keys, SEMI all
        others."""
        terms = [*self._key_on(side), *(f"{term} AS c{n}" for n, term in enumerate(self._terms_on(side, values)))]
        rows = f"(SELECT {_list(terms or ['1'])} FROM {self._table(side)})"
        return f"(FROM {rows} AS r {only} JOIN repeated AS o ON {self._same('r', 'o')})" if only else rows

    def _marked(self, side: str, names: Sequence[str], only: str, keep: Sequence[str] = ()) -> str:
        """The rows of a side: their keys, columns to `keep`, and two hashes of what these columns hold.

        The second knows a salt of this comparison and takes what DuckDB hashes weakly (intervals, nested values) as
        text: that rows which differ have the same hashes is a chance of 1 in 10^38, which nobody can bring about.
        """
        marks, salted = [], [f"'{self._salt}'"]
        keys = dict(zip(self._key, self._by_column(self._key, self._keys), strict=True))
        for name in names:
            for at, called in enumerate(keys.get(name) or self._called(name)):
                kind = self._types["after"][name] if at == 0 else "VARCHAR"
                marks.append(called)
                salted.append(called if _HASHED_WELL.fullmatch(kind) else f"'{self._salt}' || {called}::VARCHAR")
        columns = [*(keep or self._keys), f"hash({_list(marks or ['0'])}) AS mark", f"hash({_list(salted)}) AS other"]
        return f"(SELECT {_list(columns)} FROM {self._of(side, self._values, only=only)})"

    def _by_column(self, names: Sequence[str], called: Sequence[str]) -> list[list[str]]:
        """What the terms of each of these columns are called, of what they are called together."""
        each = iter(called)
        return [[next(each) for _ in self._terms[name][0]] for name in names]

    def _same(self, one: str, other: str) -> str:
        return " AND ".join(f"{one}.{k} IS NOT DISTINCT FROM {other}.{k}" for k in self._keys)

    def _shown(self, name: str, value: str) -> str:
        if name in self._hidden:
            return f"CASE WHEN {value} IS NOT NULL THEN '{MASK}' END"
        text = f"{value}::VARCHAR"
        return f"CASE WHEN length({text}) > {_CELL} THEN left({text}, {_CELL}) || '…' ELSE {text} END"

    def _all(self, sql: str) -> list[tuple[Any, ...]]:
        return self._connection.execute(sql).fetchall()


def _list(parts: Iterable[str]) -> str:
    return ", ".join(parts)
