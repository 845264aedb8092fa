"""The quarantine, for people: what waits there, why, as it arrived, and what would bring it in.

Belongs here: reading quarantine tables; personal data is masked in whatever leaves here. Elsewhere: rows going in and
out (tables.py), bringing them in again (load/replay.py).
"""

import contextlib
import csv
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import duckdb

from platform_assets.engine.contract.shown import Record, shown_of
from platform_assets.engine.feed.feed import Feed
from platform_assets.engine.store.ledger import Ledger
from platform_assets.engine.store.receipts import Receipt
from platform_assets.engine.store.sql import quote
from platform_assets.errors import HIDDEN, ConfigurationError, StorageError

_BATCH: Final = 10_000


@dataclass(frozen=True)
class RejectedRow:
    """A rejected row: where it stood, which rules it broke, and how it arrived (by delivered header)."""

    delivery: int
    file: str
    line: int
    reasons: Sequence[Mapping[str, str | None]]
    record: Record


@dataclass(frozen=True)
class BrokenRule:
    """A rule and the rows in quarantine that break it; `examples` are the first of them."""

    column: str | None
    rule: str
    rows: int
    deliveries: int
    examples: Sequence[RejectedRow]


@dataclass(frozen=True)
class Explanation:
    """What waits in a feed's quarantine. `outdated`: deliveries there that an earlier contract validated, which
    `platform quarantine replay` would validate again."""

    feed: Feed
    rows: int
    rules: Sequence[BrokenRule]
    waiting: Sequence[Receipt]
    outdated: Sequence[int]


