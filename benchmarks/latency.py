"""From file complete to readable: ours by `platform ui` and by `platform run`, and the stock pattern of benchmarks/stock.

Belongs here: deployments that really run, files dropped into them at any moment of the sensor's cycle, and the clock.
Does not: what is compared (workloads.py), the table (report.py). All state lies in the run's folder; processes are
known by the DAGSTER_HOME in their environment, and none outlives its series.
"""

import csv
import fcntl
import io
import json
import os
import random
import resource
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Protocol

import dagster as dg
import duckdb
import psutil
import yaml

from benchmarks.child import Measured
from benchmarks.harness import PROJECT, Failed
from platform_assets.orchestration.automation import UNDER_WAY

_BIN: Final = Path(sys.executable).parent
_STOCK: Final = Path(__file__).with_name("stock")
_NOT_INHERITED: Final = ("PLATFORM_", "DAGSTER_", "DBT_", "PYTHONDONTWRITEBYTECODE")
_CYCLE_S: Final = 5.0
_LOOK_S: Final = 0.02
_QUIET_S: Final = 3.0
_SETTLED_S: Final = 2.5
_LONGEST_S: Final = 300.0
_CALM_WITHIN_S: Final = 120.0
_CALM_PERCENT: Final = 20.0
_FIRST_INVOICE: Final = 600_000  # the simulated ones begin with a 3
_INVOICES: Final = 1_000  # at most, of a delivery
# Dagster's own, in the place of our launcher and of the queue that keeps it warm.
_OWN_QUEUE: Final = {"module": "dagster", "class": "QueuedRunCoordinator", "config": {"dequeue_interval_seconds": 1}}

Sample = dict[str, Any]


class World(Protocol):
    """Something that takes in files and lets its marts be read."""

    root: Path
    dagster_home: Path
    environment: Mapping[str, str]
    day: str

    def deliver(self, name: str, text: str) -> None:
        """Put a file where it is looked for, complete at once."""

    def lines_of(self, delivery: int) -> int:
        """How many lines of it a reader finds; 0 while there is nothing new to read."""


class Ours:
    """A deployment of the platform, with a month of deliveries released."""

    def __init__(self, root: Path, launcher: str = "warm") -> None:
        self.root = root
        self.landing = root / "landing"
        self.dagster_home = root / "home" / "dagster"
        self.environment = _environment(PLATFORM_HOME=root / "home", PLATFORM_LANDING=self.landing)
        self.day = _simulated(self.landing)
        _run("platform", "setup", cwd=PROJECT, environment=self.environment)
        if launcher == "dagster":
            place = self.dagster_home / "dagster.yaml"
            settings = yaml.safe_load(place.read_text())
            del settings["run_launcher"]
            place.write_text(yaml.safe_dump(settings | {"run_coordinator": _OWN_QUEUE}))
        _run("platform", "run", cwd=PROJECT, environment=self.environment)
        self._seen = self._current()

    def deliver(self, name: str, text: str) -> None:
        """Into the landing folder, under a name for unfinished files first."""
        place = self.landing / "retail" / "order_lines" / name
        partial = place.with_name(f"{name}.part")
        partial.write_text(text)
        partial.rename(place)

    def lines_of(self, delivery: int) -> int:
        """In the current release: a link that moves, so each is opened once."""
        current = self._current()
        if current == self._seen:
            return 0
        self._seen = current
        return _lines_of(delivery, current)

    def _current(self) -> Path:
        return (self.root / "home" / "releases" / "current.duckdb").resolve()


class Stock:
    """The stock pattern, with the same month loaded and built."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.project = root / "stock"
        self.dagster_home = root / "dagster"
        self.environment = _environment(
            DAGSTER_HOME=self.dagster_home, PATH=f"{_BIN}{os.pathsep}{os.environ.get('PATH', '')}"
        )
        shutil.copytree(_STOCK, self.project, ignore=shutil.ignore_patterns("__pycache__", "target", "logs"))
        self.dagster_home.mkdir()
        (self.dagster_home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
        self.day = _simulated(root / "landing")
        (root / "landing" / "retail").rename(self.project / "data")
        everything = ("dagster", "asset", "materialize", "--select", "*", "-f", "definitions.py")
        _run(*everything, cwd=self.project, environment={**self.environment, "DAGSTER_IS_DEV_CLI": "1"})
        for loaded in self._inbox.iterdir():  # the sensor would offer them all again
            loaded.unlink()
        self._database = self.project / "stock.duckdb"
        self._seen = self._state()

    @property
    def _inbox(self) -> Path:
        return self.project / "data" / "order_lines"

    def deliver(self, name: str, text: str) -> None:
        """From elsewhere: its sensor takes whatever lies there for a file."""
        partial = self.root / name
        partial.write_text(text)
        partial.rename(self._inbox / name)

    def lines_of(self, delivery: int) -> int:
        """In its database, once a writer has changed it and let go; a reader that came earlier would make dbt fail."""
        now = self._state()
        if now == self._seen or _locked(self._database):
            return 0
        self._seen = now
        return _lines_of(delivery, self._database)

    def _state(self) -> tuple[int, int]:
        state = self._database.stat()
        return state.st_mtime_ns, state.st_size


def ours(run: str, deliveries: int, launcher: str) -> list[Sample]:
    """`platform ui`. launcher: `warm`, which is its default, or `dagster`: Dagster's own."""
    load = _calm()
    world = Ours(Path(run), launcher)
    with _served([_BIN / "platform", "ui", "--port", _free_port()], PROJECT, world) as tree:
        return _series(world, tree, deliveries, load)


