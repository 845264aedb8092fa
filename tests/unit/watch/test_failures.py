"""What stands as failed or cancelled: real runs of a small graph, in any order, beside a model of what was made."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import dagster as dg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from machine import examples

from platform_assets.orchestration.runs.process import DIED_TAG
from platform_assets.orchestration.watch.dagster_state import DagsterState

SILENT: Final = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
CHAIN: Final = ("a", "b", "c")
SOUND: Final = dg.AssetCheckKey(dg.AssetKey("a"), "sound")


@dataclass
class Workshop:
    """Assets a, b, c in a row and a check of a; `manner` says what each step does: make, skip, look, fail, refuse."""

    instance: dg.DagsterInstance
    manner: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.definitions = dg.Definitions(
            assets=[self.step(name, above) for name, above in zip(CHAIN, (None, *CHAIN), strict=False)],
            asset_checks=[self.check()],
        )

    def step(self, name: str, above: str | None) -> dg.AssetsDefinition:
        @dg.asset(name=name, deps=[above] if above else None, output_required=False)
        def made(context: dg.AssetExecutionContext) -> Iterator[Any]:
            manner = self.manner.get(name, "make")
            if manner == "fail":
                raise ValueError("no disk")
            if manner == "look":
                context.log_event(dg.AssetObservation(name))
            if manner == "make":
                yield dg.MaterializeResult()

        return made

    def check(self) -> dg.AssetChecksDefinition:
        @dg.asset_check(asset="a", name="sound", blocking=True)
        def sound() -> dg.AssetCheckResult:
            if self.manner.get("sound") == "fail":
                raise ValueError("no such table")
            return dg.AssetCheckResult(passed=self.manner.get("sound") != "refuse")

        return sound

    def job(self, assets: Sequence[str], *, checks: bool = True) -> dg.JobDefinition:
        return self.definitions.resolve_implicit_global_asset_job_def().get_subset(
            asset_selection={dg.AssetKey(asset) for asset in assets},
            asset_check_selection={SOUND} if checks and (not assets or "a" in assets) else set(),
        )

    def run(self, *assets: str, checks: bool = True, **manner: str) -> dg.DagsterRun:
        """A run to its end, with those manners."""
        self.manner = manner
        job = self.job(assets, checks=checks)
        done = job.execute_in_process(instance=self.instance, raise_on_error=False, run_config=SILENT)
        return done.dagster_run

    def asked(self, *assets: str) -> dg.DagsterRun:
        """A run that has begun and has done nothing yet."""
        run = self.instance.create_run_for_job(self.job(assets), asset_selection=frozenset(map(dg.AssetKey, assets)))
        self.instance.report_dagster_event(
            dg.DagsterEvent(dg.DagsterEventType.RUN_START.value, run.job_name), run.run_id
        )
        return run

    def cancel(self, *assets: str) -> None:
        self.instance.report_run_canceled(self.asked(*assets))

    def die(self, *assets: str) -> None:
        run = self.asked(*assets)
        self.instance.add_run_tags(run.run_id, {DIED_TAG: "Its process is gone."})
        self.instance.report_run_failed(run, "Its process is gone.")

    @property
    def seen(self) -> DagsterState:
        return DagsterState(self.instance, self.definitions.resolve_asset_graph(), datetime.now(tz=UTC))

    @property
    def failed(self) -> set[str]:
        return {asset.to_user_string() for step in self.seen.failed for asset in step.assets}

    @property
    def cancelled(self) -> set[str]:
        return {asset.to_user_string() for asset in self.seen.cancelled}


@pytest.fixture
def workshop() -> Iterator[Workshop]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield Workshop(instance)


def test_a_run_that_was_to_make_a_failed_asset_and_made_nothing_mends_nothing(workshop: Workshop) -> None:
    broken = workshop.run(*CHAIN, b="fail")
    workshop.run(*CHAIN, a="skip")
    (step,) = workshop.seen.failed
    assert (step.run.run_id, step.step, [key.path[-1] for key in step.assets]) == (broken.run_id, "b", ["b"])
    assert (step.error, step.error_class) == ("no disk", "ValueError")
    workshop.run("b")
    assert workshop.seen.failed == []


def test_what_failed_stays_in_view_however_much_happens_elsewhere(workshop: Workshop) -> None:
    broken = workshop.run("b", b="fail")
    for n in range(260):
        run = workshop.instance.create_run_for_job(workshop.job(["a"]), asset_selection=frozenset([dg.AssetKey("a")]))
        kind = dg.DagsterEventType.RUN_SUCCESS if n % 4 else dg.DagsterEventType.RUN_FAILURE
        workshop.instance.report_dagster_event(dg.DagsterEvent(kind.value, run.job_name), run.run_id)
    assert broken.run_id in {step.run.run_id for step in workshop.seen.failed}


def test_a_failed_run_of_checks_alone_stands_until_they_have_been_evaluated(workshop: Workshop) -> None:
    workshop.run(*CHAIN)
    workshop.run(sound="fail")
    (step,) = workshop.seen.failed
    assert (step.step, step.assets, step.checks, step.error) == ("a_sound", (), (SOUND,), "no such table")
    workshop.run("b")
    assert len(workshop.seen.failed) == 1
    workshop.run(sound="refuse")
    assert workshop.seen.failed == [], "that it did not pass is the check's own word"


def test_a_check_that_fails_in_the_middle_of_a_run_is_no_failure_of_what_was_made(workshop: Workshop) -> None:
    workshop.run(*CHAIN, sound="fail")
    (step,) = workshop.seen.failed
    assert (step.assets, step.checks) == ((), (SOUND,))


def test_that_there_was_nothing_to_do_makes_good_what_failed_before_it_could_say_so(workshop: Workshop) -> None:
    workshop.run("a")
    workshop.run("a", a="fail")
    assert workshop.failed == {"a"}
    workshop.run("a", a="look")
    assert workshop.failed == set()


def test_below_a_model_that_failed_others_only_wait() -> None:
    manner = {"b": "fail"}

    @dg.multi_asset(specs=[dg.AssetSpec(name, skippable=True) for name in CHAIN], can_subset=True)
    def models(context: dg.AssetExecutionContext) -> Iterator[Any]:
        yield dg.MaterializeResult("a")
        if manner:
            raise dg.Failure("dbt", metadata={"models": dg.MetadataValue.json({"b": "no column"})}, allow_retries=False)
        yield dg.MaterializeResult("b")

    definitions = dg.Definitions(assets=[models])
    with dg.DagsterInstance.ephemeral() as instance:
        job = definitions.resolve_implicit_global_asset_job_def()
        job.execute_in_process(instance=instance, raise_on_error=False, run_config=SILENT)
        seen = DagsterState(instance, definitions.resolve_asset_graph(), datetime.now(tz=UTC))
        (step,) = seen.failed
        assert (step.assets, step.models) == ((dg.AssetKey("b"),), {"b": "no column"})
        manner.clear()
        job.get_subset(asset_selection={dg.AssetKey("a"), dg.AssetKey("b")}).execute_in_process(
            instance=instance, run_config=SILENT
        )
        seen = DagsterState(instance, definitions.resolve_asset_graph(), datetime.now(tz=UTC))
        assert seen.failed == [], "c was never tried"


def test_what_a_person_cancelled_is_told_until_somebody_makes_it(workshop: Workshop) -> None:
    workshop.cancel("b", "c")
    found = workshop.seen.cancelled
    assert {key.path[-1] for key in found} == {"b", "c"}
    assert {one.run.status for one in found.values()} == {dg.DagsterRunStatus.CANCELED}
    workshop.run(*CHAIN, a="skip")
    assert workshop.cancelled == {"b", "c"}, "a run that made nothing of it"
    workshop.run("b")
    assert workshop.cancelled == {"c"}
    workshop.run("c", c="fail")
    assert (workshop.cancelled, workshop.failed) == (set(), {"c"})


PART: Final = st.sampled_from([("a", "b", "c"), ("a", "b"), ("b", "c"), ("a",), ("c",)])
MANNERS: Final = st.fixed_dictionaries({name: st.sampled_from(["make", "skip", "fail", "look"]) for name in CHAIN})
EVENTS: Final[st.SearchStrategy[Any]] = st.one_of(
    st.tuples(st.just("run"), PART, MANNERS),
    st.tuples(st.just("cancel"), PART, st.just({})),
    st.tuples(st.just("die"), PART, st.just({})),
)


@settings(max_examples=examples(25))
@given(events=st.lists(EVENTS, min_size=1, max_size=6))
def test_in_any_order_an_asset_is_judged_by_what_last_became_of_it(
    events: list[tuple[str, tuple[str, ...], dict[str, str]]],
) -> None:
    """The model: what was made (or found to be in order) is good; what failed or died after that has failed; what was
    cancelled after both is cancelled, and stands as failed still if it had failed before."""
    failed: set[str] = set()
    cancelled: set[str] = set()
    with dg.DagsterInstance.ephemeral() as instance:
        workshop = Workshop(instance)
        for event, assets, manner in events:
            if event == "run":
                workshop.run(*assets, checks=False, **manner)
                for asset in assets:
                    if manner[asset] in ("make", "look"):
                        failed.discard(asset)
                        cancelled.discard(asset)
                    if manner[asset] == "fail":
                        failed.add(asset)
                        cancelled.discard(asset)
                    if manner[asset] != "make":
                        break  # what is below it is not tried
            elif event == "cancel":
                workshop.cancel(*assets)
                cancelled.update(assets)
            else:
                workshop.die(*assets)
                failed.update(assets)
                cancelled.difference_update(assets)
            assert (workshop.failed, workshop.cancelled) == (failed, cancelled)
