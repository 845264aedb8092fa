"""Checks of a feed's raw asset: what its receipts, its tables and its own history say.

Belongs here: asking the engine and telling Dagster. Does not: how anything is judged (engine), marts (marts.py).
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import dagster as dg

from platform_assets.engine.contract import listed
from platform_assets.engine.feed import Feed
from platform_assets.engine.ledger import Ledger, Receipt
from platform_assets.engine.tables import FeedTables
from platform_assets.engine.volume import judge
from platform_assets.orchestration.feeds import WRITER_POOL, raw_key, receipts_table
from platform_assets.orchestration.resources import DeploymentResource

_SHOWN: Final = 20


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
    return {"failed": len(failing)} | ({"deliveries": dg.MetadataValue.md(receipts_table(failing))} if failing else {})
