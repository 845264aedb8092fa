"""GraphQL as the guard reads it: which mutations a document asks for, and what they are about.

Belongs here: names and ids out of a document, never its values. Elsewhere: what is written down of it (guard.py).
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    InlineFragmentNode,
    OperationDefinitionNode,
    OperationType,
    SelectionSetNode,
    parse,
    value_from_ast_untyped,
    visit,
)
from graphql.language import Visitor

HARMLESS: Final = {"setNuxSeen", "logTelemetry"}
_MOST: Final = 20  # of one kind
_LONGEST: Final = 200  # characters of a name
# What an argument is called -> what it names. Nothing else of a mutation is written down.
_ABOUT: Final = {
    **dict.fromkeys(("runId", "runIds", "parentRunId", "rootRunId"), "run"),
    **dict.fromkeys(("jobName", "pipelineName"), "job"),
    **dict.fromkeys(("assetKey", "assetKeys", "assetSelection"), "asset"),
    **dict.fromkeys(("backfillId", "parentBackfillId"), "backfill"),
    "checkName": "check",
    "sensorName": "sensor",
    "scheduleName": "schedule",
    "repositoryLocationName": "location",
    "concurrencyKey": "pool",
    "id": "id",
}


@dataclass(frozen=True)
class Mutation:
    """One change that is asked for. key: what the answer calls it. about: run, asset, job, … -> names or ids."""

    name: str
    key: str
    about: Mapping[str, object]

    @property
    def what(self) -> str:
        """Its name in words: `launchRun` is launch run."""
        return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", self.name).lower()


@lru_cache(maxsize=256)
def document(query: str) -> DocumentNode | None:
    """The document; None if it is none, which Dagster says better."""
    try:
        return parse(query, no_location=True)
    except (GraphQLError, RecursionError):
        return None


def changes(query: str) -> bool:
    """Whether it has a mutation in it, or cannot be read."""
    found = document(query)
    return found is None or bool(_operations(found, OperationType.MUTATION))


def mutations(query: str, variables: dict[str, Any], operation: str | None) -> list[Mutation]:
    """The changes that executing it asks for."""
    found = document(query)
    if found is None:
        return []
    chosen = _operations(found, OperationType.MUTATION)
    if operation:
        chosen = [each for each in chosen if each.name is not None and each.name.value == operation]
    fragments = {each.name.value: each for each in found.definitions if isinstance(each, FragmentDefinitionNode)}
    made = []
    for each in chosen:
        for field in _fields(each.selection_set, fragments, set()):
            given = {
                argument.name.value: value_from_ast_untyped(argument.value, variables) for argument in field.arguments
            }
            key = field.alias.value if field.alias is not None else field.name.value
            made.append(Mutation(field.name.value, key, about(given)))
    return made


def asks_for(query: str, names: frozenset[str]) -> str | None:
    """The first field of those names anywhere in it."""
    found = document(query)
    seen: list[str] = []

    class Look(Visitor):
        def enter_field(self, node: FieldNode, *_: object) -> None:
            if node.name.value in names:
                seen.append(node.name.value)

    if found is not None:
        visit(found, Look())
    return seen[0] if seen else None


def about(given: object) -> dict[str, object]:
    """What arguments name: ids of runs, names of jobs, keys of assets; no value."""
    named: dict[str, list[str]] = {}
    for key, value in _named(given):
        there = named.setdefault(key, [])
        if value not in there and len(there) < _MOST:
            there.append(value)
    return {key: values[0] if len(values) == 1 else values for key, values in named.items()}


def _operations(found: DocumentNode, kind: OperationType) -> list[OperationDefinitionNode]:
    return [e for e in found.definitions if isinstance(e, OperationDefinitionNode) and e.operation == kind]


def _fields(
    selected: SelectionSetNode, fragments: Mapping[str, FragmentDefinitionNode], seen: set[str]
) -> Iterator[FieldNode]:
    for each in selected.selections:
        if isinstance(each, FieldNode):
            yield each
        elif isinstance(each, InlineFragmentNode):
            yield from _fields(each.selection_set, fragments, seen)
        elif isinstance(each, FragmentSpreadNode) and each.name.value not in seen:
            seen.add(each.name.value)
            if (fragment := fragments.get(each.name.value)) is not None:
                yield from _fields(fragment.selection_set, fragments, seen)


def _named(given: object) -> Iterator[tuple[str, str]]:
    if isinstance(given, list):
        for each in given:
            yield from _named(each)
    elif isinstance(given, dict):
        for key, value in given.items():
            if key in _ABOUT:
                yield from ((_ABOUT[key], name[:_LONGEST]) for name in _names(value))
            elif key not in ("runConfigData", "tags"):
                yield from _named(value)


def _names(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for each in value:
            yield from _names(each)
    elif isinstance(value, dict) and isinstance(value.get("path"), list):
        yield "/".join(map(str, value["path"]))
    elif isinstance(value, dict):
        for each in value.values():
            yield from _names(each)
