"""Killed at any point, on either side: the database holds one release whole, the old or the new, and says which."""

import random
import signal
import time
from pathlib import Path

import pytest
from databases import There, in_postgres
from machine import rounds
from services import PostgresServer
from shop import child, ended

from platform_assets.engine.durable import failpoint
from platform_assets.engine.export.database import DatabaseUnreachable

OLD = "SELECT range AS n, 1 AS release FROM range(20000)"
NEW = "SELECT range AS n, 2 AS release FROM range(40000)"
WIDER = "SELECT range AS n, 2 AS release, 'x' AS note FROM range(40000)"


def export_in_child(folder: Path, url: str, schema: str | None, point: str | None, rows: str) -> None:
    there = There(folder, url, schema, lambda _: ())
    there.released["r1"] = {"a": OLD, "b": OLD}
    out = there.release("r2", a=rows, b=rows)
    failpoint.arm(point)
    there.export(out)


def holds(there: There) -> int:
    """The release that is there, which it says itself."""
    for mart in ("a", "b"):
        ((release, lowest, rows),) = there.ask(f"SELECT max(release), min(release), count(*) FROM {mart}")
        assert (release, rows) == (lowest, release * 20000)
        assert there.held()[mart].release == f"r{release}"
    return int(release)


@pytest.mark.parametrize(
    "rows", [pytest.param(NEW, id="same columns"), pytest.param(WIDER, id="other columns", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("point", ["mid-export", "before-export-commit", "after-export-commit"])
def test_killed_at_any_point_it_holds_one_release_whole(there: There, point: str, rows: str) -> None:
    there.export(there.release("r1", a=OLD, b=OLD))

    killed = child(export_in_child, there.folder, there.url, there.schema, point, rows)
    assert ended(killed) == -signal.SIGKILL
    assert holds(there) == (2 if point == "after-export-commit" else 1)

    there.export(there.release("r2", a=rows, b=rows))
    assert holds(there) == 2


@pytest.mark.slow
def test_killed_at_random_it_holds_one_release_whole(there: There) -> None:
    chance = random.Random(13)
    for _ in range(rounds(24)):
        there.export(there.release("r1", a=OLD, b=OLD))
        killed = child(export_in_child, there.folder, there.url, there.schema, None, NEW)
        time.sleep(chance.uniform(0.05, 1.5))
        killed.kill()
        ended(killed)
        holds(there)


def test_a_server_that_dies_in_the_middle_holds_the_old_release(server: PostgresServer, tmp_path: Path) -> None:
    there = in_postgres(server, tmp_path)
    there.export(there.release("r1", a=OLD, b=OLD))
    out = there.release("r2", a=NEW, b=NEW)

    def dies() -> None:
        with there.opened() as database, database.transaction():
            database.clear("a")
            server.stop(signal.SIGQUIT)  # without a word to anybody
            database.clear("b")

    try:
        with pytest.raises(DatabaseUnreachable, match="stopped in the middle"):
            dies()
    finally:
        server.start()
    assert holds(there) == 1
    there.export(out)
    assert holds(there) == 2
