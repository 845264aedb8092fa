"""The Dagster UI as a user starts it: nothing is clicked, a file is dropped, a release comes out.

One UI serves all tests of this file; it runs on a free port, with a home of its own.
"""

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil
import pytest
from deployed import Deployed
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

CHROMEDRIVER: Final = Path("/usr/bin/chromedriver")
CHAIN_S: Final = 150
pytestmark = pytest.mark.timeout(420)


@dataclass
class Ui:
    """A running UI of a deployment."""

    world: Deployed
    port: int
    pid: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ask(self, query: str) -> Any:
        """The answer to a GraphQL query."""
        request = urllib.request.Request(
            f"{self.url}/graphql", json.dumps({"query": query}).encode(), {"content-type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=30) as response:
            return json.load(response)["data"]

    def runs(self) -> list[dict[str, Any]]:
        """Every run, newest first."""
        answer = self.ask("{ runsOrError { ... on Runs { results { status assets { key { path } } } } } }")
        found: list[dict[str, Any]] = answer["runsOrError"]["results"]
        return found

    def materialized(self) -> set[str]:
        """The assets that any run has materialized."""
        return {"/".join(asset["key"]["path"]) for run in self.runs() for asset in run["assets"]}

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
    world = Deployed(tmp_path_factory.mktemp("ui"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # Its output is long: a file takes it without ever making it wait.
    with (
        (world.root / "ui.log").open("w") as log,
        world.start("platform", "ui", "--port", str(port), out=log, err=subprocess.STDOUT) as process,
    ):
        ui = Ui(world, port, process.pid)
        try:
            until(lambda: answers(ui), 90, ui, "answer")
            yield ui
        finally:
            family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
            os.killpg(process.pid, signal.SIGINT)
            _, alive = psutil.wait_procs(family, timeout=40)
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
    assert states == dict.fromkeys(("automation", "customers_files", "order_lines_files", "products_files"), "RUNNING")


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
    layers = {key.split("/")[0] for key in ui.materialized()}
    assert layers == {"raw", "quarantine", "staging", "intermediate", "snapshots", "marts", "release"}


def test_no_run_of_the_chain_failed(ui: Ui, chained: float) -> None:
    assert {run["status"] for run in ui.runs()} <= {"SUCCESS", "STARTED", "STARTING", "QUEUED"}, ui.log()


def test_one_more_file_makes_one_more_release(ui: Ui, chained: float) -> None:
    before = ui.world.current
    ui.world.simulate(days=1, rows=50, until="2026-03-18", dirt=0.0)
    newest = [("2026-03-18",)]
    until(
        lambda: (
            ui.world.current != before and ui.world.query("SELECT max(sale_date)::VARCHAR FROM daily_sales") == newest
        ),
        CHAIN_S,
        ui,
        "release of the new day",
    )


@pytest.mark.skipif(not CHROMEDRIVER.exists(), reason="chromedriver is not installed")
def test_the_asset_graph_shows_the_assets_in_a_browser(ui: Ui, chained: float, tmp_path: Path) -> None:
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for flag in (
        *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
        *("--disable-background-networking", "--disable-component-update", "--window-size=1800,1100"),
        f"--user-data-dir={tmp_path / 'profile'}",
    ):
        options.add_argument(flag)
    with webdriver.Chrome(options=options, service=webdriver.ChromeService(str(CHROMEDRIVER))) as browser:

        def shows(page: str, *names: str) -> None:
            browser.get(f"{ui.url}/{page}")
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
