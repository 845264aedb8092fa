"""Dagster's processes behind a UI: the code server, the daemon, and the workspace that a web server shows.

Belongs here: what `dagster dev` starts, started so that it ends with us, whatever ends us. Elsewhere: who may see it
(web), runs (launcher.py).
"""

import contextlib
import logging
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
    configure_loggers,
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
    configure_loggers(log_level="INFO")
    logging.getLogger("dagster-webserver").setLevel(logging.WARNING)
    with contextlib.ExitStack() as stack:
        declared = WorkspaceFileTarget(paths=[str(PROJECT / "workspace.yaml")])
        servers = stack.enter_context(ProxyServerManager(instance, declared, code_server_log_level="warning"))
        file.write_text(yaml.dump({"load_from": list(servers.get_code_server_specs())}))
        if daemon_ended is not None:
            stack.enter_context(_daemon(file, daemon_ended))
        instance.optimize_for_webserver(statement_timeout=15_000, pool_recycle=3600, max_overflow=20)
        yield stack.enter_context(
            WorkspaceProcessContext(
                instance,
                workspace_load_target=WorkspaceFileTarget(paths=[str(file)]),
                version=dg.__version__,
                read_only=read_only,
                code_server_log_level="warning",
            )
        )


@contextlib.contextmanager
def _daemon(workspace_file: Path, ended: Callable[[], None]) -> Iterator[None]:
    theirs, ours = os.pipe()
    bound = [sys.executable, "-P", "-m", "platform_assets.orchestration.runs.bound", str(theirs)]
    daemon = [DAEMON, "run", "--log-level", "info", "--code-server-log-level", "warning"]
    process = subprocess.Popen(  # noqa: S603 - our own
        [*bound, *daemon, "--workspace", str(workspace_file)], pass_fds=[theirs], stdin=subprocess.DEVNULL, cwd=PROJECT
    )
    os.close(theirs)
    expected = threading.Event()

    def watch() -> None:
        process.wait()
        if not expected.is_set():
            ended()

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        expected.set()
        os.close(ours)
        try:
            process.wait(_ENDS_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
