"""dbt in Dagster: every model an asset, every test a check, built in this process.

Belongs here: keys, owners, newest data and automation of dbt's assets, and one invocation of dbt. Elsewhere: SQL.
dbt's own runner saves the 3 CPU-seconds that starting its command line costs; what it relies on of dagster-dbt
beyond the documented API is pinned by tests/upstream.
"""

import contextlib
import io
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, TypeAlias

import dagster as dg
import orjson
from dagster_dbt import DagsterDbtTranslator, DbtProject, dbt_assets

from platform_assets.engine.deployment import Deployment
from platform_assets.engine.store.builds import CheckResult
from platform_assets.engine.store.marts import built_tables, newest_of_marts, rows_that_fail
from platform_assets.engine.store.newest import Rows
from platform_assets.errors import counted, listed
from platform_assets.orchestration.columns import column_metadata
from platform_assets.orchestration.held import Verdict, no_failure, tell_held_back
from platform_assets.orchestration.markdown import listing, newest
from platform_assets.orchestration.marts import CONTRACT
from platform_assets.orchestration.runs.automation import note_wanted
from platform_assets.orchestration.runs.dbt_internals import (
    DbtCoreCliEventMessage,
    get_asset_check_key_for_test,
    get_updated_cli_invocation_params_for_context,
)
from platform_assets.orchestration.runs.keys import BY_COMMAND_TAG, RUN, WRITER_POOL, mart_key, raw_key
from platform_assets.orchestration.runs.resources import DeploymentResource
from platform_assets.orchestration.watch.deployment_state import DeploymentState
from platform_assets.orchestration.watch.runbooks import of_check, shown
from platform_assets.project.configured import declared_marts
from platform_assets.project.graph import Project
from platform_assets.project.lineage import Origins, lineage_of, note_origins
from platform_assets.project.manifest import (
    asset_name,
    current_manifest,
    dbt_places,
    is_asset,
    parsed_manifest,
    reached,
)
from platform_assets.project.personal import Personal, personal_columns
from platform_assets.project.state import State

_LEDGER_SOURCE: Final = "platform"
_MARTS: Final = "marts"
_LEFTOVERS: Final = ("__dbt_tmp", "__dbt_backup")
_CheckEvent: TypeAlias = dg.AssetCheckResult | dg.AssetCheckEvaluation
_LOCKED: Final = re.compile(r"disabled by configuration|through configuration|has been locked|requires the extension")
_WHAT_IS_OPEN: Final = (
    "(dbt's connection is locked. It reaches the warehouse, the marts, and the folders that dbt_project/profiles.yml "
    "names under `directories`; it loads no extension and changes no setting. Data from elsewhere comes in by a feed: "
    "`platform feed add FILE`.)"
)
_RESULTS: Final = ("LogModelResult", "LogSnapshotResult", "LogTestResult")


class Translator(DagsterDbtTranslator):
    """Names and promises of dbt's nodes, by the folder they lie in."""

    def __init__(self, condition: dg.AutomationCondition[Any] | None = None) -> None:
        super().__init__()
        self._condition = condition
        self._descriptions: dict[str, str] = {}

    def get_asset_key(self, dbt_resource_props: Mapping[str, Any]) -> dg.AssetKey:
        """`<folder>/…/<model>`; a source maps to the raw asset it names."""
        if dbt_resource_props["resource_type"] not in ("model", "snapshot", "seed"):
            return super().get_asset_key(dbt_resource_props)
        return dg.AssetKey(asset_name(dbt_resource_props).split("/"))

    def get_automation_condition(
        self,
        dbt_resource_props: Mapping[str, Any],  # noqa: ARG002 - Dagster's signature
    ) -> dg.AutomationCondition[Any] | None:
        """When it is out of date; for a model with `meta: {dagster: {cron, timezone}}` that is at its times only."""
        return self._condition

    def get_asset_spec(self, manifest: Mapping[str, Any], unique_id: str, project: DbtProject | None) -> dg.AssetSpec:
        """The node's spec."""
        spec = super().get_asset_spec(manifest, unique_id, project)
        if unique_id in manifest["nodes"]:  # asked again for each that reads it
            if unique_id not in self._descriptions:
                self._descriptions[unique_id] = _described(manifest, unique_id, spec.owners)
            spec = spec.replace_attributes(description=self._descriptions[unique_id])
        # The ledger tells models what is new; it is not data that anybody materializes.
        return spec.replace_attributes(deps=[dep for dep in spec.deps if dep.asset_key.path[0] != _LEDGER_SOURCE])


