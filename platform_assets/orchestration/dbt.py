"""dbt in Dagster: every model an asset, every test a check, built in this process.

Belongs here: keys, owners, freshness and automation of dbt's assets, and one invocation of dbt. Does not: SQL.
dbt's own runner saves the 3 CPU-seconds that starting its command line costs; what it relies on of dagster-dbt
beyond the documented API is pinned by tests/upstream.
"""

import contextlib
import io
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import dagster as dg
import duckdb
import orjson
from dagster_dbt import DagsterDbtTranslator, DbtProject, dbt_assets

from platform_assets.engine.deployment import Deployment
from platform_assets.engine.feed import Cadence, Feed
from platform_assets.engine.ledger import Ledger
from platform_assets.engine.warehouse import attach, quote
from platform_assets.orchestration.automation import on_cron, on_new_data
from platform_assets.orchestration.columns import Columns, built_tables
from platform_assets.orchestration.configured import declared_marts
from platform_assets.orchestration.dbt_internals import (
    DbtCoreCliEventMessage,
    get_updated_cli_invocation_params_for_context,
)
from platform_assets.orchestration.keys import WRITER_POOL, raw_key
from platform_assets.orchestration.manifest import code_version, current_manifest, dbt_places, parsed_manifest, reached
from platform_assets.orchestration.resources import DeploymentResource

_LEDGER_SOURCE: Final = "platform"
_LEFTOVERS: Final = ("__dbt_tmp", "__dbt_backup")
_RESULTS: Final = ("LogModelResult", "LogSnapshotResult", "LogTestResult")


class Translator(DagsterDbtTranslator):
    """Names and promises of dbt's nodes, by the folder they lie in."""

    def get_asset_key(self, dbt_resource_props: Mapping[str, Any]) -> dg.AssetKey:
        """`<folder>/…/<model>`; a source maps to the raw asset it names."""
        if dbt_resource_props["resource_type"] not in ("model", "snapshot", "seed"):
            return super().get_asset_key(dbt_resource_props)
        folders = [part for part in dbt_resource_props["fqn"][1:-1] if part != dbt_resource_props["name"]]
        if dbt_resource_props["resource_type"] == "snapshot":
            folders = ["snapshots"]
        return dg.AssetKey([*folders, dbt_resource_props["name"]])

    def get_automation_condition(
        self,
        dbt_resource_props: Mapping[str, Any],
    ) -> dg.AutomationCondition[Any]:
        """On new data, or at the times that the model's `meta: {dagster: {cron, timezone}}` says."""
        declared = _declared(dbt_resource_props)
        if "cron" not in declared:
            return on_new_data()
        cadence = Cadence(str(declared["cron"]), timedelta(), timezone=str(declared.get("timezone", "UTC")))
        return on_cron(cadence.cron, cadence.timezone)

    def get_asset_spec(self, manifest: Mapping[str, Any], unique_id: str, project: DbtProject | None) -> dg.AssetSpec:
        """The node's spec."""
        spec = super().get_asset_spec(manifest, unique_id, project)
        # The ledger tells models what is new; it is not data that anybody materializes.
        return spec.replace_attributes(deps=[dep for dep in spec.deps if dep.asset_key.path[0] != _LEDGER_SOURCE])


def prime() -> None:
    """Let dbt do what it does first in every process, for one that runs are forked from: it lists the models.

    That connects to no database and starts no thread; it builds how configuration is validated and nodes are read.
    """
    from dbt.cli.main import dbtRunner
    from dbt.contracts.graph.manifest import Manifest

    manifest = Manifest.from_msgpack(parsed_manifest(current_manifest()).read_bytes())
    with tempfile.TemporaryDirectory(prefix="dbt-") as scratch, contextlib.redirect_stdout(io.StringIO()):
        quietly = ["--log-level", "none", "--no-write-json", "--quiet"]
        dbtRunner(manifest=manifest).invoke([*quietly, "list", *dbt_places(Path(scratch))])


