"""What owners are told of beyond what a shop at work brings about: sensors that fail, budgets that burn."""

import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import duckdb
import pytest
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.remote_origin import InProcessCodeLocationOrigin, RemoteInstigatorOrigin, RemoteRepositoryOrigin
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    SensorInstigatorData,
    TickData,
    TickStatus,
)
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster_shared.error import SerializableErrorInfo
from modelled import MODEL, RELEASE, Modelled, modelled, opens, project_of_shop
from shop import Shop, sales

from platform_assets.alerts.incidents import Problem
from platform_assets.engine.deployment import Deployment
from platform_assets.orchestration.feeds import feed_assets
from platform_assets.orchestration.watch.causes import failed_sensors
from platform_assets.orchestration.watch.dagster_state import DagsterState
from platform_assets.orchestration.watch.deployment_state import DeploymentState
from platform_assets.orchestration.watch.problems import SECTIONS, everything
from platform_assets.project.configured import declared_feeds, declared_marts
from platform_assets.project.graph import raw_name
from platform_assets.project.manifest import mart_owners


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    home = tmp_path / "dagster"
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}")
    with dg.DagsterInstance.from_config(str(home)) as instance:
        yield instance


def seen(shop: Shop, instance: dg.DagsterInstance) -> DagsterState:
    return DagsterState(
        instance,
        dg.Definitions(
            assets=[feed_assets(shop.feed, project_of_shop(shop.feed))], resources={"deployment": opens(shop)}
        ).resolve_asset_graph(),
        shop.clock(),
    )


def ticked(
    instance: dg.DagsterInstance, name: str, status: TickStatus, error: str | None = None, *, ago: float = 0
) -> float:
    """A tick of a sensor so many seconds ago, as the daemon writes it."""
    at = time.time() - ago
    repository = RemoteRepositoryOrigin(InProcessCodeLocationOrigin(LoadableTargetOrigin(module_name="m")), "r")
    origin = RemoteInstigatorOrigin(repository, name)
    state = InstigatorState(origin, InstigatorType.SENSOR, InstigatorStatus.DECLARED_IN_CODE, SensorInstigatorData())
    if not instance.get_instigator_state(state.instigator_origin_id, state.selector_id):
        instance.add_instigator_state(state)
    said = SerializableErrorInfo(f"ValueError: {error}", [], "ValueError") if error else None
    instance.create_tick(
        TickData(
            state.instigator_origin_id, name, InstigatorType.SENSOR, status, at,
            end_timestamp=at, error=said, selector_id=state.selector_id,
        )
    )  # fmt: skip
    return at


def sensors_told(shop: Shop, instance: dg.DagsterInstance) -> list[Problem]:
    return list(SECTIONS["sensor:"](seen(shop, instance), DeploymentState(shop.deployment, [])))


def test_a_sensor_that_keeps_failing_is_told_with_all_that_waits_for_it(
    shop: Shop, instance: dg.DagsterInstance
) -> None:
    ticked(instance, "sales_files", TickStatus.FAILURE, "another trouble", ago=400)
    ticked(instance, "sales_files", TickStatus.SKIPPED, ago=300)
    first = ticked(instance, "sales_files", TickStatus.FAILURE, "no such folder", ago=90)
    for ago in range(80, -10, -10):
        ticked(instance, "sales_files", TickStatus.FAILURE, "no such folder", ago=ago)
    (problem,) = sensors_told(shop, instance)
    assert (problem.key, problem.owner, problem.runbook) == ("sensor:sales_files", "team:sales", "sensor-failed")
    assert problem.detail == "no such folder"
    assert problem.since.timestamp() == pytest.approx(first, abs=0.01), "the first of those that failed in a row"
    assert {asset.split("/")[0] for asset in problem.assets} == {"quarantine", "raw"}
    ticked(instance, "sales_files", TickStatus.SKIPPED)
    assert sensors_told(shop, instance) == []


