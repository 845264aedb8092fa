"""Freshness in data time in Dagster: the checks `fresh` of raw assets and marts, after a run and as time goes by.

Belongs here: telling Dagster. Does not: what is fresh (engine/promise.py), what raw assets are held to besides
(checks.py).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Final

import dagster as dg

from platform_assets.engine.deployment import Deployment
from platform_assets.engine.feed import Feed
from platform_assets.engine.mart import Mart
from platform_assets.engine.promise import fresh, fresh_mart
from platform_assets.engine.receipts import Receipt
from platform_assets.engine.release import Release
from platform_assets.engine.tally import Freshness
from platform_assets.orchestration.keys import RELEASE_KEY, mart_key, raw_key
from platform_assets.orchestration.manifest import mart_needs
from platform_assets.orchestration.observed import Observed
from platform_assets.orchestration.resources import DeploymentResource
from platform_assets.orchestration.runbooks import of_check, shown

FRESH: Final = "fresh"


@dataclass(frozen=True)
class Standing:
    """What promises are judged by: read when asked for, each thing once, and without a lock."""

    deployment: Deployment
    marts: Sequence[Mart]

    @property
    def feeds(self) -> Sequence[Feed]:
        """The feeds of the deployment."""
        return self.deployment.feeds

    @cached_property
    def receipts(self) -> Mapping[str, Sequence[Receipt]]:
        """The newest receipts by feed, by what was published of the ledger."""
        return {feed.name: self.deployment.receipts_published(feed) for feed in self.feeds}

    @cached_property
    def releases(self) -> Sequence[Release]:
        """Every release, newest first."""
        return self.deployment.releases.all()

    @cached_property
    def needs(self) -> Mapping[str, Sequence[str]]:
        """Mart -> the feeds it is made from."""
        return mart_needs(self.feeds, self.marts)


def mart_freshness_checks(marts: Sequence[Mart]) -> dg.AssetChecksDefinition:
    """How fresh marts are for those who read the release; told once that is made."""
    specs = [
        dg.AssetCheckSpec(
            FRESH,
            asset=mart_key(mart.name),
            additional_deps=[RELEASE_KEY],
            description="The current release has the data that is due of every feed that the mart needs: it is as "
            "fresh as the stalest of them. What counts is the time of the data, not of the run.",
        )
        for mart in marts
    ]

    @dg.multi_asset_check(name="check_freshness", specs=specs, can_subset=True)
    def check_freshness(
        context: dg.AssetCheckExecutionContext, deployment: DeploymentResource
    ) -> Iterator[dg.AssetCheckResult]:
        wanted = {key.asset_key for key in context.selected_asset_check_keys}
        here = deployment.look()
        for asset, freshness in _of_marts(Standing(here, marts), here.clock()).items():
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


def tell_freshness(seen: Observed, standing: Standing) -> None:
    """Evaluate, without a run, the checks whose answer has changed with time."""
    feeds = {raw_key(feed): fresh(feed, standing.receipts[feed.name], seen.now) for feed in standing.feeds}
    for asset, freshness in (feeds | _of_marts(standing, seen.now)).items():
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


def _of_marts(standing: Standing, now: datetime) -> dict[dg.AssetKey, Freshness]:
    """Marts that need a feed, as they are in the current release."""
    found = {}
    for mart, names in standing.needs.items():
        feeds = [feed for feed in standing.feeds if feed.name in names]
        freshness = fresh_mart(mart, feeds, standing.receipts, standing.releases, now)
        if freshness is not None:
            found[mart_key(mart)] = freshness
    return found
