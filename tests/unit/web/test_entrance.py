"""Logging in: a link that opens once, a session that is a cookie, users with passwords, a proxy's word."""

import json
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest
from guarded import CHANGE, LOOK, SECRET, TOKEN, Guarded, serving

from platform_assets.errors import ConfigurationError
from platform_assets.settings import UiSettings
from platform_assets.web.entrance import FIRST_PAGE
from platform_assets.web.logins import CODE_S, SESSION_S, Logins
from platform_assets.web.users import Slow, Users

PASSWORD = "correct horse battery"
FORM = "application/x-www-form-urlencoded"
HOST = "x.localhost:3000"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    with serving(tmp_path_factory.mktemp("login")) as made:
        yield made


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    with serving(tmp_path_factory.mktemp("shared"), shared=True) as made:
        made.users.add("anna", PASSWORD)
        yield made


def log_in(server: Guarded, name: str, password: str, **headers: str | None) -> tuple[int, str]:
    """A login by the form: status, and the cookie if there is one."""
    body = urlencode({"name": name, "password": password})
    answer = server.ask("POST", "/login", body, **{"origin": server.origin, "content_type": FORM, **headers})
    return answer.status, answer.headers.get("set-cookie", "").partition(";")[0]


def test_a_code_opens_once_and_the_cookie_is_for_this_ui_alone(server: Guarded) -> None:
    link = f"/login?code={server.logins.code()}"
    answer = server.ask("GET", link)
    assert f'content="0;url={server.origin}{FIRST_PAGE}"' in answer.text
    cookie, _, attributes = answer.headers["set-cookie"].partition(";")
    assert cookie.startswith(f"platform_{server.door.port}=")
    assert {each.strip().lower() for each in attributes.split(";")} >= {"httponly", "samesite=strict", "path=/"}
    assert server.ask("GET", "/", cookie=cookie).status == 200
    assert ("ui:local", "login", {"from": "127.0.0.1"}) in server.written
    again = server.ask("GET", link)
    assert (again.status, "set-cookie" in again.headers) == (401, False)
    assert "platform ui --login" in again.text


def test_a_link_in_a_mail_program_works_and_a_look_at_it_does_not_use_it_up(server: Guarded) -> None:
    link = f"/login?code={server.logins.code()}"
    assert "set-cookie" not in server.ask("HEAD", link).headers
    seen = server.ask("GET", link, sec_purpose="prefetch", sec_fetch_mode="navigate")
    picture = server.ask("GET", link, sec_fetch_site="cross-site", sec_fetch_mode="no-cors")
    assert [each.status for each in (seen, picture)] == [403, 403]
    opened = server.ask("GET", link, sec_fetch_site="cross-site", sec_fetch_mode="navigate", sec_fetch_dest="document")
    assert "set-cookie" in opened.headers


