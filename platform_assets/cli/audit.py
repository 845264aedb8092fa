"""Verbs about the audit log: what people did, and whether the log is as it was written.

Belongs here: their options and how their answers look. Elsewhere: the log (engine/audit).
"""

import re
from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Final

import typer

from platform_assets.cli.render import Json, Table, render
from platform_assets.commands.audit import Verified, audited, verify_audit

_RUN_ID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

audit_app = typer.Typer(no_args_is_help=True, help="The audit log: what people did.")


@audit_app.command("list")
def audit_list(
    who: Annotated[str | None, typer.Option(help="Only this person, such as anna, os:anna or 'ui:*'.")] = None,
    what: Annotated[str | None, typer.Option(help="Only this, such as replay or 'feed *'.")] = None,
    since: Annotated[datetime | None, typer.Option(help="Only what was done then or later (UTC).")] = None,
    limit: Annotated[int, typer.Option(help="Entries to show, the newest.", min=1)] = 50,
    as_json: Json = False,
) -> None:
    """List what people did, the newest first: when, who, what, to what, and what came of it.

    Example: platform audit list --who anna --since 2026-11-01
    """
    entries = audited(who, what, since, limit)
    columns = (
        ("entry", "n"),
        ("when (UTC)", lambda row: f"{row.at:%Y-%m-%d %H:%M:%S}"),
        "who",
        "what",
        ("about", lambda row: ", ".join(f"{name}={_short(value)}" for name, value in row.about.items())),
        ("outcome", lambda row: row.outcome if row.of is None else f"{row.outcome} (of {row.of})"),
    )
    table = Table("What people did", entries, columns, empty="nothing of that kind is recorded")
    render({"entries": entries}, [table], as_json=as_json)


@audit_app.command("verify")
def audit_verify(
    head: Annotated[
        list[str] | None, typer.Option(help="Where the log once ended, as this printed it then; may be repeated.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Read the whole audit log and say whether it is as it was written; exit code 1 with the lines that are not.

    Example: platform audit verify
    """
    found = verify_audit(head or ())
    render(found, _verdict(found), as_json=as_json, failed=not found.ok)


def _short(value: object) -> object:
    """A run by the start of its id, as everywhere."""
    return value[:8] if isinstance(value, str) and _RUN_ID.fullmatch(value) else value


def _verdict(found: Verified) -> Iterator[Table | str]:
    yield Table("Lines of audit.jsonl that are not as they were written", found.broken, ("line", "problem"))
    if found.cut_short_bytes:
        yield f"a process that was killed left the last {found.cut_short_bytes} bytes; the next entry will tell of them"
    if not found.ok:
        yield (
            "Keep the log as evidence, and compare it with a backup. To go on, move audit.jsonl and audit.head out of "
            "PLATFORM_HOME together: a new log begins with what is done next."
        )
    elif found.head is None:
        yield "nothing is recorded yet"
    else:
        signed = f"{found.signed} of them signed" if found.signed else "chained by hashes, not signed"
        yield f"{found.entries} entries, {signed}: all as they were written"
        yield f"head: {found.head}"
