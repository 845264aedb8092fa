"""What lies in the landing folder: who asks for it, what it waits for, and what its sidecar says of it."""

import hashlib
import os
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from machine import examples
from shop import SALES, OpenSales, Shop, numbered, sales

from platform_assets.engine.anomalies.volume import check_volume
from platform_assets.engine.archive.expected import Expected
from platform_assets.engine.author.trial import try_on
from platform_assets.engine.feed.feed import Cadence, Feed, Files, hours, seconds
from platform_assets.engine.promises.due import Deliveries
from platform_assets.engine.promises.kept import promises
from platform_assets.engine.promises.marts import released_marts
from platform_assets.engine.sources.file import FileState
from platform_assets.engine.sources.files import all_waiting
from platform_assets.engine.sources.sidecar import parsed
from platform_assets.engine.sources.source import Waiting, source_of
from platform_assets.errors import ConfigurationError

WITH_SIDECAR = Files("sales/**/*.csv", settle=seconds(0), sidecar=".done")


def feed(name: str, *patterns: str, sidecar: str | None = None) -> Feed:
    return replace(SALES, name=name, source=Files(*patterns, settle=seconds(0), sidecar=sidecar))


def written(landing: Path, *slots: str) -> None:
    for slot in slots:
        path = landing / slot
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")


def found(landing: Path, *feeds: Feed) -> tuple[dict[str, list[str]], list[str]]:
    """Slots by feed, and files that no feed asks for."""
    waiting = all_waiting(feeds, landing, {})
    slots = {name: [arrival.slot for arrival in each] for name, each in waiting.arrivals.items()}
    return slots, list(waiting.unclaimed)


# ---- patterns


def test_one_look_serves_every_feed(tmp_path: Path) -> None:
    written(tmp_path, "shop/a.csv", "shop/b.json", "shop/deep/er/c.csv", "shop/d.txt", "e.csv", "other/f.csv")
    assert found(tmp_path, feed("direct", "shop/*.csv"), feed("deep", "shop/**/*.csv"), feed("any", "**/*.json")) == (
        {
            "direct": ["shop/a.csv"],
            "deep": ["shop/a.csv", "shop/deep/er/c.csv"],
            "any": ["shop/b.json"],
        },
        ["e.csv", "other/f.csv", "shop/d.txt"],
    )


def test_a_file_that_two_patterns_of_a_feed_match_is_one_arrival(tmp_path: Path) -> None:
    written(tmp_path, "shop/a.csv")
    assert found(tmp_path, feed("twice", "shop/*.csv", "shop/a*", "**/*")) == ({"twice": ["shop/a.csv"]}, [])


def test_a_pattern_asks_for_its_folders_only(tmp_path: Path) -> None:
    written(tmp_path, "2026/03/a.csv", "2026/b.csv", "2025/03/c.csv", "2026/03/x/d.csv")
    assert found(tmp_path, feed("monthly", "2026/*/*.csv"))[0] == {"monthly": ["2026/03/a.csv"]}