def _declared(node: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a node's `meta: {dagster: …}` says."""
    declared: Mapping[str, Any] = node.get("config", {}).get("meta", {}).get("dagster", {})
    return declared


def models(feeds: Sequence[Feed]) -> dg.AssetsDefinition:
    """All of the dbt project as assets with checks."""
    manifest_path = current_manifest()
    manifest = orjson.loads(manifest_path.read_bytes())
    translator = Translator()

    @dbt_assets(manifest=manifest, dagster_dbt_translator=translator, name="dbt_models", pool=WRITER_POOL)
    def dbt_models(context: dg.AssetExecutionContext, deployment: DeploymentResource) -> Iterator[Any]:
        with deployment.opened(context) as opened:
            if context.selected_asset_keys:
                whole = _wholly_selected(manifest, translator, context.selected_asset_keys, feeds)
                everything = context.selected_asset_keys == context.assets_def.keys
                code = code_version(opened.feeds, declared_marts()) if everything else None
                opened.begin_build(whole, code, leftovers=_LEFTOVERS)
            yield from _build(context, opened, manifest_path)

    return dbt_models


def _wholly_selected(
    manifest: Mapping[str, Any], translator: Translator, selected: AbstractSet[dg.AssetKey], feeds: Sequence[Feed]
) -> list[str]:
    """The feeds of which every model below is being built, but what waits for a time of its own."""
    at_once = {
        node: [child for child in children if "cron" not in _declared(manifest["nodes"].get(child, {}))]
        for node, children in manifest["child_map"].items()
    }
    by_key = {translator.get_asset_key(source): unique_id for unique_id, source in manifest["sources"].items()}
    whole = []
    for feed in feeds:
        starts = [by_key[raw_key(feed)]] if raw_key(feed) in by_key else []
        below = {node for node in reached(at_once, starts) if _is_asset(manifest, node)}
        if {translator.get_asset_key(manifest["nodes"][node]) for node in below} <= selected:
            whole.append(feed.name)
    return whole


def _is_asset(manifest: Mapping[str, Any], node: str) -> bool:
    properties = manifest["nodes"].get(node)
    return (
        properties is not None
        and properties["resource_type"] in ("model", "snapshot", "seed")
        and properties["config"]["materialized"] != "ephemeral"
    )


def _build(context: dg.AssetExecutionContext, deployment: Deployment, manifest_path: Path) -> Iterator[Any]:
    """Run `dbt build` for what the step has selected; yields dagster-dbt's events, models with their row counts."""
    from dbt.adapters.duckdb.connections import DuckDBConnectionManager
    from dbt.cli.main import dbtRunner
    from dbt.contracts.graph.manifest import Manifest
    from dbt_common.events.base_types import EventMsg
    from dbt_common.events.functions import msg_to_dict

    chosen = get_updated_cli_invocation_params_for_context(
        context=context.op_execution_context, manifest={}, dagster_dbt_translator=DagsterDbtTranslator()
    )
    target = deployment.home / "dbt"
    target.mkdir(parents=True, exist_ok=True)
    arguments = ["--log-level", "none", "--no-use-colors", "--no-write-json"]
    arguments += ["build", "--exclude-resource-type", "unit_test"]
    arguments += dbt_places(target)
    # A test runs with the lowest of the models it reads, never before all of them are there.
    arguments += ["--indirect-selection", chosen.indirect_selection or "buildable"]
    messages: list[dict[str, Any]] = []

    def hear(message: EventMsg) -> None:
        event = msg_to_dict(message)
        messages.append(event)
        if event["info"]["level"] in ("warn", "error"):
            context.log.warning(event["info"]["msg"])
        elif event["info"]["name"] in _RESULTS:
            context.log.info(event["info"]["msg"])

    manifest = Manifest.from_msgpack(parsed_manifest(manifest_path).read_bytes())
    try:
        result = dbtRunner(manifest=manifest, callbacks=[hear]).invoke([*arguments, *chosen.selection_args])
    finally:
        # dbt keeps its connection, and with it the file's lock, until the process ends.
        DuckDBConnectionManager.close_all_connections()  # type: ignore[no-untyped-call]  # dbt's is not annotated
    built, tested = (
        sum(message["info"]["name"] in names for message in messages) for names in (_RESULTS[:2], _RESULTS[2:])
    )
    deployment.notify(f"dbt: {built} models built, {tested} tests run")
    figures = _figures(deployment, chosen.manifest, chosen.dagster_dbt_translator, target)
    for event in messages:
        message = DbtCoreCliEventMessage(raw_event=event, event_history_metadata={})
        for dagster_event in message.to_default_asset_events(
            manifest=chosen.manifest,
            dagster_dbt_translator=chosen.dagster_dbt_translator,
            context=context,
            target_path=target,
        ):
            if isinstance(dagster_event, dg.Output):
                mine = figures.get(event["data"]["node_info"]["unique_id"], {})
                dagster_event = dagster_event.with_metadata({**dagster_event.metadata, **mine})
            yield dagster_event
    if not result.success:
        failed = _failed_models(result, chosen.manifest, chosen.dagster_dbt_translator)
        raise dg.Failure(
            _what_failed(result, messages), metadata={"models": dg.MetadataValue.json(failed)}, allow_retries=False
        )


def _failed_models(result: Any, manifest: Mapping[str, Any], translator: DagsterDbtTranslator) -> dict[str, str]:  # noqa: ANN401 - dbtRunnerResult
    """What dbt said of each model that failed, by asset. A test that failed is a check, and no failure of its model."""
    return {
        translator.get_asset_key(manifest["nodes"][each.node.unique_id]).to_user_string(): " ".join(
            each.message.split()
        )
        for each in getattr(result.result, "results", ())
        if each.status == "error" and each.node.resource_type in ("model", "snapshot", "seed")
    }


def _what_failed(result: Any, messages: Sequence[Mapping[str, Any]]) -> str:  # noqa: ANN401 - dbtRunnerResult
    if result.exception is not None:
        return f"dbt: {result.exception}"
    errors = [message["info"]["msg"] for message in messages if message["info"]["level"] == "error"]
    return "dbt build failed; readers keep the last release.\n" + "\n".join(errors[:20])


def _figures(
    deployment: Deployment, manifest: Mapping[str, Any], keys: DagsterDbtTranslator, target: Path
) -> dict[str, dict[str, Any]]:
    """Rows and columns of each node's table, and up to when its data goes by the stalest feed it is made from."""
    with deployment.warehouse.open("count the rows of the models", deployment.notify) as connection:
        counts = _row_counts(connection, deployment.warehouse.marts)
        tables = built_tables(connection)
        totals = {raw_key(feed): (feed, Ledger(connection).totals(feed.name)) for feed in deployment.feeds}
    newest = {key: (t.newest if feed.event_time else t.arrived, feed.name) for key, (feed, t) in totals.items()}
    translator = DagsterDbtTranslator()
    raw = {node: translator.get_asset_key(source) for node, source in manifest["sources"].items()}
    found = Columns(tables, manifest, keys, target).metadata()
    for unique_id, node in manifest["nodes"].items():
        figures = found.setdefault(unique_id, {})
        if (rows := counts.get((node["schema"], node["alias"]))) is not None:
            figures["dagster/row_count"] = rows
        above = [newest[raw[each]] for each in reached(manifest["parent_map"], [unique_id]) if raw.get(each) in newest]
        known = [(at, feed) for at, feed in above if at is not None]
        if known and len(known) == len(above):
            at, figures["stalest_feed"] = min(known)
            figures["newest_data"] = dg.MetadataValue.timestamp(at)
    return found


def _row_counts(connection: duckdb.DuckDBPyConnection, marts: Path) -> dict[tuple[str, str], int]:
    """Rows by (schema, table) of the tables that dbt builds."""
    attach(connection, marts, "marts", "(READ_ONLY)")
    tables = connection.execute(
        "SELECT database_name, schema_name, table_name FROM duckdb_tables() "
        "WHERE database_name = 'marts' OR schema_name = 'snapshots'"
    ).fetchall()
    counts = {}
    for database, schema, table in tables:
        counted = connection.execute(
            f"SELECT count(*) FROM {quote(database)}.{quote(schema)}.{quote(table)}"
        ).fetchone()
        counts[schema, table] = int(counted[0]) if counted else 0
    return counts
