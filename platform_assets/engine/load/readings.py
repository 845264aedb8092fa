"""How a delivery's dates are to be read, found by going through it before any of its rows is taken in.

Belongs here: which columns need that, and what is known of when the delivery was written. Elsewhere: what follows from
it (contract/readings.py).
"""

from collections.abc import Mapping
from datetime import UTC, datetime, time, timedelta

from platform_assets.engine.contract.cast import cast
from platform_assets.engine.contract.model import Header
from platform_assets.engine.contract.readings import Readings, Times, may_be_ambiguous
from platform_assets.engine.feed.feed import Feed
from platform_assets.engine.readers import Reader
from platform_assets.engine.store.receipts import Receipt


def readings(feed: Feed, reader: Reader, header: Header, receipt: Receipt) -> Mapping[str, tuple[int, ...]]:
    """Column -> the formats, by their places, that hold for this delivery where several of them fit a text.

    Only feeds with such formats are gone through twice. Raises DeliveryRefused where a column can be read in two ways.
    """
    asked = {column.name: column for column in feed.columns if column.name in header.columns}
    unsure = {name: Readings(column) for name, column in asked.items() if may_be_ambiguous(column)}
    if not unsure or not reader.header:
        return {}
    event = asked.get(feed.event_time or "")
    known = [event.name] if event is not None and event.name not in unsure else []
    by = min(receipt.arrived_at, receipt.committed_at)
    if receipt.file_date is not None and feed.name_date is not None:
        last = feed.name_date.last(receipt.file_date)
        by = min(datetime.combine(last, time(), UTC) + timedelta(days=1), receipt.committed_at)
    after: datetime | None = None
    for batch in reader.batches({name: header.columns[name] for name in (*unsure, *known)}):
        for name, seen in unsure.items():
            seen.look(batch.frame[name], batch.frame["_line"])
        for name in known:
            newest = cast(batch.frame[name], asked[name]).values.max()
            if newest is not None:
                moment = newest if isinstance(newest, datetime) else datetime.combine(newest, time(), UTC)  # type: ignore[arg-type]
                after = max(after or moment, moment)
    return {
        name: seen.decided(
            Times(receipt.file_date, by, after if after is None or after <= by else None, name == feed.event_time),
            header.columns[name],
        )
        for name, seen in unsure.items()
    }
