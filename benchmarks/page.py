"""python -m benchmarks.page: how long Dagster's page of assets takes to load, with the guard and without.

Belongs here: pairs of loads of the same workspace, each in a Chromium of its own with an empty profile. Elsewhere: the
engine's workloads (workloads.py). It needs chromium and chromedriver.
"""

import argparse
import contextlib
import os
import statistics
import tempfile
import threading
from contextlib import ExitStack
from pathlib import Path

import psutil
from dagster_webserver.app import create_app_from_workspace_process_context
from selenium import webdriver
from selenium.webdriver.support.ui import WebDriverWait
from starlette.types import ASGIApp

from benchmarks.harness import PROJECT
from platform_assets.commands.setup import make_landing, prepare_checkout
from platform_assets.orchestration.runs.instance import open_instance
from platform_assets.orchestration.runs.services import workspace
from platform_assets.project.configured import audit_log
from platform_assets.settings import UiSettings
from platform_assets.web.door import Door, opened
from platform_assets.web.logins import Logins
from platform_assets.web.server import Server, guarded

_PAINTED = "return performance.getEntriesByName('first-contentful-paint').map(e => e.startTime)[0]"
_SHOWN = "return document.body.innerText.includes('order_lines') ? performance.now() : null"
_LOADS = ("guarded", "bare")


def main() -> None:
    """Measure, and print medians and the ratio of the pairs."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.page", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=10, help="pairs of loads (%(default)s)")
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        os.environ["PLATFORM_HOME"], os.environ["PLATFORM_LANDING"] = f"{folder}/home", f"{folder}/landing"
        os.chdir(PROJECT)
        make_landing()
        settings = prepare_checkout(print)
        instance = stack.enter_context(open_instance(settings))
        shown = stack.enter_context(
            workspace(instance, Path(folder) / "workspace.yaml", read_only=False, daemon_ended=None)
        )
        doors = {name: opened("127.0.0.1", 0, UiSettings(), shared=False) for name in _LOADS}
        logins = Logins(Path(folder) / "logins")
        apps: dict[str, ASGIApp] = {
            "guarded": guarded(shown, doors["guarded"], logins, audit_log(settings.home).record, print),
            "bare": create_app_from_workspace_process_context(shown, live_data_poll_rate=2000),
        }
        for name in _LOADS:
            _serve(stack, apps[name], doors[name])
        took: dict[str, list[tuple[float, float, float]]] = {name: [] for name in _LOADS}
        for at in range(rounds + 1):
            for name in _LOADS if at % 2 else reversed(_LOADS):
                cookie = f"platform_{doors[name].port}", logins.begin("ui:local", f"127.0.0.1:{doors[name].port}")
                loaded = _load(Path(folder) / f"{name}-{at}", doors[name], cookie)
                if at:  # the first of each fills Dagster's own caches
                    took[name].append(loaded)
        for at, what in enumerate(("first paint", "assets shown", "CPU of browser and server")):
            guard, bare = ([each[at] for each in took[name]] for name in _LOADS)
            ratio = statistics.median(g / b for g, b in zip(guard, bare, strict=True))
            print(
                f"{what}: guarded {statistics.median(guard):.0f} ms, bare {statistics.median(bare):.0f} ms, "
                f"median of {rounds} pairs {ratio:.2f}"
            )


def _load(profile: Path, door: Door, cookie: tuple[str, str]) -> tuple[float, float, float]:
    """Milliseconds from the start of the navigation to first paint and to the assets' names, in a browser that has
    loaded nothing before; and of CPU, which a busy machine distorts least."""
    before = _cpu_ms()
    with _chromium(profile) as browser:
        given = {"name": cookie[0], "value": cookie[1], "url": door.url, "sameSite": "Strict", "httpOnly": True}
        browser.execute_cdp_cmd("Network.setCookie", given)
        browser.get(f"{door.url}/assets")
        shown = WebDriverWait(browser, 60, poll_frequency=0.1).until(lambda b: b.execute_script(_SHOWN))
        return float(browser.execute_script(_PAINTED)), float(shown), _cpu_ms() - before


def _cpu_ms() -> float:
    """What this process and all that it has started have used."""
    used = 0.0
    for each in (here := psutil.Process(), *here.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = each.cpu_times()
            used += 1000 * (times.user + times.system)
    return used


def _serve(stack: ExitStack, app: ASGIApp, door: Door) -> None:
    ready = threading.Event()
    server = Server(app, door, ready.set)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [door.listening]})
    thread.start()
    stack.callback(thread.join)
    stack.callback(setattr, server, "should_exit", True)
    ready.wait(60)


def _chromium(profile: Path) -> webdriver.Chrome:
    options = webdriver.ChromeOptions()
    for flag in ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", f"--user-data-dir={profile}"):
        options.add_argument(flag)
    return webdriver.Chrome(options=options, service=webdriver.ChromeService("/usr/bin/chromedriver"))


if __name__ == "__main__":
    main()
