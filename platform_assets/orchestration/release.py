"""The release in Dagster: made when every mart is built and every blocking check above it has passed.

Belongs here: deciding that the marts are fit. Does not: making a release (engine/release.py).
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final

import dagster as dg

from platform_assets.errors import ReleaseRefused
from platform_assets.orchestration.automation import failing_checks, on_new_data, will_be_evaluated
from platform_assets.orchestration.keys import RELEASE_KEY, WRITER_POOL
from platform_assets.orchestration.manifest import reached
from platform_assets.orchestration.resources import DeploymentResource

_WAIT_S: Final = 5
_TRIES: Final = 60


def release_asset(
    marts: Sequence[dg.AssetKey],
    assets: Sequence[dg.AssetsDefinition],
    checks: Sequence[dg.AssetChecksDefinition],
) -> dg.AssetsDefinition:
    """The published version of `marts`; `assets` and `checks` are all there is above it."""
    blocking = _blocking_checks(marts, assets, checks)

    @dg.asset(
        key=RELEASE_KEY,
        deps=list(marts),
        group_name="release",
        owners=["team:data-platform"],
        kinds={"duckdb"},
        pool=WRITER_POOL,
        automation_condition=on_new_data(),
        output_required=False,
        description="The marts as one immutable, read-only DuckDB file, swapped in atomically. Made only when every "
        "blocking check above it has passed; `releases/current.duckdb` always points to the newest.",
    )
    def release(
        context: dg.AssetExecutionContext, deployment: DeploymentResource
    ) -> Iterator[dg.MaterializeResult[Any]]:
        with deployment.opened(context) as opened:
            if not _fit(context, blocking):
                return
            made = opened.releases.publish(opened.warehouse, opened.clock(), [key.path[-1] for key in marts])
        rows = "\n".join(f"| {table} | {count} |" for table, count in made.tables.items())
        yield dg.MaterializeResult(
            metadata={
                "release": made.id,
                "path": dg.MetadataValue.path(made.path),
                "dagster/row_count": sum(made.tables.values()),
                "tables": dg.MetadataValue.md(f"| mart | rows |\n|---|---|\n{rows}"),
            }
        )

    return release


def _blocking_checks(
    marts: Sequence[dg.AssetKey],
    assets: Sequence[dg.AssetsDefinition],
    checks: Sequence[dg.AssetChecksDefinition],
) -> list[dg.AssetCheckKey]:
    """The blocking checks of the marts and of everything they are made from."""
    above = {spec.key: [dep.asset_key for dep in spec.deps] for asset in assets for spec in asset.specs}
    made_from = reached(above, marts)
    specs = [spec for definition in (*assets, *checks) for spec in definition.check_specs]
    return [spec.key for spec in specs if spec.blocking and spec.asset_key in made_from]


def _fit(context: dg.AssetExecutionContext, blocking: Sequence[dg.AssetCheckKey]) -> bool:
    """Whether everything has passed; False where another run is about to find out and releases then.

    Raises ReleaseRefused where something has not passed, RetryRequested where another run evaluates it.
    """
    failing = failing_checks(context.instance, blocking)
    if not failing:
        return True
    others = {check: will_be_evaluated(context.instance, check) for check in failing}
    if all(run not in (None, context.run.run_id) for run in others.values()):
        runs = [run for run_id in set(others.values()) if run_id and (run := context.instance.get_run_by_id(run_id))]
        said = f"{len(failing)} checks of newer data are still to be evaluated by run {runs[0].run_id[:8]}"
        if any(RELEASE_KEY in (run.asset_selection or ()) for run in runs):
            context.log.info(f"{said}, which releases then.")
            return False
        context.log.info(f"{said}; waiting for it.")
        raise dg.RetryRequested(max_retries=_TRIES, seconds_to_wait=_WAIT_S)
    named = [f"{check.asset_key.to_user_string()}:{check.name}" for check in failing]
    raise ReleaseRefused(
        f"{len(failing)} blocking check{'s' * (len(failing) > 1)} failed or did not run: " + ", ".join(named[:10]),
        "Mend what they found and run again; `platform check` runs the checks alone.",
    )
