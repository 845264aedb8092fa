"""The Dagster UI as a user starts it: nothing is clicked, a file is dropped, a release comes out, and owners are told.

One UI serves all tests of this file, in their order; it runs on a free port, with a home of its own.
"""

import http.client
import json
import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import dagster as dg
import psutil
import pytest
from browser import chromium
from deployed import Deployed
from machine import CHROMEDRIVER
from receivers import Webhook, here, webhook
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

CHAIN_S: Final = 150
CANARY: Final = "T0KEN-canary-8c1f"
TOKEN: Final = "a-program's-token-5d2e"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(420)]


@dataclass
class Ui:
    """A running UI of a deployment."""

    world: Deployed
    port: int
    pid: int
    told: Webhook

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ask(self, query: str) -> Any:
        """The answer to a GraphQL query."""
        request = urllib.request.Request(
            f"{self.url}/graphql",
            json.dumps({"query": query}).encode(),
            {"content-type": "application/json", "authorization": f"Bearer {TOKEN}"},
        )
        with urllib.request.urlopen(request, timeout=30) as response:
            return json.load(response)["data"]

    def runs(self) -> list[dict[str, Any]]:
        """Every run, newest first."""
        answer = self.ask("{ runsOrError { ... on Runs { results { runId status } } } }")
        found: list[dict[str, Any]] = answer["runsOrError"]["results"]
        return found

    def made(self, run_id: str) -> set[str]:
        """The assets that a run has materialized."""
        with self.world.instance() as instance:
            events = instance.all_logs(run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION)
        keys = [event.dagster_event.asset_key for event in events if event.dagster_event]
        return {key.to_user_string() for key in keys if key is not None}

    def materialized(self) -> set[str]:
        """The assets that any run has materialized."""
        return set().union(*(self.made(run["runId"]) for run in self.runs()))

    def quiet(self) -> None:
        """Wait until nothing runs, and nothing is asked for during a few ticks."""
        calm = [0]

        def still() -> bool:
            calm[0] = calm[0] + 1 if all(run["status"] in ("SUCCESS", "FAILURE") for run in self.runs()) else 0
            return calm[0] > 14

        until(still, CHAIN_S, self, "quiet")

    def log(self) -> str:
        return (self.world.root / "ui.log").read_text()[-4000:]


def until(happens: Callable[[], bool], within_s: float, ui: Ui, what: str) -> None:
    """Wait until `happens()`; fail with the UI's log if it does not."""
    deadline = time.monotonic() + within_s
    while not happens():
        assert time.monotonic() < deadline, f"no {what} within {within_s:.0f} s\n{ui.log()}"
        time.sleep(0.5)


def answers(ui: Ui) -> bool:
    try:
        loaded = ui.ask("{ repositoriesOrError { __typename ... on RepositoryConnection { nodes { name } } } }")
    except (OSError, http.client.HTTPException):
        return False
    return bool(loaded["repositoriesOrError"].get("nodes"))


@pytest.fixture(scope="module")
def ui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ui]:
    """`platform ui` on an empty landing folder, ended as Ctrl-C ends it."""
    root = tmp_path_factory.mktemp("ui")
    with webhook() as told:
        channel = {"PLATFORM_ALERT": told.url(f"/{CANARY}"), "PLATFORM_ALERT_HOSTS": here(told)}
        yield from _started(Deployed(root, {**channel, "PLATFORM_UI_TOKEN": TOKEN}), told)


