"""Verbs about alerts: what is wrong now and who has been told, whether the platform lives, a test message.

Belongs here: showing and asking. Does not: finding what is wrong (Dagster's sensor does), rules of alerting (engine).
"""

from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any, Final

import typer

from platform_assets.alerts.channels import DEFAULT, moment, variable_of
from platform_assets.alerts.heartbeat import Heartbeat
from platform_assets.alerts.incidents import Incident, Telling
from platform_assets.cli.common import Json, answer, line, show
from platform_assets.errors import ConfigurationError
from platform_assets.project.configured import configured_alerts

alerts_app = typer.Typer(help="What is wrong now, and who has been told.\n\nExample: platform alerts --all")
_FIRST_ASSETS: Final = 3
_TOLD: Final = {
    "opened": "told",
    "flapping": "told that it comes and goes",
    "reminder": "reminded",
    "recovered": "told of its end",
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
    """Show open incidents: since when, whose, the cause, what is held back by it, and who has been told.

    Example: platform alerts --all
    """
    if context.invoked_subcommand is not None:
        return
    told = configured_alerts()
    beating = told.heartbeat()
    if heartbeat:
        _tell_heartbeat(beating, as_json=as_json)
        return
    incidents = told.incidents(open_only=not every)
    if as_json:
        answer({"incidents": [_incident_json(each) for each in incidents], "heartbeat": _plain(asdict(beating))})
        return
    show(
        "Incidents" if every else "Open incidents",
        ("since", "owner", "cause", "held back or stale", "told", *["ended"] * every),
        [
            (
                moment(each.problem.since),
                each.problem.owner,
                f"{each.problem.title}\n{each.problem.detail}\nlook closer: {each.problem.command}",
                _assets(each.problem.assets),
                "\n".join(map(_telling, each.telling)) or f"nobody: no channel in {DEFAULT}",
                *[_ended(each)] * every,
            )
            for each in incidents
        ],
    )
    if not beating.alive:
        line(f"the platform does not run: {_beaten(beating)}")
    if beating.ping_error is not None:
        line(f"the last ping of PLATFORM_HEARTBEAT failed: {beating.ping_error}")


@alerts_app.command("test")
def alerts_test(
    owner: Annotated[str | None, typer.Option(help="Only the channels of this owner, such as team:sales.")] = None,
    as_json: Json = False,
) -> None:
    """Send a test message to an owner's channels, or to all, and say what came of it; exit code 1 if one failed.

    Example: platform alerts test --owner team:sales
    """
    came = configured_alerts().test(owner)
    if not came:
        variable = DEFAULT if owner is None else f"{variable_of(owner)}, or {DEFAULT}"
        raise ConfigurationError(variable, "no channel is set", "Set it to a channel's URL: see docs/how-to/alerts.md.")
    failed = {name for name, error in came.items() if error is not None}
    if as_json:
        answer(
            {"ok": not failed, "channels": [{"channel": each, "error": error} for each, error in came.items()]},
        )
    else:
        for name, error in came.items():
            line(f"{name}: took the test message" if error is None else f"{name}: failed: {error}")
    if failed:
        raise typer.Exit(1)


def _tell_heartbeat(beating: Heartbeat, *, as_json: bool) -> None:
    if as_json:
        answer({"ok": beating.alive, **_plain(asdict(beating))})
    else:
        line(f"the platform {'lives' if beating.alive else 'does not run'}: {_beaten(beating)}")
    if not beating.alive:
        raise typer.Exit(1)


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


def _telling(telling: Telling) -> str:
    said = []
    if telling.told is not None and telling.told_at is not None:
        said.append(f"{_TOLD[telling.told]} {moment(telling.told_at)}")
    if telling.waiting:
        what = "not yet told" if telling.told is None else "news waits"
        if telling.failures:
            what += f": failed {telling.failures} time{'s' * (telling.failures > 1)}"
        if telling.error is not None:
            what += f": {telling.error}"
        if telling.next_try is not None:
            what += f", next try {moment(telling.next_try)}"
        said.append(what)
    return f"{telling.channel}: {'; '.join(said)}"


def _incident_json(incident: Incident) -> dict[str, Any]:
    plain: dict[str, Any] = _plain(asdict(incident))
    return {**plain.pop("problem"), **plain}


def _plain(value: Any) -> Any:  # noqa: ANN401 - whatever a dataclass holds
    """With times as ISO 8601."""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value
