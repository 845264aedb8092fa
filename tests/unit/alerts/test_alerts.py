"""One cause is one message, its end is another; who is told what, and in which words."""

import json
import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from machine import PROJECT, examples
from receivers import PROBLEM, SOON, START, Desk, Webhook, about, here, post_office, webhook

from platform_assets.alerts.channels import Message, Routes, spoken, variable_of
from platform_assets.alerts.incidents import KEPT, REMIND_AFTER, RUNBOOKS, Problem
from platform_assets.errors import ConfigurationError

RUNBOOK_PAGES = PROJECT / "docs" / "runbooks"
OPENED = f"opened {PROBLEM.key}"
FLAPPING = f"flapping {PROBLEM.key}"
RECOVERED = f"recovered {PROBLEM.key}"


def test_one_cause_with_forty_assets_and_three_retries_is_one_message(desk: Desk, hook: Webhook) -> None:
    assets = tuple(f"marts/mart_{n}" for n in range(40))
    for retry in range(3):
        desk.tick(replace(PROBLEM, assets=assets[: 20 + retry * 10], since=START + timedelta(minutes=retry)))
        desk.later(minutes=5)
    assert hook.told == [OPENED]
    (incident,) = desk.alerts.incidents(open_only=True)
    assert incident.problem == replace(PROBLEM, assets=assets)


def test_problems_that_share_a_key_are_one_with_the_assets_of_all(desk: Desk, hook: Webhook) -> None:
    desk.tick(replace(PROBLEM, assets=("a", "b")), replace(PROBLEM, assets=("b", "c"), title="said otherwise"))
    assert [heard.json["assets"] for heard in hook.heard] == [["a", "b", "c"]]


def test_a_message_says_all_that_is_needed(desk: Desk, hook: Webhook) -> None:
    desk.tick(PROBLEM)
    (heard,) = hook.heard
    told = heard.json
    assert (heard.method, heard.path, heard.headers["Content-Type"]) == ("POST", "/hook", "application/json")
    assert heard.headers["Idempotency-Key"] == told.pop("id")
    assert told == {
        "kind": "opened",
        "key": PROBLEM.key,
        "owner": "team:sales",
        "title": PROBLEM.title,
        "detail": PROBLEM.detail,
        "assets": list(PROBLEM.assets),
        "runbook": "volume",
        "command": PROBLEM.command,
        "since": START.isoformat(),
        "at": START.isoformat(),
        "returns": 0,
        "lasted_s": None,
    }


def test_recovery_is_told_once_it_has_held_for_two_minutes_with_how_long_it_lasted(desk: Desk, hook: Webhook) -> None:
    desk.tick(PROBLEM)
    desk.later(hours=2)
    desk.tick()
    desk.later(seconds=119)
    desk.tick()
    assert hook.told == [OPENED]
    desk.later(seconds=1)
    desk.over(minutes=1)
    assert hook.told == [OPENED, RECOVERED]
    assert hook.heard[-1].json["lasted_s"] == 7200
    assert desk.alerts.incidents(open_only=True) == []
    (incident,) = desk.alerts.incidents(open_only=False)
    assert incident.closed_at is not None
    assert [t.last for t in incident.sent] == ["recovered"]


def test_a_cause_that_is_gone_for_a_moment_was_never_gone(desk: Desk, hook: Webhook) -> None:
    for _ in range(10):
        desk.tick(PROBLEM)
        desk.later(seconds=60)
        desk.tick()
        desk.later(seconds=60)
    assert hook.told == [OPENED]


def test_a_cause_that_comes_back_soon_is_the_same_and_comes_and_goes(desk: Desk, hook: Webhook) -> None:
    desk.tick(PROBLEM)
    desk.over(minutes=5)
    desk.tick(PROBLEM)
    assert hook.told == [OPENED, RECOVERED, FLAPPING]
    assert len(desk.alerts.incidents(open_only=False)) == 1
    assert hook.heard[-1].json["returns"] == 1


def test_a_cause_that_comes_back_much_later_is_a_new_one(desk: Desk, hook: Webhook) -> None:
    desk.tick(PROBLEM)
    desk.over(minutes=130, every_s=60)
    desk.tick(PROBLEM)
    assert hook.told == [OPENED, RECOVERED, OPENED]
    assert len(desk.alerts.incidents(open_only=False)) == 2


