"""`platform audit`, as a person types it; and that what a verb does is recorded before it begins."""

import json
from pathlib import Path
from typing import Final

import pytest
from deployed import Deployed

from platform_assets.engine.audit.log import AuditLog
from platform_assets.settings import person

KEY: Final = "canary-0123456789"


@pytest.fixture
def world(tmp_path: Path) -> Deployed:
    return Deployed(tmp_path)


def recorded(world: Deployed) -> AuditLog:
    log = AuditLog(world.home)
    log.record("ui:anna", "login", {})
    log.record("os:anna", "replay", {"feed": "sales"}, outcome="asked")
    log.record("token:ci", "launch run", {"assets": ["raw/shop/sales"]})
    return log


def test_it_lists_the_newest_first_by_whom_and_what_and_since_when(world: Deployed) -> None:
    recorded(world)

    def numbers(*options: str) -> list[int]:
        return [each["n"] for each in world.verb("audit", "list", *options, "--json").answer["entries"]]

    assert numbers() == [3, 2, 1]
    assert numbers("--limit", "1") == [3]
    assert numbers("--who", "anna") == [2, 1]
    assert numbers("--who", "os:anna") == numbers("--what", "rep*") == [2]
    assert numbers("--since", "2026-01-01", "--who", "token:*") == [3]
    assert numbers("--since", "2999-01-01") == []


def test_work_that_was_asked_for_and_never_ended_is_shown_as_such(world: Deployed) -> None:
    log = recorded(world)
    assert "no end" in world.verb("audit", "list", "--what", "replay").out
    log.record("os:anna", "replay", {"deliveries": 1}, of=2)
    assert "no end" not in world.verb("audit", "list", "--what", "replay").out


def test_it_looks_without_making_anything(world: Deployed) -> None:
    assert world.verb("audit", "list", "--json").answer == {"entries": []}
    assert world.verb("audit", "verify").code == 0
    assert not world.home.exists()


def test_a_change_ends_verify_with_exit_code_1_its_line_and_what_to_do(world: Deployed) -> None:
    log = recorded(world)
    whole = world.verb("audit", "verify", "--json")
    assert (whole.code, whole.answer["ok"], whole.answer["entries"]) == (0, True, 3)
    log.path.write_bytes(log.path.read_bytes().replace(b"os:anna", b"os:bert"))
    broken = world.verb("audit", "verify", "--json")
    assert (broken.code, [each["line"] for each in broken.answer["broken"]]) == (1, [2])
    assert "Keep the log as evidence" in world.verb("audit", "verify").out


def test_a_head_that_was_kept_finds_a_log_that_was_replaced_whole(world: Deployed) -> None:
    log = recorded(world)
    head = world.verb("audit", "verify", "--json").answer["head"]
    for path in (log.path, world.home / "audit.head"):
        path.unlink()
    recorded(world)
    assert world.verb("audit", "verify").code == 0
    assert world.verb("audit", "verify", "--head", head).code == 1
    assert world.verb("audit", "verify", "--head", "3:x", "--json").code == 2


def test_a_signed_log_asks_for_its_key(world: Deployed) -> None:
    signing = Deployed(world.root, {"PLATFORM_AUDIT_KEY": KEY})
    assert signing.verb("quarantine", "replay", "order_lines").code == 0
    assert signing.verb("audit", "verify", "--json").answer["signed"] == 2
    refused = world.verb("audit", "verify", "--json")
    assert (refused.code, "PLATFORM_AUDIT_KEY" in refused.answer["error"]["what"]) == (2, True)
    assert world.verb("quarantine", "replay", "order_lines").code == 2, "what cannot be signed is not begun"
    assert len(world.verb("audit", "list", "--json").answer["entries"]) == 2
    assert KEY not in (world.home / "audit.jsonl").read_text() + (world.home / "audit.head").read_text()


def test_a_key_that_could_be_guessed_is_refused(world: Deployed) -> None:
    refused = Deployed(world.root, {"PLATFORM_AUDIT_KEY": "canary"}).verb("replay", "order_lines", "--json")
    assert (refused.code, "could be guessed" in refused.answer["error"]["what"]) == (2, True)
    assert "canary" not in refused.out + refused.err
    assert world.verb("audit", "list", "--json").answer == {"entries": []}


@pytest.mark.parametrize("verb", [("replay",), ("quarantine", "replay")], ids=" ".join)
def test_a_verb_that_cannot_be_recorded_does_nothing(world: Deployed, verb: tuple[str, ...]) -> None:
    log = recorded(world)
    log.path.write_bytes(b"".join(log.path.read_bytes().splitlines(keepends=True)[:2]))
    done = world.verb(*verb, "order_lines", "--json")
    assert done.code == 1
    assert "not begun" in done.answer["error"]["state"]
    assert "platform audit verify" in done.answer["error"]["remedy"]


def test_a_verb_records_who_asked_for_what_and_what_came_of_it(world: Deployed) -> None:
    world.verb("quarantine", "replay", "order_lines")
    world.verb(
        "quarantine", "export", "order_lines", "--to", str(world.root / "no-such-folder" / "x.csv"), "--spreadsheet"
    )
    ended, export, done, replay = world.verb("audit", "list", "--json").answer["entries"]
    assert {each["who"] for each in (ended, export, done, replay)} == {person()}
    assert replay["about"] == {"feed": "order_lines"}
    assert (replay["outcome"], done["outcome"], done["of"]) == ("asked", "done", replay["n"])
    assert done["about"] == {"deliveries": 0, "accepted": 0, "rejected": 0}
    assert (ended["outcome"], ended["of"]) == ("failed", export["n"])
    assert list(ended["about"]) == ["error"]
    assert json.dumps(ended).count("no-such-folder") == 0


def test_what_was_asked_for_in_vain_is_recorded_with_all_that_was_asked(world: Deployed) -> None:
    assert world.verb("replay", "order_lines", "--since", "2026-11-01", "--again").code == 2
    ended, replay = world.verb("audit", "list", "--json").answer["entries"]
    assert replay["about"] == {"feed": "order_lines", "since": "2026-11-01 00:00:00", "again": True}
    assert (replay["outcome"], ended["outcome"], ended["of"]) == ("asked", "failed", replay["n"])
