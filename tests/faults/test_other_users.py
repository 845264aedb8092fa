"""Another user of the machine: reads nothing of a home, but the releases where a group may."""

import contextlib
import grp
import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import duckdb
import pytest
from deployed import Deployed
from machine import PROJECT, missing
from shop import child, ended

from platform_assets.engine.store.warehouse import Warehouse

NOBODY: Final = 65534
READERS: Final = 1  # the group `daemon`, on every Linux
GOT_IN: Final = 9


def open_to_others(folder: Path) -> list[str]:
    """Files and folders in which another user may do anything."""
    found = [path for path in (folder, *folder.rglob("*")) if not path.is_symlink()]
    return [str(path) for path in found if stat.S_IMODE(path.stat().st_mode) & 0o077]


@pytest.fixture
def world() -> Iterator[Deployed]:
    """A deployment in a folder that every user can get to, made by one who lets everybody do everything."""
    os.umask(0)  # set back by the fixture of all tests
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        Path(folder).chmod(0o755)
        yield Deployed(Path(folder))


def test_a_home_that_was_open_is_mended_at_start_and_that_is_said_in_one_line(world: Deployed) -> None:
    assert world.verb("feed", "list").code == 0
    (world.home / "archive" / "sales").mkdir(parents=True)
    (world.home / "archive" / "sales" / "copy.csv").write_text("ada@example.com")
    for path in (world.home, *world.home.rglob("*")):
        path.chmod(0o777 if path.is_dir() else 0o666)
    done = world.verb("feed", "list")
    assert done.code == 0, done.err
    assert done.err.count(f"other users could get at {world.home}: now this user alone can") == 1
    assert open_to_others(world.home) == []
    assert "other users" not in world.verb("feed", "list").err


@pytest.mark.parametrize("setting", ["PLATFORM_HOME", "DAGSTER_HOME"])
def test_a_home_that_another_user_made_is_not_used(world: Deployed, setting: str) -> None:
    if os.getuid() != 0:
        missing("only root can give a folder away")
    theirs = world.root / "theirs"
    theirs.mkdir()
    (theirs / "dagster.yaml").write_text("run_launcher: {module: theirs, class: Theirs}")
    os.chown(theirs, NOBODY, NOBODY)
    done = Deployed(world.root, {setting: str(theirs)}).verb("feed", "list")
    assert done.code == 2
    assert f"{setting}: {theirs} belongs to nobody, and this process runs as root" in done.err
    assert "chown" in done.err
    assert [path.name for path in theirs.iterdir()] == ["dagster.yaml"]


def test_a_folder_that_holds_other_things_is_not_closed(world: Deployed) -> None:
    """As PLATFORM_HOME=~ would do to somebody's home, and PLATFORM_HOME=/srv to a machine's."""
    (world.home / "archive").mkdir(parents=True)
    (world.home / "archive" / "holiday.jpg").write_text("")
    before = open_to_others(world.home)
    done = world.verb("feed", "list")
    assert done.code == 2
    assert f"PLATFORM_HOME: {world.home} holds other things than state of the platform" in done.err
    assert open_to_others(world.home) == before
    world.home.chmod(0o700)
    assert world.verb("feed", "list").code == 2
    assert open_to_others(world.home) == before[1:]


def test_a_home_that_is_a_link_is_not_used(world: Deployed) -> None:
    (world.root / "elsewhere").mkdir()
    world.home.symlink_to(world.root / "elsewhere")
    done = world.verb("feed", "list")
    assert done.code == 2
    assert f"PLATFORM_HOME={world.root / 'elsewhere'}" in done.err.replace("\n", "")


def _list(path: Path) -> None:
    list(path.iterdir())


def _read(path: Path) -> None:
    path.read_bytes()


def _write(path: Path) -> None:
    (path / "mine").write_text("") if path.is_dir() else path.open("a").close()


