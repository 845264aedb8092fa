"""Verbs that do something: run, check, ci, ui, setup.

Belongs here: calling the work and telling what it did. Does not: the work.
"""

import os
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from platform_assets.cli.common import FIGURES, Json, answer, feed_json, line, newest, open_deployment, say, show
from platform_assets.engine.deployment import Deployment
from platform_assets.engine.store.receipts import Receipt
from platform_assets.engine.store.release import Release
from platform_assets.errors import ConfigurationError
from platform_assets.project.configured import declared_marts
from platform_assets.project.graph import project_of, raw_name
from platform_assets.project.manifest import current_manifest
from platform_assets.project.state import State
from platform_assets.settings import PROJECT, Settings

if TYPE_CHECKING:
    from platform_assets.commands.run import RunOutcome

_PREVIEW_ROWS = 5
_NO_FEED = "no feed is declared: `platform feed add FILE` declares one, from a file such as it will deliver"
_SHOWN = 10


def run(as_json: Json = False) -> None:
    """Take in what is pending, build the marts, check them, release them.

    Exit code 1 when a blocking check or a step fails; what is made from it is then not released.

    Example: platform run --json
    """
    began = time.monotonic()
    settings, deployment = open_deployment()
    if not deployment.feeds:
        say(_NO_FEED)
    arrivals = deployment.look().arrivals
    pending = {name: sum(each.waits_for is None for each in found) for name, found in arrivals.items()}
    state = State.of(project_of(deployment.feeds, declared_marts(), current_manifest()), deployment)
    wanted = state.to_run([raw_name(feed) for feed in deployment.feeds if pending[feed.name]])
    outcome = None
    before = _newest_delivery(deployment)
    last = deployment.releases.current()
    if wanted:
        waiting = ", ".join(f"{count} of {name}" for name, count in pending.items() if count)
        say(f"pending files: {waiting}" if waiting else f"to make: {_shortened(wanted)}")
        from platform_assets.commands.run import run_assets

        outcome = run_assets(settings, say, wanted)
    _report(deployment, outcome, before, last, as_json=as_json, took_s=time.monotonic() - began)
    if outcome is not None and not outcome.success:
        raise typer.Exit(1)


