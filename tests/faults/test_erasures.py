"""A person who was erased is nowhere any more: not in a table, a copy, a release, a free block; and does not return."""

import gzip
import json
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest
from shop import Keyed, child, ended, sales

from platform_assets.engine.durable import failpoint
from platform_assets.engine.erase.certificate import verified
from platform_assets.engine.erase.copies import holds_bytes
from platform_assets.engine.store.erasure import Made
from platform_assets.errors import WarehouseBusy

CANARY = "canary-7731@example.org"
OTHER = "someone-else@example.org"
MADE = Made(models=[("main", "buyers"), ("main", "totals")], snapshots=[("snapshots", "buyers")])
FOUND = {1: 1, 2: 1, 3: 1, 4: 1, 5: 0, 6: 1}  # the fifth cannot be read, and so has no rows
STEPS = [point for point in failpoint.POINTS if "erase" in point or point in ("mid-let-go", "mid-rewrite")]


def build(keyed: Keyed) -> None:
    """What dbt would: a snapshot that only grows, a mart by buyer, a mart that names nobody; and a release of them."""
    with keyed.deployment.warehouse.open("build") as connection:
        connection.execute(f"ATTACH '{keyed.root}/home/marts.duckdb' AS marts")
        connection.execute("CREATE SCHEMA IF NOT EXISTS snapshots")
        connection.execute("CREATE TABLE IF NOT EXISTS snapshots.buyers (email VARCHAR, seen TIMESTAMPTZ)")
        connection.execute("INSERT INTO snapshots.buyers SELECT DISTINCT email, now() FROM raw.sales")
        connection.execute("CREATE OR REPLACE VIEW main.staged AS SELECT * FROM raw.sales")
        connection.execute("CREATE OR REPLACE TABLE marts.main.buyers AS SELECT email, quantity FROM raw.sales")
        connection.execute("CREATE OR REPLACE TABLE marts.main.totals AS SELECT sum(quantity) AS sold FROM raw.sales")
        connection.execute("COMMENT ON TABLE marts.main.buyers IS 'who bought'")
    deployment = keyed.deployment
    with deployment.builds.changing((), "test"):
        deployment.releases.publish(deployment.warehouse, keyed.clock(), ["buyers", "totals"])


@pytest.fixture
def world(keyed: Keyed) -> Keyed:
    """A deployment with the person in every place there is, and two releases."""
    keyed.made = MADE
    fill(keyed)
    return keyed


def fill(keyed: Keyed) -> None:
    keyed.load("old.csv", sales(f"S1,1,1.00,,{CANARY}", f"S2,2,1.00,,{OTHER}"))
    build(keyed)
    keyed.load("old.csv", sales(f"S3,3,1.00,,{CANARY}", f"S4,4,1.00,,{OTHER}"))  # the first stays in the archive
    keyed.load("packed.csv.gz", gzip.compress(sales(f"S5,-1,1.00,,{CANARY}", "S6,6,1.00,,").encode(), mtime=0))
    keyed.load("twin.csv", sales(f"S3,3,1.00,,{CANARY}", f"S4,4,1.00,,{OTHER}"))  # a duplicate
    keyed.load("broken.csv", sales(f"S7,7,{CANARY}", header="sku,quantity,mail"))  # quarantined whole
    keyed.load("lines.ndjson", json.dumps({"sku": "S9", "quantity": 9, "price": 1, "sold_at": None, "email": CANARY}))
    keyed.load("other.csv", sales(f"S10,10,1.00,,{OTHER}"))
    build(keyed)


def everything(keyed: Keyed) -> Iterator[Path]:
    return (path for path in (keyed.root / "home").rglob("*") if path.is_file() and not path.is_symlink())


def where(keyed: Keyed, value: str) -> list[str]:
    """Files that hold the value in their bytes, and tables of every database that hold it once they are decoded."""
    found = [path.name for path in everything(keyed) if holds_bytes(path, [value])]
    for path in [path for path in everything(keyed) if path.suffix == ".duckdb"]:
        with duckdb.connect(str(path), read_only=True) as connection:
            for schema, table in connection.execute("SELECT schema_name, table_name FROM duckdb_tables()").fetchall():
                rows = connection.execute(
                    f'SELECT count(*) FROM "{schema}"."{table}" t WHERE contains(t::VARCHAR, ?)', [value]
                ).fetchone()
                found += [f"{path.name}: {schema}.{table}"] if rows and rows[0] else []
    return found


