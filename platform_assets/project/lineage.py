"""What the columns of dbt's models are made from: node by node as their SQL says, and of marts down to the feeds.

Belongs here: following columns through the nodes of a manifest, and noting that beside what dbt compiled. Elsewhere:
one query (sql_lineage.py), which columns are personal (personal.py), showing it (orchestration/columns.py). What cannot
be followed (Python models, hooks, pivots, tables that nobody declares, what sqlglot does not know) is noted as such.
"""

import functools
import hashlib
import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

from platform_assets.engine.durable.files import replacing
from platform_assets.engine.feed.feed import Feed
from platform_assets.engine.store.marts import BuiltTable
from platform_assets.project.graph import raw_name
from platform_assets.project.manifest import asset_name, declared_in, is_asset, reached
from platform_assets.project.sql_lineage import Relation, columns_of_query

LINEAGE_FILE: Final = "lineage.json"
ORIGINS_FILE: Final = "origins.json"
MARTS: Final = "marts/"
_METHOD: Final = 1  # a change of how columns are followed makes what was followed before worth nothing
_KEPT_BY_DBT: Final = ("table", "view", "incremental", "snapshot")
# The platform's own hook deletes; any other might write into the table what its SQL does not say.
_HARMLESS_HOOK: Final = re.compile(r"\s*\{\{\s*retire_deliveries\(.*\)\s*\}\}\s*", re.DOTALL)
_CONFIG: Final = re.compile(r"\{\{\s*config\(.*?\)\s*\}\}", re.DOTALL)
_REF: Final = re.compile(r"\{\{\s*(?:ref|source)\([^{}]*\)\s*\}\}")


class Dep(NamedTuple):
    """A column above that a column is made from. carried: whether its values may be in there; else they are counted,
    added up, compared or asked for NULL."""

    asset: str
    column: str
    carried: bool


Columns: TypeAlias = Mapping[str, Sequence[Dep] | None]
"""The columns of a node, each with what it is made from; None: it cannot be followed."""
Lineage: TypeAlias = Mapping[str, Columns]
"""By node of dbt's manifest. One that is not in it cannot be followed, or is not built."""
Named: TypeAlias = Callable[[str, str], bool]
"""Whether a column of a node's table may be named."""


@dataclass(frozen=True)
class Made:
    """What the columns of a mart are made from. feeds: all that it is made from, at any remove. columns: those that may
    be named, with the columns of feeds, (feed, column), that they carry; None: it cannot be followed. unnamed: how many
    have names that may be data."""

    feeds: tuple[str, ...]
    columns: Mapping[str, tuple[tuple[str, str], ...] | None]
    unnamed: int = 0


def lineage_of(
    manifest: Mapping[str, Any], tables: Mapping[tuple[str, str], BuiltTable], target: Path, may_name: Named
) -> Lineage:
    """Of each node that is built: what its columns are made from. What was followed before is not followed again.

    target: where dbt has put what it compiled.
    """
    return _Nodes(manifest, tables, target, may_name).followed()


def visible(
    node: Mapping[str, Any], tables: Mapping[tuple[str, str], BuiltTable], may_name: Named
) -> Mapping[str, str]:
    """The columns of a node's table with their types, but those that may not be named."""
    table = _table(node, tables)
    if table is None:
        return {}
    return {each: kind for each, kind in table.columns.items() if may_name(node["unique_id"], each)}


def note_origins(
    lineage: Lineage,
    manifest: Mapping[str, Any],
    tables: Mapping[tuple[str, str], BuiltTable],
    feeds: Iterable[Feed],
    may_name: Named,
    target: Path,
) -> None:
    """Note what the columns of every mart that is built are made from, down to the feeds."""
    origins = Origins(lineage, manifest, feeds)
    found = {}
    for key, node in manifest["nodes"].items():
        table = _table(node, tables)
        if table is None or not is_asset(manifest, key) or not asset_name(node).startswith(MARTS):
            continue
        columns = visible(node, tables, may_name)
        found[node["alias"]] = asdict(
            Made(
                origins.feeds_above(key),
                {column: origins.of(asset_name(node), column) for column in columns},
                len(table.columns) - len(columns),
            )
        )
    with replacing(target / ORIGINS_FILE) as partial:
        partial.write_text(json.dumps(found))


def noted_origins(home: Path) -> dict[str, Made]:
    """What was noted of each mart when it was last built; of nothing, where nothing can be read."""
    try:
        noted = json.loads((home / "dbt" / ORIGINS_FILE).read_bytes())
        return {
            mart: Made(
                tuple(made["feeds"]),
                {
                    column: None if parts is None else tuple((feed, of) for feed, of in parts)
                    for column, parts in made["columns"].items()
                },
                int(made["unnamed"]),
            )
            for mart, made in noted.items()
        }
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}


