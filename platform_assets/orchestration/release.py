"""The release in Dagster: made when every mart is built and every blocking check above it has passed.

Belongs here: making one in a run, and what Dagster hears of it. Elsewhere: whether the marts are fit (state.py), making
a release (engine/store/release.py).
"""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from platform_assets.engine.deployment import Deployment
from platform_assets.engine.store.release import Label, Release
from platform_assets.errors import ReleaseRefused
from platform_assets.orchestration.markdown import code, table
from platform_assets.orchestration.runs.automation import Runs
from platform_assets.orchestration.runs.keys import BY_COMMAND_TAG, BY_ITSELF_TAG, RELEASE_KEY, RUN, WRITER_POOL
from platform_assets.orchestration.runs.resources import DeploymentResource
from platform_assets.project.causes import Cause
from platform_assets.project.graph import RELEASE, Project
from platform_assets.project.state import State


def release_asset(project: Project, condition: dg.AutomationCondition[Any] | None) -> dg.AssetsDefinition:
    """The published version of the project's marts, made by itself under `condition`."""

    @dg.asset(
        key=RELEASE_KEY,
        deps=[dg.AssetKey(mart.split("/")) for mart in project.marts],
        group_name="release",
        owners=["team:data-platform"],
        kinds={"duckdb"},
        pool=WRITER_POOL,
        automation_condition=condition,
        output_required=False,
        description="The marts as one immutable, read-only DuckDB file, swapped in atomically. Made only when every "
        "blocking check above it has passed; `releases/current.duckdb` always points to the newest.",
    )
    def release(
        context: dg.AssetExecutionContext, deployment: DeploymentResource
    ) -> Iterator[dg.MaterializeResult[Any]]:
        with deployment.opened(context) as opened:
            if context.run.tags.get(BY_COMMAND_TAG) == RUN and not State.of(project, opened).to_be_made(RELEASE):
                context.log.info("Nothing new has come: the release is up to date.")
                return
            marts = [mart.split("/")[-1] for mart in project.marts]
            try:
                with opened.builds.changing((), context.run.run_id):
                    made = opened.releases.publish(
                        opened.warehouse, opened.clock(), marts, lambda: _label(State.of(project, opened), opened)
                    )
            except _Unfit as unfit:
                _leave_it(context, unfit.cause)
                return
        yield dg.MaterializeResult(
            metadata={
                "release": made.id,
                "path": dg.MetadataValue.path(made.path),
                "dagster/row_count": sum(made.tables.values()),
                "tables": dg.MetadataValue.md(table(("mart", "rows"), made.tables.items())),
                **({"decided": dg.MetadataValue.md(_decided(made))} if made.decided else {}),
            }
        )

    return release


def _decided(made: Release) -> str:
    """Deliveries that a person withdrew or let through, among those that the release is made of."""
    cells = ("feed", "delivery", "file", "what", "by", "why")
    return table(cells, [[code(str(each[cell])) for cell in cells] for each in made.decided])


class _Unfit(Exception):
    """Why the marts must not be released."""

    def __init__(self, cause: Cause) -> None:
        super().__init__(str(cause))
        self.cause = cause


def _label(state: State, deployment: Deployment) -> Label:
    """What the marts hold; _Unfit where they must not be released."""
    if (cause := state.unfit()) is not None:
        raise _Unfit(cause)
    built_from, made = state.built_from(), {mart: state.built.made[mart].version for mart in state.project.marts}
    return Label(built_from, made, deployment.decided(built_from))


def _leave_it(context: dg.AssetExecutionContext, cause: Cause) -> None:
    """Leave it to a later run, which is asked for when they are fit; raises ReleaseRefused where a person waits for
    this one, and no other is about to release."""
    runs = Runs.of(context.instance, [RELEASE], since=None)
    others = [run for run in runs.under_way if run.run_id != context.run.run_id and RELEASE in runs.targets(run)]
    if not {BY_ITSELF_TAG, BY_COMMAND_TAG}.intersection(context.run.tags) and not others:
        raise ReleaseRefused(
            f"The marts are not fit to be released: {cause}",
            cause.remedy or "Mend what was found and run again; `platform check` runs the checks alone.",
        )
    then = f"Run {others[0].run_id[:8]} is under way and releases then." if others else "It is made when they are."
    context.log.info(f"The marts are not fit to be released: {cause}. {then}")
