"""A rehearsal: a drafted feed tried on all the files that it was drafted from, and what their rows say of keys.

Belongs here: what is learned from having them all loaded. Elsewhere: the throw-away deployment that they are really
loaded into, and a single file on trial (trial.py).
"""

import glob
import itertools
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from platform_assets.engine.author.draft import literal
from platform_assets.engine.author.infer import InferredColumn
from platform_assets.engine.author.names import names_identifiers, names_notes
from platform_assets.engine.author.proposal import Proposal
from platform_assets.engine.author.trial import thrown_away
from platform_assets.engine.feed.feed import Feed, Files
from platform_assets.engine.foreseen import asks_for
from platform_assets.engine.store.profiles import Profiles
from platform_assets.engine.store.receipts import Receipt

_EVERY_S: Final = 2.0
_MOST_PARTS: Final = 3  # columns of a key
_CANDIDATES: Final = 7  # columns that a key may be made of
_LINES: Final = {"line", "pos", "position", "item", "row", "seq", "zeile", "rank"}  # of a row within something
_FULL: Final = 0.8  # share of the keys that the next full list has, too
_MOST_GROUPS: Final = 50
_MANY_GROUPS: Final = 300  # where each has many rows
_ROWS_OF_EACH: Final = 100
_LISTS: Final = 3
_BEFORE: Final = 20
_ENOUGH: Final = 8
_USUAL_LEAST: Final = 0.5
_RATES: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05)


@dataclass(frozen=True)
class Broken:
    """A rule that rows of the files break: how many rows, in which files."""

    column: str | None
    rule: str
    rows: int
    files: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Rehearsal:
    """What would become of the files. receipts: one each; rules: that rows break, the most frequent first."""

    feed: Feed
    receipts: tuple[Receipt, ...]
    rules: tuple[Broken, ...]
    rows: int

    @property
    def taken(self) -> int:
        """Rows that would be accepted, or known as copies of such."""
        return sum(receipt.accepted + receipt.duplicate for receipt in self.receipts)

    @property
    def refused(self) -> list[Receipt]:
        """The files that would be quarantined as a whole."""
        return [receipt for receipt in self.receipts if receipt.status == "quarantined"]

    @property
    def takes_all(self) -> bool:
        """Whether every row would be taken."""
        return not self.refused and not any(receipt.rejected for receipt in self.receipts)

    @property
    def share(self) -> str:
        """The share of the rows that would be taken, rounded down so that 100 % is all of them."""
        share = 100 * self.taken / self.rows if self.rows else 100.0
        return "100 %" if self.taken >= self.rows else f"{int(share * 100) / 100:.2f} %"


def rehearse(feed: Feed, proposal: Proposal, tell: Callable[[str], None]) -> tuple[Rehearsal, Proposal]:
    """Take all files in as deliveries of `feed`, in a home that is thrown away; and the proposal with what their rows
    say of keys, volume and tolerance."""
    assert isinstance(feed.source, Files)
    unasked = [glob.escape(each.slot) for each in proposal.places if not asks_for(feed, each.slot.split("/"))]
    source = feed.source.read_from(*feed.source.patterns, *unasked, settle=timedelta(), patience=timedelta())
    files = {place.slot: place.path for place in proposal.places}
    with (
        thrown_away(replace(feed, source=source), files, notify=_now_and_then(tell)) as (deployment, receipts),
        deployment.warehouse.reading("look at the rehearsal") as unit,
    ):
        by_rule = unit.quarantine(feed).reasons_of([receipt.delivery_id for receipt in receipts])
        better = _with_dimension(_with_key(proposal, unit.profiles(feed), receipts), unit.profiles(feed))
    slots = {receipt.delivery_id: receipt.slot for receipt in receipts}
    rules = [
        Broken(column, rule, sum(rows.values()), tuple((slots[at], count) for at, count in rows.items()))
        for (column, rule), rows in by_rule.items()
    ]
    rules.sort(key=lambda each: -each.rows)
    rehearsal = Rehearsal(feed, tuple(receipts), tuple(rules), proposal.rows)
    return rehearsal, _with_tolerance(_with_volume(better, receipts), receipts)


def _now_and_then(tell: Callable[[str], None]) -> Callable[[str], None]:
    """Tells of its progress, every few seconds at most."""
    told = time.monotonic()

    def notify(message: str) -> None:
        nonlocal told
        if time.monotonic() - told > _EVERY_S:
            told = time.monotonic()
            tell(f"tried on its files: {message}")

    return notify


