"""The pictures of README and tutorial, taken from the real UI: `make pictures` (needs chromium and its driver).

Belongs here: which pages are shown, on a deployment of sample deliveries that is made for it and thrown away.
"""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

sys.path[:0] = [str(Path(__file__).parents[1] / "tests")]

from browser import chromium  # noqa: E402
from deployed import Deployed  # noqa: E402
from selenium import webdriver  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402

FOLDER: Final = Path(__file__).with_name("pictures")
WIDTH, HEIGHT = 1400, 1050
DRAWN_S: Final = 15.0
STARTS_WITHIN_S: Final = 120
LINEAGE: Final = "assets/marts/daily_sales?view=lineage&lineageScope=upstream&lineageDepth=7"
# Picture -> page, and what stands on it once it is there.
GOOD: Final = {
    "mart": ("assets/marts/daily_sales?view=events", "newest_rows"),
    "deliveries": ("assets/raw/retail/products?view=events", "newest_deliveries"),
    "runs": ("runs", "platform run"),
    "lineage": (LINEAGE, "daily_sales"),  # last: its colours come one by one
}
CHECK: Final = "assets/raw/retail/order_lines?view=checks&checkDetail=rejects_within_tolerance"
BAD: Final = {"failed-check": (CHECK, "rows rejected")}


@contextmanager
def ui(world: Deployed) -> Iterator[None]:
    """`platform ui` of that deployment; sensors take in whatever is delivered meanwhile."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    log = world.root / "ui.log"
    with log.open("w") as out, world.start("platform", "ui", "--port", port, out=out, err=subprocess.STDOUT) as process:
        deadline = time.monotonic() + STARTS_WITHIN_S
        while "login?code=" not in log.read_text():
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"the UI does not start:\n{log.read_text()}")
            time.sleep(0.5)
        try:
            yield
        finally:
            os.killpg(process.pid, signal.SIGINT)


def take(world: Deployed, browser: webdriver.Chrome, pictures: dict[str, tuple[str, str]]) -> None:
    """Log in and take the pictures."""
    link = world.platform("ui", "--login").out.strip()
    browser.get(link)
    for name, (page, shows) in pictures.items():
        browser.get(f"{link.partition('/login')[0]}/{page}")
        WebDriverWait(browser, 60).until(lambda here, it=shows: it in here.find_element(By.TAG_NAME, "body").text)
        time.sleep(DRAWN_S)
        browser.save_screenshot(str(FOLDER / f"{name}.png"))
        sys.stdout.write(f"{FOLDER / name}.png\n")


def main() -> None:
    """Take all of them."""
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="pictures-") as root, chromium(Path(root) / "profile") as browser:
        browser.set_window_size(WIDTH, HEIGHT)
        world = Deployed(Path(root), cwd=Path(__file__).parents[1])
        for command in (("simulate", "--days", "30"), ("run",)):
            done = world.platform(*command)
            if done.code not in (0, 3):
                raise SystemExit(done.err)
        browser.get((world.home / "site" / "index.html").as_uri())
        time.sleep(DRAWN_S)
        browser.save_screenshot(str(FOLDER / "page.png"))
        with ui(world):
            take(world, browser, GOOD)
        newest = max((world.landing / "retail" / "order_lines").glob("*.csv"))
        head, *lines = newest.read_text().splitlines()
        broken = [head, *(f"{at:03}{line[line.index(',') :]}" for at, line in enumerate(lines[:40]))]
        world.deliver(f"retail/order_lines/{newest.stem}-corrected.csv", broken)
        world.platform("run")
        with ui(world):
            take(world, browser, BAD)


if __name__ == "__main__":
    main()
