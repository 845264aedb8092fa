"""The tables of a feed: raw.<feed> and quarantine.<feed>.

Belongs here: their shape, and rows going in and out by delivery. Does not: receipts (ledger.py).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time
from typing import Any, Final

import duckdb
import polars as pl

from platform_assets.engine.contract.model import LINEAGE, columns_of, folded
from platform_assets.engine.feed.feed import Feed
from platform_assets.engine.store.warehouse import execute_over, quote
from platform_assets.errors import ContractError

_QUARANTINE: Final = """
CREATE TABLE IF NOT EXISTS {table} (
    _delivery_id BIGINT, _line BIGINT,
    reasons STRUCT("column" VARCHAR, "rule" VARCHAR, "value" VARCHAR)[], record JSON
)
"""
# Rows are counted by the hour; rows of later than the delivery was taken in say nothing of what it covers. What is left
# out at each end is a share of the busiest day: one stray row must not speak for a day, and of a history of years the
# last day must not be lost.
_BOUNDS: Final = """
WITH hours AS (
    SELECT _delivery_id AS id, epoch_us({event}) // 3600000000 AS hour, count(*) AS n,
        min({event}) AS earliest, max({event}) AS latest
    FROM {raw} WHERE _delivery_id BETWEEN $1 AND $2 AND {event} IS NOT NULL GROUP BY ALL
), trusted AS (
    SELECT id, hour, earliest, least(latest, taken_in) AS latest, n,
        sum(n) OVER (PARTITION BY id ORDER BY hour) AS upto, sum(n) OVER (PARTITION BY id) AS rows
    FROM hours JOIN arrived USING (id) WHERE earliest <= taken_in
), stray AS (
    SELECT id, CASE WHEN max(n) < 10 THEN 0 ELSE greatest(1, 0.02 * max(n)) END AS most
    FROM (SELECT id, sum(n) AS n FROM trusted GROUP BY id, hour // 24) GROUP BY id
), covered AS (
    SELECT id, min(earliest) FILTER (upto > most) AS covers_from,
        max(latest) FILTER (upto - n < rows - most) AS covers_to
    FROM trusted JOIN stray USING (id) GROUP BY id
)
SELECT id, min(earliest), max(latest), any_value(covers_from), any_value(covers_to)
FROM hours JOIN arrived USING (id) LEFT JOIN covered USING (id) GROUP BY id
"""
_UNACCOUNTED: Final = """
WITH stored AS (
    SELECT _delivery_id AS id, sum(r) AS r, sum(q) AS q FROM (
        SELECT _delivery_id, count(*) AS r, 0 AS q FROM {raw} WHERE _delivery_id > $2 GROUP BY ALL
        UNION ALL SELECT _delivery_id, 0, count(*) FROM {quarantine} WHERE _delivery_id > $2 GROUP BY ALL
    ) GROUP BY ALL
), told AS (
    SELECT delivery_id AS id, accepted AS r, rejected - expired AS q FROM ledger.deliveries
    WHERE feed = $1 AND delivery_id > $2 AND status = 'accepted'
)
SELECT id FROM stored FULL JOIN told USING (id)
WHERE coalesce(stored.r, 0) <> coalesce(told.r, 0) OR coalesce(stored.q, 0) <> coalesce(told.q, 0) ORDER BY id DESC
"""


@dataclass(frozen=True)
class Bounds:
    """The times of a delivery's rows: of all that were accepted, and what they cover without stray ones at the ends, to
    the hour; nothing where all are later than it was taken in."""

    event_min: datetime
    event_max: datetime
    covers_from: datetime | None
    covers_to: datetime | None


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
        """Create the tables, or add columns the contract has gained; columns that are there keep their types."""
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
        # What arrived undeclared is spelled as it was delivered first.
        spelled = {folded(name): name for name in there}
        for name, sql_type in columns.items():
            if folded(name) not in spelled:
                self.add_column(name, sql_type)
            elif name not in there:
                self._connection.execute(
                    f"ALTER TABLE {self.raw} RENAME COLUMN {quote(spelled[folded(name)])} TO {quote(name)}"
                )

    def refuse_retyped(self) -> None:
        """Raise ContractError where a column has another type than raw holds: no row can go in until a replay."""
        for name, was, is_now in self.retyped():
            raise ContractError(
                f"{self._feed.contract.__name__}.{name}",
                f"is {is_now} now, but {self.raw} holds {was}",
                f"Give the column its old type, or make the table anew from the archive: "
                f"platform replay {self._feed.name}.",
            )

    def retyped(self) -> list[tuple[str, str, str]]:
        """Columns that the contract has given another type than raw has: name, type in raw, type now."""
        there = self.types()
        return [
            (column.name, there[column.name], column.sql_type)
            for column in columns_of(self._feed.contract)
            if there.get(column.name, column.sql_type) != column.sql_type
        ]

    def drop(self) -> None:
        """Remove both tables; only for a replay, in whose transaction they are made anew."""
        for table in (self.raw, self.quarantine):
            self._connection.execute(f"DROP TABLE IF EXISTS {table}")

    def types(self) -> dict[str, str]:
        """The columns raw has now, with their SQL types; none where there is no such table yet."""
        try:
            rows = self._connection.execute(f"DESCRIBE {self.raw}").fetchall()
        except duckdb.CatalogException:
            return {}
        return {name: sql_type for name, sql_type, *_ in rows}

    def undeclared(self) -> dict[str, str]:
        """The columns that raw has and the contract does not, with their SQL types."""
        declared = {column.name for column in columns_of(self._feed.contract)} | set(LINEAGE)
        return {name: sql_type for name, sql_type in self.types().items() if name.lower() not in declared}

    def add_column(self, name: str, sql_type: str) -> None:
        """Add a nullable column to raw."""
        self._connection.execute(f"ALTER TABLE {self.raw} ADD COLUMN {quote(name)} {sql_type}")

    def insert(self, rows: pl.DataFrame) -> None:
        """Append accepted rows."""
        self._append(self.raw, rows)

    def insert_rejected(self, rows: pl.DataFrame) -> None:
        """Append rejected rows (`_delivery_id`, `_line`, `reasons`, `record`)."""
        self._append(self.quarantine, rows.select("_delivery_id", "_line", "reasons", "record"))

    def remove(self, deliveries: Sequence[int]) -> None:
        """Take the rows of deliveries out of both tables."""
        if not deliveries:
            return
        for table in (self.raw, self.quarantine):
            # The bounds let whole row groups be skipped.
            self._connection.execute(
                f"DELETE FROM {table} WHERE _delivery_id BETWEEN $1 AND $2 "
                "AND list_contains($3::BIGINT[], _delivery_id)",
                [min(deliveries), max(deliveries), list(deliveries)],
            )

    def remove_lines(self, lines: pl.DataFrame) -> tuple[dict[int, int], dict[int, int]]:
        """Take single rows (`_delivery_id`, `_line`) out; how many of each delivery left raw, and quarantine."""
        left = []
        for table in (self.raw, self.quarantine):
            rows = execute_over(
                self._connection,
                lines,
                f"DELETE FROM {table} t USING arrived a WHERE t._delivery_id = a._delivery_id AND t._line = a._line "
                "RETURNING t._delivery_id",
            ).fetchall()
            left.append(dict(Counter(delivery for (delivery,) in rows)))
        return left[0], left[1]

    def bounds(self, deliveries: Mapping[int, datetime]) -> dict[int, Bounds]:
        """What times the deliveries' (id -> when they were taken in) accepted rows are of; none where none has one."""
        if self._feed.event_time is None or not deliveries:
            return {}
        event = f"CAST({quote(self._feed.event_time)} AS TIMESTAMPTZ)"
        until = list(deliveries.values())
        if self._feed.dated:  # dates are stored as midnights of UTC, and counted by the feed's own calendar
            days = [moment.astimezone(self._feed.delivered.zone).date() for moment in until]
            until = [datetime.combine(day, time(), UTC) for day in days]
        taken_in = pl.DataFrame(
            {"id": list(deliveries), "taken_in": until},
            schema={"id": pl.Int64, "taken_in": pl.Datetime("us", "UTC")},
        )
        rows = execute_over(
            self._connection, taken_in, _BOUNDS.format(event=event, raw=self.raw), [min(deliveries), max(deliveries)]
        ).fetchall()
        return {delivery: Bounds(*times) for delivery, *times in rows}

    def row_counts(self) -> dict[int, tuple[int, int]]:
        """Rows in raw and in quarantine by delivery."""
        rows = self._connection.execute(
            f"SELECT _delivery_id, sum(r)::BIGINT, sum(q)::BIGINT FROM ("
            f"SELECT _delivery_id, count(*) r, 0 q FROM {self.raw} GROUP BY ALL UNION ALL "
            f"SELECT _delivery_id, 0, count(*) FROM {self.quarantine} GROUP BY ALL) GROUP BY ALL"
        ).fetchall()
        return {delivery: (raw, quarantined) for delivery, raw, quarantined in rows}

    def unaccounted(self, newest: int) -> list[int]:
        """Deliveries of which raw and quarantine do not hold just the rows that the ledger tells of, newest first.

        The `newest` deliveries are counted one by one, all that came before them together; only where that does not add
        up is everything counted.
        """
        (row,) = self._connection.execute(
            f"SELECT (SELECT count(*) FROM {self.raw}), (SELECT count(*) FROM {self.quarantine}), "
            "coalesce(sum(accepted), 0), coalesce(sum(rejected - expired), 0), "
            "coalesce((SELECT delivery_id FROM ledger.deliveries WHERE feed = $1 ORDER BY 1 DESC LIMIT 1 OFFSET $2), "
            "-1) "
            "FROM ledger.deliveries WHERE feed = $1 AND status = 'accepted'",
            [self._feed.name, newest],
        ).fetchall()
        after = row[4] if row[:2] == row[2:4] else -1
        rows = self._connection.execute(
            _UNACCOUNTED.format(raw=self.raw, quarantine=self.quarantine),
            [
                self._feed.name,
                after,
            ],
        ).fetchall()
        return [delivery for (delivery,) in rows]

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

    def reasons_of(self, deliveries: Sequence[int]) -> dict[tuple[str | None, str], dict[int, int]]:
        """Rows in quarantine by (column, rule) and delivery; rules that any other delivery broke with no rows."""
        rows = self._connection.execute(
            f"SELECT r.column, r.rule, _delivery_id, count(*) FROM (SELECT _delivery_id, unnest(reasons) AS r "
            f"FROM {self.quarantine}) GROUP BY ALL ORDER BY ALL"
        ).fetchall()
        wanted = set(deliveries)
        found: dict[tuple[str | None, str], dict[int, int]] = {}
        for column, rule, delivery, count in rows:
            by_delivery = found.setdefault((column, rule), {})
            if delivery in wanted:
                by_delivery[delivery] = count
        return found

    def _append(self, table: str, rows: pl.DataFrame) -> None:
        if not rows.height:
            return
        columns = ", ".join(quote(name) for name in rows.columns)
        execute_over(self._connection, rows, f"INSERT INTO {table} ({columns}) SELECT {columns} FROM arrived")