def gone(keyed: Keyed) -> None:
    """Nobody finds the person, all others are there, and what the ledger says holds."""
    assert where(keyed, CANARY) == []
    assert sorted(keyed.skus()) == ["S10", "S4", "S6"]
    assert keyed.reconciles()
    assert keyed.query("SELECT DISTINCT email FROM snapshots.buyers") == [(OTHER,), (None,)] or keyed.query(
        "SELECT DISTINCT email FROM snapshots.buyers"
    ) == [(None,), (OTHER,)]
    assert list((keyed.root / "home").rglob(".*rewriting*")) == []


def test_of_an_erased_person_no_byte_is_left(world: Keyed) -> None:
    assert where(world, CANARY) != []
    certificate = world.erase(email=CANARY)
    gone(world)
    assert certificate["left"] == {}
    assert CANARY not in json.dumps(certificate)
    rows = {each["delivery"]: each["rows"] for each in certificate["deliveries"]}
    assert rows == FOUND
    assert certificate["snapshots"] == {"snapshots.buyers": 2}
    assert list(certificate["releases"].values()) == [{"buyers": 2}, {"buyers": 1}]
    assert all(each["after"] != each["before"] for each in certificate["deliveries"])
    assert (certificate["raw"], certificate["quarantine"]) == (2, 1)


def test_readers_who_have_a_release_open_find_the_rest_at_their_next_question(world: Keyed) -> None:
    releases = world.deployment.releases
    current = releases.link.resolve()
    with duckdb.connect(str(current), read_only=True) as reading:
        assert reading.execute("SELECT count(*) FROM buyers").fetchone() == (5,)
        assert world.erase(email=CANARY)["left"] == {}
        assert reading.execute("SELECT count(*) FROM buyers").fetchone() == (3,)
    release = releases.current()
    assert release is not None
    assert releases.link.resolve() == current
    assert release.tables == {"buyers": 3, "totals": 1}
    assert [(each["rows"], "at" in each) for each in release.erased] == [({"buyers": 2}, True)]
    with duckdb.connect(str(current), read_only=True) as reading:
        assert reading.execute("SELECT count(*) FROM buyers").fetchone() == (3,)
        assert reading.execute("SELECT comment FROM duckdb_views() WHERE view_name = 'buyers'").fetchone() == (
            "who bought",
        )


def test_a_release_that_cannot_be_read_is_removed_and_readers_get_another(world: Keyed) -> None:
    releases = world.deployment.releases
    current, older = releases.all()
    broken = Path(current.path)
    broken.chmod(0o644)
    broken.write_bytes(b"no database" * 1000)
    certificate = world.erase(email=CANARY)
    assert certificate["releases_removed"] == [f"marts/{current.id}"]
    assert [release.id for release in releases.all()] == [older.id]
    assert releases.link.resolve() == Path(older.path).resolve()


def test_what_lies_there_without_a_manifest_is_removed(world: Keyed) -> None:
    """Nobody can say what is in it, and no look at packed bytes would find the person."""
    releases = world.deployment.releases
    current, older = releases.all()
    (current.folder / "manifest.json").chmod(0o600)
    (current.folder / "manifest.json").write_text("torn")
    certificate = world.erase(email=CANARY)
    assert (certificate["releases_removed"], certificate["left"]) == ([f"marts/{current.id}"], {})
    assert [path.name for path in releases.folder.iterdir() if path.is_dir() and not path.is_symlink()] == [older.id]
    assert releases.current() == releases.all()[0]


def test_a_released_mart_of_a_model_that_is_gone_is_told_where_it_names_the_person(world: Keyed) -> None:
    with duckdb.connect(str(world.deployment.warehouse.marts)) as marts:
        marts.execute(f"CREATE TABLE letters AS SELECT 'to {CANARY}' AS address")
    deployment = world.deployment
    made = deployment.releases_of("mail").publish(deployment.warehouse, world.clock(), ["letters"])
    with duckdb.connect(str(world.deployment.warehouse.marts)) as marts:
        marts.execute("DROP TABLE letters")
    assert world.erase(email=CANARY)["left"].items() >= {f"release mail/{made.id}: letters": 1}.items()


def test_what_releases_share_they_share_afterwards(world: Keyed) -> None:
    deployment = world.deployment
    with deployment.builds.changing((), "test"):
        deployment.releases.publish(deployment.warehouse, world.clock(), ["buyers", "totals"])
    newest, before, _ = deployment.releases.all()
    assert newest.parquet("buyers").samefile(before.parquet("buyers"))
    assert world.erase(email=CANARY)["left"] == {}
    newest, before, _ = deployment.releases.all()
    assert newest.parquet("buyers").samefile(before.parquet("buyers"))
    assert newest.tables == before.tables == {"buyers": 3, "totals": 1}


