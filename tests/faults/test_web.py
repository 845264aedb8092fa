"""The web: other sites, users and programs at the port of `platform ui`; a second one; one that is killed.

Nothing is mocked: the real command on a throw-away deployment, the real Chromium, a hostile page at other ports.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import dagster as dg
import psutil
import pytest
from browser import chromium, site
from deployed import BIN, Deployed
from guarded import CHANGE, TOKEN, serving
from machine import CHROMEDRIVER, IPV6
from selenium.webdriver.common.by import By
from selenium.webdriver.support.expected_conditions import title_is, url_contains
from selenium.webdriver.support.ui import WebDriverWait

from platform_assets.orchestration.runs.process import running_daemon

pytestmark = [pytest.mark.slow, pytest.mark.timeout(420)]
STARTED_S: Final = 120
GONE_S: Final = 100
# Names that lead to this machine in the browser: of another site, and one that an attacker has pointed at us.
NAMES: Final = "--host-resolver-rules=MAP evil.example 127.0.0.1, MAP rebound.example 127.0.0.1"
HOSTILE: Final = Path(__file__).with_name("hostile.html")


@dataclass
class Running:
    """`platform ui`, as somebody has started it."""

    world: Deployed
    port: int
    process: subprocess.Popen[str]

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        return self.world.root / "ui.log"

    def until(self, happens: Callable[[], bool], within_s: float, what: str) -> None:
        deadline = time.monotonic() + within_s
        while not happens():
            assert time.monotonic() < deadline, f"no {what} within {within_s:.0f} s\n{self.log.read_text()[-3000:]}"
            time.sleep(0.25)

    def link(self) -> str:
        """A login for a browser."""
        done = self.world.platform("ui", "--login")
        assert done.code == 0, done.err
        return done.out.strip()

    def known_link(self) -> str:
        """A login under the name that everybody knows."""
        link = self.link()
        return link.replace(urllib.parse.urlsplit(link).netloc, self.host)

    def changed(self) -> bool:
        """Whether the hostile page has had its way."""
        with self.world.instance() as instance:
            limits = instance.event_log_storage.get_concurrency_keys()
            return "forged" in limits or bool(instance.get_latest_materialization_event(dg.AssetKey("forged")))

    def has_daemon(self) -> bool:
        """Whether Dagster's daemon has taken its place."""
        return running_daemon(self.world.home / "dagster") is not None

    def processes(self) -> list[psutil.Process]:
        """Every living process of this deployment."""
        return [each for each in psutil.process_iter() if self._is_ours(each)]

    def _is_ours(self, process: psutil.Process) -> bool:
        with contextlib.suppress(psutil.Error, OSError):
            alive = process.status() != psutil.STATUS_ZOMBIE
            return alive and process.environ().get("PLATFORM_HOME") == str(self.world.home)
        return False


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextlib.contextmanager
def started(root: Path, *more: str, says: str = "login?code=", port: int | None = None) -> Iterator[Running]:
    """`platform ui` on an empty deployment; whatever happens, none of its processes stays."""
    world = Deployed(root, {"PLATFORM_UI_TOKEN": TOKEN})
    world.landing.mkdir(parents=True, exist_ok=True)
    port = port or free_port()
    with (root / "ui.log").open("w") as log:
        running = Running(
            world, port, world.start("platform", "ui", "--port", str(port), *more, out=log, err=subprocess.STDOUT)
        )
    try:
        running.until(lambda: says in running.log.read_text(), STARTED_S, "link")
        yield running
    finally:
        while left := running.processes():
            for each in left:
                with contextlib.suppress(psutil.NoSuchProcess):
                    each.kill()
        running.process.wait(20)


@pytest.fixture(scope="module")
def ui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with started(tmp_path_factory.mktemp("web")) as running:
        yield running


def hostile(target: str, login: str = "") -> str:
    return HOSTILE.read_text().replace("TARGET", target).replace("CHANGE", json.dumps(CHANGE)).replace("LOGIN", login)


def got(browser: Any) -> dict[str, str]:
    """What the hostile page has got, once each of its attempts has ended."""
    time.sleep(4)
    ended = "return !!window.got && !Object.values(window.got).includes('waits')"
    WebDriverWait(browser, 30).until(lambda b: b.execute_script(ended))
    found: dict[str, str] = browser.execute_script("return window.got")
    return found


@pytest.mark.needs(CHROMEDRIVER)
@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "evil.example"])
def test_a_hostile_page_changes_nothing_and_reads_nothing(ui: Running, tmp_path: Path, name: str) -> None:
    """From another port of this machine, whose pages the browser sends our cookie for; and from another site."""
    with chromium(tmp_path / "profile", NAMES) as browser, site(hostile(ui.host)) as port:
        browser.get(ui.known_link())
        WebDriverWait(browser, 60).until(lambda b: "Overview" in b.find_element(By.TAG_NAME, "body").text)
        browser.get(f"http://{name}:{port}/")
        found = got(browser)
        assert not [each for each in found.items() if each[1] == "open" or each[1].startswith("read")], found
        assert not ui.changed()
        browser.get(f"http://{ui.host}/assets")
        WebDriverWait(browser, 60).until(lambda b: "Reload definitions" in b.find_element(By.TAG_NAME, "body").text)


