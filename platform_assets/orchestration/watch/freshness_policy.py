"""What producers deliver, as Dagster's own freshness policy sees it: red from the deadline on, green with newer data.

Belongs here: the policy, and reporting to Dagster what it cannot see: that nothing was due, or that it came early.
Elsewhere: what is due (engine/promises/due.py), the check `fresh` (freshness.py).
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

import dagster as dg

from platform_assets.engine.feed.feed import Cadence, Feed
from platform_assets.engine.feed.ticks import last_tick, later, shortest_gap
from platform_assets.engine.promises.due import Deliveries
from platform_assets.orchestration.runs.dagster_internals import DATA_VERSION_TAG, is_valid_cron_string
from platform_assets.orchestration.runs.keys import deliveries_key

_A_MINUTE: Final = timedelta(minutes=1)
_INSTANT: Final = timedelta(microseconds=1)


def policy_of(feed: Feed) -> dg.FreshnessPolicy:
    """Fresh is what was reported between the time a delivery is due and the time it is late, or later.

    Where no cron expression says when it is late, what was reported within the cadence's longest gap.
    """
    cadence = feed.delivered
    deadline = later(cadence.cron, cadence.within)
    if deadline is None or not is_valid_cron_string(deadline):
        gap = cadence.longest_gap()
        return dg.FreshnessPolicy.time_window(fail_window=gap, warn_window=max(gap * 0.9, _A_MINUTE))
    return dg.FreshnessPolicy.cron(deadline, _window(cadence), cadence.timezone)


def newest_data_event(feed: Feed, newest: datetime) -> dg.AssetMaterialization:
    """The event for Dagster that a feed has data up to then; reported twice, it is no newer data."""
    return dg.AssetMaterialization(
        deliveries_key(feed),
        metadata={"newest_data": dg.MetadataValue.timestamp(newest)},
        tags={DATA_VERSION_TAG: newest.isoformat()},
    )


def report_deliveries(instance: dg.DagsterInstance, known: Mapping[str, Deliveries], now: datetime) -> None:
    """Report again the feeds that lack nothing at a deadline and that were not reported since they were due.

    So it is where a delivery came early, and on closed days, which no cron expression knows.
    """
    keys = {deliveries_key(theirs.feed): theirs for theirs in known.values()}
    reported = {
        record.asset_entry.asset_key: record.asset_entry.last_materialization.timestamp
        for record in instance.get_asset_records(list(keys))
        if record.asset_entry.last_materialization is not None
    }
    for key, theirs in keys.items():
        cadence = theirs.feed.delivered
        window = _window(cadence)
        tick = last_tick(cadence.cron, cadence.timezone, (), now + window - cadence.within)
        if tick is None or theirs.newest_data is None or key not in reported:
            continue
        deadline = tick + cadence.within
        is_reported = reported[key] >= (deadline - window).timestamp()
        if not is_reported and theirs.first_missing(max(now, deadline + _INSTANT)) is None:
            instance.report_runless_asset_event(newest_data_event(theirs.feed, theirs.newest_data))


def _window(cadence: Cadence) -> timedelta:
    """How long before a deadline what is reported is for that deadline: never longer than Dagster allows."""
    return max(_A_MINUTE, min(cadence.within, shortest_gap(cadence.cron, cadence.timezone)))
