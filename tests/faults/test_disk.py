"""A disk that is nearly full: nothing new is claimed below its floor, everybody is told, and the files wait."""

import gzip
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from deployed import Deployed
from machine import missing
from modelled import Modelled, modelled
from shop import HEADER, Shop, numbered, sales

from platform_assets.engine.durable.disk import Disk, Floor
from platform_assets.errors import ConfigurationError, DiskLow
from platform_assets.orchestration.watch.dagster_state import DagsterState
from platform_assets.orchestration.watch.deployment_state import DeploymentState
from platform_assets.orchestration.watch.problems import SECTIONS

ALL = Floor(share=1.0, size=1 << 62)
"""A floor as high as the disk is large: there is always less."""
MB = 1 << 20


@pytest.mark.parametrize(
    ("text", "total", "floor"),
    [
        ("5GB", 10**12, 5 * 10**9),
        ("1.5 tb", 10**12, 10**12),
        ("10%", 500, 50),
        ("0%", 500, 0),
        ("300MB", 10**9, 3 * 10**8),
    ],
)
def test_a_floor_is_a_size_or_a_share(text: str, total: int, floor: int) -> None:
    assert Floor.read(text, "PLATFORM_DISK_FLOOR").of(total) == floor


def test_without_one_it_is_a_gigabyte_or_a_twentieth_of_a_small_disk() -> None:
    assert (Floor().of(10**12), Floor().of(10**9)) == (10**9, 5 * 10**7)


@pytest.mark.parametrize("text", ["", "5", "lots", "-1GB", "101%", "5GB and more"])
def test_what_is_no_floor_is_refused_by_its_name(text: str) -> None:
    with pytest.raises(ConfigurationError, match="PLATFORM_DISK_FLOOR"):
        Floor.read(text, "PLATFORM_DISK_FLOOR")


def test_below_the_floor_files_wait_and_nothing_is_lost(shop: Shop) -> None:
    shop.load("a.csv", sales("S1,1"))
    shop.deliver("b.csv", sales("S2,1"))
    shop.deliver("a.csv", sales("S3,1"))
    shop.floor = ALL
    outcome = shop.ingest()
    assert outcome.receipts == []
    assert set(outcome.unfinished) == {"sales/a.csv", "sales/b.csv"}
    assert all("MB are free for" in why and "less than the floor" in why for why in outcome.unfinished.values())
    assert any("PLATFORM_DISK_FLOOR" in told for told in shop.told)
    assert shop.skus() == ["S1"]
    (waiting, *_) = shop.deployment.pending(shop.feed)
    assert shop.deployment.why_waiting(waiting, {}).startswith("waits: ")
    shop.floor = Floor()
    assert len(shop.ingest().receipts) == 2
    assert shop.skus() == ["S2", "S3"]


def test_what_is_there_is_replayed_and_restored_below_the_floor(shop: Shop) -> None:
    shop.load("a.csv", sales("S1,1"))
    shop.floor = ALL
    assert [receipt.status for receipt in shop.deployment.replay(shop.feed, again=True)] == ["accepted"]
    for path in (shop.root / "home").glob("warehouse*"):
        path.unlink()
    shop.deployment.prepare()
    assert [receipt.status for receipt in shop.ingest().receipts] == ["accepted"]
    assert shop.skus() == ["S1"]


def test_a_file_that_leaves_too_little_waits_alone(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.deliver("a.csv", numbered(0, 10_000))
    shop.deliver("b.csv", sales("S1,1"))
    room = os.statvfs(shop.root)
    free = room.f_bavail * room.f_frsize
    shop.floor = Floor(free - 300_000, 1.0)
    monkeypatch.setattr(os, "statvfs", lambda _: room)
    outcome = shop.ingest()
    assert [receipt.slot for receipt in outcome.receipts] == ["sales/b.csv"]
    assert "needs 1 MB beside the floor" in outcome.unfinished["sales/a.csv"]
    assert shop.leftovers() == []


def test_what_unpacks_to_more_than_there_is_room_for_is_quarantined_alone(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.deliver("a.csv.gz", gzip.compress((HEADER + "\n").encode() + bytes(20 * MB)))
    shop.deliver("b.csv", sales("S1,1"))
    low = Disk((shop.root,), ALL).low()

    def fills_up(*_: object) -> DiskLow | None:
        unpacked = [path.stat().st_size for path in shop.root.rglob(".claiming-*.csv")]
        return low if max(unpacked, default=0) > 10 * MB else None

    monkeypatch.setattr(Disk, "low", fills_up)
    bomb, sound = shop.ingest().receipts
    assert "unpacks to more than there is room for: after 12 MB" in (bomb.problem or "")
    assert sound.status == "accepted"


@pytest.fixture
def watched(shop: Shop) -> Iterator[Modelled]:
    with modelled(shop) as watched:
        yield watched


def test_the_sensor_asks_for_nothing_and_says_why(watched: Modelled) -> None:
    watched.shop.deliver("a.csv", sales("S1,1"))
    watched.shop.floor = ALL
    assert "1 new files wait: " in str(watched.tick())
    assert "less than the floor" in str(watched.tick())
    watched.shop.floor = Floor()
    assert not isinstance(watched.tick(), str)


def test_owners_are_told_until_there_is_room_again(watched: Modelled) -> None:
    shop = watched.shop

    def told() -> list[tuple[str, str, str]]:
        seen = DagsterState(watched.instance, watched.definitions.resolve_asset_graph(), datetime.now(tz=UTC))
        found = SECTIONS["disk:"](seen, DeploymentState(shop.deployment, []))
        return [(each.key, each.owner, each.runbook) for each in found]

    shop.floor = ALL
    assert told() == [("disk:low", "team:data-platform", "disk-low")]
    shop.floor = Floor()
    assert told() == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 MB, of which 3.2 are kept free."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)]
    if os.getuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        missing("this user may not mount a disk")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_disk_is_not_filled_by_deliveries_and_taken_up_when_there_is_room(tmp_path: Path, small_disk: Path) -> None:
    shop = Shop(tmp_path)
    (tmp_path / "home").symlink_to(small_disk)
    shop.deployment.prepare()
    for number in range(4):
        shop.deliver(f"{number}.csv", numbered(number * 10_000, 10_000))
    filler = small_disk / "filler"
    filler.write_bytes(bytes(shutil.disk_usage(small_disk).free - 3 * MB))
    assert shop.ingest().receipts == []
    filler.unlink()
    assert len(shop.ingest().receipts) == 4
    assert len(shop.skus()) == 40_000


@pytest.mark.slow
def test_the_command_line_says_so_and_ends_with_an_error(tmp_path: Path) -> None:
    world = Deployed(tmp_path)
    world.simulate(days=2, rows=20, until="2026-03-18", dirt=0.0)
    full = {"PLATFORM_DISK_FLOOR": "100%"}
    time.sleep(5)  # what has just been written waits for that reason first
    run = world.platform("run", "--json", env=full)
    assert run.code == 1
    assert "less than the floor" in run.answer["no_room"]
    assert run.answer["left_alone"]
    assert any("waits: " in note for note in run.answer["notes"])
    why = world.platform("why", "order_lines", "--json", env=full).answer
    assert why["reasons"][0]["kind"] == "disk low"
    assert "nothing new is claimed" in world.platform("feed", "status", env=full).out
    assert world.platform("run", "--json").answer["no_room"] is None
    # Reading, building and releasing go on.
    assert world.platform("run", "--json", env=full).did
