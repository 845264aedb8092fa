"""Verbs of the sample: let it deliver.

Belongs here: calling the work and showing what it did. Elsewhere: the sample itself (sample.py of the package).
"""

from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from platform_assets.cli.render import Json, render, say
from platform_assets.errors import ConfigurationError
from platform_assets.settings import Settings

_LONG_WORK_ROWS = 1_000_000


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
    from platform_assets import sample

    landing = Settings.from_environment().landing
    if if_empty and landing.is_dir() and any(path for path in landing.iterdir() if not path.name.startswith(".")):
        say(f"{landing} holds deliveries already; none were simulated")
        render({"ok": True, "files": [], "landing": landing}, [], as_json=as_json)
        return
    last = until.date() if until is not None else datetime.now(tz=UTC).date() - timedelta(days=1)
    try:
        made = sample.simulate(
            landing,
            days=days,
            rows_per_day=rows_per_day,
            seed=seed,
            dirt=dirt,
            until=last,
            progress=say if days * rows_per_day > _LONG_WORK_ROWS else None,
        )
    except ValueError as error:
        raise ConfigurationError(
            "simulate", str(error), "Choose another landing folder, or the values of before."
        ) from error
    render(
        {"ok": True, "files": made.wrote, "landing": landing, "until": last},
        [f"{len(made.wrote)} files written under {landing}; what was planted: {landing / sample.ACCOUNT}"],
        as_json=as_json,
    )
