"""Alerts reach whom they are meant for, and nobody else, whatever breaks on the way: servers, networks, processes."""

import re
import socket
import subprocess
import time
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from machine import examples
from receivers import (
    PROBLEM,
    SOON,
    Desk,
    Manner,
    Sensor,
    Webhook,
    about,
    answers,
    babbles,
    dies,
    hangs,
    here,
    mumbles,
    post_office,
    stops,
    tick_in_child,
    trickles,
    webhook,
)
from shop import child, ended

from platform_assets.alerts import network
from platform_assets.errors import AlertsUnreadable, StorageError

OPENED = f"opened {PROBLEM.key}"
ADDRESSES = "to=a@x.example&from=b@x.example"


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "WAIT_S", 0.4)
    monkeypatch.setattr(network, "EXCHANGE_S", 1.0)


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate for this machine that nobody trusts by themselves, with its key."""
    made = tmp_path / "certificate.pem"
    subprocess.run(
        [
            *(
                "openssl",
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:prime256v1",
                "-nodes",
                "-days",
                "2",
            ),
            *("-subj", "/CN=here", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", made, "-out", tmp_path / "crt"),
        ],
        check=True,
        capture_output=True,
    )
    made.write_bytes(made.read_bytes() + (tmp_path / "crt").read_bytes())
    return made


@pytest.fixture
def trusting(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same certificate, trusted."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    return certificate


def errors(desk: Desk) -> list[str | None]:
    return [telling.error for incident in desk.alerts.incidents(open_only=True) for telling in incident.sent]


@pytest.mark.parametrize("outage", [None, answers(500), answers(503), answers(429), answers(408), dies, babbles])
def test_an_hour_without_the_webhook_loses_nothing(tmp_path: Path, outage: Manner | None) -> None:
    with webhook() as gone:
        port = gone.port
    desk = Desk(tmp_path, {"PLATFORM_ALERT": f"http://127.0.0.1:{port}/hook"}, f"127.0.0.1:{port}")
    problems = [about(f"check:{n:02}") for n in range(12)]
    attempts = 0
    if outage is None:
        for n in range(12):
            desk.over(*problems[: n + 1], minutes=5)
        assert errors(desk) == ["connection refused"] * 12
    else:
        with webhook(port=port) as failing:
            failing.does(outage)
            for n in range(12):
                desk.over(*problems[: n + 1], minutes=5)
            attempts = len(failing.heard)
        assert None not in errors(desk)
    assert attempts < 25, "it is tried ever more rarely"
    with webhook(port=port) as back:
        desk.over(*problems, minutes=11)
        assert sorted(back.told) == [f"opened {problem.key}" for problem in problems]
        if outage in (None, dies, babbles):
            assert back.told == sorted(back.told), "the oldest first"
        assert {telling.waiting for i in desk.alerts.incidents(open_only=True) for telling in i.sent} == {0}


@pytest.mark.parametrize("manner", [hangs, trickles])
def test_a_slow_channel_delays_neither_us_nor_another_and_is_given_up(
    tmp_path: Path, hook: Webhook, impatient: None, manner: Manner
) -> None:
    with webhook() as slow:
        slow.does(manner)
        desk = Desk(tmp_path, {"PLATFORM_ALERT": f"{slow.url()},{hook.url()}"}, here(slow, hook))
        desk.alerts.sync([PROBLEM, about("other")])
        began = time.monotonic()
        desk.alerts.deliver(timedelta(seconds=0.3))
        assert time.monotonic() - began < 1, "it comes back in time"
        desk.alerts.deliver(timedelta(seconds=0.3))
        assert hook.told == [OPENED, "opened other"]
        time.sleep(1.5)  # the exchange ends by itself, and is noted
        assert {e for e in errors(desk) if e} <= {"no answer within 0 s", "no whole answer within 1 s"}
        assert [bool(e) for e in errors(desk)] == [True, False] * 2
        assert len(slow.heard) == 1


def test_what_will_never_work_is_said_and_still_tried_now_and_then(desk: Desk, hook: Webhook) -> None:
    hook.does(answers(404, b"no_service"))
    desk.over(PROBLEM, about("other"), minutes=50)
    assert hook.told == [OPENED, "opened other"]
    assert errors(desk) == ["it answered 404 no_service"] * 2
    hook.does(answers(200))
    desk.over(PROBLEM, about("other"), minutes=15)
    assert hook.told == [OPENED, "opened other"] * 2
    assert len({heard.headers["Idempotency-Key"] for heard in hook.heard}) == 2


def test_one_message_that_is_never_taken_does_not_stop_the_others(desk: Desk, hook: Webhook) -> None:
    hook.does(lambda handler: answers(500 if handler.server.heard[-1].json["key"] == "poison" else 200)(handler))
    problems = [about("poison"), *(about(f"check:{n}") for n in range(5))]
    desk.over(*problems, minutes=5)
    assert {f"opened check:{n}" for n in range(5)} < set(hook.told)


@pytest.mark.parametrize("after", ["1800", "Mon, 01 Jan 2035 00:00:00 GMT"])
def test_a_server_that_asks_us_to_wait_is_left_alone_for_so_long_but_never_for_ever(
    desk: Desk, hook: Webhook, after: str
) -> None:
    hook.does(answers(429, Retry_After=after))
    desk.over(PROBLEM, minutes=29)
    assert hook.told == [OPENED]
    hook.does(answers(200))
    desk.over(PROBLEM, minutes=40)
    assert hook.told == [OPENED] * 2


def test_a_channel_that_takes_a_test_message_is_tried_at_once(desk: Desk, hook: Webhook) -> None:
    hook.does(answers(403))
    desk.tick(PROBLEM)
    assert desk.alerts.test() == {"PLATFORM_ALERT#1": "it answered 403"}
    hook.does(answers(200))
    assert desk.alerts.test("team:sales") == {"PLATFORM_ALERT#1": None}
    desk.tick(PROBLEM)
    assert hook.told == [OPENED, "test test", "test test", OPENED]


@pytest.mark.parametrize(
    ("command", "reply", "says"),
    [
        ("AUTH", "535 CANARY is wrong", "it refused the password (535)"),
        ("RCPT", "550 who is CANARY", "it refused the recipient (550)"),
        ("RCPT", "450 later", "it refused the recipient (450)"),
        ("MAIL", "552 CANARY", "it refused the mail (552)"),
        ("DATA", "451 CANARY", "it refused the mail (451)"),
        ("TAKEN", "554 CANARY", "it refused the mail (554)"),
    ],
)
def test_a_mail_server_that_refuses_is_told_of_in_our_words(
    tmp_path: Path, command: str, reply: str, says: str
) -> None:
    with post_office(replies={command: reply}) as post:
        url = f"smtp://ann:CANARY@127.0.0.1:{post.port}/?{ADDRESSES}"
        desk = Desk(tmp_path, {"PLATFORM_ALERT": url}, here(post))
        desk.tick(PROBLEM)
        assert errors(desk) == [says]
        post.replies.clear()
        desk.over(PROBLEM, minutes=70, every_s=300)
        assert len(post.mails) == 1


def test_a_mail_server_that_hangs_is_given_up(tmp_path: Path, impatient: None) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        port = mute.getsockname()[1]
        desk = Desk(tmp_path, {"PLATFORM_ALERT": f"smtp://127.0.0.1:{port}/?{ADDRESSES}"}, f"127.0.0.1:{port}")
        desk.tick(PROBLEM)
        assert errors(desk) == ["no answer within 0 s"]


def test_certificates_must_be_trusted(tmp_path: Path, certificate: Path) -> None:
    with webhook(certificate) as secure, post_office(certificate=certificate) as post:
        urls = f"{secure.url(scheme='https')},smtp://ann:secret@127.0.0.1:{post.port}/?{ADDRESSES}"
        desk = Desk(tmp_path, {"PLATFORM_ALERT": urls}, here(secure, post))
        desk.tick(PROBLEM)
        assert all(str(error).startswith("its certificate is not trusted") for error in errors(desk))
        assert (secure.heard, post.mails) == ([], [])
        assert not any(command.startswith("AUTH") for command in post.commands)


def test_trusted_servers_are_told_by_tls(tmp_path: Path, trusting: Path) -> None:
    with webhook(trusting) as secure, post_office(certificate=trusting) as post:
        urls = f"{secure.url(scheme='https')},smtp://ann:secret@127.0.0.1:{post.port}/?{ADDRESSES}"
        desk = Desk(tmp_path, {"PLATFORM_ALERT": urls}, here(secure, post))
        desk.tick(PROBLEM)
        assert (secure.told, len(post.mails)) == ([OPENED], 1)
        assert post.commands.index("STARTTLS") < next(n for n, c in enumerate(post.commands) if c.startswith("AUTH"))


def test_an_answer_that_does_not_end_is_a_failure(desk: Desk, hook: Webhook, impatient: None) -> None:
    hook.does(stops)
    desk.tick(PROBLEM)
    assert errors(desk) == ["no answer within 0 s"]


def test_user_and_password_are_sent_in_utf_8(tmp_path: Path, hook: Webhook) -> None:
    url = hook.url().replace("//", "//ann:p%C3%A4ss%E2%82%AC@")
    Desk(tmp_path, {"PLATFORM_ALERT": url}, here(hook)).tick(PROBLEM)
    sent = hook.heard[0].headers["Authorization"].removeprefix("Basic ")
    assert b64decode(sent).decode() == "ann:päss€"


def test_a_redirect_is_a_failure_and_not_followed(tmp_path: Path, hook: Webhook) -> None:
    with webhook() as elsewhere:
        hook.does(answers(307, Location=elsewhere.url()))
        desk = Desk(tmp_path, {"PLATFORM_ALERT": hook.url()}, here(hook, elsewhere))
        desk.tick(PROBLEM)
        assert elsewhere.heard == []
        assert errors(desk) == ["it answered 307, a redirect, which is not followed"]


def test_a_proxy_of_the_environment_hears_nothing(desk: Desk, hook: Webhook, monkeypatch: pytest.MonkeyPatch) -> None:
    with webhook() as proxy:
        monkeypatch.setenv("http_proxy", proxy.url("/"))
        monkeypatch.setenv("ALL_PROXY", proxy.url("/"))
        desk.tick(PROBLEM)
        assert (hook.told, proxy.heard) == ([OPENED], [])


def test_a_name_that_leads_to_this_machine_is_not_contacted(tmp_path: Path) -> None:
    desk = Desk(tmp_path, {"PLATFORM_ALERT": "https://localhost/hook"}, "localhost")
    desk.tick(PROBLEM)
    assert errors(desk) == ["its host name leads to an address inside the network, which is not allowed"]


INTERNAL = [
    "127.0.0.1",
    "10.0.0.7",
    "192.168.1.1",
    "172.16.0.1",
    "169.254.169.254",
    "100.64.0.1",
    "0.0.0.0",
    "224.0.0.1",
]
INTERNAL6 = ["::1", "::", "fe80::1", "fd00::1", "::ffff:10.0.0.7", "64:ff9b::a00:7", "2002:a00:7::", "ff02::1"]


def resolving(monkeypatch: pytest.MonkeyPatch, *answers: str) -> list[str]:
    """Let every name resolve to `answers`; gives the names asked for."""
    asked: list[str] = []

    def resolve(host: str, port: int, **_: Any) -> list[tuple[Any, ...]]:
        asked.append(host)
        families = [socket.AF_INET6 if ":" in answer else socket.AF_INET for answer in answers]
        return [(f, socket.SOCK_STREAM, 6, "", (a, port)) for f, a in zip(families, answers, strict=True)]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    return asked


@pytest.mark.parametrize("scheme", ["https://{}/hook", "slack+https://{}/hook", "smtps://{}/?" + ADDRESSES])
@pytest.mark.parametrize("address", INTERNAL + INTERNAL6)
def test_a_name_that_leads_inside_is_not_contacted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str, scheme: str
) -> None:
    asked = resolving(monkeypatch, address)
    desk = Desk(tmp_path, {"PLATFORM_ALERT": scheme.format("hooks.example")}, "hooks.example")
    desk.tick(PROBLEM)
    assert errors(desk) == ["its host name leads to an address inside the network, which is not allowed"]
    assert asked == ["hooks.example"], "asked once: what is judged is what is connected to"


def test_a_name_listed_with_its_port_may_lead_inside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trusting: Path
) -> None:
    with webhook(trusting) as inside:
        resolving(monkeypatch, "127.0.0.1")
        url = f"https://alerts.intern:{inside.port}/hook"
        desk = Desk(tmp_path, {"PLATFORM_ALERT": url}, f"alerts.intern:{inside.port}")
        desk.tick(PROBLEM)
        assert errors(desk) == [
            "its certificate is not trusted: Hostname mismatch, certificate is not valid for 'alerts.intern'."
        ]
        assert inside.heard == []


def test_plain_http_never_leaves_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    resolving(monkeypatch, "203.0.113.5", "8.8.8.8")
    desk = Desk(tmp_path, {"PLATFORM_ALERT": "http://localhost:8080/hook"}, "localhost:8080")
    desk.tick(PROBLEM)
    assert errors(desk) == ["its host name leads to an address outside this machine, which is not allowed"]


@pytest.fixture(scope="module")
def sensor() -> Iterator[Sensor]:
    made = Sensor()
    yield made
    made.close()


def test_killed_at_any_statement_the_next_tick_tells_what_was_not_told(
    tmp_path: Path, hook: Webhook, sensor: Sensor
) -> None:
    survived = False
    die_at = 0
    twice = 0
    while not survived:
        die_at += 1
        desk = Desk(tmp_path / str(die_at), {"PLATFORM_ALERT": hook.url()}, here(hook))
        survived = sensor.tick(desk, [PROBLEM], die_at)
        desk.later(seconds=61)
        desk.tick(PROBLEM)
        told = [heard for heard in hook.heard if heard.json["key"] == PROBLEM.key]
        assert len({heard.headers["Idempotency-Key"] for heard in told}) == 1, f"killed at statement {die_at}"
        assert len(told) in (1, 2)
        twice += len(told) == 2
        (incident,) = desk.alerts.incidents(open_only=False)
        assert [(telling.last, telling.waiting) for telling in incident.sent] == [("opened", 0)]
        hook.heard.clear()
    assert die_at > 30
    assert twice > 0, "no kill fell between what was sent and noting it"


def test_killed_while_the_server_thinks_it_is_told_again_with_the_same_key(desk: Desk, hook: Webhook) -> None:
    hook.does(hangs)
    sender = child(tick_in_child, desk, [PROBLEM])
    while not hook.heard:
        time.sleep(0.01)
    sender.kill()
    ended(sender)
    hook.does(answers(200))
    desk.tick(PROBLEM)
    assert len(hook.heard) == 1, "it might still be sending"
    desk.later(seconds=61)
    desk.tick(PROBLEM)
    assert hook.told == [OPENED] * 2
    assert len({heard.headers["Idempotency-Key"] for heard in hook.heard}) == 1


def test_processes_that_look_at_once_tell_once(desk: Desk, hook: Webhook) -> None:
    problems = [about(f"check:{n}") for n in range(10)]
    processes = [child(tick_in_child, desk, problems) for _ in range(6)]
    assert [ended(process) for process in processes] == [0] * 6
    desk.tick(*problems)
    assert hook.told == [f"opened {problem.key}" for problem in problems]


KEYS = ("a", "b", "c")
SOME = st.sets(st.sampled_from(KEYS))
EVENTS = st.one_of(
    st.tuples(st.just("look"), SOME),
    st.tuples(st.just("kill"), SOME, st.integers(1, 60)),
    st.tuples(st.just("wait"), st.sampled_from([0.1, 1, 2, 5, 12, 40, 1500])),
    st.tuples(st.just("break"), st.integers(0, 1), st.sampled_from([answers(500), answers(404), answers(429), dies])),
    st.tuples(st.just("mend"), st.integers(0, 1)),
)
LIFE = re.compile(r"(opened |flapping )(reminder )*recovered ")


@settings(max_examples=examples(25))
@given(events=st.lists(EVENTS, max_size=14))
def test_whatever_happens_everybody_hears_of_every_cause_and_of_its_end_in_order(
    tmp_path_factory: pytest.TempPathFactory, sensor: Sensor, events: list[tuple[Any, ...]]
) -> None:
    home = tmp_path_factory.mktemp("any")
    ever: set[str] = set()
    with webhook() as one, webhook() as other:
        hooks = (one, other)
        taken: list[list[dict[str, Any]]] = [[], []]
        broken: list[Manner | None] = [None, None]

        def manner(at: int) -> Manner:
            def act(handler: Any) -> None:
                outage = broken[at]
                if outage is None:
                    taken[at].append(hooks[at].heard[-1].json)
                (outage or answers(200))(handler)

            return act

        for at, each in enumerate(hooks):
            each.does(manner(at))
        desk = Desk(home, {"PLATFORM_ALERT": f"{one.url()},{other.url()}"}, here(one, other))
        for event, *about_it in events:
            if event == "wait":
                desk.later(minutes=about_it[0])
            elif event == "break":
                broken[about_it[0]] = about_it[1]
            elif event == "mend":
                broken[about_it[0]] = None
            elif event == "look":
                ever |= about_it[0]
                desk.tick(*map(about, sorted(about_it[0])))
            else:
                ever |= about_it[0]
                sensor.tick(desk, [about(key) for key in sorted(about_it[0])], about_it[1])
        broken = [None, None]
        desk.over(minutes=60 * 27, every_s=1800)
        incidents = desk.alerts.incidents(open_only=False)
    assert all(incident.closed_at is not None for incident in incidents)
    assert {telling.waiting for incident in incidents for telling in incident.sent} <= {0}
    for heard in taken:
        told = list({message["id"]: message for message in heard}.values())
        assert {message["key"] for message in told} == {incident.problem.key for incident in incidents} <= ever
        for key in {message["key"] for message in told}:
            kinds = "".join(f"{message['kind']} " for message in told if message["key"] == key)
            assert kinds.startswith("opened ")
            assert LIFE.sub("", kinds) == "", kinds


@pytest.mark.parametrize(
    "content", [b"not a database, but long enough to be one" * 100, b"SQLite format 3\0" + b"x" * 5000]
)
def test_an_unreadable_file_is_named_with_what_to_do(desk: Desk, content: bytes) -> None:
    desk.home.mkdir()
    desk.path.write_bytes(content)
    with pytest.raises(AlertsUnreadable, match=r"(?s)alerts\.sqlite.*Move it away"):
        desk.alerts.sync([PROBLEM])


def test_a_home_that_cannot_be_written_is_named(desk: Desk, hook: Webhook) -> None:
    desk.home.write_text("in the way")
    with pytest.raises(StorageError, match=r"alerts\.sqlite"):
        desk.alerts.sync([PROBLEM])
    with pytest.raises(StorageError, match="heartbeat"):
        desk.alerts.beat()


def test_a_heartbeat_is_a_file_and_at_most_one_ping_a_minute(desk: Desk, hook: Webhook) -> None:
    desk = replace(desk, heartbeat=hook.url("/ping/CANARY"))
    assert not desk.alerts.heartbeat().alive
    for _ in range(30):
        desk.alerts.beat()
        desk.later(seconds=5)
    assert [(heard.method, heard.path) for heard in hook.heard] == [("GET", "/ping/CANARY")] * 3
    assert desk.alerts.heartbeat().alive
    desk.later(minutes=2)
    assert not desk.alerts.heartbeat().alive
    desk.later(days=-1)
    assert not desk.alerts.heartbeat().alive, "a time ahead of us proves nothing"
    assert [path.name for path in desk.home.iterdir() if "partial" in path.name] == []


def test_a_ping_that_fails_or_hangs_is_said_and_stops_nothing(desk: Desk, hook: Webhook, impatient: None) -> None:
    desk = replace(desk, heartbeat=hook.url("/ping/CANARY"))
    hook.does(answers(500))
    desk.alerts.beat()
    beating = desk.alerts.heartbeat()
    assert (beating.alive, beating.ping_error) == (True, "it answered 500")
    hook.does(hangs)
    desk.later(minutes=1)
    began = time.monotonic()
    desk.alerts.beat()
    assert time.monotonic() - began < 1.5
    assert desk.alerts.deliver(SOON).waiting == 0
    assert desk.alerts.heartbeat().ping_error == "no answer within 0 s"


CANARY = "CANARY-6f1d"


def test_no_secret_is_written_down_whatever_fails(
    tmp_path: Path,
    certificate: Path,
    impatient: None,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level("DEBUG")
    echo = CANARY.encode()
    manners = [answers(500, echo), answers(404, echo), answers(302, Location=f"/{CANARY}"), hangs, dies, babbles]
    manners.append(mumbles)
    hooks = [Webhook() for _ in manners]
    for each, manner in zip(hooks, manners, strict=True):
        each.does(manner)
    with (
        webhook(certificate) as untrusted,
        webhook() as gone,
        post_office(replies={"AUTH": f"535 {CANARY}"}) as post,
        post_office(greeting=f"554 {CANARY}") as closed,
    ):
        gone.close()
        urls = [each.url(f"/{CANARY}?key={CANARY}").replace("//", f"//ann:{CANARY}@") for each in (*hooks, gone)]
        urls += [each.url(f"/{CANARY}", "slack+http") for each in hooks]
        urls += [untrusted.url(f"/{CANARY}", "https"), f"https://localhost/{CANARY}", f"https://no.invalid/{CANARY}"]
        urls += [f"smtp://{CANARY}:{CANARY}@127.0.0.1:{p.port}/?to={CANARY}@x.org&from=b@x.org" for p in (post, closed)]
        desk = Desk(
            tmp_path / "home",
            {"PLATFORM_ALERT": ",".join(urls), "PLATFORM_ALERT_TEAM_CRM": hooks[0].url(f"/{CANARY}")},
            here(*hooks, gone, untrusted, post, closed) + ",localhost,no.invalid",
            heartbeat=hooks[0].url(f"/{CANARY}"),
        )
        for _ in range(3):
            desk.alerts.beat()
            desk.tick(PROBLEM, about("crm", owner="team:crm"))
            desk.later(minutes=11)
        said = [repr(desk.alerts.incidents(open_only=False)), repr(desk.alerts.test()), repr(desk.alerts.heartbeat())]
    assert len([error for error in errors(desk) if error]) == len(urls) + 1
    assert any(CANARY in heard.path for each in hooks for heard in each.heard), "it was used"
    said += [caplog.text, *capfd.readouterr(), repr(desk.alerts.__dict__)]
    assert [text for text in said if CANARY in text] == []
    files = [path for path in desk.home.rglob("*") if path.is_file()]
    assert desk.path in files
    assert [path for path in files if echo in path.read_bytes()] == []
    for each in hooks:
        each.close()
