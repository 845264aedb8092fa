"""Why an asset did not run, is stale or is red: the first cause, in plain words.

Belongs here: what is asked, in which order, and how the answer reads. Does not: what is seen (observed.py), what is
told unasked (problems.py).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

import dagster as dg

from platform_assets.engine.deployment import Deployment
from platform_assets.engine.feed.feed import Feed
from platform_assets.engine.promises.promise import missing
from platform_assets.errors import ConfigurationError
from platform_assets.orchestration.runs.automation import barred
from platform_assets.orchestration.runs.keys import deliveries_key, quarantine_key, raw_key, sensor_name
from platform_assets.orchestration.runs.process import PROCESS_TAG
from platform_assets.orchestration.watch.observed import CONSEQUENCES, Observed
from platform_assets.project.state import State

Kind = Literal[
    "daemon down",
    "sensor off",
    "sensor failed",
    "file not settled",
    "new file",
    "delivery quarantined",
    "delivery missing",
    "check failed",
    "pool busy",
    "run queued",
    "run under way",
    "run failed",
    "dbt error",
    "held back",
    "run cancelled",
    "waits to try again",
    "not asked for yet",
    "all is well",
]
AUTOMATION: Final = "automation"
_FILES: Final = 3


@dataclass(frozen=True)
class Reason:
    """Something that keeps data from an asset. said: what; then: what happens by itself, or what to do."""

    asset: str
    kind: Kind
    said: str
    then: str
    since: datetime | None = None


def why(asset: dg.AssetKey, seen: Observed, deployment: Deployment, state: State) -> list[Reason]:
    """Everything that keeps data from the asset, the first cause first; that all is well, if nothing does."""
    found = [
        reason
        for key in seen.above(asset)
        for reason in _Asking(seen, deployment, state, key, asked=key == asset).reasons()
    ]
    if found:
        return found
    at = seen.made.get(asset)
    said = "nothing keeps it back" + (f"; it was last made {at:%Y-%m-%d %H:%M} UTC" if at is not None else "")
    return [Reason(asset.to_user_string(), "all is well", said, "Nothing to do.", at)]


def asset_named(name: str, seen: Observed) -> dg.AssetKey:
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
    raise ConfigurationError(f"asset {name!r}", problem, f"Name one, such as {near}.")


class _Asking:
    """What is asked of one asset."""

    def __init__(self, seen: Observed, deployment: Deployment, state: State, key: dg.AssetKey, *, asked: bool) -> None:
        self._seen = seen
        self._state = state
        self._asked = asked
        self._deployment = deployment
        self._key = key
        self._name = key.to_user_string()

    def reasons(self) -> Iterator[Reason]:
        for feed in self._deployment.feeds:
            if self._key == deliveries_key(feed):
                yield from self._of_feed(feed)
                return
        yield from self._failed()
        yield from self._checks()
        yield from self._out_of_date()

    def _reason(self, kind: Kind, said: str, then: str, since: datetime | None = None) -> Reason:
        return Reason(self._name, kind, said, then, since)

    def _of_feed(self, feed: Feed) -> Iterator[Reason]:
        """What a feed waits for, before there is anything of it in raw."""
        ready = self._deployment.ready(feed)
        for each in [each for each in self._deployment.pending(feed) if each not in ready][:_FILES]:
            then = (
                "It is taken in by itself as soon as that is there."
                if each.waits_for
                else (
                    f"It is taken in by itself once it has been untouched for {each.settle.total_seconds():g} s. "
                    "If nobody writes it any more, look at the machine's clock."
                )
            )
            yield self._reason("file not settled", f"{each.slot} {each.unfinished}", then, each.arrived_at)
        if ready:
            waiting = f"{len(ready)} new file{'s' * (len(ready) > 1)}, the first {ready[0].slot}"
            yield self._not_taken(feed, waiting)
        receipts = self._deployment.receipts_published(feed)
        for receipt in [receipt for receipt in receipts if receipt.status == "quarantined"][:_FILES]:
            place = f", line {receipt.problem_line}" if receipt.problem_line else ""
            place += f", column {receipt.problem_column}" if receipt.problem_column else ""
            yield self._reason(
                "delivery quarantined",
                f"delivery {receipt.delivery_id}, {receipt.slot}{place}: {receipt.problem}",
                f"{receipt.remedy or ''} Then it is offered again by itself. `platform quarantine list {feed.name}`",
                receipt.committed_at,
            )
        for absent in missing(feed, receipts, self._seen.now):
            then = f"Ask {feed.owner} for it; `platform promises` shows the feed's record."
            yield self._reason("delivery missing", str(absent), then, absent.late_since)

    def _not_taken(self, feed: Feed, waiting: str) -> Reason:
        """Why settled files of the feed have not been taken in."""
        if (run := self._seen.run_of(raw_key(feed))) is not None:
            return self._of_run(run, waiting)
        if (busy := self._held(waiting)) is not None:
            return busy
        down = self._nothing_drives(sensor_name(feed), waiting)
        for step in self._seen.failed:
            if raw_key(feed) in step.assets:
                said = f"{waiting}; run {step.run.run_id[:8]}, which was to take them in, failed: {step.error}"
                by_itself = "It is tried again by itself, ever more rarely; `platform run` tries at once."
                then = by_itself if down is None else f"Nothing tries again by itself: {down.kind}. {down.then}"
                return self._reason("run failed", said, then, step.at)
        if down is not None:
            return down
        return self._reason("new file", f"{waiting}, not asked for yet", "The feed's sensor asks within seconds.")

    def _nothing_drives(self, sensor: str, waiting: str) -> Reason | None:
        """What would have to ask for a run, where it cannot."""
        if self._seen.silent_daemons:
            return self._reason(
                "daemon down",
                f"{waiting}; nothing asks for a run, since Dagster's daemon is not running "
                f"({', '.join(self._seen.silent_daemons)})",
                "Start it: `platform ui` (or run by hand: `platform run`).",
            )
        state = self._seen.sensors.get(sensor)
        if state is not None and not state.running:
            return self._reason(
                "sensor off", f"{waiting}; sensor {sensor} is switched off",
                f"Switch it on in the UI (Automation, {sensor}), or `dagster sensor start {sensor}`.", state.at,
            )  # fmt: skip
        if state is not None and state.error is not None:
            then = f"Mend what it says; it goes on by itself. The UI has the whole error (Automation, {sensor})."
            return self._reason("sensor failed", f"{waiting}; sensor {sensor} failed: {state.error}", then, state.at)
        return None

    def _of_run(self, run: dg.DagsterRun, waiting: str) -> Reason:
        """What a run that is to bring the data waits for."""
        name = f"run {run.run_id[:8]}"
        if run.status in (dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED):
            if "QUEUED_RUN_COORDINATOR" in self._seen.silent_daemons:
                said = f"{waiting}; {name} is queued, and nothing starts it: Dagster's daemon is not running"
                return self._reason("daemon down", said, "Start it: `platform ui`.")
            return self._reason("run queued", f"{waiting}; {name} is queued", "It starts by itself.")
        holders = [(other, step) for other, step in self._seen.writing if other != run.run_id]
        if self._seen.waits_to_write(run) and holders:
            holder, step = holders[0]
            said = f"{waiting}; {name} waits for the writer's turn, which run {holder[:8]} has ({step})"
            return self._reason("pool busy", said, "It goes on by itself when that step ends.")
        if (busy := self._held(f"{waiting}; {name} waits")) is not None:
            return busy
        return self._reason("run under way", f"{waiting}; {name} is at work", "Nothing to do.")

    def _held(self, waiting: str) -> Reason | None:
        """That a process which is no run of ours holds the warehouse, and everybody waits for it."""
        holder = self._deployment.warehouse.held_by()
        ours = {run.tags.get(PROCESS_TAG, "@").split("@")[0] for run in self._seen.under_way}
        if holder is None or holder.split()[1] in ours:
            return None
        then = "It goes on when that process ends; close it if it is a SQL shell left open."
        return self._reason("pool busy", f"{waiting}; the warehouse is held by {holder}", then)

    def _failed(self) -> Iterator[Reason]:
        if any(self._key == quarantine_key(feed) for feed in self._deployment.feeds):
            return  # what fails there is told of its raw asset
        for step in self._seen.failed:
            if self._key not in step.assets:
                continue
            run = step.run.run_id[:8]
            if step.models:
                if (error := step.models.get(self._name)) is not None:
                    then = "Mend the model; then `platform run`. Readers keep the last release."
                    yield self._reason("dbt error", f"dbt, run {run}: {error}", then, step.at)
                continue
            then = "What may pass is tried again by itself; after mending the cause, `platform run`."
            where = f"run {run}, step {step.step}" if step.step else f"run {run}"
            yield self._reason("run failed", f"{where}: {step.error}", then, step.at)

    def _checks(self) -> Iterator[Reason]:
        failing = [
            check
            for key, check in self._seen.checks.items()
            if key.asset_key == self._key and not check.passed and key.name not in CONSEQUENCES
        ]
        for check in sorted(failing, key=lambda check: (not check.blocking, check.check.name)):
            said = f"check {check.check.name} failed ({check.holds}): {check.description}"
            then = f'Its page in the UI shows rows; after mending: `platform check "key:{self._name}"`.'
            yield self._reason("check failed", said, then, check.at)

    def _out_of_date(self) -> Iterator[Reason]:
        """Why an asset that is out of date is not made anew."""
        state = self._state
        if self._name not in state.project.nodes or not state.begun:
            return
        why = state.outdated(self._name)
        if why is None:
            return
        if (run := self._seen.run_of(self._key)) is not None:
            yield self._of_run(run, why)
            return
        if (cause := state.first_cause(self._name)) is not None:
            # What is above says itself what is wrong with it.
            if self._asked:
                then = "It is made by itself as soon as that is mended."
                yield self._reason("held back", f"{why}; held back, since {cause.said}", then)
            return
        feed = state.project.nodes[self._name].feed
        if down := self._nothing_drives(AUTOMATION if feed is None else sensor_name(feed), why):
            yield down
            return
        bar = barred(state, self._deployment, self._seen.instance, [self._name]).get(self._name)
        if bar is None:
            yield self._reason("not asked for yet", why, "It is asked for within seconds.")
        elif bar.person:
            yield self._reason("run cancelled", f"{why}; {bar.said}", "`platform run` makes it at once.")
        else:
            then = "It is tried again by itself; `platform run` tries at once."
            yield self._reason("waits to try again", f"{why}; {bar.said}", then)
