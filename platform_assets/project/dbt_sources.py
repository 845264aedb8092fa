"""dbt's sources file, generated from the feeds and committed, so that dbt users can work without Python.

Belongs here: its text. Does not: Dagster (this module does without), or any table that dbt builds.
Columns that only a warehouse knows, because they arrived undeclared, are marked and held to nothing.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import yaml

from platform_assets.engine.contract.model import LINEAGE, columns_of, describe
from platform_assets.engine.deployment import Deployment
from platform_assets.engine.feed.feed import Feed
from platform_assets.project.manifest import DBT_PROJECT

SOURCES_FILE: Final = DBT_PROJECT / "models" / "sources.yml"
_MARK: Final = "undeclared"
_HEAD: Final = "# Generated from platform_assets/feeds by `platform feed sources`; a test holds it to them.\n"


Gained = Mapping[str, Sequence[dict[str, Any]]]
_NOTHING: Final[Gained] = MappingProxyType({})


def sources_yaml(feeds: Iterable[Feed], gained: Gained = _NOTHING) -> str:
    """The feeds as dbt sources: one source per origin, one table per feed; and what raw has `gained` besides."""
    origins: dict[str, list[dict[str, Any]]] = {}
    for feed in feeds:
        origins.setdefault(feed.origin, []).append(_table(feed, gained.get(feed.name, ())))
    return _text(
        [
            {"name": origin, "schema": "raw", "description": f"What {origin} delivers.", "tables": tables}
            for origin, tables in sorted(origins.items())
        ]
    )


def write_sources(feeds: Iterable[Feed], gained: Gained = _NOTHING, path: Path = SOURCES_FILE) -> bool:
    """Write the file if it has drifted from the feeds and what raw has gained; says whether it had."""
    text = sources_yaml(feeds, gained)
    if path.exists() and path.read_text() == text:
        return False
    path.write_text(text)
    return True


def sources_agree(feeds: Iterable[Feed], path: Path = SOURCES_FILE) -> bool:
    """Whether the file says what the feeds declare, whatever it says of undeclared columns."""
    text = path.read_text()
    written: dict[str, Any] = yaml.safe_load(text) or {}
    for table in (table for source in written.get("sources", ()) for table in source["tables"]):
        table["columns"] = [column for column in table["columns"] if not _undeclared(column)]
    # A file without such columns must be as it is generated to the last character.
    declared = _text(written.get("sources", [])) if _MARK in text else text
    return declared == sources_yaml(feeds)


def gained_columns(deployment: Deployment) -> Gained:
    """The columns that raw has and the contract does not, by feed, as the file lists them; none without a warehouse."""
    if not deployment.warehouse.path.exists():
        return _NOTHING
    gained = {}
    with deployment.warehouse.reading("look for undeclared columns") as unit:
        for feed in deployment.feeds:
            declared = {column.name for column in columns_of(feed.contract)} | set(LINEAGE)
            types = unit.tables(feed).types()
            came = unit.ledger.first_with_unknown(feed.name) if {name.lower() for name in types} - declared else {}
            gained[feed.name] = [
                {
                    "name": name,
                    "description": "Arrived undeclared with delivery {} ({}).".format(*came[name])
                    if name in came
                    else "Declared once, no longer.",
                    "data_type": sql_type.lower(),
                    "config": {"meta": {_MARK: True}},
                }
                for name, sql_type in types.items()
                if name.lower() not in declared
            ]
    return gained


def _undeclared(column: Mapping[str, Any]) -> bool:
    return bool(column.get("config", {}).get("meta", {}).get(_MARK))


def _text(sources: list[dict[str, Any]]) -> str:
    text: str = yaml.safe_dump({"version": 2, "sources": sources}, sort_keys=False, width=110, allow_unicode=True)
    return _HEAD + text


def _table(feed: Feed, gained: Sequence[dict[str, Any]]) -> dict[str, Any]:
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
        "columns": [*columns, *gained],
    }