@pytest.mark.needs(CHROMEDRIVER)
def test_dagster_alone_does_what_that_page_says(tmp_path: Path) -> None:
    """Else the test above would prove nothing."""
    with serving(tmp_path / "server", guard=False) as server, chromium(tmp_path / "profile", NAMES) as browser:
        with site(hostile(server.host)) as port:
            browser.get(f"http://evil.example:{port}/")
            found = got(browser)
        assert server.changed()
        assert found["websocket"] == "open"


@pytest.mark.needs(CHROMEDRIVER)
def test_a_name_that_an_attacker_points_at_us_shows_nothing(ui: Running, tmp_path: Path) -> None:
    with chromium(tmp_path / "profile", NAMES) as browser:
        browser.get(f"http://rebound.example:{ui.port}/assets")
        assert "is not this UI" in browser.find_element(By.TAG_NAME, "body").text


@pytest.mark.needs(CHROMEDRIVER)
def test_links_in_other_sites_pages_open_ours_for_who_is_logged_in(ui: Running, tmp_path: Path) -> None:
    """As from a mail program: the browser sends no strict cookie on a way that began there."""
    with chromium(tmp_path / "profile", NAMES) as browser, site(hostile(ui.host, ui.known_link())) as port:
        page = f"http://evil.example:{port}/"
        browser.get(page)
        browser.find_element(By.ID, "in").click()
        WebDriverWait(browser, 60).until(lambda b: "platform ui --login" in b.find_element(By.TAG_NAME, "body").text)
        browser.get(page)
        browser.find_element(By.ID, "login").click()
        WebDriverWait(browser, 60).until(lambda b: "Overview" in b.find_element(By.TAG_NAME, "body").text)
        browser.get(page)
        browser.find_element(By.ID, "in").click()
        WebDriverWait(browser, 60).until(lambda b: "Reload definitions" in b.find_element(By.TAG_NAME, "body").text)
        browser.get(page)
        browser.find_element(By.ID, "login").click()
        WebDriverWait(browser, 60).until(lambda b: "used already" in b.find_element(By.TAG_NAME, "body").text)


@pytest.mark.needs(CHROMEDRIVER)
def test_a_page_of_another_port_gets_no_cookie(ui: Running, tmp_path: Path) -> None:
    """Cookies know no ports: another user of this machine serves 127.0.0.1, and the victim follows a link to it."""
    heard: list[str] = []
    asks_again = "<script>fetch('/again').then(() => document.title = 'asked')</script>"
    with chromium(tmp_path / "profile", NAMES) as browser, site(asks_again, heard) as port:
        browser.get(ui.link())
        WebDriverWait(browser, 60).until(lambda b: "Overview" in b.find_element(By.TAG_NAME, "body").text)
        (cookie,) = (each for each in browser.get_cookies() if each["name"].startswith("platform_"))
        for name in ("127.0.0.1", "localhost", "x.localhost"):
            browser.get(f"http://evil.example:{port}/")
            browser.execute_script(f"location.href = 'http://{name}:{port}/'")
            WebDriverWait(browser, 60).until(url_contains(f"//{name}:"))
            WebDriverWait(browser, 60).until(title_is("asked"))
    assert len(heard) >= 6
    assert not [each for each in heard if cookie["value"] in each or cookie["domain"] in each]


@pytest.mark.parametrize("way", [signal.SIGKILL, signal.SIGINT])
def test_a_cookie_of_a_ui_that_has_ended_opens_nothing(tmp_path: Path, way: signal.Signals) -> None:
    """While it was down another user could have its port, and be sent it."""
    with started(tmp_path) as first:
        unused = first.known_link()
        with urllib.request.urlopen(first.known_link(), timeout=30) as answer:
            cookie = answer.headers["set-cookie"].partition(";")[0]
        assert status(first.host, cookie) == 200
        os.kill(first.process.pid, way)
        first.process.wait(60)
        first.until(lambda: not first.processes(), GONE_S, "end of every process")
    with started(tmp_path, port=first.port) as again:
        assert again.host == first.host
        assert status(again.host, cookie) == 401
        with pytest.raises(urllib.error.HTTPError):
            urllib.request.urlopen(unused, timeout=30)


