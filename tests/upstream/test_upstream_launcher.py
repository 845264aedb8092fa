"""What the warm launcher relies on of Dagster, Polars and the rest beyond what they document."""

import inspect
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import dagster as dg
import pytest
from dagster._cli import dev
from dagster._cli.api import _execute_run_command_body
from dagster._core.events import EngineEventData
from dagster._core.execution.api import execute_run_iterator
from dagster._core.launcher.base import LaunchRunContext
from dagster._daemon.controller import create_daemon_of_type
from dagster._daemon.run_coordinator.queued_run_coordinator_daemon import QueuedRunCoordinatorDaemon

from platform_assets.orchestration.runs import instance as ours
from platform_assets.orchestration.runs.launcher import _NO_THREADS, WarmRunLauncher, WarmRunQueue
from platform_assets.orchestration.runs.warm import _PRELOADED

TEMPLATE = Path(ours.__file__).with_name("dagster.yaml").read_text()
SILENT = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


def opened(home: Path, settings: str) -> dg.DagsterInstance:
    (home / "dagster.yaml").write_text(settings)
    return dg.DagsterInstance.from_config(str(home))


def test_dagster_takes_our_launcher_and_queue_from_its_settings(tmp_path: Path) -> None:
    with opened(tmp_path, TEMPLATE) as instance:
        assert type(instance.run_launcher) is WarmRunLauncher
        assert type(instance.run_coordinator) is WarmRunQueue
        assert instance.get_concurrency_config().run_queue_config is not None, "it is a queue to Dagster, too"
        assert QueuedRunCoordinatorDaemon.daemon_type() in instance.get_required_daemon_types()


def test_without_the_launchers_block_dagster_takes_its_own(tmp_path: Path) -> None:
    start = TEMPLATE.index("run_launcher:")
    with opened(tmp_path, TEMPLATE[:start] + TEMPLATE[TEMPLATE.index("run_monitoring:") :]) as instance:
        assert type(instance.run_launcher) is dg.DefaultRunLauncher
        assert create_daemon_of_type("QUEUED_RUN_COORDINATOR", instance)


@pytest.mark.parametrize(
    ("command", "begins"),
    [
        (["python", "-m", "dagster._daemon", "run", "--code-server-log-level", "warning"], True),
        (["python", "/opt/bin/dagster-daemon", "run"], True),
        (["python", "/opt/bin/dagster", "dev"], False),
        (["python", "-m", "dagster_webserver", "-p", "3000"], False),
        (["python", "/opt/bin/platform", "run"], False),
    ],
)
def test_a_daemon_that_starts_takes_up_the_queue_once_and_nobody_else_begins_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str], begins: bool
) -> None:
    """The moment at which the warm process is started and dead runs are found."""
    asked: list[dg.DagsterInstance] = []
    monkeypatch.setattr("platform_assets.orchestration.runs.launcher.reconcile", asked.append)
    monkeypatch.setattr(WarmRunLauncher, "get_ready", lambda self: asked.append(self._instance))
    monkeypatch.setattr(sys, "orig_argv", command)
    with opened(tmp_path, TEMPLATE) as instance:
        assert asked == []
        instance.get_required_daemon_types()
        daemon = create_daemon_of_type("QUEUED_RUN_COORDINATOR", instance)
        assert asked == [instance, instance] * begins
        assert isinstance(daemon, QueuedRunCoordinatorDaemon)
        assert daemon.interval_seconds == 1


def test_dagster_starts_its_daemon_by_the_name_we_know_it_by() -> None:
    assert '"dagster._daemon"' in inspect.getsource(dev)
    scripts = {script.name: script.value for script in metadata.entry_points(group="console_scripts")}
    assert scripts["dagster-daemon"].startswith("dagster._daemon")


def test_the_command_that_executes_a_run_can_be_called_and_tells_its_events() -> None:
    assert list(inspect.signature(_execute_run_command_body).parameters) == [
        *("run_id", "instance", "write_stream_fn", "set_exit_code_on_failure"),
    ]
    assert list(LaunchRunContext._fields) == ["dagster_run", "workspace"]


def test_a_process_that_starts_for_a_run_names_its_pid() -> None:
    assert EngineEventData.in_process(17).metadata["pid"].value == "17"


@pytest.mark.parametrize("status", [dg.DagsterEventType.RUN_START, dg.DagsterEventType.RUN_FAILURE])
def test_a_run_that_has_begun_or_is_over_is_not_executed_again(tmp_path: Path, status: dg.DagsterEventType) -> None:
    """Why a run whose process starts late, or that was failed meanwhile, does its work at most once."""
    worked: list[int] = []

    @dg.op
    def work() -> None:
        worked.append(1)

    @dg.job
    def works() -> None:
        work()

    with opened(tmp_path, TEMPLATE) as instance:
        run = instance.create_run_for_job(works, run_config=SILENT)
        instance.report_dagster_event(dg.DagsterEvent(status.value, "works"), run.run_id)
        again = instance.get_run_by_id(run.run_id)
        assert again is not None
        from dagster._core.definitions.job_base import InMemoryJob

        list(execute_run_iterator(InMemoryJob(works), again, instance))
        assert worked == []


@pytest.mark.needs(Path("/proc/self/task"))
def test_what_a_warm_process_imports_starts_no_thread() -> None:
    """But Polars' cleaner of spilled files; if this fails, runs fall back to Dagster's own launcher."""
    look = "from platform_assets.orchestration.runs.warm import _PRELOADED, other_threads\nimport importlib\n"
    look += "for module in _PRELOADED: importlib.import_module(module)\nprint(other_threads())"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", look], env={**os.environ, **_NO_THREADS}, capture_output=True, text=True
    )
    assert done.stdout.strip() == "[]", done.stderr
    assert len(set(_PRELOADED)) == len(_PRELOADED)


def test_the_launcher_is_light_enough_for_the_daemon() -> None:
    look = "import sys, platform_assets.orchestration.runs.launcher\n"
    look += "print(sorted({'polars', 'duckdb', 'pandera', 'dbt', 'dagster_dbt', 'pyarrow'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
