"""A shop in Dagster: its feed, one model below it, and the release, with their sensor and their automation.

Belongs here: what several test files act with. Elsewhere: assertions. The model is a plain asset that notes what it was
made from, as dbt's do; all else is the product's own.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import dagster as dg
import duckdb
from shop import Shop

from platform_assets.engine.deployment import Deployment
from platform_assets.engine.feed.export import Export
from platform_assets.engine.feed.feed import Cadence, Feed
from platform_assets.engine.feed.product import UNGROUPED, Product
from platform_assets.engine.store.builds import CheckResult
from platform_assets.orchestration.exports import export_asset
from platform_assets.orchestration.feeds import feed_assets
from platform_assets.orchestration.release import release_asset, release_checks
from platform_assets.orchestration.runs.automation import automation_sensor, out_of_date
from platform_assets.orchestration.runs.keys import BY_ITSELF_TAG, raw_key
from platform_assets.orchestration.runs.resources import OpensDeployment
from platform_assets.orchestration.sensors import feed_sensor
from platform_assets.project.graph import Node, Project, raw_name
from platform_assets.project.lineage import ORIGINS_FILE
from platform_assets.project.products import ReleasedProduct
from platform_assets.project.state import State

SILENT: Final = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
MODEL: Final = "marts/revenue"
PRODUCT: Final = ReleasedProduct(UNGROUPED, "team:sales", (MODEL,), Product(UNGROUPED))
RELEASE: Final = PRODUCT.release


def opens(shop: Shop) -> OpensDeployment:
    """What opens the shop where Dagster asks for the deployment."""
    return OpensDeployment(opens=lambda _: shop.deployment)


def project_of_shop(
    feed: Feed, code: str = "as it was", cron: Cadence | None = None, held_to: str = "what it was"
) -> Project:
    """The feed's rows, a mart of them, and the release."""
    raw = Node(raw_name(feed), code=held_to, feed=feed)
    model = Node(MODEL, (raw.name,), code, cron=cron)
    return Project({node.name: node for node in (raw, model, Node(RELEASE, (MODEL,)))}, (PRODUCT,))


def note_made(home: Path, marts: Mapping[str, Mapping[str, Any]], feeds: Sequence[Feed]) -> None:
    """What the columns of marts are made from, noted as a build of dbt notes it."""
    (home / "dbt").mkdir(exist_ok=True)
    feeds_above = [feed.name for feed in feeds]
    noted = {mart: {"feeds": feeds_above, "columns": columns, "unnamed": 0} for mart, columns in marts.items()}
    (home / "dbt" / ORIGINS_FILE).write_text(json.dumps(noted))


