"""Verbs that do something: run, check, ci, setup.

Belongs here: their options and how their answers look. Elsewhere: the work (commands).
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from platform_assets.cli.render import Json, Table, render, say
from platform_assets.commands.counts import counts_shown
from platform_assets.commands.run import RunReport, previews, run_pending
from platform_assets.errors import counted


def run(
    feeds: Annotated[
        list[str] | None, typer.Argument(help="Only these feeds, and what is made from them.", metavar="[FEED]...")
    ] = None,
    as_json: Json = False,
) -> None:
    """Take in what is pending, build the marts, check them, release them.

    Exit code 1 when a blocking check or a step fails; what is made from it is then not released. Also when files wait
    because the disk is too full. Exit code 3 when all is done, and a delivery is quarantined whole or missing, or
    readers keep an earlier release because it is pinned.

    Example: platform run order_lines
    """
    done = run_pending(say, feeds or ())
    render(done, _report(done), as_json=as_json, failed=not done.ok, attention=done.attention)


def _report(done: RunReport) -> Iterator[Table | str]:
    title = "This run" if done.made else "Nothing new: every delivery is in, and the release is up to date"
    if done.left_alone and not any(feed.deliveries for feed in done.feeds):
        waits = counted(len(done.left_alone), "file is", "files are")
        title = f"Nothing new was built: {waits} not ready"
    if done.held_back and not done.made:
        title = "Nothing was made: what is held back has to be mended first"
    if done.no_room:
        title = f"{'This run' if done.made else 'Nothing was made'}; nothing new is claimed: {done.no_room}"
    yield Table(
        title,
        done.feeds,
        ("feed", *counts_shown(done.feeds), "newest data", "freshness"),
        least=("newest data", "deliveries"),  # what was read adds up
    )
    reasons = [(feed.feed, reason) for feed in done.feeds for reason in feed.reasons]
    yield Table(
        "Rejected rows in quarantine, by reason",
        reasons,
        (
            ("feed", lambda row: row[0]),
            ("column", lambda row: row[1].column),
            ("rule", lambda row: row[1].rule),
            ("rows", lambda row: row[1].rows),
        ),
    )
    yield Table("Deliveries quarantined as a whole", done.quarantined, ("feed", "file", "problem", "remedy"))
    held = (("by", "by"), ("held back", "assets"), ("why", lambda each: each.why.partition(": ")[2]))
    yield Table("Held back; not failed", done.held_back, held)
    yield from done.notes
    for each in previews(done.releases.values()) if done.made else ():
        which = f"its newest rows by {each.by}" if each.by else "its first rows"
        yield Table(f"{each.mart}: {which}", each.rows, each.columns, least=each.columns[:0:-1])  # values stay whole
    if done.ok and done.releases:
        yield "next: `make ui` shows all of it; `platform feed add YOURFILE` declares a feed from a file of yours"
    say(f"took {done.took_s:.1f} s")


def check(
    selection: Annotated[str | None, typer.Argument(help="Asset selection; all assets by default.")] = None,
    as_json: Json = False,
) -> None:
    """Run asset checks without rematerializing anything; exit code 1 when a blocking one fails.

    Example: platform check "key:marts/*"
    """
    from platform_assets.commands.execution import run_checks

    done = run_checks(selection, say)
    ok = done.success and not done.blocked
    order = sorted(done.checks, key=lambda each: (each.passed, not each.blocking, each.asset, each.check))
    columns = (("status", lambda row: "ok" if row.passed else "failed"), "asset", "check", "blocking", "description")
    render(
        {"ok": ok, "checks": done.checks, "errors": done.failures},
        [Table("Asset checks", order, columns), *done.failures],
        as_json=as_json,
        failed=not ok,
    )


def ci(
    junit: Annotated[Path, typer.Option(help="Where to write the JUnit XML report.")] = Path("junit-platform.xml"),
    days: Annotated[int, typer.Option(help="Days of sample deliveries to build.", min=1)] = 14,
    as_json: Json = False,
) -> None:
    """Validate definitions and dbt, build everything in a throw-away home, run every asset check.

    Built from the sample's deliveries; without the sample, from empty tables.

    Example: platform ci --junit report.xml
    """
    from platform_assets.commands.ci import run_ci, write_junit

    cases = run_ci(days, say)
    write_junit(cases, junit)
    failed = [{"name": f"{each.group}.{each.name}", "problem": each.problem} for each in cases if each.problem]
    passed = len(cases) - len(failed)
    render(
        {"ok": not failed, "passed": passed, "failed": failed, "junit": junit.absolute()},
        [
            Table("Failed", failed, (("case", "name"), "problem")),
            f"{passed} passed, {len(failed)} failed; report: {junit.absolute()}",
        ],
        as_json=as_json,
        failed=bool(failed),
    )


def setup() -> None:
    """Prepare this checkout: state folders, Dagster's settings, dbt's manifest, .env for plain `dagster dev`.

    Example: platform setup
    """
    from platform_assets.commands.setup import make_landing, prepare_checkout, write_env_file

    make_landing()
    settings = prepare_checkout(say)
    write_env_file()
    say(f"ready; state lies in {settings.home}, deliveries arrive in {settings.landing}")
