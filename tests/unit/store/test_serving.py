"""What readers of a product get: one whole release, whoever goes back, prunes, publishes or is killed meanwhile."""

import os
import shutil
import signal
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import duckdb
import pytest
from shop import Shop, child, ended

from platform_assets.engine.durable import failpoint
from platform_assets.engine.store.release import Label, Release, Releases
from platform_assets.errors import ReleaseRefused

NOON: Final = datetime(2026, 3, 1, 12, tzinfo=UTC)
KEEP: Final = timedelta(days=30)


def released(shop: Shop, *rows: int) -> list[Release]:
    """A release for each of these numbers of rows; a second mart stays as it is."""
    made = []
    for count in rows:
        with duckdb.connect(str(shop.deployment.warehouse.marts)) as marts:
            marts.execute(f"CREATE OR REPLACE TABLE daily AS SELECT range AS n FROM range({count})")
            marts.execute("CREATE TABLE IF NOT EXISTS steady AS SELECT range AS n FROM range(20_000)")
        made.append(publish(shop))
    return made


def publish(shop: Shop, *, shadow: bool = False, unfit: str | None = None) -> Release:
    deployment, marts = shop.deployment, ["daily", "steady"]
    return deployment.releases.publish(
        deployment.warehouse, shop.clock(), marts, lambda: Label(unfit=unfit), shadow=shadow
    )


def got(releases: Releases) -> int:
    """How many rows a reader of the link gets, who opens it now."""
    with closing(duckdb.connect(os.path.realpath(releases.link), read_only=True)) as reader:
        ((rows,),) = reader.execute("SELECT count(*) FROM daily").fetchall()
    return int(rows)


def long_ago(releases: Releases) -> None:
    """As if none but the current one had been read for hours."""
    for release in releases.kept():
        os.utime(release.folder, (0, 0))


def test_going_back_is_at_once_and_holds_until_it_is_unpinned(shop: Shop) -> None:
    releases = shop.deployment.releases
    first, second = released(shop, 1, 2)
    with closing(duckdb.connect(os.path.realpath(releases.link), read_only=True)) as reader:
        shop.clock.ahead = timedelta(seconds=1)
        at = shop.clock()
        releases.pin(first, "os:anna", "returns are counted twice", at)
        shop.clock.ahead = timedelta(seconds=10)
        assert got(releases) == 1
        assert reader.execute("SELECT count(*) FROM daily").fetchall() == [(2,)], "whoever reads, reads on"

    (third,) = released(shop, 3)
    assert (got(releases), releases.newest(), releases.current()) == (1, third, first)
    assert shop.deployment.all_releases() == [second, first], "no promise is kept by what nobody gets"
    pin = releases.pinned()
    assert pin is not None
    since = f"since {at:%Y-%m-%d %H:%M} UTC"
    assert str(pin) == f"pinned at {first.id} by os:anna {since}: returns are counted twice"

    releases.pin(second, "os:ben", "", NOON)
    assert got(releases) == 2
    assert releases.unpin(NOON) == third
    assert (got(releases), releases.pinned()) == (3, None)


def _killed(root: Path, point: str, act: Callable[[Releases], object]) -> int:
    return ended(child(_acting, root, point, act))


def _acting(root: Path, point: str, act: Callable[[Releases], object]) -> None:
    shop = Shop(root)
    failpoint.arm(point)
    act(shop.deployment.releases)


def _pin_oldest(releases: Releases) -> None:
    releases.pin(releases.all()[-1], "os:anna", "", NOON)


def _unpin(releases: Releases) -> None:
    releases.unpin(NOON)


def _prune(releases: Releases) -> None:
    releases.prune(datetime.now(tz=UTC) + KEEP, timedelta(), 1)


@pytest.mark.parametrize(("point", "then"), [("pinned", 2), ("release-link", 1)])
def test_going_back_that_is_killed_is_whole_at_the_next_look(shop: Shop, point: str, then: int) -> None:
    released(shop, 1, 2)
    releases = shop.deployment.releases
    assert _killed(shop.root, point, _pin_oldest) == -signal.SIGKILL
    assert got(releases) == then
    releases.settle(NOON)
    assert got(releases) == 1
    released(shop, 3)
    assert got(releases) == 1


@pytest.mark.parametrize(("point", "then"), [("unpinned", 1), ("release-link", 2)])
def test_unpinning_that_is_killed_likewise(shop: Shop, point: str, then: int) -> None:
    first, _ = released(shop, 1, 2)
    releases = shop.deployment.releases
    releases.pin(first, "os:anna", "", NOON)
    assert _killed(shop.root, point, _unpin) == -signal.SIGKILL
    assert (got(releases), releases.pinned()) == (then, None)
    releases.settle(NOON)
    assert got(releases) == 2


def test_two_who_go_back_at_once_leave_link_and_pin_of_one(shop: Shop) -> None:
    released(shop, 1, 2, 3)
    releases = shop.deployment.releases
    processes = [child(_to_and_fro, shop.root, at) for at in (0, 1)]
    assert [ended(each) for each in processes] == [0, 0]
    pin, current = releases.pinned(), releases.current()
    assert pin is not None
    assert current is not None
    assert (pin.release, got(releases)) == (current.id, current.tables["daily"])


def _to_and_fro(root: Path, at: int) -> None:
    releases = Shop(root).deployment.releases
    for turn in range(8):
        releases.pin(releases.all()[(at + turn) % 3], f"os:{at}", "", NOON)


