"""`platform run`: what is pending is taken in, what that makes out of date is made, and a report says so.

Belongs here: the whole of it, decided without Dagster; where something is to be made, execution.py does it.
"""

import json
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from platform_assets.commands.attention import Attention, of_versions, waiting_for_people
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
    declared_project,
    prepared_deployment,
)
from platform_assets.project.dbt_sources import follow_feeds
from platform_assets.project.exports import ask
from platform_assets.project.graph import Project, raw_name
from platform_assets.project.manifest import current_manifest
from platform_assets.project.personal import personal_columns
from platform_assets.project.promised import Promises
from platform_assets.project.remedies import ways_out
from platform_assets.project.state import OF_A_PRODUCT, HeldBack, State
from platform_assets.settings import person

if TYPE_CHECKING:
    from platform_assets.commands.execution import RunOutcome

_PREVIEW_ROWS = 5
_PREVIEW_COLUMNS = 6
_PREVIEWS = 3
_SHOWN = 10


@dataclass(frozen=True)
class RunReport:
    """What a run did. made: whether there was anything to do. feeds: with the deliveries of this run alone. releases:
    product -> the release that readers have now.

    failed_checks: the blocking ones, as asset:check. held_back: what they keep from being made. errors: of steps that
    failed. left_alone: files that are not ready. unclaimed: files that no feed asks for. notes: the same in sentences.
    no_room: why nothing new is claimed, where the disk is too full and files wait; the run is then not `ok`.
    attention: what waits for a person besides.
    """

    ok: bool
    made: bool
    feeds: list[FeedTotals]
    releases: dict[str, Release]
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


def run_pending(tell: Callable[[str], None], only: Collection[str] = ()) -> RunReport:
    """Take in what is pending, build the marts, check them, release them. only: of these feeds, if any are named."""
    began = time.monotonic()
    settings, deployment = prepared_deployment(tell)
    if not deployment.feeds:
        tell(NO_FEED)
    chosen = [deployment.feed(name) for name in only] or deployment.feeds
    follow_feeds(declared_feeds(), tell)
    Promises(json.loads(current_manifest().read_bytes()), deployment.clock().date()).follow(tell)
    arrivals = deployment.look().arrivals
    now = deployment.clock()
    pending = {name: sum(each.settles_soon(now) for each in found) for name, found in arrivals.items()}
    if (low := deployment.disk.low()) is not None and any(pending.values()):
        tell(str(low))
        pending = dict.fromkeys(pending, 0)
    project = declared_project(deployment.feeds)
    for problem in ask(project.exports, deployment, now=True):
        tell(problem)
    state = State.of(project, deployment)
    pending = {feed.name: pending[feed.name] for feed in chosen}
    wanted = state.to_run([raw_name(feed) for feed in chosen if pending[feed.name]])
    if only:
        wanted = _of_feeds([raw_name(feed) for feed in chosen], wanted, state, tell)
    outcome = None
    before = _newest_delivery(deployment)
    last = _serving(state.project, deployment)
    if wanted:
        files = ", ".join(f"{count} of {name}" for name, count in pending.items() if count)
        tell(f"pending files: {files}" if files else f"to make: {listed(wanted)}")
        # Imported where there is something to do: otherwise the answer is there before Dagster would be.
        from platform_assets.commands.execution import run_assets

        asked = {"files": sum(pending.values()), **({"feeds": list(only)} if only else {})}
        with audit_log(deployment.home).doing(person(), "run", asked) as came:
            outcome = run_assets(settings, tell, wanted)
            # One that is broken holds back only what is made from it.
            barred = set(outcome.failed)
            while rest := _possible(state.project, deployment, wanted, barred):
                tell(f"what does not need what failed: {listed(rest)}")
                outcome = outcome.followed_by(again := run_assets(settings, tell, rest))
                barred |= {*rest, *again.failed}
            came.update(run=outcome.run_id, success=outcome.success)
    return _report(deployment, state.project, outcome, before, last, began, {feed.name for feed in chosen})


