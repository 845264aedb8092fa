"""The tables of a feed: raw.<feed> and quarantine.<feed>.

Belongs here: their shape, rows going in and out by delivery, what raw holds. Elsewhere: receipts (ledger.py), reading
the quarantine (quarantine.py), what values are usually like (profiles.py).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Final

import duckdb
import polars as pl

from platform_assets.engine.contract.model import LINEAGE, columns_of, folded
from platform_assets.engine.feed.feed import Feed
from platform_assets.engine.store.copies import Copies
from platform_assets.engine.store.sql import arrived, column_types, execute_over, quote
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
), counted AS (
    SELECT delivery_id AS id, accepted AS r, rejected - expired AS q FROM ledger.deliveries
    WHERE feed = $1 AND delivery_id > $2 AND status = 'accepted'
)
SELECT id FROM stored FULL JOIN counted USING (id)
WHERE coalesce(stored.r, 0) <> coalesce(counted.r, 0) OR coalesce(stored.q, 0) <> coalesce(counted.q, 0)
ORDER BY id DESC
"""
# The order of the dates in the names, where there are any, then of slots, not of ids: a correction keeps its slot's
# place. What fills no slot, but counts all the same (an appended restatement), is where it came.
_KNOWN_KEYS: Final = """
WITH new AS (
    SELECT DISTINCT {key} FROM {raw} WHERE _delivery_id BETWEEN $first AND $last
    AND list_contains($deliveries, _delivery_id)
), held AS (
    SELECT {key}, {day} AS day, _delivery_id, _line FROM {raw} SEMI JOIN new USING ({key})
), places AS (
    SELECT filled_by AS _delivery_id, min(place) AS place FROM ledger.slots WHERE feed = $feed GROUP BY ALL
)
SELECT _delivery_id, _line, first_value(_delivery_id) OVER ranked AS of, first_value(_line) OVER ranked AS of_line
FROM held LEFT JOIN places USING (_delivery_id)
WINDOW ranked AS (
    PARTITION BY {key}
    ORDER BY day {order} {unknown}, coalesce(place, _delivery_id) {order}, _delivery_id {order}, _line {order}
)
QUALIFY row_number() OVER ranked > 1
"""
_KNOWN_KEYS_WITHIN: Final = """
SELECT _delivery_id, _line, _delivery_id AS of, first_value(_line) OVER ranked AS of_line
FROM {raw} WHERE _delivery_id BETWEEN $first AND $last AND list_contains($deliveries, _delivery_id) AND {known}
WINDOW ranked AS (PARTITION BY _delivery_id, {key} ORDER BY _line {order})
QUALIFY row_number() OVER ranked > 1
"""


@dataclass(frozen=True)
class ColumnFigures:
    """A column of raw over all rows. lowest, highest: as text; None where they are not to be shown."""

    rows: int
    nulls: int
    lowest: str | None
    highest: str | None


@dataclass(frozen=True)
class Bounds:
    """The times of a delivery's rows: of all that were accepted, and what they cover without stray ones at the ends, to
    the hour; nothing where all are later than it was taken in."""

    event_min: datetime
    event_max: datetime
    covers_from: datetime | None
    covers_to: datetime | None


