"""Verbs about single deliveries: list, show, withdraw, restore, accept.

Belongs here: their options and how their answers look. Elsewhere: what a decision does (engine/load/decisions.py).
"""

from collections.abc import Iterator
from typing import Annotated, Any, Final, Literal

import typer

from platform_assets.cli.render import Json, Table, plain, render, say
from platform_assets.commands.deliveries import decided, listed, next_command, shown
from platform_assets.engine.load.decisions import Followed
from platform_assets.engine.store.receipts import Receipt
from platform_assets.errors import counted
from platform_assets.errors import listed as in_words

delivery_app = typer.Typer(no_args_is_help=True, help="Single deliveries: look at one, take it back, let it through.")

Status = Literal["accepted", "duplicate", "quarantined", "superseded", "withdrawn"]
DeliveryId = Annotated[int, typer.Argument(help="The delivery's id, as `platform delivery list` shows it.", min=1)]
_ROWS: Final = ("read", "accepted", "rejected", "duplicate")
_LESS: Final = ("newest data", "duplicate", "accepted", "feed", "taken in", "read")


@delivery_app.command("list")
def delivery_list(
    feed: Annotated[str | None, typer.Argument(help="Only this feed.")] = None,
    status: Annotated[Status | None, typer.Option(help="Only deliveries that stand so.")] = None,
    file: Annotated[str | None, typer.Option(help="Only files whose path fits, such as '*/2026-11-*'.")] = None,
    limit: Annotated[int, typer.Option(help="Deliveries of each feed to show.", min=1)] = 20,
    as_json: Json = False,
) -> None:
    """List deliveries, newest first: file, status, rows, when they were taken in, how new their data is.

    Example: platform delivery list order_lines --status quarantined
    """
    found = listed(feed, limit, say, status=status, file=file)
    several = ("feed",) if len({each.feed for each in found}) > 1 else ()
    some = ("decided",) if any(each.decided for each in found) else ()
    columns = (("id", "delivery"), *several, "file", "status", *_ROWS, "taken in", "newest data", *some)
    table = Table("Deliveries", found, columns, empty="no delivery", least=_LESS)
    render({"deliveries": found}, [table], as_json=as_json)


@delivery_app.command("show")
def delivery_show(delivery: DeliveryId, as_json: Json = False) -> None:
    """Show one delivery's whole receipt: its file, what became of its rows, what a person decided, what to do next.

    Example: platform delivery show 12
    """
    found = shown(delivery, say)
    answer = {**plain(found.receipt), "next": found.next}
    title = f"Delivery {delivery} of {found.receipt.feed}"
    rows = [{"what": what, "is": value} for what, value in _told(found.receipt) if value not in (None, "")]
    render(answer, [Table(title, rows, (("", "what"), ("", "is"))), f"next: {found.next}"], as_json=as_json)


@delivery_app.command("withdraw")
def delivery_withdraw(
    delivery: DeliveryId,
    why: Annotated[str, typer.Option(help="Why it is wrong; it stands in the receipt and in the audit log.")],
    as_json: Json = False,
) -> None:
    """Take a wrong delivery back: its rows leave raw and quarantine, and what it had replaced stands again.

    Offered again, under whatever name, it stays out until it is restored.

    Example: platform delivery withdraw 12 --why 'October, delivered as November'
    """
    _decided(decided("withdraw", delivery, say, why=why), as_json=as_json)


@delivery_app.command("restore")
def delivery_restore(delivery: DeliveryId, as_json: Json = False) -> None:
    """Undo a withdrawal: the delivery is what it would be if nobody had taken it back.

    Example: platform delivery restore 12
    """
    _decided(decided("restore", delivery, say), as_json=as_json)


@delivery_app.command("accept")
def delivery_accept(
    delivery: DeliveryId,
    why: Annotated[str, typer.Option(help="Why it is right all the same; in the receipt and in the audit log.")] = "",
    undo: Annotated[bool, typer.Option("--undo", help="Judge it by what is declared again.")] = False,
    as_json: Json = False,
) -> None:
    """Let one delivery through that breaks tolerance, volume or drift. Rejected rows stay in quarantine.

    Nothing that is declared changes, and no other delivery is let through.

    Example: platform delivery accept 12 --why 'half a day: the shop closed at noon'
    """
    _decided(decided("refuse" if undo else "accept", delivery, say, why=why), as_json=as_json)


