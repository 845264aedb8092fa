"""`platform delivery` and what `feed check` and `quarantine export` say, as a person types them."""

from pathlib import Path

import pytest
from deployed import Deployed

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def test_a_delivery_is_listed_shown_withdrawn_and_restored_and_the_marts_follow(tmp_path: Path) -> None:
    world = Deployed(tmp_path)
    world.simulate(days=3, rows=100, until="2026-03-18")
    assert world.verb("run", "--json").did
    found = world.verb("delivery", "list", "order_lines", "--json").answer["deliveries"]
    newest = found[0]
    assert [each["delivery"] for each in found] == sorted((each["delivery"] for each in found), reverse=True)
    assert world.verb("delivery", "list", "order_lines", "--status", "withdrawn", "--json").answer["deliveries"] == []
    number = str(newest["delivery"])
    shown = world.verb("delivery", "show", number, "--json").answer
    assert (shown["slot"], shown["next"].split()[0]) == (newest["file"], "platform")
    before = world.query("SELECT count(*) FROM fct_order_lines")

    file = world.landing / newest["file"]
    checked = world.verb("feed", "check", str(file), "--json")
    assert (checked.answer["would_be"], checked.answer["delivery"]) == ("duplicate", newest["delivery"])

    done = world.verb("delivery", "withdraw", number, "--why", "October, delivered as March", "--json")
    assert (done.code, done.answer["receipt"]["status"]) == (0, "withdrawn")
    assert "October" in world.verb("delivery", "show", number).out
    assert world.verb("feed", "check", str(file), "--json").answer["would_be"] == "withdrawn"
    assert world.verb("run", "--json").did
    assert world.query("SELECT count(*) FROM fct_order_lines") < before
    manifest = (world.releases / "current" / "manifest.json").read_text()
    assert "October, delivered as March" in manifest

    twice = world.verb("delivery", "withdraw", number, "--why", "again", "--json")
    assert (twice.code, f"platform delivery restore {number}" in twice.answer["error"]["remedy"]) == (2, True)
    assert world.verb("delivery", "restore", number).code == 0
    assert world.verb("run", "--json").did
    assert world.query("SELECT count(*) FROM fct_order_lines") == before
    entries = world.verb("audit", "list", "--json").answer["entries"]
    told = [each["what"] for each in entries if each["outcome"] == "done" and each["what"].startswith("delivery")]
    assert told == ["delivery restore", "delivery withdraw"]


@pytest.mark.parametrize(
    "command",
    [
        ("show", "99"),
        ("withdraw", "99", "--why", "wrong"),
        ("withdraw", "99"),
        ("accept", "99"),
        ("restore", "99"),
        ("list", "nonsense"),
        ("list", "--status", "nonsense"),
    ],
    ids=" ".join,
)
def test_asking_wrongly_is_answered(tmp_path: Path, command: tuple[str, ...]) -> None:
    assert Deployed(tmp_path).verb("delivery", *command, "--json").code == 2
