"""What a feed's author writes: where it comes from, what it promises, how often, who owns it.

Belongs here: declarations and their checks. Elsewhere: when deliveries are due (cadence.py), formats (formats.py).
Nothing here reads a file or the warehouse.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import PurePosixPath
from typing import Literal, Protocol

from platform_assets.engine.contract.declaration import declaration, refuse_other_columns
from platform_assets.engine.contract.model import Column, Contract, columns_of, describe, version_of
from platform_assets.engine.contract.version import digest
from platform_assets.engine.feed.cadence import Cadence, hours, minutes, seconds
from platform_assets.engine.feed.dated import NameDate, name_date
from platform_assets.engine.feed.formats import Format
from platform_assets.errors import ConfigurationError, nearest

__all__ = [
    "Cadence",
    "Feed",
    "Files",
    "Rejects",
    "Retention",
    "SourceDeclaration",
    "Volume",
    "feed_named",
    "gigabytes",
    "hours",
    "minutes",
    "seconds",
]

_NAME = re.compile(r"[a-z][a-z0-9_]*")


def gigabytes(n: float) -> int:
    """`n` gigabytes in bytes, such as `gigabytes(10)`; a gigabyte has 10⁹."""
    return round(n * 1000**3)


class SourceDeclaration(Protocol):
    """What every declaration of a source has, whatever it is, such as `Files("shop/orders/*.csv")`; what else it has is
    read by its source alone."""

    @property
    def format(self) -> Format | None:
        """How its deliveries are written; None where it follows from their names."""

    @property
    def places(self) -> tuple[str, ...]:
        """Where its deliveries come from, for people: patterns of files, names of tables."""

    @property
    def largest(self) -> int:
        """Bytes of the largest delivery that is taken."""

    @property
    def longest(self) -> timedelta:
        """How long a delivery may take to be read; a large one may take longer."""


@declaration
@dataclass(frozen=True, init=False)
class Files:
    """Files under the landing folder, such as `Files("shop/orders/*.csv", largest=gigabytes(2))`.

    patterns: where they lie, relative to the landing folder (`*` within a name, `**` across folders).
    settle: how long a file must be untouched before it is claimed.
    patience: how long a file whose end looks cut off is waited for before it is taken as it is.
    format: how the files are written, where that is not detected. The name says which format it is (.csv, .tsv, .txt,
        .ndjson, .jsonl, .json, .xml, .xlsx and other workbooks, .parquet; each also packed as .gz or .zst, or several
        in a .zip); a file with another name is quarantined.
    sidecar: the end of the name of a small file that says that a file is complete: with ".done", `a.csv` is
        complete once `a.csv.done` is there. A file without its sidecar is not claimed.
    largest: bytes of the largest file, as it is delivered; a larger one is quarantined without being copied.
    longest: how long a file may take to be read, and a second more for each 4 MB; one that takes longer is quarantined.
    dated: the strptime format of a date in the file's name, such as "%m-%d-%Y"; with `/` in it, of its path. It orders
        the deliveries, whenever they come; it is `_file_date` in raw, and what promises and usual volumes go by where
        there is no event time. A file whose name has no such date, or several, is quarantined.
    """

    patterns: tuple[str, ...]
    settle: timedelta
    patience: timedelta
    format: Format | None
    sidecar: str | None
    largest: int
    longest: timedelta
    dated: str | None

    def __init__(
        self,
        *patterns: str,
        settle: timedelta = seconds(2),  # noqa: B008 - an immutable value
        patience: timedelta = minutes(15),  # noqa: B008 - an immutable value
        format: Format | None = None,
        sidecar: str | None = None,
        largest: int = gigabytes(10),
        longest: timedelta = minutes(5),  # noqa: B008 - an immutable value
        dated: str | None = None,
    ) -> None:
        for pattern in patterns:
            if not pattern.strip("/ "):
                raise ConfigurationError(
                    "Files", f"{pattern!r} is no pattern", 'Give one, such as "shop/orders/*.csv".'
                )
            path = PurePosixPath(pattern)
            if path.is_absolute() or ".." in path.parts:
                raise ConfigurationError(
                    "Files",
                    f"{pattern!r} leaves the landing folder",
                    "Give a pattern relative to the landing folder, without `..`.",
                )
        if not patterns:
            raise ConfigurationError("Files", "no pattern", 'Give one, such as Files("shop/orders/*.csv").')
        if sidecar is not None and (not sidecar or "/" in sidecar):
            raise ConfigurationError("Files.sidecar", f"{sidecar!r}", 'Give the end of its name, such as ".done".')
        if largest <= 0:
            raise ConfigurationError("Files.largest", f"{largest} bytes", "Give a size, such as gigabytes(10).")
        for name, span in (("settle", settle), ("patience", patience)):
            if span < timedelta():
                raise ConfigurationError(f"Files.{name}", f"{span} is below nothing", "Give a time: seconds(2).")
        if longest <= timedelta():
            raise ConfigurationError("Files.longest", f"{longest}", "Give a time, such as minutes(5).")
        object.__setattr__(self, "patterns", patterns)
        object.__setattr__(self, "settle", settle)
        object.__setattr__(self, "patience", patience)
        object.__setattr__(self, "format", format)
        object.__setattr__(self, "sidecar", sidecar)
        object.__setattr__(self, "largest", largest)
        object.__setattr__(self, "longest", longest)
        object.__setattr__(self, "dated", None if dated is None else NameDate(dated).form)

    @property
    def places(self) -> tuple[str, ...]:
        """Its patterns, as people are shown them."""
        return self.patterns

    def read_from(self, *patterns: str, settle: timedelta | None = None, patience: timedelta | None = None) -> "Files":
        """The same files lying elsewhere."""
        return Files(
            *patterns,
            settle=self.settle if settle is None else settle,
            patience=self.patience if patience is None else patience,
            format=self.format,
            sidecar=self.sidecar,
            largest=self.largest,
            longest=self.longest,
            dated=self.dated,
        )


@declaration
@dataclass(frozen=True)
class Rejects:
    """How many rows of one delivery may be rejected: the larger of `rate` and `rows`, such as `Rejects(rate=0.02)`.

    rate: a share of the delivery's rows.
    rows: a number of rows.
    beyond: what happens when there are more. `hold` loads the other rows and holds the release, `quarantine`
        quarantines the whole delivery.
    """

    rate: float = 0.0
    rows: int = 0
    beyond: Literal["hold", "quarantine"] = "hold"

    def __post_init__(self) -> None:
        if not 0 <= self.rate <= 1:
            raise ConfigurationError(
                "Rejects.rate", f"{self.rate} is no share of rows", "Give a number from 0 to 1: 5 % is rate=0.05."
            )
        if self.rows < 0:
            raise ConfigurationError("Rejects.rows", f"{self.rows} is no number of rows", "Give 0 or more.")

    def allows(self, rejected: int, read: int) -> bool:
        """Whether `rejected` of `read` rows is within tolerance."""
        return rejected <= max(self.rate * read, self.rows)


@declaration
@dataclass(frozen=True)
class Volume:
    """How much a delivery's rows may differ from what the feed usually brings on that weekday, as factors, such as
    `Volume(least=0.8, most=3)`.

    least: a delivery with fewer rows than this share of the usual holds the release. Where the days before differ
        more among themselves, that counts instead.
    most: a delivery with more rows than this multiple of the usual holds the release; None: there cannot be too many.
    """

    least: float = 0.5
    most: float | None = None

    def __post_init__(self) -> None:
        if not 0 < self.least <= 1 or (self.most is not None and self.most < 1):
            raise ConfigurationError(
                "Volume", f"least={self.least}, most={self.most}", "Give factors, such as Volume(least=0.5, most=3)."
            )


@declaration
@dataclass(frozen=True)
class Retention:
    """How long what is not in force is kept, such as `Retention(quarantine=hours(24 * 90))`; None keeps it for ever.

    archive: copies of deliveries that were superseded or only duplicated others. They can then no longer be replayed.
    quarantine: rejected rows. Their receipt keeps the count.
    """

    archive: timedelta | None = None
    quarantine: timedelta | None = None

    def __post_init__(self) -> None:
        for name, span in (("archive", self.archive), ("quarantine", self.quarantine)):
            if span is not None and span < timedelta():
                raise ConfigurationError(
                    f"Retention.{name}", f"{span} is below nothing", "Give a time: hours(24 * 90)."
                )


@declaration
@dataclass(frozen=True)
class Feed:
    """A declared input: source + contract + cadence + owner. The platform derives everything else.

        PRICES = Feed(
            name="prices",
            source=Files("shop/prices/*.csv"),
            contract=Prices,
            delivered=Cadence(cron="0 6 * * 1-6", within=hours(3)),
            owner="team:sales",
        )

    name: what it is called, in tables, assets and commands: lower-case letters, digits and `_`.
    source: where its deliveries come from.
    contract: what a row of it must be.
    delivered: when a delivery is due, and how late it may be.
    owner: who answers for it, and gets its alerts, such as "team:sales".
    event_time: the contract's timestamp or date column that says when a row happened.
    on_restatement: what new content under a known file name does. `replace` takes the old rows' place,
        `append` adds to them, `refuse` quarantines the delivery.
    on_drift: what an unknown column does. `fail` quarantines the delivery, `add` makes it a nullable text
        column of raw, `rescue` keeps it in the JSON column `_extra`. A missing column quarantines, unless it is
        declared optional.
    on_duplicate: what an exact copy of an earlier row of the same delivery does. `reject` leaves it out and
        counts it, `allow` loads it.
    on_empty: what happens to a delivery without a row. `quarantine` waits for a person, `accept` writes a receipt
        of 0 rows.
    key: the columns that name a row.
    key_within: where a key names one row. `feed`: across deliveries, `delivery`: within each one, because every
        delivery is a full list; one that equals another list then counts as a list of its own.
    on_known_key: what happens to a row whose key another row in force has, within the feed or the delivery. `reject`
        keeps the first delivered and counts the others as duplicates, `latest` keeps the last, `allow` loads it.
    tolerate: how many rows of a delivery may be rejected before that holds the release.
    most_columns: a delivery with more columns is quarantined.
    most_undeclared: with `on_drift="add"`, a delivery is quarantined that would give raw more undeclared columns than
        this, counted over all deliveries.
    volume: how far a delivery's number of rows may be from the usual; None: any number is fine.
    keep: how long superseded copies and rejected rows are kept.
    origin: the source system; that of the declaring file's name, unless the feed says otherwise.
    """

    name: str
    source: SourceDeclaration
    contract: type[Contract]
    delivered: Cadence
    owner: str
    event_time: str | None = None
    on_restatement: Literal["replace", "append", "refuse"] = "replace"
    on_drift: Literal["fail", "add", "rescue"] = "fail"
    on_duplicate: Literal["reject", "allow"] = "reject"
    on_empty: Literal["quarantine", "accept"] = "quarantine"
    key: tuple[str, ...] = ()
    key_within: Literal["feed", "delivery"] = "feed"
    on_known_key: Literal["reject", "latest", "allow"] = "allow"
    tolerate: Rejects = field(default_factory=Rejects)
    most_columns: int = 2_000
    most_undeclared: int = 200
    volume: Volume | None = field(default_factory=Volume)
    keep: Retention = field(default_factory=Retention)
    origin: str = ""

    def __post_init__(self) -> None:
        for what, name in (("name", self.name), ("origin", self.origin or self.name)):
            if not _NAME.fullmatch(name):
                raise ConfigurationError(
                    f"Feed({self.name!r}).{what}",
                    f"{name!r} is not a usable name",
                    "Use lower-case letters, digits and _, a letter first.",
                )
        columns = {column.name: column for column in columns_of(self.contract)}
        refuse_other_columns(f"Feed({self.name!r}).key", self.key, self.contract, columns)
        if self.key_within == "delivery" and not self.key:
            raise ConfigurationError(
                f"Feed({self.name!r}).key_within",
                "'delivery' needs to know what names a row of the list",
                'Declare it, such as key=("customer_id",).',
            )
        if self.on_known_key != "allow" and not self.key:
            raise ConfigurationError(
                f"Feed({self.name!r}).on_known_key",
                f"{self.on_known_key!r} needs to know what names a row",
                'Declare it, such as key=("invoice_no", "line_no").',
            )
        times = [column.name for column in columns.values() if column.kind in ("timestamp", "date")]
        if self.event_time is not None and self.event_time not in times:
            raise ConfigurationError(
                f"Feed({self.name!r}).event_time",
                f"{self.event_time!r} is not a timestamp or date column of {self.contract.__name__}."
                + nearest(self.event_time, times),
                f"Name one of: {', '.join(times)}." if times else "It has none: take event_time out.",
            )
        for name, most, least in (("most_columns", self.most_columns, 1), ("most_undeclared", self.most_undeclared, 0)):
            if most < least:
                raise ConfigurationError(f"Feed({self.name!r}).{name}", f"{most} is too few", f"Give {least} or more.")
        if not self.owner.strip():
            raise ConfigurationError(f"Feed({self.name!r}).owner", "names nobody", 'Write such as owner="team:sales".')

    def version(self) -> str:
        """Changes whenever the same delivery might come to another result."""
        keys = (self.key, self.key_within, self.on_known_key)
        policies = (self.on_restatement, self.on_drift, self.on_duplicate, self.on_empty, keys)
        quarantining = self.tolerate if self.tolerate.beyond == "quarantine" else None
        caps = (self.most_columns, self.most_undeclared, self.source.largest, self.source.longest)
        return digest((version_of(self.contract), self.source.format, self.name_date, *policies, quarantining, *caps))

    @property
    def columns(self) -> tuple[Column, ...]:
        """The contract's columns in the order they are declared."""
        return columns_of(self.contract)

    @property
    def event_is_date(self) -> bool:
        """Whether its event time is a date, which says nothing of the hour."""
        return any(column.name == self.event_time and column.kind == "date" for column in self.columns)

    @property
    def by_day(self) -> bool:
        """Whether what says when its data is from is a day: of its event time, or without one in its files' names."""
        return self.event_is_date or (self.event_time is None and self.name_date is not None)

    @property
    def name_date(self) -> NameDate | None:
        """The date in the names of its files; None where none is declared."""
        dated = self.source.dated if isinstance(self.source, Files) else None
        return None if dated is None else name_date(dated)

    def file_date(self, slot: str) -> date | None:
        """The date in the name of the file that fills `slot`; None where none is declared.

        Raises DeliveryRefused where the name does not have just one.
        """
        return None if (named := self.name_date) is None else named.read(slot)

    @property
    def description(self) -> str:
        """What the contract's docstring says of the feed."""
        return describe(self.contract)


def feed_named(name: str, feeds: Sequence[Feed]) -> Feed:
    """The feed called `name`; raises ConfigurationError where there is none."""
    for feed in feeds:
        if feed.name == name:
            return feed
    raise ConfigurationError(
        f"feed {name!r}",
        f"is not declared.{nearest(name, [feed.name for feed in feeds])}",
        f"Feeds are: {', '.join(feed.name for feed in feeds)}.",
    )
