"""What we rely on of Dagster, dagster-dbt and dbt beyond what they document."""

import inspect
import json
import os
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pytest
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus
from dagster_dbt import DagsterDbtTranslator, dbt_assets
from dagster_dbt.asset_utils import get_updated_cli_invocation_params_for_context
from dagster_dbt.core.dbt_cli_event import DbtCoreCliEventMessage
from dbt.adapters.duckdb.connections import DuckDBConnectionManager
from dbt.cli.main import dbtRunner
from dbt.contracts.graph.manifest import Manifest
from dbt_common.events.functions import msg_to_dict

# Dagster's own tester of conditions uses a beta parameter of Dagster's.
pytestmark = pytest.mark.filterwarnings("ignore:Parameter `include_sources`")

RED = dg.AssetCheckKey(dg.AssetKey("above"), "sound")
SILENT = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


class Always(dg.AutomationCondition[dg.AssetKey]):
    """As ours: a subclass that answers by itself, from the instance if it likes."""

    def evaluate(self, context: dg.AutomationContext[dg.AssetKey]) -> dg.AutomationResult[dg.AssetKey]:
        assert isinstance(context.asset_graph_view.instance, dg.DagsterInstance)
        assert context.evaluation_time
        return dg.AutomationResult(context, true_subset=context.candidate_subset)


def pair(condition: dg.AutomationCondition[Any], *, passed: bool = False, severity: str = "ERROR") -> dg.Definitions:
    """An asset with a blocking check, and an asset below it that is automated by `condition`."""

    @dg.asset(key="above")
    def above() -> None: ...

    @dg.asset_check(asset="above", name="sound", blocking=True)
    def sound() -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=passed, severity=dg.AssetCheckSeverity[severity])

    @dg.asset(key="below", deps=["above"], automation_condition=condition)
    def below() -> None: ...

    @dg.asset(key="further", deps=["below"], automation_condition=condition)
    def further() -> None: ...

    return dg.Definitions(assets=[above, below, further], asset_checks=[sound])


def requested_after_a_run_above(definitions: dg.Definitions) -> set[str]:
    """What automation asks for once `above` has been materialized and checked."""
    with dg.DagsterInstance.ephemeral() as instance:
        before = dg.evaluate_automation_conditions(definitions, instance)
        job = definitions.resolve_implicit_global_asset_job_def()
        above = job.get_subset(asset_selection={dg.AssetKey("above")}, asset_check_selection={RED})
        above.execute_in_process(instance=instance, raise_on_error=False, run_config=SILENT)
        after = dg.evaluate_automation_conditions(definitions, instance, cursor=before.cursor)
        names = ("below", "further")
        return {name for name in names if after.get_num_requested(dg.AssetKey(name))}


def test_plain_eager_runs_below_a_failed_blocking_check() -> None:
    """One reason why ours asks our own state."""
    assert "below" in requested_after_a_run_above(pair(dg.AutomationCondition.eager()))


def test_a_condition_of_ones_own_is_evaluated_and_asked_for_in_one_run() -> None:
    assert requested_after_a_run_above(pair(Always(), passed=True)) == {"below", "further"}


def test_the_latest_evaluation_of_a_check_can_be_asked_for_by_key() -> None:
    definitions = pair(Always())
    with dg.DagsterInstance.ephemeral() as instance:
        job = definitions.resolve_implicit_global_asset_job_def().get_subset(asset_selection={dg.AssetKey("above")})
        job.execute_in_process(instance=instance, raise_on_error=False, run_config=SILENT)
        records = instance.event_log_storage.get_latest_asset_check_execution_by_key([RED])
        assert records[RED].status == AssetCheckExecutionRecordStatus.FAILED
        assert records[RED].event is not None
        history = instance.event_log_storage.get_asset_check_execution_history(
            RED, limit=5, status={AssetCheckExecutionRecordStatus.FAILED}
        )
        assert [record.id for record in history] == [records[RED].id]


def test_a_run_that_waits_hides_the_last_evaluation_behind_a_planned_one() -> None:
    """Why the release asks further when the latest record is PLANNED."""
    definitions = pair(Always(), passed=True)
    with dg.DagsterInstance.ephemeral() as instance:
        job = definitions.resolve_implicit_global_asset_job_def().get_subset(asset_selection={dg.AssetKey("above")})
        job.execute_in_process(instance=instance, run_config=SILENT)
        instance.create_run_for_job(job_def=job)
        records = instance.event_log_storage.get_latest_asset_check_execution_by_key([RED])
        assert records[RED].status == AssetCheckExecutionRecordStatus.PLANNED


