"""How far a run is, as its assets are made."""

import uuid

import dagster as dg

from platform_assets.commands.execution import _tells_progress


@dg.asset
def first() -> None:
    """Made, and told of."""


@dg.asset(deps=[first])
def second(context: dg.AssetExecutionContext) -> None:
    """Made, and tells of what came besides."""
    context.log_event(dg.AssetMaterialization("deliveries/shop"))


def test_no_more_assets_are_told_of_than_are_made() -> None:
    said: list[str] = []
    run_id = str(uuid.uuid4())
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_event_listener(run_id, _tells_progress(said.append, [first.key, second.key]))
        job = dg.define_asset_job("both", [first, second])
        made = dg.Definitions(assets=[first, second], jobs=[job]).resolve_job_def("both")
        made.execute_in_process(instance=instance, run_id=run_id)
    assert said == ["assets: 1 of 2, first", "assets: 2 of 2, second"]