def _possible(project: Project, deployment: Deployment, wanted: Collection[str], barred: Collection[str]) -> list[str]:
    """Of what was wanted, what is out of date still and can be made, though something failed."""
    return [name for name in State.of(project, deployment).due(barred=barred) if name in wanted]


def _of_feeds(raws: Collection[str], wanted: Iterable[str], state: State, tell: Callable[[str], None]) -> list[str]:
    """Of what is wanted, what is made from these raw assets, with the models that this needs besides; of the releases
    only those whose other marts are as they should be."""
    nodes = state.project.nodes
    made = {*raws, *state.project.below(raws)}
    releases = {product.release: product for product in state.project.products}
    others = releases.keys() | {each.asset for each in state.project.exports}
    needed = {name for each in made - others for name in state.project.above(each) if nodes[name].feed is None}
    allowed = made | needed
    for name in sorted(allowed & releases.keys()):
        stale = [mart for mart in releases[name].marts if mart not in allowed and state.outdated(mart) is not None]
        if stale:
            allowed.discard(name)
            why = f"because other marts are out of date: {listed(stale)}; `platform run` makes all"
            tell(f"no release of {releases[name].name} is made, {why}")
    return [name for name in wanted if name in allowed]


@dataclass(frozen=True)
class Preview:
    """The newest rows of a mart, personal data masked. by: the column that says which are newest, if one does."""

    mart: str
    by: str | None
    columns: tuple[str, ...]
    rows: list[dict[str, Any]]


def previews(releases: Iterable[Release]) -> Iterator[Preview]:
    """The headline marts of these releases, or the first others, read as any reader would."""
    having = {mart: release for release in releases for mart in release.marts}
    declared = [mart for mart in declared_marts() if mart.name in having]
    marts = [mart for mart in declared if mart.headline] or declared
    if not marts:
        return
    secret = personal_columns(marts, declared_feeds(), having[marts[0].name].folder.parents[2])
    for mart in marts[:_PREVIEWS]:
        release = having[mart.name]
        there = release.marts[mart.name].columns  # it may be of before the mart was declared as it is
        declared_now = [column for column in mart.columns if column.name in there]
        columns = tuple(name for name in mart.headline if name in there)
        columns = columns or tuple(column.name for column in declared_now)[:_PREVIEW_COLUMNS]
        if not columns:
            continue
        times = [column.name for column in declared_now if column.kind in ("timestamp", "date")]
        by = next((name for name in columns if name in times), next(iter(times), None))
        rows = release.newest_rows(mart.name, columns, by, _PREVIEW_ROWS)
        masked = [name in secret[mart.name] for name in columns]
        shown = ([MASK if hide else cell for cell, hide in zip(row, masked, strict=True)] for row in rows)
        yield Preview(mart.name, by, columns, [dict(zip(columns, row, strict=True)) for row in shown])


def _serving(project: Project, deployment: Deployment) -> dict[str, Release]:
    """The release that readers have of each product, where they have one."""
    found = {each.name: deployment.releases_of(each.name).current() for each in project.products}
    return {name: release for name, release in found.items() if release is not None}


def _newest_delivery(deployment: Deployment) -> int:
    with deployment.warehouse.reading("read the ledger") as unit:
        return unit.ledger.next_ids()[0] - 1