def test_a_code_opens_once_whoever_is_faster(tmp_path: Path) -> None:
    logins = Logins(tmp_path)
    code = logins.code()
    got: list[bool] = []
    threads = [threading.Thread(target=lambda: got.append(logins.redeem(code))) for _ in range(20)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert got.count(True) == 1


@pytest.mark.parametrize("code", ["", "x", "../../users.json", "%00", "é", "x" * 5000])
def test_another_code_opens_nothing(server: Guarded, code: str) -> None:
    assert "set-cookie" not in server.ask("GET", f"/login?{urlencode({'code': code})}").headers


def test_codes_and_sessions_end_with_time_and_are_kept_as_hashes_for_the_owner_alone(tmp_path: Path) -> None:
    now = [1_000_000.0]
    logins = Logins(tmp_path / "ui", lambda: now[0])
    code, token = logins.code(), logins.begin("ui:local", HOST)
    assert logins.session(token, HOST) is not None
    assert Logins(tmp_path / "share", lambda: now[0]).session(token, HOST) is None, "another door does not know it"
    for path in tmp_path.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0 or path.parent == tmp_path
        assert path.is_dir() or not ({code, token} & {path.name, path.read_text()})
    now[0] += CODE_S + 1
    assert not logins.redeem(code)
    now[0] += SESSION_S
    assert logins.session(token, HOST) is None


def test_a_session_is_of_the_name_under_which_it_was_made(server: Guarded) -> None:
    """Cookies know no ports: another user of this machine serves a page at 127.0.0.1, and gets that name's cookie."""
    ours, known = f"{server.door.name}:{server.door.port}", server.host
    for host, other in ((ours, known), (known, ours), (known, f"localhost:{server.door.port}")):
        link = f"/login?code={server.logins.code()}"
        cookie = server.ask("GET", link, host=host).headers["set-cookie"].partition(";")[0]
        assert server.ask("GET", "/", cookie=cookie, host=host).status == 200
        assert server.ask("GET", "/", cookie=cookie, host=other).status == 401
        headers = server.as_page(cookie, host=other, origin=f"http://{other}")
        assert server.graphql(CHANGE, headers).status == 401


def test_the_secret_name_is_told_to_nobody(server: Guarded) -> None:
    for headers in ({}, {"host": "x"}, {"accept": "text/html"}):
        for path in ("/", "/login", "/graphql", "/favicon.png"):
            answer = server.ask("GET", path, **headers)
            assert server.door.name not in f"{answer.headers} {answer.text}"
    assert server.door.name not in repr(server.door)


def test_sessions_and_codes_end_with_the_ui(tmp_path: Path) -> None:
    """While it is down another user could have its port, and be sent the cookie."""
    logins = Logins(tmp_path)
    token, code = logins.begin("ui:local", HOST), logins.code()
    assert Logins(tmp_path).session(token, HOST) is None, "one that was killed"
    logins.end_all()
    assert logins.session(token, HOST) is None
    assert not logins.redeem(code)


@pytest.mark.parametrize("cookie", ["", "x", "../users.json", '"', "é", ";;;", "=x"])
def test_another_cookie_opens_nothing(server: Guarded, cookie: str) -> None:
    sent = f"platform_{server.door.port}={cookie}".encode().decode("latin-1")
    assert server.ask("GET", "/", cookie=sent).status == 401


def test_logging_out_ends_the_session(server: Guarded) -> None:
    cookie = server.login()
    assert "Log out" in server.ask("GET", "/login", cookie=cookie).text
    assert server.ask("POST", "/login", "out=1", cookie=cookie, origin="http://evil.example").status == 403
    assert server.ask("GET", "/", cookie=cookie).status == 200
    assert server.ask("POST", "/login", "out=1", cookie=cookie, origin=server.origin).status == 200
    assert server.ask("GET", "/", cookie=cookie).status == 401


def test_who_owns_the_home_needs_no_password_and_has_none(server: Guarded) -> None:
    assert log_in(server, "anna", PASSWORD)[0] == 405


def test_a_change_is_written_down_before_it_is_done(server: Guarded) -> None:
    cookie = server.login()
    assert server.graphql(CHANGE, server.as_page(cookie)).status == 200
    assert server.written[-2] == ("ui:local", "set concurrency limit", {"pool": "forged"})
    assert server.written[-1] == ("ui:local", "set concurrency limit", {"status": 200})
    assert server.outcomes[-2:] == [("asked", None), ("answered", len(server.written) - 1)]
    assert server.said[-1] == "ui:local: set concurrency limit pool forged"
    server.instance.event_log_storage.delete_concurrency_limit("forged")


@pytest.mark.parametrize(
    ("said", "outcome", "came"),
    [
        ({"query": "mutation { reloadWorkspace { __typename } }"}, "answered", {"status": 200, "answer": "Workspace"}),
        (
            {"query": 'mutation { x: deletePipelineRun(runId: "no") { __typename } }'},
            "answered",
            {"status": 200, "answer": "RunNotFoundError"},
        ),
        ({"query": "mutation { reloadWorkspace { __typename } }", "operationName": ""}, "failed", {"status": 400}),
        ({"query": "mutation { reloadWorkspace { no } }"}, "failed", {"status": 400}),
        (
            {"query": "mutation { reloadWorkspace @skip(if: true) { __typename } }"},
            "failed",
            {"status": 200, "answer": "nothing"},
        ),
    ],
)
def test_the_outcome_that_is_written_down_is_what_dagster_answered(
    server: Guarded, said: dict[str, str], outcome: str, came: dict[str, object]
) -> None:
    server.ask("POST", "/graphql", json.dumps(said), **server.as_page(server.login()))
    assert (server.outcomes[-2][0], server.outcomes[-1][0], server.written[-1][2]) == ("asked", outcome, came)


def test_what_cannot_be_written_down_is_not_done(server: Guarded) -> None:
    cookie = server.login()
    server.disk_full = True
    answer = server.graphql(CHANGE, server.as_page(cookie))
    server.disk_full = False
    assert (answer.status, server.changed()) == (503, False)
    assert "it cannot be written down" in answer.json["errors"][0]["message"]


def test_a_user_looks_on_and_changes_nothing(shared: Guarded) -> None:
    status, cookie = log_in(shared, "anna", PASSWORD)
    assert (status, shared.written[-1]) == (200, ("ui:anna", "login", {"from": "127.0.0.1"}))
    assert shared.ask("GET", "/assets", cookie=cookie).status == 200
    assert shared.graphql(LOOK, shared.as_page(cookie)).status == 200
    assert shared.graphql(CHANGE, shared.as_page(cookie)).status == 403
    assert not shared.changed()


def test_a_page_of_another_site_logs_nobody_in(shared: Guarded) -> None:
    assert log_in(shared, "anna", PASSWORD, origin="http://evil.example")[0] == 403
    assert log_in(shared, "anna", PASSWORD, origin=None)[0] == 403


def test_a_removed_user_or_a_new_password_ends_the_session(shared: Guarded) -> None:
    shared.users.add("bert", PASSWORD)
    _, cookie = log_in(shared, "bert", PASSWORD)
    assert shared.ask("GET", "/", cookie=cookie).status == 200
    shared.users.add("bert", f"{PASSWORD}!")
    assert shared.ask("GET", "/", cookie=cookie).status == 401
    _, cookie = log_in(shared, "bert", f"{PASSWORD}!")
    shared.users.remove("bert")
    assert shared.ask("GET", "/", cookie=cookie).status == 401


def test_a_code_opens_no_shared_view(shared: Guarded) -> None:
    assert "set-cookie" not in shared.ask("GET", f"/login?code={shared.logins.code()}").headers


def test_guessing_a_password_is_slow(tmp_path: Path) -> None:
    with serving(tmp_path, shared=True) as server:
        server.users.add("anna", PASSWORD)
        tried = [log_in(server, name, "wrong password")[0] for name in ("anna", "nobody") * 3]
        assert tried == [401] * 5 + [429]
        assert log_in(server, "anna", PASSWORD)[0] == 429, "the right one has to wait, too"


def test_each_wrong_try_makes_the_wait_longer_up_to_a_minute() -> None:
    now = [0.0]
    slow = Slow(lambda: now[0])
    waits = []
    for _ in range(20):
        waits.append(slow.wait_s({"a": 5}))
        now[0] += waits[-1]
        slow.wrong("a")
    assert waits[:9] == [0, 0, 0, 0, 0, 1, 2, 4, 8]
    assert max(waits) == 60
    assert slow.wait_s({"b": 5}) == 0
    slow.right("a")
    assert slow.wait_s({"a": 5}) == 0


def test_passwords_are_kept_hashed_for_the_owner_alone(tmp_path: Path) -> None:
    users = Users(tmp_path / "web")
    users.add("anna", PASSWORD)
    file = tmp_path / "web" / "users.json"
    assert PASSWORD not in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert users.accepts("anna", PASSWORD)
    wrong = (("anna", ""), ("anna", PASSWORD[:-1]), ("bert", PASSWORD), ("", ""), ("anna", "é" * 2000))
    assert not any(users.accepts(*each) for each in wrong)


@pytest.mark.parametrize(
    ("name", "password"), [("", PASSWORD), ("a b", PASSWORD), ("a/b", PASSWORD), ("anna", "short")]
)
def test_a_user_that_cannot_be_is_refused(tmp_path: Path, name: str, password: str) -> None:
    with pytest.raises(ConfigurationError):
        Users(tmp_path / "web").add(name, password)


PROXY = UiSettings(proxies=("127.0.0.1",), proxy_header="x-forwarded-user", token=SECRET, hosts=("data.example.org",))


def test_a_proxy_of_this_machine_is_believed_with_the_token_only(tmp_path: Path) -> None:
    """Anybody on this machine could be it."""
    with serving(tmp_path, PROXY, shared=True) as server:
        said = {"host": "data.example.org", "x_forwarded_user": "carla", "x_forwarded_proto": "https"}
        bearer = {"authorization": f"Bearer {TOKEN}"}
        assert server.ask("GET", "/assets", **said).status == 403
        assert server.ask("GET", "/assets", **said, **bearer).status == 200
        own = {"origin": "https://data.example.org", "content_type": "application/json"}
        assert server.graphql(LOOK, {**said, **bearer, **own}).status == 200
        assert server.graphql(LOOK, {**said, **bearer, **own, "origin": "http://evil.example"}).status == 403
        assert server.ask("GET", "/", **{**said, "x_forwarded_user": ""}, **bearer).status == 401


@pytest.mark.parametrize(
    "header", ["x_forwarded_host", "x_forwarded_proto", "forwarded", "x_forwarded_prefix", "x_original_url", "x_user"]
)
def test_what_nobody_s_proxy_says_of_where_we_are_is_not_believed(shared: Guarded, header: str) -> None:
    body = urlencode({"name": "anna", "password": PASSWORD})
    said = {"origin": shared.origin, "content_type": FORM, header: "host=evil.example"}
    answer = shared.ask("POST", "/login", body, **said)
    assert f'content="0;url={shared.origin}{FIRST_PAGE}"' in answer.text
    assert "evil" not in answer.text
    assert shared.ask("GET", "/", **{header: "anna"}).status == 401


def test_guessing_from_one_place_under_many_addresses_is_slow_too(tmp_path: Path) -> None:
    with serving(tmp_path, shared=True) as server:
        tried = [log_in(server, "anna", "wrong", x_forwarded_for=f"10.0.0.{at}")[0] for at in range(6)]
        assert tried == [401] * 5 + [429]


def test_the_header_of_anybody_but_the_proxy_is_refused(tmp_path: Path) -> None:
    settings = UiSettings(proxies=("10.1.2.3",), proxy_header="x-forwarded-user", token=SECRET)
    with serving(tmp_path, settings, shared=True) as server:
        for more in ({}, {"authorization": f"Bearer {TOKEN}"}, {"x_forwarded_for": "10.1.2.3"}):
            assert server.ask("GET", "/", x_forwarded_user="anna", **more).status == 403
