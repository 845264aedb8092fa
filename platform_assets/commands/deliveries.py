"""`platform delivery`: the deliveries of feeds, and what a person decides of one, as verbs ask for them.

Belongs here: the deployment opened as each of these needs it, and what to do next. Elsewhere: what a decision does
(engine/load/decisions.py).
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from platform_assets.engine.load.decisions import RECORDED, Followed, Verb
from platform_assets.engine.store.receipts import Receipt
from platform_assets.errors import ConfigurationError
from platform_assets.project.configured import audit_log, prepared_deployment
from platform_assets.settings import person

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Listed:
    """A delivery in a list. newest_data: the latest event time of its rows. decided: by whom, and why."""

    delivery: int
    feed: str
    file: str
    status: str
    read: int
    accepted: int
    rejected: int
    duplicate: int
    taken_in: datetime
    newest_data: datetime | None
    decided: str
    problem: str | None


@dataclass(frozen=True)
class Shown:
    """A delivery's whole receipt, and the command to type next."""

    receipt: Receipt
    next: str


def listed(feed: str | None, most: int, tell: Tell, *, status: str | None, file: str | None) -> list[Listed]:
    """Deliveries, newest first; at most so many of each feed."""
    _, deployment = prepared_deployment(tell)
    feeds = deployment.feeds if feed is None else (deployment.feed(feed),)
    with deployment.warehouse.reading("list deliveries") as unit:
        return [
            Listed(
                delivery=receipt.delivery_id,
                feed=receipt.feed,
                file=receipt.slot,
                status=receipt.status,
                read=receipt.read,
                accepted=receipt.accepted,
                rejected=receipt.rejected,
                duplicate=receipt.duplicate,
                taken_in=receipt.committed_at,
                newest_data=receipt.event_max,
                decided=receipt.decided,
                problem=receipt.problem,
            )
            for each in feeds
            for receipt in unit.listing(each.name).newest(most, status=status, file=file)
        ]


def shown(delivery: int, tell: Tell) -> Shown:
    """The whole receipt of a delivery; raises ConfigurationError where there is none."""
    _, deployment = prepared_deployment(tell)
    with deployment.warehouse.reading("show a delivery") as unit:
        receipt = unit.ledger.receipt(delivery)
    return Shown(receipt, next_command(receipt))


def next_command(receipt: Receipt) -> str:
    """What a person who looks at this receipt is likely to type next."""
    number = receipt.delivery_id
    if receipt.status == "withdrawn":
        return f"platform delivery restore {number}"
    if receipt.status == "superseded" and receipt.superseded_by is not None:
        return f"platform delivery show {receipt.superseded_by}"
    if receipt.status == "duplicate" and receipt.duplicate_of is not None:
        return f"platform delivery show {receipt.duplicate_of}"
    if receipt.status == "quarantined":
        return f"platform delivery accept {number} --why '…'"
    if receipt.rejected:
        return f"platform quarantine list {receipt.feed}"
    return f"platform delivery withdraw {number} --why '…'"


def decided(verb: Verb, delivery: int, tell: Tell, *, why: str = "") -> Followed:
    """Withdraw, restore, accept a delivery, or undo that; recorded in the audit log."""
    why = why.strip()
    if verb in ("withdraw", "accept") and not why:
        raise ConfigurationError("--why", "is empty", "Say why: it stands in the receipt and in the audit log.")
    _, deployment = prepared_deployment(tell)
    with deployment.warehouse.reading("find a delivery") as unit:
        receipt = unit.ledger.receipt(delivery)
    feed = deployment.feed(receipt.feed)
    about: dict[str, Any] = {"delivery": delivery, "feed": feed.name}
    with audit_log(deployment.home).doing(person(), RECORDED[verb], about | ({"why": why} if why else {})) as came:
        followed = deployment.decide(feed, verb, delivery, by=person(), why=why)
        came.update(raw=followed.raw, quarantine=followed.quarantine)
        return followed
