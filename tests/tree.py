"""`platform ui` on a throw-away deployment, with every process that comes of it.

Belongs here: what tests of the running platform act and look with. Elsewhere: which faults there are.
"""

import contextlib
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import dagster as dg
import duckdb
import psutil
from deployed import Deployed

from platform_assets.orchestration.runs.automation import UNDER_WAY
from platform_assets.orchestration.runs.dagster_internals import InstigatorType
from platform_assets.orchestration.runs.keys import WRITER_POOL
from platform_assets.orchestration.runs.process import DIED_TAG, PROCESS_TAG, process_is_alive

ROWS: Final = 40
AWAKE_S: Final = 120
TAKEN_IN_S: Final = 60
ORPHAN_S: Final = 60
BUILT_S: Final = 240


class Tree:
    """The UI of a deployment that has a release, and all the processes that came of it."""

    def __init__(self, root: Path, days: int, project: Path | None = None) -> None:
        """days: how many days' files there are to be dropped. project: a copy of the project, to be changed."""
        own = {} if project is None else {"PYTHONPATH": str(project)}
        self.token = "a program of the test asks by this"
        self.world = Deployed(root / "world", {**own, "PLATFORM_UI_TOKEN": self.token})
        self.world.landing.mkdir(parents=True)
        source = Deployed(root / "source")
        source.simulate(days=days + 2, rows=ROWS, until="2026-03-31", dirt=0.0)
        self._source = source.landing
        self._days = sorted(self._source.glob("retail/order_lines/*.csv"))
        self.starts = 0
        self.port = ""
        for path in [*self._source.rglob("customers/*"), *self._source.rglob("products/*")]:
            self.drop(path)
        self.drop_a_day()
        done = self.world.platform("run", "--json")
        assert done.did, done.err

    def drop(self, path: Path) -> None:
        """Deliver a file of the source, whole at once."""
        there = self.world.landing / path.relative_to(self._source)
        there.parent.mkdir(parents=True, exist_ok=True)
        Path(shutil.copy(path, there.with_name(f"{there.name}.part"))).replace(there)

    def drop_a_day(self) -> None:
        """Deliver the next day's order lines."""
        self.drop(self._days.pop(0))

    def start(self, **environment: str) -> None:
        """Start the UI and wait until its sensors tick."""
        self.starts += 1
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = str(free.getsockname()[1])
        with self.log.open("w") as log:
            started = self.world.start(
                "platform", "ui", "--port", self.port, out=log, err=subprocess.STDOUT, env=environment
            )
        self._process = started
        began = time.time()
        self.until(lambda: "http://" in self.log.read_text() and self._ticked(began), AWAKE_S, "tick of a sensor")

    def _ticked(self, since: float) -> bool:
        """Whether Dagster's sensors have looked since then. The UI has told where it is: Dagster's storage is there."""
        with self.world.instance() as instance:
            states = instance.all_instigator_state(instigator_type=InstigatorType.SENSOR)
        ticks = (getattr(each.instigator_data, "last_tick_start_timestamp", None) for each in states)
        return any(at is not None and at >= since for at in ticks)

    @property
    def log(self) -> Path:
        return self.world.root / f"ui-{self.starts}.log"

    def details(self) -> str:
        """What the processes behind the UI have told."""
        path = self.world.home / "logs" / "ui.log"
        return path.read_text() if path.is_file() else ""

    def processes(self) -> list[psutil.Process]:
        """Every living process of this deployment."""
        return [process for process in psutil.process_iter() if self._is_ours(process)]

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            alive = process.status() != psutil.STATUS_ZOMBIE
            return alive and process.environ().get("PLATFORM_HOME") == str(self.world.home)
        except (psutil.Error, OSError):
            return False

    def kill(self) -> None:
        """SIGKILL to all of it, and to what it has started meanwhile."""
        while found := self.processes():
            for process in found:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
        self._process.wait(10)

    def end(self) -> None:
        """Ctrl-C, after which nothing is left."""
        os.killpg(self._process.pid, signal.SIGINT)
        self._process.wait(60)
        self.until(lambda: not self.processes(), 90, "end of every process")

    def until(self, happens: Callable[[], bool], within_s: float, what: str) -> None:
        """Wait until `happens()`; fail with what the UI has said last if it does not."""
        deadline = time.monotonic() + within_s
        while not happens():
            if time.monotonic() > deadline:
                runs = [(r.run_id[:8], r.status.value, dict(r.tags)) for r in self.runs()[:6]]
                raise AssertionError(f"no {what} within {within_s:.0f} s\n{runs}\n{self.log.read_text()[-3000:]}")
            time.sleep(0.25)

    def runs(self, *statuses: dg.DagsterRunStatus) -> list[dg.DagsterRun]:
        """Runs, newest first; of those statuses, if any."""
        with self.world.instance() as instance:
            return list(instance.get_runs(dg.RunsFilter(statuses=list(statuses)) if statuses else None))

    def executing(self) -> dg.DagsterRun | None:
        """A run that has begun, and whose process is known."""
        begun = [run for run in self.runs(dg.DagsterRunStatus.STARTED) if run.tags.get(PROCESS_TAG)]
        return begun[0] if begun else None

    def orphans(self) -> list[dg.DagsterRun]:
        """Runs that are not over and that no process executes or will."""
        open_statuses = (
            dg.DagsterRunStatus.NOT_STARTED,
            dg.DagsterRunStatus.STARTING,
            dg.DagsterRunStatus.STARTED,
            dg.DagsterRunStatus.CANCELING,
        )
        return [run for run in self.runs(*open_statuses) if not process_is_alive(run.tags.get(PROCESS_TAG, ""))]

    def died(self) -> list[dg.DagsterRun]:
        """Runs that are known to have died."""
        return [run for run in self.runs() if run.tags.get(DIED_TAG)]

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        """Ask the warehouse, between two runs."""
        deadline = time.monotonic() + 60
        while True:
            try:
                with contextlib.closing(duckdb.connect(str(self.world.home / "warehouse.duckdb"))) as connection:
                    return connection.execute(sql).fetchall()
            except duckdb.IOException:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)

    def delivered(self) -> dict[str, str]:
        """Every file that lies there, with its fingerprint."""
        files = [path for path in self.world.landing.rglob("*") if path.is_file() and path.suffix != ".part"]
        return {
            path.relative_to(self.world.landing).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in files
        }

    def all_taken_in(self) -> bool:
        """Whether each of them has its receipt."""
        if not (self.world.home / "warehouse.duckdb").exists():
            return False
        receipts = set(self.ask("SELECT slot, fingerprint FROM ledger.deliveries"))
        return set(self.delivered().items()) <= receipts

    def recovers(self) -> None:
        """Started again and left alone, it makes everything good; then it is ended."""
        self.start()
        self.until(self.all_taken_in, TAKEN_IN_S, "receipt for every file")
        self.until(lambda: not self.orphans(), ORPHAN_S, "end of orphans")
        self.until(self.all_built, BUILT_S, "release with every day")
        self.until(lambda: not self.runs(*UNDER_WAY), BUILT_S, "end of the runs")
        with self.world.instance() as instance:
            assert not instance.event_log_storage.get_concurrency_info(WRITER_POOL).claimed_slots
        self.end()
        self.keeps_every_row_once()

    def all_built(self) -> bool:
        """Whether the release has all the order lines that were delivered."""
        if not (self.world.releases / "current.duckdb").exists():
            return False
        return self.world.query("SELECT sum(order_lines)::BIGINT FROM daily_sales") == [(self.lines(),)]

    def lines(self) -> int:
        """Order lines that were delivered, each content counted once."""
        paths = self.world.landing.glob("retail/order_lines/*.csv")
        contents = {path.read_bytes() for path in paths}
        return sum(len(content.splitlines()) - 1 for content in contents)

    def keeps_every_row_once(self) -> None:
        """Compare what is stored with the files."""
        stored = self.ask("SELECT count(*), count(DISTINCT (_delivery_id, _line)) FROM raw.order_lines")
        assert stored == [(self.lines(), self.lines())]
        wrong = self.ask("SELECT * FROM ledger.deliveries WHERE read <> accepted + rejected + duplicate + erased")
        assert wrong == []
        twice = (
            "SELECT feed, fingerprint FROM ledger.deliveries WHERE status = 'accepted' GROUP BY ALL HAVING count(*) > 1"
        )
        assert self.ask(twice) == []
