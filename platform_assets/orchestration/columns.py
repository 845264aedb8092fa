"""Columns of dbt's models in Dagster: what the built tables have, which columns above each is made from, which are
personal.

Belongs here: metadata of materializations. Elsewhere: following columns (project/lineage.py), what columns must be
(contracts of marts, dbt's YAML).
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import dagster as dg

from platform_assets.engine.store.marts import BuiltTable
from platform_assets.project.lineage import Columns, Dep, Lineage, Origins, visible
from platform_assets.project.manifest import is_asset
from platform_assets.project.personal import Personal

PERSONAL_TAG: Final = "personal"
_NO_ASSETS: Final = "platform/"  # the ledger


def column_metadata(
    manifest: Mapping[str, Any],
    tables: Mapping[tuple[str, str], BuiltTable],
    lineage: Lineage,
    origins: Origins,
    personal: Personal,
) -> dict[str, dict[str, Any]]:
    """By node: its table's name and columns, and the columns above that each is made from."""
    found = {}
    for unique_id, node in manifest["nodes"].items():
        columns = visible(node, tables, personal.may_name) if is_asset(manifest, unique_id) else {}
        if not columns:
            continue
        found[unique_id] = {
            "dagster/table_name": f"{node['schema']}.{node['alias']}",
            "dagster/column_schema": _schema(node, columns, origins, personal),
        }
        if (made_of := lineage.get(unique_id)) is not None:
            found[unique_id]["dagster/column_lineage"] = _lineage(made_of)
    return found


def _schema(
    node: Mapping[str, Any], columns: Mapping[str, str], origins: Origins, personal: Personal
) -> dg.TableSchema:
    """The table's columns with what dbt's YAML says of them, and of personal ones what they are made from."""
    found = []
    for column, kind in columns.items():
        said = (node.get("columns", {}).get(column) or {}).get("description") or ""
        secret = personal.said_of(node["unique_id"], column, origins)
        told = said if secret is None else f"{said} ({secret})".strip()
        tags = {} if secret is None else {PERSONAL_TAG: "yes"}
        found.append(dg.TableColumn(column, kind, description=told or None, tags=tags))
    return dg.TableSchema(columns=found)


def _lineage(made_of: Columns) -> dg.TableColumnLineage:
    def shown(deps: Sequence[Dep] | None) -> list[dg.TableColumnDep]:
        return [
            dg.TableColumnDep(dg.AssetKey(dep.asset.split("/")), dep.column)
            for dep in deps or ()
            if not dep.asset.startswith(_NO_ASSETS)
        ]

    return dg.TableColumnLineage({column: shown(deps) for column, deps in made_of.items()})
