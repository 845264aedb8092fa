"""Receipts: what became of one delivery, as a value and as the database holds it.

Belongs here: what a receipt is. Elsewhere: the ledger (ledger.py) and its copy that needs no lock (published.py).
"""

import json
import typing
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime, time
from fnmatch import fnmatchcase
from typing import Any, Final, Literal

import polars as pl

from platform_assets.engine.archive.decisions import Decided, Decision, decision_of, subjects
from platform_assets.engine.archive.expected import NOTHING, Expected
from platform_assets.engine.readers import Part
from platform_assets.errors import counted

Status = Literal["accepted", "duplicate", "quarantined", "superseded", "withdrawn"]

_ARRAYS: Final = ("header", "unknown_columns", "moved_from")
_DECISIONS: Final = ("withdrawn", "allowed")


@dataclass(frozen=True)
class Receipt:
    """What became of one delivery. Rows: read = accepted + rejected + duplicate + erased.

    delivery_id: number in order of commit; `_delivery_id` in raw and quarantine.
    feed: the feed.
    slot: the file's path below the landing folder.
    bytes: size of the file.
    contract: version of the contract and policies that it was validated by.
    arrived_at: when the producer last wrote the file (mtime).
    committed_at: when it was taken in.
    revision: grows with every change to the delivery's rows, across all feeds, so that a reader of raw can ask what
        is new.
    status: `accepted`, `duplicate`, `quarantined` (as a whole), `superseded` (by a restatement) or `withdrawn` (by a
        person). Of the last two the figures are those of their day, and the rows are gone from raw.
    fingerprint: SHA-256 of the content.
    archived: path of the copy below the archive.
    read: rows read; the sum of accepted, rejected, duplicate and erased.
    accepted: rows in raw.
    rejected: rows in quarantine.
    duplicate: rows that repeat another row.
    problem: why it is quarantined as a whole.
    problem_line: the line where that is.
    problem_column: the column where that is.
    remedy: what to do about it.
    format: format of the file.
    dialect: how it turned out to be written: delimiter, encoding, sheet …
    parts: the files within it.
    header: its columns, as delivered.
    unknown_columns: those of them that the contract does not declare.
    event_min: earliest event time of its rows in raw now.
    event_max: latest event time of its rows in raw now.
    supersedes: the delivery that this one replaced.
    superseded_by: the delivery that replaced this one.
    duplicate_of: the delivery that had brought the same content.
    replayed_at: when it was last validated again.
    expired: rejected rows that retention has removed from quarantine.
    expects: what its sidecar promised: rows, fingerprint.
    covers_from: earliest event time of what it brought on its day, to the hour, without stray rows at the ends: 2 % of
        the rows of its busiest day.
    covers_to: latest event time, likewise, and without rows dated later than the delivery.
    accepted_at: when its rows first counted: `committed_at`, or the replay that let it out of quarantine.
    generation: which of its file's deliveries it is, from 1.
    came_with: the first delivery that was taken in together with it.
    moved_from: files that had this content before and no longer did when it came: it was renamed.
    erased: rows of erased persons, which the copy in the archive holds no longer.
    rewritten: SHA-256 of that copy since they were taken out of it.
    withdrawn: who took it back (`by`), `why`, and when (`at`).
    allowed: who let it through though it breaks tolerance, volume or drift (`by`), `why`, and when (`at`).
    file_date: the date in its name, of a feed that declares one.
    """

    delivery_id: int
    feed: str
    slot: str
    bytes: int
    contract: str
    arrived_at: datetime
    committed_at: datetime
    revision: int
    status: Status
    fingerprint: str | None = None
    archived: str | None = None
    read: int = 0
    accepted: int = 0
    rejected: int = 0
    duplicate: int = 0
    problem: str | None = None
    problem_line: int | None = None
    problem_column: str | None = None
    remedy: str | None = None
    format: str | None = None
    dialect: Mapping[str, str] = field(default_factory=dict)
    parts: tuple[Part, ...] = ()
    header: tuple[str, ...] = ()
    unknown_columns: tuple[str, ...] = ()
    event_min: datetime | None = None
    event_max: datetime | None = None
    supersedes: int | None = None
    superseded_by: int | None = None
    duplicate_of: int | None = None
    replayed_at: datetime | None = None
    expired: int = 0
    expects: Expected = NOTHING
    covers_from: datetime | None = None
    covers_to: datetime | None = None
    accepted_at: datetime | None = None
    generation: int = 1
    came_with: int = 0
    moved_from: tuple[str, ...] = ()
    erased: int = 0
    rewritten: str | None = None
    withdrawn: Decision | None = None
    allowed: Decision | None = None
    file_date: date | None = None

    @property
    def original(self) -> int:
        """The delivery that holds this one's rows: itself, or the one it equals."""
        return self.delivery_id if self.duplicate_of is None else self.duplicate_of

    @property
    def subjects(self) -> tuple[str, ...]:
        """What decisions of persons may be about that hold for it."""
        return subjects(self.fingerprint, self.slot, self.bytes, self.arrived_at, self.moved_from)

    @property
    def decided(self) -> str:
        """What a person decided of it, in words; empty where nobody did."""
        found = ((self.withdrawn, "withdrawn"), (self.allowed, "accepted"))
        return "; ".join(f"{what} {decision}" for decision, what in found if decision is not None)

    def follows(self, decided: Decided) -> bool:
        """Whether it says what is decided of its content."""
        return (self.withdrawn, self.allowed) == (decided.withdrawn, decided.allowed)

    def place(self, line: int) -> tuple[str, int]:
        """The file, and the physical line in it, of the delivery's row `line`."""
        within = [part for part in self.parts if part.lines_before < line]
        return (f"{self.slot}/{within[-1].name}", line - within[-1].lines_before) if within else (self.slot, line)

    @property
    def trouble(self) -> str:
        """What is wrong with the delivery, and where."""
        if self.problem is None:
            return f"{self.rejected:,} of {counted(self.read, 'row')} rejected"
        line = f"line {self.problem_line}" if self.problem_line else ""
        column = f"column {self.problem_column}" if self.problem_column else ""
        place = ", ".join(filter(None, (line, column)))
        return f"{place}: {self.problem}" if place else self.problem

    @property
    def reconciles(self) -> bool:
        """Whether every row that was read is accounted for."""
        return self.read == self.accepted + self.rejected + self.duplicate + self.erased