def test_folders_may_be_as_deep_as_the_system_allows(tmp_path: Path) -> None:
    deep = "/".join("f" for _ in range(1500))
    folder = os.open(tmp_path, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("f", dir_fd=folder)
        folder, above = os.open("f", os.O_RDONLY, dir_fd=folder), folder
        os.close(above)
    os.close(os.open("a.csv", os.O_CREAT | os.O_WRONLY, dir_fd=folder))
    os.close(folder)
    try:
        assert found(tmp_path, feed("deep", "**/*.csv"))[0] == {"deep": [f"{deep}/a.csv"]}
    finally:
        subprocess.run(["rm", "-rf", str(tmp_path / "f")], check=True)  # too deep for Python to remove


def test_what_is_known_is_left_out_until_it_changes(tmp_path: Path) -> None:
    written(tmp_path, "a.csv", "b.csv")
    shop = feed("shop", "*.csv")
    source = source_of(shop.source, shop, tmp_path)
    known = {arrival.slot: arrival.position or "" for arrival in source.pending({})}
    assert source.pending(known) == []
    (tmp_path / "b.csv").write_text("y")  # in place: same name, size and inode
    assert [arrival.slot for arrival in source.pending(known)] == ["b.csv"]


@pytest.mark.parametrize("landing", ["gone", "a file"])
def test_a_landing_folder_that_is_not_there_is_no_empty_one(tmp_path: Path, landing: str) -> None:
    """A misspelt path, a share that is not mounted: what lies there is not known."""
    (tmp_path / "a file").touch()
    with pytest.raises(ConfigurationError, match="PLATFORM_LANDING") as refused:
        found(tmp_path / landing, feed("shop", "*.csv"))
    assert str(tmp_path / landing) in refused.value.what
    assert found(tmp_path / "gone") == ({}, []), "where no feed asks for files, none is needed"


# ---- what stands there, and since when

KINDS = ["a file", "a link to a file", "a link to nowhere", "a folder", "a pipe"]


def put(path: Path, kind: str, content: str) -> None:
    """Let `kind` stand at `path`, whatever stood there; its size and time tell as little as can be."""
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    path.unlink(missing_ok=True)
    if kind == "a file":
        path.write_text(content)
    elif kind == "a link to a file":
        target = path.parent.parent / ("x" * (len(content) - 3))
        target.write_text(content)
        path.symlink_to(f"../{target.name}")
    elif kind == "a link to nowhere":
        path.symlink_to("y" * len(content))
    elif kind == "a folder":
        path.mkdir()
    elif kind == "a pipe":
        os.mkfifo(path)
    os.utime(path, (1, 1), follow_symlinks=False)


@settings(max_examples=examples(3))
@given(st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 2)), min_size=2, max_size=5), st.booleans())
@example([("a link to a file", 0), ("a file", 0), ("a link to a file", 0), ("a file", 0)], False)
@example([("a link to nowhere", 0), ("a file", 0), ("a file", 1)], True)
@example([("a folder", 0), ("a file", 0), ("a pipe", 0), ("a file", 0)], False)
def test_a_file_loads_whatever_has_stood_there_before(kinds: list[tuple[str, int]], sidecar: bool) -> None:
    """A link, folder or pipe is told of once; once a file stands there its rows are in raw, and stay there."""
    with tempfile.TemporaryDirectory() as folder:
        shop = Shop(Path(folder))
        shop.landing.mkdir()
        shop.declare(source=WITH_SIDECAR if sidecar else Files("sales/*.csv", settle=seconds(0)))
        path = shop.deliver("a.csv", "")
        (path.parent / "a.csv.done").touch()
        rows: list[str] = []
        path.unlink()
        for kind, number in kinds:
            put(path, kind, sales(f"S{number},1"))
            told = [receipt.status for receipt in shop.ingest().receipts]
            if kind == "a file":
                rows = [f"S{number}"]
            assert told in ([], ["accepted"], ["duplicate"]) if kind == "a file" else ["quarantined"]
            assert shop.skus() == rows
            assert (shop.ingest().receipts, shop.deployment.pending(shop.feed)) == ([], [])


def test_a_link_and_a_file_are_never_in_the_same_state() -> None:
    """Even where every figure is the same: an inode is given away again, and clocks are coarse."""
    states = {
        FileState.of(os.stat_result((kind | 0o644, 7, 0, 1, 0, 0, 9, 1, 1, 1), {"st_mtime_ns": 1, "st_ctime_ns": 1}))
        for kind in (stat.S_IFREG, stat.S_IFLNK, stat.S_IFDIR, stat.S_IFIFO)
    }
    assert len(states) == 4


@pytest.fixture
def any_time(tmp_path: Path) -> Iterator[Path]:
    """A folder on a file system that holds any time."""
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else tmp_path) as folder:
        yield Path(folder)


YEARS: Final = {"10000": 253_402_300_800, "3000": 32_503_680_000, "2262": 9_223_372_036, "1600": -11_676_096_000}


@pytest.mark.parametrize("event_time", ["sold_at", None])
@pytest.mark.parametrize("sidecar", [".done", None])
def test_a_time_beyond_the_calendar_is_as_good_as_any(any_time: Path, event_time: str | None, sidecar: str) -> None:
    shop = Shop(any_time)
    shop.landing.mkdir()
    zone = Cadence("0 6 * * *", hours(3), "Pacific/Auckland")
    source = Files("sales/*.csv", settle=seconds(0), sidecar=sidecar)
    shop.declare(event_time=event_time, source=source, delivered=zone)
    moments = [*(second * 10**9 for second in YEARS.values()), -62_200_000_000 * 10**9, -1, 0, 1, 999_999_999]
    for number, ns in enumerate(moments):
        for name in (f"{number}.csv", f"{number}.csv.done"):
            content = sales(f"S{number},1,,2026-01-01T00:00:00Z") if name.endswith("csv") else ""
            os.utime(shop.deliver(name, content), ns=(ns, ns))
    assert {receipt.status for receipt in shop.ingest().receipts} == {"accepted"}
    assert len(shop.skus()) == len(moments)
    assert (shop.ingest().receipts, shop.deployment.pending(shop.feed)) == ([], [])
    receipts, now = shop.deployment.receipts_published(shop.feed), shop.clock()
    years = [receipt.arrived_at.year for receipt in receipts[::-1]]
    assert years == [2262, 2262, 2262, 1677, 1677, 1969, 1970, 1970, 1970]
    known = {"sales": Deliveries(shop.feed, receipts)}
    assert len(promises(known, released_marts([shop.feed], [], {"mart": ["sales"]}), now)) == 3
    assert shop.status().freshness == ("late" if event_time else "fresh")
    assert check_volume(shop.feed, receipts).unusual == []
    shop.deployment.replay(shop.feed, again=True)
    (shop.root / "home/warehouse.duckdb").unlink()
    shop.deployment.prepare()
    assert len(shop.ingest().receipts) == len(moments)
    assert shop.receipts()[0].arrived_at == receipts[-1].arrived_at
    assert shop.reconciles()


