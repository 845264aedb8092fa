"""The disk: what a power cut must not take away again.

Belongs here: bringing files and folders to the disk. Does not: what is written, or in which order (archive.py,
journal.py, release.py). A file that was renamed is only there for good once its folder has been synced too.
"""

import errno
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from platform_assets.errors import StorageError

_AT_ONCE: Final = 8


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
