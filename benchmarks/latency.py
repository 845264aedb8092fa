"""From file complete to readable: ours by `platform ui` and `platform run`, and the stock pattern of benchmarks/stock.

Belongs here: what serves a deployment, files dropped into it at any moment of the sensor's cycle, and the clock. Does
not: the deployments (worlds.py), what is compared (workloads.py), the table (report.py). Processes are known by the
DAGSTER_HOME in their environment, and none outlives its series.
"""

import importlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

import dagster as dg
import psutil

from benchmarks.child import cpu_s
from benchmarks.harness import PROJECT, Failed
from benchmarks.worlds import BIN, Delivery, Ours, Stock, World, delivery_like, run_command
from platform_assets.orchestration.runs.automation import UNDER_WAY

_CYCLE_S: Final = 5.0
_LOOK_S: Final = 0.02
_QUIET_S: Final = 3.0
_SETTLED_S: Final = 2.5
_SHORTEST_S: Final = 0.05
_LONGEST_S: Final = 300.0
CALM_WITHIN_S: Final = 120.0
_CALM_PERCENT: Final = 20.0

_MOMENTS: Final = {
    dg.DagsterEventType.RUN_START: "until it begins",
    dg.DagsterEventType.STEP_START: "until its steps begin",
    dg.DagsterEventType.STEP_SUCCESS: "",
    dg.DagsterEventType.STEP_FAILURE: "",
}

Sample = dict[str, Any]


def ours(run: str, deliveries: int, launcher: str) -> list[Sample]:
    """`platform ui`. launcher: `warm`, which is its default, or `dagster`: Dagster's own."""
    load = _calm()
    world = Ours(Path(run), launcher)
    with _served([BIN / "platform", "ui", "--port", _free_port()], PROJECT, world) as tree:
        return _series(world, tree, deliveries, load)


def stock(run: str, deliveries: int) -> list[Sample]:
    """`dagster dev` on the stock pattern."""
    load = _calm()
    world = Stock(Path(run))
    command: list[str | Path] = [BIN / "dagster", "dev", "-f", "definitions.py", "-h", "127.0.0.1", "-p", _free_port()]
    with _served(command, world.project, world) as tree:
        return _series(world, tree, deliveries, load)


def command(run: str, deliveries: int) -> list[Sample]:
    """`platform run` with a file that has settled, from its start to its end."""
    load = _calm()
    world = Ours(Path(run))

    def once() -> Sample:
        used, began = cpu_s(), time.time()
        run_command("platform", "run", "--json", cwd=PROJECT, environment=world.environment)
        ended = time.time()
        return {"wall_s": ended - began, "cpu_s": cpu_s() - used, "parts": _parts(world, began, ended)}

    return _settled(world, deliveries, load, once)


def work(run: str, deliveries: int) -> list[Sample]:
    """The same in a process that has imported, and only imported, what an earlier such run had in the end."""
    load = _calm()
    world = Ours(Path(run))
    world.deliver(delivery_like(world.day, 0))
    time.sleep(_SETTLED_S)
    modules = _child(world, "benchmarks.latency:imported_by_a_run")["answer"]

    def once() -> Sample:
        sample: Sample = _child(world, "benchmarks.latency:run_with", modules=modules)["answer"]
        began = sample.pop("began")
        return {**sample, "parts": _parts(world, began, began + sample["wall_s"])}

    return _settled(world, deliveries, load, once)


def imported_by_a_run() -> list[str]:
    """Every module there is after a `platform run`, in the order of their import."""
    from platform_assets.cli.run import run

    run(as_json=True)
    return list(sys.modules)


