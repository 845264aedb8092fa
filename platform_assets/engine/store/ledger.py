"""The ledger: one receipt per delivery, written in the same transaction as its rows.

Belongs here: the ledger's tables and the statements on receipts and duplicates. Elsewhere: receipts themselves
(receipts.py), slots (slots.py), raw and quarantine (tables.py), what decides a delivery's outcome (load/delivery.py).
`revision` grows when a delivery's rows change, `changed` when anything about it does: by it the ledger is published.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from datetime import datetime
from typing import Final

import duckdb
import polars as pl

from platform_assets.engine.store.receipts import (
    RECEIPT_COLUMNS,
    RECEIPT_SCHEMA,
    Receipt,
    Totals,
    receipt_of,
    stored_as,
)
from platform_assets.engine.store.sql import execute_over, lacking
from platform_assets.engine.store.tables import Bounds
from platform_assets.errors import ConfigurationError

_SCHEMA: Final = """
CREATE SCHEMA IF NOT EXISTS ledger;
CREATE TABLE IF NOT EXISTS ledger.deliveries (
    delivery_id BIGINT, feed VARCHAR, slot VARCHAR, fingerprint VARCHAR, archived VARCHAR, bytes BIGINT,
    status VARCHAR, read BIGINT, accepted BIGINT, rejected BIGINT, duplicate BIGINT,
    problem VARCHAR, problem_line BIGINT, problem_column VARCHAR, remedy VARCHAR,
    format VARCHAR, dialect JSON, parts JSON, header VARCHAR[], unknown_columns VARCHAR[], contract VARCHAR,
    event_min TIMESTAMPTZ, event_max TIMESTAMPTZ, arrived_at TIMESTAMPTZ, committed_at TIMESTAMPTZ,
    revision BIGINT, supersedes BIGINT, superseded_by BIGINT, duplicate_of BIGINT,
    replayed_at TIMESTAMPTZ, expired BIGINT, expects JSON,
    covers_from TIMESTAMPTZ, covers_to TIMESTAMPTZ, accepted_at TIMESTAMPTZ,
    generation BIGINT, came_with BIGINT, moved_from VARCHAR[], erased BIGINT, rewritten VARCHAR,
    withdrawn JSON, allowed JSON, file_date DATE, changed BIGINT, mark UBIGINT
);
CREATE TABLE IF NOT EXISTS ledger.slots (
    feed VARCHAR, slot VARCHAR, place BIGINT, filled_by BIGINT, delivery_id BIGINT, fingerprint VARCHAR,
    generation BIGINT, position VARCHAR, traits VARCHAR, changed BIGINT
);
CREATE TABLE IF NOT EXISTS ledger.duplicates (
    delivery_id BIGINT, line BIGINT, of_delivery BIGINT, of_line BIGINT
);
CREATE TABLE IF NOT EXISTS ledger.given_out (revision BIGINT, delivery_id BIGINT);
CREATE TABLE IF NOT EXISTS ledger.profiles (
    feed VARCHAR, delivery_id BIGINT, revision BIGINT, "column" VARCHAR, figure VARCHAR, "value" DOUBLE, example VARCHAR
);
"""


@dataclass(frozen=True)
class HeaderCount:
    """A header, how many deliveries that were taken in had it, and the first and last of them: id, file, arrival."""

    header: tuple[str, ...]
    deliveries: int
    first: tuple[int, str, datetime]
    last: tuple[int, str, datetime]


class Ledger:
    """The ledger through one open connection."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection

    def lacking(self) -> list[str]:
        """Columns that the ledger of another version of the platform has not."""
        return lacking(self._connection, "ledger", _SCHEMA)

    def prepare(self, after: int) -> None:
        """Create the ledger's tables where they are missing.

        Later revisions than `after` are given out: up to it they were those of a warehouse that was lost or older.
        """
        self._connection.execute(_SCHEMA)
        if after >= self.next_ids()[1]:
            self._connection.execute("INSERT INTO ledger.given_out VALUES (?, 0)", [after])

    def next_ids(self) -> tuple[int, int]:
        """The next delivery id and the next revision. Only the writer asks, inside its transaction."""
        (row,) = self._connection.execute(
            "SELECT greatest(max(delivery_id), (SELECT max(delivery_id) FROM ledger.given_out), 0) + 1, "
            "greatest(max(changed), (SELECT max(revision) FROM ledger.given_out), 0) + 1 FROM ledger.deliveries"
        ).fetchall()
        return int(row[0]), int(row[1])

    def feed_revision(self, feed: str) -> int:
        """The newest revision of a feed's rows; 0 before its first delivery."""
        (row,) = self._connection.execute(
            "SELECT coalesce(max(revision), 0) FROM ledger.deliveries WHERE feed = ? "
            "AND status IN ('accepted', 'superseded', 'withdrawn')",
            [feed],
        ).fetchall()
        return int(row[0])

    def known(self, feed: str, slots: Iterable[str], fingerprints: Iterable[str]) -> set[str]:
        """Those of the slots and of the fingerprints that the feed has had before; most are new."""
        wanted = pl.DataFrame({"value": [*slots, *fingerprints]}, schema={"value": pl.String})
        rows = execute_over(
            self._connection,
            wanted,
            "SELECT slot FROM ledger.deliveries WHERE feed = $1 AND slot IN (SELECT value FROM arrived) UNION "
            "SELECT fingerprint FROM ledger.deliveries WHERE feed = $1 AND fingerprint IN (SELECT value FROM arrived)",
            [feed],
        )
        return {value for (value,) in rows}

    def in_force(self, feed: str, fingerprints: Sequence[str]) -> list[Receipt]:
        """The deliveries in force that brought any of these contents, in their order."""
        return self._over(
            "fingerprint", pl.String, fingerprints, "feed = ? AND status = 'accepted' ORDER BY delivery_id", [feed]
        )

    def by_id(self, deliveries: Iterable[int]) -> list[Receipt]:
        """The receipts of these deliveries, in their order."""
        return self._over("delivery_id", pl.Int64, list(deliveries), "TRUE ORDER BY delivery_id")

    def add(self, receipts: Sequence[Receipt], changed: int) -> None:
        """Write receipts, under the revision `changed`."""
        if not receipts:
            return
        rows = pl.DataFrame(
            {
                column: [stored_as(column, getattr(receipt, column)) for receipt in receipts]
                for column in RECEIPT_COLUMNS
            },
            schema=RECEIPT_SCHEMA,
        )
        columns = ", ".join(RECEIPT_COLUMNS)
        execute_over(
            self._connection,
            rows,
            f"INSERT INTO ledger.deliveries ({columns}, changed, mark) SELECT {columns}, ?, "
            "md5_number_lower(concat(generation, fingerprint, slot)) FROM arrived",
            [changed],
        )

    def supersede(self, by: Mapping[int, int], revision: int) -> None:
        """Mark deliveries as replaced (id -> the delivery that replaced it)."""
        if not by:
            return
        rows = pl.DataFrame({"id": list(by), "by": list(by.values())}, schema={"id": pl.Int64, "by": pl.Int64})
        execute_over(
            self._connection,
            rows,
            "UPDATE ledger.deliveries SET status = 'superseded', superseded_by = a.by, revision = $1, changed = $1 "
            "FROM arrived a WHERE delivery_id = a.id",
            [revision],
        )
        self.forget_duplicates(list(by))

    def supersede_quarantined(self, receipts: Sequence[Receipt], changed: int) -> None:
        """New deliveries of their slots end the wait of those quarantined before them."""
        rows = pl.DataFrame(
            [(receipt.feed, receipt.slot, receipt.delivery_id) for receipt in receipts],
            schema={"feed": pl.String, "slot": pl.String, "by": pl.Int64},
            orient="row",
        )
        execute_over(
            self._connection,
            rows,
            "UPDATE ledger.deliveries d SET status = 'superseded', superseded_by = a.by, changed = ? FROM arrived a "
            "WHERE d.status = 'quarantined' AND d.feed = a.feed AND d.slot = a.slot AND d.delivery_id < a.by",
            [changed],
        )

    def add_duplicates(self, lines: pl.DataFrame) -> None:
        """Note the lines (`_delivery_id`, `_line`) that were exact copies of earlier ones of their delivery, or were
        left out for a row with their key (`of`, `of_line`: the delivery and line that keep it)."""
        of = "of, of_line" if "of" in lines.columns else "NULL, NULL"
        execute_over(
            self._connection, lines, f"INSERT INTO ledger.duplicates SELECT _delivery_id, _line, {of} FROM arrived"
        )

    def leave_out(self, lines: pl.DataFrame, revision: int) -> None:
        """Count lines that were accepted before as duplicates (as `add_duplicates`); what was left out for them is left
        out for those that they are left out for."""
        execute_over(
            self._connection,
            lines,
            "UPDATE ledger.duplicates d SET of_delivery = a.of, of_line = a.of_line FROM arrived a "
            "WHERE d.of_delivery = a._delivery_id AND d.of_line = a._line",
        )
        self.add_duplicates(lines)
        execute_over(
            self._connection,
            lines.group_by("_delivery_id").len("rows"),
            "UPDATE ledger.deliveries SET accepted = accepted - a.rows, duplicate = duplicate + a.rows, revision = $1, "
            "changed = $1 FROM arrived a WHERE delivery_id = a._delivery_id",
            [revision],
        )

    def forget_left_out(self, deliveries: Sequence[int]) -> dict[int, list[int]]:
        """Forget that lines were left out for rows of these `deliveries`, or are lines of these and were left out for
        any; delivery -> such lines. Only of deliveries in force."""
        if not deliveries:
            return {}
        rows = self._connection.execute(
            "DELETE FROM ledger.duplicates WHERE of_delivery IS NOT NULL "
            "AND (list_contains($1::BIGINT[], of_delivery) OR list_contains($1::BIGINT[], delivery_id)) "
            "AND delivery_id IN (SELECT delivery_id FROM ledger.deliveries WHERE status = 'accepted') "
            "RETURNING delivery_id, line",
            [list(deliveries)],
        ).fetchall()
        found: dict[int, list[int]] = {}
        for delivery, line in rows:
            found.setdefault(delivery, []).append(line)
        return found

    def bring_back(self, delivery: int, rows: int, rejected: int, revision: int) -> None:
        """Count `rows` that had been left out as accepted again, but for those that are `rejected`."""
        self._connection.execute(
            "UPDATE ledger.deliveries SET accepted = accepted + $2 - $3, rejected = rejected + $3, "
            "duplicate = duplicate - $2, revision = $4, changed = $4 WHERE delivery_id = $1",
            [delivery, rows, rejected, revision],
        )

    def note_bounds(self, bounds: Mapping[int, Bounds | None], changed: int) -> None:
        """Note what times the deliveries' rows in raw are of; what each covered on its day stays as it was."""
        if not bounds:
            return
        names = [each.name for each in fields(Bounds)]
        rows = pl.DataFrame(
            [(delivery, *(astuple(of) if of else (None,) * len(names))) for delivery, of in bounds.items()],
            schema={"id": pl.Int64, **{name: RECEIPT_SCHEMA[name] for name in names}},
            orient="row",
        )
        values = ", ".join(
            f"{name} = coalesce(d.{name}, a.{name})" if name.startswith("covers") else f"{name} = a.{name}"
            for name in names
        )
        execute_over(
            self._connection,
            rows,
            f"UPDATE ledger.deliveries d SET {values}, changed = ? FROM arrived a WHERE d.delivery_id = a.id",
            [changed],
        )

    def left_out(self, feed: str) -> list[tuple[int, int]]:
        """Pairs of deliveries: one with rows that were left out for rows of the other."""
        return self._connection.execute(
            "SELECT DISTINCT delivery_id, of_delivery FROM ledger.duplicates "
            "JOIN ledger.deliveries USING (delivery_id) WHERE feed = ? AND of_delivery <> delivery_id",
            [feed],
        ).fetchall()

    def archived(self, feed: str) -> tuple[int, int]:
        """How many deliveries of the feed were claimed into the archive, and a digest of which."""
        (row,) = self._connection.execute(
            "SELECT count(*), coalesce(bit_xor(mark), 0) FROM ledger.deliveries "
            "WHERE feed = ? AND fingerprint IS NOT NULL",
            [feed],
        ).fetchall()
        return int(row[0]), int(row[1])

    def names(self, feed: str) -> dict[tuple[str, str, int], int]:
        """What names each archived delivery of the feed (slot, fingerprint, generation) -> its id, in order."""
        rows = self._connection.execute(
            "SELECT slot, fingerprint, generation, delivery_id FROM ledger.deliveries "
            "WHERE feed = ? AND fingerprint IS NOT NULL ORDER BY delivery_id",
            [feed],
        ).fetchall()
        return {(slot, fingerprint, generation): delivery for slot, fingerprint, generation, delivery in rows}

    def forget(self, deliveries: Sequence[int]) -> None:
        """Take receipts out, for a replay to write them anew."""
        self._connection.execute(
            "DELETE FROM ledger.deliveries WHERE list_contains(?::BIGINT[], delivery_id)", [list(deliveries)]
        )
        self.forget_duplicates(deliveries)

    def forget_duplicates(self, deliveries: Sequence[int]) -> None:
        """No longer note which lines of the deliveries were duplicates."""
        self._connection.execute(
            "DELETE FROM ledger.duplicates WHERE list_contains(?::BIGINT[], delivery_id)", [list(deliveries)]
        )

    def unneeded_copies(self, feed: str, before: datetime) -> list[str]:
        """Copies in the archive that only deliveries need which are no longer in force and were committed `before`."""
        # A copy may serve several receipts; it goes when none of them needs it any longer.
        rows = self._connection.execute(
            "SELECT archived FROM ledger.deliveries WHERE feed = $1 AND archived IS NOT NULL GROUP BY archived "
            "HAVING bool_and(status IN ('superseded', 'duplicate', 'withdrawn') AND committed_at < $2) "
            "AND NOT bool_or(fingerprint IN (SELECT fingerprint FROM ledger.deliveries "
            "WHERE feed = $1 AND status IN ('accepted', 'quarantined')))",
            [feed, before],
        ).fetchall()
        return [archived for (archived,) in rows]

    def has_copy(self, archived: str) -> bool:
        """Whether a delivery has this copy in the archive."""
        return bool(self._connection.execute("FROM ledger.deliveries WHERE archived = ?", [archived]).fetchall())

    def forget_copies(self, feed: str, copies: Sequence[str], changed: int) -> None:
        """Receipts say that the archive has these copies no longer."""
        self._connection.execute(
            "UPDATE ledger.deliveries SET archived = NULL, changed = $3 "
            "WHERE feed = $1 AND list_contains($2::VARCHAR[], archived)",
            [feed, list(copies), changed],
        )

    def headers(self, feed: str, most: int) -> list[HeaderCount]:
        """The headers that deliveries of the feed had which were taken in; the newest `most`."""
        rows = self._connection.execute(
            "SELECT header, count(*), min(delivery_id), arg_min(slot, delivery_id), arg_min(arrived_at, delivery_id), "
            "max(delivery_id), arg_max(slot, delivery_id), arg_max(arrived_at, delivery_id) FROM ledger.deliveries "
            "WHERE feed = ? AND len(header) > 0 AND status <> 'quarantined' GROUP BY header ORDER BY 6 DESC LIMIT ?",
            [feed, most],
        ).fetchall()
        return [HeaderCount(tuple(row[0]), row[1], tuple(row[2:5]), tuple(row[5:])) for row in rows]

    def first_with_unknown(self, feed: str) -> dict[str, tuple[int, str]]:
        """Columns that arrived undeclared -> the first delivery that had them: its id and file."""
        rows = self._connection.execute(
            "SELECT name, min(delivery_id), arg_min(slot, delivery_id) FROM (SELECT unnest(unknown_columns) AS name, "
            "delivery_id, slot FROM ledger.deliveries WHERE feed = ?) GROUP BY ALL",
            [feed],
        ).fetchall()
        return {name: (delivery, slot) for name, delivery, slot in rows}

    def receipts(self, feed: str | None = None, *, after: int = 0) -> list[Receipt]:
        """Receipts with an id greater than `after`, newest first."""
        values: list[object] = [after, *([] if feed is None else [feed])]
        return self._many(
            "delivery_id > $1" + (" AND feed = $2" if values[1:] else "") + " ORDER BY delivery_id DESC", values
        )

    def newest(self, feed: str, most: int) -> list[Receipt]:
        """The feed's newest receipts, newest first; `most` of them."""
        # Sorting whole receipts would take DuckDB megabytes; their ids alone do not.
        ids = self._connection.execute(
            "SELECT delivery_id FROM ledger.deliveries WHERE feed = ? ORDER BY 1 DESC LIMIT ?", [feed, most]
        ).fetchall()
        return self.by_id(delivery for (delivery,) in ids)[::-1]

    def receipt(self, delivery_id: int) -> Receipt:
        """The receipt of a delivery; raises ConfigurationError where there is none."""
        found = self._many("delivery_id = $1", [delivery_id])
        if not found:
            raise ConfigurationError(f"delivery {delivery_id}", "is not in the ledger", "See `platform delivery list`.")
        return found[0]

    def unsound(self, feed: str, rate: float, rows: int) -> tuple[list[Receipt], list[Receipt]]:
        """Receipts that do not add up; and of deliveries in force with more rejected rows than both `rate` of those
        read and `rows`, which no person has let through. Newest first."""
        return (
            self._many(
                "feed = $1 AND read <> accepted + rejected + duplicate + erased ORDER BY delivery_id DESC", [feed]
            ),
            self._many(
                "feed = $1 AND status = 'accepted' AND allowed IS NULL "
                "AND rejected > greatest($2::DOUBLE * read, $3) ORDER BY delivery_id DESC",
                [feed, rate, rows],
            ),
        )

    def waiting(self, feed: str) -> list[Receipt]:
        """Deliveries of the feed that are quarantined as a whole."""
        return self._many("feed = $1 AND status = 'quarantined' ORDER BY delivery_id", [feed])

    def totals(self, feed: str) -> Totals:
        """The feed's receipts over all time."""
        (row,) = self._connection.execute(
            "SELECT count(*), coalesce(sum(read), 0)::BIGINT, coalesce(sum(accepted), 0)::BIGINT, "
            "coalesce(sum(rejected), 0)::BIGINT, coalesce(sum(duplicate), 0)::BIGINT, "
            "coalesce(sum(erased), 0)::BIGINT, "
            "coalesce(sum(accepted) FILTER (status = 'accepted'), 0)::BIGINT, "
            "count(*) FILTER (status = 'quarantined'), count(*) FILTER (status = 'accepted'), "
            "coalesce(sum(read) FILTER (status = 'accepted'), 0)::BIGINT "
            "FROM ledger.deliveries WHERE feed = ?",
            [feed],
        ).fetchall()
        return Totals(*row)

    def _over(
        self, column: str, kind: type[pl.DataType], values: Sequence[object], where: str, more: Sequence[object] = ()
    ) -> list[Receipt]:
        if not values:
            return []
        rows = execute_over(
            self._connection,
            pl.DataFrame({"value": values}, schema={"value": kind}),
            f"SELECT {', '.join(RECEIPT_COLUMNS)} FROM ledger.deliveries "
            f"WHERE {column} IN (SELECT value FROM arrived) AND {where}",
            more,
        )
        return [receipt_of(dict(zip(RECEIPT_COLUMNS, row, strict=True))) for row in rows]

    def _many(self, where: str, values: list[object]) -> list[Receipt]:
        rows = self._connection.execute(
            f"SELECT {', '.join(RECEIPT_COLUMNS)} FROM ledger.deliveries WHERE {where}", values
        ).fetchall()
        return [receipt_of(dict(zip(RECEIPT_COLUMNS, row, strict=True))) for row in rows]
