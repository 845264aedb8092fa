"""Verbs about alerts: what is wrong now and who knows of it, whether the platform lives, a test message.

Belongs here: their options and how their answers look. Elsewhere: finding what is wrong (orchestration/watch), the
rules of alerting (alerts).
"""

from collections.abc import Iterator
from typing import Annotated, Any, Final

import typer

from platform_assets.alerts.channels import DEFAULT, moment, variable_of
from platform_assets.alerts.heartbeat import Heartbeat
from platform_assets.alerts.incidents import Incident, Sent
from platform_assets.cli.render import Json, Table, plain, render, say
from platform_assets.errors import ConfigurationError
from platform_assets.project.configured import configured_alerts

alerts_app = typer.Typer(help="What is wrong now, and to whom that was sent.\n\nExample: platform alerts --all")
_FIRST_ASSETS: Final = 3
_SENT: Final = {
    "opened": "sent",
    "flapping": "sent that it comes and goes",
    "reminder": "sent again as a reminder",
    "recovered": "sent that it is over",
}


@alerts_app.callback(invoke_without_command=True)
def alerts(
    context: typer.Context,
    every: Annotated[bool, typer.Option("--all", help="Also incidents that have ended.")] = False,
    heartbeat: Annotated[
        bool, typer.Option("--heartbeat", help="Only whether the platform lives; exit code 1 when it does not.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show open incidents: since when, whose, the cause, what is held back by it, and to whom it was sent.

    Example: platform alerts --all
    """
    if context.invoked_subcommand is not None:
        return
    known = configured_alerts(say, to_send=False)
    beating = known.heartbeat()
    if heartbeat:
        sentence = f"the platform {'lives' if beating.alive else 'does not run'}: {_beaten(beating)}"
        render({"ok": beating.alive, **plain(beating)}, [sentence], as_json=as_json, failed=not beating.alive)
        return
    incidents = known.incidents(open_only=not every)
    render(
        {"incidents": [_flat(each) for each in incidents], "heartbeat": beating},
        _incidents(incidents, beating, every=every),
        as_json=as_json,
    )


def _incidents(incidents: list[Incident], beating: Heartbeat, *, every: bool) -> Iterator[Table | str]:
    yield Table(
        "Incidents" if every else "Open incidents",
        incidents,
        (
            ("since", lambda row: moment(row.problem.since)),
            ("owner", lambda row: row.problem.owner),
            ("cause", lambda row: (row.problem.title, row.problem.detail, f"look closer: {row.problem.command}")),
            ("held back or stale", lambda row: _assets(row.problem.assets)),
            ("sent to", lambda row: [_sent_to(each) for each in row.sent] or f"nobody: no channel in {DEFAULT}"),
            *([("ended", _ended)] if every else []),
        ),
        empty="no incident yet" if every else "no incident is open",
    )
    if not beating.alive:
        yield f"the platform does not run: {_beaten(beating)}"
    if beating.ping_error is not None:
        yield f"the last ping of PLATFORM_HEARTBEAT failed: {beating.ping_error}"


@alerts_app.command("test")
def alerts_test(
    owner: Annotated[str | None, typer.Option(help="Only the channels of this owner, such as team:sales.")] = None,
    as_json: Json = False,
) -> None:
    """Send a test message to an owner's channels, or to all, and say what came of it; exit code 1 if one failed.

    Example: platform alerts test --owner team:sales
    """
    came = configured_alerts(say, to_send=True).test(owner)
    if not came:
        variable = DEFAULT if owner is None else f"{variable_of(owner)}, or {DEFAULT}"
        raise ConfigurationError(variable, "no channel is set", "Set it to a channel's URL: see docs/how-to/alerts.md.")
    failed = any(error is not None for error in came.values())
    render(
        {"ok": not failed, "channels": [{"channel": name, "error": error} for name, error in came.items()]},
        [
            f"{name}: took the test message" if error is None else f"{name}: failed: {error}"
            for name, error in came.items()
        ],
        as_json=as_json,
        failed=failed,
    )


def _beaten(beating: Heartbeat) -> str:
    return "it has never shown that it lives" if beating.at is None else f"last sign of life {moment(beating.at)}"


def _assets(assets: tuple[str, ...]) -> str:
    more = len(assets) - _FIRST_ASSETS
    return "\n".join([*assets[:_FIRST_ASSETS], *[f"and {more} more"] * (more > 0)])


def _ended(incident: Incident) -> str:
    if incident.closed_at is None:
        comes_and_goes = "it comes and goes; " * bool(incident.flaps)
        return comes_and_goes + (
            "" if incident.gone_at is None else f"gone since {moment(incident.gone_at)}, perhaps for good"
        )
    return moment(incident.gone_at or incident.closed_at)


def _sent_to(sent: Sent) -> str:
    parts = []
    if sent.last is not None and sent.last_at is not None:
        parts.append(f"{_SENT[sent.last]} {moment(sent.last_at)}")
    if sent.waiting:
        what = "not sent yet" if sent.last is None else "an update is not sent yet"
        if sent.failures:
            what += f": failed {sent.failures} time{'s' * (sent.failures > 1)}"
        if sent.error is not None:
            what += f": {sent.error}"
        if sent.next_try is not None:
            what += f", next try {moment(sent.next_try)}"
        parts.append(what)
    return f"{sent.channel}: {'; '.join(parts)}"


def _flat(incident: Incident) -> dict[str, Any]:
    """The incident and its problem as one."""
    known: dict[str, Any] = plain(incident)
    return {**known.pop("problem"), **known}
