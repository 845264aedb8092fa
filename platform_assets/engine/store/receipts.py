"""Receipts: one delivery's account, as a value and as the database holds it.

Belongs here: what a receipt is. Does not: the ledger (ledger.py) and its copy that needs no lock (published.py).
"""

import json
import typing
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Final, Literal

import polars as pl

from platform_assets.engine.readers import Part
from platform_assets.engine.sources.sidecar import NOTHING, Expected

Status = Literal["accepted", "duplicate", "quarantined", "superseded"]

_ARRAYS: Final = ("header", "unknown_columns", "moved_from")


@dataclass(frozen=True)
class Receipt:
    """One delivery's account. Rows: read = accepted + rejected + duplicate.

    revision grows with every change to the delivery's rows, across all feeds, so that a reader of raw can ask
    what is new. status `superseded` keeps the figures of the day; its rows are gone from raw.
    problem, problem_line, problem_column and remedy say why a delivery is quarantined as a whole.
    dialect says how the file turned out to be written; parts are the files within it.
    expired rejected rows are no longer in quarantine, as the feed's retention has it. expects is what its sidecar said.
    event_min and event_max are of its rows in raw now; covers_from and covers_to of what it brought on its day, without
    stray rows. accepted_at: when its rows first counted. generation: which of its slot's deliveries it is, from 1.
    came_with: the first delivery that was taken in together with it. moved_from: slots whose files had this content
    before and no longer did when it came: it was renamed.
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

    @property
    def stands_for(self) -> int:
        """The delivery that holds this one's rows: itself, or the one it equals."""
        return self.delivery_id if self.duplicate_of is None else self.duplicate_of

    def place(self, line: int) -> tuple[str, int]:
        """The file, and the physical line in it, of the delivery's row `line`."""
        within = [part for part in self.parts if part.lines_before < line]
        return (f"{self.slot}/{within[-1].name}", line - within[-1].lines_before) if within else (self.slot, line)

    @property
    def trouble(self) -> str:
        """What is wrong with the delivery, and where."""
        if self.problem is None:
            return f"{self.rejected} of {self.read} rows rejected"
        line = f"line {self.problem_line}" if self.problem_line else ""
        column = f"column {self.problem_column}" if self.problem_column else ""
        place = ", ".join(filter(None, (line, column)))
        return f"{place}: {self.problem}" if place else self.problem

    @property
    def reconciles(self) -> bool:
        """Whether every row that was read is accounted for."""
        return self.read == self.accepted + self.rejected + self.duplicate


_TYPES: Final = {
    **dict.fromkeys((int, int | None), pl.Int64()),
    **dict.fromkeys((datetime, datetime | None), pl.Datetime("us", "UTC")),
    tuple[str, ...]: pl.List(pl.String()),
}
RECEIPT_SCHEMA: Final = {name: _TYPES.get(hint, pl.String()) for name, hint in typing.get_type_hints(Receipt).items()}
RECEIPT_COLUMNS: Final = tuple(RECEIPT_SCHEMA)


def receipt_of(stored: dict[str, Any]) -> Receipt:
    """The receipt that a row of ledger.deliveries holds."""
    stored.update({key: tuple(stored[key] or ()) for key in _ARRAYS})
    stored["expects"] = Expected(**json.loads(stored["expects"])) if stored["expects"] else NOTHING
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
    return json.dumps(value) if column == "dialect" else value
