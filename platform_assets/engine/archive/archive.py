"""The archive: the immutable, content-addressed copy of everything that was delivered.

Belongs here: claiming a file into the archive and finding it again. Does not: what is inside a file.
After a claim only the copy is read, so a producer who writes on cannot mix two versions.
"""

import contextlib
import errno
import fcntl
import hashlib
import os
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from platform_assets.engine.archive.journal import Journal
from platform_assets.engine.durable import failpoint
from platform_assets.engine.durable.files import sync_all
from platform_assets.engine.sources.landing import Arrival
from platform_assets.errors import DeliveryRefused, DeliveryUnfinished, DeliveryUnreadable, StorageError

_CHUNK: Final = 1 << 20
_MENDED_BY_A_PERSON: Final = (errno.EACCES, errno.EPERM, errno.ELOOP)


@dataclass(frozen=True)
class Claim:
    """An arrival whose bytes are in the archive. `fingerprint` is the SHA-256 of the bytes as delivered."""

    arrival: Arrival
    fingerprint: str
    copy: Path


class Archive:
    """Copies under `root/<feed>/<first two digits>/<fingerprint><suffixes>`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def claim(self, feed: str, arrival: Arrival) -> Claim:
        """Copy the file while hashing it.

        Raises DeliveryRefused where it cannot be read, DeliveryUnfinished where it changed meanwhile,
        StorageError where the archive cannot be written.
        """
        with self._lock(fcntl.LOCK_SH):
            return self._claim(feed, arrival)

    def _claim(self, feed: str, arrival: Arrival) -> Claim:
        folder = self.root / feed
        suffix = "".join(Path(arrival.slot).suffixes[-2:])[-24:]
        with _source(arrival) as source:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                descriptor, partial = tempfile.mkstemp(prefix=".claiming-", dir=folder)
            except OSError as error:
                raise StorageError(folder, error.strerror or str(error)) from error
            try:
                # Buffered, because an unbuffered write to a disk that is nearly full stops short without an error.
                with os.fdopen(descriptor, "wb") as copy:
                    digest = hashlib.sha256()
                    while chunk := source.read():
                        digest.update(chunk)
                        copy.write(chunk)
                        failpoint.reached("mid-archive")
                    copy.flush()
                source.hold()
                fingerprint = digest.hexdigest()
                target = self.path(feed, fingerprint, suffix)
                target.parent.mkdir(exist_ok=True)
                Path(partial).chmod(0o444)
                Path(partial).replace(target)
            except OSError as error:
                raise StorageError(folder, error.strerror or str(error)) from error
            finally:
                with contextlib.suppress(FileNotFoundError):  # the usual case: it has become the copy
                    Path(partial).unlink()
        failpoint.reached("claim")
        return Claim(arrival, fingerprint, target)

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

    def holds(self, copy: Path, fingerprint: str) -> bool:
        """Whether `copy` is there and still has the bytes that were delivered."""
        try:
            with copy.open("rb") as stream:
                return hashlib.file_digest(stream, "sha256").hexdigest() == fingerprint
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


class _Source:
    """A file being claimed. What goes wrong here is its own: the archive and other deliveries have no part in it."""

    def __init__(self, arrival: Arrival, descriptor: int) -> None:
        self._arrival = arrival
        self._descriptor = descriptor

    def read(self) -> bytes:
        """Some more of its bytes; none at its end."""
        try:
            return os.read(self._descriptor, _CHUNK)
        except OSError as error:
            raise _cannot_be_read(self._arrival, error) from error

    def hold(self) -> None:
        """Raise DeliveryUnfinished unless it is still as it was seen; it may not even be a file any more."""
        try:
            status = os.fstat(self._descriptor)
        except OSError as error:
            raise _cannot_be_read(self._arrival, error) from error
        if not self._arrival.unchanged(status):
            raise DeliveryUnfinished("changed while it was being claimed")


@contextlib.contextmanager
def _source(arrival: Arrival) -> Iterator[_Source]:
    try:
        descriptor = os.open(arrival.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise DeliveryUnfinished("was taken away before it could be claimed") from error
    except OSError as error:
        raise _cannot_be_read(arrival, error) from error
    try:
        source = _Source(arrival, descriptor)
        source.hold()
        yield source
    finally:
        os.close(descriptor)


def _cannot_be_read(arrival: Arrival, error: OSError) -> DeliveryRefused:
    # What a person mends shows in the file's state; of anything else only another try can tell.
    kind = DeliveryRefused if error.errno in _MENDED_BY_A_PERSON else DeliveryUnreadable
    return kind(
        f"cannot be read: {error.strerror}",
        remedy=f"Let this user read {arrival.path}; it is then offered again.",
    )
