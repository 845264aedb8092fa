"""A shop to test with: one small feed in a throw-away deployment, and child processes that can be killed.

Belongs here: what several test files act with. Elsewhere: assertions.
"""

import gzip
import multiprocessing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Final

from platform_assets.engine.contract.model import Contract, Field
from platform_assets.engine.deployment import Deployment, FeedStatus
from platform_assets.engine.durable import failpoint
from platform_assets.engine.durable.disk import Floor
from platform_assets.engine.erase.tombstones import Person
from platform_assets.engine.erasure import Erasure
from platform_assets.engine.feed.feed import Cadence, Feed, Files, hours, seconds
from platform_assets.engine.load import Outcome
from platform_assets.engine.store.erasure import Made
from platform_assets.engine.store.receipts import Receipt
from platform_assets.engine.store.sql import quote

KEY: Final = "an-erase-key-of-the-tests"
HEADER: Final = "sku,quantity,price,sold_at,email"


class Sales(Contract):
    """Lines of a shop's sales. Grain: line. Currency: GBP."""

    sku: str = Field(str_matches=r"^[A-Z][0-9]+$")
    quantity: int = Field(ge=0)
    price: Decimal = Field(ge=0, nullable=True)
    sold_at: datetime = Field(nullable=True)
    email: str = Field(nullable=True, pii="secret", str_contains="@")


class OpenSales(Sales):
    """The same, whose e-mail addresses are nobody's secret: what came undeclared may be named."""

    email: str = Field(nullable=True, str_contains="@")


FILES: Final = Files("sales/**/*.csv", "sales/*.csv.gz", "sales/*.ndjson", "sales/*.parquet", settle=seconds(0))
SALES: Final = Feed(
    name="sales",
    source=FILES,
    contract=Sales,
    event_time="sold_at",
    delivered=Cadence(cron="0 6 * * *", within=hours(3)),
    owner="team:sales",
)


def sales(*lines: str, header: str = HEADER) -> str:
    """A delivery's text: the header and `lines`, filled up with empty fields."""
    width = header.count(",")
    return "".join(f"{line}{',' * (width - line.count(','))}\n" for line in (header, *lines))


def numbered(start: int, count: int) -> str:
    """A delivery of `count` sound lines that no other start shares."""
    return sales(*(f"S{n},{n % 7},{n % 100}.25,2026-03-01T10:00:00Z" for n in range(start, start + count)))


@dataclass
class Clock:
    """The machine's clock, moved by `ahead`; or stopped at `at`."""

    ahead: timedelta = timedelta()
    at: datetime | None = None

    def __call__(self) -> datetime:
        return (self.at or datetime.now(tz=UTC)) + self.ahead


