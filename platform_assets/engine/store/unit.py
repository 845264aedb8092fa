"""The seam of the store: what any store gives the rest of the engine, and what it promises.

Belongs here: the two protocols. `tests/unit/store/test_store.py` holds every implementation to their promises; the
first is DuckDB (warehouse.py). Nothing outside this room knows a connection or the ledger's SQL.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Protocol

from platform_assets.engine.feed.feed import Feed
from platform_assets.engine.store.ledger import Ledger
from platform_assets.engine.store.listing import Listing
from platform_assets.engine.store.newest import Rows
from platform_assets.engine.store.profiles import Profiles
from platform_assets.engine.store.published import Published
from platform_assets.engine.store.quarantine import Quarantine
from platform_assets.engine.store.slots import Slots
from platform_assets.engine.store.tables import FeedTables
from platform_assets.engine.store.undeclared import Undeclared


class Unit(Protocol):
    """A unit of work on the store, of one thread: all that is changed through it happens, or nothing does.

    From its beginning to its end no other process changes anything, whatever it commits meanwhile.
    """

    @property
    def ledger(self) -> Ledger:
        """The receipts of all feeds."""

    def listing(self, feed: str) -> Listing:
        """The receipts of the feed, chosen as a person looks for them."""

    def tables(self, feed: Feed) -> FeedTables:
        """raw.<feed> and quarantine.<feed>, for rows to go in and out."""

    def slots(self, feed: Feed) -> Slots:
        """Which delivery fills each slot of the feed, and the position in which its source was last read."""

    def newest(self, feed: Feed, deliveries: Collection[int]) -> Rows:
        """The newest rows of raw that these deliveries brought, as people look at them."""

    def quarantine(self, feed: Feed) -> Quarantine:
        """What waits in the feed's quarantine, for people."""

    def profiles(self, feed: Feed) -> Profiles:
        """What the values of the feed's newest deliveries are like."""

    def undeclared(self, declared: Collection[str]) -> Undeclared:
        """What is stored of feeds that are none of those `declared`."""

    def lines(self, table: str, values: Mapping[str, str], most: int) -> list[tuple[int, int]]:
        """Delivery and line of the first rows of `table` in which columns have these values, as text.

        Raises ConfigurationError where there is no such table or column, or its rows do not say where they came from.
        """

    def commit(self) -> None:
        """What was changed so far stands, whatever happens next; the unit goes on."""

    def will_change(self, feed: Feed) -> None:
        """Mark what is published of the feed as out of date; safe on disk before anything of the feed is committed."""

    def publish(self, feed: Feed) -> None:
        """Commit, and bring what is published of the feed up to date."""


class Store(Protocol):
    """Where ledger and tables are kept. One unit at a time changes it; others wait, and are told for whom."""

    def prepare(self, feeds: Iterable[Feed], *, after: Callable[[], int]) -> None:
        """Create or extend what these feeds need; harmless to repeat.

        after: asked once the store is open; revisions up to this one were given out by a store that was lost, and are
        not given out again.
        """

    def transaction(self, purpose: str) -> AbstractContextManager[Unit]:
        """A unit that is committed at its end, and rolled back where an error ends it.

        Raises WarehouseBusy, naming the process that keeps us waiting, and StorageError.
        """

    def reading(self, purpose: str) -> AbstractContextManager[Unit]:
        """A unit for questions; it can change nothing."""

    def published(self, feed: Feed) -> Published:
        """What can be read of the feed while another process has the store."""

    def held_by(self) -> str | None:
        """The process that has the store now; None if it is free, or not there."""
