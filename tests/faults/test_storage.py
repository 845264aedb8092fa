"""Disks that fill, files that are held, broken or change underfoot: named, survived, made good by the next run."""

import os
import resource
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import duckdb
import pytest
from machine import missing
from shop import FILES, Shop, child, ended, ingest_in_child, numbered, sales

from platform_assets.engine.archive.archive import Archive
from platform_assets.engine.durable.disk import Floor
from platform_assets.engine.sources.files import FileSource
from platform_assets.engine.store.warehouse import Warehouse
from platform_assets.errors import DeliveryUnfinished, StorageError, WarehouseBusy, WarehouseUnreadable

STORAGE_ERROR, REFUSED = 3, 4


def _hold(path: Path, told: Path, seconds: float) -> None:
    with duckdb.connect(str(path)):
        told.touch()
        time.sleep(seconds)


def held(shop: Shop, seconds: float) -> int:
    """Let another process hold the warehouse for a while; its pid."""
    told = shop.root / "held"
    process = child(_hold, shop.deployment.warehouse.path, told, seconds)
    while not told.exists():
        time.sleep(0.01)
    assert process.pid is not None
    return process.pid


def test_a_warehouse_that_is_held_too_long_is_named_with_its_holder(shop: Shop) -> None:
    shop.lock_wait = timedelta(seconds=0.3)
    pid = held(shop, 20)
    with pytest.raises(WarehouseBusy, match=rf"is held by process {pid} .*; waited 0 s to"):
        shop.ingest()
    os.kill(pid, 9)


def _hold_under_a_name(home: Path, told: Path) -> None:
    warehouse = Warehouse(home / "warehouse.duckdb", home / "marts.duckdb")
    warehouse.call_holder("Dagster run 1a2b3c4d (raw/shop/sales)")
    with warehouse.open("hold it"):
        told.touch()
        time.sleep(20)


def test_a_run_that_holds_the_warehouse_is_named_by_its_id(shop: Shop) -> None:
    """Only while it holds it: of another process, its name says nothing."""
    shop.lock_wait = timedelta(seconds=0.3)
    shop.ingest()
    told = shop.root / "held by name"
    process = child(_hold_under_a_name, shop.deployment.warehouse.path.parent, told)
    while not told.exists():
        time.sleep(0.01)
    name = r"is held by Dagster run 1a2b3c4d \(raw/shop/sales\), since \d\d:\d\d:\d\d UTC; waited 0 s to"
    with pytest.raises(WarehouseBusy, match=name):
        shop.ingest()
    process.kill()
    process.join()
    pid = held(shop, 20)
    with pytest.raises(WarehouseBusy, match=rf"is held by process {pid} "):
        shop.ingest()
    os.kill(pid, 9)


def test_a_warehouse_that_is_let_go_is_waited_for(shop: Shop) -> None:
    shop.deliver("a.csv", sales("S1,1"))
    pid = held(shop, 3)
    assert [receipt.accepted for receipt in shop.ingest().receipts] == [1]
    assert any(f"waiting for process {pid}" in told for told in shop.told)


def _use(shop: Shop) -> None:
    shop.deployment.prepare()
    shop.ingest()
    shop.rows()


