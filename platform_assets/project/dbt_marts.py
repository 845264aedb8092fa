"""A mart's columns in dbt, held to the mart's contract, which is their one declaration.

Belongs here: where dbt's YAML says otherwise, and what to write there instead. Elsewhere: the table that dbt builds
(dbt holds it to its YAML; store/marts.py holds its rows to the contract).
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from platform_assets.engine.feed.mart import Mart

# A whole number may be stored narrower than the engine would store it.
_NARROWER: Final = {"bigint": "integer"}


def mart_disagreements(marts: Iterable[Mart], manifest: Path) -> list[str]:
    """For each mart whose dbt model has other columns than its contract: which file, and what to write there."""
    nodes = json.loads(manifest.read_bytes())["nodes"].values()
    models = {node["alias"]: node for node in nodes if node["resource_type"] == "model" and node["fqn"][1] == "marts"}
    return [said for mart in marts if (said := _disagreement(mart, models.get(mart.name))) is not None]


def _disagreement(mart: Mart, model: Mapping[str, Any] | None) -> str | None:
    if model is None:
        return f"Mart({mart.name!r}) has no dbt model: write dbt_project/models/marts/{mart.name}.sql"
    promised = mart.columns
    written = [column for column in model["columns"].values() if column["name"] not in mart.lineage]
    if [column["name"] for column in written] == [column.name for column in promised] and all(
        map(_same_type, written, (column.sql_type for column in promised))
    ):
        return None
    where = model["patch_path"].partition("://")[2] if model.get("patch_path") else f"the YAML of {mart.name}"
    known = {column["name"]: column for column in written}
    lines = [_as_yaml(each.name, each.sql_type, each.description, known.get(each.name, {})) for each in promised]
    head = f"{where} has other columns than {mart.contract.__name__}; write there, beside its tests:"
    return "\n".join([head, *lines])


def _same_type(written: Mapping[str, Any], sql_type: str) -> bool:
    kind = (written.get("data_type") or "").lower().replace(" (", "(").replace(", ", ",")
    return kind in (sql_type.lower(), _NARROWER.get(sql_type.lower()))


def _as_yaml(name: str, sql_type: str, description: str, written: Mapping[str, Any]) -> str:
    kind = written["data_type"] if written and _same_type(written, sql_type) else sql_type.lower()
    about = " ".join((written.get("description") or description).split())
    said = {"name": name, "data_type": kind, **({"description": about} if about else {})}
    return (
        "      - {" + ", ".join(f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in said.items()) + "}"
    )
