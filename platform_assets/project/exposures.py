"""Consumers: who reads which columns of which marts, as dbt's exposures say.

Belongs here: reading exposures, and the error where one reads a model that is gone. Elsewhere: what a change would
break for them (consumers.py), what they have been promised (promised.py).
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from platform_assets.errors import ConfigurationError, listed, nearest

_LOST: Final = re.compile(
    r"'exposure\.\w+\.(\w+)' \(([^)\n]+)\) depends on an? \w+ named '([^'\n]+)' "
    r"(?:with version '([^'\n]+)' )?(?:in package or project '\w+' )?which (?:was not found|is disabled)"
)


@dataclass(frozen=True)
class Consumer:
    """Who reads marts: a dashboard, a notebook, a program; an exposure of dbt's.

    uses: mart, by the name that readers know -> the columns used; None means all. label: what people call it. kind:
    dbt's type. email: "" where only the owner's name is known. file: where it is declared, below dbt_project.
    """

    name: str
    label: str
    kind: str
    owner: str
    email: str
    url: str
    description: str
    file: str
    uses: Mapping[str, tuple[str, ...] | None]

    def __str__(self) -> str:
        """What it is called, and who is to be asked."""
        who = ", ".join(filter(None, (self.owner, self.email)))
        return f"{self.label} ({who})"

    def uses_column(self, mart: str, column: str) -> bool:
        """Whether it reads the column of the mart."""
        if mart not in self.uses:
            return False
        chosen = self.uses[mart]
        return chosen is None or column.casefold() in {each.casefold() for each in chosen}


def consumers_of(dbt: Mapping[str, Any]) -> tuple[Consumer, ...]:
    """The consumers that a manifest of dbt's declares, by name; raises ConfigurationError where the columns that one
    says it uses cannot be understood."""
    return tuple(_consumer(dbt, each) for _, each in sorted(dbt["exposures"].items()))


def latest_versions(dbt: Mapping[str, Any]) -> dict[str, str]:
    """Of each model with versions: its name without one -> the table of its latest version, which readers of that name
    get. Not where a version's table has that name itself."""
    tables = {node["alias"] for node in _models(dbt)}
    return {
        node["name"]: node["alias"]
        for node in _models(dbt)
        if node.get("version") is not None and _same(node["version"], node["latest_version"])
        if node["name"] not in tables
    }


def _models(dbt: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    return (node for node in dbt["nodes"].values() if node["resource_type"] in ("model", "snapshot", "seed"))


def _same(one: object, other: object) -> bool:
    """Whether two versions are the same; dbt takes numbers and text."""
    return str(one) == str(other)


def _consumer(dbt: Mapping[str, Any], exposure: Mapping[str, Any]) -> Consumer:
    owner = exposure["owner"]
    email = owner.get("email") or ""
    file = str(exposure["original_file_path"])
    return Consumer(
        name=exposure["name"],
        label=exposure.get("label") or exposure["name"],
        kind=exposure["type"],
        owner=owner.get("name") or "",
        email=email if isinstance(email, str) else ", ".join(email),
        url=exposure.get("url") or "",
        description=" ".join((exposure.get("description") or "").split()),
        file=file,
        uses=_uses(exposure, _read_by(dbt, exposure), file),
    )


def _read_by(dbt: Mapping[str, Any], exposure: Mapping[str, Any]) -> list[str]:
    """The tables that the exposure reads, by the names that readers know."""
    latest = latest_versions(dbt)
    found = []
    for ref in exposure["refs"]:
        for key in exposure["depends_on"]["nodes"]:
            node = dbt["nodes"].get(key)
            if node is None or node["name"] != ref["name"]:
                continue
            if ref.get("version") is not None and not _same(ref["version"], node.get("version")):
                continue
            unversioned = node.get("version") is not None and ref.get("version") is None
            found.append(node["name"] if unversioned and node["name"] in latest else node["alias"])
    return list(dict.fromkeys(found))


def _uses(exposure: Mapping[str, Any], read: Sequence[str], file: str) -> dict[str, tuple[str, ...] | None]:
    """Mart -> columns, by `config: meta: columns:`."""
    said = exposure["config"].get("meta", {}).get("columns")
    if said is None:
        return dict.fromkeys(read)
    where = f"exposure {exposure['name']} (dbt_project/{file}), meta: columns"
    if not isinstance(said, dict) or not all(
        isinstance(each, list) and all(isinstance(name, str) for name in each) for each in said.values()
    ):
        raise ConfigurationError(
            where, "is not understood", "Write, such as `columns: {daily_sales: [sale_date, net_revenue]}`."
        )
    for mart in said:
        if mart not in read:
            raise ConfigurationError(
                where,
                f"names {mart!r}, which the exposure does not depend on.{nearest(str(mart), read)}",
                f"Name some of: {listed(read)}; or add ref({mart!r}) to its depends_on.",
            )
    return {mart: tuple(said[mart]) if mart in said else None for mart in read}


def lost_model(said: str, files: Iterable[Path], project: Path) -> ConfigurationError | None:
    """The error that dbt means where it says that an exposure depends on a model which is gone; else None.

    files: of the dbt project.
    """
    found = _LOST.search(said)
    if found is None:
        return None
    name, file, model, version = found.groups()
    path = next((each for each in files if each.relative_to(project).as_posix() == file), None)
    users = [each for each in _written(path) if each.get("name") == name] if path is not None else []
    owner = (users[0].get("owner") or {}) if users else {}
    who = ", ".join(str(owner[each]) for each in ("name", "email") if owner.get(each))
    called = (users[0].get("label") if users else None) or name
    table = model if version is None else f"version {version} of {model}"
    return ConfigurationError(
        f"exposure {name} (dbt_project/{file})",
        f"reads {table}, which is gone. {called} would break" + (f": {who}" if who else ""),
        f"Bring {table} back. Or, once {who or called} agrees: let the exposure read another model, or take "
        "it out. docs/how-to/consumers.md",
    )


def _written(path: Path) -> list[Mapping[str, Any]]:
    """The exposures that a file of dbt's declares."""
    try:
        declared = yaml.safe_load(path.read_text())
        return [each for each in declared.get("exposures") or () if isinstance(each, dict)]
    except (OSError, yaml.YAMLError, AttributeError, TypeError):
        return []
