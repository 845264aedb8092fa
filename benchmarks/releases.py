"""Releases: what publishing costs where little changed, and what readers notice of a writer.

Belongs here: a product to publish, its reader, and the writer beside it. Elsewhere: loading alone (ours.py).
"""

import itertools
import json
import shutil
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import duckdb

from benchmarks.child import Measured
from benchmarks.harness import PROJECT
from benchmarks.ours import Lines
from platform_assets.engine.deployment import Deployment
from platform_assets.engine.feed.feed import Cadence, Feed, Files, hours, seconds
from platform_assets.engine.store.release import Label, MartLabel, Release
from platform_assets.engine.store.sql import attach

_FEED: Final = Feed(
    name="lines",
    source=Files("*.csv", settle=seconds(0)),
    contract=Lines,
    delivered=Cadence("0 6 * * *", hours(3)),
    owner="team:sales",
)
_LARGE: Final = tuple(f"large_{at}" for at in range(4))
_SMALL: Final = "small"
_SMALL_ROWS: Final = 1_000
# Numbers that nothing packs: a row takes 64 bytes wherever it is.
_ROW: Final = ", ".join(f"hash(i, {at})::UBIGINT AS c{at}" for at in range(8))


def prepare(state: str, rows: int) -> None:
    """A deployment with a release of five marts: four large ones that share `rows`, and a small one."""
    home = Path(state).with_name(f".making-{Path(state).name}")
    shutil.rmtree(home, ignore_errors=True)
    deployment = _empty(home)
    with duckdb.connect(str(deployment.warehouse.marts)) as marts:
        for at, name in enumerate(_LARGE):
            first, last = (rows // len(_LARGE) * each for each in (at, at + 1))
            marts.execute(f"CREATE TABLE {name} AS SELECT {_ROW} FROM range({first}, {last}) t(i)")
    _change_the_small_one(deployment)
    _publish(deployment)
    shutil.move(home, state)


def publish(run: str, state: str) -> Measured:  # noqa: ARG001 - every contender is told where it runs
    """Release it again where the small mart has changed. What is released stays, as it does with everybody."""
    deployment = _empty(Path(state))
    before = _newest(deployment)
    _change_the_small_one(deployment)
    made: list[Release] = []

    def rows() -> tuple[int, int]:
        (release,) = made
        linked = [mart for mart in _LARGE if release.parquet(mart).samefile(before.parquet(mart))]
        return release.tables[_SMALL], len(linked)

    return Measured(lambda: made.append(_publish(deployment)), rows)


def write_small(run: str, state: str) -> Measured:
    """The least that it could cost: only write the small mart as Parquet, with all the memory there is."""
    path = Path(run, "small.parquet")

    def work() -> None:
        with duckdb.connect(str(Path(state, "marts.duckdb")), read_only=True) as marts:
            marts.execute(f"COPY {_SMALL} TO '{path}' (FORMAT parquet, COMPRESSION zstd)")

    return Measured(work, lambda: (_SMALL_ROWS, len(_LARGE)))


def read(run: str, files: list[str], readings: int, *, writing: bool) -> Measured:
    """Open the release, ask, close, so many times; with one thread, for a machine of two cores has the other to write.

    writing: while another process takes in one of `files` after the other, builds the mart and releases it.
    """
    deployment = _empty(Path(run, "home"))
    _write(deployment, Path(files[0]))
    first = _newest(deployment)
    link = deployment.releases.link
    writers: list[subprocess.Popen[bytes]] = []
    if writing:
        work_on = [json.dumps({"home": str(deployment.home), "files": files}), str(Path(run, "written.json"))]
        command = [sys.executable, "-m", "benchmarks.child", "benchmarks.releases:write", *work_on]
        writers.append(subprocess.Popen(command, cwd=PROJECT))
        while _newest(deployment).id == first.id:  # until it is at work
            assert writers[0].poll() is None
            time.sleep(0.05)
    answered: list[int] = []

    def work() -> None:
        for _ in range(readings):
            with duckdb.connect(str(link), read_only=True, config={"threads": 1}) as reader:
                answered.append(len(reader.execute("SELECT country, sum(sold) FROM daily GROUP BY 1").fetchall()))

    def rows() -> tuple[int, int]:
        for writer in writers:
            assert writer.poll() is None, "the writer has ended before its reader"
            writer.kill()
            writer.wait()
        return len([number for number in answered if number]), 0

    return Measured(work, rows)


def write(home: str, files: list[str]) -> None:
    """Take in, build and release, until it is killed."""
    deployment = _empty(Path(home))
    for file in itertools.cycle([*files[1:], files[0]]):
        _write(deployment, Path(file))


def _write(deployment: Deployment, file: Path) -> None:
    shutil.copyfile(file, deployment.landing / "today.csv")
    (receipt,) = deployment.ingest(_FEED).receipts
    assert receipt.status == "accepted", receipt
    with deployment.warehouse.open("build the mart") as connection:
        attach(connection, deployment.warehouse.marts, "marts")
        connection.execute(
            "CREATE OR REPLACE TABLE marts.main.daily AS SELECT country, invoiced_at::DATE AS day, "
            "sum(quantity)::BIGINT AS sold FROM raw.lines GROUP BY ALL"
        )
    deployment.releases.publish(deployment.warehouse, datetime.now(tz=UTC), ["daily"])


def _empty(home: Path) -> Deployment:
    """A deployment there, with nothing in it but what is there already."""
    landing = home.with_name(f"{home.name}-landing")
    landing.mkdir(parents=True, exist_ok=True)
    deployment = Deployment([_FEED], home=home, landing=landing)
    deployment.prepare()
    return deployment


def _change_the_small_one(deployment: Deployment) -> None:
    with duckdb.connect(str(deployment.warehouse.marts)) as marts:
        changed = f"SELECT i, '{datetime.now(tz=UTC)}' AS made_at FROM range({_SMALL_ROWS}) t(i)"
        marts.execute(f"CREATE OR REPLACE TABLE {_SMALL} AS {changed}")


def _publish(deployment: Deployment) -> Release:
    """Release all marts: the large ones are of the version that they always were."""
    now = datetime.now(tz=UTC)
    versions = {**dict.fromkeys(_LARGE, MartLabel(version="same")), _SMALL: MartLabel(version=now.isoformat())}
    return deployment.releases.publish(deployment.warehouse, now, [*versions], lambda: Label(versions))


def _newest(deployment: Deployment) -> Release:
    newest = deployment.releases.newest()
    assert newest is not None
    return newest