def _described(manifest: Mapping[str, Any], unique_id: str, owners: Sequence[str]) -> str:
    """What the node is, in its author's words; what it is made from and by, how fresh it is, who owns it."""
    node = manifest["nodes"][unique_id]
    above = (manifest["sources"].get(each) for each in reached(manifest["parent_map"], [unique_id]))
    feeds = sorted(each["name"] for each in above if each is not None and each["source_name"] != _LEDGER_SOURCE)
    fresh = f" As fresh as the stalest of its feeds: {listed(feeds)}." if feeds else ""
    owned = f" Owner: {listed(owners)}." if owners else ""
    return f"{node['description']}\n\nMade by dbt from `{node['original_file_path']}`.{fresh}{owned}".strip()


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


def models(project: Project, condition: dg.AutomationCondition[Any] | None) -> dg.AssetsDefinition:
    """All of the dbt project as assets with checks, made by themselves under `condition`."""
    manifest_path = current_manifest()
    manifest = orjson.loads(manifest_path.read_bytes())

    @dbt_assets(manifest=manifest, dagster_dbt_translator=Translator(condition), name="dbt_models", pool=WRITER_POOL)
    def dbt_models(context: dg.AssetExecutionContext, deployment: DeploymentResource) -> Iterator[Any]:
        with deployment.opened(context) as opened:
            names = [key.to_user_string() for key in context.selected_asset_keys]
            state = State.of(project, opened)
            if context.run.tags.get(BY_COMMAND_TAG) == RUN and not any(map(state.to_be_made, names)):
                context.log.info("Nothing new has come: what is built stays as it is.")
                return
            with opened.begin_build(names, context.run.run_id, leftovers=_LEFTOVERS):
                done = _build(context, opened, manifest_path)
                _note(context, opened, state, done)
            after = State.of(project, opened)
            note_wanted(after, opened)
            yield from done.events
            held = [mart for product in project.products if after.refused(product) for mart in product.marts]
            tell_held_back(context, opened, project, [*(name for name in names if after.failing(name)), *held])
            if done.failure is not None:
                raise done.failure

    return dbt_models


def _note(context: dg.AssetExecutionContext, deployment: Deployment, state: State, done: "_Done") -> None:
    """Note which models have been made, from what, and what their blocking tests said of them."""
    now = deployment.clock()
    there = {
        name
        for event in done.events
        if isinstance(event, dg.Output | dg.MaterializeResult | dg.AssetMaterialization)
        and (name := _name_of(context, event)) is not None
    }
    blocking = {spec.key for spec in context.assets_def.node_check_specs_by_output_name.values() if spec.blocking}
    contracts = {mart_key(mart.name).to_user_string() for mart in declared_marts()}
    made = {}
    for name, each in state.makes(there, now, context.run.run_id).items():
        tests = sorted(key.name for key in blocking if key.asset_key.to_user_string() == name)
        made[name] = replace(each, checks=[*tests, *([CONTRACT] if name in contracts else [])])
    versions = {name: each.version for name, each in {**deployment.builds.read().made, **made}.items()}
    results = []
    for event in done.events:
        if not isinstance(event, _CheckEvent):
            continue
        check = _check_of(event)
        name = str(check.asset_key.to_user_string())
        if check in blocking and check not in done.open_checks and name in versions:
            # dbt's tests of severity `warn` fail without holding anything back.
            passed = event.passed or event.severity == dg.AssetCheckSeverity.WARN
            said = event.description or f"dbt's test {check.name} found rows"
            results.append(CheckResult(name, str(check.name), versions[name], passed, said, now))
    deployment.builds.note(made.values(), results)


def _name_of(context: dg.AssetExecutionContext, event: Any) -> str | None:  # noqa: ANN401 - dagster-dbt's event
    if isinstance(event, dg.Output):
        return str(context.asset_key_for_output(event.output_name).to_user_string())
    return event.asset_key.to_user_string() if event.asset_key is not None else None


def _check_of(result: _CheckEvent) -> dg.AssetCheckKey:
    assert result.asset_key is not None
    assert result.check_name is not None
    return dg.AssetCheckKey(result.asset_key, result.check_name)


@dataclass(frozen=True)
class _Done:
    """What an invocation of dbt came to: events for Dagster, tests that came to no answer, and why it failed, if it
    did."""

    events: Sequence[Any]
    open_checks: AbstractSet[dg.AssetCheckKey]
    failure: dg.Failure | None