class Origins:
    """Columns followed down to the feeds."""

    def __init__(self, lineage: Lineage, manifest: Mapping[str, Any], feeds: Iterable[Feed]) -> None:
        self._feeds = {raw_name(feed): feed.name for feed in feeds}
        self._manifest = manifest
        self._lineage = {asset_name(manifest["nodes"][key]): columns for key, columns in lineage.items()}
        self._keys = {asset_name(node): key for key, node in manifest["nodes"].items() if is_asset(manifest, key)}

    def of(self, asset: str, column: str) -> tuple[tuple[str, str], ...] | None:
        """The columns of feeds that a column carries; None where it cannot be followed so far."""
        found: set[tuple[str, str]] = set()
        seen: set[tuple[str, str]] = set()
        ahead = [(asset, column)]
        while ahead:
            at = ahead.pop()
            if at in seen:  # a model may read itself
                continue
            seen.add(at)
            name, of = at
            if name in self._feeds:
                found.add((self._feeds[name], of))
                continue
            if name not in self._keys:  # the ledger
                continue
            if self._manifest["nodes"][self._keys[name]]["resource_type"] == "seed":
                continue
            if (deps := self._lineage.get(name, {}).get(of)) is None:
                return None
            ahead += [(dep.asset, dep.column) for dep in deps if dep.carried]
        return tuple(sorted(found))

    def feeds_above(self, key: str) -> tuple[str, ...]:
        """The feeds that a node is made from, at any remove, also those that its SQL names without a word to dbt."""
        above = reached(self._parents, [key])
        return tuple(sorted({self._feeds[name] for each in above if (name := self._raw(each)) in self._feeds}))

    def _raw(self, key: str) -> str:
        source = self._manifest["sources"].get(key)
        return "" if source is None else _asset(source)

    @functools.cached_property
    def _parents(self) -> Mapping[str, Sequence[str]]:
        named = named_without_ref(self._manifest)
        return {
            key: [*self._manifest["parent_map"].get(key, ()), *named.get(key, ())]
            for key in {*self._manifest["parent_map"], *named}
        }


class _Nodes:
    """The nodes of a manifest as they are built."""

    def __init__(
        self,
        manifest: Mapping[str, Any],
        tables: Mapping[tuple[str, str], BuiltTable],
        target: Path,
        may_name: Named,
    ) -> None:
        self._manifest, self._target = manifest, target
        self._assets: dict[Relation, str] = {}
        self._relations: dict[Relation, Mapping[str, str]] = {}
        for node in (*manifest["nodes"].values(), *manifest["sources"].values()):
            if node.get("relation_name") and (columns := visible(node, tables, may_name)):
                relation = (node["database"], node["schema"], _identifier(node))
                self._assets[relation] = _asset(node)
                self._relations[relation] = columns
        self._tables = tables

    def followed(self) -> Lineage:
        kept = self._kept()
        asked: dict[str, str] = {}
        found: dict[str, Columns] = {}
        for key, node in self._manifest["nodes"].items():
            relation = (node["database"], node["schema"], _identifier(node))
            if not is_asset(self._manifest, key) or relation not in self._relations:
                continue
            if (sql := self._sql(node)) is None:
                continue
            asked[key] = self._asked(node, sql, self._relations[relation])
            if asked[key] in kept:
                found[key] = kept[asked[key]]
            elif (columns := self._follow(node, sql, self._relations[relation])) is not None:
                found[key] = columns
        new = {asked[key]: columns for key, columns in found.items()}
        if new.keys() != kept.keys():
            with replacing(self._target / LINEAGE_FILE) as partial:
                partial.write_text(json.dumps(new))
        return found

    def _follow(self, node: Mapping[str, Any], sql: str, there: Mapping[str, str]) -> Columns | None:
        parts = columns_of_query(sql, self._relations)
        if parts is None:
            return None
        columns: dict[str, Sequence[Dep] | None] = {}
        for column in there:
            of = parts.get(column.lower())
            columns[column] = None if of is None else self._deps(of)
        return {**columns, **_kept_by_snapshot(node, columns)}

    def _deps(self, parts: Iterable[tuple[Relation, str, bool]]) -> list[Dep]:
        found: dict[tuple[str, str], bool] = {}
        for relation, column, carried in parts:
            where = self._assets[relation], column
            found[where] = found.get(where, False) or carried
        return [Dep(*where, carried) for where, carried in sorted(found.items())]

    def _sql(self, node: Mapping[str, Any]) -> str | None:
        """The query that the node's table is filled by; None where that is none, or other things fill it, too."""
        config = node["config"]
        hooks = [each["sql"] for when in ("pre-hook", "post-hook") for each in config.get(when) or ()]
        if node.get("language", "sql") != "sql" or config["materialized"] not in _KEPT_BY_DBT:
            return None
        if not all(_HARMLESS_HOOK.fullmatch(hook) for hook in hooks):
            return None
        if node["resource_type"] == "snapshot":
            return self._sql_of_snapshot(node)
        path = Path(self._target, "compiled", node["package_name"], node["original_file_path"])
        try:
            return path.read_text()
        except OSError:
            return None

    def _sql_of_snapshot(self, node: Mapping[str, Any]) -> str | None:
        """Its query, of which dbt keeps no compiled form, where it names nothing but the one table it is taken of."""
        nodes = {**self._manifest["nodes"], **self._manifest["sources"]}
        relations = {nodes[each]["relation_name"] for each in node["depends_on"]["nodes"] if each in nodes}
        if len(relations) != 1 or not (relation := relations.pop()):
            return None
        sql: str = _REF.sub(lambda _: str(relation), _CONFIG.sub("", node["raw_code"]))
        return None if "{{" in sql or "{%" in sql else sql

    def _asked(self, node: Mapping[str, Any], sql: str, columns: Mapping[str, str]) -> str:
        """Changes whenever the answer might."""
        above = reached(self._manifest["parent_map"], [node["unique_id"]])
        read = [
            (relation, self._relations[relation], asset)
            for relation, asset in self._assets.items()
            if relation[-1].lower() in sql.lower()
        ]
        what = (_METHOD, node["unique_id"], node["config"].get("unique_key"), columns, sorted(above), read, sql)
        return hashlib.sha256(json.dumps(what).encode()).hexdigest()

    def _kept(self) -> dict[str, Columns]:
        try:
            kept = json.loads((self._target / LINEAGE_FILE).read_bytes())
            return {
                asked: {
                    column: None if deps is None else [Dep(str(a), str(c), bool(carried)) for a, c, carried in deps]
                    for column, deps in columns.items()
                }
                for asked, columns in kept.items()
            }
        except (OSError, ValueError, TypeError, AttributeError):
            return {}


