"""A table as a file of a release: what a reader sees through the view is what the table held, value and type, or the
table is refused by name. Its hash changes with every value, and with nothing else."""

import random
import tempfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from machine import examples
from sql_types import LEAVES

from platform_assets.engine.store import exact
from platform_assets.engine.store.sql import quote
from platform_assets.errors import ReleaseRefused

REFUSED: Final = {
    "UNION(n INTEGER, t VARCHAR)": "1::INTEGER",
    "STRUCT(u UNION(n INTEGER, t VARCHAR)[])": "NULL",
    "VARIANT": "1",
    "GEOMETRY": "NULL",
}


def leaf() -> st.SearchStrategy[tuple[str, str]]:
    """A type, and one of its values as SQL writes it."""
    return st.sampled_from(sorted(LEAVES)).flatmap(
        lambda kind: st.sampled_from(["NULL", *LEAVES[kind]]).map(lambda value: (kind, f"CAST({value} AS {kind})"))
    )


def nested(inner: st.SearchStrategy[tuple[str, str]]) -> st.SearchStrategy[tuple[str, str]]:
    def of(each: tuple[str, str]) -> st.SearchStrategy[tuple[str, str]]:
        kind, value = each
        made = {
            f"{kind}[]": ["NULL", "[]", f"[{value}]", f"[NULL, {value}]"],
            f"{kind}[2]": ["NULL", f"[{value}, NULL]"],
            f'STRUCT("a b" {kind}, "it\'s" INTEGER)': [
                "NULL", f"{{'a b': {value}, 'it''s': 1}}", f"{{'a b': {value}, 'it''s': NULL}}",
                "{'a b': NULL, 'it''s': NULL}",
            ],
            f"MAP(VARCHAR, {kind})": ["NULL", "MAP {}", f"MAP {{'k': {value}, '': NULL}}"],
            f"MAP(BIGINT, {kind})": [f"MAP {{1: {value}}}"],
        }  # fmt: skip
        return st.sampled_from(sorted(made)).flatmap(
            lambda kind: st.sampled_from(made[kind]).map(lambda value: (kind, f"CAST({value} AS {kind})"))
        )

    return inner.flatmap(of)


COLUMN: Final = st.one_of(leaf(), nested(leaf()), nested(nested(leaf())))


def kept(folder: Path, sql: str) -> tuple[list[Any], list[Any]]:
    """What a query gives, and what a reader of its file does: names, types and values as text, with the rows' hash."""
    path, views = folder / "t.parquet", folder / "views.duckdb"
    with closing(duckdb.connect()) as connection:
        connection.execute(f"CREATE TABLE t AS {sql}")
        columns = exact.columns_of(connection, "t")
        exact.write(connection, exact.selected(columns, "t", "t"), path, "t")
        exact.write_views(connection, views, {"t": (path, {name: str(kind) for name, kind in columns.items()})}, {}, {})
        before = told(connection)
    with closing(duckdb.connect(str(views), read_only=True)) as reader:
        return before, told(reader)


def told(connection: duckdb.DuckDBPyConnection) -> list[Any]:
    described = connection.execute("SELECT column_name, column_type FROM (DESCRIBE t)").fetchall()
    names = [quote(name) for name, _ in described]
    texts = ", ".join(f"CAST({name} AS VARCHAR)" for name in names)
    rows = connection.execute(f"SELECT {texts} FROM t").fetchall()
    python = [repr(row) for row in connection.execute("FROM t").fetchall()] if _is_for_python(described) else []
    return [described, rows, python, exact.rows_and_content(connection, "t")]


def _is_for_python(described: list[tuple[Any, ...]]) -> bool:
    """Whether Python's own types can hold it."""
    return not any(
        each in kind for _, kind in described for each in ("TIME_NS", "BIGNUM", "TIME WITH", "DATE", "TIMESTAMP")
    )


@pytest.mark.parametrize("kind", sorted(LEAVES))
def test_every_type_is_read_as_it_was_written(tmp_path: Path, kind: str) -> None:
    rows = " UNION ALL ".join(f"SELECT CAST({value} AS {kind}) AS v" for value in (*LEAVES[kind], "NULL"))
    before, after = kept(tmp_path, rows)
    assert after == before
    assert after[0] == [("v", str(duckdb.sqltype(kind)))]


