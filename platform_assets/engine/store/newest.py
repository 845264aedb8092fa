"""The newest rows of a table, as people look at them: few, short, as text, without personal data.

Belongs here: reading them, bounded whatever the table holds. Elsewhere: those of marts (marts.py), rejected rows
(quarantine.py), which columns of a mart are personal (project/personal.py), how rows are shown (orchestration, cli).
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

import duckdb

from platform_assets.engine.contract.model import columns_of
from platform_assets.engine.contract.shown import MASK, shown_of
from platform_assets.engine.feed.feed import Feed
from platform_assets.engine.store.sql import quote

_ROWS: Final = 10
_COLUMNS: Final = 20
_CELL: Final = 60  # characters


@dataclass(frozen=True)
class Rows:
    """Rows by their columns, newest first; `left_out` columns are not shown, for there are too many."""

    columns: Sequence[str] = ()
    rows: Sequence[Sequence[str | None]] = ()
    left_out: int = 0


def newest_of_raw(connection: duckdb.DuckDBPyConnection, feed: Feed, deliveries: Collection[int]) -> Rows:
    """The last rows of these deliveries, by their lines."""
    shown = shown_of(feed.contract)
    columns = [column.name for column in columns_of(feed.contract)]
    wanted = ", ".join(str(int(each)) for each in deliveries) or "NULL"
    # Rows lie in the order in which deliveries came: all other blocks are passed over.
    end = f"WHERE _delivery_id IN ({wanted}) ORDER BY _delivery_id DESC, _line DESC"
    return read_newest(connection, f"raw.{quote(feed.name)}", columns, [c for c in columns if shown.holds(c)], end)


def read_newest(
    connection: duckdb.DuckDBPyConnection, table: str, columns: Sequence[str], hidden: Collection[str], end: str
) -> Rows:
    """The first rows of the table by `end`, its order. hidden: columns whose values do not leave the database."""
    first = columns[:_COLUMNS]
    chosen = [
        f"CASE WHEN {quote(name)} IS NOT NULL THEN '{MASK}' END" if name in hidden else _short(name) for name in first
    ]
    rows = connection.execute(f"SELECT {', '.join(chosen)} FROM {table} {end} LIMIT {_ROWS}").fetchall()
    return Rows(first, rows, len(columns) - len(first))


def _short(name: str) -> str:
    text = f"{quote(name)}::VARCHAR"
    return f"CASE WHEN length({text}) > {_CELL} THEN left({text}, {_CELL}) || '…' ELSE {text} END"
