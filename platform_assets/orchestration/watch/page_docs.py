"""What the page tells of the code: lineage from feeds to consumers, and a dictionary of every column.

Belongs here: reading that from contracts and dbt's manifest, once for the same code. Elsewhere: drawing it (web).
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, get_args

from platform_assets.orchestration.watch.deployment_state import DeploymentState
from platform_assets.project.manifest import asset_name, current_manifest, declared_in, is_asset
from platform_assets.project.personal import personal_columns
from platform_assets.web.page import Layer, ShownAsset, ShownColumn

_Documented = tuple[tuple[ShownAsset, ...], tuple[ShownColumn, ...]]
_kept: Final[dict[Path, tuple[object, _Documented]]] = {}


def documented(stored: DeploymentState) -> _Documented:
    """Every asset, inputs before what is made from them, and every column that is described anywhere."""
    manifest = current_manifest()
    personal = {
        mart: sorted(of) for mart, of in personal_columns(stored.marts, stored.feeds, stored.deployment.home).items()
    }
    wrong = {
        name: f"check {found[0].name} failed" for name in stored.project.nodes if (found := stored.assets.failing(name))
    }
    asked = (manifest.stat().st_mtime_ns, stored.feeds, stored.marts, personal, wrong)
    if manifest not in _kept or _kept[manifest][0] != asked:
        dbt = json.loads(manifest.read_bytes())
        models = {asset_name(node): (key, node) for key, node in dbt["nodes"].items() if is_asset(dbt, key)}
        _kept[manifest] = (
            asked,
            (
                tuple(_assets(stored, dbt, models, wrong)),
                tuple(_columns(stored, dbt, models, personal)),
            ),
        )
    return _kept[manifest][1]


def _assets(
    stored: DeploymentState,
    dbt: Mapping[str, Any],
    models: Mapping[str, tuple[str, Mapping[str, Any]]],
    wrong: Mapping[str, str],
) -> Iterator[ShownAsset]:
    owners = {product.name: product.owner for product in stored.project.products}
    for node in stored.project.nodes.values():
        if node.export is not None:
            about = f"Releases of {node.export.product}, as tables of the database that {node.export.setting} leads to."
            owner = owners[node.export.product]
        elif node.feed is not None:
            about, owner = node.feed.description, node.feed.owner
        elif (product := stored.project.product_of(node.name)) is not None:
            about, owner = (
                f"What readers get of {product.name}: {len(product.marts)} marts, released together.",
                product.owner,
            )
        else:
            _, model = models[node.name]
            about, owner = (
                str(model.get("description") or ""),
                str(next(iter(declared_in(model).get("owners", ())), "")),
            )
        yield ShownAsset(node.name, _layer(node.name), about, owner, node.inputs, wrong.get(node.name, ""))
    names = {key: name for name, (key, _) in models.items()}
    for exposure in sorted(dbt["exposures"].values(), key=lambda each: str(each["name"])):
        whose = exposure.get("owner") or {}
        inputs = tuple(names[key] for key in exposure["depends_on"]["nodes"] if key in names)
        yield ShownAsset(
            f"consumers/{exposure.get('label') or exposure['name']}",
            "consumers",
            str(exposure.get("description") or ""),
            str(whose.get("name") or whose.get("email") or ""),
            inputs,
        )


def _layer(name: str) -> Layer:
    first = {"raw": "feeds", "release": "products", "export": "consumers"}.get(
        name.partition("/")[0], name.partition("/")[0]
    )
    return next((layer for layer in get_args(Layer) if layer == first), "intermediate")


def _columns(
    stored: DeploymentState,
    dbt: Mapping[str, Any],
    models: Mapping[str, tuple[str, Mapping[str, Any]]],
    personal: Mapping[str, list[str]],
) -> Iterator[ShownColumn]:
    contracts = {mart.name: mart.columns for mart in stored.marts}
    tests = _tests(dbt)
    for node in stored.project.nodes.values():
        if node.feed is not None:
            for column in node.feed.columns:
                headers = [each for each in column.headers if each != column.name]
                said = column.description or (f"Delivered as {', '.join(headers)}." if headers else "")
                yield ShownColumn(node.name, column.name, column.sql_type, said, _rules(column), column.pii or "")
            continue
        if node.name not in models:
            continue
        key, model = models[node.name]
        written: dict[str, Any] = dict(model["columns"])
        is_mart = node.name.startswith("marts/")
        for column in contracts.get(model["alias"], ()) if is_mart else ():
            yaml = written.pop(column.name, {})
            rules = [_rules(column), *tests.get((key, column.name), ())]
            traced = "made from personal data" if column.name in personal.get(model["alias"], ()) else ""
            yield ShownColumn(
                node.name,
                column.name,
                column.sql_type,
                " ".join((yaml.get("description") or column.description).split()),
                ", ".join(filter(None, rules)),
                column.pii or traced,
            )
        for name, yaml in written.items():
            meta = yaml.get("config", {}).get("meta", {}) or yaml.get("meta", {})
            yield ShownColumn(
                node.name,
                name,
                str(yaml.get("data_type") or "").upper(),
                str(yaml.get("description") or ""),
                ", ".join(tests.get((key, name), ())),
                str(meta.get("pii") or ""),
            )


def _rules(column: Any) -> str:  # noqa: ANN401 - a column of a contract
    return ", ".join([*([] if column.nullable else ["never empty"]), *column.rules])


def _tests(dbt: Mapping[str, Any]) -> dict[tuple[str, str], list[str]]:
    """What dbt tests of columns: (node, column) -> names of tests."""
    found: dict[tuple[str, str], list[str]] = {}
    for node in dbt["nodes"].values():
        if node["resource_type"] == "test" and node.get("attached_node") and node.get("column_name"):
            name = (node.get("test_metadata") or {}).get("name") or node["name"]
            found.setdefault((node["attached_node"], node["column_name"]), []).append(str(name))
    return found
