"""What Dagster has stored, at one moment: runs, checks, sensors, daemons, whose turn it is to write.

Belongs here: reading Dagster's storage into plain values. Elsewhere: what is wrong (causes.py), our own state
(deployment_state.py). Asked of state, not of events, so that a backlog of events delays nothing; takes no lock.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Final

import dagster as dg

from platform_assets.orchestration.runs.automation import UNDER_WAY
from platform_assets.orchestration.runs.dagster_internals import (
    COMPLETED_ASSET_CHECK_EXECUTION_RECORD_STATUSES,
    AssetCheckExecutionRecord,
    AssetCheckExecutionRecordStatus,
    AssetGraph,
    AssetRecord,
    DaemonStatus,
    InstigatorState,
    InstigatorTick,
    InstigatorType,
    TickStatus,
    get_daemon_statuses,
)
from platform_assets.orchestration.runs.keys import BY_COMMAND_TAG, WRITER_POOL
from platform_assets.orchestration.watch.failures import (
    Cancelled,
    FailedStep,
    Failures,
    finished_evaluation,
    innermost,
    message_of,
)

_DAEMON_SILENT_S: Final = 60
_RUNS_IN_FLIGHT: Final = 20
_KEEPS_FAILING: Final = timedelta(minutes=1)
_GOOD: Final = (TickStatus.SUCCESS, TickStatus.SKIPPED)
_LONGEST_FAILING_S: Final = 366 * 86_400
# What drives runs; others only look.
_NEEDED_DAEMONS: Final = ("SENSOR", "ASSET", "QUEUED_RUN_COORDINATOR")


@dataclass(frozen=True)
class Evaluated:
    """The last finished evaluation of a check."""

    check: dg.AssetCheckKey
    passed: bool
    blocking: bool
    description: str
    at: datetime
    run_id: str


@dataclass(frozen=True)
class SensorSeen:
    """A sensor that Dagster knows of: whether it is on, and what its last finished tick failed with.

    at: when that was. since: the first of the ticks that have failed one after another up to it.
    """

    name: str
    running: bool
    error: str | None
    at: datetime | None
    since: datetime | None = None

    @property
    def keeps_failing(self) -> bool:
        """Whether it is no matter of one look: ticks have failed one after another for a minute."""
        return self.at is not None and self.since is not None and self.at - self.since >= _KEEPS_FAILING


@dataclass(frozen=True)
class DagsterState:
    """Dagster's storage and the code's graph, read when asked for, each thing once."""

    instance: dg.DagsterInstance
    graph: AssetGraph
    now: datetime

    @cached_property
    def checks(self) -> Mapping[dg.AssetCheckKey, Evaluated]:
        """Checks of today's code that have been evaluated."""
        found = {}
        for key, record in self._evaluations.items():
            event = finished_evaluation(record)
            evaluation = event.asset_check_evaluation if event is not None else None
            if evaluation is not None and event is not None:
                blocking = self.graph.get(key).blocking and evaluation.severity == dg.AssetCheckSeverity.ERROR
                found[key] = Evaluated(
                    key,
                    evaluation.passed,
                    blocking,
                    evaluation.description or "",
                    _moment(event.timestamp),
                    event.run_id,
                )
        return found

    @cached_property
    def made(self) -> Mapping[dg.AssetKey, datetime]:
        """When each asset was last materialized."""
        return {
            key: _moment(record.asset_entry.last_materialization.timestamp)
            for key, record in self._records.items()
            if record.asset_entry.last_materialization is not None
        }

    @cached_property
    def _evaluations(self) -> Mapping[dg.AssetCheckKey, AssetCheckExecutionRecord]:
        return evaluations(self.instance, list(self.graph.asset_check_keys))

    @cached_property
    def _records(self) -> Mapping[dg.AssetKey, AssetRecord]:
        records = self.instance.get_asset_records(list(self.graph.materializable_asset_keys))
        return {record.asset_entry.asset_key: record for record in records}

    @cached_property
    def under_way(self) -> Sequence[dg.DagsterRun]:
        """Runs that wait or work."""
        return self.instance.get_runs(dg.RunsFilter(statuses=list(UNDER_WAY)))

    def run_of(self, asset: dg.AssetKey) -> dg.DagsterRun | None:
        """The run under way that makes the asset, the oldest if there are several."""
        mine = [run for run in self.under_way if asset in self.targets(run)]
        return mine[-1] if mine else None

    def targets(self, run: dg.DagsterRun) -> frozenset[dg.AssetKey]:
        """The assets of today that a run is to make; a whole job's are all."""
        return self._failures.targets(run)

    @cached_property
    def failed(self) -> Sequence[FailedStep]:
        """What failed and was not made good since, newest first; a failed check or refused release is no failure."""
        return self._failures.failed()

    @cached_property
    def cancelled(self) -> Mapping[dg.AssetKey, Cancelled]:
        """Assets whose making a person cancelled, and that nobody has made, or has failed to make, since."""
        return self._failures.cancelled(self.failed)

    @cached_property
    def _failures(self) -> Failures:
        return Failures(self.instance, self.graph, self._records, self._evaluations)

    @cached_property
    def sensors(self) -> Mapping[str, SensorSeen]:
        """Sensors by name. One that the daemon has never met is not among them."""
        return {state.name: self._sensor(state) for state in self._states() if state.instigator_data is not None}

    def _states(self) -> Iterable[InstigatorState]:
        if self.instance.schedule_storage is None:  # nothing is driven by sensors here
            return ()
        return self.instance.all_instigator_state(instigator_type=InstigatorType.SENSOR)

    def _sensor(self, state: InstigatorState) -> SensorSeen:
        last = self._last_tick(state, *_GOOD, TickStatus.FAILURE)
        if last is None:
            return SensorSeen(state.name, state.is_running, None, None)
        at = _moment(last.timestamp)
        if last.status != TickStatus.FAILURE:
            return SensorSeen(state.name, state.is_running, None, at)
        error = message_of(innermost(last.error)) if last.error is not None else "its tick failed"
        return SensorSeen(state.name, state.is_running, error, at, self._failing_since(state, last.timestamp))

    def _failing_since(self, state: InstigatorState, last: float) -> datetime:
        """The first failed tick that no good one came after; found by halving, as there may be weeks of them."""
        good = self._last_tick(state, *_GOOD)
        none_before, first = good.timestamp if good is not None else last - _LONGEST_FAILING_S, last
        while first - none_before > 1:
            middle = (none_before + first) / 2
            earlier = self._last_tick(state, TickStatus.FAILURE, after=none_before, before=middle)
            none_before, first = (middle, first) if earlier is None else (none_before, earlier.timestamp)
        return _moment(first)

    def _last_tick(
        self, state: InstigatorState, *statuses: TickStatus, after: float | None = None, before: float | None = None
    ) -> InstigatorTick | None:
        found = self.instance.get_ticks(
            state.instigator_origin_id, state.selector_id, limit=1, statuses=list(statuses), after=after, before=before
        )
        return found[0] if found else None

    @cached_property
    def silent_daemons(self) -> Sequence[str]:
        """Those of the daemons that make things run which have not been heard of for a minute."""
        return [name for name, status in self._daemons.items() if not status.healthy]

    @cached_property
    def by_command(self) -> bool:
        """Whether nothing is meant to run by itself: no daemon was ever heard of, or none since the last run, which a
        command made."""
        beats = [each.last_heartbeat.timestamp for each in self._daemons.values() if each.last_heartbeat is not None]
        last = self.instance.get_run_records(limit=1)
        return bool(self.silent_daemons) and (
            not beats
            or any(
                BY_COMMAND_TAG in record.dagster_run.tags and record.create_timestamp.timestamp() > max(beats)
                for record in last
            )
        )

    @cached_property
    def _daemons(self) -> Mapping[str, DaemonStatus]:
        needed = [name for name in _NEEDED_DAEMONS if name in self.instance.get_required_daemon_types()]
        return get_daemon_statuses(
            self.instance,
            needed,
            curr_time_seconds=self.now.timestamp(),
            ignore_errors=True,
            heartbeat_tolerance_seconds=_DAEMON_SILENT_S,
        )

    @cached_property
    def writing(self) -> Sequence[tuple[str, str]]:
        """Who has the writer's turn: (run, step)."""
        claimed = self.instance.event_log_storage.get_concurrency_info(WRITER_POOL).claimed_slots
        return [(slot.run_id, slot.step_key) for slot in claimed]

    def waits_to_write(self, run: dg.DagsterRun) -> bool:
        """Whether a step of the run waits for the writer's turn."""
        pending = self.instance.event_log_storage.get_concurrency_info(WRITER_POOL).pending_steps
        return any(step.run_id == run.run_id and step.assigned_timestamp is None for step in pending)

    def below(self, assets: Iterable[dg.AssetKey]) -> tuple[str, ...]:
        """Everything that is made from the assets, inputs first."""
        found = set(assets)
        order = []
        for key in self.graph.toposorted_asset_keys:
            if key not in found and self.graph.get(key).parent_keys & found:
                found.add(key)
                order.append(key.to_user_string())
        return tuple(order)

    def above(self, asset: dg.AssetKey) -> list[dg.AssetKey]:
        """The asset and all it is made from, inputs first."""
        found = {asset}
        for key in reversed(self.graph.toposorted_asset_keys):
            if key in found:
                found |= self.graph.get(key).parent_keys
        return [key for key in self.graph.toposorted_asset_keys if key in found]


def _moment(timestamp: float) -> datetime:
    return datetime.fromtimestamp(timestamp, tz=UTC)


def evaluations(
    instance: dg.DagsterInstance, checks: Sequence[dg.AssetCheckKey]
) -> dict[dg.AssetCheckKey, AssetCheckExecutionRecord]:
    """The last finished evaluation of each check, where there is one; else the one that is planned."""
    records = dict(instance.event_log_storage.get_latest_asset_check_execution_by_key(checks))
    for key, record in records.items():
        if record.status == AssetCheckExecutionRecordStatus.PLANNED:
            records[key] = _last_evaluated(instance, record)
    return records


def _last_evaluated(instance: dg.DagsterInstance, planned: AssetCheckExecutionRecord) -> AssetCheckExecutionRecord:
    """The newest finished evaluation, where a run that waits behind this one plans another; `planned` if none is."""
    evaluated = instance.event_log_storage.get_asset_check_execution_history(
        planned.key, limit=_RUNS_IN_FLIGHT, status=COMPLETED_ASSET_CHECK_EXECUTION_RECORD_STATUSES
    )
    return max(evaluated, key=lambda record: record.event.timestamp if record.event else 0.0, default=planned)
