"""Releases: whole or not there, whatever stops the one who publishes, and whoever publishes beside him."""

import errno
import json
import os
import resource
import shutil
import signal
import stat
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

from platform_assets.engine.durable import failpoint
from platform_assets.engine.store.release import Label, MartLabel, MartRelease, Release, Releases
from platform_assets.engine.store.sql import quote
from platform_assets.errors import ReleaseRefused, StorageError, WarehouseBusy

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


# ---- where it lies


ODD: Final = (
    "a home",
    "it's",
    "stars*",
    "100%",
    "[a]",
    "day=1",
    'quo"te',
    "sémantic",
    "{a,b}",
)


@pytest.mark.parametrize("name", ODD)
def test_a_release_is_read_wherever_it_lies(tmp_path: Path, name: str) -> None:
    shop = Shop(tmp_path / name)
    shop.deployment.prepare()
    build(shop, 3)
    made = publish(shop)
    with closing(duckdb.connect(str(shop.deployment.releases.link), read_only=True)) as reader:
        assert reader.execute("DESCRIBE daily").fetchall() == [("n", "BIGINT", "YES", None, None, None)]
        assert reader.execute("FROM daily").fetchall() == [(0,), (1,), (2,)]
    assert made.newest_rows("daily", ["n"], "n", 1) == [(2,)]


@pytest.mark.parametrize("how", ["moved", "copied", "copied without links"])
def test_a_home_that_lies_elsewhere_has_releases_that_are_read_there(shop: Shop, tmp_path: Path, how: str) -> None:
    build(shop, 1)
    with duckdb.connect(str(shop.deployment.warehouse.marts)) as marts:
        marts.execute("COMMENT ON TABLE daily IS 'a day'; COMMENT ON COLUMN daily.n IS 'how many'")
    publish(shop)
    build(shop, 2)
    publish(shop)
    elsewhere = Shop(tmp_path.with_name(f"{tmp_path.name}-elsewhere"))
    if how == "moved":
        shop.root.rename(elsewhere.root)
    else:
        shutil.copytree(shop.root, elsewhere.root, symlinks=how == "copied")
        for path in (shop.root / "home/releases/marts").glob("*/*.parquet"):
            path.unlink()
    elsewhere.deployment.prepare()
    assert elsewhere.told == ["2 releases lay elsewhere before: their views read the files beside them now"]
    releases = elsewhere.deployment.releases
    assert whole(releases) == [1, 2]
    oldest = releases.all()[-1]
    with closing(duckdb.connect(oldest.path, read_only=True)) as reader:
        assert reader.execute("SELECT comment FROM duckdb_views() WHERE view_name = 'daily'").fetchall() == [("a day",)]
        said = reader.execute("SELECT comment FROM duckdb_columns() WHERE table_name = 'daily'").fetchall()
        assert said == [("how many",)]
    elsewhere.deployment.prepare()
    assert len(elsewhere.told) == 1


@pytest.mark.parametrize("lost", ["daily.parquet", "marts.duckdb", "manifest.json"])
def test_a_release_that_lacks_a_file_is_none_and_readers_get_the_one_before(shop: Shop, lost: str) -> None:
    build(shop, 1)
    first = publish(shop)
    build(shop, 2)
    broken = publish(shop)
    (broken.folder / lost).unlink()
    shop.deployment.prepare()
    releases = shop.deployment.releases
    assert releases.current() == releases.newest() == first
    assert rows_in(releases.link) == 1
    publish(shop)
    assert whole(releases) == [1, 2]


def test_what_was_written_to_is_found_damaged(shop: Shop) -> None:
    build(shop, 2)
    release = publish(shop)
    assert release.damaged() == {}
    file = release.parquet("daily")
    file.chmod(0o600)
    with duckdb.connect() as other:
        other.execute(f"COPY (SELECT 1 AS n) TO '{file}' (FORMAT parquet)")
    assert release.damaged() == {"daily": "1 rows, and the manifest tells of 2"}
    file.write_bytes(b"no such thing")
    assert "daily" in release.damaged()


# ---- what it costs


TWO: Final = ("large", "small")


def tables(shop: Shop, **sql: str) -> None:
    """What dbt would: these tables anew, all else as it was."""
    with duckdb.connect(str(shop.deployment.warehouse.marts)) as marts:
        for name, query in sql.items():
            marts.execute(f"CREATE OR REPLACE TABLE {name} AS {query}")