@pytest.mark.parametrize("damage", ["random", "zeroed", "empty", "truncated", "random middle", "no database"])
def test_a_damaged_warehouse_is_refused_and_never_replaced_in_silence(shop: Shop, damage: str) -> None:
    shop.load("a.csv", numbered(0, 60_000))
    path = shop.deployment.warehouse.path
    whole = path.read_bytes()
    size = len(whole)
    damaged = {
        "random": os.urandom(size),
        "zeroed": bytes(size),
        "empty": b"",
        "truncated": whole[: size // 3],
        "random middle": whole[: 12 * 1024] + os.urandom(size - 24 * 1024) + whole[-12 * 1024 :],
        "no database": b"sku,quantity\n" * 1000,
    }[damage]
    path.write_bytes(damaged)
    with pytest.raises((WarehouseUnreadable, StorageError)) as refused:
        _use(shop)
    assert str(path) in refused.value.what
    assert refused.value.remedy
    path.write_bytes(whole)
    assert len(shop.skus()) == 60_000


def _ingest_with_small_files(root: Path, limit: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    _ingest_or_say_why(root)


def _ingest_or_say_why(root: Path) -> None:
    shop = Shop(root, floor=Floor(0))  # that the disk is nearly full is only found out in the midst
    try:
        shop.deployment.prepare()
        shop.ingest()
    except StorageError:
        os._exit(STORAGE_ERROR)


@pytest.mark.parametrize("limit", [8 << 10, 200 << 10, 700 << 10, 1200 << 10])
def test_a_file_size_limit_stops_the_run_and_the_next_converges(tmp_path: Path, limit: int) -> None:
    shop = Shop(tmp_path)
    shop.deliver("a.csv", numbered(0, 20_000))
    shop.deliver("b.csv", numbered(20_000, 20_000))
    assert ended(child(_ingest_with_small_files, tmp_path, limit)) == STORAGE_ERROR
    shop.deployment.prepare()
    shop.ingest()
    assert len(shop.skus()) == 40_000
    assert shop.reconciles()
    assert shop.leftovers() == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 4 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    if os.getuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        missing("this user may not mount a disk")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_stops_the_run_and_the_next_converges(tmp_path: Path, small_disk: Path) -> None:
    shop = Shop(tmp_path)
    (tmp_path / "home").symlink_to(small_disk)
    for number in range(3):
        shop.deliver(f"{number}.csv", numbered(number * 10_000, 10_000))
    filler = small_disk / "filler"
    filler.write_bytes(bytes(3 << 20))
    assert ended(child(_ingest_or_say_why, tmp_path)) == STORAGE_ERROR
    filler.unlink()
    shop.deployment.prepare()
    shop.ingest()
    assert len(shop.skus()) == 30_000
    assert shop.leftovers() == []


def test_a_file_that_is_overwritten_again_and_again_is_one_version_or_the_other(shop: Shop) -> None:
    versions = [numbered(0, 30_000), numbered(50_000, 30_000)]
    path = shop.deliver("a.csv", versions[0])
    done = threading.Event()

    def overwrite() -> None:
        while not done.is_set():
            for version in versions:
                path.write_text(version)  # in place, as a bad producer does
                time.sleep(0.05)

    producer = threading.Thread(target=overwrite)
    producer.start()
    for _ in range(6):
        shop.ingest()
        loaded = shop.skus()
        assert len(loaded) in (0, 30_000)
        assert sorted(loaded) in ([], *(sorted(f"S{n}" for n in range(at, at + 30_000)) for at in (0, 50_000)))
    done.set()
    producer.join()
    shop.ingest()
    assert sorted(shop.skus()) == sorted(line.split(",")[0] for line in path.read_text().splitlines()[1:])


def test_a_file_that_changes_while_it_is_claimed_is_left_for_the_next_run(shop: Shop) -> None:
    path = shop.deliver("a.csv", sales("S1,1", "S2,2"))
    source = FileSource(FILES, shop.feed, shop.landing)
    (arrival,) = source.pending({})
    os.truncate(path, 40)
    archive = Archive(shop.root / "home" / "archive")
    with pytest.raises(DeliveryUnfinished, match="changed while it was being claimed"):
        source.claim(arrival, archive)
    path.unlink()
    with pytest.raises(DeliveryUnfinished, match="taken away"):
        source.claim(arrival, archive)
    assert shop.leftovers() == []


def test_a_sweep_leaves_the_claims_of_others_alone(shop: Shop) -> None:
    archive = Archive(shop.root / "home" / "archive")
    partial = archive.root / "sales" / ".claiming-x"
    partial.parent.mkdir(parents=True)
    partial.touch()
    with archive._lock(1):  # LOCK_SH: another process is claiming
        archive.sweep()
        assert partial.exists()
    archive.sweep()
    assert not partial.exists()


def _ingest_as_nobody(root: Path) -> None:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
    shop = Shop(root)
    shop.deployment.prepare()
    told = {
        receipt.slot: receipt.remedy is not None and "Let this user" in receipt.remedy
        for receipt in shop.ingest().receipts
    }
    expected = {"sales/a.csv": False, "sales/b.csv": True, "sales/closed": True, "sales/unseen/d.csv": True}
    os._exit(0 if told == expected and not shop.ingest().receipts else REFUSED)


@pytest.fixture
def reachable() -> Iterator[Path]:
    """A folder that every user can get to; pytest's own are closed again by the next session that starts."""
    if os.getuid() != 0:
        missing("only root can become a user who may not")
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def test_what_may_not_be_read_is_quarantined_and_others_go_on(reachable: Path) -> None:
    tmp_path = reachable
    shop = Shop(tmp_path)
    shop.deliver("a.csv", sales("S1,1"))
    shop.deliver("b.csv", sales("S2,1")).chmod(0)
    shop.deliver("closed/c.csv", sales("S3,1")).parent.chmod(0)
    folder = shop.deliver("unseen/d.csv", sales("S4,1")).parent
    (folder / "link").symlink_to(folder)
    folder.chmod(0o444)
    (tmp_path / "home").mkdir()
    (tmp_path / "home").chmod(0o777)
    assert ended(child(_ingest_as_nobody, tmp_path)) == 0
    (tmp_path / "landing/sales/b.csv").chmod(0o644)
    (tmp_path / "landing/sales/closed").chmod(0o755)
    folder.chmod(0o755)
    shop.ingest()
    assert shop.skus() == ["S1", "S2", "S3", "S4"]


def _ingest_as_nobody_or_say_why(root: Path) -> None:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
    shop = Shop(root)
    try:
        shop.deployment.prepare()
        shop.ingest()
    except StorageError as error:
        os._exit(STORAGE_ERROR if str(root) in error.what and "denied" in error.what else REFUSED)


@pytest.mark.parametrize(
    ("closed", "mode"),
    [("warehouse.duckdb", 0o444), (".", 0o555), (".", 0o666), ("archive", 0o444), ("archive/sales", 0o555)],
)
def test_state_that_may_not_be_written_is_named(reachable: Path, closed: str, mode: int) -> None:
    shop = Shop(reachable)
    shop.deployment.prepare()
    shop.load("a.csv", sales("S1,1"))
    home = shop.root / "home"
    for path in (home, *home.rglob("*")):
        path.chmod(0o777 if path.is_dir() else 0o666)
    (home / closed).chmod(mode)
    shop.deliver("b.csv", sales("S2,1"))
    assert ended(child(_ingest_as_nobody_or_say_why, shop.root)) == STORAGE_ERROR
    assert shop.skus() == ["S1"]
    (home / closed).chmod(0o777)
    assert [receipt.status for receipt in shop.ingest().receipts] == ["accepted"]


def _ingest_and_measure(root: Path) -> None:
    ingest_in_child(root)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    (root / "peak_mb").write_text(str(peak_mb))


@pytest.mark.slow
def test_a_large_delivery_loads_in_bounded_memory(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    path = shop.deliver("a.csv", sales())
    with path.open("a") as file:
        for start in range(0, 4_000_000, 100_000):
            file.write(numbered(start, 100_000).partition("\n")[2])
    assert path.stat().st_size > 140 << 20
    assert ended(child(_ingest_and_measure, tmp_path), within_s=250) == 0
    assert shop.query("SELECT count(*), count(DISTINCT sku) FROM raw.sales") == [(4_000_000, 4_000_000)]
    assert int((tmp_path / "peak_mb").read_text()) < 700
