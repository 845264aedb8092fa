"""The tables of a feed: raw.<feed> and quarantine.<feed>.

Belongs here: their shape, and rows going in and out by delivery. Does not: receipts (ledger.py).
"""

from typing import Any, Final

import duckdb
import polars as pl

from platform_assets.engine.contract import columns_of
from platform_assets.engine.feed import Feed
from platform_assets.engine.warehouse import execute_over, quote
from platform_assets.errors import ContractError

_QUARANTINE: Final = """
CREATE TABLE IF NOT EXISTS {table} (
    _delivery_id BIGINT, _line BIGINT,
    reasons STRUCT("column" VARCHAR, "rule" VARCHAR, "value" VARCHAR)[], record JSON
)
"""


class FeedTables:
    """raw.<feed>: accepted rows, typed by the contract, with `_delivery_id` and `_line` (and `_extra`).

    quarantine.<feed>: rejected rows; `record` is a JSON object by delivered header (a JSON string where the
    line could not be taken apart), `reasons` every broken rule, PII masked.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, feed: Feed) -> None:
        self._connection = connection
        self._feed = feed
        self.raw = f"raw.{quote(feed.name)}"
        self.quarantine = f"quarantine.{quote(feed.name)}"

    def prepare(self) -> None:
        """Create the tables, or add columns the contract has gained; a changed type is an error."""
        self._connection.execute("CREATE SCHEMA IF NOT EXISTS raw")
        self._connection.execute("CREATE SCHEMA IF NOT EXISTS quarantine")
        self._connection.execute(_QUARANTINE.format(table=self.quarantine))
        columns = {column.name: column.sql_type for column in columns_of(self._feed.contract)}
        columns |= {"_delivery_id": "BIGINT", "_line": "BIGINT"}
        if self._feed.on_drift == "rescue":
            columns["_extra"] = "JSON"
        declared = ", ".join(f"{quote(name)} {sql_type}" for name, sql_type in columns.items())
        self._connection.execute(f"CREATE TABLE IF NOT EXISTS {self.raw} ({declared})")
        there = self.types()
        for name, sql_type in columns.items():
            if name not in there:
                self.add_column(name, sql_type)
            elif there[name] != sql_type:
                raise ContractError(
                    f"{self._feed.contract.__name__}.{name}",
                    f"is {sql_type} now, but {self.raw} holds {there[name]}",
                    f"Give the column its old type, or drop {self.raw} and offer the deliveries again.",
                )

    def types(self) -> dict[str, str]:
        """The columns raw has now, with their SQL types."""
        rows = self._connection.execute(
            "SELECT column_name, data_type FROM duckdb_columns() WHERE schema_name = 'raw' AND table_name = ? "
            "AND database_name = current_database()",
            [self._feed.name],
        ).fetchall()
        return dict(rows)

    def add_column(self, name: str, sql_type: str) -> None:
        """Add a nullable column to raw."""
        self._connection.execute(f"ALTER TABLE {self.raw} ADD COLUMN {quote(name)} {sql_type}")

    def insert(self, rows: pl.DataFrame) -> None:
        """Append accepted rows."""
        self._append(self.raw, rows)

    def insert_rejected(self, rows: pl.DataFrame) -> None:
        """Append rejected rows (`_delivery_id`, `_line`, `reasons`, `record`)."""
        self._append(self.quarantine, rows.select("_delivery_id", "_line", "reasons", "record"))

    def remove(self, delivery_id: int) -> None:
        """Take the rows of a delivery out of both tables."""
        for table in (self.raw, self.quarantine):
            self._connection.execute(f"DELETE FROM {table} WHERE _delivery_id = ?", [delivery_id])

    def row_counts(self) -> dict[int, tuple[int, int]]:
        """Rows in raw and in quarantine by delivery."""
        rows = self._connection.execute(
            f"SELECT _delivery_id, sum(r)::BIGINT, sum(q)::BIGINT FROM ("
            f"SELECT _delivery_id, count(*) r, 0 q FROM {self.raw} GROUP BY ALL UNION ALL "
            f"SELECT _delivery_id, 0, count(*) FROM {self.quarantine} GROUP BY ALL) GROUP BY ALL"
        ).fetchall()
        return {delivery: (raw, quarantined) for delivery, raw, quarantined in rows}

    def rejected(self, limit: int) -> list[dict[str, Any]]:
        """Rejected rows, newest delivery first: delivery, file, line and reasons (PII masked)."""
        rows = self._connection.execute(
            f"SELECT q._delivery_id AS delivery, d.slot AS file, q._line AS line, q.reasons FROM {self.quarantine} q "
            "JOIN ledger.deliveries d ON d.delivery_id = q._delivery_id ORDER BY 1 DESC, 3 LIMIT ?",
            [limit],
        ).fetchall()
        return [dict(zip(("delivery", "file", "line", "reasons"), row, strict=True)) for row in rows]

    def reasons(self) -> list[tuple[str | None, str, int]]:
        """Broken rules in quarantine: column, rule, rows; most frequent first."""
        return self._connection.execute(
            "SELECT reason['column'], reason['rule'], count(*) FROM "
            f"(SELECT unnest(reasons) AS reason FROM {self.quarantine}) GROUP BY ALL ORDER BY 3 DESC, 1, 2"
        ).fetchall()

    def _append(self, table: str, rows: pl.DataFrame) -> None:
        if not rows.height:
            return
        columns = ", ".join(quote(name) for name in rows.columns)
        execute_over(self._connection, rows, f"INSERT INTO {table} ({columns}) SELECT {columns} FROM arrived")
