"""Our side: the real engine, through `Deployment.ingest`, with a contract as a team would write it.

Belongs here: feeds, deployments to start from, and what is measured of them. Elsewhere: data (data.py), the others.
"""

import os
import shutil
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Final

import duckdb

from benchmarks.child import Measured
from platform_assets.engine.contract.model import Contract, Field
from platform_assets.engine.deployment import Deployment
from platform_assets.engine.feed.feed import Cadence, Feed, Files, Rejects, hours, seconds
from platform_assets.engine.load import Outcome
from platform_assets.engine.store.comparison import MartDiff, MartSide
from platform_assets.engine.store.diff import Side, compare

_COUNTRIES: Final = ("United Kingdom", "Germany", "France", "EIRE", "Spain", "Norway", "Portugal", "Italy")


class Lines(Contract):
    """One line of an invoice. Grain: invoice line. Currency: GBP."""

    invoice_no: str = Field(source="InvoiceNo", str_matches=r"^C\d{7}$")
    stock_code: str = Field(source="StockCode", str_length={"min_value": 1, "max_value": 12})
    description: str = Field(source="Description", nullable=True)
    quantity: int = Field(source="Quantity", ge=1, le=100_000)
    invoiced_at: datetime = Field(source="InvoiceDate", format="%Y-%m-%d %H:%M:%S")
    unit_price: Decimal = Field(source="UnitPrice", ge=0)
    customer_id: str = Field(source="CustomerID", nullable=True, pii="pseudonym")
    country: str = Field(source="Country", isin=_COUNTRIES)


class LondonLines(Lines):
    """The same, written in London's time."""

    invoiced_at: datetime = Field(source="InvoiceDate", format="%Y-%m-%d %H:%M:%S", timezone="Europe/London")


_FEED: Final = Feed(
    name="lines",
    source=Files("**", settle=seconds(0)),
    contract=Lines,
    event_time="invoiced_at",
    tolerate=Rejects(rate=0.01),
    delivered=Cadence("0 6 * * *", hours(3)),
    owner="team:sales",
)
_FEEDS: Final = {
    "lines": _FEED,
    "london": Feed(
        name="lines",
        source=_FEED.source,
        contract=LondonLines,
        event_time="invoiced_at",
        tolerate=_FEED.tolerate,
        delivered=_FEED.delivered,
        owner=_FEED.owner,
    ),
    "keyed": Feed(
        name="lines",
        source=_FEED.source,
        contract=Lines,
        event_time="invoiced_at",
        key=("invoice_no", "stock_code"),
        on_known_key="reject",
        tolerate=_FEED.tolerate,
        delivered=_FEED.delivered,
        owner=_FEED.owner,
    ),
}


def load(run: str, files: dict[str, str], warm: str, state: str | None = None, feed: str = "lines") -> Measured:
    """Take in `files` (name in the landing folder -> where it lies), on top of what `state` holds."""
    home, landing = Path(run, "home"), Path(run, "landing")
    if state is not None:
        _clone(Path(state), home)
    _land(landing, files)
    return _measured(_FEEDS[feed], home, landing, warm, Path(run, "warm"))


def arrive(run: str, files: dict[str, str], warm: str, state: str, landing: str) -> Measured:
    """Take in `files` that arrive in a landing folder where all that `state` knows still lies."""
    home = Path(run, "home")
    _clone(Path(state), home)
    _tidy(Path(landing))
    _land(Path(landing), {f"new-{name}": path for name, path in files.items()})
    return _measured(_FEED, home, Path(landing), warm, Path(run, "warm"))


def tick(run: str, warm: str, state: str, landing: str) -> Measured:
    """What a sensor asks: is anything new in the landing folder?"""
    home = Path(run, "home")
    _clone(Path(state), home)
    _tidy(Path(landing))
    _warm_up(_FEED, Path(run, "warm"), warm)
    deployment = Deployment([_FEED], home=home, landing=Path(landing))
    pending: list[int] = []
    return Measured(lambda: pending.append(len(deployment.pending(_FEED))), lambda: (pending[0], 0))


