"""What every kind of source has to do, asked of each; and a second kind, loaded as files are."""

import json
import os
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from shop import FILES, HEADER, SALES, Shop, numbered

from platform_assets.engine.archive.archive import Archive
from platform_assets.engine.archive.position import Position
from platform_assets.engine.feed.feed import Feed
from platform_assets.engine.feed.formats import Format
from platform_assets.engine.sources.files import FileSource
from platform_assets.engine.sources.source import Arrival, Claim, Source, source_of
from platform_assets.errors import ConfigurationError, DeliveryUnfinished

MIDNIGHT = datetime(2026, 3, 1, tzinfo=UTC)


# ---- a second kind: windows of a table, an hour each


@dataclass(frozen=True)
class Windows:
    """A declaration: the table `name`, whose rows are delivered by the hour in which they were written. `closed`: how
    many of its hours are over; the rows of an hour may still be corrected."""

    name: str
    rows: list[tuple[int, str]] = field(default_factory=list)
    closed: list[int] = field(default_factory=lambda: [0])
    format: Format | None = None
    largest: int = 1000
    longest: timedelta = timedelta(minutes=1)

    @property
    def places(self) -> tuple[str, ...]:
        return (f"table {self.name}",)


class WindowSource(Source[Arrival]):
    """The windows of a table, in memory. A position: the numbers of the first row and of the last, and a digest."""

    def __init__(self, declared: Windows, feed: Feed, landing: Path) -> None:
        del landing  # a table has no folder
        self._table, self._feed = declared, feed.name

    def _position(self, hour: int) -> Position:
        found = [(number, row) for number, (at, row) in enumerate(self._table.rows) if at == hour]
        return json.dumps([found[0][0], found[-1][0], zlib.crc32(repr(found).encode())] if found else [])

    def pending(self, positions: Mapping[str, Position]) -> Sequence[Arrival]:
        arrivals = []
        for hour in range(self._table.closed[0]):
            slot, position = f"{self._table.name} {hour:02}:00", self._position(hour)
            if position != "[]" and positions.get(slot) != position:
                end = MIDNIGHT + timedelta(hours=hour + 1)
                arrivals.append(Arrival(slot=slot, position=position, size=0, arrived_at=end, changed_at=end))
        return arrivals

    def claim(self, arrival: Arrival, archive: Archive) -> Claim:
        hour = int(arrival.slot.split()[-1][:2])
        if self._position(hour) != arrival.position:
            raise DeliveryUnfinished("was corrected while it was being read")
        lines = (f"{line}\n".encode() for line in (HEADER, *(row for at, row in self._table.rows if at == hour)))
        fingerprint, copy = archive.keep(self._feed, lines, ".csv")
        return Claim(fingerprint, copy, arrival.position)


source_of.register(Windows, WindowSource)


# ---- what every kind has to do


class World:
    """A source with two deliveries in it, and what a producer may do to them."""

    source: Source[Any]

    def __init__(self, root: Path) -> None: ...

    def change(self, slot: str) -> None:
        """Let the slot have other content, in the way that shows least."""

    def remove(self, slot: str) -> None:
        """Take away what fills the slot."""


class FileWorld(World):
    def __init__(self, root: Path) -> None:
        self._landing = root / "landing"
        (self._landing / "sales").mkdir(parents=True)
        for name in ("b.csv", "a.csv"):
            (self._landing / "sales" / name).write_text(numbered(ord(name[0]), 3))
        self.source = FileSource(FILES, SALES, self._landing)

    def change(self, slot: str) -> None:
        path = self._landing / slot
        status = path.stat()
        path.write_bytes(path.read_bytes()[::-1])  # in place, to the same size
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))

    def remove(self, slot: str) -> None:
        (self._landing / slot).unlink()


class WindowWorld(World):
    def __init__(self, root: Path) -> None:
        self._table = Windows("orders", [(0, "S1,1,,,"), (1, "S2,1,,,"), (0, "S3,1,,,")], [2])
        self.source = WindowSource(self._table, SALES, root)

    def change(self, slot: str) -> None:
        at = next(n for n, (hour, _) in enumerate(self._table.rows) if slot.endswith(f"{hour:02}:00"))
        self._table.rows[at] = (self._table.rows[at][0], "S9,9,,,")

    def remove(self, slot: str) -> None:
        self._table.rows[:] = [(-1 if slot.endswith(f"{at:02}:00") else at, row) for at, row in self._table.rows]


KINDS: Sequence[Callable[[Path], World]] = [FileWorld, WindowWorld]


@pytest.fixture(params=KINDS)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    made: World = request.param(tmp_path)
    return made


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(tmp_path / "archive")