def _build(context: dg.AssetExecutionContext, deployment: Deployment, manifest_path: Path) -> _Done:
    """Run `dbt build` for what the step has selected: dagster-dbt's events, models with their row counts."""
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
    personal = Personal(chosen.manifest, deployment.feeds, declared_marts())
    # What dbt writes down by itself has the values that its SQL failed on.
    arguments = ["--log-level", "none", *(["--log-level-file", "none"] if personal else [])]
    arguments += ["--no-use-colors", "--no-write-json"]
    arguments += ["build", "--exclude-resource-type", "unit_test"]
    arguments += dbt_places(target)
    # Just the models and tests that the step has selected: dbt's own rules would leave out, or add, tests of several.
    arguments += ["--indirect-selection", "empty", "--select", *_selected(context, chosen)]
    messages: list[dict[str, Any]] = []

    def hear(message: EventMsg) -> None:
        event = msg_to_dict(message)
        messages.append(event)
        if event["info"]["level"] in ("warn", "error"):
            context.log.warning(personal.told(event["info"]["msg"], _node_of(event)))
        elif event["info"]["name"] in _RESULTS:
            context.log.info(personal.told(event["info"]["msg"], _node_of(event)))

    manifest = Manifest.from_msgpack(parsed_manifest(manifest_path).read_bytes())
    # What macros know as `graph`: dbt makes it only of what it has parsed itself.
    manifest.build_flat_graph()  # type: ignore[no-untyped-call]
    try:
        result = dbtRunner(manifest=manifest, callbacks=[hear]).invoke(arguments)
    finally:
        # dbt keeps its connection, and with it the file's lock, until the process ends.
        DuckDBConnectionManager.close_all_connections()  # type: ignore[no-untyped-call]  # dbt's is not annotated
    built, tested = (
        sum(message["info"]["name"] in names for message in messages) for names in (_RESULTS[:2], _RESULTS[2:])
    )
    deployment.notify(f"dbt: {counted(built, 'model')} built, {counted(tested, 'test')} run")
    figures = _figures(deployment, chosen.manifest, target, personal)
    for unique_id, rows in _newest(context, deployment, chosen, personal).items():
        figures[unique_id] = newest(rows) | figures.get(unique_id, {})
    failing = rows_that_fail(
        deployment.warehouse,
        {
            each.node.unique_id: each.node.compiled_code
            for each in getattr(result.result, "results", ())
            if each.status in ("fail", "warn") and not personal.reaches(each.node.unique_id)
        },
    )
    events: list[Any] = []
    open_checks: set[dg.AssetCheckKey] = set()
    for event in messages:
        unanswered = _is_unanswered(event)
        if unanswered and result.exception is not None:
            continue  # dbt itself was stopped; nothing is wrong with the test
        message = DbtCoreCliEventMessage(raw_event=event, event_history_metadata={})
        for dagster_event in message.to_default_asset_events(
            manifest=chosen.manifest,
            dagster_dbt_translator=chosen.dagster_dbt_translator,
            context=context,
            target_path=target,
        ):
            if isinstance(dagster_event, dg.Output):
                mine = figures.get(event["data"]["node_info"]["unique_id"], {})
                dagster_event = dagster_event.with_metadata({**mine, **dagster_event.metadata})
            if isinstance(dagster_event, dg.AssetCheckResult):
                found = failing.get(event["data"]["node_info"]["unique_id"])
                dagster_event = Verdict.of(dagster_event, {} if dagster_event.passed else _shown(dagster_event, found))
            elif isinstance(dagster_event, dg.AssetCheckEvaluation):
                dagster_event = no_failure(dagster_event)
            events.append(dagster_event)
            if unanswered and isinstance(dagster_event, _CheckEvent):
                open_checks.add(_check_of(dagster_event))
    failed = _failed_models(result, chosen.manifest, chosen.dagster_dbt_translator, personal)
    # Tests that found rows are answers; what they hold back is told.
    if result.success or (result.exception is None and not failed and not open_checks):
        return _Done(events, open_checks, None)
    what = _what_failed(result, messages, personal)
    return _Done(
        events, open_checks, dg.Failure(what, metadata={"models": dg.MetadataValue.json(failed)}, allow_retries=False)
    )


def _newest(
    context: dg.AssetExecutionContext,
    deployment: Deployment,
    chosen: Any,  # noqa: ANN401 - of dagster-dbt
    personal: Personal,
) -> dict[str, Rows]:
    """The newest rows of the marts that the step has built, by node. One without a contract shows none where it is made
    from personal data."""
    declared = personal_columns(declared_marts(), deployment.feeds, deployment.home)
    nodes = {
        node["alias"]: key
        for key, node in chosen.manifest["nodes"].items()
        if key.startswith("model.")
        and (name := chosen.dagster_dbt_translator.get_asset_key(node)) in context.selected_asset_keys
        and name.path[0] == _MARTS
        and (node["alias"] in declared or not personal.reaches(key))
    }
    rows = newest_of_marts(deployment.warehouse, {mart: declared.get(mart, ()) for mart in nodes})
    return {nodes[mart]: found for mart, found in rows.items()}


