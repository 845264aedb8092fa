"""Models that read a source which no feed fills: its rows would stay as they are for ever, and nobody would be told.

Belongs here: finding them, and the error that names both. Elsewhere: dbt's sources (dbt_sources.py), the graph
(graph.py).
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import yaml

from platform_assets.errors import ConfigurationError, listed, nearest

if TYPE_CHECKING:  # the launcher, which the daemon imports, gets here
    from platform_assets.engine.feed.feed import Feed

_NOT_FOUND: Final = re.compile(
    r"'(?:\w+\.)+([\w]+)' \(([^)\s]+)\) depends on a source named '(\w+)\.(\w+)' which was not found"
)
_READS: Final = re.compile(r"""\bsource\(\s*["'](\w+)["']\s*,\s*["'](\w+)["']\s*\)""")
_MOST: Final = 5


class Unfed(NamedTuple):
    """A model, its file in the dbt project, and the source that it reads, which no feed fills."""

    model: str
    file: str
    origin: str
    name: str


def refuse_unfed(dbt: Mapping[str, Any], feeds: Iterable["Feed"]) -> None:
    """Raise ConfigurationError where a node of dbt's manifest reads a table of raw that none of the feeds fills."""
    fed = {feed.name: feed.origin for feed in feeds}
    gone = {
        key: source
        for key, source in dbt["sources"].items()
        if source["schema"] == "raw" and (source.get("identifier") or source["name"]) not in fed
    }
    found = [
        Unfed(node["name"], node["original_file_path"], gone[parent]["source_name"], gone[parent]["name"])
        for key, node in dbt["nodes"].items()
        if node["resource_type"] in ("model", "snapshot")
        for parent in dbt["parent_map"].get(key, ())
        if parent in gone
    ]
    if found:
        read = {
            dbt["sources"][parent]["name"] for of in dbt["parent_map"].values() for parent in of if "source." in parent
        }
        raise _error(found, [(origin, name) for name, origin in fed.items()], read)


def missing_source(said: str, files: Iterable[Path], project: Path) -> ConfigurationError | None:
    """The error that dbt means where it says that a model reads a source which is not declared; else None.

    dbt stops at the first; the others are looked for in the project's `files`.
    """
    first = _NOT_FOUND.search(said)
    if first is None:
        return None
    files = list(files)
    known = {each for path in files if path.suffix in (".yml", ".yaml") for each in _sources(path)}
    found = [Unfed(*first.groups())]
    read: set[str] = set()
    for path in files:
        if path.suffix == ".sql":
            file = path.relative_to(project).as_posix()
            for origin, name in dict.fromkeys(_READS.findall(path.read_text(errors="replace"))):
                each = Unfed(path.stem, file, origin, name)
                read.add(name)
                if (origin, name) not in known and each[1:] != found[0][1:]:
                    found.append(each)
    return _error(found, sorted(each for each in known if each[0] != "platform"), read)


def _sources(path: Path) -> list[tuple[str, str]]:
    """Origin and name of the sources that a file of dbt's declares."""
    try:
        declared = yaml.safe_load(path.read_text())
        return [
            (str(source["name"]), str(table["name"]))
            for source in declared.get("sources") or ()
            for table in source.get("tables") or ()
        ]
    except (yaml.YAMLError, AttributeError, KeyError, TypeError):
        return []


def _error(found: Sequence[Unfed], fed: Sequence[tuple[str, str]], read: Collection[str]) -> ConfigurationError:
    """fed: origin and name of each feed. read: names of sources that models read."""
    first = found[0]
    others = [f"{each.model} ({each.origin}.{each.name})" for each in found[1:]]
    near = nearest(first.name, [name for _, name in fed])
    unread = [name for origin, name in fed if origin == first.origin and name not in read]
    if not near and len(unread) == 1:  # what was renamed is a feed that no model reads yet
        near = f" Did you mean {unread[0]!r}?"
    names = [".".join(each) for each in fed]
    declared = f"Feeds are: {listed(names)}." if names else "No feed is declared."
    return ConfigurationError(
        f"model {first.model} (dbt_project/{first.file})",
        f"reads source('{first.origin}', '{first.name}'), which no feed fills.{near}"
        + (f" So do others: {listed(others, _MOST)}." if others else ""),
        f"{declared} Name one of them in the model, or delete the model, or declare the feed again. Was the feed "
        f"renamed? `platform feed rename {first.name} NEWNAME` takes its rows along.",
    )