def test_a_look_that_failed_is_told_only_when_those_after_it_fail_for_a_minute(
    shop: Shop, instance: dg.DagsterInstance
) -> None:
    ticked(instance, "sales_files", TickStatus.FAILURE, "busy", ago=600)
    ticked(instance, "sales_files", TickStatus.SKIPPED, ago=90)
    ticked(instance, "sales_files", TickStatus.FAILURE, "busy", ago=55)
    ticked(instance, "sales_files", TickStatus.FAILURE, "busy", ago=5)
    assert sensors_told(shop, instance) == []
    (cause,) = failed_sensors(seen(shop, instance), [shop.feed])
    assert cause.what == "the last look of sensor sales_files failed", "whoever asks is told at once"
    ticked(instance, "sales_files", TickStatus.FAILURE, "busy", ago=-10)
    assert [problem.key for problem in sensors_told(shop, instance)] == ["sensor:sales_files"]


def test_one_look_that_failed_long_ago_is_told_to_nobody(shop: Shop, instance: dg.DagsterInstance) -> None:
    """The daemon was stopped after it: nothing says that the next look would fail."""
    ticked(instance, "sales_files", TickStatus.FAILURE, "busy", ago=5_000)
    assert sensors_told(shop, instance) == []


def test_a_feed_whose_sensor_fails_is_late_for_that_reason(shop: Shop, instance: dg.DagsterInstance) -> None:
    shop.clock.at = datetime(2026, 3, 10, 7, tzinfo=UTC)
    shop.load("a.csv", sales("S1,1,,2026-03-09T12:00:00Z"))
    shop.clock.at = datetime(2026, 3, 11, 10, tzinfo=UTC)
    (late,) = SECTIONS["missing:"](seen(shop, instance), DeploymentState(shop.deployment, []))
    assert late.key == "missing:sales"
    assert "Wednesday 2026-03-11's delivery of sales" in late.title
    ticked(instance, "sales_files", TickStatus.FAILURE, "no such folder")
    assert list(SECTIONS["missing:"](seen(shop, instance), DeploymentState(shop.deployment, []))) == [late]
    ticked(instance, "sales_files", TickStatus.FAILURE, "no such folder", ago=70)
    assert list(SECTIONS["missing:"](seen(shop, instance), DeploymentState(shop.deployment, []))) == []


@pytest.mark.parametrize(("name", "is_it"), [("2026-03-10.csv", True), ("notes.csv", False), ("2026-03-08.csv", False)])
def test_a_missing_delivery_is_told_unless_the_very_file_is_quarantined(
    shop: Shop, instance: dg.DagsterInstance, name: str, is_it: bool
) -> None:
    for day in (8, 9, 10):
        shop.clock.at = datetime(2026, 3, day, 7, tzinfo=UTC)
        shop.load(f"2026-03-{day - 1:02}.csv", sales(f"S{day},1,,2026-03-{day - 1:02}T12:00:00Z"))
    shop.clock.at = datetime(2026, 3, 11, 7, tzinfo=UTC)
    assert shop.load(name, "no delivery at all\n").status == "quarantined"
    shop.clock.at = datetime(2026, 3, 11, 10, tzinfo=UTC)
    told = [each.key for each in SECTIONS["missing:"](seen(shop, instance), DeploymentState(shop.deployment, []))]
    assert told == ([] if is_it else ["missing:sales"])


def test_a_budget_that_burns_is_told_once_for_the_month(shop: Shop, instance: dg.DagsterInstance) -> None:
    shop.declare(delivered=replace(shop.feed.delivered, objective=0.99))
    for day in range(2, 6):
        late = timedelta(hours=5) if day == 4 else timedelta(hours=1)
        shop.clock.at = datetime(2026, 3, day, 6, tzinfo=UTC) + late
        shop.load(f"{day}.csv", sales(f"S{day},1,,2026-03-{day - 1:02}T12:00:00Z"))
    burning = list(SECTIONS["budget:"](seen(shop, instance), DeploymentState(shop.deployment, [])))
    assert [each.key for each in burning] == ["budget:sales:on time:2026-03"]
    assert "burns" in burning[0].title
    assert burning[0].command == "platform promises"


def test_what_marts_promise_is_owned_by_whom_dbt_names(shop: Shop) -> None:
    """A feed's owner is told of its deliveries; of a mart's budget, whoever owns the mart."""
    marts, feeds = declared_marts(), declared_feeds()
    deployment = Deployment(feeds, home=shop.root / "home", landing=shop.landing)
    told = {mart.mart: mart.owner for mart in DeploymentState(deployment, marts).released_marts}
    assert told.items() >= mart_owners(marts).items()
    assert set(told) == {mart.name for mart in marts}


