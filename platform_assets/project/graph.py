"""The project: every asset that today's code makes, what it is made from, and a code that changes with its meaning.

Belongs here: feeds, dbt's nodes and the releases of products as one graph of names. Elsewhere: what is there and out
of date (state.py), which products there are (products.py). No Dagster here.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from platform_assets.engine.feed.export import Export
from platform_assets.engine.feed.feed import Cadence, Feed
from platform_assets.engine.feed.mart import Mart
from platform_assets.engine.feed.product import Product
from platform_assets.errors import ConfigurationError, nearest
from platform_assets.project.consumers import Offer, offers_of
from platform_assets.project.exports import check_exports
from platform_assets.project.exposures import Consumer, consumers_of, latest_versions
from platform_assets.project.manifest import asset_name, declared_in, is_asset, reached
from platform_assets.project.place import place_of
from platform_assets.project.products import ReleasedProduct, products_of
from platform_assets.project.unfed import refuse_unfed

# What changes a model's table or what its tests say; descriptions, tags and places of files do not.
_MEANING: Final = ("alias", "schema", "config", "columns", "raw_code", "checksum", "test_metadata", "column_name")
_SILENT: Final = ("meta", "docs", "tags", "group", "description", "access")


@dataclass(frozen=True)
class Node:
    """An asset as today's code has it. inputs: assets that it is made from. code: changes whenever the same inputs
    might give another table, or its checks another verdict. feed: of a raw asset. cron: when it is made, if not at
    once. export: of what goes to another database."""

    name: str
    inputs: tuple[str, ...] = ()
    code: str = ""
    feed: Feed | None = None
    cron: Cadence | None = None
    export: Export | None = None


@dataclass(frozen=True)
class Project:
    """All assets, inputs before what is made from them; the last are the releases of the products and their exports.

    consumers: who reads the marts. offers: what of each mart they get, by the names that readers know. latest: model
    with versions -> the table of its latest one.
    """

    nodes: Mapping[str, Node]
    products: tuple[ReleasedProduct, ...]
    consumers: tuple[Consumer, ...] = ()
    offers: Mapping[str, Offer] = field(default_factory=dict)
    latest: Mapping[str, str] = field(default_factory=dict)

    @property
    def marts(self) -> tuple[str, ...]:
        """The marts of all products."""
        return tuple(mart for product in self.products for mart in product.marts)

    @property
    def exports(self) -> tuple[Export, ...]:
        """What goes to other databases."""
        return tuple(node.export for node in self.nodes.values() if node.export is not None)

    def product_of(self, release: str) -> ReleasedProduct | None:
        """The product whose release the asset is; None of any other asset."""
        return next((product for product in self.products if product.release == release), None)

    def product_with(self, mart: str) -> ReleasedProduct | None:
        """The product that the mart (the asset's name, or its table's) is released with."""
        return next((each for each in self.products if mart in each.marts or mart in each.tables), None)

    def read_as(self, name: str) -> tuple[str, ...]:
        """The assets by which readers get the mart that they know by that name: its table, and its product's
        releases."""
        table = self.latest.get(name, name)
        product = self.product_with(table)
        found = next((mart for mart in self.marts if mart.split("/")[-1] == table), None)
        return () if product is None or found is None else (found, product.release)

    def below(self, starts: Iterable[str]) -> list[str]:
        """Everything that is made from `starts` at any remove, inputs first; `starts` are not among it."""
        begun = set(starts)
        found: list[str] = []
        for node in self.nodes.values():
            if node.name not in begun and begun.intersection(node.inputs):
                begun.add(node.name)
                found.append(node.name)
        return found

    def above(self, name: str) -> list[str]:
        """The asset and all that it is made from, inputs first."""
        if name not in self.nodes:
            return []
        edges = {node.name: node.inputs for node in self.nodes.values()}
        found = reached(edges, [name])
        return [each for each in self.nodes if each in found]

    def end_of(self, table: str) -> str | None:
        """The day, ISO, up to which the mart is served at least, where it is a version whose end is told."""
        until = self.offers[table].until if table in self.offers else None
        return None if until is None else until.isoformat()

    def latest_of(self, product: ReleasedProduct) -> dict[str, str]:
        """Models with versions whose latest is a mart of the product -> that mart."""
        return {name: table for name, table in self.latest.items() if table in product.tables}


NOTHING: Final = Project({}, ())
"""Before anything is declared."""


def raw_name(feed: Feed) -> str:
    """What the asset of the feed's accepted rows is called."""
    return f"raw/{feed.origin}/{feed.name}"


