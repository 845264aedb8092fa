"""The guard, request by request, over real HTTP and around Dagster's own application."""

import contextlib
import json
import socket
from collections.abc import Iterator
from typing import Final
from urllib.parse import quote, urlencode

import pytest
from guarded import CHANGE, JSON, LOOK, TOKEN, Guarded, serving

from platform_assets.web import asked

BEARER: Final = {"authorization": f"Bearer {TOKEN}", "content_type": JSON}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    with serving(tmp_path_factory.mktemp("guard")) as made:
        yield made


@pytest.fixture(scope="module")
def cookie(server: Guarded) -> str:
    return server.login()


@pytest.fixture(autouse=True)
def nothing_is_changed(server: Guarded) -> Iterator[None]:
    before = len(server.written)
    yield
    assert not server.changed()
    assert [what for _, what, _ in server.written[before:] if what != "login"] == []


def test_dagsters_own_page_works(server: Guarded, cookie: str) -> None:
    page = server.ask("GET", "/assets", cookie=cookie)
    assert page.status == 200
    assert "<html" in page.text
    assert "version" in server.graphql(LOOK, server.as_page(cookie), "/graphql?op=Version").json["data"]
    assert server.websocket(cookie=cookie, origin=server.origin) == 101


def test_a_program_with_the_token_needs_no_page(server: Guarded) -> None:
    assert server.graphql(LOOK, BEARER).status == 200
    assert server.websocket(authorization=BEARER["authorization"]) == 101


@pytest.mark.parametrize("path", ["/", "/assets", "/graphql", "/server_info", "/favicon.png", "/logs/a/b.out", "/x.js"])
def test_nobody_gets_anything_without_a_login(server: Guarded, path: str) -> None:
    answer = server.ask("GET", path)
    assert (answer.status, answer.text) == (401, "nobody is logged in\n")


def test_static_files_need_a_login_too(server: Guarded, cookie: str) -> None:
    page = server.ask("GET", "/", cookie=cookie).text
    file = page.partition('src="/_next/static/')[2].partition('"')[0]
    assert server.ask("GET", f"/_next/static/{file}").status == 401
    assert server.ask("GET", f"/_next/static/{file}", cookie=cookie).status == 200


def test_a_person_without_a_login_is_told_what_to_type(server: Guarded) -> None:
    answer = server.ask("GET", "/assets", accept="text/html", sec_fetch_mode="navigate", sec_fetch_dest="document")
    assert answer.status == 401
    assert "platform ui --login" in answer.text


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "127.0.0.1", "127.0.0.1:1", "localhost.evil.example", "[::1]", "", None]
)
def test_another_host_is_refused_even_with_a_token(server: Guarded, cookie: str, host: str | None) -> None:
    for path in ("/", "/graphql", "/login", "/favicon.png"):
        assert server.ask("GET", path, host=host, cookie=cookie).status in (400, 421)
    assert server.graphql(CHANGE, {**BEARER, "host": host}).status in (400, 421)


def test_another_host_with_our_port_is_refused(server: Guarded, cookie: str) -> None:
    """A name that an attacker points at 127.0.0.1 while the page is open."""
    rebound = f"rebound.example:{server.door.port}"
    assert server.ask("GET", "/", host=rebound, cookie=cookie).status == 421
    assert server.websocket(host=rebound, cookie=cookie, origin=f"http://{rebound}") == 421
    assert server.ask("GET", "/login", host=f"LOCALHOST:{server.door.port}").status == 200


def test_two_hosts_are_refused(server: Guarded, cookie: str) -> None:
    answer = server.ask("GET", "/", cookie=cookie, Host="evil.example")
    assert answer.status == 400


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "QUERY"])
@pytest.mark.parametrize("authority", ["cookie", "token"])
def test_graphql_is_asked_by_post_only(server: Guarded, cookie: str, method: str, authority: str) -> None:
    path = f"/graphql?{urlencode({'query': CHANGE})}"
    headers = server.as_page(cookie) if authority == "cookie" else BEARER
    for accept in ("*/*", "text/html"):
        assert server.ask(method, path, accept=accept, **headers).status == 405


