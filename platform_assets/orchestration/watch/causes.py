"""Causes that can be seen from outside a run: failed steps, checks and sensors, missing and quarantined deliveries.

Belongs here: deciding that there is one, and its words, its owner and what waits for it. Elsewhere: what Dagster has
stored (dagster_state.py, failures.py); which cause is worth an alert (problems.py); what one asset waits for (why.py).
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime
from typing import Final

import dagster as dg

from platform_assets.engine.feed.feed import Feed
from platform_assets.engine.promises.due import Deliveries
from platform_assets.errors import printable
from platform_assets.orchestration.runs.keys import deliveries_key, sensor_name
from platform_assets.orchestration.watch.dagster_state import DagsterState
from platform_assets.orchestration.watch.deployment_state import DeploymentState
from platform_assets.orchestration.watch.failures import FailedStep
from platform_assets.project.causes import Cause, check_failed
from platform_assets.project.state import State

PLATFORM_TEAM: Final = "team:data-platform"
"""Who mends what has no owner."""
# A check that only says what follows: a delivery is missing, or something keeps it from its assets. That is the cause.
_CONSEQUENCES: Final = ("fresh",)


def failed_sensors(seen: DagsterState, feeds: Iterable[Feed]) -> Iterator[Cause]:
    """Sensors that are on and whose last look failed, be it that one alone."""
    by_sensor = {sensor_name(feed): feed for feed in feeds}
    for name, sensor in seen.sensors.items():
        if sensor.error is None or not sensor.running:
            continue
        feed = by_sensor.get(name)
        once = f"the last look of sensor {name} failed"
        yield Cause(
            kind="sensor failed",
            asset="" if feed is None else deliveries_key(feed).to_user_string(),
            what=f"sensor {name} fails at every look" if sensor.keeps_failing else once,
            effect="nothing that it asks for runs" if sensor.keeps_failing else "it looks again within seconds",
            evidence=sensor.error,
            remedy=f"Mend what it says; it goes on by itself. The UI has the whole error (Automation, {name}).",
            since=sensor.since,
            key=f"sensor:{name}",
            owner=PLATFORM_TEAM if feed is None else feed.owner,
            waiting=() if feed is None else seen.below([deliveries_key(feed)]),
        )


def disk_low(seen: DagsterState, stored: DeploymentState) -> Iterator[Cause]:
    """That less disk is free than its floor."""
    if (low := stored.deployment.disk.low()) is not None:
        yield Cause(
            kind="disk low",
            asset="",
            what=low.what,
            effect="nothing new is claimed",
            evidence=low.state,
            remedy=low.remedy,
            key="disk:low",
            owner=PLATFORM_TEAM,
            waiting=seen.below([deliveries_key(feed) for feed in stored.feeds]),
        )


def pinned_releases(stored: DeploymentState) -> Iterator[Cause]:
    """Products whose readers keep an earlier release, because a person went back to it."""
    for product in stored.project.products:
        if (held := stored.assets.pinned.get(product.name)) is not None:
            pin, newest = held
            yield Cause(
                kind="pinned",
                asset=product.release,
                what=f"readers of {product.name} keep release {pin.release}",
                effect="what is published lies beside it",
                evidence=str(pin) + (f"; the newest is {newest.id}" if newest is not None else ""),
                remedy=f"`platform release unpin {product.name}`, or the job `rollback`, gives them the newest again.",
                since=datetime.fromisoformat(pin.at),
                # Going back further is another decision, by somebody else perhaps.
                key=f"pinned:{product.name}:{pin.release}",
                owner=product.owner,
                waiting=(product.release,),
            )


def of_step(seen: DagsterState, step: FailedStep) -> Iterator[Cause]:
    """A failed step that was not made good since, by asset that it was to make or to check; of dbt's, by model."""
    run = f"run {step.run.run_id[:8]}"
    for model, error in step.models.items():
        key = dg.AssetKey(model.split("/"))
        yield Cause(
            kind="dbt error",
            asset=model,
            what=f"dbt cannot build {model}",
            evidence=f"{run}: {error}",
            remedy="Mend the model; then `platform run`. Readers keep the last release.",
            since=step.at,
            key=f"model:{model}",
            owner=owner(seen, key),
            waiting=(model, *seen.below([key])),
        )
    if step.models:
        return
    # What was to be made does not change while it is made good bit by bit.
    targets = [*step.assets, *(check.asset_key for check in step.checks)]
    about = step.step or min(seen.targets(step.run), default=min(targets, key=str), key=str).to_user_string()
    # What fails in quarantine is named by its raw asset.
    for key in dict.fromkeys(sorted(step.assets or targets, key=lambda key: (key.path[0] == "quarantine", key.path))):
        yield Cause(
            kind="run failed",
            asset=key.to_user_string(),
            what=f"{f'step {step.step}' if step.step else 'a run'} {'died' if step.died else 'failed'}",
            effect="what it was to make was not made since",
            evidence=f"{run}: {step.error}",
            remedy="What may pass is tried again by itself; after mending the cause, `platform run`.",
            since=step.at,
            # One key for whatever run it is of: a retry that fails likewise is no news.
            key=f"run:{about}:{step.error_class}",
            owner=owner(seen, key),
            waiting=tuple(dict.fromkeys((*map(dg.AssetKey.to_user_string, step.assets), *seen.below(step.assets)))),
        )


