"""What runs by itself: what is out of date, unless a run is at it, has just failed at it, or was cancelled.

Belongs here: the automation condition, and how runs that came to nothing make the next try wait. Elsewhere: what is
out of date (state.py), new files (sensors.py).
"""

import warnings
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import dagster as dg

from platform_assets.engine.deployment import Deployment
from platform_assets.orchestration.runs.keys import BY_ITSELF_TAG, targets_of
from platform_assets.orchestration.runs.process import DIED_TAG
from platform_assets.project.causes import Cause
from platform_assets.project.exports import ask
from platform_assets.project.graph import Project
from platform_assets.project.state import State

UNDER_WAY: Final = (
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
)
_ENDED: Final = (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)
_FIRST_WAIT: Final = timedelta(minutes=1)
_LONGEST_WAIT: Final = timedelta(hours=1)
# A run that died, or left it to others, said nothing of the work: that many are followed by another at once.
_FREE: Final = 5
_RUNS: Final = 300
_INTERVAL_S: Final = 30  # what new files set going is part of their own run; this is for all else


@dataclass(frozen=True)
class Runs:
    """What runs have come to, as Dagster's storage tells it. Lost, it only means that nothing waits."""

    under_way: Sequence[dg.DagsterRun]
    ended: Sequence[dg.RunRecord]
    everything: frozenset[str]

    @classmethod
    def of(cls, instance: dg.DagsterInstance, everything: Collection[str], since: datetime | None) -> "Runs":
        """Those under way, and the newest that have ended `since` then. `everything`: the names of all assets that can
        be made."""
        # The time of an update is kept in whole seconds.
        by_then = None if since is None else since - timedelta(seconds=1)
        wanted = dg.RunsFilter(statuses=list(_ENDED), updated_after=by_then)
        ended = [] if since is None else instance.get_run_records(wanted, limit=_RUNS)
        under_way = instance.get_runs(dg.RunsFilter(statuses=list(UNDER_WAY)))
        return cls(under_way, ended, frozenset(everything))

    def targets(self, run: dg.DagsterRun) -> frozenset[str]:
        """The assets that a run is to make; a whole job's are all."""
        asked = targets_of(run)
        return self.everything if asked is None else frozenset(key.to_user_string() for key in asked)

    def making(self, name: str) -> dg.DagsterRun | None:
        """The run under way that is to make the asset, the oldest if there are several."""
        return next((run for run in reversed(self.under_way) if name in self.targets(run)), None)

    def barred(self, name: str, since: datetime, now: datetime) -> Cause | None:
        """Why the asset, which is out of date `since` then, is not asked for now."""
        if (run := self.making(name)) is not None:
            return Cause("run under way", name, f"run {run.run_id[:8]} is to make it", remedy="Nothing to do.")
        tried = sorted(
            (
                record
                for record in self.ended
                if name in self.targets(record.dagster_run) and _ended_at(record) >= since
            ),
            key=_ended_at,
            reverse=True,
        )
        if not tried:
            return None
        last = tried[0].dagster_run
        if last.status == dg.DagsterRunStatus.CANCELED:
            what = f"run {last.run_id[:8]} was cancelled; it waits for new data, or for a person to run it"
            return Cause("run cancelled", name, what, remedy="`platform run` makes it at once.")
        failed = last.status == dg.DagsterRunStatus.FAILURE
        died = failed and bool(last.tags.get(DIED_TAG))
        tries = len(tried) - (0 if failed and not died else _FREE)
        if tries <= 0:
            return None
        until = _ended_at(tried[0]) + min(_FIRST_WAIT * 2 ** min(tries - 1, 10), _LONGEST_WAIT)
        if now >= until:
            return None
        came_to = "died" if died else "failed" if failed else "did not make it"
        what = f"run {last.run_id[:8]} {came_to}; the next try is at {until:%H:%M:%S} UTC"
        return Cause("waits to try again", name, what, remedy="`platform run` tries at once.")


def _ended_at(record: dg.RunRecord) -> datetime:
    return datetime.fromtimestamp(record.end_time or record.update_timestamp.timestamp(), tz=UTC)


