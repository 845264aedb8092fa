"""`platform quarantine`, `replay` and `trace`, as a person types them."""

import json
from pathlib import Path

import pytest
from deployed import Deployed

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

    exported = world.verb("quarantine", "export", "order_lines", "--to", str(tmp_path / "out.csv"), "--json").answer
    assert exported["rows"] == explained["rows"]

    assert "nothing to replay" in world.verb("quarantine", "replay", "order_lines").out
    figures = world.verb("replay", "order_lines", "--again", "--json").answer
    status = {feed["feed"]: feed for feed in world.verb("feed", "status", "--json").answer["feeds"]}["order_lines"]
    assert {name: figures[name] for name in ("read", "accepted", "rejected", "duplicate")} == {
        name: status[name] for name in ("read", "accepted", "rejected", "duplicate")
    }

    recorded = world.verb("audit", "list", "--json").answer["entries"][::-1]
    verbs = [each["what"] for each in recorded if each["outcome"] == "done"]
    assert verbs == ["run", "quarantine export", "quarantine replay", "replay"]
    assert recorded[-1]["about"] == {name: figures[name] for name in ("deliveries", "accepted", "rejected")}

    found = world.verb("trace", "raw.order_lines", "--where", "country=France", "--limit", "1", "--json").answer
    (row,) = found["rows"]
    line = (world.landing / row["file"]).read_text().splitlines()[row["line"] - 1]
    assert row["record"]["InvoiceNo"] in line
    assert row["record"]["CustomerID"] in ("***", None)


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