class FeedTables:
    """raw.<feed>: accepted rows, typed by the contract, with `_delivery_id` and `_line` (`_file_date`, `_extra`).

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
        if self._feed.name_date is not None:
            columns["_file_date"] = "DATE"
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
        return column_types(self._connection, "raw", self._feed.name)

    def undeclared(self) -> dict[str, str]:
        """The columns that raw has and the contract does not, with their SQL types."""
        declared = {column.name for column in columns_of(self._feed.contract)} | set(LINEAGE)
        return {name: sql_type for name, sql_type in self.types().items() if name.lower() not in declared}

    def add_column(self, name: str, sql_type: str) -> None:
        """Add a nullable column to raw."""
        self._connection.execute(f"ALTER TABLE {self.raw} ADD COLUMN {quote(name)} {sql_type}")

    def insert(self, rows: pl.DataFrame) -> None:
        """Append accepted rows."""
        # By one thread DuckDB stores rows in whole row groups; by several it leaves pieces, to be put together at the
        # next checkpoint for half as much again. The other core reads and validates meanwhile.
        self._connection.execute("SET threads = 1")
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

    def redate(self, days: Mapping[int, date | None]) -> None:
        """Give the rows of deliveries the date of another name."""
        if not days:
            return
        schema = {"id": pl.Int64, "day": pl.Date}
        execute_over(
            self._connection,
            pl.DataFrame({"id": list(days), "day": list(days.values())}, schema=schema),
            f"UPDATE {self.raw} SET _file_date = a.day FROM arrived a WHERE _delivery_id = a.id",
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
            )
            left.append(dict(Counter(delivery for (delivery,) in rows)))
        return left[0], left[1]

    def holding(self, lines: Sequence[tuple[int, int]]) -> tuple[int, int]:
        """How many of these rows (delivery, line) are in raw, and in quarantine."""
        schema = {"_delivery_id": pl.Int64, "_line": pl.Int64}
        rows = pl.DataFrame(list(lines), schema=schema, orient="row")
        held = []
        for table in (self.raw, self.quarantine):
            sql = f"SELECT count(*) FROM {table} SEMI JOIN arrived USING (_delivery_id, _line)"
            ((count,),) = execute_over(self._connection, rows, sql)
            held.append(int(count))
        return held[0], held[1]

    def bounds(self, deliveries: Mapping[int, datetime]) -> dict[int, Bounds]:
        """What times the deliveries' (id -> when they were taken in) accepted rows are of; none where none has one."""
        if self._feed.event_time is None or not deliveries:
            return {}
        event = f"CAST({quote(self._feed.event_time)} AS TIMESTAMPTZ)"
        until = list(deliveries.values())
        if self._feed.event_is_date:  # dates are stored as midnights of UTC, and counted by the feed's own calendar
            days = [moment.astimezone(self._feed.delivered.zone).date() for moment in until]
            until = [datetime.combine(day, time(), UTC) for day in days]
        taken_in = pl.DataFrame(
            {"id": list(deliveries), "taken_in": until},
            schema={"id": pl.Int64, "taken_in": pl.Datetime("us", "UTC")},
        )
        rows = execute_over(
            self._connection, taken_in, _BOUNDS.format(event=event, raw=self.raw), [min(deliveries), max(deliveries)]
        )
        return {delivery: Bounds(*times) for delivery, *times in rows}

    def stored(self, delivery: int, lines: pl.DataFrame) -> list[pl.DataFrame]:
        """The rows of the delivery at these `lines` (`hash`, `_line`), with their hashes: those in raw, and in
        quarantine."""
        found = []
        for table in (self.raw, self.quarantine):
            sql = (
                f"SELECT arrived.hash, stored.* FROM {table} stored JOIN arrived USING (_line) "
                "WHERE stored._delivery_id = ? ORDER BY _line"
            )
            with arrived(self._connection, lines):
                rows: pl.DataFrame = self._connection.sql(sql, params=[delivery]).pl()
            found.append(rows)
        return found

    def copies(self) -> Copies:
        """Finds copies among the rows of one long delivery."""
        return Copies(self._connection, self.stored)

    def known_keys(self, deliveries: Sequence[int]) -> pl.DataFrame:
        """Rows of raw to be left out for another with the same key: `_delivery_id`, `_line`, and for which: `of`,
        `of_line`.

        Only keys that `deliveries` hold are looked at. A key with a NULL in it is no key.
        """
        within = self._feed.key_within == "delivery"
        key = [quote(name) for name in self._feed.key]
        sql = (_KNOWN_KEYS_WITHIN if within else _KNOWN_KEYS).format(
            key=", ".join(key),
            raw=self.raw,
            order="ASC" if self._feed.on_known_key == "reject" else "DESC",
            unknown="NULLS FIRST" if self._feed.on_known_key == "reject" else "NULLS LAST",
            day="_file_date" if self._feed.name_date else "NULL::DATE",
            known=" AND ".join(f"{name} IS NOT NULL" for name in key),
        )
        chosen = {"first": min(deliveries), "last": max(deliveries), "deliveries": list(deliveries)}
        chosen |= {} if within else {"feed": self._feed.name}
        found: pl.DataFrame = self._connection.sql(sql, params=chosen).pl()
        return found

    def expire_rejected(self, before: datetime, changed: int) -> None:
        """Remove rejected rows of deliveries that were committed `before`; their receipts say so."""
        old = "_delivery_id IN (SELECT delivery_id FROM ledger.deliveries WHERE feed = $1 AND committed_at < $2)"
        self._connection.execute(
            "UPDATE ledger.deliveries SET expired = expired + gone.rows, changed = $3 "
            f"FROM (SELECT _delivery_id, count(*) AS rows FROM {self.quarantine} WHERE {old} GROUP BY ALL) gone "
            "WHERE delivery_id = gone._delivery_id",
            [self._feed.name, before, changed],
        )
        self._connection.execute(f"DELETE FROM {self.quarantine} WHERE {old}", [self._feed.name, before])

    def unaccounted(self, newest: int) -> list[int]:
        """Deliveries of which raw and quarantine do not hold just the rows that the ledger counts, newest first.

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

    # ---- what raw holds

    def figures(self, columns: Mapping[str, bool]) -> dict[str, ColumnFigures]:
        """Rows, NULLs and bounds of these columns, in one pass; of each, whether its bounds may be shown."""
        asked = ["count(*)"]
        for column, shown in columns.items():
            name = quote(column)
            bounds = (f"min({name})::VARCHAR", f"max({name})::VARCHAR") if shown else ("NULL", "NULL")
            asked += [f"count({name})", *bounds]
        ((rows, *found),) = self._connection.execute(f"SELECT {', '.join(asked)} FROM {self.raw}").fetchall()
        return {
            column: ColumnFigures(rows, rows - found[at], found[at + 1], found[at + 2])
            for column, at in zip(columns, range(0, len(found), 3), strict=True)
        }

    def sample(self, columns: Sequence[str], most: int) -> pl.DataFrame:
        """At most so many rows spread over all of raw, the same each time."""
        ((rows,),) = self._connection.execute(f"SELECT count(*) FROM {self.raw}").fetchall()
        every = max(1, -(-rows // most))
        chosen = ", ".join(map(quote, columns))
        found: pl.DataFrame = self._connection.sql(
            f"SELECT {chosen} FROM {self.raw} WHERE hash(_delivery_id, _line) % {every} = 0 LIMIT {int(most)}"
        ).pl()
        return found

    def words(self, column: str, most: int) -> set[str]:
        """Different values of a column as text, at most so many."""
        rows = self._connection.execute(
            f"SELECT DISTINCT {quote(column)}::VARCHAR FROM {self.raw} LIMIT {int(most)}"
        ).fetchall()
        return {word for (word,) in rows}

    def rescued(self, header: str, most: int) -> pl.Series:
        """Values of an undeclared column that `_extra` keeps, as text; at most so many."""
        path = "/" + header.replace("~", "~0").replace("/", "~1")
        found: pl.DataFrame = self._connection.sql(
            f"SELECT json_extract_string(_extra, $path) AS value FROM {self.raw} "
            f"WHERE json_exists(_extra, $path) LIMIT {int(most)}",
            params={"path": path},
        ).pl()
        return found["value"]

    def _append(self, table: str, rows: pl.DataFrame) -> None:
        if not rows.height:
            return
        columns = ", ".join(quote(name) for name in rows.columns)
        execute_over(self._connection, rows, f"INSERT INTO {table} ({columns}) SELECT {columns} FROM arrived")
