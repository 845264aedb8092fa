"""The door: port, names, TLS, one UI for a home; what is wrong is told before anything starts."""

import os
import shutil
import socket
import ssl
import subprocess
import urllib.request
from contextlib import closing
from pathlib import Path

import pytest
from guarded import SECRET, serving
from machine import IPV6

from platform_assets.errors import ConfigurationError
from platform_assets.settings import UiSettings
from platform_assets.web.door import alone, opened, port_of, running

V6 = {"[::1]:P"}


def names(host: str, settings: UiSettings | None = None, *, shared: bool = True) -> set[str]:
    """What a door there is called, with `P` for its port."""
    door = opened(host, 0, settings or UiSettings(), shared=shared)
    with closing(door):
        assert door.name.endswith(".localhost")
        return {each.replace(str(door.port), "P").replace(door.name, "secret") for each in door.hosts()}


def test_only_this_machines_own_names_and_declared_ones_are_known() -> None:
    assert names("127.0.0.1") - V6 == {"127.0.0.1:P", "localhost:P", "secret:P"}
    assert names("127.0.0.5") == {"127.0.0.5:P"}, "localhost is elsewhere"
    declared = UiSettings(hosts=("Data.Example.org", "x.example:8443"), proxies=("10.0.0.5",))
    assert names("0.0.0.0", declared) - V6 == {
        *("127.0.0.1:P", "localhost:P", "secret:P", "data.example.org", "data.example.org:P", "x.example:8443"),
    }


def test_a_name_of_its_own_keeps_the_cookie_from_other_servers_of_this_machine() -> None:
    door = opened("127.0.0.1", 0, UiSettings(hosts=("h7kq.localhost",)), shared=False)
    with closing(door):
        assert door.url == f"http://h7kq.localhost:{door.port}"
        assert f"h7kq.localhost:{door.port}" in door.hosts()


@pytest.mark.needs(IPV6, "IPv6")
def test_version_six_of_the_loopback_is_known_where_it_is_bound() -> None:
    assert names("::1") == {*V6, "127.0.0.1:P", "localhost:P", "secret:P"}


@pytest.mark.needs(IPV6, "IPv6")
@pytest.mark.parametrize(("host", "other"), [("127.0.0.1", "::1"), ("::1", "127.0.0.1")])
def test_localhost_is_ours_by_both_versions_of_ip(host: str, other: str) -> None:
    """Else another user takes the one that is free, and an open tab at localhost sends its cookie there."""
    door = opened(host, 0, UiSettings(), shared=False)
    with closing(door), socket.socket(socket.AF_INET6 if ":" in other else socket.AF_INET) as attacker:
        assert door.missing is None
        attacker.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with pytest.raises(OSError, match="in use"):
            attacker.bind((other, door.port))
    with socket.socket(socket.AF_INET6 if ":" in other else socket.AF_INET) as attacker:
        attacker.bind((other, 0))
        attacker.listen()
        with pytest.raises(ConfigurationError, match=rf"port \d+: is taken at {other}"):
            opened(host, attacker.getsockname()[1], UiSettings(), shared=False)


def test_the_link_has_a_name_that_nobody_knows_anew_each_time() -> None:
    first, second = (opened("127.0.0.1", 0, UiSettings(), shared=False) for _ in range(2))
    with closing(first), closing(second):
        assert first.url == f"http://{first.name}:{first.port}"
        assert first.name != second.name


def test_passwords_come_from_other_machines_through_the_proxy_alone() -> None:
    door = opened("127.0.0.1", 0, UiSettings(proxies=("10.0.0.5",)), shared=True)
    with closing(door):
        came = [door.may_come_from(each) for each in ("10.0.0.5", "127.0.0.1", "10.0.0.6", "?")]
    assert came == [True, True, False, False]


def test_a_taken_port_is_told_at_once() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(ConfigurationError, match=rf"port \d+: is taken at 127.0.0.1 by process {os.getpid()} \("):
            opened("127.0.0.1", other.getsockname()[1], UiSettings(), shared=False)


@pytest.mark.parametrize("typed", ["abc", "", "3000.5", "-1", "65536", "1" * 5000, "\uff13", "\x1b[2J"])
def test_what_is_no_port_is_told_at_once(typed: str) -> None:
    with pytest.raises(ConfigurationError, match="is no port") as told:
        port_of(typed)
    assert told.value.what.isprintable()
    assert len(told.value.what) < 200


@pytest.mark.parametrize("host", ["no such host", "203.0.113.7", ""])
def test_an_address_that_is_not_ours_is_told_at_once(host: str) -> None:
    with pytest.raises(ConfigurationError):
        opened(host, 0, UiSettings(), shared=True)


def test_other_machines_come_in_by_tls_or_a_proxy_only() -> None:
    with pytest.raises(ConfigurationError, match="in the clear") as told:
        opened("0.0.0.0", 0, UiSettings(), shared=True)
    assert "PLATFORM_UI_CERTIFICATE" in told.value.remedy


def test_a_proxy_of_this_machine_needs_the_token() -> None:
    with pytest.raises(ConfigurationError, match="PLATFORM_UI_TOKEN"):
        opened("127.0.0.1", 0, UiSettings(proxies=("127.0.0.1",), proxy_header="x-user"), shared=True)


def test_a_second_ui_of_a_home_is_told_where_the_first_is(tmp_path: Path) -> None:
    """Also by another path to it: the lock is the file's."""
    home = tmp_path / "home"
    place, linked = home / "web" / "ui", tmp_path / "also" / "web" / "ui"
    home.mkdir()
    (tmp_path / "also").symlink_to(home)
    with alone(place) as mine:
        mine.say(url="http://here")
        assert running(linked) == "http://here"
        for each in (place, linked):
            with pytest.raises(ConfigurationError, match=f"http://here \\(process {os.getpid()}\\)"), alone(each):
                pass
    assert running(place) is None
    with alone(linked) as mine:
        mine.say(url="http://there")
        assert running(place) == "http://there"


@pytest.mark.needs(shutil.which("openssl") is not None, "openssl")
def test_tls_is_spoken_with_the_certificate_given(tmp_path: Path) -> None:
    certificate, key = tmp_path / "ui.pem", tmp_path / "ui.key"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    settings = UiSettings(token=SECRET, certificate=certificate, key=key)
    with serving(tmp_path / "s", settings) as server:
        url = f"https://localhost:{server.door.port}"
        with urllib.request.urlopen(
            f"{url}/login?code={server.logins.code()}", context=ssl.create_default_context(cafile=str(certificate))
        ) as answer:
            assert answer.headers["set-cookie"].startswith(f"__Host-platform_{server.door.port}=")
            assert "Secure" in answer.headers["set-cookie"]
            assert f"url={url}/" in answer.read().decode()
        assert server.door.url == f"https://127.0.0.1:{server.door.port}"


@pytest.mark.parametrize("content", ["", "no certificate"])
def test_a_certificate_that_cannot_be_used_is_told_at_once(tmp_path: Path, content: str) -> None:
    file = tmp_path / "ui.pem"
    file.write_text(content)
    for settings in (UiSettings(certificate=file, key=file), UiSettings(certificate=tmp_path / "none", key=file)):
        with pytest.raises(ConfigurationError, match="PLATFORM_UI_CERTIFICATE"):
            opened("127.0.0.1", 0, settings, shared=False)
