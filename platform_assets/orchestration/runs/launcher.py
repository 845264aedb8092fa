"""Where runs are started: each in a child of a process that has imported everything already, else as Dagster does.

Belongs here: the launcher and the queue that dagster.yaml names; how a warm process is kept, replaced and done
without. Elsewhere: what happens in it (warm.py). Light: Dagster's daemon and web server import it.
"""

import contextlib
import hashlib
import json
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import dagster as dg
import psutil

from platform_assets.orchestration.runs.dagster_internals import (
    GRPC_INFO_TAG,
    CheckRunHealthResult,
    ConfigurableClassData,
    LaunchRunContext,
    ModuleCodePointer,
    WorkerStatus,
    is_the_daemon,
)
from platform_assets.orchestration.runs.instance import death, kept_open, note_death, reconcile
from platform_assets.orchestration.runs.process import (
    DIED_TAG,
    PLACE_TAG,
    PROCESS_TAG,
    ask_to_stop,
    be_the_daemon,
    place,
    process_is_alive,
    process_is_gone,
)
from platform_assets.orchestration.runs.warm import GO, LARGEST_MESSAGE
from platform_assets.project.manifest import dbt_files
from platform_assets.settings import PROJECT, protect_process

_LOG: Final = logging.getLogger("dagster.platform.launcher")
_CODE: Final = "platform_assets.definitions"
_ANSWERS_WITHIN_S: Final = 5.0
_BEGINS_WITHIN_S: Final = 60.0
_ENDS_WITHIN_S: Final = 5.0
_GIVEN_UP_FOR_S: Final = 300.0
# No background threads of the allocators in Arrow and Polars: what has threads must not be forked.
_NO_THREADS: Final = {
    "_RJEM_MALLOC_CONF": "background_thread:false",
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
}


class NotWarm(Exception):
    """Why a run is not started from a warm process; it has not been started at all."""