# ---- sidecars


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", Expected()),
        ("OK\n", Expected()),
        ("123", Expected(rows=123)),
        ("\ufeffrows = 123\r\n", Expected(problem="its sidecar s says '\\ufeffrows = 123', which is not understood")),
        ("rows = 123\r\n", Expected(rows=123)),
        ("sha256=" + "AB" * 32, Expected(fingerprint="ab" * 32)),
        ("ab" * 32 + "  a.csv\n", Expected(fingerprint="ab" * 32)),
        ("ab" * 32 + " *a file.csv\n", Expected(fingerprint="ab" * 32)),
        (f"done\nrows=7\nsha256={'ab' * 32}\n", Expected(rows=7, fingerprint="ab" * 32)),
        ("7\n8\n", Expected(problem="its sidecar s says '8', which is not understood")),
        ("2026-03-01 10:00", Expected(problem="its sidecar s says '2026-03-01 10:00', which is not understood")),
        ("md5=1234", Expected(problem="its sidecar s says 'md5=1234', which is not understood")),
    ],
)
def test_a_sidecar_says_nothing_a_count_or_a_fingerprint(text: str, expected: Expected) -> None:
    assert parsed(text, "s") == expected


def test_a_file_waits_for_its_sidecar(shop: Shop) -> None:
    shop.declare(source=Files("sales/*.csv", settle=seconds(5), sidecar=".done"))
    shop.deliver("a.csv", sales("S1,1"))
    began = time.monotonic()
    outcome = shop.ingest()
    assert time.monotonic() - began < 5  # nobody stands waiting for what may come tomorrow
    shop.declare(source=WITH_SIDECAR)
    assert (outcome.receipts, outcome.unfinished) == ([], {"sales/a.csv": "waiting for a.csv.done"})
    assert [arrival.unfinished for arrival in shop.deployment.pending(shop.feed)] == ["waiting for a.csv.done"]
    shop.deliver("a.csv.done", "")
    assert [(receipt.slot, receipt.status) for receipt in shop.ingest().receipts] == [("sales/a.csv", "accepted")]
    assert shop.deployment.look() == Waiting({"sales": []}, [])


def test_a_sidecar_is_never_a_delivery_nor_a_stray(tmp_path: Path) -> None:
    written(tmp_path, "a.csv", "a.csv.done", "b.txt.done", "c/d.csv.done")
    assert found(tmp_path, feed("all", "*", sidecar=".done")) == ({"all": ["a.csv", "b.txt"]}, ["c/d.csv.done"])
    assert found(tmp_path, feed("csv", "*.csv", sidecar=".done")) == (
        {"csv": ["a.csv"]},
        ["b.txt.done", "c/d.csv.done"],
    )


def test_a_sidecar_without_its_file_announces_what_has_not_come(shop: Shop) -> None:
    shop.declare(source=WITH_SIDECAR)
    shop.deliver("a.csv.done", "1")
    assert shop.ingest().unfinished == {"sales/a.csv": "waiting for a.csv itself, whose sidecar is there"}
    path = shop.deliver("a.csv", sales("S1,1"))
    assert [receipt.status for receipt in shop.ingest().receipts] == ["accepted"]
    path.unlink()  # tidied away
    assert (shop.ingest().unfinished, shop.deployment.pending(shop.feed)) == ({}, [])


def test_a_sidecar_that_is_tidied_away_changes_nothing(shop: Shop) -> None:
    shop.declare(source=WITH_SIDECAR)
    sidecar = shop.deliver("a.csv.done", "1")
    shop.load("a.csv", sales("S1,1"))
    sidecar.unlink()
    outcome = shop.ingest()
    assert (outcome.receipts, outcome.unfinished, shop.deployment.pending(shop.feed)) == ([], {}, [])
    shop.deliver("a.csv", sales("S2,1"))
    assert shop.ingest().unfinished == {"sales/a.csv": "waiting for a.csv.done"}


