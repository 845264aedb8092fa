"""The difference of two databases of marts, held to a plain one in Python, and what a person is told of it."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import duckdb
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from platform_assets.engine.store.comparison import MartDiff, MartSide
from platform_assets.engine.store.diff import Side, compare
from platform_assets.engine.store.sql import quote
from platform_assets.errors import StorageError

_COLUMNS = {"k y": "INTEGER", "amount": "DOUBLE", "select": "VARCHAR", "list": "INTEGER[]", "n": "INTEGER"}
_RETYPED = ("INTEGER", "BIGINT", "VARCHAR", "DOUBLE", "TINYINT", "INTEGER[]")
_ROW = st.tuples(
    st.none() | st.integers(0, 4),
    st.none() | st.sampled_from([0.0, -0.0, 1.5, math.nan, math.inf]),
    st.none() | st.sampled_from(["", "a", "A", "a\0", "ä", "'\""]),
    st.none() | st.lists(st.none() | st.integers(0, 2), max_size=2),
    st.none() | st.sampled_from([0, 1, 200]),
)


def _side(
    folder: Path, name: str, columns: Mapping[str, str], *marts: Sequence[Sequence[Any]], select: str = "*"
) -> Side:
    """A database of marts m0, m1, … with these columns and rows."""
    path = folder / f"{name}.duckdb"
    path.unlink(missing_ok=True)
    given = ", ".join(f"{quote(column)} {kind}" for column, kind in columns.items())
    made = {}
    with duckdb.connect(str(path)) as connection:
        for at, rows in enumerate(marts):
            connection.execute(f"CREATE OR REPLACE TEMP TABLE given ({given})")
            if rows:
                places = ", ".join(f"({', '.join('?' * len(columns))})" for _ in rows)
                connection.execute(f"INSERT INTO given VALUES {places}", [value for row in rows for value in row])
            connection.execute(f"CREATE TABLE m{at} AS SELECT {select} FROM given")
            kinds = {column: kind for column, kind, *_ in connection.execute(f"DESCRIBE m{at}").fetchall()}
            made[f"m{at}"] = MartSide(kinds, len(rows), name)
    return Side(path, made)


def _diffs(before: Side, after: Side, key: Sequence[str] = (), hidden: Sequence[str] = ()) -> list[MartDiff]:
    scratch = before.database.parent
    keys, secret = dict.fromkeys(before.marts, key), dict.fromkeys(before.marts, hidden)
    found = compare(before, after, keys=keys, hidden=secret, scratch=scratch)
    assert not list(scratch.glob(".comparing-*"))
    return found


def _diff(before: Side, after: Side, key: Sequence[str] = (), hidden: Sequence[str] = ()) -> MartDiff:
    (found,) = _diffs(before, after, key, hidden)
    return found


def _plain(value: Any) -> Any:
    """A value as it is compared: NaN is NaN, and -0.0 is 0.0."""
    if isinstance(value, float):
        return "nan" if math.isnan(value) else value + 0.0
    return tuple(value) if isinstance(value, list) else value


def _expected(before: Sequence[Any], after: Sequence[Any]) -> tuple[int, int, int, dict[str, int]]:
    """Rows added, removed, changed by the first column as their key, and in how many each column changed."""
    sides = [[tuple(map(_plain, row)) for row in rows] for rows in (before, after)]
    counts = [Counter(row[0] for row in rows) for rows in sides]
    single = {key for key in {*counts[0], *counts[1]} if max(counts[0][key], counts[1][key]) == 1}
    one, other = ({row[0]: row for row in rows if row[0] in single} for rows in sides)
    rest, later = (Counter(row for row in rows if row[0] not in single) for rows in sides)
    added = len(other.keys() - one.keys()) + (later - rest).total()
    removed = len(one.keys() - other.keys()) + (rest - later).total()
    columns = Counter(at for key in one.keys() & other.keys() for at in range(5) if one[key][at] != other[key][at])
    changed = sum(one[key] != other[key] for key in one.keys() & other.keys())
    return added, removed, changed, {list(_COLUMNS)[at]: count for at, count in columns.items()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("diff")


_CASES: Final = st.lists(
    st.tuples(st.lists(_ROW, max_size=8), st.integers(0, 8), st.lists(_ROW, max_size=4)), min_size=4, max_size=10
)


def _holds(folder: Path, cases: Sequence[tuple[list[Any], int, list[Any]]]) -> None:
    before, after = [rows for rows, _, _ in cases], [[*rows[:kept], *new] for rows, kept, new in cases]
    one, other = _side(folder, "before", _COLUMNS, *before), _side(folder, "after", _COLUMNS, *after)
    # As the engine gives them: by name.
    at = sorted(range(len(cases)), key=lambda n: f"m{n}")
    for n, by_key, whole in zip(at, _diffs(one, other, ["k y"]), _diffs(one, other), strict=True):
        added, removed, changed, columns = _expected(before[n], after[n])
        assert (by_key.added, by_key.removed, by_key.changed) == (added, removed, changed)
        assert {each.name: each.changed for each in by_key.columns} == columns
        assert (by_key.before, by_key.after) == (len(before[n]), len(after[n]))
        was, now = (Counter(tuple(map(_plain, row)) for row in rows) for rows in (before[n], after[n]))
        assert (whole.added, whole.removed, whole.changed) == ((now - was).total(), (was - now).total(), 0)


@settings(max_examples=2, phases=[Phase.generate])
@given(cases=_CASES)
def test_it_is_what_a_plain_comparison_of_all_rows_finds(folder: Path, cases: list[Any]) -> None:
    _holds(folder, cases)


@pytest.mark.slow
@settings(max_examples=60)
@given(cases=_CASES)
def test_it_is_that_in_many_more_cases(folder: Path, cases: list[Any]) -> None:
    _holds(folder, cases)


@pytest.mark.parametrize("kind", _RETYPED)
def test_a_retyped_column_is_compared_by_value_where_it_can_be(folder: Path, kind: str) -> None:
    numbers = [0, 1, 200, None]
    rows: list[tuple[Any, ...]] = [(at, 1.0, "x", [], number) for at, number in enumerate(numbers)]
    before = _side(folder, "before", _COLUMNS, rows)
    after = _side(folder, "after", _COLUMNS, rows, select=f"* REPLACE (TRY_CAST(n::{_through(kind)} AS {kind}) AS n)")

    found = _diff(before, after, key=["k y"])

    if kind == "INTEGER":
        assert not found.columns
        return
    (column,) = found.columns
    assert (column.name, column.before, column.after) == ("n", "INTEGER", kind)
    # 200 is no TINYINT, and no number is a list; NULL is the same in every type.
    assert column.changed == found.changed == {"TINYINT": 1, "INTEGER[]": 3}.get(kind, 0)


def _through(kind: str) -> str:
    return "VARCHAR" if kind == "INTEGER[]" else "INTEGER"


def test_a_retyped_key_still_tells_rows_apart(folder: Path) -> None:
    before = _side(folder, "before", {"id": "VARCHAR", "v": "INTEGER"}, [("1", 1), ("02", 2), (None, 3), ("x", 4)])
    after = _side(folder, "after", {"id": "INTEGER", "v": "INTEGER"}, [(1, 1), (2, 2), (None, 9)])

    found = _diff(before, after, key=["id"])

    assert (found.added, found.removed, found.changed) == (1, 2, 1)
    assert [each["id"] for each in found.rows_removed] == ["02", "x"]
    (v,) = [each for each in found.columns if each.name == "v"]
    assert v.samples == [({"id": None}, "3", "9")]


def test_values_that_duckdb_hashes_alike_are_told_apart(folder: Path) -> None:
    columns = {"id": "INTEGER", "span": "INTERVAL", "number": "HUGEINT"}
    before = _side(folder, "before", columns, [(1, "1 month", 1 << 64), (2, "1 day", 5)])
    after = _side(folder, "after", columns, [(1, "1 day", 1), (2, "1 microsecond", 5)])

    found = _diff(before, after, key=["id"])

    assert found.changed == 2
    assert {each.name: each.changed for each in found.columns} == {"span": 2, "number": 1}


def test_names_of_columns_and_a_renamed_one_are_told(folder: Path) -> None:
    rows = [(1, 'a"b', 5), (2, None, 6)]
    before = _side(folder, "before", {"id": "INTEGER", 'we"ird; --': "VARCHAR", "k0": "INTEGER"}, rows)
    after = _side(
        folder, "after", {"id": "INTEGER", "now": "VARCHAR", "k0": "INTEGER"}, rows, select="k0, id, now, 'x' AS more"
    )

    found = _diff(before, after, key=["id"])

    assert found.renamed == {'we"ird; --': "now"}
    assert (found.changed, found.reordered) == (0, True)
    assert {each.name: (each.before, each.after) for each in found.columns} == {
        'we"ird; --': ("VARCHAR", None),
        "now": (None, "VARCHAR"),
        "more": (None, "VARCHAR"),
    }


def test_samples_show_rows_by_key_and_no_hidden_value(folder: Path) -> None:
    columns = {"id": "INTEGER", "name": "VARCHAR", "v": "INTEGER"}
    before = _side(folder, "before", columns, [(1, "Ada", 1), (2, "Bob", 2), (3, None, 3)])
    after = _side(folder, "after", columns, [(1, "Eve", 1), (3, None, 4), (4, "Joe" * 100, 4)])

    found = _diff(before, after, key=["id"], hidden=["name"])

    assert found.rows_removed == [{"id": "2", "name": "***", "v": "2"}]
    assert found.rows_added == [{"id": "4", "name": "***", "v": "4"}]
    assert {each.name: each.samples for each in found.columns} == {
        "name": [({"id": "1"}, "***", "***")],
        "v": [({"id": "3"}, "3", "4")],
    }


def test_more_columns_than_a_number_has_bits_are_told_apart(folder: Path) -> None:
    columns = {"id": "INTEGER", **{f"c{n}": "INTEGER" for n in range(130)}}
    before = _side(folder, "before", columns, [(1, *range(130))])
    after = _side(folder, "after", columns, [(1, *(n if n not in {0, 61, 129} else -1 for n in range(130)))])

    found = _diff(before, after, key=["id"])

    assert [(each.name, each.changed) for each in found.columns] == [("c0", 1), ("c61", 1), ("c129", 1)]


def test_what_is_the_same_by_its_hash_is_not_read(tmp_path: Path) -> None:
    columns = {"id": "INTEGER"}
    one, other = (Side(tmp_path / "none.duckdb", {"m0": MartSide(columns, 1, "hash")}) for _ in range(2))
    assert _diff(one, other).what == "same"
    with pytest.raises(StorageError):
        _diff(one, Side(tmp_path / "none.duckdb", {"m0": MartSide(columns, 1, "another")}))


def test_a_mart_that_only_one_side_has_is_added_or_removed(tmp_path: Path) -> None:
    one = Side(tmp_path / "none.duckdb", {"a": MartSide({}, 1, ""), "b": MartSide({}, 2, "")})
    other = Side(tmp_path / "none.duckdb", {"b": MartSide({}, 2, ""), "c": MartSide({}, 3, "")})
    found = compare(one, other, keys={}, hidden={}, scratch=tmp_path)
    assert [(each.mart, each.what, each.before, each.after) for each in found] == [
        ("a", "removed", 1, 0),
        ("b", "same", 2, 2),
        ("c", "added", 0, 3),
    ]


def test_what_a_killed_comparison_left_is_removed(tmp_path: Path) -> None:
    left = tmp_path / ".comparing-left"
    left.mkdir()
    (left / "duckdb_temp_storage-0.tmp").write_bytes(b"much")
    columns = {"id": "INTEGER"}
    _diff(_side(tmp_path, "before", columns, [(1,)]), _side(tmp_path, "after", columns, [(2,)]))
    assert not left.exists()
