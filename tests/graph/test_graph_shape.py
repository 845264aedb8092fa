"""The code's own rules: imports run one way, a module says what belongs in it, nothing reads the environment."""

import ast
import json
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import dagster_dbt
import pytest
import rooms
from deployed import Deployed
from machine import PROJECT

PACKAGE: Final = PROJECT / "platform_assets"
UNIT: Final = PROJECT / "tests" / "unit"
MODULES: Final = sorted(PACKAGE.rglob("*.py"))
LONGEST: Final = 400
LONGER_FOR_A_REASON: Final = {
    "engine/readers/parquet/columnar.py": "a program that runs by itself, with nothing of ours to import",
}
# Where a child process is given an environment, or a throw-away one is put up.
HANDS_ON_THE_ENVIRONMENT: Final = {
    *("settings.py", "project/manifest.py", "commands/ci.py", "orchestration/runs/launcher.py"),
}
# Part of the package -> what it must not import, not even within a function; `.x` is platform_assets.x.
BANNED: Final = {
    "engine": (
        "dagster dagster_dbt dbt .orchestration .cli .commands .feeds .marts .settings .definitions .project .alerts"
    ),
    "errors.py": "platform_assets",
    "secrets.py": "dagster dbt .engine .orchestration .cli .feeds .marts .settings",
    "settings.py": "dagster dbt .engine .orchestration .cli .feeds .marts",
    "feeds": "dagster dbt duckdb .orchestration .cli .settings",
    "marts": "dagster dbt duckdb .orchestration .cli .settings",
    "orchestration": ".cli .commands .definitions",
    "engine/readers/parquet/columnar.py": "platform_assets",
}
WITHIN_DAGSTER_DBT: Final = {
    f"dagster_dbt.{module.name}" for module in pkgutil.iter_modules(dagster_dbt.__path__) if module.name != "compat"
}
ROOMS: Final = 30
ARROWS: Final = 150


def name(module: Path) -> str:
    return module.relative_to(PACKAGE).as_posix()


def imports(module: Path, *, everywhere: bool = True) -> Iterator[str]:
    """What a module imports; only when it is itself imported, unless `everywhere`."""
    tree = ast.parse(module.read_text())
    for node in ast.walk(tree) if everywhere else tree.body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def banned_in(part: str) -> list[str]:
    return [f"platform_assets{each}" if each.startswith(".") else each for each in BANNED[part].split()]


def within(imported: str, banned: str) -> bool:
    return imported == banned or imported.startswith(f"{banned}.")


@pytest.mark.parametrize("part", BANNED)
def test_imports_run_one_way(part: str) -> None:
    wrong = [
        (name(module), imported)
        for module in MODULES
        if name(module) == part or name(module).startswith(f"{part}/")
        for imported in imports(module)
        if any(within(imported, banned) for banned in banned_in(part))
    ]
    assert wrong == []


def test_rooms_are_few_and_no_import_runs_back_up() -> None:
    floor = rooms.floors()  # raises where rooms import in a circle
    assert len(floor) <= ROOMS
    assert sum(map(len, rooms.arrows().values())) <= ARROWS


@pytest.mark.parametrize("room", rooms.charters())
def test_a_room_says_in_two_lines_what_belongs_there(room: str) -> None:
    assert (PACKAGE / room).is_file() or len(rooms.charters()[room].split("\n\n")) == 2


def test_unit_tests_stand_in_the_rooms_of_what_they_test() -> None:
    found = {test.parent.relative_to(UNIT).as_posix() for test in UNIT.rglob("test_*.py")}
    assert found <= {Path(room).stem for room in rooms.charters()} | {"samples"}


def test_what_the_sample_delivers_is_made_without_the_platform() -> None:
    """Else it would share the platform's mistakes."""
    simulator = PROJECT / "samples" / "retail" / "simulator.py"
    assert [imported for imported in imports(simulator) if within(imported, "platform_assets")] == []


