"""Runs started from a warm process: as good as Dagster's own way, or not at all.

A launcher in this process, a real code server for what falls back, real runs on a throw-away deployment.
"""

import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import dagster as dg
import duckdb
import psutil
import pytest
from dagster._core.launcher.base import WorkerStatus
from dagster._core.remote_representation.external import RemoteJob
from dagster._core.workspace.context import BaseWorkspaceRequestContext, WorkspaceProcessContext
from dagster._core.workspace.load_target import ModuleTarget
from deployed import Deployed
from machine import PROJECT, rounds

from platform_assets.definitions import build_definitions
from platform_assets.orchestration.runs.instance import prepare_dagster_home, reconcile
from platform_assets.orchestration.runs.keys import WRITER_POOL
from platform_assets.orchestration.runs.launcher import WarmRunLauncher, code_digest
from platform_assets.orchestration.runs.process import DIED_TAG, PROCESS_TAG, process_is_alive, process_name
from platform_assets.orchestration.runs.warm import other_threads
from platform_assets.settings import Settings

CUSTOMERS: Final = dg.AssetKey(["raw", "retail", "customers"])
NOT_WARM: Final = "Not started from a warm process"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300), pytest.mark.needs(Path("/proc/self/task"))]


@dataclass
class Dagster:
    """An instance with our dagster.yaml, a launcher in this process, and a code server to fall back on."""

    world: Deployed
    instance: dg.DagsterInstance
    workspace: BaseWorkspaceRequestContext
    job: RemoteJob
    everything: dg.JobDefinition

    @property
    def launcher(self) -> WarmRunLauncher:
        launcher = self.instance.run_launcher
        assert isinstance(launcher, WarmRunLauncher)
        return launcher

    @property
    def warm_pid(self) -> int | None:
        """The pid of the launcher's warm process, once it is ready."""
        warm = self.launcher._warm
        if warm is not None:
            warm.wait(60)
        return warm.process.pid if warm is not None else None

    def get_warm(self) -> int:
        """The pid of a warm process that has today's code and waits for runs."""
        self.launcher._given_up = None
        self.launcher.get_ready()
        pid = self.warm_pid
        assert pid is not None
        return pid

    def asked(self, *keys: dg.AssetKey, tags: dict[str, str] | None = None) -> dg.DagsterRun:
        """A run that is asked for and not yet launched."""
        chosen = frozenset(keys) or None
        return self.instance.create_run_for_job(
            job_def=self.everything.get_subset(asset_selection=chosen) if chosen else self.everything,
            asset_selection=chosen,
            remote_job_origin=self.job.get_remote_origin(),
            job_code_origin=self.job.get_python_origin(),
            tags=tags,
        )

    def launched(self, *keys: dg.AssetKey, tags: dict[str, str] | None = None) -> str:
        """The id of a run that has been launched."""
        run = self.asked(*keys, tags=tags)
        self.instance.launch_run(run.run_id, self.workspace)
        return run.run_id

    def run(self, run_id: str) -> dg.DagsterRun:
        found = self.instance.get_run_by_id(run_id)
        assert found is not None
        return found

    def ended(self, run_id: str, within_s: float = 90) -> str:
        """The status in which the run ended."""
        until(lambda: self.run(run_id).is_finished, within_s, f"end of the run\n{self.story(run_id)}")
        return self.run(run_id).status.value

    def story(self, run_id: str) -> list[str]:
        """What the run's log says of how it was started and ended."""
        entries = self.instance.all_logs(run_id)
        return [entry.dagster_event.message or "" for entry in entries if entry.dagster_event is not None]

    def starts(self, run_id: str) -> int:
        """How many processes have begun to execute the run."""
        return sum("Started process for run" in said for said in self.story(run_id))

    @contextmanager
    def held(self, *keys: dg.AssetKey) -> Iterator[str]:
        """A run in the middle of its first step: it waits for the warehouse, which this process holds."""
        with closing(duckdb.connect(str(self.world.home / "warehouse.duckdb"))):
            run_id = self.launched(*keys)
            until(lambda: self.waits(run_id), 60, "run in its first step")
            yield run_id

    def waits(self, run_id: str) -> bool:
        slots = self.instance.event_log_storage.get_concurrency_info(WRITER_POOL).claimed_slots
        return any(slot.run_id == run_id for slot in slots)


def until(happens: Callable[[], bool], within_s: float, what: str) -> None:
    deadline = time.monotonic() + within_s
    while not happens():
        assert time.monotonic() < deadline, f"no {what} within {within_s:.0f} s"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def dagster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dagster]:
    world = Deployed(tmp_path_factory.mktemp("launcher"))
    world.simulate(days=1, rows=50, until="2026-03-17", dirt=0.0)
    with pytest.MonkeyPatch.context() as patch:
        for key in [key for key in os.environ if key.startswith(("PLATFORM_", "DAGSTER_", "DBT_"))]:
            patch.delenv(key)
        patch.setenv("PLATFORM_HOME", str(world.home))
        patch.setenv("PLATFORM_LANDING", str(world.landing))
        patch.setenv("DAGSTER_HOME", str(world.home / "dagster"))
        patch.chdir(world.root)  # a folder of its own for .env
        prepare_dagster_home(Settings.from_environment())
        target = ModuleTarget("platform_assets.definitions", None, str(PROJECT), "platform_assets")
        with dg.DagsterInstance.get() as instance, WorkspaceProcessContext(instance, target) as workspace:
            request = workspace.create_request_context()
            job = (
                request.get_code_location("platform_assets")
                .get_repository("__repository__")
                .get_full_job("__ASSET_JOB")
            )
            everything = build_definitions().resolve_implicit_global_asset_job_def()
            yield Dagster(world, instance, request, job, everything)


