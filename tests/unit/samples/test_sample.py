"""The sample world tells the truth about itself: what it plants is counted again here, by csv alone."""

import csv
import json
import re
from collections import Counter
from datetime import date, datetime, timedelta
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from samples.retail.simulator import Planted, Sample, simulate

END = date(2026, 3, 31)
HEADER = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"
STRICT_PRICE = re.compile(r"-?\d+(\.\d{1,4})?")


def world(landing: Path, **changes: Any) -> Sample:
    arguments: dict[str, Any] = {"days": 31, "rows_per_day": 400, "seed": 7, "dirt": 0.1, "until": END}
    return simulate(landing, **(arguments | changes))


def fingerprints(landing: Path) -> dict[str, str]:
    paths = sorted(path for path in landing.rglob("*") if path.is_file() and ".simulated" not in path.parts)
    return {path.relative_to(landing).as_posix(): sha256(path.read_bytes()).hexdigest() for path in paths}


def rows_of(path: Path) -> list[tuple[str, ...]]:
    with path.open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    assert ",".join(header) == HEADER
    return [tuple(row) for row in rows]


def broken_rules(row: tuple[str, ...]) -> list[str]:
    """The order-line contract once more, by hand."""
    invoice, stock_code, _, quantity, invoiced_at, price, _, country = row
    broken = []
    if not re.fullmatch(r"[A-Z]?\d{6}", invoice) or not stock_code or not country:
        broken.append("identity")
    if not re.fullmatch(r"[+-]?\d+", quantity):
        broken.append("quantity")
    if not STRICT_PRICE.fullmatch(price):
        broken.append("unit_price")
    elif Decimal(price) < 0:
        broken.append("unit_price_negative")
    try:
        moment = datetime.strptime(invoiced_at, "%Y-%m-%d %H:%M:%S")  # noqa: DTZ007 - local time, as delivered
        assert 8 <= moment.hour < 20
    except ValueError:
        broken.append("invoiced_at")
    return broken


def recount(path: Path) -> dict[str, Any]:
    """The file's account, made from nothing but its rows (no field holds a line break)."""
    lines: dict[str, list[int]] = {
        kind: []
        for kind in (
            *("quantity", "unit_price", "invoiced_at", "unit_price_negative"),
            *("duplicates", "returns", "missing_customer"),
        )
    }
    seen: set[tuple[str, ...]] = set()
    rows = rows_of(path)
    assert len(path.read_bytes().splitlines()) == len(rows) + 1
    for line, row in enumerate(rows, start=2):
        kinds = broken_rules(row)
        kinds += ["duplicates"] if row in seen else []
        kinds += ["returns"] if row[0].startswith("C") and row[3].startswith("-") else []
        kinds += ["missing_customer"] if not row[6] else []
        assert len(kinds) <= 1, f"line {line} is dirty in more than one way: {kinds}"
        for kind in kinds:
            lines[kind].append(line)
        seen.add(row)
    return {"rows": len(rows), "lines": lines}


def agrees(path: Path, planted: Planted) -> None:
    found = recount(path)
    lines = found["lines"]
    assert planted.lines == lines
    assert planted.rows == found["rows"] == planted.accepted + sum(planted.rejected.values()) + planted.duplicates
    assert planted.rejected == {kind: len(lines[kind]) for kind in planted.rejected}
    assert (planted.duplicates, planted.returns, planted.missing_customer) == tuple(
        len(lines[kind]) for kind in ("duplicates", "returns", "missing_customer")
    )


def order_lines(sample: Sample) -> dict[str, Planted]:
    return {name: file for name, file in sample.files.items() if name.startswith("retail/order_lines/")}


def test_same_arguments_same_bytes_another_seed_other_bytes(tmp_path: Path) -> None:
    for name, seed in (("one", 7), ("two", 7), ("other", 8)):
        world(tmp_path / name, seed=seed)
    one, two, other = (fingerprints(tmp_path / name) for name in ("one", "two", "other"))
    assert one == two
    assert not set(one.values()) & set(other.values())


@pytest.mark.parametrize("dirt", [0.0, 0.02, 0.1, 1.0])
def test_what_is_planted_is_what_an_independent_reader_finds(tmp_path: Path, dirt: float) -> None:
    files = order_lines(world(tmp_path, dirt=dirt))
    for name, planted in files.items():
        agrees(tmp_path / name, planted)
        assert planted.rows - planted.duplicates == 400
        assert sum(map(len, planted.lines.values())) == round(400 * dirt)
    if dirt:
        dirty = sum(sum(map(len, file.lines.values())) for file in files.values())
        assert sum(sum(file.rejected.values()) for file in files.values()) == pytest.approx(dirty / 4, rel=0.1)
        assert sum(file.duplicates for file in files.values()) == pytest.approx(dirty / 5, rel=0.1)
        assert all(sum(file.rejected[kind] for file in files.values()) for kind in next(iter(files.values())).rejected)


