"""Tracing: from a row of a table back to the file and line it came with.

Belongs here: what the deliveries of rows say of them. Elsewhere: finding rows by their values (store), showing (cli).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from platform_assets.engine.archive.archive import Archive
from platform_assets.engine.contract.model import headers_of
from platform_assets.engine.contract.shown import Record, guarding, shown_of
from platform_assets.engine.feed.feed import Feed, feed_named
from platform_assets.engine.readers import open_reader
from platform_assets.engine.store.receipts import Receipt
from platform_assets.engine.store.unit import Unit


@dataclass(frozen=True)
class Trace:
    """Where a row came from: `file` and physical `line`, the copy that is `archived`, and the `record` as it was
    delivered (personal data masked); None where the archive no longer has it."""

    feed: str
    delivery: int
    file: str
    line: int
    arrived_at: datetime
    archived: Path
    record: Record | None


def trace(
    unit: Unit,
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
    with guarding(feed.contract for feed in feeds):
        by_delivery: dict[int, list[int]] = {}
        for delivery_id, line in unit.lines(table, values, most):
            by_delivery.setdefault(delivery_id, []).append(line)
        found = []
        for delivery_id, lines in by_delivery.items():
            receipt = unit.ledger.receipt(delivery_id)
            records = _records(receipt, feed_named(receipt.feed, feeds), archive, lines)
            copy = archive.root / (receipt.archived or "")
            found += [
                Trace(receipt.feed, delivery_id, *receipt.place(line), receipt.arrived_at, copy, records.get(line))
                for line in lines
            ]
        return found


def _records(receipt: Receipt, feed: Feed, archive: Archive, lines: Sequence[int]) -> dict[int, Record]:
    """The records of these lines as they were delivered, read from the archive."""
    copy = archive.root / (receipt.archived or "")
    if receipt.archived is None or not copy.exists():
        return {}
    shown = shown_of(feed.contract)
    reader = open_reader(copy, receipt.slot, feed.source, headers_of(feed.contract))
    left, records = set(lines), {}
    names = {f"c{at}": header for at, header in enumerate(reader.header)}
    for batch in reader.batches(names):
        there = batch.frame.filter(batch.frame["_line"].is_in(sorted(left)))
        for line, *fields in there.iter_rows():
            record = {
                name: None if field is None else str(field) for name, field in zip(reader.header, fields, strict=True)
            }
            records[line] = shown.record(record)
            left.discard(line)
        if not left:
            break
    return records
