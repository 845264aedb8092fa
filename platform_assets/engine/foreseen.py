"""Files foreseen: what the ledger and the landing folder say of a file before it is taken in.

Belongs here: which deliveries it repeats or replaces, and why it would be left alone. Elsewhere: what its rows would
come to (author/trial.py), what really becomes of it (load). Nothing is written, and no file is claimed.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Final, Literal

from platform_assets.engine.archive.decisions import Decided, decided_of
from platform_assets.engine.feed.feed import Feed, Files
from platform_assets.engine.sources.file import arrival_of
from platform_assets.engine.sources.landing import UNFINISHED_SUFFIXES
from platform_assets.engine.store.receipts import Receipt
from platform_assets.engine.store.unit import Unit
from platform_assets.errors import counted, printable

Foretold = Literal["new", "duplicate", "restatement", "withdrawn", "unfinished", "refused", "ignored"]
_COUNTS: Final = ("new", "restatement")


@dataclass(frozen=True)
class Foreseen:
    """What would become of a file, before its rows are looked at.

    file: its path below the landing folder; None where it lies elsewhere, under a path that the feed does not ask for.
    would_be: `ignored` where the feed does not ask for its name. why: that in words. delivery: the one that it repeats
    or replaces. allowed: its content, where a person lets that through. readable: whether its rows can be tried.
    """

    file: str | None
    would_be: Foretold
    why: str
    delivery: int | None = None
    allowed: str | None = None
    readable: bool = True

    @property
    def counts(self) -> bool:
        """Whether its rows would come in, if they keep the contract."""
        return self.would_be in _COUNTS


def foresee(feed: Feed, file: Path, landing: Path, now: datetime, unit: Unit | None) -> Foreseen:
    """What would become of `file` as a delivery of the feed. unit: of the store; None where there is none yet."""
    slot, inside = _slot(feed, finished(file), landing)
    if file.name.startswith(".") or file.name.endswith(UNFINISHED_SUFFIXES):
        why = "has the name of an unfinished file: it is left alone until it is renamed"
        return Foreseen(slot, "unfinished", why, readable=False)
    if slot is not None and (left := _left_alone(feed, slot, file, now, inside=inside)) is not None:
        return left
    if slot is None and inside:
        return Foreseen(None, "ignored", f"has a name that {feed.name} does not ask for: {_places(feed)}")
    if unit is None:
        return Foreseen(slot, "new", "is new: nothing was taken in yet")
    return _by_ledger(feed, slot, file, unit)


def _by_ledger(feed: Feed, slot: str | None, file: Path, unit: Unit) -> Foreseen:
    with file.open("rb") as stream:
        fingerprint = hashlib.file_digest(stream, "sha256").hexdigest()
    listing = unit.listing(feed.name)
    same = listing.of_content(fingerprint)
    filled_by = unit.slots(feed).named([slot])[slot].filled_by if slot is not None else None
    marks = {each: Decided(r.withdrawn, r.allowed, r.delivery_id) for r in same[::-1] for each in r.subjects}
    lists = feed.key_within == "delivery"
    about = (fingerprint, f"{fingerprint} {slot}")
    decided = decided_of(marks, about[1:] if lists else about)
    allowed = None if decided.allowed is None else fingerprint
    if decided.withdrawn is not None:
        why = f"has the content of delivery {decided.delivery}, which is withdrawn {decided.withdrawn}: it stays out"
        return Foreseen(slot, "withdrawn", why, decided.delivery)
    there = [each for each in same if each.status == "accepted" and (not lists or each.delivery_id == filled_by)]
    if there:
        why = f"is a duplicate of {_named(there[0])}: no row comes in"
        return Foreseen(slot, "duplicate", why, there[0].delivery_id)
    if filled_by is None:
        before = " (its content came before, and no longer counts)" if same else ""
        return Foreseen(slot, "new", f"is new{before}", same[0].delivery_id if same else None, allowed)
    (replaced,) = unit.ledger.by_id([filled_by])
    of = f"is a restatement of {_named(replaced)}"
    if feed.on_restatement == "refuse" and decided.allowed is None:
        why = f"{of}, and the feed refuses restatements: it is quarantined"
        return Foreseen(slot, "refused", why, filled_by)
    rows = f"whose {counted(replaced.accepted, 'row')} it replaces"
    if feed.on_restatement == "append":
        rows = "whose rows stay beside it"
    return Foreseen(slot, "restatement", f"{of}, {rows}", filled_by, allowed)


def _left_alone(feed: Feed, slot: str, file: Path, now: datetime, *, inside: bool) -> Foreseen | None:
    """Why a file that lies in the landing folder would not be read, or not yet; None where it would."""
    files = feed.source
    if not inside or not isinstance(files, Files):
        return None
    sidecar = None
    if files.sidecar is not None:
        beside = file.with_name(file.name + files.sidecar)
        sidecar = beside.lstat() if beside.exists() else None
    arrival = arrival_of(slot, file, file.lstat(), sidecar, files)
    if arrival.refused is not None:
        return Foreseen(slot, "refused", f"is {arrival.refused}. {arrival.remedy}", readable=False)
    if arrival.size > files.largest:
        why = f"has {arrival.size:,} bytes, more than the {files.largest:,} that the feed takes: it is quarantined"
        return Foreseen(slot, "refused", why, readable=False)
    if not arrival.settled(now):
        return Foreseen(slot, "unfinished", f"{arrival.unfinished}: it is left alone, and offered again by itself")
    return None


def _slot(feed: Feed, file: Path, landing: Path) -> tuple[str | None, bool]:
    """The file's path below the landing folder, where the feed asks for it, and whether it lies there; of a file that
    lies elsewhere, the end of its path that the feed would ask for."""
    path, root = file.parent.resolve() / file.name, landing.resolve()
    inside = path.is_relative_to(root)
    parts = path.relative_to(root).parts if inside else path.parts
    ends = [parts] if inside else [parts[start:] for start in range(len(parts))]
    return next(("/".join(end) for end in ends if asks_for(feed, end)), None), inside


def finished(file: Path) -> Path:
    """The name that a file will have once it is whole."""
    name = file.name.lstrip(".")
    for suffix in UNFINISHED_SUFFIXES:
        name = name.removesuffix(suffix)
    return file.with_name(name) if name else file


def asks_for(feed: Feed, path: Sequence[str]) -> bool:
    """Whether the feed asks for a file of this path, by its parts, below the landing folder."""
    patterns = feed.source.patterns if isinstance(feed.source, Files) else ()
    return any(_fits(tuple(path), PurePosixPath(pattern).parts) for pattern in patterns)


def _fits(path: tuple[str, ...], pattern: tuple[str, ...]) -> bool:
    """Whether a path is what the pattern describes, as the landing folder is searched for it."""
    if not path or not pattern:
        return not path and not pattern
    if pattern[0] == "**" and pattern[1:]:
        return _fits(path, pattern[1:]) or _fits(path[1:], pattern)
    return fnmatchcase(path[0], pattern[0]) and _fits(path[1:], pattern[1:])


def _named(receipt: Receipt) -> str:
    taken_in = f"{receipt.committed_at:%Y-%m-%d %H:%M} UTC"
    return f"delivery {receipt.delivery_id} ({printable(receipt.slot)}, taken in {taken_in})"


def _places(feed: Feed) -> str:
    return ", ".join(feed.source.places)
