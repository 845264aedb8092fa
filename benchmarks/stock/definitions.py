"""The stock pattern: Dagster + dbt + DuckDB put together as Dagster's own documentation teaches it.

Belongs here: what a data engineer gets who follows these pages and changes no default. Elsewhere: ours (ours.py).
  https://docs.dagster.io/guides/automate/sensors            the sensor: a folder, a cursor of modification times
  https://docs.dagster.io/integrations/libraries/dbt/dbt-pythonic, …/dbt/reference      dbt_assets, DbtProject
  https://docs.dagster.io/guides/automate/declarative-automation                        eager, and its sensor
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
from dagster_dbt import DagsterDbtTranslator, DbtCliResource, DbtProject, dbt_assets

MY_DIRECTORY = "data/order_lines"
DATABASE = "stock.duckdb"

# …/dbt/reference, "Loading dbt models from a dbt project": the manifest is made at run time during development.
dbt_project = DbtProject(project_dir=Path(__file__).absolute().parent / "analytics")
dbt_project.prepare_if_dev()


class FileConfig(dg.Config):
    """The file that the sensor has found; all there are when a person asks."""

    filename: str = "*.csv"


@dg.asset
def raw_order_lines(config: FileConfig) -> None:
    """Order lines, appended file by file."""
    files = f"read_csv('{MY_DIRECTORY}/{config.filename}', types = {{'InvoiceNo': 'VARCHAR', 'StockCode': 'VARCHAR'}})"
    with duckdb.connect(DATABASE) as connection:
        connection.execute(f"create table if not exists raw_order_lines as from {files} limit 0")
        connection.execute(f"insert into raw_order_lines from {files}")


@dg.asset
def raw_products() -> None:
    """Price lists."""
    with duckdb.connect(DATABASE) as connection:
        connection.execute("create or replace table raw_products as from read_parquet('data/products/*.parquet')")


@dg.asset
def raw_customers() -> None:
    """Customers."""
    with duckdb.connect(DATABASE) as connection:
        connection.execute("create or replace table raw_customers as from read_json('data/customers/*.ndjson')")


class EagerTranslator(DagsterDbtTranslator):
    """…/dbt/reference, "Customizing automation conditions"."""

    def get_automation_condition(
        self,
        dbt_resource_props: Mapping[str, Any],  # noqa: ARG002 - dagster-dbt's
    ) -> dg.AutomationCondition[Any] | None:
        """Every model as soon as something above it has changed."""
        return dg.AutomationCondition.eager()


@dbt_assets(manifest=dbt_project.manifest_path, dagster_dbt_translator=EagerTranslator())
def dbt_models(context: dg.AssetExecutionContext, dbt: DbtCliResource) -> Iterator[Any]:
    """The dbt project."""
    yield from dbt.cli(["build"], context=context).stream()


raw_job = dg.define_asset_job("raw_job", selection=[raw_order_lines])


# …/automate/sensors, "Cursors and high volume events"; the interval, shorter than the default, is that page's.
@dg.sensor(job=raw_job, minimum_interval_seconds=5, default_status=dg.DefaultSensorStatus.RUNNING)
def updated_file_sensor(context: dg.SensorEvaluationContext) -> Iterator[dg.RunRequest]:
    """A run for each file that is newer than the newest so far."""
    last_mtime = float(context.cursor) if context.cursor else 0
    max_mtime = last_mtime
    for filename in os.listdir(MY_DIRECTORY):  # noqa: PTH208 - as that page has it
        filepath = Path(MY_DIRECTORY, filename)
        if filepath.is_file():
            file_mtime = filepath.stat().st_mtime
            if file_mtime <= last_mtime:
                continue
            yield dg.RunRequest(
                run_key=f"{filename}:{file_mtime}",
                run_config={"ops": {"raw_order_lines": {"config": {"filename": filename}}}},
            )
            max_mtime = max(max_mtime, file_mtime)
    context.update_cursor(str(max_mtime))


defs = dg.Definitions(
    assets=[raw_order_lines, raw_products, raw_customers, dbt_models],
    jobs=[raw_job],
    sensors=[
        updated_file_sensor,
        # The one that Dagster makes by itself, switched on here instead of by a click in the UI.
        dg.AutomationConditionSensorDefinition(
            "default_automation_condition_sensor",
            target=dg.AssetSelection.all(),
            default_status=dg.DefaultSensorStatus.RUNNING,
        ),
    ],
    resources={"dbt": DbtCliResource(project_dir=dbt_project)},
)