def test_runs_of_every_kind_of_work_start_warm_and_two_at_once(dagster: Dagster) -> None:
    warm = dagster.get_warm()
    whole = dagster.launched()
    part = dagster.launched(CUSTOMERS)
    children = {child.pid for child in psutil.Process(warm).children()}
    assert [dagster.ended(whole), dagster.ended(part)] == ["SUCCESS", "SUCCESS"]
    assert dagster.world.query("SELECT sum(order_lines) FROM daily_sales") == [(50,)]
    for run_id in (whole, part):
        assert dagster.starts(run_id) == 1
        assert not any(NOT_WARM in said for said in dagster.story(run_id))
        assert int(dagster.run(run_id).tags[PROCESS_TAG].split("@")[0]) in children
    until(lambda: not runs_of(dagster, whole, part) & children_of(warm), 20, "reaped children")


def children_of(process: int) -> set[int]:
    return {child.pid for child in psutil.Process(process).children()}


def runs_of(dagster: Dagster, *run_ids: str) -> set[int]:
    """The processes of these runs."""
    return {int(dagster.run(run_id).tags[PROCESS_TAG].split("@")[0]) for run_id in run_ids}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_many_in_a_row_neither_hang_nor_leave_anything(dagster: Dagster) -> None:
    warm = dagster.get_warm()
    runs = [dagster.launched(CUSTOMERS) for _ in range(rounds(50))]
    assert {dagster.ended(run_id, 300) for run_id in runs} == {"SUCCESS"}
    assert [dagster.starts(run_id) for run_id in runs] == [1] * len(runs)
    assert dagster.warm_pid == warm
    until(lambda: not runs_of(dagster, *runs) & children_of(warm), 20, "reaped children")


def test_a_run_that_is_told_to_stop_is_canceled_and_lets_go_of_everything(dagster: Dagster) -> None:
    dagster.get_warm()
    with dagster.held(CUSTOMERS) as run_id:
        assert dagster.launcher.terminate(run_id)
        assert dagster.ended(run_id, 30) == "CANCELED"
    assert not dagster.waits(run_id)
    until(lambda: not process_is_alive(dagster.run(run_id).tags[PROCESS_TAG]), 20, "end of its process")
    assert not dagster.launcher.terminate(run_id), "there is nothing left to stop"


def test_a_run_that_a_shutdown_interrupts_has_died_and_not_failed(dagster: Dagster) -> None:
    dagster.get_warm()
    with dagster.held(CUSTOMERS) as run_id:
        os.kill(int(dagster.run(run_id).tags[PROCESS_TAG].split("@")[0]), signal.SIGTERM)
        assert dagster.ended(run_id, 30) == "FAILURE"
    assert reconcile(dagster.instance) == []
    assert "interrupted" in dagster.run(run_id).tags[DIED_TAG]


def test_a_run_whose_process_is_killed_is_found_dead_and_its_slot_is_free(dagster: Dagster) -> None:
    dagster.get_warm()
    with dagster.held(CUSTOMERS) as run_id:
        run = dagster.run(run_id)
        assert dagster.launcher.check_run_worker_health(run).status == WorkerStatus.RUNNING
        assert reconcile(dagster.instance) == [], "what lives is left alone"
        os.kill(int(run.tags[PROCESS_TAG].split("@")[0]), signal.SIGKILL)
        until(lambda: not process_is_alive(run.tags[PROCESS_TAG]), 5, "death")
    health = dagster.launcher.check_run_worker_health(dagster.run(run_id))
    assert (health.status, "is gone" in (health.msg or "")) == (WorkerStatus.FAILED, True)
    assert "is gone" in dagster.run(run_id).tags[DIED_TAG]
    assert not dagster.waits(run_id)
    assert reconcile(dagster.instance) == [run_id]
    assert dagster.run(run_id).status == dg.DagsterRunStatus.FAILURE
    again = dagster.launched(CUSTOMERS, tags=dict(dagster.run(run_id).tags))
    assert dagster.ended(again) == "SUCCESS"
    assert not dagster.run(again).tags[DIED_TAG], "a run executed again has not died"


def test_changed_code_gets_a_new_process_and_what_runs_runs_on(dagster: Dagster) -> None:
    before = dagster.get_warm()
    with dagster.held(CUSTOMERS) as run_id:
        (dagster.world.root / ".env").write_text("OF_TODAY=1\n")
        after = dagster.get_warm()
        assert after != before
        assert "OF_TODAY" not in psutil.Process(after).environ(), "Dagster reads .env when the run starts"
        assert psutil.pid_exists(before), "it waits for its child"
    assert dagster.ended(run_id) == "SUCCESS"
    until(lambda: not process_runs(before), 30, "end of the old process")
    assert dagster.warm_pid == after