@dataclass
class Warm:
    """A warm process, and the code that it has imported."""

    process: subprocess.Popen[bytes]
    line: socket.socket
    code: str
    since: float = field(default_factory=time.monotonic)
    ready: bool = False
    runs: int = 0

    @classmethod
    def start(cls, code: str) -> "Warm":
        """Start one; it imports while we go on."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            process = subprocess.Popen(  # noqa: S603 - our own
                [sys.executable, "-P", "-m", "platform_assets.orchestration.runs.warm", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env={**os.environ, **_NO_THREADS},
            )
        return cls(process, ours, code)

    def wait(self, within_s: float) -> None:
        """Wait until it is ready; NotWarm if it will not be, TimeoutError if it is not yet."""
        if not self.ready:
            self.line.settimeout(within_s)
            said = json.loads(self.line.recv(LARGEST_MESSAGE) or b"{}")
            self.ready = said.get("ready", False)
            if not self.ready:
                raise NotWarm(said.get("unfit", "it ended while it imported"))

    def memory_mb(self) -> float:
        """What it holds itself, without its children."""
        try:
            return float(psutil.Process(self.process.pid).memory_info().rss) / 1e6
        except psutil.NoSuchProcess:
            return 0.0

    def retire(self) -> None:
        """Take no more runs; those that it has started run on, and it ends with the last of them."""
        self.line.close()


class WarmRunLauncher(dg.DefaultRunLauncher):
    """Starts runs of this code location in children of a warm process; whatever else, as Dagster's own launcher.

    wait_s: how long a run may wait for a warm process that is still importing. most_memory_mb: what it may hold.
    most_runs: after so many it is replaced.
    """

    def __init__(
        self,
        inst_data: ConfigurableClassData | None = None,
        wait_s: float = 10.0,
        most_memory_mb: int = 700,
        most_runs: int = 500,
    ) -> None:
        super().__init__(inst_data)
        self._wait_s = wait_s
        self._most_memory_mb = most_memory_mb
        self._most_runs = most_runs
        self._lock = threading.Lock()
        self._warm: Warm | None = None
        self._retired: list[Warm] = []
        self._given_up: tuple[str, float, str] | None = None  # code, until when, why
        self._held = contextlib.ExitStack()

    @classmethod
    def config_type(cls) -> Mapping[str, Any]:
        """What dagster.yaml may say of it."""
        return {
            "wait_s": dg.Field(float, default_value=10.0),
            "most_memory_mb": dg.Field(int, default_value=700),
            "most_runs": dg.Field(int, default_value=500),
        }

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData, config_value: Mapping[str, Any]) -> "WarmRunLauncher":
        """As Dagster makes it."""
        return cls(inst_data=inst_data, **config_value)

    def get_ready(self) -> None:
        """Begin to import, so that the first run need not wait for it."""
        self._held.enter_context(kept_open(self._instance))
        with self._lock, contextlib.suppress(NotWarm):
            self._current(code_digest())

    def launch_run(self, context: LaunchRunContext) -> None:
        """Start the run in a child of the warm process, or say in its log why not and start it as Dagster does."""
        run = context.dagster_run
        # A run that is executed again has the tags of the one before.
        stale = {tag: "" for tag in (PROCESS_TAG, DIED_TAG) if run.tags.get(tag)}
        self._instance.add_run_tags(run.run_id, {PLACE_TAG: place(), **stale})
        if not _is_ours(run):
            super().launch_run(context)
            return
        try:
            with self._lock:
                self._launch_warm(run)
            self._run_ids.add(run.run_id)
        except (NotWarm, OSError, ValueError) as why:
            _LOG.info("run %s is started by Dagster's own launcher: %s", run.run_id, why)
            said = f"Not started from a warm process: {why or type(why).__name__}. Dagster's own launcher starts it."
            self._instance.report_engine_event(said, run, cls=type(self))
            super().launch_run(context)

    def terminate(self, run_id: str) -> bool:
        """Ask the process of the run to end: it rolls back, and the run is canceled."""
        run = self._instance.get_run_by_id(run_id)
        process = run.tags.get(PROCESS_TAG) if run is not None else None
        if run is None or run.is_finished or GRPC_INFO_TAG in run.tags or not process:
            return bool(super().terminate(run_id))  # type: ignore[no-untyped-call]
        if not process_is_alive(process) and not process_is_gone(process):
            said = f"Its process ({process}) is on another machine or in another container: stop it there."
            self._instance.report_engine_event(said, run, cls=type(self))
            return False
        self._instance.report_run_canceling(run)
        if ask_to_stop(process):
            return True
        self._instance.report_run_canceled(run, f"Its process ({process}) was gone already.")
        self._instance.event_log_storage.free_concurrency_slots_for_run(run_id)
        return True

    @property
    def supports_check_run_worker_health(self) -> bool:
        """Yes: a run's process is known by its name."""
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Whether the run's process lives, whoever started it."""
        record = self._instance.get_run_record_by_id(run.run_id)
        why = death(self._instance, record) if record is not None else None
        # It may have ended well since: asked only now that nobody can write any more.
        last = self._instance.get_run_by_id(run.run_id)
        if why is None or last is None:
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        if last.is_finished:
            return CheckRunHealthResult(WorkerStatus.SUCCESS)
        note_death(self._instance, last, why)
        return CheckRunHealthResult(WorkerStatus.FAILED, why)

    def dispose(self) -> None:
        """Let go of the warm process; what it has started runs on."""
        self._held.close()
        with self._lock:
            self._retire()

    def _launch_warm(self, run: dg.DagsterRun) -> None:
        """Have the run started; raises when it has not been, and then never will be by us.

        The child names itself, waits for a word from us, and ends if it hears that we are gone instead. So a run
        whose process is not known is never executed, and one that we give up on never starts twice.
        """
        warm = self._ready()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        order = {"run_id": run.run_id, "instance_ref": dg.serialize_value(self._instance.get_ref())}
        with ours:
            with theirs:
                try:
                    socket.send_fds(warm.line, [json.dumps(order).encode()], [theirs.fileno()])
                except OSError as error:
                    self._retire()
                    raise NotWarm(f"the warm process is gone ({error})") from error
            ours.settimeout(_ANSWERS_WITHIN_S)
            try:
                said = json.loads(ours.recv(LARGEST_MESSAGE) or b"{}")
            except TimeoutError:
                self._retire()
                raise NotWarm("the warm process does not answer") from None
            if (process := said.get("process")) is None:
                self._retire()
                raise NotWarm(said.get("refused", "its child ended at once"))
            self._instance.add_run_tags(run.run_id, {PROCESS_TAG: process})
            try:
                ours.send(GO)
                ours.settimeout(_BEGINS_WITHIN_S)
                begun = bool(ours.recv(LARGEST_MESSAGE))
            except TimeoutError:
                begun = True  # it lives: from here on monitoring watches it
            except OSError:
                begun = False
        warm.runs += 1
        if not begun and self._never_began(run, process):
            raise NotWarm(f"its process ({process}) ended before the run began")
        if warm.runs >= self._most_runs:
            self._replaced(warm.code)

    def _never_began(self, run: dg.DagsterRun, process: str) -> bool:
        """Whether the process has ended and left the run as it was."""
        deadline = time.monotonic() + _ENDS_WITHIN_S
        while process_is_alive(process) and time.monotonic() < deadline:
            time.sleep(0.05)
        last = self._instance.get_run_by_id(run.run_id)
        if process_is_alive(process) or last is None or last.status != dg.DagsterRunStatus.STARTING:
            return False
        self._instance.add_run_tags(run.run_id, {PROCESS_TAG: ""})
        return True

    def _ready(self) -> Warm:
        """A warm process with today's code, waited for if it is still importing."""
        code = code_digest()
        warm = self._current(code)
        try:
            warm.wait(max(0.001, self._wait_s))
            if (held := warm.memory_mb()) > self._most_memory_mb:
                raise NotWarm(f"the warm process holds {held:.0f} MB, more than {self._most_memory_mb}")
        except TimeoutError:
            if time.monotonic() > warm.since + _BEGINS_WITHIN_S:
                self._give_up(code, "the warm process does not get ready")
            raise NotWarm("the warm process is still importing") from None
        except (NotWarm, OSError, ValueError) as error:
            self._give_up(code, str(error))
            raise NotWarm(str(error)) from error
        return warm

    def _current(self, code: str) -> Warm:
        """The warm process with that code, which may still be importing; started if there is none."""
        warm = self._warm
        if warm is None or warm.code != code or warm.process.poll() is not None:
            return self._replaced(code)
        return warm

    def _replaced(self, code: str) -> Warm:
        """A new warm process in the place of the one there may be."""
        self._retire()
        if sys.platform != "linux":
            raise NotWarm("it needs Linux")
        if self._given_up is not None:
            of, until, why = self._given_up
            if of == code and time.monotonic() < until:
                raise NotWarm(why)
            self._given_up = None
        self._warm = Warm.start(code)
        return self._warm

    def _give_up(self, code: str, why: str) -> None:
        _LOG.warning("no warm process for a while: %s", why)
        self._given_up = (code, time.monotonic() + _GIVEN_UP_FOR_S, why)
        self._retire()

    def _retire(self) -> None:
        if self._warm is not None:
            self._warm.retire()
            self._retired.append(self._warm)
            self._warm = None
        self._retired = [each for each in self._retired if each.process.poll() is None]