def announced(shop: Shop, text: str, lines: int = 3) -> tuple[str, str | None]:
    """Deliver three lines with a sidecar that says `text`: the receipt's status and problem."""
    content = numbered(0, lines)
    shop.declare(contract=OpenSales, source=WITH_SIDECAR)
    shop.deliver("a.csv.done", text.format(sha=hashlib.sha256(content.encode()).hexdigest()))
    receipt = shop.load("a.csv", content)
    return receipt.status, receipt.problem


@pytest.mark.parametrize("text", ["", "3", "rows=3", "sha256={sha}", "{sha}  a.csv", "rows=3\nsha256={sha}"])
def test_a_delivery_that_is_what_its_sidecar_announces_loads(shop: Shop, text: str) -> None:
    assert announced(shop, text) == ("accepted", None)


def test_a_delivery_with_another_count_is_quarantined_and_stays_so_in_a_replay(shop: Shop) -> None:
    told = ("quarantined", "the sidecar announces 4 records, but the file has 3")
    assert announced(shop, "4") == told
    (again,) = shop.deployment.replay(shop.feed, again=True)
    assert (again.status, again.problem) == told
    assert shop.skus() == []


def test_a_delivery_with_another_fingerprint_is_quarantined(shop: Shop) -> None:
    status, problem = announced(shop, "ab" * 32)
    assert (status, (problem or "")[:38]) == ("quarantined", "the sidecar announces SHA-256 abababab")


def test_a_copy_of_an_accepted_delivery_is_held_to_its_own_sidecar(shop: Shop) -> None:
    announced(shop, "3")
    shop.deliver("b.csv.done", "4")
    receipt = shop.load("b.csv", numbered(0, 3))
    assert (receipt.status, receipt.problem) == (
        "quarantined",
        "the sidecar announces 4 records, but the file has 3",
    )


def test_a_sidecar_that_is_not_understood_quarantines_and_says_what_is(shop: Shop) -> None:
    assert announced(shop, "count: 3") == (
        "quarantined",
        "its sidecar a.csv.done says 'count: 3', which is not understood",
    )
    assert "`rows=123`" in (shop.receipts()[-1].remedy or "")


def test_a_mended_sidecar_brings_its_file_in(shop: Shop) -> None:
    announced(shop, "4")
    assert shop.ingest().receipts == []
    shop.deliver("a.csv.done", "3")
    (receipt,) = shop.ingest().receipts
    assert (receipt.status, receipt.expects) == ("accepted", Expected(rows=3))
    assert shop.skus() == ["S0", "S1", "S2"]


def test_a_sidecar_that_is_a_link_or_a_pipe_is_never_read(shop: Shop) -> None:
    shop.declare(source=WITH_SIDECAR)
    secret = shop.root / "secret"
    secret.write_text("3")
    for name in ("a.csv", "b.csv"):
        shop.deliver(name, numbered(0, 3))
    (shop.landing / "sales/a.csv.done").symlink_to(secret)
    os.mkfifo(shop.landing / "sales/b.csv.done")
    assert [receipt.problem for receipt in shop.ingest().receipts] == [
        "its sidecar a.csv.done cannot be read: Too many levels of symbolic links",
        "its sidecar b.csv.done is not a regular file",
    ]


def test_a_sidecar_that_is_a_hard_link_is_never_read(shop: Shop) -> None:
    shop.declare(source=WITH_SIDECAR)
    secret = shop.root / "secret"
    secret.write_text("root:x:0")
    shop.deliver("a.csv", numbered(0, 3))
    (shop.landing / "sales/a.csv.done").hardlink_to(secret)
    (receipt,) = shop.ingest().receipts
    assert receipt.problem == "its sidecar a.csv.done has several names (hard links)"


def test_the_state_of_a_pair_changes_with_either_file() -> None:
    file, sidecar = FileState(1, 2, 3, 4), FileState(5, 6, 7, 8)
    assert file.beside(None) == file
    states = {file.beside(sidecar._replace(**{name: 99})) for name in FileState._fields}
    states |= {file._replace(**{name: 99}).beside(sidecar) for name in FileState._fields}
    assert len(states | {file.beside(sidecar)}) == 9


def test_a_trial_needs_no_sidecar_but_heeds_one(shop: Shop) -> None:
    shop.declare(source=WITH_SIDECAR)
    path = shop.root / "a.csv"
    path.write_text(numbered(0, 3))
    assert try_on(shop.feed, path).loads
    path.with_name("a.csv.done").write_text("4")
    assert try_on(shop.feed, path).receipt.problem == "the sidecar announces 4 records, but the file has 3"
