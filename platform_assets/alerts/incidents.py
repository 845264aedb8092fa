"""Alerts: one cause is one incident, opened and ended by what is wrong now, and told once to those who own it.

Belongs here: Problem; when incidents open, end and come back. Elsewhere: finding problems (orchestration/watch),
sending (outbox.py), where messages go (channels.py), the heartbeat (heartbeat.py).
"""

import json
import sqlite3
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Literal, get_args

from platform_assets.alerts.channels import Kind, Message, Routes
from platform_assets.alerts.heartbeat import Heart, Heartbeat
from platform_assets.alerts.network import Undelivered
from platform_assets.alerts.outbox import Delivered, Outbox, written
from platform_assets.errors import ConfigurationError, lines, printable

Runbook = Literal[
    "missing-delivery",
    "delivery-quarantined",
    "rows-rejected",
    "volume",
    "drift",
    "nulls-or-values",
    "not-reconciled",
    "mart-broken",
    "model-failed",
    "run-failed",
    "disk-low",
    "unreleased",
    "release-damaged",
    "consumer-held",
    "version-ends",
    "pinned",
    "personal-data",
    "sensor-failed",
    "budget",
    "platform-dead",
]
RUNBOOKS: Final[tuple[str, ...]] = get_args(Runbook)

GONE_FOR: Final = timedelta(minutes=2)
"""A cause is over when it has been gone for so long; doubled each time it came back, up to `GONE_AT_MOST`."""
GONE_AT_MOST: Final = timedelta(minutes=32)
SAME_WITHIN: Final = timedelta(hours=2)
"""What comes back within this time of its end is the same incident, and from then on one that comes and goes."""
QUIET_FOR: Final = timedelta(hours=2)
"""What comes and goes is over when it has been gone for so long; doubled each time that proved too short, up to
`QUIET_AT_MOST`. Meanwhile it is one open incident, and nobody is told of every turn."""
QUIET_AT_MOST: Final = timedelta(days=1)
REMIND_AFTER: Final = timedelta(days=1)
KEPT: Final = timedelta(days=90)
"""How long ended incidents are kept."""
_TITLE_CHARS: Final = 300
_DETAIL_CHARS: Final = 4000


@dataclass(frozen=True)
class Problem:
    """Something that is wrong now.

    key: one cause, one key: the same over retries, restarts and every look. title: what happened, one plain sentence.
    detail: the evidence (file, line, figures), masked already. assets: what is held back or stale by it.
    runbook: a page of docs/runbooks. command: how to look closer. since: when it began.
    """

    key: str
    owner: str
    title: str
    detail: str
    assets: tuple[str, ...]
    runbook: Runbook
    command: str
    since: datetime


@dataclass(frozen=True)
class Sent:
    """What one channel has taken of the messages about an incident. last, last_at: the newest that it has taken.

    waiting: messages that it has not; failures, error, next_try: of the attempts at the first of those."""

    channel: str
    last: Kind | None
    last_at: datetime | None
    waiting: int
    failures: int
    error: str | None
    next_try: datetime | None


@dataclass(frozen=True)
class Incident:
    """One cause from its first sight to its end. `returns`: how often it went and came back; `flaps`: how often after
    its end had been told. gone_at: since when it may be over; closed_at: since when it is."""

    id: int
    problem: Problem
    opened_at: datetime
    gone_at: datetime | None
    closed_at: datetime | None
    returns: int
    flaps: int = 0
    sent: tuple[Sent, ...] = ()


@dataclass(frozen=True)
class Changes:
    """What one look at the problems has changed: keys of incidents that opened, that came back after their end, that
    ended."""

    opened: tuple[str, ...]
    flapping: tuple[str, ...]
    closed: tuple[str, ...]


