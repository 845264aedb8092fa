"""`platform release personal`: which columns of marts are personal, and what becomes of them.

Belongs here: its options, and how the answer looks. Elsewhere: the answer (commands/personal.py).
"""

from typing import Annotated

import typer

from platform_assets.cli.render import Json, Table, render, say
from platform_assets.commands.personal import TreatedColumn, personal_data


def release_personal(
    product: Annotated[str | None, typer.Argument(help="Only this product.")] = None,
    as_json: Json = False,
) -> None:
    """Show the personal columns of every mart: where each is from, and what becomes of it in a release.

    Exit code 1 when a product is not released, as nobody has declared what becomes of a column.

    Example: platform release personal
    """
    found = personal_data(product, say)

    def origin(row: TreatedColumn) -> str:
        if not row.followed:
            return f"cannot be followed; may be {', '.join(row.made_from)}"
        return ", ".join(row.made_from) or "as its contract says"

    columns = (
        "product",
        "mart",
        "column",
        ("made from", origin),
        ("in a release", lambda row: row.in_release or "not declared"),
    )
    none = None if found.not_built else "no mart has personal data"
    render(
        found,
        [
            Table("Personal data in marts", found.columns, columns, empty=none, least=("product",)),
            *(line for each in found.refused for line in (f"{each.sentence}.", f"  {each.remedy}")),
            *([f"not built yet: {', '.join(found.not_built)}; `platform run` builds them"] if found.not_built else []),
        ],
        as_json=as_json,
        failed=bool(found.refused),
    )