def differing(run: str, before: str, after: str) -> Measured:
    """What differs between two releases of a mart, by its key, column by column."""
    folder = Path(run)
    sides = [_side(folder / f"{at}.duckdb", Path(parquet), str(at)) for at, parquet in enumerate((before, after))]
    found: list[MartDiff] = []

    def work() -> None:
        found.extend(compare(*sides, keys={"lines": ("InvoiceNo", "StockCode")}, hidden={}, scratch=folder))

    return Measured(work, lambda: (found[0].changed, found[0].added + found[0].removed))


def _side(database: Path, parquet: Path, content: str) -> Side:
    """A release's database of that one mart."""
    with duckdb.connect(str(database)) as connection:
        connection.execute(f"CREATE VIEW lines AS FROM read_parquet({str(parquet)!r})")
        kinds = {name: kind for name, kind, *_ in connection.execute("DESCRIBE lines").fetchall()}
        ((rows,),) = connection.execute("SELECT count(*) FROM lines").fetchall()
    return Side(database, {"lines": MartSide(kinds, int(rows), content)}, parquet.parent)


def prepare(state: str, landing: str, start: str | None = None, at: str | None = None) -> None:
    """Make a deployment to start from, that has taken in all that lies in `landing`, or that single file.

    at: a folder to make it in, where the disk would wait for every one of very many files.
    """
    partial = Path(at or Path(state).parent, f".making-{Path(state).name}")
    shutil.rmtree(partial, ignore_errors=True)
    if Path(landing).is_file():
        alone = Path(state).with_name(f".landing-{Path(state).name}")
        shutil.rmtree(alone, ignore_errors=True)
        _land(alone, {Path(landing).name: landing})
        landing = str(alone)
    if start is not None:
        _clone(Path(start), partial)
    deployment = Deployment([_FEED], home=partial, landing=Path(landing))
    deployment.prepare()
    outcome = deployment.ingest(_FEED)
    assert all(receipt.status == "accepted" for receipt in outcome.receipts), outcome
    shutil.move(partial, state)


def _measured(feed: Feed, home: Path, landing: Path, warm: str, warm_at: Path) -> Measured:
    _warm_up(feed, warm_at, warm)
    deployment = Deployment([feed], home=home, landing=landing)
    deployment.prepare()
    os.sync()  # what was copied to start from is not to be written out at the cost of what is measured
    outcomes: list[Outcome] = []

    def rows() -> tuple[int, int]:
        (outcome,) = outcomes
        odd = [
            r
            for r in outcome.receipts
            if r.status not in ("accepted", "duplicate") or (r.status == "accepted" and r.duplicate)
        ]
        assert not odd, odd[:3]
        assert not outcome.unfinished, outcome.unfinished
        return sum(r.accepted for r in outcome.receipts), sum(r.rejected for r in outcome.receipts)

    return Measured(lambda: outcomes.append(deployment.ingest(feed)), rows)


def _warm_up(feed: Feed, at: Path, warm: str) -> None:
    """Load a few lines elsewhere, so that what is imported late is imported."""
    _land(at / "landing", {f"warm{''.join(Path(warm).suffixes)}": warm})
    deployment = Deployment([feed], home=at / "home", landing=at / "landing")
    deployment.prepare()
    deployment.ingest(feed)


def _land(landing: Path, files: dict[str, str]) -> None:
    landing.mkdir(parents=True, exist_ok=True)
    for name, path in files.items():
        shutil.copyfile(path, landing / name)  # a hard link in landing is refused


def _tidy(landing: Path) -> None:
    """Take away what an earlier round has left."""
    for stray in landing.glob("new-*"):
        stray.unlink()


def _clone(state: Path, home: Path) -> None:
    """A copy of a deployment; what is never written to again, the archive's copies, is linked."""
    for folder, _, names in os.walk(state):
        target = home / Path(folder).relative_to(state)
        target.mkdir(parents=True, exist_ok=True)
        for name in names:
            source = Path(folder, name)
            if source.stat().st_mode & 0o222:
                shutil.copy2(source, target / name)
            else:
                os.link(source, target / name)
