"""Whom alerts are told to, for real and on this machine: an HTTP server and an SMTP server that can misbehave.

Belongs here: what several test files are told through. Elsewhere: assertions.
"""

import json
import multiprocessing
import os
import signal
import socket
import socketserver
import sqlite3
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

from shop import Clock, child, ended

from platform_assets.alerts.channels import Routes
from platform_assets.alerts.incidents import Alerts, Problem

SOON: Final = timedelta(seconds=20)
START: Final = datetime(2026, 3, 16, 9, tzinfo=UTC)
PROBLEM: Final = Problem(
    key="check:raw/shop/sales:volume_as_usual",
    owner="team:sales",
    title="sales/2026-03-16.csv has far fewer rows than on Mondays before",
    detail="310 rows, where at least 498 were expected",
    assets=("raw/shop/sales", "marts/daily_sales"),
    runbook="volume",
    command="platform why marts/daily_sales",
    since=START,
)


@dataclass
class Heard:
    """One request, as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


# What a server does with a request instead of answering 200.
Manner = Callable[["_Handler"], None]


class _Handler(BaseHTTPRequestHandler):
    server: "_Http"
    protocol_version = "HTTP/1.1"

    def _heard(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.heard.append(Heard(self.command, self.path, dict(self.headers.items()), body))
        self.server.manner(self)

    do_GET = do_HEAD = do_POST = _heard  # noqa: N815 - http.server's names

    def log_message(self, *args: object) -> None:
        pass


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    heard: list[Heard]
    manner: Manner

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # a client that is killed takes its connection with it


def answers(status: int, body: bytes = b"ok", **headers: str) -> Manner:
    """Answer with a status."""

    def answer(handler: _Handler) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def hangs(handler: _Handler) -> None:
    """Say nothing for a long time."""
    time.sleep(60)


def trickles(handler: _Handler) -> None:
    """Answer so slowly that no single byte is late."""
    for byte in b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 500:
        handler.wfile.write(bytes([byte]))
        handler.wfile.flush()
        time.sleep(0.2)


def dies(handler: _Handler) -> None:
    """Close the connection without an answer."""
    handler.connection.shutdown(socket.SHUT_RDWR)


def babbles(handler: _Handler) -> None:
    """Answer something that is not HTTP."""
    handler.wfile.write(b"220 mail.example ESMTP\r\n")


def stops(handler: _Handler) -> None:
    """Begin to answer, and say no more for a long time."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nok")
    handler.wfile.flush()
    time.sleep(60)


def mumbles(handler: _Handler) -> None:
    """Answer with headers that make no sense."""
    handler.wfile.write(b"HTTP/1.1 500 No\r\nno header\r\n Content-Length\r\n\r\nno")


