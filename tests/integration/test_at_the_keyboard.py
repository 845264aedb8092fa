"""What a person meets at the keyboard, by the real command: wrong words and declarations, Ctrl-C, help, tables."""

import gzip
import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import duckdb
import psutil
import pytest
import typer.main
from checkout import copy_checkout
from deployed import Deployed
from machine import PROJECT
from shop import Shop

from platform_assets.cli.tree import app
from platform_assets.commands.run import previews

WRONG_FEED = """from platform_assets import Cadence, Contract, Feed, Field, Files, hours


class Prices(Contract):
    \"\"\"Prices.\"\"\"

    sku: str = Field()


PRICES = Feed(
    name="prices",
    source=Files("shop/*.csv"),
    contract=Prices,
    {wrong}
    delivered=Cadence(cron="0 6 * * *", within=hours(3)),
    owner="team:sales",
)
"""


def verbs(command: object, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], object]]:
    """Every verb and group, by the words that call it."""
    yield path, command
    for name, each in getattr(command, "commands", {}).items():
        yield from verbs(each, (*path, name))


EVERY_VERB = list(verbs(typer.main.get_command(app)))


@pytest.mark.parametrize(("path", "command"), EVERY_VERB, ids=[" ".join(path) or "platform" for path, _ in EVERY_VERB])
def test_every_help_has_an_example(path: tuple[str, ...], command: object) -> None:
    said = str(getattr(command, "help", "") or "")
    if not getattr(command, "commands", {}) or getattr(command, "invoke_without_command", False):
        assert f"Example: platform {' '.join(path)}".strip() in said, said


def test_the_version_is_told(tmp_path: Path) -> None:
    done = Deployed(tmp_path).verb("--version")
    assert (done.code, done.out) == (0, "platform 0.1.0\n")


@pytest.mark.parametrize(
    ("typed", "meant"),
    [(("rnu",), "run"), (("feed", "lst"), "list"), (("run", "--jsno"), "--json"), (("delivery", "shw"), "show")],
)
def test_a_misspelt_verb_or_option_is_told_with_the_nearest(tmp_path: Path, typed: tuple[str, ...], meant: str) -> None:
    done = Deployed(tmp_path).verb(*typed)
    assert done.code == 2
    assert meant in done.err


def test_a_misspelt_feed_is_told_with_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "landing").mkdir()
    done = Deployed(tmp_path).verb("run", "order_linse")
    assert done.code == 2
    assert "Did you mean 'order_lines'?" in done.err


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ("2026-11-26.cs", "is not there. Did you mean '2026-11-26.csv'?"),
        ("elsewhere/2026-11-26.csv", "is not there: there is no folder"),
        (".", "is a folder"),
    ],
)
def test_a_file_that_is_not_there_is_told_with_the_nearest(tmp_path: Path, typed: str, says: str) -> None:
    (tmp_path / "landing").mkdir()
    (tmp_path / "landing/2026-11-26.csv").touch()
    done = Deployed(tmp_path).verb("feed", "check", str(tmp_path / "landing" / typed))
    assert done.code == 2
    assert says in done.err
    assert "no feed asks for" not in done.err


def test_a_home_of_another_version_is_refused_by_every_verb_alike(tmp_path: Path) -> None:
    (tmp_path / "landing").mkdir()
    world = Deployed(tmp_path)
    assert world.verb("feed", "list").code == 0
    with duckdb.connect(str(world.home / "warehouse.duckdb")) as connection:
        connection.execute("ALTER TABLE ledger.slots DROP COLUMN position")
    for verb in (("run",), ("why", "daily_sales"), ("feed", "status")):
        done = world.verb(*verb)
        assert done.code == 1, done.err
        assert "another version of the platform made it" in done.err
        assert "remedy: Restore a backup" in done.err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ('on_drift="ad",', "platform_assets/feeds/shop.py:14: Feed('prices').on_drift: 'ad' is not one of"),
        ('on_drift="add"', "platform_assets/feeds/shop.py:14: invalid syntax. Perhaps you forgot a comma"),
        ("tolerate=Rejects(rate=5),", "platform_assets/feeds/shop.py:14: NameError: name 'Rejects' is not defined."),
    ],
)
def test_a_wrong_declaration_ends_every_verb_that_reads_it(tmp_path: Path, wrong: str, told: str) -> None:
    copy = tmp_path / "project"
    copy_checkout(PROJECT, copy)
    (copy / "platform_assets/feeds/shop.py").write_text(WRONG_FEED.format(wrong=wrong))
    world = Deployed(tmp_path, {"PYTHONPATH": str(copy)}, cwd=copy)
    for verb in (("run",), ("feed", "list"), ("promises",)):
        done = world.platform(*verb)
        assert done.code == 2, done.err
        assert done.err.startswith(f"error: {told}"), done.err
        assert len(done.err.splitlines()) == 3
    done = world.run("dagster", "definitions", "validate", "-w", "workspace.yaml")
    assert done.code != 0
    assert f"platform_assets.errors.ConfigurationError: {told}" in done.out + done.err


