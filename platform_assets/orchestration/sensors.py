"""A feed's sensor: asks for a run when files may be new; the ledger decides whether they are.

Belongs here: when to ask. Elsewhere: what a run does (feeds.py), what runs below it (automation.py).
"""

import hashlib
import json
from collections.abc import Sequence
from typing import Any, Final

import dagster as dg

from platform_assets.engine.contract.shown import guarding
from platform_assets.engine.durable import failpoint
from platform_assets.engine.feed.feed import Feed
from platform_assets.engine.sources.source import Arrival
from platform_assets.errors import counted, printable
from platform_assets.orchestration.runs.automation import UNDER_WAY, asked_for, barred, keys_of
from platform_assets.orchestration.runs.keys import BY_ITSELF_TAG, feed_tag, quarantine_key, raw_key, sensor_name
from platform_assets.orchestration.runs.process import DIED_TAG
from platform_assets.orchestration.runs.resources import OpensDeployment
from platform_assets.project.graph import Project, raw_name
from platform_assets.project.state import State

# A tick costs a process and Dagster's storage some 0.05 CPU-seconds, new files or not. However many feeds there are,
# all of theirs together cost an idle platform a few hundredths of a core.
_SHORTEST_INTERVAL_S: Final = 10
_LONGEST_INTERVAL_S: Final = 30
_INTERVAL_PER_FEED_S: Final = 6
_MOST_FILES: Final = 1_000
_MOST_BYTES: Final = 10 * 1000**3
_DEATHS: Final = 5


def feed_sensor(
    feed: Feed,
    project: Project,
    deployment: OpensDeployment,
    most_files: int = _MOST_FILES,
    most_bytes: int = _MOST_BYTES,
) -> dg.SensorDefinition:
    """Asks for a run when files of the feed may be new, or its rows were not told of or not checked; the ledger decides
    what is new.

    One run at a time, of at most so many files and bytes: the next tick asks for more. The run goes on to what the new
    rows make out of date, unless more is waiting or something holds that back.
    The cursor holds what was last asked for, so that a run that could not take it in is asked for again,
    ever more rarely; losing it costs one run that finds nothing.
    """
    raw = raw_name(feed)

    @dg.sensor(
        name=sensor_name(feed),
        target=(
            dg.AssetSelection.assets(raw_key(feed)).downstream() | dg.AssetSelection.assets(quarantine_key(feed))
        ).materializable(),
        minimum_interval_seconds=_interval_s(project),
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"New files under {', '.join(feed.source.places)}.",
    )
    def files_sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        with guarding([feed.contract]):
            return evaluated(context)

    def evaluated(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        opened = deployment.look()
        here = opened.feed(feed.name)
        unseen = opened.pending(here, wait=True)
        now = opened.clock()
        low = opened.disk.low()
        ready = [arrival for arrival in unseen if low is None and arrival.settled(now)]
        state = State.of(project, opened)
        unaudited = state.outdated(raw)
        if not ready and unaudited is None:  # before Dagster's storage is asked, which costs most of a tick
            if unseen and low is not None:
                return dg.SkipReason(f"{len(unseen)} new files wait: {low.what}")
            return dg.SkipReason(_left_alone(unseen) if unseen else "no new file")
        last = _last_run(context.instance, feed)
        if last is not None and last.status in UNDER_WAY:
            return dg.SkipReason(f"{len(ready)} new files; run {last.run_id} is under way")
        if not ready and (why := barred(state, opened, context.instance, [raw]).get(raw)) is not None:
            return dg.SkipReason(f"{raw}: {unaudited}; {why.what}")
        portion = _portion(ready, most_files, most_bytes)
        before = _cursor(context.cursor)
        asked = hashlib.sha256(repr([(a.slot, a.position) for a in portion]).encode()).hexdigest()[:16] if ready else ""
        again = before["tries"] if ready and before["asked"] == asked else 0
        if again and last is not None and last.status == dg.DagsterRunStatus.CANCELED:
            said = f"run {last.run_id} was cancelled; they wait for another file, or for a person to run {raw}"
            return dg.SkipReason(f"{len(ready)} new files: {said}")
        # A run that is executed again keeps the tag of the one before, emptied. What died said nothing of the files:
        # the first such tries are not waited for.
        died = last is not None and bool(last.tags.get(DIED_TAG))
        wait_s = min(30 * 2**again, 3600) if again > (_DEATHS if died else 0) else 0
        if now.timestamp() < before["at"] + wait_s:
            return dg.SkipReason(f"{len(ready)} new files were asked for {again} times; waiting before the next try")
        failpoint.reached("mid-tick")
        wanted = [raw_key(feed), quarantine_key(feed)]
        if len(portion) == len(ready):
            wanted += keys_of(_following(project, raw, asked_for(state, opened, context.instance, [raw])))
        request = dg.RunRequest(
            asset_selection=wanted,
            tags={feed_tag(feed): "true", BY_ITSELF_TAG: "true"},
            run_config={"ops": {f"ingest_{feed.name}": {"config": {"most_files": len(portion) or 1}}}},
        )
        cursor = json.dumps({"asked": asked, "tries": again + 1, "at": now.timestamp()})
        return dg.SensorResult(run_requests=[request], cursor=cursor)

    return files_sensor


def _interval_s(project: Project) -> int:
    """How often each feed's sensor looks."""
    feeds = sum(node.feed is not None for node in project.nodes.values())
    return min(max(_SHORTEST_INTERVAL_S, _INTERVAL_PER_FEED_S * feeds), _LONGEST_INTERVAL_S)


def _following(project: Project, raw: str, asked: Sequence[str]) -> list[str]:
    """Of what is to be made now, what is made from the feed's rows and from nothing that has to be made besides."""
    below = set(project.below([raw]))
    others = {name for name in asked if name not in below}
    for name in asked:
        if others.intersection(project.nodes[name].inputs):
            others.add(name)
    return [name for name in asked if name not in others]


def _portion(ready: Sequence[Arrival], most_files: int, most_bytes: int) -> Sequence[Arrival]:
    """The first of the files, as many as one run is to take in; one at least."""
    total = 0
    for taken, arrival in enumerate(ready[:most_files]):
        total += arrival.size
        if total > most_bytes and taken:
            return ready[:taken]
    return ready[:most_files]


def _last_run(instance: dg.DagsterInstance, feed: Feed) -> dg.DagsterRun | None:
    found = instance.get_runs(dg.RunsFilter(tags={feed_tag(feed): "true"}), limit=1)
    return found[0] if found else None


def _left_alone(unseen: Sequence[Arrival]) -> str:
    first = "; ".join(f"{printable(arrival.slot)} {arrival.unfinished}" for arrival in unseen[:3])
    return f"{counted(len(unseen), 'file is', 'files are')} not ready: {first}" + (" …" if len(unseen) > 3 else "")


def _cursor(text: str | None) -> dict[str, Any]:
    blank = {"asked": "", "tries": 0, "at": 0.0}
    try:
        read = json.loads(text or "{}")
    except ValueError:
        return blank
    return blank | read if isinstance(read, dict) else blank
