"""A feed's sensor: one bounded run at a time, what is below with the last of them, and again what died."""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import dagster as dg
import pytest
from modelled import MODEL, RELEASE, Modelled, modelled
from shop import FILES, SALES, Shop, sales

from platform_assets.engine.audit.log import AuditLog
from platform_assets.engine.deployment import Deployment
from platform_assets.engine.feed.feed import seconds
from platform_assets.errors import StorageError
from platform_assets.orchestration.runs.keys import feed_tag, quarantine_key, raw_key
from platform_assets.orchestration.runs.process import DIED_TAG
from platform_assets.orchestration.runs.resources import OpensDeployment
from platform_assets.orchestration.sensors import feed_sensor
from platform_assets.project.graph import Node, Project, raw_name


@pytest.fixture
def watched(shop: Shop) -> Iterator[Modelled]:
    with modelled(shop) as world:
        yield world


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


def test_new_files_are_asked_for_with_all_that_they_set_going(watched: Modelled) -> None:
    watched.shop.deliver("a.csv", sales("S1,1"))
    request = asked(watched.tick())
    assert named(request) == ["sales", "sales", "revenue", "marts"]
    assert request.tags[feed_tag(watched.feed)] == "true"
    result = watched.run(request)
    assert result.success
    assert {MODEL, RELEASE} <= made(result)
    assert watched.released
    assert watched.tick() == "no new file"


def test_a_backlog_is_taken_in_by_bounded_runs_and_built_upon_with_the_last(watched: Modelled) -> None:
    watched.most_files = 3
    for number in range(7):
        watched.shop.deliver(f"{number}.csv", sales(f"S{number},1"))
    portions = []
    for _ in range(3):
        request = asked(watched.tick())
        portions.append((most_files(request), "revenue" in named(request)))
        assert watched.run(request).success
    assert portions == [(3, False), (3, False), (1, True)]
    assert watched.shop.skus() == [f"S{number}" for number in range(7)]


def test_large_files_are_few_to_a_run_but_one_at_least(watched: Modelled) -> None:
    watched.most_bytes = 100
    for number in range(3):
        watched.shop.deliver(f"{number}.csv", sales(*(f"S{number}{line},1" for line in range(20))))
    assert most_files(asked(watched.tick())) == 1


def test_while_a_run_is_under_way_nothing_more_is_asked_for(watched: Modelled) -> None:
    watched.shop.deliver("a.csv", sales("S1,1"))
    run = watched.came_to(asked(watched.tick()), dg.DagsterRunStatus.STARTED)
    watched.shop.deliver("b.csv", sales("S2,1"))
    assert watched.tick() == f"2 new files; run {run.run_id} is under way"


def test_a_delivery_of_nothing_new_builds_nothing(watched: Modelled) -> None:
    watched.shop.deliver("a.csv", sales("S1,1"))
    watched.run(asked(watched.tick()))
    watched.shop.deliver("again.csv", sales("S1,1"))
    result = watched.run(asked(watched.tick()))
    assert result.success
    assert made(result) == set()
    assert [event.step_key for event in result.all_events if event.is_step_skipped] == [
        "models",
        "release__marts",
        "check_releases",
    ]
    observed = result.get_asset_observation_events()
    assert {event.asset_observation_data.asset_observation.metadata["duplicate"].value for event in observed
            if "duplicate" in event.asset_observation_data.asset_observation.metadata} == {1}  # fmt: skip


def test_a_poisonous_file_holds_nobody_back_and_is_checked_for(watched: Modelled) -> None:
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


def test_a_file_that_needs_a_moment_to_settle_is_waited_for(watched: Modelled) -> None:
    watched.shop.feed = replace(SALES, source=FILES.read_from("sales/*.csv", settle=seconds(0.5)))
    watched.shop.deliver("a.csv", sales("S1,1"))
    assert most_files(asked(watched.tick())) == 1


def test_a_file_that_is_still_written_is_not(watched: Modelled) -> None:
    watched.shop.feed = replace(SALES, source=FILES.read_from("sales/*.csv", settle=seconds(20)))
    watched.shop.deliver("a.csv", sales("S1,1"))
    assert watched.tick() == "1 file is not ready: sales/a.csv is still being written"


# ---- runs that came to nothing


def test_what_could_not_be_taken_in_is_asked_for_ever_more_rarely(watched: Modelled) -> None:
    watched.shop.deliver("a.csv", sales("S1,1"))
    for wait_s in (60, 120, 240):
        watched.came_to(asked(watched.tick()), dg.DagsterRunStatus.FAILURE)
        assert "waiting before the next try" in str(watched.tick())
        watched.shop.clock.ahead += seconds(wait_s - 5)
        assert "waiting before the next try" in str(watched.tick())
        watched.shop.clock.ahead += seconds(6)


