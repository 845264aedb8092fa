"""Runs of elsewhere: a process in a real other PID namespace, seen from here, and this one seen from there."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import dagster as dg
import pytest
from dagster._core.events import EngineEventData
from dagster._daemon.types import DaemonHeartbeat
from machine import PROJECT

from platform_assets.orchestration.runs.instance import reconcile
from platform_assets.orchestration.runs.keys import WRITER_POOL
from platform_assets.orchestration.runs.launcher import WarmRunLauncher
from platform_assets.orchestration.runs.process import (
    PLACE_TAG,
    PROCESS_TAG,
    ask_to_stop,
    is_here,
    place,
    process_is_alive,
    process_is_gone,
    process_name,
)

UNSHARE: Final = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child", "--mount-proc"]
SETTINGS: Final = (
    "telemetry: {enabled: false}\n"
    "concurrency: {pools: {default_limit: 1, granularity: op}}\n"
    "run_launcher: {module: platform_assets.orchestration.runs.launcher, class: WarmRunLauncher}\n"
)


def kernel_forbids() -> bool:
    try:
        return subprocess.run([*UNSHARE, "true"], capture_output=True).returncode != 0
    except FileNotFoundError:
        return True


elsewhere_only = pytest.mark.needs(not kernel_forbids(), "the kernel forbids PID namespaces to this user")


@contextmanager
def elsewhere() -> Iterator[str]:
    """A process that lives in a PID namespace of its own, by its name."""
    say = "import os; from platform_assets.orchestration.runs.process import process_name as name; "
    say += "print(name(os.getpid()), flush=True); input()"
    command = [*UNSHARE, sys.executable, "-c", say]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=PROJECT) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    (tmp_path / "dagster.yaml").write_text(SETTINGS)
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        yield instance


@dg.op(pool=WRITER_POOL)
def write() -> None: ...


@dg.job
def writes() -> None:
    write()


def at_work(instance: dg.DagsterInstance, **tags: str) -> dg.DagsterRun:
    """A run that has begun and holds the writer's turn."""
    run = instance.create_run_for_job(writes, tags=tags)
    instance.report_dagster_event(dg.DagsterEvent(dg.DagsterEventType.RUN_START.value, "writes"), run.run_id)
    storage = instance.event_log_storage
    storage.initialize_concurrency_limit_to_default(WRITER_POOL)
    storage.claim_concurrency_slot(WRITER_POOL, run.run_id, "write")
    return run


def status(instance: dg.DagsterInstance, run: dg.DagsterRun) -> str:
    found = instance.get_run_by_id(run.run_id)
    assert found is not None
    return found.status.value


def holders(instance: dg.DagsterInstance) -> set[str]:
    return {slot.run_id for slot in instance.event_log_storage.get_concurrency_info(WRITER_POOL).claimed_slots}


@elsewhere_only
def test_a_run_in_another_namespace_is_unknown_and_left_alone(instance: dg.DagsterInstance) -> None:
    with elsewhere() as name:
        assert not process_is_alive(name)
        assert not process_is_gone(name)
        run = at_work(instance, **{PROCESS_TAG: name})
        assert reconcile(instance) == []
        launcher = instance.run_launcher
        assert isinstance(launcher, WarmRunLauncher)
        assert launcher.check_run_worker_health(run).status.value == "RUNNING"
        assert not launcher.terminate(run.run_id)
        assert not ask_to_stop(name)
        assert (status(instance, run), holders(instance)) == ("STARTED", {run.run_id})
    assert reconcile(instance) == [], "that it has ended cannot be seen from here either"
    instance.report_dagster_event(dg.DagsterEvent(dg.DagsterEventType.RUN_SUCCESS.value, "writes"), run.run_id)
    reconcile(instance)
    assert holders(instance) == {run.run_id}, "who has ended elsewhere gives back its turn itself"


@elsewhere_only
@pytest.mark.parametrize("named", ["by its process", "by its pid alone", "not begun"])
def test_seen_from_another_namespace_our_run_is_left_alone(instance: dg.DagsterInstance, named: str) -> None:
    """As seen by a daemon in another container that shares our home."""
    if named == "by its process":
        run = at_work(instance, **{PROCESS_TAG: process_name(os.getpid())})
    elif named == "by its pid alone":
        run = at_work(instance, **{PLACE_TAG: place()})
        said = f"Started process for run (pid: {os.getpid()})."
        instance.report_engine_event(said, run, EngineEventData.in_process(os.getpid()))
    else:
        run = instance.create_run_for_job(writes, tags={PLACE_TAG: place()})
    look = "import dagster as dg, sys; from platform_assets.orchestration.runs.instance import reconcile\n"
    look += "with dg.DagsterInstance.from_config(sys.argv[1]) as instance: print(reconcile(instance))"
    done = subprocess.run(
        [*UNSHARE, sys.executable, "-c", look, instance.root_directory], capture_output=True, text=True, cwd=PROJECT
    )
    assert done.stdout.strip() == "[]", done.stderr
    assert status(instance, run) == ("NOT_STARTED" if named == "not begun" else "STARTED")


def test_what_says_no_place_is_left_to_a_daemon_that_lives_somewhere(instance: dg.DagsterInstance) -> None:
    run = instance.create_run_for_job(writes)
    beat(instance, time.time())
    assert reconcile(instance) == []
    beat(instance, time.time() - 120)
    assert reconcile(instance) == [run.run_id]


def beat(instance: dg.DagsterInstance, at: float) -> None:
    instance.add_daemon_heartbeat(DaemonHeartbeat(at, "SENSOR", "of elsewhere", []))


def test_another_host_is_unknown_and_this_one_started_anew_is_not() -> None:
    boot, namespace, host = place().split(".")
    pid, start = os.getpid(), process_name(os.getpid()).partition("@")[2].partition(".")[0]
    of_another_host = f"{pid}@{start}.{boot}.{namespace}.00000000"
    before_the_boot = f"{pid}@{start}.00000000.{namespace}.{host}"
    assert [process_is_alive(each) for each in (of_another_host, before_the_boot)] == [False, False]
    assert [process_is_gone(each) for each in (of_another_host, before_the_boot)] == [False, True]
    assert is_here(place()) is True
    for nothing in ("", "17", "17@5", "x@y.z"):
        assert not process_is_alive(nothing)
        assert not process_is_gone(nothing)
