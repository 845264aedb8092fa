"""What a source is: it lists the deliveries that wait for a feed, and puts one of them into the archive.

Belongs here: the interface that every kind of source implements, and finding the kind that a feed declares.
Elsewhere: files as a source (files.py), what becomes of a delivery from then on (load).
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import singledispatch
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

from platform_assets.engine.archive.archive import Archive
from platform_assets.engine.archive.expected import NOTHING, Expected
from platform_assets.engine.archive.position import Position
from platform_assets.engine.feed.feed import Feed
from platform_assets.errors import ConfigurationError

A_MOMENT: Final = timedelta(seconds=3)
"""For that long it is worth while to wait until an arrival has settled."""


@dataclass(frozen=True, kw_only=True)
class Arrival:
    """A delivery that waits at its source: a file, a window of a table, a range of offsets.

    slot: the place that it fills, and that a later delivery can fill again: a file's path, a window's name.
    position: its state, or up to where it goes; None where it comes from the archive, and nobody asked the source.
    size: bytes, 0 where that is not known before it is claimed.
    arrived_at: when the producer wrote it, as the producer tells it. changed_at: when it last changed, by our clock.
    settle: how long it has to be unchanged before it is claimed. patience: how long an end that looks cut off is
        waited for.
    traits: what it would keep if only its slot were renamed; None where slots of this source cannot be renamed.
    refused: why it is never claimed, with the remedy. waits_for: what has to come before it is claimed.
    expects: what the producer announces of it.
    """

    slot: str
    position: Position | None
    size: int
    arrived_at: datetime
    changed_at: datetime
    settle: timedelta = timedelta()
    patience: timedelta = timedelta()
    traits: str | None = None
    refused: str | None = None
    remedy: str = ""
    waits_for: str | None = None
    expects: Expected = NOTHING

    def age(self, now: datetime) -> timedelta:
        """How long it has been unchanged; the clock may have been set back since it changed."""
        return abs(now - self.changed_at)

    def settles_soon(self, now: datetime) -> bool:
        """Whether it is settled, or is once it has been unchanged for a moment: whoever takes it in waits for that."""
        return self.settled(now) or (self.waits_for is None and self.settle <= A_MOMENT)

    def settled(self, now: datetime) -> bool:
        """Whether it can be judged: nothing has to come before, and it has been unchanged long enough."""
        return self.waits_for is None and self.age(now) >= self.settle

    @property
    def unfinished(self) -> str:
        """Why it is left alone until it is settled."""
        return "is still being written" if self.waits_for is None else f"waiting for {self.waits_for}"


@dataclass(frozen=True)
class Claim:
    """An arrival that is in the archive. fingerprint: the SHA-256 of what was delivered; copy: where that lies;
    position: of the source, once this delivery is committed."""

    fingerprint: str
    copy: Path
    position: Position | None


@dataclass(frozen=True)
class Waiting:
    """What waits at one moment. arrivals: by the feeds' names, what may be new. unclaimed: files in the landing folder
    that no feed asks for."""

    arrivals: Mapping[str, Sequence[Arrival]]
    unclaimed: Sequence[str]


AnArrival = TypeVar("AnArrival", bound=Arrival)


class Source(ABC, Generic[AnArrival]):
    """Where the deliveries of one feed come from. It keeps nothing between two calls: what was taken in, the ledger
    knows, and it is handed to `pending`."""

    @abstractmethod
    def pending(self, positions: Mapping[str, Position]) -> Sequence[AnArrival]:
        """What may be new, by slot. `positions`: slot -> the position that was committed for it; what is still there
        is left out."""

    @abstractmethod
    def claim(self, arrival: AnArrival, archive: Archive) -> Claim:
        """Put what arrived into the archive, as it came.

        Raises DeliveryRefused where it cannot be read, DeliveryUnfinished where it has changed since it was listed,
        DiskLow where there is no room for it, StorageError where the archive cannot be written.
        """

    def again(self, arrival: AnArrival) -> AnArrival | None:
        """The same delivery as it is now, None where it is gone; for sources where one changes while it waits."""
        return arrival

    def traits(self, slot: str) -> str | None:  # noqa: ARG002 - for those who need it
        """The traits of what fills the slot now, None where nothing does; for sources where slots can be renamed."""
        return None


@singledispatch
def source_of(declared: object, feed: Feed, landing: Path) -> Source[Any]:  # noqa: ARG001 - for those who need it
    """The source that a feed declares as `declared`. Every kind of source registers its declaration here."""
    raise ConfigurationError(
        f"Feed({feed.name!r}).source", f"{declared!r} is no source", 'Declare one, such as Files("shop/orders/*.csv").'
    )
