"""Files that are whole or not there, and stay so when the power goes.

Belongs here: replacing a file in one step, bringing files and folders to the disk, remembering what was read from
files that are only ever replaced. Elsewhere: what is written, and in which order (archive, store/release.py).
"""

import contextlib
import errno
import functools
import os
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

from platform_assets.errors import StorageError

_AT_ONCE: Final = 8
_T = TypeVar("_T")


@contextlib.contextmanager
def replacing(path: Path, partial: Path | None = None, *, mode: int | None = None) -> Iterator[Path]:
    """A file to write, which is at `path` when this ends: whole, safe on disk, and before it whatever was there.

    partial: its name until then, where one is needed by which leftovers of a kill are found. mode: its permissions.
    An error leaves what was at `path`. Raises StorageError.
    """
    partial = partial or path.with_name(f".{path.name}.{uuid.uuid4().hex}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        if mode is not None:
            partial.chmod(mode)
        sync(partial)
        partial.replace(path)
        sync(path.parent)
    except OSError as error:
        raise StorageError(path, error.strerror or type(error).__name__) from error
    finally:
        with contextlib.suppress(OSError):  # usually it has become the file
            partial.unlink()


def sync(path: Path) -> None:
    """See that a file's bytes, or a folder's names, are on the disk; raises StorageError."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno == errno.EINVAL and path.is_dir():
            return  # a file system that keeps no folders back
        raise StorageError(path, error.strerror or str(error)) from error


def sync_all(paths: Iterable[Path]) -> None:
    """The same of several, together: that costs a fraction of one by one."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        list(pool.map(sync, dict.fromkeys(paths)))


def remembered(most: int) -> Callable[[Callable[[Path], _T]], Callable[[Path], _T]]:
    """Remember what a reader of files gave for the `most` files last read; whoever asks gets the same object again.

    A file that changes while it is read is read again: its state is taken before.
    """

    def remembering(read: Callable[[Path], _T]) -> Callable[[Path], _T]:
        kept: dict[Path, tuple[tuple[int, ...], _T]] = {}
        lock = threading.Lock()

        @functools.wraps(read)
        def look(path: Path) -> _T:
            try:
                found = path.stat()
            except OSError:
                return read(path)
            state = (found.st_ino, found.st_mtime_ns, found.st_size)
            with lock:
                before = kept.pop(path, None)
                if before is not None and before[0] == state:
                    kept[path] = before
                    return before[1]
            read_now = read(path)
            with lock:
                kept[path] = (state, read_now)
                while len(kept) > most:
                    del kept[next(iter(kept))]
            return read_now

        return look

    return remembering