def _shortened(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def check(
    selection: Annotated[str | None, typer.Argument(help="Asset selection; all assets by default.")] = None,
    as_json: Json = False,
) -> None:
    """Run asset checks without rematerializing anything; exit code 1 when a blocking one fails.

    Example: platform check "key:marts/*"
    """
    settings, _ = open_deployment()
    from platform_assets.commands.run import run_checks

    outcome = run_checks(settings, selection, say)
    if not outcome.checks and not outcome.failures:
        raise ConfigurationError(
            f"selection {selection!r}", "selects no asset check", "Try `platform check` alone, or key:marts/*."
        )
    _tell_checks(outcome, as_json=as_json)
    if not outcome.success or any(each.blocks for each in outcome.checks):
        raise typer.Exit(1)


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
    failed = [case for case in cases if case.problem is not None]
    if as_json:
        answer(
            {
                "ok": not failed,
                "passed": len(cases) - len(failed),
                "failed": [{"name": f"{case.group}.{case.name}", "problem": case.problem} for case in failed],
                "junit": str(junit.absolute()),
            }
        )
    else:
        show("Failed", ("case", "problem"), [(f"{case.group}.{case.name}", case.problem) for case in failed])
        line(f"{len(cases) - len(failed)} passed, {len(failed)} failed; report: {junit.absolute()}")
    if failed:
        raise typer.Exit(1)


def setup() -> None:
    """Prepare this checkout: state folders, Dagster's settings, dbt's manifest, .env for plain `dagster dev`.

    Example: platform setup
    """
    settings = _prepared()
    env_file = PROJECT / ".env"
    if not env_file.exists():
        # Dagster's own commands read .env; without it they would keep their state in a temporary folder.
        home = PROJECT / ".platform" / "dagster"
        home.mkdir(parents=True, exist_ok=True)
        env_file.write_text(f"DAGSTER_HOME=${{DAGSTER_HOME:-{home}}}\n")
    say(f"ready; state lies in {settings.home}, deliveries arrive in {settings.landing}")


def ui(
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1.")] = 3000,
) -> None:
    """Open the Dagster UI on 127.0.0.1, with sensors and automation on.

    Example: platform ui --port 3001
    """
    settings = _prepared()
    from platform_assets.orchestration.runs.instance import open_instance

    open_instance(settings).dispose()  # rid of runs that died with their machine, before anything new is asked for
    say(f"http://127.0.0.1:{port}  (Ctrl-C ends it; copy a file into {settings.landing} and watch)")
    dagster = str(Path(sys.executable).with_name("dagster"))
    os.chdir(PROJECT)
    os.execv(dagster, [dagster, "dev", "-w", "workspace.yaml", "-h", "127.0.0.1", "-p", str(port)])  # noqa: S606


def _prepared() -> Settings:
    from platform_assets.orchestration.runs.instance import prepare_dagster_home

    settings, deployment = open_deployment()
    if not deployment.feeds:
        say(_NO_FEED)
    settings.landing.mkdir(parents=True, exist_ok=True)
    prepare_dagster_home(settings)
    current_manifest()
    return settings


def _newest_delivery(deployment: Deployment) -> int:
    with deployment.warehouse.reading("read the ledger") as unit:
        return unit.ledger.next_ids()[0] - 1


def _report(
    deployment: Deployment,
    outcome: "RunOutcome | None",
    before: int,
    last: Release | None,
    *,
    as_json: bool,
    took_s: float,
) -> None:
    """What this run did: figures of its own deliveries (ids above `before`), reasons of rejection, the release.

    last: the release there was before the run.
    """
    with deployment.warehouse.reading("read the ledger") as unit:
        receipts = unit.ledger.receipts(after=before)
    statuses = deployment.status()
    figures = {status.feed.name: _added_up(r for r in receipts if r.feed == status.feed.name) for status in statuses}
    release = deployment.releases.current()
    landing = deployment.look()
    left_alone = [(deployment.feed(name), arrival) for name, found in landing.arrivals.items() for arrival in found]
    failed = [] if outcome is None else [each for each in outcome.checks if each.blocks]
    quarantined = [receipt for receipt in receipts if receipt.status == "quarantined"]
    if as_json:
        answer(
            {
                "ok": outcome is None or outcome.success,
                "feeds": [{**feed_json(status), **figures[status.feed.name]} for status in statuses],
                "release": {"id": release.id, "path": release.path} if release else None,
                "quarantined": [{"feed": r.feed, "file": r.slot, "problem": r.problem} for r in quarantined],
                "failed_checks": [f"{each.asset}:{each.name}" for each in failed],
                "errors": [] if outcome is None else list(outcome.failures),
                "left_alone": [arrival.slot for _, arrival in left_alone],
                "unclaimed": list(landing.unclaimed),
                "took_s": round(took_s, 2),
            }
        )
        return
    show(
        "This run" if outcome is not None else "Nothing new: every delivery is in, and the release is up to date",
        ("feed", *FIGURES, "newest data", "freshness"),
        [(s.feed.name, *(figures[s.feed.name][f] for f in FIGURES), newest(s), s.freshness) for s in statuses],
        right=FIGURES,
    )
    reasons = [(s.feed.name, column, rule, rows) for s in statuses for column, rule, rows in s.reasons]
    if reasons:
        show("Rejected rows in quarantine, by reason", ("feed", "column", "rule", "rows"), reasons, right=("rows",))
    if quarantined:
        show(
            "Deliveries quarantined as a whole",
            ("feed", "file", "problem", "remedy"),
            [(r.feed, r.slot, r.problem, r.remedy) for r in quarantined],
        )
    for feed, arrival in left_alone[:_SHOWN]:
        line(f"left alone for now: {arrival.slot} {deployment.why_waiting(feed, arrival)}")
    for slot in landing.unclaimed[:_SHOWN]:
        line(f"no feed asks for {slot}")
    if outcome is not None and not outcome.success:
        for each in failed:
            line(f"blocking check failed: {each.asset}: {each.name}: {each.description}")
        for failure in outcome.failures:
            line(failure)
        if release is None:
            line("There is no release yet.")
        elif last is not None and last.id == release.id:
            line("Readers keep the last release.")
        else:
            line("A release was made all the same: nothing in it is made from what failed.")
    if release is not None:
        line(f"release {release.id}: {release.path}")
        _preview(release)
    say(f"took {took_s:.1f} s")


def _added_up(receipts: Iterable[Receipt]) -> dict[str, int]:
    mine = list(receipts)
    return {
        "deliveries": len(mine),
        **{figure: sum(getattr(receipt, figure) for receipt in mine) for figure in FIGURES[1:]},
    }


def _preview(release: Release) -> None:
    """The first rows of the headline mart, read as any reader would, if the release has it yet."""
    for mart in declared_marts():
        if mart.headline and mart.name in release.tables:
            rows = release.first_rows(mart.name, mart.headline, _PREVIEW_ROWS)
            show(f"{mart.name}, first {_PREVIEW_ROWS} rows", mart.headline, rows, right=mart.headline[1:])


def _tell_checks(outcome: "RunOutcome", *, as_json: bool) -> None:
    if as_json:
        answer(
            {
                "ok": outcome.success and not any(each.blocks for each in outcome.checks),
                "checks": [
                    {
                        "asset": each.asset,
                        "check": each.name,
                        "passed": each.passed,
                        "blocking": each.blocking,
                        "description": each.description,
                    }
                    for each in outcome.checks
                ],
                "errors": list(outcome.failures),
            }
        )
        return
    order = sorted(outcome.checks, key=lambda each: (each.passed, not each.blocking, each.asset, each.name))
    show(
        "Asset checks",
        ("", "asset", "check", "blocking", ""),
        [
            ("ok" if e.passed else "FAILED", e.asset, e.name, "yes" if e.blocking else "no", e.description)
            for e in order
        ],
    )
    for failure in outcome.failures:
        line(failure)