class WarmRunQueue(dg.QueuedRunCoordinator):
    """Dagster's queue. A daemon that takes it up begins by tidying up and getting warm; nobody else does either."""

    def register_instance(self, instance: dg.DagsterInstance) -> None:
        """Dagster's hook for what takes up its work on an instance."""
        super().register_instance(instance)
        if is_the_daemon():
            protect_process()  # `platform ui` has; plain `dagster dev` has not
            be_the_daemon(Path(instance.root_directory))
            reconcile(instance)
            if isinstance(launcher := instance.run_launcher, WarmRunLauncher):
                launcher.get_ready()


def code_digest() -> str:
    """Changes whenever a run might execute other code, or see another environment, than a process started before."""
    paths = [*sorted((PROJECT / "platform_assets").rglob("*.py")), *dbt_files()]
    # What is installed, and what Dagster reads into the environment.
    paths += [Path(dg.__file__).parents[1], Path.cwd() / ".env"]
    digest = hashlib.sha256()
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            state = path.stat()
            digest.update(f"{path}\0{state.st_mtime_ns}\0{state.st_size}\0{state.st_ino}\n".encode())
    return digest.hexdigest()[:16]


def _is_ours(run: dg.DagsterRun) -> bool:
    """Whether the run executes this code location, with this Python."""
    if run.job_code_origin is None:
        return False
    origin = run.job_code_origin.repository_origin
    code = origin.code_pointer
    return origin.executable_path == sys.executable and isinstance(code, ModuleCodePointer) and code.module == _CODE
