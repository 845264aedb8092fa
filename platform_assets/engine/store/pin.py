"""A pin: that readers keep one release of a product, whatever is published, until it is taken out.

Belongs here: the pin's file, and the lock under which the link to a release moves. Elsewhere: moving it (release.py).
The pin is written before the link moves and removed before the link moves back, so that what readers should get is
always known; whoever finds the link elsewhere moves it.
"""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from platform_assets.engine.durable.files import remembered, replacing, sync
from platform_assets.errors import printable

_FILE: Final = "pinned.json"


@dataclass(frozen=True)
class Pin:
    """Readers get this release: its id, who decided that, why and when (ISO)."""

    release: str
    by: str
    why: str
    at: str

    def __str__(self) -> str:
        because = f": {printable(self.why)}" if self.why else ""
        return f"pinned at {self.release} by {self.by} since {self.at[:16].replace('T', ' ')} UTC{because}"


def pin_of(folder: Path) -> Pin | None:
    """The pin in a product's folder; None where there is none, or its file cannot be read."""
    return _read(folder / _FILE)


@remembered(most=1_000)
def _read(file: Path) -> Pin | None:
    try:
        stored = json.loads(file.read_bytes())
        return Pin(*(str(stored[name]) for name in ("release", "by", "why", "at")))
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None


def put_in(folder: Path, pin: Pin, mode: int) -> None:
    """Pin a release; raises StorageError."""
    with replacing(folder / _FILE, mode=mode) as partial:
        partial.write_text(json.dumps(asdict(pin)))


def take_out(folder: Path) -> None:
    """Remove the pin, if there is one."""
    (folder / _FILE).unlink(missing_ok=True)
    sync(folder)


@contextlib.contextmanager
def moving(folder: Path) -> Iterator[None]:
    """Be the only one who moves the link of a product, or removes releases of it; others wait, for milliseconds."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
