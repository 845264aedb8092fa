"""By level, never by edge: whatever is missed, cancelled, killed, broken, changed or lost, in the end all that was
accepted is released without a person, or one open incident says what holds it.

Under the real `platform ui`, on a copy of the project whose models and feeds are changed.
"""

import json
import os
import random
import shutil
import signal
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import dagster as dg
import pytest
from machine import PROJECT, rounds
from tree import BUILT_S, Tree

from platform_assets.orchestration.runs.automation import UNDER_WAY
from platform_assets.orchestration.runs.process import PROCESS_TAG

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
ADDED: Final = "select stock_code, count(*) as lines from {{ ref('fct_order_lines') }} group by stock_code"
ADDED_YML: Final = """
version: 2
models:
  - name: added
    description: Articles sold.
    config: {group: retail, contract: {enforced: true}}
    columns:
      - {name: stock_code, data_type: varchar, description: Article}
      - {name: lines, data_type: bigint, description: Lines with it}
"""


class Copy(Tree):
    """The UI of a copy of the project, and what a person and fate do to it."""

    def __init__(self, root: Path, days: int) -> None:
        self.project = root / "project"
        leave = shutil.ignore_patterns(".*", "target", "logs", "__pycache__", "landing")
        shutil.copytree(PROJECT, self.project, ignore=leave, symlinks=True)
        super().__init__(root, days, self.project)
        self.marts = self.project / "dbt_project" / "sample" / "models" / "marts"
        self.sound = (self.marts / "fct_returns.sql").read_text()
        self.spoilt: Path | None = None
        self.start()

    def restart(self) -> None:
        """Stop it as a person does, and start it with the code as it is now."""
        self.end()
        self.start()

    def graphql(self, query: str, **variables: Any) -> Any:
        """What the UI's server answers."""
        body = json.dumps({"query": query, "variables": variables}).encode()
        url = f"http://127.0.0.1:{self.port}/graphql"
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self.token}"}
        with urllib.request.urlopen(urllib.request.Request(url, body, headers)) as answer:
            return json.load(answer)["data"]

    def cancel(self, run: str) -> None:
        """Press *Terminate*."""
        self.graphql("mutation($run: String!) { terminateRun(runId: $run) { __typename } }", run=run)

    def execute_again(self, run: str) -> None:
        """Press *Re-execute all*."""
        self.graphql(
            "mutation($run: String!) { launchRunReexecution("
            "reexecutionParams: {parentRunId: $run, strategy: ALL_STEPS}) { __typename } }",
            run=run,
        )

    def in_dbt(self) -> dg.DagsterRun:
        """A run that dbt is building in right now."""
        found: list[dg.DagsterRun] = []

        def building() -> bool:
            for run in self.runs(dg.DagsterRunStatus.STARTED):
                with self.world.instance() as instance:
                    steps = {step.step_key: step.end_time for step in instance.get_run_step_stats(run.run_id)}
                if steps.get("dbt_models", 0.0) is None and run.tags.get(PROCESS_TAG):
                    found.append(run)
            return bool(found)

        self.until(building, 120, "run in dbt")
        return found[0]

    def break_model(self) -> None:
        """A model that dbt cannot build."""
        (self.marts / "fct_returns.sql").write_text(self.sound.replace("select", "select no_such_column,", 1))
        self.restart()

    def mend_model(self) -> None:
        (self.marts / "fct_returns.sql").write_text(self.sound)
        self.restart()

    def change_model(self) -> None:
        path = self.marts / "fct_returns.sql"
        path.write_text(path.read_text() + f"\n-- changed {time.monotonic()}\n")
        self.restart()

    def add_model(self) -> None:
        (self.marts / "added.sql").write_text(ADDED)
        (self.marts / "added.yml").write_text(ADDED_YML)
        self.restart()

    def remove_model(self) -> None:
        for path in self.marts.glob("added.*"):
            path.unlink()
        self.restart()

    def deliver_bad(self) -> None:
        """A day of which more rows are broken than the feed tolerates."""
        path = max(self.world.landing.glob("retail/order_lines/*.csv"))
        header, *rows = path.read_text().splitlines()
        self.spoilt = path.with_name("2026-04-30.csv")
        broken = [f"{row.rsplit(',', 4)[0]},never,free,," for row in rows]
        self.write(self.spoilt, [header, *broken])

    def mend_delivery(self) -> None:
        """The producer takes the broken rows back: the file comes again, with one sound row that is new."""
        assert self.spoilt is not None
        header, row, *_ = max(self.world.landing.glob("retail/order_lines/2026-03-*.csv")).read_text().splitlines()
        self.write(self.spoilt, [header, row.replace(row.split(",")[0], "599999", 1)])
        self.spoilt = None

    def write(self, path: Path, lines: list[str]) -> None:
        part = path.with_name(path.name + ".part")
        part.write_text("".join(f"{line}\n" for line in lines))
        part.replace(path)

    def lose_storage(self) -> None:
        """DAGSTER_HOME is gone."""
        self.end()
        shutil.rmtree(self.world.home / "dagster")
        self.start()

    def kill_run(self, run: dg.DagsterRun) -> None:
        os.kill(int(run.tags[PROCESS_TAG].split("@")[0]), signal.SIGKILL)

    def incidents(self) -> set[str]:
        """Keys of the incidents whose cause is there now, but that the sample's deliveries are of long ago."""
        time.sleep(2)  # asking costs a process
        told = self.world.platform("alerts", "--json").answer["incidents"]
        there = {each["key"] for each in told if each["gone_at"] is None}
        return {key for key in there if not key.startswith(("missing:", "budget:"))}

    def at_rest(self) -> bool:
        """Whether nothing runs or waits to run."""
        return not self.runs(*UNDER_WAY)

    def released(self) -> bool:
        """Whether the release has every mart of today's code, and every accepted order line."""
        release = self.world.releases / "current.duckdb"
        if not release.exists():
            return False
        marts = {path.stem for path in self.marts.glob("*.sql")}
        there = {name for (name,) in self.world.query("SELECT view_name FROM duckdb_views() WHERE NOT internal")}
        return there == marts and self.world.query("SELECT count(*) FROM fct_order_lines") == self.accepted()

    def accepted(self) -> list[tuple[int]]:
        return [(rows,) for (rows,) in self.ask("SELECT count(*) FROM raw.order_lines")]

    def comes_to_be_released(self, after: Path | None = None) -> None:
        """Without a person; `after`: in another release than this."""
        self.until(lambda: self.released() and self.world.current != after, BUILT_S, "release")
        self.until(self.at_rest, BUILT_S, "end of the runs")


