"""The Dagster code location: settings and feeds become definitions. Nothing is declared here."""

import dagster as dg

from platform_assets.orchestration.alerts import alerts_sensor
from platform_assets.orchestration.configured import declared_feeds, declared_marts
from platform_assets.orchestration.dbt import models
from platform_assets.orchestration.feeds import delivered, feed_assets
from platform_assets.orchestration.freshness import mart_freshness_checks
from platform_assets.orchestration.marts import mart_checks
from platform_assets.orchestration.release import release_asset
from platform_assets.orchestration.resources import OpensDeployment
from platform_assets.orchestration.sensors import feed_sensor

_AUTOMATION_INTERVAL_S = 5


def build_definitions(deployment: OpensDeployment | None = None) -> dg.Definitions:
    """Everything that this deployment's feeds, models and marts amount to."""
    feeds = declared_feeds()
    dbt = models(feeds)
    assets = [*map(feed_assets, feeds), dbt]
    promised = declared_marts()
    checks = [mart_checks(promised), mart_freshness_checks(promised)] if promised else []
    marts = [key for key in dbt.keys if key.path[0] == "marts"]
    return dg.Definitions(
        assets=[*map(delivered, feeds), *assets, release_asset(marts, assets, checks)],
        asset_checks=checks,
        jobs=[
            dg.define_asset_job(
                "everything",
                selection=dg.AssetSelection.all(),
                description="Take in what is new, build, check, release: what `platform run` does.",
            )
        ],
        sensors=[
            *map(feed_sensor, feeds),
            alerts_sensor,
            dg.AutomationConditionSensorDefinition(
                "automation",
                target=dg.AssetSelection.all(),
                default_status=dg.DefaultSensorStatus.RUNNING,
                minimum_interval_seconds=_AUTOMATION_INTERVAL_S,
                description="Builds downstream of new data once the blocking checks have passed.",
            ),
        ],
        resources={"deployment": deployment or OpensDeployment()},
        # A step process costs more than the steps do.
        executor=dg.in_process_executor,
    )


@dg.definitions
def defs() -> dg.Definitions:
    """The code location; built when it is loaded, not when this module is imported."""
    return build_definitions()