# ---- what is accepted is released, or somebody hears why not


@pytest.fixture
def world(shop: Shop) -> Iterator[Modelled]:
    """A shop in Dagster whose first delivery is released."""
    with modelled(shop) as made:
        shop.deliver("a.csv", sales("S1,1"))
        made.by_itself()
        assert made.released
        yield made


def told(world: Modelled) -> dict[str, Problem]:
    """What is told of the shop, but that its deliveries are of long ago."""
    seen = DagsterState(world.instance, world.definitions.resolve_asset_graph(), world.shop.clock())
    found, unknown = everything(seen, DeploymentState(world.shop.deployment, [], world.project))
    assert not unknown
    return {problem.key: problem for problem in found if not problem.key.startswith(("missing:", "budget:"))}


def test_accepted_rows_that_a_cancelled_run_left_are_told_after_half_an_hour(world: Modelled) -> None:
    world.shop.deliver("b.csv", sales("S2,1"))
    world.by_hand(raw_name(world.feed))
    world.came_to([MODEL, RELEASE], dg.DagsterRunStatus.CANCELED)
    world.shop.clock.ahead = timedelta(minutes=29)
    assert told(world) == {}
    world.shop.clock.ahead = timedelta(minutes=31)
    (problem,) = told(world).values()
    assert (problem.key, problem.command) == ("unreleased:marts", "platform why release/marts")
    assert "Accepted rows of sales are in no release" in problem.title
    assert "was cancelled" in problem.detail
    assert MODEL in problem.detail
    world.by_hand(MODEL)
    world.by_hand(RELEASE)
    assert told(world) == {}


def test_where_something_else_says_why_nothing_more_is_told(world: Modelled) -> None:
    world.shop.deliver("b.csv", sales("S2,1", "S3,bad"))
    world.by_itself()
    world.shop.clock.ahead = timedelta(hours=2)
    assert set(told(world)) == {f"check:{raw_name(world.feed)}:rejects_within_tolerance"}


def test_a_failed_check_is_told_of_even_if_dagsters_storage_is_lost(world: Modelled) -> None:
    world.shop.deliver("b.csv", sales("S2,1", "S3,bad"))
    world.by_itself()
    with dg.DagsterInstance.ephemeral() as other:
        world.instance = other
        assert f"check:{raw_name(world.feed)}:rejects_within_tolerance" in told(world)


def test_a_copy_that_builds_nothing_ends_no_incident(world: Modelled) -> None:
    def broken() -> None:
        raise ValueError("broken")

    world.works = broken
    world.shop.deliver("b.csv", sales("S2,1"))
    world.by_itself()
    (before,) = told(world)
    assert before.startswith("run:")
    world.shop.deliver("copy.csv", sales("S2,1"))
    world.by_itself()
    assert before in told(world)
    world.works = lambda: None
    world.by_hand(MODEL)
    assert told(world) == {}


def test_a_release_that_is_pinned_is_one_problem_of_its_owner_until_it_is_unpinned(
    shop: Shop, instance: dg.DagsterInstance
) -> None:
    deployment = shop.deployment
    with duckdb.connect(str(deployment.warehouse.marts)) as marts:
        marts.execute("CREATE TABLE revenue AS SELECT 1 AS n")
    releases = deployment.releases
    release = releases.publish(deployment.warehouse, shop.clock(), ["revenue"])

    def told() -> list[Problem]:
        stored = DeploymentState(deployment, [], project_of_shop(shop.feed))
        return list(SECTIONS["pinned:"](seen(shop, instance), stored))

    assert told() == []
    releases.pin(release, "os:anna", "counted twice", shop.clock())
    (problem,) = told()
    assert (problem.owner, problem.runbook, problem.command) == ("team:sales", "pinned", f"platform why {RELEASE}")
    assert "counted twice" in problem.detail
    assert [each.key for each in told()] == [problem.key], "the same at every look"
    releases.unpin(shop.clock())
    assert told() == []