@pytest.fixture
def copies(tmp_path: Path) -> Iterator[Callable[[int], Copy]]:
    made: list[Copy] = []

    def make(days: int) -> Copy:
        made.append(Copy(tmp_path / str(len(made)), days))
        return made[-1]

    yield make
    for copy in made:
        copy.kill()


def test_what_was_missed_cancelled_killed_broken_changed_or_lost_is_made_good(
    copies: Callable[[int], Copy],
) -> None:
    it = copies(8)
    it.comes_to_be_released()

    # a blocking check fails in a sensor's run; the delivery is mended
    it.deliver_bad()
    it.until(lambda: "check:raw/retail/order_lines:rejects_within_tolerance" in it.incidents(), 60, "incident")
    it.until(it.at_rest, 60, "end of the runs")
    before = it.world.current
    it.mend_delivery()
    it.comes_to_be_released(before)

    # a mart is added, changed, removed: no delivery is needed
    for act in (it.add_model, it.change_model, it.remove_model):
        before = it.world.current
        act()
        it.comes_to_be_released(before)

    # dbt cannot build a model: one incident, asked for again; mended, it is built at once
    before = it.world.current
    it.break_model()
    it.until(lambda: it.incidents() == {"model:marts/fct_returns"}, 60, "incident")
    known = next(it.world.landing.glob("retail/order_lines/*.csv"))
    shutil.copy(known, known.with_name("copy.csv"))
    it.until(it.all_taken_in, 60, "receipt of the copy")
    it.until(it.at_rest, 60, "end of the runs")
    assert it.incidents() == {"model:marts/fct_returns"}, "a run that built nothing ends no incident"
    it.mend_model()
    it.comes_to_be_released()
    it.until(lambda: not it.incidents(), 240, "end of the incident")

    # a run is killed while dbt builds
    before = it.world.current
    it.drop_a_day()
    it.kill_run(it.in_dbt())
    it.comes_to_be_released(before)

    # a run is cancelled while dbt builds: it waits for a person, and executing it again does the work
    before = it.world.current
    it.drop_a_day()
    run = it.in_dbt()
    it.cancel(run.run_id)
    it.until(lambda: bool(it.runs(dg.DagsterRunStatus.CANCELED)), 60, "end of the run")
    time.sleep(15)
    assert it.at_rest()
    assert it.world.current == before
    assert not {key for key in it.incidents() if key.startswith("check:")}, "what was cancelled has not failed"
    assert "was cancelled" in it.world.platform("why", "release/retail", "--json").out
    it.execute_again(run.run_id)
    it.comes_to_be_released(before)

    # Dagster's storage is lost, and a file comes by command, then by sensor
    it.end()
    shutil.rmtree(it.world.home / "dagster")
    before = it.world.current
    it.drop_a_day()
    done = it.world.platform("run", "--json")
    assert done.did, done.out
    assert it.released()
    it.start()
    it.lose_storage()
    before = it.world.current
    it.drop_a_day()
    it.comes_to_be_released(before)
    keeps_every_row_in_a_release(it)


