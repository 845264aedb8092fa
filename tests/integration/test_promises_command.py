"""`platform promises` says how promises stand, and names what is missing."""

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

import duckdb
import pytest
from deployed import Deployed

MISSING: Final = "'s delivery of order_lines, due 09:00 Europe/London, is missing"
YESTERDAY: Final = datetime.now(tz=UTC).date() - timedelta(days=1)


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Deployed:
    """A deployment that took in and released three weeks up to the week before last; nothing has come since."""
    deployed = Deployed(tmp_path_factory.mktemp("promises"))
    deployed.simulate(days=21, rows=60, until=str(YESTERDAY - timedelta(days=8)))
    done = deployed.verb("run", "--json")
    assert done.code == 3, done.err
    return deployed


def test_a_week_old_sample_waits_for_a_person_and_says_how_it_goes_on(deployed: Deployed, tmp_path: Path) -> None:
    """`done`, for all that is there is in; and 3, for what is due is not."""
    for verb in (("run", "--json"), ("feed", "status", "--json")):
        done = deployed.verb(*verb)
        assert done.code == 3, done.err
        (waits,) = [each for each in done.answer["attention"] if each["about"] == "order_lines"]
        assert waits["what"].endswith(MISSING)
        assert waits["remedy"] == (
            "The sample goes on: platform simulate --days 8 --rows-per-day 60 --seed 7 --dirt 0.05 && platform run"
        )
    assert "Waits for a person" in deployed.verb("run").out
    # What it names helps: nothing of the sample's is missing then, and what was there is as it was.
    shutil.copytree(deployed.landing, tmp_path / "landing")
    command = waits["remedy"].removeprefix("The sample goes on: platform ").removesuffix(" && platform run")
    goes_on = Deployed(tmp_path).verb(*command.split(), "--json")
    assert goes_on.code == 0, goes_on.err
    assert goes_on.answer["until"] == str(YESTERDAY)
    assert any(f"{YESTERDAY - timedelta(days=7)}" in file for file in goes_on.answer["files"])


def test_a_missing_delivery_is_named_and_every_mart_it_makes_stale(deployed: Deployed) -> None:
    done = deployed.verb("promises", "--json")
    assert done.code == 0, done.err
    found = {(each["promise"], each["kind"]): each for each in done.answer["promises"]}
    assert done.answer["ok"] is False
    late = found["order_lines", "on time"]
    assert late["owner"] == "team:sales"
    assert late["blame"].endswith(MISSING)
    assert late["broken_since"] is not None
    # Of the same day, but in the half hour that a mart has after its feed.
    assert found["fct_order_lines", "fresh"]["blame"].endswith(MISSING)
    assert "is missing" in found["daily_sales", "fresh"]["blame"]
    assert found["order_lines", "sound"]["kept"] == found["order_lines", "sound"]["due"] > 0
    assert ("dim_products", "fresh") in found
    # Nothing was due before the feed began, so nobody has missed it.
    assert late["due"] <= 1


def test_the_table_says_the_same_and_check_turns_it_into_an_exit_code(deployed: Deployed) -> None:
    done = deployed.verb("promises", "--check")
    assert done.code == 1
    assert "order_lines on time" in done.out
    assert "is missing" in done.out
    (blamed,) = [line for line in done.out.splitlines() if "customer_value fresh" in line and line.endswith(MISSING)]
    assert "fct_order_lines fresh" in blamed


def test_a_month_before_anything_was_promised_is_empty(deployed: Deployed) -> None:
    done = deployed.verb("promises", "--month", "2020-02", "--json")
    assert {each["due"] for each in done.answer["promises"]} == {0}
    assert deployed.verb("promises", "--month", "february").code == 2


def test_a_late_delivery_is_counted_with_the_time_it_took(deployed: Deployed, tmp_path: Path) -> None:
    """The ledger is set back, as if the feed had been there for a month and each delivery had come in time but one."""
    with duckdb.connect(str(deployed.home / "warehouse.duckdb")) as ledger:
        ledger.execute("SET TimeZone = 'UTC'")
        ledger.execute(
            "UPDATE ledger.deliveries SET committed_at = covers_to + INTERVAL 15 HOUR, "
            "accepted_at = covers_to + INTERVAL 15 HOUR WHERE feed = 'order_lines' AND status = 'accepted'"
        )
        ((late, covers),) = ledger.execute(
            "UPDATE ledger.deliveries SET accepted_at = accepted_at + INTERVAL 8 HOUR, "
            "committed_at = committed_at + INTERVAL 8 HOUR WHERE delivery_id = (SELECT max(delivery_id) "
            "FROM ledger.deliveries WHERE feed = 'order_lines' AND status = 'accepted') RETURNING slot, covers_to"
        ).fetchall()
    month = covers.astimezone(ZoneInfo("Europe/London")).date() + timedelta(days=1)
    done = deployed.verb("promises", "--month", f"{month:%Y-%m}", "--json")
    (made,) = [p for p in done.answer["promises"] if (p["promise"], p["kind"]) == ("order_lines", "on time")]
    assert made["repair_s"] is not None
    assert made["repair_s"] > 3600, late
    assert made["kept"] < made["due"]
    assert made["burning"]
