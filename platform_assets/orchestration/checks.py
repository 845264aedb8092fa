"""Checks of a feed's raw asset: by its receipts, its tables and its own history.

Belongs here: asking the engine, and the results that Dagster is told. Elsewhere: how anything is decided (engine),
checks of marts (marts.py).
"""

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Final

import dagster as dg

from platform_assets.engine.anomalies.profile import check_values, profiles
from platform_assets.engine.anomalies.volume import check_volume
from platform_assets.engine.deployment import Deployment
from platform_assets.engine.feed.feed import Feed
from platform_assets.engine.store.published import NEWEST
from platform_assets.engine.store.receipts import Receipt
from platform_assets.errors import counted, listed
from platform_assets.orchestration.feed_metadata import receipts_table
from platform_assets.orchestration.held import Verdict
from platform_assets.orchestration.markdown import code, rejected, table
from platform_assets.orchestration.runs.keys import raw_key
from platform_assets.orchestration.watch.freshness import FRESH, freshness_result
from platform_assets.orchestration.watch.runbooks import of_check, shown

_SHOWN: Final = 20
_SAMPLES: Final = 10
_COUNTED: Final = 1_000


def check_specs(feed: Feed) -> list[dg.AssetCheckSpec]:
    """What a feed's raw asset is held to; evaluated with every load, or on its own."""
    blocking = {
        "receipts_reconcile": "For every delivery: read = accepted + rejected + duplicate + erased, and raw and "
        "quarantine hold just those rows.",
        "rejects_within_tolerance": f"No delivery in force has more rejected rows than {feed.tolerate.rate:.1%} of it "
        f"or {feed.tolerate.rows}, whichever is more.",
        "volume_as_usual": "The newest deliveries have about as many rows as those of the same weekday before them; "
        "what was cut off at a line's end looks whole otherwise.",
    }
    telling = {
        "no_drift": "The newest deliveries have the columns that the contract declares, and no other.",
        "no_delivery_quarantined": "No delivery waits in quarantine as a whole.",
        "nulls_as_usual": "The newest deliveries have about as many empty values in each column as those of the same "
        "weekday before them.",
        "values_as_usual": "The values of the newest deliveries are about as large, as many different ones and as "
        "often the same as those of the same weekday before them.",
        FRESH: "The data that is due is here: what counts is the time of the data, not of the load. "
        f"Due: {feed.delivered}.",
    }
    return [
        dg.AssetCheckSpec(name, asset=raw_key(feed), blocking=name in blocking, description=description)
        for name, description in (blocking | telling).items()
    ]


