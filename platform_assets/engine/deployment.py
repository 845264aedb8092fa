"""A deployment: its feeds, its landing folder and its state, and what can be asked of them as a whole.

Belongs here: what the command line and Dagster both need. Elsewhere: how either shows it.
"""

import contextlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from platform_assets.engine.archive.archive import Archive
from platform_assets.engine.archive.decisions import Decision
from platform_assets.engine.contract.shown import guarding, shown_of
from platform_assets.engine.durable.disk import Disk, Floor
from platform_assets.engine.erase.tombstones import Tombstones
from platform_assets.engine.feed.feed import Feed, feed_named
from platform_assets.engine.feed.product import UNGROUPED, is_product
from platform_assets.engine.foreseen import Foreseen, foresee
from platform_assets.engine.load.decisions import Followed, Verb, decide
from platform_assets.engine.load.ingest import Intake
from platform_assets.engine.load.offer import Outcome
from platform_assets.engine.promises.due import Deliveries
from platform_assets.engine.promises.freshness import Freshness, feed_freshness
from platform_assets.engine.sources.files import all_waiting
from platform_assets.engine.sources.source import Arrival, Waiting, source_of
from platform_assets.engine.store.builds import Builds
from platform_assets.engine.store.marts import drop_leftovers
from platform_assets.engine.store.pseudonyms import Key
from platform_assets.engine.store.receipts import Receipt, Totals
from platform_assets.engine.store.release import Release, Releases
from platform_assets.engine.store.relocation import follow
from platform_assets.engine.store.warehouse import Warehouse
from platform_assets.errors import DecisionRefused, PlatformError, ReplayRefused, counted

_JUDGED: Final = 5_000  # receipts, the newest