@dataclass
class Modelled:
    """The shop with Dagster around it. works: what making the model does besides; rows: what it makes; sound: what its
    check says; exports: where the release goes besides."""

    shop: Shop
    instance: dg.DagsterInstance
    code: str = "as it was"
    code_of_feed: str = "what it was"
    cron: Cadence | None = None
    sound: bool = True
    works: Callable[[], None] = lambda: None
    rows: str = "SELECT 1 AS one"
    exports: tuple[Export, ...] = ()
    most_files: int = 1_000
    most_bytes: int = 1 << 30
    cursors: dict[str, str | None] = field(default_factory=dict)

    @property
    def feed(self) -> Feed:
        return self.shop.feed

    @property
    def project(self) -> Project:
        project = project_of_shop(self.feed, self.code, self.cron, self.code_of_feed)
        exports = {each.asset: Node(each.asset, (RELEASE,), export=each) for each in self.exports}
        return replace(project, nodes={**project.nodes, **exports})

    @property
    def state(self) -> State:
        return State.of(self.project, self.shop.deployment)

    @property
    def definitions(self) -> dg.Definitions:
        project = self.project
        condition = out_of_date(project, lambda: self.shop.deployment)
        key = dg.AssetKey(MODEL.split("/"))

        @dg.multi_asset(
            name="models",
            specs=[dg.AssetSpec(key, deps=[raw_key(self.feed)], automation_condition=condition)],
            check_specs=[dg.AssetCheckSpec("sound", asset=key, blocking=True)],
            can_subset=True,
        )
        def models(context: dg.AssetExecutionContext) -> Iterator[Any]:
            yield from self._make(context, project)

        return dg.Definitions(
            assets=[
                *(feed_assets(self.feed, project), models, release_asset(PRODUCT, project, condition)),
                *(export_asset(each, PRODUCT, condition) for each in self.exports),
            ],
            asset_checks=[release_checks(project)],
            sensors=[
                feed_sensor(self.feed, project, opens(self.shop), self.most_files, self.most_bytes),
                automation_sensor(),
            ],
            resources={"deployment": opens(self.shop)},
            executor=dg.in_process_executor,
        )

    def _make(self, context: dg.AssetExecutionContext, project: Project) -> Iterator[Any]:
        deployment: Deployment = self.shop.deployment
        state, now = State.of(project, deployment), deployment.clock()
        wanted = [key.to_user_string() for key in context.selected_asset_keys]
        if wanted:
            with deployment.begin_build(wanted, context.run.run_id):
                self.works()
                with duckdb.connect(str(deployment.warehouse.marts)) as marts:
                    marts.execute(f"CREATE OR REPLACE TABLE revenue AS {self.rows}")
                note_made(deployment.home, {"revenue": {"one": []}}, [self.feed])
            made = state.makes(wanted, now, context.run.run_id)
            deployment.builds.note([replace(each, checks=["sound"]) for each in made.values()])
            yield dg.MaterializeResult(asset_key=MODEL.split("/"))
        if context.selected_asset_check_keys:
            version = deployment.builds.read().made[MODEL].version
            deployment.builds.note(results=[CheckResult(MODEL, "sound", version, self.sound, "looked at", now)])
            yield dg.AssetCheckResult(asset_key=MODEL.split("/"), check_name="sound", passed=self.sound)

    def tick(self, sensor: str = "sales_files") -> dg.RunRequest | str:
        """What the sensor asks for, or why it does not."""
        definitions = self.definitions
        context = dg.build_sensor_context(
            instance=self.instance, cursor=self.cursors.get(sensor), definitions=definitions
        )
        said = definitions.get_repository_def().get_sensor_def(sensor)(context)
        if isinstance(said, dg.SkipReason):
            return said.skip_message or ""
        assert isinstance(said, dg.SensorResult)
        self.cursors[sensor] = said.cursor
        if not said.run_requests:
            return "nothing"
        (request,) = said.run_requests
        return request

    def automated(self) -> set[str]:
        """What automation asks for at its next tick."""
        said = self.tick("automation")
        return set() if isinstance(said, str) else {key.to_user_string() for key in said.asset_selection or ()}

    def run(self, request: dg.RunRequest) -> dg.ExecuteInProcessResult:
        """The run that was asked for."""
        job = self.definitions.resolve_implicit_global_asset_job_def()
        return job.execute_in_process(
            instance=self.instance,
            asset_selection=list(request.asset_selection or ()),
            run_config=dict(request.run_config) | SILENT,
            tags=dict(request.tags),
            raise_on_error=False,
        )

    def by_itself(self, most: int = 12) -> list[dg.ExecuteInProcessResult]:
        """All that sensor and automation ask for until they ask for nothing more."""
        results: list[dg.ExecuteInProcessResult] = []
        for _ in range(most):
            asked = [said for sensor in ("sales_files", "automation") if not isinstance(said := self.tick(sensor), str)]
            if not asked:
                return results
            results += [self.run(request) for request in asked]
        raise AssertionError("it never comes to rest")

    def by_hand(self, *names: str, checks_only: bool = False) -> dg.ExecuteInProcessResult:
        """A run that a person starts in the UI: of these assets, or of the checks of them alone."""
        keys = {dg.AssetKey(name.split("/")) for name in names}
        job = self.definitions.resolve_implicit_global_asset_job_def()
        checks = {key for key in self.definitions.resolve_asset_graph().asset_check_keys if key.asset_key in keys}
        part = (
            job.get_subset(asset_selection=set(), asset_check_selection=checks)
            if checks_only
            else job.get_subset(asset_selection=keys)
        )
        return part.execute_in_process(instance=self.instance, run_config=SILENT, raise_on_error=False)

    def came_to(self, request: dg.RunRequest | list[str], status: dg.DagsterRunStatus, **tags: str) -> dg.DagsterRun:
        """A run of the request that came only so far, and made nothing."""
        job = self.definitions.resolve_implicit_global_asset_job_def()
        named = (
            request if isinstance(request, list) else [key.to_user_string() for key in request.asset_selection or ()]
        )
        own = {BY_ITSELF_TAG: "true"} if isinstance(request, list) else dict(request.tags)
        ended = status in (dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)
        run = self.instance.create_run_for_job(
            job_def=job,
            status=dg.DagsterRunStatus.STARTED if ended else status,
            tags=own | tags,
            asset_selection=frozenset(dg.AssetKey(name.split("/")) for name in named),
        )
        if status == dg.DagsterRunStatus.FAILURE:
            self.instance.report_run_failed(run)
        if status == dg.DagsterRunStatus.CANCELED:
            self.instance.report_run_canceled(run)
        return run

    @property
    def released(self) -> bool:
        """Whether the current release holds all that is there."""
        state = self.state
        return state.outdated(RELEASE) is None and state.outdated(MODEL) is None


@contextmanager
def modelled(shop: Shop) -> Iterator[Modelled]:
    """The shop with Dagster around it, on a storage of its own, in memory."""
    with dg.DagsterInstance.ephemeral() as instance:
        yield Modelled(shop, instance)