def stock(run: str, deliveries: int) -> list[Sample]:
    """`dagster dev` on the stock pattern."""
    load = _calm()
    world = Stock(Path(run))
    command = [_BIN / "dagster", "dev", "-f", "definitions.py", "-h", "127.0.0.1", "-p", _free_port()]
    with _served(command, world.project, world) as tree:
        return _series(world, tree, deliveries, load)


def command(run: str, deliveries: int) -> list[Sample]:
    """`platform run` with a file that has settled, from its start to its end."""
    load = _calm()
    world = Ours(Path(run))

    def once() -> Sample:
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.time()
        _run("platform", "run", "--json", cwd=PROJECT, environment=world.environment)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return {"wall_s": time.time() - began, "cpu_s": cpu_s}

    return _settled(world, deliveries, load, once)


def work(run: str, deliveries: int) -> list[Sample]:
    """The same in a process that has imported, and only imported, what an earlier such run had in the end."""
    load = _calm()
    world = Ours(Path(run))
    world.deliver(*_delivery(world.day, 0))
    time.sleep(_SETTLED_S)
    modules = _child(world, "benchmarks.latency:imported_by_a_run")["answer"]

    def once() -> Sample:
        figures = _child(world, "benchmarks.latency:run_with", modules=modules)
        return {"wall_s": figures["wall_s"], "cpu_s": figures["cpu_s"], "late imports": figures["rows"][0]}

    return _settled(world, deliveries, load, once)


def imported_by_a_run() -> list[str]:
    """Every module there is after a `platform run`, in the order of their import."""
    from platform_assets.cli.run import run

    run(as_json=True)
    return list(sys.modules)


def run_with(modules: list[str]) -> Measured:
    """The verb `run` when all its modules are imported; as rows, how many it has imported nevertheless."""
    import importlib

    for module in modules:
        with suppress(ImportError):
            importlib.import_module(module)
    from platform_assets.cli.run import run

    before = set(sys.modules)
    return Measured(lambda: run(as_json=True), lambda: (len(set(sys.modules) - before), 0))


