"""The outbox: messages lie in alerts.sqlite, put there with what caused them, until their channel has taken them.

Belongs here: that file and its tables, and sending again after a failure. Elsewhere: when an incident opens or ends
(incidents.py), the form of a message (channels.py). Only a channel's name is kept here, never where it leads.
"""

import json
import random
import re
import sqlite3
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from platform_assets.alerts.channels import Channel, Message, Routes
from platform_assets.alerts.network import Undelivered
from platform_assets.engine.durable.sqlite import transaction
from platform_assets.errors import AlertsUnreadable, PlatformError

FIRST_WAIT: Final = timedelta(seconds=5)
LONGEST_WAIT: Final = timedelta(minutes=10)
"""Between attempts at a channel that does not answer: doubled from the first to the longest, less up to half."""
REFUSED_WAIT: Final = timedelta(hours=1)
"""Between attempts at a message that was refused for good; and the most that a server may ask us to wait."""
_LEASE: Final = timedelta(minutes=1)
_PATIENCE: Final = 3

_SCHEMA: Final = (
    # Grain: incident. `gone_at`: first found gone, of one that may yet return. `flaps`: returns after its end was told.
    # Times are UTC, ISO 8601.
    """CREATE TABLE incidents (
        id INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL, owner TEXT NOT NULL, title TEXT NOT NULL,
        detail TEXT NOT NULL, assets TEXT NOT NULL, runbook TEXT NOT NULL, command TEXT NOT NULL, since TEXT NOT NULL,
        opened_at TEXT NOT NULL, gone_at TEXT, closed_at TEXT, returns INTEGER NOT NULL DEFAULT 0,
        flaps INTEGER NOT NULL DEFAULT 0
    )""",
    "CREATE UNIQUE INDEX one_is_open ON incidents (key) WHERE closed_at IS NULL",
    # Grain: message for one channel. `taken_at`: taken by the channel.
    """CREATE TABLE messages (
        id INTEGER PRIMARY KEY AUTOINCREMENT, incident INTEGER NOT NULL REFERENCES incidents ON DELETE CASCADE,
        channel TEXT NOT NULL, kind TEXT NOT NULL, content TEXT NOT NULL, put_at TEXT NOT NULL,
        attempts INTEGER NOT NULL DEFAULT 0, next_at TEXT, error TEXT, taken_at TEXT
    )""",
    "CREATE INDEX of_incident ON messages (incident, channel)",
    "CREATE INDEX untaken ON messages (channel) WHERE taken_at IS NULL",
    # Grain: channel. `lease`: who is sending; until when nobody else does.
    """CREATE TABLE channels (
        name TEXT PRIMARY KEY, failures INTEGER NOT NULL DEFAULT 0, next_at TEXT, error TEXT, lease TEXT,
        leased_until TEXT
    )""",
    "CREATE TABLE heartbeat (id INTEGER PRIMARY KEY CHECK (id = 1), pinged_at TEXT NOT NULL, error TEXT)",
)
# The oldest message of a channel that is due; one of an incident never overtakes another.
_NEXT: Final = """
SELECT id, content, attempts FROM messages m
WHERE channel = :channel AND taken_at IS NULL AND (next_at IS NULL OR next_at <= :now OR next_at > :absurd)
  AND NOT EXISTS (
    SELECT 1 FROM messages e
    WHERE e.incident = m.incident AND e.channel = m.channel AND e.id < m.id AND e.taken_at IS NULL
  )
ORDER BY id LIMIT 1
"""


@dataclass(frozen=True)
class Delivered:
    """What came of one round: messages taken, attempts that failed, messages that still wait."""

    taken: int
    failed: int
    waiting: int


