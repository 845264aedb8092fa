"""What runs by itself below a feed, and what has to have passed before it does.

Belongs here: the conditions, and the same rules for what a sensor asks for at once. Does not: new files (sensors.py).
"""

from collections.abc import Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Final

import dagster as dg

from platform_assets.orchestration.dagster_internals import (
    COMPLETED_ASSET_CHECK_EXECUTION_RECORD_STATUSES,
    AssetCheckExecutionRecord,
    AssetCheckExecutionRecordStatus,
    BaseAssetGraph,
)

UNDER_WAY: Final = (
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
)
_NEW_DATA: Final = "new_data"
_RUNS_IN_FLIGHT: Final = 20


def on_new_data() -> dg.AutomationCondition[Any]:
    """Run when an input has really new data, once every blocking check of every input has passed.

    New is what has another data version: an input that was merely made again triggers nothing. What is requested
    together runs together, and there the run itself holds back what is below a failed check.
    """
    return (_news() & _ready()).with_label(_NEW_DATA)


def on_cron(cron: str, timezone: str) -> dg.AutomationCondition[Any]:
    """Run at the times that `cron` says, if an input has had new data since the last run; gated as `on_new_data`."""
    ticked: dg.AutomationCondition[Any] = dg.AutomationCondition.cron_tick_passed(cron, timezone)
    # What has come by then; what comes later waits for the next time.
    due = (ticked & _news()).since_last_handled()
    return (due & _ready()).with_label(f"new_data_by_cron({cron}, {timezone})")


def _news() -> dg.AutomationCondition[Any]:
    condition = dg.AutomationCondition
    changed = condition.data_version_changed() & ~condition.executed_with_root_target()
    new_input = condition.any_deps_match(changed | condition.will_be_requested()).with_label("any_input_has_new_data")
    news: dg.AutomationCondition[Any] = condition.newly_missing() | new_input
    return news.since_last_handled()


def _ready() -> dg.AutomationCondition[Any]:
    condition = dg.AutomationCondition
    passed = condition.all_checks_match(condition.check_passed(), blocking_only=True)
    held_to = condition.all_deps_match(condition.will_be_requested() | passed)
    return (
        ~condition.any_deps_missing()
        & ~condition.any_deps_in_progress()
        & ~condition.in_progress()
        & held_to.with_label("all_inputs_passed_their_blocking_checks")
    )


def followers(
    graph: BaseAssetGraph[Any], starts: Iterable[dg.AssetKey], stale: Callable[[dg.AssetKey], bool] = lambda _: False
) -> list[dg.AssetKey]:
    """What new data in `starts` sets going: everything below by `on_new_data`, inputs before what is made of them.

    stale: whether an asset that is not among them must not be built upon; what would be is left out.
    """
    found: set[dg.AssetKey] = set(starts)
    order: list[dg.AssetKey] = []
    for key in graph.toposorted_asset_keys:
        node = graph.get(key)
        inputs: AbstractSet[dg.AssetKey] = node.parent_keys
        if key in found or not inputs & found:
            continue
        condition = node.automation_condition
        if condition is None or condition.get_label() != _NEW_DATA:
            continue
        if not any(stale(above) for above in inputs - found):
            found.add(key)
            order.append(key)
    return order


def unfit(instance: dg.DagsterInstance, graph: BaseAssetGraph[Any]) -> Callable[[dg.AssetKey], bool]:
    """Says of an asset whether nothing may be built on it: never made, or a blocking check has not passed since."""
    blocking = [key for key in graph.asset_check_keys if graph.get(key).blocking]
    failing = {key.asset_key for key in failing_checks(instance, blocking)}
    made = {
        record.asset_entry.asset_key
        for record in instance.get_asset_records(list(graph.materializable_asset_keys))
        if record.asset_entry.last_materialization is not None
    }

    def is_unfit(key: dg.AssetKey) -> bool:
        return key in failing or (key in graph.materializable_asset_keys and key not in made)

    return is_unfit


def failing_checks(instance: dg.DagsterInstance, blocking: Sequence[dg.AssetCheckKey]) -> list[dg.AssetCheckKey]:
    """Blocking checks that have not passed since their asset was last materialized; one that never ran counts."""
    records = evaluations(instance, blocking)
    built = {
        record.asset_entry.asset_key: record.asset_entry.last_materialization.timestamp
        for record in instance.get_asset_records(list({key.asset_key for key in blocking}))
        if record.asset_entry.last_materialization is not None
    }
    return sorted(
        (
            key
            for key in blocking
            if key not in records or not _passed(records[key], since=built.get(key.asset_key, 0.0))
        ),
        key=lambda key: key.to_user_string(),
    )


def evaluations(
    instance: dg.DagsterInstance, checks: Sequence[dg.AssetCheckKey]
) -> dict[dg.AssetCheckKey, AssetCheckExecutionRecord]:
    """The last finished evaluation of each check, where there is one; else the one that is planned."""
    records = dict(instance.event_log_storage.get_latest_asset_check_execution_by_key(checks))
    for key, record in records.items():
        if record.status == AssetCheckExecutionRecordStatus.PLANNED:
            records[key] = _last_evaluated(instance, record)
    return records


def will_be_evaluated(instance: dg.DagsterInstance, check: dg.AssetCheckKey) -> str | None:
    """The run under way that evaluates the check, if there is one."""
    record = instance.event_log_storage.get_latest_asset_check_execution_by_key([check]).get(check)
    if record is None or record.status != AssetCheckExecutionRecordStatus.PLANNED:
        return None
    run = instance.get_run_by_id(record.run_id)
    return record.run_id if run is not None and run.status in UNDER_WAY else None


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
