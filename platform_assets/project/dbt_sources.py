"""dbt's sources, generated from the feeds and committed, so that dbt users can work without Python: a file per origin.

Belongs here: their text and their places. Elsewhere: tables that dbt builds (its own YAML). No Dagster here.
Columns that only a warehouse knows, because they arrived undeclared, are marked and held to nothing.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import yaml

from platform_assets.engine.contract.model import Column
from platform_assets.engine.contract.shown import shown_of
from platform_assets.engine.deployment import Deployment
from platform_assets.engine.feed.feed import Feed
from platform_assets.errors import ConfigurationError
from platform_assets.project.manifest import alone, model_folders

_NAME: Final = "_{}__sources.yml"
_MARK: Final = "undeclared"
_HEAD: Final = "# Generated from the feeds by `platform feed sources`; a test holds it to them.\n"


Gained = Mapping[str, Sequence[dict[str, Any]]]
_NOTHING: Final[Gained] = MappingProxyType({})


def sources_file(origin: str, folders: Sequence[Path]) -> Path:
    """Where dbt's source of `origin` is declared: beside its staging models, in whichever of the folders these lie."""
    places = [folder / "staging" / origin for folder in folders]
    return next((place for place in places if place.is_dir()), places[0]) / _NAME.format(origin)


def write_sources(feeds: Iterable[Feed], gained: Gained = _NOTHING, folders: Sequence[Path] = ()) -> list[Path]:
    """Write the files that have drifted from the feeds and what raw has `gained` besides, and remove those of origins
    that no feed has; returns both. folders: dbt's model folders, of this project by default."""
    folders = folders or model_folders()
    texts = {sources_file(origin, folders): text for origin, text in _texts(feeds, gained).items()}
    drifted = [path for path, text in texts.items() if not path.exists() or path.read_text() != text]
    for path in drifted:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.tmp")  # so that nobody reads half of it
        partial.write_text(texts[path])
        partial.replace(path)
    abandoned = [path for path in _generated(folders) if path not in texts]
    for path in abandoned:
        path.unlink()
    return [*drifted, *abandoned]


def follow_feeds(feeds: Sequence[Feed], tell: Callable[[str], None], folders: Sequence[Path] = ()) -> None:
    """Bring the files up to date with the feeds, and say so; undeclared columns that they name stay named.

    Raises ConfigurationError where the checkout cannot be written.
    """
    folders = folders or model_folders()
    if not drifted_sources(feeds, folders):
        return
    try:
        with alone():
            written = write_sources(feeds, _noted(folders), folders)
    except OSError as error:
        raise ConfigurationError(
            "dbt's sources",
            f"differ from the feeds, and cannot be written: {error.strerror or error}",
            "Run `platform feed sources` where this checkout can be written, and deploy the files it names.",
        ) from error
    if written:
        said = ", ".join(f"{path.name} {'written' if path.exists() else 'removed'}" for path in written)
        tell(f"dbt's sources follow the feeds: {said}")


def _noted(folders: Sequence[Path]) -> Gained:
    """The undeclared columns that the files name, by feed."""
    return {
        table["name"]: [column for column in table["columns"] if _undeclared(column)]
        for path in _generated(folders)
        for source in yaml.safe_load(path.read_text())["sources"]
        for table in source["tables"]
    }


def drifted_sources(feeds: Iterable[Feed], folders: Sequence[Path] = ()) -> list[Path]:
    """The files that do not say what the feeds declare, whatever they say of undeclared columns."""
    folders = folders or model_folders()
    texts = {sources_file(origin, folders): text for origin, text in _texts(feeds, _NOTHING).items()}
    drifted = [path for path, text in texts.items() if not path.exists() or _declared(path.read_text()) != text]
    return [*drifted, *(path for path in _generated(folders) if path not in texts)]


def _texts(feeds: Iterable[Feed], gained: Gained) -> dict[str, str]:
    """Origin -> its file: one source, a table per feed."""
    by_origin = sorted(feeds, key=lambda feed: (feed.origin, feed.name))
    return {
        origin: _text(origin, [_table(feed, gained.get(feed.name, ())) for feed in of_origin])
        for origin, of_origin in groupby(by_origin, key=lambda feed: feed.origin)
    }


def _generated(folders: Iterable[Path]) -> list[Path]:
    """The generated files that are there."""
    found = (path for folder in folders for path in sorted(folder.glob(f"staging/*/{_NAME.format('*')}")))
    return [path for path in found if path.read_text().startswith(_HEAD)]


def _declared(text: str) -> str:
    """The text of a file without undeclared columns; one that has none is compared to the last character."""
    if _MARK not in text:
        return text
    (source,) = yaml.safe_load(text)["sources"]
    for table in source["tables"]:
        table["columns"] = [column for column in table["columns"] if not _undeclared(column)]
    return _text(source["name"], source["tables"])


def gained_columns(deployment: Deployment) -> Gained:
    """The columns that raw has and the contract does not, by feed, as the file lists them; none without a warehouse."""
    if not deployment.warehouse.path.exists():
        return _NOTHING
    gained = {}
    with deployment.warehouse.reading("look for undeclared columns") as unit:
        for feed in deployment.feeds:
            types = unit.tables(feed).undeclared()
            came = unit.ledger.first_with_unknown(feed.name) if types else {}
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
                if shown_of(feed.contract).may_name(name)  # the file is committed
            ]
    return gained


def _undeclared(column: Mapping[str, Any]) -> bool:
    return bool(column.get("config", {}).get("meta", {}).get(_MARK))


def _text(origin: str, tables: Sequence[dict[str, Any]]) -> str:
    source = {"name": origin, "schema": "raw", "description": f"What {origin} delivers.", "tables": tables}
    text: str = yaml.safe_dump({"version": 2, "sources": [source]}, sort_keys=False, width=110, allow_unicode=True)
    return _HEAD + text


def _meta(column: Column) -> dict[str, Any]:
    """What of a column dbt has no word for."""
    return ({"pii": column.pii} if column.pii else {}) | ({"optional": True} if column.optional else {})


def _table(feed: Feed, gained: Sequence[dict[str, Any]]) -> dict[str, Any]:
    columns = [
        {"name": column.name, "description": column.description, "data_type": column.sql_type.lower()}
        | ({"config": {"meta": meta}} if (meta := _meta(column)) else {})
        for column in feed.columns
    ]
    columns += [
        {"name": "_delivery_id", "description": "Delivery the row came with.", "data_type": "bigint"},
        {"name": "_line", "description": "Physical line of the row in its delivery.", "data_type": "bigint"},
    ]
    if feed.name_date is not None:
        columns.append({"name": "_file_date", "description": "Date in the file's name.", "data_type": "date"})
    if feed.on_drift == "rescue":
        columns.append({"name": "_extra", "description": "Unknown columns, as JSON.", "data_type": "json"})
    return {
        "name": feed.name,
        "description": feed.description,
        "config": {"meta": {"owner": feed.owner, "dagster": {"asset_key": ["raw", feed.origin, feed.name]}}},
        "columns": [*columns, *gained],
    }
