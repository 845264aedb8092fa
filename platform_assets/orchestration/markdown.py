"""Tables for Dagster's UI, and text from outside that can do nothing there.

Belongs here: how cells, tables and rows of data are written. Elsewhere: what stands in them.
"""

from collections.abc import Iterable, Sequence
from typing import Final

import dagster as dg

from platform_assets.engine.store.newest import Rows
from platform_assets.engine.store.quarantine import RejectedRow
from platform_assets.errors import printable

LONGEST: Final = 1_000  # characters of what stands in a cell
_CELL: Final = 200  # of one in a listing


def table(head: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str = "") -> str:
    """A table of cells that are safe already; `empty` where there is no row."""
    lines = [f"| {' | '.join(map(str, row))} |" for row in rows]
    return "\n".join([f"| {' | '.join(head)} |", "|" + "---|" * len(head), *lines]) if lines else empty


def code(text: str | None) -> str:
    """Text from outside as Markdown's code, which is shown and nothing else, on one line."""
    cleaned = printable(text or "", LONGEST).replace("`", "'").replace("|", "¦")
    return f"`{cleaned}`" if cleaned else ""


def listing(head: Sequence[str], rows: Iterable[Sequence[str | int | None]]) -> dg.TableMetadataValue:
    """Rows that a person sees at once, without opening anything: Dagster shows each cell as text, whatever it holds."""
    names = [printable(name, LONGEST) for name in head]
    records = [
        dg.TableRecord(
            {
                name: cell if isinstance(cell, int) else printable(cell or "", _CELL)
                for name, cell in zip(names, row, strict=True)
            }
        )
        for row in rows
    ]
    return dg.MetadataValue.table(records, dg.TableSchema([dg.TableColumn(name) for name in names]))


def newest(rows: Rows) -> dict[str, dg.TableMetadataValue]:
    """The newest rows of a table, as metadata of what made it."""
    return {"newest_rows": listing(rows.columns, rows.rows)} if rows.columns else {}


def rejected(rows: Iterable[RejectedRow]) -> dg.TableMetadataValue:
    """Rejected rows, personal data masked, each once for every rule it breaks."""
    lines: list[tuple[str | int | None, ...]] = []
    for row in rows:
        record = row.record if isinstance(row.record, str) else ", ".join(each or "" for each in row.record.values())
        lines += [
            (row.file, row.line, *(reason[part] for part in ("column", "rule", "value")), record)
            for reason in row.reasons
        ]
    return listing(("file", "line", "column", "rule", "value", "record"), lines)
