"""Columns of dbt's models in Dagster: what the built tables have, and which columns above each is made from.

Belongs here: metadata of materializations. Elsewhere: what columns must be (contracts of marts, dbt's YAML). Tracing a
column through SQL takes up to a tenth of a second for a model, so what was traced is kept beside what dbt compiled.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import dagster as dg
from dagster_dbt import DagsterDbtTranslator

from platform_assets.engine.durable.files import replacing
from platform_assets.engine.store.marts import BuiltTable
from platform_assets.orchestration.runs.dbt_internals import EventHistoryMetadata, traced_columns
from platform_assets.project.personal import Lineage, Personal

_KEPT: Final = "lineage.json"


@dataclass(frozen=True)
class Columns:
    """Columns of the nodes of a manifest as they are in `tables`, but those whose names may be personal data.
    target: where dbt has put what it compiled."""

    tables: Mapping[tuple[str, str], BuiltTable]
    manifest: Mapping[str, Any]
    translator: DagsterDbtTranslator
    target: Path
    personal: Personal

    def metadata(self) -> dict[str, dict[str, Any]]:
        """By node: its table's name and columns, and the columns above that each is made from."""
        kept = self._kept()
        lineage: dict[str, Any] = {}
        found = {}
        for unique_id, node in self.manifest["nodes"].items():
            if node["resource_type"] not in ("model", "snapshot", "seed") or not (columns := self._of(node)):
                continue
            found[unique_id] = {
                "dagster/table_name": f"{node['schema']}.{node['alias']}",
                "dagster/column_schema": _schema(node, columns),
            }
            if (compiled := self._compiled(node)) is not None:
                asked = self._asked(node, columns, compiled)
                made_of = kept[asked] if asked in kept else self._trace(node, columns)
                lineage[asked] = made_of
                found[unique_id] |= {"dagster/column_lineage": _lineage(made_of)} if made_of else {}
        if lineage.keys() != kept.keys():
            with replacing(self.target / _KEPT) as partial:
                partial.write_text(json.dumps(lineage))
        return found

    def _of(self, node: Mapping[str, Any]) -> Mapping[str, str]:
        name = node.get("alias") or node.get("identifier") or node["name"]
        table = self.tables.get((node["schema"], name))
        if table is None:
            return {}
        return {each: kind for each, kind in table.columns.items() if self.personal.may_name(node["unique_id"], each)}

    def _above(self, unique_id: str) -> dict[str, Mapping[str, Any]]:
        """The tables that a node reads, by node. Ephemeral models are none: what they read, it reads."""
        found: dict[str, Mapping[str, Any]] = {}
        for each in self.manifest["parent_map"].get(unique_id, ()):
            node = self.manifest["nodes"].get(each) or self.manifest["sources"].get(each) or {}
            found |= {each: node} if node.get("relation_name") else self._above(each)
        return found

    def _compiled(self, node: Mapping[str, Any]) -> str | None:
        path = self.target / "compiled" / node["package_name"] / node["original_file_path"]
        return path.read_text() if node["resource_type"] == "model" and path.exists() else None

    def _asked(self, node: Mapping[str, Any], columns: Mapping[str, str], compiled: str) -> str:
        """Changes whenever the answer might."""
        above = [(each["relation_name"], self._of(each)) for each in self._above(node["unique_id"]).values()]
        what = (node["unique_id"], columns, above, compiled)
        return hashlib.sha256(json.dumps(what).encode()).hexdigest()

    def _trace(self, node: Mapping[str, Any], columns: Mapping[str, str]) -> dict[str, list[tuple[str, str]]]:
        """Column -> (asset, column) above; empty where the SQL cannot be followed, which is no reason to fail."""
        above = self._above(node["unique_id"])
        # An incremental model reads more than dbt has noted: the ledger, and itself.
        every = (*self.manifest["nodes"].values(), *self.manifest["sources"].values())
        there = ((each["relation_name"], self._of(each)) for each in every if each.get("relation_name"))
        typed = {relation: _typed(of) for relation, of in there if of}
        reads = {**node, "depends_on": {"nodes": sorted(above)}}
        try:
            history = EventHistoryMetadata(columns=_typed(columns), parents=typed)
            traced = traced_columns(history, reads, self.manifest, self.translator, self.target, None)
        except Exception:  # noqa: BLE001 - sqlglot raises what it likes on SQL that it does not know
            return {}
        found = traced.get("dagster/column_lineage")
        if not isinstance(found, dg.TableColumnLineage):
            return {}
        return _made_of(found)

    def _kept(self) -> dict[str, Any]:
        try:
            kept = json.loads((self.target / _KEPT).read_text())
        except (OSError, ValueError):
            return {}
        return kept if isinstance(kept, dict) else {}


def lineage_in(figures: Mapping[str, Mapping[str, Any]]) -> Lineage:
    """What the columns of each node are made from, of what Dagster is told of the nodes."""
    found = {unique_id: each.get("dagster/column_lineage") for unique_id, each in figures.items()}
    return {unique_id: _made_of(lineage) for unique_id, lineage in found.items() if lineage is not None}


def _made_of(lineage: dg.TableColumnLineage) -> dict[str, list[tuple[str, str]]]:
    return {
        column: sorted((dep.asset_key.to_user_string(), dep.column_name) for dep in deps)
        for column, deps in lineage.deps_by_column.items()
    }


def _typed(columns: Mapping[str, str]) -> dict[str, Any]:
    return {column: {"data_type": kind} for column, kind in columns.items()}


def _schema(node: Mapping[str, Any], columns: Mapping[str, str]) -> dg.TableSchema:
    """The table's columns with what dbt's YAML says of them."""
    declared = node.get("columns", {})
    return dg.TableSchema(
        columns=[
            dg.TableColumn(column, kind, description=(declared.get(column) or {}).get("description") or None)
            for column, kind in columns.items()
        ]
    )


def _lineage(made_of: Mapping[str, list[tuple[str, str]]]) -> dg.TableColumnLineage:
    return dg.TableColumnLineage(
        {
            column: [dg.TableColumnDep(dg.AssetKey(asset.split("/")), name) for asset, name in deps]
            for column, deps in made_of.items()
        }
    )
