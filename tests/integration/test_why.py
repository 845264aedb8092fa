"""`platform why`, and what owners are told: causes are brought about for real, and each is named once, first."""

import contextlib
import signal
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import duckdb
import pytest
from deployed import Deployed
from modelled import MODEL, RELEASE, Modelled, modelled
from shop import Shop, sales

from platform_assets.alerts.incidents import Problem
from platform_assets.definitions import build_definitions
from platform_assets.engine.deployment import Deployment
from platform_assets.orchestration.runs.instance import reconcile
from platform_assets.orchestration.watch.dagster_state import DagsterState
from platform_assets.orchestration.watch.deployment_state import DeploymentState
from platform_assets.orchestration.watch.problems import everything
from platform_assets.orchestration.watch.why import asset_named, why
from platform_assets.project.causes import Cause
from platform_assets.project.configured import declared_feeds, declared_marts, declared_project
from platform_assets.project.graph import raw_name

SALES = "retail/order_lines/2026-03-17.csv"


@pytest.fixture(scope="module")
def graph() -> Any:
    return build_definitions().resolve_asset_graph()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Deployed:
    """A shop that runs well."""
    world = Deployed(tmp_path_factory.mktemp("why"))
    world.simulate(days=3, rows=60, until="2026-03-18", dirt=0.0)
    done = world.verb("run", "--json")
    assert done.did, done.err
    return world


def asked(world: Deployed, graph: Any, asset: str, now: datetime | None = None) -> list[Cause]:
    """What `platform why` answers."""
    clock = now or datetime.now(tz=UTC)
    deployment = Deployment(declared_feeds(), home=world.home, landing=world.landing, clock=lambda: clock)
    with world.instance() as instance:
        seen = DagsterState(instance, graph, clock)
        project = declared_project(deployment.feeds)
        return why(asset_named(asset, seen), seen, DeploymentState(deployment, declared_marts(), project))


def wrong(world: Deployed, graph: Any, now: datetime | None = None) -> dict[str, Problem]:
    """What alerts would be about, by key."""
    clock = now or datetime.now(tz=UTC)
    deployment = Deployment(declared_feeds(), home=world.home, landing=world.landing, clock=lambda: clock)
    project = declared_project(deployment.feeds)
    stored = DeploymentState(deployment, declared_marts(), project)
    with world.instance() as instance:
        seen = DagsterState(instance, graph, clock)
        found, unknown = everything(seen, stored)
    assert not unknown
    assert len({problem.key for problem in found}) == len(found), "one cause, one problem"
    return {problem.key: problem for problem in found}


# The sample ends on a Wednesday; by its calendar the next delivery is due on Thursday at nine.
IN_TIME = datetime(2026, 3, 19, 8, tzinfo=UTC)


@contextlib.contextmanager
def delivered(world: Deployed, name: str, lines: list[str], *, rest_s: float = 2.1) -> Iterator[str]:
    """A file in the landing folder, taken away again."""
    slot = f"retail/order_lines/{name}"
    world.deliver(slot, lines)
    time.sleep(rest_s)
    try:
        yield slot
    finally:
        (world.landing / slot).unlink()


def test_where_nothing_is_wrong_it_says_so(world: Deployed, graph: Any) -> None:
    (only,) = asked(world, graph, "daily_sales", IN_TIME)
    assert (only.kind, only.asset) == ("all is well", "marts/daily_sales")
    assert wrong(world, graph, IN_TIME) == {}


def test_a_file_that_is_still_being_written(world: Deployed, graph: Any) -> None:
    with delivered(world, "new.csv", world.lines(SALES), rest_s=0) as slot:
        first = asked(world, graph, "daily_sales")[0]
    assert (first.kind, first.asset) == ("file not settled", "deliveries/retail/order_lines")
    assert slot in str(first)
    assert "untouched for 2 s" in first.remedy