def _shown(result: dg.AssetCheckResult, rows: Rows | None) -> dict[str, Any]:
    """What a person needs who looks at a test that failed: some of the rows that it found, and what to do."""
    samples = {} if rows is None else {"samples": listing(rows.columns, rows.rows)}
    return samples | shown(of_check(result.check_name or ""))


def _is_unanswered(event: Mapping[str, Any]) -> bool:
    """Whether a test did not come to an answer: its SQL is broken, or dbt was stopped. It is then asked again."""
    of_test = event["info"]["name"] == "LogTestResult"
    return of_test and "error" in (event["data"].get("status"), event["data"]["node_info"].get("node_status"))


def _selected(context: dg.AssetExecutionContext, chosen: Any) -> list[str]:  # noqa: ANN401 - of dagster-dbt
    """dbt's selectors of the models and tests that the step is to make and run."""
    manifest, translator = chosen.manifest, chosen.dagster_dbt_translator
    checks = context.selected_asset_check_keys
    return [
        f"fqn:{'.'.join(node['fqn'])}"
        for key, node in manifest["nodes"].items()
        if (is_asset(manifest, key) and translator.get_asset_key(node) in context.selected_asset_keys)
        or get_asset_check_key_for_test(manifest, translator, key, None) in checks
    ]


def _node_of(event: Mapping[str, Any]) -> str | None:
    """The node that an event of dbt is about."""
    found: str | None = (event["data"].get("node_info") or {}).get("unique_id")
    return found


def _failed_models(
    result: Any,  # noqa: ANN401 - dbtRunnerResult
    manifest: Mapping[str, Any],
    translator: DagsterDbtTranslator,
    personal: Personal,
) -> dict[str, str]:
    """What dbt said of each model that failed, by asset. A test that failed is a check, and no failure of its model."""
    return {
        translator.get_asset_key(manifest["nodes"][each.node.unique_id]).to_user_string(): " ".join(
            _explained(personal.told(each.message, each.node.unique_id)).split()
        )
        for each in getattr(result.result, "results", ())
        if each.status == "error" and each.node.resource_type in ("model", "snapshot", "seed")
    }


def _what_failed(result: Any, messages: Sequence[Mapping[str, Any]], personal: Personal) -> str:  # noqa: ANN401 - dbtRunnerResult
    if result.exception is not None:
        return f"dbt: {personal.told(str(result.exception), None)}"
    errors = [
        personal.told(message["info"]["msg"], _node_of(message))
        for message in messages
        if message["info"]["level"] == "error"
    ]
    return _explained("dbt build failed; readers keep the last release.\n" + "\n".join(errors[:20]))


def _explained(said: str) -> str:
    """What dbt said; where it was refused by the lock of its connection, with what is open to it."""
    return f"{said}\n{_WHAT_IS_OPEN}" if _LOCKED.search(said) else said


def _figures(
    deployment: Deployment, manifest: Mapping[str, Any], target: Path, personal: Personal
) -> dict[str, dict[str, Any]]:
    """Rows and columns of each node's table, and up to when its data goes by the stalest feed it is made from. What
    columns are made from is noted."""
    tables = built_tables(deployment.warehouse)
    stored = DeploymentState(deployment, ())
    newest = {raw_key(feed): (stored.newest_data(feed.name), feed.name) for feed in deployment.feeds}
    translator = DagsterDbtTranslator()
    raw = {node: translator.get_asset_key(source) for node, source in manifest["sources"].items()}
    lineage = lineage_of(manifest, tables, target, personal.may_name)
    note_origins(lineage, manifest, tables, deployment.feeds, personal.may_name, target)
    found = column_metadata(manifest, tables, lineage, Origins(lineage, manifest, deployment.feeds), personal)
    for unique_id, node in manifest["nodes"].items():
        figures = found.setdefault(unique_id, {})
        table = tables.get((node["schema"], node["alias"]))
        if table is not None and table.rows is not None:
            figures["dagster/row_count"] = table.rows
        above = [newest[raw[each]] for each in reached(manifest["parent_map"], [unique_id]) if raw.get(each) in newest]
        known = [(at, feed) for at, feed in above if at is not None]
        if known and len(known) == len(above):
            at, figures["stalest_feed"] = min(known)
            figures["newest_data"] = dg.MetadataValue.timestamp(at)
    return found
