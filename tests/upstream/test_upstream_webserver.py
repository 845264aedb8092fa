"""What the guard relies on of Dagster's web server: its routes, and which of its GraphQL fields show what."""

import re
from pathlib import Path
from typing import Final

import dagster as dg
import pytest
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import EmptyWorkspaceTarget
from dagster_graphql.schema import create_schema
from dagster_webserver.webserver import DagsterWebserver
from graphql import GraphQLObjectType
from starlette.routing import Mount, Route, WebSocketRoute

from platform_assets.web.guard import GRAPHQL, ROUTES, kind_of
from platform_assets.web.operations import HARMLESS
from platform_assets.web.shared import WITHHELD, withheld_fields

SENSITIVE: Final = re.compile(
    r"config|yaml|env(var|ironment)|logs?(?![a-z])|logKey|logEvents|std(out|err)|secret|debug|stack|executable|launcher",
    re.I,
)
# Fields with such a name that show neither: types of configuration, errors about it, whether something can be executed.
HARMLESS_FIELDS: Final = re.compile(
    r"\w*ConfigType\.recursiveConfigTypes|\w*ConfigError\.stack|PipelineConfigValidationError\.stack"
    r"|ConfigTypeField\.(configType|configTypeKey|isSecret)|ConfigTypeNotFoundError\.configTypeName"
    r"|RunConfigSchema\.(allConfigTypes|isRunConfigValid|rootConfigType)|AssetNode\.isExecutable|CapturedLogs\.logKey"
    r"|Mutation\.logTelemetry"
)


@pytest.fixture
def routes(tmp_path: Path) -> list[Route | WebSocketRoute | Mount]:
    (tmp_path / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    with (
        dg.DagsterInstance.from_config(str(tmp_path)) as instance,
        WorkspaceProcessContext(instance, EmptyWorkspaceTarget()) as workspace,
    ):
        found: list[Route | WebSocketRoute | Mount] = DagsterWebserver(workspace).build_routes()  # type: ignore[no-untyped-call]
    return found


def test_every_route_is_known_to_the_guard(routes: list[Route | WebSocketRoute | Mount]) -> None:
    """A new one is served to nobody until it is judged."""
    unknown = [each.path for each in routes if each.path not in ROUTES and not (each.name or "").endswith("_static")]
    assert unknown == []
    assert {each.path for each in routes} >= set(ROUTES)


@pytest.mark.parametrize("prefix", ["", "/under"])
def test_a_path_means_to_the_guard_what_it_means_to_dagster(
    routes: list[Route | WebSocketRoute | Mount], prefix: str
) -> None:
    served = [Mount(prefix, routes=routes)] if prefix else routes
    for kind, method in (("http", "POST"), ("http", "GET"), ("websocket", "GET")):
        scope = {"type": kind, "path": f"{prefix}/graphql", "method": method, "headers": []}
        assert kind_of(served, scope) == GRAPHQL


def test_every_field_that_may_show_configuration_or_logs_is_judged() -> None:
    types = create_schema().graphql_schema.type_map
    named = {
        f"{name}.{field}"
        for name, each in types.items()
        if isinstance(each, GraphQLObjectType) and not name.startswith("__")
        for field in each.fields
        if SENSITIVE.search(field)
    }
    judged = {f"{name}.{field}" for name, fields in WITHHELD.items() for field in fields}
    assert sorted(each for each in named - judged if not HARMLESS_FIELDS.fullmatch(each)) == []


def test_every_withheld_field_is_still_there() -> None:
    assert withheld_fields(create_schema())


def test_every_mutation_that_is_not_written_down_is_still_there() -> None:
    mutations = create_schema().graphql_schema.mutation_type
    assert mutations is not None
    assert set(mutations.fields) >= HARMLESS