def _report(
    deployment: Deployment,
    project: Project,
    outcome: "RunOutcome | None",
    before: int,
    last: Mapping[str, Release],
    began: float,
    chosen: Collection[str],
) -> RunReport:
    """What this run did: its deliveries are those with ids above `before`; `last` are the releases before it."""
    with deployment.warehouse.reading("read the ledger") as unit:
        receipts = unit.ledger.receipts(after=before)
    releases = _serving(project, deployment)
    landing = deployment.look()
    left_alone = [file for name, found in landing.arrivals.items() if name in chosen for file in found]
    said = {} if outcome is None else outcome.left_alone
    waiting = [
        f"{printable(file.slot)}{':' * (file.slot in said)} {deployment.why_waiting(file, said)}"
        for file in left_alone[:_SHOWN]
    ]
    low = deployment.disk.low() if left_alone else None
    state = State.of(project, deployment)
    refused = list(_refused(state))
    notes = [
        *(f"left alone for now: {each}" for each in waiting),
        *(f"no feed asks for {slot}" for slot in landing.unclaimed[:_SHOWN]),
        *_failures(deployment, outcome, releases, last),
        *refused,
        *_no_mart(deployment, project),
        *(f"release {name}/{each.id}: {each.path}" for name, each in releases.items()),
        *_beside(deployment, releases),
    ]
    return RunReport(
        ok=(outcome is None or outcome.success) and low is None and not refused,
        made=outcome is not None,
        feeds=[feed_totals(each, [r for r in receipts if r.feed == each.feed.name]) for each in deployment.status()],
        releases=releases,
        quarantined=quarantined(receipts),
        failed_checks=[f"{each.asset}:{each.check}" for each in outcome.blocked] if outcome is not None else [],
        held_back=state.held_back(list(project.nodes)) if outcome is not None or refused else [],
        errors=list(outcome.failures) if outcome is not None else [],
        left_alone=[file.slot for file in left_alone],
        unclaimed=list(landing.unclaimed),
        notes=notes,
        no_room=None if low is None else low.what,
        attention=[*waiting_for_people(deployment), *of_versions(state)],
        took_s=round(time.monotonic() - began, 2),
    )


def _beside(deployment: Deployment, releases: Iterable[str]) -> Iterator[str]:
    """What was published beside a release that is pinned."""
    for product in releases:
        pin, newest = deployment.releases_of(product).pinned(), deployment.releases_of(product).newest()
        if pin is not None and newest is not None:
            beside = "" if newest.id == pin.release else f"; beside it lies {newest.id}"
            remedy = f"`platform release unpin {product}` gives readers the newest"
            yield f"{product} is {pin}{beside}. {remedy}"


def _refused(state: State) -> Iterator[str]:
    """Products that are held though their marts are sound: who would read what, and what to do."""
    for product in state.project.products:
        cause = state.held(product.release) if state.outdated(product.release) is not None else None
        if cause is not None and cause.kind in OF_A_PRODUCT:
            yield f"{cause.sentence}. {cause.remedy}"


def _no_mart(deployment: Deployment, project: Project) -> Iterator[str]:
    """How a first mart is made, where there is none to be released."""
    if deployment.feeds and not project.marts:
        feed = deployment.feeds[0]
        yield (
            "There is no mart yet, so nothing is released: write dbt_project/models/marts/NAME.sql, such as "
            f"SELECT * FROM {{{{ source('{feed.origin}', '{feed.name}') }}}}; then `platform run` builds it."
        )


def _failures(
    deployment: Deployment,
    outcome: "RunOutcome | None",
    releases: Mapping[str, Release],
    last: Mapping[str, Release],
) -> Iterator[str]:
    """What failed, and what readers then have."""
    if outcome is None or outcome.success:
        return
    for each in outcome.blocked:
        yield f"blocking check failed: {each.asset}: {each.check}: {each.description}"
        of = next((feed for feed in deployment.feeds if raw_name(feed) == each.asset), None)
        if of is not None and (ways := ways_out(of, each.description, deployment.receipts_published(of))):
            yield f"  {ways}"
    yield from outcome.failures
    if not releases:
        yield "There is no release yet."
        return
    made = [name for name, each in releases.items() if name not in last or last[name].id != each.id]
    if not made:
        yield "Readers keep the last release."
    else:
        what = f"A release of {listed(made, 3)}"
        yield f"{what} was made all the same: nothing in it is made from what failed."