@dataclass(frozen=True)
class FeedStatus:
    """A feed over all time. `fresh`: as promises have it; `reasons`: (column, rule, rows) in quarantine."""

    feed: Feed
    totals: Totals
    revision: int
    fresh: Freshness
    reasons: Sequence[tuple[str | None, str, int]]

    @property
    def newest(self) -> datetime | None:
        """Up to when its data goes."""
        return self.fresh.newest

    @property
    def freshness(self) -> str:
        """Whether the data that is due is here, in a word; a run that brought nothing new does not help."""
        return str(self.fresh)


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
        floor: Floor = Floor(),  # noqa: B008 - an immutable value
        clock: Callable[[], datetime] = _utc_now,
        notify: Callable[[str], None] = lambda _: None,
        erase_key: Callable[[], str | None] = lambda: None,
        pseudonym_key: Callable[[], str | None] = lambda: None,
    ) -> None:
        """erase_key, pseudonym_key: give the secrets by which persons that were erased are known, and by which
        pseudonyms are made, or None; each is asked when it is needed."""
        self.feeds = tuple(feeds)
        self.home = home
        self.landing = landing
        self.clock = clock
        self.notify = notify
        self.warehouse = Warehouse(home / "warehouse.duckdb", home / "marts.duckdb", lock_wait, notify)
        self.disk = Disk((home / "archive", home), floor)
        self.archive = Archive(home / "archive", self.disk)
        self.tombstones = Tombstones(home / "erasures", erase_key)
        self._pseudonym_key = pseudonym_key
        self.builds = Builds(home / "builds.sqlite", self.warehouse.marts)

    @property
    def pseudonym_key(self) -> Key | None:
        """The key of pseudonyms; None where none is given. Raises ConfigurationError where it cannot be one."""
        return None if (secret := self._pseudonym_key()) is None else Key(secret)

    def releases_of(self, product: str) -> Releases:
        """The releases of a product."""
        return Releases(self.home / "releases", product)

    @property
    def releases(self) -> Releases:
        """Those of the marts that are in no group."""
        return self.releases_of(UNGROUPED)

    def released_products(self) -> list[str]:
        """The products that there are releases of, or were, be they declared or not."""
        folder = self.home / "releases"
        there = folder.iterdir() if folder.is_dir() else ()
        return sorted(path.name for path in there if is_product(path.name) and path.is_dir())

    def all_releases(self) -> list[Release]:
        """Every release of every product that readers have had; of one product the newest first."""
        return [release for releases in self.products() for release in releases.had()]

    def products(self) -> list[Releases]:
        """The releases of each product that has any, be it declared or not."""
        return [self.releases_of(product) for product in self.released_products()]

    def feed(self, name: str) -> Feed:
        """The feed called `name`."""
        return feed_named(name, self.feeds)

    def prepare(self, *, but: Feed | None = None) -> None:
        """Create or extend what the feeds' declarations need in the warehouse, `but` for one; harmless to repeat.

        A column whose type has changed stops the ingest of its feed alone. Readers get the releases that they should,
        wherever a kill has left the links.
        """
        self.warehouse.prepare(
            [feed for feed in self.feeds if feed != but], after=lambda: max(self._revisions_known(), default=0)
        )
        if moved := follow(self.warehouse, self.products()):
            self.notify(f"{counted(moved, 'release')} lay elsewhere before: their views read the files beside them now")
        for releases in self.products():
            releases.settle(self.clock())

    def _revisions_known(self) -> Iterator[int]:
        """Revisions that others know of: those of a warehouse that was lost must not be given out again."""
        for releases in self.products():
            for mart in () if (released := releases.newest()) is None else released.marts.values():
                yield from mart.built_from.values()
        for made in self.builds.read().made.values():
            yield from made.revisions.values()

    def look(self) -> Waiting:
        """What of every feed may be new now, and files that no feed asks for.

        By what was published of the ledger; takes no lock.
        """
        with contextlib.ExitStack() as stack:
            known = {
                feed.name: stack.enter_context(self.warehouse.published(feed).positions(feed.version()))
                for feed in self.feeds
            }
            return all_waiting(self.feeds, self.landing, known)

    def pending(self, feed: Feed, *, wait: bool = False) -> Sequence[Arrival]:
        """What of the feed may be new, by what was published of the ledger; takes no lock.

        wait: for what only has to be unchanged a moment longer, at most three seconds.
        """
        return self._intake(feed).pending(wait=wait)

    def ready(self, feed: Feed) -> Sequence[Arrival]:
        """Those of the pending files that have settled: the next ingest takes them in."""
        now = self.clock()
        return [arrival for arrival in self.pending(feed) if arrival.settled(now)]

    def ingest(self, feed: Feed, *, most_files: int | None = None) -> Outcome:
        """Take in whatever is new for the feed, once it has settled; the ledger decides what is new.

        most_files: leave the rest for the next time. Raises ContractError where a column has another type than raw
        holds.
        """
        for each in self.tombstones.of(feed.name):
            if each.finished_at is None:
                self.notify(f"{feed.name}: erasure {each.id} is unfinished; give its command again")
        with guarding([feed.contract]):
            restored = self._restore(feed)
            outcome = self._intake(feed).ingest(most_files=most_files)
        return Outcome([*restored, *outcome.receipts], outcome.unfinished)

    def replay(
        self, feed: Feed, chosen: Callable[[Receipt], bool] = lambda _: True, *, again: bool = False
    ) -> list[Receipt]:
        """Bring archived deliveries that `chosen` names through today's contract, with all that hang on them.

        Those that today's contract has judged already are left alone, unless `again`. Groups of deliveries are
        committed one by one; what is killed goes on where it stopped. Raises ReplayRefused where a copy is gone.
        """
        with guarding([feed.contract]):
            return self._intake(feed).replay(chosen, again=again)

    def decide(self, feed: Feed, verb: Verb, delivery: int, *, by: str, why: str = "") -> Followed:
        """Withdraw a delivery of the feed, restore it, accept it, or undo that; with all that hangs on it.

        Raises ConfigurationError where it is none of the feed or it stands so already, DecisionRefused where it cannot
        be done, ReplayRefused where a copy is gone.
        """
        with guarding([feed.contract]):
            intake = self._intake(feed)
            try:
                return decide(intake, verb, delivery, Decision(by, why, self.clock().isoformat()))
            except (DecisionRefused, ReplayRefused):
                intake.publish()  # nothing has changed: nobody need look
                raise

    def foresee(self, feed: Feed, file: Path) -> Foreseen:
        """What ledger and landing folder say of a file of the feed before it is taken in; nothing is written."""
        if not self.warehouse.path.exists():
            return foresee(feed, file, self.landing, self.clock(), None)
        with self.warehouse.reading("see what the ledger knows of a file") as unit:
            return foresee(feed, file, self.landing, self.clock(), unit)

    def status(self, feeds: Sequence[Feed] | None = None) -> list[FeedStatus]:
        """How the feeds stand, over all time."""
        with self.warehouse.reading("read the ledger") as unit:
            return [
                FeedStatus(
                    feed=feed,
                    totals=unit.ledger.totals(feed.name),
                    revision=unit.ledger.feed_revision(feed.name),
                    fresh=self.freshness(feed, unit.ledger.newest(feed.name, _JUDGED)),
                    reasons=unit.quarantine(feed).reasons(),
                )
                for feed in (self.feeds if feeds is None else feeds)
            ]

    @contextlib.contextmanager
    def begin_build(self, assets: Collection[str], run: str, *, leftovers: Sequence[str] = ()) -> Iterator[None]:
        """Around a build of `assets` by `run` in the marts file: until noted as made, they are taken for missing.

        leftovers: how names end of what a build that was killed has left; it is removed.
        """
        with self.builds.changing(assets, run):
            drop_leftovers(self.warehouse, leftovers)
            yield

    def why_waiting(self, arrival: Arrival, said: Mapping[str, str]) -> str:
        """Why what may be new is not in the warehouse. said: what ingests have just said of slots."""
        now = self.clock()
        if not arrival.settled(now):
            return arrival.unfinished
        if (low := self.disk.low(arrival.size)) is not None:
            return f"waits: {low.what}"
        why = said.get(arrival.slot, "was not taken in")
        judged = arrival.changed_at + arrival.patience
        return f"{why}; offered again" + (f", and from {judged:%H:%M} UTC on taken as it is" if now < judged else "")

    def freshness(self, feed: Feed, receipts: Sequence[Receipt]) -> Freshness:
        """Whether the feed has the data that is due now, by these receipts."""
        return feed_freshness(Deliveries(feed, receipts), self.clock())

    def receipts_published(self, feed: Feed) -> list[Receipt]:
        """The feed's newest receipts by what was published of the ledger, newest first; takes no lock."""
        return self.warehouse.published(feed).receipts()

    def rejections_published(self, feed: Feed) -> dict[int, list[tuple[str | None, str, int]]]:
        """Of the feed's newest deliveries, those with rows in quarantine: (column, rule, rows); takes no lock."""
        shown = shown_of(feed.contract)
        return {
            delivery: [(shown.name(column), rule, rows) for column, rule, rows in broken]
            for delivery, broken in self.warehouse.published(feed).rejections().items()
        }

    def newest_data(self, revisions: Mapping[str, int]) -> datetime | None:
        """Up to when the data goes of all these feeds, as they were at these revisions: of the stalest that has any.

        By what was published of the ledger; takes no lock.
        """
        found = []
        for name, revision in revisions.items():
            feed = self.feed(name)
            receipts = [each for each in self.receipts_published(feed) if each.revision <= revision]
            found.append(Deliveries(feed, receipts).in_raw.newest_data)
        return min(filter(None, found), default=None)

    def decided(self, feeds: Iterable[str]) -> list[dict[str, object]]:
        """What persons decided of deliveries of these feeds, as far as it stands: of those that were let through, whose
        rows are in raw. By what was published of the ledger; takes no lock."""
        found: list[dict[str, object]] = []
        for name in feeds:
            decided = {about: each for about, each in self.archive.decisions(name).all().items() if each.stands}
            receipts = self.warehouse.published(self.feed(name)).receipts() if decided else []
            there = {about: receipt.status for receipt in receipts[::-1] for about in receipt.subjects}
            for about, each in decided.items():
                mark, what = each.withdrawn or each.allowed, "accepted" if each.withdrawn is None else "withdrawn"
                if mark is not None and (what == "withdrawn" or there.get(about) != "superseded"):
                    found.append(
                        {"feed": name, "delivery": each.delivery, "file": each.file, "what": what, **asdict(mark)}
                    )
        return found

    def revision_published(self, feed: Feed) -> int:
        """The feed's revision by what was published of the ledger, 0 before its first delivery; takes no lock."""
        return self.warehouse.published(feed).revision

    def unpublished(self, feed: Feed) -> bool:
        """Whether the feed's ledger may be ahead of what was published of it: a run is changing it, or was killed
        before it published that; or the copy is lost. Takes no lock; the next ingest of the feed publishes it."""
        return self.warehouse.published(feed).is_stale

    def _intake(self, feed: Feed) -> Intake:
        """What takes deliveries of the feed in."""
        source = source_of(feed.source, feed, self.landing)
        return Intake(feed, source, self.archive, self.warehouse, self.tombstones, self.clock, self.notify)

    def _restore(self, feed: Feed) -> list[Receipt]:
        """Bring back what the warehouse has lost of any feed, for none may wait for files of its own; what came back of
        `feed`. An error of another feed does not stop this one."""
        with self.warehouse.transaction("see what is known") as unit:
            unit.tables(feed).refuse_retyped()
            # What is looked up in the landing folder is what the ledger knows.
            unit.publish(feed)
            # Of another feed that is retyped, its own ingest says so.
            lacking = [
                each for each in self.feeds if not unit.tables(each).retyped() and self._intake(each).lacks(unit)
            ]
        receipts: list[Receipt] = []
        for each in lacking:
            try:
                restored = self._intake(each).restore()
            except PlatformError as error:
                if each == feed:
                    raise
                self.notify(f"{each.name}: what the warehouse lacks did not come back: {error.what}")
                continue
            if each == feed:
                receipts = restored
        return receipts
