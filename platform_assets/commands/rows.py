"""`platform quarantine`, `replay`, `trace`: rows and the deliveries they came with, as verbs ask for them.

Belongs here: the deployment opened as each of these needs it. Elsewhere: quarantine (engine/store), replay and trace
(engine/load).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path

from platform_assets.commands.attention import Attention, of_quarantined
from platform_assets.commands.counts import Quarantined, added_up, quarantined
from platform_assets.engine.contract.shown import shown_of
from platform_assets.engine.deployment import Deployment
from platform_assets.engine.load.export import Exported, export_rows
from platform_assets.engine.load.trace import Trace, trace
from platform_assets.engine.store.quarantine import Explanation, RejectedRow
from platform_assets.engine.store.receipts import Chosen, Receipt
from platform_assets.errors import ConfigurationError, counted, nearest, quoted
from platform_assets.project.configured import audit_log, configured_deployment, prepared_deployment
from platform_assets.settings import person

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Replayed:
    """What a replay did: the deliveries that came in again, and what their rows came to."""

    ok: bool
    feed: str
    deliveries: int
    read: int
    accepted: int
    rejected: int
    duplicate: int
    erased: int
    quarantined: list[Quarantined]
    attention: list[Attention]


def waiting_rows(feed: str | None, limit: int, tell: Tell) -> tuple[list[tuple[str, RejectedRow]], list[Quarantined]]:
    """Rejected rows, at most `limit` of each feed, with its name; and deliveries that are quarantined as a whole."""
    _, deployment = prepared_deployment(tell)
    rows: list[tuple[str, RejectedRow]] = []
    receipts: list[Receipt] = []
    with deployment.warehouse.reading("list the quarantine") as unit:
        for each in deployment.feeds if feed is None else (deployment.feed(feed),):
            receipts += unit.ledger.waiting(each.name)[::-1]
            rows += [(each.name, row) for row in islice(unit.quarantine(each).rows(), limit)]
    return rows, quarantined(receipts)


def explained(feed: str, examples: int, tell: Tell) -> Explanation:
    """Why rows and deliveries of the feed are quarantined, with `examples` of rows for each broken rule."""
    _, deployment = prepared_deployment(tell)
    with deployment.warehouse.reading("explain the quarantine") as unit:
        return unit.quarantine(deployment.feed(feed)).explain(examples=examples)


def exported(feed: str, to: Path, tell: Tell, *, deliveries: Sequence[int], unmasked: bool) -> Exported:
    """Write the feed's rejected rows as they came, to be mended and delivered again.

    Raises ConfigurationError where the contract has personal data, unless somebody says that they are to be `unmasked`.
    """
    _, deployment = prepared_deployment(tell)
    of = deployment.feed(feed)
    if shown_of(of.contract).personal and not unmasked:
        raise ConfigurationError(
            f"rejected rows of {feed}",
            "hold personal data, and what is masked cannot be delivered again",
            "Give --unmasked, which is recorded in the audit log; or --spreadsheet, to look at them masked.",
        )
    about = {"feed": of.name, "delivery": list(deliveries), "unmasked": unmasked}
    exporting = audit_log(deployment.home).doing(person(), "quarantine export", {k: v for k, v in about.items() if v})
    with exporting as came, deployment.warehouse.reading("export the quarantine") as unit:
        done = export_rows(unit, of, deployment.archive, to, deliveries)
        came.update(rows=sum(each.rows for each in done.files), files=len(done.files))
        return done


def exported_for_spreadsheet(feed: str, to: Path, tell: Tell) -> int:
    """Write the feed's rejected rows to a CSV file for people to look at, masked; how many."""
    _, deployment = prepared_deployment(tell)
    exporting = audit_log(deployment.home).doing(person(), "quarantine export", {"feed": deployment.feed(feed).name})
    with exporting as came, deployment.warehouse.reading("export the quarantine") as unit:
        rows = unit.quarantine(deployment.feed(feed)).export(to)
        came["rows"] = rows
        return rows


