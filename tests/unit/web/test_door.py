"""The door: port, names, TLS, one UI for a home; what is wrong is told before anything starts."""

import shutil
import socket
import ssl
import subprocess
import urllib.request
from contextlib import closing
from pathlib import Path

import pytest
from guarded import SECRET, serving

from platform_assets.errors import ConfigurationError
from platform_assets.settings import UiSettings
from platform_assets.web.door import alone, opened, running


def names(host: str, settings: UiSettings | None = None, *, shared: bool = True) -> set[str]:
    """What a door there is called, with `P` for its port."""
    door = opened(host, 0, settings or UiSettings(), shared=shared)
    with closing(door.listening):
        return {each.replace(str(door.port), "P") for each in door.hosts()}


def test_only_this_machines_own_names_and_declared_ones_are_known() -> None:
    assert names("127.0.0.1") == {"127.0.0.1:P", "localhost:P"}
    declared = UiSettings(hosts=("Data.Example.org", "x.example:8443"), proxies=("10.0.0.5",))
    assert names("0.0.0.0", declared) == {
        *("127.0.0.1:P", "localhost:P", "data.example.org", "data.example.org:P", "x.example:8443"),
    }


def test_a_name_of_its_own_keeps_the_cookie_from_other_servers_of_this_machine() -> None:
    door = opened("127.0.0.1", 0, UiSettings(hosts=("h7kq.localhost",)), shared=False)
    with closing(door.listening):
        assert door.url == f"http://h7kq.localhost:{door.port}"
        assert f"h7kq.localhost:{door.port}" in door.hosts()


@pytest.mark.needs(socket.has_ipv6 and Path("/proc/net/if_inet6").exists(), "IPv6")
def test_version_six_of_the_loopback_is_known_where_it_is_bound() -> None:
    assert names("::1") == {"[::1]:P", "127.0.0.1:P", "localhost:P"}


def test_a_taken_port_is_told_at_once() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(ConfigurationError, match=r"port \d+: is taken"):
            opened("127.0.0.1", other.getsockname()[1], UiSettings(), shared=False)


@pytest.mark.parametrize("port", [-1, 65536, 10**9])
def test_a_bad_port_is_told_at_once(port: int) -> None:
    with pytest.raises(ConfigurationError, match="is no port"):
        opened("127.0.0.1", port, UiSettings(), shared=False)


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
    place = tmp_path / "web" / "ui"
    first, second = (opened("127.0.0.1", 0, UiSettings(), shared=False) for _ in range(2))
    with closing(first.listening), closing(second.listening):
        with alone(place, first):
            assert running(place) == first.url
            with pytest.raises(ConfigurationError, match=first.url), alone(place, second):
                pass
        assert running(place) is None
        with alone(place, second):
            assert running(place) == second.url


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