class Alerts:
    """Incidents and their messages, in the SQLite file at `path`; the heartbeat lies beside it.

    Several processes may use it. Nothing is kept in memory, so that any of them may be killed at any point.
    """

    def __init__(
        self, path: Path, routes: Routes, clock: Callable[[], datetime] = lambda: datetime.now(tz=UTC)
    ) -> None:
        self._routes = routes
        self._clock = clock
        self._outbox = Outbox(path, routes, clock)
        self._heart = Heart(path.with_name("heartbeat"), routes, self._outbox, clock)

    def sync(self, problems: Sequence[Problem], *, unknown: Sequence[str] = ()) -> Changes:
        """Make incidents and outbox agree with what is wrong now, in one transaction; repeating it changes nothing.

        unknown: beginnings of keys that could not be looked at this time: what is open of them stays as it is.
        """
        now = self._clock()
        current = _by_key(problems)
        opened, flapping, closed = [], [], []
        with self._outbox.transaction() as connection:
            there = {i.problem.key: i for i in _read(connection, "WHERE closed_at IS NULL")}
            for key, problem in current.items():
                if key in there:
                    _touch(connection, there[key], problem)
                elif (before := _ended_lately(connection, key, now)) is not None:
                    connection.execute(
                        "UPDATE incidents SET closed_at = NULL, flaps = flaps + 1 WHERE id = ?", [before.id]
                    )
                    _touch(connection, before, problem)
                    flapping.append(key)
                else:
                    _open(connection, problem, now)
                    opened.append(key)
            for key, incident in there.items():
                if key in current or key.startswith(tuple(unknown)):
                    continue
                if incident.gone_at is None or incident.gone_at > now:
                    connection.execute("UPDATE incidents SET gone_at = ? WHERE id = ?", (written(now), incident.id))
                elif now - incident.gone_at >= _over_after(incident):
                    connection.execute("UPDATE incidents SET closed_at = ? WHERE id = ?", (written(now), incident.id))
                    self._tell_end(connection, incident, now)
                    closed.append(key)
            for incident in _read(connection, "WHERE closed_at IS NULL AND gone_at IS NULL"):
                self._tell(connection, incident, now)
            connection.execute("DELETE FROM incidents WHERE closed_at < ?", [written(now - KEPT)])
        return Changes(tuple(opened), tuple(flapping), tuple(closed))

    def rename(self, old: str, new: str, origin: str) -> None:
        """Let what is open of the feed `old` be of `new`, of that origin: it stays one incident."""
        self._outbox.rename(old, new, origin)

    def deliver(self, within: timedelta) -> Delivered:
        """Send what is due; a dead channel delays neither the others nor us. At least once, and oldest first."""
        return self._outbox.deliver(within)

    def incidents(self, *, open_only: bool) -> list[Incident]:
        """Incidents, the newest first, with what each channel has been told of them."""
        if not self._outbox.exists:
            return []
        with self._outbox.transaction() as connection:
            found = _read(connection, "WHERE closed_at IS NULL" if open_only else "")
            return [replace(each, sent=self._sent(connection, each.id)) for each in reversed(found)]

    def test(self, owner: str | None = None) -> dict[str, str | None]:
        """Tell the owner's channels (all of them without an owner) that this is a test: channel -> error, if it failed.

        A channel that takes it is tried at once with what waits for it.
        """
        channels = tuple(self._routes.all().values()) if owner is None else self._routes.of(owner)
        now = self._clock()
        came: dict[str, str | None] = {}
        for channel in channels:
            message = Message(
                id=uuid.uuid4().hex,
                kind="test",
                key="test",
                owner=owner or "everybody",
                title="This is a test of alerts: nothing is wrong.",
                detail="",
                assets=(),
                runbook="README",
                command="platform alerts",
                since=now,
                at=now,
            )
            try:
                channel.send(message)
            except Undelivered as failure:
                came[channel.name] = failure.reason
            else:
                came[channel.name] = None
                if self._outbox.exists:
                    self._outbox.expect(channel.name)
        return came

    def beat(self) -> None:
        """Show that the platform lives, to whoever looks at the file or waits for the ping."""
        self._heart.beat()

    def heartbeat(self) -> Heartbeat:
        """Whether the platform has shown that it lives, of late."""
        return self._heart.look()

    def _tell(self, connection: sqlite3.Connection, incident: Incident, now: datetime) -> None:
        """Put in what the owner's channels do not know of an open incident."""
        last = _last_messages(connection, incident.id)
        for channel in self._routes.of(incident.problem.owner):
            row = last.get(channel.name)
            if row is None:
                kind: Kind = "opened"
            elif row["kind"] == "recovered":
                kind = "flapping"
            elif row["taken_at"] and now - datetime.fromisoformat(row["put_at"]) >= REMIND_AFTER:
                kind = "reminder"
            else:
                continue
            self._outbox.put(connection, incident.id, channel.name, _message(incident, kind, now))

    def _tell_end(self, connection: sqlite3.Connection, incident: Incident, now: datetime) -> None:
        """Put in that it is over, for all who have heard, or will hear, that it began."""
        for channel, row in _last_messages(connection, incident.id).items():
            if row["kind"] != "recovered":
                self._outbox.put(connection, incident.id, channel, _message(incident, "recovered", now))

    def _sent(self, connection: sqlite3.Connection, incident: int) -> tuple[Sent, ...]:
        rows = connection.execute(
            "SELECT m.*, c.failures, c.next_at AS channel_next_at, c.error AS channel_error "
            "FROM messages m LEFT JOIN channels c ON c.name = m.channel WHERE incident = ? ORDER BY m.id",
            [incident],
        ).fetchall()
        found = []
        for channel in dict.fromkeys(row["channel"] for row in rows):
            mine = [row for row in rows if row["channel"] == channel]
            taken = [row for row in mine if row["taken_at"]]
            waiting = [row for row in mine if not row["taken_at"]]
            failures, error, next_try = 0, None, None
            if waiting:
                first = waiting[0]
                error = first["error"] or first["channel_error"]
                failures = max(first["attempts"], first["failures"] or 0 if not first["error"] else 0)
                tries = [at for at in (first["next_at"], first["channel_next_at"]) if at]
                next_try = _time(max(tries, default=None))
                if not self._routes.configured(channel):
                    error, next_try = "it is no longer configured", None
            found.append(
                Sent(
                    channel=channel,
                    last=taken[-1]["kind"] if taken else None,
                    last_at=_time(taken[-1]["taken_at"]) if taken else None,
                    waiting=len(waiting),
                    failures=failures,
                    error=error,
                    next_try=next_try,
                )
            )
        return tuple(found)


