"""Folders of state that are ours alone: whose they are, and what other users of the machine may do in them.

Belongs here: taking rights away from others, and giving a group one folder. Elsewhere: which folders there are
(project/configured.py). Cheap enough for every start: while a folder is closed, nobody gets at what lies beneath.
"""

import contextlib
import grp
import os
import pwd
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from platform_assets.errors import ConfigurationError, StorageError

_OWNERS: Final = 0o700
_OTHERS: Final = 0o077
_ROOT: Final = 0
_OF_A_DISK: Final = "lost+found"


@dataclass(frozen=True)
class Readers:
    """Who else may read the folder `name` of a home: members of `group`, which the setting called `setting` names."""

    name: str
    group: str
    setting: str


@dataclass(frozen=True)
class _Access:
    """What others may do: bits of a folder's mode and of a file's, and the group that they are for."""

    folder: int = 0
    file: int = 0
    group: int | None = None

    def bits(self, found: os.stat_result) -> int:
        """The bits that it should have beside its owner's, which stay what they are."""
        if stat.S_ISDIR(found.st_mode):
            return self.folder
        return self.file if found.st_mode & stat.S_IRUSR else 0

    def is_given(self, found: os.stat_result) -> bool:
        """Whether it has these rights, and nobody else has any."""
        bits = self.bits(found)
        return found.st_mode & (_OTHERS | bits) == bits and self.group in (None, found.st_gid)


_ALONE: Final = _Access()


def keep_private(
    folder: Path, setting: str, readers: Readers | None = None, *, known_by: Sequence[str] | None = None
) -> int:
    """Close the folder and all beneath to others, if it is there; how many files and folders were open.

    setting: what names the folder. readers: who may read one folder in it, and list nothing else. known_by: patterns
    of files of which such a folder has one, unless it is empty; any other folder is not touched where it is open, for
    it may be somebody's home or the machine's. Raises ConfigurationError where it is that, or a link, or where it or
    something in it is another user's.
    """
    try:
        if not os.path.lexists(folder):
            return 0
        _require_ours(folder, setting)
        passing, reading = _accesses(readers)
        if known_by is not None:
            _require_known(folder, setting, known_by)
        mended = 0
        if not passing.is_given(found := folder.stat()):
            mended += _give(folder, found, _ALONE)  # nobody gets in from here on, whatever is still open beneath
        if readers is not None:
            (folder / readers.name).mkdir(mode=_OWNERS, exist_ok=True)
        for path in sorted(folder.iterdir()):
            mended += _keep(path, setting, reading if readers is not None and path.name == readers.name else _ALONE)
        if readers is not None:
            _give(folder, folder.stat(), passing)
        if not passing.is_given(folder.stat()):
            raise ConfigurationError(
                setting,
                f"{folder} stays open to other users: its file system keeps no rights of users",
                f"Name a folder on a disk that does: {setting}=/srv/platform",
            )
    except OSError as error:
        raise StorageError(Path(error.filename or folder), error.strerror or str(error)) from error
    return mended


def make_private(folder: Path) -> None:
    """Make the folder, closed to others, if it is not there."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=_OWNERS)
    except FileExistsError:
        pass  # what it is, keep_private sees
    except OSError as error:
        raise StorageError(folder, error.strerror or str(error)) from error


def close_file(path: Path) -> int:
    """Close a file to others, if it is there and ours; how many were open."""
    with contextlib.suppress(OSError):
        if (found := path.stat()).st_uid == os.geteuid():
            return _give(path, found, _ALONE)
    return 0


def is_ours(folder: Path) -> bool:
    """Whether the folder is there, no link, and this user's."""
    with contextlib.suppress(OSError):
        found = folder.lstat()
        return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()
    return False


