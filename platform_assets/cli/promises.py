"""The verb `promises`: how promises stand this month, and who is to blame.

Belongs here: reading and showing. Elsewhere: what is due and kept (engine/promises).
"""

from datetime import date, datetime, timedelta
from typing import Annotated, Any

import typer

from platform_assets.cli.common import Json, answer, line, open_deployment, show
from platform_assets.engine.promises.due import Deliveries
from platform_assets.engine.promises.kept import promises as promises_of
from platform_assets.engine.promises.marts import released_marts
from platform_assets.engine.promises.promise import Promise, in_words
from platform_assets.errors import ConfigurationError
from platform_assets.project.configured import declared_marts
from platform_assets.project.manifest import mart_needs, mart_owners


def promises(
    month: Annotated[str | None, typer.Option(help="The month, such as 2026-11; by default this one.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Exit code 1 if any promise is broken now.")] = False,
    as_json: Json = False,
) -> None:
    """Show how every promise stands this month: deliveries on time and sound, marts fresh, and who is to blame.

    Example: platform promises --month 2026-11
    """
    first = _first_of(month)
    _, deployment = open_deployment()
    with deployment.warehouse.reading("read the ledger") as unit:
        deliveries = {feed.name: Deliveries(feed, unit.ledger.receipts(feed.name)) for feed in deployment.feeds}
    marts = declared_marts()
    now = deployment.clock()
    needs, owners = mart_needs(deployment.feeds, marts), mart_owners(marts)
    released = released_marts(deployment.feeds, deployment.releases.all(), needs, owners)
    found = promises_of(deliveries, released, now, month=first)
    broken = [promise for promise in found if promise.broken_since is not None]
    if as_json:
        answer({"ok": not broken, "month": f"{first or now:%Y-%m}", "promises": [_as_json(each) for each in found]})
    else:
        show(
            f"Promises in {first or now:%B %Y}",
            ("promise", "owner", "due", "kept", "attained", "objective", "budget left", "repaired in", "broken since"),
            [_row(each) for each in found],
            right=("due", "kept", "attained", "objective", "budget left"),
        )
        blamed: dict[str, list[str]] = {}
        for each in found:
            if each.blame is not None:
                blamed.setdefault(each.blame, []).append(f"{each.subject} {each.kind}")
        for blame, promises_of_it in blamed.items():
            line(f"{', '.join(promises_of_it)}: {blame}")
    if check and broken:
        raise typer.Exit(1)


def _first_of(month: str | None) -> date | None:
    try:
        return None if month is None else date.fromisoformat(f"{month}-01")
    except ValueError:
        raise ConfigurationError("--month", f"{month!r} is no month", "Give one as 2026-11.") from None


def _row(promise: Promise) -> tuple[Any, ...]:
    attained = promise.attainment
    return (
        f"{promise.subject} {promise.kind}",
        promise.owner,
        promise.due,
        promise.kept,
        "-" if attained is None else f"{attained:.1%}",
        f"{promise.objective:.1%}",
        f"{promise.budget_left:.0%}" + (" burning" if promise.burning else ""),
        _lapse(promise.repair),
        f"{promise.broken_since:%Y-%m-%d %H:%M}" if promise.broken_since else "-",
    )


def _as_json(promise: Promise) -> dict[str, Any]:
    return {
        "promise": promise.subject,
        "kind": promise.kind,
        "owner": promise.owner,
        "objective": promise.objective,
        "due": promise.due,
        "kept": promise.kept,
        "attainment": promise.attainment,
        "budget_left": promise.budget_left,
        "burning": promise.burning,
        "repair_s": promise.repair.total_seconds() if promise.repair is not None else None,
        "broken_since": _iso(promise.broken_since),
        "blame": promise.blame,
        "delivery": promise.delivery_id,
        "file": promise.file,
    }


def _lapse(lapse: timedelta | None) -> str:
    return "-" if lapse is None else in_words(lapse)


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()
