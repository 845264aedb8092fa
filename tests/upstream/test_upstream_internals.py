"""What we use of Dagster and dagster-dbt without being offered it: there is no public way, and it is as we know it."""

import inspect
from typing import Any

import dagster as dg
import dagster_dbt
import pytest

from platform_assets.orchestration.runs import dagster_internals, dbt_internals


@pytest.mark.parametrize("name", dagster_internals.__all__)
def test_dagster_offers_no_public_way(name: str) -> None:
    """If this fails, the public name takes its place."""
    assert not hasattr(dg, name)


@pytest.mark.parametrize("name", dbt_internals.__all__)
def test_dagster_dbt_offers_no_public_way(name: str) -> None:
    assert not hasattr(dagster_dbt, name)


@pytest.mark.parametrize(
    ("called", "takes"),
    [
        (dbt_internals.get_updated_cli_invocation_params_for_context, "context manifest dagster_dbt_translator"),
        (dagster_internals.execute_run, "run_id instance write_stream_fn set_exit_code_on_failure"),
        (dagster_internals.get_instance_for_cli, "instance_ref logger"),
        (dagster_internals.is_valid_cron_string, "cron_string"),
        (dagster_internals.CheckRunHealthResult, "status msg transient run_worker_id"),
        (dagster_internals.LaunchRunContext, "dagster_run workspace"),
    ],
)
def test_it_is_called_as_we_call_it(called: Any, takes: str) -> None:
    parameters = list(inspect.signature(called).parameters)
    assert parameters[: len(takes.split())] == takes.split()


def test_daemons_are_judged_by_the_age_of_their_heartbeats() -> None:
    parameters = inspect.signature(dagster_internals.get_daemon_statuses).parameters
    assert {"instance", "daemon_types", "ignore_errors", "heartbeat_tolerance_seconds"} <= set(parameters)


def test_a_record_of_an_asset_and_of_a_check_says_what_we_ask() -> None:
    with dg.DagsterInstance.ephemeral() as instance:

        @dg.asset(check_specs=[dg.AssetCheckSpec("sound", asset="a")])
        def a() -> Any:
            yield dg.MaterializeResult(
                check_results=[dg.AssetCheckResult(check_name="sound", passed=False)],
                tags={dagster_internals.DATA_VERSION_TAG: "7"},
            )

        silent = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
        done = dg.materialize([a], instance=instance, run_config=silent)
        (record,) = instance.get_asset_records([dg.AssetKey("a")])
        made = record.asset_entry.last_materialization
        assert made is not None
        assert made.run_id == done.run_id
        assert made.asset_materialization is not None
        assert (made.asset_materialization.tags or {})[dagster_internals.DATA_VERSION_TAG] == "7"
        key = dg.AssetCheckKey(dg.AssetKey("a"), "sound")
        found = instance.event_log_storage.get_latest_asset_check_execution_by_key([key])[key]
        assert found.status == dagster_internals.AssetCheckExecutionRecordStatus.FAILED
        assert found.status in dagster_internals.COMPLETED_ASSET_CHECK_EXECUTION_RECORD_STATUSES
