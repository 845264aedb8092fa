"""Runs from the command line: the whole graph, or checks alone, in this process, on the shared instance.

Belongs here: what a run did, in plain values. Elsewhere: what is to be run (run.py, project/state.py).
"""

import contextlib
import os
import signal
import socket
import threading
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import dagster as dg

from platform_assets.definitions import build_definitions
from platform_assets.engine.deployment import Deployment
from platform_assets.errors import ConfigurationError, nearest
from platform_assets.orchestration.runs.automation import keys_of
from platform_assets.orchestration.runs.dagster_internals import known_by_its_job
from platform_assets.orchestration.runs.instance import kept_open, open_instance, prepare_dagster_home
from platform_assets.orchestration.runs.keys import BY_COMMAND_TAG, CI, RUN, is_export, quarantine_key, raw_key
from platform_assets.orchestration.runs.process import PROCESS_TAG, process_name
from platform_assets.orchestration.runs.resources import OpensDeployment
from platform_assets.orchestration.watch.dagster_state import DagsterState
from platform_assets.orchestration.watch.deployment_state import DeploymentState
from platform_assets.orchestration.watch.failures import innermost, message_of
from platform_assets.orchestration.watch.page import keep_page, see_to_page
from platform_assets.orchestration.watch.why import asset_named, why
from platform_assets.project.causes import Cause
from platform_assets.project.configured import (
    configured_deployment,
    declared_feeds,
    declared_marts,
    declared_project,
    prepared_deployment,
)
from platform_assets.settings import Settings

_LOCATION = "platform_assets"  # as workspace.yaml calls it


@dataclass(frozen=True)
class CheckOutcome:
    """One evaluation of an asset check."""

    asset: str
    check: str
    passed: bool
    blocking: bool
    description: str

    @property
    def blocks(self) -> bool:
        """Whether it stops what is below."""
        return self.blocking and not self.passed


@dataclass(frozen=True)
class RunOutcome:
    """What a run did: whether all of it succeeded, its checks, the messages of the steps that failed, the assets that
    they were to make, and why files were left where they lie."""

    run_id: str
    success: bool
    checks: tuple[CheckOutcome, ...]
    failures: tuple[str, ...]
    failed: frozenset[str] = frozenset()
    left_alone: Mapping[str, str] = field(default_factory=dict)

    @property
    def blocked(self) -> list[CheckOutcome]:
        """The checks that stop what is below."""
        return [check for check in self.checks if check.blocks]

    def followed_by(self, other: "RunOutcome") -> "RunOutcome":
        """What this run and one after it did together."""
        return RunOutcome(
            self.run_id,
            self.success and other.success,
            (*self.checks, *other.checks),
            (*self.failures, *other.failures),
            self.failed | other.failed,
            {**self.left_alone, **other.left_alone},
        )


def run_assets(settings: Settings, tell: Callable[[str], None], wanted: Collection[str] | None = None) -> RunOutcome:
    """Make the assets called `wanted`, taking in what is new for the feeds among them; if none are named, all but what
    goes to another database."""
    opens = OpensDeployment(tell)
    definitions = build_definitions(opens)
    everything = definitions.resolve_asset_graph().executable_asset_keys
    # Named one by one, so that whoever looks at the run knows what it was to make.
    named = set(keys_of(wanted)) if wanted is not None else {key for key in everything if not is_export(key)}
    named |= {quarantine_key(feed) for feed in declared_feeds() if raw_key(feed) in named}
    command = CI if wanted is None else RUN
    done = _execute(settings, tell, definitions.resolve_job_def("everything"), command, sorted(named, key=str))
    if command == RUN:
        with open_instance(settings, at_hand=True) as instance:
            deployment = opens.look()
            see_to_page(
                instance, definitions.resolve_asset_graph(), deployment, declared_project(deployment.feeds), tell
            )
    return replace(done, left_alone=opens.left_alone)


def run_checks(selection: str | None, tell: Callable[[str], None]) -> RunOutcome:
    """Evaluate asset checks without materializing anything; `selection` is one as the UI takes it, all by default."""
    settings, _ = prepared_deployment(tell)
    definitions = build_definitions(OpensDeployment(tell))
    graph = definitions.resolve_asset_graph()
    try:
        chosen = dg.AssetSelection.from_string(selection) if selection else dg.AssetSelection.all()
        keys = chosen.resolve(graph)
    except dg.DagsterError as error:
        problem = str(error).split(". ")[0]
        raise ConfigurationError(f"selection {selection!r}", problem, 'Try key:"marts/*" or key:"raw/*".') from error
    # Another database is read by the step that writes it, and by no other.
    checks = {key for key in graph.asset_check_keys if key.asset_key in keys and not is_export(key.asset_key)}
    if not checks:
        names = [f"key:{key.to_user_string()}" for key in graph.get_all_asset_keys()]
        meant = nearest(selection or "", names)
        raise ConfigurationError(
            f"selection {selection!r}",
            f"selects no asset check.{meant}" if meant else "selects no asset check",
            'Try `platform check` alone, or "key:marts/*".',
        )
    job = definitions.resolve_implicit_global_asset_job_def()
    chosen_job = job.get_subset(asset_selection=set(), asset_check_selection=checks)
    return _execute(settings, tell, chosen_job, "platform check")


