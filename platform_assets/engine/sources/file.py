"""One file of the landing folder: its state, why it is not opened, and reading it once.

Belongs here: telling one state of a file from another, and its bytes. Only what is claimed is opened, so a named pipe
or a link cannot hurt us. Elsewhere: finding files (landing.py), files as a source (files.py).
"""

import errno
import json
import math
import os
import stat
from collections.abc import Generator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, NamedTuple

from platform_assets.engine.archive.position import Position
from platform_assets.engine.durable.disk import Disk
from platform_assets.engine.feed.feed import Files
from platform_assets.engine.sources.sidecar import read_sidecar
from platform_assets.engine.sources.source import Arrival
from platform_assets.errors import DeliveryRefused, DeliveryUnfinished, DeliveryUnreadable

_CHUNK: Final = 1 << 20
_BLOCK: Final = 512  # bytes, in which a file's room on the disk is counted
_MENDED_BY_A_PERSON: Final = (errno.EACCES, errno.EPERM, errno.ELOOP)
_LINK: Final = "a link; links are never followed"
_NAMES: Final = "a file of several names (hard links); it may be somebody else's, so it is never opened"
_ONE_NAME: Final = "Deliver a copy as {slot} (`cp`, not `ln`), or remove the file's other names: it is then taken in."
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_NS: Final = 9_223_372_036_854_775_000  # in whole microseconds, as receipts keep it


class FileState(NamedTuple):
    """What tells one state of a file from another without reading it; any write changes `ctime_ns`.

    size: negative for what is never opened: no regular file, by its kind; a file of several names; what cannot be
    looked at. Times: ns since 1970, as near as 64 bits come.
    """

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int

    @classmethod
    def of(cls, status: os.stat_result) -> "FileState":
        """The state that an lstat or fstat amounts to."""
        size = -stat.S_IFMT(status.st_mode)
        if stat.S_ISREG(status.st_mode):
            size = status.st_size if status.st_nlink < 2 else -status.st_nlink
        return cls(size, _representable(status.st_mtime_ns), _representable(status.st_ctime_ns), status.st_ino)

    @classmethod
    def read(cls, position: Position) -> "FileState":
        """The state that was kept as `position`."""
        return cls(*json.loads(position))

    @property
    def position(self) -> Position:
        """The state as it is kept. The walk through the folder writes the same text, for speed (landing.py)."""
        return f"[{self.size},{self.mtime_ns},{self.ctime_ns},{self.inode}]"

    @property
    def traits(self) -> str:
        """What a file keeps that is only renamed: its size and the time of its last change."""
        return f"{self.size},{self.mtime_ns}"

    def beside(self, sidecar: "FileState | None") -> "FileState":
        """The state of a file and its sidecar together: a write to either changes it."""
        if sidecar is None:
            return self
        mixed = hash((self.inode, *sidecar)) & (1 << 63) - 1
        return FileState(self.size, self.mtime_ns, max(self.ctime_ns, sidecar.ctime_ns), mixed)


UNREADABLE: Final = FileState(-1, 0, 1, 0)
"""The state of what we may not look at; it has another one as soon as we may."""


@dataclass(frozen=True, kw_only=True)
class FileArrival(Arrival):
    """A file in the landing folder. Its slot is its path below that folder; sidecar: the state of its sidecar."""

    path: Path
    sidecar: FileState | None = None

    def unchanged(self, status: os.stat_result) -> bool:
        """Whether the file of that status is in the state that was listed."""
        return FileState.of(status).beside(self.sidecar).position == self.position


def arrival_of(
    slot: str, path: Path, status: os.stat_result, sidecar: os.stat_result | None, files: Files
) -> FileArrival:
    """The file as an arrival of a feed that asks for `files`, by its status and its sidecar's."""
    if (kind := _not_regular(status.st_mode)) is not None:
        return refused(slot, path, FileState.of(status), kind)
    state = FileState.of(status)
    if status.st_nlink > 1:
        # Some producers name a file anew before they remove its old name: that is waited for as an unfinished file is.
        return replace(refused(slot, path, state, _NAMES), settle=files.settle, remedy=_ONE_NAME.format(slot=slot))
    if files.sidecar is None:
        return claimable(slot, path, state, files)
    if sidecar is None:
        return claimable(slot, path, state, files, waits_for=path.name + files.sidecar)
    return claimable(slot, path, state, files, sidecar=FileState.of(sidecar))


