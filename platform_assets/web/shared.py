"""The shared view: Dagster's UI for a team that looks on. What shows configuration or logs is withheld.

Belongs here: which fields of Dagster's GraphQL those are; a test goes through all of its schema. Elsewhere: mutations
and downloads, which are refused as a whole (guard.py), and who looks (users.py).
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from dagster_webserver.webserver import DagsterWebserver
from graphene import Schema
from graphql import (
    GraphQLBoolean,
    GraphQLField,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLScalarType,
    GraphQLString,
    is_nullable_type,
)

WITHHELD_TEXT: Final = "Not shown in the shared view."
# Type -> fields that show configuration (of runs, resources, the instance, the environment) or logs.
WITHHELD: Final[Mapping[str, tuple[str, ...]]] = {
    "Query": (
        *("isPipelineConfigValid", "runConfigSchemaOrError", "executionPlanOrError", "resourcesOrError"),
        *("topLevelResourceDetailsOrError", "allTopLevelResourceDetailsOrError", "utilizedEnvVarsOrError"),
        *("logsForRun", "capturedLogs", "capturedLogsMetadata"),
        *("appManagedComponentsForLocationOrError", "componentsForLocationOrError"),
    ),
    "Subscription": ("pipelineRunLogs", "capturedLogs"),
    "Run": ("runConfigYaml", "runConfig", "capturedLogs", "eventConnection"),
    "RunRequest": ("runConfigYaml",),
    "PipelinePreset": ("runConfigYaml",),
    "Partition": ("runConfigOrError",),
    "PartitionTagsAndConfig": ("runConfigOrError",),
    "PartitionRunConfig": ("yaml",),
    "RunConfigSchema": ("rootDefaultYaml",),
    "ConfigTypeField": ("defaultValueAsJson",),
    "Instance": ("info", "hasInfo", "executablePath", "runQueueConfig", "poolConfig", "runLauncher"),
    "RunQueueConfig": ("tagConcurrencyLimitsYaml",),
    "Repository": ("allTopLevelResourceDetails", "displayMetadata"),
    "RepositoryOrigin": ("repositoryLocationMetadata",),
    "WorkspaceLocationEntry": ("displayMetadata",),
    "RepositoryLocation": ("environmentPath",),
    "ResourceDetails": ("configFields", "configuredValues"),
    "ConfiguredValue": ("value",),
    "EnvVarWithConsumers": ("envVarName", "envVarConsumers"),
    "AssetNode": ("configField",),
    "SolidDefinition": ("configField",),
    "Resource": ("configField",),
    "Logger": ("configField",),
    "InstigationTick": ("logKey", "logEvents"),
    "PartitionBackfill": ("logEvents",),
    "CapturedLogs": ("stdout", "stderr"),
    "CapturedLogsMetadata": ("stdoutDownloadUrl", "stdoutLocation", "stderrDownloadUrl", "stderrLocation"),
    "LogRetrievalShellCommand": ("stdout", "stderr"),
    "LogsCapturedEvent": ("externalStdoutUrl", "externalStderrUrl", "logKey"),
    "PythonError": ("stack",),
}


class SharedWebserver(DagsterWebserver[Any, Any]):
    """Dagster's web server, whose schema withholds those fields by whatever query, alias or subscription."""

    def build_graphql_schema(self) -> Schema:
        """Dagster's schema, with other resolvers for them."""
        schema = super().build_graphql_schema()
        for name, field in withheld_fields(schema):
            field.resolve, field.subscribe = _instead(name, field), None if field.subscribe is None else _refused(name)
        return schema


def withheld_fields(schema: Schema) -> list[tuple[str, GraphQLField]]:
    """Those of this version of Dagster; a name that it has no more raises KeyError."""
    types = schema.graphql_schema.type_map
    found = []
    for type_name, fields in WITHHELD.items():
        owner = types[type_name]
        assert isinstance(owner, GraphQLObjectType)
        found += [(f"{type_name}.{field}", owner.fields[field]) for field in fields]
    return found


def refused_names(schema: Schema) -> frozenset[str]:
    """Fields that cannot be blank: a query with one of them is refused as a whole, and says why."""
    return frozenset(name.partition(".")[2] for name, field in withheld_fields(schema) if not _can_be_blank(field))


def _can_be_blank(field: GraphQLField) -> bool:
    if is_nullable_type(field.type):
        return True
    inner = field.type.of_type if isinstance(field.type, GraphQLNonNull) else field.type
    return isinstance(inner, GraphQLList | GraphQLScalarType)


def _instead(name: str, field: GraphQLField) -> Callable[..., object]:
    if not _can_be_blank(field):
        return _refused(name)
    inner = field.type.of_type if isinstance(field.type, GraphQLNonNull) else field.type
    blank: object = {}
    if is_nullable_type(field.type):
        blank = None
    elif isinstance(inner, GraphQLList):
        blank = []
    elif inner is GraphQLBoolean:
        blank = False
    elif inner is GraphQLString:
        blank = WITHHELD_TEXT
    return lambda *_, **__: blank


def _refused(name: str) -> Callable[..., object]:
    def refuse(*_: object, **__: object) -> object:
        raise PermissionError(f"{name} is not shown in the shared view")

    return refuse