def test_who_works_by_command_is_told_what_the_command_would_do(world: Deployed, graph: Any) -> None:
    """No daemon was ever there: that there is none is no cause."""
    with delivered(world, "new.csv", world.lines(SALES)) as slot:
        first = asked(world, graph, "order_lines")[0]
        said = world.verb("why", "order_lines")
    assert (first.kind, first.command) == ("new file", "platform run")
    assert slot in str(first)
    assert "`platform run` takes it in and makes staging/retail/stg_retail__order_lines" in first.remedy
    assert "daemon" not in said.out
    assert said.code == 1
    assert "$ platform run" in said.out


def test_nothing_looks_for_files_where_the_daemon_is_down(world: Deployed, graph: Any) -> None:
    with delivered(world, "new.csv", world.lines(SALES)) as slot, world.instance() as instance:
        for daemon in ("SENSOR", "ASSET", "QUEUED_RUN_COORDINATOR"):
            _beat(instance, daemon)
        first = asked(world, graph, "order_lines", datetime.now(tz=UTC) + timedelta(minutes=5))[0]
        instance.wipe_daemon_heartbeats()
    assert (first.kind, first.command) == ("daemon down", "platform ui")
    assert slot in str(first)
    assert "platform ui" in first.remedy


def test_a_failed_check_comes_before_a_delivery_that_is_late(shop: Shop) -> None:
    """The check holds what there is; the delivery is awaited besides."""
    shop.clock.at = datetime(2026, 3, 10, 7, tzinfo=UTC)
    with modelled(shop) as world:
        shop.deliver("a.csv", sales("S1,1,,2026-03-09T12:00:00Z", "S2,bad,,2026-03-09T12:00:00Z"))
        world.by_itself()
        shop.clock.at = datetime(2026, 3, 11, 10, tzinfo=UTC)
        seen = DagsterState(world.instance, world.definitions.resolve_asset_graph(), shop.clock())
        found = why(dg.AssetKey(RELEASE.split("/")), seen, DeploymentState(shop.deployment, [], world.project))
    kinds = [cause.kind for cause in found]
    assert kinds[0] == "check failed"
    assert kinds.index("check failed") < kinds.index("delivery missing")
    assert found[0].command == "platform quarantine explain sales"


def test_before_anything_came_it_says_so(shop: Shop) -> None:
    with modelled(shop) as world:
        (only,) = why(
            dg.AssetKey(MODEL.split("/")),
            DagsterState(world.instance, world.definitions.resolve_asset_graph(), shop.clock()),
            DeploymentState(shop.deployment, [], world.project),
        )
    assert (only.kind, str(only)) == ("nothing delivered", "nothing was ever delivered for sales")
    assert "platform feed list" in only.remedy


def test_a_delivery_that_is_missing(world: Deployed, graph: Any) -> None:
    reasons = asked(world, graph, "daily_sales", datetime(2026, 3, 20, 10, tzinfo=UTC))
    first = next(reason for reason in reasons if reason.asset == "deliveries/retail/order_lines")
    assert (reasons[0].kind, first.kind) == ("delivery missing", "delivery missing")
    assert "Friday 2026-03-20's delivery of order_lines, due 09:00 Europe/London, is missing" in str(first)
    assert "team:sales" in first.remedy
    told = wrong(world, graph, datetime(2026, 3, 20, 10, tzinfo=UTC))
    assert set(told) == {"missing:order_lines"}, "customers have until the evening"
    problem = told["missing:order_lines"]
    assert (problem.owner, problem.runbook) == ("team:sales", "missing-delivery")
    assert {"raw/retail/order_lines", "marts/daily_sales", "release/retail"} <= set(problem.assets)