def test_files_of_a_run_that_died_are_asked_for_at_once(watched: Modelled) -> None:
    watched.shop.deliver("a.csv", sales("S1,1"))
    for _ in range(3):
        watched.came_to(asked(watched.tick()), dg.DagsterRunStatus.FAILURE, **{DIED_TAG: "its process is gone"})
    assert watched.run(asked(watched.tick())).success
    assert watched.shop.skus() == ["S1"]


def test_what_was_committed_by_a_run_that_died_is_checked_and_built_by_another(watched: Modelled) -> None:
    watched.shop.deliver("a.csv", sales("S1,1"))
    request = asked(watched.tick())
    watched.shop.ingest()  # committed, and then it died
    watched.came_to(request, dg.DagsterRunStatus.FAILURE, **{DIED_TAG: "its process is gone"})
    assert {MODEL, RELEASE} <= made(watched.run(asked(watched.tick())))
    assert watched.released


def test_files_of_a_run_that_a_person_cancelled_wait_for_a_person_or_another_file(watched: Modelled) -> None:
    watched.shop.deliver("a.csv", sales("S1,1"))
    watched.came_to(asked(watched.tick()), dg.DagsterRunStatus.CANCELED)
    assert "was cancelled; they wait for another file, or for a person" in str(watched.tick())
    watched.shop.deliver("b.csv", sales("S2,1"))
    assert watched.run(asked(watched.tick())).success
    assert watched.shop.skus() == ["S1", "S2"]


def test_a_run_that_is_executed_again_does_what_the_one_before_had_left(watched: Modelled) -> None:
    watched.shop.deliver("a.csv", sales("S1,1"))
    request = asked(watched.tick())
    watched.shop.ingest()  # loaded, and then cancelled: what is executed again finds no new file
    watched.came_to(request, dg.DagsterRunStatus.CANCELED)
    assert {MODEL, RELEASE} <= made(watched.run(request))


@pytest.mark.parametrize("cursor", [None, "", "damaged", "[]", json.dumps({"asked": "x"})])
def test_a_lost_cursor_costs_a_run_at_most(watched: Modelled, cursor: str | None) -> None:
    watched.shop.deliver("a.csv", sales("S1,1"))
    watched.cursors["sales_files"] = cursor
    assert watched.run(asked(watched.tick())).success
    watched.cursors["sales_files"] = cursor
    assert watched.tick() == "no new file"
    assert watched.shop.skus() == ["S1"]


# ---- replay through the UI


def replayed(watched: Modelled, **config: Any) -> dg.ExecuteInProcessResult:
    request = dg.RunRequest(
        asset_selection=[raw_key(watched.feed), quarantine_key(watched.feed)],
        run_config={"ops": {"ingest_sales": {"config": {"replay": True, **config}}}},
    )
    return watched.run(request)


def test_archived_deliveries_come_in_again_by_what_the_launchpad_says(watched: Modelled) -> None:
    watched.shop.load("a.csv", sales("S1,1", "S2,oops"))
    watched.shop.load("b.csv", sales("S3,1"))
    result = replayed(watched, files="*/a.csv", again=True)
    (raw,) = [each for each in result.get_asset_materialization_events() if each.asset_key == raw_key(watched.feed)]
    metadata = raw.materialization.metadata
    assert (metadata["deliveries"].value, metadata["read"].value, metadata["rejected"].value) == (1, 2, 1)
    assert watched.shop.reconciles()


def test_a_replay_that_changes_nothing_sets_nothing_going(watched: Modelled) -> None:
    watched.shop.load("a.csv", sales("S1,1"))
    first, second = replayed(watched), replayed(watched)
    versions = [
        (event.materialization.tags or {}).get("dagster/data_version")
        for result in (first, second)
        for event in result.get_asset_materialization_events()
        if event.asset_key == raw_key(watched.feed)
    ]
    assert versions == ["1", "1"]


