"""What runs by itself: whatever is out of date by what is stored, whatever was missed, cancelled, killed or lost."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg
import duckdb
import pytest
from modelled import MODEL, RELEASE, Modelled, modelled
from shop import Shop, sales

from platform_assets.engine.feed.feed import Cadence, Rejects, seconds
from platform_assets.orchestration.runs.keys import raw_key
from platform_assets.orchestration.runs.process import DIED_TAG
from platform_assets.project.graph import raw_name

SUCCESS, FAILURE, CANCELED = dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED


@pytest.fixture
def world(shop: Shop) -> Iterator[Modelled]:
    """A shop whose first delivery is released."""
    with modelled(shop) as made:
        shop.deliver("a.csv", sales("S1,1"))
        (result,) = made.by_itself()
        assert result.success
        assert made.released
        yield made


def broken() -> None:
    raise ValueError("the model is broken")


# ---- nothing without a cause


def test_what_is_up_to_date_is_not_asked_for(world: Modelled) -> None:
    assert world.by_itself() == []
    world.by_hand(raw_name(world.feed))
    assert world.by_itself() == [], "a load of nothing new"


def test_before_the_first_delivery_nothing_is_made(shop: Shop) -> None:
    with modelled(shop) as made:
        assert made.by_itself() == []


# ---- changes that no run has made


def test_a_model_whose_code_changed_is_made_and_released_without_a_delivery(world: Modelled) -> None:
    before = world.shop.deployment.releases.current()
    world.code = "another"
    assert world.automated() == {MODEL, RELEASE}
    world.by_itself()
    assert world.released
    after = world.shop.deployment.releases.current()
    assert before is not None
    assert after is not None
    assert after.id != before.id


def test_what_a_feed_is_held_to_changes_and_its_rows_are_checked_again(world: Modelled) -> None:
    world.shop.deliver("b.csv", sales("S2,1", "S3,bad", "S4,bad"))
    world.by_itself()
    assert not world.released, "more rejected than tolerated"
    assert world.by_itself() == [], "what failed its check is not asked for over and over"
    world.shop.declare(tolerate=Rejects(rate=0.9))
    world.code_of_feed = "tolerates more"
    world.by_itself()
    assert world.released


def test_a_check_that_passes_at_last_lets_through_what_it_held(world: Modelled) -> None:
    world.sound = False
    world.shop.deliver("b.csv", sales("S2,1"))
    world.by_itself()
    assert not world.released
    world.sound = True
    world.by_hand(MODEL, checks_only=True)
    assert world.automated() == {RELEASE}
    world.by_itself()
    assert world.released


# ---- runs that came to nothing


def test_what_failed_is_asked_for_again_after_growing_waits(world: Modelled) -> None:
    world.works = broken
    world.shop.deliver("b.csv", sales("S2,1"))
    for wait_s in (60, 120, 240):
        (result,) = world.by_itself()
        assert not result.success
        world.shop.clock.ahead = seconds(wait_s - 30)
        assert world.automated() == set()
        world.shop.clock.ahead = seconds(wait_s + 1)
    for _ in range(5):
        world.came_to([MODEL, RELEASE], FAILURE)
    world.shop.clock.ahead = timedelta(minutes=55)
    assert world.automated() == set()
    world.shop.clock.ahead = timedelta(hours=1, seconds=5)
    assert world.automated() == {MODEL, RELEASE}, "at most an hour"


def test_what_failed_is_asked_for_at_once_when_its_code_or_its_input_changed(world: Modelled) -> None:
    world.works = broken
    world.shop.deliver("b.csv", sales("S2,1"))
    world.by_itself()
    assert world.automated() == set()
    world.works = lambda: None
    world.code = "mended"
    assert world.automated() == {MODEL, RELEASE}
    world.by_itself()
    assert world.released


def test_what_a_person_cancelled_waits_for_a_person_or_for_new_data(world: Modelled) -> None:
    world.shop.deliver("b.csv", sales("S2,1"))
    world.by_hand(raw_name(world.feed))
    run = world.came_to([MODEL, RELEASE], CANCELED)
    assert world.automated() == set()
    world.shop.clock.ahead += timedelta(days=1)
    assert world.automated() == set(), f"however long it takes; {run.run_id} was cancelled"
    world.by_hand(MODEL)
    assert world.automated() == {RELEASE} or world.released
    world.shop.deliver("c.csv", sales("S3,1"))
    world.by_itself()
    assert world.released


def test_what_died_is_asked_for_at_once(world: Modelled) -> None:
    world.shop.deliver("b.csv", sales("S2,1"))
    world.by_hand(raw_name(world.feed))
    for _ in range(3):
        world.came_to([MODEL, RELEASE], FAILURE, **{DIED_TAG: "its process is gone"})
        assert world.automated() == {MODEL, RELEASE}


def test_while_a_run_is_to_make_it_it_is_not_asked_for(world: Modelled) -> None:
    world.code = "another"
    for status in (dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING):
        run = world.came_to([MODEL, RELEASE], status)
        assert world.automated() == set()
        world.instance.delete_run(run.run_id)
    assert world.automated() == {MODEL, RELEASE}


def test_a_run_that_selected_it_and_did_not_make_it_has_not_made_it(world: Modelled) -> None:
    """What failed a blocking check stops the run before the model; that the run was to make it counts for nothing."""
    world.shop.deliver("b.csv", sales("S2,1", "S3,bad"))
    (result,) = world.by_itself()
    assert {key.to_user_string() for key in result.dagster_run.asset_selection or ()} >= {MODEL, RELEASE}
    world.shop.deliver("b.csv", sales("S2,1", "S3,2"))
    world.by_itself()
    assert world.released


def test_what_is_held_back_is_skipped_and_says_by_what_and_is_no_failure(world: Modelled) -> None:
    """Else Dagster shows `Execution failed` for everything that the run was to make, and for every check of it."""
    world.shop.deliver("b.csv", sales("S2,1", "S3,bad"))
    (result,) = world.by_itself()
    assert result.success
    assert [event.step_key for event in result.all_events if event.is_step_skipped] == [
        "models",
        "release__marts",
        "check_releases",
    ]
    raw = raw_name(world.feed)
    (failed,) = [
        each for each in result.get_asset_check_evaluations() if not each.passed and each.severity.name == "ERROR"
    ]
    assert (failed.asset_key.to_user_string(), failed.check_name) == (raw, "rejects_within_tolerance")
    assert failed.target_materialization_data is not None, "the UI shows it of what is there now"
    assert failed.target_materialization_data.run_id == result.run_id
    for name in (MODEL, RELEASE):
        (said,) = world.instance.fetch_observations(dg.AssetKey(name.split("/")), limit=5).records
        observed = said.asset_observation
        assert observed is not None
        assert observed.description is not None
        assert observed.description.startswith(
            f"held back by {raw}: `sales/b.csv`: `1 of 2 rows rejected`; the release of"
        )
        assert observed.description.endswith("UTC still serves")
        assert observed.metadata["held_back_by"] == dg.MetadataValue.asset(raw_key(world.feed))
    run = world.instance.get_run_by_id(result.run_id)
    assert run is not None
    assert run.tags["platform/held_back"] == "true"
    world.shop.deliver("b.csv", sales("S2,1", "S3,2"))
    world.by_itself()
    assert world.released


# ---- what is lost


def test_dagsters_storage_lost_costs_nothing(world: Modelled) -> None:
    with dg.DagsterInstance.ephemeral() as other:
        world.instance = other
        world.cursors.clear()
        assert world.by_itself() == []
        world.shop.deliver("b.csv", sales("S2,1"))
        assert [result.success for result in world.by_itself()] == [True]
        assert world.released


def test_notes_lost_or_damaged_are_found_out_again(world: Modelled) -> None:
    notes = world.shop.deployment.home / "builds.sqlite"
    notes.unlink()
    world.by_itself()
    assert world.released
    notes.write_bytes(b"no database at all" * 100)
    with pytest.raises(Exception, match="moved away"):
        world.by_itself()
    world.by_itself()
    assert world.released


def test_a_marts_file_that_is_lost_or_put_back_is_built_again(world: Modelled) -> None:
    marts = world.shop.deployment.warehouse.marts
    backup = marts.read_bytes()
    world.shop.deliver("b.csv", sales("S2,1"))
    world.by_itself()
    for take in (lambda: marts.unlink(), lambda: marts.write_bytes(backup)):
        take()
        world.shop.deployment.prepare()
        assert world.by_itself()
        assert world.released
        with duckdb.connect(str(marts), read_only=True) as reader:
            assert reader.execute("SELECT one FROM revenue").fetchall() == [(1,)]


# ---- by a person


def test_a_model_made_by_hand_from_what_failed_its_check_is_not_released(world: Modelled) -> None:
    world.shop.deliver("b.csv", sales("S2,1", "S3,bad"))
    world.by_itself()
    assert world.by_hand(MODEL).success
    result = world.by_hand(RELEASE)
    assert not result.success
    assert "rejects_within_tolerance" in str(result.all_node_events)
    world.shop.deliver("b.csv", sales("S2,1", "S3,2"))
    world.by_itself()
    assert world.released


# ---- at its time


def test_by_cron_it_is_made_at_its_time_and_only_if_there_is_something_new(shop: Shop) -> None:
    with modelled(shop) as made:
        made.cron = Cadence("0 6 * * *", timedelta())
        shop.clock.at = datetime(2026, 3, 2, 5, tzinfo=UTC)
        shop.deliver("a.csv", sales("S1,1"))
        made.by_itself()
        assert made.released, "what was never there is made at once"
        shop.deliver("b.csv", sales("S2,1"))
        made.by_itself()
        assert made.automated() == set(), "its time has not come"
        shop.clock.at = datetime(2026, 3, 2, 6, 1, tzinfo=UTC)
        assert made.automated() == {MODEL, RELEASE}
        made.by_itself()
        shop.clock.at = datetime(2026, 3, 3, 6, 1, tzinfo=UTC)
        assert made.automated() == set(), "nothing is new"
