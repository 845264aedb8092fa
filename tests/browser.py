"""Chromium, driven by a test; and pages of another site that it opens.

Belongs here: what tests look and attack with. Elsewhere: which attacks there are (faults/test_web.py).
"""

import contextlib
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from machine import CHROMEDRIVER
from selenium import webdriver


@contextlib.contextmanager
def chromium(profile: Path, *more: str) -> Iterator[webdriver.Chrome]:
    """A browser without a window, and with a profile of its own."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for flag in (
        *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
        *("--disable-background-networking", "--disable-component-update", "--window-size=1800,1100"),
        *(f"--user-data-dir={profile}", *more),
    ):
        options.add_argument(flag)
    with webdriver.Chrome(options=options, service=webdriver.ChromeService(str(CHROMEDRIVER))) as browser:
        yield browser


@contextlib.contextmanager
def site(page: str, heard: list[str] | None = None) -> Iterator[int]:
    """Another web server of this machine, which answers everything with that page; its port. heard: all it was sent."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = page.encode()
            if heard is not None:
                heard.append(f"{self.requestline}\n{self.headers}")
            self.send_response(200)
            self.send_header("content-type", "text/html; charset=utf-8")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
