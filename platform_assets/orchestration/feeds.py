"""A feed in Dagster: its raw asset and its quarantine, and what the UI says of them.

Belongs here: what is derived from every feed alike. Does not: checks (checks.py), sensors (sensors.py).
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

import dagster as dg

from platform_assets.engine.contract import columns_of
from platform_assets.engine.deployment import FeedStatus
from platform_assets.engine.feed import Feed
from platform_assets.engine.ledger import Receipt
from platform_assets.orchestration.resources import DeploymentResource

WRITER_POOL: Final = "duckdb_writer"
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
        "receipts": dg.MetadataValue.md(receipts_table(receipts)),
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


def receipts_table(receipts: Sequence[Receipt]) -> str:
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