def keeps_every_row_in_a_release(it: Copy) -> None:
    stored = it.ask("SELECT count(*), count(DISTINCT (_delivery_id, _line)) FROM raw.order_lines")
    assert stored == [(rows, rows) for (rows,) in it.world.query("SELECT count(*) FROM fct_order_lines")]


@pytest.mark.parametrize("seed", range(1, rounds(2, 2) + 1))
def test_whatever_happens_in_the_end_all_is_released_or_one_incident_says_why(
    copies: Callable[[int], Copy], seed: int
) -> None:
    chance = random.Random(seed)
    it = copies(14)
    it.comes_to_be_released()
    broken = added = False

    def kill_whatever_runs() -> None:
        if (run := it.executing()) is not None:
            it.kill_run(run)

    def cancel_whatever_runs() -> None:
        for run in it.runs(*UNDER_WAY):
            it.cancel(run.run_id)

    def kill_everything() -> None:
        it.kill()
        it.start()

    for _ in range(9):
        acts: list[Callable[[], None]] = [
            *(it.drop_a_day, it.drop_a_day, it.change_model, it.restart, it.lose_storage),
            *(kill_whatever_runs, cancel_whatever_runs, kill_everything),
            it.mend_model if broken else it.break_model,
            it.remove_model if added else it.add_model,
            it.deliver_bad if it.spoilt is None else it.mend_delivery,
        ]
        act = chance.choice(acts)
        broken = act == it.break_model or (broken and act not in (it.mend_model,))
        added = act == it.add_model or (added and act != it.remove_model)
        act()
        time.sleep(chance.uniform(0, 12))
    # What a person cancelled waits for new data.
    it.drop_a_day()
    it.until(it.all_taken_in, 240, "receipt for every file")
    if it.spoilt is not None:
        it.until(lambda: any(key.startswith("check:raw/") for key in it.incidents()), 240, "incident")
        it.mend_delivery()
    if broken:
        it.until(lambda: "model:marts/fct_returns" in it.incidents(), 300, "incident")
        it.mend_model()
    it.comes_to_be_released()
    it.until(lambda: not it.incidents(), 400, "end of every incident")
    keeps_every_row_in_a_release(it)