def project_of(
    feeds: Sequence[Feed],
    marts: Sequence[Mart],
    manifest: Path,
    products: Sequence[Product] = (),
    exports: Sequence[Export] = (),
) -> Project:
    """The assets that all these and the dbt project of `manifest` amount to. Raises ConfigurationError
    where a model reads what no feed fills, or a product has no marts."""
    dbt = json.loads(manifest.read_bytes())
    refuse_unfed(dbt, feeds)
    nodes = {raw_name(feed): Node(raw_name(feed), code=_code_of_feed(feed), feed=feed) for feed in feeds}
    names = {key: asset_name(node) for key, node in dbt["nodes"].items() if is_asset(dbt, key)}
    names |= {
        key: name
        for key, source in dbt["sources"].items()
        if (name := "/".join(declared_in(source).get("asset_key", ()))) in nodes
    }
    models = {node["alias"]: node["name"] for node in dbt["nodes"].values() if node["resource_type"] == "model"}
    for mart in marts:
        if mart.name not in models:
            versions = [table for table, model in models.items() if model == mart.name]
            raise (
                ConfigurationError(
                    f"Mart({mart.name!r})",
                    "is the name of several tables, one for each version of the dbt model",
                    f"Declare what each promises: {', '.join(f'Mart({table!r}, …)' for table in versions)}.",
                )
                if versions
                else ConfigurationError(
                    f"Mart({mart.name!r})",
                    f"there is no dbt model {mart.name!r}.{nearest(mart.name, models)}",
                    f"Write dbt_project/models/marts/{mart.name}.sql, or name the mart as its model is called.",
                )
            ).at(place_of("Mart", mart.name, mart.contract.__module__))
    contracts = {mart.name: mart.version() for mart in marts}
    codes = _codes(dbt)
    for key in _inputs_first(dbt["parent_map"], [key for key in names if key in dbt["nodes"]]):
        node = dbt["nodes"][key]
        declared = declared_in(node)
        contract = contracts.get(node["alias"]) if names[key].startswith("marts/") else None
        nodes[names[key]] = Node(
            names[key],
            inputs=tuple(sorted({names[each] for each in _made_from(dbt, key) if each in names})),
            code=_hash(codes[key], contract),
            cron=Cadence(str(declared["cron"]), timedelta(), timezone=str(declared.get("timezone", "UTC")))
            if "cron" in declared
            else None,
        )
    released = products_of(
        dbt, {names[key]: dbt["nodes"][key] for key in names if names[key].startswith("marts/")}, products, marts
    )
    for product in released:
        nodes[product.release] = Node(product.release, inputs=product.marts)
    check_exports(exports, released)
    for each in exports:
        nodes[each.asset] = Node(each.asset, inputs=(f"release/{each.product}",), export=each)
    tables = {table for product in released for table in product.tables}
    latest = {name: table for name, table in latest_versions(dbt).items() if table in tables}
    return Project(nodes, released, consumers_of(dbt), offers_of(dbt), latest)


def version_from(code: str, inputs: Mapping[str, str]) -> str:
    """The version of what that code makes from inputs of these versions."""
    return _hash(code, sorted(inputs.items()))


def _code_of_feed(feed: Feed) -> str:
    return _hash(feed.version(), repr(feed.tolerate), repr(feed.volume))


def _codes(dbt: Mapping[str, Any]) -> dict[str, str]:
    """Of each model, snapshot and seed: what its table and the verdicts of its tests hang on, besides its inputs."""
    macros: dict[str, str] = {}

    def of_macros(called: Iterable[str]) -> list[str]:
        needed = reached({key: each["depends_on"]["macros"] for key, each in dbt["macros"].items()}, called)
        for key in needed:
            if key not in macros and key in dbt["macros"]:
                macros[key] = _hash(key, dbt["macros"][key]["macro_sql"])
        return sorted(macros[key] for key in needed if key in macros)

    own = {
        key: _hash(
            [(field, _meant(node.get(field))) for field in _MEANING], of_macros(node["depends_on"].get("macros", ()))
        )
        for key, node in dbt["nodes"].items()
    }
    tests: dict[str, list[str]] = {}
    for key, node in dbt["nodes"].items():
        if node["resource_type"] == "test":
            for tested in [node["attached_node"]] if node.get("attached_node") else node["depends_on"]["nodes"]:
                tests.setdefault(tested, []).append(own[key])
    # What is written into the SQL of a model without being an asset: ephemeral models.
    written = {key: [each for each in dbt["parent_map"].get(key, ()) if _is_ephemeral(dbt, each)] for key in own}
    return {
        key: _hash(sorted(own[each] for each in reached(written, [key])), sorted(tests.get(key, ())))
        for key in dbt["nodes"]
        if is_asset(dbt, key)
    }


def _meant(value: Any) -> Any:  # noqa: ANN401 - what JSON holds
    if isinstance(value, dict):
        return {key: _meant(each) for key, each in sorted(value.items()) if key not in _SILENT}
    return value


def _is_ephemeral(dbt: Mapping[str, Any], key: str) -> bool:
    node = dbt["nodes"].get(key)
    return node is not None and node["resource_type"] == "model" and not is_asset(dbt, key)


def _made_from(dbt: Mapping[str, Any], key: str) -> set[str]:
    """The assets and sources that a node reads, through ephemeral models too."""
    found: set[str] = set()
    ahead = list(dbt["parent_map"].get(key, ()))
    while ahead:
        each = ahead.pop()
        if _is_ephemeral(dbt, each):
            ahead += dbt["parent_map"].get(each, ())
        else:
            found.add(each)
    return found


def _inputs_first(parents: Mapping[str, Sequence[str]], keys: Sequence[str]) -> list[str]:
    order: dict[str, None] = {}

    def visit(key: str) -> None:
        if key not in order:
            for parent in sorted(parents.get(key, ())):
                visit(parent)
            order[key] = None

    for key in sorted(keys):
        visit(key)
    wanted = set(keys)
    return [key for key in order if key in wanted]


def _hash(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]
