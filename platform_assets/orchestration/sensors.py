"""A feed's sensor: asks for a run when files may be new; the ledger decides whether they are.

Belongs here: when to ask. Does not: what a run does (feeds.py) or what runs below it (automation.py).
"""

import hashlib
import json
from collections.abc import Sequence
from typing import Any, Final

import dagster as dg

from platform_assets.engine import failpoint
from platform_assets.engine.feed import Feed
from platform_assets.engine.landing import Arrival, settled
from platform_assets.orchestration.feeds import quarantine_key, raw_key
from platform_assets.orchestration.resources import OpensDeployment

_SENSOR_INTERVAL_S: Final = 5


def feed_sensor(feed: Feed) -> dg.SensorDefinition:
    """Asks for a run when files of the feed may be new; the ledger decides whether they are.

    The cursor holds what was last asked for, so that a run that could not take it in is asked for again,
    ever more rarely; losing it costs one run that finds nothing.
    """

    @dg.sensor(
        name=f"{feed.name}_files",
        target=dg.AssetSelection.assets(raw_key(feed), quarantine_key(feed)),
        minimum_interval_seconds=_SENSOR_INTERVAL_S,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"New files under {', '.join(feed.source.patterns)}.",
    )
    def files_sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        opened = OpensDeployment().look()
        here = opened.feed(feed.name)
        now = opened.clock()
        unseen = opened.pending(here)
        ready = [arrival for arrival in unseen if settled(arrival, here, now)]
        if not ready:
            return dg.SkipReason(_left_alone(unseen) if unseen else "no new file")
        under_way = context.instance.get_runs(
            dg.RunsFilter(tags={"platform/feed": feed.name}, statuses=list(_UNDER_WAY)), limit=1
        )
        if under_way:
            return dg.SkipReason(f"{len(ready)} new files; run {under_way[0].run_id} is under way")
        asked = hashlib.sha256(repr([(a.slot, a.seen) for a in ready]).encode()).hexdigest()[:16]
        last = _cursor(context.cursor)
        again = last["tries"] if last["asked"] == asked else 0
        if again and now.timestamp() < last["at"] + min(30 * 2**again, 3600):
            return dg.SkipReason(f"{len(ready)} new files were asked for {again} times; waiting before the next try")
        failpoint.reached("mid-tick")
        return dg.SensorResult(
            run_requests=[dg.RunRequest(tags={"platform/feed": feed.name})],
            cursor=json.dumps({"asked": asked, "tries": again + 1, "at": now.timestamp()}),
        )

    return files_sensor


_UNDER_WAY: Final = (
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
)


def _left_alone(unseen: Sequence[Arrival]) -> str:
    first = "; ".join(f"{arrival.slot} {arrival.unfinished}" for arrival in unseen[:3])
    return f"{len(unseen)} files are not ready: {first}" + (" …" if len(unseen) > 3 else "")


def _cursor(text: str | None) -> dict[str, Any]:
    blank = {"asked": "", "tries": 0, "at": 0.0}
    try:
        read = json.loads(text or "{}")
    except ValueError:
        return blank
    return blank | read if isinstance(read, dict) else blank
