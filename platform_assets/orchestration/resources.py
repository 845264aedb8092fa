"""The deployment as a Dagster resource: settings are read when a run starts, never at import.

Belongs here: the shell over `engine.deployment`. Does not: anything the engine can do itself.
"""

import os
from collections.abc import Callable
from typing import Final

import dagster as dg
import psutil

from platform_assets.engine.deployment import Deployment
from platform_assets.orchestration.configured import configured_deployment

PROCESS_TAG: Final = "platform/process"


class OpensDeployment:
    """Opens the deployment that the environment names; `tell` hears its progress besides the run's log."""

    def __init__(self, tell: Callable[[str], None] | None = None) -> None:
        self._tell = tell

    def look(self) -> Deployment:
        """The deployment, its state untouched."""
        return configured_deployment(self._tell or (lambda _: None))[1]

    def open(self, context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext) -> Deployment:
        """The deployment with its tables prepared, for a step of a run."""
        # A run that dies with its machine stays STARTED and keeps its pool slot; this tells who to look for.
        context.instance.add_run_tags(context.run.run_id, {PROCESS_TAG: process_name(os.getpid())})

        def notify(text: str) -> None:
            context.log.info(text)
            if self._tell is not None:
                self._tell(text)

        _, deployment = configured_deployment(notify)
        deployment.prepare()
        return deployment


# What an asset's body asks for: a plain object, since all its settings come from the environment.
DeploymentResource = dg.ResourceParam[OpensDeployment]


def process_name(pid: int) -> str:
    """`pid@start time`, so that a recycled pid is not taken for the process that died."""
    return f"{pid}@{psutil.Process(pid).create_time():.0f}"


def process_is_alive(name: str) -> bool:
    """Whether the process that `process_name` described still runs."""
    try:
        return process_name(int(name.split("@")[0])) == name
    except (psutil.NoSuchProcess, ValueError):
        return False
