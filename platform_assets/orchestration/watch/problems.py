"""What is wrong now, by cause: what alerts are about.

Belongs here: turning what is seen into problems, each cause once, with what is behind it. Does not: seeing
(observed.py), telling (alerts/incidents.py), answering a question about one asset (why.py).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Final, TypeAlias

import dagster as dg

from platform_assets.alerts.incidents import Problem
from platform_assets.engine.promises.promise import promises
from platform_assets.orchestration.runs.automation import barred
from platform_assets.orchestration.runs.keys import deliveries_key, raw_key, sensor_name
from platform_assets.orchestration.watch.failures import FailedStep
from platform_assets.orchestration.watch.freshness import Standing
from platform_assets.orchestration.watch.observed import CONSEQUENCES, Evaluated, Observed
from platform_assets.orchestration.watch.runbooks import of_check
from platform_assets.project.graph import RELEASE
from platform_assets.project.state import State

Section: TypeAlias = Callable[[Observed, Standing], Iterable[Problem]]
_OURS: Final = "team:data-platform"
_TO_BE_RELEASED: Final = timedelta(minutes=30)
# What says by itself why what is below it is not released.
_HOLDING: Final = ("sensor:", "run:", "model:", "check:")
# What died is offered again by itself; it is worth a word when that has not helped.
_DEAD_FOR: Final = timedelta(minutes=5)


def _of_sensors(seen: Observed, standing: Standing) -> Iterator[Problem]:
    by_sensor = {sensor_name(feed): feed for feed in standing.feeds}
    for name, sensor in seen.sensors.items():
        if sensor.error is None or not sensor.running or sensor.at is None:
            continue
        feed = by_sensor.get(name)
        yield Problem(
            key=f"sensor:{name}",
            owner=_OURS if feed is None else feed.owner,
            title=f"Sensor {name} fails at every look: nothing that it asks for runs",
            detail=sensor.error,
            assets=() if feed is None else seen.below([deliveries_key(feed)]),
            runbook="sensor-failed",
            command=f"platform why {raw_key(feed).to_user_string()}" if feed is not None else "platform alerts",
            since=sensor.at,
        )


def _of_runs(seen: Observed, _: Standing) -> Iterator[Problem]:
    for step in seen.failed:
        if not step.models and not (step.died and seen.now - step.at < _DEAD_FOR):
            yield _of_step(seen, step)


def _of_models(seen: Observed, _: Standing) -> Iterator[Problem]:
    for step in seen.failed:
        for model, error in step.models.items():
            key = dg.AssetKey(model.split("/"))
            yield Problem(
                key=f"model:{model}",
                owner=_owner(seen, key),
                title=f"dbt cannot build {model}",
                detail=error,
                assets=(model, *seen.below([key])),
                runbook="model-failed",
                command=f"platform why {model}",
                since=step.at,
            )


def _of_step(seen: Observed, step: FailedStep) -> Problem:
    meant = step.assets or tuple(check.asset_key for check in step.checks)
    first = min(meant, key=str)
    what = f"Step {step.step}" if step.step else "A run"
    # What was to be made does not change while it is made good bit by bit.
    about = step.step or min(seen.targets(step.run), default=first, key=str).to_user_string()
    return Problem(
        # One key for whatever run it is of: a retry that fails likewise is no news.
        key=f"run:{about}:{step.error_class}",
        owner=_owner(seen, first),
        title=f"{what} {'died' if step.died else 'failed'} and was not made good since",
        detail=f"run {step.run.run_id[:8]}: {step.error}",
        assets=tuple(dict.fromkeys((*map(dg.AssetKey.to_user_string, step.assets), *seen.below(step.assets)))),
        runbook="run-failed",
        command=f"platform why {first.to_user_string()}",
        since=step.at,
    )


def _of_checks(seen: Observed, standing: Standing) -> Iterator[Problem]:
    for key, check in _failing(seen, standing.state).items():
        yield Problem(
            key=f"check:{key.asset_key.to_user_string()}:{key.name}",
            owner=_owner(seen, key.asset_key),
            title=f"Check {key.name} of {key.asset_key.to_user_string()} failed; {check.holds}",
            detail=_evidence(check),
            assets=seen.below([key.asset_key]) if check.blocking else (),
            runbook=of_check(key.name),
            command=f"platform why {key.asset_key.to_user_string()}",
            since=check.at,
        )


def _failing(seen: Observed, state: State) -> Mapping[dg.AssetCheckKey, Evaluated]:
    """Checks that failed; of blocking ones those that failed on what is there now, by what is stored of it."""
    held = {
        dg.AssetCheckKey(dg.AssetKey(verdict.asset.split("/")), verdict.name): verdict
        for name in state.project.nodes
        for verdict in state.failing(name)
    }
    found = {
        key: check
        for key, check in seen.checks.items()
        if not check.passed and key.name not in CONSEQUENCES and (key in held or not _passed_since(state, key))
    }
    for key, verdict in held.items():
        if key not in found:  # Dagster's storage has been lost since
            found[key] = Evaluated(key, False, True, verdict.description, verdict.at, "")
    return found


def _passed_since(state: State, key: dg.AssetCheckKey) -> bool:
    verdict = state.verdict(key.asset_key.to_user_string(), key.name)
    return verdict is not None and verdict.passed


def _evidence(check: Evaluated) -> str:
    return f"{check.description} (run {check.run_id[:8]})" if check.run_id else check.description


def _of_calendar(seen: Observed, standing: Standing) -> Iterator[Problem]:
    for feed in standing.feeds:
        known = standing.known[feed.name]
        sensor = seen.sensors.get(sensor_name(feed))
        # What is there but quarantined, or what nobody looks for, is missing for that reason.
        breaks = [absent for absent in known.missing(seen.now) if known.held(absent) is None]
        if not breaks or (sensor and sensor.error):
            continue
        yield Problem(
            # However many are missing meanwhile, it is one producer that does not deliver.
            key=f"missing:{feed.name}",
            owner=feed.owner,
            title=f"{breaks[0]}",
            detail="Nothing that covers it has come." + (f" {len(breaks) - 1} more are missing." * (len(breaks) > 1)),
            assets=seen.below([deliveries_key(feed)]),
            runbook="missing-delivery",
            command=f"platform why {raw_key(feed).to_user_string()}",
            since=breaks[0].late_since,
        )


def _of_budgets(seen: Observed, standing: Standing) -> Iterator[Problem]:
    for promise in promises(standing.known, standing.served, seen.now):
        if promise.burning:
            yield Problem(
                key=f"budget:{promise.subject}:{promise.kind}:{seen.now:%Y-%m}",
                owner=promise.owner,
                title=f"The error budget of {promise.subject} ({promise.kind}) burns: {promise.kept} of {promise.due} "
                f"kept this month, {promise.objective:.0%} promised",
                detail=promise.blame or "",
                assets=(),
                runbook="budget",
                command="platform promises",
                since=promise.broken_since or seen.now,
            )


def _unreleased(seen: Observed, standing: Standing, found: Sequence[Problem]) -> Iterator[Problem]:
    """Accepted data that is in no release for half an hour, where nothing else that is told of says why."""
    state = standing.state
    waiting = state.unreleased()
    since = min((at for feed in waiting if (at := standing.changed(feed, waiting[feed])) is not None), default=seen.now)
    if seen.now - since < _TO_BE_RELEASED or any(
        RELEASE in problem.assets and problem.key.startswith(_HOLDING) for problem in found
    ):
        return
    held = state.first_cause(RELEASE)
    names = [held.at if held is not None else RELEASE, RELEASE]
    bar = next(iter(barred(state, standing.deployment, seen.instance, names).values()), None)
    asked = f"It is asked for: {bar.said}." if bar is not None else "Nothing asks for it."
    yield Problem(
        key="unreleased",
        owner=_OURS,
        title=f"Accepted rows of {', '.join(sorted(waiting))} are in no release since {since:%Y-%m-%d %H:%M} UTC",
        detail=f"{held.said}. {asked}" if held is not None else asked,
        assets=(RELEASE,),
        runbook="unreleased",
        command="platform why release",
        since=since,
    )


def everything(seen: Observed, standing: Standing) -> tuple[list[Problem], dict[str, Exception]]:
    """Every problem there is now, and how the keys begin of those that could not be looked for, with the reason."""
    found: list[Problem] = []
    unknown: dict[str, Exception] = {}
    # Last what is told only where none of the others says why.
    sections: Mapping[str, Section] = {**SECTIONS, "unreleased": partial(_unreleased, found=found)}
    for beginning, section in sections.items():
        try:
            found += section(seen, standing)
        except Exception as error:  # noqa: BLE001 - what cannot be looked at must not hide the rest
            unknown[beginning] = error
    return found, unknown


def _owner(seen: Observed, key: dg.AssetKey) -> str:
    """Who owns the asset, else who owns what it is made from, else the platform's own team."""
    for each in reversed(seen.above(key)):
        if owners := seen.graph.get(each).owners:
            return owners[0]
    return _OURS


SECTIONS: Final[Mapping[str, Section]] = {
    "sensor:": _of_sensors,
    "run:": _of_runs,
    "model:": _of_models,
    "check:": _of_checks,
    "missing:": _of_calendar,
    "budget:": _of_budgets,
}
"""Causes that are there now, by how its key begins. What a cause entails is named with it and is no problem of its
own: the assets below, the runs that failed of it, the delivery that is late because its file is quarantined."""
