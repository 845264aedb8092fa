"""Held back: what a failed blocking check keeps from being made is no failure of its own, and says what holds it.

Belongs here: how Dagster hears of it: the check is red, steps below are skipped, their assets observe why, the run is
tagged. Elsewhere: what is held, and by what (project/state.py); runs that fail (watch/failures.py).
"""

import logging
from collections.abc import Iterable, Mapping
from typing import Any

import dagster as dg

from platform_assets.engine.deployment import Deployment
from platform_assets.errors import listed
from platform_assets.orchestration.runs.dagster_internals import PLAN_LOGGER
from platform_assets.orchestration.runs.keys import HELD, HELD_TAG
from platform_assets.project.graph import Project
from platform_assets.project.state import State

# Dagster warns that the release goes on without the checks of what was skipped; it is skipped, too, and asks what is
# stored besides.
logging.getLogger(PLAN_LOGGER).addFilter(lambda record: "will proceed without gating" not in record.getMessage())


class Verdict(dg.AssetCheckResult):
    """A check's result that does not fail its step: Dagster then takes all below for failed, too. What is made from it
    is held back by what is stored."""

    def to_asset_check_evaluation(self, step_context: Any) -> dg.AssetCheckEvaluation:  # noqa: ANN401 - Dagster's own
        """The evaluation as Dagster stores it."""
        return no_failure(super().to_asset_check_evaluation(step_context))

    @classmethod
    def of(cls, result: dg.AssetCheckResult, more: Mapping[str, Any]) -> "Verdict":
        """The same result, with more metadata."""
        return cls(
            passed=result.passed,
            asset_key=result.asset_key,
            check_name=result.check_name,
            metadata={**(result.metadata or {}), **more},
            severity=result.severity,
            description=result.description,
        )


def no_failure(evaluation: dg.AssetCheckEvaluation) -> dg.AssetCheckEvaluation:
    """The evaluation, of which no step fails."""
    return dg.AssetCheckEvaluation(
        asset_key=evaluation.asset_key,
        check_name=evaluation.check_name,
        passed=evaluation.passed,
        metadata=evaluation.metadata,
        target_materialization_data=evaluation.target_materialization_data,
        severity=evaluation.severity,
        description=evaluation.description,
        blocking=False,
    )


def tell_held_back(
    context: dg.OpExecutionContext | dg.AssetExecutionContext,
    deployment: Deployment,
    project: Project,
    failed: Iterable[str],
) -> None:
    """Say, in the run and on the page of each asset below these, what holds it back; of none, if nothing does."""
    held = State.of(project, deployment).held_back(project.below(failed))
    for each in held:
        by: dict[str, Any] = {HELD: dg.MetadataValue.asset(dg.AssetKey(each.by.split("/")))}
        for name in each.assets:
            context.log_event(dg.AssetObservation(dg.AssetKey(name.split("/")), description=each.why, metadata=by))
        context.log.warning(f"{each.why}. Not made: {listed(each.assets)}")
    if held:
        context.instance.add_run_tags(context.run.run_id, {HELD_TAG: "true"})
