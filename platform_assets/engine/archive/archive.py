"""The archive: the immutable, content-addressed copy of everything that was delivered.

Belongs here: keeping bytes while they are hashed, and finding a copy again. Elsewhere: where bytes come from (sources),
what is inside a copy (readers). After that only the copy is read, so a producer who writes on cannot mix two versions.
"""

import contextlib
import fcntl
import hashlib
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Final

from platform_assets.engine.archive.decisions import Decisions
from platform_assets.engine.archive.journal import Journal
from platform_assets.engine.durable import failpoint
from platform_assets.engine.durable.disk import ANY, Disk
from platform_assets.engine.durable.files import sync_all
from platform_assets.errors import StorageError

_BLOCK: Final = 1 << 16


class Archive:
    """Copies under `root/<feed>/<first two digits>/<fingerprint><suffixes>`."""

    def __init__(self, root: Path, disk: Disk = ANY) -> None:
        """disk: on which something is to be left free."""
        self.root = root
        self.disk = disk

    def keep(self, feed: str, content: Iterable[bytes], suffix: str) -> tuple[str, Path]:
        """Keep what was delivered: copy its bytes while hashing them. Gives the SHA-256 of the bytes, and the copy.

        suffix: how the copy's name ends. Raises DiskLow where less is left than the floor, StorageError where the
        archive cannot be written. What `content` raises leaves no copy; it must not be an OSError, which would be taken
        for the archive's.
        """
        with self._lock(fcntl.LOCK_SH):
            return self._keep(feed, content, suffix)

    def _keep(self, feed: str, content: Iterable[bytes], suffix: str) -> tuple[str, Path]:
        folder = self.root / feed
        try:
            folder.mkdir(parents=True, exist_ok=True)
            descriptor, partial = tempfile.mkstemp(prefix=".claiming-", dir=folder)
        except OSError as error:
            raise StorageError(folder, error.strerror or str(error)) from error
        try:
            # Buffered, because an unbuffered write to a disk that is nearly full stops short without an error.
            with os.fdopen(descriptor, "wb") as copy:
                digest = hashlib.sha256()
                for chunk in content:
                    self.disk.require()
                    digest.update(chunk)
                    _write(copy, chunk)
                    failpoint.reached("mid-archive")
                copy.truncate()  # where it ends in a hole, nothing has been written there
            fingerprint = digest.hexdigest()
            target = self.path(feed, fingerprint, suffix)
            target.parent.mkdir(exist_ok=True)
            Path(partial).chmod(0o400)
            Path(partial).replace(target)
        except OSError as error:
            raise StorageError(folder, error.strerror or str(error)) from error
        finally:
            with contextlib.suppress(FileNotFoundError):  # the usual case: it has become the copy
                Path(partial).unlink()
        failpoint.reached("claim")
        return fingerprint, target

    def secure(self, copies: Iterable[Path]) -> None:
        """See that copies, and the folders that name them, are on the disk, before a commit relies on them.

        What a machine's death leaves of an unsecured copy is replaced when the file is claimed again.
        """
        copies = list(copies)
        sync_all(copies)
        # From below: a folder that is new is named by the one above it.
        sync_all(copy.parent for copy in copies)
        sync_all(above for copy in copies for above in (copy.parent.parent, self.root, self.root.parent))

    def path(self, feed: str, fingerprint: str, suffix: str) -> Path:
        """Where the copy of a delivery lies."""
        return self.root / feed / fingerprint[:2] / f"{fingerprint}{suffix}"

    def journal(self, feed: str) -> Journal:
        """What is noted of the feed's copies."""
        return Journal(self.root / feed / "journal.jsonl")

    def decisions(self, feed: str) -> Decisions:
        """What persons decided of the feed's deliveries."""
        return Decisions(self.root / feed / "decisions.json")

    def holds(self, copy: Path) -> bool:
        """Whether `copy` is there and still has the bytes that its name tells of."""
        try:
            with copy.open("rb") as stream:
                return hashlib.file_digest(stream, "sha256").hexdigest() == content_of(copy)
        except OSError:
            return False

    def sweep(self) -> None:
        """Remove what claims and readers that were killed left behind, unless another process is claiming right now."""
        try:
            with self._lock(fcntl.LOCK_EX | fcntl.LOCK_NB):
                for partial in self.root.glob("*/.claiming-*"):
                    with contextlib.suppress(FileNotFoundError, BlockingIOError), partial.open("rb") as held:
                        # A plain copy that a reader is using is locked (readers/unpack.py).
                        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                        partial.unlink()
        except BlockingIOError:
            pass  # its sweep, or the next, will find them

    @contextlib.contextmanager
    def _lock(self, how: int) -> Iterator[None]:
        """Claims share it, a sweep has it alone; the kernel lets go of it for a process that is killed."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            lock = (self.root / ".lock").open("w")
        except OSError as error:
            raise StorageError(self.root, error.strerror or str(error)) from error
        with lock:
            fcntl.flock(lock, how)
            yield


def content_of(copy: Path) -> str:
    """The SHA-256 of a copy's bytes, by its name."""
    return copy.name.partition(".")[0]


def _write(copy: IO[bytes], chunk: bytes) -> None:
    """Write a chunk; blocks of nothing but NUL become holes, which take no room on the disk."""
    if 0 not in chunk[::_BLOCK]:  # as in all but very few files
        copy.write(chunk)
        return
    for at in range(0, len(chunk), _BLOCK):
        block = chunk[at : at + _BLOCK]
        if block.count(0) < len(block):
            copy.write(block)
        else:
            copy.seek(len(block), os.SEEK_CUR)
