"""`platform alerts`, as a person, cron or a load balancer types it."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from deployed import Deployed, Finished
from receivers import PROBLEM, Desk, Webhook, about, answers, here, webhook
from shop import Clock

pytestmark = pytest.mark.timeout(400)

CANARY = "CANARY-6f1d"


@pytest.fixture
def hooks() -> Iterator[tuple[Webhook, Webhook]]:
    with webhook() as everybody, webhook() as sales:
        yield everybody, sales


@pytest.fixture
def world(tmp_path: Path, hooks: tuple[Webhook, Webhook]) -> Deployed:
    everybody, sales = hooks
    return Deployed(
        tmp_path,
        {
            "PLATFORM_ALERT": everybody.url(f"/{CANARY}"),
            "PLATFORM_ALERT_TEAM_SALES": f"{sales.url(f'/{CANARY}')},{everybody.url(f'/sales/{CANARY}', 'slack+http')}",
            "PLATFORM_ALERT_HOSTS": here(everybody, sales),
            "PLATFORM_HEARTBEAT": everybody.url(f"/ping/{CANARY}"),
        },
    )


def desk(world: Deployed, clock: Clock | None = None) -> Desk:
    """What the sensor of this deployment tells with."""
    channels = {
        name: url for name, url in world.settings.items() if name in ("PLATFORM_ALERT", "PLATFORM_ALERT_TEAM_SALES")
    }
    heartbeat = world.settings["PLATFORM_HEARTBEAT"]
    return Desk(world.home, channels, world.settings["PLATFORM_ALERT_HOSTS"], heartbeat, clock or Clock())


def cells(finished: Finished) -> str:
    """What a table says, column by column, without blanks: cells go over several lines."""
    lines = [line.split("│")[1:-1] for line in finished.out.splitlines() if line.startswith("│")]
    return "".join("".join(column) for column in zip(*lines, strict=True)).replace(" ", "")


def test_open_incidents_are_shown_with_whom_they_were_sent_to(
    world: Deployed, hooks: tuple[Webhook, Webhook], tmp_path: Path
) -> None:
    nothing = world.verb("alerts", "--json")
    assert (nothing.code, nothing.answer["incidents"]) == (0, [])
    assert not world.home.exists() or not list(world.home.glob("alerts*")), "looking makes nothing"

    _, sales = hooks
    sales.does(answers(404))
    assets = tuple(f"marts/mart_{n}" for n in range(40))
    tell = desk(world)
    tell.tick(replace(PROBLEM, assets=assets), about("gone", title="It was for a moment"))
    tell.tick(replace(PROBLEM, assets=assets))
    tell.later(minutes=3)
    tell.tick(replace(PROBLEM, assets=assets))

    shown = world.verb("alerts")
    assert shown.code == 0, shown.err
    for said in (
        "team:sales",
        "2026-03-16 09:00 UTC",
        "far fewer rows than on Mondays before",
        "platform why marts/daily_sales",
        "marts/mart_0 marts/mart_1",
        "and 37 more",
        "PLATFORM_ALERT_TEAM_SALES#1: not sent yet: failed 1 time: it answered 404, next try",
        "PLATFORM_ALERT_TEAM_SALES#2: sent",
    ):
        assert said.replace(" ", "") in cells(shown), said
    assert "the platform does not run" in shown.out
    assert "foramoment" not in cells(shown)
    assert "foramoment" in cells(world.verb("alerts", "--all"))

    (incident,) = world.verb("alerts", "--json").answer["incidents"]
    assert (incident["key"], incident["owner"], len(incident["assets"])) == (PROBLEM.key, "team:sales", 40)
    refused, told = incident["sent"]
    assert (refused["channel"], refused["last"], refused["waiting"]) == ("PLATFORM_ALERT_TEAM_SALES#1", None, 1)
    assert (refused["failures"], refused["error"]) == (1, "it answered 404")
    assert (told["last"], told["waiting"]) == ("opened", 0)
    assert CANARY not in shown.out + shown.err + json.dumps(incident)


def test_a_test_message_says_what_came_of_it(world: Deployed, hooks: tuple[Webhook, Webhook]) -> None:
    everybody, sales = hooks
    done = world.verb("alerts", "test")
    assert done.code == 0, done.err
    assert [heard.path for heard in everybody.heard] == [f"/{CANARY}", f"/sales/{CANARY}"]
    sales.does(answers(403))
    failed = world.verb("alerts", "test", "--owner", "team:sales", "--json")
    assert failed.code == 1
    assert failed.answer == {
        "ok": False,
        "channels": [
            {"channel": "PLATFORM_ALERT_TEAM_SALES#1", "error": "it answered 403"},
            {"channel": "PLATFORM_ALERT_TEAM_SALES#2", "error": None},
        ],
    }
    said = world.verb("alerts", "test", "--owner", "team:sales")
    assert "PLATFORM_ALERT_TEAM_SALES#1: failed: it answered 403" in said.out
    assert CANARY not in done.out + done.err + failed.out + failed.err + said.out + said.err
    nobody = Deployed(world.root).verb("alerts", "test")
    assert (nobody.code, "no channel is set" in nobody.err) == (2, True)


def test_cron_can_ask_whether_the_platform_lives(world: Deployed) -> None:
    assert world.verb("alerts", "--heartbeat").code == 1
    desk(world).alerts.beat()
    lives = world.verb("alerts", "--heartbeat", "--json")
    assert (lives.code, lives.answer["ok"]) == (0, True)
    (world.home / "heartbeat").write_text("2026-03-16T09:00:00+00:00\n")
    dead = world.verb("alerts", "--heartbeat")
    assert (dead.code, "last sign of life 2026-03-16 09:00 UTC" in dead.out) == (1, True)
    (world.home / "heartbeat").write_text("nonsense")
    assert world.verb("alerts", "--heartbeat").code == 1


def test_a_channel_that_may_not_be_contacted_stops_every_verb_at_the_start(world: Deployed) -> None:
    wrong = Deployed(world.root, {**world.settings, "PLATFORM_ALERT": f"https://evil.example/{CANARY}"})
    for command in (("run", "--json"), ("alerts", "--json"), ("alerts", "test", "--json")):
        done = wrong.verb(*command)
        assert done.code == 2, command
        assert "evil.example" in done.answer["error"]["what"]
        assert "PLATFORM_ALERT_HOSTS" in done.answer["error"]["remedy"]
        assert CANARY not in done.out + done.err


def test_a_run_writes_no_secret_of_alerts_down(world: Deployed, hooks: tuple[Webhook, Webhook]) -> None:
    for hook in hooks:
        hook.does(answers(500, CANARY.encode()))
    world.simulate(days=2, rows=50, until="2026-03-16", dirt=0.1)
    done = world.platform("run", "--json")
    assert done.did or done.code == 1, done.err
    tell = desk(world)
    tell.alerts.beat()
    tell.tick(PROBLEM)
    said = [
        done,
        world.platform("alerts", "--all"),
        world.platform("alerts", "--json"),
        world.platform("alerts", "test"),
    ]
    assert hooks[0].heard
    assert [each for each in said if CANARY in each.out + each.err] == []
    files = [path for path in world.home.rglob("*") if path.is_file()]
    assert world.home / "alerts.sqlite" in files
    assert any("dagster" in path.parts for path in files)
    assert [path for path in files if CANARY.encode() in path.read_bytes()] == []
