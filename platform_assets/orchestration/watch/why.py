"""Why an asset did not run, is stale or is red: every cause, the first one first.

Belongs here: what is asked, in which order, and what only this asset waits for (files, runs, its turn). Elsewhere:
causes that alerts know, too (causes.py), what Dagster has stored (dagster_state.py).
"""

from collections.abc import Collection, Iterator
from dataclasses import replace
from functools import cached_property
from itertools import islice
from typing import Final

import dagster as dg

from platform_assets.engine.feed.feed import Feed
from platform_assets.errors import ConfigurationError, listed, nearest, printable
from platform_assets.orchestration.runs.automation import barred
from platform_assets.orchestration.runs.keys import deliveries_key, quarantine_key, raw_key, sensor_name
from platform_assets.orchestration.runs.process import PROCESS_TAG
from platform_assets.orchestration.watch.causes import (
    failed_checks,
    failed_sensors,
    missing_delivery,
    of_step,
    pinned_releases,
    quarantined_deliveries,
)
from platform_assets.orchestration.watch.dagster_state import DagsterState
from platform_assets.orchestration.watch.deployment_state import DeploymentState
from platform_assets.project.causes import Cause, Kind
from platform_assets.project.graph import raw_name
from platform_assets.project.remedies import ways_out
from platform_assets.project.state import OF_A_PRODUCT

AUTOMATION: Final = "automation"
# What goes on by itself: to ask again is all that there is to do.
_GOES_ON: Final[Collection[Kind]] = ("held back", "pool busy", "run queued", "run under way")
# Likewise, where a daemon lives.
_ASKED_FOR: Final[Collection[Kind]] = ("file not settled", "new file", "not asked for yet")
_FILES: Final = 3


def why(asset: dg.AssetKey, seen: DagsterState, stored: DeploymentState) -> list[Cause]:
    """Everything that keeps data from the asset, the first cause first; that all is well, if nothing does."""
    asking = _Asking(seen, stored, asset)
    found = [cause for key in seen.above(asset) for cause in asking.causes_at(key)]
    if not found and (nothing := asking.nothing_delivered()) is not None:
        found = [nothing]
    if found:
        commanded = [replace(cause, command=_command(cause, asset.to_user_string(), seen, stored)) for cause in found]
        return sorted(commanded, key=_holds)
    at = seen.made.get(asset)
    what = "nothing keeps it back" + (f"; it was last made {at:%Y-%m-%d %H:%M} UTC" if at is not None else "")
    return [Cause("all is well", asset.to_user_string(), what, remedy="Nothing to do.", since=at)]


def _holds(cause: Cause) -> int:
    """First what holds back what is there; then what waits for its turn; then what has not come, or is not fit to come
    in; last what only tells."""
    if cause.kind in ("held back", "pinned") or (cause.kind == "check failed" and not cause.waiting):
        return 3
    if cause.kind in ("delivery missing", "delivery quarantined", "file not settled"):
        return 2
    return 1 if cause.kind in (*_GOES_ON, *_ASKED_FOR, "out of date") else 0


def _command(cause: Cause, asked: str, seen: DagsterState, stored: DeploymentState) -> str:
    """The one command to type about the cause."""
    of = next((feed.name for feed in stored.feeds if cause.asset in (raw_name(feed), _deliveries_of(feed))), None)
    if cause.kind == "delivery quarantined" or (cause.kind == "check failed" and of and "rejects" in cause.key):
        return f"platform quarantine explain {of}"
    if cause.kind == "check failed":
        return f'platform check "key:{cause.asset}"'
    if cause.kind == "pinned":
        return f"platform release unpin {cause.asset.rpartition('/')[2]}"
    if cause.kind == "delivery missing":
        return "platform promises"
    if cause.kind == "would break consumers":
        return "platform ci"
    if cause.kind == "nothing delivered":
        return "platform feed list"
    if cause.kind == "daemon down":
        return "platform ui"
    by_itself = cause.kind in _GOES_ON or (cause.kind in _ASKED_FOR and not seen.by_command)
    return f"platform why {asked}" if by_itself else "platform run"


def _deliveries_of(feed: Feed) -> str:
    return deliveries_key(feed).to_user_string()


def asset_named(name: str, seen: DagsterState) -> dg.AssetKey:
    """The asset of that key, or whose key ends so; raises ConfigurationError where none or several do."""
    parts = name.strip("/").split("/")
    keys = sorted(seen.graph.get_all_asset_keys(), key=str)
    exactly = [key for key in keys if list(key.path) == parts]
    # A feed's name means its rows, not what is around them.
    ending = [key for key in keys if list(key.path)[-len(parts) :] == parts]
    found = exactly or [key for key in ending if key.path[0] == "raw"] or ending
    if len(found) == 1:
        return found[0]
    problem = "is no asset" if not found else f"means {' or '.join(key.to_user_string() for key in found)}"
    near = ", ".join(key.to_user_string() for key in (found or keys)[:8])
    words = {key.to_user_string() for key in keys} | {key.path[-1] for key in keys}
    meant = "" if found else nearest(name, words)
    raise ConfigurationError(
        f"asset {name!r}", f"{problem}.{meant}" if meant else problem, f"Name one, such as {near}."
    )