def failed_checks(seen: DagsterState, state: State) -> Iterator[Cause]:
    """Checks that failed, blocking ones first; of these those that failed on what is there now, as it is stored."""
    blocking = {
        dg.AssetCheckKey(dg.AssetKey(verdict.asset.split("/")), verdict.name): verdict
        for name in state.project.nodes
        for verdict in state.failing(name)
    }
    for key, check in sorted(seen.checks.items(), key=lambda each: (not each[1].blocking, each[0].name)):
        if check.passed or key.name in _CONSEQUENCES or (key not in blocking and _passed_since(state, key)):
            continue
        evidence = f"{check.description} (run {check.run_id[:8]})"
        cause = check_failed(key.asset_key.to_user_string(), key.name, evidence, check.at, blocking=check.blocking)
        waiting = seen.below([key.asset_key]) if check.blocking else ()
        yield replace(cause, owner=owner(seen, key.asset_key), waiting=waiting)
    for key, verdict in blocking.items():
        if key not in seen.checks or seen.checks[key].passed:  # Dagster's storage has been lost since
            cause = check_failed(verdict.asset, verdict.name, verdict.description, verdict.at, blocking=True)
            yield replace(cause, owner=owner(seen, key.asset_key), waiting=seen.below([key.asset_key]))


def _passed_since(state: State, key: dg.AssetCheckKey) -> bool:
    verdict = state.verdict(key.asset_key.to_user_string(), key.name)
    return verdict is not None and verdict.passed


def missing_delivery(seen: DagsterState, theirs: Deliveries) -> Cause | None:
    """What a feed's producer has not delivered: the first of it. What is there but quarantined is missing for that
    reason."""
    if not (absent := theirs.absent(seen.now)):
        return None
    feed, more = theirs.feed, len(absent) - 1
    return Cause(
        kind="delivery missing",
        asset=deliveries_key(feed).to_user_string(),
        what=str(absent[0]),
        evidence="nothing that covers it has come" + f"; {more} more are missing" * bool(more),
        remedy=f"Ask {feed.owner} for it; `platform promises` shows the feed's record.",
        since=absent[0].late_since,
        # However many are missing meanwhile, it is one producer that does not deliver.
        key=f"missing:{feed.name}",
        owner=feed.owner,
        waiting=seen.below([deliveries_key(feed)]),
    )


def quarantined_deliveries(theirs: Deliveries) -> Iterator[Cause]:
    """Deliveries that wait in quarantine as a whole, newest first. Alerts name them in their check's evidence."""
    feed = theirs.feed
    for receipt in theirs.receipts:
        if receipt.status == "quarantined":
            then = f"Then it is offered again by itself. `platform quarantine list {feed.name}`"
            yield Cause(
                kind="delivery quarantined",
                asset=deliveries_key(feed).to_user_string(),
                what=f"delivery {receipt.delivery_id} ({printable(receipt.slot)}) is quarantined",
                evidence=receipt.trouble,
                remedy=f"{receipt.remedy} {then}" if receipt.remedy else then,
                since=receipt.committed_at,
                owner=feed.owner,
            )


def owner(seen: DagsterState, key: dg.AssetKey) -> str:
    """Who owns the asset, else who owns what it is made from, else the platform's own team."""
    for each in reversed(seen.above(key)):
        if owners := seen.graph.get(each).owners:
            return owners[0]
    return PLATFORM_TEAM
