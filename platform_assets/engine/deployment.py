"""A deployment: its feeds, its landing folder and its state, and what can be asked of them as a whole.

Belongs here: what the command line and Dagster both need. Does not: how either shows it.
"""

import contextlib
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Literal

import duckdb

from platform_assets.engine.archive import Archive
from platform_assets.engine.builds import Builds
from platform_assets.engine.due import data_due
from platform_assets.engine.feed import Feed, Retention, feed_named
from platform_assets.engine.ingest import Outcome, commit, grouped, ingest, restore
from platform_assets.engine.landing import Arrival, Look, State, look, look_again, settled
from platform_assets.engine.ledger import Ledger, Totals
from platform_assets.engine.receipts import Receipt, publish_receipts, published_receipts
from platform_assets.engine.release import Releases
from platform_assets.engine.replay import components, stale
from platform_assets.engine.retention import expire
from platform_assets.engine.sightings import Seen, Sightings, published
from platform_assets.engine.tables import FeedTables
from platform_assets.engine.warehouse import Warehouse

_A_MOMENT: Final = timedelta(seconds=3)

Freshness = Literal["fresh", "late", "no data"]


@dataclass(frozen=True)
class FeedStatus:
    """A feed over all time. `newest`: newest event time (or arrival, for a feed without one);
    `due`: data up to then should be here; `reasons`: (column, rule, rows) in quarantine."""

    feed: Feed
    totals: Totals
    revision: int
    newest: datetime | None
    due: datetime
    reasons: Sequence[tuple[str | None, str, int]]

    @property
    def freshness(self) -> Freshness:
        """Whether the data that is due is here; a run that brought nothing new does not help."""
        if self.newest is None:
            return "no data"
        return "fresh" if self.newest >= self.due else "late"


def _utc_now() -> datetime:
    return datetime.now(tz=UTC)


