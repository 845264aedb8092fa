"""What was read from files that are only ever replaced as a whole: read again when another file lies there.

Belongs here: remembering that, for processes that look every few seconds. Does not: any file in particular.
"""

import functools
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

_T = TypeVar("_T")


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
