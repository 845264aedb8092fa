"""Builds: what each asset was last made from, and what its blocking checks found of just that.

Belongs here: the SQLite file that holds them, readable at any time without the warehouse's lock. Elsewhere: what is out
of date by it (project/state.py). Names and versions are text that means nothing here.
"""

import json
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

from platform_assets.engine.durable.sqlite import set_aside, transaction
from platform_assets.engine.feed.feed import Feed
from platform_assets.errors import StorageError

_OF_A_FEED: Final = ("raw", "quarantine", "deliveries")
_SCHEMA: Final = (
    # Grain: asset that is there. `inputs`: input -> its version; `revisions`: feed -> revision of its rows that went
    # in; `checks`: names of the blocking checks that it is held to. Times are UTC, ISO 8601.
    """CREATE TABLE made (
        asset TEXT PRIMARY KEY, version TEXT NOT NULL, code TEXT NOT NULL, inputs TEXT NOT NULL,
        revisions TEXT NOT NULL, checks TEXT NOT NULL, at TEXT NOT NULL, run TEXT NOT NULL
    )""",
    # Grain: check of an asset. `version`: that of the asset when it was evaluated.
    """CREATE TABLE checks (
        asset TEXT NOT NULL, name TEXT NOT NULL, version TEXT NOT NULL, passed INTEGER NOT NULL,
        description TEXT NOT NULL, at TEXT NOT NULL, PRIMARY KEY (asset, name)
    )""",
    # Grain: asset. `since`: when this was first wanted of it.
    "CREATE TABLE wanted (asset TEXT PRIMARY KEY, what TEXT NOT NULL, since TEXT NOT NULL)",
    # One row: how the marts file looked when `run` had written to it; NULL while it does, or if it died.
    "CREATE TABLE marts_file (id INTEGER PRIMARY KEY CHECK (id = 1), state TEXT, run TEXT NOT NULL)",
)


@dataclass(frozen=True)
class Made:
    """An asset that is there: its version, what it was made from, and which blocking checks hold it."""

    asset: str
    version: str
    code: str
    at: datetime
    run: str = ""
    inputs: Mapping[str, str] = field(default_factory=dict)
    revisions: Mapping[str, int] = field(default_factory=dict)
    checks: Sequence[str] = ()


@dataclass(frozen=True)
class CheckResult:
    """What a blocking check found of an asset when that had this version."""

    asset: str
    name: str
    version: str
    passed: bool
    description: str
    at: datetime


@dataclass(frozen=True)
class Built:
    """Everything that is noted, as of one moment."""

    made: Mapping[str, Made] = field(default_factory=dict)
    results: Mapping[tuple[str, str], CheckResult] = field(default_factory=dict)


