"""Dagster's own storage: where it lies, how it is set up, and what runs that died have left in it.

Belongs here: the instance this deployment uses. Elsewhere: what is run on it (run.py). Light: the daemon imports it.
"""

import contextlib
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import dagster as dg
import psutil

from platform_assets.orchestration.runs.dagster_internals import (
    RUN_FAILURE_REASON_TAG,
    InstanceRef,
    NoOpComputeLogManager,
    RunFailureReason,
)
from platform_assets.orchestration.runs.process import DIED_TAG, PLACE_TAG, PROCESS_TAG, is_here, process_is_gone
from platform_assets.settings import Settings

_TEMPLATE: Final = Path(__file__).with_name("dagster.yaml")
_BEGUN: Final = [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
_TO_BEGIN: Final = [dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTING]
_CLOCKS_DIFFER_S: Final = 5
_NEWEST: Final = 100
_DAEMON_SILENT_S: Final = 60


def prepare_dagster_home(settings: Settings) -> None:
    """Create DAGSTER_HOME with our dagster.yaml; one that is there already is its owner's business."""
    settings.dagster_home.mkdir(parents=True, exist_ok=True)
    target = settings.dagster_home / "dagster.yaml"
    if not target.exists():
        target.write_text(_TEMPLATE.read_text())
    settings.export()


def open_instance(settings: Settings, *, settle: bool = True, at_hand: bool = False) -> dg.DagsterInstance:
    """The instance that the UI and the command line share; if `settle`, rid of runs whose process is dead.

    at_hand: what steps print goes to whoever started the run, at once. Dagster would keep it in files, which processes
    copy to the terminal that Ctrl-C reaches, too, and that then say so.
    """
    prepare_dagster_home(settings)
    if at_hand:
        kept = {"compute_logs": {"module": NoOpComputeLogManager.__module__, "class": NoOpComputeLogManager.__name__}}
        ref = InstanceRef.from_dir(str(settings.dagster_home), overrides=kept)
        instance = dg.DagsterInstance.from_ref(ref)
    else:
        instance = dg.DagsterInstance.get()
    if settle:
        reconcile(instance)
    return instance


@contextlib.contextmanager
def kept_open(instance: dg.DagsterInstance, run_id: str | None = None) -> Iterator[None]:
    """Hold Dagster's SQLite files open, and the run's own, while many events are written.

    Dagster opens and closes a file at every write, and SQLite tidies up whenever the last connection to one is closed:
    half of what an event costs. Held open, and unused, a file is not locked.
    """
    history = Path(instance.root_directory) / "history"
    files = [history / "runs.db", history / "runs" / "index.db"]
    if run_id is not None:
        files.append(history / "runs" / f"{run_id}.db")
    with contextlib.ExitStack() as held:
        for file in files:
            if file.exists():  # Dagster may keep its storage elsewhere
                connection = held.enter_context(contextlib.closing(sqlite3.connect(file, check_same_thread=False)))
                connection.execute("SELECT 1 FROM sqlite_master").fetchall()
        yield


def reconcile(instance: dg.DagsterInstance) -> list[str]:
    """Fail the runs that died with their process or their machine, and free the pool slots nobody uses; their ids.

    A run lives while the process that executes it does; one that has not begun, while somebody lives who might
    begin it. A queued run waits for the next daemon. Of what runs on another machine or in another container nothing
    is known: it is left alone.
    """
    dead = {}
    for record in instance.get_run_records(dg.RunsFilter(statuses=[*_BEGUN, *_TO_BEGIN])):
        if (why := death(instance, record)) is not None:
            dead[record.dagster_run.run_id] = why
    for run_id, why in dead.items():
        run = instance.get_run_by_id(run_id)
        if run is not None and not run.is_finished:
            note_death(instance, run, why)
            instance.report_run_failed(run, why)
    _note_the_interrupted(instance)
    _free_slots_of_the_gone(instance)
    return list(dead)


def death(instance: dg.DagsterInstance, record: dg.RunRecord) -> str | None:
    """Why an unfinished run will never go on; None while it may."""
    run = record.dagster_run
    process = run.tags.get(PROCESS_TAG)
    if process:
        return _gone(process) if process_is_gone(process) else None
    here = is_here(run.tags[PLACE_TAG]) if run.tags.get(PLACE_TAG) else _no_daemon_lives(instance)
    if here is False:
        return None
    announced = _announced(instance, run.run_id)
    if announced is not None:
        pid, at = announced
        return None if here and _was_there(pid, at) else _gone(f"pid {pid}")
    if run.status in _TO_BEGIN and not (here and _may_be_begun(instance, record.update_timestamp.timestamp())):
        return "Whoever was to start it is gone. Nothing of it has run."
    return None


def note_death(instance: dg.DagsterInstance, run: dg.DagsterRun, why: str) -> None:
    """Say that the run died, which is not that its work failed, and give back its pool slots."""
    instance.add_run_tags(run.run_id, {DIED_TAG: why})
    instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)