@pytest.mark.parametrize(
    "kind",
    [
        *("text/plain", "text/plain;application/json", "text/plain; charset=application/json", "application/graphql"),
        *("multipart/form-data; boundary=application/json", "application/x-www-form-urlencoded", "application/jsonp"),
        *("application/json, text/plain", "application/json;x=1", "application/json; charset=utf-7", ""),
        *("application/json;application/json", "application/json+x", "xapplication/json", None),
        *("Application/JSON",),
    ],
)
def test_only_json_is_taken(server: Guarded, cookie: str, kind: str | None) -> None:
    for headers in (server.as_page(cookie, content_type=kind), {**BEARER, "content_type": kind}):
        assert server.graphql(CHANGE, headers).status == 415


@pytest.mark.parametrize(
    "kind", ["application/json", "application/json; charset=UTF-8", 'application/json;Charset="utf-8"']
)
def test_json_with_a_charset_is_json(server: Guarded, cookie: str, kind: str) -> None:
    assert server.graphql(LOOK, server.as_page(cookie, content_type=kind)).status == 200


@pytest.mark.parametrize(
    "query",
    [urlencode({"query": CHANGE}), f"op=x&query={quote(CHANGE)}", "op=x;query=y", "variables={}", "op=", "op=%0a"],
)
def test_nothing_is_asked_in_the_url(server: Guarded, cookie: str, query: str) -> None:
    assert server.graphql(LOOK, server.as_page(cookie), f"/graphql?{query}").status == 400


@pytest.mark.parametrize(
    "body", [CHANGE, "", "null", "[]", json.dumps([{"query": CHANGE}]), '"x"', "{}", '{"query": 1}', '{"query": null}',
             '{"query": "{version}", "variables": "{}"}', '{"query": "{version}", "operationName": {}}', "[" * 100_000]
)  # fmt: skip
def test_what_is_no_request_in_json_is_refused(server: Guarded, cookie: str, body: str) -> None:
    answer = server.ask("POST", "/graphql", body, **server.as_page(cookie))
    assert answer.status == 400
    assert answer.json["errors"][0]["message"]


def test_a_long_body_is_refused_before_it_is_read(server: Guarded, cookie: str) -> None:
    long = json.dumps({"query": LOOK, "x": "x" * 2_100_000})
    assert server.ask("POST", "/graphql", long, **server.as_page(cookie)).status == 413
    assert server.ask("POST", "/graphql", **server.as_page(cookie, content_length="99999999")).status == 413


@pytest.mark.parametrize(
    ("origin", "site"),
    [
        ("http://evil.example", "cross-site"),
        ("http://evil.example", None),
        ("null", None),
        (None, None),
        (None, "cross-site"),
        (None, "same-site"),
        (None, "none"),
        ("http://evil.example", "same-origin"),
        ("http://127.0.0.1:1", "same-site"),
        ("http://127.0.0.1:1", None),
        ("https://{host}", None),
        ("http://{host}.evil.example", None),
        ("http://{host}@evil.example", None),
        ("http://localhost:{port}", None),
    ],
)
def test_only_our_own_page_asks_for_more_than_one_answer(
    server: Guarded, cookie: str, origin: str | None, site: str | None
) -> None:
    """Also a page of another port of this machine, whose requests carry the cookie."""
    said = origin and origin.format(host=server.host, port=server.door.port)
    headers = server.as_page(cookie, origin=said, sec_fetch_site=site)
    assert server.graphql(CHANGE, headers).status == 403
    assert server.ask("POST", "/report_asset_materialization/forged", "{}", **headers).status == 403
    handshake = {"origin": said, "sec_fetch_site": site}
    assert server.websocket(cookie=cookie, **{key: value for key, value in handshake.items() if value}) == 403


