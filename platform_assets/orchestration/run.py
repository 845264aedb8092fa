"""Runs from the command line: the whole graph, or checks alone, in this process, on the shared instance.

Belongs here: what a run did, in plain values. Does not: printing (cli) or deciding (the graph does).
"""

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import dagster as dg

from platform_assets.definitions import build_definitions
from platform_assets.errors import ConfigurationError
from platform_assets.orchestration.instance import open_instance
from platform_assets.orchestration.resources import PROCESS_TAG, OpensDeployment, process_name
from platform_assets.settings import Settings


@dataclass(frozen=True)
class CheckOutcome:
    """One evaluation of an asset check."""

    asset: str
    name: str
    passed: bool
    blocking: bool
    description: str

    @property
    def blocks(self) -> bool:
        """Whether it stops what is below."""
        return self.blocking and not self.passed


@dataclass(frozen=True)
class RunOutcome:
    """What a run did: whether all of it succeeded, its checks, and the messages of the steps that failed."""

    run_id: str
    success: bool
    checks: tuple[CheckOutcome, ...]
    failures: tuple[str, ...]


def run_everything(settings: Settings, tell: Callable[[str], None]) -> RunOutcome:
    """Take in what is new, build, check and release."""
    definitions = build_definitions(OpensDeployment(tell))
    return _execute(settings, definitions.resolve_job_def("everything"))


def run_checks(settings: Settings, selection: str | None, tell: Callable[[str], None]) -> RunOutcome:
    """Evaluate asset checks without materializing anything; `selection` is one as the UI takes it, all by default."""
    definitions = build_definitions(OpensDeployment(tell))
    graph = definitions.resolve_asset_graph()
    try:
        chosen = dg.AssetSelection.from_string(selection) if selection else dg.AssetSelection.all()
        keys = chosen.resolve(graph)
    except dg.DagsterError as error:
        problem = str(error).split(". ")[0]
        raise ConfigurationError(f"selection {selection!r}", problem, 'Try key:"marts/*" or key:"raw/*".') from error
    checks = {key for key in graph.asset_check_keys if key.asset_key in keys}
    if not checks:
        return RunOutcome("", True, (), ())
    job = definitions.resolve_implicit_global_asset_job_def()
    return _execute(settings, job.get_subset(asset_selection=set(), asset_check_selection=checks))


def _execute(settings: Settings, job: dg.JobDefinition) -> RunOutcome:
    with open_instance(settings) as instance:
        result = job.execute_in_process(
            instance=instance,
            raise_on_error=False,
            tags={PROCESS_TAG: process_name(os.getpid())},
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        )
        graph = job.asset_layer.asset_graph
        checks = tuple(
            CheckOutcome(
                asset=evaluation.asset_key.to_user_string(),
                name=evaluation.check_name,
                passed=evaluation.passed,
                blocking=graph.get(evaluation.asset_check_key).blocking
                and evaluation.severity == dg.AssetCheckSeverity.ERROR,
                description=evaluation.description or "",
            )
            for evaluation in result.get_asset_check_evaluations()
        )
        return RunOutcome(result.run_id, result.success, checks, _failures(result.all_events))


def _failures(events: Sequence[dg.DagsterEvent]) -> tuple[str, ...]:
    messages = []
    for event in events:
        if event.is_step_failure:
            error = event.step_failure_data.error
            while error is not None and error.cause is not None:
                error = error.cause
            if error is not None and error.cls_name == "DagsterAssetCheckFailedError":
                continue  # the check itself is reported
            # What the error says, without the Python path of its class.
            said = re.sub(r"^[\w.]+: ", "", error.message.strip()) if error else event.message
            messages.append(f"{event.step_key}: {said}")
    return tuple(messages)
