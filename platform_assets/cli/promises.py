"""The verb `promises`: how promises stand this month, and who is to blame.

Belongs here: its options and how its answer looks. Elsewhere: judging (engine/promises).
"""

from collections.abc import Iterator
from typing import Annotated

import typer

from platform_assets.cli.render import Json, Table, render, say
from platform_assets.commands.promises import Standing, standing


def promises(
    month: Annotated[str | None, typer.Option(help="The month, such as 2026-11; by default this one.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Exit code 1 if any promise is broken now.")] = False,
    as_json: Json = False,
) -> None:
    """Show how every promise stands this month: deliveries on time and sound, marts fresh, and who is to blame.

    Example: platform promises --month 2026-11
    """
    found = standing(month, say)
    render(found, _tables(found), as_json=as_json, failed=check and not found.ok)


def _tables(found: Standing) -> Iterator[Table | str]:
    yield Table(
        f"Promises in {found.month}",
        found.promises,
        (
            ("promise", lambda row: f"{row['promise']} {row['kind']}"),
            "owner",
            "due",
            "kept",
            ("attained", lambda row: None if row["attainment"] is None else f"{row['attainment']:.1%}"),
            ("objective", lambda row: f"{row['objective']:.1%}"),
            ("budget left", lambda row: f"{row['budget_left']:.0%}" + " burning" * row["burning"]),
            "repaired in",
            "broken since",
        ),
        empty="nothing is promised",
        least=("objective", "repaired in", "due", "owner"),
    )
    blamed: dict[str, list[str]] = {}
    for row in found.promises:
        if row["blame"] is not None:
            blamed.setdefault(row["blame"], []).append(f"{row['promise']} {row['kind']}")
    for blame, promised in blamed.items():
        yield f"{', '.join(promised)}: {blame}"
