"""Two deployments that take in files and let their marts be read: ours, and the stock pattern of benchmarks/stock.

Belongs here: how each is made, given a file, and read. Elsewhere: what serves it, and the clock (latency.py). All their
state lies in a folder of the run.
"""

import csv
import fcntl
import io
import json
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Protocol

import duckdb
import yaml

from benchmarks.harness import PROJECT, Failed
from platform_assets.cli.codes import ATTENTION, DONE

BIN: Final = Path(sys.executable).parent
_STOCK: Final = Path(__file__).with_name("stock")
_NOT_INHERITED: Final = ("PLATFORM_", "DAGSTER_", "DBT_", "PYTHONDONTWRITEBYTECODE")
_FIRST_INVOICE: Final = 600_000  # the simulated ones begin with a 3
_INVOICES: Final = 1_000  # at most, of a delivery
# Dagster's own, in the place of our launcher and of the queue that keeps it warm.
_OWN_QUEUE: Final = {"module": "dagster", "class": "QueuedRunCoordinator", "config": {"dequeue_interval_seconds": 1}}


@dataclass(frozen=True)
class Delivery:
    """A file of order lines whose invoices nobody has seen yet."""

    number: int
    name: str
    text: str
    lines: int


class World(Protocol):
    """Something that takes in files and lets its marts be read."""

    root: Path
    dagster_home: Path
    environment: Mapping[str, str]
    day: str

    def deliver(self, delivery: Delivery) -> None:
        """Put it where it is looked for, complete at once."""

    def lines_of(self, delivery: Delivery) -> int:
        """How many of its lines a reader finds; 0 while there is nothing new to read."""


class Ours:
    """A deployment of the platform, with a month of deliveries released."""

    def __init__(self, root: Path, launcher: str = "warm") -> None:
        self.root = root
        self.landing = root / "landing"
        self.dagster_home = root / "home" / "dagster"
        self.environment: Mapping[str, str] = environment_of(PLATFORM_HOME=root / "home", PLATFORM_LANDING=self.landing)
        self.day = _simulated(self.landing)
        run_command("platform", "setup", cwd=PROJECT, environment=self.environment)
        if launcher == "dagster":
            place = self.dagster_home / "dagster.yaml"
            settings = yaml.safe_load(place.read_text())
            del settings["run_launcher"]
            place.write_text(yaml.safe_dump(settings | {"run_coordinator": _OWN_QUEUE}))
        run_command("platform", "run", cwd=PROJECT, environment=self.environment)
        self._seen = self._current()

    def deliver(self, delivery: Delivery) -> None:
        """Into the landing folder, under a name for unfinished files first."""
        place = self.landing / "retail" / "order_lines" / delivery.name
        unfinished = place.with_name(f"{delivery.name}.part")
        unfinished.write_text(delivery.text)
        unfinished.rename(place)

    def lines_of(self, delivery: Delivery) -> int:
        """In the current release: a link that moves, so each is opened once."""
        current = self._current()
        if current == self._seen:
            return 0
        self._seen = current
        return _lines_of(delivery, current)

    def _current(self) -> Path:
        return (self.root / "home" / "releases" / "retail" / "current.duckdb").resolve()