def test_nothing_brings_an_erased_person_back(world: Keyed) -> None:
    original = (world.landing / "sales/old.csv").read_bytes()
    world.erase(email=CANARY)
    world.deployment.replay(world.feed, again=True)
    world.deliver("again.csv", original)
    world.deliver("new.csv", sales(f"S11,11,1.00,,{CANARY}", "S6,6,2.00,,"))
    receipts = world.ingest().receipts
    assert [(r.status, r.read, r.accepted, r.duplicate, r.erased) for r in receipts] == [
        ("duplicate", 2, 0, 1, 1),
        ("accepted", 2, 1, 0, 1),
    ]
    assert where(world, CANARY) == []
    for lost in ("warehouse.duckdb", "warehouse.duckdb.wal"):
        (world.root / "home" / lost).unlink(missing_ok=True)
    shutil.rmtree(world.root / "home/seen")
    world.deployment.prepare()
    world.ingest()
    assert sorted(world.skus()) == ["S10", "S4", "S6", "S6"]
    assert where(world, CANARY) == []
    waiting = [receipt for receipt in world.receipts() if receipt.status == "quarantined"]
    assert [(receipt.slot, receipt.archived) for receipt in waiting] == [("sales/broken.csv", None)]


def test_an_old_backup_of_the_archive_does_not_bring_the_person_back(world: Keyed) -> None:
    archive, backup = world.root / "home/archive", world.root / "backup"
    shutil.copytree(archive, backup)
    world.erase(email=CANARY)
    shutil.rmtree(archive)
    shutil.move(backup, archive)
    for lost in ("warehouse.duckdb", "warehouse.duckdb.wal"):
        (world.root / "home" / lost).unlink(missing_ok=True)
    world.deployment.prepare()
    world.ingest()
    assert sorted(world.skus()) == ["S10", "S4", "S6"]
    assert world.reconciles()
    assert where(world, CANARY) == []


def test_rows_go_though_the_copy_of_their_delivery_is_lost(world: Keyed) -> None:
    (lost,) = [receipt for receipt in world.receipts() if receipt.slot.endswith("lines.ndjson")]
    (world.root / "home/archive" / str(lost.archived)).unlink()
    certificate = world.erase(email=CANARY)
    gone(world)
    assert certificate["left"] == {}
    assert [each["rows"] for each in certificate["deliveries"] if each["delivery"] == lost.delivery_id] == [1]


def test_a_certificate_can_be_verified_and_not_be_changed(world: Keyed, tmp_path: Path) -> None:
    certificate = world.erase(email=CANARY)
    (path,) = (world.root / "home/erasures/certificates").iterdir()
    assert verified(path, certificate["public_key"]).signed
    assert verified(path, certificate["public_key"]).ours
    assert verified(path, "00" * 32).ours is False
    changed = tmp_path / "changed.json"
    changed.write_text(path.read_text().replace('"raw": 2', '"raw": 0'))
    assert not verified(changed, None).signed


def test_an_erasure_waits_for_who_has_the_warehouse_or_says_so(world: Keyed) -> None:
    world.lock_wait /= 100
    held = child(_hold, world.root)
    try:
        while world.deployment.warehouse.held_by() is None:
            pass
        with pytest.raises(WarehouseBusy):
            world.erase(email=CANARY)
    finally:
        held.kill()
        held.join()
    world.erase(email=CANARY)
    gone(world)


def _hold(root: Path) -> None:
    with Keyed(root).deployment.warehouse.open("hold it"):
        signal.pause()


def _erase(root: Path, point: str) -> None:
    failpoint.arm(point)
    Keyed(root, made=MADE).erase(email=CANARY)


@pytest.mark.slow
@pytest.mark.parametrize("point", [*STEPS, "before-commit", "after-commit"])
def test_an_erasure_killed_at_any_point_is_made_good_by_the_same_command(world: Keyed, point: str) -> None:
    assert ended(child(_erase, world.root, point)) == -signal.SIGKILL
    assert [stone.finished_at for stone in world.deployment.tombstones.of("sales")] == [None]
    certificate = world.erase(email=CANARY)
    gone(world)
    assert certificate["left"] == {}
    assert {each["delivery"]: each["rows"] for each in certificate["deliveries"]} == {
        1: 1,
        2: 1,
        3: 1,
        4: 1,
        5: 0,
        6: 1,
    }
    assert [stone.finished_at is not None for stone in world.deployment.tombstones.of("sales")] == [True]