def test_a_replay_by_run_config_is_recorded_once_however_often_it_is_tried(
    watched: Modelled, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched.shop.load("a.csv", sales("S1,1"))
    replay, tries = Deployment.replay, 0

    def fails_first(self: Deployment, *arguments: Any, **options: Any) -> Any:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise StorageError(self.home, "no space left on device")
        return replay(self, *arguments, **options)

    monkeypatch.setattr(Deployment, "replay", fails_first)
    monkeypatch.setattr("platform_assets.orchestration.runs.resources._FIRST_WAIT_S", 0)
    result = replayed(watched, again=True)
    assert (result.success, tries) == (True, 2)
    asked, done = AuditLog(watched.shop.root / "home").entries()
    assert (asked.who, asked.what, asked.outcome) == (f"run:{result.run_id}", "replay", "asked")
    assert asked.about == {"feed": "sales", "run": result.run_id, "replay": True, "again": True}
    assert (done.who, done.outcome, done.of) == (asked.who, "done", asked.n)
    assert done.about == {"run": result.run_id, "deliveries": 1}


def test_a_time_that_is_none_is_refused_before_anything_is_touched(watched: Modelled) -> None:
    watched.shop.load("a.csv", sales("S1,1"))
    result = replayed(watched, since="yesterday")
    assert not result.success
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    assert "'yesterday' is no time" in str(failure.step_failure_data.error)
    assert watched.shop.reconciles()


# ---- decisions through the UI


def decided(watched: Modelled, **config: Any) -> dg.ExecuteInProcessResult:
    request = dg.RunRequest(
        asset_selection=[raw_key(watched.feed), quarantine_key(watched.feed)],
        run_config={"ops": {"ingest_sales": {"config": config}}},
    )
    return watched.run(request)


def test_a_delivery_is_withdrawn_and_restored_by_what_the_launchpad_says(watched: Modelled) -> None:
    watched.shop.load("a.csv", sales("S1,1"))
    watched.shop.load("b.csv", sales("S2,1"))
    result = decided(watched, decide="withdraw", delivery=1, why="wrong month")
    assert watched.shop.skus() == ["S2"]
    (raw,) = [each for each in result.get_asset_materialization_events() if each.asset_key == raw_key(watched.feed)]
    assert f"withdrawn by run:{result.run_id}: wrong month" in str(raw.materialization.metadata["receipts"].value)
    asked, done = AuditLog(watched.shop.root / "home").entries()
    assert (asked.who, asked.what, asked.outcome) == (f"run:{result.run_id}", "delivery withdraw", "asked")
    assert asked.about == {"delivery": 1, "feed": "sales", "run": result.run_id, "why": "wrong month"}
    assert (done.outcome, done.of) == ("done", asked.n)
    assert decided(watched, decide="restore", delivery=1).success
    assert watched.shop.skus() == ["S1", "S2"]


def test_a_decision_by_run_config_is_taken_once_however_often_the_step_is_tried(
    watched: Modelled, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched.shop.load("a.csv", sales("S1,1"))
    decide, tries = Deployment.decide, 0

    def fails_after(self: Deployment, *arguments: Any, **options: Any) -> Any:
        nonlocal tries
        tries += 1
        decide(self, *arguments, **options)
        raise StorageError(self.home, "no space left on device")

    monkeypatch.setattr(Deployment, "decide", fails_after)
    monkeypatch.setattr("platform_assets.orchestration.runs.resources._FIRST_WAIT_S", 0)
    result = decided(watched, decide="withdraw", delivery=1, why="wrong month")
    assert (result.success, tries) == (True, 1)
    assert watched.shop.skus() == []
    assert [each.outcome for each in AuditLog(watched.shop.root / "home").entries()] == ["asked", "done"]


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({"decide": "withdraw", "why": "wrong"}, "delivery: is missing"),
        ({"decide": "accept", "delivery": 1}, "why: is empty"),
        ({"decide": "restore", "delivery": 1}, "is not withdrawn"),
        ({"decide": "withdraw", "delivery": 7, "why": "wrong"}, "is not in the ledger"),
    ],
)
def test_a_decision_that_cannot_be_fails_the_run_and_changes_nothing(
    watched: Modelled, config: dict[str, Any], why: str
) -> None:
    watched.shop.load("a.csv", sales("S1,1"))
    result = decided(watched, **config)
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    assert why in str(failure.step_failure_data.error)
    assert watched.shop.skus() == ["S1"]


def test_marts_and_release_follow_a_decision_and_the_manifest_tells_of_it(watched: Modelled) -> None:
    watched.shop.deliver("a.csv", sales("S1,1"))
    watched.shop.deliver("b.csv", sales("S2,1", "bad"))
    held = watched.run(asked(watched.tick()))
    assert not {MODEL, RELEASE} & made(held)  # more rejected rows than are tolerated
    watched.shop.deployment.decide(watched.feed, "accept", 2, by="os:anna", why="known")
    watched.shop.deployment.decide(watched.feed, "withdraw", 1, by="os:anna", why="wrong")
    result = watched.run(asked(watched.tick()))
    assert {MODEL, RELEASE} <= made(result)
    said = {each.check_name: str(each.description) for each in result.get_asset_check_evaluations()}
    assert "accepted by os:anna: known" in said["rejects_within_tolerance"]
    current = watched.shop.deployment.releases.current()
    assert current is not None
    told = [(each["delivery"], each["file"], each["what"], each["by"], each["why"]) for each in current.decided]
    assert sorted(told) == [
        (1, "sales/a.csv", "withdrawn", "os:anna", "wrong"),
        (2, "sales/b.csv", "accepted", "os:anna", "known"),
    ]


# ---- how often


@pytest.mark.parametrize(("feeds", "seconds"), [(1, 10), (3, 18), (50, 30)])
def test_the_more_feeds_there_are_the_more_rarely_each_is_looked_for(feeds: int, seconds: int) -> None:
    """An idle platform costs little, however many feeds it has; a new file is never left for longer than this."""
    named = [replace(SALES, name=f"sales_{at}") for at in range(feeds)]
    project = Project({raw_name(feed): Node(raw_name(feed), feed=feed) for feed in named}, ())
    assert feed_sensor(named[0], project, OpensDeployment()).minimum_interval_seconds == seconds
