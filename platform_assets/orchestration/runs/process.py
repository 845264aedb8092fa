"""Which process executes a run, and whether it still lives, as far as can be told from here.

Belongs here: names of processes that no other ever has, and the tags that hold them. Elsewhere: what is done about a
run that died (instance.py). Light: Dagster's daemon and web server import it.
"""

import contextlib
import hashlib
import os
import platform
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import psutil

from platform_assets.engine.durable.held import Taken, holder, take

PROCESS_TAG: Final = "platform/process"
PLACE_TAG: Final = "platform/place"
"""Of a run whose process says no more of itself than its pid: where that pid means something."""
DIED_TAG: Final = "platform/died"
_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")
_MACHINE: Final = Path("/etc/machine-id")
_DAEMON: Final = "daemon.lock"
_BOUND: Final = "platform_assets.orchestration.runs.bound"
_START: Final = 18  # in /proc/<pid>/stat, counted from behind the state


def process_name(pid: int) -> str:
    """`pid@start.boot.namespace.host`, so that neither a recycled pid nor one of elsewhere is taken for the process.

    Start is counted from the machine's boot, which no change of the clock moves. Raises psutil.NoSuchProcess.
    """
    return f"{pid}@{_start(pid)}.{place()}"


def call_process(name: str) -> None:
    """Let this process be called `name` by `ps`, and by whoever waits for it; the kernel keeps 15 characters."""
    with contextlib.suppress(OSError):  # where there is no such file
        Path("/proc/self/comm").write_text(name)


def be_the_daemon(dagster_home: Path) -> None:
    """Take the one place for a daemon that this Dagster home has, until this process ends; where another has it, say so
    in a line and end with exit code 2: two would ask for everything twice."""
    try:
        take(dagster_home / _DAEMON, ends_with_its_ui=_BOUND in sys.orig_argv)
    except Taken as taken:
        if taken.said.get("pid") == os.getpid():  # another instance of it in this process
            return
        sys.stderr.write(f"error: {dagster_home}: {_named(taken.said)} runs on it already. End that one first.\n")
        sys.stderr.flush()
        sys.exit(2)


def running_daemon(dagster_home: Path) -> tuple[str, bool] | None:
    """The daemon that this Dagster home has now, and whether it ends by itself with a `platform ui`; None if none."""
    said = holder(dagster_home / _DAEMON)
    return None if said is None else (_named(said), bool(said.get("ends_with_its_ui")))


def _named(said: Mapping[str, Any]) -> str:
    whose = "the daemon of `platform ui`" if said.get("ends_with_its_ui") else "Dagster's own daemon"
    return f"{whose} (process {said.get('pid', 'unknown')})"


def place() -> str:
    """`boot.namespace.host`: where the pids that this process sees mean something.

    Containers of one machine have their own PID namespaces, and machines that share a home have their own pids.
    """
    boot = _BOOT.read_text()[:8] if _BOOT.exists() else "0"
    try:
        namespace = Path("/proc/self/ns/pid").readlink().name.strip("pid:[]")
    except OSError:
        namespace = "0"
    machine = _MACHINE.read_text() if _MACHINE.exists() else ""
    return f"{boot}.{namespace}.{hashlib.sha256(f'{machine}{platform.node()}'.encode()).hexdigest()[:8]}"


def is_here(where: str) -> bool | None:
    """Whether pids of that place are those of here; None where the machine has been started anew since, and nothing
    of that place can live."""
    boot, namespace, host = where.split(".")
    my_boot, my_namespace, my_host = place().split(".")
    if host == my_host and boot != my_boot:
        return None
    return (boot, namespace, host) == (my_boot, my_namespace, my_host)


def process_is_alive(name: str) -> bool:
    """Whether the process that `process_name` described is known to run."""
    return _lives(name) is True


def process_is_gone(name: str) -> bool:
    """Whether it is known to have ended. Of a process of another machine or container, neither is known."""
    return _lives(name) is False


def ask_to_stop(name: str) -> bool:
    """Tell the process to end as Ctrl-C would; False if it is gone or elsewhere."""
    if not process_is_alive(name):
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(int(name.split("@")[0]), signal.SIGTERM)
    return True


def _lives(name: str) -> bool | None:
    try:
        pid, _, rest = name.partition("@")
        here = is_here(rest.partition(".")[2])
        return process_name(int(pid)) == name if here else False if here is None else None
    except psutil.NoSuchProcess:
        return False
    except ValueError:  # no name of a process
        return None


def _start(pid: int) -> str:
    if not _BOOT.exists():
        return f"{psutil.Process(pid).create_time():.0f}"
    try:
        state, *rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        raise psutil.NoSuchProcess(pid) from None
    if state in "ZX":  # it has ended; its parent has not asked yet
        raise psutil.NoSuchProcess(pid)
    return rest[_START]
