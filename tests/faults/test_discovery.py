"""Landing folders as they are in real life: devices, names, links, impatient writers, a hundred thousand files."""

import os
import shutil
import signal
import stat
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import dagster as dg
import pytest
from machine import missing
from modelled import opens, project_of_shop
from shop import FILES, SALES, Shop, child, ended, numbered, sales

from platform_assets.engine.archive.archive import Archive
from platform_assets.engine.durable import failpoint
from platform_assets.engine.feed.feed import Files, seconds
from platform_assets.engine.sources.files import FileSource
from platform_assets.engine.store.slots import Slot
from platform_assets.errors import ConfigurationError, DeliveryUnfinished
from platform_assets.orchestration.sensors import feed_sensor

as_root = pytest.mark.needs(os.getuid() == 0, "only root can make a device or a user who may not")


def device(path: Path) -> None:
    """An endless file: /dev/zero under another name."""
    os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 5))


@as_root
def test_a_device_is_quarantined_unopened(shop: Shop) -> None:
    shop.deliver("b.csv", sales("S1,1"))
    device(shop.landing / "sales" / "a.csv")
    assert [(receipt.slot, receipt.status, receipt.problem) for receipt in shop.ingest().receipts] == [
        ("sales/a.csv", "quarantined", "is a device, not a regular file"),
        ("sales/b.csv", "accepted", None),
    ]


@as_root
def test_a_file_that_becomes_a_device_before_it_is_claimed_is_not_read(shop: Shop) -> None:
    path = shop.deliver("a.csv", sales("S1,1"))
    source = FileSource(FILES, shop.feed, shop.landing)
    (arrival,) = source.pending({})
    path.unlink()
    device(path)
    with pytest.raises(DeliveryUnfinished, match="changed while it was being claimed"):
        source.claim(arrival, Archive(shop.root / "home" / "archive"))
    assert shop.leftovers() == []


def test_a_file_that_becomes_a_pipe_or_a_link_before_it_is_claimed_is_not_followed(shop: Shop) -> None:
    path = shop.deliver("a.csv", sales("S1,1"))
    source = FileSource(FILES, shop.feed, shop.landing)
    (arrival,) = source.pending({})
    path.unlink()
    os.mkfifo(path)
    archive = Archive(shop.root / "home" / "archive")
    with pytest.raises(DeliveryUnfinished):
        source.claim(arrival, archive)
    path.unlink()
    path.symlink_to("/etc/passwd")
    (receipt,) = shop.ingest().receipts
    assert receipt.problem == "is a link; links are never followed"
    assert not list(archive.root.rglob("*.csv"))


SEVERAL_NAMES = "is a file of several names (hard links); it may be somebody else's, so it is never opened"


def test_a_hard_link_is_quarantined_unopened_until_it_is_the_files_one_name(shop: Shop) -> None:
    secret = shop.root / "secret.csv"
    secret.write_text(sales("S1,1"))
    (shop.landing / "sales").mkdir()
    (shop.landing / "sales/a.csv").hardlink_to(secret)
    shop.deliver("b.csv", sales("S2,1"))
    refused, accepted = shop.ingest().receipts
    assert (refused.problem, refused.fingerprint, accepted.status) == (SEVERAL_NAMES, None, "accepted")
    assert "remove the file's other names" in (refused.remedy or "")
    assert shop.ingest().receipts == []  # told once
    secret.unlink()
    assert [receipt.status for receipt in shop.ingest().receipts] == ["accepted"]
    assert [receipt.status for receipt in shop.receipts()] == ["superseded", "accepted", "accepted"]


def test_a_file_that_becomes_a_hard_link_before_it_is_claimed_is_not_read(shop: Shop) -> None:
    path = shop.deliver("a.csv", sales("S1,1"))
    source = FileSource(FILES, shop.feed, shop.landing)
    (arrival,) = source.pending({})
    status = path.stat()
    (shop.root / "other").hardlink_to(path)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(DeliveryUnfinished, match="changed while it was being claimed"):
        source.claim(arrival, Archive(shop.root / "home" / "archive"))


def test_a_producer_that_publishes_by_linking_and_unlinking_is_waited_for(shop: Shop) -> None:
    shop.declare(source=Files("sales/*.csv", settle=seconds(1)))
    partial = shop.deliver("a.part", sales("S1,1"))
    (shop.landing / "sales/a.csv").hardlink_to(partial)
    producer = threading.Timer(0.3, partial.unlink)
    producer.start()
    assert [receipt.status for receipt in shop.ingest().receipts] == ["accepted"]
    producer.join()


