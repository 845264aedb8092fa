"""What runs by itself: on really new data, once, when every blocking check of every input has passed, in any run."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest

from platform_assets.orchestration.automation import failing_checks, followers, on_cron, on_new_data, unfit

# Dagster's own tester of conditions uses a beta parameter of Dagster's.
pytestmark = pytest.mark.filterwarnings("ignore:Parameter `include_sources`")

SILENT = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@dataclass
class World:
    """Two inputs with a blocking check each, two assets below, one of them by cron; what automation asks for."""

    instance: dg.DagsterInstance
    versions: dict[str, int] = field(default_factory=lambda: {"orders": 0, "prices": 0})
    sound: dict[str, bool] = field(default_factory=lambda: {"orders": True, "prices": True})
    now: datetime = field(default_factory=lambda: datetime(2026, 3, 2, 5, 0, tzinfo=UTC))
    _cursor: Any = None

    @property
    def definitions(self) -> dg.Definitions:
        def an_input(name: str) -> tuple[dg.AssetsDefinition, dg.AssetChecksDefinition]:
            @dg.asset(key=name)
            def made() -> dg.MaterializeResult[Any]:
                return dg.MaterializeResult(data_version=dg.DataVersion(str(self.versions[name])))

            @dg.asset_check(asset=name, name="sound", blocking=True)
            def sound() -> dg.AssetCheckResult:
                return dg.AssetCheckResult(passed=self.sound[name])

            return made, sound

        @dg.asset(deps=["orders", "prices"], automation_condition=on_new_data())
        def revenue() -> None: ...

        @dg.asset(deps=["orders"], automation_condition=on_cron("0 6 * * *", "UTC"))
        def weekly() -> None: ...

        @dg.asset(deps=["revenue", "weekly"], automation_condition=on_new_data())
        def release() -> None: ...

        orders, prices = an_input("orders"), an_input("prices")
        return dg.Definitions(
            assets=[orders[0], prices[0], revenue, weekly, release], asset_checks=[orders[1], prices[1]]
        )

    def run(self, *assets: str) -> None:
        """A run of these assets and their checks."""
        job = self.definitions.resolve_implicit_global_asset_job_def()
        keys = {dg.AssetKey(asset) for asset in assets}
        job.get_subset(asset_selection=keys).execute_in_process(
            instance=self.instance, raise_on_error=False, run_config=SILENT
        )

    def deliver(self, *names: str) -> None:
        """New data in these inputs, each loaded by a run of its own."""
        for name in names:
            self.versions[name] += 1
            self.run(name)

    def check(self, name: str) -> None:
        """The check of an input alone."""
        job = self.definitions.resolve_implicit_global_asset_job_def()
        key = dg.AssetCheckKey(dg.AssetKey(name), "sound")
        job.get_subset(asset_selection=set(), asset_check_selection={key}).execute_in_process(
            instance=self.instance, raise_on_error=False, run_config=SILENT
        )

    def asked(self, later: timedelta = timedelta(seconds=30)) -> set[str]:
        """What automation asks for at its next tick."""
        self.now += later
        ticked = dg.evaluate_automation_conditions(
            self.definitions, self.instance, cursor=self._cursor, evaluation_time=self.now
        )
        self._cursor = ticked.cursor
        return {name for name in ("revenue", "weekly", "release") if ticked.get_num_requested(dg.AssetKey(name))}


@pytest.fixture
def world() -> Iterator[World]:
    with dg.DagsterInstance.ephemeral() as instance:
        world = World(instance)
        world.deliver("orders", "prices")
        world.run("revenue", "weekly", "release")
        world.asked()
        world.asked()
        yield world


def test_new_data_sets_going_what_is_below_it(world: World) -> None:
    world.deliver("orders")
    assert world.asked() == {"revenue", "release"}


def test_it_is_asked_for_once(world: World) -> None:
    world.deliver("orders")
    world.asked()
    assert world.asked() == set()
    world.run("revenue", "release")
    assert world.asked() == set()
    assert world.asked() == set()


def test_a_load_of_nothing_new_triggers_nothing(world: World) -> None:
    world.run("orders")
    world.run("orders", "prices")
    assert world.asked() == set()


def test_what_a_run_has_built_already_is_not_asked_for_again(world: World) -> None:
    world.versions["orders"] += 1
    world.run("orders", "revenue", "release")
    assert world.asked() == set()


def test_a_failed_check_of_any_input_in_any_run_holds_it_until_it_passes(world: World) -> None:
    world.sound["prices"] = False
    world.deliver("prices")
    assert world.asked() == set()
    world.deliver("orders")
    assert world.asked() == set(), "the check failed in another run than that of the new data"
    world.sound["prices"] = True
    world.check("prices")
    assert world.asked() == {"revenue", "release"}
    assert world.asked() == set()


def test_by_cron_it_runs_at_its_time_and_only_if_there_is_something_new(world: World) -> None:
    world.asked(later=timedelta(days=1))
    assert world.asked(later=timedelta(days=1)) == set(), "nothing is new"
    world.deliver("orders")
    world.run("revenue", "release")
    assert world.asked(later=timedelta(minutes=30)) == set(), "its time has not come"
    assert world.asked(later=timedelta(days=1)) == {"weekly", "release"}
    assert world.asked(later=timedelta(days=1)) == set()


# ---- what a sensor asks for at once


def named(keys: list[dg.AssetKey]) -> list[str]:
    return [key.to_user_string() for key in keys]


def test_a_sensor_asks_for_all_that_new_data_sets_going_but_what_waits_for_its_time(world: World) -> None:
    graph = world.definitions.resolve_asset_graph()
    assert named(followers(graph, [dg.AssetKey("orders")], unfit(world.instance, graph))) == ["revenue", "release"]


def test_a_sensor_leaves_out_what_must_not_be_built_upon(world: World) -> None:
    world.sound["prices"] = False
    world.deliver("prices")
    graph = world.definitions.resolve_asset_graph()
    assert named(followers(graph, [dg.AssetKey("orders")], unfit(world.instance, graph))) == []
    world.sound["prices"] = True
    world.check("prices")
    assert named(followers(graph, [dg.AssetKey("orders")], unfit(world.instance, graph))) == ["revenue", "release"]


def test_nothing_is_built_on_what_was_never_made() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        world = World(instance)
        world.deliver("orders")
        graph = world.definitions.resolve_asset_graph()
        assert followers(graph, [dg.AssetKey("orders")], unfit(instance, graph)) == []


def test_a_check_that_passed_before_its_asset_was_made_again_has_not_passed(world: World) -> None:
    check = dg.AssetCheckKey(dg.AssetKey("orders"), "sound")
    assert failing_checks(world.instance, [check]) == []
    job = world.definitions.resolve_implicit_global_asset_job_def()
    alone = job.get_subset(asset_selection={dg.AssetKey("orders")}, asset_check_selection=set())
    alone.execute_in_process(instance=world.instance, run_config=SILENT)
    assert failing_checks(world.instance, [check]) == [check]
