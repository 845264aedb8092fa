"""A feed in Dagster: its raw asset and quarantine, their checks, its freshness policy and its sensor.

Belongs here: what is derived from every feed alike. Does not: anything that names a feed.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

import dagster as dg

from platform_assets.engine import failpoint
from platform_assets.engine.contract import columns_of, listed
from platform_assets.engine.deployment import FeedStatus
from platform_assets.engine.feed import Feed
from platform_assets.engine.landing import Arrival, settled
from platform_assets.engine.ledger import Ledger, Receipt
from platform_assets.engine.tables import FeedTables
from platform_assets.engine.volume import judge
from platform_assets.orchestration.resources import DeploymentResource, OpensDeployment

WRITER_POOL: Final = "duckdb_writer"
_SENSOR_INTERVAL_S: Final = 5
_SHOWN: Final = 20


def raw_key(feed: Feed) -> dg.AssetKey:
    """The key of a feed's accepted rows."""
    return dg.AssetKey(["raw", feed.origin, feed.name])


def quarantine_key(feed: Feed) -> dg.AssetKey:
    """The key of a feed's rejected rows."""
    return dg.AssetKey(["quarantine", feed.origin, feed.name])


def freshness_policy(feed: Feed) -> dg.FreshnessPolicy:
    """Dagster's policy: a load at least as often as the cadence promises a delivery."""
    window = feed.delivered.longest_gap()
    return dg.FreshnessPolicy.time_window(fail_window=window, warn_window=max(window * 0.9, timedelta(minutes=1)))


def feed_assets(feed: Feed) -> dg.AssetsDefinition:
    """Raw and quarantine of a feed, loaded together in one transaction."""
    raw = dg.AssetSpec(
        raw_key(feed),
        group_name="raw",
        owners=[feed.owner],
        kinds={"duckdb", "pandera"},
        description=_described(feed),
        freshness_policy=freshness_policy(feed),
        metadata={
            "dagster/column_schema": _column_schema(feed),
            "dagster/table_name": f"raw.{feed.name}",
            "source": ", ".join(feed.source.patterns),
            "cadence": f"{feed.delivered.cron} ({feed.delivered.timezone}), within {feed.delivered.within}",
        },
    )
    quarantine = dg.AssetSpec(
        quarantine_key(feed),
        group_name="quarantine",
        owners=[feed.owner],
        kinds={"duckdb"},
        description=f"Rows of **{feed.name}** that break its contract, as they arrived, with every reason. "
        "They wait here until the contract or the producer is mended.",
        metadata={"dagster/table_name": f"quarantine.{feed.name}"},
    )

    @dg.multi_asset(
        name=f"ingest_{feed.name}",
        specs=[raw, quarantine],
        can_subset=True,
        pool=WRITER_POOL,
        description=f"Take in whatever is new under {', '.join(feed.source.patterns)}, exactly once.",
    )
    def ingest_feed(
        context: dg.AssetExecutionContext, deployment: DeploymentResource
    ) -> Iterator[dg.MaterializeResult[Any]]:
        opened = deployment.open(context)
        outcome = opened.ingest(opened.feed(feed.name))
        for slot, why in outcome.unfinished.items():
            opened.notify(f"{slot}: {why}; left alone and offered again")
        (status,) = opened.status([opened.feed(feed.name)])
        version = dg.DataVersion(str(status.revision))
        for key, metadata in (
            (raw.key, _raw_metadata(status, outcome.receipts)),
            (quarantine.key, _quarantine_metadata(status)),
        ):
            if key in context.selected_asset_keys:
                yield dg.MaterializeResult(asset_key=key, metadata=metadata, data_version=version)
            else:
                # Both tables are loaded in one transaction, whichever was asked for; what is below must hear of it.
                tags = {"dagster/data_version": version.value}
                context.log_event(dg.AssetMaterialization(key, metadata=metadata, tags=tags))

    return ingest_feed


def feed_checks(feed: Feed) -> dg.AssetChecksDefinition:
    """What a feed's raw asset is held to, by the ledger; runs with a load or on its own."""
    key = raw_key(feed)
    reconciles = dg.AssetCheckSpec(
        "receipts_reconcile",
        asset=key,
        blocking=True,
        description="For every delivery: read = accepted + rejected + duplicate, and raw and quarantine hold "
        "just those rows.",
    )
    tolerated = dg.AssetCheckSpec(
        "rejects_within_tolerance",
        asset=key,
        blocking=True,
        description=f"No delivery in force has more rejected rows than {feed.tolerate.rate:.1%} of it "
        f"or {feed.tolerate.rows}, whichever is more.",
    )
    drift = dg.AssetCheckSpec(
        "no_drift",
        asset=key,
        description="The newest deliveries have the columns that the contract declares, and no other.",
    )
    waiting = dg.AssetCheckSpec(
        "no_delivery_quarantined",
        asset=key,
        description="No delivery waits in quarantine as a whole.",
    )
    volume = dg.AssetCheckSpec(
        "volume_as_usual",
        asset=key,
        blocking=True,
        description="The newest deliveries have about as many rows as those of the same weekday before them; "
        "what was cut off at a line's end looks whole otherwise.",
    )

    @dg.multi_asset_check(
        name=f"check_{feed.name}",
        specs=[reconciles, tolerated, volume, drift, waiting],
        can_subset=True,
        pool=WRITER_POOL,
    )
    def check_feed(
        context: dg.AssetCheckExecutionContext, deployment: DeploymentResource
    ) -> Iterator[dg.AssetCheckResult]:
        opened = deployment.open(context)
        with opened.warehouse.open(f"check {feed.name}") as connection:
            receipts = Ledger(connection).receipts(feed.name)
            stored = FeedTables(connection, opened.feed(feed.name)).row_counts()
        in_force = [receipt for receipt in receipts if receipt.status == "accepted"]
        usual = judge(opened.feed(feed.name), receipts)
        results = [
            (reconciles, _unreconciled(receipts, stored)),
            (tolerated, [r for r in in_force if not feed.tolerate.allows(r.rejected, r.read)]),
            (volume, [unusual.receipt for unusual in usual.unusual]),
            (drift, [r for r in in_force[:_SHOWN] if r.unknown_columns]),
            (waiting, [r for r in receipts if r.status == "quarantined"]),
        ]
        selected = {check.name for check in context.selected_asset_check_keys}
        for spec, failing in results:
            if spec.name in selected:
                yield dg.AssetCheckResult(
                    asset_key=key,
                    check_name=spec.name,
                    passed=not failing,
                    severity=dg.AssetCheckSeverity.ERROR if spec.blocking else dg.AssetCheckSeverity.WARN,
                    description=str(usual) if spec is volume else _summary(failing, len(in_force)),
                    metadata=_failing_metadata(failing),
                )

    return check_feed


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


