"""A feed's sensor: one bounded run at a time, what is below with the last of them, and again what died."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import dagster as dg
import pytest
from shop import SALES, Shop, sales

from platform_assets.engine.feed import Feed, seconds
from platform_assets.orchestration import sensors
from platform_assets.orchestration.automation import on_new_data
from platform_assets.orchestration.feeds import IF_NEW_TAG, feed_assets
from platform_assets.orchestration.keys import quarantine_key, raw_key
from platform_assets.orchestration.process import DIED_TAG
from platform_assets.orchestration.resources import OpensDeployment

SILENT = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@dataclass
class Watched:
    """The shop with Dagster around it: its feed, a mart below, its sensor."""

    shop: Shop
    instance: dg.DagsterInstance
    cursor: str | None = None

    @property
    def feed(self) -> Feed:
        return self.shop.feed

    @property
    def definitions(self) -> dg.Definitions:
        @dg.asset(deps=[raw_key(self.feed)], automation_condition=on_new_data())
        def revenue() -> None: ...

        return dg.Definitions(
            assets=[feed_assets(self.feed), revenue],
            sensors=[sensors.feed_sensor(self.feed)],
            resources={"deployment": OpensDeployment()},
        )

    def tick(self) -> dg.RunRequest | str:
        """What the sensor asks for, or why it does not."""
        context = dg.build_sensor_context(instance=self.instance, cursor=self.cursor, definitions=self.definitions)
        said = sensors.feed_sensor(self.feed)(context)
        if isinstance(said, dg.SkipReason):
            return said.skip_message or ""
        assert isinstance(said, dg.SensorResult)
        self.cursor = said.cursor
        (request,) = said.run_requests or ()
        return request

    def run(self, request: dg.RunRequest) -> dg.ExecuteInProcessResult:
        """The run that was asked for."""
        job = self.definitions.resolve_implicit_global_asset_job_def()
        return job.execute_in_process(
            instance=self.instance,
            asset_selection=list(request.asset_selection or ()),
            run_config=dict(request.run_config) | SILENT,
            tags=dict(request.tags),
            raise_on_error=False,
        )

    def began(self, request: dg.RunRequest, status: dg.DagsterRunStatus, **tags: str) -> dg.DagsterRun:
        """A run of the request that came only so far."""
        job = self.definitions.resolve_implicit_global_asset_job_def()
        return self.instance.create_run_for_job(
            job_def=job, status=status, tags=dict(request.tags) | tags, asset_selection=frozenset({raw_key(self.feed)})
        )


@pytest.fixture
def watched(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    monkeypatch.setattr(OpensDeployment, "look", lambda _: shop.deployment)
    monkeypatch.setattr(OpensDeployment, "_open", lambda *_: shop.deployment)
    with dg.DagsterInstance.ephemeral() as instance:
        yield Watched(shop, instance)


def asked(said: dg.RunRequest | str) -> dg.RunRequest:
    assert isinstance(said, dg.RunRequest), said
    return said


def named(request: dg.RunRequest) -> list[str]:
    return [key.path[-1] for key in request.asset_selection or ()]


def most_files(request: dg.RunRequest) -> int:
    return int(request.run_config["ops"]["ingest_sales"]["config"]["most_files"])


def made(result: dg.ExecuteInProcessResult) -> set[str]:
    keys = [event.asset_key for event in result.get_asset_materialization_events()]
    return {key.to_user_string() for key in keys if key is not None}


# ---- what a run is to do


def test_new_files_are_asked_for_with_all_that_they_set_going(watched: Watched) -> None:
    watched.shop.deliver("a.csv", sales("S1,1"))
    request = asked(watched.tick())
    assert named(request) == ["sales", "sales", "revenue"]
    result = watched.run(request)
    assert result.success
    assert "revenue" in made(result)
    assert watched.tick() == "no new file"


def test_a_backlog_is_taken_in_by_bounded_runs_and_built_upon_with_the_last(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sensors, "_MOST_FILES", 3)
    for number in range(7):
        watched.shop.deliver(f"{number}.csv", sales(f"S{number},1"))
    portions = []
    for _ in range(3):
        request = asked(watched.tick())
        portions.append((most_files(request), "revenue" in named(request)))
        assert watched.run(request).success
    assert portions == [(3, False), (3, False), (1, True)]
    assert watched.shop.skus() == [f"S{number}" for number in range(7)]


def test_large_files_are_few_to_a_run_but_one_at_least(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sensors, "_MOST_BYTES", 100)
    for number in range(3):
        watched.shop.deliver(f"{number}.csv", sales(*(f"S{number}{line},1" for line in range(20))))
    assert most_files(asked(watched.tick())) == 1


def test_while_a_run_is_under_way_nothing_more_is_asked_for(watched: Watched) -> None:
    watched.shop.deliver("a.csv", sales("S1,1"))
    run = watched.began(asked(watched.tick()), dg.DagsterRunStatus.STARTED)
    watched.shop.deliver("b.csv", sales("S2,1"))
    assert watched.tick() == f"2 new files; run {run.run_id} is under way"


def test_a_delivery_of_nothing_new_builds_nothing(watched: Watched) -> None:
    watched.shop.deliver("a.csv", sales("S1,1"))
    watched.run(asked(watched.tick()))
    watched.shop.deliver("again.csv", sales("S1,1"))
    result = watched.run(asked(watched.tick()))
    assert result.success
    assert made(result) == set()
    assert [event.step_key for event in result.all_events if event.is_step_skipped] == ["revenue"]
    observed = result.get_asset_observation_events()
    assert {event.asset_observation_data.asset_observation.metadata["duplicate"].value for event in observed
            if "duplicate" in event.asset_observation_data.asset_observation.metadata} == {1}  # fmt: skip


def test_a_poisonous_file_holds_nobody_back_and_is_checked_for(watched: Watched) -> None:
    watched.shop.deliver("a.csv", sales("S1,1"))
    watched.run(asked(watched.tick()))
    watched.shop.deliver("broken.csv", "no,such,columns\n1,2,3\n")
    result = watched.run(asked(watched.tick()))
    failed = [each.check_name for each in result.get_asset_check_evaluations() if not each.passed]
    assert "no_delivery_quarantined" in failed
    assert made(result) == set(), "no new rows, so nothing to build"
    watched.shop.deliver("z.csv", sales("S2,1"))
    assert made(watched.run(asked(watched.tick())))
    assert watched.shop.skus() == ["S1", "S2"]
    assert watched.tick() == "no new file"


def test_a_file_that_needs_a_moment_to_settle_is_waited_for(watched: Watched) -> None:
    watched.shop.feed = replace(SALES, source=SALES.source.read_from("sales/*.csv", settle=seconds(0.5)))
    watched.shop.deliver("a.csv", sales("S1,1"))
    assert most_files(asked(watched.tick())) == 1


def test_a_file_that_is_still_written_is_not(watched: Watched) -> None:
    watched.shop.feed = replace(SALES, source=SALES.source.read_from("sales/*.csv", settle=seconds(20)))
    watched.shop.deliver("a.csv", sales("S1,1"))
    assert watched.tick() == "1 files are not ready: sales/a.csv is still being written"


# ---- runs that came to nothing


def test_what_could_not_be_taken_in_is_asked_for_ever_more_rarely(watched: Watched) -> None:
    watched.shop.deliver("a.csv", sales("S1,1"))
    for wait_s in (60, 120, 240):
        watched.began(asked(watched.tick()), dg.DagsterRunStatus.FAILURE)
        assert "waiting before the next try" in str(watched.tick())
        watched.shop.clock.ahead += seconds(wait_s - 5)
        assert "waiting before the next try" in str(watched.tick())
        watched.shop.clock.ahead += seconds(6)


def test_files_of_a_run_that_died_are_asked_for_at_once(watched: Watched) -> None:
    watched.shop.deliver("a.csv", sales("S1,1"))
    for _ in range(3):
        watched.began(asked(watched.tick()), dg.DagsterRunStatus.FAILURE, **{DIED_TAG: "its process is gone"})
    assert watched.run(asked(watched.tick())).success
    assert watched.shop.skus() == ["S1"]


def test_what_was_committed_by_a_run_that_died_is_built_by_another(watched: Watched) -> None:
    watched.shop.deliver("a.csv", sales("S1,1"))
    request = asked(watched.tick())
    watched.shop.ingest()  # committed, and then it died
    watched.began(request, dg.DagsterRunStatus.FAILURE, **{DIED_TAG: "its process is gone"})
    again = asked(watched.tick())
    assert IF_NEW_TAG not in again.tags
    assert "revenue" in made(watched.run(again))


@pytest.mark.parametrize("cursor", [None, "", "damaged", "[]", json.dumps({"asked": "x"})])
def test_a_lost_cursor_costs_a_run_at_most(watched: Watched, cursor: str | None) -> None:
    watched.shop.deliver("a.csv", sales("S1,1"))
    watched.cursor = cursor
    assert watched.run(asked(watched.tick())).success
    watched.cursor = cursor
    assert watched.tick() == "no new file"
    assert watched.shop.skus() == ["S1"]


# ---- replay through the UI


def replayed(watched: Watched, **config: Any) -> dg.ExecuteInProcessResult:
    request = dg.RunRequest(
        asset_selection=[raw_key(watched.feed), quarantine_key(watched.feed)],
        run_config={"ops": {"ingest_sales": {"config": {"replay": True, **config}}}},
    )
    return watched.run(request)


def test_archived_deliveries_come_in_again_by_what_the_launchpad_says(watched: Watched) -> None:
    watched.shop.load("a.csv", sales("S1,1", "S2,oops"))
    watched.shop.load("b.csv", sales("S3,1"))
    result = replayed(watched, files="*/a.csv", again=True)
    (raw,) = [each for each in result.get_asset_materialization_events() if each.asset_key == raw_key(watched.feed)]
    metadata = raw.materialization.metadata
    assert (metadata["deliveries"].value, metadata["read"].value, metadata["rejected"].value) == (1, 2, 1)
    assert watched.shop.reconciles()


def test_a_replay_that_changes_nothing_sets_nothing_going(watched: Watched) -> None:
    watched.shop.load("a.csv", sales("S1,1"))
    first, second = replayed(watched), replayed(watched)
    versions = [
        (event.materialization.tags or {}).get("dagster/data_version")
        for result in (first, second)
        for event in result.get_asset_materialization_events()
        if event.asset_key == raw_key(watched.feed)
    ]
    assert versions == ["1", "1"]


def test_a_time_that_is_none_is_refused_before_anything_is_touched(watched: Watched) -> None:
    watched.shop.load("a.csv", sales("S1,1"))
    result = replayed(watched, since="yesterday")
    assert not result.success
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    assert "'yesterday' is no time" in str(failure.step_failure_data.error)
    assert watched.shop.reconciles()