def barred(
    state: State, deployment: Deployment, instance: dg.DagsterInstance, names: Collection[str]
) -> dict[str, Cause]:
    """Of these assets those that are not asked for now, and why."""
    since = note_wanted(state, deployment)
    outdated = [name for name in names if state.outdated(name) is not None]
    first = min((since[name] for name in outdated), default=state.now)
    runs = Runs.of(instance, list(state.project.nodes), first)
    found: dict[str, Cause] = {}
    for name in names:
        if (why := runs.barred(name, since[name] if name in outdated else state.now, state.now)) is not None:
            found[name] = why
    return found


def asked_for(
    state: State, deployment: Deployment, instance: dg.DagsterInstance, starts: Collection[str] = ()
) -> list[str]:
    """What a run is to make now, inputs first; after `starts` have brought new rows, if there are any."""
    return state.due(starts, barred(state, deployment, instance, state.due(starts)))


def note_wanted(state: State, deployment: Deployment) -> dict[str, datetime]:
    """Since when just this is wanted of each asset: runs that ended before have not tried to make it. Noted by whatever
    changes it, too, so that it is not taken for newer than it is."""
    return deployment.builds.wanted_since({name: _what(state, name) for name in state.project.nodes}, state.now)


def _what(state: State, name: str) -> str:
    """What is wanted of the asset, and how its inputs stand: once that changes, no wait for what has failed before."""
    node = state.project.nodes[name]
    inputs = [
        f"{each} {made.version if (made := state.built.made.get(each)) is not None else 'missing'}"
        + "".join(f", {verdict.name} failed" for verdict in state.failing(each))
        for each in node.inputs
    ]
    return "; ".join([state.wanted(name), node.code, *inputs])


class OutOfDate(dg.AutomationCondition[dg.AssetKey]):
    """True of an asset that is out of date, that nothing holds back, and that no run is making or has just failed at.

    Decided from what is stored, never from an event: what was missed, cancelled, killed or lost is found all the same.
    """

    def __init__(self, asked: Callable[[dg.DagsterInstance], Collection[str]]) -> None:
        self._asked = asked
        self._tick: tuple[datetime, Collection[str]] | None = None

    @property
    def description(self) -> str:
        """What the UI says of it."""
        return "Out of date by what is stored, with sound inputs, and no run is making it"

    def evaluate(self, context: dg.AutomationContext[dg.AssetKey]) -> dg.AutomationResult[dg.AssetKey]:
        """Once for each asset and tick; all assets of a tick are answered from one look."""
        if self._tick is None or self._tick[0] != context.evaluation_time:
            self._tick = context.evaluation_time, self._asked(context.asset_graph_view.instance)
        wanted = context.key.to_user_string() in self._tick[1]
        return dg.AutomationResult(
            context, true_subset=context.candidate_subset if wanted else context.get_empty_subset()
        )


def out_of_date(project: Project, look: Callable[[], Deployment]) -> OutOfDate:
    """The condition that all models and the release share; `look` gives the deployment as it is."""

    def asked(instance: dg.DagsterInstance) -> Collection[str]:
        deployment = look()
        ask(project.exports, deployment)
        return frozenset(asked_for(State.of(project, deployment), deployment, instance))

    return OutOfDate(asked)


def automation_sensor() -> dg.SensorDefinition:
    """What evaluates the condition, in the code's own process, since it is ours."""
    with warnings.catch_warnings():
        # A condition of one's own is what Dagster's documentation advises; the parameter it needs is called beta.
        warnings.simplefilter("ignore", dg.BetaWarning)
        return dg.AutomationConditionSensorDefinition(
            "automation",
            target=dg.AssetSelection.all(),
            default_status=dg.DefaultSensorStatus.RUNNING,
            minimum_interval_seconds=_INTERVAL_S,
            use_user_code_server=True,
            run_tags={BY_ITSELF_TAG: "true"},
            description="Makes what is out of date once the blocking checks of its inputs have passed.",
        )


def keys_of(names: Collection[str]) -> list[dg.AssetKey]:
    """The assets of these names."""
    return [dg.AssetKey(name.split("/")) for name in names]
