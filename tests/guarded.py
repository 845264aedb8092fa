"""Dagster's own web server behind the guard, on a real port, in this process; and requests as an attacker makes them.

Belongs here: what tests of the guard act and look with. Elsewhere: `platform ui` as a whole (tests/ui, tests/faults).
"""

import contextlib
import http.client
import json
import socket
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import dagster as dg
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import EmptyWorkspaceTarget
from dagster_webserver.app import create_app_from_workspace_process_context
from starlette.types import ASGIApp
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from platform_assets.secrets import Secret
from platform_assets.settings import UiSettings
from platform_assets.web.door import Door, opened
from platform_assets.web.logins import Logins
from platform_assets.web.server import Server, guarded
from platform_assets.web.users import Users

TOKEN: Final = "a-program's-token-5d2e"
SECRET: Final = Secret("PLATFORM_UI_TOKEN", "PLATFORM_UI_TOKEN", {"PLATFORM_UI_TOKEN": TOKEN})
JSON: Final = "application/json"
CHANGE: Final = 'mutation { setConcurrencyLimit(concurrencyKey: "forged", limit: 7) }'
LOOK: Final = "{ version }"


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


@dataclass(frozen=True)
class Entry:
    """The number of an entry of the audit log."""

    n: int


@dataclass
class Guarded:
    """A running server. said: its lines for the terminal. written, outcomes: what it had recorded: who, what, about;
    and the outcome, of which entry."""

    door: Door
    instance: dg.DagsterInstance
    logins: Logins
    users: Users
    said: list[str] = field(default_factory=list)
    written: list[tuple[str, str, dict[str, object]]] = field(default_factory=list)
    outcomes: list[tuple[str, int | None]] = field(default_factory=list)
    disk_full: bool = False

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.door.port}"

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.door.port}"

    def ask(self, method: str, path: str, body: str | None = None, **headers: str | None) -> Answer:
        """A request with these headers and no other; None leaves out what is sent by default. `_` is a dash."""
        given = {"host": self.host, **{name.replace("_", "-"): value for name, value in headers.items()}}
        content = (body or "").encode()
        connection = http.client.HTTPConnection("127.0.0.1", self.door.port, timeout=20)
        with contextlib.closing(connection):
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in given.items():
                if value is not None:
                    connection.putheader(name, value)
            if content and "transfer-encoding" not in given:
                connection.putheader("content-length", str(len(content)))
            connection.endheaders(content or None)
            answer = connection.getresponse()
            return Answer(answer.status, dict(answer.headers.items()), answer.read().decode(errors="replace"))

    def login(self) -> str:
        """A session; the header `Cookie` of it."""
        answer = self.ask("GET", f"/login?code={self.logins.code()}")
        assert answer.status == 200, answer.text
        return answer.headers["set-cookie"].partition(";")[0]

    def as_page(self, cookie: str, **more: str | None) -> dict[str, str | None]:
        """What Dagster's own page sends with a request."""
        return {"cookie": cookie, "origin": self.origin, "sec_fetch_site": "same-origin", "content_type": JSON, **more}

    def graphql(self, query: str, headers: Mapping[str, str | None], path: str = "/graphql") -> Answer:
        return self.ask("POST", path, json.dumps({"query": query}), **dict(headers))

    def websocket(self, **headers: str) -> int:
        """The status of a websocket's handshake; 101 where it is open and speaks GraphQL."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        host = given.pop("host", self.host)
        try:
            with connect(
                f"ws://{host}/graphql",
                sock=socket.create_connection(("127.0.0.1", self.door.port)),
                additional_headers=given,
                subprotocols=[Subprotocol("graphql-ws")],
            ) as line:
                line.send(json.dumps({"type": "connection_init"}))
                assert json.loads(line.recv(timeout=10)) == {"type": "connection_ack"}
                return 101
        except InvalidStatus as refused:
            return refused.response.status_code

    def changed(self) -> bool:
        """Whether `CHANGE` has been done, or an event reported."""
        limits = self.instance.event_log_storage.get_concurrency_keys()
        return bool(limits) or self.instance.get_latest_materialization_event(dg.AssetKey("forged")) is not None


@contextlib.contextmanager
def serving(
    root: Path, settings: UiSettings | None = None, *, shared: bool = False, guard: bool = True
) -> Iterator[Guarded]:
    """The server, with no code location; ended afterwards. guard: without it, it is Dagster's own, as it comes."""
    home = root / "dagster"
    home.mkdir(parents=True)
    (home / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    door = opened("127.0.0.1", 0, settings or UiSettings(token=SECRET), shared=shared)
    with (
        contextlib.closing(door),
        dg.DagsterInstance.from_config(str(home)) as instance,
        WorkspaceProcessContext(instance, EmptyWorkspaceTarget(), read_only=shared) as workspace,
    ):
        made = Guarded(door, instance, Logins(root / "logins"), Users(root / "users"))

        def record(
            who: str, what: str, about: Mapping[str, object], *, outcome: str = "done", of: int | None = None
        ) -> Entry:
            if made.disk_full:
                raise OSError(28, "No space left on device")
            made.written.append((who, what, dict(about)))
            made.outcomes.append((outcome, of))
            return Entry(len(made.written))

        app: ASGIApp = guarded(workspace, door, made.logins, record, made.said.append, made.users if shared else None)
        if not guard:
            app = create_app_from_workspace_process_context(workspace)
        ready = threading.Event()
        server = Server(app, door, ready.set)
        thread = threading.Thread(target=server.run, kwargs={"sockets": list(door.listening)})
        thread.start()
        try:
            assert ready.wait(30)
            yield made
        finally:
            server.should_exit = True
            thread.join(20)