def _note_the_interrupted(instance: dg.DagsterInstance) -> None:
    """Runs that a signal ended, without anybody having asked for that run to end, died with what was shut down."""
    interrupted = {RUN_FAILURE_REASON_TAG: RunFailureReason.UNEXPECTED_TERMINATION.value}
    for run in instance.get_runs(dg.RunsFilter(tags=interrupted), limit=_NEWEST):
        if not run.tags.get(DIED_TAG):
            instance.add_run_tags(run.run_id, {DIED_TAG: "It was interrupted, as by Ctrl-C."})


def _gone(process: str) -> str:
    return f"Its process ({process}) is gone. What it had committed stands."


def _announced(instance: dg.DagsterInstance, run_id: str) -> tuple[int, float] | None:
    """The pid that a run of Dagster's own launcher names when its process starts, before our tag; and when."""
    for entry in instance.all_logs(run_id, of_type=dg.DagsterEventType.ENGINE_EVENT):
        data = entry.dagster_event.event_specific_data if entry.dagster_event is not None else None
        pid = getattr(data, "metadata", {}).get("pid")
        if pid is not None and str(pid.value).isdecimal():
            return int(str(pid.value)), entry.timestamp
    return None


def _was_there(pid: int, at: float) -> bool:
    """Whether the process of that pid is the one that had it at that time."""
    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and process.create_time() <= at + _CLOCKS_DIFFER_S
    except psutil.NoSuchProcess:
        return False


def _may_be_begun(instance: dg.DagsterInstance, asked_at: float) -> bool:
    """Whether a process of this DAGSTER_HOME that was there when the run was asked for still lives.

    Daemons, code servers and run processes that are being started all are Python with DAGSTER_HOME in their
    environment. Those above this process, and itself, start no run that it has not asked for.
    """
    home = Path(instance.root_directory).resolve()
    me = psutil.Process()
    ours = {me.pid, *(parent.pid for parent in me.parents())}
    for process in psutil.process_iter():
        try:
            if (
                process.pid not in ours
                and process.create_time() <= asked_at
                and process.status() != psutil.STATUS_ZOMBIE
                and Path(process.exe()).name.lower().startswith("python")
                and (of := process.environ().get("DAGSTER_HOME"))
                and Path(of).resolve() == home
            ):
                return True
        except (psutil.Error, OSError):
            continue  # it ended, or it is another user's
    return False


def _no_daemon_lives(instance: dg.DagsterInstance) -> bool:
    """Whether no daemon has shown itself of late: one of another machine may be about to begin what says no place."""
    beats = (status.timestamp for status in instance.get_daemon_heartbeats().values())
    return all(time.time() - at > _DAEMON_SILENT_S for at in beats)


def _free_slots_of_the_gone(instance: dg.DagsterInstance) -> None:
    storage = instance.event_log_storage
    holders = set(storage.get_concurrency_run_ids())
    for pool in storage.get_concurrency_keys():
        holders |= {slot.run_id for slot in storage.get_concurrency_info(pool).claimed_slots}
    for run_id in holders:
        run = instance.get_run_by_id(run_id)
        process = run.tags.get(PROCESS_TAG) if run is not None else None
        if run is None or (run.is_finished and (not process or process_is_gone(process))):
            storage.free_concurrency_slots_for_run(run_id)
