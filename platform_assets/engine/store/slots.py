"""Slots: which delivery fills each, and the position in which its source was last read.

Belongs here: the table with one row per slot, and finding in it. Elsewhere: what a delivery does to its slot
(load/slot_changes.py), what a position means (sources). Positions only save work; what is new is decided by content.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final, NamedTuple

import duckdb
import polars as pl

from platform_assets.engine.archive.position import Position
from platform_assets.engine.store.sql import execute_over

_SCHEMA: Final = {
    "slot": pl.String,
    "place": pl.Int64,
    "filled_by": pl.Int64,
    "delivery_id": pl.Int64,
    "fingerprint": pl.String,
    "generation": pl.Int64,
    "position": pl.String,
    "traits": pl.String,
}
_COLUMNS: Final = ", ".join(_SCHEMA)
_FEW: Final = 20


@dataclass(frozen=True)
class Slot:
    """One slot of a feed.

    filled_by: the delivery whose rows are in raw because of this slot; None where it brought nothing that counts, or
        only a copy of what stood elsewhere. place: its place in the order of keys, as the id of the delivery that took
        it; a correction keeps it, a renamed file takes it along.
    delivery_id, fingerprint: the last delivery, and what it brought. generation: how many deliveries there were.
    position, traits: as the source gave them then; None where the source has to be asked again.
    """

    slot: str
    place: int | None = None
    filled_by: int | None = None
    delivery_id: int | None = None
    fingerprint: str | None = None
    generation: int = 0
    position: Position | None = None
    traits: str | None = None


class Slots:
    """The slots of a feed, through one open connection."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, feed: str) -> None:
        self._connection = connection
        self._feed = feed

    def named(self, slots: Iterable[str]) -> dict[str, Slot]:
        """Those of these names; what has had no delivery yet is blank."""
        wanted = dict.fromkeys(slots)
        rows = self._over(list(wanted), pl.String, "s.slot IN (SELECT value FROM arrived)")
        return {name: Slot(name) for name in wanted} | {slot.slot: slot for slot in rows}

    def holding(self, deliveries: Iterable[int]) -> list[Slot]:
        """Those that any of these deliveries fills."""
        return self._over(list(deliveries), pl.Int64, "s.filled_by IN (SELECT value FROM arrived)")

    def brought(self, fingerprints: Iterable[str]) -> list[Slot]:
        """Those whose last delivery brought any of these contents, by name; of many copies of one content, only some,
        and first what it fills."""
        few = (
            f"s.fingerprint IN (SELECT value FROM arrived) QUALIFY {_FEW} >= "
            "row_number() OVER (PARTITION BY s.fingerprint ORDER BY s.filled_by IS NULL, s.slot)"
        )
        return self._over(list(fingerprints), pl.String, few)

    def having(self, traits: Iterable[str]) -> dict[str, set[str]]:
        """Traits -> names of the slots that were last found with them, of these."""
        wanted = pl.DataFrame({"traits": list(set(traits))}, schema={"traits": pl.String})
        found: dict[str, set[str]] = {}
        for each, slot in execute_over(
            self._connection,
            wanted,
            "SELECT traits, slot FROM ledger.slots SEMI JOIN arrived USING (traits) WHERE feed = ?",
            [self._feed],
        ):
            found.setdefault(each, set()).add(slot)
        return found

    def write(self, slots: Sequence[Slot], changed: int) -> None:
        """Note what fills these slots now; `changed`: the revision under which."""
        if not slots:
            return
        rows = pl.DataFrame(
            [
                (s.slot, s.place, s.filled_by, s.delivery_id, s.fingerprint, s.generation, s.position, s.traits)
                for s in slots
            ],
            schema=_SCHEMA,
            orient="row",
        )
        execute_over(
            self._connection,
            rows,
            "DELETE FROM ledger.slots s WHERE s.feed = ? AND s.slot IN (SELECT slot FROM arrived)",
            [self._feed],
        )
        execute_over(
            self._connection,
            rows,
            f"INSERT INTO ledger.slots (feed, {_COLUMNS}, changed) SELECT ?, {_COLUMNS}, ? FROM arrived",
            [self._feed, changed],
        )

    def _over(self, values: Sequence[object], kind: type[pl.DataType], where: str) -> list[Slot]:
        if not values:
            return []
        rows = execute_over(
            self._connection,
            pl.DataFrame({"value": values}, schema={"value": kind}),
            f"SELECT {_COLUMNS} FROM ledger.slots s WHERE s.feed = ? AND {where} ORDER BY slot",
            [self._feed],
        )
        return [Slot(*row) for row in rows]


class Rank(NamedTuple):
    """A place in the order: `day`, the date in a name (the first of all, where there is none), then the place there."""

    day: date
    place: int


def ranks(slots: Iterable[Slot], day_of: Callable[[str], date | None]) -> dict[int, Rank]:
    """Delivery -> its place in the order: that of the first of the slots that it fills, as if the others had come later
    with what was there already. day_of: the date in the name of what fills a slot."""
    found: dict[int, Rank] = {}
    for slot in slots:
        if slot.filled_by is not None and slot.place is not None:
            rank = Rank(day_of(slot.slot) or date.min, slot.place)
            found[slot.filled_by] = min(found.get(slot.filled_by, rank), rank)
    return found
