"""The release in Dagster: made when every mart is built and every blocking check above it has passed.

Belongs here: deciding that the marts are fit. Does not: making a release (engine/release.py).
"""

from collections.abc import Sequence
from typing import Any, Final

import dagster as dg
from dagster._core.storage.asset_check_execution_record import (
    COMPLETED_ASSET_CHECK_EXECUTION_RECORD_STATUSES,
    AssetCheckExecutionRecord,
    AssetCheckExecutionRecordStatus,
)

from platform_assets.errors import ReleaseRefused
from platform_assets.orchestration.dbt import downstream, reached
from platform_assets.orchestration.feeds import WRITER_POOL
from platform_assets.orchestration.resources import DeploymentResource

RELEASE_KEY = dg.AssetKey("release")
_RUNS_IN_FLIGHT: Final = 20


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
        automation_condition=downstream(),
        description="The marts as one immutable, read-only DuckDB file, swapped in atomically. Made only when every "
        "blocking check above it has passed; `releases/current.duckdb` always points to the newest.",
    )
    def release(context: dg.AssetExecutionContext, deployment: DeploymentResource) -> dg.MaterializeResult[Any]:
        if failing := _failing_checks(context.instance, blocking):
            raise ReleaseRefused(
                f"{len(failing)} blocking check{'s' * (len(failing) > 1)} failed or did not run: "
                + ", ".join(failing[:10]),
                "Mend what they found and run again; `platform check` runs the checks alone.",
            )
        opened = deployment.open(context)
        made = opened.releases.publish(opened.warehouse, opened.clock(), [key.path[-1] for key in marts])
        rows = "\n".join(f"| {table} | {count} |" for table, count in made.tables.items())
        return dg.MaterializeResult(
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


def _failing_checks(instance: dg.DagsterInstance, blocking: Sequence[dg.AssetCheckKey]) -> list[str]:
    """Blocking checks that have not passed since their asset was last materialized; one that never ran counts."""
    records = dict(instance.event_log_storage.get_latest_asset_check_execution_by_key(blocking))
    for key, record in records.items():
        if record.status == AssetCheckExecutionRecordStatus.PLANNED:
            records[key] = _last_evaluated(instance, record)
    built = {
        record.asset_entry.asset_key: record.asset_entry.last_materialization.timestamp
        for record in instance.get_asset_records([key.asset_key for key in blocking])
        if record.asset_entry.last_materialization is not None
    }
    return sorted(
        f"{key.asset_key.to_user_string()}:{key.name}"
        for key in blocking
        if key not in records or not _passed(records[key], since=built.get(key.asset_key, 0.0))
    )


def _last_evaluated(instance: dg.DagsterInstance, planned: AssetCheckExecutionRecord) -> AssetCheckExecutionRecord:
    """The newest finished evaluation, where a run that waits behind this one plans another; `planned` if none is."""
    evaluated = instance.event_log_storage.get_asset_check_execution_history(
        planned.key, limit=_RUNS_IN_FLIGHT, status=COMPLETED_ASSET_CHECK_EXECUTION_RECORD_STATUSES
    )
    return max(evaluated, key=lambda record: record.event.timestamp if record.event else 0.0, default=planned)


def _passed(record: AssetCheckExecutionRecord, *, since: float) -> bool:
    if record.event is None or record.event.timestamp < since:
        return False
    if record.status == AssetCheckExecutionRecordStatus.SUCCEEDED:
        return True
    evaluation = record.event.asset_check_evaluation if record.event.is_dagster_event else None
    # dbt's tests of severity `warn` fail without blocking.
    return evaluation is not None and evaluation.severity == dg.AssetCheckSeverity.WARN