class Outbox:
    """The outbox in the SQLite file at `path`. Several processes and threads may use it at once."""

    def __init__(self, path: Path, routes: Routes, clock: Callable[[], datetime]) -> None:
        self._path = path
        self._routes = routes
        self._clock = clock

    @property
    def exists(self) -> bool:
        """Whether anything was ever put down; looking alone makes no file."""
        return self._path.exists()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """One short transaction, all or nothing. Raises StorageError or AlertsUnreadable."""
        try:
            with transaction(self._path, _SCHEMA) as connection:
                yield connection
        except sqlite3.DatabaseError as error:
            raise AlertsUnreadable(self._path, str(error)) from error

    def rename(self, old: str, new: str, origin: str) -> None:
        """Let the keys and assets of open incidents name the feed `new`, of that origin, where they named `old`."""
        if not self.exists:
            return
        key = re.compile(rf"^(missing:|budget:|sensor:){re.escape(old)}(?=:|_files$|$)")
        asset = re.compile(rf"\b(raw|quarantine|deliveries)/\w+/{re.escape(old)}(?=[:/]|$)")

        def named(text: str) -> str:
            return asset.sub(rf"\1/{origin}/{new}", key.sub(rf"\1{new}", text))

        with self.transaction() as connection:
            open_now = connection.execute("SELECT id, key, assets FROM incidents WHERE closed_at IS NULL").fetchall()
            for incident, known_as, assets in open_now:
                held = json.dumps([named(each) for each in json.loads(assets)])
                connection.execute(
                    "UPDATE OR IGNORE incidents SET key = ?, assets = ? WHERE id = ?", (named(known_as), held, incident)
                )

    def put(self, connection: sqlite3.Connection, incident: int, channel: str, message: Message) -> None:
        """Put a message in, with the transaction that caused it."""
        connection.execute(
            "INSERT INTO messages (incident, channel, kind, content, put_at) VALUES (?, ?, ?, ?, ?)",
            (incident, channel, message.kind, message.to_json(), written(self._clock())),
        )

    def deliver(self, within: timedelta) -> Delivered:
        """Send what is due, every channel by itself and oldest first; come back in time, whatever a channel does.

        An exchange that is under way then ends by itself, and is noted when it does.
        """
        until = time.monotonic() + within.total_seconds()
        came: list[bool | PlatformError] = []
        threads = [
            threading.Thread(target=self._drain, args=(channel, until, came), daemon=True) for channel in self._due()
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(max(until - time.monotonic(), 0))
        for error in came:
            if isinstance(error, PlatformError):
                raise error
        if not self.exists:
            return Delivered(0, 0, 0)
        with self.transaction() as connection:
            waiting = connection.execute("SELECT count(*) FROM messages WHERE taken_at IS NULL").fetchone()[0]
        return Delivered(came.count(True), came.count(False), waiting)

    def expect(self, channel: str) -> None:
        """Wait no longer for a channel: it works again."""
        with self.transaction() as connection:
            connection.execute(
                "UPDATE channels SET failures = 0, next_at = NULL, error = NULL WHERE name = ?", [channel]
            )
            connection.execute("UPDATE messages SET next_at = NULL WHERE channel = ? AND taken_at IS NULL", [channel])

    def _due(self) -> list[Channel]:
        if not self.exists:
            return []
        with self.transaction() as connection:
            rows = connection.execute("SELECT DISTINCT channel FROM messages WHERE taken_at IS NULL").fetchall()
            waiting = {row["channel"] for row in rows}
            return [
                channel
                for name, channel in self._routes.all().items()
                if name in waiting and self._may_send(connection, name, None)
            ]

    def _drain(self, channel: Channel, until: float, came: list[bool | PlatformError]) -> None:
        """Send to one channel until nothing is due, time is up, or it fails; `came` hears what came of it."""
        lease = uuid.uuid4().hex
        try:
            while time.monotonic() < until and (taken := self._take(channel.name, lease)) is not None:
                message, content, attempts = taken
                try:
                    channel.send(Message.from_json(content))
                except Undelivered as failure:
                    came.append(False)
                    if not self._note_failure(channel.name, lease, message, attempts + 1, failure):
                        return
                else:
                    came.append(True)
                    self._note_told(channel.name, message)
            self._let_go(channel.name, lease)
        except PlatformError as error:
            came.append(error)

    def _take(self, channel: str, lease: str) -> tuple[int, str, int] | None:
        """The next message, if the channel is ours to send on."""
        now = self._clock()
        with self.transaction() as connection:
            if not self._may_send(connection, channel, lease):
                return None
            times = {"now": written(now), "absurd": written(now + REFUSED_WAIT)}
            row = connection.execute(_NEXT, {"channel": channel, **times}).fetchone()
            if row is None:
                return None
            connection.execute(
                "INSERT INTO channels (name, lease, leased_until) VALUES (?, ?, ?) "
                "ON CONFLICT (name) DO UPDATE SET lease = excluded.lease, leased_until = excluded.leased_until",
                (channel, lease, written(now + _LEASE)),
            )
            return row["id"], row["content"], row["attempts"]

    def _may_send(self, connection: sqlite3.Connection, channel: str, lease: str | None) -> bool:
        """Whether nobody else is sending on it, and its time to be tried again has come."""
        row = connection.execute("SELECT * FROM channels WHERE name = ?", [channel]).fetchone()
        if row is None:
            return True
        now = self._clock()
        free = row["lease"] is None or row["lease"] == lease or not _ahead(row["leased_until"], now, _LEASE)
        return free and not _ahead(row["next_at"], now, REFUSED_WAIT)

    def _note_told(self, channel: str, message: int) -> None:
        with self.transaction() as connection:
            connection.execute(
                "UPDATE messages SET taken_at = ?, attempts = attempts + 1, next_at = NULL, error = NULL WHERE id = ?",
                (written(self._clock()), message),
            )
            connection.execute(
                "UPDATE channels SET failures = 0, next_at = NULL, error = NULL WHERE name = ?", [channel]
            )

    def _note_failure(self, channel: str, lease: str, message: int, attempts: int, failure: Undelivered) -> bool:
        """Note a failed attempt, and say whether others of the channel may be tried at once.

        A refusal for good is about the message: others go on. Else the channel is left alone for a while. A message
        that the server has answered so again and again steps back, so that it is in nobody's way.
        """
        now = self._clock()
        with self.transaction() as connection:
            row = connection.execute("SELECT lease, failures FROM channels WHERE name = ?", [channel]).fetchone()
            if row is None or row["lease"] != lease:
                return False  # we took so long that somebody else goes on
            failures = row["failures"] + 1
            asked = min(failure.later or timedelta(), REFUSED_WAIT)
            wait = max(min(FIRST_WAIT * 2 ** min(failures - 1, 16), LONGEST_WAIT) * (1 - random.random() / 2), asked)  # noqa: S311 - jitter
            stepping_back = failure.answered and attempts >= _PATIENCE
            own = REFUSED_WAIT if failure.final else LONGEST_WAIT if stepping_back else None
            connection.execute(
                "UPDATE messages SET attempts = ?, next_at = ?, error = ? WHERE id = ?",
                (attempts, None if own is None else written(now + own), failure.reason, message),
            )
            if not failure.final:
                connection.execute(
                    "UPDATE channels SET failures = ?, next_at = ?, error = ?, lease = NULL WHERE name = ?",
                    (failures, written(now + wait), failure.reason, channel),
                )
        return failure.final

    def _let_go(self, channel: str, lease: str) -> None:
        with self.transaction() as connection:
            connection.execute("UPDATE channels SET lease = NULL WHERE name = ? AND lease = ?", (channel, lease))


def written(at: datetime) -> str:
    """A time as it is kept: UTC, so that text sorts as time does."""
    return at.astimezone(UTC).isoformat(timespec="microseconds")


def _ahead(at: str | None, now: datetime, most: timedelta) -> bool:
    """Whether a time is yet to come. One too far ahead was noted by a clock that has been set back since."""
    return at is not None and now < datetime.fromisoformat(at) <= now + most