def _decided(came: Followed, *, as_json: bool) -> None:
    render({"ok": True, **plain(came), "next": "platform run"}, _said(came), as_json=as_json)


def _said(came: Followed) -> Iterator[str]:
    receipt = came.receipt
    of = f"delivery {receipt.delivery_id} ({receipt.slot})"
    there = f"in raw.{receipt.feed}: {counted(receipt.accepted, 'row')}; in quarantine: {receipt.rejected:,}"
    if receipt.status == "withdrawn":
        yield f"{of} is withdrawn. {_went_out(came)}"
        if came.gone is not None:
            yield f"delivery {came.gone}, which it had replaced, does not stand again: the archive has no copy of it"
        yield "delivered again, under whatever name, it stays out. To undo this:"
        yield f"  {next_command(receipt)}"
    elif receipt.allowed is not None:
        yield f"{of} is accepted {receipt.allowed}. {there}. To undo this:"
        yield f"  platform delivery accept {receipt.delivery_id} --undo"
    else:
        yield f"{of} is {receipt.status}. {receipt.problem or there}"
    if came.others:
        yield f"deliveries of the same content go with it: {in_words([str(each) for each in came.others])}"
    for other in came.changed:
        again = other.was == "superseded" and other.status == "accepted"
        now = "stands again" if again else f"was {other.was}, and is {other.status} now"
        yield f"delivery {other.delivery} ({other.file}) {now}: {counted(other.rows, 'row')} in raw.{receipt.feed}"
    yield "`platform run` builds the marts from it"


def _went_out(came: Followed) -> str:
    """Which rows a withdrawal took out."""
    receipt = came.receipt
    if came.was != "accepted":
        return f"It was {came.was}: no row of it was in raw.{receipt.feed}"
    rejected = receipt.rejected - receipt.expired
    beside = f", and {counted(rejected, 'rejected row')} out of quarantine" if rejected else ""
    return f"Taken out of raw.{receipt.feed}: {counted(receipt.accepted, 'row')}{beside}"


def _told(receipt: Receipt) -> Iterator[tuple[str, Any]]:
    """The receipt, as people read it."""
    yield "file", receipt.slot
    yield "status", receipt.status
    yield "decided", receipt.decided
    for mark in (receipt.withdrawn, receipt.allowed):
        yield "decided at", mark and mark.at[:16].replace("T", " ")
    yield "problem", receipt.trouble if receipt.problem else None
    yield "remedy", receipt.remedy
    counts = [f"{name} {getattr(receipt, name):,}" for name in (*_ROWS, "erased") if getattr(receipt, name)]
    yield "rows", ", ".join(counts) or "none"
    yield "removed by retention", counted(receipt.expired, "rejected row") if receipt.expired else None
    yield "date in its name", receipt.file_date
    yield "arrived", receipt.arrived_at
    yield "taken in", receipt.committed_at
    yield "replayed", receipt.replayed_at
    yield "data from", receipt.event_min
    yield "data to", receipt.event_max
    yield "replaced", receipt.supersedes and f"delivery {receipt.supersedes}"
    yield "replaced by", receipt.superseded_by and f"delivery {receipt.superseded_by}"
    yield "same content as", receipt.duplicate_of and f"delivery {receipt.duplicate_of}"
    yield "renamed from", ", ".join(receipt.moved_from)
    yield "bytes", receipt.bytes
    yield "fingerprint", receipt.fingerprint
    yield "copy in archive", receipt.archived or "none"
    yield "format", receipt.format
    yield "written with", ", ".join(f"{name} {value!r}" for name, value in receipt.dialect.items())
    yield "header", in_words(receipt.header, 50)
    yield "unknown columns", in_words(receipt.unknown_columns, 50)
    yield "contract", receipt.contract
    yield "revision", receipt.revision
