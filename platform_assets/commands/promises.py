"""`platform promises`: every promise of feeds and marts in a month, judged by all receipts and releases.

Belongs here: what is judged, gathered. Elsewhere: the judging (engine/promises).
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from platform_assets.engine.promises.promise import deliveries, promises
from platform_assets.engine.promises.served import served
from platform_assets.engine.promises.tally import Promise, long
from platform_assets.engine.store.ledger import Ledger
from platform_assets.errors import ConfigurationError
from platform_assets.project.configured import declared_marts, prepared_deployment
from platform_assets.project.manifest import mart_needs, mart_owners


@dataclass(frozen=True)
class PromiseRow:
    """How a promise stands in the month. promise: the feed or mart that makes it. repair_s: how late, in
    the median, what came late was. blame: who or what broke it."""

    promise: str
    kind: str
    owner: str
    objective: float
    due: int
    kept: int
    attainment: float | None
    budget_left: float
    burning: bool
    repair_s: timedelta | None
    broken_since: datetime | None
    blame: str | None
    delivery: int | None
    file: str | None

    @property
    def repaired_in(self) -> str | None:
        """The same span of time in words."""
        return None if self.repair_s is None else long(self.repair_s)


@dataclass(frozen=True)
class Standing:
    """Every promise in the month that `month` begins; `ok`: none is broken now."""

    ok: bool
    month: str
    promises: list[PromiseRow]


def standing(month: str | None, tell: Callable[[str], None]) -> Standing:
    """How promises stand in the month (`2026-11`), by default this one."""
    try:
        first = None if month is None else date.fromisoformat(f"{month}-01")
    except ValueError:
        raise ConfigurationError("--month", f"{month!r} is no month", "Give one as 2026-11.") from None
    _, deployment = prepared_deployment(tell)
    with deployment.warehouse.open("read the ledger", tell) as connection:
        receipts = {feed.name: Ledger(connection).receipts(feed.name) for feed in deployment.feeds}
    marts, now = declared_marts(), deployment.clock()
    needs, owners = mart_needs(deployment.feeds, marts), mart_owners(marts)
    readers = served(deployment.feeds, deployment.releases.all(), needs, owners)
    found = [_row(each) for each in promises(deliveries(deployment.feeds, receipts), readers, now, month=first)]
    return Standing(not any(each.broken_since for each in found), f"{first or now:%Y-%m}", found)


def _row(promise: Promise) -> PromiseRow:
    return PromiseRow(
        promise=promise.subject,
        kind=promise.kind,
        owner=promise.owner,
        objective=promise.objective,
        due=promise.due,
        kept=promise.kept,
        attainment=promise.attainment,
        budget_left=promise.budget_left,
        burning=promise.burning,
        repair_s=promise.repair,
        broken_since=promise.broken_since,
        blame=promise.blame,
        delivery=promise.delivery_id,
        file=promise.file,
    )
