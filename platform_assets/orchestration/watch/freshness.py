"""Freshness in data time in Dagster: the checks `fresh` of raw assets and marts, after a run and as time goes by.

Belongs here: reporting to Dagster. Elsewhere: what is fresh (engine/promises), other checks (checks.py).
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Final

import dagster as dg

from platform_assets.engine.feed.mart import Mart
from platform_assets.engine.promises.freshness import Freshness, feed_freshness, mart_freshness
from platform_assets.orchestration.runs.keys import mart_key, raw_key, release_key
from platform_assets.orchestration.runs.resources import DeploymentResource
from platform_assets.orchestration.watch.dagster_state import DagsterState
from platform_assets.orchestration.watch.deployment_state import DeploymentState
from platform_assets.orchestration.watch.runbooks import of_check, shown
from platform_assets.project.graph import Project

FRESH: Final = "fresh"


def mart_freshness_checks(marts: Sequence[Mart], project: Project) -> dg.AssetChecksDefinition:
    """How fresh marts are for those who read their releases; reported once these are made."""
    products = {mart: project.product_with(mart.name) for mart in marts}
    specs = [
        dg.AssetCheckSpec(
            FRESH,
            asset=mart_key(mart.name),
            additional_deps=[release_key(product)] if product is not None else [],
            description="The current release has the data that is due of every feed that the mart needs: it is as "
            "fresh as the stalest of them. What counts is the time of the data, not of the run.",
        )
        for mart, product in products.items()
    ]

    @dg.multi_asset_check(name="check_freshness", specs=specs, can_subset=True)
    def check_freshness(
        context: dg.AssetCheckExecutionContext, deployment: DeploymentResource
    ) -> Iterator[dg.AssetCheckResult]:
        wanted = {key.asset_key for key in context.selected_asset_check_keys}
        here = deployment.look()
        for asset, freshness in _of_marts(DeploymentState(here, marts, project), here.clock()).items():
            if asset in wanted:
                yield freshness_result(asset, freshness)

    return check_freshness


def freshness_result(asset: dg.AssetKey, state: Freshness) -> dg.AssetCheckResult:
    """How fresh a feed or a mart is, as the check `fresh` tells it; it holds nothing back."""
    newest = f"newest data {state.newest:%Y-%m-%d %H:%M} UTC" if state.newest else "no data yet"
    metadata = {"newest_data": dg.MetadataValue.timestamp(state.newest)} if state.newest else {}
    return dg.AssetCheckResult(
        asset_key=asset,
        check_name=FRESH,
        passed=state.is_fresh,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{state.missing}; {newest}" if state.missing else newest,
        metadata=metadata if state.is_fresh else metadata | shown(of_check(FRESH)),
    )


def report_freshness(seen: DagsterState, stored: DeploymentState) -> None:
    """Evaluate, without a run, the checks whose answer has changed with time."""
    feeds = {raw_key(feed): feed_freshness(stored.deliveries[feed.name], seen.now) for feed in stored.feeds}
    for asset, freshness in (feeds | _of_marts(stored, seen.now)).items():
        check = dg.AssetCheckKey(asset, FRESH)
        last = seen.checks.get(check)
        if asset in seen.made and (last is None or last.passed != freshness.is_fresh):
            result = freshness_result(asset, freshness)
            seen.instance.report_runless_asset_event(
                dg.AssetCheckEvaluation(
                    asset_key=asset,
                    check_name=FRESH,
                    passed=result.passed,
                    severity=result.severity,
                    description=result.description,
                    metadata=result.metadata,
                )
            )


def _of_marts(stored: DeploymentState, now: datetime) -> dict[dg.AssetKey, Freshness]:
    """Marts that need a feed, as they are in the current release."""
    return {mart_key(mart.mart): mart_freshness(mart, stored.deliveries, now) for mart in stored.released_marts}