def test_a_file_of_many_chunks_is_counted_right(tmp_path: Path) -> None:
    sample = world(tmp_path, days=1, rows_per_day=150_000, dirt=0.05)
    (name,) = order_lines(sample)
    agrees(tmp_path / name, sample.files[name])
    invoices_and_articles = Counter(row[:2] for row in rows_of(tmp_path / name))
    assert sum(invoices_and_articles.values()) - len(invoices_and_articles) == sample.files[name].duplicates


def test_the_account_on_disk_is_the_summary_and_no_delivery(tmp_path: Path) -> None:
    sample = world(tmp_path)
    account = json.loads((tmp_path / ".simulated/planted.json").read_text("utf-8"))
    assert {name: Planted(**file) for name, file in account.pop("files").items()} == sample.files
    assert account == {"seed": 7, "days": 31, "rows_per_day": 400, "dirt": 0.1, "until": "2026-03-31"}
    assert set(fingerprints(tmp_path)) == set(sample.files) == set(sample.wrote)


def test_a_day_has_the_same_bytes_whatever_the_window(tmp_path: Path) -> None:
    world(tmp_path / "month")
    world(tmp_path / "week", days=7, until=END - timedelta(days=9))
    month, week = fingerprints(tmp_path / "month"), fingerprints(tmp_path / "week")
    first_customers = "retail/customers/2026-03-16.ndjson"  # everyone in one window, changes in the other
    shared = {name for name in set(month) & set(week) if name != first_customers}
    assert sum(name.startswith("retail/order_lines") for name in shared) == 7  # the resent one too
    assert {name: month[name] for name in shared} == {name: week[name] for name in shared}


def test_order_lines_look_like_the_real_ones(tmp_path: Path) -> None:
    files = order_lines(world(tmp_path, rows_per_day=2000, dirt=0.0))
    days = {date.fromisoformat(Path(name).stem) for name in files}
    assert days == {END - timedelta(days=n) for n in range(31) if (END - timedelta(days=n)).weekday() != 5}
    units, articles = Counter[int](), dict[str, str]()
    for name in files:
        rows = rows_of(tmp_path / name)
        assert [row[4] for row in rows] == sorted(row[4] for row in rows)
        assert {row[4][:10] for row in rows} == {Path(name).stem}
        assert all(re.fullmatch(r"\d{5}\.0", row[6]) for row in rows)
        assert sum(row[2].endswith(" ") for row in rows) / len(rows) == pytest.approx(1 / 3, abs=0.05)
        assert any('"' in row[2] for row in rows)
        assert any("," in row[2] for row in rows)
        units[date.fromisoformat(Path(name).stem).weekday()] += sum(int(row[3]) for row in rows)
        articles |= {row[1]: row[2].rstrip() for row in rows}
    assert units[3] / 4 > units[6] / 5 * 1.2  # Thursdays sell more than Sundays
    assert len(articles) == len(set(articles.values()))


def test_every_sale_has_its_list_price_and_its_customer(tmp_path: Path) -> None:
    sample = world(tmp_path, dirt=0.0, days=20)
    paths = sorted((tmp_path / "retail/products").iterdir())
    assert [date.fromisoformat(path.stem).weekday() for path in paths] == [0] * len(paths)
    lists = {path.stem: pl.read_parquet(path) for path in paths}
    assert dict(next(iter(lists.values())).schema) == {
        **dict.fromkeys(("stock_code", "description", "category"), pl.String()),
        "list_price": pl.Decimal(18, 4),
        "effective_on": pl.Date(),
    }
    prices = {day: dict(table.select("stock_code", "list_price").iter_rows()) for day, table in lists.items()}
    one, two, *_ = prices.values()
    assert 0 < sum(one[code] != two[code] for code in one) < len(one) / 2
    known: set[str] = set()
    for path in sorted((tmp_path / "retail/customers").iterdir()):
        records = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
        known |= {record["customer_id"] for record in records}
        assert all(record["email"].endswith("@example.com") for record in records)
        assert all(record["registered_on"] <= record["updated_at"][:10] <= path.stem for record in records)
        assert len(records) > 1000 or path.stem > "2026-03-12"
        assert len(records) < 20 or path.stem == "2026-03-12"
    for name in order_lines(sample):
        listed = prices[max(day for day in prices if day <= Path(name).stem)]
        for _, code, _, _, _, price, customer, _ in rows_of(tmp_path / name):
            assert listed[code] * 9 / 10 - Decimal("0.01") <= Decimal(price) <= listed[code]
            assert customer.removesuffix(".0") in known


