"""The server: Dagster's application behind the guard, on the door's socket, by uvicorn.

Belongs here: putting the two together, and what uvicorn is told. Elsewhere: what the guard lets through (guard.py),
Dagster's processes (orchestration/runs/services.py).
"""

import signal
import socket
from collections.abc import Callable
from types import FrameType
from typing import Any, Final

import uvicorn
from dagster_webserver.webserver import DagsterWebserver
from starlette.types import ASGIApp

from platform_assets.web.door import Door
from platform_assets.web.entrance import Entrance, Record
from platform_assets.web.guard import Guard
from platform_assets.web.logins import Logins
from platform_assets.web.shared import SharedWebserver, refused_names
from platform_assets.web.users import Users

_POLL_MS: Final = 2000  # as under `dagster dev`
_LARGEST_WEBSOCKET_MESSAGE: Final = 2**20


def guarded(
    workspace: Any,  # noqa: ANN401 - Dagster's WorkspaceProcessContext
    door: Door,
    logins: Logins,
    record: Record,
    tell: Callable[[str], None],
    users: Users | None = None,
) -> Guard:
    """Dagster's application of that workspace behind the guard of that door. users: of a shared one."""
    kind = SharedWebserver if door.shared else DagsterWebserver
    server: DagsterWebserver[Any, Any] = kind(workspace, live_data_poll_rate=_POLL_MS)
    app = server.create_asgi_app()
    refused = refused_names(server._graphene_schema) if door.shared else frozenset[str]()
    return Guard(app, app.routes, door, Entrance(door, logins, record, tell, users), refused)


class Server(uvicorn.Server):
    """uvicorn on one socket. SIGTERM ends it as Ctrl-C does. ready: called when it answers."""

    def __init__(self, app: ASGIApp, door: Door, ready: Callable[[], None]) -> None:
        self._door = door
        self._ready = ready
        super().__init__(
            uvicorn.Config(
                app,
                log_config=None,  # as the process logs
                log_level="warning",
                access_log=False,
                server_header=False,
                http="h11",  # which reads no more than 64 KB of headers; uvicorn's other one reads whatever is sent
                proxy_headers=False,  # who asks is the address that the connection comes from
                lifespan="off",
                ws_max_size=_LARGEST_WEBSOCKET_MESSAGE,
                ssl_certfile=door.settings.certificate,
                ssl_keyfile=door.settings.key,
                timeout_graceful_shutdown=3,
            )
        )

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and say so."""
        await super().startup(sockets)
        self._ready()

    def serve_until_told(self) -> bool:
        """Serve until somebody ends it; whether that was a person or a service manager."""
        told: list[int] = []

        def note(number: int, _: FrameType | None) -> None:
            told.append(number)

        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, note)  # uvicorn takes them over, and raises them again when it has ended
        self.run(sockets=list(self._door.listening))
        return bool(told)
