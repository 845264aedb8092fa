"""Headers: every one that a feed's deliveries had, in order, and how each differs.

Belongs here: header history from the ledger, and from the archive for deliveries that wait in quarantine. Elsewhere:
values (drift.py), what a header does to its delivery (contract/model.py, load/delivery.py).
"""

import difflib
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, NamedTuple

from platform_assets.engine.author.names import name_for
from platform_assets.engine.contract.model import headers_of
from platform_assets.engine.contract.shown import shown_of
from platform_assets.engine.feed.feed import Feed
from platform_assets.engine.readers import Reader, open_reader
from platform_assets.engine.store.receipts import Receipt
from platform_assets.engine.store.unit import Unit
from platform_assets.errors import HIDDEN, PlatformError, listed

_HEADERS: Final = 1_000  # different ones, the newest
_WAITING: Final = 100  # deliveries in quarantine whose copies are opened, spread over all of them
_ALIKE: Final = 0.6


@dataclass(frozen=True)
class SeenIn:
    """A delivery that something was seen in."""

    delivery: int
    file: str
    arrived_at: datetime


class Renamed(NamedTuple):
    """A column that perhaps has another name now."""

    from_: str
    to: str


@dataclass(frozen=True)
class HeaderSeen:
    """A header that deliveries had. Against the header before it: added, gone, renamed (perhaps). Against today's
    contract: missing, unknown. waiting: its deliveries are quarantined as a whole."""

    header: tuple[str, ...]
    deliveries: int
    first: SeenIn
    last: SeenIn
    waiting: bool
    added: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()
    renamed: tuple[Renamed, ...] = ()
    missing: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()

    @property
    def columns(self) -> str:
        """Its columns, in words."""
        return f"{len(self.header)} columns: {listed(self.header)}"

    @property
    def differences(self) -> list[str]:
        """How it differs from the header before it, in words."""
        paired = {name for pair in self.renamed for name in (pair.from_, pair.to)}
        added = [name for name in self.added if name not in paired]
        gone = [name for name in self.gone if name not in paired]
        return [
            *([f"added {listed(added)}"] if added else []),
            *([f"gone {listed(gone)}"] if gone else []),
            *(f"{pair.from_} perhaps renamed {pair.to}" for pair in self.renamed),
        ] or ["another order"]

    @property
    def disagreements(self) -> list[str]:
        """How it differs from the contract, in words."""
        return [
            *([f"missing {listed(self.missing)}"] if self.missing else []),
            *([f"unknown {listed(self.unknown)}"] if self.unknown else []),
            *(["waits in quarantine"] if self.waiting else []),
        ] or ["agrees"]


def headers(unit: Unit, feed: Feed, archive: Path) -> list[HeaderSeen]:
    """Every header that deliveries of the feed had, in the order they first came; `archive` holds their copies."""
    groups: dict[tuple[tuple[str, ...], bool], list[SeenIn]] = {}
    counts: dict[tuple[tuple[str, ...], bool], int] = {}
    shown = shown_of(feed.contract)
    for each in unit.ledger.headers(feed.name, _HEADERS):
        header = shown.names(each.header)  # it was noted by the contract of its day
        sights = [*groups.get((header, False), ()), SeenIn(*each.first), SeenIn(*each.last)]
        groups[header, False] = [pick(sights, key=lambda sight: sight.delivery) for pick in (min, max)]
        counts[header, False] = counts.get((header, False), 0) + each.deliveries
    for receipt, reader in waiting(unit, feed, archive):
        sight, key = _seen_in(receipt), (shown.names(reader.header), True)
        groups[key] = [groups.get(key, [sight])[0], sight]
        counts[key] = counts.get(key, 0) + 1
    seen: list[HeaderSeen] = []
    for (header, waits), (first, last) in sorted(groups.items(), key=lambda item: item[1][0].delivery):
        known = matched(feed, header)
        declared = feed.columns
        added, gone, renamed = changes(seen[-1].header, header) if seen else ((), (), ())
        seen.append(
            HeaderSeen(
                header,
                counts[header, waits],
                first,
                last,
                waits,
                added,
                gone,
                renamed,
                missing=tuple(
                    column.headers[0] for column in declared if column.name not in known and not column.optional
                ),
                unknown=tuple(name for name in header if name not in known.values()),
            )
        )
    return seen


def matched(feed: Feed, header: Sequence[str]) -> dict[str, str]:
    """Contract name -> delivered header, as far as it goes."""
    left = {name.strip().casefold(): name for name in header}
    found = {}
    for column in feed.columns:
        name = next((h for h in column.headers if h in header), None) or next(
            (left[h.strip().casefold()] for h in column.headers if h.strip().casefold() in left), None
        )
        if name is not None:
            found[column.name] = name
    return found


def changes(before: Sequence[str], now: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...], tuple[Renamed, ...]]:
    """What was added, what is gone, and which pairs of these look like one renamed column."""
    added = [name for name in now if name not in before]
    gone = [name for name in before if name not in now and name != HIDDEN]
    renamed: list[Renamed] = []
    for old in gone:
        left = [new for new in added if new != HIDDEN and new not in [pair[1] for pair in renamed]]
        alike = {new: _likeness(old, new) for new in left}
        best = max(alike, key=lambda new: alike[new], default=None)
        if best is not None and (alike[best] >= _ALIKE or (before.index(old) == now.index(best) and len(gone) == 1)):
            renamed.append(Renamed(old, best))
    return tuple(added), tuple(gone), tuple(renamed)


def _likeness(one: str, other: str) -> float:
    return difflib.SequenceMatcher(None, name_for(one).replace("_", ""), name_for(other).replace("_", "")).ratio()


def waiting(unit: Unit, feed: Feed, archive: Path) -> Iterator[tuple[Receipt, Reader]]:
    """Deliveries that are quarantined as a whole, oldest first, as far as they can be read."""
    found = unit.ledger.waiting(feed.name)
    step = -(-len(found) // _WAITING) or 1
    yield from opened(found[::-step][::-1], feed, archive)


def opened(receipts: Sequence[Receipt], feed: Feed, archive: Path) -> Iterator[tuple[Receipt, Reader]]:
    wanted = headers_of(feed.contract)
    with tempfile.TemporaryDirectory(prefix="drift-") as scratch:
        for receipt in receipts:
            if receipt.archived is None or not (copy := archive / receipt.archived).exists():
                continue
            with suppress(PlatformError):
                reader = open_reader(copy, receipt.slot, feed.source, wanted, scratch=Path(scratch))
                if reader.header:
                    yield receipt, reader


def _seen_in(receipt: Receipt) -> SeenIn:
    return SeenIn(receipt.delivery_id, receipt.slot, receipt.arrived_at)