class Deployment:
    """All state lies under `home`; deliveries arrive under `landing`, which is never written to."""

    def __init__(
        self,
        feeds: Sequence[Feed],
        *,
        home: Path,
        landing: Path,
        lock_wait: timedelta = timedelta(seconds=60),
        clock: Callable[[], datetime] = _utc_now,
        notify: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.feeds = tuple(feeds)
        self.home = home
        self.landing = landing
        self.clock = clock
        self.notify = notify
        self.warehouse = Warehouse(home / "warehouse.duckdb", home / "marts.duckdb", lock_wait)
        self.archive = Archive(home / "archive")
        self.releases = Releases(home / "releases")
        self.builds = Builds(home / "builds.sqlite", self.warehouse.marts)

    def feed(self, name: str) -> Feed:
        """The feed called `name`."""
        return feed_named(name, self.feeds)

    def prepare(self, *, but: Feed | None = None) -> None:
        """Create or extend what the feeds' declarations need in the warehouse; harmless to repeat.

        Raises ContractError where a column has another type than raw holds, in any feed `but` one to be replayed.
        """
        self.warehouse.prepare()
        with self.warehouse.open("prepare the tables", self.notify) as connection:
            ledger = Ledger(connection)
            ledger.prepare()
            ledger.begin_after(max(self._revisions_told(), default=0))
            for feed in self.feeds:
                if feed != but:
                    FeedTables(connection, feed).prepare()

    def _revisions_told(self) -> Iterator[int]:
        """Revisions that others know of: those of a warehouse that was lost must not be given out again."""
        released = self.releases.current()
        yield from released.built_from.values() if released else ()
        for made in self.builds.read().made.values():
            yield from made.revisions.values()

    def look(self) -> Look:
        """The landing folder now: files of every feed that may be new, and files that no feed asks for.

        By what was published of the ledger; takes no lock.
        """
        known = {feed.name: _settled_as(feed, published(self._sightings_file(feed))) for feed in self.feeds}
        return look(self.landing, self.feeds, known, strays=True)

    def pending(self, feed: Feed, *, wait: bool = False) -> Sequence[Arrival]:
        """Files of the feed that may be new, by what was published of the ledger; takes no lock.

        wait: for those that only have to rest a moment longer, at most as long as the feed's files have to settle.
        """
        unseen = self._unseen(feed, published(self._sightings_file(feed)))
        now = self.clock()
        young = [each for each in unseen if each.waits_for is None and not settled(each, feed, now)]
        if not wait or not young or feed.source.settle > _A_MOMENT:
            return unseen
        time.sleep(max(feed.source.settle.total_seconds() - each.age_s(now) for each in young) + 0.01)
        return [again for each in unseen if (again := look_again(each, feed) if each in young else each) is not None]

    def ingest(self, feed: Feed, *, most_files: int | None = None) -> Outcome:
        """Take in whatever is new for the feed, once it has settled; the ledger decides what is new.

        most_files: leave the rest for the next time.
        """
        with self.warehouse.open("see what is known", self.notify) as connection:
            # All feeds, so that none gives an id away that another's archive knows.
            lost = [
                receipt
                for each in self.feeds
                for receipt in restore(connection, each, self.archive, self.clock, self.notify)
            ]
            seen = Sightings(connection, feed.name).all()
        waiting, unsettled = self._settle(feed, seen)
        waiting = waiting[:most_files]
        outcome = Outcome(
            receipts=[receipt for receipt in lost if receipt.feed == feed.name],
            unfinished={arrival.slot: arrival.unfinished for arrival in unsettled},
        )
        if waiting:
            taken = ingest(
                feed,
                waiting,
                archive=self.archive,
                warehouse=self.warehouse,
                clock=self.clock,
                notify=self.notify,
            )
            outcome.receipts += taken.receipts
            outcome.unfinished |= taken.unfinished
        outdated = published(self._sightings_file(feed)) != seen or not self._receipts_file(feed).exists()
        if outcome.receipts or feed.keep != Retention() or outdated:
            with self.warehouse.open(f"publish what was seen of {feed.name}", self.notify) as connection:
                expire(connection, feed, self.archive, self.clock())
                self._publish(connection, feed)
        return outcome

    def replay(
        self, feed: Feed, chosen: Callable[[Receipt], bool] = lambda _: True, *, again: bool = False
    ) -> list[Receipt]:
        """Bring archived deliveries that `chosen` names through today's contract, with all that hang on them.

        Those that today's contract has judged already are left alone, unless `again`. Groups of deliveries are
        committed one by one; what is killed goes on where it stopped. Raises ReplayRefused where a copy is gone.
        """
        receipts: list[Receipt] = []
        with self.warehouse.open(f"replay {feed.name}", self.notify) as connection:
            ledger, tables = Ledger(connection), FeedTables(connection, feed)
            known = ledger.receipts(feed.name)
            if anew := bool(tables.retyped()):
                groups = [known]
            else:
                picked = [receipt for receipt in known if chosen(receipt)]
                due = [r.delivery_id for r in picked if r.archived] if again else stale(feed, picked)
                hanging = grouped(
                    components(known, ledger.given_way(feed.name), due),
                    lambda group: sum(receipt.bytes for receipt in group),
                )
                groups = [[receipt for component in group for receipt in component] for group in hanging]
            for group in groups:
                receipts += commit(
                    connection, feed, self.archive, [], self.clock, unfinished={}, again=group, anew=anew
                )
                self.notify(f"{feed.name}: {len(receipts)} of {sum(map(len, groups))} deliveries replayed")
            self._publish(connection, feed)
        return receipts

    def status(self, feeds: Sequence[Feed] | None = None) -> list[FeedStatus]:
        """How the feeds stand, over all time."""
        now = self.clock()
        with self.warehouse.open("read the ledger", self.notify) as connection:
            ledger = Ledger(connection)
            return [
                FeedStatus(
                    feed=feed,
                    totals=(totals := ledger.totals(feed.name)),
                    revision=ledger.feed_revision(feed.name),
                    newest=totals.newest if feed.event_time else totals.arrived,
                    due=data_due(feed, now),
                    reasons=FeedTables(connection, feed).reasons(),
                )
                for feed in (self.feeds if feeds is None else feeds)
            ]

    @contextlib.contextmanager
    def begin_build(self, assets: Collection[str], run: str, *, leftovers: Sequence[str] = ()) -> Iterator[None]:
        """Around a build of `assets` by `run` in the marts file: until noted as made, they are taken for missing.

        leftovers: how names end of what a build that was killed has left; it is removed.
        """
        with self.builds.changing(assets, run):
            with self.warehouse.open("begin to build the marts", self.notify) as connection:
                self.warehouse.sweep(connection, leftovers)
            yield

    def revision_published(self, feed: Feed) -> int:
        """The newest revision of the feed's rows by what was published of the ledger; 0 before the first delivery."""
        return max(
            (r.revision for r in self.receipts_published(feed) if r.status in ("accepted", "superseded")), default=0
        )

    def unpublished(self, feed: Feed) -> bool:
        """Whether a process that changed the feed's rows died before it could tell."""
        return False

    def receipts_published(self, feed: Feed) -> list[Receipt]:
        """The feed's newest receipts by what was published of the ledger, newest first; takes no lock."""
        return published_receipts(self._receipts_file(feed))

    def _publish(self, connection: duckdb.DuckDBPyConnection, feed: Feed) -> None:
        Sightings(connection, feed.name).publish(self._sightings_file(feed))
        publish_receipts(connection, feed.name, self._receipts_file(feed))

    def _sightings_file(self, feed: Feed) -> Path:
        return self.home / "seen" / f"{feed.name}.parquet"

    def _receipts_file(self, feed: Feed) -> Path:
        return self.home / "seen" / f"{feed.name}.receipts.parquet"

    def _unseen(self, feed: Feed, seen: Seen) -> Sequence[Arrival]:
        return look(self.landing, [feed], {feed.name: _settled_as(feed, seen)}).arrivals[feed.name]

    def _settle(self, feed: Feed, seen: Seen) -> tuple[list[Arrival], list[Arrival]]:
        """Arrivals that are new and at rest, and those still changing after a reasonable wait."""
        patience = time.monotonic() + 3 * feed.source.settle.total_seconds() + 1
        ready: list[Arrival] = []
        left: Sequence[Arrival] = self._unseen(feed, seen)
        while True:
            now = self.clock()
            ready += [arrival for arrival in left if settled(arrival, feed, now)]
            left = [arrival for arrival in left if not settled(arrival, feed, now)]
            # What has to come first will come when it does, and is then seen.
            if all(arrival.waits_for for arrival in left) or time.monotonic() > patience:
                return sorted(ready, key=lambda arrival: arrival.slot), left
            time.sleep(min(0.2, feed.source.settle.total_seconds()))
            left = [now_seen for arrival in left if (now_seen := look_again(arrival, feed)) is not None]


def _settled_as(feed: Feed, seen: Seen) -> dict[str, State]:
    """The state in which each file was settled for good: what was quarantined as a whole gets a new chance when its
    contract changes."""
    version = feed.version()
    return {slot: state for slot, (state, judged_by) in seen.items() if judged_by is None or judged_by == version}