def _act_as_another(world: Path, group: int) -> None:
    """As another user: try everything with every file and folder of the home by its name; leave what was got into."""
    home = world / "home"
    known = [path for path in (home, *home.rglob("*")) if not path.is_symlink()]
    os.setgroups([])
    os.setgid(group)
    os.setuid(NOBODY)
    got_into = set()
    for path in known:
        for act in (_list, _read, _write):
            with contextlib.suppress(PermissionError, NotADirectoryError, IsADirectoryError):
                act(path)
                got_into.add((path.relative_to(home).as_posix(), act.__name__))
    if group == READERS:
        with duckdb.connect(str(home / "releases/retail/current.duckdb"), read_only=True) as connection:
            assert connection.execute("SELECT count(*) FROM fct_order_lines").fetchone() != (0,)
        of_releases = [path for path in known if home / "releases" in (path, *path.parents)]
        allowed = {(path.relative_to(home).as_posix(), "_list" if path.is_dir() else "_read") for path in of_releases}
        assert len([path for path in of_releases if path.suffix == ".parquet"]) > 6
        assert allowed <= got_into
        got_into -= allowed
    os._exit(GOT_IN if got_into else 0)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_another_user_gets_nothing_and_a_member_of_the_group_the_releases_alone(world: Deployed) -> None:
    """Everything that `platform run` writes: warehouse, archive, dbt's and Dagster's files, their write-ahead logs."""
    if os.getuid() != 0:
        missing("only root can become another user")
    world.landing.mkdir()
    world.simulate(days=2, rows=40, until="2026-03-31")
    os.umask(0)
    done = world.platform("run", "--json")
    assert done.did, done.err
    assert open_to_others(world.home) == []
    assert open_to_others(PROJECT / "dbt_project" / "target") == []
    assert {stat.S_IMODE(path.stat().st_mode) for path in (world.home / "archive").glob("*/*/*")} == {0o400}
    assert ended(child(_act_as_another, world.root, NOBODY)) == 0
    shared = Deployed(world.root, {"PLATFORM_RELEASES_GROUP": grp.getgrgid(READERS).gr_name})
    shared.simulate(days=3, rows=40, until="2026-03-31")
    done = shared.platform("run", "--json")
    assert done.did, done.err
    assert len(list(world.releases.glob("*/retail.duckdb"))) == 3, "two releases and the link"
    assert open_to_others(world.home / "archive") == []
    assert ended(child(_act_as_another, world.root, NOBODY)) == 0
    assert ended(child(_act_as_another, world.root, READERS)) == 0


_HOLD: Final = """
import pathlib, sys, duckdb
from platform_assets.orchestration.runs.process import call_process
if sys.argv[2]:
    call_process(sys.argv[2])
with duckdb.connect(sys.argv[1]):
    print(flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("run", ["", "run 1a2b3c4d", "a\x1b[2J\nname"])
def test_a_command_line_of_another_process_is_never_shown(tmp_path: Path, run: str) -> None:
    """It may hold a password; its number and the name of its program help as much. A run of ours has its id as name."""
    world = Deployed(tmp_path, {"PLATFORM_LOCK_WAIT_S": "1.2"})
    assert world.verb("feed", "list").code == 0
    holding = [sys.executable, "-c", _HOLD, str(world.home / "warehouse.duckdb"), run, "--password=tell-nobody"]
    with subprocess.Popen(holding, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=PROJECT) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        done = world.verb("feed", "list", "--json")
        said = (
            done.out + done.err + str(Warehouse(world.home / "warehouse.duckdb", world.home / "marts.duckdb").held_by())
        )
        holder.communicate()
    assert done.code == 1
    name = {"": "python", "run 1a2b3c4d": run}.get(run, "a?[2J?name")
    assert said.count(f"process {holder.pid} ({name}") >= 3, "in the error, while waiting, and in held_by"
    assert "tell-nobody" not in said
    assert "\x1b" not in said


_BY_HAND: Final = """
import os
import platform_assets, platform_assets.definitions
assert os.umask(0o022) == 0o022, "to import it changes nothing"
platform_assets.definitions.defs()
print(oct(os.umask(0)), os.environ["PYTHONSAFEPATH"])
"""


@pytest.mark.slow
def test_a_code_location_protects_itself_where_plain_dagster_loads_it(tmp_path: Path) -> None:
    os.umask(0o022)
    world = Deployed(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", _BY_HAND], cwd=PROJECT, env=world.environment(), capture_output=True, text=True
    )
    assert done.stdout.splitlines()[-1:] == ["0o77 1"], done.stderr
