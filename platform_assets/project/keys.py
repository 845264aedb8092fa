"""By which columns the rows of a mart are told apart, as dbt knows it.

Belongs here: keys from constraints and tests of the manifest. Elsewhere: what is compared by
them (engine/store/diff.py).
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

# Tests that say that rows differ in some columns: the argument that names these.
_TESTS: Final = {
    "unique": "column_name",
    "unique_together": "columns",
    "unique_combination_of_columns": "combination_of_columns",
}


def mart_keys(manifest: Path) -> dict[str, tuple[str, ...]]:
    """Mart -> the columns of its key: its primary key, else of those that a blocking test holds unique the one of the
    fewest columns. Marts without one are left out."""
    nodes = json.loads(manifest.read_bytes())["nodes"]
    tested: dict[str, list[tuple[str, ...]]] = {}
    for test in nodes.values():
        if test["resource_type"] == "test" and (key := _unique(test)):
            of = test.get("attached_node") or next(iter(test["depends_on"]["nodes"]), "")
            tested.setdefault(of, []).append(key)
    found: dict[str, tuple[str, ...]] = {}
    for name, node in nodes.items():
        if node["resource_type"] == "model":
            keys = [*_primary(node), *sorted(tested.get(name, ()), key=lambda key: (len(key), key))]
            found |= {node["alias"]: keys[0]} if keys else {}
    return found


def _unique(test: Mapping[str, Any]) -> tuple[str, ...]:
    """The columns that a test holds unique, of all rows, if it does."""
    about, config = test.get("test_metadata") or {}, test["config"]
    argument = _TESTS.get(about.get("name", ""))
    if argument is None or config.get("where") or str(config.get("severity", "")).upper() != "ERROR":
        return ()
    columns: str | Sequence[str] = about["kwargs"].get(argument) or ()
    return (columns,) if isinstance(columns, str) else tuple(columns)


def _primary(node: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for constraint in node.get("constraints") or ():
        if constraint["type"] == "primary_key":
            yield tuple(constraint.get("columns") or ())
    for column in node["columns"].values():
        if any(each["type"] == "primary_key" for each in column.get("constraints") or ()):
            yield (column["name"],)
