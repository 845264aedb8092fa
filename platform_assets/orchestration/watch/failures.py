"""What failed, died or was cancelled and has not been made good since, asset by asset and check by check.

Belongs here: deciding that by what was really made and evaluated afterwards, never by what a later run was to make.
Elsewhere: the words for it (causes.py).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Final, NamedTuple

import dagster as dg

from platform_assets.orchestration.runs.dagster_internals import (
    AssetCheckExecutionRecord,
    AssetGraph,
    AssetRecord,
    SerializableErrorInfo,
)
from platform_assets.orchestration.runs.keys import HELD, targets_of
from platform_assets.orchestration.runs.process import DIED_TAG

Thing = dg.AssetKey | dg.AssetCheckKey
_NEVER: Final = datetime.min.replace(tzinfo=UTC)
_PAGE: Final = 100
# Of the runs that failed since something was last made. Whatever is asked for again and fails is among the newest.
_MOST_RUNS: Final = 500
_MOST_REMEMBERED: Final = 4_096
# A failed check or a refused release is no failure of the run: the check says it.
_NO_FAILURE: Final = {"DagsterAssetCheckFailedError", "ReleaseRefused"}
_INTERRUPTED: Final = "DagsterExecutionInterruptedError"


@dataclass(frozen=True)
class FailedStep:
    """A step that failed and that has not been made good since. step: "" where the run itself failed or died.

    assets: what it was to make and what has not been made since. checks: what it was to evaluate, where that is all it
    was to do. models: of dbt's, those that failed; what is below them only waits.
    """

    run: dg.DagsterRun
    step: str
    error: str
    error_class: str
    assets: tuple[dg.AssetKey, ...]
    checks: tuple[dg.AssetCheckKey, ...]
    at: datetime
    models: Mapping[str, str] = field(default_factory=dict)
    died: bool = False


class Cancelled(NamedTuple):
    """The run that was to make an asset when a person cancelled it, and when that was."""

    run: dg.DagsterRun
    at: datetime


class _LoggedFailure(NamedTuple):
    """What the log of a failed run holds of one step, or of the run itself (step "")."""

    step: str
    error: str
    error_class: str
    at: float
    models: Mapping[str, str]


# A run that has ended says nothing new; reading its log costs milliseconds, and sensors look every few seconds.
_remembered: dict[str, tuple[_LoggedFailure, ...]] = {}


@dataclass(frozen=True)
class Failures:
    """What is asked of one instance at one moment.

    records: of the assets that have one. evaluations: the last of the checks that have one, finished or planned.
    """

    instance: dg.DagsterInstance
    graph: AssetGraph
    records: Mapping[dg.AssetKey, AssetRecord]
    evaluations: Mapping[dg.AssetCheckKey, AssetCheckExecutionRecord]

    def failed(self) -> list[FailedStep]:
        """Failures that stand, newest first; each asset and each check is blamed on the last step that failed it."""
        blamed: set[Thing] = set()
        found: list[FailedStep] = []
        for record in self._runs_since(dg.DagsterRunStatus.FAILURE, {**self._made, **self._evaluated}, blamed):
            for step in self._steps(record):
                assets = tuple(asset for asset in step.assets if asset not in blamed)
                checks = tuple(check for check in step.checks if check not in blamed)
                blamed.update(assets, checks)
                if assets or checks:
                    found.append(replace(step, assets=assets, checks=checks))
        return sorted(found, key=lambda step: step.at, reverse=True)

    def cancelled(self, failed: Iterable[FailedStep]) -> dict[dg.AssetKey, Cancelled]:
        """Assets whose making a person cancelled, and that nobody has made, or has failed to make, since."""
        later = {asset: step.at for step in failed for asset in step.assets}
        found: dict[dg.AssetKey, Cancelled] = {}
        for record in self._runs_since(dg.DagsterRunStatus.CANCELED, self._made, found.keys()):
            run, at = record.dagster_run, _ended(record)
            for asset in self.targets(run) - found.keys():
                if not self._is_good(asset, run, at) and later.get(asset, _NEVER) < at:
                    found[asset] = Cancelled(run, at)
        return found

    def targets(self, run: dg.DagsterRun) -> frozenset[dg.AssetKey]:
        """The assets of today that a run is to make; a whole job's are all."""
        everything = frozenset(self.graph.materializable_asset_keys)
        asked = targets_of(run)
        return everything if asked is None else asked & everything

    @cached_property
    def _made(self) -> Mapping[Thing, datetime]:
        """When each asset that was ever to be made was last made."""
        return {
            key: _moment(made.timestamp) if (made := record.asset_entry.last_materialization) is not None else _NEVER
            for key, record in self.records.items()
            if key in self.graph.materializable_asset_keys
        }

    @cached_property
    def _evaluated(self) -> Mapping[Thing, datetime]:
        """When each check that was ever to be evaluated was last evaluated."""
        return {
            key: _moment(event.timestamp) if (event := finished_evaluation(record)) is not None else _NEVER
            for key, record in self.evaluations.items()
        }

    def _runs_since(
        self, status: dg.DagsterRunStatus, good: Mapping[Thing, datetime], settled: AbstractSet[Thing]
    ) -> Iterator[dg.RunRecord]:
        """Runs that ended so after something that is not `settled` was last good, newest first."""
        cursor = None
        for _ in range(_MOST_RUNS // _PAGE):
            since = min((at for thing, at in good.items() if thing not in settled), default=None)
            if since is None:
                return
            chosen = dg.RunsFilter(statuses=[status], updated_after=since if since > _NEVER else None)
            page = self.instance.get_run_records(chosen, limit=_PAGE, cursor=cursor)
            yield from page
            if len(page) < _PAGE:
                return
            cursor = page[-1].dagster_run.run_id

    def _steps(self, record: dg.RunRecord) -> Iterator[FailedStep]:
        """What of a failed run stands, whatever other runs have failed since."""
        run, ended = record.dagster_run, _ended(record)
        died = run.tags.get(DIED_TAG)
        # It is found dead some time after it died.
        dead_at = _moment(record.start_time) if died and record.start_time else ended
        targets, checks = self.targets(run), self._checks_of(run)
        if all(self._is_good(asset, run, dead_at) for asset in targets) and all(
            self._evaluated.get(check, _NEVER) >= dead_at for check in checks
        ):
            return
        logged = [*self._logged(run, ended)]
        if died:
            logged = [each for each in logged if each.step and each.error_class != _INTERRUPTED]
            logged.append(_LoggedFailure("", died, "died", dead_at.timestamp(), {}))
        for each in logged:
            at = _moment(each.at)
            assets = [key for key in targets if not each.step or self._step_of(key) == each.step]
            alone = [] if assets else [key for key in checks if not each.step or self._step_of(key) == each.step]
            unmade = [key for key in assets if not self._is_good(key, run, at)]
            models = {name: why for name, why in each.models.items() if dg.AssetKey(name.split("/")) in unmade}
            if each.models:
                unmade = [key for key in unmade if key.to_user_string() in models]
            yield FailedStep(
                run=run,
                step=each.step,
                error=each.error,
                error_class=each.error_class,
                assets=tuple(sorted(unmade, key=str)),
                checks=tuple(sorted((key for key in alone if self._evaluated.get(key, _NEVER) < at), key=str)),
                at=at,
                models=models,
                died=each.error_class == "died",
            )

    def _checks_of(self, run: dg.DagsterRun) -> list[dg.AssetCheckKey]:
        """The checks of today that a run was to evaluate."""
        if run.asset_check_selection is not None:
            return [key for key in self.graph.asset_check_keys if key in run.asset_check_selection]
        targets = self.targets(run)
        return [key for key in self.graph.asset_check_keys if key.asset_key in targets]

    def _step_of(self, key: Thing) -> str:
        return self.graph.assets_def_for_key(key).node_def.name

    def _is_good(self, asset: dg.AssetKey, run: dg.DagsterRun, since: datetime) -> bool:
        """Whether the run, or any other since then, has made the asset, or has found that there was nothing to do."""
        record = self.records.get(asset)
        made = record.asset_entry.last_materialization if record is not None else None
        if made is not None and (made.run_id == run.run_id or _moment(made.timestamp) >= since):
            return True
        return any(each.run_id == run.run_id or _moment(each.timestamp) >= since for each in self._observed(asset))

    def _observed(self, asset: dg.AssetKey) -> Sequence[dg.EventLogRecord]:
        if asset not in self._observations:
            found = self.instance.fetch_observations(asset, limit=1).records
            self._observations[asset] = [each for each in found if not _says_held(each)]
        return self._observations[asset]

    @cached_property
    def _observations(self) -> dict[dg.AssetKey, Sequence[dg.EventLogRecord]]:
        return {}

    def _logged(self, run: dg.DagsterRun, ended: datetime) -> tuple[_LoggedFailure, ...]:
        if run.run_id not in _remembered:
            if len(_remembered) >= _MOST_REMEMBERED:
                _remembered.clear()
            _remembered[run.run_id] = tuple(_read(self.instance, run, ended))
        return _remembered[run.run_id]


def _says_held(record: dg.EventLogRecord) -> bool:
    """Whether it says that the asset was not made; another says that there was nothing to do."""
    observed = record.asset_observation
    return observed is not None and HELD in observed.metadata


def finished_evaluation(record: AssetCheckExecutionRecord) -> dg.EventLogEntry | None:
    """The event that holds the evaluation, where it is finished."""
    event = record.event
    return event if event is not None and event.is_dagster_event and event.asset_check_evaluation is not None else None


def innermost(error: SerializableErrorInfo | None) -> SerializableErrorInfo | None:
    """The error that another only reports."""
    while error is not None and error.cause is not None:
        error = error.cause
    return error


def message_of(error: SerializableErrorInfo | None) -> str:
    """The message of an error, without the Python path of its class."""
    if error is None:
        return ""
    message = error.message.strip()
    head, colon, rest = message.partition(": ")
    return rest if colon and " " not in head else message


def _read(instance: dg.DagsterInstance, run: dg.DagsterRun, ended: datetime) -> Iterator[_LoggedFailure]:
    """What the log of a failed run holds: its failed steps; where there are none, why the run failed."""
    message, others = "it ended without saying why", True
    wanted = {dg.DagsterEventType.STEP_FAILURE, dg.DagsterEventType.RUN_FAILURE}
    for entry in instance.all_logs(run.run_id, of_type=wanted):
        event = entry.dagster_event
        if event is None:
            continue
        if event.event_type == dg.DagsterEventType.RUN_FAILURE:
            message = event.message or message
            continue
        others = False
        cause = innermost(event.step_failure_data.error)
        error_class = (cause.cls_name if cause is not None else None) or "error"
        if error_class in _NO_FAILURE:
            continue
        failure = event.step_failure_data.user_failure_data
        models = failure.metadata.get("models") if failure is not None else None
        yield _LoggedFailure(
            event.step_key or "",
            message_of(cause) if cause is not None else event.message or "",
            error_class,
            entry.timestamp,
            models.data if isinstance(models, dg.JsonMetadataValue) and isinstance(models.data, dict) else {},
        )
    if others:
        yield _LoggedFailure("", message, "run", ended.timestamp(), {})


def _ended(record: dg.RunRecord) -> datetime:
    return _moment(record.end_time or record.update_timestamp.timestamp())


def _moment(timestamp: float) -> datetime:
    return datetime.fromtimestamp(timestamp, tz=UTC)
