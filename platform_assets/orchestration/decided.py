"""Decisions by run config: a delivery withdrawn, restored or accepted in the launchpad, as `platform delivery` does it.

Belongs here: doing it once per run, and recording that. Elsewhere: what it does (engine/load/decisions.py).
"""

from enum import Enum

import dagster as dg

from platform_assets.engine.deployment import Deployment
from platform_assets.engine.feed.feed import Feed
from platform_assets.engine.load.decisions import RECORDED, Verb
from platform_assets.engine.store.receipts import Receipt
from platform_assets.errors import ConfigurationError
from platform_assets.project.configured import audit_log


class Decide(Enum):
    """What the launchpad offers to do with one delivery."""

    withdraw = "withdraw"
    restore = "restore"
    accept = "accept"
    undo_accept = "refuse"

    @property
    def verb(self) -> Verb:
        """What the engine calls it."""
        return self.value


def decided(
    context: dg.AssetExecutionContext,
    deployment: Deployment,
    feed: Feed,
    decide: Decide,
    delivery: int | None,
    why: str,
) -> list[Receipt]:
    """Decide about the delivery, once however often the step is tried; its receipt.

    By the run, not by a tag of it that names a person: whoever launches a run can write any tag.
    """
    verb, why, run_id = decide.verb, why.strip(), context.run.run_id
    if delivery is None:
        raise ConfigurationError("delivery", "is missing", f"Give the id of the delivery to {decide.name}.")
    if verb in ("withdraw", "accept") and not why:
        raise ConfigurationError("why", "is empty", "Say why: it stands in the receipt and in the audit log.")
    log, who, what = audit_log(deployment.home), f"run:{run_id}", RECORDED[verb]
    asked = None
    if context.retry_number:
        of_this = [each for each in log.entries() if (each.who, each.what) == (who, what)]
        asked = next((each for each in of_this if each.outcome == "asked"), None)
        if asked is not None and any(each.of == asked.n for each in of_this):
            return []
        if asked is not None and _is_done(deployment, verb, delivery, who):
            log.ended(asked, {"run": run_id})
            return []
    if asked is None:
        told = {"delivery": delivery, "feed": feed.name, "run": run_id}
        asked = log.record(who, what, told | ({"why": why} if why else {}), outcome="asked")
    followed = deployment.decide(feed, verb, delivery, by=who, why=why)
    log.ended(asked, {"run": run_id, "raw": followed.raw, "quarantine": followed.quarantine})
    return [followed.receipt]


def _is_done(deployment: Deployment, verb: Verb, delivery: int, who: str) -> bool:
    """Whether a try that died after its commit has done it."""
    with deployment.warehouse.reading("see what was decided") as unit:
        receipt = unit.ledger.receipt(delivery)
    mark = receipt.withdrawn if verb in ("withdraw", "restore") else receipt.allowed
    return mark is None if verb in ("restore", "refuse") else mark is not None and mark.by == who
