"""Going back to an earlier release from Dagster's launchpad, as `platform release rollback` does it at a command line.

Belongs here: the job with its fields, and what Dagster's UI hears of it. Elsewhere: what going back does
(engine/releases.py, engine/store/serving.py).
"""

import dagster as dg
from pydantic import Field

from platform_assets.engine.releases import go_back, go_on
from platform_assets.engine.store.release import Releases
from platform_assets.errors import PlatformError
from platform_assets.orchestration.runs.resources import DeploymentResource
from platform_assets.project.configured import audit_log


class GoBack(dg.Config):
    """Which release readers are to get."""

    product: str = Field("", description="The product; may be left empty where there is one.")
    release: str = Field("previous", description="The release: an id, the beginning of one, previous or newest.")
    why: str = Field("", description="Why; everybody who asks is told, and the audit log has it.")
    unpin: bool = Field(False, description="Instead: give readers the newest release again.")


@dg.op(description="Give readers an earlier release of a product at once; or, with `unpin`, the newest again.")
def give_readers(context: dg.OpExecutionContext, deployment: DeploymentResource, config: GoBack) -> None:
    """Go back or on, once: an error is not tried again."""
    opened, who = deployment.look(), f"run:{context.run.run_id}"
    verb = "release unpin" if config.unpin else "release rollback"
    about = {"run": context.run.run_id, **config.model_dump(exclude_defaults=True)}
    try:
        with audit_log(opened.home).doing(who, verb, about) as came:
            if config.unpin:
                product = go_on(opened, config.product or None).product
            else:
                product = go_back(opened, [*filter(None, [config.product]), config.release], config.why, who).product
            releases = opened.releases_of(product)
            came.update(_readers_get(releases))
    except PlatformError as error:
        raise dg.Failure(str(error), allow_retries=False) from error
    context.log_event(_observed(releases))
    context.log.info(f"Readers of {product} get {_readers_get(releases)['readers get']}. {to_unpin(product)}")


@dg.job(
    description="Which release readers get: go back to an earlier one, which is then pinned, or on to the newest. "
    "Fill in the launchpad; `platform release list` shows the ids.",
)
def rollback() -> None:
    """What `platform release rollback` and `platform release unpin` do."""
    give_readers()


def tell_instance(instance: dg.DagsterInstance, releases: Releases) -> None:
    """Have the page of a product's releases say which one readers have, where no run has changed that."""
    instance.report_runless_asset_event(_observed(releases))


def to_unpin(product: str) -> str:
    """How readers get the newest release again."""
    return f"`platform release unpin {product}`, or the job `rollback` with `unpin`, gives readers the newest again."


def _observed(releases: Releases) -> dg.AssetObservation:
    told, pin = _readers_get(releases), releases.pinned()
    said = f"{to_unpin(releases.product)}" if pin is not None else "Readers get whatever is published."
    return dg.AssetObservation(["release", releases.product], description=said, metadata=told)


def _readers_get(releases: Releases) -> dict[str, str]:
    """Which release readers have, and why."""
    current, pin = releases.current(), releases.pinned()
    told = {"readers get": "none" if current is None else current.id}
    return told if pin is None else {**told, "pinned": str(pin)}
