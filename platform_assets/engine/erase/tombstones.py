"""Tombstones: persons that were erased from a feed, by keyed marks of what names them; no value stands in clear.

Belongs here: the key, keeping tombstones, finding rows of those persons. Elsewhere: taking rows out (copies.py).
A mark is an HMAC-SHA-256 of feed, column and value. A value is marked as it is written and as the contract casts it.
"""

import fcntl
import functools
import hmac
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Final

import polars as pl

from platform_assets.engine.contract.cast import as_text, cast
from platform_assets.engine.contract.column import Column
from platform_assets.engine.contract.model import columns_of
from platform_assets.engine.durable.files import remembered, replacing
from platform_assets.engine.feed.feed import Feed
from platform_assets.errors import ConfigurationError, StorageError

_SHORTEST_KEY: Final = 16
_BETWEEN: Final = re.compile(r"[\s,;|:=\"'{}\[\]<>\0]+")


class Key:
    """The secret that marks and certificates are made with. `id` tells keys apart and says nothing else of them."""

    def __init__(self, secret: str) -> None:
        """Raises ConfigurationError where it is too short to be one."""
        if len(secret) < _SHORTEST_KEY:
            raise ConfigurationError(
                "PLATFORM_ERASE_KEY",
                f"has {len(secret)} characters; a key has {_SHORTEST_KEY} or more",
                "Make one with `openssl rand -hex 32`, and keep it as you keep passwords.",
            )
        self._secret = secret.encode()

    @cached_property
    def id(self) -> str:
        """What names the key."""
        return self.derived("name of the key").hex()[:16]

    def derived(self, purpose: str) -> bytes:
        """32 secret bytes for one purpose."""
        return hmac.digest(self._secret, purpose.encode(), "sha256")

    def mark(self, feed: str, column: str, value: str) -> str:
        """The mark of a value."""
        return hmac.digest(self._secret, f"{feed}\0{column}\0{value}".encode(errors="replace"), "sha256").hex()


@dataclass(frozen=True)
class Tombstone:
    """A person that was erased from a feed, or is about to be.

    feed: as it was called then: the marks are made with that name.
    marks: by column of the contract, those of the value that names the person; all columns have to fit.
    key: name of the key. asked_at, asked_by: when and by whom. finished_at: None while the erasure is unfinished.
    """

    id: str
    feed: str
    marks: Mapping[str, Sequence[str]]
    key: str
    asked_at: str
    asked_by: str
    finished_at: str | None = None


@dataclass(frozen=True)
class Person:
    """Who is to be erased from a feed: columns of its contract, each with a value as a person writes it."""

    feed: Feed
    values: Mapping[str, str]

    def __post_init__(self) -> None:
        """Raise ConfigurationError where a column is not declared, or there is no value."""
        declared = {column.name: column for column in columns_of(self.feed.contract)}
        for name, value in self.values.items():
            if name not in declared:
                raise ConfigurationError(
                    f"column {name!r}",
                    f"is not declared by {self.feed.contract.__name__}",
                    f"Its columns are: {', '.join(declared)}.",
                )
            if not value.strip():
                raise ConfigurationError(
                    f"--where {name}=", "names nobody", "Give the value that the person's rows have."
                )
        if not self.values:
            raise ConfigurationError("--where", "is missing", "Say who: --where customer_id=17850.")

    @cached_property
    def forms(self) -> Mapping[str, Sequence[str]]:
        """Each column's value as it is written, and as the contract casts it."""
        columns = {column.name: column for column in columns_of(self.feed.contract)}
        return {
            name: list(
                dict.fromkeys(
                    text
                    for series in _forms(pl.Series([value], dtype=pl.String), columns[name])
                    for text in series.to_list()
                    if text is not None
                )
            )
            for name, value in self.values.items()
        }

    def tombstone(self, key: Key, at: str, by: str) -> Tombstone:
        """The person's tombstone: the same person always gets the same id."""
        marks = {
            column: [key.mark(self.feed.name, column, form) for form in forms]
            for column, forms in sorted(self.forms.items())
        }
        name = key.derived(json.dumps([self.feed.name, {column: of[-1] for column, of in marks.items()}]))
        return Tombstone(name.hex()[:16], self.feed.name, marks, key.id, at, by)