def _accesses(readers: Readers | None) -> tuple[_Access, _Access]:
    """To the home, and to what is read in it."""
    if readers is None:
        return _ALONE, _ALONE
    try:
        group = grp.getgrnam(readers.group).gr_gid
    except KeyError:
        problem = f"this machine has no group {readers.group!r}"
        raise ConfigurationError(readers.setting, problem, f"Make it: sudo groupadd {readers.group}") from None
    if os.geteuid() != _ROOT and group not in {os.getegid(), *os.getgroups()}:
        me = _name(os.geteuid())
        raise ConfigurationError(
            readers.setting,
            f"{me} is no member of {readers.group!r}, and so cannot give files to it",
            f"sudo usermod --append --groups {readers.group} {me}; then log in again, or restart the service.",
        )
    # What is made in a folder that is read belongs to the group too.
    return _Access(stat.S_IXGRP, 0, group), _Access(stat.S_ISGID | stat.S_IRGRP | stat.S_IXGRP, stat.S_IRGRP, group)


def _require_ours(folder: Path, setting: str) -> None:
    found = folder.lstat()
    if stat.S_ISLNK(found.st_mode):
        raise ConfigurationError(
            setting,
            f"{folder} is a link, and whoever can change it chooses what is run",
            f"Name the folder itself: {setting}={folder.resolve()}",
        )
    if not stat.S_ISDIR(found.st_mode):
        raise ConfigurationError(setting, f"{folder} is no folder", "Name a folder, or one that is to be made.")
    if found.st_uid != os.geteuid():
        raise _anothers(folder, found, setting)


def _require_known(folder: Path, setting: str, known_by: Sequence[str]) -> None:
    """Refuse to close a folder that holds things of others."""
    held = [path for path in folder.iterdir() if path.name != _OF_A_DISK]
    if not held or all(_ALONE.is_given(path.lstat()) for path in (folder, *held) if not path.is_symlink()):
        return
    if not any(path.exists() for pattern in known_by for path in folder.glob(pattern)):
        raise ConfigurationError(
            setting,
            f"{folder} holds other things than state of the platform, and other users may read them",
            f"Name a folder that is to be made, or an empty one; or close it yourself: chmod -R go= {folder}",
        )


def _keep(path: Path, setting: str, access: _Access) -> int:
    try:
        found = path.stat()  # of what a link leads to: an archive may lie on another disk
    except FileNotFoundError:
        return 0
    mended = 0
    if stat.S_ISDIR(found.st_mode) and not access.is_given(found):
        for each in _beneath(path):
            with contextlib.suppress(FileNotFoundError):
                mended += _give_ours(each, each.lstat(), setting, access)
    # Last, so that a kill before this leaves it to be found again.
    return mended + _give_ours(path, found, setting, access)


def _give_ours(path: Path, found: os.stat_result, setting: str, access: _Access) -> int:
    """Give the access, unless it is root's, who may do anything anyway; of any other user it is refused."""
    if found.st_uid == os.geteuid():
        return _give(path, found, access)
    if found.st_uid != _ROOT:
        raise _anothers(path, found, setting)
    return 0


def _give(path: Path, found: os.stat_result, access: _Access) -> int:
    if stat.S_ISLNK(found.st_mode) or access.is_given(found):
        return 0
    with contextlib.suppress(FileNotFoundError):
        if access.group is not None and access.group != found.st_gid:
            os.chown(path, -1, access.group)
        path.chmod(found.st_mode & _OWNERS | access.bits(found))
    return int(found.st_mode & _OTHERS & ~access.bits(found) != 0)


def _beneath(folder: Path) -> Iterator[Path]:
    for found, folders, files in os.walk(folder, topdown=False):
        yield from (Path(found, each) for each in (*files, *folders))


def _anothers(path: Path, found: os.stat_result, setting: str) -> ConfigurationError:
    theirs, me = _name(found.st_uid), _name(os.geteuid())
    return ConfigurationError(
        setting,
        f"{path} belongs to {theirs}, and this process runs as {me}",
        f"Run it as {theirs} (sudo -u {theirs} …); or, if you trust what is in it, make it yours: "
        f"sudo chown -hR {me} {path}",
    )


def _name(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return f"user {user}"
