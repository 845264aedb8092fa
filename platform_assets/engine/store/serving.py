"""Which release of a product readers get: the link to it, a pin that holds it, a shadow beside it, and what is removed.

Belongs here: everything that moves a link or removes a release. Elsewhere: making one (release.py), the pin's file
(pin.py), which ones have outlived their use (retention.py). Without a pin readers get the newest release.
"""

import os
import re
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from platform_assets.engine.durable import failpoint
from platform_assets.engine.durable.files import sync
from platform_assets.engine.store.pin import Pin, moving, pin_of, put_in, take_out
from platform_assets.engine.store.retention import freed, outlived
from platform_assets.errors import ReleaseRefused, StorageError

if TYPE_CHECKING:
    from platform_assets.engine.store.release import Release

_ID: Final = re.compile(r"([0-9]{8}T[0-9]{6}Z)-([0-9]+)")
PARTIAL: Final = ".releasing-"
"""How names begin of what is not whole yet."""
MANIFEST: Final = "manifest.json"
UNFINISHED: Final = f"{PARTIAL}{MANIFEST}"
"""A release that has it is being made or removed, or that was killed."""
_CURRENT: Final = "current"
_SHADOW: Final = "shadow"


class Serving(ABC):
    """What readers of a product get. They open `link`, which leads through `current` to one release.

    A process that holds an old release and opens the same path again would see old data, so every release
    has its own path and only `current` moves.
    """

    def __init__(self, folder: Path, product: str) -> None:
        """folder: that of the releases of all products."""
        self.folder = folder.absolute() / product
        self.product = product

    @abstractmethod
    def _described(self, folder: Path) -> "Release | None":
        """The release in that folder; None where it is not whole."""

    @property
    @abstractmethod
    def mode(self) -> int:
        """The permissions of what is in a release."""

    @property
    def link(self) -> Path:
        """The link that always leads to the current release."""
        return self.folder / f"{_CURRENT}.duckdb"

    @property
    def _through(self) -> Path:
        """What `link` leads to, for ever."""
        return Path(_CURRENT, f"{self.product}.duckdb")

    def current(self) -> "Release | None":
        """The release that readers get; None where there is none, or its manifest cannot be read."""
        try:
            target = (self.folder / _CURRENT).readlink()
            if self.link.readlink() != self._through:
                return None
        except OSError:  # none yet; or a home that was copied without its links
            return None
        return self._described(self.folder / target)

    def all(self) -> "list[Release]":
        """Every release but a shadow, newest first; what is not whole is left out."""
        return [release for release in self._whole() if not release.shadow]

    def kept(self) -> "list[Release]":
        """All that lies there, a shadow among them."""
        return list(self._whole())

    def _whole(self) -> "Iterator[Release]":
        """All whose manifest can be read, newest first."""
        for path in sorted(self._folders(), key=_order, reverse=True):
            if (release := self._described(path)) is not None:
                yield release

    def newest(self) -> "Release | None":
        """The release that was published last, though readers may have another."""
        return next((release for release in self._whole() if not release.shadow), None)

    def pinned(self) -> Pin | None:
        """The pin, if readers keep a release whatever is published; one whose release is gone holds nothing."""
        pin = pin_of(self.folder)
        return pin if pin is not None and self._described(self.folder / pin.release) is not None else None

    def held(self) -> "tuple[Pin, Release | None] | None":
        """The pin, if there is one, and the release that was published last."""
        pin = self.pinned()
        return None if pin is None else (pin, self.newest())

    def due(self) -> "Release | None":
        """The release that readers should get: the pinned one, else the newest."""
        pin = self.pinned()
        return self.newest() if pin is None else self._described(self.folder / pin.release)

    def had(self) -> "list[Release]":
        """Those that readers have had, newest first: all but what was published beside a pin."""
        pin = self.pinned()
        since = None if pin is None else datetime.fromisoformat(pin.at)
        return [each for each in self.all() if since is None or datetime.fromisoformat(each.created_at) <= since]

    def pin(self, release: "Release", by: str, why: str, now: datetime) -> Pin:
        """Give readers this release, at once and until it is unpinned. Raises ReleaseRefused where it is gone."""
        pin = Pin(release.id, by, why, now.isoformat())
        with moving(self.folder):
            if self._described(release.folder) is None:
                raise ReleaseRefused(f"release {release.id} is gone", "Name another: platform release list")
            put_in(self.folder, pin, self.mode)
            failpoint.reached("pinned")
            self._settle(now)
        return pin

    def unpin(self, now: datetime) -> "Release | None":
        """Give readers the newest release, and what is published from now on; which that is."""
        with moving(self.folder):
            take_out(self.folder)
            failpoint.reached("unpinned")
            self._settle(now)
        return self.current()

    def settle(self, now: datetime) -> None:
        """Give readers the release that they should get, wherever a kill has left the link."""
        if not self._is_settled():
            with moving(self.folder):
                self._settle(now)

    def _is_settled(self) -> bool:
        due, current, pin = self.due(), self.current(), pin_of(self.folder)
        void = pin is not None and (due is None or pin.release != due.id)
        return not void and (due is None or (current is not None and current.id == due.id))

    def _settle(self, now: datetime) -> None:
        due, current = self.due(), self.current()
        if self.pinned() is None:
            take_out(self.folder)
        if due is not None and (current is None or current.id != due.id):
            if current is not None:  # who has it open reads on: that it was current until now is kept there
                os.utime(current.folder, (now.timestamp(), now.timestamp()))
            self._point_at(due)

    def _point_at(self, release: "Release") -> None:
        """Let readers have this release."""
        current = self.folder / _CURRENT
        if current.is_dir() and not current.is_symlink():  # a home that was copied without its links
            current.rename(self.folder / f"{PARTIAL}copied")
        self._link(current, Path(release.id))
        if not self.link.is_symlink() or self.link.readlink() != self._through:
            self._link(self.link, self._through)
        sync(self.folder)
        failpoint.reached("release-link")

    def _link(self, path: Path, target: Path) -> None:
        """Let the link lead there, in one step."""
        partial = self.folder / f"{PARTIAL}{_CURRENT}"
        partial.unlink(missing_ok=True)
        partial.symlink_to(target)
        partial.replace(path)

    def shadow(self) -> "Release | None":
        """The candidate that lies beside the releases, if there is one."""
        try:
            target = (self.folder / _SHADOW).readlink()
        except OSError:
            return None
        found = self._described(self.folder / target)
        return found if found is not None and found.shadow else None

    def unshadow(self) -> None:
        """Remove the shadow, and what kills have left of others."""
        with moving(self.folder):
            (self.folder / _SHADOW).unlink(missing_ok=True)
            self._remove_strays()

    def _cast(self, shadow: "Release") -> None:
        """Let the link to the shadow lead to this one; those before it are removed."""
        with moving(self.folder):
            self._link(self.folder / _SHADOW, Path(shadow.id))
            sync(self.folder)
            self._remove_strays()

    def _strays(self) -> "list[Release]":
        shadow = self.shadow()
        return [each for each in self.kept() if each.shadow and (shadow is None or each.id != shadow.id)]

    def _remove_strays(self) -> None:
        for stray in self._strays():
            self._erase(stray)

    def prune(
        self, now: datetime, keep: timedelta | None, least: int, *, dry_run: bool = False
    ) -> "tuple[list[Release], int]":
        """Remove releases that need not be kept: which, newest first, and how many bytes of the disk that frees.

        keep: how long one is kept after the next was made; None keeps all. least: how many of the newest are kept. What
        is current, pinned, the newest or a shadow stays, and what was current within the last hour or is read now.
        Raises StorageError.
        """
        try:
            if not self.folder.is_dir():
                return [], 0
            with moving(self.folder):
                held = (self.current(), self.newest(), self.due())
                spared = {release.id for release in held if release is not None}
                old = [] if keep is None else outlived(self.all(), now, keep, least, spared)
                gone = [*old, *self._strays()]
                free = freed(gone)
                for release in [] if dry_run else gone:
                    self._erase(release)
        except OSError as error:
            raise StorageError(self.folder, error.strerror or str(error)) from error
        return gone, free

    def sweep(self) -> None:
        """Remove what a killed publish left behind. Whoever publishes holds the warehouse, so nobody else is at it."""
        for path in self.folder.glob(f"{PARTIAL}*"):
            _remove(path)
        for path in self._folders():
            if (path / UNFINISHED).exists() or not any(path.iterdir()):
                shutil.rmtree(path)

    def remove(self, release: "Release") -> None:
        """Remove a release; where it is the current one, readers get the newest that is left, if any is."""
        with moving(self.folder):
            pin = pin_of(self.folder)
            if pin is not None and pin.release == release.id:
                take_out(self.folder)
            if (current := self.current()) is not None and current.id == release.id:
                left = next((each for each in self.all() if each.id != release.id), None)
                if left is None:
                    (self.folder / _CURRENT).unlink()
                else:
                    self._point_at(left)
            self._erase(release)

    def _erase(self, release: "Release") -> None:
        # From here on it is in no list, and if we are killed the next sweep ends it.
        (release.folder / MANIFEST).replace(release.folder / UNFINISHED)
        sync(release.folder)
        failpoint.reached("mid-prune")
        shutil.rmtree(release.folder)

    def _free_id(self, stamp: str) -> str:
        """One that sorts behind all there are, though a kill may have left gaps, or the clock was set back since."""
        newest, number = max(map(_order, self._folders()), default=("", 0))
        return f"{newest}-{number + 1}" if newest >= stamp else f"{stamp}-1"

    def _folders(self) -> list[Path]:
        """The folders of releases, be they whole or not."""
        if not self.folder.is_dir():
            return []
        return [path for path in self.folder.iterdir() if _ID.fullmatch(path.name) and path.is_dir()]


def _order(folder: Path) -> tuple[str, int]:
    found = _ID.fullmatch(folder.name)
    return (found[1], int(found[2])) if found is not None else ("", 0)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