@pytest.mark.needs(IPV6, "IPv6")
def test_a_port_that_is_taken_on_the_other_version_of_ip_is_told(tmp_path: Path) -> None:
    """An open tab at localhost would go there, with its cookie."""
    world = Deployed(tmp_path)
    with socket.socket(socket.AF_INET6) as attacker:
        attacker.bind(("::1", 0))
        attacker.listen()
        done = world.platform("ui", "--port", str(attacker.getsockname()[1]))
    assert (done.code, len(done.err.splitlines())) == (2, 1), done.err
    assert "is taken at ::1" in done.err


def status(host: str, cookie: str) -> int:
    request = urllib.request.Request(f"http://{host}/", headers={"cookie": cookie})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as refused:
        return refused.code


def test_a_program_without_the_token_gets_nothing(ui: Running) -> None:
    for path in ("/", "/favicon.png", "/graphql?" + urllib.parse.urlencode({"query": CHANGE})):
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"http://{ui.host}{path}", timeout=20)
        assert refused.value.code in (401, 405)
    assert not ui.changed()


def test_what_people_do_is_recorded_without_values(ui: Running) -> None:
    delete = 'mutation { deletePipelineRun(runId: "no-such-run") { __typename } }'
    request = urllib.request.Request(
        f"http://{ui.host}/graphql",
        json.dumps({"query": delete}).encode(),
        {"content-type": "application/json", "authorization": f"Bearer {TOKEN}"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        assert answer.status == 200
    entries = ui.world.platform("audit", "list", "--json").answer["entries"]
    last = [each for each in entries if each["what"] == "delete pipeline run"][-1]
    assert (last["who"], last["about"]) == ("token:ui", {"run": "no-such-run"})
    written = (ui.world.home / "audit.jsonl").read_text() + ui.log.read_text()
    assert TOKEN not in written


def test_a_second_ui_and_a_bad_port_are_told_at_once_in_a_line(ui: Running) -> None:
    other = Deployed(ui.world.root / "other")
    for world, port, why in (
        (ui.world, free_port(), "a UI runs on it already: http://"),
        (other, ui.port, f"port {ui.port}: is taken"),
        (other, 70000, "'70000' is no port"),
    ):
        began = time.monotonic()
        done = world.platform("ui", "--port", str(port))
        assert (done.code, len(done.err.splitlines())) == (2, 1), done.err
        assert why in done.err
        assert time.monotonic() - began < 15  # it imports no Dagster
    assert not (other.home / "dagster").exists()


def test_a_shared_view_is_for_users_and_changes_nothing(tmp_path: Path) -> None:
    world = Deployed(tmp_path)
    nobody = world.platform("ui", "--share", "127.0.0.1")
    assert (nobody.code, nobody.err.splitlines()[-1].startswith("error: --share: nobody could log in")) == (2, True)
    add = [str(BIN / "platform"), "ui", "user", "add", "anna"]
    subprocess.run(add, env=world.environment(), input="correct horse battery\n", text=True, timeout=60, check=True)
    with started(tmp_path, "--share", "127.0.0.1", says="read-only") as shared:
        assert world.platform("ui", "--login").code == 2, "who may do everything is let in by `platform ui` alone"
        opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
        form = urllib.parse.urlencode({"name": "anna", "password": "correct horse battery"}).encode()
        own = {"origin": f"http://{shared.host}"}
        with opener.open(urllib.request.Request(f"http://{shared.host}/login", form, own), timeout=60) as answer:
            assert answer.status == 200
        asked = own | {"content-type": "application/json"}
        look, change = (
            urllib.request.Request(f"http://{shared.host}/graphql", json.dumps({"query": query}).encode(), asked)
            for query in ("{ version }", CHANGE)
        )
        with opener.open(look, timeout=60) as answer:
            assert "version" in json.load(answer)["data"]
        with pytest.raises(urllib.error.HTTPError, match="403"):
            opener.open(change, timeout=60)
        assert not shared.changed()
        assert not [each for each in shared.processes() if "dagster._daemon" in each.cmdline()]


@pytest.mark.parametrize("way", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nothing_of_it_outlives_it(tmp_path: Path, way: signal.Signals) -> None:
    """The signal reaches the command alone: what it has started has to notice."""
    with started(tmp_path) as running:
        running.until(running.has_daemon, STARTED_S, "daemon")
        assert len(running.processes()) >= 4
        os.kill(running.process.pid, way)
        assert running.process.wait(60) == (0 if way != signal.SIGKILL else -signal.SIGKILL)
        running.until(lambda: not running.processes(), GONE_S, "end of every process")


def test_the_ui_ends_with_its_daemon(tmp_path: Path) -> None:
    """Whoever keeps the service alive starts it anew."""
    with started(tmp_path) as running:
        running.until(running.has_daemon, STARTED_S, "daemon")
        for each in running.processes():
            with contextlib.suppress(psutil.Error):
                if "dagster._daemon" in each.cmdline():
                    each.kill()
        assert running.process.wait(60) == 1
        assert "daemon has ended" in running.log.read_text()