def test_an_earlier_file_is_delivered_again_under_another_name(tmp_path: Path) -> None:
    for landing, window in (("month", {}), ("short", {"days": 3})):
        sample = world(tmp_path / landing, **window)
        (again,) = sample.redelivered
        original = sample.files[again].redelivery_of
        assert original == again.replace("_resent", "")
        assert (tmp_path / landing / again).read_bytes() == (tmp_path / landing / original).read_bytes()
    assert not world(tmp_path / "clean", dirt=0.0).redelivered


def test_a_second_wave_restates_one_day_and_leaves_every_other_file_alone(tmp_path: Path) -> None:
    first = world(tmp_path, days=30, until=END - timedelta(days=1))
    assert not first.restated
    before = {name: (tmp_path / name).stat().st_mtime_ns for name in first.files}
    prints = fingerprints(tmp_path)
    old = {name: rows_of(tmp_path / name) for name in order_lines(first)}

    second = world(tmp_path, days=31, until=END)
    (name,) = second.restated
    touched = {file for file, mtime in before.items() if (tmp_path / file).stat().st_mtime_ns != mtime}
    assert touched == {name}
    assert set(second.wrote) == {name, *(set(second.files) - set(first.files))}
    assert {file: mark for file, mark in fingerprints(tmp_path).items() if file in prints and file != name} == {
        file: mark for file, mark in prints.items() if file != name
    }
    assert name not in {file.redelivery_of for file in second.files.values()}
    planted, now = second.files[name], rows_of(tmp_path / name)
    agrees(tmp_path / name, planted)
    assert planted.version == 2
    assert len(now) == len(old[name]) + 2
    changed = [(a, b) for a, b in zip(old[name], now, strict=False) if a != b]
    assert changed
    assert all(a[:3] + a[4:] == b[:3] + b[4:] and a[3] != b[3] for a, b in changed)

    assert world(tmp_path, days=31, until=END).wrote == ()  # and nothing is done twice


def test_no_restatement_without_dirt_a_later_day_or_consent(tmp_path: Path) -> None:
    for landing, changes in (("clean", {"dirt": 0.0}), ("off", {"restated": False})):
        world(tmp_path / landing, until=END - timedelta(days=1), **changes)
        assert not world(tmp_path / landing, **changes).restated
    world(tmp_path / "again")
    assert not world(tmp_path / "again").wrote


def test_a_short_world_restates_its_first_day_that_was_not_redelivered(tmp_path: Path) -> None:
    first = world(tmp_path, days=5, until=END - timedelta(days=1))
    second = world(tmp_path, days=5, until=END)
    assert len(first.redelivered) == len(second.redelivered) == len(second.restated) == 1
    assert second.files[second.redelivered[0]].redelivery_of != second.restated[0]


def test_nothing_half_written_is_left_when_the_writer_is_stopped(tmp_path: Path) -> None:
    class StoppedError(Exception):
        pass

    def stop(told: str) -> None:
        if told.startswith("retail/order_lines/2026-03-10"):
            raise StoppedError

    with pytest.raises(StoppedError):
        world(tmp_path / "stopped", progress=stop)
    assert not list((tmp_path / "stopped").rglob(".*.tmp"))
    survivors = fingerprints(tmp_path / "stopped")
    resumed = world(tmp_path / "stopped")
    world(tmp_path / "whole")
    assert not set(survivors) & set(resumed.wrote)
    assert fingerprints(tmp_path / "stopped") == fingerprints(tmp_path / "whole")
    assert resumed.files == world(tmp_path / "whole").files
    assert not list(tmp_path.rglob(".*.tmp"))


def test_worlds_are_not_mixed_and_foreign_files_are_kept(tmp_path: Path) -> None:
    world(tmp_path / "one", days=2)
    with pytest.raises(ValueError, match="choose another folder"):
        world(tmp_path / "one", days=2, seed=8)
    foreign = tmp_path / "two/retail/order_lines/2026-03-31.csv"
    foreign.parent.mkdir(parents=True)
    foreign.write_text("mine", "utf-8")
    with pytest.raises(ValueError, match="was kept"):
        world(tmp_path / "two", days=2)
    assert foreign.read_text("utf-8") == "mine"


@pytest.mark.parametrize("wrong", [{"days": 0}, {"rows_per_day": 0}, {"dirt": 1.1}, {"rows_per_day": 10**8}])
def test_figures_out_of_range_write_nothing(tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="nothing was written"):
        world(tmp_path / "landing", **wrong)
    assert not (tmp_path / "landing").exists()