def taken(arrivals: Sequence[Arrival]) -> dict[str, Position]:
    """What is committed once these were taken in."""
    return {arrival.slot: arrival.position or "" for arrival in arrivals}


def test_what_was_taken_in_is_left_out_until_it_changes(world: World) -> None:
    first = world.source.pending({})
    assert len(first) == 2
    assert world.source.pending(taken(first)) == []
    assert world.source.pending(taken(first[:1])) == first[1:]
    world.change(first[0].slot)
    assert [arrival.slot for arrival in world.source.pending(taken(first))] == [first[0].slot]


def test_arrivals_come_by_slot_and_listing_them_again_gives_the_same(world: World) -> None:
    first = world.source.pending({})
    assert [arrival.slot for arrival in first] == sorted({arrival.slot for arrival in first})
    assert world.source.pending({}) == first
    assert [world.source.again(arrival) for arrival in first] == first


def test_a_position_is_json_that_another_process_may_compare(world: World) -> None:
    for arrival in world.source.pending({}):
        assert json.loads(arrival.position or "null")
    settled = [arrival.settled(datetime.now(tz=UTC) + timedelta(days=1)) for arrival in world.source.pending({})]
    assert settled == [True, True]


def test_what_is_claimed_lies_in_the_archive_under_its_content(world: World, archive: Archive) -> None:
    for arrival in world.source.pending({}):
        claim = world.source.claim(arrival, archive)
        assert claim.position == arrival.position
        assert archive.holds(claim.copy)
        assert world.source.claim(arrival, archive) == claim, "claiming twice is claiming once"


@pytest.mark.parametrize("happens", ["change", "remove"])
def test_what_changes_after_it_was_listed_is_not_claimed(world: World, archive: Archive, happens: str) -> None:
    arrival, other = world.source.pending({})
    getattr(world, happens)(arrival.slot)
    with pytest.raises(DeliveryUnfinished):
        world.source.claim(arrival, archive)
    assert [path for path in archive.root.rglob("*") if path.is_file() and path.name != ".lock"] == []
    claim = world.source.claim(other, archive)
    assert archive.holds(claim.copy)


def test_what_is_gone_is_not_pending(world: World) -> None:
    first, second = world.source.pending({})
    world.remove(first.slot)
    assert [arrival.slot for arrival in world.source.pending({})] == [second.slot]
    assert world.source.traits(first.slot) is None


# ---- the second kind on the one path of a delivery


@pytest.fixture
def table(tmp_path: Path) -> tuple[Shop, Windows]:
    """A shop whose sales come from a table: 3 rows in its first hour, 1 in its second, which is not over."""
    orders = Windows("orders", [(0, "S1,1,,,"), (0, "S2,1,,,"), (1, "S4,1,,,"), (0, "S3,bad,,,")], [1])
    shop = Shop(tmp_path, replace(SALES, source=orders))
    shop.deployment.prepare()
    return shop, orders


def test_windows_of_a_table_load_once_each_and_a_corrected_one_replaces_its_rows(table: tuple[Shop, Windows]) -> None:
    shop, orders = table
    (receipt,) = shop.ingest().receipts
    assert (receipt.slot, receipt.status, receipt.accepted, receipt.rejected) == ("orders 00:00", "accepted", 2, 1)
    assert (shop.ingest().receipts, shop.deployment.pending(shop.feed)) == ([], [])
    assert shop.deployment.look().arrivals == {"sales": []}
    orders.closed[0] = 2
    assert [arrival.slot for arrival in shop.deployment.pending(shop.feed)] == ["orders 01:00"]
    orders.rows[0] = (0, "S9,1,,,")
    assert [(each.slot, each.supersedes) for each in shop.ingest().receipts] == [
        ("orders 00:00", receipt.delivery_id),
        ("orders 01:00", None),
    ]
    assert shop.skus() == ["S2", "S4", "S9"]
    assert shop.reconciles()


def test_a_window_is_replayed_and_restored_without_asking_the_table(table: tuple[Shop, Windows]) -> None:
    shop, orders = table
    shop.ingest()
    before = list(orders.rows)
    orders.rows.clear()
    assert [receipt.status for receipt in shop.deployment.replay(shop.feed, again=True)] == ["accepted"]
    (shop.root / "home/warehouse.duckdb").unlink()
    shop.deployment.prepare()
    assert [receipt.slot for receipt in shop.ingest().receipts] == ["orders 00:00"]
    assert shop.skus() == ["S1", "S2"]
    orders.rows[:] = before
    assert shop.deployment.pending(shop.feed) == [], "the position came back with the delivery"


def test_a_declaration_of_no_known_source_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"Feed\('sales'\)\.source"):
        source_of("pigeons", SALES, tmp_path)
