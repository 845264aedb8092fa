"""Histories of unlike producers: from a folder of files to a right mart, by two commands and no edit."""

import dataclasses
import random
from collections import defaultdict
from collections.abc import Callable
from datetime import UTC
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import duckdb
import pytest
from checkout import copy_checkout
from deployed import DeployedCopy
from history import DAYS, ERAS, Producer
from machine import PROJECT
from producers import History, daily_reports, order_exports, stock_lists

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

PARTS: Final = ("platform_assets", "dbt_project", "samples", "pyproject.toml", "workspace.yaml")


@pytest.fixture
def team(tmp_path: Path) -> DeployedCopy:
    """A copy of the project without the sample, whose feeds a user declares."""
    team = DeployedCopy(tmp_path, product="marts", most_s=600)
    copy_checkout(PROJECT, team.project, *PARTS)
    team.landing.mkdir(parents=True, exist_ok=True)
    removed = team.platform("sample", "remove", "--yes")
    assert removed.code == 0, removed.err
    return team


def taken(team: DeployedCopy, history: History, *options: str) -> dict[str, Any]:
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


def test_daily_reports_whose_header_changed_four_times(team: DeployedCopy) -> None:
    history = daily_reports(team.landing / "health" / "reports")
    answer = taken(team, history)
    assert (answer["feed"], answer["marts"]) == ("reports", ["reports_by_day"])
    rows = team.query("SELECT day, country_region, row_count, confirmed, deaths FROM reports_by_day")
    assert {(day, land): tuple(sums) for day, land, *sums in rows} == summed(
        history, lambda row: (row["day"], row["country"]), "confirmed", "deaths"
    )


def test_monthly_lists_as_german_spreadsheets_write_them(team: DeployedCopy) -> None:
    history = stock_lists(team.landing / "store" / "stock")
    answer = taken(team, history)
    assert answer["marts"] == ["stock_latest", "stock_by_month"]
    newest = max(row["day"] for row in history.rows)
    rows = team.query("SELECT artikelnummer, warengruppe, bestand, preis FROM stock_latest")
    assert sorted(rows) == sorted(
        (row["article"], row["group"], row["stock"], row["price"]) for row in history.rows if row["day"] == newest
    )
    monthly = summed(history, lambda row: (row["day"].replace(day=1), row["group"]), "stock")
    assert by_month(team) == monthly


def test_history_by_month_leaves_out_withdrawn_lists_and_those_that_were_corrected(team: DeployedCopy) -> None:
    history = stock_lists(team.landing / "store" / "stock", months=12)
    taken(team, history)
    wrong, corrected = history.files[3], history.files[7]
    lines = corrected.read_bytes().splitlines(keepends=True)
    corrected.write_bytes(b"".join(lines[:-30]))
    days = sorted({row["day"] for row in history.rows})
    left = [row for row in history.rows if row["day"] not in (days[3], days[7])]
    left += [row for row in history.rows if row["day"] == days[7]][:-30]
    came = team.platform("delivery", "list", "stock", "--json", "--limit", "100").answer["deliveries"]
    (number,) = (each["delivery"] for each in came if each["file"].endswith(wrong.name))
    done = team.platform("delivery", "withdraw", f"{number}", "--why", "of another shop")
    assert done.code in (0, 3), done.err
    ran = team.platform("run", "--json")
    assert ran.code in (0, 3), ran.err + ran.out
    stands = History(history.folder, rows=left)
    assert by_month(team) == summed(stands, lambda row: (row["day"].replace(day=1), row["group"]), "stock")


def by_month(team: DeployedCopy) -> dict[Any, tuple[Any, ...]]:
    """The mart of the stock's history."""
    rows = team.query("SELECT month, warengruppe, row_count, bestand FROM stock_by_month")
    return {(month, group): tuple(sums) for month, group, *sums in rows}


def test_exports_whose_columns_come_and_go(team: DeployedCopy) -> None:
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


def test_two_hundred_days_that_are_restated_withdrawn_and_accepted(team: DeployedCopy) -> None:
    """Six headers, four ways to write times, columns that come and go; files in any order, as copies."""
    readings = team.landing / "net" / "readings"
    readings.mkdir(parents=True)
    producer = Producer()
    for number in random.Random(3).sample(range(DAYS), DAYS):
        producer.write(readings, number)
    added = team.platform("feed", "add", str(readings), "--mart", "--json")
    assert added.code == 0, added.err + added.out
    assert (added.answer["taken"], added.answer["set_aside"]) == ("100 %", [])
    ran = team.platform("run", "--json")
    assert ran.code in (0, 3), ran.err + ran.out
    assert in_raw(team) == said(producer)

    before = list(producer.said[20])
    for number in (150, 20, 199, 75):
        producer.write(readings, number, ERAS[-1])
    refused = {each.station for each in producer.write_partly_broken(readings, 100)}
    held = team.platform("run", "--json")
    assert held.code == 1, held.out
    assert "10 of 24 rows rejected" in held.out
    ids = {
        each["file"]: each["delivery"]
        for each in team.platform("delivery", "list", "readings", "--json", "--limit", "1000").answer["deliveries"]
        if each["status"] == "accepted"
    }
    slot = "net/readings/"
    accepted = team.platform("delivery", "accept", str(ids[slot + producer.name(100)]), "--why", "ten are being mended")
    assert accepted.code == 0, accepted.err
    withdrawn = team.platform("delivery", "withdraw", str(ids[slot + producer.name(20)]), "--why", "of another network")
    assert withdrawn.code == 0, withdrawn.err
    producer.said[20] = before
    producer.said[100] = [each for each in producer.said[100] if each.station not in refused]
    ran = team.platform("run", "--json")
    assert ran.code in (0, 3), ran.err + ran.out
    assert in_raw(team) == said(producer)
    newest = team.query("SELECT station_id, city_name, read_at, pm_10, no_2, status, remark FROM readings_latest")
    assert sorted((station, city, at.replace(tzinfo=None), *rest) for station, city, at, *rest in newest) == sorted(
        (each.station, each.city, each.at.replace(second=0), each.pm10, each.no2, each.state, each.remark)
        for each in producer.said[199]
    )


def said(producer: Producer) -> list[tuple[Any, ...]]:
    """Every row that stands, by the day of its file."""
    return sorted(
        (producer.day(number), *dataclasses.astuple(each)[:6], each.humidity, each.remark)
        for number, readings in producer.said.items()
        for each in readings
    )


def in_raw(team: DeployedCopy) -> list[tuple[Any, ...]]:
    """Every row that raw has."""
    columns = "_file_date, station_id, city_name, read_at, pm_10, no_2, status, humidity, remark"
    with duckdb.connect(str(team.home / "warehouse.duckdb"), read_only=True) as warehouse:
        found = warehouse.execute(f"SELECT {columns} FROM raw.readings").fetchall()
    return sorted(
        (
            day,
            station,
            city,
            at.astimezone(UTC).replace(tzinfo=None),
            *numbers,
            None if wet is None else float(wet),
            said,
        )
        for day, station, city, at, *numbers, wet, said in found
    )