def test_another_process_holds_the_warehouse(world: Deployed, graph: Any) -> None:
    hold = "import duckdb, sys, time; held = duckdb.connect(sys.argv[1]); print('held', flush=True); time.sleep(60)"
    with delivered(world, "new.csv", world.lines(SALES)):
        shell = world.start("python", "-c", hold, str(world.home / "warehouse.duckdb"))
        try:
            assert shell.stdout is not None
            shell.stdout.readline()
            first = asked(world, graph, "daily_sales")[0]
        finally:
            shell.kill()
            shell.communicate()
    assert (first.kind, first.asset) == ("pool busy", "deliveries/retail/order_lines")
    assert f"held by process {shell.pid}" in str(first)
    assert "SQL shell left open" in first.remedy


def test_a_run_that_died_is_told_as_such_until_it_is_made_good(world: Deployed, graph: Any) -> None:
    with delivered(world, "new.csv", world.lines(SALES)[:3]):
        assert world.platform("run", env={"PLATFORM_FAILPOINT": "mid-read"}).code == -signal.SIGKILL
        with world.instance() as instance:
            reconcile(instance)
        first = asked(world, graph, "daily_sales")[0]
    assert (first.kind, first.asset) == ("run failed", "deliveries/retail/order_lines")
    assert "is gone" in str(first)
    died = [key for key in wrong(world, graph) if key.startswith("run:")]
    assert died == [], "it is asked for again by itself"
    later = wrong(world, graph, datetime.now(tz=UTC) + timedelta(minutes=10))
    assert [key.rpartition(":")[2] for key in later if key.startswith("run:")] == ["died"]
    world.deliver("retail/order_lines/2026-03-19.csv", world.lines(SALES)[:3])
    time.sleep(2.1)
    assert world.verb("run", "--json").did
    assert [reason.kind for reason in asked(world, graph, "daily_sales", IN_TIME)] == ["all is well"]


def test_a_delivery_in_quarantine(world: Deployed, graph: Any) -> None:
    with delivered(world, "broken.csv", ["InvoiceNo,StockCode", "1,2"]):
        assert world.verb("run", "--json").did
        first = asked(world, graph, "daily_sales", IN_TIME)[0]
    assert (first.kind, first.asset) == ("delivery quarantined", "deliveries/retail/order_lines")
    assert "broken.csv" in str(first)
    assert "platform quarantine list order_lines" in first.remedy
    assert set(wrong(world, graph, datetime(2026, 3, 20, 10, tzinfo=UTC))) == {
        "check:raw/retail/order_lines:no_delivery_quarantined",
        "missing:order_lines",
    }, "a stray file is not the delivery that is missing"


def test_a_check_that_failed_above(world: Deployed, graph: Any) -> None:
    lines = world.lines(SALES)
    with delivered(world, "rejected.csv", [lines[0], *(line.replace("2026-", "someday-") for line in lines[1:])]):
        assert world.verb("run", "--json").code == 1
        reasons = asked(world, graph, "release/retail", IN_TIME)
        told = wrong(world, graph, IN_TIME)
    kinds = [(reason.kind, reason.asset) for reason in reasons]
    assert ("check failed", "raw/retail/order_lines") in kinds
    failed = next(reason for reason in reasons if reason.kind == "check failed")
    assert "rejects_within_tolerance" in failed.what
    assert "nothing is built on it" in failed.effect
    problem = told.pop("check:raw/retail/order_lines:rejects_within_tolerance")
    assert (problem.owner, problem.runbook) == ("team:sales", "rows-rejected")
    assert {"staging/retail/stg_retail__order_lines", "marts/daily_sales", "release/retail"} <= set(problem.assets)
    assert "rejected.csv" in problem.detail
    assert not [key for key in told if key.startswith(("run:", "model:"))], "that the run failed follows from it"