def test_runs_in_process_take_turns_in_a_pool(tmp_path: Path) -> None:
    """A step of one process waits while another run holds the pool's only slot."""
    settings = {"concurrency": {"pools": {"default_limit": 1, "granularity": "op"}}, "telemetry": {"enabled": False}}
    (tmp_path / "dagster.yaml").write_text(json.dumps(settings))

    @dg.op(pool="writer")
    def write(context: dg.OpExecutionContext) -> None:
        info = context.instance.event_log_storage.get_concurrency_info("writer")
        assert info.slot_count == 1
        assert [slot.run_id for slot in info.claimed_slots] == [context.run_id]

    @dg.job
    def writes() -> None:
        write()

    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        assert writes.execute_in_process(instance=instance, run_config=SILENT).success
        info = instance.event_log_storage.get_concurrency_info("writer")
        assert list(info.claimed_slots) == [], "given back at the end of the step"


@pytest.fixture(scope="module")
def parsed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dbt project of two models and a test, parsed by dbt in this process."""
    project = tmp_path_factory.mktemp("dbt")
    (project / "models").mkdir()
    (project / "dbt_project.yml").write_text("{name: tiny, version: '1.0.0', profile: tiny}")
    (project / "profiles.yml").write_text(
        f"tiny: {{target: dev, outputs: {{dev: {{type: duckdb, path: '{project / 'tiny.duckdb'}'}}}}}}"
    )
    (project / "models" / "one.sql").write_text("select 1 as n")
    (project / "models" / "two.sql").write_text("select n + 1 as n from {{ ref('one') }}")
    (project / "models" / "all.yml").write_text(
        "{version: 2, models: [{name: one, columns: [{name: n, data_tests: [not_null]}]}]}"
    )
    assert dbtRunner().invoke(["--log-level", "none", "parse", *_places(project)]).success
    return project


def _places(project: Path) -> list[str]:
    places = ["--project-dir", str(project), "--profiles-dir", str(project), "--target-path", str(project / "target")]
    return [*places, "--log-path", str(project / "target")]


def test_dbt_in_this_process_tells_dagster_what_it_did_and_lets_go_of_the_file(parsed: Path) -> None:
    manifest_path = parsed / "target" / "manifest.json"
    heard: list[dict[str, Any]] = []

    @dbt_assets(manifest=manifest_path)
    def tiny(context: dg.AssetExecutionContext) -> Any:
        chosen = get_updated_cli_invocation_params_for_context(
            context=context.op_execution_context, manifest={}, dagster_dbt_translator=DagsterDbtTranslator()
        )
        manifest = Manifest.from_msgpack((parsed / "target" / "partial_parse.msgpack").read_bytes())
        runner = dbtRunner(manifest=manifest, callbacks=[lambda message: heard.append(msg_to_dict(message))])
        try:
            done = runner.invoke(["--log-level", "none", "build", *_places(parsed), *chosen.selection_args])
        finally:
            DuckDBConnectionManager.close_all_connections()  # type: ignore[no-untyped-call]
        assert done.success
        for event in heard:
            yield from DbtCoreCliEventMessage(raw_event=event, event_history_metadata={}).to_default_asset_events(
                manifest=chosen.manifest,
                dagster_dbt_translator=chosen.dagster_dbt_translator,
                context=context,
                target_path=parsed / "target",
            )

    result = dg.materialize([tiny], run_config=SILENT)
    assert {
        event.asset_key.to_user_string() for event in result.get_asset_materialization_events() if event.asset_key
    } == {
        "one",
        "two",
    }
    assert [(check.check_name, check.passed) for check in result.get_asset_check_evaluations()] == [
        ("not_null_one_n", True)
    ]
    assert {event["info"]["name"] for event in heard} >= {"LogModelResult", "LogTestResult"}
    duckdb.connect(str(parsed / "tiny.duckdb"), config={"threads": 1}).close()
    locks = Path("/proc/locks")
    if locks.exists():
        inode = f":{(parsed / 'tiny.duckdb').stat().st_ino} "
        assert not [line for line in locks.read_text().splitlines() if inode in line and f" {os.getpid()} " in line]


def test_dbt_takes_a_parsed_manifest_and_callbacks() -> None:
    assert {"manifest", "callbacks"} <= set(inspect.signature(dbtRunner.__init__).parameters)