class Tree:
    """All living processes of a DAGSTER_HOME, whoever started them."""

    def __init__(self, dagster_home: Path) -> None:
        self._home = str(dagster_home)

    def processes(self) -> list[psutil.Process]:
        """They."""
        return [each for each in psutil.process_iter() if self._is_ours(each)]

    def cpu_s(self) -> float:
        """User and system time of them and of those that have ended below them."""
        total = 0.0
        for process in self.processes():
            with suppress(psutil.Error):
                times = process.cpu_times()
                total += times.user + times.system + times.children_user + times.children_system
        return total

    def end(self, first: "subprocess.Popen[bytes]") -> None:
        """Ctrl-C to the first of them, and an end to what is left."""
        with suppress(ProcessLookupError):
            os.killpg(first.pid, signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            first.wait(20)
        psutil.wait_procs(self.processes(), timeout=10)
        while left := self.processes():
            for process in left:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            psutil.wait_procs(left, timeout=5)
        first.wait(5)

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            alive = process.status() != psutil.STATUS_ZOMBIE
            return alive and process.environ().get("DAGSTER_HOME") == self._home
        except (psutil.Error, OSError):
            return False


def _series(world: World, tree: Tree, deliveries: int, load: float) -> list[Sample]:
    """One delivery after the other, each when the one before is over; the first only shows that all are awake."""
    chance = random.Random(7)
    samples: list[Sample] = []
    with dg.DagsterInstance.from_config(str(world.dagster_home)) as instance:
        for number in range(deliveries + 1):
            _until(lambda: _quiet(instance), "quiet moment", world)
            time.sleep(chance.uniform(0, _CYCLE_S))
            name, text = _delivery(world.day, number)
            used, busy = tree.cpu_s(), _busy_s()
            world.deliver(name, text)
            complete = time.time()
            _until(lambda at=number: world.lines_of(at) > 0, f"row of delivery {number}", world)
            readable = time.time()
            cpu_s, busy = tree.cpu_s() - used, _busy_s() - busy
            if number:
                _until(lambda: _quiet(instance), "end of the run", world)
                samples.append(
                    {
                        "wall_s": readable - complete,
                        "cpu_s": cpu_s,
                        "others": max(0.0, busy - cpu_s) / (readable - complete) / (os.cpu_count() or 1),
                        "load": load,
                        "parts": _parts(instance, complete, readable),
                    }
                )
    return samples


def _settled(world: Ours, deliveries: int, load: float, once: Callable[[], Sample]) -> list[Sample]:
    """A delivery, a moment in which it settles, and what is measured."""
    samples: list[Sample] = []
    for number in range(1, deliveries + 1):
        world.deliver(*_delivery(world.day, number))
        time.sleep(_SETTLED_S)
        busy, began = _busy_s(), time.time()
        sample = once()
        ended = time.time()
        others = max(0.0, _busy_s() - busy - sample["cpu_s"]) / (ended - began) / (os.cpu_count() or 1)
        if not world.lines_of(number):
            raise Failed(f"delivery {number} is not in the release that the run has made")
        with dg.DagsterInstance.from_config(str(world.dagster_home)) as instance:
            parts = _parts(instance, began, ended)
        samples.append({**sample, "others": others, "load": load, "parts": parts})
    return samples


def _parts(instance: dg.DagsterInstance, since: float, until: float) -> dict[str, float]:
    """Where the time went, by Dagster's event log: seconds up to each moment, named for what ended with it."""
    records = instance.get_run_records()
    moments: list[tuple[float, str]] = []
    for record in records:
        asked = record.create_timestamp.timestamp()
        if not since <= asked <= until:
            continue
        moments.append((asked, "until a run is asked for"))
        for entry in instance.all_logs(record.dagster_run.run_id):
            event = entry.dagster_event
            if event is None:
                continue
            if event.event_type == dg.DagsterEventType.RUN_START:
                moments.append((entry.timestamp, "until it begins"))
            elif event.event_type == dg.DagsterEventType.STEP_START:
                moments.append((entry.timestamp, "until its steps begin"))
            elif event.is_step_success or event.is_step_failure:
                moments.append((entry.timestamp, str(event.step_key)))
    parts: dict[str, float] = {}
    last = since
    for at, name in [*sorted(moments), (until, "until it can be read")]:
        parts[name] = parts.get(name, 0.0) + max(0.0, min(at, until) - last)
        last = max(last, min(at, until))
    return {name: seconds for name, seconds in parts.items() if seconds >= 0.005}


def _quiet(instance: dg.DagsterInstance) -> bool:
    """Whether nothing runs, now and a while later."""
    under_way = dg.RunsFilter(statuses=list(UNDER_WAY))
    if instance.get_runs(under_way, limit=1):
        return False
    time.sleep(_QUIET_S)
    return not instance.get_runs(under_way, limit=1)


def _until(happens: Callable[[], bool], what: str, world: World) -> None:
    deadline = time.monotonic() + _LONGEST_S
    while not happens():
        if time.monotonic() > deadline:
            raise Failed(f"no {what} within {_LONGEST_S:.0f} s\n{(world.root / 'log').read_text()[-3000:]}")
        time.sleep(_LOOK_S)


@contextmanager
def _served(command: Sequence[str | Path], cwd: Path, world: World) -> Iterator[Tree]:
    tree = Tree(world.dagster_home)
    with (world.root / "log").open("wb") as log:
        first = subprocess.Popen(
            command, cwd=cwd, env=dict(world.environment), stdout=log, stderr=log, start_new_session=True
        )
        try:
            yield tree
        finally:
            tree.end(first)


def _simulated(landing: Path) -> str:
    """The sample retailer's past month, without dirt; the text of its last day of order lines."""
    sample = ("--days", "30", "--rows-per-day", "1000", "--dirt", "0")
    _run("platform", "simulate", *sample, cwd=PROJECT, environment=_environment(PLATFORM_LANDING=landing))
    return max((landing / "retail" / "order_lines").iterdir()).read_text()


def _delivery(day: str, number: int) -> tuple[str, str]:
    """Name and text of a file: the lines of `day`, as of today and with invoices that nobody has seen."""
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
    return f"{today}-{number:03}.csv", text.getvalue()


def _lines_of(delivery: int, database: Path) -> int:
    first = _FIRST_INVOICE + delivery * _INVOICES
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


def _calm() -> float:
    """Wait until others leave the machine alone, for a while at most; the load then."""
    deadline = time.monotonic() + _CALM_WITHIN_S
    while psutil.cpu_percent(interval=2) > _CALM_PERCENT and time.monotonic() < deadline:
        pass
    return os.getloadavg()[0]


def _busy_s() -> float:
    """What all processors have done so far."""
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0))


def _environment(**places: str | Path) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(_NOT_INHERITED)}
    return inherited | {name: str(place) for name, place in places.items()}


def _run(name: str, *arguments: str, cwd: Path, environment: Mapping[str, str]) -> None:
    done = subprocess.run(
        [_BIN / name, *arguments], cwd=cwd, env=dict(environment), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise Failed(f"{name} {' '.join(arguments)} failed:\n{done.stdout[-1000:]}{done.stderr[-3000:]}")


def _child(world: Ours, target: str, **arguments: object) -> dict[str, Any]:
    result = world.root / "result.json"
    _run(
        *("python", "-m", "benchmarks.child", target, json.dumps(arguments), str(result)),
        cwd=PROJECT,
        environment=world.environment,
    )
    figures: dict[str, Any] = json.loads(result.read_text())
    return figures


def _free_port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])