@pytest.mark.parametrize(("origin", "site"), [("{origin}", None), ("{origin}", "same-origin"), (None, "same-origin")])
def test_our_own_page_is_known_by_either(server: Guarded, cookie: str, origin: str | None, site: str | None) -> None:
    said = origin and origin.format(origin=server.origin)
    assert server.graphql(LOOK, server.as_page(cookie, origin=said, sec_fetch_site=site)).status == 200


@pytest.mark.parametrize("mode", ["no-cors", "cors", "websocket", "navigate"])
def test_no_page_of_another_site_shows_or_reads_ours(server: Guarded, cookie: str, mode: str) -> None:
    """An image, a script, a frame; `navigate` with the destination of a frame."""
    for site in ("cross-site", "same-site"):
        for path in ("/", "/favicon.png", "/server_info", "/download_debug/x", "/login?code=x"):
            answer = server.ask(
                "GET", path, cookie=cookie, sec_fetch_site=site, sec_fetch_mode=mode, sec_fetch_dest="iframe"
            )
            assert answer.status in (401, 403), (site, path, answer.text)


@pytest.mark.parametrize("path", ["/runs?q=1", "//evil.example/x", "/%2f%2fevil.example", '/"><script>'])
def test_a_link_of_another_site_leads_to_our_page_and_nowhere_else(server: Guarded, path: str) -> None:
    """The browser sends no cookie on a way that began elsewhere: it goes on from a page of ours."""
    answer = server.ask("GET", quote(path, safe="/?=%\"<>").replace('"', "%22").replace("<", "%3C").replace(">", "%3E"),
                        sec_fetch_site="cross-site", sec_fetch_mode="navigate", sec_fetch_dest="document")  # fmt: skip
    assert answer.status == 200
    assert f'content="0;url={server.origin}/' in answer.text
    assert "<script" not in answer.text


@pytest.mark.parametrize("kind", ["materialization", "check", "observation"])
def test_events_are_reported_with_a_token_only(server: Guarded, cookie: str, kind: str) -> None:
    for path in (f"/report_asset_{kind}/forged", f"/report_asset_{kind}/forged?check_name=x&passed=true"):
        assert server.ask("POST", path, "{}", **server.as_page(cookie)).status == 403
        assert server.ask("POST", path, "", cookie=cookie, origin=server.origin).status == 403
        assert server.ask("POST", path, "{}", content_type=JSON).status == 403
        assert "<html" in server.ask("GET", path, cookie=cookie).text, "Dagster's page, which shows that there is none"


TRICKS: Final = (
    *("//graphql", "/graphql/", "/Graphql", "/GRAPHQL", "/%67raphql", "/graphql%2f", "/graphql%00", "/./graphql"),
    *("/x/../graphql", "/graphql;x", "/graphql%3fquery", "/graphql%23", "/\\graphql", "/graphql%20", "/dagit/graphql"),
    *("/_next/graphql", "/_next/../graphql", "/_next/static/..%2f..%2fgraphql", "/prefix/graphql", "/graphql/x"),
    *("/%2e/graphql", "/%2fgraphql", "http://127.0.0.1/graphql", "http://evil.example/graphql"),
)


@pytest.mark.parametrize("path", TRICKS)
def test_no_path_leads_round_the_guard(server: Guarded, cookie: str, path: str) -> None:
    query = urlencode({"query": CHANGE})
    for headers in (server.as_page(cookie), BEARER):
        plain = {**headers, "content_type": "text/plain"}
        for method in ("GET", "POST"):
            assert server.ask(method, f"{path}?{query}", **plain).status in (200, 400, 404, 405, 415), path
    assert server.ask("POST", path, json.dumps({"query": CHANGE}), content_type=JSON).status in (400, 401, 403, 405)
    report = path.replace("graphql", "report_asset_materialization/forged")
    assert server.ask("POST", report, "{}", **server.as_page(cookie)).status in (400, 403, 404, 405)