@pytest.mark.slow
@pytest.mark.parametrize("after", ["begun", "pending files", "dbt"])
def test_ctrl_c_ends_a_run_in_one_line_and_the_next_run_is_whole(tmp_path: Path, after: str) -> None:
    world = Deployed(tmp_path)
    world.simulate(days=3, rows=50, until="2026-03-16", dirt=0.0)
    said = tmp_path / "said"
    with said.open("w") as err, world.start("platform", "run", out=err, err=err) as process:
        deadline = time.monotonic() + 100
        while process.poll() is None and time.monotonic() < deadline:
            if after == "begun" or after in said.read_text():
                break
            time.sleep(0.05)
        time.sleep(0.3)
        os.killpg(process.pid, signal.SIGINT)
        code = process.wait(100)
    lines = said.read_text().splitlines()
    if code == 130:  # else it was done before
        assert lines[-1] == "interrupted; the last commit stands; run again"
    assert not [line for line in lines if "Traceback" in line or "KeyboardInterrupt" in line], lines
    assert code == 130 or (after == "dbt" and code in (0, 3)), lines
    assert not [each for each in psutil.process_iter() if _is_of(each, world)]
    again = world.platform("run", "--json")
    assert again.code in (0, 3), again.err
    stored = world.query("SELECT sum(order_lines)::BIGINT FROM daily_sales")
    delivered = sum(len(path.read_text().splitlines()) - 1 for path in world.landing.glob("retail/order_lines/*.csv"))
    assert stored == [(delivered,)]


@pytest.mark.slow
def test_what_holds_a_release_is_told_with_every_way_out_and_each_can_be_typed(tmp_path: Path) -> None:
    world = Deployed(tmp_path, {"COLUMNS": "80"})
    world.simulate(days=3, rows=60, until="2026-03-18", dirt=0.0)
    head, *lines = (world.landing / "retail/order_lines/2026-03-18.csv").read_text().splitlines()
    half = [line.replace("2026-", "someday-") if at % 2 else line for at, line in enumerate(lines)]
    (world.landing / "retail/order_lines/2026-03-18.csv").write_text("\n".join([head, *half, ""]))
    whole = gzip.compress("\n".join([head, *lines]).encode())
    (world.landing / "retail/order_lines/2026-03-19.csv.gz").write_bytes(whole[: len(whole) // 2])
    done = world.platform("run")
    assert done.code == 1, done.err
    assert "2026-03-19.csv.gz: the compressed file ends before its content does; offered again, and from " in done.out
    accept = re.search(r"platform (delivery accept [0-9]+) --why", done.out)
    assert accept is not None
    assert f"{accept[1].replace('accept', 'withdraw')} --why" in done.out
    assert "more than the feed tolerates" in done.out or "rejects_within_tolerance" in done.out
    (world.landing / "retail/order_lines/2026-03-19.csv.gz").unlink()
    told = world.platform("why", "daily_sales")
    assert accept[1] in told.out
    assert "$ platform quarantine explain order_lines" in told.out
    assert world.platform(*accept[1].split(), "--why", "the till was broken").code == 0
    assert world.platform("run").code in (0, 3)
    back = world.platform(*accept[1].replace("accept", "withdraw").split(), "--why", "wrong day after all")
    assert "Taken out of raw.order_lines: " in back.out


def _is_of(process: psutil.Process, world: Deployed) -> bool:
    try:
        alive = process.status() != psutil.STATUS_ZOMBIE
        return alive and process.environ().get("PLATFORM_HOME") == str(world.home)
    except (psutil.Error, OSError):
        return False


def test_the_newest_rows_of_a_release_from_before_a_mart_was_changed_have_the_columns_that_are_there(
    tmp_path: Path,
) -> None:
    shop = Shop(tmp_path)
    shop.deployment.prepare()
    with duckdb.connect(str(shop.deployment.warehouse.marts)) as marts:
        marts.execute("CREATE TABLE daily_sales AS SELECT DATE '2026-03-16' AS sale_date, 1 AS once_counted")
    old = shop.deployment.releases.publish(shop.deployment.warehouse, shop.clock(), ["daily_sales"])
    (preview,) = previews([old])
    assert (preview.by, preview.columns, len(preview.rows)) == ("sale_date", ("sale_date",), 1)


@pytest.mark.slow
def test_run_takes_in_the_feeds_that_are_named_and_ends_with_the_newest_rows(tmp_path: Path) -> None:
    world = Deployed(tmp_path)
    world.simulate(days=3, rows=50, until="2026-03-16", dirt=0.0)
    one = world.platform("run", "products")
    assert one.code in (0, 3), one.err
    assert "no release of retail is made" in one.err
    status = {each["feed"]: each["deliveries"] for each in world.platform("feed", "status", "--json").answer["feeds"]}
    assert status["products"] > 0
    assert status["order_lines"] == status["customers"] == 0
    every = world.platform("run", env={"COLUMNS": "100"})
    assert every.code in (0, 3), every.err
    assert "daily_sales: its newest rows by sale_date" in every.out
    assert every.out.index("2026-03-16 │") < every.out.index("2026-03-15 │")
    assert "next: `make ui`" in every.out
    assert "Warning" not in every.err
    assert "leaked" not in every.err
    assert max(map(len, (line for line in every.out.splitlines() if line[:1] in "┃│┏└"))) <= 100