def _with_key(proposal: Proposal, profiles: Profiles, receipts: Sequence[Receipt]) -> Proposal:
    """The proposal with the columns that name a row within each file, if any do, and whether files are full lists."""
    taken = [receipt for receipt in receipts if receipt.accepted]
    if len(taken) < 2:
        return proposal
    largest = max(taken, key=lambda receipt: receipt.accepted)
    likely = [column for column in proposal.columns if not column.nulls and not column.optional and _may_name(column)]
    values = {column.name: profiles.named_by([column.name], of=largest.delivery_id).within for column in likely}
    names = sorted(values, key=lambda name: (not (names_identifiers(name) or _names_lines(name)), -values[name]))
    for parts in range(1, _MOST_PARTS + 1):
        several = itertools.combinations(names[:_CANDIDATES], parts)
        # The number of a line is there to tell rows apart; two other columns may do so by chance.
        for some in sorted(several, key=lambda some: not any(map(_names_lines, some))):
            # One file says no to nearly all of them, at little cost.
            if not profiles.named_by(some, of=largest.delivery_id).names_all:
                continue
            found = profiles.named_by(some)
            if found.names_all and found.rows > len(taken):
                key = tuple(column.name for column in proposal.columns if column.name in some)
                return _with_evidence(proposal, key, found.across, found.rows, profiles, len(taken))
    return proposal


def _with_dimension(proposal: Proposal, profiles: Profiles) -> Proposal:
    """The proposal with the column that best divides its rows into a few groups: one without NULLs before any other,
    a closed list before one that may grow, then the one with the fewest values."""
    found = []
    for column in proposal.columns:
        if column.type.kind == "text" and not column.pii and not column.optional and column.name not in proposal.key:
            values = profiles.named_by([column.name]).across
            few = values <= _MOST_GROUPS or (values <= _MANY_GROUPS and values * _ROWS_OF_EACH <= proposal.rows)
            if values > 1 and few and not names_identifiers(column.name) and not names_notes(column.name):
                found.append((column.nulls > 0, not column.closed, values, column.name))
    return replace(proposal, dimension=min(found)[-1]) if found else proposal


def _may_name(column: InferredColumn) -> bool:
    """Whether a column may be part of a key: a text or a day, and a whole number that is called like an identifier."""
    kind = column.type.kind
    return column.pii is None and (
        kind in ("text", "date")
        or (kind == "integer" and (names_identifiers(column.name) or _names_lines(column.name)))
    )


def _names_lines(name: str) -> bool:
    """Whether a column of this name numbers rows within something."""
    return name.split("_")[-1] in _LINES


def _with_evidence(
    proposal: Proposal, key: tuple[str, ...], across: int, rows: int, profiles: Profiles, files: int
) -> Proposal:
    named = " and ".join(key)
    if across == rows:
        why = f"{named}: never twice in {rows:,} rows of {files:,} files; on_known_key= says what a repeated one does"
        return replace(proposal, key=key, key_why=why)
    shares = profiles.kept_from_one_to_the_next(key)
    kept = statistics.median(shares)
    if len(shares) + 1 >= _LISTS and kept >= _FULL:
        why = f"every file looks like a full list: once in each by {named}, and {kept:.1%} of them are in the next one"
        return replace(proposal, key=key, key_why=why, full_lists=True)
    why = (
        f"{named}: once in each file, {rows - across:,} times again in another: if a later row replaces an earlier, "
        f'key={literal(key)} and on_known_key="latest" say so'
    )
    return replace(proposal, key_why=why)


def _with_volume(proposal: Proposal, receipts: Sequence[Receipt]) -> Proposal:
    """The proposal with a wider volume, where the files differ more than is usual."""
    read = {receipt.slot: receipt.read for receipt in receipts if receipt.read}
    rows = [read[place.slot] for place in proposal.places if place.slot in read]
    shares = [rows[at] / statistics.median(rows[max(0, at - _BEFORE) : at]) for at in range(_ENOUGH, len(rows))]
    if not shares or min(shares) >= _USUAL_LEAST:
        return proposal
    low = sum(share < _USUAL_LEAST for share in shares)
    least = max(int(min(shares) * 80) / 100, 0.01)
    why = f"{low} of {len(rows)} files have less than half the rows of those before them, the least {min(shares):.0%}"
    return replace(proposal, volume=(least, why))


def _with_tolerance(proposal: Proposal, receipts: Sequence[Receipt]) -> Proposal:
    """The proposal with a tolerance that all of the files keep, where that is little."""
    shares = [receipt.rejected / receipt.read for receipt in receipts if receipt.rejected]
    rate = next((rate for rate in _RATES if shares and max(shares) <= rate), None)
    if rate is None:
        return proposal
    why = f"{len(shares)} of {len(receipts)} files have rejected rows, at most {max(shares):.2%} of one"
    return replace(proposal, tolerate=(rate, why))
