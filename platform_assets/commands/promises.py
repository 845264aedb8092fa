"""`platform promises`: every promise of feeds, marts and products in a month, judged by all receipts and releases.

Belongs here: what is judged, gathered. Elsewhere: the judging (engine/promises).
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

from platform_assets.engine.promises.due import Deliveries
from platform_assets.engine.promises.kept import promises
from platform_assets.engine.promises.marts import released_marts
from platform_assets.engine.promises.promise import Promise, in_words
from platform_assets.errors import ConfigurationError
from platform_assets.project.configured import declared_marts, declared_project, prepared_deployment
from platform_assets.project.manifest import mart_needs, mart_owners

_AS_JUDGED: Final = (
    *("kind", "owner", "objective", "due", "kept", "attainment", "budget_left", "burning", "broken_since", "blame"),
    "file",
)


@dataclass(frozen=True)
class Standing:
    """Every promise in the month that `month` begins; `ok`: none is broken now."""

    ok: bool
    month: str
    promises: list[dict[str, Any]]


def standing(month: str | None, tell: Callable[[str], None]) -> Standing:
    """How promises stand in the month (`2026-11`), by default this one."""
    try:
        first = None if month is None else date.fromisoformat(f"{month}-01")
    except ValueError:
        raise ConfigurationError("--month", f"{month!r} is no month", "Give one as 2026-11.") from None
    _, deployment = prepared_deployment(tell)
    with deployment.warehouse.reading("read the ledger") as unit:
        deliveries = {feed.name: Deliveries(feed, unit.ledger.receipts(feed.name)) for feed in deployment.feeds}
    marts, now = declared_marts(), deployment.clock()
    needs, owners = mart_needs(deployment.feeds, marts), mart_owners(marts)
    released = released_marts(deployment.feeds, deployment.all_releases(), needs, owners)
    project = declared_project(deployment.feeds)
    products = {each.release: (each.owner, each.tables) for each in project.products}
    found = [_row(each) for each in promises(deliveries, released, now, month=first, products=products)]
    return Standing(not any(each["broken_since"] for each in found), f"{first or now:%Y-%m}", found)


def _row(promise: Promise) -> dict[str, Any]:
    return {
        "promise": promise.subject,
        **{name: getattr(promise, name) for name in _AS_JUDGED},
        "repair_s": promise.repair,
        "repaired_in": None if promise.repair is None else in_words(promise.repair),
        "delivery": promise.delivery_id,
    }
