"""dbt's sources file, generated from the feeds and committed, so that dbt users can work without Python.

Belongs here: its text. Does not: Dagster (this module does without), or any table that dbt builds.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import yaml

from platform_assets.engine.contract import columns_of, describe
from platform_assets.engine.feed import Feed
from platform_assets.orchestration.manifest import DBT_PROJECT

SOURCES_FILE: Final = DBT_PROJECT / "models" / "sources.yml"
_HEAD: Final = "# Generated from platform_assets/feeds by `platform feed sources`; a test holds it to them.\n"


def sources_yaml(feeds: Iterable[Feed]) -> str:
    """The feeds as dbt sources: one source per origin, one table per feed."""
    origins: dict[str, list[dict[str, Any]]] = {}
    for feed in feeds:
        origins.setdefault(feed.origin, []).append(_table(feed))
    sources = [
        {"name": origin, "schema": "raw", "description": f"What {origin} delivers.", "tables": tables}
        for origin, tables in sorted(origins.items())
    ]
    text = yaml.safe_dump({"version": 2, "sources": sources}, sort_keys=False, width=110, allow_unicode=True)
    return _HEAD + text


def write_sources(feeds: Iterable[Feed], path: Path = SOURCES_FILE) -> bool:
    """Write the file if it has drifted from the feeds; says whether it had."""
    text = sources_yaml(feeds)
    if path.exists() and path.read_text() == text:
        return False
    path.write_text(text)
    return True


def _table(feed: Feed) -> dict[str, Any]:
    columns = [
        {"name": column.name, "description": column.description, "data_type": column.sql_type.lower()}
        | ({"config": {"meta": {"pii": column.pii}}} if column.pii else {})
        for column in columns_of(feed.contract)
    ]
    columns += [
        {"name": "_delivery_id", "description": "Delivery the row came with.", "data_type": "bigint"},
        {"name": "_line", "description": "Physical line of the row in its delivery.", "data_type": "bigint"},
    ]
    if feed.on_drift == "rescue":
        columns.append({"name": "_extra", "description": "Unknown columns, as JSON.", "data_type": "json"})
    return {
        "name": feed.name,
        "description": describe(feed.contract),
        "config": {"meta": {"owner": feed.owner, "dagster": {"asset_key": ["raw", feed.origin, feed.name]}}},
        "columns": columns,
    }