def test_a_backup_by_hard_links_of_what_was_taken_in_refuses_nothing(shop: Shop) -> None:
    path = shop.deliver("a.csv", sales("S1,1"))
    shop.ingest()
    (shop.root / "backup.csv").hardlink_to(path)
    assert (shop.ingest().receipts, shop.deployment.pending(shop.feed)) == ([], [])


def test_a_folder_of_landing_that_is_a_link_is_refused(shop: Shop) -> None:
    elsewhere = shop.root / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "a.csv").write_text(sales("S1,1"))
    (shop.landing / "sales").symlink_to(elsewhere)
    (receipt,) = shop.ingest().receipts
    assert receipt.problem == "is a link to a folder; links are never followed"


@pytest.mark.parametrize("pattern", ["/etc/*.csv", "../*.csv", "sales/../../*.csv"])
def test_patterns_that_leave_the_landing_folder_are_refused_by_name(pattern: str) -> None:
    with pytest.raises(ConfigurationError, match=r"Files: .* leaves the landing folder"):
        Files(pattern)


def test_a_file_that_is_cut_off_while_it_is_copied_is_not_claimed(shop: Shop) -> None:
    path = shop.deliver("a.csv", numbered(0, 10))
    os.truncate(path, 300 << 20)
    source = FileSource(FILES, shop.feed, shop.landing)
    (arrival,) = source.pending({})
    archive = Archive(shop.root / "home" / "archive")

    def cut() -> None:
        while not any(partial.stat().st_size for partial in archive.root.glob("sales/.claiming-*")):
            pass
        os.truncate(path, 100)

    producer = threading.Thread(target=cut)
    producer.start()
    with pytest.raises(DeliveryUnfinished, match="changed while it was being claimed"):
        source.claim(arrival, archive)
    producer.join()
    assert shop.leftovers() == []


def test_what_is_left_of_a_file_that_was_cut_off_waits_and_is_then_named(shop: Shop) -> None:
    text = numbered(0, 10)
    shop.deliver("a.csv", text[:-12])
    assert shop.ingest().unfinished == {"sales/a.csv": "ends in the middle of a record"}
    shop.clock.ahead += FILES.patience
    (receipt,) = shop.ingest().receipts
    assert (receipt.read, receipt.accepted, receipt.rejected) == (10, 9, 1)
    assert [(line, reasons[0]["rule"]) for line, reasons, _ in shop.rejected()] == [(11, "4 fields instead of 5")]


NAMES = [
    "a*.csv",
    "x[1].csv",
    "it's.csv",
    'say "hi".csv',
    "two\nlines.csv",
    "k=v.csv",
    "; DROP TABLE x --.csv",
    " .csv",
]


def test_files_of_hostile_names_are_each_just_that_file(shop: Shop) -> None:
    shop.declare(source=Files("sales/**/*.csv", settle=seconds(0)))
    for number, name in enumerate([*NAMES, "k=v/year=2026/a.csv", "ab.csv", "x1.csv"]):
        shop.deliver(name, sales(f"S{number},1"))
    receipts = shop.ingest().receipts
    assert {receipt.status for receipt in receipts} == {"accepted"}
    assert len(shop.skus()) == len(receipts) == len(NAMES) + 3
    names = "SELECT column_name FROM duckdb_columns() WHERE schema_name = 'raw' ORDER BY column_index"
    expected = ["sku", "quantity", "price", "sold_at", "email", "_delivery_id", "_line"]  # and no k, no year
    assert [name for (name,) in shop.query(names)] == expected
    shop.deliver(NAMES[0], sales("S99,1"))  # a restatement of that one
    assert (shop.ingest().receipts[0].slot, len(shop.skus())) == (f"sales/{NAMES[0]}", len(NAMES) + 3)


