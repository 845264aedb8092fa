"""A folder of state is its owner's alone, whatever it was before."""

import grp
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from machine import missing

from platform_assets.engine.durable.private import Readers, close_file, keep_private, make_private
from platform_assets.errors import ConfigurationError

NOBODY = 65534


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home as a umask of 0 makes it."""
    home = tmp_path / "home"
    for folder in (home, home / "archive", home / "archive/sales", home / "releases"):
        folder.mkdir()
        folder.chmod(0o777)
    for file, how in {
        "warehouse.duckdb": 0o666, "archive/sales/copy.csv": 0o444, "releases/1.duckdb": 0o444
    }.items():  # fmt: skip
        (home / file).write_text("state")
        (home / file).chmod(how)
    return home


def test_what_others_could_do_they_can_do_no_more_and_the_owner_still_can(home: Path) -> None:
    outside = home.parent / "outside"
    outside.write_text("not state")
    outside.chmod(0o644)
    (home / "archive/sales/link").symlink_to(outside)
    assert keep_private(home, "PLATFORM_HOME") == 7
    assert {path.relative_to(home).as_posix(): mode(path) for path in home.rglob("*") if not path.is_symlink()} == {
        "archive": 0o700,
        "archive/sales": 0o700,
        "archive/sales/copy.csv": 0o400,
        "releases": 0o700,
        "releases/1.duckdb": 0o400,
        "warehouse.duckdb": 0o600,
    }
    assert (mode(home), mode(outside)) == (0o700, 0o644)
    assert keep_private(home, "PLATFORM_HOME") == 0


def test_a_mending_that_was_killed_goes_on(home: Path) -> None:
    home.chmod(0o700)
    (home / "releases").chmod(0o700)
    keep_private(home, "PLATFORM_HOME")
    assert mode(home / "archive/sales/copy.csv") == 0o400


def test_a_home_that_is_closed_is_not_walked(home: Path) -> None:
    keep_private(home, "PLATFORM_HOME")
    (home / "archive/sales/copy.csv").chmod(0o444)
    assert keep_private(home, "PLATFORM_HOME") == 0
    assert mode(home / "archive/sales/copy.csv") == 0o444, "nobody gets to it"


def test_a_home_that_is_missing_is_not_made_before_something_is_to_be_kept(tmp_path: Path) -> None:
    os.umask(0)  # the fixture of all tests sets it back
    assert keep_private(tmp_path / "of" / "ours", "PLATFORM_HOME") == 0
    assert list(tmp_path.iterdir()) == []
    make_private(tmp_path / "of" / "ours")
    make_private(tmp_path / "of" / "ours")
    assert mode(tmp_path / "of" / "ours") == 0o700


def test_an_archive_on_another_disk_is_closed_too(home: Path, tmp_path: Path) -> None:
    (home / "archive").rename(tmp_path / "disk")
    (home / "archive").symlink_to(tmp_path / "disk")
    keep_private(home, "PLATFORM_HOME")
    assert (mode(tmp_path / "disk"), mode(tmp_path / "disk/sales/copy.csv")) == (0o700, 0o400)


def test_a_home_that_is_a_link_is_refused(home: Path) -> None:
    (home.parent / "link").symlink_to(home)
    with pytest.raises(ConfigurationError, match=rf"(?s)PLATFORM_HOME: .*is a link.*PLATFORM_HOME={home}"):
        keep_private(home.parent / "link", "PLATFORM_HOME")


def test_a_disk_that_keeps_no_rights_is_refused(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As FAT and what Windows shares: everything there is everybody's, and to change that does nothing."""
    monkeypatch.setattr(Path, "chmod", lambda *_: None)
    with pytest.raises(ConfigurationError, match="stays open to other users"):
        keep_private(home, "PLATFORM_HOME")


def test_a_home_that_is_a_file_is_refused(home: Path) -> None:
    with pytest.raises(ConfigurationError, match="is no folder"):
        keep_private(home / "warehouse.duckdb", "PLATFORM_HOME")


@pytest.mark.parametrize("what", [".", "archive", "archive/sales/copy.csv"])
def test_what_is_another_users_is_refused_with_a_remedy(home: Path, what: str) -> None:
    if os.getuid() != 0:
        missing("only root can give a file away")
    os.chown(home / what, NOBODY, NOBODY)
    with pytest.raises(ConfigurationError, match=r"(?s)belongs to nobody.*sudo -u nobody.*chown -hR root"):
        keep_private(home, "PLATFORM_HOME")


def test_a_file_of_secrets_is_closed(tmp_path: Path) -> None:
    assert close_file(tmp_path / ".env") == 0
    (tmp_path / ".env").write_text("PLATFORM_ALERT=…")
    (tmp_path / ".env").chmod(0o644)
    assert close_file(tmp_path / ".env") == 1
    assert mode(tmp_path / ".env") == 0o600


@pytest.fixture
def group() -> Iterator[int]:
    """A group of this user that is not the first."""
    others = set(os.getgroups()) - {os.getegid()}
    if os.getuid() == 0:
        yield 1  # `daemon`, on every Linux
    elif others:
        yield min(others)
    else:
        missing("this user is in one group alone")


def test_a_group_reads_the_releases_and_nothing_else(home: Path, group: int) -> None:
    readers = Readers("releases", grp.getgrgid(group).gr_name, "PLATFORM_RELEASES_GROUP")
    keep_private(home, "PLATFORM_HOME", readers)
    found = {path.relative_to(home).as_posix(): mode(path) for path in (home, *home.rglob("*"))}
    assert found == {
        ".": 0o710,
        "archive": 0o700,
        "archive/sales": 0o700,
        "archive/sales/copy.csv": 0o400,
        "releases": 0o2750,
        "releases/1.duckdb": 0o440,
        "warehouse.duckdb": 0o600,
    }
    assert {(home / each).stat().st_gid for each in (".", "releases", "releases/1.duckdb")} == {group}
    (home / "releases/2.duckdb").write_text("")
    assert (home / "releases/2.duckdb").stat().st_gid == group
    assert keep_private(home, "PLATFORM_HOME", readers) == 0
    assert mode(home) == 0o710
    assert keep_private(home, "PLATFORM_HOME") > 0, "the setting is gone"
    assert (mode(home), mode(home / "releases"), mode(home / "releases/1.duckdb")) == (0o700, 0o700, 0o400)


def test_a_group_that_is_not_there_is_named(home: Path) -> None:
    with pytest.raises(
        ConfigurationError, match=r"(?s)PLATFORM_RELEASES_GROUP: .*no group 'no-such'.*groupadd no-such"
    ):
        keep_private(home, "PLATFORM_HOME", Readers("releases", "no-such", "PLATFORM_RELEASES_GROUP"))
