"""`platform quarantine`, `replay` and `trace`, as a person types them."""

import json
from pathlib import Path

import duckdb
import pytest
from deployed import Deployed
from modelled import project_of_shop
from shop import Shop, sales

from platform_assets.cli.render import Table
from platform_assets.cli.run import _report
from platform_assets.commands.run import run_pending
from platform_assets.engine.deployment import Deployment
from platform_assets.engine.feed.feed import Files, hours, seconds
from platform_assets.project.configured import declared_feeds

pytestmark = pytest.mark.timeout(400)


def test_from_a_rejected_row_to_its_file_and_back(tmp_path: Path) -> None:
    world = Deployed(tmp_path)
    world.simulate(days=2, rows=200, until="2026-03-16", dirt=0.1)
    done = world.verb("run", "--json")
    assert done.did or done.code == 1, done.err
    explained = world.verb("quarantine", "explain", "order_lines", "--json").answer
    assert explained["rows"] > 0
    example = explained["rules"][0]["examples"][0]
    assert (world.landing / example["file"]).exists()
    assert "order_lines" in world.verb("quarantine", "explain", "order_lines").out

    export = ("quarantine", "export", "order_lines", "--to", str(tmp_path / "out.csv"))
    refused = world.verb(*export, "--json")
    assert (refused.code, "--unmasked" in refused.answer["error"]["remedy"]) == (2, True)
    for how in ("--spreadsheet", "--unmasked"):
        assert world.verb(*export, how, "--json").answer["rows"] == explained["rows"]

    assert "nothing to replay" in world.verb("quarantine", "replay", "order_lines").out
    figures = world.verb("replay", "order_lines", "--again", "--json").answer
    status = {feed["feed"]: feed for feed in world.verb("feed", "status", "--json").answer["feeds"]}["order_lines"]
    assert {name: figures[name] for name in ("read", "accepted", "rejected", "duplicate")} == {
        name: status[name] for name in ("read", "accepted", "rejected", "duplicate")
    }

    recorded = world.verb("audit", "list", "--json").answer["entries"][::-1]
    verbs = [each["what"] for each in recorded if each["outcome"] == "done"]
    assert verbs == ["run", "quarantine export", "quarantine export", "quarantine replay", "replay"]
    assert recorded[-1]["about"] == {name: figures[name] for name in ("deliveries", "accepted", "rejected")}

    found = world.verb("trace", "raw.order_lines", "--where", "country=France", "--limit", "1", "--json").answer
    (row,) = found["rows"]
    line = (world.landing / row["file"]).read_text().splitlines()[row["line"] - 1]
    assert row["record"]["InvoiceNo"] in line
    assert row["record"]["CustomerID"] in ("***", None)


def test_a_replay_that_asks_for_nothing_there_is_says_what_there_is(tmp_path: Path) -> None:
    world = Deployed(tmp_path)
    nothing = world.verb("replay", "products", "--json")
    assert (nothing.code, nothing.answer["error"]["what"]) == (2, "replay: nothing was ever delivered for products")
    world.simulate(days=3, rows=20, until="2026-03-18", dirt=0.0)
    loaded = Deployment(declared_feeds(), home=world.home, landing=world.landing)
    loaded.prepare()
    loaded.ingest(loaded.feed("order_lines"))
    none = world.verb("replay", "order_lines", "--file", "retail/order_lines/2026-03-8.csv", "--json")
    assert none.code == 2
    assert "none of the 3 deliveries of order_lines is one that was asked for" in none.answer["error"]["what"]
    assert "Did you mean 'retail/order_lines/2026-03-18.csv'?" in none.answer["error"]["what"]
    assert "ids 1 to 3" in none.answer["error"]["remedy"]
    assert world.verb("replay", "order_lines", "--delivery", "17").code == 2
    judged = world.verb("replay", "order_lines")
    assert (judged.code, "platform replay order_lines --again" in judged.out) == (0, True)
    with duckdb.connect(str(world.home / "warehouse.duckdb")) as warehouse:
        warehouse.execute("CREATE SCHEMA staging; CREATE TABLE staging.own AS SELECT invoice_no FROM raw.order_lines")
    lacks = world.verb("trace", "staging.own", "--where", "invoice_no=1", "--json").answer["error"]
    assert "does not keep _delivery_id and _line" in lacks["what"]
    assert "SELECT …, _delivery_id, _line FROM {{ source(…) }}; then `platform run`" in lacks["remedy"]
    misspelt = world.verb("trace", "raw.order_line", "--where", "invoice_no=1", "--json").answer["error"]
    assert "Did you mean 'raw.order_lines'?" in misspelt["what"]


def test_a_landing_folder_that_is_not_there_ends_with_2_and_builds_nothing(tmp_path: Path) -> None:
    """A misspelt PLATFORM_LANDING, a share that is not mounted."""
    world = Deployed(tmp_path)
    for verb in ("run", "feed status", "why raw/retail/order_lines"):
        done = world.verb(*verb.split(), "--json")
        assert done.code == 2, verb
        assert str(world.landing) in done.answer["error"]["what"]
        assert "PLATFORM_LANDING" in done.answer["error"]["remedy"]
    assert not world.releases.exists()


@pytest.mark.parametrize("unfinished", ["still written", "its sidecar is missing"])
def test_waiting_for_an_unfinished_file_builds_nothing_and_says_so(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, unfinished: str
) -> None:
    still = unfinished == "still written"
    shop.declare(
        source=Files("sales/*.csv", settle=hours(1) if still else seconds(0), sidecar=None if still else ".ok")
    )
    shop.deliver("a.csv", sales("S1,1"))
    monkeypatch.setattr("platform_assets.commands.run.prepared_deployment", lambda _: (None, shop.deployment))
    monkeypatch.setattr("platform_assets.commands.run.follow_feeds", lambda *_: None)
    monkeypatch.setattr("platform_assets.commands.run.declared_project", lambda *_: project_of_shop(shop.feed))
    done = run_pending(lambda _: None)
    assert (done.ok, done.made, done.releases, done.left_alone) == (True, False, {}, ["sales/a.csv"])
    first, *_ = _report(done)
    assert isinstance(first, Table)
    assert first.title == "Nothing new was built: 1 file is not ready"
    assert any(note.startswith("left alone for now: sales/a.csv ") for note in done.notes)


def test_asking_wrongly_is_answered(tmp_path: Path) -> None:
    world = Deployed(tmp_path)
    for command in (
        ("trace", "raw.nonsense", "--where", "a=b"),
        ("trace", "raw.order_lines", "--where", "nonsense"),
        ("replay", "nonsense"),
    ):
        done = world.verb(*command, "--json")
        assert done.code == 2, command
        assert json.loads(done.out.splitlines()[-1])["error"]["remedy"]
