"""Verbs of the sample: let it deliver, take it out.

Belongs here: calling the work and showing what it did. Elsewhere: the sample (samples/), its links (project/sample.py).
"""

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from platform_assets.cli.render import Json, render, say
from platform_assets.errors import ConfigurationError, counted
from platform_assets.project.configured import audit_log
from platform_assets.project.sample import SAMPLES, remove_sample, sample_links
from platform_assets.settings import PROJECT, Settings, person

sample_app = typer.Typer(no_args_is_help=True, help="The sample: a retailer to try the platform on.")


def simulate(
    days: Annotated[int, typer.Option(help="Calendar days to deliver, ending with --until.", min=1)] = 30,
    rows_per_day: Annotated[int, typer.Option(help="Order lines of a trading day.", min=1)] = 1000,
    seed: Annotated[int, typer.Option(help="Same seed and days, same bytes.")] = 1,
    dirt: Annotated[float, typer.Option(help="Share of order lines that are dirty.", min=0.0, max=1.0)] = 0.02,
    until: Annotated[
        datetime | None, typer.Option(help="Last day; yesterday by default.", formats=["%Y-%m-%d"])
    ] = None,
    if_empty: Annotated[bool, typer.Option(help="Do nothing when the landing folder holds anything.")] = False,
    as_json: Json = False,
) -> None:
    """Write the sample retailer's deliveries into the landing folder, with real life's dirt.

    What was planted is written to .simulated/planted.json beside them.

    Example: platform simulate --days 30 --rows-per-day 1000 --seed 1 --dirt 0.02
    """
    landing = Settings.from_environment().landing
    if if_empty and landing.is_dir() and any(path for path in landing.iterdir() if not path.name.startswith(".")):
        _nothing_written(f"{landing} holds deliveries already; none were simulated", landing, as_json=as_json)
        return
    if not sample_links():
        if if_empty:
            _nothing_written("the sample is taken out; no deliveries were simulated", landing, as_json=as_json)
            return
        raise ConfigurationError(
            "simulate",
            "the sample is taken out of this deployment, so no feed would ask for its deliveries; nothing was written",
            f"Put files of your own under {landing}; `platform feed add FILE` declares a feed for one.",
        )
    from samples.retail import simulator

    last = until.date() if until is not None else datetime.now(tz=UTC).date() - timedelta(days=1)
    try:
        made = simulator.simulate(
            landing,
            days=days,
            rows_per_day=rows_per_day,
            seed=seed,
            dirt=dirt,
            until=last,
            progress=say,
        )
    except ValueError as error:
        raise ConfigurationError(
            "simulate", str(error), "Choose another landing folder, or the values of before."
        ) from error
    wrote = counted(len(made.wrote), "file")
    render(
        {"ok": True, "files": made.wrote, "landing": landing, "until": last},
        [f"{wrote} written under {landing}; what was planted: {landing / simulator.ACCOUNT}"],
        as_json=as_json,
    )


def _nothing_written(why: str, landing: Path, *, as_json: bool) -> None:
    say(why)
    render({"ok": True, "files": [], "landing": landing}, (), as_json=as_json)


@sample_app.command("remove")
def sample_remove(
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Take the sample out of this deployment: its feeds, its marts and its dbt models.

    Its files stay in samples/, where a later version of the platform may change them. What you declared, what was
    delivered and what was made of it is not touched.

    Example: platform sample remove --yes
    """
    links = {path.relative_to(PROJECT): leads_to.relative_to(PROJECT) for path, leads_to in sample_links().items()}
    if links and not yes:
        for path, leads_to in links.items():
            say(f"{path} (a link to {leads_to})")
        if not sys.stdin.isatty():
            raise ConfigurationError("sample remove", "would remove these links", "Say --yes, or answer at a terminal.")
        typer.confirm("Remove these links?", abort=True, err=True)
    if links:
        log = audit_log(Settings.from_environment().home)
        with log.doing(person(), "sample remove", {"links": [str(path) for path in links]}):
            remove_sample()
    kept = f"Its files stay in {SAMPLES.relative_to(PROJECT)}/, its rows in PLATFORM_HOME; to begin empty, delete both."
    then = "next: commit this, then `platform feed add FILE` declares a feed from a file of yours"
    sentences = [*(f"removed {path}" for path in links), kept, then] if links else ["the sample is taken out already"]
    render({"ok": True, "removed": list(links)}, sentences, as_json=as_json)