def _started(world: Deployed, told: Webhook) -> Iterator[Ui]:
    world.landing.mkdir(exist_ok=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # Its output is long: a file takes it without ever making it wait.
    with (
        (world.root / "ui.log").open("w") as log,
        world.start("platform", "ui", "--port", str(port), out=log, err=subprocess.STDOUT) as process,
    ):
        ui = Ui(world, port, process.pid, told)
        try:
            until(lambda: answers(ui), 90, ui, "answer")
            yield ui
        finally:
            family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
            os.killpg(process.pid, signal.SIGINT)
            _, alive = psutil.wait_procs(family, timeout=80)
            for left in alive:
                left.kill()
    assert [left for left in alive if left.is_running()] == [], "processes outlived the UI"


@pytest.fixture(scope="module")
def chained(ui: Ui) -> float:
    """The retailer delivers a day into the landing folder; how long a release took to appear, in seconds."""
    began = time.monotonic()
    ui.world.simulate(days=2, rows=50, until="2026-03-17", dirt=0.0)
    until(ui.world.current.is_file, CHAIN_S, ui, "release")
    return time.monotonic() - began


def test_sensors_and_automation_are_on_without_a_click(ui: Ui) -> None:
    answer = ui.ask(
        '{ sensorsOrError(repositorySelector: {repositoryName: "__repository__", '
        'repositoryLocationName: "platform_assets"}) '
        "{ ... on Sensors { results { name sensorState { status } } } } }"
    )
    states = {sensor["name"]: sensor["sensorState"]["status"] for sensor in answer["sensorsOrError"]["results"]}
    names = ("alerts", "automation", "customers_files", "order_lines_files", "products_files")
    assert states == dict.fromkeys(names, "RUNNING")


def test_the_daemons_are_healthy(ui: Ui) -> None:
    def healthy() -> bool:
        answer = ui.ask("{ instance { daemonHealth { allDaemonStatuses { daemonType required healthy } } } }")
        states = answer["instance"]["daemonHealth"]["allDaemonStatuses"]
        return all(state["healthy"] for state in states if state["required"])

    until(healthy, 60, ui, "healthy daemon")


def test_dropped_files_become_a_release_by_themselves(ui: Ui, chained: float) -> None:
    days = ui.world.query("SELECT sale_date::VARCHAR, order_lines FROM daily_sales ORDER BY 1")
    assert days == [("2026-03-16", 50), ("2026-03-17", 50)]


def test_the_chain_went_through_every_layer(ui: Ui, chained: float) -> None:
    until(lambda: "release/retail" in ui.materialized(), CHAIN_S, ui, "word of the release that readers have")
    layers = {key.split("/")[0] for key in ui.materialized()}
    assert layers == {"raw", "quarantine", "staging", "intermediate", "snapshots", "marts", "release"}


def test_no_run_of_the_chain_failed(ui: Ui, chained: float) -> None:
    assert {run["status"] for run in ui.runs()} <= {"SUCCESS", "STARTED", "STARTING", "QUEUED"}, ui.log()


SALES: Final = "retail/order_lines/2026-03-17.csv"


def another(ui: Ui, first: int, count: int = 20) -> list[str]:
    """Lines of a delivery that no other has: sales of the 17th under other invoice numbers."""
    head, *lines = ui.world.lines(SALES)
    return [head, *(f"{first + at}{line[line.index(',') :]}" for at, line in enumerate(lines[:count]))]


def test_one_more_file_is_one_run_and_one_more_release(ui: Ui, chained: float) -> None:
    ui.quiet()
    before, release = {run["runId"] for run in ui.runs()}, ui.world.current
    ui.world.deliver("retail/order_lines/more.csv", another(ui, 700000))
    until(lambda: ui.world.current != release, CHAIN_S, ui, "release of the new file")
    sold = "SELECT count(*) FROM fct_order_lines WHERE invoice_no BETWEEN '700000' AND '700019'"
    assert ui.world.query(sold) == [(20,)]
    ui.quiet()
    (run,) = (run for run in ui.runs() if run["runId"] not in before)
    assert {key.split("/")[0] for key in ui.made(run["runId"])} >= {"raw", "staging", "marts", "release"}


def test_a_copy_of_it_is_one_run_that_builds_nothing(ui: Ui, chained: float) -> None:
    before, release = {run["runId"] for run in ui.runs()}, ui.world.current
    ui.world.deliver("retail/order_lines/copy.csv", another(ui, 700000))
    until(lambda: len(ui.runs()) > len(before), CHAIN_S, ui, "run")
    ui.quiet()
    (run,) = (run for run in ui.runs() if run["runId"] not in before)
    assert (run["status"], ui.made(run["runId"])) == ("SUCCESS", set())
    assert ui.world.current == release


def messages(ui: Ui, key: str) -> list[dict[str, Any]]:
    """What owners were told of a cause."""
    return [heard.json for heard in ui.told.heard if heard.json["key"] == key]


def test_a_cause_is_told_once_with_all_that_is_behind_it(ui: Ui, chained: float) -> None:
    release = ui.world.current
    lines = another(ui, 800000, 30)
    ui.world.deliver("retail/order_lines/rejected.csv", [lines[0], *(f"no invoice{line[6:]}" for line in lines[1:])])
    key = "check:raw/retail/order_lines:rejects_within_tolerance"
    until(lambda: bool(messages(ui, key)), CHAIN_S, ui, "message")
    ui.quiet()
    (message,) = messages(ui, key)
    assert (message["owner"], message["runbook"]) == ("team:sales", "rows-rejected")
    assert "rejected.csv`: `30 of 30 rows rejected`" in message["detail"]
    assert {"marts/daily_sales", "release/retail"} <= set(message["assets"])
    assert message["command"] == "platform why raw/retail/order_lines"
    said = ui.world.platform("why", "marts/daily_sales", "--json").answer["reasons"]
    assert ("check failed", "raw/retail/order_lines") in [(each["kind"], each["asset"]) for each in said]
    assert ui.world.current == release, "nothing is released that did not pass"
    told = [heard.json for heard in ui.told.heard]
    assert [each for each in told if each["key"].startswith(("run:", "model:", "sensor:"))] == [], "that follows of it"


def test_a_sensor_that_is_switched_off_is_why(ui: Ui, chained: float) -> None:
    selector = (
        '{ repositoryName: "__repository__", repositoryLocationName: "platform_assets", '
        'sensorName: "order_lines_files" }'
    )
    sensor = ui.ask(f"{{ sensorOrError(sensorSelector: {selector}) {{ ... on Sensor {{ id }} }} }}")["sensorOrError"]
    ui.ask(f'mutation {{ stopSensor(id: "{sensor["id"]}") {{ __typename }} }}')
    try:
        ui.world.deliver("retail/order_lines/unseen.csv", another(ui, 900000))
        time.sleep(2.5)
        first, *_ = ui.world.platform("why", "marts/daily_sales", "--json").answer["reasons"]
        assert (first["kind"], first["asset"]) == ("sensor off", "deliveries/retail/order_lines")
        assert "unseen.csv" in first["what"]
    finally:
        ui.ask(f"mutation {{ startSensor(sensorSelector: {selector}) {{ __typename }} }}")


@pytest.mark.needs(CHROMEDRIVER)
def test_the_asset_graph_shows_the_assets_in_a_browser(ui: Ui, chained: float, tmp_path: Path) -> None:
    with chromium(tmp_path / "profile") as browser:
        link = ui.world.platform("ui", "--login").out.strip()
        browser.get(link)

        def shows(page: str, *names: str) -> None:
            browser.get(f"{link.partition('/login')[0]}/{page}")
            try:
                WebDriverWait(browser, 60).until(
                    lambda here: all(name in here.find_element(By.TAG_NAME, "body").text for name in names)
                )
            finally:
                browser.save_screenshot(str(tmp_path / f"{page.partition('?')[0].replace('/', '_')}.png"))

        shows("asset-groups", "raw", "quarantine", "staging", "intermediate", "snapshots", "marts", "release")
        shows("locations/platform_assets/asset-groups/marts/lineage", "fct_order_lines", "daily_sales", "dim_customers")
        shows("assets/raw/retail/order_lines?view=checks", "receipts_reconcile", "rejects_within_tolerance")
    assert len(list(tmp_path.glob("*.png"))) == 3


def test_where_alerts_go_is_written_nowhere(ui: Ui, chained: float) -> None:
    assert ui.told.heard, "it is used"
    written = [path for path in ui.world.root.rglob("*") if path.is_file() and CANARY.encode() in path.read_bytes()]
    assert written == []
