"""The log of details: what the processes behind a UI write goes to a file of bounded size, not to the terminal.

Belongs here: the file, and that it stays small. Elsewhere: what the terminal is told (watch/happened.py). The processes
write to the file itself, not to us: it goes on where we are killed, and a run that outlives us can still write.
"""

import contextlib
import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final, TextIO

_MOST_BYTES: Final = 5_000_000
_OUT, _ERR = 1, 2


class Details:
    """The file, and one before it, which together are at most twice as long as may be."""

    def __init__(self, path: Path, most_bytes: int = _MOST_BYTES) -> None:
        self.path = path
        self._most_bytes = most_bytes

    def bound(self) -> None:
        """Begin anew where it has become too long; what was written stays in `….1`."""
        with contextlib.suppress(OSError):  # a full disk: it goes on as it is
            if self.path.stat().st_size > self._most_bytes:
                shutil.copyfile(self.path, self.path.with_name(f"{self.path.name}.1"))
                os.truncate(self.path, 0)  # who writes appends, and so goes on at the beginning


@contextlib.contextmanager
def detailed(path: Path) -> Iterator[Details]:
    """Within it, what this process logs, and all that those it starts write, goes to the file; what it prints itself
    goes where it did."""
    path.parent.mkdir(parents=True, exist_ok=True)
    details = Details(path)
    details.bound()
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
    with (
        os.fdopen(os.dup(_OUT), "w", buffering=1) as out,
        os.fdopen(os.dup(_ERR), "w", buffering=1) as err,
        os.fdopen(os.open(path, flags, 0o600), "w", buffering=1) as written,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        _logging_to(written),
    ):
        for each in (_OUT, _ERR):
            os.dup2(written.fileno(), each)
        try:
            yield details
        finally:
            for stream, number in ((out, _OUT), (err, _ERR)):
                stream.flush()
                os.dup2(stream.fileno(), number)


@contextlib.contextmanager
def _logging_to(file: TextIO) -> Iterator[None]:
    handler = logging.StreamHandler(file)
    handler.setLevel(logging.WARNING)
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(levelname)s %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    logging.captureWarnings(True)
    try:
        yield
    finally:
        logging.captureWarnings(False)
        root.removeHandler(handler)
