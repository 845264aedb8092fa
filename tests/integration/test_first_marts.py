"""Histories of three unlike producers: from a folder of files to a right mart, by two commands and no edit."""

import subprocess
from collections import defaultdict
from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import pytest
from checkout import copy_checkout
from deployed import BIN, Deployed, Finished
from machine import PROJECT
from producers import History, daily_reports, order_exports, stock_lists

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

PARTS: Final = ("platform_assets", "dbt_project", "samples", "pyproject.toml", "workspace.yaml")


class Team(Deployed):
    """A deployment of a copy of the project, without the sample, whose feeds a user declares."""

    @property
    def project(self) -> Path:
        return self.root / "project"

    def platform(self, *arguments: str, env: Mapping[str, str] | None = None) -> Finished:
        done = subprocess.run(
            [BIN / "platform", *arguments], cwd=self.project, check=False, capture_output=True, text=True, timeout=600,
            env=self.environment({"PYTHONPATH": str(self.project), **(env or {})}),
        )  # fmt: skip
        return Finished(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def team(tmp_path: Path) -> Team:
    team = Team(tmp_path)
    copy_checkout(PROJECT, team.project, *PARTS)
    team.landing.mkdir(parents=True, exist_ok=True)
    removed = team.platform("sample", "remove", "--yes")
    assert removed.code == 0, removed.err
    return team


def taken(team: Team, history: History, *options: str) -> dict[str, Any]:
    """What `feed add --mart` answers for the history, whose files lie in the landing folder."""
    added = team.platform("feed", "add", str(history.folder), "--mart", *options, "--json")
    assert added.code == 0, added.err + added.out
    answer: dict[str, Any] = added.answer
    assert (answer["taken"], answer["rejected"], answer["set_aside"]) == ("100 %", 0, [])
    assert answer["rows"] == len(history.rows) + history.copies
    assert answer["duplicate"] == history.copies
    ran = team.platform("run", "--json")
    assert ran.code in (0, 3), ran.err + ran.out
    return answer


def summed(history: History, by: Callable[[dict[str, Any]], Any], *columns: str) -> dict[Any, tuple[Any, ...]]:
    """What the producer knows of the sums of its rows."""
    found: dict[Any, list[Any]] = defaultdict(lambda: [0, *(0 for _ in columns)])
    for row in history.rows:
        sums = found[by(row)]
        sums[0] += 1
        for at, column in enumerate(columns, start=1):
            sums[at] += row[column]
    return {key: tuple(sums) for key, sums in found.items()}


def test_daily_reports_whose_header_changed_four_times(team: Team) -> None:
    history = daily_reports(team.landing / "health" / "reports")
    answer = taken(team, history)
    assert (answer["feed"], answer["mart"]) == ("reports", "reports_by_day")
    rows = team.query("SELECT day, country_region, row_count, confirmed, deaths FROM reports_by_day")
    assert {(day, land): tuple(sums) for day, land, *sums in rows} == summed(
        history, lambda row: (row["day"], row["country"]), "confirmed", "deaths"
    )


def test_monthly_lists_as_german_spreadsheets_write_them(team: Team) -> None:
    history = stock_lists(team.landing / "store" / "stock")
    answer = taken(team, history)
    assert answer["mart"] == "stock_latest"
    newest = max(row["day"] for row in history.rows)
    rows = team.query("SELECT artikelnummer, warengruppe, bestand, preis FROM stock_latest")
    assert sorted(rows) == sorted(
        (row["article"], row["group"], row["stock"], row["price"]) for row in history.rows if row["day"] == newest
    )


def test_exports_whose_columns_come_and_go(team: Team) -> None:
    history = order_exports(team.root / "exports")
    added = team.platform(
        "feed", "add", str(history.folder), "--mart", "--origin", "shop", "--name", "order_lines_2", "--json"
    )
    assert added.code == 0, added.err + added.out
    assert added.answer["taken"] == "100 %"
    for each in added.answer["files_to_place"]:
        target = team.landing / each["as"]
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(Path(each["file"]).read_bytes())
    ran = team.platform("run", "--json")
    assert ran.code in (0, 3), ran.err + ran.out
    rows = team.query("SELECT day, state, row_count, qty FROM order_lines_2_by_day")
    assert {(day, state): tuple(sums) for day, state, *sums in rows} == summed(
        history, lambda row: (row["day"], row["state"]), "qty"
    )
    prices = team.query("SELECT count(*) FROM order_lines_2_by_day WHERE row_count < 1")
    assert prices == [(0,)]
    assert sum(Decimal(row["price"]) for row in history.rows) > 0
