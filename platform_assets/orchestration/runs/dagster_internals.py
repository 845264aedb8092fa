"""What we use of Dagster that it does not offer to its users, because there is no public way.

Belongs here: every import of a private name of Dagster; each is pinned by tests/upstream. Elsewhere: those of
dagster-dbt (dbt_internals.py). Light: the daemon imports it.
"""

import functools
import sys
from pathlib import Path
from typing import Final

import dagster as dg
from dagster._cli.api import _execute_run_command_body as execute_run
from dagster._cli.proxy_server_manager import ProxyServerManager
from dagster._cli.utils import get_instance_for_cli
from dagster._core.code_pointer import ModuleCodePointer
from dagster._core.definitions.assets.graph.asset_graph import AssetGraph
from dagster._core.definitions.data_version import DATA_VERSION_TAG
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.events import RunFailureReason
from dagster._core.instance import InstanceRef
from dagster._core.launcher.base import CheckRunHealthResult, LaunchRunContext, WorkerStatus
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._core.scheduler.instigation import InstigatorState, InstigatorTick, TickStatus
from dagster._core.storage.asset_check_execution_record import (
    COMPLETED_ASSET_CHECK_EXECUTION_RECORD_STATUSES,
    AssetCheckExecutionRecord,
    AssetCheckExecutionRecordStatus,
)
from dagster._core.storage.event_log.base import AssetRecord
from dagster._core.storage.noop_compute_log_manager import NoOpComputeLogManager
from dagster._core.storage.tags import GRPC_INFO_TAG, RUN_FAILURE_REASON_TAG
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceFileTarget
from dagster._daemon.controller import get_daemon_statuses
from dagster._daemon.types import DaemonStatus
from dagster._serdes import ConfigurableClassData
from dagster._utils.interrupts import capture_interrupts
from dagster._utils.schedules import is_valid_cron_string
from dagster_shared.error import SerializableErrorInfo

__all__ = [
    "COMPLETED_ASSET_CHECK_EXECUTION_RECORD_STATUSES",
    "DAEMON",
    "DATA_VERSION_TAG",
    "GRPC_INFO_TAG",
    "NEEDED_BY_A_RUN",
    "PLAN_LOGGER",
    "RUN_FAILURE_REASON_TAG",
    "AssetCheckExecutionRecord",
    "AssetCheckExecutionRecordStatus",
    "AssetGraph",
    "AssetRecord",
    "CheckRunHealthResult",
    "ConfigurableClassData",
    "DaemonStatus",
    "InstanceRef",
    "InstigatorState",
    "InstigatorTick",
    "InstigatorType",
    "LaunchRunContext",
    "ModuleCodePointer",
    "NoOpComputeLogManager",
    "ProxyServerManager",
    "RunFailureReason",
    "SerializableErrorInfo",
    "TickStatus",
    "WorkerStatus",
    "WorkspaceFileTarget",
    "WorkspaceProcessContext",
    "capture_interrupts",
    "execute_run",
    "get_daemon_statuses",
    "get_instance_for_cli",
    "is_the_daemon",
    "is_valid_cron_string",
    "known_by_its_job",
]
# Modules of Dagster that a run imports before and in its steps.
PLAN_LOGGER: Final = "dagster._core.execution.plan.active"
NEEDED_BY_A_RUN: Final = (
    "dagster._core.definitions.external_asset",
    "dagster._core.definitions.repository_definition.repository_data_builder",
    "dagster._core.execution.plan.active",
    "dagster._core.executor.in_process",
    "dagster._core.instance.factory",
    "dagster._core.instance.runs",
    "dagster._core.storage.local_compute_log_manager",
    "dagster._core.storage.root",
    "dagster._core.storage.sqlite_storage",
    "dagster._core.system_config.composite_descent",
)
DAEMON: Final = "dagster._daemon"
_DAEMON: Final = {DAEMON, "dagster-daemon"}


def known_by_its_job(instance: dg.DagsterInstance, location: str, job: str) -> None:
    """Let runs that this instance creates in this process say of which job of which code location they are, as those of
    the daemon do: the UI's timeline shows no others."""
    repository = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin(location), "__repository__")
    origin = RemoteJobOrigin(repository, job)
    instance.create_run_for_job = functools.partial(  # type: ignore[method-assign]  # Dagster offers no other way
        instance.create_run_for_job, remote_job_origin=origin
    )


def is_the_daemon() -> bool:
    """Whether this process is Dagster's daemon, which alone starts and watches runs."""
    return bool(_DAEMON & {Path(each).name for each in sys.orig_argv})