def test_a_release_that_is_half_removed_cannot_be_gone_back_to(shop: Shop) -> None:
    first, _ = released(shop, 1, 2)
    releases = shop.deployment.releases
    (first.folder / "manifest.json").unlink()
    with pytest.raises(ReleaseRefused, match="is gone"):
        releases.pin(first, "os:anna", "", NOON)
    assert (got(releases), releases.pinned()) == (2, None)


def test_a_pin_whose_release_was_lost_holds_nothing(shop: Shop) -> None:
    first, _ = released(shop, 1, 2)
    releases = shop.deployment.releases
    releases.pin(first, "os:anna", "", NOON)
    shutil.rmtree(first.folder)
    assert releases.pinned() is None
    releases.settle(NOON)
    assert got(releases) == 2
    assert [path.name for path in releases.folder.glob("pinned*")] == []


def test_pruning_leaves_what_is_new_current_pinned_or_was_read_just_now(shop: Shop) -> None:
    releases = shop.deployment.releases
    made = []
    for rows in range(1, 7):
        shop.clock.at = NOON + rows * timedelta(days=10)
        made += released(shop, rows)
    now = shop.clock() + timedelta(days=1)
    long_ago(releases)

    assert releases.prune(now, None, 1) == ([], 0)
    assert releases.prune(now, KEEP, 6) == ([], 0), "so many stay whatever their age"
    gone, _ = releases.prune(now, KEEP, 1, dry_run=True)
    assert gone == [made[1], made[0]], "those whose successor is older than that"
    assert len(releases.all()) == 6

    releases.pin(made[0], "os:anna", "", now)
    assert releases.prune(now, KEEP, 1)[0] == [made[1]]
    releases.unpin(now)
    assert releases.prune(now + timedelta(minutes=59), KEEP, 1)[0] == [], "somebody may still read it"
    assert releases.prune(now + timedelta(minutes=61), KEEP, 1)[0] == [made[0]]
    assert [each.id for each in releases.all()] == [each.id for each in made[:1:-1]]
    assert got(releases) == 6


def _read(path: str) -> None:
    with duckdb.connect(path, read_only=True):
        signal.pause()


def test_pruning_leaves_what_a_reader_has_open_however_old_it_is(shop: Shop) -> None:
    releases, made = shop.deployment.releases, released(shop, 1, 2, 3)
    long_ago(releases)
    read = child(_read, made[0].path)
    try:
        while (gone := releases.prune(shop.clock() + KEEP, timedelta(), 1, dry_run=True)[0]) != [made[1]]:
            assert gone == [made[1], made[0]], "the reader has not come yet"
        assert releases.prune(shop.clock() + KEEP, timedelta(), 1)[0] == [made[1]]
    finally:
        read.kill()
        read.join()
    assert releases.prune(shop.clock() + KEEP, timedelta(), 1)[0] == [made[0]]


def test_what_pruning_says_it_frees_is_what_it_frees(shop: Shop) -> None:
    releases = shop.deployment.releases
    made = released(shop, 50_000, 60_000, 70_000)
    steady = {release.parquet("steady").stat().st_ino for release in made}
    assert len(steady) == 1, "it is linked, so that it takes its place once"
    long_ago(releases)
    before = _taken(releases.folder)

    gone, said = releases.prune(shop.clock() + KEEP, timedelta(), 1)

    assert gone == made[1::-1]
    # Folders themselves are not counted.
    assert before - _taken(releases.folder) == said > 0


def _taken(folder: Path) -> int:
    states = {(state := path.stat()).st_ino: state.st_blocks * 512 for path in folder.rglob("*") if path.is_file()}
    return sum(states.values())


def test_pruning_that_is_killed_leaves_whole_releases_and_the_next_one_ends_it(shop: Shop) -> None:
    made = released(shop, 1, 2, 3)
    releases = shop.deployment.releases
    long_ago(releases)
    assert _killed(shop.root, "mid-prune", _prune) == -signal.SIGKILL
    assert releases.all() == [made[2], made[0]]
    assert made[1].folder.exists()
    released(shop, 4)
    assert not made[1].folder.exists()
    assert got(releases) == 4


def test_a_shadow_lies_beside_and_is_no_release(shop: Shop) -> None:
    releases = shop.deployment.releases
    (first,) = released(shop, 1)
    with duckdb.connect(str(shop.deployment.warehouse.marts)) as marts:
        marts.execute("CREATE OR REPLACE TABLE daily AS SELECT range AS n FROM range(2)")
    before = publish(shop, shadow=True)
    shadow = publish(shop, shadow=True, unfit="check unique failed")

    assert (releases.shadow(), shadow.unfit) == (shadow, "check unique failed")
    assert not before.folder.exists(), "it has taken its place"
    assert (releases.all(), releases.newest(), releases.current(), got(releases)) == ([first], first, first, 1)
    with closing(duckdb.connect(str(releases.folder / "shadow" / "marts.duckdb"), read_only=True)) as reader:
        assert reader.execute("SELECT count(*) FROM daily").fetchall() == [(2,)]
    long_ago(releases)
    assert releases.prune(shop.clock() + KEEP, timedelta(), 1) == ([], 0)

    second = publish(shop)
    assert (got(releases), releases.shadow()) == (2, None), "what is released needs no shadow"
    assert releases.kept() == [second, first]

    publish(shop, shadow=True)
    releases.unshadow()
    assert (releases.shadow(), releases.kept()) == (None, [second, first])
