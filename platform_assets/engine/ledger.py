"""The ledger: one receipt per delivery, written in the same transaction as its rows.

Belongs here: the ledger's tables and every statement on them. Does not: receipts themselves (receipts.py), raw and
quarantine (tables.py), what decides a delivery's outcome (ingest.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import duckdb
import polars as pl

from platform_assets.engine.receipts import RECEIPT_COLUMNS, RECEIPT_SCHEMA, Receipt, receipt_of, stored_as
from platform_assets.engine.warehouse import execute_over
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
    covers_from TIMESTAMPTZ, covers_to TIMESTAMPTZ, accepted_at TIMESTAMPTZ
);
CREATE TABLE IF NOT EXISTS ledger.sightings (
    feed VARCHAR, slot VARCHAR, size BIGINT, mtime_ns BIGINT, ctime_ns BIGINT, inode UBIGINT, delivery_id BIGINT
);
CREATE TABLE IF NOT EXISTS ledger.duplicates (delivery_id BIGINT, line BIGINT, of_delivery BIGINT);
CREATE TABLE IF NOT EXISTS ledger.builds (feed VARCHAR, revision BIGINT, code VARCHAR);
CREATE TABLE IF NOT EXISTS ledger.profiles (
    feed VARCHAR, delivery_id BIGINT, revision BIGINT, "column" VARCHAR, figure VARCHAR, "value" DOUBLE, example VARCHAR
);
"""
# A receipt that says what its slot stands for from then on; what is quarantined or a mere copy says nothing.
_WORD: Final = "(status = 'accepted' OR supersedes IS NOT NULL)"


@dataclass(frozen=True)
class Totals:
    """A feed's receipts added up. `rows` are in raw now; `waiting` deliveries are quarantined as a whole."""

    deliveries: int = 0
    read: int = 0
    accepted: int = 0
    rejected: int = 0
    duplicate: int = 0
    rows: int = 0
    waiting: int = 0
    newest: datetime | None = None
    arrived: datetime | None = None


