"""Dagster's own storage: where it lies, how it is set up, and what runs that died have left in it.

Belongs here: the instance this deployment uses. Does not: what is run on it (run.py).
"""

from pathlib import Path
from typing import Final

import dagster as dg

from platform_assets.orchestration.resources import PROCESS_TAG, process_is_alive
from platform_assets.settings import Settings

_TEMPLATE: Final = Path(__file__).with_name("dagster.yaml")


def prepare_dagster_home(settings: Settings) -> None:
    """Create DAGSTER_HOME with our dagster.yaml; one that is there already is its owner's business."""
    settings.dagster_home.mkdir(parents=True, exist_ok=True)
    target = settings.dagster_home / "dagster.yaml"
    if not target.exists():
        target.write_text(_TEMPLATE.read_text())
    settings.export()


def open_instance(settings: Settings) -> dg.DagsterInstance:
    """The instance that the UI and the command line share, rid of runs whose process is dead."""
    prepare_dagster_home(settings)
    instance = dg.DagsterInstance.get()
    _bury_the_dead(instance)
    return instance


def _bury_the_dead(instance: dg.DagsterInstance) -> None:
    started = dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING])
    for run in instance.get_runs(started):
        process = run.tags.get(PROCESS_TAG)
        if process is not None and not process_is_alive(process):
            instance.report_run_failed(run, f"Its process ({process}) is gone. What it had committed stands.")
            instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