def ask_why(asset: str, tell: Callable[[str], None]) -> tuple[str, list[Cause]]:
    """The asset that is meant, and everything that keeps data from it, the first cause first."""
    settings, deployment = configured_deployment(tell)
    deployment.warehouse.refuse_other_version()
    with _looked_at(settings, deployment) as (seen, stored):
        key = asset_named(asset, seen)
        return key.to_user_string(), why(key, seen, stored)


def page_written(tell: Callable[[str], None]) -> tuple[Path, bool]:
    """Where the page of the releases lies, which tells what is so now, and whether it had to be written for that."""
    settings, deployment = configured_deployment(tell)
    deployment.warehouse.refuse_other_version()
    with _looked_at(settings, deployment) as (seen, stored):
        return keep_page(seen, stored)


@contextlib.contextmanager
def _looked_at(settings: Settings, deployment: Deployment) -> Iterator[tuple[DagsterState, DeploymentState]]:
    """What Dagster and the deployment have stored now."""
    graph = build_definitions().resolve_asset_graph()
    prepare_dagster_home(settings)
    with dg.DagsterInstance.get() as instance:
        seen = DagsterState(instance, graph, deployment.clock())
        yield seen, DeploymentState(deployment, declared_marts(), declared_project(deployment.feeds))


def _execute(
    settings: Settings,
    tell: Callable[[str], None],
    job: dg.JobDefinition,
    command: str,
    assets: Sequence[dg.AssetKey] | None = None,
) -> RunOutcome:
    with open_instance(settings, at_hand=True) as instance, kept_open(instance), _interrupts() as interrupted:
        known_by_its_job(instance, _LOCATION, job.name)
        run_id = str(uuid.uuid4())
        instance.add_event_listener(run_id, _tells_progress(tell, assets))
        try:
            result = job.execute_in_process(
                instance=instance,
                raise_on_error=False,
                asset_selection=assets,
                tags={PROCESS_TAG: process_name(os.getpid()), BY_COMMAND_TAG: command},
                run_id=run_id,
                run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            )
        except dg.DagsterExecutionInterruptedError:
            raise KeyboardInterrupt from None
        if interrupted() and not result.success:
            raise KeyboardInterrupt
        graph = job.asset_layer.asset_graph
        checks = tuple(
            CheckOutcome(
                asset=evaluation.asset_key.to_user_string(),
                check=evaluation.check_name,
                passed=evaluation.passed,
                blocking=graph.get(evaluation.asset_check_key).blocking
                and evaluation.severity == dg.AssetCheckSeverity.ERROR,
                description=evaluation.description or "",
            )
            for evaluation in result.get_asset_check_evaluations()
        )
        success = result.success and not any(check.blocks for check in checks)
        failed = _failed_assets(result.all_events, job)
        return RunOutcome(result.run_id, success, checks, _failures(result.all_events), failed)


def _tells_progress(
    tell: Callable[[str], None], assets: Sequence[dg.AssetKey] | None
) -> Callable[[dg.EventLogEntry], None]:
    """Hears every event of a run, and tells how far it is: of these assets, or of checks where nothing is made."""
    wanted, made = frozenset(assets or ()), set[dg.AssetKey]()
    planned, checked = 0, 0

    def hear(entry: dg.EventLogEntry) -> None:
        nonlocal planned, checked
        event = entry.dagster_event
        if event is None:
            return
        if event.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED:
            planned += 1
        elif not wanted and event.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            checked += 1
            tell(f"checks: {checked} of {planned}")
        elif event.event_type == dg.DagsterEventType.ASSET_MATERIALIZATION and event.asset_key in wanted:
            made.add(event.asset_key)
            tell(f"assets: {len(made)} of {len(wanted)}, {event.asset_key.to_user_string()}")

    return hear


@contextlib.contextmanager
def _interrupts() -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C was pressed since: Dagster takes the signal, and the step ends as if it had failed."""
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    told, tells = socket.socketpair()
    with told, tells:
        told.setblocking(False)
        tells.setblocking(False)
        before = signal.set_wakeup_fd(tells.fileno(), warn_on_full_buffer=False)

        def pressed() -> bool:
            with contextlib.suppress(BlockingIOError):
                return signal.SIGINT in told.recv(64)
            return False

        try:
            yield pressed
        finally:
            signal.set_wakeup_fd(before)


def _failed_assets(events: Sequence[dg.DagsterEvent], job: dg.JobDefinition) -> frozenset[str]:
    """The assets that the steps that failed were to make."""
    handles = {event.node_handle for event in events if event.is_step_failure and event.node_handle is not None}
    return frozenset(
        key.to_user_string()
        for handle in handles
        for key in job.asset_layer.get_selected_entity_keys_for_node(handle)
        if isinstance(key, dg.AssetKey)
    )


def _failures(events: Sequence[dg.DagsterEvent]) -> tuple[str, ...]:
    messages = []
    for event in events:
        if event.is_step_failure:
            error = innermost(event.step_failure_data.error)
            if error is not None and error.cls_name == "DagsterAssetCheckFailedError":
                continue  # the check itself is reported
            messages.append(f"{event.step_key}: {message_of(error) if error else event.message}")
    return tuple(messages)
