"""Which process executes a run, and whether it still lives, as far as can be told from here.

Belongs here: names of processes that no other ever has, and the tags that hold them. Elsewhere: what is done about a
run that died (instance.py). Light: Dagster's daemon and web server import it.
"""

import contextlib
import hashlib
import os
import platform
import signal
from pathlib import Path
from typing import Final

import psutil

PROCESS_TAG: Final = "platform/process"
PLACE_TAG: Final = "platform/place"
"""Of a run whose process says no more of itself than its pid: where that pid means something."""
DIED_TAG: Final = "platform/died"
_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")
_MACHINE: Final = Path("/etc/machine-id")
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
