"""A place that one process has at a time, by a lock of the kernel that ends with the process.

Belongs here: taking a place, and who has it. Elsewhere: which places there are (web/door.py, orchestration/runs).
What the holder says of itself counts only while the lock is held: nothing has to be tidied up after a kill.
"""

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

_UNKNOWN: Final[Mapping[str, Any]] = {}  # of a holder that has not said anything
_LOOKS: Final = 10
_LOOK_S: Final = 0.02


class Taken(Exception):
    """Another process has the place."""

    def __init__(self, said: Mapping[str, Any]) -> None:
        super().__init__("taken")
        self.said = said


class Place:
    """A place that this process has."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def say(self, **about: object) -> None:
        """Say of this process what others are to read; its pid is always there."""
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, json.dumps({"pid": os.getpid(), **about}).encode(), 0)


def take(path: Path, **about: object) -> Place:
    """Take the place until this process ends; raises Taken where another has it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    for look in range(_LOOKS):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            said = _said(descriptor)
            if not said and look < _LOOKS - 1:  # it has just taken the place; or somebody only looks who has it
                time.sleep(_LOOK_S)
                continue
            os.close(descriptor)
            raise Taken(said) from None
        break
    place = Place(descriptor)
    place.say(**about)
    return place


@contextlib.contextmanager
def held(path: Path, **about: object) -> Iterator[Place]:
    """Have the place for a while; raises Taken where another has it."""
    place = take(path, **about)
    try:
        yield place
    finally:
        os.ftruncate(place._descriptor, 0)
        os.close(place._descriptor)


def holder(path: Path) -> Mapping[str, Any] | None:
    """What the process that has the place says of itself; None if nobody has it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _said(descriptor)
    else:
        return None
    finally:
        os.close(descriptor)


def _said(descriptor: int) -> Mapping[str, Any]:
    with contextlib.suppress(ValueError):
        said = json.loads(os.pread(descriptor, 1 << 16, 0))
        return said if isinstance(said, dict) else _UNKNOWN
    return _UNKNOWN