@dataclass
class Shop:
    """A throw-away deployment of one feed under `root`."""

    root: Path
    feed: Feed = SALES
    clock: Clock = field(default_factory=Clock)
    lock_wait: timedelta = timedelta(seconds=20)
    floor: Floor = field(default_factory=Floor)
    told: list[str] = field(default_factory=list)

    @property
    def landing(self) -> Path:
        return self.root / "landing"

    @property
    def deployment(self) -> Deployment:
        return self.deployed()

    def deployed(self, **more: Any) -> Deployment:
        """The deployment; more: what else it is given."""
        return Deployment(
            [self.feed],
            home=self.root / "home",
            landing=self.landing,
            lock_wait=self.lock_wait,
            floor=self.floor,
            clock=self.clock,
            notify=self.told.append,
            **more,
        )

    def declare(self, **changes: Any) -> None:
        """Declare the feed anew, with `changes`."""
        self.feed = replace(self.feed, **changes)
        self.deployment.prepare()

    def deliver(self, name: str, content: str | bytes) -> Path:
        """Put a file below landing/sales, in one step, as a good producer does."""
        path = self.landing / "sales" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.parent / ".delivering.tmp"
        partial.write_bytes(content.encode() if isinstance(content, str) else content)
        partial.replace(path)
        return path

    def ingest(self) -> Outcome:
        return self.deployment.ingest(self.feed)

    def load(self, name: str, content: str | bytes) -> Receipt:
        """Deliver one file, ingest, and give its receipt."""
        self.deliver(name, content)
        (receipt,) = self.ingest().receipts
        return receipt

    @contextmanager
    def held(self) -> Iterator[None]:
        """The warehouse stays open meanwhile, for this process alone: to open it each time is half of what a small
        delivery costs. For tests of what comes out, not of how it is stored."""
        with self.deployment.warehouse.open("hold it"):
            yield

    def query(self, sql: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        with self.deployment.warehouse.open("look") as connection:
            return connection.execute(sql, list(values)).fetchall()

    def rows(self, columns: str = "sku, quantity") -> list[tuple[Any, ...]]:
        return self.query(f"SELECT {columns} FROM raw.{quote(self.feed.name)} ORDER BY ALL")

    def skus(self) -> list[str]:
        return [sku for (sku,) in self.rows("sku")]

    def rejected(self) -> list[tuple[int, list[dict[str, str | None]], str]]:
        """Line, reasons and record of what is in quarantine."""
        return self.query(
            f"SELECT _line, reasons, record FROM quarantine.{quote(self.feed.name)} ORDER BY _delivery_id, _line"
        )

    def receipts(self) -> list[Receipt]:
        """Every receipt, oldest first."""
        with self.deployment.warehouse.reading("look") as unit:
            return unit.ledger.receipts()[::-1]

    def status(self) -> FeedStatus:
        (status,) = self.deployment.status()
        return status

    def reconciles(self) -> bool:
        """Whether raw and quarantine hold, delivery by delivery, what the ledger says of them."""
        held: dict[int, list[int]] = {}
        with self.held():
            for at, table in enumerate(("raw", "quarantine")):
                counts = self.query(f"SELECT _delivery_id, count(*) FROM {table}.{quote(self.feed.name)} GROUP BY ALL")
                for delivery, rows in counts:
                    held.setdefault(delivery, [0, 0])[at] = rows
            receipts = self.receipts()
        told = {
            r.delivery_id: [r.accepted, r.rejected]
            for r in receipts
            if r.feed == self.feed.name and r.status == "accepted" and r.accepted + r.rejected
        }
        return held == told and all(receipt.reconciles for receipt in receipts)

    def leftovers(self) -> list[Path]:
        """Half-made files below the deployment's home."""
        home = self.root / "home"
        return [path for path in home.rglob("*") if path.name.startswith(".claiming-") or ".partial" in path.name]


@dataclass
class Keyed(Shop):
    """A shop with a key, from which persons can be erased. made: what dbt would make of the feed."""

    key: str | None = KEY
    made: Made = field(default_factory=Made)

    @property
    def deployment(self) -> Deployment:
        return self.deployed(erase_key=lambda: self.key)

    def bury(self, **values: str) -> None:
        """Note a tombstone, and nothing else of an erasure."""
        stones = self.deployment.tombstones
        stones.keep(Person(self.feed, values).tombstone(stones.key, "2026-03-01T00:00:00+00:00", "os:test"))

    def erase(self, **values: str) -> Mapping[str, Any]:
        """Take a person out of everything; the certificate."""
        erasure = Erasure(self.deployment, Person(self.feed, values), self.made, ["marts/buyers"], self.told.append)
        return erasure.run("os:test")[0]

    def archived(self) -> bytes:
        """All bytes below the archive, packed ones unpacked."""
        return b"".join(
            gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
            for path in sorted((self.root / "home/archive").rglob("*"))
            if path.is_file()
        )


# A process per fault, forked from one that has already imported the engine but done nothing with it.
_children = multiprocessing.get_context("forkserver")
_children.set_forkserver_preload(["shop", "receivers", "platform_assets.engine.readers.csv.reader"])


def child(act: Callable[..., None], *arguments: object) -> BaseProcess:
    """Start `act(*arguments)` in a process of its own."""
    process = _children.Process(target=act, args=arguments, daemon=True)
    process.start()
    return process


def ended(process: BaseProcess, within_s: float = 60) -> int:
    """Wait for the process to end; its exit code, negative for the signal that killed it."""
    process.join(within_s)
    assert process.exitcode is not None, "the child process hangs"
    return process.exitcode


def ingest_in_child(root: Path, point: str | None = None, changes: Iterable[tuple[str, Any]] = ()) -> None:
    """Prepare and ingest as a run does, dying at `point`."""
    shop = Shop(root, replace(SALES, **dict(changes)))
    failpoint.arm(point)
    shop.deployment.prepare()
    shop.ingest()