def served_by(certificate: Path) -> ssl.SSLContext:
    """What a server shows that has this certificate (and its key, in one file)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


class Webhook:
    """A web server on this machine that keeps what it is told."""

    def __init__(self, certificate: Path | None = None, port: int = 0) -> None:
        self._server = _Http(("127.0.0.1", port), _Handler)
        self._server.heard, self._server.manner = [], answers(200)
        if certificate is not None:
            self._server.socket = served_by(certificate).wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def heard(self) -> list[Heard]:
        """Every request, the oldest first, answered well or not."""
        return self._server.heard

    @property
    def told(self) -> list[str]:
        """Kind and key of every JSON message."""
        return [f"{heard.json['kind']} {heard.json['key']}" for heard in self.heard]

    def does(self, manner: Manner) -> None:
        self._server.manner = manner

    def url(self, path: str = "/hook", scheme: str = "http") -> str:
        return f"{scheme}://127.0.0.1:{self.port}{path}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def webhook(certificate: Path | None = None, port: int = 0) -> Iterator[Webhook]:
    """A web server for a while."""
    made = Webhook(certificate, port)
    try:
        yield made
    finally:
        made.close()


class _MailHandler(socketserver.StreamRequestHandler):
    """As much of SMTP as a sender sees of a server."""

    server: "_Smtp"

    def handle(self) -> None:
        post = self.server.post
        self._say(post.greeting)
        while line := self.rfile.readline().decode().strip():
            verb = line.split()[0].upper()
            post.commands.append(line)
            if verb == "EHLO":
                offers = [
                    "250-here",
                    *["250-STARTTLS"] * (post.certificate is not None),
                    "250-AUTH PLAIN",
                    "250 8BITMIME",
                ]
                self._say("\r\n".join(offers))
            elif verb == "DATA":
                self._say(post.replies.get("DATA", "354 go on"))
                if "DATA" not in post.replies:
                    lines = []
                    while (text := self.rfile.readline()) not in (b".\r\n", b""):
                        lines.append(text.removeprefix(b"."))
                    mail = message_from_bytes(b"".join(lines), policy=policy.default)
                    if "TAKEN" not in post.replies:
                        post.mails.append(mail)
                    self._say(post.replies.get("TAKEN", "250 taken"))
            elif verb == "STARTTLS" and post.certificate is not None:
                self._say("220 go on")
                self.connection = served_by(post.certificate).wrap_socket(self.connection, server_side=True)
                self.rfile, self.wfile = self.connection.makefile("rb"), self.connection.makefile("wb", 0)
            elif verb == "QUIT":
                self._say("221 bye")
                return
            else:
                self._say(post.replies.get(verb, "235 come in" if verb == "AUTH" else "250 ok"))

    def finish(self) -> None:
        super().finish()
        self.connection.close()

    def _say(self, text: str) -> None:
        self.wfile.write(f"{text}\r\n".encode())


class _Smtp(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    post: "PostOffice"

    def handle_error(self, request: object, client_address: object) -> None:
        pass


@dataclass
class PostOffice:
    """A mail server on this machine. certificate: offers STARTTLS. replies: command -> answer instead of taking it."""

    greeting: str = "220 here ESMTP"
    certificate: Path | None = None
    replies: dict[str, str] = field(default_factory=dict)
    mails: list[EmailMessage] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    port: int = 0


@contextmanager
def post_office(**manners: Any) -> Iterator[PostOffice]:
    """A mail server for a while."""
    post = PostOffice(**manners)
    with _Smtp(("127.0.0.1", 0), _MailHandler) as server:
        server.post = post
        post.port = server.server_address[1]
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield post
        finally:
            server.shutdown()


def here(*servers: Webhook | PostOffice) -> str:
    """The list of allowed hosts that names these servers."""
    return ",".join(f"127.0.0.1:{server.port}" for server in servers)


@dataclass
class Desk:
    """Somebody's alerts, with a clock that can be moved. channels: setting -> URLs."""

    home: Path
    channels: dict[str, str]
    hosts: str
    heartbeat: str | None = None
    clock: Clock = field(default_factory=lambda: Clock(at=START))

    @property
    def alerts(self) -> Alerts:
        """As a process finds them that has just begun."""
        return Alerts(self.path, Routes(self.channels, self.hosts, self.heartbeat), self.clock)

    @property
    def path(self) -> Path:
        return self.home / "alerts.sqlite"

    def later(self, **by: float) -> None:
        self.clock.ahead += timedelta(**by)

    def tick(self, *problems: Problem) -> None:
        """One look and one round of sending, as the sensor does."""
        self.alerts.sync(problems)
        self.alerts.deliver(SOON)

    def over(self, *problems: Problem, minutes: float = 60, every_s: float = 30) -> None:
        """Ticks for a while."""
        for _ in range(int(minutes * 60 / every_s)):
            self.tick(*problems)
            self.later(seconds=every_s)


def about(key: str, **changes: Any) -> Problem:
    """A problem with another key."""
    return replace(PROBLEM, key=key, **changes)


class Sensor:
    """A process that ticks as the sensor does, and may be killed at it: each tick in a fork of one that is clean."""

    def __init__(self) -> None:
        self._tell, hear = multiprocessing.Pipe()
        self._process = child(_forking, hear)
        hear.close()

    def tick(self, desk: Desk, problems: Sequence[Problem], die_at: int | None = None) -> bool:
        """A look and a round of sending, killed before its `die_at`th statement; whether it came to its end."""
        self._tell.send((desk, problems, die_at))
        code: int = self._tell.recv()
        assert code in (0, -signal.SIGKILL), "the tick failed"
        return code == 0

    def close(self) -> None:
        self._tell.send(None)
        ended(self._process)
        self._tell.close()


def _forking(tasks: Connection) -> None:
    while (task := tasks.recv()) is not None:
        if (pid := os.fork()) == 0:
            code = 1
            try:
                tick_in_child(*task)
                code = 0
            finally:
                os._exit(code)
        tasks.send(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


def tick_in_child(desk: Desk, problems: Sequence[Problem], die_at: int | None = None) -> None:
    """A look and a round of sending; killed before its `die_at`th statement."""
    left = [die_at]

    def count(statement: str) -> None:
        if left[0] is not None:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    really: Callable[..., sqlite3.Connection] = sqlite3.connect

    def connect(*arguments: Any, **more: Any) -> sqlite3.Connection:
        connection = really(*arguments, **more)
        connection.set_trace_callback(count)
        return connection

    sqlite3.connect = connect  # type: ignore[assignment]
    desk.tick(*problems)