class Builds:
    """The notes in the SQLite file at `path`, of tables that lie in `marts`. Several processes may use it at once.

    Lost, it costs that everything is built again.
    """

    def __init__(self, path: Path, marts: Path) -> None:
        self._path = path
        self._marts = marts

    def read(self) -> Built:
        """What is noted. Nothing is, of tables whose file is gone or was put back from elsewhere."""
        if not self._path.exists():
            return Built()
        with self._transaction() as db:
            self._forget_if_replaced(db)
            made = {row["asset"]: _made(row) for row in db.execute("SELECT * FROM made")}
            results = {(row["asset"], row["name"]): _result(row) for row in db.execute("SELECT * FROM checks")}
        return Built(made, results)

    @contextmanager
    def changing(self, assets: Collection[str], run: str) -> Iterator[None]:
        """Around whatever `run` writes to the marts file: `assets` are made anew, and until they are noted nobody
        takes them for made. A kill in between leaves just that."""
        with self._transaction() as db:
            self._forget_if_replaced(db)
            db.executemany("DELETE FROM made WHERE asset = ?", [(asset,) for asset in assets])
            db.execute("INSERT OR REPLACE INTO marts_file VALUES (1, NULL, ?)", [run])
        try:
            yield
        finally:
            with self._transaction() as db:
                db.execute("INSERT OR REPLACE INTO marts_file VALUES (1, ?, ?)", [self._state_of_file(), run])

    def note(self, made: Iterable[Made] = (), results: Iterable[CheckResult] = ()) -> None:
        """Note what has been made and what checks have found."""
        with self._transaction() as db:
            db.executemany(
                "INSERT OR REPLACE INTO made VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    (
                        *(each.asset, each.version, each.code, json.dumps(dict(each.inputs))),
                        *(json.dumps(dict(each.revisions)), json.dumps(list(each.checks))),
                        *(each.at.isoformat(), each.run),
                    )
                    for each in made
                ],
            )
            db.executemany(
                "INSERT OR REPLACE INTO checks VALUES (?, ?, ?, ?, ?, ?)",
                [(e.asset, e.name, e.version, e.passed, e.description, e.at.isoformat()) for e in results],
            )

    def wanted_since(self, wanted: Mapping[str, str], now: datetime) -> dict[str, datetime]:
        """Since when just this is wanted of each asset; `now`, for what is wanted for the first time."""
        since: dict[str, datetime] = {}
        if not wanted:
            return since
        with self._transaction() as db:
            known = {row["asset"]: row for row in db.execute("SELECT * FROM wanted")}
            fresh = []
            for asset, what in wanted.items():
                row = known.get(asset)
                # A clock that was set back must not make what is new look old for ever.
                if row is not None and row["what"] == what and datetime.fromisoformat(row["since"]) <= now:
                    since[asset] = datetime.fromisoformat(row["since"])
                else:
                    since[asset] = now
                    fresh.append((asset, what, now.isoformat()))
            db.executemany("INSERT OR REPLACE INTO wanted VALUES (?, ?, ?)", fresh)
        return since

    def rename(self, old: str, new: Feed | None) -> None:
        """Note what is noted of the feed `old` as of `new`, or forget it where there is none; what others were made
        from stays noted."""
        if not self._path.exists():
            return

        def named(asset: str) -> str | None:
            parts = asset.split("/")
            if len(parts) != 3 or parts[0] not in _OF_A_FEED or parts[2] != old:
                return asset
            return None if new is None else f"{parts[0]}/{new.origin}/{new.name}"

        with self._transaction() as db:
            for table in ("made", "checks", "wanted"):
                for (asset,) in db.execute(f"SELECT DISTINCT asset FROM {table}").fetchall():
                    if (now := named(asset)) is None:
                        db.execute(f"DELETE FROM {table} WHERE asset = ?", (asset,))
                    elif now != asset:
                        db.execute(f"UPDATE OR REPLACE {table} SET asset = ? WHERE asset = ?", (now, asset))
            for asset, inputs, revisions in db.execute("SELECT asset, inputs, revisions FROM made").fetchall():
                made_from = {named(each) or each: version for each, version in json.loads(inputs).items()}
                known = {
                    new.name if new is not None and feed == old else feed: at
                    for feed, at in json.loads(revisions).items()
                }
                db.execute(
                    "UPDATE made SET inputs = ?, revisions = ? WHERE asset = ?",
                    (json.dumps(made_from), json.dumps(known), asset),
                )

    def _forget_if_replaced(self, db: sqlite3.Connection) -> None:
        """Tables that are not those we have built are not known to be made from anything."""
        row = db.execute("SELECT state FROM marts_file").fetchone()
        # While somebody builds, or after a kill, the file changes; those assets are not noted anyway.
        if row is not None and row["state"] is not None and row["state"] != self._state_of_file():
            db.execute("DELETE FROM made")
            db.execute("DELETE FROM marts_file")

    def _state_of_file(self) -> str:
        try:
            status = self._marts.stat()
        except FileNotFoundError:
            return "gone"
        return f"{status.st_size} {status.st_mtime_ns}"

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        try:
            with transaction(self._path, _SCHEMA) as db:
                yield db
        except sqlite3.DatabaseError as error:
            # Damaged notes are worth as much as none; what was noted is found out again.
            set_aside(self._path)
            raise StorageError(self._path, f"{error}; moved away, everything is built again") from error


def _made(row: sqlite3.Row) -> Made:
    return Made(
        asset=row["asset"],
        version=row["version"],
        code=row["code"],
        at=datetime.fromisoformat(row["at"]),
        run=row["run"],
        inputs=json.loads(row["inputs"]),
        revisions=json.loads(row["revisions"]),
        checks=json.loads(row["checks"]),
    )


def _result(row: sqlite3.Row) -> CheckResult:
    at = datetime.fromisoformat(row["at"])
    return CheckResult(row["asset"], row["name"], row["version"], bool(row["passed"]), row["description"], at)
