"""Personal data stays where data is: in raw, quarantine and archive, wherever in a delivery it stood."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Final

import dagster as dg
import persons_feeds
import pytest
from modelled import SILENT
from persons import CANARIES, DELIVERIES, deliver, leaked_by_ledger, leaks, named_in
from shop import Clock

from platform_assets.engine.author.drift import compare
from platform_assets.engine.author.headers import headers
from platform_assets.engine.deployment import Deployment
from platform_assets.engine.feed.feed import Feed
from platform_assets.engine.load.trace import trace
from platform_assets.orchestration.feeds import feed_assets
from platform_assets.orchestration.runs.resources import OpensDeployment
from platform_assets.project.dbt_sources import gained_columns
from platform_assets.project.graph import Node, Project, raw_name

pytestmark = pytest.mark.slow

ALLOWED: Final = ("warehouse.duckdb", "marts.duckdb", "archive/", "releases/")
TOMORROW: Final = Clock(timedelta(days=1))  # nobody is still writing what came


@dataclass
class World:
    """A deployment of feeds of personal data, taken in."""

    root: Path
    feeds: list[Feed]
    told: list[str] = field(default_factory=list)

    @property
    def home(self) -> Path:
        return self.root / "home"

    @property
    def deployment(self) -> Deployment:
        return Deployment(
            self.feeds, home=self.home, landing=self.root / "landing", clock=TOMORROW, notify=self.told.append
        )


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Everything delivered, taken in by a run of Dagster with storage on disk."""
    made = World(tmp_path_factory.mktemp("persons"), persons_feeds.FEEDS)
    deliver(made.root / "landing")
    nodes = [Node(raw_name(feed), code="as it was", feed=feed) for feed in made.feeds]
    project = Project({node.name: node for node in nodes}, ())
    definitions = dg.Definitions(
        assets=[feed_assets(feed, project) for feed in made.feeds],
        resources={"deployment": OpensDeployment(opens=lambda _: made.deployment)},
        executor=dg.in_process_executor,
    )
    storage = made.home / "dagster"
    storage.mkdir(parents=True)
    with dg.DagsterInstance.local_temp(str(storage)) as instance:
        job = definitions.resolve_implicit_global_asset_job_def()
        done = job.execute_in_process(instance=instance, run_config=SILENT, raise_on_error=False)
        # Of blocking checks some fail, and nothing else does.
        failed = {event.step_key for event in done.all_events if event.is_step_failure}
        assert failed <= {"ingest_strict"}, failed
        yield made


def test_every_delivery_is_accounted_for(world: World) -> None:
    receipts = {receipt.slot for feed in world.feeds for receipt in world.deployment.receipts_published(feed)}
    assert receipts == {f"persons/{name}" for name in DELIVERIES if not name.endswith(".done")}


def test_receipts_and_all_files_of_the_home_name_nobody(world: World) -> None:
    assert leaked_by_ledger(world.home / "warehouse.duckdb") == []
    assert leaks(world.home, ALLOWED) == {}
    assert named_in("\n".join(world.told)) == set()


def test_what_people_are_shown_names_nobody(world: World) -> None:
    deployment, shown = world.deployment, []
    with deployment.warehouse.reading("look") as unit:
        for feed in world.feeds:
            quarantine = unit.quarantine(feed)
            shown += [repr(row) for row in quarantine.rows()]
            shown += [repr(quarantine.explain()), repr(quarantine.reasons()), repr(quarantine.values(5))]
            shown += [repr(each) + each.columns for each in headers(unit, feed, deployment.archive.root)]
            shown += [repr(compare(unit, feed, deployment.archive.root))]
            shown += [
                repr(asdict(each))
                for each in trace(unit, world.feeds, deployment.archive, f"raw.{feed.name}", {}, most=99)
            ]
            exported = world.root / f"{feed.name}.csv"
            quarantine.export(exported)
            shown.append(exported.read_text())
    shown.append(json.dumps(gained_columns(deployment)))
    shown += [repr(receipt) for feed in world.feeds for receipt in deployment.receipts_published(feed)]
    assert [text for text in shown if named_in(text)] == []


def test_data_is_where_data_may_be(world: World) -> None:
    """Nothing was lost for it: raw and quarantine hold what was delivered."""
    with world.deployment.warehouse.open("look") as connection:
        raw = connection.execute('SELECT * FROM raw."add"').fetchall()
        columns = [
            name
            for (name,) in connection.execute(
                "SELECT column_name FROM duckdb_columns() WHERE table_name = 'add' AND schema_name = 'raw'"
            ).fetchall()
        ]
        rejected = connection.execute("SELECT record FROM quarantine.fail").fetchall()
    assert named_in(repr(raw)) == set(CANARIES)
    assert "Zebedee Quillfeather" in columns
    assert named_in(repr(rejected)) == set(CANARIES)