@given(columns=st.lists(COLUMN, min_size=1, max_size=4), empty=st.booleans())
@settings(max_examples=examples(60), deadline=None)
def test_whatever_is_nested_is_read_as_it_was_written(columns: list[tuple[str, str]], empty: bool) -> None:
    names = [quote(name) for name in ('a.b/c "d"', "select", "é", "x y")]
    chosen = ", ".join(f"{value} AS {name}" for (_, value), name in zip(columns, names, strict=False))
    with tempfile.TemporaryDirectory() as folder:
        before, after = kept(Path(folder), f"SELECT {chosen}{' LIMIT 0' if empty else ''}")
    assert after == before


@pytest.mark.parametrize("kind", sorted(REFUSED))
def test_what_cannot_be_kept_is_refused_by_name(tmp_path: Path, kind: str) -> None:
    with pytest.raises(ReleaseRefused, match=r"mart t cannot be kept exactly: column odd has"):
        kept(tmp_path, f"SELECT CAST({REFUSED[kind]} AS {kind}) AS odd")
    assert list(tmp_path.iterdir()) == []


# ---- the hash of rows


def content(rows: Sequence[str]) -> tuple[int, str]:
    with closing(duckdb.connect()) as connection:
        return exact.rows_and_content(connection, f"({' UNION ALL '.join(f'SELECT {each}' for each in rows)})")


@given(
    rows=st.lists(st.tuples(st.integers(0, 5), st.sampled_from(["a", "b", "", None])), min_size=1), seed=st.integers()
)
@settings(max_examples=examples(60), deadline=None)
def test_the_order_of_rows_does_not_matter_and_all_else_does(rows: list[tuple[int, str | None]], seed: int) -> None:
    texts = [f"{n} AS n, {'NULL' if t is None else repr(t)}::VARCHAR AS t" for n, t in rows]
    shuffled = texts.copy()
    random.Random(seed).shuffle(shuffled)
    assert content(shuffled) == content(texts)
    assert content([*texts, texts[0]]) != content(texts)
    if texts[0] != texts[-1]:
        assert content([*texts[1:], texts[-1]]) != content(texts)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (["0.0::DOUBLE AS v"], ["-0.0::DOUBLE AS v"]),
        (["INTERVAL 1 MONTH AS v"], ["INTERVAL 30 DAY AS v"]),
        (["'12:00:00+02'::TIMETZ AS v"], ["'10:00:00+00'::TIMETZ AS v"]),
        (["[]::INT[] AS v"], ["NULL::INT[] AS v"]),
        (["[NULL]::INT[] AS v"], ["[]::INT[] AS v"]),
        (["['a, b'] AS v"], ["['a', 'b'] AS v"]),
        (["['NULL'] AS v"], ["[NULL]::VARCHAR[] AS v"]),
        (["{'a': NULL::INT} AS v"], ["NULL::STRUCT(a INT) AS v"]),
        (["'1' AS a, '2' AS b", "'3' AS a, '4' AS b"], ["'1' AS a, '4' AS b", "'3' AS a, '2' AS b"]),
        (["1 AS a, 2 AS b"], ["2 AS a, 1 AS b"]),
        (["'x' AS v", "'x' AS v"], ["'y' AS v", "'y' AS v"]),
        (["NULL::INT AS v"], ["0 AS v"]),
    ],
)
def test_what_looks_alike_has_another_hash(one: list[str], other: list[str]) -> None:
    assert content(one) != content(other)


def test_rows_that_exchange_a_value_have_another_hash() -> None:
    """Among many pairs, since a weak hash would miss some of them."""
    with closing(duckdb.connect()) as connection:
        connection.execute("CREATE TABLE t AS SELECT i AS a, hash(i) % 1000 AS b FROM range(2000) r(i)")
        whole = exact.rows_and_content(connection, "t")
        seen = {whole}
        for other in range(1, 40):
            connection.execute(
                "CREATE OR REPLACE TEMP TABLE u AS "
                "SELECT CASE a WHEN 0 THEN $1 WHEN $1 THEN 0 ELSE a END AS a, b FROM t",
                [other],
            )
            asked = "SELECT (SELECT b FROM t WHERE a = 0) <> (SELECT b FROM t WHERE a = $1)"
            changed = connection.execute(asked, [other])
            assert (exact.rows_and_content(connection, "u") in seen) is (changed.fetchone() == (False,))
