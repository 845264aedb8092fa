"""Verbs about persons who want to be forgotten: erase, and verifying the certificate of it.

Belongs here: their options, asking before anything is removed, how the answer looks. Elsewhere: the work (commands).
"""

import getpass
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from platform_assets.cli.render import Json, Table, render, say
from platform_assets.errors import ConfigurationError

erase_app = typer.Typer(invoke_without_command=True)

_DELIVERIES = ("delivery", "rows", ("copy before", "before"), ("copy after", "after"))


@erase_app.callback()
def erase(
    context: typer.Context,
    feed: Annotated[str | None, typer.Option(help="The feed.")] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(help="COLUMN=VALUE that names the person; COLUMN=- asks for the value. All that are given fit."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what there is, and change nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Take a person out of a feed: raw, quarantine, archive, snapshots, models, every release, and all files beside.

    What was stopped half-way is taken up again by the same command. The certificate says what was removed, not whose.

    Example: platform erase --feed customers --where customer_id=17850
    """
    if context.invoked_subcommand is not None:
        return
    from platform_assets.commands.erase import erased, looked_for

    if feed is None or not where:
        raise ConfigurationError(
            "platform erase", "needs a feed and a person", "Write --feed customers --where customer_id=17850."
        )
    values = dict(map(_value, where))
    if dry_run:
        looked = looked_for(feed, values, say)
        render(looked, _found(looked.found, looked.landing_files), as_json=as_json)
        return
    _ask(feed, yes=yes)
    done = erased(feed, values, say)
    render(done, _done(done.certificate, done.file, done.landing_files), as_json=as_json, failed=not done.ok)


@erase_app.command("verify")
def verify(
    certificate: Annotated[Path, typer.Argument(help="The certificate.")],
    public_key: Annotated[
        str | None, typer.Option(help="The key that has to have signed it; by default this deployment's, if it is set.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Say whether a certificate is as it was signed, and by the key that is expected.

    Example: platform erase verify certificate.json
    """
    from platform_assets.commands.erase import verified_certificate

    found = verified_certificate(certificate, public_key)
    said = [
        f"erasure {found.erasure}: the signature {'fits' if found.signed else 'DOES NOT fit'} the certificate",
        {
            True: "it was signed by the expected key",
            False: "it was signed by ANOTHER key than the expected one",
            None: f"compare its key with the one that you were given: {found.public_key}",
        }[found.ours],
    ]
    render(found, said, as_json=as_json, failed=not found.signed or found.ours is False)


def _value(given: str) -> tuple[str, str]:
    column, equals, value = given.partition("=")
    if not equals:
        raise ConfigurationError("--where", "is not COLUMN=VALUE", "Write --where customer_id=17850.")
    if value == "-":  # so that it stands in no list of processes and no history
        value = getpass.getpass(f"{column}: ") if sys.stdin.isatty() else sys.stdin.readline().rstrip("\n")
    return column, value


def _ask(feed: str, *, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise ConfigurationError("platform erase", "was not told that it is meant", "Add --yes, or --dry-run.")
    typer.confirm(f"Take this person out of {feed} and all that is made of it? This cannot be undone.", abort=True)


def _found(found: Mapping[str, Any], landing: Sequence[str]) -> Iterator[Table | str]:
    yield Table("Deliveries with rows of the person", found["deliveries"], _DELIVERIES, empty="no delivery has any")
    places = [
        *(("raw", found["raw"]), ("quarantine", found["quarantine"])),
        *found["snapshots"].items(),
        *((f"release {name}: {mart}", rows) for name, of in found["releases"].items() for mart, rows in of.items()),
    ]
    columns = (("place", lambda row: row[0]), ("rows", lambda row: row[1]))
    yield Table("Rows of the person", [each for each in places if each[1]], columns)
    if found["models"]:
        yield f"Models that are made anew: {', '.join(found['models'])}"
    if found["unsearched"]:
        yield f"Deliveries that nobody can read, and so nobody searched: {', '.join(map(str, found['unsearched']))}"
    if landing:
        yield "Files with the person still lie in the landing folder; their rows are left out. Remove them there:"
        yield from (f"  {name}" for name in landing)


def _done(certificate: Mapping[str, Any], file: Path, landing: Sequence[str]) -> Iterator[Table | str]:
    yield from _found(certificate, landing)
    left = [{"place": place, "times": times} for place, times in certificate["left"].items()]
    yield Table("STILL FOUND, run it again or look there", left, ("place", "times"), empty="nothing of it is left")
    yield f"certificate: {file}"
    yield "`platform run` makes the models and a release anew"
