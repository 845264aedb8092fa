"""dbt's manifest, kept in step with the project's files without asking dbt every time.

Belongs here: dbt's files, and parsing them when, and only when, something changed. Elsewhere: running models
(orchestration/dbt.py). No Dagster here, so that asking "has the code changed?" stays cheap.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import yaml

from platform_assets.errors import ConfigurationError
from platform_assets.project.exposures import lost_model
from platform_assets.project.unfed import missing_source
from platform_assets.settings import PROJECT

if TYPE_CHECKING:
    from platform_assets.engine.feed.feed import Feed
    from platform_assets.engine.feed.mart import Mart

DBT_PROJECT: Final = PROJECT / "dbt_project"
# A folder of its own: dbt by hand writes a manifest of its moment into `target`.
_TARGET: Final = DBT_PROJECT / "target" / "platform"
PROMISED: Final = "_promised.json"
"""Files beside marts that say what of them consumers are promised (project/promised.py); dbt passes them over."""
_NOT_SOURCE: Final = {"target", "logs", "dbt_packages", ".user.yml", PROMISED}


def dbt_digest() -> str:
    """Changes whenever a file of the dbt project does."""
    digest = hashlib.sha256()
    for path in dbt_files():
        digest.update(path.relative_to(DBT_PROJECT).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def dbt_files() -> list[Path]:
    """The files of the dbt project that people write, those of a sample that is linked into it too."""
    found = []
    for folder, folders, names in os.walk(DBT_PROJECT, followlinks=True):
        if Path(folder) == DBT_PROJECT:
            folders[:] = [each for each in folders if each not in _NOT_SOURCE]
        found += [Path(folder, name) for name in names if name not in _NOT_SOURCE]
    return sorted(path for path in found if path.is_file())


def model_folders(project: Path = DBT_PROJECT) -> list[Path]:
    """The folders that dbt looks for models in, the team's own first."""
    declared = yaml.safe_load((project / "dbt_project.yml").read_text())
    return [project / each for each in declared["model-paths"]]


def current_manifest() -> Path:
    """The path of a manifest.json that agrees with the project's files; parses the project if it has to."""
    manifest = _TARGET / "manifest.json"
    stamp = _TARGET / "manifest.digest"
    digest = dbt_digest()
    if _agrees(stamp, digest) and manifest.exists():
        return manifest
    with alone():
        if not (_agrees(stamp, digest) and manifest.exists()):
            _parse()
            stamp.write_text(digest)
    return manifest


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Code server, daemon and runs may all load the definitions at once; one of them writes sources, or parses."""
    _TARGET.mkdir(parents=True, exist_ok=True)
    with (_TARGET / ".parsing").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def parsed_manifest(manifest: Path) -> Path:
    """The same manifest as dbt itself loads it."""
    return manifest.with_name("partial_parse.msgpack")


_Node = TypeVar("_Node")


def reached(edges: Mapping[_Node, Sequence[_Node]], starts: Iterable[_Node]) -> set[_Node]:
    """Everything that the edges lead to from `starts`, those included."""
    found: set[_Node] = set()
    ahead = list(starts)
    while ahead:
        node = ahead.pop()
        if node not in found:
            found.add(node)
            ahead += edges.get(node, [])
    return found


def declared_in(node: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a node's `meta: {dagster: …}` says."""
    declared: Mapping[str, Any] = node.get("config", {}).get("meta", {}).get("dagster", {})
    return declared


def is_asset(manifest: Mapping[str, Any], key: str) -> bool:
    """Whether the node has a table or a view of its own."""
    node = manifest["nodes"].get(key)
    return (
        node is not None
        and node["resource_type"] in ("model", "snapshot", "seed")
        and node["config"]["materialized"] != "ephemeral"
    )


def asset_name(node: Mapping[str, Any]) -> str:
    """What the asset of a model, snapshot or seed is called: `<folder>/…/<table>`; each version of a model has one."""
    folders = [part for part in node["fqn"][1:-1] if part != node["name"]]
    return "/".join([*(["snapshots"] if node["resource_type"] == "snapshot" else folders), node["alias"]])


def mart_needs(feeds: "Iterable[Feed]", marts: "Iterable[Mart]") -> dict[str, list[str]]:
    """The feeds that each mart is made from, at any remove; sources name theirs."""
    manifest = json.loads(current_manifest().read_bytes())
    names = {feed.name for feed in feeds}
    needs = {}
    for mart in marts:
        models = [
            key for key, node in manifest["nodes"].items() if key.startswith("model.") and node["alias"] == mart.name
        ]
        above = reached(manifest["parent_map"], models)
        sources = [manifest["sources"][node] for node in above if node in manifest["sources"]]
        needs[mart.name] = sorted({s["name"] for s in sources if s["schema"] == "raw" and s["name"] in names})
    return needs


def mart_owners(marts: "Iterable[Mart]") -> dict[str, str]:
    """Who owns each mart, by the first owner that its model names."""
    manifest = json.loads(current_manifest().read_bytes())
    wanted = {mart.name for mart in marts}
    declared = {
        node["alias"]: node["config"].get("meta", {}).get("dagster", {}).get("owners", [])
        for key, node in manifest["nodes"].items()
        if key.startswith("model.") and node["alias"] in wanted
    }
    return {mart: owners[0] for mart, owners in declared.items() if owners}


def _agrees(stamp: Path, digest: str) -> bool:
    try:
        return stamp.read_text() == digest
    except FileNotFoundError:
        return False


def dbt_places(target: Path) -> list[str]:
    """The options that tell dbt where its project lies and where to write."""
    project = ["--project-dir", str(DBT_PROJECT), "--profiles-dir", str(DBT_PROJECT)]
    return [*project, "--target-path", str(target), "--log-path", str(target)]


def run_dbt(arguments: Sequence[str], target: Path) -> str | None:
    """Run dbt's command line in a process of its own; what it said, if it failed."""
    command = [sys.executable, "-P", "-m", "dbt.cli.main", "--quiet", *arguments, *dbt_places(target)]
    environment = {**os.environ, "DBT_SEND_ANONYMOUS_USAGE_STATS": "false"}
    ran = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=False)  # noqa: S603 - our own
    return (ran.stdout + ran.stderr).strip() if ran.returncode else None


def _parse() -> None:
    if (problem := run_dbt(["parse", "--no-partial-parse"], _TARGET)) is not None:
        files = dbt_files()
        known = missing_source(problem, files, DBT_PROJECT) or lost_model(problem, files, DBT_PROJECT)
        raise known or ConfigurationError(
            "dbt_project",
            f"dbt cannot parse it:\n{problem}",
            f"Mend the file named above; `dbt parse` in {DBT_PROJECT} says the same.",
        )
