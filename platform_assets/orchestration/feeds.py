"""A feed in Dagster: its raw asset and its quarantine, and what the UI says of them.

Belongs here: what is derived from every feed alike. Elsewhere: checks (checks.py), sensors (sensors.py).
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

import dagster as dg
from pydantic import Field

from platform_assets.engine.deployment import Deployment, FeedStatus
from platform_assets.engine.feed.feed import Feed
from platform_assets.engine.store.builds import CheckResult, Made
from platform_assets.engine.store.receipts import Chosen, Receipt
from platform_assets.errors import ConfigurationError, printable
from platform_assets.orchestration.checks import check_specs, evaluated
from platform_assets.orchestration.columns import PERSONAL_TAG
from platform_assets.orchestration.decided import Decide, decided
from platform_assets.orchestration.feed_metadata import FeedFigures
from platform_assets.orchestration.held import tell_held_back
from platform_assets.orchestration.runs.automation import note_wanted
from platform_assets.orchestration.runs.dagster_internals import DATA_VERSION_TAG
from platform_assets.orchestration.runs.keys import (
    BY_ITSELF_TAG,
    WRITER_POOL,
    deliveries_key,
    feed_tag,
    quarantine_key,
    raw_key,
)
from platform_assets.orchestration.runs.resources import DeploymentResource
from platform_assets.orchestration.watch.freshness_policy import newest_data_event, policy_of
from platform_assets.project.configured import audit_log
from platform_assets.project.graph import Project, raw_name
from platform_assets.project.state import State


class Intake(dg.Config):
    """What a run brings in: what is new, and, where it says so, archived deliveries once more."""

    most_files: int | None = Field(None, ge=1, description="Leave what is beyond to the next run.")
    replay: bool = Field(False, description="Bring archived deliveries through today's contract first: those below.")
    since: str | None = Field(None, description="Only what arrived then or later (UTC), such as 2026-11-01.")
    until: str | None = Field(None, description="Only what arrived before then (UTC).")
    files: str | None = Field(None, description="Only files whose path fits, such as '*/2026-11-*'.")
    again: bool = Field(False, description="Also what today's contract has judged already.")
    decide: Decide | None = Field(
        None, description="Decide about one delivery first: take it back, restore it, let it through, or undo that."
    )
    delivery: int | None = Field(None, ge=1, description="The delivery to decide about, by its id.")
    why: str = Field("", description="Why; it stands in the delivery's receipt and in the audit log.")

    def chosen(self) -> Chosen:
        """The archived deliveries that are asked for; raises ConfigurationError where a time is none."""
        return Chosen((), self.files, _moment("since", self.since), _moment("until", self.until))


def _moment(name: str, text: str | None) -> datetime | None:
    try:
        return None if text is None else datetime.fromisoformat(text)
    except ValueError:
        raise ConfigurationError(name, f"{text!r} is no time", "Give one such as 2026-11-01.") from None


def delivered(feed: Feed) -> dg.AssetSpec:
    """What the producer delivers, as an asset that nobody here makes.

    Reported as materialized when newer *data* has come in time, so that Dagster's own policy is in data time: a rerun,
    a duplicate or a delivery of old data leaves it as it is.
    """
    return dg.AssetSpec(
        deliveries_key(feed),
        group_name="deliveries",
        owners=[feed.owner],
        kinds={"file"},
        description=f"Files under `{'`, `'.join(feed.source.places)}`, as {feed.origin} delivers them.\n\n"
        f"{_promise(feed)}\n\nFresh while newer data comes in time; what is old, repeated or only loaded again does "
        "not count.",
        freshness_policy=policy_of(feed),
    )


def feed_assets(feed: Feed, project: Project) -> dg.AssetsDefinition:
    """Raw and quarantine of a feed, loaded together in one transaction."""
    raw = dg.AssetSpec(
        raw_key(feed),
        group_name="raw",
        owners=[feed.owner],
        kinds={"duckdb", "pandera"},
        deps=[deliveries_key(feed)],
        skippable=True,
        description=f"{feed.description}\n\n{_promise(feed)}\n\nFiles: `{'`, `'.join(feed.source.places)}`.",
        metadata={
            "dagster/column_schema": _column_schema(feed),
            "dagster/table_name": f"raw.{feed.name}",
            "source": ", ".join(feed.source.places),
            "cadence": str(feed.delivered),
        },
    )
    quarantine = dg.AssetSpec(
        quarantine_key(feed),
        group_name="quarantine",
        deps=[deliveries_key(feed)],
        skippable=True,
        owners=[feed.owner],
        kinds={"duckdb"},
        description=f"Rows of **{feed.name}** that break its contract, as they arrived, with every reason. "
        "They wait here until the contract or the producer is mended.",
        metadata={"dagster/table_name": f"quarantine.{feed.name}"},
    )

    @dg.multi_asset(
        name=f"ingest_{feed.name}",
        specs=[raw, quarantine],
        check_specs=check_specs(feed),
        can_subset=True,
        pool=WRITER_POOL,
        description=f"Take in whatever is new under {', '.join(feed.source.places)}, exactly once.",
    )
    def ingest_feed(
        context: dg.AssetExecutionContext, deployment: DeploymentResource, config: Intake
    ) -> Iterator[dg.MaterializeResult[Any] | dg.AssetCheckResult]:
        with deployment.opened(context, feed=feed.name, replaying=config.replay) as opened:
            here = opened.feed(feed.name)
            context.instance.add_run_tags(context.run.run_id, {feed_tag(feed): "true"})
            # Checks alone may be asked for.
            if context.selected_asset_keys:
                again = _replayed(context, opened, here, config) if config.replay else []
                if config.decide is not None:
                    again += decided(context, opened, here, config.decide, config.delivery, config.why)
                outcome = opened.ingest(here, most_files=config.most_files)
                deployment.left_alone |= outcome.unfinished
                for slot, why in outcome.unfinished.items():
                    opened.notify(f"{printable(slot)}: {why}; left alone and offered again")
                figures = FeedFigures.of(opened, here, [*again, *outcome.receipts])
            wanted = {check.name for check in context.selected_asset_check_keys}
            results = list(evaluated(opened, here, wanted))
            _note_audit(context, opened, here, project, results)
            state = State.of(project, opened)
            if context.selected_asset_keys:
                yield from _results(context, figures, state)
            note_wanted(state, opened)
            yield from results
            if state.failing(raw_name(here)):
                tell_held_back(context, opened, project, [raw_name(here)])

    return ingest_feed


def _replayed(context: dg.AssetExecutionContext, deployment: Deployment, feed: Feed, config: Intake) -> list[Receipt]:
    """Replay what the launchpad says. The audit log has it once, however often the step is tried.

    By the run, not by a tag of it that names a person: whoever launches a run can write any tag.
    """
    chosen, run_id = config.chosen(), context.run.run_id
    log, who, what = audit_log(deployment.home), f"run:{run_id}", "replay"
    asked = None
    if context.retry_number:
        of_this = (each for each in log.entries() if (each.about.get("run"), each.what) == (run_id, what))
        asked = next((each for each in of_this if each.about.get("feed") == feed.name), None)
    if asked is None:
        told = {"feed": feed.name, "run": run_id, **config.model_dump(exclude_defaults=True)}
        asked = log.record(who, what, told, outcome="asked")
    receipts = deployment.replay(feed, chosen, again=config.again)
    log.ended(asked, {"run": run_id, "deliveries": len(receipts)})
    return receipts


def _note_audit(
    context: dg.AssetExecutionContext,
    deployment: Deployment,
    feed: Feed,
    project: Project,
    results: Sequence[dg.AssetCheckResult],
) -> None:
    """Note what the blocking checks said of the feed's rows as they are, and, if all were asked, that they are held
    to nothing else."""
    node = project.nodes[raw_name(feed)]
    blocking = {spec.name for spec in check_specs(feed) if spec.blocking}
    version, now = str(deployment.revision_published(feed)), deployment.clock()
    found = [
        CheckResult(node.name, result.check_name or "", version, result.passed, result.description or "", now)
        for result in results
        if result.check_name in blocking
    ]
    audited = Made(node.name, version, node.code, now, context.run.run_id, checks=sorted(blocking))
    deployment.builds.note([audited] if {each.name for each in found} == blocking else [], found)


def _results(
    context: dg.AssetExecutionContext, figures: FeedFigures, state: State
) -> Iterator[dg.MaterializeResult[Any]]:
    """What Dagster is told of a load."""
    feed = figures.feed
    _report_new_data(context, feed, figures.status)
    version = dg.DataVersion(str(figures.status.revision))
    # A run that nobody asked for ends here when it brought nothing new and nothing that it was to make is out of date.
    below = {key.to_user_string() for key in context.run.asset_selection or ()} & set(
        state.project.below([raw_name(feed)])
    )
    idle = not any(state.outdated(name) for name in below)
    ends = BY_ITSELF_TAG in context.run.tags and _last_version(context, raw_key(feed)) == version.value and idle
    # What is made from it is then skipped.
    holds = bool(state.failing(raw_name(feed)))
    shown = {raw_key(feed): figures.raw_metadata(), quarantine_key(feed): figures.quarantine_metadata()}
    for key, metadata in shown.items():
        if ends:
            context.log_event(dg.AssetObservation(key, metadata=metadata))
        elif key in context.selected_asset_keys and not holds:
            yield dg.MaterializeResult(asset_key=key, metadata=metadata, data_version=version)
        else:
            # Both tables are loaded in one transaction, whichever was asked for; all must hear of it.
            tags = {DATA_VERSION_TAG: version.value}
            context.log_event(dg.AssetMaterialization(key, metadata=metadata, tags=tags))


def _promise(feed: Feed) -> str:
    return f"Delivered: {feed.delivered}. Owner: {feed.owner}."


def _report_new_data(context: dg.AssetExecutionContext, feed: Feed, status: FeedStatus) -> None:
    """Report what was delivered where newer data came, and in time."""
    if status.newest is None or status.freshness != "fresh":
        return
    last = context.instance.get_latest_materialization_event(deliveries_key(feed))
    told = last.asset_materialization.metadata.get("newest_data") if last and last.asset_materialization else None
    if not isinstance(told, dg.TimestampMetadataValue) or told.value < status.newest.timestamp():
        context.log_event(newest_data_event(feed, status.newest))


def _last_version(context: dg.AssetExecutionContext, key: dg.AssetKey) -> str | None:
    last = context.instance.get_latest_materialization_event(key)
    made = last.asset_materialization if last is not None else None
    return None if made is None or made.tags is None else made.tags.get(DATA_VERSION_TAG)


def _column_schema(feed: Feed) -> dg.TableSchema:
    columns = [
        dg.TableColumn(
            column.name,
            column.sql_type,
            description=column.description + (f" (PII: {column.pii})" if column.pii else ""),
            constraints=dg.TableColumnConstraints(nullable=column.nullable, other=list(column.rules)),
            tags={PERSONAL_TAG: "yes"} if column.pii else {},
        )
        for column in feed.columns
    ]
    lineage = [
        dg.TableColumn("_delivery_id", "BIGINT", description="The delivery the row came with; see ledger.deliveries"),
        dg.TableColumn("_line", "BIGINT", description="The physical line of the row in its delivery"),
    ]
    if feed.name_date is not None:
        lineage.append(dg.TableColumn("_file_date", "DATE", description="The date in the file's name"))
    return dg.TableSchema(columns=columns + lineage)