class Ledger:
    """The ledger through one open connection."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection

    def prepare(self) -> None:
        """Create the ledger's tables where they are missing."""
        self._connection.execute(_SCHEMA)
        # What the first ledgers lack.
        for column in (
            "dialect JSON",
            "parts JSON",
            "replayed_at TIMESTAMPTZ",
            "expired BIGINT DEFAULT 0",
            "expects JSON",
            "covers_from TIMESTAMPTZ",
            "covers_to TIMESTAMPTZ",
            "accepted_at TIMESTAMPTZ",
        ):
            self._connection.execute(f"ALTER TABLE ledger.deliveries ADD COLUMN IF NOT EXISTS {column}")
        self._connection.execute("ALTER TABLE ledger.duplicates ADD COLUMN IF NOT EXISTS of_delivery BIGINT")

    def next_ids(self) -> tuple[int, int]:
        """The next delivery id and the next revision. Only the writer asks, inside its transaction."""
        (row,) = self._connection.execute(
            "SELECT coalesce(max(delivery_id), 0) + 1, "
            "greatest(max(revision), (SELECT max(revision) FROM ledger.builds), 0) + 1 FROM ledger.deliveries"
        ).fetchall()
        return int(row[0]), int(row[1])

    def begin_after(self, revision: int) -> None:
        """Hand out later revisions only: up to this one they were those of a warehouse that was lost or older."""
        if revision >= self.next_ids()[1]:
            self._connection.execute("INSERT INTO ledger.builds VALUES ('', ?, NULL)", [revision])

    def feed_revision(self, feed: str) -> int:
        """The newest revision of a feed's rows; 0 before its first delivery."""
        (row,) = self._connection.execute(
            "SELECT coalesce(max(revision), 0) FROM ledger.deliveries WHERE feed = ? "
            "AND (status IN ('accepted', 'superseded'))",
            [feed],
        ).fetchall()
        return int(row[0])

    def known(self, feed: str, slots: list[str], fingerprints: list[str]) -> tuple[set[str], set[str]]:
        """Those of the slots and of the fingerprints that the feed has had before; most are new."""
        rows = self._connection.execute(
            "SELECT DISTINCT slot, fingerprint FROM ledger.deliveries WHERE feed = $1 "
            "AND (list_contains($2::VARCHAR[], slot) OR list_contains($3::VARCHAR[], fingerprint))",
            [feed, slots, fingerprints],
        ).fetchall()
        return {slot for slot, _ in rows}, {fingerprint for _, fingerprint in rows}

    def accepted_content(self, feed: str, fingerprint: str) -> Receipt | None:
        """The delivery in force that had these bytes."""
        return self._one("feed = $1 AND fingerprint = $2 AND status = 'accepted'", [feed, fingerprint])

    def said_before(self, feed: str, slot: str, fingerprint: str) -> Receipt | None:
        """The slot's last delivery if it had these bytes: the file was touched, not changed."""
        last = self._one("feed = $1 AND slot = $2 AND problem IS NULL", [feed, slot])
        return last if last is not None and last.fingerprint == fingerprint else None

    def in_force(self, feed: str, slot: str) -> Receipt | None:
        """The delivery whose rows a slot stands for: what it brought last, or what its last restatement equals.

        A mere copy of another slot's delivery stands for nothing: correcting the original corrects the copy.
        """
        word = self._one(f"feed = $1 AND slot = $2 AND {_WORD}", [feed, slot])
        if word is None or word.stands_for == word.delivery_id:
            return word
        return self._one("delivery_id = $1", [word.stands_for])

    def held(self, delivery: Receipt, besides: list[str]) -> bool:
        """Whether the last word of any slot but `besides` stands for the rows of `delivery`."""
        ((slots,),) = self._connection.execute(
            "SELECT count(*) FROM (SELECT slot, max_by(coalesce(duplicate_of, delivery_id), delivery_id) AS stands_for "
            f"FROM ledger.deliveries WHERE feed = ? AND {_WORD} GROUP BY slot) "
            "WHERE stands_for = ? AND NOT list_contains(?::VARCHAR[], slot)",
            [delivery.feed, delivery.delivery_id, besides],
        ).fetchall()
        return bool(slots)

    def add(self, receipts: list[Receipt]) -> None:
        """Write receipts."""
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
        execute_over(self._connection, rows, f"INSERT INTO ledger.deliveries ({columns}) SELECT {columns} FROM arrived")

    def supersede(self, delivery_id: int, by: int, revision: int) -> None:
        """Mark a delivery as replaced."""
        self._connection.execute(
            "UPDATE ledger.deliveries SET status = 'superseded', superseded_by = ?, revision = ? WHERE delivery_id = ?",
            [by, revision, delivery_id],
        )
        self._connection.execute("DELETE FROM ledger.duplicates WHERE delivery_id = ?", [delivery_id])

    def settle_quarantined(self, feed: str, slot: str, by: int) -> None:
        """A new delivery of the slot ends the wait of those quarantined before it."""
        self._connection.execute(
            "UPDATE ledger.deliveries SET status = 'superseded', superseded_by = ? "
            "WHERE feed = ? AND slot = ? AND status = 'quarantined' AND delivery_id < ?",
            [by, feed, slot, by],
        )

    def add_duplicates(self, lines: pl.DataFrame) -> None:
        """Note the lines (`_delivery_id`, `_line`) that were exact copies of earlier ones of their delivery, or gave
        way to a row with their key (`of`: the delivery that keeps it)."""
        of = "of" if "of" in lines.columns else "NULL"
        execute_over(
            self._connection, lines, f"INSERT INTO ledger.duplicates SELECT _delivery_id, _line, {of} FROM arrived"
        )

    def give_way(self, rows: Mapping[int, int], revision: int) -> None:
        """Count rows of deliveries (id -> rows) as duplicates that were accepted before."""
        if not rows:
            return
        self._connection.executemany(
            "UPDATE ledger.deliveries SET accepted = accepted - $2, duplicate = duplicate + $2, revision = $3 "
            "WHERE delivery_id = $1",
            [[delivery, count, revision] for delivery, count in rows.items()],
        )

    def take_back(self, delivery: int, from_deliveries: Sequence[int]) -> list[int]:
        """Lines of the delivery that gave way to these; they are no longer noted as duplicates."""
        rows = self._connection.execute(
            "DELETE FROM ledger.duplicates WHERE delivery_id = ? AND list_contains(?::BIGINT[], of_delivery) "
            "RETURNING line",
            [delivery, list(from_deliveries)],
        ).fetchall()
        return [line for (line,) in rows]

    def came_back(self, delivery: int, accepted: int, rejected: int, duplicate: int) -> None:
        """Add to a receipt's figures."""
        self._connection.execute(
            "UPDATE ledger.deliveries SET accepted = accepted + $2, rejected = rejected + $3, "
            "duplicate = duplicate + $4 WHERE delivery_id = $1",
            [delivery, accepted, rejected, duplicate],
        )

    def gave_way_to(self, deliveries: Sequence[int]) -> list[int]:
        """Deliveries in force with rows that gave way to rows of these."""
        rows = self._connection.execute(
            "SELECT DISTINCT delivery_id FROM ledger.duplicates JOIN ledger.deliveries USING (delivery_id) "
            "WHERE status = 'accepted' AND list_contains($1::BIGINT[], of_delivery) "
            "AND NOT list_contains($1::BIGINT[], delivery_id)",
            [list(deliveries)],
        ).fetchall()
        return [delivery for (delivery,) in rows]

    def given_way(self, feed: str) -> list[tuple[int, int]]:
        """Pairs of deliveries: one with rows that gave way to rows of the other."""
        return self._connection.execute(
            "SELECT DISTINCT delivery_id, of_delivery FROM ledger.duplicates "
            "JOIN ledger.deliveries USING (delivery_id) WHERE feed = ? AND of_delivery <> delivery_id",
            [feed],
        ).fetchall()

    def last_archived(self, feed: str) -> int:
        """The id of the feed's last delivery that was claimed into the archive; 0 where there is none."""
        (row,) = self._connection.execute(
            "SELECT coalesce(max(delivery_id), 0) FROM ledger.deliveries WHERE feed = ? AND fingerprint IS NOT NULL",
            [feed],
        ).fetchall()
        return int(row[0])

    def forget(self, deliveries: Sequence[int]) -> None:
        """Take receipts out, for a replay to write them anew."""
        for table in ("deliveries", "duplicates"):
            self._connection.execute(
                f"DELETE FROM ledger.{table} WHERE list_contains(?::BIGINT[], delivery_id)", [list(deliveries)]
            )

    def receipts(self, feed: str | None = None, *, after: int = 0) -> list[Receipt]:
        """Receipts with an id greater than `after`, newest first."""
        values: list[object] = [after, *([] if feed is None else [feed])]
        return self._many(
            "delivery_id > $1" + (" AND feed = $2" if values[1:] else "") + " ORDER BY delivery_id DESC", values
        )

    def receipt(self, delivery_id: int) -> Receipt:
        """The receipt of a delivery; raises ConfigurationError where there is none."""
        found = self._one("delivery_id = $1", [delivery_id])
        if found is None:
            raise ConfigurationError(f"delivery {delivery_id}", "is not in the ledger", "See `platform feed status`.")
        return found

    def waiting(self, feed: str) -> list[Receipt]:
        """Deliveries of the feed that are quarantined as a whole."""
        return self._many("feed = $1 AND status = 'quarantined' ORDER BY delivery_id", [feed])

    def totals(self, feed: str) -> Totals:
        """The feed's receipts over all time."""
        (row,) = self._connection.execute(
            "SELECT count(*), coalesce(sum(read), 0)::BIGINT, coalesce(sum(accepted), 0)::BIGINT, "
            "coalesce(sum(rejected), 0)::BIGINT, coalesce(sum(duplicate), 0)::BIGINT, "
            "coalesce(sum(accepted) FILTER (status = 'accepted'), 0)::BIGINT, "
            "count(*) FILTER (status = 'quarantined'), "
            # A row dated later than its arrival proves nothing about the time after it.
            "max(least(coalesce(covers_to, event_max), committed_at)) FILTER (status = 'accepted'), "
            "max(arrived_at) FILTER (status = 'accepted') "
            "FROM ledger.deliveries WHERE feed = ?",
            [feed],
        ).fetchall()
        return Totals(*row)

    def _one(self, where: str, values: list[object]) -> Receipt | None:
        found = self._many(f"{where} ORDER BY delivery_id DESC LIMIT 1", values)
        return found[0] if found else None

    def _many(self, where: str, values: list[object]) -> list[Receipt]:
        rows = self._connection.execute(
            f"SELECT {', '.join(RECEIPT_COLUMNS)} FROM ledger.deliveries WHERE {where}", values
        ).fetchall()
        return [receipt_of(dict(zip(RECEIPT_COLUMNS, row, strict=True))) for row in rows]
