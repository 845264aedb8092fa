"""Contracts of marts as asset checks: every row of the built table, by the mart's Pandera model.

Belongs here: the check. Does not: the contracts (platform_assets/marts) or the models (dbt_project).
"""

import dagster as dg

from platform_assets.engine.contract import columns_of, describe
from platform_assets.engine.mart import Mart, check_mart
from platform_assets.orchestration.feeds import WRITER_POOL
from platform_assets.orchestration.resources import DeploymentResource


def mart_key(mart: Mart) -> dg.AssetKey:
    """The key of a mart's table."""
    return dg.AssetKey(["marts", mart.name])


def mart_check(mart: Mart) -> dg.AssetChecksDefinition:
    """Holds a mart to its contract before anybody reads it."""
    columns = columns_of(mart.contract)
    rules = sum(len(column.rules) for column in columns)

    @dg.asset_check(
        name="contract",
        asset=mart_key(mart),
        blocking=True,
        pool=WRITER_POOL,
        description=f"Every row keeps {mart.contract.__name__}: {len(columns)} columns, {rules} rules. "
        + describe(mart.contract).split("\n")[0],
    )
    def contract(context: dg.AssetCheckExecutionContext, deployment: DeploymentResource) -> dg.AssetCheckResult:
        report = check_mart(mart, deployment.open(context).warehouse)
        failed = report.problem is not None or report.broken > 0
        return dg.AssetCheckResult(
            passed=not failed,
            description=report.problem or f"{report.broken} of {report.rows} rows break the contract",
            metadata={"rows": report.rows, "failed": report.broken}
            | ({"samples": dg.MetadataValue.json(list(report.samples))} if report.samples else {}),
        )

    return contract