def run_with(modules: list[str]) -> Sample:
    """The verb `run` when all its modules are imported."""
    for module in modules:
        with suppress(ImportError):
            importlib.import_module(module)
    from platform_assets.cli.run import run

    before, used, began = set(sys.modules), cpu_s(), time.time()
    run(as_json=True)
    late = len(set(sys.modules) - before)
    return {"began": began, "wall_s": time.time() - began, "cpu_s": cpu_s() - used, "imported late": late}


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
        first.send_signal(signal.SIGINT)
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
        _until(lambda: _quiet(instance), "quiet moment", world)
        for number in range(deliveries + 1):
            time.sleep(chance.uniform(0, _CYCLE_S))
            delivery = delivery_like(world.day, number)
            before, busy = tree.cpu_s(), _busy_s()
            world.deliver(delivery)
            complete = time.time()
            _until(partial(_arrived, world, delivery), f"row of delivery {number}", world)
            readable = time.time()
            sample: Sample = {"wall_s": readable - complete, "cpu_s": tree.cpu_s() - before, "load": load}
            others = _share(_busy_s() - busy - sample["cpu_s"], sample["wall_s"])
            _until(lambda: _quiet(instance), "end of the run", world)
            if number:
                samples.append({**sample, "others": others, "parts": _parts(world, complete, readable)})
    return samples


def _arrived(world: World, delivery: Delivery) -> bool:
    """Whether a reader finds the delivery, then with every line of it."""
    found = world.lines_of(delivery)
    if found not in (0, delivery.lines):
        raise Failed(f"a reader finds {found} of {delivery.lines} lines")
    return found > 0


def _settled(world: Ours, deliveries: int, load: float, once: Callable[[], Sample]) -> list[Sample]:
    """A delivery, a moment in which it settles, and what is measured."""
    samples: list[Sample] = []
    for number in range(1, deliveries + 1):
        delivery = delivery_like(world.day, number)
        world.deliver(delivery)
        time.sleep(_SETTLED_S)
        used, busy, began = cpu_s(), _busy_s(), time.time()
        sample = once()
        others = _share(_busy_s() - busy - (cpu_s() - used), time.time() - began)
        if not _arrived(world, delivery):
            raise Failed(f"delivery {number} is not in the release that the run has made")
        samples.append({**sample, "others": others, "load": load})
    return samples


def _parts(world: World, since: float, until: float) -> dict[str, float]:
    """Where the time went, by Dagster's event log: seconds up to each moment, named for what ended with it."""
    moments: list[tuple[float, str]] = []
    with dg.DagsterInstance.from_config(str(world.dagster_home)) as instance:
        for record in instance.get_run_records():
            asked = record.create_timestamp.timestamp()
            if since <= asked <= until:
                moments.append((asked, "until a run is asked for"))
                for entry in instance.all_logs(record.dagster_run.run_id, of_type=set(_MOMENTS)):
                    event = entry.get_dagster_event()
                    moments.append((entry.timestamp, _MOMENTS[event.event_type] or str(event.step_key)))
    parts: dict[str, float] = {}
    last = since
    for at, name in [*sorted(moments), (until, "until it can be read")]:
        parts[name] = parts.get(name, 0.0) + max(0.0, min(at, until) - last)
        last = max(last, min(at, until))
    return {name: seconds for name, seconds in parts.items() if seconds >= _SHORTEST_S}


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
        first = subprocess.Popen(command, cwd=cwd, env=dict(world.environment), stdout=log, stderr=log)
        try:
            yield tree
        finally:
            tree.end(first)


def _calm() -> float:
    """Wait until others leave the machine alone, for a while at most; the load then."""
    deadline = time.monotonic() + CALM_WITHIN_S
    while psutil.cpu_percent(interval=2) > _CALM_PERCENT and time.monotonic() < deadline:
        pass
    return os.getloadavg()[0]


def _busy_s() -> float:
    """What all processors have done so far."""
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0))


def _share(used_s: float, wall_s: float) -> float:
    """Which part of the machine that is."""
    return max(0.0, used_s) / wall_s / (os.cpu_count() or 1)


def _child(world: Ours, target: str, **arguments: object) -> dict[str, Any]:
    result = world.root / "result.json"
    run_command(
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
