"""`platform run` killed where it hurts most; the next run must not hang, lose or repeat anything."""

import signal
from pathlib import Path

import dagster as dg
import pytest
from deployed import Deployed

from platform_assets.orchestration.runs.keys import WRITER_POOL

SILENCE_S = 100


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Deployed:
    world = Deployed(tmp_path_factory.mktemp("killed"))
    world.simulate(days=2, rows=100, until="2026-03-17")
    return world


def killed(world: Deployed, point: str) -> None:
    done = world.platform("run", "--json", env={"PLATFORM_FAILPOINT": point})
    assert done.code == -signal.SIGKILL, done.err


@pytest.mark.slow
def test_killed_while_it_reads_and_while_it_releases_it_still_converges(world: Deployed, tmp_path: Path) -> None:
    killed(world, "mid-read")
    assert not (world.releases / "current.duckdb").exists()
    with world.instance() as instance:
        held = instance.event_log_storage.get_concurrency_info(WRITER_POOL)
        assert held.claimed_slots, "the dead run still holds the writer's slot"
        (run,) = instance.get_runs()
        assert run.status == dg.DagsterRunStatus.STARTED

    killed(world, "mid-release")
    assert not (world.releases / "current.duckdb").exists()
    assert list(world.releases.glob("*/.releasing-*")), "half a release lies there"

    done = world.run("platform", "run", "--json", within_s=SILENCE_S)
    assert done.did, done.err
    assert not list(world.releases.glob("*/.releasing-*"))
    with world.instance() as instance:
        statuses = [run.status.value for run in instance.get_runs()]
        assert statuses == ["SUCCESS", "FAILURE", "FAILURE"]
        assert not instance.event_log_storage.get_concurrency_info(WRITER_POOL).claimed_slots

    untroubled = Deployed(tmp_path)
    untroubled.simulate(days=2, rows=100, until="2026-03-17")
    assert untroubled.platform("run", "--json").did
    for mart in ("daily_sales", "customer_value", "dim_products", "fct_returns"):
        everything = (
            f"SELECT * EXCLUDE (_delivery_id) FROM {mart}" if mart.startswith("fct") else f"SELECT * FROM {mart}"
        )
        assert sorted(map(repr, world.query(everything))) == sorted(map(repr, untroubled.query(everything)))
    figures = ("deliveries", "read", "accepted", "rejected", "duplicate")
    ours, theirs = (
        [[feed[figure] for figure in figures] for feed in each.platform("feed", "status", "--json").answer["feeds"]]
        for each in (world, untroubled)
    )
    assert ours == theirs
