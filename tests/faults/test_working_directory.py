"""Code that lies in the folder a command is called in, as the landing folder: no process of ours imports it."""

import importlib.metadata
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest
from deployed import Deployed
from machine import PROJECT
from tree import BUILT_S, Tree

HOSTILE: Final = """
import os
noted = os.open({note!r}, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
os.write(noted, f"{{__name__}} was imported\\n".encode())
os.close(noted)
"""
SETTINGS: Final = {
    "dagster.yaml": "run_launcher: {module: theirs, class: Theirs}",
    "workspace.yaml": "load_from: [{python_module: theirs}]",
    "pyproject.toml": '[tool.dagster]\nmodule_name = "theirs"\n',
    "dbt_project.yml": "name: theirs",
    "profiles.yml": "theirs: {}",
    ".env": "PLATFORM_HOME=/nonexistent/theirs\nDAGSTER_HOME=/nonexistent/theirs",
}
PYTHONS_OWN: Final = set(sys.stdlib_module_names) - set(sys.builtin_module_names)
AT_ITS_START: Final = {"sitecustomize", "usercustomize"}


class Hostile(Deployed):
    """A deployment whose commands are called in a folder with a module of every name that anybody may import."""

    @property
    def imported(self) -> str:
        """The modules of that folder that were imported."""
        return self.note.read_text() if self.note.exists() else ""

    @property
    def note(self) -> Path:
        return self.root / "imported"

    def fill(self, *but: str) -> None:
        """Fill the folder, the landing folder itself."""
        self.cwd = self.landing
        self.landing.mkdir(parents=True, exist_ok=True)
        theirs = {name for names in importlib.metadata.packages_distributions() for name in [names.partition(".")[0]]}
        for name in {*theirs, *PYTHONS_OWN, *AT_ITS_START, "dbt_theirs", "theirs"} - set(but):
            (self.landing / f"{name}.py").write_text(HOSTILE.format(note=str(self.note)))
        for name, text in SETTINGS.items():
            (self.landing / name).write_text(text)


@pytest.fixture
def world(tmp_path: Path) -> Hostile:
    made = Hostile(tmp_path)
    made.fill()
    return made


def test_a_command_imports_nothing_from_where_it_is_called(world: Hostile) -> None:
    done = world.platform("feed", "list", "--json", env={"PYTHONPATH": ""})
    assert (done.code, world.imported) == (0, ""), done.err
    assert done.answer["feeds"]


@pytest.mark.parametrize("search", [".", ":/nowhere", "/nowhere:"])
def test_nor_where_the_search_path_names_that_folder_without_saying_so(tmp_path: Path, search: str) -> None:
    """An empty part of PYTHONPATH, as `export PYTHONPATH=$PYTHONPATH:/opt` leaves one, is the working directory.
    What Python itself imports before any line of ours is not in our hands."""
    world = Hostile(tmp_path)
    world.fill(*PYTHONS_OWN, *AT_ITS_START, "_distutils_hack", "_virtualenv", "platform_assets")
    done = world.platform("feed", "list", "--json", env={"PYTHONPATH": search})
    assert (done.code, world.imported) == (0, ""), done.err


_SPAWN: Final = """
import multiprocessing
from platform_assets.settings import protect_process

if __name__ == "__main__":
    protect_process()
    for how in ("spawn", "forkserver"):
        process = multiprocessing.get_context(how).Process(target=print)
        process.start()
        process.join()
        assert process.exitcode == 0
"""


def test_what_python_starts_for_us_imports_nothing_from_there(world: Hostile) -> None:
    """Processes that are spawned, and the one that counts their locks."""
    script = world.root / "spawn.py"
    script.write_text(_SPAWN)
    subprocess.run([sys.executable, script], cwd=world.cwd, env=world.environment(), check=True, timeout=60)
    assert world.imported == ""


@pytest.mark.slow
def test_dbt_in_a_process_of_its_own_imports_nothing_from_there(
    world: Hostile, monkeypatch: pytest.MonkeyPatch
) -> None:
    from platform_assets.project.manifest import run_dbt

    monkeypatch.chdir(world.cwd)
    assert run_dbt(["list", "--select", "no_such_model"], world.root / "target") is None
    assert world.imported == ""


def test_a_parser_imports_nothing_from_the_folder_of_temporary_files(
    world: Hostile, monkeypatch: pytest.MonkeyPatch
) -> None:
    from platform_assets.engine.readers.isolated import run

    monkeypatch.setattr("tempfile.tempdir", str(world.cwd))
    script = world.root / "parser.py"
    script.write_text("import sys, yaml, json; print(sys.path)")
    with run(script, [], seconds=30, memory=1 << 30, output=1 << 20) as written:
        assert str(world.cwd) not in written.read().decode()
    assert world.imported == ""


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_no_verb_imports_anything_from_where_it_is_called(world: Hostile) -> None:
    for verb in (
        "setup",
        "simulate --days 2 --rows-per-day 40 --until 2026-03-31",
        "run",
        "check",
        "why daily_sales",
        "promises",
        "alerts",
        "quarantine list",
        "contract diff",
        "release list",
        "replay order_lines --again",
        f"ci --days 1 --junit {world.root / 'junit.xml'}",
    ):
        done = world.run("platform", *verb.split(), within_s=300)
        assert world.imported == "", f"{verb}\n{done.err}"
        assert "Traceback" not in done.err, f"{verb}\n{done.err}"
        assert done.code != 2, f"{verb}\n{done.err}"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_no_process_of_the_ui_imports_anything_from_where_it_is_called(tmp_path: Path) -> None:
    """Web server, daemon, code server, warm process, and a run from the file that was dropped to the release."""
    tree = Tree(tmp_path, days=1)
    hostile = Hostile(tmp_path / "hostile")
    hostile.fill()
    tree.world.cwd = hostile.cwd
    try:
        tree.start()
        tree.drop_a_day()
        tree.until(tree.all_built, BUILT_S, "release with every day")
        first, *started = sorted(tree.processes(), key=lambda process: process.create_time())
        assert {process.cwd() for process in (first, *started)} == {str(PROJECT)}
        assert {process.environ().get("PYTHONSAFEPATH") for process in started} == {"1"}
        tree.end()
    finally:
        tree.kill()
    assert hostile.imported == ""
