"""Offers: deliveries that are to be taken in, whether they have just arrived or came before; and the outcome.

Belongs here: what is known of one before it is read. Elsewhere: where it comes from (ingest.py, replay.py), what
becomes of it (delivery.py).
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, NamedTuple, TypeVar

from platform_assets.engine.archive.decisions import subjects
from platform_assets.engine.sources.source import Arrival, Claim
from platform_assets.engine.store.receipts import Receipt
from platform_assets.engine.store.slots import Slot
from platform_assets.errors import DeliveryRefused

MOST_FILES: Final = 100
_MOST_BYTES: Final = 1 << 30
ITS_TURN: Final = "waits for its turn: what came before it took long to read"
"""Why what was offered is left to the next transaction."""


class Known(NamedTuple):
    """What a delivery that is brought in again keeps of its receipt; `accepted_at`: where it was ever accepted."""

    delivery_id: int
    committed_at: datetime
    accepted_at: datetime | None
    generation: int
    came_with: int


@dataclass(frozen=True)
class Offer:
    """A delivery to be taken in: an arrival, claimed into the archive or `refused`.

    known_as: if it came before. moved_from: as in its receipt. final: whether its source, once it has a receipt, need
    not be asked for it again until its position changes. kept: a receipt that stays as it is; only its slot is filled
    anew. erased: rows of erased persons, which the claim's copy holds no longer. before: the receipt that it had.
    """

    arrival: Arrival
    claim: Claim | None
    refused: DeliveryRefused | None = None
    known_as: Known | None = None
    moved_from: tuple[str, ...] = ()
    final: bool = True
    kept: Receipt | None = None
    erased: int = 0
    before: Receipt | None = None

    @property
    def slot(self) -> str:
        """The slot it fills."""
        return self.arrival.slot

    def is_like(self, slot: Slot) -> bool:
        """Whether what filled the slot may be what is offered, only renamed."""
        return slot.traits is not None and slot.traits == self.arrival.traits

    @property
    def fingerprint(self) -> str | None:
        """Its content."""
        return self.claim.fingerprint if self.claim else None

    @property
    def subjects(self) -> tuple[str, ...]:
        """What decisions of persons may be about that hold for it."""
        return subjects(self.fingerprint, self.slot, self.arrival.size, self.arrival.arrived_at, self.moved_from)


@dataclass
class Outcome:
    """What was done: receipts written, and deliveries left alone (slot -> why)."""

    receipts: list[Receipt] = field(default_factory=list)
    unfinished: dict[str, str] = field(default_factory=dict)


_Sized = TypeVar("_Sized")


def grouped(items: Iterable[_Sized], size: Callable[[_Sized], int]) -> Iterator[list[_Sized]]:
    """What goes into one transaction: enough to be fast, little enough to lose and to wait for."""
    group: list[_Sized] = []
    total = 0
    for item in items:
        if group and (len(group) == MOST_FILES or total + size(item) > _MOST_BYTES):
            yield group
            group, total = [], 0
        group.append(item)
        total += size(item)
    if group:
        yield group