@pytest.mark.parametrize(
    ("there_min", "gone_min", "told"),
    [(1, 1, []), (1, 3, [RECOVERED, FLAPPING]), (5, 20, [RECOVERED, FLAPPING]), (5, 55, [RECOVERED, FLAPPING])],
)
def test_a_cause_that_comes_and_goes_all_day_is_one_incident_told_when_that_begins_and_when_it_is_quiet(
    desk: Desk, hook: Webhook, there_min: int, gone_min: int, told: list[str]
) -> None:
    every_s = 60 if gone_min < 5 else 300
    for _ in range((120 if gone_min < 5 else 720) // (there_min + gone_min)):
        desk.over(PROBLEM, minutes=there_min, every_s=every_s)
        desk.over(minutes=gone_min, every_s=every_s)
    assert hook.told == [OPENED, *told]
    (incident,) = desk.alerts.incidents(open_only=True)
    desk.over(minutes=130, every_s=300)
    assert hook.told == [OPENED, *told, RECOVERED]
    assert [(each.id, each.closed_at is None) for each in desk.alerts.incidents(open_only=False)] == [
        (incident.id, False)
    ]


def test_what_comes_and_goes_more_and_more_rarely_is_given_more_time(desk: Desk, hook: Webhook) -> None:
    for gone_min in (60, 60, 180, 180, 180):
        desk.over(PROBLEM, minutes=5, every_s=300)
        desk.over(minutes=gone_min, every_s=300)
    assert hook.told == [OPENED, RECOVERED, FLAPPING, RECOVERED, FLAPPING]
    assert len(desk.alerts.incidents(open_only=False)) == 1
    desk.over(minutes=300, every_s=300)
    assert hook.told[-1] == RECOVERED


def test_a_cause_that_stays_is_reminded_of_once_a_day(desk: Desk, hook: Webhook) -> None:
    desk.over(PROBLEM, minutes=60 * 24 * 3 + 30, every_s=600)
    assert hook.told == [OPENED, *[f"reminder {PROBLEM.key}"] * 3]


def test_nobody_is_reminded_of_what_they_have_not_been_told(desk: Desk, hook: Webhook) -> None:
    hook.close()
    desk.alerts.sync([PROBLEM])
    desk.clock.ahead += REMIND_AFTER * 3
    desk.tick(PROBLEM)
    assert [telling.waiting for i in desk.alerts.incidents(open_only=True) for telling in i.sent] == [1]


def test_what_could_not_be_looked_at_stays_as_it_is(desk: Desk, hook: Webhook) -> None:
    desk.tick(PROBLEM, about("run:1"))
    for _ in range(10):
        desk.alerts.sync([], unknown=["check:"])
        desk.later(minutes=1)
    desk.tick(PROBLEM)
    assert hook.told == [OPENED, "opened run:1", "recovered run:1"]


def test_sync_says_what_it_has_changed_and_repeating_it_changes_nothing(desk: Desk) -> None:
    alerts = desk.alerts
    assert alerts.sync([PROBLEM]).opened == (PROBLEM.key,)
    state = desk.path.read_bytes(), alerts.incidents(open_only=False)
    assert alerts.sync([PROBLEM]).opened == ()
    assert (desk.path.read_bytes(), alerts.incidents(open_only=False)) == state
    alerts.sync([])
    desk.later(minutes=2)
    assert alerts.sync([]).closed == (PROBLEM.key,)
    assert alerts.sync([PROBLEM]).flapping == (PROBLEM.key,)


def test_a_clock_that_is_set_back_ends_nothing_early_and_nothing_never(desk: Desk, hook: Webhook) -> None:
    desk.tick(PROBLEM)
    desk.tick()
    desk.later(days=-1)
    desk.over(minutes=2)
    assert hook.told == [OPENED]
    desk.over(minutes=2)
    assert hook.told == [OPENED, RECOVERED]


def test_an_owner_has_channels_of_their_own_or_those_for_everybody(tmp_path: Path) -> None:
    with webhook() as everybody, webhook() as sales, webhook() as sales_too:
        desk = Desk(
            tmp_path,
            {"PLATFORM_ALERT": everybody.url(), "PLATFORM_ALERT_TEAM_SALES": f"{sales.url()}, {sales_too.url()}"},
            here(everybody, sales, sales_too),
        )
        desk.tick(about("a", owner="team:sales"), about("b", owner="team:crm"), about("c", owner="ann@shop.example"))
        assert [hook.told for hook in (everybody, sales, sales_too)] == [
            ["opened b", "opened c"],
            ["opened a"],
            ["opened a"],
        ]


@pytest.mark.parametrize(
    ("owner", "variable"),
    [("team:sales", "PLATFORM_ALERT_TEAM_SALES"), ("a.b-c@x.org", "PLATFORM_ALERT_A_B_C_X_ORG")],
)
def test_the_setting_of_an_owner(owner: str, variable: str) -> None:
    assert variable_of(owner) == variable


def test_without_a_channel_incidents_are_kept_and_a_channel_that_comes_later_hears_of_what_is_open(
    tmp_path: Path, hook: Webhook
) -> None:
    silent = Desk(tmp_path, {}, "")
    silent.tick(PROBLEM, about("gone"))
    silent.over(PROBLEM, minutes=5)
    assert [incident.problem for incident in silent.alerts.incidents(open_only=True)] == [PROBLEM]
    heard = replace(silent, channels={"PLATFORM_ALERT": hook.url()}, hosts=here(hook))
    heard.tick(PROBLEM)
    assert hook.told == [OPENED]


def test_news_for_a_channel_that_was_taken_away_waits_and_says_so(desk: Desk, hook: Webhook) -> None:
    desk.alerts.sync([PROBLEM])
    without = replace(desk, channels={})
    without.tick(PROBLEM)
    (incident,) = without.alerts.incidents(open_only=True)
    assert [t.error for t in incident.sent] == ["it is no longer configured"]
    desk.tick(PROBLEM)
    assert hook.told == [OPENED]


def test_ended_incidents_are_forgotten_in_time(desk: Desk) -> None:
    desk.tick(PROBLEM)
    desk.over(minutes=5)
    desk.clock.ahead += KEPT
    desk.tick()
    assert desk.alerts.incidents(open_only=False) == []
    assert desk.alerts.deliver(SOON).waiting == 0


def test_slack_gets_text_and_blocks_in_which_data_is_only_text(tmp_path: Path, hook: Webhook) -> None:
    desk = Desk(tmp_path, {"PLATFORM_ALERT": hook.url(scheme="slack+http")}, here(hook))
    odd = "<!channel> & <https://evil.example|click> @here ```"
    assets = tuple(f"marts/m{n}" for n in range(40))
    desk.tick(replace(PROBLEM, title=odd, detail=f"{odd}\n" + "x" * 9000, assets=assets))
    told = hook.heard[0].json
    assert set(told) == {"text", "blocks"}
    for text in (told["text"], *(block["text"]["text"] for block in told["blocks"])):
        assert not re.search(r"[<>]|&(?!amp;|lt;|gt;)|@here", text)
        assert len(text) <= 5000
    assert all(len(block["text"]["text"]) <= 3000 and block["text"]["verbatim"] for block in told["blocks"])
    assert "40 assets: marts/m0, marts/m1, marts/m2, marts/m3, marts/m4 and 35 more" in told["text"]
    assert "platform why marts/daily_sales" in told["text"]
    assert "docs/runbooks/volume.md" in told["text"]


def test_mail_goes_to_one_address_in_words(tmp_path: Path) -> None:
    with post_office() as post:
        url = f"smtp://ann:secret@127.0.0.1:{post.port}/?to=a%2Bb@x.example&from=b@x.example"
        desk = Desk(tmp_path, {"PLATFORM_ALERT": url}, here(post))
        desk.tick(replace(PROBLEM, title="caf\N{LATIN SMALL LETTER E WITH ACUTE}\nBcc: all@x.example"))
        desk.over(minutes=3)
        opened, recovered = post.mails
        assert [(m["To"], m["From"], m["Bcc"]) for m in post.mails] == [("a+b@x.example", "b@x.example", None)] * 2
        assert opened["Subject"] == "[team:sales] caf\N{LATIN SMALL LETTER E WITH ACUTE} Bcc: all@x.example"
        assert recovered["Subject"].startswith("[team:sales] Recovered after")
        assert "look closer: platform why marts/daily_sales" in opened.get_content()
        assert any(command.startswith("AUTH PLAIN") for command in post.commands)


@settings(max_examples=examples(25))
@given(data=st.data())
def test_any_text_can_be_kept_and_told(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    odd = st.text(max_size=40) | st.sampled_from(["\udcff.csv", "a\x00b", "\r\n.\r\n", "x" * 5000])
    key, title, detail, command, asset = (data.draw(odd) for _ in range(5))
    problem = replace(PROBLEM, key=key, title=title, detail=detail, command=command, assets=(asset,))
    with post_office() as post, webhook() as hook:
        urls = f"{hook.url()},{hook.url(scheme='slack+http')},smtp://127.0.0.1:{post.port}/?to=a@x.org&from=b@x.org"
        desk = Desk(tmp_path_factory.mktemp("any"), {"PLATFORM_ALERT": urls}, here(hook, post))
        desk.tick(problem)
        desk.tick(problem)
        assert (len(hook.heard), len(post.mails)) == (2, 1)
        assert [telling.waiting for i in desk.alerts.incidents(open_only=True) for telling in i.sent] == [0] * 3


@given(
    lasted=st.none() | st.timedeltas(min_value=timedelta(), max_value=timedelta(days=9)),
    assets=st.lists(st.text(max_size=9), max_size=9),
)
def test_a_message_is_read_back_as_it_was_written(lasted: timedelta | None, assets: list[str]) -> None:
    message = Message(
        id="1",
        kind="recovered",
        lasted=None if lasted is None else timedelta(milliseconds=lasted // timedelta(milliseconds=1)),
        at=START,
        returns=2,
        **{**{name: getattr(PROBLEM, name) for name in Problem.__dataclass_fields__}, "assets": tuple(assets)},
    )
    assert Message.from_json(message.to_json()) == message
    assert json.loads(message.to_json())["key"] == PROBLEM.key


@pytest.mark.parametrize(
    ("lasted", "said"),
    [
        ({"seconds": 0.4}, "0 s"),
        ({"seconds": 59}, "59 s"),
        ({"minutes": 61, "seconds": 7}, "1 h 1 min"),
        ({"hours": 2}, "2 h 0 min"),
        ({"days": 3, "hours": 4, "minutes": 5}, "3 d 4 h"),
        ({"seconds": -5}, "0 s"),
    ],
)
def test_how_long_it_lasted_in_words(lasted: dict[str, float], said: str) -> None:
    assert spoken(timedelta(**lasted)) == said


HOOK = "https://hooks.slack.com/services/CANARY"


@pytest.mark.parametrize(
    ("url", "hosts", "says"),
    [
        ("https://evil.example/CANARY", "hooks.slack.com", "Add evil.example to PLATFORM_ALERT_HOSTS"),
        ("https://hooks.slack.com@evil.example/CANARY", "hooks.slack.com", "Add evil.example"),
        ("https://hooks.slack.com:8443/CANARY", "hooks.slack.com", "Add hooks.slack.com:8443"),
        ("https://sub.hooks.slack.com/CANARY", "hooks.slack.com", "Add sub.hooks.slack.com"),
        ("https://hooks.slack.com:9/CANARY", "hooks.slack.com:8443", "Add hooks.slack.com:9"),
        ("slack+https://[::1]:90/CANARY", "hooks.slack.com", r"Add \[::1\]:90"),
        (HOOK, "", "Add hooks.slack.com .*now: hooks.slack.com|Add hooks.slack.com .*now: empty"),
        ("http://hooks.slack.com/CANARY", "hooks.slack.com", "Use https"),
        ("http://10.0.0.1:80/CANARY", "10.0.0.1:80", "Use https"),
        ("ftp://hooks.slack.com/CANARY", "hooks.slack.com", "channel 1 does not begin with"),
        ("CANARY", "hooks.slack.com", "channel 1 does not begin with"),
        ("https:///CANARY", "hooks.slack.com", "channel 1 names no host"),
        ("https://hooks.slack.com:CANARY/", "hooks.slack.com", "channel 1 is no URL"),
        ("https://[CANARY/", "hooks.slack.com", "channel 1 is no URL"),
        ("https://hooks.slack.com/CAN\nARY", "hooks.slack.com", "channel 1 holds blanks"),
        (f"{HOOK},https://evil.example/CANARY", "hooks.slack.com", "channel 2 leads to evil.example"),
        ("smtp://ann:CANARY@mail.example/", "mail.example", "needs one address"),
        ("smtp://ann:CANARY@mail.example/?to=a@x.org", "mail.example", "needs one address"),
        ("smtp://ann:CANARY@mail.example/?to=a@x.org&to=b@x.org&from=a@x.org", "mail.example", "second channel"),
        ("smtp://ann:CANARY@mail.example/?to=a@x.org%0ABcc:b@x.org&from=a@x.org", "mail.example", "needs one address"),
    ],
)
def test_a_channel_that_cannot_be_used_is_refused_at_the_start_without_its_url(url: str, hosts: str, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says) as refused:
        Routes({"PLATFORM_ALERT_TEAM_SALES": url}, hosts)
    assert str(refused.value).startswith("PLATFORM_ALERT_TEAM_SALES: ")
    assert "CANARY" not in str(refused.value)
    assert "CANARY" not in repr(refused.value.__cause__)
    with pytest.raises(ConfigurationError, match="PLATFORM_HEARTBEAT"):
        Routes({}, hosts, url if "smtp" not in url and "," not in url else "smtp://CANARY")


@pytest.mark.parametrize("hosts", ["https://hooks.slack.com", "*.slack.com", "a@b", "a:b", "hooks.slack.com/x"])
def test_a_list_of_hosts_that_makes_no_sense_is_refused(hosts: str) -> None:
    with pytest.raises(ConfigurationError, match="PLATFORM_ALERT_HOSTS"):
        Routes({}, hosts)


def test_channels_of_every_kind_are_known_by_name_only() -> None:
    routes = Routes(
        {
            "PLATFORM_ALERT": f"slack+{HOOK},{HOOK}",
            "PLATFORM_ALERT_TEAM_CRM": "smtps://ann:CANARY@mail.example/?to=CANARY@x.org&from=b@x.org",
            "PLATFORM_ALERT_TEAM_OPS": "https://ann:CANARY@alerts.intern:8443/?key=CANARY",
        },
        "hooks.slack.com, MAIL.example,alerts.intern:8443",
        heartbeat="https://hooks.slack.com/CANARY",
    )
    assert list(routes.all()) == [
        "PLATFORM_ALERT#1",
        "PLATFORM_ALERT#2",
        "PLATFORM_ALERT_TEAM_CRM#1",
        "PLATFORM_ALERT_TEAM_OPS#1",
    ]
    assert "CANARY" not in repr(routes.all()) + repr(routes.heartbeat)
    reach = {name: channel.endpoint.reach for name, channel in routes.all().items()}
    assert reach["PLATFORM_ALERT#1"] == "public"
    assert reach["PLATFORM_ALERT_TEAM_OPS#1"] == "any"


def test_every_runbook_is_a_page_of_the_index_and_every_page_a_runbook() -> None:
    pages = {page.stem for page in RUNBOOK_PAGES.glob("*.md")} - {"README"}
    assert pages == set(RUNBOOKS)
    index = (RUNBOOK_PAGES / "README.md").read_text()
    assert set(re.findall(r"\]\(([a-z-]+)\.md\)", index)) == set(RUNBOOKS)


@pytest.mark.parametrize("page", RUNBOOKS)
def test_every_runbook_answers_the_same_questions(page: str) -> None:
    written = (RUNBOOK_PAGES / f"{page}.md").read_text()
    assert re.findall(r"^## (.+)$", written, re.M) == [
        "What it means",
        "What still works",
        "Look closer",
        "Mend it",
        "How you know it is over",
    ]


def test_a_problem_names_a_runbook_that_exists(desk: Desk) -> None:
    with pytest.raises(ConfigurationError, match="no runbook"):
        desk.alerts.sync([replace(PROBLEM, runbook=cast("Any", "nonsense"))])
    assert desk.alerts.incidents(open_only=False) == []