def released(shop: Shop, **versions: str) -> Release:
    deployment = shop.deployment
    label = Label({mart: MartLabel(version=version, checks=("sound",)) for mart, version in versions.items()})
    return deployment.releases.publish(deployment.warehouse, shop.clock(), TWO, lambda: label)


def shared(one: Release, other: Release) -> dict[str, bool]:
    """Which marts of two releases are one file."""
    return {mart: one.parquet(mart).samefile(other.parquet(mart)) for mart in TWO}


def test_only_what_has_other_rows_is_written(shop: Shop) -> None:
    tables(shop, large="FROM range(1000) t(n)", small="SELECT 1 AS n")
    first = released(shop, large="1", small="1")
    tables(shop, small="SELECT 2 AS n")
    second = released(shop, large="1", small="2")
    assert shared(first, second) == {"large": True, "small": False}
    # Made again, of the same rows in another order: its version is another, its file is not.
    tables(shop, large="FROM range(1000) t(n) ORDER BY n DESC")
    third = released(shop, large="2", small="2")
    assert shared(second, third) == {"large": True, "small": True}
    assert (third.made_from, third.marts["large"].checks) == ({"large": "2", "small": "2"}, ("sound",))
    assert {mart: each.content for mart, each in third.marts.items()} == {
        "large": first.marts["large"].content,
        "small": second.marts["small"].content,
    }
    assert shop.deployment.releases.all() == [third, second, first]
    # Another column, or another type, is another table.
    tables(shop, large="SELECT n::INTEGER AS n FROM range(1000) t(n)")
    assert shared(third, released(shop, large="3", small="2")) == {"large": False, "small": True}


def test_what_is_of_the_same_version_is_not_read(shop: Shop) -> None:
    tables(shop, large="FROM range(1000) t(n)", small="SELECT 1 AS n")
    first = released(shop, large="1", small="1")
    with duckdb.connect(str(shop.deployment.warehouse.marts)) as marts:
        marts.execute("DROP TABLE large; CREATE TABLE large (n BIGINT CHECK (n > 0), o UNION(a INTEGER, b VARCHAR))")
    tables(shop, small="SELECT 2 AS n")
    second = released(shop, large="1", small="2")  # who read it would have to refuse it
    assert shared(first, second) == {"large": True, "small": False}


@pytest.mark.parametrize("damage", ["gone", "cut short", "of a release that is gone"])
def test_a_file_that_is_not_what_was_written_is_written_again(shop: Shop, damage: str) -> None:
    tables(shop, large="FROM range(1000) t(n)", small="SELECT 1 AS n")
    first = released(shop, large="1", small="1")
    if damage == "of a release that is gone":
        shop.deployment.releases.remove(first)
    else:
        first.parquet("large").chmod(0o600)
        first.parquet("large").write_bytes(first.parquet("large").read_bytes()[:100])
        if damage == "gone":
            first.parquet("large").unlink()
    second = released(shop, large="1", small="1")
    with second.opened() as reader:
        assert reader.execute("SELECT count(*) FROM large").fetchall() == [(1000,)]


def test_where_files_cannot_be_linked_they_are_written(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Path, __: Path) -> None:
        raise OSError(errno.EPERM, "no links here")

    tables(shop, large="FROM range(10) t(n)", small="SELECT 1 AS n")
    first = released(shop, large="1", small="1")
    monkeypatch.setattr(Path, "hardlink_to", refuse)
    second = released(shop, large="1", small="1")
    assert shared(first, second) == {"large": False, "small": False}
    assert first.marts["large"].content == second.marts["large"].content


@pytest.mark.parametrize("name", ["a.b", "a/b", "..", ".hidden", "é" * 120, "it's", 'say "x"', "a b", "%41", "select"])
def test_a_mart_may_be_called_anything(shop: Shop, name: str) -> None:
    with duckdb.connect(str(shop.deployment.warehouse.marts)) as marts:
        marts.execute(f"CREATE TABLE {quote(name)} AS SELECT 1 AS {quote(name)}")
    made = shop.deployment.releases.publish(shop.deployment.warehouse, shop.clock(), [name])
    assert made.parquet(name).parent == made.folder
    assert made.newest_rows(name, [name], None, 1) == [(1,)]


