"""What has happened since one looked last, a line each: runs that began and ended, deliveries, checks that failed.

Belongs here: the lines that `platform ui` prints. Elsewhere: details (runs/details.py), who is alerted (problems.py).
By what Dagster and the ledger have stored, whoever ran it: the daemon, a person in the UI, a command beside it.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import dagster as dg

from platform_assets.engine.deployment import Deployment
from platform_assets.engine.store.receipts import Receipt
from platform_assets.errors import LONGEST_SHOWN, counted, listed, printable
from platform_assets.orchestration.runs.keys import BY_COMMAND_TAG, HELD_TAG, feed_tag
from platform_assets.orchestration.watch.failures import innermost, message_of

_OVERLAP: Final = timedelta(seconds=2)  # times of updates are kept in whole seconds
_MOST_RUNS: Final = 100
_ONE_BY_ONE: Final = 5  # deliveries of a run
_LONGEST: Final = 300  # characters of a message
_HEARD: Final = {
    dg.DagsterEventType.ASSET_MATERIALIZATION,
    dg.DagsterEventType.ASSET_CHECK_EVALUATION,
    dg.DagsterEventType.STEP_FAILURE,
    dg.DagsterEventType.RUN_FAILURE,
}


class Happened:
    """Asked again and again. look: the deployment, its state untouched."""

    def __init__(self, instance: dg.DagsterInstance, look: Callable[[], Deployment]) -> None:
        self._instance = instance
        self._look = look
        self._since = datetime.fromtimestamp(time.time(), tz=UTC)
        self._told: dict[str, dg.DagsterRunStatus] = {}

    def lines(self) -> Iterator[str]:
        """What has happened since this was asked last, or since this object was made."""
        records = self._instance.get_run_records(
            dg.RunsFilter(updated_after=self._since - _OVERLAP), limit=_MOST_RUNS, order_by="update_timestamp"
        )
        for record in reversed(records):
            run = record.dagster_run
            self._since = max(self._since, record.update_timestamp.replace(tzinfo=UTC))
            if self._told.get(run.run_id) == run.status:
                continue
            if run.is_finished:
                yield from self._ended(record)
            elif run.status == dg.DagsterRunStatus.STARTED:
                yield f"run {run.run_id[:8]} began: {self._what(run)}"
            self._told[run.run_id] = run.status

    def _what(self, run: dg.DagsterRun) -> str:
        """What the run is to do, in words."""
        said = [f"by `{run.tags[BY_COMMAND_TAG]}`"] if BY_COMMAND_TAG in run.tags else []
        said += [f"what is new of {feed}" for feed in self._feeds(run)]
        names = sorted(key.to_user_string() for key in run.asset_selection or ())
        if names:
            said.append(f"to make {listed(names, 2)}")
        return ", ".join(said) or printable(run.job_name, LONGEST_SHOWN)

    def _feeds(self, run: dg.DagsterRun) -> list[str]:
        return [feed.name for feed in self._look().feeds if feed_tag(feed) in run.tags]

    def _ended(self, record: dg.RunRecord) -> Iterator[str]:
        run = record.dagster_run
        began = datetime.fromtimestamp(record.start_time or record.create_timestamp.timestamp(), tz=UTC)
        deployment = self._look()
        for feed in self._feeds(run):
            receipts = deployment.receipts_published(deployment.feed(feed))
            mine = [each for each in receipts if max(each.committed_at, each.replayed_at or each.committed_at) >= began]
            yield from (f"{feed}: {each}" for each in _deliveries(mine[::-1]))
        made, failed = [], []
        for entry in self._instance.all_logs(run.run_id, of_type=_HEARD):
            event = entry.dagster_event
            if event is None:
                continue
            if event.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION:
                evaluation = event.asset_check_evaluation_data
                if not evaluation.passed:
                    asset = evaluation.asset_key.to_user_string()
                    about = f"{asset}: {evaluation.check_name}: {printable(evaluation.description or '', _LONGEST)}"
                    yield f"check failed: {about} (platform why {asset})"
            elif event.event_type == dg.DagsterEventType.ASSET_MATERIALIZATION and event.asset_key is not None:
                made.append(event)
            elif event.is_step_failure:
                error = innermost(event.step_failure_data.error)
                if error is None or error.cls_name != "DagsterAssetCheckFailedError":
                    failed.append(f"{event.step_key}: {message_of(error).partition(chr(10))[0]}")
        words = {dg.DagsterRunStatus.SUCCESS: "ended well", dg.DagsterRunStatus.CANCELED: "was cancelled"}
        held = ", what is below a failed check is held back" if HELD_TAG in run.tags else ""
        took = (record.end_time or time.time()) - began.timestamp()
        how = f"run {run.run_id[:8]} {words.get(run.status, 'failed')} after {took:.0f} s{held}"
        yield ": ".join([how, *[printable(each, _LONGEST) for each in failed[:1]], _made(made)])


def _made(events: Sequence[dg.DagsterEvent]) -> str:
    """What a run made, in words."""
    if not events:
        return "nothing was made"
    said = [counted(len(events), "asset")]
    for event in events:
        release = event.step_materialization_data.materialization.metadata.get("release")
        if isinstance(release, dg.TextMetadataValue):
            said.append(f"release {release.value}")
    return f"{' and '.join(said)} made"


def _deliveries(receipts: Sequence[Receipt]) -> Iterator[str]:
    """What came of one feed, oldest first: one by one, or all in a line where there are many."""
    if len(receipts) <= _ONE_BY_ONE:
        for each in receipts:
            figures = f"{each.accepted:,} of {counted(each.read, 'row')} accepted, {each.rejected:,} rejected"
            said = {"quarantined": f"quarantined: {each.trouble}", "duplicate": "came before; no new rows"}
            yield f"{printable(each.slot, LONGEST_SHOWN)}: {printable(said.get(each.status, figures), _LONGEST)}"
        return
    read, accepted, rejected = (sum(getattr(r, name) for r in receipts) for name in ("read", "accepted", "rejected"))
    whole = sum(each.status == "quarantined" for each in receipts)
    waiting = f"; {counted(whole, 'delivery')} quarantined as a whole" if whole else ""
    rows = f"{accepted:,} of {counted(read, 'row')} accepted, {rejected:,} rejected"
    yield f"{counted(len(receipts), 'delivery')}: {rows}{waiting}"