class Stock:
    """The stock pattern, with the same month loaded and built."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.project = root / "stock"
        self.dagster_home = root / "dagster"
        self.environment: Mapping[str, str] = environment_of(
            DAGSTER_HOME=self.dagster_home, PATH=f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}"
        )
        shutil.copytree(_STOCK, self.project, ignore=shutil.ignore_patterns("__pycache__", "target", "logs"))
        self.dagster_home.mkdir()
        (self.dagster_home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
        self.day = _simulated(root / "landing")
        (root / "landing" / "retail").rename(self.project / "data")
        everything = ("dagster", "asset", "materialize", "--select", "*", "-f", "definitions.py")
        # One step after the other: side by side, as is the default, they fight for the database's lock, and fail.
        in_turn = ("--config-json", json.dumps({"execution": {"config": {"in_process": {}}}}))
        environment = {**self.environment, "DAGSTER_IS_DEV_CLI": "1"}
        run_command(*everything, *in_turn, cwd=self.project, environment=environment)
        for loaded in self._inbox.iterdir():  # the sensor would offer them all again
            loaded.unlink()
        self._database = self.project / "stock.duckdb"
        self._seen = self._state()

    @property
    def _inbox(self) -> Path:
        return self.project / "data" / "order_lines"

    def deliver(self, delivery: Delivery) -> None:
        """From elsewhere: its sensor takes whatever lies there for a file."""
        unfinished = self.root / delivery.name
        unfinished.write_text(delivery.text)
        unfinished.rename(self._inbox / delivery.name)

    def lines_of(self, delivery: Delivery) -> int:
        """In its database, once a writer has changed it and let go; a reader that came earlier would make dbt fail."""
        now = self._state()
        if now == self._seen or _locked(self._database):
            return 0
        self._seen = now
        return _lines_of(delivery, self._database)

    def _state(self) -> tuple[int, int]:
        state = self._database.stat()
        return state.st_mtime_ns, state.st_size


def _simulated(landing: Path) -> str:
    """The sample retailer's past month, without dirt; the text of its last day of order lines."""
    sample = ("--days", "30", "--rows-per-day", "1000", "--dirt", "0")
    run_command("platform", "simulate", *sample, cwd=PROJECT, environment=environment_of(PLATFORM_LANDING=landing))
    return max((landing / "retail" / "order_lines").iterdir()).read_text()


def delivery_like(day: str, number: int) -> Delivery:
    """The lines of `day` with new invoices, of today."""
    today = datetime.now(tz=UTC).date()
    lines = list(csv.DictReader(io.StringIO(day)))
    known: dict[str, int] = {}
    for line in lines:
        at = known.setdefault(line["InvoiceNo"], len(known))
        kind = line["InvoiceNo"].rstrip("0123456789")
        line["InvoiceNo"] = f"{kind}{_FIRST_INVOICE + number * _INVOICES + at}"
        line["InvoiceDate"] = f"{today} 00:{at // 60:02}:{at % 60:02}"
    text = io.StringIO()
    writer = csv.DictWriter(text, lines[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return Delivery(number, f"{today}-{number:03}.csv", text.getvalue(), len(lines))


def _lines_of(delivery: Delivery, database: Path) -> int:
    first = _FIRST_INVOICE + delivery.number * _INVOICES
    with closing(duckdb.connect(str(database), read_only=True)) as connection:
        asked = "SELECT count(*) FROM fct_order_lines WHERE right(invoice_no, 6)::INTEGER BETWEEN ? AND ?"
        (count,) = connection.execute(asked, [first, first + _INVOICES - 1]).fetchall()[0]
        return int(count)


def _locked(database: Path) -> bool:
    """Whether a writer has the database open; asking takes no lock itself."""
    asked = struct.pack("hhqqi", fcntl.F_RDLCK, os.SEEK_SET, 0, 0, 0)
    with database.open("rb") as file:
        kind = struct.unpack("hhqqi", fcntl.fcntl(file, fcntl.F_GETLK, asked))[0]
    return bool(kind != fcntl.F_UNLCK)


def environment_of(**places: str | Path) -> dict[str, str]:
    """What a process sees that no developer's settings are to steer."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(_NOT_INHERITED)}
    return inherited | {name: str(place) for name, place in places.items()}


def run_command(name: str, *arguments: str, cwd: Path, environment: Mapping[str, str]) -> None:
    """Run a command of this Python's environment to its end."""
    done = subprocess.run(
        [BIN / name, *arguments], cwd=cwd, env=dict(environment), capture_output=True, text=True, check=False
    )
    if done.returncode not in (DONE, ATTENTION):
        raise Failed(f"{name} {' '.join(arguments)} failed:\n{done.stdout[-1000:]}{done.stderr[-3000:]}")