@pytest.mark.parametrize("path", ["/logs/../../x", "/logs/%2e%2e/%2e%2e/etc/passwd", "/assets/./..", "/logs/a/%2e"])
def test_a_path_that_climbs_is_refused(server: Guarded, cookie: str, path: str) -> None:
    assert server.ask("GET", path, cookie=cookie).status == 400


def test_headers_without_end_are_not_kept(server: Guarded) -> None:
    with socket.create_connection(("127.0.0.1", server.door.port), timeout=20) as line:
        line.sendall(b"GET / HTTP/1.1\r\nhost: x\r\nx: ")
        with contextlib.suppress(ConnectionError):
            for _ in range(50):
                line.sendall(b"x" * 65536)
        with contextlib.suppress(ConnectionError):
            assert line.recv(100).startswith(b"HTTP/1.1 400")


def test_who_sends_nothing_of_a_body_is_not_waited_for(server: Guarded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asked, "_SENT_WITHIN_S", 0.2)
    with socket.create_connection(("127.0.0.1", server.door.port), timeout=20) as line:
        head = f"POST /login HTTP/1.1\r\nhost: {server.host}\r\norigin: {server.origin}\r\ncontent-length: 9\r\n\r\n"
        line.sendall(head.encode())
        assert line.recv(100).startswith(b"HTTP/1.1 408")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "CONNECT", "TRACE", "BREW"])
@pytest.mark.parametrize(
    "path", ["/", "/assets", "/logs/x.out", "/favicon.png", "/server_info", "/notebook", "/_next/x"]
)
def test_whatever_is_no_reading_is_refused(server: Guarded, cookie: str, method: str, path: str) -> None:
    assert server.ask(method, path, **server.as_page(cookie)).status in (400, 405)


@pytest.mark.parametrize("path", ["/", "/favicon.png", "/graphql", "/login", "/nothing.js"])
def test_every_answer_forbids_frames_guesses_and_copies(server: Guarded, cookie: str, path: str) -> None:
    for answer in (server.ask("GET", path, cookie=cookie), server.ask("GET", path), server.ask("GET", path, host="x")):
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "same-origin"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert answer.headers["cache-control"] == "no-store"


def test_dagsters_own_policy_of_its_page_stays(server: Guarded, cookie: str) -> None:
    policy = server.ask("GET", "/", cookie=cookie).headers["content-security-policy"]
    assert "object-src 'none'" in policy
    assert "script-src 'nonce-" in policy
    assert policy.endswith("frame-ancestors 'none'")


def test_files_named_by_their_content_may_be_kept_by_the_browser(server: Guarded, cookie: str) -> None:
    page = server.ask("GET", "/", cookie=cookie).text
    file = "/_next/static/" + page.partition('src="/_next/static/')[2].partition('"')[0]
    assert server.ask("GET", file, cookie=cookie).headers["cache-control"] == "private, max-age=31536000, immutable"
    assert server.ask("GET", file).headers["cache-control"] == "no-store"
    assert server.ask("GET", "/_next/static/no.js", cookie=cookie).headers["cache-control"] == "no-store"


@pytest.mark.parametrize("token", ["", "x", TOKEN[:-1], f"{TOKEN}x", TOKEN.upper(), "a-pr\u00f6gram"])
def test_a_wrong_token_is_refused(server: Guarded, cookie: str, token: str) -> None:
    sent = f"Bearer {token}".encode().decode("latin-1")
    answer = server.graphql(CHANGE, {"authorization": sent, "content_type": JSON, "cookie": cookie})
    assert answer.status in (401, 403)


def test_what_is_refused_is_told_once_in_a_line(server: Guarded) -> None:
    for at in range(5):
        server.ask("GET", f"/%e2%80%ae%1b{at}", host="told.example")
    told = [line for line in server.said if "told.example" in line]
    assert len(told) <= 1
    assert all(line.isprintable() for line in server.said)