@pytest.fixture
def read_only_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk that root may not write to either, with one delivery on it."""
    landing = tmp_path / "landing"
    (landing / "sales").mkdir(parents=True)
    (landing / "sales" / "a.csv").write_text(sales("S1,1"))
    mount = ["mount", "--bind", "-o", "ro", str(landing), str(landing)]
    if os.getuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        missing("this user may not mount a disk")
    subprocess.run(["mount", "-o", "remount,ro,bind", str(landing)], check=True)
    yield landing
    subprocess.run(["umount", "-l", str(landing)], check=True)


def test_a_landing_folder_on_a_read_only_disk_loads(tmp_path: Path, read_only_disk: Path) -> None:
    shop = Shop(tmp_path)
    with pytest.raises(OSError, match="Read-only"):
        (read_only_disk / "sales" / "b.csv").touch()
    shop.deployment.prepare()
    assert [receipt.status for receipt in shop.ingest().receipts] == ["accepted"]


def known(shop: Shop, files: int, new: int) -> None:
    """A landing folder of `files` files, all but `new` of them taken in long ago."""
    folder = shop.landing / "sales"
    folder.mkdir(exist_ok=True)
    for number in range(files):
        os.close(os.open(folder / f"{number:06}.csv", os.O_CREAT | os.O_WRONLY))
    with shop.deployment.warehouse.transaction("remember") as unit:
        taken_in = FileSource(FILES, shop.feed, shop.landing).pending({})[: files - new]
        unit.slots(shop.feed).write([Slot(each.slot, position=each.position) for each in taken_in], 1)
        unit.publish(shop.feed)


def tick(shop: Shop, cursor: str | None = None) -> dg.SensorResult | dg.SkipReason:
    """What the feed's sensor says now."""
    with dg.DagsterInstance.ephemeral() as instance:
        sensor = feed_sensor(shop.feed, project_of_shop(shop.feed), opens(shop))
        said = sensor(dg.build_sensor_context(instance=instance, cursor=cursor))
    assert isinstance(said, dg.SensorResult | dg.SkipReason)
    return said


@pytest.mark.parametrize("files", [2_000, pytest.param(100_000, marks=[pytest.mark.slow, pytest.mark.timeout(600)])])
def test_a_tick_is_quick_and_its_cursor_small_whatever_lies_there(shop: Shop, files: int) -> None:
    known(shop, files, new=10)
    began = time.process_time()
    said = tick(shop)
    took_s = time.process_time() - began
    assert isinstance(said, dg.SensorResult)
    assert len(said.run_requests or []) == 1
    assert len(said.cursor or "") < 10_000
    assert took_s < 5
    rewritten = shop.landing / "sales" / "000001.csv"
    status = rewritten.stat()
    rewritten.write_bytes(b"")  # in place, to the same size
    os.utime(rewritten, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert len(shop.deployment.pending(shop.feed)) == 11


def test_a_tick_finds_what_is_new_without_a_cursor_and_asks_again_with_one(shop: Shop) -> None:
    shop.deliver("a.csv", sales("S1,1"))
    first = tick(shop)
    assert isinstance(first, dg.SensorResult)
    assert isinstance(tick(shop, first.cursor), dg.SkipReason)  # asked for a moment ago
    assert isinstance(tick(shop, cursor="damaged"), dg.SensorResult)
    shop.ingest()
    assert shop.deployment.pending(shop.feed) == []


def tick_and_die(root: Path) -> None:
    """A tick in a process of its own, which dies before Dagster hears of the request and the cursor."""
    failpoint.arm("mid-tick")
    tick(Shop(root))


def test_a_tick_that_dies_before_its_cursor_is_kept_is_made_good_by_the_next(shop: Shop) -> None:
    shop.deliver("a.csv", sales("S1,1"))
    assert ended(child(tick_and_die, shop.root)) == -signal.SIGKILL
    assert isinstance(tick(shop), dg.SensorResult)
    shop.ingest()
    assert shop.skus() == ["S1"]
    assert shop.deployment.pending(shop.feed) == []


def test_a_folder_that_is_taken_away_and_put_back_loads_nothing_twice(shop: Shop) -> None:
    shop.load("a.csv", sales("S1,1"))
    away = shop.landing.with_name("away")
    shop.landing.rename(away)
    with pytest.raises(ConfigurationError, match="is not there"):
        shop.ingest()
    shutil.copytree(away, shop.landing)  # restored from a backup: other inodes and times
    assert [receipt.status for receipt in shop.ingest().receipts] == ["duplicate"]
    assert shop.skus() == ["S1"]


def test_a_file_of_two_feeds_is_a_delivery_of_each(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    other = replace(SALES, name="copies")
    shop.deliver("a.csv", sales("S1,1"))
    shop.deployment.prepare()
    shop.ingest()
    shop.feed = other
    shop.deployment.prepare()
    assert [receipt.status for receipt in shop.ingest().receipts] == ["accepted"]