class Tombstones:
    """The tombstones of a deployment, a file per feed in `folder`. key: gives the secret, None where there is none."""

    def __init__(self, folder: Path, key: Callable[[], str | None]) -> None:
        self.folder = folder
        self._key = key

    def __getstate__(self) -> dict[str, object]:
        """For another process, which is told the key as it is now."""
        return {"folder": self.folder, "_key": functools.partial(str, key) if (key := self._key()) else _no_key}

    @property
    def key(self) -> Key:
        """The key; raises ConfigurationError where there is none."""
        if (secret := self._key()) is None:
            raise ConfigurationError(
                "PLATFORM_ERASE_KEY",
                "is not set, and erased persons are known by it alone",
                "Set it to the key that they were erased with; for the first, make one: `openssl rand -hex 32`.",
            )
        return Key(secret)

    def of(self, feed: str) -> list[Tombstone]:
        """Those of a feed."""
        return _read(self.folder / f"{feed}.json")

    def erased(self, feed: Feed) -> "Erased | None":
        """Finds rows of persons that were erased from the feed; None where nobody was.

        Raises ConfigurationError where the key is missing or is another one: their rows would come in again.
        """
        if not (tombstones := self.of(feed.name)):
            return None
        key = self.key
        if strange := next((each.key for each in tombstones if each.key != key.id), None):
            raise ConfigurationError(
                "PLATFORM_ERASE_KEY",
                f"is not the key {strange} that persons were erased from {feed.name} with",
                "Set that key; with another one they would come in again.",
            )
        return Erased(feed, key, tombstones)

    def keep(self, tombstone: Tombstone) -> None:
        """Keep a tombstone, safe on disk when this returns, in the place of the one with its id."""
        path = self.folder / f"{tombstone.feed}.json"
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # two persons may be erased at once
            others = [each for each in self.of(tombstone.feed) if each.id != tombstone.id]
            with replacing(path, mode=0o600) as partial:
                partial.write_text(json.dumps([asdict(each) for each in (*others, tombstone)]))

    def move(self, old: str, new: str) -> None:
        """Let those of the feed `old` count for `new`, as it is called now."""
        with (self.folder / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            moved = self.of(old)
            others = [each for each in self.of(new) if each.id not in {known.id for known in moved}]
            with replacing(self.folder / f"{new}.json", mode=0o600) as partial:
                partial.write_text(json.dumps([asdict(each) for each in (*moved, *others)]))
            (self.folder / f"{old}.json").unlink()

    def finish(self, tombstone: Tombstone, at: str) -> None:
        """Note that nothing is left to be done."""
        self.keep(replace(tombstone, finished_at=at))


class Erased:
    """Finds the rows of erased persons among the rows of a feed."""

    def __init__(self, feed: Feed, key: Key, tombstones: Sequence[Tombstone]) -> None:
        self._names = {each.feed for each in tombstones}
        self._key = key
        declared = {column.name: column for column in columns_of(feed.contract)}
        # A column that today's contract no longer has may still be delivered, and is looked for by its name.
        self.columns = {name: declared.get(name) for each in tombstones for name in each.marks}
        self._alone: dict[str, set[str]] = {}
        self._together: list[Mapping[str, Sequence[str]]] = []
        for each in tombstones:
            if len(each.marks) == 1:
                ((column, marks),) = each.marks.items()
                self._alone.setdefault(column, set()).update(marks)
            else:
                self._together.append(each.marks)

    def rows(self, frame: pl.DataFrame) -> pl.Series:
        """Which rows are of such a person, as a mask; `frame` has columns of the contract, as they arrived."""
        found = pl.repeat(value=False, n=frame.height, dtype=pl.Boolean, eager=True)
        forms = {
            name: list(_forms(frame[name], column)) for name, column in self.columns.items() if name in frame.columns
        }
        wanted: dict[str, set[str]] = {name: set(marks) for name, marks in self._alone.items()}
        for marks in self._together:
            for name, of in marks.items():
                wanted.setdefault(name, set()).update(of)
        # Each different value is marked once; nearly none is wanted.
        hits = {name: self._hits(name, series, wanted[name]) for name, series in forms.items()}
        for name, alone in self._alone.items():
            if name in hits:
                found |= _having(forms[name], hits[name], alone)
        for together in self._together:
            if all(name in hits for name in together):
                those = pl.repeat(value=True, n=frame.height, dtype=pl.Boolean, eager=True)
                for name, of in together.items():
                    those &= _having(forms[name], hits[name], of)
                found |= those
        return found

    def malformed(self, records: pl.Series) -> pl.Series:
        """Which records that could not be taken apart hold what names such a person, as a word of its own."""
        return pl.Series([self.named_in(record or "") for record in records], dtype=pl.Boolean)

    def named_in(self, text: str) -> bool:
        """Whether a text holds what names such a person, as a word of its own."""
        words = {word for word in _BETWEEN.split(text) if word}
        marked = {
            name: {self._key.mark(feed, name, word) for word in words for feed in self._names} for name in self.columns
        }
        return any(marked.get(name, set()) & marks for name, marks in self._alone.items()) or any(
            all(marked.get(name, set()) & set(of) for name, of in together.items()) for together in self._together
        )

    def _hits(self, column: str, forms: Sequence[pl.Series], wanted: set[str]) -> dict[str, set[str]]:
        """The wanted ones among the values, with their marks."""
        mark, names = self._key.mark, self._names
        return {
            value: marked
            for series in forms
            for value in series.unique().drop_nulls().to_list()
            if (marked := {mark(name, column, value) for name in names} & wanted)
        }


def _no_key() -> None:
    """Where there is none."""


def _having(forms: Sequence[pl.Series], hits: Mapping[str, set[str]], marks: Sequence[str] | set[str]) -> pl.Series:
    values = [value for value, marked in hits.items() if not marked.isdisjoint(marks)]
    found = pl.repeat(value=False, n=len(forms[0]), dtype=pl.Boolean, eager=True)
    for series in forms:
        if values:
            found |= series.is_in(values).fill_null(value=False)
    return found


def _forms(arrived: pl.Series, column: Column | None) -> list[pl.Series]:
    """The values as text: as they were written, and as the contract casts them, where that differs."""
    arrived = arrived.alias("v")
    written = pl.DataFrame(arrived).select(as_text("v", arrived.dtype)).to_series().str.strip_chars()
    if column is None:
        return [written]
    values = cast(arrived, column).values
    meant = pl.DataFrame(values.alias("v")).select(as_text("v", values.dtype)).to_series()
    return [written] if meant.equals(written) else [written, meant]


@remembered(most=1_000)
def _read(path: Path) -> list[Tombstone]:
    try:
        return [Tombstone(**each) for each in json.loads(path.read_bytes())]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError) as error:
        # Without them erased persons would come in again: nothing is taken in.
        raise StorageError(path, f"the tombstones cannot be read: {type(error).__name__}") from error
