"""Releases: whole or not there, whatever stops the one who publishes, and whoever publishes beside him."""

import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import duckdb
import psutil
import pytest
from shop import Shop, child, ended, numbered, sales

from platform_assets.engine.store.release import MartRelease, Release, Releases
from platform_assets.errors import WarehouseBusy

NOON: Final = datetime(2026, 3, 1, 12, tzinfo=UTC)


def build(shop: Shop, rows: int) -> None:
    """What dbt would: a mart of `rows` rows."""
    with duckdb.connect(str(shop.deployment.warehouse.marts)) as marts:
        marts.execute(f"CREATE OR REPLACE TABLE daily AS SELECT range AS n FROM range({rows})")


def publish(shop: Shop) -> Release:
    deployment = shop.deployment
    return deployment.releases.publish(deployment.warehouse, shop.clock(), ["daily"])


def rows_in(path: Path | str) -> int:
    with closing(duckdb.connect(os.path.realpath(path), read_only=True)) as reader:
        ((rows,),) = reader.execute("SELECT count(*) FROM daily").fetchall()
    return int(rows)


def whole(releases: Releases) -> list[int]:
    """Rows of every release that is listed, oldest first, each as its manifest says; the link leads to one of them."""
    listed = releases.all()[::-1]
    assert [rows_in(release.path) for release in listed] == [release.tables["daily"] for release in listed]
    current = releases.current()
    assert current in listed
    assert rows_in(releases.link) == current.tables["daily"]
    return [release.tables["daily"] for release in listed]


# ---- killed


class Steps:
    """Counts what a process does to files of a folder, by Python's own account, and acts before the one at `last`."""

    SEEN: Final = ("open", "os.rename", "os.remove", "os.symlink", "os.chmod", "os.mkdir")

    def __init__(self, folder: Path, last: int, act: Callable[[], None]) -> None:
        self.folder, self.left, self.act = str(folder), last, act
        sys.addaudithook(self)

    def __call__(self, event: str, arguments: tuple[object, ...]) -> None:
        if event in self.SEEN and any(str(each).startswith(self.folder) for each in arguments[:2]):
            self.left -= 1
            if self.left == 0:
                self.act()


def _publish_until(root: Path, step: int, number: int) -> None:
    shop = Shop(root)
    Steps(root / "home/releases", step, lambda: os.kill(os.getpid(), number))
    publish(shop)


@pytest.mark.slow
def test_a_publish_killed_at_any_step_leaves_whole_releases(shop: Shop) -> None:
    """Before each single thing that it does to a file."""
    releases = shop.deployment.releases
    build(shop, 1)
    publish(shop)
    seen = [1]
    for step in range(1, 100):
        build(shop, step + 1)
        code = ended(child(_publish_until, shop.root, step, signal.SIGKILL))
        now = [release.tables["daily"] for release in releases.all()[::-1]]
        assert now in (seen, [*seen, step + 1])
        current = releases.current()
        assert current is not None
        assert rows_in(releases.link) == current.tables["daily"]
        seen = now
        if code == 0:
            break
        assert code == -signal.SIGKILL
    assert seen[-1] == step + 1
    assert whole(releases) == seen
    assert step > 8, "it does more than that"
    assert rows_in(releases.link) == step + 1
    files = {path.relative_to(releases.folder).as_posix() for path in releases.folder.rglob("*")}
    of_each = ("", "/daily.parquet", "/marts.duckdb", "/manifest.json")
    assert files == {f"{r.id}{name}" for r in releases.all() for name in of_each} | {"current", "current.duckdb"}


def test_two_who_publish_do_not_disturb_each_other(shop: Shop) -> None:
    """One is stopped in the middle; the other has to wait, and takes nothing away from him."""
    build(shop, 1)
    publish(shop)
    build(shop, 2)
    shop.lock_wait = timedelta(seconds=0.2)
    for step in (2, 4, 6, 8):
        one = child(_publish_until, shop.root, step, signal.SIGSTOP)
        process = psutil.Process(one.pid)
        while process.status() != psutil.STATUS_STOPPED:
            assert process.is_running()
            time.sleep(0.01)
        with pytest.raises(WarehouseBusy):
            publish(shop)
        process.send_signal(signal.SIGCONT)
        assert ended(one) == 0
    publish(shop)
    assert whole(shop.deployment.releases) == [1, 2, 2, 2, 2, 2]


# ---- torn

MART: Final = asdict(MartRelease(rows=1))
SOUND: Final = asdict(Release("1", "marts", "", "2026-03-01T12:00:00+00:00", {}))


TORN: Final[dict[str, bytes | None]] = {
    "empty": b"",
    "cut off": b'{"id": "2026',
    "zeros": bytes(400),
    "no text": b"\xff\xfe",
    "nothing": b"null",
    "a list": b"[]",
    "without keys": b"{}",
    "no moment": json.dumps(SOUND | {"created_at": "noon"}).encode(),
    "no figures": json.dumps(SOUND | {"marts": {"daily": MART | {"rows": "many"}}}).encode(),
    "not of feeds": json.dumps(SOUND | {"built_from": [1]}).encode(),
    "endless": json.dumps(SOUND | {"built_from": {"sales": float("inf")}}).encode(),
    "deep": b"[" * 100_000,
    "gone": None,
}


