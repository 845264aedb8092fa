"""Markdown for Dagster's UI: tables, and text from outside that can do nothing there.

Belongs here: how cells and tables are written. Elsewhere: what stands in them.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from platform_assets.errors import printable

LONGEST: Final = 1_000  # characters of what stands in a cell


def table(head: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str = "") -> str:
    """A table of cells that are safe already; `empty` where there is no row."""
    lines = [f"| {' | '.join(map(str, row))} |" for row in rows]
    return "\n".join([f"| {' | '.join(head)} |", "|" + "---|" * len(head), *lines]) if lines else empty


def code(text: str | None) -> str:
    """Text from outside as Markdown's code, which is shown and nothing else, on one line."""
    cleaned = printable(text or "", LONGEST).replace("`", "'").replace("|", "¦")
    return f"`{cleaned}`" if cleaned else ""