def test_a_digest_follows_code_and_nothing_else(dagster: Dagster) -> None:
    before = code_digest()
    assert code_digest() == before
    (dagster.world.root / ".env").write_text("OF_TODAY=2\n")
    assert code_digest() != before


@pytest.mark.slow
def test_a_warm_process_that_is_gone_is_done_without(dagster: Dagster) -> None:
    os.kill(dagster.get_warm(), signal.SIGKILL)
    dagster.launcher._wait_s, patience = 0.0, dagster.launcher._wait_s
    try:
        run_id = dagster.launched(CUSTOMERS)
    finally:
        dagster.launcher._wait_s = patience
    assert any("still importing" in said for said in dagster.story(run_id))
    assert dagster.launcher.check_run_worker_health(dagster.run(run_id)).status == WorkerStatus.RUNNING
    assert (dagster.ended(run_id), dagster.starts(run_id)) == ("SUCCESS", 1)
    after = dagster.launched(CUSTOMERS)
    assert not any(NOT_WARM in said for said in dagster.story(after)), "the next is warm again"
    assert dagster.ended(after) == "SUCCESS"


@pytest.mark.slow
def test_a_run_that_was_given_up_never_starts_a_second_time(dagster: Dagster) -> None:
    stopped = dagster.get_warm()
    os.kill(stopped, signal.SIGSTOP)
    try:
        run_id = dagster.launched(CUSTOMERS)
    finally:
        os.kill(stopped, signal.SIGCONT)
    assert any("does not answer" in said for said in dagster.story(run_id))
    until(lambda: not process_runs(stopped), 20, "end of the process that was given up")
    assert (dagster.ended(run_id), dagster.starts(run_id)) == ("SUCCESS", 1)


@pytest.mark.slow
def test_a_process_that_holds_too_much_is_done_without(dagster: Dagster) -> None:
    dagster.get_warm()
    dagster.launcher._most_memory_mb, bound = 1, dagster.launcher._most_memory_mb
    try:
        run_id = dagster.launched(CUSTOMERS)
    finally:
        dagster.launcher._most_memory_mb = bound
    assert any("more than 1" in said for said in dagster.story(run_id))
    assert dagster.ended(run_id) == "SUCCESS"


@pytest.mark.slow
def test_a_process_that_has_started_its_share_is_replaced(dagster: Dagster) -> None:
    before = dagster.get_warm()
    dagster.launcher._most_runs, share = 1, dagster.launcher._most_runs
    try:
        run_id = dagster.launched(CUSTOMERS)
    finally:
        dagster.launcher._most_runs = share
    assert dagster.warm_pid != before
    assert dagster.ended(run_id) == "SUCCESS"


def test_a_run_that_nobody_will_begin_is_failed_and_one_that_somebody_might_is_not(
    dagster: Dagster, tmp_path: Path
) -> None:
    time.sleep(1.1)  # a process is as old as the second it was started in
    waiting, lost = dagster.asked(CUSTOMERS), dagster.asked(CUSTOMERS)
    dagster.instance.report_dagster_event(
        dg.DagsterEvent(dg.DagsterEventType.PIPELINE_ENQUEUED.value, "__ASSET_JOB"), waiting.run_id
    )
    assert reconcile(dagster.instance) == [], "this test's code server was there and might begin it"
    copy = tmp_path / "home"
    shutil.copytree(dagster.world.home / "dagster", copy)
    with dg.DagsterInstance.from_config(str(copy)) as elsewhere:
        assert reconcile(elsewhere) == [lost.run_id], "nobody was there, in this home"
        died = elsewhere.get_run_by_id(lost.run_id)
        assert died is not None
        assert (died.status, died.tags[DIED_TAG][:7]) == (dg.DagsterRunStatus.FAILURE, "Whoever")
        left = elsewhere.get_run_by_id(waiting.run_id)
        assert left is not None
        assert left.status == dg.DagsterRunStatus.QUEUED
    for each in (waiting, lost):
        dagster.instance.report_run_canceled(dagster.run(each.run_id))


def test_threads_forbid_to_fork() -> None:
    alone = other_threads()
    with _thread():
        assert len(other_threads()) == len(alone) + 1


@contextmanager
def _thread() -> Iterator[None]:
    over = threading.Event()
    thread = threading.Thread(target=over.wait)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_the_name_of_a_process_is_not_that_of_the_next(dagster: Dagster) -> None:
    mine = process_name(os.getpid())
    assert process_is_alive(mine)
    assert not process_is_alive(mine + "0")
    assert not process_is_alive("")
    child = os.fork()
    if child == 0:
        os._exit(0)
    until(lambda: psutil.Process(child).status() == psutil.STATUS_ZOMBIE, 5, "zombie")
    with pytest.raises(psutil.NoSuchProcess):
        process_name(child)
    os.waitpid(child, 0)


def process_runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