@dataclass(frozen=True)
class Totals:
    """A feed's receipts added up. `rows` are in raw now, `waiting` deliveries in quarantine, `in_force` ones count."""

    deliveries: int = 0
    read: int = 0
    accepted: int = 0
    rejected: int = 0
    duplicate: int = 0
    erased: int = 0
    rows: int = 0
    waiting: int = 0
    in_force: int = 0
    read_in_force: int = 0


@dataclass(frozen=True)
class Chosen:
    """Which deliveries are to come in again: by id, by a pattern of their file's path, by the date in its name, else by
    arrival (UTC, `until` not included); all of these that are given."""

    deliveries: Collection[int] = ()
    file: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def __call__(self, receipt: Receipt) -> bool:
        """Whether the delivery is one of them."""
        day = receipt.file_date
        arrived = receipt.arrived_at if day is None else datetime.combine(day, time(), UTC)
        return (
            (not self.deliveries or receipt.delivery_id in self.deliveries)
            and (self.file is None or fnmatchcase(receipt.slot, self.file))
            and (self.since is None or arrived >= _utc(self.since))
            and (self.until is None or arrived < _utc(self.until))
        )


def _utc(moment: datetime) -> datetime:
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


_TYPES: Final = {
    **dict.fromkeys((int, int | None), pl.Int64()),
    **dict.fromkeys((datetime, datetime | None), pl.Datetime("us", "UTC")),
    date | None: pl.Date(),
    tuple[str, ...]: pl.List(pl.String()),
}
RECEIPT_SCHEMA: Final = {name: _TYPES.get(hint, pl.String()) for name, hint in typing.get_type_hints(Receipt).items()}
RECEIPT_COLUMNS: Final = tuple(RECEIPT_SCHEMA)


def receipt_of(stored: dict[str, Any]) -> Receipt:
    """The receipt that a row of ledger.deliveries holds."""
    stored.update({key: tuple(stored[key] or ()) for key in _ARRAYS})
    stored["expects"] = Expected(**json.loads(stored["expects"])) if stored["expects"] else NOTHING
    stored.update({key: decision_of(json.loads(stored[key])) if stored[key] else None for key in _DECISIONS})
    stored["dialect"] = json.loads(stored["dialect"] or "{}")
    stored["parts"] = (
        tuple(Part(**part) for part in json.loads(stored["parts"])) if stored["parts"] not in (None, "[]") else ()
    )
    return Receipt(**stored)


def stored_as(column: str, value: Any) -> object:  # noqa: ANN401 - of any of a receipt's types
    """A receipt's value as the database takes it."""
    if column == "parts":
        return json.dumps([asdict(part) for part in value])
    if column == "expects":
        return json.dumps(asdict(value)) if value != NOTHING else None
    if column in _DECISIONS:
        return json.dumps(asdict(value)) if value is not None else None
    return json.dumps(value) if column == "dialect" else value
