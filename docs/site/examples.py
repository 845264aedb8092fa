"""Examples of every option of a declaration, each run on a small delivery: the reference shows what came of it.

Belongs here: what is delivered to an example's feed, and what came of it. Elsewhere: the examples (options.py), the
page they stand on (generate.py).
"""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import duckdb

import platform_assets
from platform_assets import Cadence, Contract, Feed, Field, Files, hours
from platform_assets.engine.deployment import Deployment

NOW: Final = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
ARRIVED: Final = NOW - timedelta(hours=1)
AGAIN: Final = " (again)"
_LINEAGE: Final = ("_delivery_id", "_line", "_revision")


class Sales(Contract):
    """Lines of a shop's sales."""

    sku: str = Field()
    quantity: int = Field()


# The feed that examples change. The page shows this very text.
SALES: Final = '''\
class Sales(Contract):
    """Lines of a shop's sales."""

    sku: str = Field()
    quantity: int = Field()


SALES = Feed(
    name="sales",
    source=Files("sales/**/*"),
    contract=Sales,
    delivered=Cadence(cron="0 6 * * *", within=hours(3)),
    owner="team:sales",
)
'''
# What examples are written with: all that authors import, and what they take from the standard library.
NAMES: Final[Mapping[str, Any]] = {
    **{name: getattr(platform_assets, name) for name in platform_assets.__all__},
    "date": date,
    "datetime": datetime,
    "Decimal": Decimal,
    "timedelta": timedelta,
    "Sales": Sales,
}


@dataclass(frozen=True)
class Example:
    """An option in use.

    options: such as "Field.decimal". code: what the author writes. files: what is delivered: name -> content; a name
    with AGAIN comes after the others were taken in. columns: of the contract. declared: what the feed has instead of
    what SALES has. answer: what to show of the value of `code`, where nothing needs to be delivered.
    """

    options: tuple[str, ...]
    code: str
    files: Mapping[str, str | bytes] = field(default_factory=dict)
    columns: str = "sku: str = Field()\nquantity: int = Field()"
    declared: str = ""
    answer: Callable[[Any], str] | None = None
    arrived: datetime = ARRIVED

    def feed(self) -> Feed:
        """The feed that it declares."""
        space: dict[str, Any] = dict(NAMES)
        body = "\n".join(f"    {line}" for line in self.columns.splitlines())
        exec(f'class Sales(Contract):\n    """Lines of a shop\'s sales."""\n{body}\n', space)
        declared: dict[str, Any] = {
            "name": "sales",
            "source": Files("sales/**/*"),
            "contract": space["Sales"],
            "delivered": Cadence(cron="0 6 * * *", within=hours(3)),
            "owner": "team:sales",
            **eval(f"dict({self.declared})", space),
        }
        return Feed(**declared)


def came_of(example: Example) -> list[str]:
    """What came of it, in lines: rows that are in raw, rejected ones, deliveries that wait or were not accepted."""
    if example.answer is not None:
        return [example.answer(eval(example.code, dict(NAMES)))]
    with taken_in(example) as deployment:
        return list(_told(deployment, example))


@contextmanager
def taken_in(example: Example) -> Iterator[Deployment]:
    """A throw-away deployment of the example's feed that has taken in what is delivered."""
    feed = example.feed()
    with TemporaryDirectory() as folder:
        root = Path(folder)
        deployment = Deployment([feed], home=root / "home", landing=root / "landing", clock=lambda: NOW)
        deployment.prepare()
        # It stays open meanwhile: to open it is half of what a small delivery costs.
        with deployment.warehouse.open("take the example in"):
            for later in (False, True):
                files = {name: content for name, content in example.files.items() if name.endswith(AGAIN) == later}
                for name, content in files.items():
                    path = root / "landing" / name.removesuffix(AGAIN)
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(content if isinstance(content, bytes) else content.encode())
                    arrived = example.arrived.timestamp() + 60 * later
                    os.utime(path, (arrived, arrived))
                if files:
                    deployment.ingest(feed)
        yield deployment


def opened(deployment: Deployment) -> duckdb.DuckDBPyConnection:
    """The warehouse, as anybody may read it while nothing runs; times in UTC."""
    connection = duckdb.connect(deployment.home / "warehouse.duckdb", read_only=True)
    connection.execute("SET TimeZone = 'UTC'")
    return connection


def _told(deployment: Deployment, example: Example) -> Iterator[str]:
    (feed,) = deployment.feeds
    receipts = sorted(deployment.receipts_published(feed), key=lambda receipt: receipt.delivery_id)
    with opened(deployment) as connection:
        raw = connection.execute(f"SELECT * FROM raw.{feed.name} ORDER BY _delivery_id, _line")
        names = [column[0] for column in raw.description or ()]
        for row in raw.fetchall():
            cells = dict(zip(names, row, strict=True)).items()
            yield ", ".join(
                _shown(cell) for name, cell in cells if name not in _LINEAGE and (name, cell) != ("_extra", None)
            )
        rejected = connection.execute(
            f"SELECT r.rule FROM (SELECT unnest(reasons) AS r FROM quarantine.{feed.name} ORDER BY _delivery_id, _line)"
        ).fetchall()
    yield from (f"rejected: {rule}" for (rule,) in rejected)
    if duplicates := sum(receipt.duplicate for receipt in receipts if receipt.status == "accepted"):
        yield f"{duplicates} duplicate"
    for receipt in receipts:
        if receipt.status != "accepted":
            yield f"{receipt.slot}: {receipt.status}" + (f": {receipt.problem}" if receipt.problem else "")
    taken = {receipt.slot for receipt in receipts}
    yield from (f"{name}: not taken in" for name in example.files if name.removesuffix(AGAIN) not in taken)


def _shown(cell: object) -> str:
    if isinstance(cell, datetime):
        return f"{cell.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    return "NULL" if cell is None else f'"{cell}"' if cell == "" else str(cell)