class Quarantine:
    """The quarantine of a feed through one open connection."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, feed: Feed) -> None:
        self._connection = connection
        self._ledger = Ledger(connection)
        self._feed = feed
        self._shown = shown_of(feed.contract)
        self._table = f"quarantine.{quote(feed.name)}"

    def explain(self, *, examples: int = 3) -> Explanation:
        """Why rows and deliveries of the feed wait, the most frequent reason first."""
        counted = self._connection.execute(
            "SELECT reason['column'], reason['rule'], count(*), count(DISTINCT _delivery_id) FROM "
            f"(SELECT _delivery_id, unnest(reasons) AS reason FROM {self._table}) "
            "GROUP BY ALL ORDER BY 3 DESC, 1, 2"
        ).fetchall()
        rules = [
            BrokenRule(column, rule, rows, deliveries, list(self._breaking(column, rule, examples)))
            for column, rule, rows, deliveries in counted
        ]
        stored = dict(
            self._connection.execute(f"SELECT _delivery_id, count(*) FROM {self._table} GROUP BY ALL").fetchall()
        )
        version = self._feed.version()
        receipts = [
            receipt
            for receipt in self._ledger.receipts(self._feed.name)
            if receipt.status == "quarantined" or stored.get(receipt.delivery_id)
        ]
        return Explanation(
            feed=self._feed,
            rows=sum(stored.values()),
            rules=rules,
            waiting=[receipt for receipt in receipts if receipt.status == "quarantined"],
            outdated=[receipt.delivery_id for receipt in receipts if receipt.contract != version],
        )

    def reasons(self) -> list[tuple[str | None, str, int]]:
        """Broken rules: column, rule, rows; most frequent first."""
        return self._connection.execute(
            "SELECT reason['column'], reason['rule'], count(*) FROM "
            f"(SELECT unnest(reasons) AS reason FROM {self._table}) GROUP BY ALL ORDER BY 3 DESC, 1, 2"
        ).fetchall()

    def reasons_of(self, deliveries: Sequence[int]) -> dict[tuple[str | None, str], dict[int, int]]:
        """Rows by (column, rule) and delivery; rules that any other delivery broke with no rows."""
        rows = self._connection.execute(
            f"SELECT r.column, r.rule, _delivery_id, count(*) FROM (SELECT _delivery_id, unnest(reasons) AS r "
            f"FROM {self._table}) GROUP BY ALL ORDER BY ALL"
        ).fetchall()
        wanted = set(deliveries)
        found: dict[tuple[str | None, str], dict[int, int]] = {}
        for column, rule, delivery, count in rows:
            by_delivery = found.setdefault((column, rule), {})
            if delivery in wanted:
                by_delivery[delivery] = count
        return found

    def values(self, most: int) -> list[tuple[str | None, str, int, list[str]]]:
        """Broken rules: column, rule, rows, and the first values that broke it; most frequent first."""
        rows = self._connection.execute(
            "SELECT reason['column'], reason['rule'], count(*), min(reason['value'], $1) FROM "
            f"(SELECT unnest(list_distinct(reasons)) AS reason FROM {self._table}) GROUP BY ALL ORDER BY 3 DESC, 2",
            [most],
        ).fetchall()
        return [
            (column, rule, count, [str(self._shown.value(column, value)) for value in dict.fromkeys(values or ())])
            for column, rule, count, values in rows
        ]

    def rows(self, where: str = "TRUE", values: Sequence[object] = ()) -> Iterator[RejectedRow]:
        """Rejected rows, newest delivery first; `where` may speak of the table as `q`."""
        receipts: dict[int, Receipt] = {}
        shown = self._shown
        # A cursor of its own: other questions are asked while its rows are fetched.
        with contextlib.closing(self._connection.cursor()) as cursor:
            cursor.execute(
                "SELECT q._delivery_id, q._line, q.reasons, q.record::VARCHAR "
                f"FROM {self._table} q WHERE {where} ORDER BY 1 DESC, 2",
                list(values),
            )
            while batch := cursor.fetchmany(_BATCH):
                for delivery_id, line, reasons, record in batch:
                    if delivery_id not in receipts:
                        receipts[delivery_id] = self._ledger.receipt(delivery_id)
                    file, there = receipts[delivery_id].place(line)
                    yield RejectedRow(delivery_id, file, there, self._told(reasons), shown.record(json.loads(record)))

    def first_rows(self, deliveries: Sequence[int], most: int) -> Iterator[RejectedRow]:
        """The first rejected rows of these deliveries, the newest delivery first."""
        return self._first("list_contains($1::BIGINT[], _delivery_id)", [list(deliveries)], most)

    def lines(self, deliveries: Collection[int] = ()) -> dict[int, list[int]]:
        """Delivery -> the lines of its rejected rows, in their order; of all deliveries, or of these."""
        return dict(
            self._connection.execute(
                f"SELECT _delivery_id, list(_line ORDER BY _line) FROM {self._table} "
                "WHERE len($1::BIGINT[]) = 0 OR list_contains($1::BIGINT[], _delivery_id) GROUP BY 1 ORDER BY 1",
                [list(deliveries)],
            ).fetchall()
        )

    def export(self, to: Path) -> int:
        """Write the rejected rows as CSV with file, line and reasons, for a person to look at; how many there were.

        Personal data is masked, and cells that a spreadsheet would take for a formula begin with an apostrophe: it is
        not for delivering again (load/export.py).
        """
        if to.suffix.lower() != ".csv":
            raise ConfigurationError(f"file {to.name!r}", "is no .csv", "Export to a name that ends in .csv.")
        found = self._connection.execute(
            f"SELECT DISTINCT unnest(json_keys(record)) FROM {self._table} WHERE json_type(record) = 'OBJECT'"
        ).fetchall()
        headers = sorted(name for name in self._shown.names(header for (header,) in found) if name != HIDDEN)
        rows = 0
        try:
            with to.open("w", newline="", encoding="utf-8") as file:
                writer = csv.writer(file)
                writer.writerow(map(inert, ["delivery", "file", "line", "reasons", *headers, "record"]))
                for row in self.rows():
                    reasons = "; ".join(
                        ": ".join(filter(None, (reason["column"], reason["rule"], reason["value"])))
                        for reason in row.reasons
                    )
                    whole = row.record if isinstance(row.record, str) else ""
                    fields = {} if isinstance(row.record, str) else row.record
                    cells = [row.file, str(row.line), reasons, *(fields.get(name) or "" for name in headers), whole]
                    writer.writerow([str(row.delivery), *map(inert, cells)])
                    rows += 1
        except OSError as error:
            raise StorageError(to, error.strerror or str(error)) from error
        return rows

    def _told(self, reasons: Sequence[Mapping[str, str | None]]) -> list[dict[str, str | None]]:
        """The reasons; values were masked by the contract of their day, which may have had less to mask."""
        return [{**reason, "value": self._shown.value(reason["column"], reason["value"])} for reason in reasons]

    def _breaking(self, column: str | None, rule: str, most: int) -> Iterator[RejectedRow]:
        broken = "len(list_filter(reasons, lambda r: r['rule'] = $1 AND r['column'] IS NOT DISTINCT FROM $2)) > 0"
        return self._first(broken, [rule, column], most)

    def _first(self, where: str, values: Sequence[object], most: int) -> Iterator[RejectedRow]:
        lines = (
            f"(q._delivery_id, q._line) IN (SELECT (_delivery_id, _line) FROM {self._table} "
            f"WHERE {where} ORDER BY _delivery_id DESC, _line LIMIT {int(most)})"
        )
        return self.rows(lines, values)


def inert(cell: str) -> str:
    """A cell that no spreadsheet runs."""
    return "'" + cell if cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n")) else cell
