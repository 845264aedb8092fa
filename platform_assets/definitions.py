"""The Dagster code location: settings and feeds become definitions. Nothing is declared here."""

import logging

import dagster as dg

from platform_assets.orchestration.consumers import consumer_assets
from platform_assets.orchestration.dbt import models
from platform_assets.orchestration.exports import export_asset
from platform_assets.orchestration.feeds import delivered, feed_assets
from platform_assets.orchestration.marts import mart_checks
from platform_assets.orchestration.release import release_asset, release_checks
from platform_assets.orchestration.rollback import rollback
from platform_assets.orchestration.runs.automation import automation_sensor, out_of_date
from platform_assets.orchestration.runs.resources import OpensDeployment
from platform_assets.orchestration.sensors import feed_sensor
from platform_assets.orchestration.watch.alerts import alerts_sensor
from platform_assets.orchestration.watch.freshness import mart_freshness_checks
from platform_assets.project.configured import declared_feeds, declared_marts, declared_project
from platform_assets.project.dbt_sources import follow_feeds
from platform_assets.settings import protect_process


def build_definitions(deployment: OpensDeployment | None = None) -> dg.Definitions:
    """Everything that this deployment's feeds, models and marts amount to."""
    deployment = deployment or OpensDeployment()
    feeds = declared_feeds()
    promised = declared_marts()
    project = declared_project(feeds)
    condition = out_of_date(project, deployment.look)
    products = {product.name: product for product in project.products}
    others = {product.release for product in project.products} | {each.asset for each in project.exports}
    has_models = any(node.feed is None for node in project.nodes.values() if node.name not in others)
    checks = [mart_checks(promised, project), mart_freshness_checks(promised, project)] if promised else []
    checks += [release_checks(project)] if project.products else []
    return dg.Definitions(
        assets=[
            *map(delivered, feeds),
            *(feed_assets(feed, project) for feed in feeds),
            *([models(project, condition)] if has_models else []),
            *(release_asset(product, project, condition) for product in project.products),
            *(export_asset(each, products[each.product], condition) for each in project.exports),
            *consumer_assets(project),
        ],
        asset_checks=checks,
        jobs=[
            dg.define_asset_job(
                "everything",
                selection=dg.AssetSelection.all(),
                description="Take in what is new, build, check, release: what `platform run` does.",
            ),
            *([rollback] if project.products else []),
        ],
        sensors=[
            *(feed_sensor(feed, project, deployment) for feed in feeds),
            alerts_sensor(project),
            automation_sensor(),
        ],
        resources={"deployment": deployment},
        # A step process costs more than the steps do.
        executor=dg.in_process_executor,
    )


@dg.definitions
def defs() -> dg.Definitions:
    """The code location; built when it is loaded, not when this module is imported. dbt's sources follow the feeds."""
    protect_process()
    follow_feeds(declared_feeds(), logging.getLogger(__name__).warning)
    return build_definitions()