def _by_key(problems: Iterable[Problem]) -> dict[str, Problem]:
    """One problem for each key: the first, with the assets of all."""
    found: dict[str, Problem] = {}
    for problem in problems:
        if problem.runbook not in RUNBOOKS:
            raise ConfigurationError(problem.key, f"no runbook {problem.runbook!r}", f"One of: {', '.join(RUNBOOKS)}.")
        tidy = _tidy(problem)
        first = found.get(tidy.key, tidy)
        found[tidy.key] = replace(first, assets=tuple(dict.fromkeys((*first.assets, *tidy.assets))))
    return found


def _tidy(problem: Problem) -> Problem:
    """The problem as it can be stored, sent and read: of bounded length, without control characters."""
    return replace(
        problem,
        key=printable(problem.key),
        owner=printable(problem.owner),
        assets=tuple(map(printable, problem.assets)),
        title=printable(" ".join(problem.title.split()))[:_TITLE_CHARS],
        detail=lines(problem.detail)[:_DETAIL_CHARS],
        command=printable(problem.command),
    )


def _open(connection: sqlite3.Connection, problem: Problem, now: datetime) -> None:
    connection.execute(
        "INSERT INTO incidents (key, owner, title, detail, assets, runbook, command, since, opened_at) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (problem.key, *_evidence(problem), written(problem.since), written(now)),
    )


def _touch(connection: sqlite3.Connection, incident: Incident, problem: Problem) -> None:
    """Note that it is still (or again) there, with today's evidence; its beginning stays."""
    if incident.gone_at is None and replace(problem, since=incident.problem.since) == incident.problem:
        return
    connection.execute(
        "UPDATE incidents SET owner = ?, title = ?, detail = ?, assets = ?, runbook = ?, command = ?, gone_at = NULL, "
        "returns = returns + ? WHERE id = ?",
        (*_evidence(problem), incident.gone_at is not None, incident.id),
    )


def _evidence(problem: Problem) -> tuple[str, ...]:
    return problem.owner, problem.title, problem.detail, json.dumps(problem.assets), problem.runbook, problem.command


def _over_after(incident: Incident) -> timedelta:
    """For how long its cause has to be gone."""
    if incident.flaps:
        return min(QUIET_FOR * (1 << min(incident.flaps - 1, 8)), QUIET_AT_MOST)
    return min(GONE_FOR * (1 << min(incident.returns, 8)), GONE_AT_MOST)


def _ended_lately(connection: sqlite3.Connection, key: str, now: datetime) -> Incident | None:
    """The last incident of that key, if it ended so lately that this is it again."""
    for incident in reversed(_read(connection, "WHERE key = ? AND closed_at IS NOT NULL", [key])):
        within = max(SAME_WITHIN, _over_after(incident))
        return incident if incident.closed_at is not None and incident.closed_at >= now - within else None
    return None


def _read(connection: sqlite3.Connection, where: str, values: Sequence[str] = ()) -> list[Incident]:
    """Incidents, the oldest first."""
    return [
        Incident(
            id=row["id"],
            problem=Problem(
                key=row["key"],
                owner=row["owner"],
                title=row["title"],
                detail=row["detail"],
                assets=tuple(json.loads(row["assets"])),
                runbook=row["runbook"],
                command=row["command"],
                since=datetime.fromisoformat(row["since"]),
            ),
            opened_at=datetime.fromisoformat(row["opened_at"]),
            gone_at=_time(row["gone_at"]),
            closed_at=_time(row["closed_at"]),
            returns=row["returns"],
            flaps=row["flaps"],
        )
        for row in connection.execute(f"SELECT * FROM incidents {where} ORDER BY id", values)
    ]


def _last_messages(connection: sqlite3.Connection, incident: int) -> dict[str, sqlite3.Row]:
    """The last message put in for each channel."""
    rows = connection.execute(
        "SELECT channel, kind, put_at, taken_at FROM messages WHERE incident = ? ORDER BY id", [incident]
    )
    return {row["channel"]: row for row in rows}


def _message(incident: Incident, kind: Kind, now: datetime) -> Message:
    problem = incident.problem
    ended = incident.gone_at if kind == "recovered" else None
    return Message(
        id=uuid.uuid4().hex,
        kind=kind,
        key=problem.key,
        owner=problem.owner,
        title=problem.title,
        detail=problem.detail,
        assets=problem.assets,
        runbook=problem.runbook,
        command=problem.command,
        since=problem.since,
        at=ended or now,
        returns=incident.returns,
        lasted=None if ended is None else ended - problem.since,
    )


def _time(kept: str | None) -> datetime | None:
    return None if kept is None else datetime.fromisoformat(kept)
