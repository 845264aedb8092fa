"""Tracing: from a row of a table back to the file and line it came with.

Belongs here: finding rows by their values and what their deliveries say of them. Does not: printing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import duckdb

from platform_assets.engine.archive.archive import Archive
from platform_assets.engine.contract.model import headers_of
from platform_assets.engine.feed.feed import Feed, feed_named
from platform_assets.engine.readers import open_reader
from platform_assets.engine.store.ledger import Ledger
from platform_assets.engine.store.quarantine import Record, masking
from platform_assets.engine.store.receipts import Receipt
from platform_assets.engine.store.warehouse import quote
from platform_assets.errors import ConfigurationError


@dataclass(frozen=True)
class Trace:
    """Where a row came from: `file` and physical `line`, and the `record` as it was delivered (personal data masked);
    None where the archive no longer has it."""

    receipt: Receipt
    file: str
    line: int
    record: Record | None


def trace(
    connection: duckdb.DuckDBPyConnection,
    feeds: Sequence[Feed],
    archive: Archive,
    table: str,
    values: Mapping[str, str],
    *,
    most: int,
) -> list[Trace]:
    """The origin of the rows of `table` (such as raw.order_lines) in which columns have these values, as text.

    Raises ConfigurationError where there is no such table or column, or its rows do not know where they came from.
    """
    schema, _, name = table.rpartition(".")
    columns = [
        column
        for (column,) in connection.execute(
            "SELECT column_name FROM duckdb_columns() WHERE schema_name = ? AND table_name = ? "
            "AND database_name = current_database()",
            [schema or "raw", name],
        ).fetchall()
    ]
    if not columns:
        raise ConfigurationError(f"table {table!r}", "is not in the warehouse", "Name one such as raw.order_lines.")
    if not {"_delivery_id", "_line"} <= set(columns):
        raise ConfigurationError(
            f"table {table!r}",
            "does not keep _delivery_id and _line",
            "Trace a raw or staging table.",
        )
    for column in values:
        if column not in columns:
            raise ConfigurationError(
                f"column {column!r}", f"is not in {table}", f"Its columns are: {', '.join(columns)}."
            )
    wanted = " AND ".join(f"CAST({quote(column)} AS VARCHAR) = ?" for column in values) or "TRUE"
    rows = connection.execute(
        f"SELECT _delivery_id, _line FROM {quote(schema or 'raw')}.{quote(name)} WHERE {wanted} ORDER BY 1, 2 LIMIT ?",
        [*values.values(), most],
    ).fetchall()
    ledger = Ledger(connection)
    by_delivery: dict[int, list[int]] = {}
    for delivery_id, line in rows:
        by_delivery.setdefault(delivery_id, []).append(line)
    found = []
    for delivery_id, lines in by_delivery.items():
        receipt = ledger.receipt(delivery_id)
        records = _records(receipt, feed_named(receipt.feed, feeds), archive, lines)
        found += [Trace(receipt, *receipt.place(line), records.get(line)) for line in lines]
    return found


def _records(receipt: Receipt, feed: Feed, archive: Archive, lines: Sequence[int]) -> dict[int, Record]:
    """The records of these lines as they were delivered, read from the archive."""
    copy = archive.root / (receipt.archived or "")
    if receipt.archived is None or not copy.exists():
        return {}
    masked = masking(feed.contract)
    reader = open_reader(copy, receipt.slot, feed.source, headers_of(feed.contract))
    left, records = set(lines), {}
    names = {f"c{at}": header for at, header in enumerate(reader.header)}
    for batch in reader.batches(names):
        there = batch.frame.filter(batch.frame["_line"].is_in(sorted(left)))
        for line, *fields in there.iter_rows():
            record = {
                name: None if field is None else str(field) for name, field in zip(reader.header, fields, strict=True)
            }
            records[line] = masked(record)
            left.discard(line)
        if not left:
            break
    return records