def _described(feed: Feed) -> str:
    promise = (
        f"Delivered by `{feed.delivered.cron}` ({feed.delivered.timezone}), at most {feed.delivered.within} late. "
        f"Owner: {feed.owner}."
    )
    return f"{feed.description}\n\n{promise}\n\nFiles: `{'`, `'.join(feed.source.patterns)}`."


def _column_schema(feed: Feed) -> dg.TableSchema:
    columns = [
        dg.TableColumn(
            column.name,
            column.sql_type,
            description=column.description + (f" (PII: {column.pii})" if column.pii else ""),
            constraints=dg.TableColumnConstraints(nullable=column.nullable, other=list(column.rules)),
        )
        for column in columns_of(feed.contract)
    ]
    lineage = [
        dg.TableColumn("_delivery_id", "BIGINT", description="The delivery the row came with; see ledger.deliveries"),
        dg.TableColumn("_line", "BIGINT", description="The physical line of the row in its delivery"),
    ]
    return dg.TableSchema(columns=columns + lineage)


def _raw_metadata(status: FeedStatus, receipts: Sequence[Receipt]) -> Mapping[str, Any]:
    figures = {
        figure: sum(getattr(receipt, figure) for receipt in receipts)
        for figure in ("read", "accepted", "rejected", "duplicate")
    }
    newest = {"newest_data": dg.MetadataValue.timestamp(status.newest)} if status.newest else {}
    return {
        "deliveries": len(receipts),
        **figures,
        "freshness": status.freshness,
        **newest,
        "dagster/row_count": status.totals.rows,
        "receipts": dg.MetadataValue.md(_receipts_table(receipts)),
    }


def _quarantine_metadata(status: FeedStatus) -> Mapping[str, Any]:
    rows = sum(rows for _, _, rows in status.reasons)
    reasons = [f"| {_inert(column or '')} | {_inert(rule)} | {rows} |" for column, rule, rows in status.reasons]
    table = "\n".join(["| column | rule | broken |", "|---|---|---|", *reasons]) if reasons else "nothing is rejected"
    return {
        "broken_rules": rows,
        "deliveries_waiting": status.totals.waiting,
        "reasons": dg.MetadataValue.md(table),
    }


def _receipts_table(receipts: Sequence[Receipt]) -> str:
    if not receipts:
        return "nothing new"
    head = "| delivery | file | status | read | accepted | rejected | duplicate | |\n|---|---|---|---|---|---|---|---|"
    rows = [
        f"| {r.delivery_id} | {_inert(r.slot)} | {r.status} | {r.read} | {r.accepted} | {r.rejected} | {r.duplicate} "
        f"| {_inert(r.problem or '')} |"
        for r in receipts[-_SHOWN:]
    ]
    more = f"\n\nand {len(receipts) - _SHOWN} before these" if len(receipts) > _SHOWN else ""
    return "\n".join([head, *rows]) + more


def _inert(text: str) -> str:
    """What came from outside, as Markdown that shows it and does nothing else."""
    cleaned = "".join(c if c.isprintable() else "·" for c in text).replace("`", "'").replace("|", "¦")
    return f"`{cleaned}`" if cleaned else ""


def _unreconciled(receipts: Sequence[Receipt], stored: Mapping[int, tuple[int, int]]) -> list[Receipt]:
    def held(receipt: Receipt) -> tuple[int, int]:
        return (receipt.accepted, receipt.rejected) if receipt.status == "accepted" else (0, 0)

    wrong = [r for r in receipts if not r.reconciles or stored.get(r.delivery_id, (0, 0)) != held(r)]
    known = {receipt.delivery_id for receipt in receipts}
    if strangers := sorted(set(stored) - known):
        raise dg.Failure(f"rows of deliveries without a receipt: {strangers[:_SHOWN]}")
    return wrong


def _summary(failing: Sequence[Receipt], deliveries: int) -> str:
    if not failing:
        return f"0 failed; {deliveries} deliveries in force"
    worst = failing[0]
    reason = worst.problem or (f"unknown columns {listed(worst.unknown_columns)}" if worst.unknown_columns else None)
    return f"{len(failing)} failed, the newest: {worst.slot}: " + (
        reason or f"{worst.rejected} of {worst.read} rows rejected"
    )


def _failing_metadata(failing: Sequence[Receipt]) -> Mapping[str, Any]:
    return {"failed": len(failing)} | ({"deliveries": dg.MetadataValue.md(_receipts_table(failing))} if failing else {})
