"""The sensor that looks after the platform: alerts are sent, checks of stale assets turn red, the heartbeat is shown.

Belongs here: when that is done, also where one of the looks fails. Elsewhere: what is wrong (problems.py), who is told
and how (alerts/incidents.py), what is fresh (freshness.py).
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Final

import dagster as dg

from platform_assets.alerts.incidents import Problem
from platform_assets.errors import lines
from platform_assets.orchestration.runs.resources import OpensDeployment
from platform_assets.orchestration.watch.dagster_state import DagsterState
from platform_assets.orchestration.watch.deployment_state import DeploymentState
from platform_assets.orchestration.watch.freshness import report_freshness
from platform_assets.orchestration.watch.freshness_policy import report_deliveries
from platform_assets.orchestration.watch.page import keep_page
from platform_assets.orchestration.watch.problems import everything
from platform_assets.project.configured import configured_alerts, declared_marts
from platform_assets.project.graph import Project

_INTERVAL_S: Final = 30
_SENDING: Final = timedelta(seconds=8)


def alerts_sensor(project: Project) -> dg.SensorDefinition:
    """The sensor that looks at everything every few seconds, and tells what is to be told."""

    @dg.sensor(
        name="alerts",
        minimum_interval_seconds=_INTERVAL_S,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Tells owners, once for each cause, what is wrong and when it is over; turns stale assets' `fresh` "
        "checks red in time; shows that the platform lives. Asks for no run.",
    )
    def alerts(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        deployment = OpensDeployment().look()
        assert context.repository_def is not None
        seen = DagsterState(context.instance, context.repository_def.asset_graph, deployment.clock())
        known = configured_alerts(context.log.info, to_send=True)
        stored = DeploymentState(deployment, declared_marts(), project)
        found, unknown = everything(seen, stored)
        for beginning, error in unknown.items():
            context.log.error(f"cannot look for problems called {beginning}…: {error}")
        changes = known.sync(found, unknown=list(unknown))
        sent = known.deliver(within=_SENDING)
        report_freshness(seen, stored)
        report_deliveries(seen.instance, stored.deliveries, seen.now)
        _keep_page(context, seen, stored, (found, unknown))
        if unknown:
            raise dg.Failure(f"cannot look for problems called {', '.join(unknown)}…; the others are known")
        # Last: a heart that beats says that all of the above was done.
        known.beat()
        return dg.SkipReason(f"{len(found)} problems, {len(changes.opened)} of them new; {sent}")

    return alerts


def _keep_page(
    context: dg.SensorEvaluationContext,
    seen: DagsterState,
    stored: DeploymentState,
    looked: tuple[Sequence[Problem], Mapping[str, Exception]],
) -> None:
    """That the page cannot be written keeps nobody from being told what is wrong."""
    try:
        keep_page(seen, stored, looked)
    except Exception as error:  # noqa: BLE001 - the next look tries again
        context.log.error(f"cannot write the page of the releases: {lines(str(error))}")
