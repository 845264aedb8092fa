"""Answers: what a verb found, as tables and sentences for people or as one line of JSON for programs.

Belongs here: the one renderer, progress on standard error, the option `--json`. Elsewhere: what is found (commands).
"""

import json
import re
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.text import Text

from platform_assets.cli.codes import ATTENTION, FAILED
from platform_assets.cli.table import Shown, laid_out
from platform_assets.commands.attention import Attention
from platform_assets.errors import lines, printable

Json = Annotated[bool, typer.Option("--json", help="Print one line of JSON instead of tables.")]
Column = str | tuple[str, str | Callable[[Any], object]]

_LONGEST: Final = 1_000  # characters of a cell
_HOW_FAR: Final = re.compile(r"\b[0-9][0-9,]* of [0-9][0-9,]*(?:,|$| (?:files|deliveries|days)\b)")
_BETWEEN_LINES_S: Final = 5.0  # where there is no terminal


@dataclass(frozen=True)
class Table:
    """Rows, which are dataclasses or mappings, for people.

    columns: headers; each names the field that it shows (`newest data` shows `newest_data`), or comes with another
    field's name, or with a function that makes the cell of a row. Without rows there is no table; `empty` is printed.
    least: headers of columns that give way where there is no room for all, the first of them first; other columns stay,
    with long names broken, as long as that is any help.
    """

    title: str
    rows: Sequence[Any]
    columns: Sequence[Column]
    empty: str | None = None
    least: Sequence[str] = ()


def render(
    answer: object,
    parts: Iterable[Table | str],
    *,
    as_json: bool,
    failed: bool = False,
    attention: Sequence[Attention] | None = None,
) -> None:
    """Print `answer` (dataclasses, mappings, lists) as JSON, or else `parts`, the same for people.

    Ends the command as codes.py says: where it `failed`, else where something waits for a person. attention: what that
    is; JSON has it under `attention`. All of it is text, never markup.
    """
    if as_json:
        told = plain(answer) if attention is None else {**plain(answer), "attention": plain(attention)}
        sys.stdout.write(json.dumps(told, default=str) + "\n")
        sys.stdout.flush()
    else:
        for part in parts:
            _print(part)
        _print(Table("Waits for a person", attention or (), ("about", "what", ("what to do", "remedy"))))
    if failed:
        raise typer.Exit(FAILED)
    if attention:
        raise typer.Exit(ATTENTION)


def plain(value: object) -> Any:  # noqa: ANN401 - whatever JSON holds
    """`value` as JSON holds it: dataclasses by their fields (but those that their repr leaves out), times as ISO 8601,
    spans of time in seconds."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value) if field.repr}
    if isinstance(value, Mapping):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return {name.rstrip("_"): plain(each) for name, each in value._asdict().items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    return str(value) if isinstance(value, Path) else value


def say(message: str) -> None:
    """Progress and remarks: standard error, so that standard output stays the answer. Text, never markup.

    What tells how far something is ("12 of 479 deliveries", never rows) is one line on a terminal, which the next
    takes; elsewhere a line now and then.
    """
    if _HOW_FAR.search(message):
        _live.tell(printable(message, _LONGEST))
        return
    _live.clear()
    text = Text(lines(message))
    text.highlight_regex(r"\Aerror:", "bold red")
    _console(to_err=True).print(text, soft_wrap=True)


class _Live:
    """The line that says how far something is. told_at: when a line was last written where there is no terminal."""

    def __init__(self) -> None:
        self._stands = False
        self._told_at = time.monotonic()

    def tell(self, message: str) -> None:
        now = time.monotonic()
        if sys.stderr.isatty():
            width = _console(to_err=True).width - 1
            sys.stderr.write(f"\r\x1b[2K{message[:width]}")
            sys.stderr.flush()
            self._stands = True
        elif now - self._told_at >= _BETWEEN_LINES_S:
            self._told_at = now
            sys.stderr.write(f"{message}\n")
            sys.stderr.flush()

    def clear(self) -> None:
        if self._stands:
            sys.stderr.write("\r\x1b[2K")
            sys.stderr.flush()
            self._stands = False


_live: Final = _Live()


def _console(*, to_err: bool = False) -> Console:
    """Colours are for terminals, unless NO_COLOR is set. The width is the terminal's, or what COLUMNS says, or 80."""
    console = Console(stderr=to_err, highlight=False)
    is_terminal = (sys.stderr if to_err else sys.stdout).isatty()
    # Rich would still write bold letters where it is told not to colour.
    return console if is_terminal and not console.no_color else Console(stderr=to_err, color_system=None)


def _print(part: Table | str) -> None:
    _live.clear()
    console = _console()
    if isinstance(part, str):
        console.print(Text(lines(part)), soft_wrap=True)
        return
    if not part.rows:
        if part.empty is not None:
            _print(part.empty)
        return
    columns = []
    for column in part.columns:
        cells = [_cell(row, column) for row in part.rows]
        numbers = all(isinstance(cell, int | Decimal | None) for cell in cells)
        columns.append(Shown(column if isinstance(column, str) else column[0], list(map(_shown, cells)), numbers))
    table, gone = laid_out(columns, console.width, part.least)
    console.print(Text(printable(part.title, _LONGEST), style="bold"), soft_wrap=True)
    console.print(table)
    if gone:
        _print(f"no room here for: {', '.join(gone)} (a wider terminal shows them, and --json)")


def _cell(row: object, column: Column) -> object:
    """What the row has in the column; yes and no are words, so that what is a number is a number."""
    shows = column if isinstance(column, str) else column[1]
    if isinstance(shows, str):
        name = shows.replace(" ", "_")
        value = row[name] if isinstance(row, Mapping) else getattr(row, name)
    else:
        value = shows(row)
    return ("yes" if value else "no") if isinstance(value, bool) else value


def _shown(cell: object) -> str:
    if cell is None:
        return "-"
    if isinstance(cell, int | Decimal):
        return f"{cell:,}"
    if isinstance(cell, datetime):
        return f"{cell:%Y-%m-%d %H:%M}"
    shown = map(str, cell) if isinstance(cell, list | tuple) else str(cell).split("\n")
    return "\n".join(printable(line, _LONGEST) for line in shown)