def test_an_error_of_dbt(world: Deployed, graph: Any) -> None:
    world.deliver("retail/order_lines/rejected.csv", world.lines(SALES)[:2])  # mends the rejected one
    with duckdb.connect(str(world.home / "warehouse.duckdb")) as shell:
        shell.execute("ALTER TABLE snapshots.product_prices RENAME COLUMN dbt_valid_to TO lost")
    time.sleep(2.1)
    (world.home / "builds.sqlite").unlink()  # so that everything is built
    assert world.verb("run", "--json").code == 1
    with duckdb.connect(str(world.home / "warehouse.duckdb")) as shell:
        shell.execute("ALTER TABLE snapshots.product_prices RENAME COLUMN lost TO dbt_valid_to")
    with delivered(world, "new.csv", world.lines(SALES)):
        first, *rest = asked(world, graph, "daily_sales", IN_TIME)
    assert (first.kind, first.asset) == ("dbt error", "snapshots/product_prices"), "a new file mends no model"
    assert "dbt_valid_to" in str(first)
    assert "dbt error" not in {reason.kind for reason in rest}
    assert "new file" in {reason.kind for reason in rest}
    told = {key: each for key, each in wrong(world, graph, IN_TIME).items() if key.startswith(("run:", "model:"))}
    assert set(told) == {"model:snapshots/product_prices"}, "the run, and what is below, failed of it"
    assert "marts/dim_products" in told["model:snapshots/product_prices"].assets
    assert world.verb("run", "--json").did
    assert not [key for key in wrong(world, graph, IN_TIME) if key.startswith("model:")]


def of_shop(world: Modelled, name: str) -> list[Cause]:
    """What keeps data from an asset of the shop, its deliveries apart."""
    for daemon in ("SENSOR", "ASSET", "QUEUED_RUN_COORDINATOR"):
        _beat(world.instance, daemon)
    seen = DagsterState(world.instance, world.definitions.resolve_asset_graph(), world.shop.clock())
    key = dg.AssetKey(name.split("/"))
    found = why(key, seen, DeploymentState(world.shop.deployment, [], world.project))
    return [reason for reason in found if not reason.asset.startswith("deliveries/")]


def test_what_is_held_back_waits_or_was_cancelled(shop: Shop) -> None:
    with modelled(shop) as world:
        shop.deliver("a.csv", sales("S1,1", "S2,bad"))
        world.by_itself()
        kinds = {reason.asset: (reason.kind, str(reason)) for reason in of_shop(world, RELEASE)}
        assert kinds[raw_name(world.feed)][0] == "check failed"
        assert kinds[RELEASE][0] == "held back"
        says = "held back by raw//sales: `sales/a.csv`: `1 of 2 rows rejected`; there is no release yet"
        assert kinds[RELEASE][1] == says
        shop.deliver("a.csv", sales("S1,1", "S2,2"))
        world.by_hand(raw_name(world.feed))
        (asked,) = of_shop(world, MODEL)
        assert (asked.asset, asked.kind) == (MODEL, "not asked for yet")
        world.came_to([MODEL, RELEASE], dg.DagsterRunStatus.CANCELED)
        (cancelled,) = of_shop(world, MODEL)
        assert (cancelled.asset, cancelled.kind) == (MODEL, "run cancelled")
        assert "platform run" in cancelled.remedy
        world.came_to([MODEL, RELEASE], dg.DagsterRunStatus.FAILURE)
        assert "waits to try again" in {reason.kind for reason in of_shop(world, MODEL)}


def _beat(instance: dg.DagsterInstance, daemon: str) -> None:
    from dagster._daemon.types import DaemonHeartbeat

    instance.add_daemon_heartbeat(DaemonHeartbeat(time.time(), daemon, "here", []))


def test_an_asset_is_named_by_how_its_key_ends(graph: Any, world: Deployed) -> None:
    with world.instance() as instance:
        seen = DagsterState(instance, graph, IN_TIME)
        assert asset_named("marts/daily_sales", seen).path == ["marts", "daily_sales"]
        assert asset_named("order_lines", seen).path == ["raw", "retail", "order_lines"]
        with pytest.raises(Exception, match="is no asset"):
            asset_named("nothing", seen)
        with pytest.raises(Exception, match="Did you mean 'marts/daily_sales'"):
            asset_named("mart/daily_sale", seen)
        with pytest.raises(Exception, match="Did you mean 'order_lines'"):
            asset_named("order_line", seen)