class _Asking:
    """What is asked of the assets that one asset is made from."""

    def __init__(self, seen: DagsterState, stored: DeploymentState, asked: dg.AssetKey) -> None:
        self._seen = seen
        self._stored = stored
        self._asked = asked
        self._feeds = {deliveries_key(feed): feed for feed in stored.feeds}

    def causes_at(self, key: dg.AssetKey) -> Iterator[Cause]:
        """What keeps data from this asset, but for what lies above it."""
        if (feed := self._feeds.get(key)) is not None:
            yield from self._of_feed(feed)
            return
        name = key.to_user_string()
        # What fails in quarantine is told of its raw asset.
        if not any(key == quarantine_key(feed) for feed in self._stored.feeds):
            yield from (cause for cause in self._failed_steps if cause.asset == name)
        yield from (self._with_ways_out(cause) for cause in self._failed_checks if cause.asset == name)
        yield from self._out_of_date(key)
        # Who asks of a mart may wonder why readers do not see what is in it.
        products = self._stored.project.products if key == self._asked else ()
        here = {name, *(product.release for product in products if name in product.marts)}
        yield from (cause for cause in pinned_releases(self._stored) if cause.asset in here)

    def _with_ways_out(self, cause: Cause) -> Cause:
        """A failed check of a feed's rows, with what can be done about the delivery that fails it."""
        for feed in self._stored.feeds:
            if cause.asset == raw_name(feed):
                ways = ways_out(feed, cause.evidence, self._stored.deliveries[feed.name].receipts)
                return cause if ways is None else replace(cause, remedy=ways)
        return cause

    @cached_property
    def _failed_steps(self) -> list[Cause]:
        return [cause for step in self._seen.failed for cause in of_step(self._seen, step)]

    @cached_property
    def _failed_checks(self) -> list[Cause]:
        return list(failed_checks(self._seen, self._stored.assets))

    def nothing_delivered(self) -> Cause | None:
        """That the asset was never made, as there is nothing to make it from."""
        above = {key for key in self._seen.above(self._asked) if key in self._feeds}
        names = [self._feeds[key].name for key in above if not self._stored.deliveries[self._feeds[key].name].receipts]
        if self._asked in self._seen.made or not names or len(names) < len(above):
            return None
        return Cause(
            "nothing delivered",
            self._asked.to_user_string(),
            f"nothing was ever delivered for {listed(sorted(names))}",
            remedy=f"Put files into {self._stored.deployment.landing}; `platform feed list` says under which names.",
        )

    def _of_feed(self, feed: Feed) -> Iterator[Cause]:
        """What a feed waits for, before there is anything of it in raw."""
        name = deliveries_key(feed).to_user_string()
        deployment = self._stored.deployment
        ready = deployment.ready(feed)
        for each in islice((each for each in deployment.pending(feed) if each not in ready), _FILES):
            taker = "`platform run` takes it in" if self._seen.by_command else "It is taken in by itself"
            remedy = (
                f"{taker} as soon as that is there."
                if each.waits_for
                else (
                    f"{taker} once it has been untouched for {each.settle.total_seconds():g} s. "
                    "If nobody writes it any more, look at the machine's clock."
                )
            )
            what = f"{printable(each.slot)} {each.unfinished}"
            yield Cause("file not settled", name, what, remedy=remedy, since=each.changed_at)
        if ready:
            waiting = f"{len(ready)} new file{'s' * (len(ready) > 1)}, the first {printable(ready[0].slot)}"
            yield self._not_taken(feed, waiting, max(each.size for each in ready))
        theirs = self._stored.deliveries[feed.name]
        yield from islice(quarantined_deliveries(theirs), _FILES)
        if (missing := missing_delivery(self._seen, theirs)) is not None:
            yield missing

    def _not_taken(self, feed: Feed, waiting: str, needed: int) -> Cause:
        """Why settled files of the feed, the largest of which needs so many bytes, have not been taken in."""
        name = deliveries_key(feed).to_user_string()
        if (low := self._stored.deployment.disk.low(needed)) is not None:
            return Cause("disk low", name, f"{waiting}; {low.what}", remedy=low.remedy)
        if (run := self._seen.run_of(raw_key(feed))) is not None:
            return self._of_run(name, run, waiting)
        if (busy := self._held(name, waiting)) is not None:
            return busy
        down = self._nothing_drives(name, sensor_name(feed), waiting)
        for cause in self._failed_steps:
            if cause.asset == raw_key(feed).to_user_string():
                remedy = "It is tried again by itself, ever more rarely; `platform run` tries at once."
                if down is not None:
                    why_not = "" if self._seen.by_command else f": {down.kind}"
                    remedy = f"Nothing tries again by itself{why_not}. {down.remedy}"
                return replace(cause, asset=name, what=f"{waiting}; {cause.what}", effect="", remedy=remedy)
        if down is not None:
            return down
        remedy = "The feed's sensor asks within seconds."
        return Cause("new file", name, f"{waiting}, not asked for yet", remedy=remedy)

    def _nothing_drives(self, name: str, sensor: str, waiting: str) -> Cause | None:
        """What would have to ask for a run, where it cannot."""
        if self._seen.by_command:
            takes = [name.replace("deliveries/", "raw/", 1)] if name.startswith("deliveries/") else []
            made = [each for each in self._stored.assets.to_run(takes) if each not in takes]
            does = " and ".join(["takes it in"] * bool(takes) + [f"makes {listed(made)}"] * bool(made))
            kind: Kind = "new file" if takes else "out of date"
            return Cause(kind, name, f"{waiting}; runs are made by command here", remedy=f"`platform run` {does}.")
        if self._seen.silent_daemons:
            return Cause(
                "daemon down",
                name,
                f"{waiting}; nothing asks for a run, since Dagster's daemon is not running "
                f"({', '.join(self._seen.silent_daemons)})",
                remedy="Start it: `platform ui` (or run by hand: `platform run`).",
            )
        state = self._seen.sensors.get(sensor)
        if state is not None and not state.running:
            remedy = f"Switch it on in the UI (Automation, {sensor}), or `dagster sensor start {sensor}`."
            what = f"{waiting}; sensor {sensor} is switched off"
            return Cause("sensor off", name, what, remedy=remedy, since=state.at)
        for cause in failed_sensors(self._seen, self._stored.feeds):
            if cause.key == f"sensor:{sensor}":
                return replace(cause, asset=name, what=f"{waiting}; {cause.what}", effect="")
        return None

    def _of_run(self, name: str, run: dg.DagsterRun, waiting: str) -> Cause:
        """What a run that is to bring the data waits for."""

        def waits(kind: Kind, what: str, remedy: str) -> Cause:
            return Cause(kind, name, f"{waiting}; run {run.run_id[:8]} {what}", remedy=remedy)

        if run.status in (dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED):
            if "QUEUED_RUN_COORDINATOR" in self._seen.silent_daemons:
                what = "is queued, and nothing starts it: Dagster's daemon is not running"
                return waits("daemon down", what, "Start it: `platform ui`.")
            return waits("run queued", "is queued", "It starts by itself.")
        holders = [(other, step) for other, step in self._seen.writing if other != run.run_id]
        if self._seen.waits_to_write(run) and holders:
            holder, step = holders[0]
            what = f"waits for the writer's turn, which run {holder[:8]} has ({step})"
            return waits("pool busy", what, "It goes on by itself when that step ends.")
        if (busy := self._held(name, f"{waiting}; run {run.run_id[:8]} waits")) is not None:
            return busy
        return waits("run under way", "is at work", "Nothing to do.")

    def _held(self, name: str, waiting: str) -> Cause | None:
        """That a process which is no run of ours holds the warehouse, and everybody waits for it."""
        holder = self._stored.deployment.warehouse.held_by()
        ours = {run.tags.get(PROCESS_TAG, "@").split("@")[0] for run in self._seen.under_way}
        if holder is None or holder.split()[1] in ours:
            return None
        remedy = "It goes on when that process ends; close it if it is a SQL shell left open."
        return Cause("pool busy", name, f"{waiting}; the warehouse is held by {holder}", remedy=remedy)

    def _out_of_date(self, key: dg.AssetKey) -> Iterator[Cause]:
        """Why an asset that is out of date is not made anew."""
        state, name = self._stored.assets, key.to_user_string()
        if name not in state.project.nodes or not state.begun:
            return
        outdated = state.outdated(name)
        if outdated is None:
            return
        if (run := self._seen.run_of(key)) is not None:
            yield self._of_run(name, run, outdated)
            return
        if (cause := state.first_cause(name)) is not None and cause.kind in OF_A_PRODUCT:
            if state.project.product_of(name) is not None:
                yield replace(cause, asset=name)
            return
        if cause is not None:
            # What is above says itself what is wrong with it.
            if key == self._asked:
                by_itself = "`platform run` makes it" if self._seen.by_command else "It is made by itself"
                remedy = f"{by_itself} as soon as that is mended."
                yield Cause("held back", name, state.held_words(cause), remedy=remedy)
            return
        feed = state.project.nodes[name].feed
        if down := self._nothing_drives(name, AUTOMATION if feed is None else sensor_name(feed), outdated):
            yield down
        elif waits := barred(state, self._stored.deployment, self._seen.instance, [name]).get(name):
            yield replace(waits, what=f"{outdated}; {waits.what}")
        else:
            yield Cause("not asked for yet", name, outdated, remedy="It is asked for within seconds.")
