"""`platform run`: what is pending is taken in, what that makes out of date is made, and a report says so.

Belongs here: the whole of it, decided without Dagster; where something is to be made, execution.py does it.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from platform_assets.commands.attention import Attention, waiting_for_people
from platform_assets.commands.counts import FeedTotals, Quarantined, feed_totals, quarantined
from platform_assets.engine.contract.shown import MASK
from platform_assets.engine.deployment import Deployment
from platform_assets.engine.store.release import Release
from platform_assets.errors import listed, printable
from platform_assets.project.configured import (
    NO_FEED,
    audit_log,
    declared_feeds,
    declared_marts,
    prepared_deployment,
)
from platform_assets.project.dbt_sources import follow_feeds
from platform_assets.project.graph import Project, project_of, raw_name
from platform_assets.project.manifest import current_manifest
from platform_assets.project.personal import personal_columns
from platform_assets.project.state import HeldBack, State
from platform_assets.settings import person

if TYPE_CHECKING:
    from platform_assets.commands.execution import RunOutcome

_PREVIEW_ROWS = 5
_SHOWN = 10


@dataclass(frozen=True)
class RunReport:
    """What a run did. made: whether there was anything to do. feeds: with the deliveries of this run alone.

    failed_checks: the blocking ones, as asset:check. held_back: what they keep from being made. errors: of steps that
    failed. left_alone: files that are not ready. unclaimed: files that no feed asks for. notes: the same in sentences.
    no_room: why nothing new is claimed, where the disk is too full and files wait; the run is then not `ok`.
    attention: what waits for a person besides.
    """

    ok: bool
    made: bool
    feeds: list[FeedTotals]
    release: Release | None
    quarantined: list[Quarantined]
    failed_checks: list[str]
    held_back: list[HeldBack]
    errors: list[str]
    left_alone: list[str]
    unclaimed: list[str]
    notes: list[str]
    no_room: str | None
    attention: list[Attention]
    took_s: float


def run_pending(tell: Callable[[str], None]) -> RunReport:
    """Take in what is pending, build the marts, check them, release them."""
    began = time.monotonic()
    settings, deployment = prepared_deployment(tell)
    if not deployment.feeds:
        tell(NO_FEED)
    follow_feeds(declared_feeds(), tell)
    arrivals = deployment.look().arrivals
    now = deployment.clock()
    pending = {name: sum(each.settles_soon(now) for each in found) for name, found in arrivals.items()}
    if (low := deployment.disk.low()) is not None and any(pending.values()):
        tell(str(low))
        pending = dict.fromkeys(pending, 0)
    state = State.of(project_of(deployment.feeds, declared_marts(), current_manifest()), deployment)
    wanted = state.to_run([raw_name(feed) for feed in deployment.feeds if pending[feed.name]])
    outcome = None
    before = _newest_delivery(deployment)
    last = deployment.releases.current()
    if wanted:
        files = ", ".join(f"{count} of {name}" for name, count in pending.items() if count)
        tell(f"pending files: {files}" if files else f"to make: {listed(wanted)}")
        # Imported where there is something to do: otherwise the answer is there before Dagster would be.
        from platform_assets.commands.execution import run_assets

        with audit_log(deployment.home).doing(person(), "run", {"files": sum(pending.values())}) as came:
            outcome = run_assets(settings, tell, wanted)
            came.update(run=outcome.run_id, success=outcome.success)
    return _report(deployment, state.project, outcome, before, last, began)


def headlines(release: Release | None) -> Iterator[tuple[str, tuple[str, ...], list[dict[str, Any]]]]:
    """The headline marts of the release, read as any reader would: each with its columns and first rows, in which
    personal data is masked."""
    marts = [mart for mart in declared_marts() if release and mart.headline and mart.name in release.tables]
    if release is None or not marts:
        return
    secret = personal_columns(marts, declared_feeds(), Path(release.path).parents[1])
    for mart in marts:
        rows = release.first_rows(mart.name, mart.headline, _PREVIEW_ROWS)
        masked = [name in secret[mart.name] for name in mart.headline]
        shown = ([MASK if hide else cell for cell, hide in zip(row, masked, strict=True)] for row in rows)
        yield mart.name, mart.headline, [dict(zip(mart.headline, row, strict=True)) for row in shown]


def _newest_delivery(deployment: Deployment) -> int:
    with deployment.warehouse.reading("read the ledger") as unit:
        return unit.ledger.next_ids()[0] - 1


def _report(
    deployment: Deployment,
    project: Project,
    outcome: "RunOutcome | None",
    before: int,
    last: Release | None,
    began: float,
) -> RunReport:
    """What this run did: its deliveries are those with ids above `before`; `last` is the release before it."""
    with deployment.warehouse.reading("read the ledger") as unit:
        receipts = unit.ledger.receipts(after=before)
    release = deployment.releases.current()
    landing = deployment.look()
    left_alone = [file for found in landing.arrivals.values() for file in found]
    waiting = [f"{printable(file.slot)} {deployment.why_waiting(file)}" for file in left_alone[:_SHOWN]]
    low = deployment.disk.low() if left_alone else None
    notes = [
        *(f"left alone for now: {each}" for each in waiting),
        *(f"no feed asks for {slot}" for slot in landing.unclaimed[:_SHOWN]),
        *_failures(outcome, release, last),
        *([f"release {release.id}: {release.path}"] if release is not None else []),
    ]
    return RunReport(
        ok=(outcome is None or outcome.success) and low is None,
        made=outcome is not None,
        feeds=[feed_totals(each, [r for r in receipts if r.feed == each.feed.name]) for each in deployment.status()],
        release=release,
        quarantined=quarantined(receipts),
        failed_checks=[f"{each.asset}:{each.check}" for each in outcome.blocked] if outcome is not None else [],
        held_back=State.of(project, deployment).held_back(list(project.nodes)) if outcome is not None else [],
        errors=list(outcome.failures) if outcome is not None else [],
        left_alone=[file.slot for file in left_alone],
        unclaimed=list(landing.unclaimed),
        notes=notes,
        no_room=None if low is None else low.what,
        attention=waiting_for_people(deployment),
        took_s=round(time.monotonic() - began, 2),
    )


def _failures(outcome: "RunOutcome | None", release: Release | None, last: Release | None) -> Iterator[str]:
    """What failed, and what readers then have."""
    if outcome is None or outcome.success:
        return
    for each in outcome.blocked:
        yield f"blocking check failed: {each.asset}: {each.check}: {each.description}"
    yield from outcome.failures
    if release is None:
        yield "There is no release yet."
    elif last is not None and last.id == release.id:
        yield "Readers keep the last release."
    else:
        yield "A release was made all the same: nothing in it is made from what failed."