def named_without_ref(manifest: Mapping[str, Any]) -> dict[str, list[str]]:
    """By node: sources of feeds that its code, or a macro that it calls, names by their tables rather than by
    `source()`, be it in raw or in quarantine."""
    sources = {source["name"]: key for key, source in manifest["sources"].items() if source["schema"] == "raw"}
    if not sources:
        return {}
    tables = "|".join(map(re.escape, sorted(sources, key=len, reverse=True)))
    names = re.compile(rf"\b(?:raw|quarantine)\"?\s*\.\s*\"?({tables})\b", re.IGNORECASE)
    by_lower = {name.lower(): key for name, key in sources.items()}

    def named(code: str) -> set[str]:
        return {by_lower[name.lower()] for name in names.findall(code)}

    macros = manifest.get("macros", {})
    in_macros = {key: named(each["macro_sql"]) for key, each in macros.items()}
    calls = {key: each["depends_on"]["macros"] for key, each in macros.items()}
    found: dict[str, list[str]] = {}
    for key, node in manifest["nodes"].items():
        of = named(node.get("raw_code") or "")
        called = reached(calls, node.get("depends_on", {}).get("macros", ()))
        of = of.union(*(in_macros[each] for each in called if each in in_macros))
        if of:
            found[key] = sorted(of)
    return found


def _kept_by_snapshot(node: Mapping[str, Any], columns: Columns) -> Columns:
    """The columns that dbt adds to a snapshot: its key as a hash, and from when to when each version held."""
    if node["resource_type"] != "snapshot":
        return {}
    config, known = node["config"], {name.lower(): deps for name, deps in columns.items()}

    def of(names: Iterable[str | None]) -> list[Dep] | None:
        deps = [known.get(name.lower()) for name in names if name]
        return None if None in deps else sorted({dep for each in deps for dep in each or ()})

    key, at = config.get("unique_key"), config.get("updated_at")
    times = dict.fromkeys(("dbt_updated_at", "dbt_valid_from", "dbt_valid_to", "dbt_is_deleted"), of([at]))
    ours = {"dbt_scd_id": of([*(key if isinstance(key, list) else [key]), at]), **times}
    names = config.get("snapshot_meta_column_names") or {}
    return {name: deps for each, deps in ours.items() if (name := names.get(each) or each) in columns}


def _table(node: Mapping[str, Any], tables: Mapping[tuple[str, str], BuiltTable]) -> BuiltTable | None:
    return tables.get((node["schema"], _identifier(node)))


def _identifier(node: Mapping[str, Any]) -> str:
    return str(node.get("alias") or node.get("identifier") or node["name"])


def _asset(node: Mapping[str, Any]) -> str:
    """What a node's or a source's asset is called."""
    if node["resource_type"] != "source":
        return asset_name(node)
    declared: Collection[str] = declared_in(node).get("asset_key", ())
    return "/".join(declared or (node["source_name"], node["name"]))
