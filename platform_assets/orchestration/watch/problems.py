"""What is wrong now: the causes that are worth an alert, each once, with all that waits for it.

Belongs here: which causes owners are told of, and which say by themselves why another is there. Elsewhere: the causes
and their words (causes.py), telling (alerts/incidents.py), a question about one asset (why.py).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from functools import partial
from typing import Final, TypeAlias

from platform_assets.alerts.incidents import Problem
from platform_assets.engine.promises.kept import promises
from platform_assets.orchestration.runs.automation import barred
from platform_assets.orchestration.runs.keys import release_key, sensor_name
from platform_assets.orchestration.watch.causes import (
    PLATFORM_TEAM,
    disk_low,
    failed_checks,
    failed_sensors,
    missing_delivery,
    of_step,
    pinned_releases,
)
from platform_assets.orchestration.watch.dagster_state import DagsterState
from platform_assets.orchestration.watch.deployment_state import DeploymentState
from platform_assets.orchestration.watch.runbooks import runbook_of
from platform_assets.project.causes import Cause
from platform_assets.project.consumers import ENDS_SOON

Section: TypeAlias = Callable[[DagsterState, DeploymentState], Iterable[Problem]]
_TO_BE_RELEASED: Final = timedelta(minutes=30)
# What says by itself why what is below it is not released.
_HOLDING: Final = ("sensor:", "run:", "model:", "check:", "personal:", "consumers:")
# What died is offered again by itself; it is worth a word when that has not helped.
_DEAD_FOR: Final = timedelta(minutes=5)


def _problems(seen: DagsterState, causes: Iterable[Cause]) -> list[Problem]:
    """One problem for each key: the first, with all that waits."""
    found: dict[str, Problem] = {}
    for cause in causes:
        # What is made of deliveries is asked about: it also waits for runs and checks.
        asked = cause.asset.replace("deliveries/", "raw/", 1)
        problem = found.get(cause.key) or Problem(
            key=cause.key,
            owner=cause.owner,
            title=cause.headline,
            detail=cause.evidence,
            assets=(),
            runbook=runbook_of(cause),
            command=f"platform why {asked}" if asked else "platform alerts",
            since=cause.since or seen.now,
        )
        found[cause.key] = replace(problem, assets=tuple(dict.fromkeys((*problem.assets, *cause.waiting))))
    return list(found.values())


def _of_disk(seen: DagsterState, stored: DeploymentState) -> list[Problem]:
    return _problems(seen, disk_low(seen, stored))


def _of_sensors(seen: DagsterState, stored: DeploymentState) -> list[Problem]:
    """One look that failed is made good by the next: only sensors that keep failing are worth a word."""
    lasting = {f"sensor:{name}" for name, sensor in seen.sensors.items() if sensor.keeps_failing}
    return _problems(seen, (cause for cause in failed_sensors(seen, stored.feeds) if cause.key in lasting))


def _of_runs(seen: DagsterState, _: DeploymentState) -> list[Problem]:
    steps = [step for step in seen.failed if not step.models and not (step.died and seen.now - step.at < _DEAD_FOR)]
    return _problems(seen, (cause for step in steps for cause in of_step(seen, step)))


def _of_models(seen: DagsterState, _: DeploymentState) -> list[Problem]:
    return _problems(seen, (cause for step in seen.failed if step.models for cause in of_step(seen, step)))


def _of_checks(seen: DagsterState, stored: DeploymentState) -> list[Problem]:
    return _problems(seen, failed_checks(seen, stored.assets))


def _of_personal_data(seen: DagsterState, stored: DeploymentState) -> list[Problem]:
    """Products that are not released, since nobody has said what becomes of personal data in them."""
    state = stored.assets
    stale = [each for each in state.project.products if state.begun and state.outdated(each.release) is not None]
    return _problems(seen, filter(None, (state.personal(product).refused for product in stale)))


def _of_calendar(seen: DagsterState, stored: DeploymentState) -> list[Problem]:
    """What nobody looks for is missing for that reason."""
    looked_for = [feed for feed in stored.feeds if not ((s := seen.sensors.get(sensor_name(feed))) and s.keeps_failing)]
    found = (missing_delivery(seen, stored.deliveries[feed.name]) for feed in looked_for)
    return _problems(seen, filter(None, found))


def _of_consumers(seen: DagsterState, stored: DeploymentState) -> list[Problem]:
    """Products that are held because a release would break who reads them."""
    found = []
    for product in stored.project.products:
        cause = stored.assets.refused(product)
        if cause is not None and cause.kind == "would break consumers":
            waiting = (product.release, *seen.below([release_key(product)]))
            found.append(replace(cause, asset=product.release, waiting=waiting))
    return _problems(seen, found)


def _of_versions(seen: DagsterState, stored: DeploymentState) -> Iterator[Problem]:
    """Versions of marts whose end is near, or is over."""
    for each in stored.assets.ending():
        product = stored.project.product_with(each.mart)
        yield Problem(
            key=f"version:{each.mart}",
            owner=PLATFORM_TEAM if product is None else product.owner,
            title=each.what,
            detail=each.remedy,
            assets=(),
            runbook="version-ends",
            command="platform run",
            since=min(datetime.combine(each.until, time(), tzinfo=UTC) - ENDS_SOON, seen.now),
        )


def _of_pins(seen: DagsterState, stored: DeploymentState) -> list[Problem]:
    """Told once, and over when it is unpinned: whoever is owner knows what readers have."""
    return _problems(seen, pinned_releases(stored))


def _of_budgets(seen: DagsterState, stored: DeploymentState) -> Iterator[Problem]:
    for promise in promises(stored.deliveries, stored.released_marts, seen.now):
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


def _unreleased(seen: DagsterState, stored: DeploymentState, found: Sequence[Problem]) -> Iterator[Problem]:
    """Accepted data that is in no release of a product for half an hour, where nothing else that is told says why."""
    explained = {asset for problem in found if problem.key.startswith(_HOLDING) for asset in problem.assets}
    for product in stored.project.products:
        waiting = stored.assets.unreleased(product)
        changed = (stored.changed_after(feed, revision) for feed, revision in waiting.items())
        since = min(filter(None, changed), default=seen.now)
        name = product.release
        if seen.now - since < _TO_BE_RELEASED or name in explained:
            continue
        cause = stored.assets.first_cause(name)
        names = [cause.asset if cause is not None else name, name]
        waits = next(iter(barred(stored.assets, stored.deployment, seen.instance, names).values()), None)
        asked = f"It is asked for: {waits}." if waits is not None else "Nothing asks for it."
        rows, of = f"Accepted rows of {', '.join(sorted(waiting))}", product.name
        yield Problem(
            key=f"unreleased:{product.name}",
            owner=product.owner,
            title=f"{rows} are in no release of {of} since {since:%Y-%m-%d %H:%M} UTC",
            detail=f"{cause}. {asked}" if cause is not None else asked,
            assets=(name,),
            runbook="unreleased",
            command=f"platform why {name}",
            since=since,
        )


def everything(seen: DagsterState, stored: DeploymentState) -> tuple[list[Problem], dict[str, Exception]]:
    """Every problem there is now, and how the keys begin of those that could not be looked for, with the reason."""
    found: list[Problem] = []
    unknown: dict[str, Exception] = {}
    # Last what is told only where none of the others says why.
    sections: Mapping[str, Section] = {**SECTIONS, "unreleased:": partial(_unreleased, found=found)}
    for beginning, section in sections.items():
        try:
            found += section(seen, stored)
        except Exception as error:  # noqa: BLE001 - what cannot be looked at must not hide the rest
            unknown[beginning] = error
    return found, unknown


SECTIONS: Final[Mapping[str, Section]] = {
    "disk:": _of_disk,
    "sensor:": _of_sensors,
    "run:": _of_runs,
    "model:": _of_models,
    "check:": _of_checks,
    "personal:": _of_personal_data,
    "missing:": _of_calendar,
    "pinned:": _of_pins,
    "budget:": _of_budgets,
    "consumers:": _of_consumers,
    "version:": _of_versions,
}
"""Causes that are there now, by how its key begins. What follows from a cause is named with it and is no problem of its
own: the assets below, the runs that failed of it, the delivery that is late because its file is quarantined."""