def replay_quarantined(feed: str, tell: Tell) -> Replayed:
    """Replay what is quarantined and was judged by an earlier contract."""
    deployment = _prepared_but(feed, tell)
    with deployment.warehouse.reading("look at the quarantine") as unit:
        chosen = deployment.feed(feed)
        # A feed of which nothing came yet has no tables.
        outdated = set(unit.quarantine(chosen).explain(examples=0).outdated if unit.tables(chosen).types() else ())
    with audit_log(deployment.home).doing(person(), "quarantine replay", {"feed": feed}) as came:
        return _replay(deployment, feed, lambda receipt: receipt.delivery_id in outdated, came, again=False)


def replay_archived(
    feed: str,
    tell: Tell,
    *,
    deliveries: Sequence[int],
    file: str | None,
    since: datetime | None,
    until: datetime | None,
    again: bool,
) -> Replayed:
    """Replay deliveries by id, path and arrival; `again`: also those that today's contract has judged."""
    chosen = Chosen(deliveries, file, since, until)
    deployment = _prepared_but(feed, tell)
    asked = {"feed": feed, "delivery": list(deliveries), "file": file, "since": since, "until": until, "again": again}
    about = {name: value for name, value in asked.items() if value}
    with audit_log(deployment.home).doing(person(), "replay", about) as came:
        _refuse_none(deployment, feed, chosen)
        return _replay(deployment, feed, chosen, came, again=again)


def _refuse_none(deployment: Deployment, feed: str, chosen: Chosen) -> None:
    """Raises ConfigurationError, with what there is, where no delivery is one of those that are asked for."""
    with deployment.warehouse.reading("look what was delivered") as unit:
        receipts = unit.ledger.receipts(deployment.feed(feed).name)
    if any(map(chosen, receipts)):
        return
    if not receipts:
        raise ConfigurationError(
            "replay", f"nothing was ever delivered for {feed}", "Deliver a file first; then `platform run`."
        )
    slots = [receipt.slot for receipt in receipts]
    days = sorted(receipt.arrived_at for receipt in receipts)
    ids = sorted(receipt.delivery_id for receipt in receipts)
    meant = nearest(chosen.file.strip("*/"), slots, alike=0.5) if chosen.file is not None else ""
    raise ConfigurationError(
        "replay",
        f"none of the {counted(len(receipts), 'delivery')} of {feed} is one that was asked for.{meant}",
        f"There are: ids {ids[0]} to {ids[-1]}, arrived {days[0]:%Y-%m-%d} to {days[-1]:%Y-%m-%d}, files such as "
        f"{quoted(*slots[:2])}. A pattern of --file is compared with the whole path: write '*/NAME' for any folder.",
    )


def traced(table: str, values: Mapping[str, str], limit: int, tell: Tell) -> list[Trace]:
    """Where rows of the table with these values came from."""
    _, deployment = prepared_deployment(tell)
    with deployment.warehouse.reading("trace rows") as unit:
        return trace(unit, deployment.feeds, deployment.archive, table, values, most=limit)


def _prepared_but(feed: str, tell: Tell) -> Deployment:
    """The deployment, prepared but for the one feed, whose tables a replay may have to make anew."""
    _, deployment = configured_deployment(tell)
    deployment.prepare(but=deployment.feed(feed))
    return deployment


def _replay(
    deployment: Deployment,
    feed: str,
    chosen: Callable[[Receipt], bool],
    came: dict[str, object],
    *,
    again: bool,
) -> Replayed:
    receipts = deployment.replay(deployment.feed(feed), chosen, again=again)
    done = Replayed(
        ok=True,
        feed=feed,
        **added_up(receipts),
        quarantined=quarantined(receipts),
        attention=list(of_quarantined(receipts)),
    )
    came.update(deliveries=done.deliveries, accepted=done.accepted, rejected=done.rejected)
    return done
