"""The sensor that looks after the platform: what is wrong is told, what has gone stale turns red, a heart beats.

Belongs here: when that is done, and that one blind eye closes no other. Does not: what is wrong (problems.py), who is
told and how (alerts/incidents.py), what is fresh (freshness.py).
"""

from datetime import timedelta
from typing import Final

import dagster as dg

from platform_assets.orchestration.runs.resources import OpensDeployment
from platform_assets.orchestration.watch.delivered import tell_delivered
from platform_assets.orchestration.watch.freshness import Standing, tell_freshness
from platform_assets.orchestration.watch.observed import Observed
from platform_assets.orchestration.watch.problems import everything
from platform_assets.project.configured import configured_alerts, declared_marts
from platform_assets.project.graph import Project

_INTERVAL_S: Final = 10
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
        seen = Observed(context.instance, context.repository_def.asset_graph, deployment.clock())
        tells = configured_alerts()
        standing = Standing(deployment, declared_marts(), project)
        found, unknown = everything(seen, standing)
        for beginning, error in unknown.items():
            context.log.error(f"cannot look for problems called {beginning}…: {error}")
        changes = tells.sync(found, unknown=list(unknown))
        told = tells.deliver(within=_SENDING)
        tell_freshness(seen, standing)
        tell_delivered(seen.instance, standing.known, seen.now)
        if unknown:
            raise dg.Failure(f"cannot look for problems called {', '.join(unknown)}…; the others were told of")
        # Last: a heart that beats says that all of the above was done.
        tells.beat()
        return dg.SkipReason(f"{len(found)} problems, {len(changes.opened)} of them new; {told}")

    return alerts
