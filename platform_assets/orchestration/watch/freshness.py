"""Freshness in data time in Dagster: the checks `fresh` of raw assets and marts, after a run and as time goes by.

Belongs here: telling Dagster. Does not: what is fresh (engine/promises/promise.py), what raw assets are held to besides
(checks.py).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import dagster as dg

from platform_assets.engine.deployment import Deployment
from platform_assets.engine.feed.feed import Feed
from platform_assets.engine.feed.mart import Mart
from platform_assets.engine.promises.due import Deliveries
from platform_assets.engine.promises.promise import fresh_feed
from platform_assets.engine.promises.served import Served, fresh_mart, served
from platform_assets.engine.promises.tally import Freshness
from platform_assets.orchestration.runs.keys import RELEASE_KEY, mart_key, raw_key
from platform_assets.orchestration.runs.resources import DeploymentResource
from platform_assets.orchestration.watch.observed import Observed
from platform_assets.orchestration.watch.runbooks import of_check, shown
from platform_assets.project.graph import NOTHING, Project
from platform_assets.project.manifest import mart_needs, mart_owners
from platform_assets.project.state import State

FRESH: Final = "fresh"


@dataclass(frozen=True)
class Standing:
    """What promises are judged by: read when asked for, each thing once, and without a lock."""

    deployment: Deployment
    marts: Sequence[Mart]
    project: Project = NOTHING

    @property
    def feeds(self) -> Sequence[Feed]:
        """The feeds of the deployment."""
        return self.deployment.feeds

    @cached_property
    def state(self) -> State:
        """What is out of date, and what holds it."""
        return State.of(self.project, self.deployment)

    def changed(self, feed: str, after: int) -> datetime | None:
        """When rows of the feed first changed after that revision."""
        times = [
            receipt.replayed_at or receipt.committed_at
            for receipt in self.known[feed].receipts
            if receipt.revision > after
        ]
        return min(times, default=None)

    @cached_property
    def known(self) -> Mapping[str, Deliveries]:
        """The newest deliveries by feed, by what was published of the ledger."""
        return {feed.name: self._of(feed) for feed in self.feeds}

    @cached_property
    def served(self) -> Sequence[Served]:
        """The marts, with the releases that have them and whom they belong to."""
        made_of = (
            self.feeds,
            self.deployment.releases.all(),
            mart_needs(self.feeds, self.marts),
            mart_owners(self.marts),
        )
        before = _served.get(self.deployment.home)
        if before is None or before[0] != made_of:
            before = _served[self.deployment.home] = made_of, served(*made_of)
        return before[1]

    def _of(self, feed: Feed) -> Deliveries:
        receipts = self.deployment.receipts_published(feed)
        before = _known.get((self.deployment.home, feed.name))
        if before is None or before.receipts != receipts or before.feed != feed:
            before = _known[self.deployment.home, feed.name] = Deliveries(feed, receipts)
        return before


# What is judged once for the same receipts and releases, for a process that looks every few seconds.
_known: Final[dict[tuple[Path, str], Deliveries]] = {}
_served: Final[dict[Path, tuple[tuple[Any, ...], Sequence[Served]]]] = {}


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
    feeds = {raw_key(feed): fresh_feed(standing.known[feed.name], seen.now) for feed in standing.feeds}
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
    return {mart_key(mart.mart): fresh_mart(mart, standing.known, now) for mart in standing.served}
