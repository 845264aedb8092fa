"""Exports in Dagster: a product's marts as tables of another database, an asset below its release.

Belongs here: bringing a database up to date in a run, and what Dagster hears of it. Elsewhere: which database, and what
it said (project/exports.py), what is written there (engine/export).
"""

from collections.abc import Iterator
from typing import Any, Final

import dagster as dg

from platform_assets.engine.feed.export import Export
from platform_assets.errors import counted, listed
from platform_assets.orchestration.markdown import code, table
from platform_assets.orchestration.runs.keys import release_key
from platform_assets.orchestration.runs.resources import DeploymentResource
from platform_assets.project.exports import Brought, bring
from platform_assets.project.products import ReleasedProduct

_ROWS: Final = "rows_there"
_VALUES: Final = "values_there"


def export_asset(
    declared: Export, product: ReleasedProduct, condition: dg.AutomationCondition[Any] | None
) -> dg.AssetsDefinition:
    """What the database holds of the product's release, brought up to date by itself under `condition`."""
    key = dg.AssetKey(declared.asset.split("/"))
    which = f"{listed(list(declared.marts))} of {product.name}" if declared.marts else f"The marts of {product.name}"

    @dg.asset(
        key=key,
        deps=[release_key(product)],
        group_name="export",
        owners=[product.owner],
        kinds={"sql"},
        automation_condition=condition,
        check_specs=[
            dg.AssetCheckSpec(_ROWS, asset=key, description="The database has as many rows as the release."),
            dg.AssetCheckSpec(
                _VALUES, asset=key, description="What is read back from the database has the values of the release."
            ),
        ],
        description=f"{which}, as tables of the database that the setting {declared.setting} leads to: all in one "
        "transaction, with the release's id in the table `_platform_releases` there. What is the same is not written.",
    )
    def export(
        context: dg.AssetExecutionContext, deployment: DeploymentResource
    ) -> Iterator[dg.MaterializeResult[Any]]:
        with deployment.opened(context) as opened:
            brought = bring(declared, opened)
        done = brought.exported
        context.log.info(
            f"release {done.release}: {counted(len(done.written), 'mart')} written, "
            f"{len(done.compared) - len(done.written)} there already"
        )
        yield dg.MaterializeResult(metadata=_metadata(brought), check_results=list(_checks(key, brought)))

    return export


def _metadata(brought: Brought) -> dict[str, Any]:
    done = brought.exported
    rows = [(code(mart), each.rows, "yes" if mart in done.written else "") for mart, each in done.compared.items()]
    return {
        "release": done.release,
        "database": brought.kind,
        "dagster/row_count": sum(each.rows for each in done.compared.values()),
        "tables": dg.MetadataValue.md(table(("table", "rows", "written"), rows)),
        **({"left_there": listed(list(done.left))} if done.left else {}),
    }


def _checks(key: dg.AssetKey, brought: Brought) -> Iterator[dg.AssetCheckResult]:
    compared = brought.exported.compared
    wrong = [mart for mart, each in compared.items() if each.rows != each.expected]
    yield dg.AssetCheckResult(
        asset_key=key,
        check_name=_ROWS,
        passed=not wrong,
        description=f"{len(wrong)} of {counted(len(compared), 'table')} have other rows",
        metadata={"rows": sum(each.rows for each in compared.values()), "failed": len(wrong)},
    )
    wrong = [mart for mart, each in compared.items() if each.differing]
    yield dg.AssetCheckResult(
        asset_key=key,
        check_name=_VALUES,
        passed=not wrong,
        description=f"{len(wrong)} of {counted(len(compared), 'table')} have other values",
        metadata={"tables": len(compared), "failed": len(wrong)},
    )
