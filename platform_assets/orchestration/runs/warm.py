"""The warm process: it has imported what every run needs, and forks a child for each run that its launcher asks for.

Belongs here: importing, forking, and executing a run in the child. Elsewhere: deciding which run is started where
(launcher.py). It is forked only while it has a single thread: definitions, Polars and DuckDB are imported here and
first used in the child; only dbt has run, to list the models. It ends with its launcher and its last child.
"""

import contextlib
import importlib
import json
import os
import pkgutil
import random
import select
import signal
import socket
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Final, NamedTuple

import dagster as dg

from platform_assets.orchestration.runs.dagster_internals import (
    NEEDED_BY_A_RUN,
    InstanceRef,
    capture_interrupts,
    execute_run,
    get_instance_for_cli,
)
from platform_assets.orchestration.runs.process import process_name

GO: Final = b"go"
STARTED: Final = b"started"
LARGEST_MESSAGE: Final = 1 << 17
# What a run imports before and in its steps, besides what these import themselves.
_PRELOADED: Final = (
    "babel.dates",
    *NEEDED_BY_A_RUN,
    "dbt.adapters.duckdb.environments.local",
    "dbt.adapters.duckdb.impl",
    "dbt.cli.main",
    "dbt.task.build",
    "dbt_common.clients.agate_helper",
    "pandera.backends.polars.container",
    "pandera.strategies.base_strategies",
    "platform_assets.definitions",
    "pyarrow.compute",
    "pyarrow.csv",
    "pyarrow.parquet",
    "upath.implementations.local",
)
_READERS: Final = "platform_assets.engine.readers"
# Polars starts this thread when it is imported; it sleeps until something has been spilled to disk.
_SLEEPERS: Final = frozenset({"polars-ooc-clea"})
_TO_STOP: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_REAP_S: Final = 0.5


class Order(NamedTuple):
    """A run to be executed, and the line on which its launcher waits to hear of it."""

    run_id: str
    instance_ref: str
    line: socket.socket


def main() -> None:
    """Serve the launcher on the other end of the socket whose number is given."""
    launcher = socket.socket(fileno=int(sys.argv[1]))
    launcher.set_inheritable(False)
    try:
        readers = pkgutil.walk_packages(importlib.import_module(_READERS).__path__, f"{_READERS}.")
        for module in (*_PRELOADED, *(each.name for each in readers)):
            importlib.import_module(module)
        importlib.import_module("platform_assets.orchestration.dbt").prime()
    except Exception as error:
        _tell(launcher, unfit=f"{type(error).__name__}: {error}")
        raise
    if others := other_threads():
        _tell(launcher, unfit=f"threads run in it: {', '.join(others)}")
        return
    _tell(launcher, ready=True)
    order = _serve(launcher)
    if order is not None:  # from here on this is a child, and ends as any Python process does
        sys.exit(_execute(order))


def other_threads() -> list[str]:
    """Names of the threads that forbid to fork."""
    tasks = Path("/proc/self/task")
    names = [(task / "comm").read_text().strip() for task in tasks.iterdir() if task.name != str(os.getpid())]
    return sorted(name for name in names if name not in _SLEEPERS)


def _serve(launcher: socket.socket) -> Order | None:
    """Fork for each order: returns the order in the child, and None in this process when all is over."""
    children: set[int] = set()
    # Ctrl-C reaches the launcher's process group, and so this process, but not its children: they are told.
    for each in _TO_STOP:
        signal.signal(each, lambda *_: _stop(children))
    listening = True
    while listening or children:
        asked = select.select([launcher] if listening else [], [], [], _REAP_S if children else None)[0]
        _reap(children)
        if not asked:
            continue
        try:
            message, lines, _, _ = socket.recv_fds(launcher, LARGEST_MESSAGE, 1)
        except ConnectionResetError:  # the launcher has gone without having read that we are ready
            message, lines = b"", []
        if not message:
            listening = False
            launcher.close()
            continue
        order = Order(**json.loads(message), line=socket.socket(fileno=lines[0]))
        order.line.set_inheritable(False)
        if others := other_threads():
            _tell(order.line, refused=f"threads run in the warm process: {', '.join(others)}")
        else:
            # A signal between the fork and the child's own handlers would be forwarded by both.
            signal.pthread_sigmask(signal.SIG_BLOCK, _TO_STOP)
            child = os.fork()
            if child == 0:
                launcher.close()
                return order
            children.add(child)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _TO_STOP)
        order.line.close()
    return None


def _execute(order: Order) -> int:
    """Execute the run, as `dagster api execute_run` does, once the launcher has heard which process this is."""
    from platform_assets.orchestration.runs.instance import kept_open

    os.setsid()
    random.seed()
    if (numpy := sys.modules.get("numpy")) is not None:
        numpy.random.seed()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

    def heard(event: dg.DagsterEvent) -> None:
        if event.event_type == dg.DagsterEventType.RUN_START:
            with contextlib.suppress(OSError):
                order.line.send(STARTED)

    with capture_interrupts():
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _TO_STOP)
        try:
            _tell(order.line, process=process_name(os.getpid()))
            wanted = order.line.recv(len(GO)) == GO
        except OSError:
            wanted = False
        if not wanted:  # the launcher is gone or has changed its mind: the run is not ours
            return 0
        instance_ref = dg.deserialize_value(order.instance_ref, InstanceRef)
        with get_instance_for_cli(instance_ref=instance_ref) as instance, kept_open(instance, order.run_id):
            return execute_run(order.run_id, instance, heard, set_exit_code_on_failure=True)


def _stop(children: Collection[int]) -> None:
    for child in children:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGTERM)


def _reap(children: set[int]) -> None:
    for child in list(children):
        if os.waitpid(child, os.WNOHANG)[0]:
            children.discard(child)


def _tell(line: socket.socket, **said: object) -> None:
    line.send(json.dumps(said).encode())


if __name__ == "__main__":
    main()
