"""Which process executes a run, and whether it still lives.

Belongs here: names of processes that no other ever has, and the tags that hold them. Does not: what is done about a
run that died (instance.py). Light: Dagster's daemon and web server import it.
"""

import contextlib
import os
import signal
from pathlib import Path
from typing import Final

import psutil

PROCESS_TAG: Final = "platform/process"
DIED_TAG: Final = "platform/died"
_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")
_START: Final = 18  # in /proc/<pid>/stat, counted from behind the state


def process_name(pid: int) -> str:
    """`pid@start`, so that a recycled pid is not taken for the process that died.

    Start is counted from the machine's boot, which no change of the clock moves. Raises psutil.NoSuchProcess.
    """
    if not _BOOT.exists():
        return f"{pid}@{psutil.Process(pid).create_time():.0f}"
    try:
        state, *rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        raise psutil.NoSuchProcess(pid) from None
    if state in "ZX":  # it has ended; its parent has not asked yet
        raise psutil.NoSuchProcess(pid)
    return f"{pid}@{rest[_START]}.{_BOOT.read_text()[:8]}"


def process_is_alive(name: str) -> bool:
    """Whether the process that `process_name` described still runs."""
    try:
        return process_name(int(name.split("@")[0])) == name
    except (psutil.NoSuchProcess, ValueError):
        return False


def ask_to_stop(name: str) -> bool:
    """Tell the process to end as Ctrl-C would; False if it is gone."""
    if not process_is_alive(name):
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(int(name.split("@")[0]), signal.SIGTERM)
    return True
