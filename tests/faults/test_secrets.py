"""Secrets reach nothing that is shown or kept, whichever way they come; and no command is run before one is needed."""

import shlex
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest
from deployed import Deployed, Finished
from receivers import PROBLEM, Desk, Webhook, answers, here, webhook

CANARY: Final = "CANARY-9b2e"
SENSOR: Final = """
import dagster as dg
from platform_assets.definitions import build_definitions
definitions = build_definitions()
repository = definitions.get_repository_def()
with dg.DagsterInstance.get() as instance:
    context = dg.build_sensor_context(instance, repository_def=repository)
    print(repository.get_sensor_def("alerts")(context))
"""


@pytest.fixture
def hook() -> Iterator[Webhook]:
    with webhook() as server:
        yield server


@pytest.fixture
def world(tmp_path: Path, hook: Webhook) -> Deployed:
    """A deployment with a secret from each of the three ways."""
    ping, ways = tmp_path / "ping", tmp_path / "ways"
    ping.write_text(hook.url(f"/file/{CANARY}\n"))
    ping.chmod(0o600)
    url = hook.url(f"/command/{CANARY}")
    ways.write_text(
        f"import sys; print('{url}'); print('{CANARY}', file=sys.stderr)\nopen('{ways}.ran', 'a').write('x')"
    )
    (tmp_path / "landing").mkdir()
    return Deployed(
        tmp_path,
        {
            "PLATFORM_AUDIT_KEY": f"{CANARY}-variable",
            "PLATFORM_HEARTBEAT_FILE": str(ping),
            "PLATFORM_ALERT_COMMAND": shlex.join([sys.executable, str(ways)]),
            "PLATFORM_ALERT_HOSTS": here(hook),
        },
    )


def ran(world: Deployed) -> int:
    """How often the command was run."""
    note = world.root / "ways.ran"
    return len(note.read_text()) if note.exists() else 0


def kept(world: Deployed) -> list[str]:
    """Files of the deployment with the canary in them."""
    files = [path for path in world.home.rglob("*") if path.is_file() and not path.is_symlink()]
    return [str(path) for path in files if CANARY.encode() in path.read_bytes()]


def shown(*finished: Finished) -> bool:
    return any(CANARY in each.out + each.err for each in finished)


def test_a_command_is_run_by_no_verb_that_needs_no_secret(world: Deployed) -> None:
    for verb in (
        ("--help",),
        ("feed", "list"),
        ("feed", "status"),
        ("release", "list"),
        ("alerts",),
        ("audit", "list"),
    ):
        assert world.verb(*verb).did, verb
    assert world.verb("alerts", "--heartbeat").code == 1
    assert ran(world) == 0


def test_a_file_that_cannot_be_used_is_refused_at_the_start_of_anything(world: Deployed) -> None:
    (world.root / "ping").chmod(0o644)
    refused = world.verb("feed", "list", "--json")
    assert (refused.code, "PLATFORM_HEARTBEAT_FILE" in refused.answer["error"]["what"]) == (2, True)
    assert not shown(refused)


def test_a_command_that_fails_is_told_where_it_is_needed(world: Deployed) -> None:
    (world.root / "ways").write_text(f"import sys; print('{CANARY}'); sys.exit('{CANARY}')")
    assert world.verb("feed", "list").code == 0
    failed = world.verb("alerts", "test", "--json")
    assert (failed.code, "PLATFORM_ALERT_COMMAND" in failed.answer["error"]["what"]) == (2, True)
    assert not shown(failed)


def test_channels_that_a_command_names_are_known_without_asking_it(world: Deployed, hook: Webhook) -> None:
    hook.does(answers(404))
    told = Desk(world.home, {"PLATFORM_ALERT": hook.url(), "PLATFORM_ALERT_TEAM_OPS": hook.url()}, here(hook))
    told.tick(PROBLEM, replace(PROBLEM, key="else", owner="team:ops"))
    incidents = world.verb("alerts", "--json").answer["incidents"]
    errors = {sent["channel"]: sent["error"] for each in incidents for sent in each["sent"]}
    assert errors == {
        "PLATFORM_ALERT#1": "it answered 404",
        "PLATFORM_ALERT_TEAM_OPS#1": "it is no longer configured",
    }
    assert ran(world) == 0


def test_secrets_of_three_ways_are_used_and_shown_and_kept_nowhere(world: Deployed, hook: Webhook) -> None:
    tested = world.verb("alerts", "test", "--json")
    assert tested.answer["channels"] == [{"channel": "PLATFORM_ALERT#1", "error": None}]
    replayed = world.verb("replay", "order_lines")
    verified = world.verb("audit", "verify", "--json")
    assert verified.answer["signed"] == 2
    assert [heard.path for heard in hook.heard] == [f"/command/{CANARY}"]
    assert not shown(tested, replayed, verified, world.verb("alerts"), world.verb("audit", "list"))
    assert kept(world) == []


@pytest.mark.slow
def test_a_run_and_the_sensor_keep_no_secret_either(world: Deployed, hook: Webhook) -> None:
    world.simulate(days=2, rows=100, until="2026-03-16", dirt=0.1)
    made = world.platform("run", "--json")
    assert made.did or made.code == 1, made.err
    assert ran(world) == 0, "a run sends nothing"
    ticked = world.run("python", "-c", SENSOR, env={"DAGSTER_HOME": str(world.home / "dagster")})
    assert ticked.code == 0, ticked.err
    assert f"/file/{CANARY}" in [heard.path for heard in hook.heard]
    assert ran(world) == 1
    assert not shown(made, ticked)
    assert kept(world) == []