def test_a_mart_that_cannot_be_kept_exactly_leaves_readers_what_they_have(shop: Shop) -> None:
    tables(shop, large="FROM range(10) t(n)", small="SELECT 1 AS n")
    first = released(shop, large="1", small="1")
    tables(shop, large="FROM range(20) t(n)", small="SELECT union_value(n := 1) AS n")
    with pytest.raises(ReleaseRefused, match="mart small cannot be kept exactly: column n has the type UNION"):
        released(shop, large="2", small="2")
    assert (shop.deployment.releases.current(), shop.deployment.releases.all()) == (first, [first])
    assert len(list(shop.deployment.releases.folder.iterdir())) == 3, "what was begun is gone"
    tables(shop, small="SELECT 1 AS n")
    assert released(shop, large="2", small="2").tables == {"large": 20, "small": 1}


def test_releases_of_products_lie_beside_each_other(shop: Shop) -> None:
    tables(shop, large="FROM range(10) t(n)", small="SELECT 1 AS n")
    deployment = shop.deployment
    for product, mart in (("one", "large"), ("other", "small")):
        made = deployment.releases_of(product).publish(deployment.warehouse, shop.clock(), [mart], declared=TWO)
        assert (made.product, list(made.marts), made.path) == (product, [mart], str(made.folder / f"{product}.duckdb"))
    assert deployment.released_products() == ["one", "other"]
    assert {each.product for each in deployment.all_releases()} == {"one", "other"}


# ---- whom the folder lets read it


@pytest.mark.parametrize("umask", [0o022, 0o077, 0])
@pytest.mark.parametrize("shares", [True, False])
def test_a_release_may_be_read_by_whom_the_folder_of_releases_lets(shop: Shop, umask: int, shares: bool) -> None:
    folder = shop.root / "home/releases"
    folder.mkdir()
    folder.chmod(0o2750 if shares else 0o700)
    before = os.umask(umask)
    try:
        build(shop, 1)
        publish(shop)
        build(shop, 2)
        made = publish(shop)
    finally:
        os.umask(before)
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*") if not path.is_symlink()}
    wanted = (0o2750, 0o440) if shares else (0o700, 0o400)
    assert {path: wanted[path.is_file()] for path in modes} == modes
    assert modes[made.parquet("daily")] == wanted[1]


# ---- killed at a named point, and a disk that is full


def _publish_to(root: Path, point: str) -> None:
    failpoint.arm(point)
    publish(Shop(root))


@pytest.mark.parametrize("point", ["mid-release", "release-views", "release-manifest", "release-link"])
def test_killed_at_a_named_point_readers_have_one_release_or_the_other(shop: Shop, point: str) -> None:
    releases = shop.deployment.releases
    build(shop, 1)
    publish(shop)
    build(shop, 2)
    with closing(duckdb.connect(os.path.realpath(releases.link), read_only=True)) as reading:
        assert ended(child(_publish_to, shop.root, point)) == -signal.SIGKILL
        assert reading.execute("SELECT count(*) FROM daily").fetchall() == [(1,)]
    assert rows_in(releases.link) == (2 if point == "release-link" else 1)
    assert whole(releases) == ([1, 2] if point in ("release-manifest", "release-link") else [1])
    publish(shop)
    assert (rows_in(releases.link), whole(releases)[-1]) == (2, 2)
    assert not list(releases.folder.glob("*/.releasing-*")), "what was begun is gone"


def _publish_on_a_full_disk(root: Path) -> None:
    shop = Shop(root)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
    with pytest.raises(StorageError):
        publish(shop)


def test_a_disk_that_is_full_leaves_readers_what_they_have(shop: Shop) -> None:
    releases = shop.deployment.releases
    build(shop, 1)
    old = publish(shop)
    with duckdb.connect(str(shop.deployment.warehouse.marts)) as marts:
        marts.execute("CREATE OR REPLACE TABLE daily AS SELECT hash(range) AS n FROM range(300_000)")
    assert ended(child(_publish_on_a_full_disk, shop.root)) == 0
    assert (releases.current(), releases.all(), whole(releases)) == (old, [old], [1])
    assert len(list(releases.folder.iterdir())) == 3, "what was begun is gone"
    assert publish(shop).tables == {"daily": 300_000}