@pytest.mark.parametrize("of", ["the current one", "an old one"])
def test_a_torn_manifest_stops_nobody(shop: Shop, of: str) -> None:
    releases = shop.deployment.releases
    shop.load("a.csv", sales("S1,1"))
    build(shop, 1)
    old, new = publish(shop), publish(shop)
    manifest = (new if of == "the current one" else old).folder / "manifest.json"
    for torn in TORN.values():
        manifest.unlink()
        if torn is not None:
            manifest.write_bytes(torn)
        assert releases.all() == [old if of == "the current one" else new]
        assert releases.current() == (None if of == "the current one" else new)
    shop.deployment.prepare()
    assert shop.load("b.csv", sales("S2,1")).status == "accepted"
    made = publish(shop)
    assert (releases.current(), releases.all()[0]) == (made, made)
    assert Path(new.path).exists(), "somebody may be reading it"


@pytest.mark.parametrize("which", ["the file's", "the folder's"])
@pytest.mark.parametrize("link", ["gone", "leads nowhere", "a copy", "leads elsewhere"])
def test_a_link_that_leads_nowhere_is_no_release(shop: Shop, link: str, which: str) -> None:
    releases = shop.deployment.releases
    build(shop, 1)
    publish(shop)
    moves = releases.folder / "current"
    broken = releases.link if which == "the file's" else moves
    broken.unlink()
    if link == "leads nowhere":
        broken.symlink_to("20260101T000000Z-1")
    elif link == "leads elsewhere":
        broken.symlink_to(shop.deployment.warehouse.path)
    elif link == "a copy" and broken == moves:
        shutil.copytree(releases.all()[0].folder, moves)
    elif link == "a copy":
        shutil.copy(releases.all()[0].path, releases.link)
    assert releases.current() is None
    made = publish(shop)
    assert releases.current() == made
    assert whole(releases) == [1, 1]


def test_a_release_that_was_moved_away_is_not_listed(shop: Shop) -> None:
    releases = shop.deployment.releases
    build(shop, 1)
    old, new = publish(shop), publish(shop)
    Path(old.path).unlink()
    (releases.folder / "notes.json").write_text("ours")
    (releases.folder / "notes").mkdir()
    assert releases.all() == [new]
    assert publish(shop).id not in (old.id, new.id)
    assert (releases.folder / "notes.json").exists()
    assert (releases.folder / "notes").exists()


def test_releases_of_one_second_keep_their_order(shop: Shop) -> None:
    shop.clock.at = NOON
    build(shop, 1)
    made = [publish(shop) for _ in range(11)]
    assert shop.deployment.releases.all() == made[::-1]


# ---- a power cut


def synced(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Path]]:
    """Everything that is renamed and everything that is brought to the disk from now on, in order."""
    told: list[tuple[str, Path]] = []
    fsync, replace = os.fsync, Path.replace

    def noted(descriptor: int) -> None:
        told.append(("synced", Path(f"/proc/self/fd/{descriptor}").readlink()))
        fsync(descriptor)

    def renamed(path: Path, target: Path) -> Path:
        told.append(("renamed", Path(target)))
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", noted)
    monkeypatch.setattr(Path, "replace", renamed)
    return told


def test_what_is_renamed_is_on_the_disk_before_anything_relies_on_it(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A release before the link leads to it, an archived copy and every folder above it before its receipt."""
    home = shop.root / "home"
    told = synced(monkeypatch)
    shop.deliver("a.csv", numbered(0, 1))
    shop.deliver("b.csv", numbered(1, 1))
    shop.ingest()
    copies = {path for what, path in told if what == "renamed" and home in path.parents and path.suffix == ".csv"}
    assert len(copies) == 2
    archive = home / "archive"
    on_disk = {path for what, path in told if what == "synced"}
    assert on_disk >= copies | {copy.parent for copy in copies} | {archive / "sales", archive, home}
    assert told.count(("synced", archive)) == 1, "once for all of a group"
    assert told.index(("synced", archive)) > max(told.index(("renamed", copy)) for copy in copies)
    del told[:]
    build(shop, 1)
    made = publish(shop).folder
    at = [
        (what, path.relative_to(home / "releases").as_posix())
        for what, path in told
        if home / "releases" in path.parents
    ]
    first = at.index(("renamed", f"marts/{made.name}/manifest.json"))
    whole = {
        f"marts/{made.name}{name}" for name in ("", "/daily.parquet", "/marts.duckdb", "/.releasing-manifest.json")
    }
    assert {path for what, path in at[:first] if what == "synced"} == whole
    moved = at.index(("renamed", "marts/current"))
    assert {path for what, path in at[first + 1 : moved] if what == "synced"} == {f"marts/{made.name}", "marts"}
    assert ("synced", home / "releases") in told
    assert at[moved + 1 :] == [("renamed", "marts/current.duckdb"), ("synced", "marts")]


def test_a_clock_that_is_set_back_changes_no_order(shop: Shop) -> None:
    made = []
    for rows, hours_ahead in enumerate((0, 24, -24, 0, 24), start=1):
        shop.clock.at = NOON + timedelta(hours=hours_ahead)
        build(shop, rows)
        made.append(publish(shop))
    assert whole(shop.deployment.releases) == [1, 2, 3, 4, 5]
    assert shop.deployment.releases.current() == made[-1]