def test_the_map_of_rooms_is_as_they_are_now() -> None:
    page = rooms.PAGE.read_text()
    assert rooms.redrawn(page) == page, "draw it: make map"


@pytest.mark.parametrize("part", ["feeds", "marts"])
def test_declarations_import_only_what_they_declare_with(part: str) -> None:
    ours = {i for module in (PACKAGE / part).glob("*.py") for i in imports(module) if i.startswith("platform_assets")}
    assert ours <= {"platform_assets"}


def test_connections_and_the_ledgers_sql_stay_in_the_store() -> None:
    outside = [module for module in MODULES if not name(module).startswith("engine/store/")]
    assert [name(each) for each in outside if any(i.split(".")[0] == "duckdb" for i in imports(each))] == []
    tables = re.compile(r"\b(FROM|JOIN|INTO|UPDATE|TABLE)\s+(ledger|raw|quarantine)\.")
    for module in outside:
        for node in ast.walk(ast.parse(module.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                assert not tables.search(node.value), f"{name(module)}:{node.lineno}"
            if isinstance(node, ast.Attribute) and node.attr == "open":
                assert "warehouse" not in ast.unparse(node.value), f"{name(module)}:{node.lineno}"


def test_what_is_private_to_dagster_is_used_in_two_modules_alone() -> None:
    """`dagster._x` by whatever spelling, the package that Dagster shares with itself, modules of dagster-dbt."""
    users = {
        name(module)
        for module in MODULES
        for imported in names_imported(module)
        if imported.startswith(("dagster._", "dagster_shared", "dagster_dbt._")) or imported in WITHIN_DAGSTER_DBT
    }
    assert users == {"orchestration/runs/dagster_internals.py", "orchestration/runs/dbt_internals.py"}


def names_imported(module: Path) -> Iterator[str]:
    """Modules that a module imports, and `module.name` of what it imports from them; or names as text, to import."""
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and "\n" not in node.value:
            yield node.value


def test_settings_alone_reads_the_environment() -> None:
    readers = {name(m) for m in MODULES if "os.environ" in m.read_text() or "getenv" in m.read_text()}
    assert readers <= HANDS_ON_THE_ENVIRONMENT


def test_the_linter_knows_what_the_engine_must_not() -> None:
    banned = (PACKAGE / "engine" / "ruff.toml").read_text()
    for imported in banned_in("engine"):
        if imported != "platform_assets.definitions":
            assert f'"{imported}".msg' in banned


def test_no_verb_imports_dagster_before_it_needs_it() -> None:
    for module in (PACKAGE / "cli").glob("*.py"):
        assert not [
            i for i in imports(module, everywhere=False) if i.split(".")[0] in ("dagster", "dagster_dbt", "dbt")
        ]


def test_looking_at_the_feeds_never_imports_dagster(tmp_path: Path) -> None:
    watch = """
import json, sys
from platform_assets.cli.tree import app
app(["feed", "list", "--json"], standalone_mode=False)
print(json.dumps(sorted({module.partition(".")[0] for module in sys.modules})))
"""
    done = subprocess.run(
        [sys.executable, "-c", watch],
        cwd=PROJECT, env=Deployed(tmp_path).environment(), capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    listed, imported = done.stdout.splitlines()
    assert json.loads(listed)["feeds"]
    assert not {"dagster", "dagster_dbt", "dbt"} & set(json.loads(imported))


@pytest.mark.parametrize("module", MODULES, ids=name)
def test_a_module_opens_with_its_charter(module: Path) -> None:
    charter = ast.get_docstring(ast.parse(module.read_text()))
    assert charter, "its first lines say what belongs there and what does not"
    assert len(charter.splitlines()) <= 6


def test_modules_are_short() -> None:
    long = {name(module) for module in MODULES if len(module.read_text().splitlines()) > LONGEST}
    assert long <= set(LONGER_FOR_A_REASON)
