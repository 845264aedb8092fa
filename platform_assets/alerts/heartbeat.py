"""The heartbeat: what tells somebody else when the platform itself is dead.

Belongs here: the file with the time of the last sign of life, and the ping of a service that expects it. Elsewhere:
what is wrong while the platform lives (incidents.py).
"""

import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from platform_assets.alerts.channels import Routes
from platform_assets.alerts.network import Endpoint, Undelivered, request
from platform_assets.alerts.outbox import Outbox, written
from platform_assets.engine.durable.files import replacing
from platform_assets.errors import PlatformError

PING_EVERY: Final = timedelta(minutes=1)
DEAD_AFTER: Final = timedelta(minutes=2)
"""A sign of life older than this says that the platform is dead."""
_WAIT_S: Final = 1.0


@dataclass(frozen=True)
class Heartbeat:
    """When the platform last showed that it lives, and what came of the last ping."""

    at: datetime | None
    alive: bool
    ping_error: str | None


class Heart:
    """The file at `path`, and the service that is pinged by `routes`; `outbox` knows when anybody last did."""

    def __init__(self, path: Path, routes: Routes, outbox: Outbox, clock: Callable[[], datetime]) -> None:
        self._path = path
        self._routes = routes
        self._outbox = outbox
        self._clock = clock

    def beat(self) -> None:
        """Write the time down, and ping at most once a minute. Hardly waits for the ping: it ends by itself."""
        now = self._clock()
        with replacing(self._path) as partial:
            partial.write_text(f"{written(now)}\n")
        watcher = self._routes.heartbeat
        if watcher is not None and self._may_ping(now):
            pinging = threading.Thread(target=self._ping, args=(watcher,), daemon=True)
            pinging.start()
            pinging.join(_WAIT_S)

    def look(self) -> Heartbeat:
        """Whether it beats. A time ahead of ours was written by a clock that has been set back, and says nothing."""
        try:
            at = datetime.fromisoformat(self._path.read_text().strip())
            alive = abs(self._clock() - at) <= DEAD_AFTER
        except (OSError, ValueError, TypeError):
            at, alive = None, False
        error = None
        if self._routes.pings and self._outbox.exists:
            with self._outbox.transaction() as connection:
                row = connection.execute("SELECT error FROM heartbeat").fetchone()
                error = row and row["error"]
        return Heartbeat(at, alive, error)

    def _may_ping(self, now: datetime) -> bool:
        """Whether a minute has passed since anybody pinged; if so, it is us who does."""
        with self._outbox.transaction() as connection:
            row = connection.execute("SELECT pinged_at FROM heartbeat").fetchone()
            if row is not None and abs(now - datetime.fromisoformat(row["pinged_at"])) < PING_EVERY:
                return False
            connection.execute(
                "INSERT INTO heartbeat (id, pinged_at) VALUES (1, ?) "
                "ON CONFLICT (id) DO UPDATE SET pinged_at = excluded.pinged_at",
                [written(now)],
            )
            return True

    def _ping(self, watcher: Endpoint) -> None:
        error = None
        try:
            request(watcher, "GET")
        except Undelivered as failure:
            error = failure.reason
        # Where this cannot be written down, the next sync says so.
        with suppress(PlatformError), self._outbox.transaction() as connection:
            connection.execute("UPDATE heartbeat SET error = ?", [error])