def claimable(
    slot: str,
    path: Path,
    state: FileState,
    files: Files,
    *,
    sidecar: FileState | None = None,
    waits_for: str | None = None,
) -> FileArrival:
    """A file that is claimed once it has settled."""
    state = state.beside(sidecar)
    arrival = FileArrival(
        slot=slot,
        path=path,
        position=state.position,
        size=max(state.size, 0),
        arrived_at=_moment(state.mtime_ns),
        changed_at=_moment(state.ctime_ns),
        settle=files.settle,
        patience=files.patience,
        traits=state.traits,
        waits_for=waits_for,
        sidecar=sidecar,
    )
    if sidecar is None:
        return arrival
    # Read after its state was taken: what is written meanwhile shows in the next listing.
    return replace(arrival, expects=read_sidecar(path.with_name(f"{path.name}{files.sidecar}")))


def refused(slot: str, path: Path, state: FileState, why: str) -> FileArrival:
    """What is never opened, and why."""
    return FileArrival(
        slot=slot,
        path=path,
        position=state.position,
        size=0,
        arrived_at=_moment(state.mtime_ns),
        changed_at=_moment(state.ctime_ns),
        traits=state.traits,
        refused=why,
        remedy=f"Let this user look at {path}; it is then offered again."
        if state == UNREADABLE
        else f"Deliver the file itself as {slot}.",
    )


def chunks(arrival: FileArrival, largest: int, disk: Disk) -> Generator[bytes, None, None]:
    """The file's bytes, to be copied to `disk`. Raises DeliveryRefused where it cannot be read or has more than
    `largest` bytes, DiskLow where there is no room for it, DeliveryUnfinished unless it is from beginning to end in the
    state that was listed; it may not even be a file any more. No more is read than was listed, however fast it grows.
    """
    try:
        descriptor = os.open(arrival.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise DeliveryUnfinished("was taken away before it could be claimed") from error
    except OSError as error:
        raise _cannot_be_read(arrival, error) from error
    try:
        _check_unchanged(arrival, descriptor)
        if arrival.size > largest:
            raise _too_large(arrival.size, largest)
        disk.require(min(arrival.size, os.fstat(descriptor).st_blocks * _BLOCK))  # holes take no room
        left = arrival.size
        while left and (chunk := _some(arrival, descriptor, min(left, _CHUNK))):
            left -= len(chunk)
            yield chunk
        _check_unchanged(arrival, descriptor)
    finally:
        os.close(descriptor)


def _some(arrival: FileArrival, descriptor: int, most: int) -> bytes:
    try:
        return os.read(descriptor, most)
    except OSError as error:
        raise _cannot_be_read(arrival, error) from error


def _check_unchanged(arrival: FileArrival, descriptor: int) -> None:
    try:
        status = os.fstat(descriptor)
    except OSError as error:
        raise _cannot_be_read(arrival, error) from error
    if not arrival.unchanged(status):
        raise DeliveryUnfinished("changed while it was being claimed")


def _too_large(size: int, largest: int) -> DeliveryRefused:
    return DeliveryRefused(
        f"has {size:,} bytes, more than the {largest:,} that the feed takes",
        remedy=f"If this is real, declare Files(…, largest=gigabytes({math.ceil(size / 1000**3)})); it is then offered "
        "again. Or ask the producer for several files.",
    )


def _cannot_be_read(arrival: FileArrival, error: OSError) -> DeliveryRefused:
    # What a person mends shows in the file's state; of anything else only another try can tell.
    kind = DeliveryRefused if error.errno in _MENDED_BY_A_PERSON else DeliveryUnreadable
    return kind(
        f"cannot be read: {error.strerror}",
        remedy=f"Let this user read {arrival.path}; it is then offered again.",
    )


def _representable(time_ns: int) -> int:
    """A time that can be kept: file systems hold years that neither a database nor a calendar does."""
    return min(max(time_ns, -_LAST_NS), _LAST_NS)


def _moment(time_ns: int) -> datetime:
    return _EPOCH + timedelta(microseconds=time_ns // 1000)


def _not_regular(mode: int) -> str | None:
    if stat.S_ISREG(mode):
        return None
    if stat.S_ISLNK(mode):
        return _LINK
    kind = {
        stat.S_IFDIR: "a folder",
        stat.S_IFIFO: "a named pipe",
        stat.S_IFSOCK: "a socket",
        stat.S_IFBLK: "a device",
        stat.S_IFCHR: "a device",
    }.get(stat.S_IFMT(mode), "a special file")
    return f"{kind}, not a regular file"
