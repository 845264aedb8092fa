"""Dagster's processes behind a UI: the code server, the daemon, and the workspace that a web server shows.

Belongs here: what `dagster dev` starts, started so that it ends with us, whatever ends us. Elsewhere: who may see it
(web), runs (launcher.py).
"""

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import dagster as dg
import yaml

from platform_assets.orchestration.runs.dagster_internals import (
    DAEMON,
    ProxyServerManager,
    WorkspaceFileTarget,
    WorkspaceProcessContext,
)
from platform_assets.settings import PROJECT

_ENDS_WITHIN_S: Final = 40.0


@contextlib.contextmanager
def workspace(
    instance: dg.DagsterInstance, file: Path, *, read_only: bool, daemon_ended: Callable[[], None] | None
) -> Iterator[WorkspaceProcessContext]:
    """The workspace of this project, with a code server of its own.

    file: where its address is written, for the daemon. read_only: Dagster refuses mutations. daemon_ended: called if
    the daemon ends by itself; without it no daemon is started.
    """
    with contextlib.ExitStack() as stack:
        declared = WorkspaceFileTarget(paths=[str(PROJECT / "workspace.yaml")])
        servers = stack.enter_context(ProxyServerManager(instance, declared, code_server_log_level="warning"))
        file.write_text(yaml.dump({"load_from": list(servers.get_code_server_specs())}))
        daemon = _Daemon(file, daemon_ended) if daemon_ended is not None else None
        if daemon is not None:
            stack.callback(daemon.wait)
        instance.optimize_for_webserver(statement_timeout=15_000, pool_recycle=3600, max_overflow=20)
        shown = stack.enter_context(
            WorkspaceProcessContext(
                instance,
                workspace_load_target=WorkspaceFileTarget(paths=[str(file)]),
                version=dg.__version__,
                read_only=read_only,
                code_server_log_level="warning",
            )
        )
        if daemon is not None:
            stack.callback(daemon.end)  # first of all, for it takes longest
        yield shown


class _Daemon:
    """Dagster's daemon, which ends with this process, however that ends: the last writer of its pipe is gone then."""

    def __init__(self, workspace_file: Path, ended: Callable[[], None]) -> None:
        theirs, self._ours = os.pipe()
        bound = [sys.executable, "-P", "-m", "platform_assets.orchestration.runs.bound", str(theirs)]
        daemon = [DAEMON, "run", "--log-level", "warning", "--code-server-log-level", "warning"]
        self._process = subprocess.Popen(  # noqa: S603 - our own
            [*bound, *daemon, "--workspace", str(workspace_file)],
            pass_fds=[theirs],
            stdin=subprocess.DEVNULL,
            cwd=PROJECT,
        )
        os.close(theirs)
        self._expected = threading.Event()
        threading.Thread(target=self._watch, args=(ended,), daemon=True).start()

    def _watch(self, ended: Callable[[], None]) -> None:
        self._process.wait()
        if not self._expected.is_set():
            ended()

    def end(self) -> None:
        """Ask it to end."""
        self._expected.set()
        os.close(self._ours)

    def wait(self) -> None:
        """Wait for its end, and make it end if need be."""
        self._expected.set()
        try:
            self._process.wait(_ENDS_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