def evaluated(deployment: Deployment, feed: Feed, wanted: AbstractSet[str]) -> Iterator[dg.AssetCheckResult]:
    """The results of the feed's checks that are `wanted`, by name."""
    if not wanted:
        return
    with deployment.warehouse.transaction(f"check {feed.name}") as unit:
        ledger, tables = unit.ledger, unit.tables(feed)
        receipts = ledger.newest(feed.name, NEWEST)
        tables.refuse_retyped()
        in_force = [receipt for receipt in receipts if receipt.status == "accepted"]
        deliveries = ledger.totals(feed.name).in_force
        unreconciled, intolerable = ledger.unsound(feed.name, feed.tolerate.rate, feed.tolerate.rows)
        unaccounted = tables.unaccounted(_COUNTED)
        known = ledger.by_id(unaccounted)
        samples = list(unit.quarantine(feed).first_rows([r.delivery_id for r in intolerable], _SAMPLES))
        figures = profiles(unit, feed, receipts)
        waiting = ledger.waiting(feed.name)[::-1]
    if strangers := sorted({*unaccounted} - {receipt.delivery_id for receipt in known}):
        raise dg.Failure(f"rows of deliveries without a receipt: {strangers[:_SHOWN]}")
    usual = check_volume(feed, receipts)
    allowed = [receipt for receipt in in_force if receipt.allowed is not None]
    strange = [receipt for receipt in in_force[:_SHOWN] if receipt.unknown_columns]
    newest = [receipt for receipt in allowed if receipt in in_force[:_SHOWN]]
    let_through = dict.fromkeys(("volume_as_usual", "nulls_as_usual", "values_as_usual"), newest) | {
        "rejects_within_tolerance": [r for r in allowed if not feed.tolerate.allows(r.rejected, r.read)],
        "no_drift": [receipt for receipt in strange if receipt.allowed is not None],
    }
    failing = {
        "receipts_reconcile": list({r.delivery_id: r for r in (*unreconciled, *known[::-1])}.values()),
        "rejects_within_tolerance": intolerable,
        "volume_as_usual": [unusual.receipt for unusual in usual.unusual],
        "no_drift": [receipt for receipt in strange if receipt.allowed is None],
        "no_delivery_quarantined": waiting,
    }
    summaries = {"volume_as_usual": code(str(usual)) if usual.unusual else str(usual)}
    samples_of = {
        "rejects_within_tolerance": rejected(samples) if samples else "",
        "no_delivery_quarantined": _problems_table(waiting),
    }
    as_usual = check_values(feed, receipts, figures)
    for name, result in zip(("nulls_as_usual", "values_as_usual"), as_usual, strict=True):
        failing[name] = list({odd.receipt.delivery_id: odd.receipt for odd in result.odd}.values())
        summaries[name] = code(str(result)) if result.odd else str(result)
        samples_of[name] = "\n".join(f"- {code(str(odd))}" for odd in result.odd[-_SHOWN:])
    for spec in check_specs(feed):
        if spec.name == FRESH and spec.name in wanted:
            yield freshness_result(raw_key(feed), deployment.freshness(feed, receipts))
        elif spec.name in wanted:
            wrong = failing[spec.name]
            yield Verdict(
                asset_key=spec.asset_key,
                check_name=spec.name,
                passed=not wrong,
                severity=dg.AssetCheckSeverity.ERROR if spec.blocking else dg.AssetCheckSeverity.WARN,
                description=(summaries.get(spec.name) or _summary(wrong, deliveries, drift=spec.name == "no_drift"))
                + _let_through(let_through.get(spec.name, ())),
                metadata=_failing_metadata(wrong, samples_of.get(spec.name, ""), spec.name),
            )


def _summary(failing: Sequence[Receipt], deliveries: int, *, drift: bool) -> str:
    if not failing:
        return f"0 failed; {counted(deliveries, 'delivery')} in force"
    newest = failing[0]
    trouble = f"unknown columns {listed(newest.unknown_columns)}" if drift else newest.trouble
    newest_of = f"{len(failing)} deliveries, the newest: " * (len(failing) > 1)
    return f"{newest_of}{code(newest.slot)}: {code(trouble)}"


def _let_through(receipts: Sequence[Receipt]) -> str:
    """Which deliveries are not judged, for a person accepted them."""
    if not receipts:
        return ""
    more = f" and {len(receipts) - 1} more" if len(receipts) > 1 else ""
    return f"; not judged: {code(receipts[0].slot)}: {code(receipts[0].decided)}{more}"


def _failing_metadata(
    failing: Sequence[Receipt], samples: str | dg.TableMetadataValue, check: str
) -> Mapping[str, Any]:
    if not failing:
        return {"failed": 0}
    return {
        "failed": len(failing),
        "deliveries": dg.MetadataValue.md(receipts_table(failing)),
        **({"samples": dg.MetadataValue.md(samples) if isinstance(samples, str) else samples} if samples else {}),
        **shown(of_check(check)),
    }


def _problems_table(waiting: Sequence[Receipt]) -> str:
    """What is wrong with deliveries that are quarantined as a whole, and where."""
    lines = [
        (code(r.slot), r.problem_line or "", code(r.problem_column), code(r.problem), code(r.remedy))
        for r in waiting[:_SAMPLES]
    ]
    return table(("file", "line", "column", "problem", "remedy"), lines)
