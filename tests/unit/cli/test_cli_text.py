"""What the command line shows: data is text and never markup, and tables and JSON say the same."""

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
import typer

from platform_assets.cli.render import Table, plain, render, say

ODD = "sales/x[1].csv [bold]not bold[/bold] [/]"


@dataclass(frozen=True)
class Row:
    file: str
    rows: int
    newest_data: datetime | None = None
    late: bool = False
    secret: str = field(default="hidden", repr=False)


def test_progress_is_shown_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    say(ODD)
    assert capsys.readouterr().err == f"{ODD}\n"


def test_cells_and_sentences_are_shown_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    render({}, [Table("Rows", [Row(ODD, 1)], ("file",)), f"one: {ODD}"], as_json=False)
    shown = capsys.readouterr().out
    assert shown.count(ODD) == 2


def test_nothing_of_data_steers_a_terminal_or_a_build(capsys: pytest.CaptureFixture[str]) -> None:
    data = "\x1b]8;;https://evil.example\x07a\x1b[2J\u202eb\x9bc\r" + "long" * 1_000
    say(f"::error::{data}")
    render({}, [Table(data, [Row(data, 1)], ("file",)), f"::set-output name=x::{data}"], as_json=False)
    shown = "".join(capsys.readouterr())
    assert all(character.isprintable() or character == "\n" for character in shown)
    assert not any(line.startswith("::") for line in shown.splitlines())
    assert shown.count("long") < 1_800
    render({"file": data}, (), as_json=True)
    assert capsys.readouterr().out.strip().isprintable()


def test_the_same_rows_make_the_table_and_the_json(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [Row("a.csv", 1_234, datetime(2026, 3, 16, 9, tzinfo=UTC)), Row("b.csv", 5, late=True)]
    table = Table("Files", rows, ("file", ("rows now", "rows"), "newest data", "late", ("half", lambda r: r.rows // 2)))
    render({"files": rows}, [table], as_json=False)
    lines = [line.replace(" ", "") for line in capsys.readouterr().out.splitlines()]
    assert "│a.csv│1,234│2026-03-1609:00│no│617│" in lines
    assert "│b.csv│5│-│yes│2│" in lines
    render({"files": rows}, [table], as_json=True)
    assert json.loads(capsys.readouterr().out) == {
        "files": [
            {"file": "a.csv", "rows": 1234, "newest_data": "2026-03-16T09:00:00+00:00", "late": False},
            {"file": "b.csv", "rows": 5, "newest_data": None, "late": True},
        ]
    }


def test_a_table_without_rows_is_a_sentence_or_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    render({}, [Table("Files", [], ("file",), empty="no file yet"), Table("Others", [], ("file",))], as_json=False)
    assert capsys.readouterr().out == "no file yet\n"


def test_a_command_that_failed_ends_with_1_when_it_has_answered(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as ended:
        render({"ok": False}, (), as_json=True, failed=True)
    assert (ended.value.exit_code, json.loads(capsys.readouterr().out)) == (1, {"ok": False})


def test_plain_values_are_what_json_holds() -> None:
    given = {"a": (Path("x"), timedelta(minutes=2)), "b": Decimal("1.5")}
    assert plain(given) == {"a": ["x", 120.0], "b": Decimal("1.5")}


def shown(capsys: pytest.CaptureFixture[str], *tables: Table) -> list[str]:
    """The lines of tables, on 80 columns."""
    render({}, tables, as_json=False)
    return capsys.readouterr().out.splitlines()


LONG = {
    "feed": "order_lines_of_all_shops",
    "file": "retail/order_lines/2026-11-18.csv",
    "problem": "the header lacks a column that the contract has, and has another one that nobody declared",
    "remedy": "Ask the producer for it, or declare the other name as a header of its column.",
    "rows": 1_234_567,
    "taken_in": datetime(2026, 11, 18, 6, 30, tzinfo=UTC),
}


@pytest.mark.parametrize("width", [80, 120, 200])
def test_a_table_is_as_wide_as_the_terminal_and_breaks_no_name(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    columns = ("feed", "file", "problem", "remedy", "rows", "taken in")
    lines = shown(capsys, Table("Deliveries", [LONG], columns, least=("taken in", "remedy", "rows")))
    assert max(len(line) for line in lines if not line.startswith("no room")) <= width
    text = "\n".join(lines)
    assert "order_lines_of_all_shops" in text
    assert "retail/order_lines/2026-11-18.csv" in text
    left_out = lines[-1].partition("no room here for: ")[2]
    assert all(each in left_out for each in ("taken in", "remedy")) or "rows" not in left_out, "in the declared order"
    assert ("no room" in lines[-1]) is (width < 120)


@pytest.mark.parametrize("width", [60, 80])
def test_a_table_without_columns_that_may_go_breaks_names_and_keeps_its_message(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    held = {"by": "raw/retail/order_lines_of_all_shops", "held": "marts/daily_sales_of_all_shops_by_hour"}
    held["why"] = "check tolerated_rejects: half of the rows of the newest delivery are rejected"
    lines = shown(capsys, Table("Held back", [held], ("by", "held", "why")))
    assert max(map(len, lines)) <= width
    cells = [[cell.strip() for cell in line.strip("│").split("│")] for line in lines if line.startswith("│")]
    by, back, why = zip(*cells, strict=True)
    assert ("".join(by), "".join(back)) == (held["by"], held["held"])
    assert " ".join(filter(None, why)).startswith("check")
    assert "".join(why).replace(" ", "") == held["why"].replace(" ", "")


def test_tables_are_plain_in_pipes_and_under_no_color(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    table = Table("Files", [{"status": "quarantined"}, {"status": "accepted"}], ("status",))
    assert "\x1b" not in "".join(shown(capsys, table))
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("FORCE_COLOR", "1")
    coloured = "".join(shown(capsys, table))
    assert "\x1b[31mquarantined" in coloured
    assert "\x1b[32maccepted" in coloured
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in "".join(shown(capsys, table))


@pytest.mark.parametrize(
    "message", ["order_lines: 1,200 of 4,790 deliveries", "read 3 of 9 files, 12 rows", "assets: 3 of 14, marts/a"]
)
def test_how_far_something_is_takes_one_line_of_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, message: str
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    say(message)
    say(message)
    say("a remark: 5 of 9 rows rejected")
    shown = capsys.readouterr().err
    assert shown.count(f"\r\x1b[2K{message}") == 2
    assert shown.replace("\x1b[2K", "").endswith("\ra remark: 5 of 9 rows rejected\n")


def test_how_far_something_is_stands_in_a_pipe_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(0, 10_000, 2))
    monkeypatch.setattr("time.monotonic", lambda: float(next(clock)) + 1e9)
    for n in range(1, 13):
        say(f"sales: {n} of 12 deliveries")
    assert capsys.readouterr().err.splitlines() == [f"sales: {n} of 12 deliveries" for n in (1, 4, 7, 10)]
