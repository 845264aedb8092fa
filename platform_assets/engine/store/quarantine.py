"""The quarantine, for people: what waits there, why, as it arrived, and what would bring it in.

Belongs here: reading quarantine tables; personal data is masked in whatever leaves here. Does not: rows going in and
out (tables.py), replay (replay.py).
"""

import csv
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import duckdb

from platform_assets.engine.contract.model import Contract, columns_of
from platform_assets.engine.feed.feed import Feed
from platform_assets.engine.store.ledger import Ledger
from platform_assets.engine.store.receipts import Receipt
from platform_assets.engine.store.tables import FeedTables
from platform_assets.errors import ConfigurationError, StorageError

MASK: Final = "***"
_BATCH: Final = 10_000

Record = Mapping[str, str | None] | str


@dataclass(frozen=True)
class RejectedRow:
    """A rejected row: where it stood, which rules it broke, and how it arrived (by delivered header)."""

    delivery_id: int
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
    """What waits in a feed's quarantine. `outdated`: deliveries there that an earlier contract has judged, which
    `platform quarantine replay` would judge again."""

    feed: Feed
    rows: int
    rules: Sequence[BrokenRule]
    waiting: Sequence[Receipt]
    outdated: Sequence[int]


def explain(connection: duckdb.DuckDBPyConnection, feed: Feed, *, examples: int = 3) -> Explanation:
    """Why rows and deliveries of the feed wait, the most frequent reason first."""
    tables, ledger = FeedTables(connection, feed), Ledger(connection)
    counted = connection.execute(
        "SELECT reason['column'], reason['rule'], count(*), count(DISTINCT _delivery_id) FROM "
        f"(SELECT _delivery_id, unnest(reasons) AS reason FROM {tables.quarantine}) "
        "GROUP BY ALL ORDER BY 3 DESC, 1, 2"
    ).fetchall()
    rules = [
        BrokenRule(column, rule, rows, deliveries, list(_breaking(connection, feed, column, rule, examples)))
        for column, rule, rows, deliveries in counted
    ]
    stored = tables.row_counts()
    version = feed.version()
    receipts = [
        receipt
        for receipt in ledger.receipts(feed.name)
        if receipt.status == "quarantined" or stored.get(receipt.delivery_id, (0, 0))[1]
    ]
    return Explanation(
        feed=feed,
        rows=sum(rejected for _, rejected in stored.values()),
        rules=rules,
        waiting=[receipt for receipt in receipts if receipt.status == "quarantined"],
        outdated=[receipt.delivery_id for receipt in receipts if receipt.contract != version],
    )


def rejected_rows(
    connection: duckdb.DuckDBPyConnection, feed: Feed, where: str = "TRUE", values: Sequence[object] = ()
) -> Iterator[RejectedRow]:
    """Rejected rows of the feed, newest delivery first; `where` may speak of the quarantine table as `q`."""
    ledger, table = Ledger(connection), FeedTables(connection, feed).quarantine
    receipts: dict[int, Receipt] = {}
    found = connection.cursor().execute(
        f"SELECT q._delivery_id, q._line, q.reasons, q.record::VARCHAR FROM {table} q WHERE {where} ORDER BY 1 DESC, 2",
        list(values),
    )
    masked = masking(feed.contract)
    while batch := found.fetchmany(_BATCH):
        for delivery_id, line, reasons, record in batch:
            if delivery_id not in receipts:
                receipts[delivery_id] = ledger.receipt(delivery_id)
            file, there = receipts[delivery_id].place(line)
            yield RejectedRow(delivery_id, file, there, reasons, masked(json.loads(record)))


def rejected_samples(
    connection: duckdb.DuckDBPyConnection, feed: Feed, deliveries: Sequence[int], most: int
) -> Iterator[RejectedRow]:
    """The first rejected rows of these deliveries, the newest delivery first."""
    table = FeedTables(connection, feed).quarantine
    lines = (
        f"(q._delivery_id, q._line) IN (SELECT (_delivery_id, _line) FROM {table} "
        f"WHERE list_contains($1::BIGINT[], _delivery_id) ORDER BY _delivery_id DESC, _line LIMIT {int(most)})"
    )
    return rejected_rows(connection, feed, lines, [list(deliveries)])


def masking(contract: type[Contract]) -> Callable[[Any], Record]:
    """What shows a record without personal data: by delivered header, and whole where it could not be taken apart."""
    secret = {
        name.strip().casefold()
        for column in columns_of(contract)
        if column.pii
        for name in (*column.headers, column.name)
    }

    def masked(record: Any) -> Record:  # noqa: ANN401 - what JSON holds
        if not isinstance(record, dict):
            return MASK if secret else str(record)
        return {
            name: MASK if value is not None and name.strip().casefold() in secret else value
            for name, value in record.items()
        }

    return masked


def export(connection: duckdb.DuckDBPyConnection, feed: Feed, to: Path) -> int:
    """Write the rejected rows as CSV, for a person to mend or send back; how many there were.

    Cells that a spreadsheet would take for a formula begin with an apostrophe.
    """
    if to.suffix.lower() != ".csv":
        raise ConfigurationError(f"file {to.name!r}", "is no .csv", "Export to a name that ends in .csv.")
    headers: dict[str, None] = {}
    for (header,) in connection.execute(
        "SELECT DISTINCT unnest(json_keys(record)) FROM "
        f"{FeedTables(connection, feed).quarantine} WHERE json_type(record) = 'OBJECT'"
    ).fetchall():
        headers.setdefault(header)
    rows = 0
    try:
        with to.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(map(inert, ["delivery", "file", "line", "reasons", *sorted(headers), "record"]))
            for row in rejected_rows(connection, feed):
                reasons = "; ".join(
                    ": ".join(filter(None, (reason["column"], reason["rule"], reason["value"])))
                    for reason in row.reasons
                )
                whole = row.record if isinstance(row.record, str) else ""
                fields = {} if isinstance(row.record, str) else row.record
                cells = [row.file, str(row.line), reasons, *(fields.get(name) or "" for name in sorted(headers)), whole]
                writer.writerow([str(row.delivery_id), *map(inert, cells)])
                rows += 1
    except OSError as error:
        raise StorageError(to, error.strerror or str(error)) from error
    return rows


def inert(cell: str) -> str:
    """A cell that no spreadsheet runs."""
    return "'" + cell if cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n")) else cell


def _breaking(
    connection: duckdb.DuckDBPyConnection, feed: Feed, column: str | None, rule: str, most: int
) -> Iterator[RejectedRow]:
    table = FeedTables(connection, feed).quarantine
    lines = (
        f"(q._delivery_id, q._line) IN (SELECT (_delivery_id, _line) FROM {table} "
        "WHERE len(list_filter(reasons, lambda r: r['rule'] = $1 AND r['column'] IS NOT DISTINCT FROM $2)) > 0 "
        f"ORDER BY _delivery_id DESC, _line LIMIT {int(most)})"
    )
    return rejected_rows(connection, feed, lines, [rule, column])
